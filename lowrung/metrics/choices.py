"""Metrics of any number of labels a row, as scikit-learn counts them of an indicator matrix."""

from typing import Any

from lowrung.core.answers import Choices
from lowrung.core.task import Counts, Example, Metric
from lowrung.metrics.choice import macro_of_labels
from lowrung.metrics.counting import f1, ratio, summed


def count(example: Example[Choices], answer: Choices | None) -> Counts:
    """("tp"|"fp"|"fn", label) events, ("rows", "rows"), and ("right", "rows") where all labels of the row are right.

    No answer finds nothing, and is right about no row.
    """
    if not example.golds:
        return {}
    said, gold = set(answer.options if answer else ()), set(example.golds[0].options)
    events: dict[Any, float] = {("rows", "rows"): 1.0}
    if answer is not None and said == gold:
        events["right", "rows"] = 1.0
    for kind, labels in (("tp", gold & said), ("fp", said - gold), ("fn", gold - said)):
        events |= {(kind, label): 1.0 for label in labels}
    return events


micro_f1 = Metric("f1", count, lambda c: f1(summed(c, "tp"), summed(c, "fp"), summed(c, "fn")))
macro_f1 = Metric("macro_f1", count, macro_of_labels)
exact_match = Metric("exact_match", count, lambda c: ratio(summed(c, "right"), summed(c, "rows")))  # subset accuracy
CHOICES = (micro_f1, macro_f1, exact_match)
