"""practice: raw text → rows of a task, made on the fly → a model that never saw a label."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Generic

from lowrung import __version__
from lowrung.core.answers import A, Text
from lowrung.core.errors import DataError, LowrungError
from lowrung.core.task import Example, Task
from lowrung.data.files import iter_rows
from lowrung.models.network import Adapted
from lowrung.models.text import TextBackbone
from lowrung.models.training import Settings, train
from lowrung.models.tuning import Frozen, How, Top
from lowrung.run.adapt import Watch, adapt, body_to_move, loosen
from lowrung.run.evaluate import Report, evaluate
from lowrung.run.ship import ship

DOCUMENT = 50  # lines in a row that count as one document
HELD_OUT = 20  # of so many documents one is never learnt from
FIRST = 600  # rows that the head alone learns from, before the body moves


@dataclass(frozen=True)
class Practised(Generic[A]):
    """What practice made.

    Args:
        untouched, report: before and after, on practice rows of documents that were not learnt from.
        steps, rows, seconds: how much was practised.
    """

    model: Adapted[A]
    untouched: Report[A]
    report: Report[A]
    steps: int
    rows: int
    seconds: float
    losses: tuple[float, ...] = field(default=(), repr=False)


def practise(
    task: Task[A],
    text: Sequence[str | Path],
    *,
    model: str = "",
    how: How = Top(2),  # noqa: B008 (frozen value)
    steps: int = 1000,
    held: int = 400,
    settings: Settings | None = None,
    column: str = "text",
    seed: int = 0,
    out: str | Path | None = None,
    watch: Watch | None = None,
) -> Practised[A]:
    """Rehearse `task` on raw text: rows without labels are made as it goes, from files of any size.

    The head first learns from some hundred rows on the frozen body, then what `how` says moves for `steps` steps.
    Every 20th block of 50 lines is kept out of that, and rows made of it say how well it went.

    Args:
        text: files of raw text (.txt, a line a paragraph) or rows with `column`, also .gz and .xz; read again from
            their beginning when they end.
        model: a backbone's name, "" for the embedded one.
        held: at most so many rows to validate on.
        out: a folder to ship to. An interrupted practice goes on from `<out>.training` when it is called again.

    Raises:
        LowrungError: the task cannot be practised, or no step is asked for.
        DataError: a file cannot be read, or no rows can be made of the text.
        ModelError: no such backbone, or `out` holds something else than a shipped model.
    """
    from lowrung.models.catalog import DEFAULT, backbone

    if task.practice is None:
        raise LowrungError(f"task {task.name} cannot be practised on raw text; it needs labelled rows")
    if task.answer is Text:
        raise LowrungError(f"practice moves a network, and none answers {task.name} yet; its own model learns by fit")
    if steps < 1 and not isinstance(how, Frozen):
        raise LowrungError(f"practice needs at least 1 step, not {steps}")
    begun = time.monotonic()
    training = Path(f"{out}.training") if out else None
    chosen = replace(settings or Settings(lr=2e-4, patience=10**6), most=steps)
    kept = list(islice(_examples(task, lambda: _lines(text, column, held_out=True), seed), held))
    feed = _Feed(lambda: _endless(task, lambda: _lines(text, column, held_out=False), seed), chosen.batch)
    first = feed.rows(FIRST)
    if not kept or not first:
        told = ", ".join(str(each) for each in text)
        raise DataError(f"{told}: too little text for {task.name}: no rows can be made of it")
    found = backbone(model or DEFAULT)
    before = evaluate(task, adapt(found, task), kept)
    body = found if isinstance(how, Frozen) else body_to_move(found, task)
    network = adapt(body, task, first, how=Frozen(), seed=seed)
    losses: tuple[float, ...] = ()
    if not isinstance(how, Frozen):
        network = loosen(network, how, seed)
        network.prefixes = None
        metric = task.metrics[0]
        sign = 1.0 if metric.higher_is_better else -1.0
        losses = train(
            network,
            feed,
            settings=chosen,
            seed=seed,
            score=lambda made: sign * evaluate(task, made, kept).value(metric),
            checkpoint=training / _job(task, text, found, how, chosen, column, seed) if training else None,
            watch=watch,
        ).losses
    network.prefixes = None  # states of rows that never come back
    network.name = "practice"
    after = evaluate(task, network, kept)
    done = len(losses) * chosen.batch + len(first)
    made = Practised(network, before, after, len(losses), done, time.monotonic() - begun, losses)
    if out is not None:
        _ship(task, made, Path(out), found, seed)
    if training is not None and training.is_dir():
        shutil.rmtree(training)
    return made


def _job(
    task: Task[Any], text: Sequence[str | Path], body: TextBackbone, how: How, settings: Settings, *more: object
) -> str:
    """A name for what would end in the same weights, so that another practice does not go on from this one."""
    files = [(str(each), Path(each).stat().st_size) for each in text]
    asked = repr((__version__, task.name, files, body.source, how, settings, more))
    return hashlib.sha256(asked.encode()).hexdigest()[:24]


def _ship(task: Task[A], made: Practised[A], out: Path, body: TextBackbone, seed: int) -> None:
    told = made.report.to_json()["scores"]  # without what these rows cannot tell
    pairs = [
        (each.name, made.report.value(each), made.untouched.value(each)) for each in task.metrics if each.name in told
    ]
    lines = [f"- {name}: {after:.3f} (untouched: {before:.3f})" for name, after, before in pairs]
    facts = {"method": "practice", "seed": seed, "rows": made.rows, "source": body.source.name}
    facts |= {"steps": made.steps, "seconds": round(made.seconds, 1)}
    card = f"""# {task.name}: practice

{task.about[:1].upper()}{task.about[1:]}.

- practised on {made.rows} rows made of raw text, without a label; {made.steps} steps, seed {seed}
- body: `{body.source.name}`

## How good it is

On {len(made.report.examples)} such rows of documents that it did not learn from:

{chr(10).join(lines)}

Rows made of raw text are not rows of people. `lowrung score` measures it on yours.

## Use

    lowrung answer {out.name} rows.jsonl
"""
    report = {"task": task.name, "options": list(task.options), **facts, "practice": made.report.to_json()}
    ship(task, made.model, out, report=report | {"untouched": made.untouched.to_json()}, card=card, facts=facts)


class _Feed:
    """A step's rows, from a stream; a resumed run passes over those that it has seen."""

    def __init__(self, stream: Callable[[], Iterator[Example[Any]]], batch: int) -> None:
        self.stream, self.batch, self.step = stream(), batch, 0

    def rows(self, number: int) -> list[Example[Any]]:
        return list(islice(self.stream, number))

    def __call__(self, step: int) -> list[Example[Any]]:
        while self.step < step:
            self.rows(self.batch)
            self.step += 1
        self.step += 1
        return self.rows(self.batch)


def _endless(task: Task[A], lines: Callable[[], Iterator[str]], seed: int) -> Iterator[Example[A]]:
    """Over the text again and again, other rows each time; ends where the text gives none."""
    for epoch in range(10**9):
        number = -1
        for number, example in enumerate(_examples(task, lines, seed + epoch)):  # noqa: B007 (told below)
            yield example
        if number < 0:
            return


def _examples(task: Task[A], lines: Callable[[], Iterator[str]], seed: int) -> Iterator[Example[A]]:
    assert task.practice is not None
    for row in task.practice(lines(), Random(seed)):
        example = task.example(row)
        if example.golds:
            yield example


def _lines(text: Sequence[str | Path], column: str, *, held_out: bool) -> Iterator[str]:
    """The lines of all files, block by block in turn, so that no file comes late."""
    streams = [_documents(file, column, held_out) for file in text]
    while streams:
        for stream in list(streams):
            document = next(stream, None)
            if document is None:
                streams.remove(stream)
            else:
                yield from document


def _documents(file: str | Path, column: str, held_out: bool) -> Iterator[list[str]]:
    rename = {} if column == "text" else {"text": column}
    block: list[str] = []
    number = 0
    for where, row in iter_rows(file, rename=rename):
        line = row.get("text")
        if not isinstance(line, str):
            raise DataError(f"{where}: no text in column {column!r}; name the right one with --column")
        block.append(line)
        if len(block) == DOCUMENT:
            if (number % HELD_OUT == HELD_OUT - 1) == held_out:
                yield block
            block, number = [], number + 1
    # the last, short block: of a small file it is all that there is to hold out
    if block and (held_out if number % HELD_OUT == HELD_OUT - 1 or 0 < number < HELD_OUT else not held_out):
        yield block
