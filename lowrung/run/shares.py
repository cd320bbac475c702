"""How much probability a model gave to the right answers: it tells two models of choices apart sooner than right and
wrong do, since a row that both get right, or both wrong, has its say too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lowrung.core.answers import Choice, Prediction
from lowrung.core.task import Example

TEMPERATURES = np.logspace(-1, 1, 41)


def shares(
    examples: Sequence[Example[Any]], predictions: Sequence[Prediction[Any]], *, temper: bool = False
) -> tuple[float, ...]:
    """The probability that each prediction gives to the right answers of its example, (N,), in [0, 1].

    () where that is not known: an answer that is no choice, or one whose others are not told.

    Args:
        temper: as if all confidences had passed the one temperature that suits these golds best (Guo et al. 2017).
            For a model that saw no label, whose confidences nothing has been fitted to.
    """
    rows = [_row(said) for said in predictions]
    if not rows or not all(rows):
        return ()
    width = max(map(len, rows))
    logs = np.full((len(rows), width), -np.inf)
    right = np.zeros((len(rows), width), dtype=bool)
    for at, (row, each) in enumerate(zip(rows, examples, strict=True)):
        logs[at, : len(row)] = np.log(np.clip([share for _, share in row], 1e-12, 1.0))
        right[at, : len(row)] = [option in each.golds for option, _ in row]
    given = [_given(logs, right, temperature) for temperature in (TEMPERATURES if temper else (1.0,))]
    best = max(given, key=lambda each: float(np.log(np.clip(each, 1e-12, 1.0)).sum()))
    return tuple(best.tolist())


def _given(logs: Any, right: Any, temperature: float) -> Any:
    """(N, K), (N, K) -> (N,)"""
    powers = np.exp((logs - logs.max(1, keepdims=True)) / temperature)
    return (powers * right).sum(1) / powers.sum(1)


def _row(said: Prediction[Any]) -> list[tuple[Choice, float]]:
    """Every option with its probability; [] where they are not all told."""
    if not isinstance(said.answer, Choice):
        return []
    row = [(said.answer, said.confidence), *said.others]
    return row if abs(sum(share for _, share in row) - 1.0) < 0.01 else []
