"""A task in words: the options --describe, --format and --options, the rows to choose a wording by, what was tried."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lowrung.cli import values
from lowrung.cli.showing import aligned
from lowrung.core.errors import DataError, LowrungError
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task

if TYPE_CHECKING:
    from lowrung.data.describing import Description
    from lowrung.run.ship import Shipped


def add_options(parser: argparse.ArgumentParser) -> None:
    """--describe and --format, and --options where the verb has none of its own."""
    parser.add_argument(
        "--describe",
        metavar="TEXT",
        help='the task in words, perhaps with its labels, as in "sort mails by urgency: low, normal, urgent"',
    )
    parser.add_argument(
        "--format",
        metavar="TEMPLATE",
        help='the only wording to use, as in "This mail is {option}." or "Mail: {text} => It is {option}."',
    )
    if "--options" not in parser._option_string_actions:
        parser.add_argument(
            "--options", type=values.names, default=[], metavar="A,B", help="the labels to choose from, with --describe"
        )


def description_of(asked: argparse.Namespace) -> Description | None:
    """What the options say of the task, None where they describe nothing.

    Raises:
        LowrungError: a description or a format that cannot be read.
    """
    from lowrung.data.describing import Description, described, read_format

    if getattr(asked, "describe", None) is None and getattr(asked, "format", None) is None:
        return None  # or a verb that has no such options
    found = Description() if asked.describe is None else described(asked.describe)
    return found if asked.format is None else replace(found, format=read_format(asked.format))


def optioned(task: Task[Any], asked: argparse.Namespace) -> tuple[Task[Any], Description | None]:
    """The task with the options that were named, and its description.

    Raises:
        LowrungError: as `description_of` does, or --options without a description.
    """
    from lowrung.run.describing import described_task

    description = description_of(asked)
    options = getattr(asked, "options", [])
    if description is None and options:
        raise LowrungError("--options goes with --describe or --format here; otherwise labels come from the rows")
    return described_task(task.with_options(options or task.options), description), description


def for_task_only(asked: argparse.Namespace, name: str) -> None:
    """Raises LowrungError where a shipped model is described, which keeps what it was made with."""
    if description_of(asked) is not None:
        raise LowrungError(
            f"{name}: --describe and --format are for a task's name; a shipped model keeps its own wording"
        )


def questions_of(task: Task[Any], rows: Iterable[tuple[str, Row, str] | Row]) -> list[Question]:
    """The questions of rows that can be read, evenly over the whole: all, or at least as many as choose a wording."""
    from lowrung.models.zero_shot import MOST

    kept, step = list[Row](), 1
    for at, each in enumerate(rows):
        if at % step == 0:
            kept.append(each if isinstance(each, Mapping) else each[1])
        if len(kept) == 2 * MOST:  # the next one lies two steps behind the last that stays
            kept, step = kept[::2], 2 * step
    found: list[Question] = []
    for row in kept:
        try:
            found.append(task.question(row))
        except (DataError, ValueError):
            continue  # what reads the rows for good says so
    return found


def can_be_read_twice(given: Iterable[str]) -> bool:
    """Whether none of the arguments is the standard input or another stream."""
    return not any(
        each == "-" or (os.path.exists(each) and not os.path.isfile(each) and not os.path.isdir(each)) for each in given
    )


def shipped_for(asked: argparse.Namespace, rows: Callable[[str], Iterator[tuple[str, Row, str]]]) -> Shipped | None:
    """The untouched model of a task that is described, worded by rows from the whole of them; None where none is.

    Args:
        rows: (place, row, problem) of what is to be answered, by the task's media.

    Raises:
        LowrungError: a shipped model is described.
    """
    from lowrung import tasks
    from lowrung.run.ship import default, shipped_folder

    description = description_of(asked)
    if description is None:
        return None
    if shipped_folder(asked.model) is not None or asked.model not in tasks.names():
        for_task_only(asked, asked.model)
    task = tasks.task(asked.model)
    questions = questions_of(task, rows(task.media)) if can_be_read_twice(asked.given) else []
    named = {"options": asked.options, "meanings": dict(asked.meaning), "model": asked.body}
    found = default(task, description=description, questions=questions, **named)
    if not asked.json:
        tell(found.facts, error=True)
    return found


def tell(facts: Mapping[str, Any], *, error: bool = False) -> None:
    """The formats that were tried, as a table."""
    if "formats" not in facts:
        return
    found = facts["formats"]
    lines: list[tuple[str, ...]] = [("format", "kind", "agrees", "information", "log-prob.", "")]
    for each in found["tried"]:
        template = each["option"] if each["text"] == "{text}" else f"{each['text']} => {each['option']}"
        numbers = (f"{each[name]:.2f}" for name in ("agreement", "information", "probability"))
        lines.append((template, each["kind"], *numbers, "chosen" if each["chosen"] else ""))
    how = "calibrated on" if found["calibrated"] else "not calibrated: too few rows, which are"
    stream = sys.stderr if error else sys.stdout
    print(f"{aligned(lines)}\n{how} {found['rows']}", file=stream)
