"""Abstraction 1: a task is a value. It says how a row becomes a question, what the right answers
are, and how answers are counted; it knows no model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from typing import Any, Generic, TypeAlias

from lowrung.core.answers import A, Choice, Choices, Span, Spans, Text
from lowrung.core.errors import DataError, unknown
from lowrung.core.parts import Question

Row: TypeAlias = Mapping[str, Any]
Counts: TypeAlias = Mapping[Any, Any]  # event → how often; a float, or an array over bootstrap draws
GROUPS = ("group", "speaker", "document")  # the columns that say what belongs together; the first that is filled does


@dataclass(frozen=True, slots=True)
class Example(Generic[A]):
    """A question with its right answers. `golds` is () where the row carries none.

    Args:
        group: speaker or document: never on both sides of a split.
        facets: what metrics may tell apart and no model may see, as (column, value) pairs: a pronoun's gender.
    """

    question: Question
    golds: tuple[A, ...] = ()
    id: str = ""
    group: str = ""
    facets: tuple[tuple[str, str], ...] = ()

    @property
    def judged(self) -> bool:
        """Whether an answer can be told to be right: by a gold, or by the checks of its question."""
        return bool(self.golds or self.question.checks)


@dataclass(frozen=True, slots=True)
class Metric(Generic[A]):
    """A score made of counts that add up over examples, which makes micro-F1 and WER exact and the bootstrap cheap.

    Args:
        name: the field's name for it.
        count: events of one example and the answer to it (None: no answer); where it `ranks`, and the Prediction.
        finish: summed events → score; must work elementwise when the events are arrays.
        needs: the facet that it tells apart, "" for none; it says nothing of rows that all lack it.
        of: the examples that it is for, where not for all; it is left out where there is none of them.
        ranks: whether it counts where the right answer stands among all that a Prediction tells.
    """

    name: str
    count: Callable[[Example[A], Any], Counts]
    finish: Callable[[Counts], Any]
    higher_is_better: bool = True
    needs: str = ""
    of: Callable[[Example[Any]], bool] | None = None
    ranks: bool = False

    def tells(self, examples: Iterable[Example[Any]]) -> bool:
        """Whether it says anything of `examples`."""
        if self.of is not None:
            return any(map(self.of, examples))
        return not self.needs or any(self.needs == column for each in examples for column, _ in each.facets)


@dataclass(frozen=True, slots=True)
class Task(Generic[A]):
    """One language task.

    Args:
        name: as on the command line.
        answer: the shape of its answers.
        columns: what `ask` is handed, and nothing else, so that it cannot leak the gold.
        ask: row → question; raises DataError on a row it cannot read.
        golds: row → right answers, () where the row has none; raises DataError likewise.
        metrics: the first one decides.
        sample: a valid row, for documentation and the contract test.
        about: one line for `lowrung tasks`.
        options: the labels in play; `with_options` or `fitted_to` sets them.
        meanings: label → what it means in words, for labels whose name says little.
        facets: columns that metrics may tell apart and no model may see.
        points: whether each question brings its own options, so that there are no labels; it may mark them in its text.
        extracts: whether an answer is one span of the first text, or none, for what the further texts ask; there are no
            labels either.
        mends: whether a right answer is the first text with its faults mended, and nothing else changed.
        practice: raw text → rows without labels, where the task can be rehearsed.
    """

    name: str
    answer: type[A]
    columns: tuple[str, ...]
    ask: Callable[[Row], Question]
    golds: Callable[[Row], tuple[A, ...]]
    metrics: tuple[Metric[A], ...]
    sample: Row
    about: str = ""
    options: tuple[str, ...] = ()
    meanings: Mapping[str, str] = field(default_factory=dict)
    facets: tuple[str, ...] = ()
    points: bool = False
    extracts: bool = False
    mends: bool = False
    practice: Callable[[Iterable[str], Random], Iterator[Row]] | None = None

    @property
    def labelled(self) -> bool:
        """Whether its answers are made of labels that are the same for all questions."""
        return not (self.points or self.extracts)

    @property
    def marks(self) -> bool:
        """Whether its questions mark the pieces of the text that they are about."""
        return bool(self.question(self.sample).marks)

    @property
    def media(self) -> str:
        """What its rows cannot do without: "audio", "image", or nothing where they may be of text alone."""
        needed = () if "text" in self.columns else self.columns
        return next((column for column in needed if column in ("audio", "image")), "")

    @property
    def writes(self) -> bool:
        """Whether its answers are new texts: neither a given one mended, nor what was heard or read."""
        return self.answer is Text and not (self.mends or self.media)

    def question(self, row: Row) -> Question:
        """The question of `row`, with the task's options where the row brings none of its own."""
        asked = self.ask({name: row[name] for name in self.columns if name in row})
        if asked.options or not self.options:
            return asked
        meanings = tuple(self.meanings.get(option, "") for option in self.options)
        return replace(asked, options=self.options, meanings=meanings if any(meanings) else ())

    def example(self, row: Row) -> Example[A]:
        """Question and golds of `row`; a gold that is not among the options raises DataError."""
        question, golds = self.question(row), self.golds(row)
        allowed = set(question.options)
        for label in (label for gold in golds for label in labels_of(gold)):
            if allowed and label not in allowed:
                raise DataError(unknown("label", label, question.options))
        name = str(row["id"]) if row.get("id") is not None else ""
        facets = tuple((key, str(row[key])) for key in self.facets if row.get(key) is not None)
        return Example(question, golds, name, group_of(row)[1], facets)

    def with_options(self, options: Iterable[str], meanings: Mapping[str, str] | None = None) -> Task[A]:
        """The same task with these labels (and what they mean)."""
        known = {**self.meanings, **(meanings or {})}
        return replace(self, options=tuple(dict.fromkeys(options)), meanings=known)

    def fitted_to(self, rows: Iterable[Row]) -> Task[A]:
        """The same task with the labels found in `rows` added to its own, in sorted order; itself where it has none."""
        if not self.labelled:
            return self
        found = {label for row in rows for gold in self.golds(row) for label in labels_of(gold)}
        return replace(self, options=(*self.options, *sorted(found - set(self.options))))


def group_of(row: Row) -> tuple[str, str]:
    """(column, value) of what a row belongs to with others, like ("speaker", "s1"); ("", "") where it stands alone."""
    found = ((key, str(row[key])) for key in GROUPS if row.get(key) is not None)
    return next((pair for pair in found if pair[1]), ("", ""))


def text_of(row: Row) -> str:
    """The text of a row's column `text`; raises DataError where it is none, or nothing but blanks."""
    text = row.get("text")
    if text is not None and not isinstance(text, str):
        raise DataError(f"'text' holds text, not {text!r}")
    if not text or not text.strip():
        raise DataError("column 'text' is empty")
    return text


def mark_of(text: str, value: Any, label: str) -> Span:
    """A `[start, end]` of a row as a mark of `text`; raises DataError where it is none, or marks nothing but blanks."""
    listed = isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) == 2
    if not listed or not all(isinstance(at, int) and not isinstance(at, bool) for at in value):
        raise DataError(f"a {label} is [start, end], two whole numbers that count characters, not {value!r}")
    start, end = value
    if not 0 <= start < end:
        raise DataError(f"a {label} needs 0 <= start < end, not {start}-{end}")
    if end > len(text):
        raise DataError(f"{label} {start}-{end} ends after the text does ({len(text)} characters)")
    if not text[start:end].strip():
        raise DataError(f"{label} {start}-{end} holds only blanks")
    return Span(start, end, label)


def apart(marks: Iterable[Span]) -> None:
    """Raises DataError where two marks overlap."""
    for left, right in pairwise(sorted(marks)):
        if right.start < left.end:
            told = [f"{each.label} {each.start}-{each.end}" for each in (left, right)]
            raise DataError(f"{told[0]} and {told[1]} overlap")


def label_gold(row: Row) -> tuple[Choice, ...]:
    """The label in a row's column `label`, () where it has none; raises DataError where it is the name of none."""
    label = row.get("label")
    if label is None:
        return ()
    if isinstance(label, bool) or not isinstance(label, str | int) or str(label).strip() == "":
        raise DataError(f"'label' holds the name of a label, not {label!r}")
    return (Choice(str(label)),)


def place_of(value: Any) -> int | None:
    """A place, counted from 0, that a column holds as a whole number or, from a table, as its digits; else None."""
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def texts_of(row: Row, column: str) -> tuple[str, ...]:
    """The right texts in a row's `column`, one or a list of them, each once; () where it has none.

    "" is a text like another: nothing is said, nothing is written. Raises DataError where the column holds no text.
    """
    held = row.get(column)
    if held is None:
        return ()
    several = [held] if isinstance(held, str) else held
    if not isinstance(several, Sequence) or not several or not all(isinstance(each, str) for each in several):
        raise DataError(f"{column!r} holds the right text, or a list of right texts, not {held!r}")
    return tuple(dict.fromkeys(several))


def text_given(row: Row, column: str) -> tuple[str, ...]:
    """The text in a row's `column` as a part of a question, "" too; () where the row has none.

    Raises DataError where the column holds something else.
    """
    held = row.get(column)
    if held is not None and not isinstance(held, str):
        raise DataError(f"{column!r} holds text, not {held!r:.60}")
    return () if held is None else (held,)


def labels_of(gold: object) -> tuple[str, ...]:
    """The label names in an answer: a Choice's option, those of Choices, the Spans' labels, () for a Text."""
    if isinstance(gold, Choice | Choices):
        return gold.options if isinstance(gold, Choices) else (gold.option,)
    return tuple(span.label for span in gold.spans) if isinstance(gold, Spans) else ()
