"""Reports say what a model did; intervals say how sure that is."""

import json
from dataclasses import replace
from time import process_time

import numpy as np
import pytest

from lowrung.core.answers import Choice, Prediction, Span, Spans
from lowrung.core.parts import Audio, Question
from lowrung.core.task import Example
from lowrung.metrics.choice import CHOICE, accuracy, macro_f1
from lowrung.metrics.spans import micro_f1
from lowrung.run.evaluate import evaluate, interval, percentiles, report_of, resampled
from lowrung.tasks import task

TOPIC, ENTITIES = task("topic"), task("entities")


def topics(pattern, groups=None):
    """A report of one row a letter: r right, w wrong, - no answer; later rows are more confident."""
    groups = groups or [""] * len(pattern)
    examples = [Example(Question((f"text {at}",)), (Choice("a"),), group=group) for at, group in enumerate(groups)]
    said = {"r": Choice("a"), "w": Choice("b"), "-": None}
    predictions = [Prediction(said[letter], at / len(pattern)) for at, letter in enumerate(pattern)]
    return report_of(TOPIC, "toy", examples, predictions)


class Parrot:
    name = "parrot"

    def __init__(self):
        self.asked = []

    def answer(self, questions):
        self.asked.append(len(questions))
        return [Prediction(Choice("a"), 1.0) for _ in questions]


def test_evaluate_asks_once_and_reports():
    model = Parrot()
    examples = [Example(Question(("x",)), (Choice(label),)) for label in "aab"]
    report = evaluate(TOPIC, model, examples)
    assert model.asked == [3]
    assert (report.model, report.value(accuracy)) == ("parrot", pytest.approx(2 / 3))
    assert report.seconds > 0


def test_bad_reports_are_refused():
    example = Example(Question(("x",)), (Choice("a"),))
    right = Prediction(Choice("a"), 1.0)
    with pytest.raises(ValueError, match="2 predictions for 1 examples"):
        report_of(TOPIC, "m", [example], [right, right])
    with pytest.raises(ValueError, match="example 1 has no right answer"):
        report_of(TOPIC, "m", [example, replace(example, golds=())], [right, right])
    with pytest.raises(ValueError, match="no examples"):
        report_of(TOPIC, "m", [], [])


def test_mistakes_come_most_confident_first_and_silence_is_counted_apart():
    report = topics("wr-wrw")
    assert [at for at, _, _ in report.mistakes(2)] == [5, 3]
    assert [at for at, _, _ in report.mistakes(9)] == [5, 3, 0]
    assert report.unanswered == 1
    assert report.right() == (False, True, False, False, True, False)


def test_an_invented_span_is_a_mistake_even_where_there_are_none():
    example = Example(Question(("nobody here",)), (Spans(),))
    answers = (Spans(), Spans((Span(0, 6, "PER"),)), None)
    report = report_of(ENTITIES, "m", [example] * 3, [Prediction(answer, 0.5) for answer in answers])
    assert report.right() == (True, False, False)


def test_a_report_becomes_json_with_an_interval_for_every_metric():
    shown = json.loads(json.dumps(topics("rrrw-").to_json()))
    assert (shown["rows"], shown["unanswered"]) == (5, 1)
    assert set(shown["scores"]) == {metric.name for metric in CHOICE}
    for score in shown["scores"].values():
        assert score["low"] <= score["value"] <= score["high"]
    assert shown["labels"]["a"]["recall"] == pytest.approx(0.6)


def test_metrics_that_count_alike_count_once():
    calls = []

    def count(example, answer):
        calls.append(answer)
        return accuracy.count(example, answer)

    report = topics("rrw")
    for metric in (replace(accuracy, count=count), replace(macro_f1, count=count)):
        interval([report], metric, draws=10)
    assert len(calls) == 3


def test_the_interval_is_the_bootstrap_s():
    report = topics("r" * 80 + "w" * 120)
    score = interval([report], accuracy, draws=4000)
    half = 1.96 * np.sqrt(0.4 * 0.6 / 200)
    assert score.value == pytest.approx(0.4)
    assert (score.low, score.high) == pytest.approx((0.4 - half, 0.4 + half), abs=0.01)
    narrow = interval([report], accuracy, confidence=0.5)
    assert score.low < narrow.low < 0.4 < narrow.high < score.high
    assert interval([report], accuracy, seed=1) == interval([report], accuracy, seed=1)


def test_percentiles_are_as_wide_as_student_s_t_for_few_rows():
    from scipy.stats import norm, t

    spread = np.sqrt(5 / 6)  # the bootstrap's standard error of 6 rows, where the unbiased one is 1
    drawn = spread * norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    assert percentiles(drawn, 6, 0.95) == pytest.approx((t.ppf(0.025, 5), t.ppf(0.975, 5)), abs=0.01)


def test_a_draw_takes_as_many_rows_as_there_are_each_as_likely():
    weights = np.concatenate(list(resampled(5, 1200, np.random.default_rng(0))), axis=1)
    assert weights.shape == (5, 1200)
    assert (weights.sum(axis=0) == 5).all()
    assert weights.mean(axis=1) == pytest.approx(np.ones(5), abs=0.1)
    assert weights.var(axis=1) == pytest.approx(np.full(5, 0.8), abs=0.12)


def test_span_intervals_resample_rows_and_their_counts():
    """Against the same bootstrap written as a loop."""
    random = np.random.default_rng(3)
    examples, predictions = [], []
    for _ in range(40):
        golds = tuple(Span(4 * at, 4 * at + 3, "PER") for at in range(random.integers(0, 4)))
        said = tuple(span for span in golds if random.random() < 0.7) + (Span(40, 43, "PER"),) * random.integers(0, 2)
        examples.append(Example(Question(("abc " * 12,)), (Spans(golds),)))
        predictions.append(Prediction(Spans(said), 0.5))
    report = report_of(ENTITIES, "m", examples, predictions)
    loop = []
    for _ in range(1000):
        picked = random.integers(40, size=40)
        drawn = report_of(ENTITIES, "m", [examples[at] for at in picked], [predictions[at] for at in picked])
        loop.append(drawn.value(micro_f1))
    score = interval([report], micro_f1, draws=4000)
    assert score.value == report.value(micro_f1)
    assert (score.low, score.high) == pytest.approx(np.quantile(loop, [0.025, 0.975]), abs=0.03)


@pytest.mark.parametrize("pattern", ["r" * 8, "w" * 8, "r"])
def test_rows_that_all_agree_do_not_make_certainty(pattern):
    from scipy.stats import binomtest

    exact = binomtest(pattern.count("r"), len(pattern)).proportion_ci(0.95, method="exact")
    score = interval([topics(pattern)], accuracy)
    assert (score.low, score.high) == pytest.approx((exact.low, exact.high))


def test_groups_are_drawn_whole():
    few = interval([topics("rrrwwrwrrw")], accuracy)
    repeated = topics("".join(letter * 20 for letter in "rrrwwrwrrw"), [str(at // 20) for at in range(200)])
    assert interval([repeated], accuracy) == few
    apart = interval([topics("".join(letter * 20 for letter in "rrrwwrwrrw"))], accuracy)
    assert apart.high - apart.low < (few.high - few.low) / 2


def test_seeds_are_meaned_and_widen_the_interval():
    low, high = topics("r" * 100 + "w" * 100), topics("r" * 160 + "w" * 40)
    both = interval([low, high], accuracy)
    assert both.value == pytest.approx(0.65)
    assert both.low < 0.5
    assert both.high > 0.8
    same = interval([low, low], accuracy)
    assert same.high - same.low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 200), abs=0.02)


def test_reports_on_other_examples_do_not_mix():
    with pytest.raises(ValueError, match="different examples"):
        interval([topics("rw"), topics("rwr")], accuracy)
    moved = topics("rw")
    with pytest.raises(ValueError, match="different examples"):
        interval([moved, replace(moved, examples=moved.examples[::-1])], accuracy)
    with pytest.raises(ValueError, match="no reports"):
        interval([], accuracy)


def test_a_sound_read_twice_is_the_same_example():
    def heard():
        example = Example(Question((Audio(np.zeros(8, np.float32), 8000),)), (Choice("a"),), id="1")
        return report_of(TOPIC, "m", [example], [Prediction(Choice("a"), 1.0)])

    assert interval([heard(), heard()], accuracy).value == 1.0


def test_three_thousand_rows_of_77_labels_take_a_moment():
    random = np.random.default_rng(0)
    examples = [Example(Question((str(at),)), (Choice(str(random.integers(77))),)) for at in range(3000)]
    report = report_of(TOPIC, "m", examples, [Prediction(Choice(str(random.integers(77))), 0.5) for _ in examples])
    interval([report], accuracy, draws=2)  # imports
    begun = process_time()
    interval([report], accuracy, draws=2000)
    assert process_time() - begun < 2  # about 0.3 s on a laptop
