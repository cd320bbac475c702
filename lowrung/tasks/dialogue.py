"""dialogue: which of the candidates is the next turn of a dialogue."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any

from lowrung.core.answers import Choice
from lowrung.core.errors import DataError
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task, place_of
from lowrung.metrics.ranking import RANKING

WHICH = "The texts are the turns of a dialogue, in order. Which of the options is the next turn?"


def ask(row: Row) -> Question:
    """The turns are what is given, one text each; the candidates are the options."""
    turns, candidates = _texts(row, "turns", least=1), _texts(row, "candidates", least=2)
    first = {text: at for at, text in reversed(list(enumerate(candidates)))}
    for at, text in enumerate(candidates):
        if first[text] != at:
            raise DataError(f"candidates {first[text]} and {at}, counted from 0, are the same: {text!r:.60}")
    return Question(turns, instruction=WHICH, options=candidates)


def golds(row: Row) -> tuple[Choice, ...]:
    """`next` is a candidate, by its place counted from 0 or word for word."""
    said = row.get("next")
    if said is None:
        return ()
    options = ask(row).options
    if isinstance(said, str) and said in options:
        return (Choice(said),)
    place = place_of(said)
    if place is None and isinstance(said, str):
        raise DataError(f"'next' is none of the {len(options)} candidates: {said!r:.60}")
    if place is None:
        raise DataError(f"'next' holds the place of a candidate, counted from 0, or its text, not {said!r:.60}")
    if not 0 <= place < len(options):
        raise DataError(f"'next' {place} is not one of the {len(options)} candidates, counted from 0")
    return (Choice(options[place]),)


def _texts(row: Row, column: str, *, least: int) -> tuple[str, ...]:
    held = row.get(column)
    listed = isinstance(held, Sequence) and not isinstance(held, str | bytes)
    if not listed or not all(isinstance(each, str) for each in held):  # type: ignore[union-attr]
        raise DataError(f"{column!r} holds a list of texts, not {held!r:.60}")
    empty = [at for at, each in enumerate(held) if not each.strip()]  # type: ignore[arg-type]
    if empty:
        raise DataError(f"{column!r} holds an empty text in place {empty[0]}, counted from 0")
    if len(held) < least:  # type: ignore[arg-type]
        raise DataError(f"{column!r} holds {len(held)} texts and needs {least} or more")  # type: ignore[arg-type]
    return tuple(held)  # type: ignore[arg-type]


TURNS = 8  # of the turns before, the last so many stand in a row
CANDIDATES = 10
NEAR = 2  # of the wrong candidates, those that the same dialogue says elsewhere
LONG = 60  # turns; a dialogue that is longer is cut
HEARD = 600  # turns of other dialogues that wrong candidates are drawn from


def practice(lines: Iterable[str], random: Random) -> Iterator[Row]:
    """Rows from dialogues, a turn a line and an empty line between two: the real next turn among turns that are not.

    Most of these come from other dialogues, some from elsewhere in the same one. They stand an even number of turns
    apart from the right one where a dialogue has two speakers in turn, so that who speaks tells nothing.
    """
    heard: tuple[deque[str], deque[str]] = (deque(maxlen=HEARD), deque(maxlen=HEARD))
    for turns in _dialogues(lines):
        rows = [_row(turns, at, heard[at % 2], random) for at in range(1, len(turns))]
        yield from (row for row in rows if row)
        for at, turn in enumerate(turns):
            heard[at % 2].append(turn)


def _dialogues(lines: Iterable[str]) -> Iterator[list[str]]:
    turns: list[str] = []
    for line in lines:
        turn = " ".join(line.split())
        if turn:
            turns.append(turn)
        if (not turn and turns) or len(turns) == LONG:
            yield turns
            turns = []
    if turns:
        yield turns


def _row(turns: Sequence[str], at: int, heard: Sequence[str], random: Random) -> dict[str, Any] | None:
    """The row that asks for turn `at`, None where there is nothing wrong to offer."""
    near = sorted(set(turns[at % 2 :: 2]) - {turns[at]})
    wrong = dict.fromkeys(random.sample(near, min(len(near), NEAR)))
    for turn in random.sample(list(heard), min(len(heard), 2 * CANDIDATES)):
        if len(wrong) < CANDIDATES - 1 and turn != turns[at]:
            wrong.setdefault(turn)
    if not wrong:
        return None
    candidates = random.sample([turns[at], *wrong], len(wrong) + 1)
    return {
        "turns": list(turns[max(0, at - TURNS) : at]),
        "candidates": candidates,
        "next": candidates.index(turns[at]),
    }


TASK = Task(
    name="dialogue",
    about="which of the candidates is the next turn of a dialogue",
    answer=Choice,
    columns=("turns", "candidates"),
    ask=ask,
    golds=golds,
    metrics=RANKING,
    practice=practice,
    points=True,
    sample={
        "turns": ["Hello, I would like a table for two.", "At what time?"],
        "candidates": ["At eight, please.", "It is raining.", "The train leaves from platform 4."],
        "next": 0,
    },
)
