"""The rows under examples/rows: each one valid for the task its folder is named after, none twice, enough of them."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lowrung.core.answers import Spans, parse, write
from lowrung.core.task import labels_of
from lowrung.tasks import task

ROWS = Path(__file__).parent.parent / "examples" / "rows"
FILES = sorted(ROWS.rglob("*.jsonl"))
NAMES = ("entities", "topic")
ENTITY_LABELS = ("PER", "ORG", "LOC")


def _file_name(file: Path) -> str:
    return str(file.relative_to(ROWS))


@cache
def _read(file: Path) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())


def _rows(name: str) -> tuple[dict[str, Any], ...]:
    return tuple(row for file in FILES if file.parent.name == name for row in _read(file))


def _names_in(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(text before, name, text after) of each span."""
    for span in row["spans"]:
        yield row["text"][: span["start"]], row["text"][span["start"] : span["end"]], row["text"][span["end"] :]


def test_both_tasks_have_a_train_and_a_test_file() -> None:
    assert {_file_name(file) for file in FILES} >= {
        f"{name}/{split}.jsonl" for name in NAMES for split in ("train", "test")
    }


@pytest.mark.parametrize("file", FILES, ids=_file_name)
def test_each_row_is_one_that_its_task_can_read_and_carries_a_gold(file: Path) -> None:
    readable = task(file.parent.name)
    for row in _read(file):
        assert readable.example(row).golds, row


@pytest.mark.parametrize("file", FILES, ids=_file_name)
def test_a_file_has_one_object_a_line_and_the_same_columns_in_each(file: Path) -> None:
    assert file.read_bytes().endswith(b"}\n")
    assert len({tuple(row) for row in _read(file)}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_no_text_and_no_id_stands_twice_in_one_file_or_in_two(name: str) -> None:
    texts = Counter(" ".join(row["text"].casefold().split()) for row in _rows(name))
    ids = Counter(row["id"] for row in _rows(name))
    assert [text for text, count in (texts + ids).items() if count > 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_there_are_at_least_400_rows(name: str) -> None:
    assert len(_rows(name)) >= 400


@pytest.mark.parametrize("name", NAMES)
def test_train_and_test_use_the_same_labels(name: str) -> None:
    of = {
        split: {
            label
            for row in _read(ROWS / name / f"{split}.jsonl")
            for gold in task(name).golds(row)
            for label in labels_of(gold)
        }
        for split in ("train", "test")
    }
    assert of["train"] == of["test"]


def test_topic_rows_have_at_least_8_labels_that_all_have_rows_to_spare() -> None:
    labels = Counter(row["label"] for row in _rows("topic"))
    assert len(labels) >= 8
    assert min(labels.values()) >= 20


def test_entity_rows_are_labelled_with_the_three_labels_and_no_other() -> None:
    assert {span["label"] for row in _rows("entities") for span in row["spans"]} == set(ENTITY_LABELS)


def test_an_entity_row_survives_being_written_with_marks_and_read_back() -> None:
    readable = task("entities").with_options(ENTITY_LABELS)
    for row in _rows("entities"):
        example = readable.example(row)
        (gold,) = example.golds
        assert parse(Spans, write(gold, example.question), example.question) == gold
        assert [(span.start, span.end) for span in gold.spans] == [
            (span["start"], span["end"]) for span in row["spans"]
        ]


def test_an_entity_starts_and_ends_where_a_word_does() -> None:
    for row in _rows("entities"):
        for before, name, after in _names_in(row):
            assert name[0].isalnum(), row
            assert name[-1].isalnum(), row
            assert not before[-1:].isalnum(), row
            assert not after[:1].isalnum(), row


def test_a_title_or_an_article_stays_outside_the_span() -> None:
    titles = ("Dr ", "Mr ", "Mr. ", "Mrs ", "Miss ", "Sir ", "Captain ", "Colonel ", "Professor ", "Prince ", "Uncle ")
    for row in _rows("entities"):
        for _, name, _ in _names_in(row):
            assert not name.startswith(titles), row
            assert not name.startswith(("the ", "The ")) or name == "The Hague", row


def test_a_part_of_the_entity_rows_holds_no_name() -> None:
    for split in ("train", "test"):
        rows = _read(ROWS / "entities" / f"{split}.jsonl")
        assert 0.2 <= sum(not row["spans"] for row in rows) / len(rows) <= 0.35


def test_few_names_of_the_test_rows_were_seen_in_the_train_rows() -> None:
    known, asked = (
        [name.casefold() for row in _read(ROWS / "entities" / f"{split}.jsonl") for _, name, _ in _names_in(row)]
        for split in ("train", "test")
    )
    assert sum(name in known for name in asked) < 0.1 * len(asked)
