"""Edits between two texts, and the metrics of a corrector, word by word."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrung.core.answers import Prediction, Text
from lowrung.core.edits import Edit, Mend, apply, between, undone
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.core.words import words
from lowrung.metrics.counting import total
from lowrung.metrics.text import MENDING, broken, count, exact, f05, mended, precision, recall, tokens

# combining accents, an emoji with a joiner and a skin tone, a flag, Han, kana, Hebrew, Arabic with marks, Thai
WILD = "a b'e\u0301\u0308 .,-\n\t\u200d👩🏽\u200d🚀🇫🇷漢字かא ב\u05b0عَ\u0e01\u0e34\u00ad\ud800"
wild = st.text(alphabet=st.sampled_from(WILD), max_size=24)
sentences = st.lists(st.sampled_from("to the teh a lot alot of together gether it's its . , é 漢".split()), max_size=9)


def of(source, *golds):
    return Example(Question((source,)), tuple(map(Text, golds)))


def scored(source, gold, said):
    golds = (gold,) if isinstance(gold, str) else gold
    counts = count(of(source, *golds), None if said is None else Text(said))
    return {metric.name: metric.finish(counts) for metric in MENDING}


# --- between


def _check(before, after):
    edits = between(before, after)
    assert apply(before, edits)[0] == after
    assert (edits == ()) == (before == after)
    assert list(edits) == sorted(edits)
    for left, right in pairwise(edits):
        assert left.end <= right.start
    assert apply(after, undone(before, edits))[0] == before
    return edits


@given(wild, wild)
def test_edits_between_two_texts_turn_one_into_the_other(before, after):
    _check(before, after)


@given(st.text(max_size=20), st.text(max_size=20))
def test_edits_between_any_two_texts(before, after):
    _check(before, after)


@given(sentences, sentences, st.sampled_from(["", " ", "  "]))
def test_an_edit_takes_whole_words(before, after, gap):
    before, after = " ".join(before), (" " + gap).join(after)
    starts, ends = {start for start, _ in words(before)}, {end for _, end in words(before)}
    for edit in _check(before, after):
        inside = [(start, end) for start, end in words(before) if start < edit.end and edit.start < end]
        assert not inside or (edit.start <= inside[0][0] and inside[-1][1] <= edit.end)
        assert edit.start < edit.end or not any(start < edit.start < end for start, end in words(before))
    assert starts.isdisjoint(ends) or before


@pytest.mark.parametrize(
    ("before", "after", "edits"),
    [
        ("teh cat", "the cat", [(0, 3, "the")]),
        ("I like alot of it", "I like a lot of it", [(7, 11, "a lot")]),
        ("we go to gether now", "we go together now", [(6, 15, "together")]),
        ("its a cat", "it's a cat", [(0, 3, "it's")]),
        ("wellknown", "well-known", [(0, 9, "well-known")]),
        ("kne wthat", "knew that", [(0, 3, "knew"), (4, 9, "that")]),
        ("word .", "word.", [(4, 5, "")]),
        ("one  two", "one two", [(4, 5, "")]),
        ("one.Two", "one. Two", [(4, 4, " ")]),
        ("a c", "a b c", [(2, 2, "b ")]),
        ("a b c", "a c", [(2, 4, "")]),
        ("a b", "a", [(1, 3, "")]),
        ("Hello world", "Hello, world", [(5, 5, ",")]),
        ("the teh", "teh the", [(0, 3, "teh"), (4, 7, "the")]),
        ("where eam cönstant, and", "where gas constant, and", [(6, 9, "gas"), (10, 18, "constant")]),
        ("我门好", "我们好", [(1, 2, "们")]),
        ("cafe\u0301s sind gut", "cafes sind gut", [(0, 6, "cafes")]),
        ("👍🏽 thier", "👍🏽 their", [(3, 8, "their")]),
        ("שלוס עולם", "שלום עולם", [(0, 4, "שלום")]),
        ("", "x y", [(0, 0, "x y")]),
        ("x", "", [(0, 1, "")]),
    ],
)
def test_edits_are_mended_words(before, after, edits):
    assert [(each.start, each.end, each.text) for each in _check(before, after)] == edits


def test_long_texts_are_aligned_at_what_they_share():
    before = " ".join(f"word{number} the" for number in range(3000))
    after = before.replace("word7 ", "wrod7 ").replace("word99 the ", "").replace("word2500 ", "word2500 new ")
    assert len(_check(before, after)) == 3
    same = "".join(chr(0x4E00 + number * number % 97) for number in range(2000))
    assert len(_check(same, same[:1000] + "頁" + same[1001:])) == 1
    _check("a" * 100_000, "b" + "a" * 100_000)
    _check("a b " * 400, "c d e " * 400)


def test_a_mend_is_an_edit_with_a_confidence():
    mend = Mend(0, 3, "the", 0.9, (("ten", 0.1),))
    assert mend.edit == Edit(0, 3, "the")
    assert Prediction(Text("the"), 0.9, mends=(mend,)).mends == (mend,)
    assert Prediction(Text("the"), 0.9).mends == ()
    with pytest.raises(ValueError, match="lies in"):
        Mend(0, 3, "the", 1.1)
    with pytest.raises(ValueError, match="start <= end"):
        Mend(3, 0, "the", 1.0)


# --- metrics


def test_a_word_is_what_stands_between_blanks():
    for text, expected in (
        ("don't (say), so!", "don't|(say),|so!"),
        ("漢字。ab", "漢|字|。ab"),
        ("🇫🇷 e\u0301t", "🇫🇷|e\u0301t"),
    ):
        assert "|".join(text[start:end] for start, end in tokens(text)) == expected


@pytest.mark.parametrize(
    ("source", "gold", "said", "expected"),
    [  # right, broken, misspelt, mended, edited
        ("teh cat sat", "the cat sat", None, (2, 0, 1, 0, 0)),
        ("teh cat sat", "the cat sat", "the cat sat", (2, 0, 1, 1, 1)),
        ("teh cat sat", "the cat sat", "ten cat sat", (2, 0, 1, 0, 1)),
        ("teh cat sat", "the cat sat", "the cut sat", (2, 1, 1, 1, 2)),
        ("teh cat sat", "the cat sat", "the catsat", (2, 2, 1, 1, 3)),
        ("teh cat sat", "the cat sat", "The cat sat", (2, 0, 1, 0, 1)),  # case counts
        ("teh cat sat", "the cat sat", "the cat sat.", (2, 1, 1, 1, 2)),  # punctuation counts
        ("teh cat sat", "the cat sat", "the  cat sat", (2, 0, 1, 1, 1)),  # one blank more changes no word
        ("alot of it", "a lot of it", "a lot of it", (2, 0, 1, 1, 1)),
        ("alot of it", "a lot of it", "allot of it", (2, 0, 1, 0, 1)),
        ("we go to gether", "we go together", "we go together", (2, 0, 2, 2, 2)),
        ("we go to gether", "we go together", "we go to gather", (2, 0, 2, 0, 1)),
        ("we go together", "we go together", "we go to gether", (3, 1, 0, 0, 1)),
        ("teh cat", "the cat", "thecat", (1, 1, 1, 0, 2)),
        ("I here it", "I hear it", "I here it", (2, 0, 1, 0, 0)),
        ("he gone home", "he has gone home", "he has gone home", (2, 0, 1, 1, 1)),
        ("he gone home", "he has gone home", "he had gone home", (2, 0, 1, 0, 1)),
        ("the the end", "the end", "the end", (2, 0, 1, 1, 1)),
        ("word . Next", "word. Next", "word. Next", (1, 0, 2, 2, 2)),
        ("right as it is", "right as it is", "", (4, 4, 0, 0, 4)),
        ("我门好。", "我们好。", "我们好。", (3, 0, 1, 1, 1)),
        ("我门好。", "我们好。", "我门坏。", (3, 1, 1, 0, 1)),
    ],
)
def test_words_are_counted(source, gold, said, expected):
    counts = count(of(source, gold), None if said is None else Text(said))
    assert tuple(counts[event] for event in ("right", "broken", "misspelt", "mended", "edited")) == expected
    assert counts["exact"] == (said == gold)


def test_scores_by_hand():
    rows = [
        ("teh cat sat on teh mat", "the cat sat on the mat", "the cat sit on teh mat"),
        ("all is wlel", "all is well", "all is wheel"),
    ]
    counts = total(count(of(source, gold), Text(said)) for source, gold, said in rows)
    scores = {metric.name: metric.finish(counts) for metric in MENDING}
    assert list(scores) == ["f0.5", "mended", "broken", "precision", "recall", "exact"]
    assert scores["mended"] == scores["recall"] == pytest.approx(1 / 3)
    assert scores["broken"] == pytest.approx(1 / 6)
    assert scores["precision"] == pytest.approx(1 / 3)
    assert scores["f0.5"] == pytest.approx(1.25 * (1 / 3) ** 2 / (0.25 / 3 + 1 / 3))
    assert scores["exact"] == 0.0
    assert not broken.higher_is_better
    assert all(metric.higher_is_better for metric in (f05, mended, precision, recall, exact))


def test_the_reference_that_suits_best_counts():
    golds = ("the colour grey", "the color gray")
    assert scored("teh color gray", golds, "the color gray")["exact"] == 1.0
    assert scored("teh color gray", golds, "the color gray")["f0.5"] == 1.0
    assert scored("teh color gray", golds, "the colour grey")["f0.5"] == 1.0
    assert scored("teh color gray", golds, None)["broken"] == 0.0
    assert count(of("teh"), Text("the")) == {}


@given(sentences, sentences, sentences)
def test_counts_fit_together(source, gold, said):
    source, gold, said = (" ".join(each) for each in (source, gold, said))
    counts = count(of(source, gold), Text(said))
    assert counts["right"] + counts["misspelt"] == len(tokens(source))
    assert 0 <= counts["broken"] <= counts["right"]
    assert 0 <= counts["mended"] <= min(counts["misspelt"], counts["edited"])
    assert counts["broken"] <= counts["edited"] - counts["mended"]
    right = count(of(source, gold), Text(gold))
    assert (right["mended"], right["broken"], right["exact"]) == (right["misspelt"], 0, 1)
    silent = count(of(source, gold), None)
    assert silent == count(of(source, gold), Text(source))
    assert silent["mended"] == silent["edited"] == silent["broken"] == 0


@given(wild, wild, wild)
@settings(max_examples=50)
def test_wild_texts_are_counted(source, gold, said):
    counts = count(of(source, gold), Text(said))
    assert 0 <= counts["broken"] <= counts["right"]
    assert 0 <= counts["mended"] <= counts["misspelt"]


@pytest.mark.parametrize("metric", MENDING, ids=lambda metric: metric.name)
def test_finish_works_elementwise(metric):
    random = np.random.default_rng(0)
    events = re.findall(r"\w+", "right broken misspelt mended edited rows exact")
    many = {event: np.append(random.integers(0, 4, size=20).astype(float), 0.0) for event in events}
    finished = metric.finish(many)
    assert finished.shape == (21,)
    for at in range(21):
        assert finished[at] == pytest.approx(metric.finish({event: float(many[event][at]) for event in events}))
    assert metric.finish({}) == 0.0
