"""What all metrics share: sums of counts, and division that survives nothing to divide by."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from lowrung.core.task import Counts


def total(counts: Iterable[Counts]) -> Counter[Hashable]:
    """The sum of counts, event by event."""
    summed: Counter[Hashable] = Counter()
    for each in counts:
        for event, number in each.items():
            summed[event] += number
    return summed


def ratio(part: Any, whole: Any) -> Any:
    """part / whole, elementwise, and 0 where whole is 0."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    divided = np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole != 0)
    return divided if divided.ndim else float(divided)


def summed(counts: Counts, kind: str) -> Any:
    """The sum of all events whose name starts with `kind`."""
    return sum((number for event, number in counts.items() if isinstance(event, tuple) and event[0] == kind), 0.0)


def f1(true_positive: Any, false_positive: Any, false_negative: Any) -> Any:
    return ratio(2 * np.asarray(true_positive), 2 * np.asarray(true_positive) + false_positive + false_negative)


def per_label(counts: Mapping[Hashable, float]) -> dict[str, dict[str, float]]:
    """label → precision, recall, f1 and support (gold occurrences), from ("tp"|"fp"|"fn", label) events."""
    labels = sorted({event[1] for event in counts if isinstance(event, tuple) and event[0] in ("tp", "fp", "fn")})
    table = {}
    for label in labels:
        hit, wrong, missed = (counts.get((kind, label), 0.0) for kind in ("tp", "fp", "fn"))
        table[label] = {
            "precision": ratio(hit, hit + wrong),
            "recall": ratio(hit, hit + missed),
            "f1": f1(hit, wrong, missed),
            "support": hit + missed,
        }
    return table
