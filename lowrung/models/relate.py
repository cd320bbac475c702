"""Relate: a Choice of how two marked pieces of a text stand to each other, by their states and what is between them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lowrung.core.parts import Question
from lowrung.models.batch import Batch
from lowrung.models.heads import Rank, states_at

PARTS = 3  # the first piece, the second, what is between: the places that are learnt from


class Relate(Rank):
    """A Rank over the two pieces and the words between them, which say most of the relation.

    What is between is held against the label names, at 0 labels alone. What is learnt is learnt from it and from the
    states of the three places side by side (as Soares et al. 2019 do with the two pieces).

    Shape:
        hidden: (B, T, D) or (B, T, 2 D): the states to learn from, then the states to hold against the names
        names, shift: (K, 4 D), 0 in all of the names but their last D

    Args:
        options: K option names.
        names: their vectors of length one, (K, D), from the words for them (see `plain`); or (K, 4 D) as kept.
    """

    def __init__(self, options: Sequence[str], names: Tensor, *, width: int) -> None:
        super().__init__(options, F.pad(names, ((PARTS + 1) * width - names.shape[-1], 0)))
        self.width = width

    def features(self, batch: Batch, hidden: Tensor) -> Tensor:
        """(B, T, D or 2 D) -> (B, 4 D), of length one."""
        marks = torch.tensor([_places(asked) for asked in batch.questions])  # (B, 3, 2)
        learn, near = hidden[..., : self.width], hidden[..., -self.width :]
        states = F.normalize(states_at(learn, batch.offsets, marks), dim=-1).flatten(1)
        between = F.normalize(states_at(near, batch.offsets, marks[:, 2:]), dim=-1).flatten(1)
        return torch.cat([states, between], 1) / math.sqrt(PARTS + 1)

    def _fresh(self, options: Sequence[str], names: Tensor) -> Relate:
        return Relate(options, names, width=self.width)


def plain(words: str) -> str:
    """What is read for a label: `Cause Effect(e1,e2)` → «Cause Effect»; which way round it is only labels teach."""
    return re.sub(r"\((?:e1,e2|e2,e1)\)$", "", words)


def _places(question: Question) -> list[tuple[int, int]]:
    """The first piece, the second, and what is between them; both with all between them where nothing is."""
    one, two = sorted(question.marks)
    between = (one.end, two.start) if question.text[one.end : two.start].strip() else (one.start, two.end)
    return [*((each.start, each.end) for each in question.marks), between]
