"""How far up the right one of the options that a row brings stands."""

from typing import Any

from lowrung.core.answers import Choice, Prediction
from lowrung.core.task import Counts, Example, Metric
from lowrung.metrics.counting import ratio


def count(example: Example[Choice], answer: Choice | None) -> Counts:
    """Events "rows", and "first" where the answer is a gold."""
    if not example.golds:
        return {}
    return {"rows": 1.0, "first": 1.0} if answer in example.golds else {"rows": 1.0}


def count_rank(example: Example[Choice], said: Prediction[Choice]) -> Counts:
    """Events "rows", and "reciprocal": 1 / the place of the gold that stands highest; nothing where none is told."""
    if not example.golds:
        return {}
    ranked = [said.answer, *(answer for answer, _ in said.others)]
    place = next((at for at, answer in enumerate(ranked, 1) if answer in example.golds), 0)
    return {"rows": 1.0, "reciprocal": 1.0 / place} if place else {"rows": 1.0}


def _share(event: str) -> Any:
    return lambda counts: ratio(counts.get(event, 0.0), counts.get("rows", 0.0))


recall_at_1 = Metric("recall_at_1", count, _share("first"))
mrr = Metric("mrr", count_rank, _share("reciprocal"), ranks=True)  # mean reciprocal rank
RANKING = (recall_at_1, mrr)
