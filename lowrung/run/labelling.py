"""What to label next: rows that a model is unsure of, and that differ from each other and from those it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowrung.core.answers import Choice, Prediction
from lowrung.core.model import Model
from lowrung.core.parts import Question
from lowrung.run.nearest import vectors_of

POOL = 10  # times as many rows as are asked for: the surest of the others are not looked at
FLOOR = 0.05  # of unsureness: a row that is far from all others is of some use, however sure the model is

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row to be labelled: its place, how unsure the model is of it in [0, 1], and what it would say."""

    row: int
    unsure: float
    said: Prediction[Any]


def label_next(
    model: Model[Any], questions: Sequence[Question], n: int, *, known: Sequence[Question] = ()
) -> list[Wanted]:
    """The `n` questions whose right answers would teach most, the first one first.

    How unsure the model is, is 1 minus the margin between its best two options (Scheffer et al. 2001), or 1 minus its
    confidence where answers are no choices. Of the unsurest, each next one is that which is farthest from all taken
    and known ones (k-center, Sener and Savarese 2018), distances weighed by how unsure the model is.

    Args:
        known: questions that have their right answers already.
    """
    said = model.answer(questions)
    unsure = np.array([max(unsureness(each), FLOOR) for each in said])
    pool = np.argsort(-unsure, kind="stable")[: max(POOL * n, n)]
    vectors = vectors_of(model, [*(questions[at] for at in pool), *known])
    inside, outside = vectors[: len(pool)], vectors[len(pool) :]
    far = 1 - (inside @ outside.T).max(1) if len(outside) else np.ones(len(pool))
    taken = list[int]()
    while len(taken) < min(n, len(pool)):
        worth = np.maximum(far, 0.0) * unsure[pool]
        worth[taken] = -1.0
        best = int(worth.argmax())
        taken.append(best)
        far = np.minimum(far, 1 - inside @ inside[best])
    return [Wanted(int(pool[at]), float(unsure[pool[at]]), said[int(pool[at])]) for at in taken]


def unsureness(said: Prediction[Any]) -> float:
    """In [0, 1]."""
    if said.answer is None:
        return 1.0
    if isinstance(said.answer, Choice) and said.others:
        return 1.0 - (said.confidence - said.others[0][1])
    return 1.0 - said.confidence
