"""Noise that is counted from misspellings, the augmentations made of it, and practice for spelling."""

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrung import tasks
from lowrung.core.answers import Choice, Span, Spans, Text
from lowrung.core.edits import Edit, apply, between, undone
from lowrung.core.errors import DataError
from lowrung.core.parts import Heard, Question
from lowrung.core.task import Example
from lowrung.data.augment import AUGMENTATIONS, case, keyboard, noisy, sound_alikes, spaces, typos
from lowrung.data.letters import changes, letters
from lowrung.data.noise import Mixture, Noise, languages, noise
from lowrung.data.swaps import edited

# what goes wrong here: ie for ei, ph as f, a double letter lost
PAIRS = [
    *[
        (f"{a}ie{b}", f"{a}ei{b}")
        for a in ("rec", "dec", "perc", "conc")
        for b in ("ve", "ved", "ving", "t", "pt", "l")
    ],
    *[
        (f"f{b}", f"ph{b}")
        for b in ("one", "oto", "rase", "ysics", "armacy", "obia", "antom", "ase", "oenix", "antasy")
    ],
    *[(f"{a}l{b}", f"{a}ll{b}") for a in ("a", "fo", "ba", "co") for b in ("ow", "oon", "ect", "ege", "y", "oy", "ed")],
]
LEARNT = Noise.learn(PAIRS * 3)
ONLY_LEARNT = Noise(LEARNT.patterns, mixture=Mixture(keyboard=0.0, uniform=0.0, twice=0.0))
CONFUSED = {"their": ("there", "they're"), "做": ("作",), "在": ("再",)}
TEXT = "Visit https://example.org/page or mail ada.lovelace@example.org about 1,234 parcels"

wild = st.text(
    alphabet=st.sampled_from("their ab'E\u0301\u0308 .\n\u200d👩🏽🇫🇷漢字做在か שלום عَر Прив ก\u0e34\u00ad"),
    min_size=1,
    max_size=40,
)


# --- letters


@pytest.mark.parametrize(
    ("right", "wrong", "found"),
    [
        ("believe", "beleive", [(3, 5, "ei")]),
        ("phone", "fone", [(0, 2, "f")]),
        ("allow", "alow", [(1, 3, "l")]),
        ("until", "untill", [(4, 5, "ll")]),
        ("separate", "seperate", [(3, 4, "e")]),
        ("the", "the", []),
        ("cafe\u0301", "cafe", [(3, 4, "e")]),
        ("a", "", [(0, 1, "")]),
    ],
)
def test_changes_of_letters(right, wrong, found):
    assert changes(letters(right), letters(wrong), 3) == found


@given(st.text(alphabet="abcé", max_size=9), st.text(alphabet="abcé", max_size=9))
def test_changes_make_the_wrong_word(right, wrong):
    made, parts = "", letters(right)
    at = 0
    for start, end, put in changes(parts, letters(wrong), 3):
        assert start >= at
        made += "".join(parts[at:start]) + put
        at = end
    assert made + "".join(parts[at:]) == wrong


@given(wild)
def test_letters_are_all_of_the_text(text):
    assert "".join(letters(text)) == text


# --- what is learnt


def test_a_learnt_pattern_goes_on_to_new_words():
    draws = [ONLY_LEARNT.damage(word, Random(seed)) for word in ("deceit", "photon", "ballot") for seed in range(30)]
    assert {"deciet", "foton", "balot"} <= set(draws)
    assert "photon" not in draws
    assert ONLY_LEARNT.damage("xyz", Random(0)) == "xyz"


def test_the_context_decides_where_it_is_known():
    pairs = [(f"{a}ance", f"{a}ence") for a in "bcdfghjklmnpqrstvw" for _ in range(3)]
    pairs += [(f"{a}endd", f"{a}end") for a in "bcdfghjklmnpqrstvw" for _ in range(3)]
    learnt = Noise.learn(pairs, mixture=Mixture(keyboard=0.0, uniform=0.0, twice=0.0))
    assert learnt.damage("science", Random(0)) == "sciance"
    assert {learnt.damage("bend", Random(seed)) for seed in range(9)} == {"bendd"}


def test_pairs_that_have_little_in_common_teach_nothing():
    assert not Noise.learn([("gthteth", "plan")] * 40 + [("same", "same")] * 40).patterns


@pytest.mark.parametrize(("word", "same"), [("Deceit", str.istitle), ("DECEIT", str.isupper), ("deceit", str.islower)])
def test_capitals_stay(word, same):
    assert all(same(LEARNT.damage(word, Random(seed))) for seed in range(40))


def test_damage_is_drawn_from_the_random_numbers_alone():
    again = Noise.from_json(json.loads(json.dumps(LEARNT.to_json())))
    assert again == LEARNT
    text = "they perceive phantoms and allow photos " * 5
    assert again.damaged(text, Random(3), 0.5) == LEARNT.damaged(text, Random(3), 0.5)


@pytest.mark.parametrize("stored", [{}, {"patterns": {"a": 1}}, {**LEARNT.to_json(), "mixture": {"leters": 1}}])
def test_what_is_no_noise_is_refused(stored):
    with pytest.raises(DataError, match="no stored noise"):
        Noise.from_json(stored)


# --- running text


@given(wild, st.integers(0, 99), st.sampled_from([0.0, 0.3, 1.0]))
def test_the_edits_made_the_damage_and_lead_back(text, seed, share):
    noise = Noise(LEARNT.patterns, CONFUSED)
    damaged, edits = noise.damaged(text, Random(seed), share)
    assert apply(text, edits)[0] == damaged
    assert apply(damaged, undone(text, edits))[0] == text
    assert apply(damaged, between(damaged, text))[0] == text
    assert share or damaged == text


def test_letters_of_another_script_are_not_mixed_in():
    for seed in range(60):
        assert not any(letter.isascii() for letter in LEARNT.damage("привет", Random(seed)))
        assert LEARNT.damage("漢字", Random(seed)) == "漢字"
        assert LEARNT.damage("👩🏽\u200d🚀", Random(seed)) == "👩🏽\u200d🚀"
        assert LEARNT.damage("1984", Random(seed)) == "1984"


def test_scripts_without_blanks_are_damaged_letter_by_letter():
    noise = Noise(confusions=CONFUSED)
    assert {noise.damaged("我在做", Random(seed), 1.0)[0] for seed in range(40)} <= {
        "我在做",
        "我再做",
        "我在作",
        "我再作",
    }
    assert {noise.damage("在", Random(seed)) for seed in range(20)} == {"再"}


def test_addresses_and_numbers_mostly_stay():
    kept = [LEARNT.damaged(TEXT, Random(seed), 0.5)[0] for seed in range(60)]
    for piece in ("https://example.org/page", "ada.lovelace@example.org", "1,234"):
        assert sum(piece in each for each in kept) >= 50
    assert sum("parcels" in each for each in kept) < 55


def test_a_share_is_not_exceeded():
    text = "they perceive phantoms and allow photos of their collection " * 200
    edits = LEARNT.damaged(text, Random(0), 0.2)[1]
    assert 0.1 < len(edits) / len(text.split()) < 0.22


def test_confused_words_keep_their_capitals():
    noise = Noise(confusions=CONFUSED, mixture=Mixture(letters=0.0, spaces=0.0, case=0.0))
    made = {noise.damaged("Their", Random(seed), 1.0)[0] for seed in range(40)} - {"Their"}
    assert made == {"There", "They're"}


# --- augmentations carry spans


@st.composite
def examples(draw):
    text = draw(wild)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
    pairs = [(start, end) for start, end in zip(cuts[::2], cuts[1::2], strict=False)]
    spans = tuple(Span(start, end, str(at)) for at, (start, end) in enumerate(pairs))
    return Example(Question((text, "a second text"), marks=spans[::-1]), (Spans(spans),))


@pytest.mark.parametrize("name", AUGMENTATIONS)
@settings(max_examples=30)
@given(example=examples(), seed=st.integers(0, 9))
def test_an_augmentation_keeps_every_span(name, example, seed):
    made = AUGMENTATIONS[name](example, Random(seed), share=1.0)
    assert made == AUGMENTATIONS[name](example, Random(seed), share=1.0)
    assert [mark.label for mark in made.question.marks] == [mark.label for mark in example.question.marks]
    assert [span.label for span in made.golds[0].spans] == [span.label for span in example.golds[0].spans]
    assert sorted(made.question.marks) == sorted(made.golds[0].spans)
    assert all(span.end <= len(made.question.text) for span in made.golds[0].spans)
    assert AUGMENTATIONS[name](example, Random(seed), share=0.0) == example


def test_augmentations_do_what_they_are_named_after():
    text = "Their deceit about photos and collections followed the company everywhere"
    example = Example(Question((text,), options=("a", "b")), (Choice("a"),))

    def made(augment, **options):
        return [augment(example, Random(seed), share=0.5, **options).question.text for seed in range(20)]

    assert all(each.casefold() == text.casefold() for each in made(case))
    assert all(each.replace(" ", "") == text.replace(" ", "") for each in made(spaces))
    assert all(len(each.split()) == len(text.split()) for each in made(typos, noise=LEARNT))
    assert set(made(keyboard, keys=("qj",))) == {text}
    assert set(made(sound_alikes, confusions=CONFUSED)) == {text, text.replace("Their", "There")} | {
        text.replace("Their", "They're")
    }
    for augment in (case, spaces, typos, keyboard, noisy):
        assert text not in (each := made(augment)) or len(set(each)) > 5
    assert noisy(example, Random(0), share=1.0).golds == example.golds


# --- the noise that comes with the package


def test_what_was_heard_stays_heard():
    example = Example(Question(("Their deceit about photos", Heard("and collections"))), (Choice("a"),))
    for made in (noisy(example, Random(1), share=1.0), edited(example, [Edit(0, 5, "My")])):
        assert [type(part) for part in made.question.given] == [str, Heard]


def test_english_noise_makes_the_slips_that_people_make():
    english = noise("en")
    for word, slips in {"believe": {"beleive", "belive"}, "definitely": {"definately"}, "physics": {"phisics"}}.items():
        assert slips & {english.damage(word, Random(seed)) for seed in range(300)}
    assert "there" in english.confusions["their"]
    assert english is noise("en")


def test_an_unknown_language_names_those_that_are_known():
    assert "en" in languages()
    with pytest.raises(DataError, match=r"noise 'eng' is not one of .*en.*Did you mean 'en'"):
        noise("eng")


# --- the task


def test_practice_rows_are_damaged_lines_and_some_are_not():
    spelling = tasks.task("spelling")
    assert spelling.practice is not None
    lines = ["The company followed its collections everywhere.\n", "\n", "  \n"] * 200
    rows = list(spelling.practice(lines, Random(0)))
    assert len(rows) == 200
    assert {row["correct"] for row in rows} == {"The company followed its collections everywhere."}
    untouched = sum(row["text"] == row["correct"] for row in rows)
    assert 20 < untouched < 120
    assert all(spelling.example(row).golds for row in rows)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": ""}, "'text' is empty"),
        ({"text": " \n\t\u2003"}, "'text' is empty"),
        ({"text": 7}, "'text' holds text"),
        ({"text": "a", "correct": 7}, "'correct' holds"),
        ({"text": "a", "correct": []}, "'correct' holds"),
        ({"text": "a", "correct": ["a", None]}, "'correct' holds"),
        ({"text": "a", "correct": " "}, "'correct' is empty"),
    ],
)
def test_a_row_that_cannot_be_read_says_why(row, says):
    with pytest.raises(DataError, match=says):
        tasks.task("spelling").example(row)


def test_several_right_texts_are_allowed():
    spelling = tasks.task("spelling")
    assert spelling.golds({"text": "a", "correct": ["b", "c", "b"]}) == (Text("b"), Text("c"))
    assert spelling.golds({"text": "a"}) == ()
