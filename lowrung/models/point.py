"""Point: a Choice among the marked candidates of a question, or none of them, for the pronoun that is marked first."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrung.core.answers import Choice, Prediction
from lowrung.core.parts import Question
from lowrung.core.words import words
from lowrung.data.names import sentence_ends
from lowrung.models.batch import Batch, pad
from lowrung.models.heads import FORBIDDEN, states_at

# What is known of pronouns without a label: cue → its weight. People repeat the subject, the last one named, the one
# they talk about most, and keep its place in the sentence. Halves and ones, so that nothing is fitted to a data set.
CUES = {
    "before": 1.0,  # the candidate precedes the pronoun
    "nearest": 1.0,  # and no other candidate lies between
    "same": 1.0,  # in one sentence
    "sentence before": 0.0,
    "farther": 0.0,
    "opens": 1.0,  # the candidate opens a sentence or a clause, as subjects do
    "place": -0.5,  # log of its place in the sentence, in words
    "parallel": -0.5,  # how far from the pronoun's place in its own sentence
    "named before": 0.5,  # how often else it is named before the pronoun, up to 3 times
    "named": 0.0,  # and in all
    "bracket": -1.0,  # named in passing
    "possessor": -0.5,
    "distance": 0.0,  # log of the words between
    "length": 0.0,  # of its name, in words
}
NOBODY = -1.5  # the weight of «none of them»; rows with it are few
NEAR = 5  # buckets of distance, from touching to a page away
_OPENING = ",;:.!?—–-(\"“«„'‘「『、，；：。！？"


class Seen(NamedTuple):
    """What a Point sees of B questions with at most C candidates; a candidate's place in `mask` says that it is there.

    Shape:
        states: (B, C, 3 D) · cues: (B, C, S) · alone: (B, D), of the pronoun · mask: (B, C)
    """

    states: Tensor
    cues: Tensor
    alone: Tensor
    mask: Tensor


class Point(nn.Module):
    """A candidate's score = what its place says (`CUES`, learnt on) + what is learnt from the states of both marks.

    At 0 labels only the place speaks. The question brings the options; the last of them is none of the candidates.
    All is linear in what is seen: few labels can be solved for, and many may move the body instead.

    Shape:
        hidden: (B, T, D) · scores: (B, 1 + C), «none of them» first

    Args:
        width: D.
    """

    options: tuple[str, ...] = ()  # none of its own

    def __init__(self, *, width: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.dropout = nn.Dropout(dropout)
        self.learnt = nn.Linear(3 * width, 1, bias=False)
        self.cues = nn.Linear(len(CUES) + NEAR, 1, bias=False)
        self.nobody = nn.Linear(width, 1)
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(()))
        for each in (self.learnt.weight, self.cues.weight, self.nobody.weight):
            nn.init.zeros_(each)
        with torch.no_grad():
            self.cues.weight[0, : len(CUES)] = torch.tensor(list(CUES.values()))
            self.nobody.bias.fill_(NOBODY)

    def features(self, batch: Batch, hidden: Tensor) -> Seen:
        """States of the marks (the mean of their pieces) side by side: (B, T, D) -> Seen"""
        marks = pad([torch.tensor([(each.start, each.end) for each in asked.marks]) for asked in batch.questions])
        mask = pad([torch.ones(len(asked.marks) - 1, dtype=torch.bool) for asked in batch.questions])
        states = self.norm(states_at(hidden, batch.offsets, marks)) / math.sqrt(hidden.shape[-1])  # (B, 1 + C, D)
        one, each = states[:, :1].expand(-1, mask.shape[1], -1), states[:, 1:]
        root = math.sqrt(hidden.shape[-1])  # a product of two is as long as one
        both = torch.cat([each, root * one * each, (one - each).abs()], -1)
        return Seen(both, pad([cues(asked) for asked in batch.questions]), states[:, 0], mask)

    def scores(self, seen: Seen) -> Tensor:
        """-> (B, 1 + C)"""
        made = self.learnt(self.dropout(seen.states)) + self.cues(seen.cues)  # (B, C, 1)
        open_ = made.squeeze(-1).masked_fill(~seen.mask, FORBIDDEN)
        return torch.cat([self.nobody(self.dropout(seen.alone)), open_], 1)

    def loss(self, batch: Batch, hidden: Tensor, golds: Sequence[Choice], weights: Tensor | None = None) -> Tensor:
        """Mean cross-entropy over the candidates and none of them."""
        return F.cross_entropy(self.scores(self.features(batch, hidden)), places(batch.questions, golds))

    def decode(self, batch: Batch, hidden: Tensor) -> list[Prediction[Choice]]:
        """B predictions with all options, best first."""
        shares = (self.scores(self.features(batch, hidden)) / self.temperature).softmax(-1)
        made = []
        for asked, row in zip(batch.questions, shares.tolist(), strict=True):
            told = dict(zip((asked.options[-1], *asked.options[:-1]), row, strict=False))
            ranked = [(Choice(each), min(1.0, told[each])) for each in sorted(told, key=lambda name: -told[name])]
            made.append(Prediction(*ranked[0], tuple(ranked[1:])))
        return made


def places(questions: Sequence[Question], golds: Sequence[Choice]) -> Tensor:
    """Where each gold stands among the scores.  -> (B,)"""
    pairs = zip(questions, golds, strict=True)
    return torch.tensor([(asked.options.index(gold.option) + 1) % len(asked.options) for asked, gold in pairs])


@lru_cache(maxsize=4096)
def cues(question: Question) -> Tensor:
    """What the places of the marks say of each candidate, and its distance in buckets.  -> (C, S)"""
    text, (pronoun, *candidates) = question.text, question.marks
    starts, ends = [start for start, _ in words(text)], sentence_ends(text)

    def word(at: int) -> int:
        return max(0, bisect_right(starts, at) - 1)

    def place(at: int) -> int:
        """In the sentence, in words from 0."""
        begin = ends[sentence(at) - 1] if sentence(at) else 0
        return max(0, word(at) - bisect_left(starts, begin))

    def sentence(at: int) -> int:
        return bisect_right(ends, at)

    rows, own = [], math.log1p(place(pronoun.start))
    for each in candidates:
        before = each.end <= pronoun.start
        left, right = (each.end, pronoun.start) if before else (pronoun.end, each.start)
        between = any(left <= other.start < right for other in candidates)
        apart = sentence(pronoun.start) - sentence(each.start)
        named = [at for at in _mentions(text, text[each.start : each.end]) if not each.start <= at < each.end]
        gap = max(0, word(right) - word(left - 1) - 1)
        at = math.log1p(place(each.start))
        prior = text[: each.start].rstrip()[-1:]
        row = {
            "before": before,
            "nearest": before and not between,
            "same": apart == 0,
            "sentence before": apart == 1,
            "farther": apart > 1,
            "opens": not prior or prior in _OPENING,
            "place": at,
            "parallel": abs(at - own),
            "named before": min(3, sum(at < pronoun.start for at in named)),
            "named": min(4, len(named)),
            "bracket": text[each.end : each.end + 1] == ")",
            "possessor": text[each.end :].lstrip(" ")[:2] in ("'s", "’s"),
            "distance": math.log1p(gap),
            "length": min(5, word(each.end - 1) - word(each.start) + 1),
        }
        bucket = min(NEAR - 1, int(math.log2(1 + gap / 4)))
        rows.append([float(row[name]) for name in CUES] + [float(bucket == number) for number in range(NEAR)])
    return torch.tensor(rows)


def _mentions(text: str, name: str) -> list[int]:
    """Where any long word of `name` begins in `text`; the name itself where it has none."""
    parts = [each for each in re.findall(r"\w+", name) if len(each) > 2] or [name]
    found = re.finditer("|".join(rf"(?<!\w){re.escape(each)}(?!\w)" for each in parts), text)
    return [each.start() for each in found]
