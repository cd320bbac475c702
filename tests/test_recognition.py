"""WER, CER and their kin: by hand, beside jiwer, and over sums."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowrung.core.answers import Text
from lowrung.core.parts import Question
from lowrung.core.task import Example, Metric
from lowrung.metrics.counting import total
from lowrung.metrics.recognition import HEARD, READ, cer, exact, line_accuracy, lines, spoken, squeezed, wer

WORDS = st.text(alphabet="ab' é.—-AB\n", max_size=20)
READ_BY_NAME = {metric.name: metric for metric in READ}


def _example(*golds: str) -> Example[Text]:
    return Example(Question(("",)), tuple(map(Text, golds)))


def _score(metric: Metric[Text], said: str | None, *golds: str) -> float:
    return float(metric.finish(metric.count(_example(*golds), None if said is None else Text(said))))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Don’t stop!", "don't stop"),
        ("“Rock 'n' roll,” he SAID", "rock n roll he said"),
        ("  two \t words\n", "two words"),
        ("well-known — or not", "wellknown or not"),
        ("ready—steady", "ready steady"),
        ("ﬁne Ⅳ １２", "fine iv 12"),
        ("cafe\u0301", "café"),
        ("l’heure, l'été", "l'heure l'été"),
        ("€5 + 3", "€5 + 3"),
        ("我今天，很高兴。", "我今天很高兴"),
        ("…", ""),
    ],
)
def test_a_text_as_it_is_spoken(text: str, told: str) -> None:
    assert spoken(text) == told


@given(st.text())
def test_spoken_and_squeezed_texts_stay_as_they_are(text: str) -> None:
    for form in (spoken, squeezed):
        assert form(form(text)) == form(text)
    assert not any(unicodedata.category(letter).startswith("P") for letter in spoken(text).replace("'", ""))


@pytest.mark.parametrize(
    ("said", "golds", "scores"),
    [
        ("the cat sat", ["The cat sat."], (0, 0, 1)),
        ("the bat sat", ["the cat sat"], (1 / 3, 1 / 11, 0)),
        ("cat sat", ["the cat sat"], (1 / 3, 4 / 11, 0)),
        ("the the cat sat", ["the cat sat"], (1 / 3, 4 / 11, 0)),
        (None, ["the cat sat"], (1, 1, 0)),
        ("", ["the cat sat"], (1, 1, 0)),
        ("a b c d", ["x"], (4, 7, 0)),
        ("colour", ["color", "colour"], (0, 0, 1)),
        ("a x", ["a b c d", "a b"], (1 / 2, 1 / 3, 0)),
        ("", [""], (0, 0, 1)),
        (None, [""], (0, 0, 0)),
        ("uh", [""], (1, 2, 0)),
        ("我今天很高心", ["我今天很高兴"], (1 / 6, 1 / 6, 0)),
    ],
)
def test_what_was_heard_by_hand(said: str | None, golds: list[str], scores: tuple[float, ...]) -> None:
    assert [_score(metric, said, *golds) for metric in (wer, cer, exact)] == pytest.approx(scores)


@pytest.mark.parametrize(
    ("said", "golds", "scores"),
    [
        ("Low rung", ["Low rung"], (0, 0, 1, 0)),
        ("low RUNG", ["Low rung"], (5 / 8, 0, 0, 1)),
        ("Low  rung \n", ["Low rung"], (0, 0, 1, 0)),
        ("one\ntwo", ["one\ntwo\nthree"], (6 / 13, 6 / 13, 2 / 3, 1 / 3)),
        ("zero\none\n\nthree", ["one\ntwo\nthree"], (7 / 13, 7 / 13, 2 / 3, 2 / 3)),
        ("three\none", ["one\nthree"], (8 / 9, 8 / 9, 1 / 2, 1)),
        (None, ["one\ntwo"], (1, 1, 0, 1)),
        ("b", ["a", "b"], (0, 0, 1, 0)),
    ],
)
def test_what_was_read_by_hand(said: str | None, golds: list[str], scores: tuple[float, ...]) -> None:
    found = {metric.name: _score(metric, said, *golds) for metric in READ}
    assert found == pytest.approx(dict(zip(("cer", "cer_folded", "line_accuracy", "wer"), scores, strict=True)))


@given(WORDS, WORDS.filter(lambda text: spoken(text)))
def test_heard_texts_are_counted_as_jiwer_counts_them(said: str, gold: str) -> None:
    jiwer = pytest.importorskip("jiwer")
    assert _score(wer, said, gold) == pytest.approx(jiwer.wer(spoken(gold), spoken(said)))
    assert _score(cer, said, gold) == pytest.approx(jiwer.cer(spoken(gold), spoken(said)))


@given(WORDS, WORDS.filter(str.split))
def test_read_texts_are_counted_as_jiwer_counts_them(said: str, gold: str) -> None:
    jiwer = pytest.importorskip("jiwer")
    assert _score(READ_BY_NAME["wer"], said, gold) == pytest.approx(jiwer.wer(squeezed(gold), squeezed(said)))
    assert _score(READ_BY_NAME["cer"], said, gold) == pytest.approx(jiwer.cer(squeezed(gold), squeezed(said)))


def test_a_corpus_is_counted_as_jiwer_counts_it() -> None:
    jiwer = pytest.importorskip("jiwer")
    golds, said = ["one two three", "four", "five six"], ["one too three", "for five", "five six"]
    counts = [wer.count(_example(gold), Text(each)) for gold, each in zip(golds, said, strict=True)]
    assert wer.finish(total(counts)) == pytest.approx(jiwer.wer(golds, said)) == pytest.approx(3 / 6)


@pytest.mark.parametrize("metric", [*HEARD, *READ], ids=lambda metric: metric.name)
def test_counts_add_up_and_arrays_of_them_too(metric: Metric[Text]) -> None:
    first = metric.count(_example("a b"), Text("a c"))
    second = metric.count(_example("d"), None)
    summed = total([first, second])
    arrays = {event: np.array([first[event], summed[event]]) for event in summed}
    assert metric.finish(arrays).tolist() == [metric.finish(first), metric.finish(summed)]
    assert metric.finish(total([])) == 0.0
    assert metric.count(_example(), Text("a")) == {}


@given(WORDS, st.lists(WORDS, min_size=1, max_size=3))
def test_the_nearest_gold_counts(said: str, golds: list[str]) -> None:
    for metric in (*HEARD, *READ):
        counts = metric.count(_example(*golds), Text(said))
        assert counts in [metric.count(_example(gold), Text(said)) for gold in golds]
        if said in golds and metric is not line_accuracy:
            assert counts == metric.count(_example(said), Text(said))
    edits = [wer.count(_example(gold), Text(said))["edits"] for gold in golds]
    assert wer.count(_example(*golds), Text(said))["edits"] == min(edits)


def test_which_way_is_better() -> None:
    better = {metric.name: metric.higher_is_better for metric in (*HEARD, *READ)}
    assert better == {"wer": False, "cer": False, "exact": True, "cer_folded": False, "line_accuracy": True}


def test_lines_that_hold_nothing_are_none() -> None:
    assert lines(" a  b \n\n\r\nc\n") == ["a b", "c"]
