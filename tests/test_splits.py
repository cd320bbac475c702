"""Splits: nested and stratified draws, folds and held-out shares that keep groups whole."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrung.core.answers import Answer, Choice, Span, Spans, Text
from lowrung.core.errors import DataError
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.data.splits import draw, folds, holdout, keys, order

MANY = settings(max_examples=60, deadline=None)
CLASSES = st.lists(st.sampled_from("aaaaaabbbc") | st.sampled_from("abcdefgh"), min_size=1, max_size=60)


def _example(answer: Answer | None, group: str = "") -> Example[Answer]:
    return Example(Question(("some text",)), (answer,) if answer else (), group=group)


def _choices(classes: str | list[str], groups: list[str] | None = None) -> list[Example[Answer]]:
    return [_example(Choice(each), group) for each, group in zip(classes, groups or [""] * len(classes), strict=True)]


def test_each_shape_of_answer_has_a_key() -> None:
    both = Spans((Span(0, 4, "COMMON"), Span(5, 9, "RARE")))
    common = Spans((Span(0, 4, "COMMON"),))
    examples = [_example(each) for each in (Choice("x"), Text("y"), both, common, common, Spans(), None)]
    assert keys(examples) == ["x", "", "RARE", "COMMON", "COMMON", "", ""]


@pytest.mark.parametrize("balanced", [False, True])
@MANY
@given(classes=CLASSES, seed=st.integers(0, 99))
def test_an_order_names_every_row_once(balanced: bool, classes: list[str], seed: int) -> None:
    assert sorted(order(classes, seed=seed, balanced=balanced)) == list(range(len(classes)))


@MANY
@given(classes=CLASSES, seed=st.integers(0, 99))
def test_a_proportional_prefix_has_every_class_early_and_its_share(classes: list[str], seed: int) -> None:
    ordered, totals = [classes[index] for index in order(classes, seed=seed)], Counter(classes)
    early = len(totals)
    assert set(ordered[: 2 * early]) == set(totals)
    for k in range(2 * early, len(ordered) + 1):
        for key, n in Counter(ordered[:k]).items():
            assert abs(n - k * totals[key] / len(ordered)) <= early + 2


def test_a_proportional_draw_keeps_shares() -> None:
    classes = "a" * 900 + "b" * 90 + "c" * 10
    ordered = [classes[index] for index in order(classes, seed=1)]
    assert set(ordered[:6]) == set("abc")
    assert Counter(ordered[:100])["b"] in (9, 10, 11)
    assert Counter(ordered[:500])["a"] in range(447, 453)


@MANY
@given(classes=CLASSES, seed=st.integers(0, 99))
def test_a_balanced_prefix_holds_the_same_number_of_each_class(classes: list[str], seed: int) -> None:
    ordered, totals = [classes[index] for index in order(classes, seed=seed, balanced=True)], Counter(classes)
    for n in range(1, min(totals.values()) + 1):
        assert set(Counter(ordered[: n * len(totals)]).values()) == {n}


def test_draws_are_nested_and_follow_the_seed() -> None:
    examples = _choices("ab" * 50)
    small, large = draw(examples, 8, seed=3), draw(examples, 32, seed=3)
    assert large[:8] == small
    assert draw(examples, 8, seed=4) != small
    assert len(draw(examples, 1000, seed=3)) == 100
    with pytest.raises(ValueError, match="0 rows or more"):
        draw(examples, -1, seed=0)


@MANY
@given(classes=CLASSES.filter(lambda each: len(each) > 1), k=st.integers(2, 6), seed=st.integers(0, 9))
def test_folds_without_groups_are_even(classes: list[str], k: int, seed: int) -> None:
    (made,) = folds(_choices(classes), k=k, seed=seed)
    assert len(made) == min(k, len(classes))
    assert sorted(index for _, test in made for index in test) == list(range(len(classes)))
    assert all(train and test and sorted(train + test) == list(range(len(classes))) for train, test in made)
    for key in set(classes):
        counts = [sum(classes[index] == key for index in test) for _, test in made]
        assert max(counts) - min(counts) <= 1
    sizes = [len(test) for _, test in made]
    assert max(sizes) - min(sizes) <= 1


GROUPED = st.lists(st.tuples(st.sampled_from("aab"), st.sampled_from(["", "g1", "g2", "g3", "g4"])), min_size=1, max_size=40)  # noqa: E501 # fmt: skip


@MANY
@given(rows=GROUPED, seed=st.integers(0, 9), share=st.floats(0.05, 0.95))
def test_a_group_is_never_on_both_sides(rows: list[tuple[str, str]], seed: int, share: float) -> None:
    groups = [group for _, group in rows]
    examples = _choices([key for key, _ in rows], groups)
    if len({group or index for index, group in enumerate(groups)}) < 2:
        with pytest.raises(DataError, match="needs 2 rows of different groups"):
            folds(examples)
        with pytest.raises(DataError, match="needs 2 rows of different groups"):
            holdout(examples, share=share, seed=seed)
        return
    for train, test in [*folds(examples, k=3, seed=seed)[0], holdout(examples, share=share, seed=seed)]:
        assert train
        assert test
        assert sorted(train + test) == list(range(len(rows)))
        assert {groups[index] for index in train} & {groups[index] for index in test} <= {""}


def test_rows_that_ask_the_same_are_never_on_both_sides() -> None:
    def made(
        text: str, group: str = "", *, options: tuple[str, ...] = (), marks: tuple[Span, ...] = ()
    ) -> Example[Answer]:
        return Example(Question((text,), options=options, marks=marks), (Choice("x"),), group=group)

    texts = [f"text {at % 20}" for at in range(100)]
    examples = [made(text) for text in texts]
    splits = [folds(examples, k=5)[0], [holdout(examples, share=0.2, seed=seed) for seed in range(5)]]
    for train, test in (pair for each in splits for pair in each):
        assert train
        assert test
        assert {texts[at] for at in train}.isdisjoint(texts[at] for at in test)
    unlike = [made("a"), made("a", options=("x", "y")), made("a", marks=(Span(0, 1, "first"),))]
    assert len(folds(unlike)[0]) == 3
    grouped = [made("a", "g"), made("a", "h"), made("b", "h"), made("a"), made("c")]  # the groups stay two
    assert sorted(test for _, test in folds(grouped)[0]) == [[0, 3], [1, 2], [4]]
    assert len(folds([made("a")] * 4, k=4)[0]) == 4  # where all are the same, each is by itself


def test_grouped_folds_are_near_even() -> None:
    random = Random(0)
    groups = [f"speaker {random.randrange(30)}" for _ in range(600)]
    classes = ["rare" if random.random() < 0.2 else "common" for _ in groups]
    (made,) = folds(_choices(classes, groups), k=5)
    assert all(100 <= len(test) <= 140 for _, test in made)
    rare = [sum(classes[index] == "rare" for index in test) for _, test in made]
    assert max(rare) - min(rare) <= 0.3 * sum(rare) / len(rare)


def test_repeats_differ_and_a_seed_repeats() -> None:
    examples = _choices("ab" * 20)
    one, two = folds(examples, repeats=2, seed=7)
    assert one != two
    assert folds(examples, repeats=2, seed=7) == [one, two]
    with pytest.raises(ValueError, match="needs 2 folds"):
        folds(examples, k=1)


@MANY
@given(classes=CLASSES.filter(lambda each: len(each) > 1), share=st.floats(0.05, 0.95), seed=st.integers(0, 9))
def test_a_held_out_share_is_stratified(classes: list[str], share: float, seed: int) -> None:
    train, test = holdout(_choices(classes), share=share, seed=seed)
    assert train
    assert test
    assert abs(len(test) - share * len(classes)) <= 1
    for key, n in Counter(classes).items():
        assert abs(sum(classes[index] == key for index in test) - share * n) <= 2


def test_a_share_lies_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holdout(_choices("ab"), share=1.0, seed=0)
