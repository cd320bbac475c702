"""How verbs show things: how far they are on the standard error, tables and JSON on the standard output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

LINES = 10.0  # seconds between two lines of a job with many steps, where there is no terminal for a bar


@contextmanager
def progress(*, every: float = 0.0) -> Iterator[Callable[[str, int, int], None]]:
    """A bar with the time left on a terminal, elsewhere one line a step, or one in `every` seconds and the last; on the
    standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console, last = Console(stderr=True), 0.0

    def line(what: str, done: int, total: int) -> None:
        nonlocal last
        if done + 1 >= total or time.monotonic() - last >= every:
            last = time.monotonic()
            print(f"{min(done + 1, total)}/{total} {what}", file=sys.stderr, flush=True)

    if not console.is_terminal:
        yield line
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        job = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(job, description=what, completed=done, total=total)


def score_lines(scores: Mapping[str, Mapping[str, float]]) -> list[tuple[str, ...]]:
    return [(name, *(f"{each[key]:.3f}" for key in ("value", "low", "high"))) for name, each in scores.items()]


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns two blanks apart."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def printed(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))
