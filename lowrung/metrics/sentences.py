"""A corrector's sentences, as the field of Chinese spelling counts them: found, mended, and false alarms.

A sentence is found where exactly its wrong places were changed, and mended where it also comes out as the gold has it.
Precision is of the sentences that were changed, recall of those that are wrong (as in Cheng et al. 2020, SpellGCN, and
those who compare with it; the bake-off's own tool counts precision otherwise).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lowrung.core.answers import Text
from lowrung.core.edits import between
from lowrung.core.task import Counts, Example, Metric
from lowrung.metrics.counting import ratio
from lowrung.metrics.text import tokens


def count(example: Example[Text], answer: Text | None) -> Counts:
    """Sentences: wrong, right, changed, found, mended, broken; 0 or 1. Of several golds, the one that suits best."""
    if not example.golds:
        return {}
    source = example.question.text
    said = source if answer is None else answer.text
    return max((_against(source, gold.text, said) for gold in example.golds), key=_worth)


def _against(source: str, gold: str, said: str) -> dict[str, float]:
    wrong, changed = gold != source, said != source
    found = wrong and changed and _places(source, said) == _places(source, gold)
    return {
        "wrong": float(wrong),
        "right": float(not wrong),
        "changed": float(changed),
        "found": float(found),
        "mended": float(wrong and said == gold),
        "broken": float(changed and not wrong),
    }


def _worth(counts: dict[str, float]) -> tuple[float, ...]:
    return counts["mended"], counts["found"], -counts["broken"]


def _places(source: str, other: str) -> list[int] | list[tuple[int, int]]:
    if len(source) == len(other):
        return [at for at, (one, two) in enumerate(zip(source, other, strict=True)) if one != two]
    return [(edit.start, edit.end) for edit in between(source, other)]


def unspaced(example: Example[Any]) -> bool:
    """Whether the text is mostly of a script without blanks, where sentences are what the field counts."""
    text = example.question.text
    return len(tokens(text)) > max(2, 2 * len(text.split()))


def _f1(part: str) -> Callable[[Counts], Any]:
    return lambda counts: ratio(2 * counts.get(part, 0.0), counts.get("changed", 0.0) + counts.get("wrong", 0.0))


def _of(part: str, whole: str) -> Callable[[Counts], Any]:
    return lambda counts: ratio(counts.get(part, 0.0), counts.get(whole, 0.0))


detection_f1 = Metric("detection_f1", count, _f1("found"))
correction_f1 = Metric("correction_f1", count, _f1("mended"))
detection_precision = Metric("detection_precision", count, _of("found", "changed"))
detection_recall = Metric("detection_recall", count, _of("found", "wrong"))
correction_precision = Metric("correction_precision", count, _of("mended", "changed"))
correction_recall = Metric("correction_recall", count, _of("mended", "wrong"))
false_alarm = Metric("false_alarm", count, _of("broken", "right"), higher_is_better=False)
SENTENCES = (
    detection_f1,
    correction_f1,
    detection_precision,
    detection_recall,
    correction_precision,
    correction_recall,
    false_alarm,
)
