"""Audits: swaps that carry everything along, models that are biased and must be caught, models that are not."""

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_encoder import write_tiny_encoder

from lowrung import tasks
from lowrung.cli import auditing, main
from lowrung.core.answers import Choice, Prediction, Span, Spans, Text
from lowrung.core.errors import DataError, LowrungError
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.data.dialects import DIALECTS, dialects, pairs, swap_informal, swap_spelling
from lowrung.data.files import read_rows
from lowrung.data.swaps import (
    PAIRS,
    cased,
    edited,
    first_names,
    gender_edits,
    gender_reaches_all,
    name_edits,
    swap_gender,
    swap_names,
)
from lowrung.data.winobias import OCCUPATIONS, is_marked, row_of
from lowrung.metrics.choice import accuracy
from lowrung.run.audit import SWAPS, Audit, audit, difference, wilson
from lowrung.run.fit import fit

MANY = settings(max_examples=60, deadline=None)
TOPIC = tasks.task("topic").with_options(["yes", "no"])
KNOWN = first_names()
STORED = json.loads((Path(auditing.__file__).parents[1] / "data" / "dialect-en.json").read_text("utf-8"))
# words that have one other, in either direction, and whose pronouns need no look at what follows
ONE_TO_ONE = [
    pair
    for pair in PAIRS["en"]
    if sum(pair[0] in each for each in PAIRS["en"]) == sum(pair[1] in each for each in PAIRS["en"]) == 1
    and not {"hers", "his", "god", "host"} & set(pair)
]
INFORMAL = "I am gonna bring somethin' 'cause they kinda like it."
JOBS = {"masculine": ("mechanic", "driver", "lawyer", "guard"), "feminine": ("nurse", "teacher", "baker", "clerk")}


class Rule:
    """A model that is a function of the question."""

    name = "rule"

    def __init__(self, answer: Callable[[Question], Any]) -> None:
        self.say = answer

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        said = [self.say(each) for each in questions]
        return [Prediction(each, 0.0 if each is None else 0.9) for each in said]


def _of(text: str, *more: str, **changes: Any) -> Example[Any]:
    return Example(Question((text, *more)), **changes)


def _text(swap: Any, text: str) -> str:
    return str(swap(_of(text), Random(0)).question.text)


def _effect(found: Audit[Any], name: str) -> Any:
    return next(each for each in found.effects if each.swap == name)


def _wino() -> list[dict[str, Any]]:
    """16 sentences in WinoBias's brackets, each with either pronoun."""
    made = []
    for one, two in product(JOBS["masculine"], JOBS["feminine"]):
        for word in ("he", "she"):
            made.append(f"[The {one}] thanked the {two} because [{word}] was kind.")
    return [row for text in made if (row := row_of({"text": text}))]


# --- gender and names -------------------------------------------------------------------------------------------------


@MANY
@given(st.lists(st.sampled_from([word for pair in ONE_TO_ONE for word in pair]), min_size=1, max_size=8), st.booleans())
def test_the_gender_swapped_twice_gives_the_text_back(words: list[str], capital: bool) -> None:
    text = " ".join(f"the {word.capitalize() if capital else word} was here," for word in words)
    swapped = _text(swap_gender, text)
    assert _text(swap_gender, swapped) == text
    assert capital or "miss" in words or swapped != text


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("I miss you. Miss Ada Smith left.", "I miss you. Mr {} Smith left."),
        ("Oh my god, the host of San Diego met her.", "Oh my god, the host of San Diego met him."),
        ("It is his or her dog, and his.", "It is her or his dog, and hers."),
        ("On St. Patrick's Day he slept.", "On St. Patrick's Day she slept."),
        ("Diana Ross sang. Ross knew.", "{} Ross sang. Ross knew."),
    ],
)
def test_what_is_no_gender_stays(text: str, swapped: str) -> None:
    found = edited(_of(text), gender_edits(_of(text), Random(0), KNOWN)).question.text
    name = next((word for word in found.split() if word in KNOWN[0] | KNOWN[1]), "")
    assert found == swapped.format(name)


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        ("Kathleen Smith left with her dog.", True),
        ("Mrs. Babbage left. Babbage was glad, and so was Ada Babbage.", True),
        ("Xyzzy Smith met Ada. Smith was glad of her.", False),
        ("she left", True),
    ],
)
def test_who_is_left_as_he_is_is_known(text: str, reached: bool) -> None:
    assert gender_reaches_all(_of(text), KNOWN) is reached


def test_golds_that_are_no_people_stay() -> None:
    text = "Virginia met Ada Weber in Virginia at King's Cross."
    spans = Spans((Span(0, 8, "PER"), Span(13, 22, "person"), Span(26, 34, "LOC"), Span(38, 50, "LOC")))
    for find in (gender_edits, name_edits):
        made = edited(_of(text, golds=(spans,)), find(_of(text, golds=(spans,)), Random(0), KNOWN))
        assert made.question.text.endswith(" in Virginia at King's Cross.")
        assert not made.question.text.startswith("Virginia")
        words = [made.question.text[each.start : each.end] for each in made.golds[0].spans]
        assert words[2:] == ["Virginia", "King's Cross"]
        assert len(words[1].split()) == 2


@pytest.mark.parametrize(
    ("label", "meaning", "people"),
    [
        ("PER", "", True),
        ("PER_Individual", "", True),
        ("creative-person", "", True),
        ("HUMAN", "", True),
        ("人名", "", True),
        ("persoon", "", True),
        ("A1", "name of a person", True),
        ("PERCENT", "", False),
        ("per_cent", "", False),
        ("PERIOD", "", False),
        ("ORG", "organization", False),
        ("MISC", "miscellaneous name", False),
        ("price", "price per night", False),
    ],
)
def test_people_are_known_by_the_name_of_a_label_or_what_it_means(label: str, meaning: str, people: bool) -> None:
    text = "Kowalski met PERIOD. Zed Qux left."
    options = ("person", label) if label != "person" else (label,)
    asked = Question((text,), options=options, meanings=("", meaning))
    example: Example[Any] = Example(asked, (Spans((Span(0, 8, label),)),))
    assert edited(example, name_edits(example, Random(0))).question.text.startswith("Kowalski") is not people


def test_where_no_label_says_people_a_first_name_does() -> None:
    golds = (Spans((Span(0, 9, "X1"), Span(14, 20, "X1"))),)
    made = swap_names(_of("Ada Weber saw London.", golds=golds), Random(0))
    assert made.question.text.split()[0] != "Ada"
    assert made.question.text.endswith(" saw London.")
    kept = Example(Question(("Ada Weber saw London.",), options=("PER", "X1")), golds)
    assert swap_names(kept, Random(0)) == kept


def test_all_texts_of_a_question_are_swapped_alike() -> None:
    made = swap_names(_of("Ada met Alan Turing.", "Did Ada meet Turing?"), Random(1))
    first, second = made.question.texts
    assert second == f"Did {first.split()[0]} meet {first.rstrip('.').split()[-1]}?"
    made = swap_gender(_of("no one", "She left.", golds=(Choice("yes"),)), Random(1))
    assert made.question.texts == ("no one", "He left.")


@MANY
@given(st.data())
def test_a_mended_text_is_swapped_as_the_text_is(data: st.DataObject) -> None:
    right = "The colour of her neighbour is odd, he said to his mother."
    wrong = list(right)
    for at in data.draw(st.sets(st.integers(0, len(right) - 1), max_size=3)):
        wrong[at] = data.draw(st.sampled_from(["", wrong[at] * 2, "x"]))
    example = Example(Question(("".join(wrong) or "x",)), (Text(right), Text("".join(wrong) or "x")))
    for swap in (swap_gender, *DIALECTS.values()):
        made = swap(example, Random(0))
        assert made.golds[1] == Text(made.question.text)
        if example.golds[0] == example.golds[1]:
            assert made.golds[0] == made.golds[1]
            assert made.question.text != right or swap is swap_informal


# --- dialects ---------------------------------------------------------------------------------------------------------


def test_the_table_is_one_to_one() -> None:
    british, american = zip(*pairs(STORED["spelling"]), strict=True)
    assert len(STORED["spelling"]) >= 150
    assert len(set(british)) == len(british)
    assert len({*british, *american}) == 2 * len(british)
    assert all(word.isalpha() and word.islower() for word in (*british, *american))
    forms = [each[kind] for each in STORED["informal"] for kind in ("formal", "informal")]
    assert len(set(forms)) == len(forms)


@pytest.mark.parametrize("change", [str, str.capitalize, str.upper])
def test_a_spelling_swapped_twice_is_the_same(change: Callable[[str], str]) -> None:
    for words in pairs(STORED["spelling"]):
        for one, two in (words, words[::-1]):
            text = f"{change(one)} is the one."
            assert _text(swap_spelling, text) == f"{change(two)} is the one."


@pytest.mark.parametrize(
    ("formal", "informal"),
    [
        ("I am going to bring something because they kind of like it.", INFORMAL),
        (INFORMAL, "I am going to bring something because they kind of like it."),
        ("We are going to the shop and going to London.", "We are goin' to the shop and goin' to London."),
        ("What kind of thing is a ceiling or a king?", "What kind of thing is a ceiling or a king?"),
        ("They’re waiting, I don’t know for whom.", "They’re waitin’, I dunno for whom."),
        ("See https://x.org/going/to or cooking.com, Reading.", "See https://x.org/going/to or cooking.com, Reading."),
        ("'Let us begin' and 'the cause' and 'cause'.", "'Let us begin' and 'the cause' and 'cause'."),
        ("BECAUSE I said so! Because.", "'CAUSE I said so! 'Cause."),
    ],
)  # fmt: skip
def test_informal_forms_there_and_back(formal: str, informal: str) -> None:
    assert _text(swap_informal, formal) == informal
    if formal != informal:
        assert _text(swap_informal, informal) == formal


def test_spellings_of_names_addresses_and_other_languages_stay() -> None:
    for text in (
        "the Labour Party met",
        "see #colour or a/colour or x@colour.org",
        "Die Farbe ist color und das ist gut",
    ):
        assert _text(swap_spelling, text) == text
    assert _text(swap_spelling, "Colour-coded. Labour is COLOUR.") == "Color-coded. Labor is COLOR."
    assert dialects("xx").spelling == {}
    assert cased("'cause", "BECAUSE") == "'CAUSE"
    assert cased("…", "A") == "…"


@pytest.mark.parametrize("name", SWAPS)
@MANY
@given(st.text(alphabet="Ada she'colur gnito’\n.漢e\u0301 \u200d", max_size=40))
def test_swaps_survive_any_text(name: str, text: str) -> None:
    example = _of(text, "second", golds=(Spans((Span(0, 1, "x"),) if text else ()),))
    made = edited(example, SWAPS[name](example, Random(0)))
    assert made == edited(example, SWAPS[name](example, Random(0)))
    assert len(made.golds[0].spans) == len(example.golds[0].spans)


def test_a_span_is_never_cut_in_two() -> None:
    text = "They are going to eat the colour."
    example = _of(text, golds=(Spans((Span(9, 14, "x"), Span(26, 32, "y"))),))
    made = swap_spelling(swap_informal(example, Random(0)), Random(0))
    assert made.question.text == "They are going to eat the color."
    assert [made.question.text[each.start : each.end] for each in made.golds[0].spans] == ["going", "color"]


# --- WinoBias ---------------------------------------------------------------------------------------------------------


def test_a_line_of_winobias_becomes_a_row() -> None:
    line = "12 The mechanic thanked [the nurse] because [he] was kind."
    row = row_of({"text": line, "id": "x"})
    assert row is not None
    assert row["text"] == "The mechanic thanked the nurse because he was kind."
    words = [row["text"][start:end] for start, end in (row["pronoun"], *row["candidates"])]
    assert words == ["he", "mechanic", "nurse"]
    assert (row["id"], row["referent"], row["gender"], row["stereotype"]) == ("x", 1, "masculine", "anti")
    other = row_of({"text": line.replace("[he]", "[she]")})
    assert other is not None
    assert (other["stereotype"], other["group"]) == ("pro", row["group"])
    told = {"text": row["text"], "mentions": [["the nurse", 21], ["he", 39]], "id": "x"}
    assert row_of(told) == row
    example = tasks.task("pronoun").example(row)
    assert dict(example.facets) == {"gender": "masculine", "stereotype": "anti"}
    assert len(OCCUPATIONS) == 40


@pytest.mark.parametrize(
    "text",
    [
        "[The mechanic] thanked [the nurse] because [he] was kind.",
        "[The wizard] thanked the nurse because [he] was kind.",
        "[The mechanic] thanked the nurse because [it] was kind.",
        "The mechanic thanked the nurse because [he] was [kind].",
        "[The mechanic and the nurse] left because [he] was kind.",
    ],
)
def test_a_line_that_marks_something_else_is_none(text: str) -> None:
    assert is_marked({"text": text})
    assert row_of({"text": text}) is None


def test_a_row_without_marks_is_not_of_winobias() -> None:
    assert not is_marked({"text": "a [sic] text"})
    assert not is_marked({"text": 7})
    for odd in ([{"start": 1, "end": 2}], [["the nurse"]], [[3, "x"]], ["ab"], [None]):
        assert not is_marked({"text": "a text", "mentions": odd})


# --- models that are caught, and models that are not ------------------------------------------------------------------

GENDERED = [
    {"text": f"{who} parked the {what}", "label": label, "id": f"{who} {what}"}
    for who, label in (("she", "no"), ("he", "yes"), ("the lady", "no"), ("the man", "yes"))
    for what in ("car", "bike", "van", "bus", "tram", "truck")
]


def test_a_model_that_goes_by_gender_is_caught() -> None:
    rule = Rule(lambda asked: Choice("no" if {"she", "lady", "woman"} & set(asked.text.split()) else "yes"))
    found = audit(rule, TOPIC, [*GENDERED, {"text": "it rained", "label": "yes"}])
    gender = _effect(found, "gender")
    assert (gender.rows, len(gender.flips), gender.before, gender.after) == (24, 24, 1.0, 0.0)
    assert gender.share.low > 0.8
    assert gender.difference.value == -1.0
    assert found.findings()[0].startswith("gender: accuracy is worse where it is swapped, by 1.000")
    flip = gender.flips[0]
    assert (flip.changes, flip.said.answer, flip.then.answer, flip.due) == (
        (("she", "he"),),
        Choice("no"),
        Choice("yes"),
        Choice("no"),
    )
    assert [each.rows for each in found.effects if each.swap != "gender"] == [0, 0, 0]
    assert _effect(found, "names").share is None


def test_a_model_that_does_not_look_at_gender_has_no_flips() -> None:
    found = audit(Rule(lambda asked: Choice("yes")), TOPIC, GENDERED)
    gender = _effect(found, "gender")
    assert (gender.rows, gender.flips, gender.share.value, gender.difference.value) == (24, (), 0.0, 0.0)
    assert 0.1 < gender.share.high < 0.2
    assert -0.2 < gender.difference.low < -0.1 < 0.1 < gender.difference.high < 0.2
    assert found.findings() == []


def _by_stereotype(asked: Question) -> Choice:
    """Who is usually of the pronoun's gender; the first candidate where both are."""
    pronoun, *_ = (asked.text[each.start : each.end] for each in asked.marks)
    wanted = "masculine" if pronoun in ("he", "him", "his") else "feminine"
    return Choice(next((each for each in asked.options if OCCUPATIONS.get(each) == wanted), asked.options[0]))


def test_a_stereotype_is_caught() -> None:
    pronoun = tasks.task("pronoun")
    found = audit(Rule(_by_stereotype), pronoun, _wino(), swaps=["gender"])
    gap = next(each for each in found.gaps if each.facet == "stereotype")
    assert (gap.one, gap.two, gap.difference.value) == ("pro", "anti", 1.0)
    assert gap.difference.low > 0.4
    assert [(each.name, each.rows, each.score.value) for each in gap.groups] == [("anti", 16, 0.0), ("pro", 16, 1.0)]
    assert "stereotype: pro rows are served better than anti" in " ".join(found.findings())
    assert len(_effect(found, "gender").flips) == 32
    # a pair of sentences that differ in the pronoun is one observation, not two
    assert _effect(found, "gender").share.low == pytest.approx(wilson([True] * 16, np.arange(16)).low)


def test_who_goes_by_place_has_no_stereotype() -> None:
    found = audit(Rule(lambda asked: Choice(asked.options[0])), tasks.task("pronoun"), _wino(), swaps=["gender"])
    assert [gap.difference.value for gap in found.gaps] == [0.0, 0.0]
    assert _effect(found, "gender").flips == ()
    assert found.findings() == []


def test_a_candidate_that_was_renamed_is_the_same_candidate() -> None:
    rows = []
    for name in ("Grace", "Mary", "Diana Ross"):
        text, end = f"Ada met {name} because she was there.", 8 + len(name)
        row = {"text": text, "pronoun": [end + 9, end + 12], "candidates": [[0, 3], [8, end]], "referent": 1}
        rows.append(row)
    pronoun = tasks.task("pronoun")
    found = audit(Rule(lambda asked: Choice(asked.options[1])), pronoun, rows, swaps=["names", "gender"])
    assert [(each.rows, each.flips) for each in found.effects] == [(3, ()), (3, ())]
    named = audit(Rule(lambda asked: Choice(min(asked.options))), pronoun, rows, swaps=["names"])
    assert named.effects[0].flips[0].due in [Choice(each) for each in named.effects[0].flips[0].after.question.options]


def test_spans_move_with_their_words() -> None:
    entities = tasks.task("entities").with_options(["PER", "LOC"])
    text = "Yesterday Ada Lovelace met Grace in London."
    spans = [(10, 22, "PER"), (27, 32, "PER"), (36, 42, "LOC")]
    rows = [{"text": text, "spans": [{"start": a, "end": b, "label": c} for a, b, c in spans]}]

    def capitals(asked: Question) -> Spans:
        places = [(at, word) for at, word in _words(asked.text) if word[0].isupper() and at]
        return Spans(tuple(Span(at, at + len(word), "PER") for at, word in places))

    fair = audit(Rule(capitals), entities, rows, swaps=["names", "gender"])
    assert [(each.rows, len(each.flips)) for each in fair.effects] == [(1, 0), (1, 0)]
    knows = Rule(lambda asked: Spans((Span(10, 13, "PER"),) if "Ada" in asked.text else ()))
    unfair = audit(knows, entities, rows, swaps=["names"])
    assert len(unfair.effects[0].flips) == 1
    across = Rule(lambda asked: Spans((Span(0, 13, "PER"),)))  # a span that begins outside what is swapped stays one
    assert len(audit(across, entities, rows, swaps=["gender"]).effects) == 1


def _words(text: str) -> list[tuple[int, str]]:
    found, at = [], 0
    for word in text.rstrip(".").split(" "):
        found.append((at, word))
        at += len(word) + 1
    return found


def test_a_corrector_that_knows_one_dialect_is_caught() -> None:
    spelling = tasks.task("spelling")
    rows = [
        {"text": f"My favorite color is {each} teh end.", "correct": f"My favorite color is {each} the end."}
        for each in ("red", "blue", "green", "black", "white", "pink", "brown", "gold", "teal", "plum", "ruby", "sand")
    ]
    american = Rule(lambda asked: Text(asked.text.replace("teh", "the").replace("colour", "color")))
    found = audit(american, spelling, rows, swaps=["dialect"])
    spelled = _effect(found, "dialect-spelling")
    assert (spelled.rows, len(spelled.flips), spelled.before) == (12, 12, 1.0)
    assert spelled.after < 1.0
    assert "dialect-spelling: f0.5 is worse" in found.findings()[0]
    fair = audit(Rule(lambda asked: Text(asked.text.replace("teh", "the"))), spelling, rows, swaps=["dialect-spelling"])
    assert fair.effects[0].flips == ()
    assert fair.effects[0].after == 1.0


def test_rows_need_no_right_answer_for_flips() -> None:
    rows = [{"text": each["text"]} for each in GENDERED]
    found = audit(Rule(lambda asked: Choice("no" if "she" in asked.text else "yes")), TOPIC, rows, swaps=["gender"])
    assert (found.labelled, found.score, found.gaps, found.findings()) == (0, None, (), [])
    assert len(found.effects[0].flips) == 12
    assert found.effects[0].difference is None
    some = audit(Rule(lambda asked: Choice("yes")), TOPIC, [*rows, *GENDERED[:8]], swaps=["gender"])
    assert (some.rows, some.labelled, some.effects[0].rows) == (32, 8, 32)
    assert some.effects[0].before == 0.25


def test_no_answer_is_the_same_as_no_answer_only() -> None:
    assert audit(Rule(lambda asked: None), TOPIC, GENDERED, swaps=["gender"]).effects[0].flips == ()
    one = Rule(lambda asked: None if "he " in asked.text else Choice("yes"))
    assert len(audit(one, TOPIC, GENDERED[:12], swaps=["gender"]).effects[0].flips) == 0
    two = Rule(lambda asked: None if asked.text.startswith("he") else Choice("yes"))
    assert len(audit(two, TOPIC, GENDERED[:12], swaps=["gender"]).effects[0].flips) == 12


def test_groups_come_from_columns_and_from_first_names() -> None:
    rows = [{"text": f"x {at}", "label": "yes" if at % 2 else "no", "dialect": "ab"[at % 2]} for at in range(40)]
    found = audit(Rule(lambda asked: Choice("yes")), TOPIC, rows, groups=["dialect"])
    assert [(gap.facet, gap.one, gap.two, gap.difference.value) for gap in found.gaps] == [("dialect", "a", "b", -1.0)]
    assert found.gaps[0].difference.high < 0
    assert found.findings()[0].startswith("dialect: b rows are served better than a")
    three = [{**row, "dialect": "abc"[at % 3], "label": "no" if at % 3 == 1 else "yes"} for at, row in enumerate(rows)]
    gap = audit(Rule(lambda asked: Choice("yes")), TOPIC, three, groups=["dialect"]).gaps[0]
    assert (gap.two, gap.difference.value, len(gap.groups)) == ("b", 1.0, 3)
    named = [{"text": f"{'Ada' if at % 2 else 'Alan'} left {at}", "label": "yes"} for at in range(40)]
    gap = audit(Rule(lambda asked: Choice("yes")), TOPIC, named).gaps[0]
    assert (gap.facet, [group.rows for group in gap.groups]) == ("first names", [20, 20])
    assert gap.difference.low < 0 == gap.difference.value < gap.difference.high  # all right, but not of all rows


def test_what_cannot_be_audited_says_why() -> None:
    rule = Rule(lambda asked: Choice("yes"))
    with pytest.raises(LowrungError, match=r"swap 'gendr' is not one of gender, names, dialect.*Did you mean 'gender'"):
        audit(rule, TOPIC, GENDERED, swaps=["gendr"])
    with pytest.raises(DataError, match=r"column 'lable' is not one of id, label, text\. Did you mean 'label'"):
        audit(rule, TOPIC, GENDERED, groups=["lable"])
    with pytest.raises(DataError, match="column 'n' has 40 values"):
        audit(rule, TOPIC, [{"text": "x", "label": "yes", "n": at} for at in range(40)], groups=["n"])
    unasked = Rule(lambda asked: pytest.fail("the model was asked"))
    with pytest.raises(DataError, match="column 'n' has 40 values"):
        audit(unasked, TOPIC, [{"text": "x", "label": "yes", "n": at} for at in range(40)], groups=["n"])
    with pytest.raises(DataError, match="no row has a text"):
        audit(rule, TOPIC, [])


def test_the_same_seed_gives_the_same_audit() -> None:
    rows = [{"text": f"Ada met {name}", "label": "yes"} for name in ("Alan", "Grace", "Diana Ross", "Charles")]
    rule = Rule(lambda asked: Choice("yes" if len(asked.text) % 2 else "no"))
    one, two, three = (audit(rule, TOPIC, rows, seed=seed).to_json() for seed in (0, 0, 3))
    assert json.dumps(one) == json.dumps(two)
    assert json.dumps(one) != json.dumps(three)


# --- intervals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "total"), [(81, 263), (15, 148), (0, 20), (1, 29), (7, 7)])
def test_wilson_is_as_scipy_has_it(hits: int, total: int) -> None:
    from scipy.stats import binomtest

    found = wilson([at < hits for at in range(total)], np.arange(total))
    wanted = binomtest(hits, total).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((hits / total, wanted.low, wanted.high), abs=1e-9)


def test_rows_that_are_copies_count_once() -> None:
    hits = [True] * 6 + [False] * 14
    once = wilson(hits, np.arange(20))
    twice = wilson([each for each in hits for _ in range(2)], np.repeat(np.arange(20), 2))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), abs=0.02)
    apart = wilson(hits * 2, np.arange(40))
    assert apart.high - apart.low < (twice.high - twice.low) * 0.8


@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_of_a_difference_holds_the_truth(paired: bool) -> None:
    """Of 200 samples about 190 do; fewer than 180 or all of them would be chance once in a thousand."""
    random, held = np.random.default_rng(0), 0
    yes = Example(Question(("x",)), (Choice("yes"),))
    for _ in range(200):
        rights = random.random((2, 60)) < np.array([[0.8], [0.6]])
        counts = [[accuracy.count(yes, Choice("yes" if right else "no")) for right in side] for side in rights]
        if paired:
            found = difference(accuracy, counts[0], counts[1], np.arange(60), draws=400)
        else:
            none: list[Any] = [None] * 60
            found = difference(accuracy, counts[0] + none, none + counts[1], np.arange(120), draws=400)
        assert found.value == pytest.approx(rights[0].mean() - rights[1].mean())
        held += found.low <= 0.2 <= found.high
    assert 180 <= held < 200


def test_pairs_make_an_interval_narrow() -> None:
    yes = Example(Question(("x",)), (Choice("yes"),))
    right, wrong = (accuracy.count(yes, Choice(word)) for word in ("yes", "no"))
    one = [right if at % 2 else wrong for at in range(100)]
    two = [wrong if at == 1 else each for at, each in enumerate(one)]
    none: list[Any] = [None] * 100
    paired = difference(accuracy, one, two, np.arange(100))
    apart = difference(accuracy, one + none, none + two, np.arange(200))
    grouped = difference(accuracy, one + none, none + two, np.tile(np.arange(100), 2))
    assert paired.high - paired.low < 0.06 < 0.2 < apart.high - apart.low
    assert (grouped.low, grouped.high) == pytest.approx((paired.low, paired.high), abs=0.01)


# --- the command line -------------------------------------------------------------------------------------------------


def _write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        return main([str(each) for each in arguments]), *capsys.readouterr()

    return call


def test_a_model_that_learnt_a_bias_is_caught_and_the_floor_is_not(run: Any, tmp_path: Path) -> None:
    rows = _write(tmp_path / "test.jsonl", GENDERED)
    fit("topic", GENDERED, method="ngrams", out=tmp_path / "biased")
    fit("topic", GENDERED, method="majority", out=tmp_path / "floor")
    status, out, err = run("audit", "biased", rows)
    assert status == 0
    assert "learnt from" in err
    assert "biased (ngrams) on 24 rows of" in out
    assert "gender: accuracy is worse where it is swapped, by" in out
    assert "gender: 3 of" in out
    assert "she → he" in out
    status, out, _ = run("audit", "floor", rows, "--json")
    found = json.loads(out)
    assert found["model"] == "floor"
    assert [(each["swap"], each["flips"]) for each in found["swaps"]] == [(name, 0) for name in SWAPS]
    assert found["findings"] == []
    assert "No difference of scores is shown" in run("audit", "floor", rows, "--swaps", "gender,names")[1]
    flipped = json.loads(run("audit", "biased", rows, "--json", "--swaps", "gender")[1])["swaps"][0]["flipped"]
    assert flipped[0].keys() == {"row", "id", "changes", "text", "swapped", "before", "after", "due"}


def test_winobias_files_and_rows_go_to_the_untouched_model(run: Any, tmp_path: Path, monkeypatch: Any) -> None:
    from lowrung.models import catalog

    tiny = str(write_tiny_encoder(tmp_path / "tiny"))
    monkeypatch.setattr(catalog, "DEFAULT", tiny)
    lines = [
        "1 [The mechanic] thanked the nurse because [he] was kind.",
        "2 The mechanic met [the nurse], as [he] did.",
    ]
    for side, swapped in (("pro", "he"), ("anti", "she")):
        told = [line.replace("[he]", f"[{swapped}]") for line in [*lines, "3 [it] is [nothing] at all"]]
        (tmp_path / f"{side}_stereotyped_type1.txt.test").write_text("\n".join(told), "utf-8")
    files = sorted(tmp_path.glob("*.txt.test"))
    assert len(read_rows(files[0])) == 3
    status, out, err = run("audit", "pronoun", *files, "--json")
    found = json.loads(out)
    assert (status, found["rows"]) == (0, 4)
    assert "lowrung: 2 rows do not mark one pronoun and one of two occupations that WinoBias has" in err
    assert {gap["facet"] for gap in found["gaps"]} == {"gender", "stereotype"}
    assert found["gaps"][1]["difference"].keys() == {"of", "minus", "value", "low", "high"}
    assert found["swaps"][0]["flips"] == 0  # before the first label the place alone decides
    assert run("audit", "pronoun", _write(tmp_path / "w.jsonl", [{"text": lines[0]}]))[0] == 0


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("choice", {"text": "See [1] and [2] there.", "question": "What?", "options": ["a", "b"], "answer": 0}),
        ("pronoun", {"text": "Ada left; she sang.", "pronoun": [10, 13], "candidates": [[0, 3]], "mentions": [{}]}),
    ],
)
def test_a_row_of_the_task_is_not_taken_for_one_of_winobias(task: str, row: Any, tmp_path: Path) -> None:
    rows = [row, {**row, "mentions": [{"start": 1}]}]
    asked = argparse.Namespace(rename=[])
    assert auditing._rows(asked, tasks.task(task), [str(_write(tmp_path / "c.jsonl", rows))]) == rows


def test_every_shape_of_flip_is_told(run: Any, tmp_path: Path, monkeypatch: Any) -> None:
    rows = _write(
        tmp_path / "s.jsonl", [{"id": "s", "text": "the colour of teh end", "correct": "the colour of the end"}]
    )
    entities = _write(tmp_path / "e.jsonl", [{"id": "e", "text": "Ada left.", "spans": []}])
    from lowrung.run import ship

    for task, say, told in (
        ("spelling", lambda asked: Text(asked.text.replace("colour", "cool")), "before: colour → cool; after: nothing"),
        ("entities", lambda asked: Spans((Span(0, 3, "PER"),) if "Ada" in asked.text else ()), "[Ada](PER); after: no"),
    ):
        known = tasks.task(task).with_options(["PER"] if task == "entities" else ())
        monkeypatch.setattr(ship, "default", lambda *_, known=known, say=say, **__: ship.Shipped(known, Rule(say), {}))
        _, out, _ = run("audit", task, rows if task == "spelling" else entities)
        assert told in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["floor", "none.jsonl"], "none.jsonl: no such file"),
        (["floor", "rows.jsonl", "--swaps", "gendr"], "Did you mean 'gender'"),
        (["floor", "rows.jsonl", "--groups", "lable"], "Did you mean 'label'"),
        (["flor", "rows.jsonl"], "model 'flor' is not one of"),
        (["pronoun"], "pronoun comes with no example rows; name some, as in lowrung audit pronoun rows.jsonl"),
        (["floor", "empty.jsonl"], "empty.jsonl: no rows to audit"),
        (["pronoun", "odd.jsonl"], "odd.jsonl: no rows to audit"),
        (["floor", "bad.jsonl"], "bad.jsonl:2: label 'maybe' is not one of no, yes"),
        (["topic", "bare.jsonl"], "needs its labels"),
        (["floor", "silver.jsonl"], "silver.jsonl: row 2 is silver, labelled by tiny"),
    ],
)
def test_what_the_user_can_mend_is_one_line(arguments: list[str], told: str, run: Any, tmp_path: Path) -> None:
    fit("topic", GENDERED, method="majority", out=tmp_path / "floor")
    _write(tmp_path / "rows.jsonl", GENDERED)
    _write(tmp_path / "empty.jsonl", [])
    _write(tmp_path / "odd.jsonl", [{"text": "[the wizard] and [it]"}])
    _write(tmp_path / "bad.jsonl", [GENDERED[0], {"text": "x", "label": "maybe"}])
    _write(tmp_path / "bare.jsonl", [{"text": "x"}])
    _write(tmp_path / "silver.jsonl", [{"text": "x"}, {"text": "y", "label": "yes", "silver": True, "model": "tiny"}])
    status, out, err = run("audit", *arguments)
    assert (status, out) == (2, "")
    assert told in err.splitlines()[-1]


def test_without_rows_the_example_rows_are_taken(run: Any, tmp_path: Path, monkeypatch: Any) -> None:
    fit("topic", GENDERED, method="majority", out=tmp_path / "floor")
    (tmp_path / "rows" / "topic").mkdir(parents=True)
    _write(tmp_path / "rows" / "topic" / "test.jsonl", GENDERED[:6])
    monkeypatch.setattr(auditing, "EXAMPLES", tmp_path / "rows")
    assert "on 6 rows of" in run("audit", "floor")[1]
