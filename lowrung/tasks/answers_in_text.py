"""answers_in_text: the piece of a text that answers a question about it, or that the text has no answer."""

import re
from collections.abc import Mapping, Sequence

from lowrung.core.answers import Span, Spans
from lowrung.core.errors import DataError
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task, text_of
from lowrung.core.words import words
from lowrung.data.cloze import practice
from lowrung.metrics.answers import ANSWERS

SHAPES = 'a text, {"start": 0, "end": 4} or {"text": …, "start": 0}'


def ask(row: Row) -> Question:
    """Given is the text, then what is asked about it."""
    text, asked = text_of(row), row.get("question")
    if asked is not None and not isinstance(asked, str):
        raise DataError(f"'question' holds text, not {asked!r:.60}")
    if not asked or not asked.strip():
        raise DataError("column 'question' is empty")
    return Question((text, asked), instruction="Which words of the text answer the question?")


def golds(row: Row) -> tuple[Spans, ...]:
    """One Spans of one span for each different answer; Spans() alone where `answers` is [] or null."""
    if "answers" not in row:
        return ()
    text = text_of(row)
    held = row["answers"]
    several = [] if held is None else _listed(held)
    found = dict.fromkeys(Spans((_span(text, each),)) for each in several)
    return tuple(found) or (Spans(),)


def _listed(held: object) -> Sequence[object]:
    """What SQuAD on the hub holds, {"text": [...], "answer_start": [...]}, as a list; one answer alone likewise."""
    if isinstance(held, Mapping) and isinstance(held.get("text"), Sequence) and not isinstance(held["text"], str):
        starts = held.get("answer_start", held.get("start"))
        if not isinstance(starts, Sequence) or len(starts) != len(held["text"]):
            raise DataError(f"'answers' has {len(held['text'])} texts, but not as many in 'answer_start'")
        return [{"text": text, "start": start} for text, start in zip(held["text"], starts, strict=True)]
    if isinstance(held, str | Mapping):
        return [held]
    if not isinstance(held, Sequence):
        raise DataError(f"'answers' holds a list of answers, each {SHAPES}, not {held!r:.60}")
    return held


def _span(text: str, answer: object) -> Span:
    if isinstance(answer, str):
        return _found(text, answer)
    if not isinstance(answer, Mapping):
        raise DataError(f"an answer is {SHAPES}, not {answer!r:.60}")
    start, said = answer.get("start"), answer.get("text")
    start = answer.get("answer_start") if start is None else start
    if start is None and isinstance(said, str):
        return _found(text, said)
    first = _number(start)
    last = _number(answer.get("end", None if first is None or not isinstance(said, str) else first + len(said)))
    if first is None or last is None:
        raise DataError(f"an answer is {SHAPES}, not {answer!r:.60}")
    if not 0 <= first < last <= len(text):
        raise DataError(f"answer {first}-{last} does not lie in the text ({len(text)} characters)")
    if isinstance(said, str) and text[first:last] != said:
        raise DataError(f"the text reads {text[first:last]!r:.60} at {first}, not {said!r:.60}")
    return Span(first, last)


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _found(text: str, said: str) -> Span:
    """The first place of this answer that begins and ends as words do, else the first one within words; as it is
    written if it stands so, else whatever its case."""
    wanted = said.strip()
    if not wanted:
        raise DataError("an answer is empty; [] says that the text holds none")
    found, lowered = _places(text, wanted), text.lower()  # not casefold: as a rule it keeps the places of letters
    if len(lowered) == len(text):
        found += _places(lowered, wanted.lower())
    if not found:
        raise DataError(f"answer {wanted!r:.60} does not stand in the text")
    borders = words(text) if len(set(found)) > 1 else []
    starts, ends = {start for start, _ in borders}, {end for _, end in borders}
    return Span(*next((each for each in found if each[0] in starts and each[1] in ends), found[0]))


def _places(text: str, wanted: str) -> list[tuple[int, int]]:
    return [(found.start(), found.start() + len(wanted)) for found in re.finditer(f"(?={re.escape(wanted)})", text)]


TASK = Task(
    name="answers_in_text",
    about="the piece of a text that answers a question, or none where the text has no answer",
    answer=Spans,
    columns=("text", "question"),
    ask=ask,
    golds=golds,
    metrics=ANSWERS,
    sample={
        "text": "Ada Lovelace lived in London. She wrote to Charles Babbage.",
        "question": "Where did Ada Lovelace live?",
        "answers": ["London"],
    },
    extracts=True,
    practice=practice,
)
