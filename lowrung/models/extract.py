"""Extract: the span of the first text that answers what the further texts ask, or none."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrung.core.answers import Prediction, Span, Spans
from lowrung.core.parts import Question
from lowrung.core.words import words
from lowrung.data.names import COMMON, sentence_ends
from lowrung.data.phrases import CHUNK, NAME, NUMBER, PLACE, PLACING, TIME, asked_for, phrases
from lowrung.models.batch import Batch, pad
from lowrung.models.heads import FORBIDDEN, states_at

LONGEST = 40  # words of an answer; of a script without blanks, letters. One of 1,000 answers of SQuAD has more than 30
OTHERS = 4  # next best answers that are told
# What is known of answers without a label: cue of a word where an answer may begin or end → its weight. An answer is a
# phrase of the kind that is asked for, near the words of the question and not one of them. Halves and ones.
CUES = {
    "phrase": 1.0,  # a name, number, time or run of content words begins (or ends) here
    "kind": 3.0,  # and it is of the kind that the question's first words ask for
    "placed": 0.5,  # a name behind «in», «at», … where a place is asked for
    "asked": -3.0,  # the word stands in the question
    "sentence": 4.0,  # which share of the question's telling words its sentence has, rare ones weighing more
    "near": 2.5,  # the same of the words around, less with each word between
}
WIDER = -0.2  # for each word that an answer is longer
NONE = 10.0  # the score of no answer: 5 % of the questions of SQuAD have no span above it, 75 % of another text's
REACH = 6.0  # words over which nearness falls to 1 / e
STEM = 5  # letters by which two forms of a word are told to be one
_FITTING = {NAME: (NAME,), PLACE: (NAME,), TIME: (TIME,), NUMBER: (NUMBER,), CHUNK: (CHUNK, NAME), "": (CHUNK, NAME)}
_SMALL = frozenset().union(*COMMON.values())


class Seen(NamedTuple):
    """What an Extract sees of B questions whose first texts have at most N words.

    Shape:
        states: (B, N, 2 D) · cues: (B, N, 2, S), where an answer begins and where it ends · alone: (B, D), of what is
        asked · places: (B, N, 2), characters · mask: (B, N)
    """

    states: Tensor
    cues: Tensor
    alone: Tensor
    places: Tensor
    mask: Tensor


class Extract(nn.Module):
    """Each span of up to `LONGEST` words has a score = that of its first word + that of its last + that of its length;
    «no answer» has one of its own, and all of them together share the probability.

    A word's score = what it shows without labels (`CUES`, learnt on) + what is learnt from its state and from its state
    times that of the question. A long text's windows share the probability as well (Clark & Gardner 2018), so the best
    of all windows is the answer. At 0 labels only the cues speak.

    Shape:
        hidden: (B, T, D) · scores: (B, N * LONGEST + 1), «no answer» last

    Args:
        width: D.
    """

    options: tuple[str, ...] = ()  # none of its own

    def __init__(self, *, width: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.dropout = nn.Dropout(dropout)
        self.learnt = nn.Linear(2 * width, 2, bias=False)
        self.cues = nn.Parameter(torch.zeros(2, len(CUES)))  # beside `prior`, which decay must not forget
        self.lengths = nn.Parameter(WIDER * torch.arange(LONGEST, dtype=torch.float))
        self.none = nn.Linear(width, 1)
        self.prior: Tensor
        self.register_buffer("prior", torch.tensor([list(CUES.values())] * 2))
        nn.init.zeros_(self.learnt.weight)
        nn.init.zeros_(self.none.weight)
        nn.init.constant_(self.none.bias, NONE)

    def features(self, batch: Batch, hidden: Tensor) -> Seen:
        """States of words (the mean of their pieces): (B, T, D) -> Seen"""
        found = [cues(question) for question in batch.questions]
        places = pad([spots for spots, _ in found])  # (B, N, 2)
        mask = pad([torch.ones(len(spots), dtype=torch.bool) for spots, _ in found])
        asking = (batch.mask & (batch.offsets[..., 1] == 0))[..., None]  # what is no piece of the first text
        alone = self.norm((hidden * asking).sum(1) / asking.sum(1).clamp(min=1))
        if not mask.shape[1]:
            states = hidden.new_zeros(*mask.shape, 2 * hidden.shape[-1])
        else:
            each = self.norm(states_at(hidden, batch.offsets, places)) / math.sqrt(hidden.shape[-1])
            states = torch.cat([each, each * alone[:, None]], -1)
        return Seen(states, pad([each for _, each in found]), alone / math.sqrt(hidden.shape[-1]), places, mask)

    def scores(self, seen: Seen) -> Tensor:
        """-> (B, N * LONGEST + 1)"""
        words_ = self.learnt(self.dropout(seen.states)) + (seen.cues * (self.prior + self.cues)).sum(-1)  # (B, N, 2)
        words_ = words_.masked_fill(~seen.mask[..., None], FORBIDDEN)
        ends = F.pad(words_[..., 1], (0, LONGEST - 1), value=FORBIDDEN).unfold(1, LONGEST, 1)  # (B, N, LONGEST)
        spans = words_[..., :1] + ends + self.lengths if words_.shape[1] else ends
        return torch.cat([spans.flatten(1), self.none(self.dropout(seen.alone))], 1)

    def loss(self, batch: Batch, hidden: Tensor, golds: Sequence[Spans], weights: Tensor | None = None) -> Tensor:
        """Mean negative log of the probability of what the gold says, over all spans and none."""
        scores = self.scores(self.features(batch, hidden))
        right = torch.full_like(scores, FORBIDDEN)
        for row, (asked, gold) in enumerate(zip(batch.questions, golds, strict=True)):
            right[row, places(gold, asked.text, scores.shape[1] - 1)] = 0.0
        return (scores.logsumexp(1) - (scores + right).logsumexp(1)).mean()

    def decode(self, batch: Batch, hidden: Tensor) -> list[Prediction[Spans]]:
        """The likeliest answer of each question with its probability, and the next ones."""
        seen = self.features(batch, hidden)
        shares = self.scores(seen).softmax(-1)
        none = shares.shape[1] - 1
        found = shares.topk(min(OTHERS + 1, none + 1), -1)
        made = []
        for row, ranks, spots, mask in zip(
            found.values.tolist(), found.indices.tolist(), seen.places.tolist(), seen.mask, strict=True
        ):
            length, ranked = int(mask.sum()), []
            for at, share in zip(ranks, row, strict=True):
                first, more = divmod(at, LONGEST)
                if at == none:
                    ranked.append((Spans(), min(1.0, share)))
                elif first + more < length:  # and not beyond the end of a shorter text
                    ranked.append((Spans((Span(spots[first][0], spots[first + more][1]),)), min(1.0, share)))
            made.append(Prediction(*ranked[0], tuple(ranked[1:])))
        return made


def places(gold: Spans, text: str, none: int) -> list[int]:
    """Where a gold stands among the scores: the words that it covers, even in part, as many as an answer may have.

    Other places of the same words say the same, and rows often do not tell which is meant.
    """
    if not gold.spans:
        return [none]
    spots, (span, *_) = words(text), gold.spans
    begins, ends = [start for start, _ in spots], [end for _, end in spots]
    said, found = text[span.start : span.end], list[int]()
    at = -1
    while (at := text.find(said, at + 1)) >= 0:
        first, last = bisect_right(ends, at), bisect_left(begins, at + len(said)) - 1
        whole = first <= last and begins[first] == at and ends[last] == at + len(said)
        if first <= last and (whole or at == span.start):
            found.append(first * LONGEST + min(last - first, LONGEST - 1))
    return found or [none]


@lru_cache(maxsize=4096)
def cues(question: Question) -> tuple[Tensor, Tensor]:
    """The words of the first text, in characters, and the `CUES` of each as a beginning and as an end.

    -> (N, 2), (N, 2, S)
    """
    text, asked = question.text, "\n".join(question.texts[1:])
    spots = words(text)
    found = torch.zeros(len(spots), 2, len(CUES))
    if not spots:
        return torch.zeros(0, 2, dtype=torch.long), found
    wanted = {_stem(asked[start:end]) for start, end in words(asked) if _telling(asked[start:end])}
    stems = [_stem(text[start:end]) for start, end in spots]
    ends = sentence_ends(text)
    sentences = [bisect_right(ends, start) for start, _ in spots]
    often = Counter(stem for _, stem in {*zip(sentences, stems, strict=True)})
    weight = {stem: math.log(1.0 + (len(ends) + 1) / often[stem]) for stem in wanted if stem in often}
    whole = sum(weight.values()) + math.log(2.0 + len(ends)) * len(wanted - weight.keys()) or 1.0
    told: dict[int, float] = {}
    for sentence, stem in {*zip(sentences, stems, strict=True)}:
        told[sentence] = told.get(sentence, 0.0) + weight.get(stem, 0.0) / whole
    hits = [(at, weight[stem] / whole) for at, stem in enumerate(stems) if stem in weight]
    near = [0.0] * len(spots)
    for at, share in hits:
        for other in range(max(0, at - 3 * int(REACH)), min(len(spots), at + 3 * int(REACH) + 1)):
            near[other] += share * math.exp(-abs(at - other) / REACH)
    columns = {name: number for number, name in enumerate(CUES)}
    found[:, :, columns["sentence"]] = torch.tensor([told[each] for each in sentences])[:, None]
    found[:, :, columns["near"]] = torch.tensor(near).clamp(max=1.0)[:, None]
    found[:, :, columns["asked"]] = torch.tensor([float(stem in wanted) for stem in stems])[:, None]
    kind = asked_for(asked)
    starts, stops = {start: at for at, (start, _) in enumerate(spots)}, {end: at for at, (_, end) in enumerate(spots)}
    for each in phrases(text):
        for side, edge in enumerate((starts.get(each.start), stops.get(each.end))):
            if edge is not None:
                found[edge, side, columns["phrase"]] = 1.0
                found[edge, side, columns["kind"]] = float(each.kind in _FITTING[kind])
        begin = starts.get(each.start, 0)
        if kind == PLACE and begin and text[slice(*spots[begin - 1])].casefold() in PLACING:
            found[begin, 0, columns["placed"]] = 1.0
    return torch.tensor(spots), found


def _telling(form: str) -> bool:
    return form[0].isalnum() and form.casefold() not in _SMALL


def _stem(form: str) -> str:
    return form.casefold()[:STEM]
