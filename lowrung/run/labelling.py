"""What to label next: rows that a model is unsure of and that stand for many, but not for those that it knows."""

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

MOST = 3000  # rows that are looked at, evenly spaced where there are more
FLOOR = 0.05  # of unsureness: a row that is like many others is of some use, however sure the model is

Floats = NDArray[np.float32]


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
    confidence where answers are no choices. Each next row is the one by which those taken and known come nearer to all
    rows, the unsure ones above all (facility location, Wei, Iyer and Bilmes 2015; nearness is the square of a cosine):
    so they stand for many, and an outlier waits.

    Args:
        known: questions that have their right answers already.
    """
    looked = [round(each) for each in np.linspace(0, len(questions) - 1, min(MOST, len(questions)))]
    asked = [questions[at] for at in looked]
    said = model.answer(asked)
    unsure = np.array([unsureness(each) for each in said])
    vectors = vectors_of(model, [*asked, *known])
    inside, outside = vectors[: len(asked)], vectors[len(asked) :]
    near = _nearness(inside, inside)
    covered = _nearness(inside, outside).max(1, initial=0.0)
    taken = list[int]()
    while len(taken) < min(n, len(asked)):
        worth = np.maximum(unsure, FLOOR) @ np.maximum(near - covered[:, None], 0.0)
        worth[taken] = -1.0
        best = int(worth.argmax())
        taken.append(best)
        covered = np.maximum(covered, near[:, best])
    return [Wanted(looked[at], float(unsure[at]), said[at]) for at in taken]


def _nearness(one: Floats, two: Floats) -> Floats:
    """(N, D), (M, D), of length one -> (N, M) in [0, 1]"""
    near: Floats = np.maximum(one @ two.T, 0.0) ** 2
    return near


def unsureness(said: Prediction[Any]) -> float:
    """In [0, 1]."""
    if said.answer is None:
        return 1.0
    if isinstance(said.answer, Choice) and said.others:
        return 1.0 - (said.confidence - said.others[0][1])
    return 1.0 - said.confidence
