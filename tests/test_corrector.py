"""The lexicon, the channel and the corrector: what is touched, what never is, and where it goes from labels on."""

import json
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrung.cli import main
from lowrung.core.answers import Text
from lowrung.core.edits import apply
from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.data.noise import Noise
from lowrung.models import correcting, lexicon
from lowrung.models.channel import Channel
from lowrung.models.corrector import Corrector, Weights
from lowrung.models.lexicon import Lexicon
from lowrung.models.protection import Protection
from lowrung.run.mending import Wishes, granted
from lowrung.run.methods import METHODS, fit_method, foundation, methods_for, untouched, usual
from lowrung.run.ship import load
from lowrung.run.study import study
from lowrung.tasks import task

WORDS = {"the": 9000, "The": 900, "their": 800, "there": 900, "believe": 90, "received": 80, "a": 5000, "lot": 300}
WORDS |= {
    "Paris": 200,
    "NASA": 90,
    "parcel": 60,
    "somewhere": 40,
    "don't": 70,
    "and": 4000,
    "it": 3000,
    "in": 3000,
    "was": 3000,
}
WORDS |= {f"filler{'abcdefghij'[at % 10]}{'klmnopqrst'[at // 10]}": 500 for at in range(100)}
PAIRS = [("beleive", "believe"), ("recieved", "received"), ("thier", "their"), ("teh", "the")] * 12
NOISE = Noise.learn(PAIRS, confusions={"their": ("there",), "there": ("their",), "己": ("已",)})
SMALL = Corrector(Lexicon(WORDS, confusions=NOISE.confusions), Channel(NOISE))
TASK = task("spelling")
ROWS = [
    {"text": "I beleive the frobnik recieved it.", "correct": "I believe the frobnik received it."},
    {"text": "Teh parcel was there and the frobnik.", "correct": "The parcel was there and the frobnik."},
    {"text": "There was a lot of it.", "correct": "There was a lot of it."},
] * 5
WILD = "teh beleive alot the a recieved pariss THIER don't 👩🏽\u200d🚀 🇫🇷 漢字か עَ ก\u0e34 < > / @ _ 3 ` . ’".split()
WILD += ["e\u0301\u0308", "\u200d", "א\u05b0", "\ud800", "\n", " ", "  ", "\t"]
wild = st.lists(st.sampled_from(WILD), max_size=14).map("".join)


def said(text, model=SMALL):
    return model.answer([Question((text,))])[0]


def mended(text, model=SMALL):
    return said(text, model).answer.text


# --- the lexicon


def test_words_are_counted_in_their_forms_and_an_opening_says_nothing_of_case():
    counted = Lexicon.count(["The cat saw Paris.", "Paris saw the cat. Cat and NASA’s don’t", "It's the cat"])
    assert counted.forms("CAT") == {"cat": 4}
    assert counted.forms("the") == {"the": 3}
    assert counted.forms("paris") == {"Paris": 2}
    assert counted.times("don’t") == counted.times("DON'T") == 1
    assert "dog" not in counted
    assert Lexicon.count(["a a a b"], least=2).counts == {"a": 3}
    assert Lexicon.count(["a a a b b c"], most=2).counts == {"a": 3, "b": 2}


def test_candidates_are_the_word_what_is_near_and_two_words():
    small = SMALL.lexicon
    texts = [each.text for each in small.candidates("beleive")]
    assert texts[:2] == ["beleive", "believe"]
    assert "a lot" in [each.text for each in small.candidates("alot")]
    assert [each.kind for each in small.candidates("there", reach=0)][1:] == ["confusion"]
    assert [each.text for each in small.candidates("己")] == ["己", "已"]
    assert [each.text for each in small.candidates("字")] == ["字"]
    assert len(small.candidates("thee", 3)) == 3


@given(
    st.text(alphabet="abcdeé", min_size=1, max_size=9), st.sets(st.text("abcdeé", min_size=1, max_size=9), max_size=40)
)
@settings(max_examples=60, deadline=None)
def test_every_word_within_the_reach_is_found(word, known):
    from rapidfuzz.distance import OSA

    words = Lexicon(dict.fromkeys(known, 1))
    found = {each.text for each in words.candidates(word, 99) if each.kind == "word"}
    reach = min(3 if len(word) >= lexicon.LONG else 2 if len(word) > 2 else 1, len(word) - 1)
    assert found == {each for each in known if OSA.distance(word, each) <= reach} | {word}


@pytest.mark.parametrize("name", ["words.tsv", "words.tsv.xz", "words.tsv.gz"])
def test_a_lexicon_comes_back_from_its_file(tmp_path, name):
    own = SMALL.lexicon.with_words({"Frobnik": 3})
    own.save(tmp_path / name)
    again = Lexicon.load(tmp_path / name)
    assert (again.counts, again.own) == (own.counts, own.own)
    assert again.own == {"frobnik"}


def test_a_list_of_words_needs_no_counts(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("frobnik\n\nZettel\t12\n", "utf-8")
    assert Lexicon.load(path).counts == {"frobnik": 1, "Zettel": 12}
    path.write_text("frobnik\tmany\n", "utf-8")
    with pytest.raises(DataError, match=r"mine\.txt:1: behind the tab stands a count, not 'many'"):
        Lexicon.load(path)
    with pytest.raises(DataError, match="cannot be read as a list of words"):
        Lexicon.load(tmp_path / "none.tsv.xz")
    with pytest.raises(DataError, match="lexicon 'xx'"):
        lexicon.lexicon("xx")


# --- the channel


def test_slips_that_were_counted_are_likelier_than_others_and_nothing_is_certain():
    channel = SMALL.channel
    assert channel.log("beleive", "believe") > channel.log("belxive", "believe") > channel.log("bxlxivx", "believe")
    assert channel.log("tje", "the") > channel.log("tpe", "the")  # a key beside the right one
    assert channel.log("hte", "the") > channel.log("hqe", "the")
    assert channel.log("there", "their") > channel.log("thers", "their")  # a confusion
    assert channel.log("alot", "a lot") > -10
    assert channel.log("x" * 30, "the") == -60.0


@given(st.text("abehilort", max_size=8), st.text("abehilort", max_size=8))
@settings(max_examples=150, deadline=None)
def test_a_channel_gives_probabilities(written, meant):
    assert 0.0 <= SMALL.channel.slipped(written, meant) <= 1.5  # ways to make the same word add up, roughly to 1
    assert SMALL.channel.log(written, meant) >= -60.0


# --- the corrector


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("I beleive it.", "I believe it."),
        ("Teh parcel", "The parcel"),
        ("TEH PARCEL", "THE PARCEL"),
        ("it was  recieved\t.", "it was  received\t."),
        ("it was in pariss", "it was in Paris"),
        ("<b>beleive</b> &amp; it", "<b>believe</b> &amp; it"),
        ("it was some where", "it was somewhere"),
    ],
)
def test_words_are_mended_and_all_else_stays(text, right):
    assert mended(text) == right


@pytest.mark.parametrize(
    "text",
    [
        "https://beleive.com/teh?q=thier",
        "www.beleive.com",
        "beleive@thier.org",
        "`beleive` and ```\nthier\n```",
        "beleive_it",
        "getBeleive",
        "beleive2",
        "@beleive #beleive",
        "/usr/beleive/it",
        "C:\\beleive",
        "<beleive>",
        "beleive.py",
        "--beleive=it",
    ],
)
def test_what_is_no_plain_word_comes_back_byte_for_byte(text):
    assert mended(text) == text


@given(wild)
@settings(max_examples=300, deadline=None)
def test_the_mends_applied_to_the_text_are_the_answer(text):
    prediction = said(text)
    assert apply(text, [mend.edit for mend in prediction.mends])[0] == prediction.answer.text
    for mend in prediction.mends:
        assert text[mend.start : mend.end] != mend.text
        assert all(0 <= share <= mend.confidence + 1e-9 for _, share in mend.others)


@given(wild)
@settings(max_examples=100, deadline=None)
def test_a_text_with_everything_protected_comes_back(text):
    assert mended(text, Corrector(SMALL.lexicon, SMALL.channel, protect=(r"(?s).+",))) == text
    assert mended(text, Corrector(SMALL.lexicon, SMALL.channel, Weights(keep=1e6))) == text


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "x" * 1_000_000, "`" * 50_000, "<" * 50_000, "a." * 50_000, "שלום teh עולם", "é" * 99]
)
def test_odd_texts_are_answered_at_once(text):
    begun = time.monotonic()
    assert mended(text) == text.replace("teh", "the")
    assert time.monotonic() - begun < 5


def test_capitals_that_make_a_word_into_itself_are_no_mend():
    words = {"Straße": 900, "die": 9000, "ist": 4000, "lang": 300} | {f"füller{at}": 50 for at in range(100)}
    german = Corrector(Lexicon(words), SMALL.channel)
    text = "DIE STRASSE IST LANG."
    assert all(len({each.text for each in slot.options}) > 1 for slot in german.slots([text])[0])
    assert mended(text, german) == text
    open_ = replace(german, weights=replace(german.weights, keep=-99.0))
    assert [said(each, open_).mends for each in ("STRASSE", "STRA\u1e9eE")] == [(), ()]


def test_a_context_has_its_say():
    def prefers(texts, slots):
        return [[[40.0 * (o.text == "there") for o in slot.options] for slot in each] for each in slots]

    told = Corrector(SMALL.lexicon, SMALL.channel, context=prefers, reach=60.0)
    assert mended("it was their", told) == "it was there"
    assert mended("it was their") == "it was their"


def test_words_and_patterns_are_protected():
    assert mended("beleive teh", Corrector(SMALL.lexicon, SMALL.channel, protect=("Beleive",))) == "beleive the"
    assert mended("beleive teh", Corrector(SMALL.lexicon, SMALL.channel, protect=("t.h",))) == "believe teh"
    with pytest.raises(LowrungError, match="neither a plain word nor a regular expression"):
        Protection(("(",))


def test_words_of_ones_own_are_left_alone_and_offered():
    own = SMALL.with_words(["recieved", "Frobnik"])
    assert mended("recieved frobnik Frobnki", own) == "recieved frobnik Frobnik"


def test_a_budget_is_kept_where_it_was_calibrated():
    clean = ["thers it was"] * 10 + ["the parcel"] * 40
    loose, share = SMALL.calibrated(clean, 1.0)
    assert share == loose.curve[0][0] > 0
    strict, share = SMALL.calibrated(clean, 0.001)
    assert share <= 0.001
    assert all(mended(text, strict) == text for text in clean)
    assert strict.weights.keep > SMALL.weights.keep
    with pytest.raises(ValueError, match="budget"):
        SMALL.calibrated(clean, 1.5)


# --- from labels


def examples(rows=ROWS):
    return [TASK.example(row) for row in rows]


def test_labels_teach_words_and_never_make_these_rows_worse():
    tuned = correcting.fit_corrector(SMALL, examples(), seed=0)
    assert "frobnik" in tuned.lexicon.own
    metric = TASK.metrics[0]
    for row, example in zip(ROWS, examples(), strict=True):
        ours, theirs = (metric.count(example, Text(mended(row["text"], each))) for each in (tuned, SMALL))
        assert ours["broken"] <= theirs["broken"]
    assert correcting.fit_corrector(SMALL, examples()[:1]).weights == SMALL.weights


def test_rows_without_an_answer_are_passed_over():
    known = examples()
    mixed = [each for one in known for each in (replace(one, golds=()), one)]
    ours, theirs = (correcting.fit_corrector(SMALL, rows, seed=0) for rows in (mixed, known))
    assert ours.weights == theirs.weights
    assert ours.lexicon.own == theirs.lexicon.own


@pytest.mark.parametrize("kind", ["do-nothing", "dictionary", "channel", "channel-tuned"])
def test_a_model_comes_back_from_its_folder(tmp_path, kind):
    model = fit_method(METHODS[kind], TASK, examples() if METHODS[kind].learns else (), backbone=SMALL)
    assert model.name == kind
    correcting.save(model, tmp_path)
    again = correcting.load_corrector(tmp_path)
    for text in ("I beleive teh frobnki alot, THIER don't.", ""):
        assert said(text, again) == said(text, model)


def test_a_damaged_folder_is_refused(tmp_path):
    correcting.save(SMALL, tmp_path)
    (tmp_path / correcting.NOISE).write_text("{}", "utf-8")
    with pytest.raises(ModelError, match="is not the file that was saved"):
        correcting.load_corrector(tmp_path)
    with pytest.raises(ModelError, match="no corrector can be read there"):
        correcting.load_corrector(tmp_path / "none")


def test_the_methods_of_texts():
    assert [each.name for each in methods_for(TASK)] == ["channel", "do-nothing", "dictionary", "channel-tuned"]
    assert (untouched(TASK), usual(TASK)) == ("channel", "channel-tuned")
    with pytest.raises(ModelError, match="language 'xx'"):
        foundation(TASK, "xx")


def test_a_study_of_texts_ships_and_reports(tmp_path, monkeypatch):
    monkeypatch.setattr(correcting, "corrector", lambda language: SMALL)
    made = study(TASK, ROWS, labels=(0, 6, "all"), seeds=2, out=tmp_path / "out")
    assert {(each.method, each.labels) for each in made.cells} >= {
        ("channel", 0),
        ("do-nothing", 0),
        ("channel-tuned", 6),
    }
    assert made.gate.original == "channel"
    shipped = load(tmp_path / "out")
    assert shipped.answer("I beleive it").answer == Text("I believe it")
    card = (tmp_path / "out" / "model" / "README.md").read_text("utf-8")
    assert "lowrung answer" in card
    if (tmp_path / "out" / "report.html").is_file():
        assert "channel-tuned" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_wishes_are_for_correctors():
    model, told = granted(SMALL.with_curve(["thers it was"]), Wishes(protect=("teh",), budget=0.0))
    assert mended("teh", model) == "teh"
    assert told.startswith("budget 0.000%: mends 0.000%")
    with pytest.raises(LowrungError, match="no corrector"):
        granted(correcting.DoNothing(), Wishes(protect=("teh",)))
    with pytest.raises(LowrungError, match="never measured"):
        granted(SMALL, Wishes(budget=0.1))


# --- the embedded one


def test_the_embedded_corrector_knows_english_within_the_promised_size(capsys, tmp_path, monkeypatch):
    assert (lexicon.HOME / f"lexicon-en{lexicon.SUFFIX}").stat().st_size < 1_500_000
    monkeypatch.chdir(tmp_path)
    assert main(["try", "spelling", "I beleive alot of thier siences.", "--json", "--budget", "0.2%"]) == 0
    done = capsys.readouterr()
    found = json.loads(done.out)
    assert found["answer"] == "I believe a lot of their sciences."
    assert set(found["edits"][0]) == {"start", "end", "replacement", "confidence", "others"}
    assert "budget 0.200%" in done.err
    mine = tmp_path / "mine.txt"
    mine.write_text("siences\n", "utf-8")
    text = "They told us that thier siences are hard to beleive."
    assert main(["answer", "spelling", text, "--lexicon", str(mine), "--protect", "beleive"]) == 0
    assert capsys.readouterr().out.startswith("They told us that their siences are hard to beleive.")
    assert main(["try", "topic", "text", "--options", "a,b", "--budget", "2"]) == 2


def test_practice_rows_are_mended_more_than_they_are_broken():
    made = correcting.corrector("en")
    lines = [
        f"{line} yesterday in the morning." for line in ("She received the parcel", "They believe their government")
    ]
    rows = list(TASK.practice(lines * 20, Random(0)))
    counts = [
        TASK.metrics[0].count(Example(Question((r["text"],)), (Text(r["correct"]),)), said(r["text"], made).answer)
        for r in rows
    ]
    assert sum(each["mended"] for each in counts) > 10 * sum(each["broken"] for each in counts)


def test_the_files_of_the_language_are_named_where_the_package_lies():
    assert lexicon.languages() == ("en", "zh")
    assert Path(lexicon.HOME).name == "models"
