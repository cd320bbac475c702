"""What each piece and letter of a text adds to a network's score: integrated gradients (Sundararajan et al. 2017), by
captum."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from lowrung.core.answers import Answer, Choice, Span
from lowrung.core.errors import LowrungError
from lowrung.core.parts import Question
from lowrung.core.words import words
from lowrung.models import point
from lowrung.models.batch import Batch, moved
from lowrung.models.characters import END, LONGEST, LettersBody, Spelt
from lowrung.models.heads import Rank, Tag
from lowrung.models.network import Adapted
from lowrung.models.pieces import Tokenizer
from lowrung.models.plain import Plain
from lowrung.models.point import Point

STEPS = (32, 128, 512)  # along the path; more where few leave a gap
CLOSE = 0.01  # of the difference of the two scores, a gap that will do
AT_ONCE = 4096  # pieces in one pass

Spot: TypeAlias = tuple[int, int]  # window, place in it
Place: TypeAlias = tuple[int, int]  # characters start..end
Share: TypeAlias = tuple[int, int, float]  # characters start..end, and what they add


@dataclass(frozen=True, slots=True)
class Attribution:
    """What a score is made of: `value` = `baseline` + the sum of all shares, but for a gap that falls with the steps.

    Args:
        value: the score of the text, in logits. baseline: that of as many pieces that say nothing.
        pieces: what the meaning of each piece adds; places count in all texts of the question, a line each.
        letters: what each letter of its words adds, where the body reads letters.
    """

    value: float
    baseline: float
    pieces: tuple[Share, ...]
    letters: tuple[Share, ...] = ()

    @property
    def gap(self) -> float:
        """What the shares miss of the difference, in logits."""
        return self.value - self.baseline - sum(share for *_, share in (*self.pieces, *self.letters))


class _Network(NamedTuple):
    """What is asked of a network: pieces → `run` → `score`, one a question."""

    body: nn.Module
    tokenizer: Tokenizer
    run: Callable[..., Tensor]
    score: Callable[[Batch, Tensor], Tensor]


def able(model: object) -> bool:
    """Whether `attributed` can explain the model's answers."""
    if isinstance(model, Plain):
        return model.kind is Choice or "O" in model.labels
    return isinstance(model, Adapted) and isinstance(model.head, Rank | Tag | Point)


def attributed(model: Any, question: Question, answer: Answer, target: Choice | Span) -> Attribution:
    """What moves the score of `target`, the logarithm of its odds: of a Choice against the other options, of a Span
    against the same answer without it.

    Of a body that reads letters, the path leads from letters that say nothing, too. Special pieces stay as they are.

    Args:
        model: one that is `able`.
        answer: what the model says, of which a Span is one.

    Raises:
        LowrungError: captum is not installed.
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError as problem:
        told = f"integrated gradients need {problem.name}: pip install 'lowrung[explain]', or explain by occlusion"
        raise LowrungError(told) from problem
    network = _network(model, question, answer, target)
    network.body.eval()
    device = next(network.body.parameters()).device

    @cache
    def batch_of(number: int) -> Batch:
        return moved(network.tokenizer.batch([question] * number), device)

    one = batch_of(1)
    read = _Letters(network.body, one) if one.spelt is not None and isinstance(network.body, LettersBody) else None

    def score(embedded: Tensor, letters: Tensor | None = None) -> Tensor:
        batch = batch_of(len(embedded))
        given: dict[str, Tensor] = {"attention_mask": batch.attended.long(), "inputs_embeds": embedded.flatten(0, 1)}
        if batch.kinds is not None:
            given["token_type_ids"] = batch.kinds
        if read is not None and letters is not None:
            given["letters"] = read.beside(letters)
        return network.score(batch, network.run(**given))

    meant = _meant(network.tokenizer, one)
    with torch.no_grad():
        table: Any = network.body
        table = table.table if isinstance(table, LettersBody) else table.get_input_embeddings()
        embedded = table(one.ids)[None]  # (1, W, T, D)
        blank = table(torch.tensor(_blank(network.tokenizer.inner), device=device))
        inputs, baselines = [embedded], [torch.where(meant[None, ..., None], blank, embedded)]
        if read is not None:
            inputs.append(read.states)
            baselines.append(read.silent)
        value, baseline = (float(score(*each)) for each in (inputs, baselines))
    gradients = IntegratedGradients(score)
    for steps in STEPS:
        at_once = max(1, AT_ONCE // one.ids.numel())
        found = gradients.attribute(tuple(inputs), tuple(baselines), n_steps=steps, internal_batch_size=at_once)
        shares = [each.detach().sum(-1)[0] for each in found]
        gap = value - baseline - sum(float(each.sum()) for each in shares)
        if abs(gap) <= CLOSE * abs(value - baseline):
            break
    places = _places(network.tokenizer, question, one)
    pieces = [(*place, float(shares[0][at])) for at, place in places.items() if meant[at]]
    letters = read.shares(shares[1], places, "\n".join(question.texts)) if read is not None else ()
    return Attribution(value, baseline, tuple(pieces), tuple(letters))


class _Letters:
    """The letters of the words of one question as vectors: P rows, one a piece, so that a word that repeats is told
    apart.

    Shape:
        states, silent: (1, P, C, size), as they are, and with letters that say nothing · at: (W, T), rows from 1
    """

    def __init__(self, body: LettersBody, batch: Batch) -> None:
        self.letters = body.letters
        spelt = moved(Spelt.of(batch.spelt or (), batch.ids.shape[1]), batch.ids.device)
        rows = spelt.at[spelt.at > 0] - 1  # (P,)
        ids, capitals = spelt.letters[rows], spelt.capitals[rows]
        self.there, self.rows = ids > 0, len(rows)
        self.at = (spelt.at > 0).flatten().cumsum(0).view_as(spelt.at) * (spelt.at > 0)
        self.states = (self.letters.letter(ids) + self.letters.capital(capitals))[None]
        self.silent = self.states.masked_fill((ids > END)[None, ..., None], 0.0)

    def beside(self, states: Tensor) -> Tensor:
        """What the body reads beside its pieces.  (n, P, C, size) -> (n W, T, D + 1)"""
        table = self.letters.read_states(states.flatten(0, 1), self.there.repeat(len(states), 1))
        copies = torch.arange(len(states), device=states.device)[:, None, None] * self.rows
        return self.letters.laid(table, torch.where(self.at > 0, self.at + copies, 0).flatten(0, 1))

    def shares(self, found: Tensor, places: Mapping[Spot, Place], text: str) -> list[Share]:
        """What each letter adds, over all pieces of its word.  (P, C) -> a share a letter"""
        spans = words(text)
        starts, sums = [start for start, _ in spans], defaultdict[int, float](float)
        for spot, row in zip(self.at.nonzero().tolist(), found.tolist(), strict=True):
            start, end = spans[bisect_right(starts, places[spot[0], spot[1]][0]) - 1]
            read = range(start, end) if end - start <= LONGEST else [*range(start, start + 16), *range(end - 8, end)]
            for letter, share in zip(read, row[1:], strict=False):
                sums[letter] += share
        return [(at, at + 1, sums[at]) for at in sorted(sums)]


def _meant(tokenizer: Tokenizer, batch: Batch) -> Tensor:
    """Which pieces are of a text: neither special nor padding.  -> (W, T)"""
    frame = tokenizer.frame
    special = torch.tensor([*frame.before, *frame.between, *frame.after], device=batch.ids.device)
    return batch.attended & ~torch.isin(batch.ids, special)


def _places(tokenizer: Tokenizer, question: Question, batch: Batch) -> dict[Spot, Place]:
    """(window, place in it) of each piece of the texts → the characters that it stands for, in all texts together."""
    frame, (text, *others) = tokenizer.frame, question.texts
    second = "\n".join(others)
    (_, offsets), *more = tokenizer.pieces([text, second] if second else [text])
    spots: list[Place | None] = [*[None] * len(frame.before), *offsets]
    if more:
        shift = len(text) + 1
        spots += [*[None] * len(frame.between), *((start + shift, end + shift) for start, end in more[0][1])]
    laid = range(len(spots)) if batch.stitch is None else batch.stitch[0].tolist()
    found, length = dict[Spot, Place](), batch.ids.shape[1]
    for window in range(len(batch.ids)):
        # pieces lie in a window as in the text, also those at its ends, whose states count in another window
        first = next(at for at, flat in enumerate(laid) if flat // length == window)
        for place in range(length):
            at = first + place - laid[first] % length
            spot = spots[at] if 0 <= at < len(spots) else None
            if spot is not None:
                found[window, place] = spot
    return found


def _blank(inner: Any) -> int:
    """The piece that says nothing: the mask, else the unknown one, else padding."""
    known = (inner.mask_token_id, inner.unk_token_id, inner.pad_token_id, 0)
    return next(int(each) for each in known if each is not None)


def _network(model: Any, question: Question, answer: Answer, target: Choice | Span) -> _Network:
    if isinstance(model, Plain):
        score = _chosen(model, target) if isinstance(target, Choice) else _tagged(model, question.text, target)
        return _Network(model.network, model.tokenizer, model.logits, score)
    head = model.head_for(question)

    def score_of(batch: Batch, states: Tensor) -> Tensor:
        hidden = batch.stitched(states)
        if isinstance(head, Tag):
            return head.margin(batch, hidden, answer, target)  # type: ignore[arg-type]
        assert isinstance(target, Choice)
        if isinstance(head, Point):
            at, logits = int(point.places([question], [target])), head.scores(head.features(batch, hidden))
        else:
            at, logits = head.options.index(target.option), head.logits(head.features(batch, hidden))
        return _odds(logits / head.temperature, at)

    head.eval()
    return _Network(model.backbone.body, model.backbone.tokenizer, model.states, score_of)


def _chosen(model: Plain[Any], target: Choice) -> Callable[[Batch, Tensor], Tensor]:
    """Of the mean logits over the windows of a text."""
    at = model.labels.index(target.option)
    return lambda batch, logits: _odds(logits.view(len(batch.questions), -1, len(model.labels)).mean(1), at)


def _odds(logits: Tensor, at: int) -> Tensor:
    """The logarithm of an option's odds.  (B, K) -> (B,)"""
    others = torch.cat([logits[:, :at], logits[:, at + 1 :]], 1)
    return logits[:, at] - others.logsumexp(1) if others.shape[1] else logits[:, at]


def _tagged(model: Plain[Any], text: str, target: Span) -> Callable[[Batch, Tensor], Tensor]:
    """By how much the label's tags are likelier than none, over the first pieces of the span's words."""
    tags = [at for at, tag in enumerate(model.labels) if tag.partition("-")[2] == target.label]
    outside = model.labels.index("O")

    def score(batch: Batch, logits: Tensor) -> Tensor:
        lies = [
            target.start <= start < end <= target.end and not (start and text[start - 1 : start + 1].isalnum())
            for start, end in batch.offsets[0].tolist()
        ]
        first = batch.stitched(logits)[:, torch.tensor(lies, device=logits.device)]
        return (first[..., tags].logsumexp(-1) - first[..., outside]).sum(1)

    return score
