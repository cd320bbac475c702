"""Which of some words are said or written somewhere, without labels: keyword spotting on what a CTC network hears.

A word scores how much less likely the best path that has its letters somewhere is than the best path of all, a letter:
0 where the likeliest letters hold it, below 0 otherwise. T states · V symbols · K words · S states of their letters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lowrung.models.ctc import BLANK
from lowrung.models.recognizer import Logs, Recognizer
from lowrung.models.senses import HEARING

Scores = NDArray[np.float64]
NEVER, WORST = -1e9, -20.0  # of a path that there is not, and of a letter's score
WEIGHT = 1.0  # of a score beside logarithms of probabilities; surest of itself so on digits of a speaker held out


def spotted(logs: Logs, words: Sequence[Sequence[int]]) -> Scores:
    """The score of each word, a sequence of symbols; NaN where it has none.  (T, V), K words -> (K,)"""
    scores = np.full(len(words), np.nan)
    known = [at for at, word in enumerate(words) if len(word)]
    if not known or not len(logs):
        return scores
    sizes = np.array([len(words[at]) for at in known])
    symbols = np.full((len(known), 2 * int(sizes.max()) - 1), BLANK)  # letters, with a blank between each two
    for row, at in zip(symbols, known, strict=True):
        row[: 2 * len(words[at]) : 2] = words[at]
    leaps = np.zeros(symbols.shape, dtype=bool)  # where the blank before a letter may be left out
    leaps[:, 2::2] = symbols[:, 2::2] != symbols[:, :-2:2]
    lost = (logs - logs.max(axis=1, keepdims=True)).astype(np.float64)  # (T, V), 0 on the best path
    paths, best, ends = np.full(symbols.shape, NEVER), np.full(len(known), NEVER), 2 * sizes - 2
    rows = np.arange(len(known))
    for frame in lost:
        came = np.maximum(paths[:, :-1], np.where(leaps[:, 1:], _moved(paths), NEVER))
        paths[:, 1:] = np.maximum(paths[:, 1:], came)
        paths[:, 0] = np.maximum(paths[:, 0], 0.0)  # a word may begin at any state
        paths += frame[symbols]
        best = np.maximum(best, paths[rows, ends])  # and end at any
    scores[known] = np.maximum(best / sizes, WORST)
    return scores


def _moved(paths: Scores) -> Scores:
    """Paths that come from two states before.  (K, S) -> (K, S - 1)"""
    return np.concatenate([np.full((len(paths), 1), NEVER), paths[:, :-2]], axis=1)[:, : paths.shape[1] - 1]


def spot(model: Recognizer, logs: Logs, words: Sequence[str]) -> Scores:
    """The score of each word or phrase in what `model` hears or reads, in the letter case that suits best.

    Letters that the alphabet lacks are passed over; a phrase with no other scores as the worst one.  (T, V) -> (K,)
    """
    cases = (str,) if model.sense.part is HEARING.part else (str, str.lower, str.upper, str.title)
    each = [spotted(logs, [model.head.ids(model.sense.written(case(word))) for word in words]) for case in cases]
    found = np.fmax.reduce(each)
    least = np.nanmin(found) if not np.isnan(found).all() else 0.0
    return np.where(np.isnan(found), least, found)
