"""What to label next: rows that a model is unsure of, that stand for many or are like none that it knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowrung.core.answers import Choice, Choices, Prediction
from lowrung.core.model import Model
from lowrung.core.parts import Question
from lowrung.core.words import words
from lowrung.run.nearest import vectors_of

MOST = 3000  # rows that are looked at, evenly spaced where there are more
APART = 0.4  # 1 - cosine from which on a row is like no other
FLOOR = 0.05  # of unsureness: a row that is like many others is of some use, however sure the model is

TINY = 1e-9

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

    Of choices the model is unsure by 1 minus the margin between its best two options (Scheffer et al. 2001), and each
    next row is the one by which those taken and known come nearer to all rows, the unsure ones above all (facility
    location, Wei, Iyer and Bilmes 2015; nearness is the square of a cosine): so they stand for many, and an outlier
    waits.
    Of other answers each next row is the one with the most doubt in all of its words (the negative log-probability of
    the answer, Settles and Craven 2008), of those that are not like one taken or known.

    Args:
        known: questions that have their right answers already.
    """
    looked = [round(each) for each in np.linspace(0, len(questions) - 1, min(MOST, len(questions)))]
    asked = [questions[at] for at in looked]
    said = model.answer(asked)
    unsure = np.array([unsureness(each) for each in said])
    vectors = vectors_of(model, [*asked, *known])
    vectors[[not each.whole.strip() for each in (*asked, *known)]] = 0.0  # of sounds and pictures it is none
    sides = vectors[: len(asked)], vectors[len(asked) :]
    if any(isinstance(each.answer, Choice | Choices) for each in said):
        taken = _standing_for_many(np.maximum(unsure, FLOOR), *sides, min(n, len(asked)))
    else:
        taken = _apart(np.array([doubt(*each) for each in zip(said, asked, strict=True)]), *sides, min(n, len(asked)))
    return [Wanted(looked[at], float(unsure[at]), said[at]) for at in taken]


def _standing_for_many(weights: Floats, inside: Floats, outside: Floats, n: int) -> list[int]:
    near = _nearness(inside, inside)
    np.fill_diagonal(near, 1.0)
    covered = _nearness(inside, outside).max(1, initial=0.0)
    taken = list[int]()
    while len(taken) < n:
        worth = weights @ np.maximum(near - covered[:, None], 0.0) + TINY * weights
        worth[taken] = -1.0
        taken.append(int(worth.argmax()))
        covered = np.maximum(covered, near[:, taken[-1]])
    return taken


def _apart(weights: Floats, inside: Floats, outside: Floats, n: int) -> list[int]:
    likest = (inside @ outside.T).max(1, initial=0.0)
    taken = list[int]()
    while len(taken) < n:
        worth = weights * (np.clip((1.0 - likest) / APART, 0.0, 1.0) + TINY)
        worth[taken] = -1.0
        taken.append(int(worth.argmax()))
        likest = np.maximum(likest, inside @ inside[taken[-1]])
    return taken


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


def doubt(said: Prediction[Any], asked: Question) -> float:
    """-log of the probability of an answer whose confidence is that probability by the root of its text's words."""
    length = max(1, len(words(asked.text)))
    return -math.log(min(max(said.confidence, TINY), 1 - TINY)) * math.sqrt(length)
