"""Comparisons are paired, exact with few rows, and let a model that is no better through in at most 5 % of cases."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from lowrung.core.answers import Choice, Prediction, Span, Spans
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.metrics.choice import accuracy, macro_f1
from lowrung.metrics.spans import micro_f1
from lowrung.run.compare import compare
from lowrung.run.evaluate import report_of
from lowrung.run.shares import shares
from lowrung.tasks import task

TOPIC, ENTITIES = task("topic"), task("entities")
RIGHT, WRONG = Prediction(Choice("a"), 0.9), Prediction(Choice("b"), 0.9)


def topics(right, name="toy", groups=None):
    """A report of one row a truth value, or a letter: r right, w wrong."""
    right = [each == "r" for each in right] if isinstance(right, str) else list(right)
    groups = groups or [""] * len(right)
    examples = [Example(Question((f"text {at}",)), (Choice("a"),), group=group) for at, group in enumerate(groups)]
    return report_of(TOPIC, name, examples, [RIGHT if each else WRONG for each in right])


def entities(golds, found, invented):
    """A report of as many PER spans a row as `golds` says, of which `found` are answered, and `invented` others."""
    examples, predictions = [], []
    for gold, hit, extra in zip(golds, found, invented, strict=True):
        spans = [Span(4 * at, 4 * at + 3, "PER") for at in range(gold)]
        said = [*spans[:hit], *(Span(100 + 4 * at, 103 + 4 * at, "PER") for at in range(extra))]
        examples.append(Example(Question(("x" * 150,)), (Spans(tuple(spans)),)))
        predictions.append(Prediction(Spans(tuple(said)), 0.5))
    return report_of(ENTITIES, "toy", examples, predictions)


def test_a_model_is_no_better_than_itself():
    report = topics("rrwwrw")
    comparison = compare(report, report)
    assert comparison.probability_better == 0.5
    assert (comparison.difference.value, comparison.difference.low, comparison.difference.high) == (0, 0, 0)
    assert (comparison.mcnemar_p, comparison.rows_needed, comparison.differing) == (1.0, None, ())
    assert not comparison.better


@given(gains=st.integers(0, 6), losses=st.integers(0, 6), both=st.integers(0, 30))
def test_few_right_or_wrong_answers_get_the_exact_sign_test(gains, losses, both):
    one = topics([False] * gains + [True] * losses + [True] * (both + 1))
    two = topics([True] * gains + [False] * losses + [True] * (both + 1))
    comparison = compare(one, two, draws=5000)
    differing = gains + losses
    at_least = binom.sf(gains - 1, differing, 0.5) - binom.pmf(gains, differing, 0.5) / 2
    assert comparison.probability_better == pytest.approx(1 - at_least)
    assert comparison.mcnemar_p == pytest.approx(min(1.0, 2 * min(at_least, 1 - at_least)))
    assert comparison.differing == tuple(range(differing))


def test_many_right_or_wrong_answers_approach_the_sign_test():
    one, two = topics("w" * 33 + "r" * 20 + "r" * 150), topics("r" * 33 + "w" * 20 + "r" * 150)
    comparison = compare(one, two)
    exact = binomtest(33, 53, alternative="greater").pvalue - binom.pmf(33, 53, 0.5) / 2
    assert comparison.probability_better == pytest.approx(1 - exact, abs=0.01)
    assert comparison.mcnemar_p == pytest.approx(2 * exact)
    assert comparison.difference.value == pytest.approx(13 / 203)
    half = 1.96 * np.sqrt(53 / 203**2 - (13 / 203) ** 2 / 203)
    assert comparison.difference.low == pytest.approx(13 / 203 - half, abs=0.01)
    assert comparison.difference.high == pytest.approx(13 / 203 + half, abs=0.01)


def test_three_lucky_rows_do_not_ship_and_five_do():
    assert not compare(topics("wwwrrrrr"), topics("rrrrrrrr")).better  # the bootstrap alone would say 0.98
    assert compare(topics("wwwwwrrr"), topics("rrrrrrrr")).better
    four = compare(topics("w" * 4 + "r" * 96), topics("r" * 100)).difference
    assert four.low == 0.0  # few rows that differ widen the interval, not few rows in all


@pytest.mark.parametrize("rows", [9, 80])
def test_turning_a_comparison_round_turns_its_numbers_round(rows):
    random = np.random.default_rng(rows)
    one, two = topics(random.random(rows) < 0.6, "one"), topics(random.random(rows) < 0.7, "two")
    there, back = compare(one, two), compare(two, one)
    assert there.probability_better + back.probability_better == pytest.approx(1)
    assert there.difference.value == -back.difference.value
    assert there.mcnemar_p == pytest.approx(back.mcnemar_p)


def test_less_is_better_where_the_metric_says_so():
    error = replace(accuracy, name="error", finish=lambda counts: 1 - accuracy.finish(counts), higher_is_better=False)
    worse, better = topics("wwwwwwrr"), topics("rrrrrrrr")
    comparison = compare(worse, better, error)
    assert comparison.difference.value == pytest.approx(0.75)
    assert comparison.difference.low >= 0
    assert (comparison.value_one, comparison.value_two) == (0.75, 0.0)
    assert comparison.better
    assert comparison.probability_better == compare(worse, better).probability_better


def test_more_rows_are_asked_for_as_long_as_two_is_ahead_and_not_shown_better():
    one, two = "wwwrrwrrrrrr", "rrrwwrrrrrrr"
    comparison = compare(topics(one), topics(two))
    assert not comparison.better
    times = 1 + comparison.rows_needed / len(one)
    assert compare(topics(one * round(times + 0.5)), topics(two * round(times + 0.5))).probability_better > 0.94
    assert compare(topics(one * round(times / 2)), topics(two * round(times / 2))).probability_better < 0.95
    assert compare(topics(two), topics(one)).rows_needed is None
    assert compare(topics("wwwwwrrr"), topics("rrrrrrrr")).rows_needed is None


def test_the_verdict_says_which_and_how_sure():
    shown = compare(topics("w" * 6 + "rr", "untouched"), topics("r" * 8, "tuned")).verdict()
    assert shown.startswith("tuned is better than untouched: accuracy 1.000 against 0.250, better by +0.750")
    hidden = compare(topics("wwrwrrrr", "untouched"), topics("rrwrrrrr", "tuned"))
    assert hidden.verdict().startswith("tuned is not shown to be better than untouched")
    assert hidden.verdict().endswith(f"About {hidden.rows_needed} more rows would tell.")


def test_seeds_are_no_extra_rows():
    one, two = topics("wwwrrrrr"), topics("rrrrrrrr")
    single = compare(one, two)
    many = compare(one, [two] * 5)
    assert many.probability_better == single.probability_better
    assert (many.difference.value, many.rows) == (single.difference.value, 8)
    assert many.mcnemar_p is None


def test_seeds_that_disagree_make_less_sure():
    one = topics("r" * 50 + "w" * 50)
    agreeing = compare(one, [topics("r" * 60 + "w" * 40)] * 3)
    disagreeing = compare(one, [topics("r" * right + "w" * (100 - right)) for right in (45, 60, 75)])
    assert disagreeing.difference.value == pytest.approx(agreeing.difference.value)
    assert agreeing.better
    assert not disagreeing.better
    assert disagreeing.difference.high - disagreeing.difference.low > agreeing.difference.high - agreeing.difference.low
    assert 45 in disagreeing.differing


def test_seeds_are_paired_by_index():
    """Each seed's own untouched model is beaten by the same rows, whatever the seed's level."""
    ones = [topics("r" * right + "w" * (100 - right)) for right in (40, 60, 80)]
    twos = [topics("r" * (right + 8) + "w" * (92 - right)) for right in (40, 60, 80)]
    assert compare(ones, twos).better
    assert not compare(ones, twos[:2]).better


def test_a_group_counts_once():
    groups = ["talk"] * 6 + [""] * 4
    one, two = topics("wwwwwwrrrr", groups=groups), topics("rrrrrrrrrr", groups=groups)
    comparison = compare(one, two)
    assert comparison.probability_better == 0.75
    assert comparison.mcnemar_p is None
    assert len(comparison.differing) == 6


def test_spans_are_compared_by_their_counts():
    golds = [2] * 12
    one, two = entities(golds, [1] * 12, [1] * 12), entities(golds, [2] * 8 + [1] * 4, [1] * 12)
    comparison = compare(one, two)
    assert comparison.metric == "f1"
    assert comparison.better
    assert comparison.mcnemar_p is None
    assert comparison.difference.value == pytest.approx(two.value(micro_f1) - one.value(micro_f1))
    assert comparison.difference.low > 0


def test_other_examples_are_refused():
    with pytest.raises(ValueError, match="different examples"):
        compare(topics("rw"), topics("rwr"))
    with pytest.raises(ValueError, match="on each side"):
        compare(topics("rw"), [])


def rate_of_shipping(pairs):
    return float(np.mean([compare(one, two, metric, draws=400).better for one, two, metric in pairs]))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [8, 24, 100, 400])
def test_equal_models_ship_in_at_most_one_of_twenty_cases(rows):
    """3 x 400 comparisons of equals: the rate's standard error is 1.1 points a kind, and 2.5 of these are allowed."""
    random = np.random.default_rng(rows)

    def choices(right):
        return topics(random.random(rows) < right), topics(random.random(rows) < right), None

    def spans():
        golds = random.poisson(1.5, rows)
        sides = [entities(golds, random.binomial(golds, 0.7), random.poisson(0.3, rows)) for _ in range(2)]
        return *sides, micro_f1

    def seeds():
        hard = random.normal(size=rows)  # rows that are hard for one seed are hard for the others
        bars = norm.ppf(np.clip(0.7 + random.normal(0, 0.03, size=4), 0.05, 0.95))
        right = [0.8 * hard + 0.6 * random.normal(size=rows) < bar for bar in bars]
        return topics(random.random(rows) < 0.7), [topics(each) for each in right[:3]], macro_f1 if rows > 50 else None

    for draw in (lambda: choices(random.uniform(0.5, 0.95)), spans, seeds):
        assert rate_of_shipping([draw() for _ in range(400)]) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 400)


def test_equals_rarely_ship_and_better_models_mostly_do():
    """The quick form of the test above, and the power that it must not cost."""
    random = np.random.default_rng(7)
    pairs = [(topics(random.random(40) < 0.7), topics(random.random(40) < 0.7), None) for _ in range(150)]
    assert rate_of_shipping(pairs) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 150)
    pairs = [(topics(random.random(100) < 0.6), topics(random.random(100) < 0.8), None) for _ in range(50)]
    assert rate_of_shipping(pairs) > 0.8  # the sign test's own power is 0.91


def sure(shares_of_right, name="toy"):
    """A report of choices between a and b, a being right, from the probability given to a."""
    examples = [Example(Question((f"text {at}",)), (Choice("a"),)) for at in range(len(shares_of_right))]
    said = [
        Prediction(Choice("a"), share, ((Choice("b"), 1 - share),))
        if share >= 0.5
        else Prediction(Choice("b"), 1 - share, ((Choice("a"), share),))
        for share in map(float, shares_of_right)
    ]
    return replace(report_of(TOPIC, name, examples, said), shares=shares(examples, said))


def test_a_closer_look_lets_rows_speak_that_both_got_right():
    one, two = sure([0.6] * 20 + [0.4] * 3), sure([0.9] * 20 + [0.7] * 3)
    assert not compare(one, two).better  # three rows differ
    assert compare(one, two, closer=True).better
    assert compare(two, one, closer=True).probability_better == compare(two, one).probability_better, (
        "behind stays behind"
    )
    bare = replace(one, shares=())
    assert compare(bare, two, closer=True).probability_better == compare(bare, two).probability_better


def test_a_closer_look_lets_equal_models_through_in_at_most_5_percent():
    random, shipped = np.random.default_rng(4), 0
    for _ in range(300):
        hard = random.normal(0.5, 1, 40)  # rows are alike for both
        one, two = (sure(1 / (1 + np.exp(-hard - random.normal(0, 1.5, 40)))) for _ in range(2))
        shipped += compare(one, two, closer=True, draws=400).better
    assert shipped <= 300 * 0.05 + 2 * np.sqrt(300 * 0.05 * 0.95)


def test_the_share_of_a_gold_is_known_only_where_all_options_are_told():
    examples = [Example(Question(("x",)), (Choice("a"),)) for _ in range(2)]
    told = [Prediction(Choice("b"), 0.7, ((Choice("a"), 0.2), (Choice("c"), 0.1))), Prediction(Choice("a"), 1.0)]
    assert shares(examples, told) == pytest.approx((0.2, 1.0))
    assert shares(examples, [told[0], Prediction(Choice("b"), 0.7)]) == ()
    assert shares(examples, [told[0], Prediction(None, 0.0)]) == ()
    assert shares([], []) == ()


def test_tempering_finds_the_temperature_that_suits_the_golds():
    random = np.random.default_rng(0)
    true = random.random(400)
    examples = [
        Example(Question((f"{at}",)), (Choice("a" if r < t else "b"),))
        for at, (r, t) in enumerate(zip(random.random(400), true, strict=True))
    ]
    flat = 1 / (1 + np.exp(-np.log(true / (1 - true)) / 4))  # four times too unsure
    said = [Prediction(Choice("a"), float(p), ((Choice("b"), float(1 - p)),)) for p in flat]
    known = [p if each.golds[0].option == "a" else 1 - p for p, each in zip(true, examples, strict=True)]
    assert np.mean(np.abs(np.array(shares(examples, said, temper=True)) - known)) < 0.03
    assert np.mean(np.abs(np.array(shares(examples, said)) - known)) > 0.1
