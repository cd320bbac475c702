"""choice: which of the options that a row brings answers its question."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

from lowrung.core.answers import Choice
from lowrung.core.errors import DataError
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task, place_of
from lowrung.data.names import sentence_ends
from lowrung.metrics.ranking import recall_at_1

WHICH = "Which of the options answers the question?"


def ask(row: Row) -> Question:
    """Given is the text, where there is one, then the question."""
    text, asked = row.get("text"), row.get("question")
    options: Any = row.get("options")
    if text is not None and not isinstance(text, str):
        raise DataError(f"'text' holds text, not {text!r:.60}")
    if not isinstance(asked, str) or not asked.strip():
        raise DataError(f"'question' holds what is asked, not {asked!r:.60}" if asked else "column 'question' is empty")
    listed = isinstance(options, Sequence) and not isinstance(options, str | bytes)
    if not listed or not all(isinstance(each, str) and each.strip() for each in options):
        raise DataError(f"'options' holds a list of texts, none of them empty, not {options!r:.60}")
    if len(options) < 2:
        raise DataError(f"'options' holds {len(options)} texts, and a choice needs 2 or more")
    twice = next((each for at, each in enumerate(options) if each in options[:at]), None)
    if twice is not None:
        raise DataError(f"'options' holds {twice!r:.60} twice")
    given = (text, asked) if text and text.strip() else (asked,)
    return Question(given, instruction=WHICH, options=tuple(options))


def golds(row: Row) -> tuple[Choice, ...]:
    """`answer` is an option, word for word or by its place counted from 0."""
    said = row.get("answer")
    if said is None:
        return ()
    options = ask(row).options
    if isinstance(said, str) and said in options:
        return (Choice(said),)
    place = place_of(said)
    if place is None:
        raise DataError(f"'answer' is none of the {len(options)} options, nor the place of one: {said!r:.60}")
    if not 0 <= place < len(options):
        raise DataError(f"'answer' {place} is not one of the {len(options)} options, counted from 0")
    return (Choice(options[place]),)


OPTIONS = 4
BEFORE = 2  # sentences
LONG = 200  # sentences; a longer document is cut
SHORT = 15  # characters; what is shorter is a heading or a number


def practice(lines: Iterable[str], random: Random) -> Iterator[Row]:
    """Rows from raw text: two sentences, and the one that follows among others of the same document.

    An empty line is a border between documents.
    """
    for sentences in _documents(lines):
        for at in range(BEFORE, len(sentences)):
            right = sentences[at]
            others = sorted({*sentences} - {right, *sentences[at - BEFORE : at]})
            options = [right, *random.sample(others, min(len(others), OPTIONS - 1))]
            random.shuffle(options)
            if len(options) > 1:
                asked = " ".join(sentences[at - BEFORE : at])
                yield {"question": asked, "options": options, "answer": options.index(right)}


def _documents(lines: Iterable[str]) -> Iterator[list[str]]:
    sentences: list[str] = []
    for line in lines:
        line = " ".join(line.split())
        ends = [0, *sentence_ends(line), len(line)]
        parts = (line[start:end].strip() for start, end in pairwise(ends))
        sentences += [part for part in parts if len(part) >= SHORT]
        if (not line and sentences) or len(sentences) >= LONG:
            yield sentences
            sentences = []
    yield sentences


TASK: Task[Any] = Task(
    name="choice",
    about="which of the options that a row brings answers its question",
    answer=Choice,
    columns=("text", "question", "options"),
    ask=ask,
    golds=golds,
    metrics=(replace(recall_at_1, name="accuracy"),),
    practice=practice,
    points=True,
    sample={
        "text": "Ada put the milk on the table and went out. The sun shone on it all day.",
        "question": "Why did the milk turn sour?",
        "options": ["It stood in the sun.", "It was frozen.", "Ada drank it."],
        "answer": 0,
    },
)
