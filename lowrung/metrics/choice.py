"""Metrics of a choice among options, from one confusion count."""

from typing import Any

import numpy as np

from lowrung.core.answers import Choice
from lowrung.core.task import Counts, Example, Metric
from lowrung.metrics.counting import f1, ratio

NO_ANSWER = ""  # stands in the confusion where a model has no answer: wrong for every gold


def count(example: Example[Choice], answer: Choice | None) -> Counts:
    """One ("confusion", gold, said) event, with the tp/fp/fn events it implies; any of several golds is right."""
    golds = example.golds
    if not golds:
        return {}
    said = answer.option if answer else NO_ANSWER
    gold = said if any(said == each.option for each in golds) else golds[0].option
    if said == gold:
        return {("confusion", gold, said): 1.0, ("tp", gold): 1.0}
    wrong: dict[tuple[str, ...], float] = {("confusion", gold, said): 1.0, ("fn", gold): 1.0}
    return {**wrong, ("fp", said): 1.0} if answer else wrong


def _accuracy(counts: Counts) -> Any:
    right = sum((n for event, n in counts.items() if _confusion(event) and event[1] == event[2]), 0.0)
    return ratio(right, sum((n for event, n in counts.items() if _confusion(event)), 0.0))


def macro_of_labels(counts: Counts) -> Any:
    """The mean F1 of the labels that occur as gold or as answer (scikit-learn's default set of labels)."""
    labels = sorted({event[1] for event in counts if isinstance(event, tuple) and event[0] in ("tp", "fp", "fn")})
    scores, present = 0.0, 0.0
    for label in labels:
        hit, wrong, missed = (np.asarray(counts.get((kind, label), 0.0)) for kind in ("tp", "fp", "fn"))
        scores = scores + f1(hit, wrong, missed)
        present = present + (hit + wrong + missed > 0)
    return ratio(scores, present)


def _mcc(counts: Counts) -> Any:
    """Matthews correlation of K classes (Gorodkin 2004)."""
    golds: dict[Any, Any] = {}
    saids: dict[Any, Any] = {}
    right: Any = 0.0
    for event, number in counts.items():
        if _confusion(event):
            _, gold, said = event
            golds[gold] = golds.get(gold, 0.0) + number
            saids[said] = saids.get(said, 0.0) + number
            right = right + (number if gold == said else 0.0)
    rows = sum(golds.values(), 0.0)
    both = sum((golds[label] * saids.get(label, 0.0) for label in golds), 0.0)
    spread_gold = rows * rows - sum((n * n for n in golds.values()), 0.0)
    spread_said = rows * rows - sum((n * n for n in saids.values()), 0.0)
    return ratio(right * rows - both, np.sqrt(np.maximum(spread_gold * spread_said, 0.0)))


def _confusion(event: Any) -> bool:
    return isinstance(event, tuple) and event[0] == "confusion"


accuracy = Metric("accuracy", count, _accuracy)
macro_f1 = Metric("macro_f1", count, macro_of_labels)
mcc = Metric("mcc", count, _mcc)
CHOICE = (accuracy, macro_f1, mcc)
