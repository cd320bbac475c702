"""Exact-match span metrics, as conlleval and seqeval count them: a span is right when start, end and label are."""

from lowrung.core.answers import Span, Spans
from lowrung.core.task import Counts, Example, Metric
from lowrung.metrics.counting import f1, ratio, summed


def count(example: Example[Spans], answer: Spans | None) -> Counts:
    """("tp"|"fp"|"fn", label) events against the gold that the answer matches best."""
    found = set(answer.spans) if answer else set()
    gold = max((set(each.spans) for each in example.golds), key=lambda spans: len(spans & found), default=set[Span]())
    events: dict[tuple[str, str], float] = {}
    for kind, spans in (("tp", gold & found), ("fp", found - gold), ("fn", gold - found)):
        for span in spans:
            events[kind, span.label] = events.get((kind, span.label), 0.0) + 1.0
    return events


micro_f1 = Metric("f1", count, lambda c: f1(summed(c, "tp"), summed(c, "fp"), summed(c, "fn")))
precision = Metric("precision", count, lambda c: ratio(summed(c, "tp"), summed(c, "tp") + summed(c, "fp")))
recall = Metric("recall", count, lambda c: ratio(summed(c, "tp"), summed(c, "tp") + summed(c, "fn")))
SPANS = (micro_f1, precision, recall)
