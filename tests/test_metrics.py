"""The metrics count as the field's own tools count, and finish elementwise."""

import numpy as np
import pytest
import sklearn.metrics as known
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

from lowrung.core.answers import Choice, Span, Spans
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.metrics.choice import CHOICE, accuracy, macro_f1, mcc
from lowrung.metrics.counting import per_label, total
from lowrung.metrics.spans import SPANS, micro_f1, precision, recall
from lowrung.tasks.entities import golds

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
tag_pairs = st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=12)
labels = st.sampled_from("abcd")


def of(*golds):
    return Example(Question(("",)), golds)


def spans(tags):
    return golds({"tokens": ["word"] * len(tags), "tags": list(tags)})


@given(st.lists(tag_pairs, min_size=1, max_size=6))
def test_spans_are_counted_as_seqeval_counts_them(sentences):
    true = [[gold for gold, _ in sentence] for sentence in sentences]
    said = [[answer for _, answer in sentence] for sentence in sentences]
    counts = total(micro_f1.count(of(*spans(gold)), spans(answer)[0]) for gold, answer in zip(true, said, strict=True))
    expected = precision_recall_fscore_support(true, said, average="micro", zero_division=0)[:3]
    assert [metric.finish(counts) for metric in (precision, recall, micro_f1)] == pytest.approx(expected)
    if counts:
        report = classification_report(true, said, output_dict=True, zero_division=0)
        for label, row in per_label(counts).items():
            assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(
                [report[label][name] for name in ("precision", "recall", "f1-score", "support")]
            )


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=40))
def test_choices_are_counted_as_scikit_learn_counts_them(pairs):
    true, said = [gold for gold, _ in pairs], [answer for _, answer in pairs]
    counts = total(accuracy.count(of(Choice(gold)), Choice(answer)) for gold, answer in pairs)
    assert accuracy.finish(counts) == pytest.approx(known.accuracy_score(true, said))
    assert macro_f1.finish(counts) == pytest.approx(known.f1_score(true, said, average="macro", zero_division=0))
    if len(set(true) | set(said)) > 1:  # with a single label scikit-learn warns, and both say 0
        assert mcc.finish(counts) == pytest.approx(known.matthews_corrcoef(true, said), abs=1e-9)


@pytest.mark.parametrize("metric", [*CHOICE, *SPANS], ids=lambda metric: metric.name)
def test_finish_works_elementwise(metric):
    random = np.random.default_rng(0)
    if metric in CHOICE:
        events = [("confusion", gold, said) for gold in "abc" for said in ("", *"abc")]
        events += [(kind, label) for kind in ("tp", "fp", "fn") for label in "abc"]
    else:
        events = [(kind, label) for kind in ("tp", "fp", "fn") for label in "abc"]
    many = {event: random.integers(0, 4, size=20).astype(float) for event in events}
    many = {event: np.append(numbers, 0.0) for event, numbers in many.items()}  # the last draw has nothing to count
    finished = metric.finish(many)
    assert finished.shape == (21,)
    for at in range(21):
        one = {event: float(numbers[at]) for event, numbers in many.items()}
        assert finished[at] == pytest.approx(metric.finish(one))


@pytest.mark.parametrize("metric", CHOICE, ids=lambda metric: metric.name)
def test_no_answer_to_a_choice_is_wrong(metric):
    rows = [("a", "a"), ("b", "b"), ("a", None)]
    silent = total(metric.count(of(Choice(gold)), Choice(said) if said else None) for gold, said in rows)
    right = total(metric.count(of(Choice(gold)), Choice(gold)) for gold, _ in rows)
    assert metric.finish(silent) < metric.finish(right)
    assert metric.finish(metric.count(of(Choice("a")), None)) == 0.0


def test_no_answer_misses_every_span_and_invents_none():
    gold = (Spans((Span(0, 3, "PER"), Span(4, 7, "LOC"))),)
    assert micro_f1.count(of(*gold), None) == {("fn", "PER"): 1.0, ("fn", "LOC"): 1.0}


def test_a_span_needs_start_end_and_label():
    gold = (Spans((Span(0, 3, "PER"),)),)
    for wrong in (Span(0, 4, "PER"), Span(1, 3, "PER"), Span(0, 3, "LOC")):
        assert micro_f1.finish(micro_f1.count(of(*gold), Spans((wrong,)))) == 0.0


def test_any_of_several_golds_is_right():
    assert accuracy.finish(accuracy.count(of(Choice("a"), Choice("b")), Choice("b"))) == 1.0
    golds_ = (Spans((Span(0, 3, "PER"),)), Spans((Span(0, 5, "PER"),)))
    assert micro_f1.finish(micro_f1.count(of(*golds_), Spans((Span(0, 5, "PER"),)))) == 1.0


def test_scores_of_nothing_are_zero():
    assert [metric.finish({}) for metric in (*CHOICE, *SPANS)] == [0.0] * 6
