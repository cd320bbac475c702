"""Pronoun resolution as GAP's scorer counts it (Webster et al. 2018): each candidate is a decision of its own, so that
«none of them» finds nothing and is wrong about nothing. The gap between genders is a ratio of two F1s."""

from collections.abc import Callable
from typing import Any

from lowrung.core.answers import Choice
from lowrung.core.task import Counts, Example, Metric
from lowrung.metrics.counting import f1, ratio, summed

GENDER = "gender"  # the facet
WORDS = {  # what rows write → what is counted
    **dict.fromkeys(("feminine", "female", "f"), "feminine"),
    **dict.fromkeys(("masculine", "male", "m"), "masculine"),
}
OTHER = "no gender"  # what a row of another gender, or of none, counts as


def count(example: Example[Choice], answer: Choice | None) -> Counts:
    """("tp"|"fp"|"fn", gender) events over the candidates, ("right", "rows") and ("rows", "rows") over the rows.

    The last of the question's options stands for none of its candidates.
    """
    if not example.golds:
        return {}
    none, gold = example.question.options[-1], example.golds[0].option
    said = answer.option if answer else none
    gender = gender_of(example)
    events: dict[tuple[str, str], float] = {("rows", "rows"): 1.0}
    if answer and said == gold:
        events["right", "rows"] = 1.0
    if gold == said:
        return events if gold == none else {**events, ("tp", gender): 1.0}
    if gold != none:
        events["fn", gender] = 1.0
    if said != none:
        events["fp", gender] = 1.0
    return events


def gender_of(example: Example[Any]) -> str:
    """What the facet says: "feminine", "masculine" or `OTHER`."""
    return WORDS.get(dict(example.facets).get(GENDER, "").strip().casefold(), OTHER)


def _of(gender: str) -> Callable[[Counts], Any]:
    return lambda counts: f1(*(counts.get((kind, gender), 0.0) for kind in ("tp", "fp", "fn")))


feminine, masculine = _of("feminine"), _of("masculine")
PRONOUN = (
    Metric("f1", count, lambda c: f1(summed(c, "tp"), summed(c, "fp"), summed(c, "fn"))),
    Metric("accuracy", count, lambda c: ratio(summed(c, "right"), summed(c, "rows"))),
    Metric("f1_feminine", count, feminine, needs=GENDER),
    Metric("f1_masculine", count, masculine, needs=GENDER),
    Metric("ratio", count, lambda c: ratio(feminine(c), masculine(c)), needs=GENDER),
)
