"""Heads: from states to answers. Both start from the label names, so they answer before the first label.

Rank  a Choice: the text's vector against one vector a label
Tag   Spans: a linear-chain conditional random field (Lafferty et al. 2001) over words
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrung.core.answers import Choice, Prediction, Span, Spans
from lowrung.models.batch import Batch, mean_pool, pad
from lowrung.models.shapes import COLUMNS, NAMELIKE, looks

SCALE = 10.0  # of a cosine, on dev rows of four sets better than 20 and 40 at 2 to 32 labels a class
NEARNESS = 6.0  # the same for a word and a name; on dev rows of two sets better than 10, no worse than 3
FORBIDDEN = -1e4  # a transition that no tagging contains; finite, so that bf16 and log-sum-exp stay sane


class Rank(nn.Module):
    """Choice among options by cosine with the options' vectors, each = trust * name + shift.

    Shape:
        names, shift: (K, D) · bias: (K,)

    Args:
        options: K option names.
        names: their vectors of length one, from the words for them.
    """

    def __init__(self, options: Sequence[str], names: Tensor, *, pooling: str = "mean") -> None:
        super().__init__()
        self.options, self.pooling = tuple(options), pooling
        self.names: Tensor
        self.trust: Tensor
        self.temperature: Tensor
        self.register_buffer("names", names.clone())
        self.register_buffer("trust", torch.ones(()))  # 0 forgets the names, where they mislead
        self.register_buffer("temperature", torch.ones(()))
        self.shift = nn.Parameter(torch.zeros_like(names))
        self.bias = nn.Parameter(torch.zeros(len(names)))

    def features(self, batch: Batch, hidden: Tensor) -> Tensor:
        """(B, T, D) -> (B, D), of length one."""
        pooled = hidden[:, 0] if self.pooling == "first" else mean_pool(hidden, batch.mask)
        return F.normalize(pooled.float(), dim=-1)

    def logits(self, features: Tensor) -> Tensor:
        """(B, D) -> (B, K)"""
        return SCALE * features @ (self.trust * self.names + self.shift).T + self.bias

    def loss(self, batch: Batch, hidden: Tensor, golds: Sequence[Choice], weights: Tensor | None = None) -> Tensor:
        """Mean cross-entropy; `weights` (K,) balances the classes."""
        wanted = torch.tensor([self.options.index(gold.option) for gold in golds])
        return F.cross_entropy(self.logits(self.features(batch, hidden)), wanted, weight=weights)

    def over(self, options: Sequence[str], names: Tensor) -> Rank:
        """The head for other options: known ones as learnt, new ones from their names (K', D)."""
        made = self._fresh(options, names)
        with torch.no_grad():
            made.temperature.copy_(self.temperature)
            for place, option in enumerate(options):
                if option in self.options:
                    known = self.options.index(option)
                    made.names[place] = self.trust * self.names[known]  # a new option must keep its name
                    made.shift[place], made.bias[place] = self.shift[known], self.bias[known]
        return made.eval()

    def _fresh(self, options: Sequence[str], names: Tensor) -> Rank:
        return Rank(options, names, pooling=self.pooling)

    def decode(self, batch: Batch, hidden: Tensor) -> list[Prediction[Choice]]:
        return self.choose(self.logits(self.features(batch, hidden)))

    def choose(self, logits: Tensor) -> list[Prediction[Choice]]:
        """(B, K) -> B predictions with all options, best first."""
        shares, order = (logits / self.temperature).softmax(-1).sort(-1, descending=True)
        made = []
        for share, places in zip(shares.tolist(), order.tolist(), strict=True):
            ranked = [(Choice(self.options[place]), min(1.0, each)) for place, each in zip(places, share, strict=True)]
            made.append(Prediction(ranked[0][0], ranked[0][1], tuple(ranked[1:])))
        return made


class Tag(nn.Module):
    """Spans by tagging words with O, B-label, I-label.

    A tag's score at a word = what was learnt from the state + what the word looks like + how near its state
    is to the label's name. At 0 labels only the last two speak.

    Shape:
        hidden: (B, T, D) or (B, T, 2 D): the states to learn from, then the states to hold against the names
        names: (K, D) · scores: (B, N, 1 + 2 K) in the order O, B-1, I-1, B-2, …

    Args:
        options: K labels.
        names: their vectors, from the layer whose states they are held against.
        width: D.
    """

    def __init__(self, options: Sequence[str], names: Tensor, *, width: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.options, self.width = tuple(options), width
        tags = 1 + 2 * len(options)
        self.names: Tensor
        self.lean: Tensor
        self.register_buffer("names", F.normalize(names.float(), dim=-1))
        # taken off O when decoding: few labels teach «outside» first. Chosen on dev rows of three sets.
        self.register_buffer("lean", torch.zeros(()))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.dropout = nn.Dropout(dropout)
        self.learnt = nn.Linear(width, tags, bias=False)
        self.outside = nn.Linear(3 * COLUMNS, tags)
        self.nearness = nn.Parameter(torch.tensor(NEARNESS))
        self.first = nn.Parameter(torch.zeros(tags))
        self.follow = nn.Parameter(torch.zeros(tags, tags))
        nn.init.zeros_(self.learnt.weight)
        nn.init.zeros_(self.outside.weight)
        nn.init.zeros_(self.outside.bias)
        with torch.no_grad():  # names are capitalised where the script has capitals, and run on over their words
            self.outside.weight[1:, NAMELIKE] = 8.0
            self.outside.bias[1:] = -4.0
            begins = torch.arange(1, tags, 2)
            self.follow[begins, begins + 1] = 1.0
            self.follow[begins + 1, begins + 1] = 1.0
        places = torch.arange(tags)
        inside = (places > 0) & (places % 2 == 0)
        allowed = ~inside[None, :] | (places[:, None] == places[None, :]) | (places[:, None] == places[None, :] - 1)
        self.refused: Tensor
        self.register_buffer("refused", torch.where(allowed, 0.0, FORBIDDEN), persistent=False)
        self.refused_first: Tensor
        self.register_buffer("refused_first", torch.where(inside, FORBIDDEN, 0.0), persistent=False)

    def over(self, options: Sequence[str], names: Tensor) -> Tag:
        """The head for other options: known ones as learnt, new ones from their names (K', D)."""
        made = Tag(options, names, width=self.width)
        places = [0]  # of each new tag among the old ones; -1 where there was none
        for option in options:
            known = 1 + 2 * self.options.index(option) if option in self.options else -1
            places += [known, known + 1 if known >= 0 else -1]
        new = [at for at, place in enumerate(places) if place >= 0]
        old = [places[at] for at in new]
        with torch.no_grad():
            for name in ("learnt.weight", "outside.weight", "outside.bias", "first"):
                made.get_parameter(name)[new] = self.get_parameter(name)[old]
            made.follow[torch.tensor(new)[:, None], torch.tensor(new)] = self.follow[torch.tensor(old)[:, None], old]
            made.nearness.copy_(self.nearness)
            made.lean.copy_(self.lean)
        return made.eval()

    def features(self, batch: Batch, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States of words (the mean of their pieces) and looks: (B, T, D) -> (B, N, D), (B, N, 3 C), mask (B, N)"""
        found = [looks(question.text) for question in batch.questions]
        spans = pad([each for each, _ in found])  # (B, N, 2)
        mask = pad([torch.ones(len(each), dtype=torch.bool) for each, _ in found])
        if not mask.shape[1]:
            return hidden.new_zeros(len(found), 0, hidden.shape[-1]), pad([each for _, each in found]), mask
        return states_at(hidden, batch.offsets, spans), pad([each for _, each in found]), mask

    def scores(self, states: Tensor, seen: Tensor) -> Tensor:
        """(B, N, D or 2 D), (B, N, 3 C) -> (B, N, 1 + 2 K)"""
        learn, near = states[..., : self.width], states[..., -self.width :]
        made: Tensor = self.learnt(self.dropout(self.norm(learn))) + self.outside(seen)
        likeness = F.normalize(near, dim=-1) @ self.names.T  # (B, N, K)
        likeness = likeness - likeness.mean(-1, keepdim=True)  # which label, not whether
        by_tag = F.pad((self.nearness * likeness).repeat_interleave(2, -1), (1, 0))
        return made + by_tag

    def loss(self, batch: Batch, hidden: Tensor, golds: Sequence[Spans], weights: Tensor | None = None) -> Tensor:
        """Negative log-likelihood of the gold tags, a mean over questions."""
        states, seen, mask = self.features(batch, hidden)
        return self.likelihood(self.scores(states, seen), mask, self.tags(batch, golds))

    def likelihood(self, scores: Tensor, mask: Tensor, tags: Tensor) -> Tensor:
        """(B, N, tags), (B, N), (B, N) -> ()"""
        if not mask.shape[1]:
            return scores.sum() * 0.0
        return (self._total(scores, mask) - self._of_path(scores, mask, tags)).mean()

    def tags(self, batch: Batch, golds: Sequence[Spans]) -> Tensor:
        """(B, N): a word that a gold span covers, even in part, belongs to it."""
        return pad([self._tags(question.text, gold) for question, gold in zip(batch.questions, golds, strict=True)])

    def _tags(self, text: str, gold: Spans) -> Tensor:
        spans, _ = looks(text)
        tags = torch.zeros(len(spans), dtype=torch.long)
        for span in gold.spans:
            covered = ((spans[:, 0] < span.end) & (spans[:, 1] > span.start) & (tags == 0)).nonzero().flatten()
            tags[covered] = 2 + 2 * self.options.index(span.label)
            tags[covered[:1]] -= 1
        return tags

    def margin(self, batch: Batch, hidden: Tensor, answer: Spans, span: Span) -> Tensor:
        """By how many logits the tagging `answer` is likelier than the same one without `span`.  -> (B,)"""
        states, seen, mask = self.features(batch, hidden)
        scores, number = self.scores(states, seen), len(batch.questions)
        rest = Spans(tuple(each for each in answer.spans if each != span))
        ours, theirs = self.tags(batch, [answer] * number), self.tags(batch, [rest] * number)
        lean = self.lean * ((ours > 0) & (theirs == 0)).sum(1)
        return self._of_path(scores, mask, ours) - self._of_path(scores, mask, theirs) + lean

    def _total(self, scores: Tensor, mask: Tensor) -> Tensor:
        """log of the sum over all taggings.  -> (B,)"""
        follow = self.follow + self.refused
        alive = scores[:, 0] + self.first + self.refused_first  # (B, tags)
        for at in range(1, scores.shape[1]):
            grown = torch.logsumexp(alive[:, :, None] + follow, 1) + scores[:, at]
            alive = torch.where(mask[:, at, None], grown, alive)
        return torch.where(mask[:, 0], torch.logsumexp(alive, 1), 0.0)

    def _of_path(self, scores: Tensor, mask: Tensor, tags: Tensor) -> Tensor:
        """Score of one tagging.  -> (B,)"""
        own = scores.gather(2, tags[..., None]).squeeze(2) * mask
        steps = (self.follow + self.refused)[tags[:, :-1], tags[:, 1:]] * mask[:, 1:]
        first = (self.first + self.refused_first)[tags[:, 0]] * mask[:, 0]
        return own.sum(1) + steps.sum(1) + first

    def decode(self, batch: Batch, hidden: Tensor) -> list[Prediction[Spans]]:
        states, seen, mask = self.features(batch, hidden)
        return self.choose(batch, self.scores(states, seen), mask)

    def choose(self, batch: Batch, scores: Tensor, mask: Tensor) -> list[Prediction[Spans]]:
        """The best tagging of each question (Viterbi); its confidence is its probability by its length's root.

        The probability of a whole tagging falls with every word, so the geometric mean over words is what is told.
        """
        if not mask.shape[1]:
            return [Prediction(Spans(), 1.0) for _ in batch.questions]
        scores = torch.cat([scores[..., :1] - self.lean, scores[..., 1:]], -1)
        paths = self._best(scores, mask)
        share = (self._of_path(scores, mask, paths) - self._total(scores, mask)) / mask.sum(1).clamp(min=1)
        made = []
        for question, path, length, each in zip(
            batch.questions, paths.tolist(), mask.sum(1).tolist(), share.tolist(), strict=True
        ):
            spans = looks(question.text)[0].tolist()
            made.append(Prediction(self._spans(path[:length], spans), min(1.0, math.exp(min(each, 0.0)))))
        return made

    def _best(self, scores: Tensor, mask: Tensor) -> Tensor:
        """(B, N)"""
        follow = self.follow + self.refused
        alive = scores[:, 0] + self.first + self.refused_first
        back = []
        stay = torch.arange(scores.shape[-1]).expand(len(scores), -1)
        for at in range(1, scores.shape[1]):
            grown, came = (alive[:, :, None] + follow).max(1)
            open_ = mask[:, at, None]
            alive = torch.where(open_, grown + scores[:, at], alive)
            back.append(torch.where(open_, came, stay))
        tag = alive.argmax(-1)
        path = [tag]
        for came in reversed(back):
            tag = came.gather(1, tag[:, None]).squeeze(1)
            path.append(tag)
        return torch.stack(path[::-1], 1)

    def _spans(self, path: list[int], spans: list[list[int]]) -> Spans:
        found: list[Span] = []
        for tag, (start, end) in zip(path, spans, strict=True):
            label = self.options[(tag - 1) // 2] if tag else ""
            if tag and tag % 2 == 0:
                found[-1] = Span(found[-1].start, end, label)
            elif tag:
                found.append(Span(start, end, label))
        return Spans(tuple(found))


def states_at(hidden: Tensor, offsets: Tensor, spans: Tensor) -> Tensor:
    """The mean state of the pieces of each span.  (B, T, D), (B, T, 2), (B, N, 2) -> (B, N, D)"""
    low, high = _pieces_of(offsets, spans)  # (B, N) each
    sums = F.pad(hidden.float().cumsum(1), (0, 0, 1, 0))  # (B, T + 1, D)
    reach = (-1, -1, hidden.shape[-1])
    total = sums.gather(1, high[..., None].expand(*reach)) - sums.gather(1, low[..., None].expand(*reach))
    return total / (high - low).clamp(min=1)[..., None]


def _pieces_of(offsets: Tensor, spans: Tensor) -> tuple[Tensor, Tensor]:
    """The first piece of each word and the one after its last.  (B, T, 2), (B, N, 2) -> (B, N), (B, N)

    A word without a piece of its own (a tokenizer may drop a letter it does not know) takes the piece before it,
    never the one after, which may be padding.
    """
    real = offsets[..., 1] > offsets[..., 0]  # (B, T)
    # special and foreign pieces must not disturb the order that the search needs
    ends = torch.where(real, offsets[..., 1], 0).cummax(1).values
    starts = torch.where(real, offsets[..., 0], torch.iinfo(torch.long).max)
    starts = starts.flip(1).cummin(1).values.flip(1)
    low = torch.searchsorted(ends, spans[..., 0].contiguous(), right=True)
    high = torch.searchsorted(starts.contiguous(), spans[..., 1].contiguous(), right=False)
    low = torch.minimum(low, high - 1).clamp(min=0)
    return low, torch.maximum(high, low + 1)
