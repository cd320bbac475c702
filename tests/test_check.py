"""The data doctor names every planted fault with its place, and finds none where there is none."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from lowrung.core.answers import Span
from lowrung.core.parts import Question
from lowrung.core.task import Row
from lowrung.data.check import Finding, Findings, check
from lowrung.tasks import task

CLEAN: list[Row] = [
    {"text": "The card did not come.", "label": "card"},
    {"text": "Where is my money?", "label": "transfer"},
    {"text": "A card of another colour.", "label": "card"},
]


def _found(name: str, rows: list[Row], **others: Any) -> dict[str, Finding]:
    return {each.kind: each for each in check(task(name), rows, **others).findings}


def test_clean_rows_have_no_findings() -> None:
    found = check(
        task("topic"), CLEAN, test=[{"text": "My card?", "label": "card"}, {"text": "Money", "label": "transfer"}]
    )
    assert found.findings == ()
    assert found.rows == {"train": 3, "test": 2}
    assert found.labelled == {"train": 3, "test": 2}
    assert found.labels["train"] == {"card": 2, "transfer": 1}


@pytest.mark.parametrize(
    ("kind", "row", "place"),
    [
        ("duplicate", {"text": "Where is my money?", "label": "transfer"}, "train row 4, like row 2"),
        ("near-duplicate", {"text": "where is  my MONEY?\n", "label": "transfer"}, "train row 4, like row 2"),
        ("contradiction", {"text": "Where is my money?", "label": "card"}, "train row 4, unlike row 2"),
        ("unreadable", {"text": 7, "label": "card"}, "train row 4: 'text' and 'text_pair' hold text, not 7"),
        ("empty", {"text": " ", "label": "card"}, "train row 4"),
        ("empty", {"text": None, "label": "card"}, "train row 4"),
        ("unlabelled", {"text": "Hello", "id": "x7"}, "train row 4 (id x7)"),
        ("control-characters", {"text": "Hello\x00", "label": "card"}, "train row 4"),
        ("control-characters", {"text": "caf\ufffd", "label": "card"}, "train row 4"),
        ("not-nfc", {"text": "cafe\u0301", "label": "card"}, "train row 4"),
    ],
)
def test_a_planted_fault_is_found(kind: str, row: Row, place: str) -> None:
    found = _found("topic", [*CLEAN, row])
    assert found[kind].places == (place,)
    assert found[kind].count == 1
    assert found[kind].message.startswith("1 of 4 train rows ")
    assert set(found) <= {kind, "duplicate"}


def test_the_second_text_makes_a_question_another() -> None:
    pair = [{"text": "a", "text_pair": each, "label": label} for each, label in (("b", "x"), ("c", "y"))]
    assert not _found("topic", pair)


def _pronoun(row: Row) -> Question:
    return Question((row["text"],), options=tuple(row["options"]), marks=(Span(row["at"], row["at"] + 2),))


def test_options_of_a_row_are_no_labels_and_another_mark_is_another_question() -> None:
    pronoun = replace(task("topic"), ask=_pronoun, columns=("text", "options", "at"))
    text = "Ada met Bo. He saw it; he left."
    rows = [
        {"text": text, "at": at, "options": ["Ada", "Bo"], "label": label} for at, label in ((12, "Bo"), (23, "Ada"))
    ]
    other = {"text": "Cy met Di. He sang.", "at": 11, "options": ["Cy", "Di"], "label": "Cy"}
    found = check(pronoun, [*rows, other])
    assert found.findings == ()
    assert found.labels == {"train": {}}
    again = {**rows[0], "text": text.replace("Ada met", "Ada  met"), "at": 13}
    assert [each.places for each in check(pronoun, [*rows, again]).findings] == [("train row 3, like row 1",)]


def test_rows_on_both_sides_are_found() -> None:
    held = [
        {"text": "My card?", "label": "card"},
        dict(CLEAN[1]),
        {"text": "a CARD of another colour.", "label": "card"},
    ]
    found = _found("topic", CLEAN, test=held, dev=[CLEAN[0], {"text": "Money", "label": "transfer"}])
    assert found["leak"].places == ("test row 2, like train row 2",)
    assert found["near-leak"].places == ("test row 3, like train row 3",)
    kinds = [(each.kind, each.places) for each in check(task("topic"), CLEAN, test=CLEAN[:1], dev=CLEAN[:1]).findings]
    assert ("leak", ("dev row 1, like train row 1",)) in kinds
    assert ("leak", ("test row 1, like dev row 1",)) in kinds


def test_a_group_on_both_sides_is_found() -> None:
    rows = [{**row, "group": f"speaker {number}"} for number, row in enumerate(CLEAN)]
    held = [{"text": "New", "label": "card", "group": "speaker 1"}, {"text": "Other", "label": "transfer", "group": ""}]
    assert _found("topic", rows, test=held)["group-leak"].places == ("test row 1, group speaker 1",)


def test_labels_that_differ_between_the_sides_are_found() -> None:
    found = _found("topic", CLEAN, test=[{"text": "Refund me", "label": "refund"}, {"text": "Card", "label": "card"}])
    assert found["unseen-labels"].message == "test has labels that never occur in train: refund"
    assert found["unmeasured-labels"].message == "train has labels that never occur in test: transfer"


def test_one_label_few_rows_and_uneven_labels_are_found() -> None:
    assert "all train rows have the label 'card'" in _found("topic", [CLEAN[0], CLEAN[2]])["one-label"].message
    rows = [{"text": f"text {number}", "label": "rare" if number == 0 else "common"} for number in range(11)]
    assert "'common' occurs 10 times, 'rare' 1" in _found("topic", rows)["uneven-labels"].message
    many = task("topic").with_options(["card", "transfer", "refund", "limit"])
    kinds = {each.kind: each.message for each in check(many, CLEAN).findings}
    assert kinds == {"few-rows": "3 train rows for 4 labels"}
    assert [each.kind for each in check(task("topic"), []).findings] == ["no-rows"]


@pytest.mark.parametrize(
    ("text", "start", "end", "kind"),
    [
        ("Ada lives in London.", 0, 3, None),
        ("Ada lives in London.", 0, 2, "inside-word"),
        ("Ada lives in London.", 14, 19, "inside-word"),
        ("Ada lives in London.", 12, 19, "blank-in-span"),
        ("Ada lives in London.", 0, 4, "blank-in-span"),
        ("नमस्ते दिल्ली", 7, 12, "inside-word"),
        ("王小明住在北京。", 0, 3, None),
        ("東京タワーに行く", 0, 2, None),
        ("서울에서 만나요", 0, 2, None),
        ("in Paris(France)", 9, 15, None),
    ],
)
def test_spans_that_miss_a_word_border_are_found(text: str, start: int, end: int, kind: str | None) -> None:
    row = {"text": text, "spans": [{"start": start, "end": end, "label": "X"}]}
    assert [*_found("entities", [row])] == ([kind] if kind else [])


def test_texts_longer_than_the_model_reads_are_found() -> None:
    rows = [{"text": "word " * n, "label": "a" if n % 2 else "b"} for n in (3, 5, 60, 4)]
    found = _found("topic", rows, count_pieces=lambda text: len(text.split()), longest=50)
    assert found["too-long"].message.startswith("1 of the 4 train rows measured (25.0%) are longer than the 50 pieces")
    assert found["too-long"].places == ("train row 3",)
    assert not _found("topic", rows, count_pieces=lambda text: len(text.split()), longest=60)


def test_findings_are_json() -> None:
    found = check(task("topic"), [*CLEAN, CLEAN[0]])
    said = json.loads(json.dumps(found.to_json()))
    assert said["findings"][0]["kind"] == "duplicate"
    assert said["labels"]["train"] == {"card": 3, "transfer": 1}
    assert isinstance(found, Findings)


def test_many_rows_take_seconds_not_minutes() -> None:
    rows = [{"text": f"some text with number {number // 2}", "label": str(number % 7)} for number in range(20_000)]
    start = time.process_time()
    found = _found("topic", rows, count_pieces=len, longest=20)
    assert time.process_time() - start < 6  # quadratic comparing would take minutes
    assert found["duplicate"].count == 10_000
    assert len(found["duplicate"].places) < 10
