"""The ground floor's promises, and the contract that every task keeps; a new task is found by its file name."""

import ctypes.util
import subprocess
import sys
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowrung import tasks
from lowrung.core import edits
from lowrung.core.answers import Choice, Choices, Prediction, Span, Spans, Text, parse, write
from lowrung.core.errors import DataError, LowrungError, unknown
from lowrung.core.parts import Audio, Image, Question, name_as_words
from lowrung.core.task import Example, Task, labels_of
from lowrung.data.rendering import _files

WILD = st.text(alphabet=st.sampled_from("ab [](){}\\né漢\n"), min_size=1, max_size=30)
PLAIN = (
    "Ada Lovelace wrote to Charles Babbage because Ada admired the engine.",
    "London is large. London has 9,000,000 inhabitants, said the mayor.",
    "Grace told Mary that Grace would come on Monday with her brother.",
)


@st.composite
def spans_in(draw, text, labels=("PER", "creative-work", "")):
    """Some spans of `text` that do not overlap."""
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    pairs = [(start, end) for start, end in zip(cuts[::2], cuts[1::2], strict=False)]
    return Spans(tuple(Span(start, end, draw(st.sampled_from(labels))) for start, end in pairs))


# --- the contract of tasks -------------------------------------------------------------------------------------------


@pytest.fixture(params=tasks.names())
def task(request: pytest.FixtureRequest) -> Task:
    return tasks.task(request.param)


@pytest.fixture
def example(task: Task) -> Example:
    return task.fitted_to([task.sample]).example(task.sample)


def test_a_task_is_found_by_its_file_name(task, request):
    assert task.name == request.node.callspec.params["task"]
    assert task.about
    assert task.metrics


def test_gold_has_the_promised_shape_and_survives_being_written(task, example):
    assert example.golds
    for gold in example.golds:
        assert type(gold) is task.answer
        assert parse(task.answer, write(gold, example.question), example.question) == gold
        for span in gold.spans if isinstance(gold, Spans) else ():
            assert span.end <= len(example.question.text)


def test_a_right_answer_outscores_none(task, example):
    """By the metric that decides; the others may be undefined for a single row, as MCC is, but never say worse."""
    for metric in task.metrics:
        sign = 1 if metric.higher_is_better else -1
        whole = (Prediction(example.golds[0], 1.0), Prediction(None, 0.0))
        right, none = (
            sign * metric.finish(metric.count(example, said if metric.ranks else said.answer)) for said in whole
        )
        assert right > none or (right == none and metric is not task.metrics[0]), metric.name


def test_ask_does_not_see_the_answer(task, example):
    """`sample` has a column that `ask` is not handed; without such columns the question stays and the gold goes."""
    seen = {name: value for name, value in task.sample.items() if name in task.columns}
    assert set(task.sample) - set(seen)
    asked, bare = task.question(task.sample), task.question(seen)
    assert (asked.texts, asked.options, asked.marks) == (bare.texts, bare.options, bare.marks)
    assert len(asked.given) == len(bare.given)
    assert task.golds(seen) == ()
    assert not task.example(seen).golds


def test_an_empty_row_is_a_data_error_of_one_line(task):
    with pytest.raises(DataError) as caught:
        task.question({})
    assert "\n" not in str(caught.value)


def test_practice_rows_are_valid_rows(task):
    if task.practice is None:
        pytest.skip("cannot be practised on raw text")
    if task.media == "audio" and ctypes.util.find_library("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    if task.media == "image" and not any(_files()):
        pytest.skip("no fonts are installed")
    rows = list(task.practice(PLAIN * 20, Random(0)))
    assert rows
    fitted = task.fitted_to(rows)
    for row in rows:
        practised = fitted.example(row)
        assert practised.golds
        assert all(type(gold) is task.answer for gold in practised.golds)
    again = list(task.practice(PLAIN * 20, Random(0)))
    assert list(map(_comparable, rows)) == list(map(_comparable, again))


def _comparable(row):
    """Sounds and pictures have no equality; espeak-ng's voices flutter by chance."""
    return {
        key: "sound" if isinstance(each, Audio) else each.pixels.tobytes() if isinstance(each, Image) else each
        for key, each in row.items()
    }


def test_an_unknown_task_names_the_closest_one():
    with pytest.raises(LowrungError, match="Did you mean 'entities'"):
        tasks.task("entitys")


# --- tasks as values -------------------------------------------------------------------------------------------------


def test_a_task_hands_ask_its_columns_only():
    handed = []

    def ask(row):
        handed.append(set(row))
        return Question((row["text"],))

    spying = replace(tasks.task("topic"), ask=ask)
    spying.example({"text": "x", "label": "a", "note": "b"})
    assert handed == [{"text"}]


def test_labels_come_from_the_rows_or_by_name():
    topic = tasks.task("topic")
    fitted = topic.fitted_to([{"text": "x", "label": "b"}, {"text": "y", "label": "a"}])
    assert fitted.options == ("a", "b")
    assert fitted.fitted_to([{"text": "z", "label": "c"}, {"text": "z", "label": "a"}]).options == ("a", "b", "c")
    assert topic.with_options(["b", "a", "b"]).options == ("b", "a")
    meant = topic.with_options(["a", "b"], {"a": "apples"}).question({"text": "x"})
    assert meant.words_for_options == ("apples", "b")
    with pytest.raises(DataError, match="Did you mean 'billing'"):
        topic.with_options(["billing", "delivery"]).example({"text": "x", "label": "biling"})


def test_labels_of_answers():
    assert labels_of(Choice("a")) == ("a",)
    assert labels_of(Spans((Span(0, 1, "x"), Span(1, 2, "y")))) == ("x", "y")
    assert labels_of(Choices(("b", "a", "b"))) == ("a", "b")
    assert labels_of(Text("a")) == ()


# --- write and parse -------------------------------------------------------------------------------------------------


@given(st.data())
def test_spans_survive_being_written_whatever_the_text(data):
    text = data.draw(WILD)
    spans = data.draw(spans_in(text))
    question = Question((text,))
    assert parse(Spans, write(spans, question), question) == spans


@given(st.data())
def test_labels_survive_being_written_whatever_they_are(data):
    text, label = data.draw(WILD), data.draw(st.text(alphabet="a ()\\[]"))
    spans = data.draw(spans_in(text, labels=(label, "LOC", "a\\")))
    for options in ((), tuple({label, "LOC", "a\\"})):
        question = Question((text,), options=options)
        assert parse(Spans, write(spans, question), question) == spans


def test_labels_stand_as_they_are_where_their_parentheses_pair():
    text = "Rome fell"
    for label, told in (
        ("LOC (city)", "[Rome](LOC (city)) fell"),
        ("a (b (c)) (d)", "[Rome](a (b (c)) (d)) fell"),
        ("a\\b", "[Rome](a\\b) fell"),
        (":)", "[Rome]((:\\))) fell"),
        ("(((a)))", "[Rome]((\\(\\(\\(a\\)\\)\\))) fell"),
    ):
        spans, question = Spans((Span(0, 4, label),)), Question((text,), options=(label,))
        assert (write(spans, question), parse(Spans, told, question)) == (told, spans)
    assert parse(Spans, "[Rome](LOC (city) fell", Question((text,))) is None


@given(st.data())
def test_words_that_do_not_repeat_the_text_stand_for_no_spans(data):
    text = data.draw(WILD)
    question = Question((text,))
    assert parse(Spans, write(data.draw(spans_in(text)), question) + "!", question) is None


def test_parsing_refuses_labels_and_options_that_were_not_offered():
    question = Question(("Ada left",), options=("PER", "LOC"))
    assert parse(Spans, "[Ada](PER) left", question) == Spans((Span(0, 3, "PER"),))
    assert parse(Spans, "[Ada](PRE) left", question) is None
    assert parse(Choice, " per ", question) == Choice("PER")
    assert parse(Choice, "person", question) is None
    assert parse(Choice, "a", Question(("x",), options=("A ", "a"))) == Choice("a")
    assert parse(Choice, "ab", Question(("x",), options=("aB", "Ab"))) is None
    assert parse(Text, "as it is ", question) == Text("as it is ")


@given(st.sets(st.sampled_from(("late", "a; b", "Wrong item"))))
def test_choices_survive_being_written(options):
    question, found = Question(("x",), options=("late", "a; b", "Wrong item")), Choices(tuple(options))
    assert parse(Choices, write(found, question), question) == found


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("billing; Delivery", ("billing", "delivery")),
        ("delivery\nbilling\n", ("billing", "delivery")),
        ("(None)", ()),
        ("billing; parcels", None),
        ("", None),
        ("none", None),
    ],
)
def test_choices_are_read_out_of_words(said, found):
    question = Question(("x",), options=("billing", "delivery"))
    assert parse(Choices, said, question) == (None if found is None else Choices(found))


@given(st.text(max_size=40))
def test_parsing_survives_whatever_a_model_says(words):
    question = Question(("a [b] c",), options=("PER",))
    for kind in (Text, Choice, Choices, Spans):
        parse(kind, words, question)


# --- bad input is refused where it is made ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Question(()), "at least one part"),
        (lambda: Question(("x",), options=("a", "a")), "must differ"),
        (lambda: Question(("x",), options=("a", "b"), meanings=("only one",)), "1 meanings for 2 options"),
        (lambda: Question(("abc",), marks=(Span(1, 4),)), "mark ends after the text"),
        (lambda: Span(3, 3), "0 <= start < end"),
        (lambda: Span(-1, 3), "0 <= start < end"),
        (lambda: Spans((Span(0, 3), Span(2, 5))), "overlap"),
        (lambda: Prediction(Text("x"), 1.1), "lies in"),
        (lambda: Prediction(Text("x"), float("nan")), "lies in"),
        (lambda: Audio(np.zeros((2, 8), np.float32), 8000), r"must be \(n,\)"),
        (lambda: Audio(np.zeros(8, np.float32), 0), "positive"),
        (lambda: Image(np.zeros((4, 4), np.uint8)), r"must be \(H, W, 3\)"),
        (lambda: Image(np.zeros((4, 4, 4), np.uint8)), r"must be \(H, W, 3\)"),
        (lambda: edits.Edit(2, 1, ""), "0 <= start <= end"),
        (lambda: edits.apply("abc", [edits.Edit(0, 2, "x"), edits.Edit(1, 3, "y")]), "overlap"),
        (lambda: edits.apply("abc", [edits.Edit(2, 4, "x")]), "ends after the text"),
    ],
)
def test_bad_input_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_good_parts_say_what_they_hold():
    sound = Audio(np.zeros(4000, np.float32), 8000)
    question = Question((sound, "first", Image(np.zeros((4, 5, 3), np.uint8)), "second"))
    assert sound.seconds == 0.5
    assert (question.text, question.texts) == ("first", ("first", "second"))
    assert Question((sound,)).text == ""
    assert Spans((Span(3, 4), Span(0, 3))).spans == (Span(0, 3), Span(3, 4))


@pytest.mark.parametrize(
    ("name", "words"),
    [("card_arrival", "card arrival"), ("creative-work", "creative work"), ("cardArrival", "card Arrival"), ("_", "_")],
)
def test_names_become_words(name, words):
    assert name_as_words(name) == words


def test_unknown_says_what_was_allowed_and_what_was_meant():
    assert unknown("label", "persn", ["person", "place"]) == (
        "label 'persn' is not one of person, place. Did you mean 'person'?"
    )
    assert "Did you mean" not in unknown("label", "zzz", ["person", "place"])
    assert unknown("label", "PERSON", ["person"]).endswith("Did you mean 'person'?")
    assert unknown("column", "x", []) == "column 'x' is not known."
    assert "(30 in all)" in unknown("label", "x", map(str, range(30)))


# --- edits -----------------------------------------------------------------------------------------------------------


@st.composite
def edited(draw):
    """A text, spans with a label of their own each, and edits that do not overlap."""
    text = draw(st.text(alphabet="abcde ", min_size=1, max_size=30))
    spans = draw(spans_in(text))
    spans = Spans(tuple(Span(span.start, span.end, str(at)) for at, span in enumerate(spans.spans)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return text, spans, [edits.Edit(start, end, draw(st.text(alphabet="XY", max_size=4))) for start, end in pairs]


@given(edited())
def test_edits_carry_spans(case):
    text, spans, changes = case
    changed, moved = edits.apply(text, changes, spans)
    assert len(changed) == len(text) + sum(len(edit.text) - (edit.end - edit.start) for edit in changes)
    kept = {span.label: changed[span.start : span.end] for span in moved.spans}
    for span in spans.spans:
        touching = [edit for edit in changes if edit.start < span.end and edit.end > span.start]
        if not touching:
            assert kept[span.label] == text[span.start : span.end]
        elif any(edit.start < span.start or edit.end > span.end for edit in touching):
            assert span.label not in kept
        elif span.label in kept:
            within = [edits.Edit(e.start - span.start, e.end - span.start, e.text) for e in touching]
            assert kept[span.label] == edits.apply(text[span.start : span.end], within)[0]


def test_edits_by_hand():
    spans = Spans((Span(4, 7, "PER"),))
    for change, expected in (
        (edits.Edit(0, 3, "Yes"), ("Yes Ada x", Spans((Span(4, 7, "PER"),)))),
        (edits.Edit(4, 4, "«"), ("say «Ada x", Spans((Span(5, 8, "PER"),)))),
        (edits.Edit(7, 7, "»"), ("say Ada» x", spans)),
        (edits.Edit(5, 5, "d"), ("say Adda x", Spans((Span(4, 8, "PER"),)))),
        (edits.Edit(3, 5, ""), ("sayda x", Spans())),
        (edits.Edit(4, 7, ""), ("say  x", Spans())),
    ):
        assert edits.apply("say Ada x", [change], spans) == expected
    assert edits.apply("say Ada x", [], spans) == ("say Ada x", spans)


# --- importing does nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["lowrung", *(f"lowrung.core.{name}" for name in "task model edits parts".split())])
def test_importing_the_ground_floor_loads_neither_torch_nor_numpy(module):
    check = f"import sys, {module}; print(*sorted({{'torch', 'numpy', 'transformers'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
