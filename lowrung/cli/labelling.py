"""`lowrung label`: raw rows → silver rows, labelled by any model; an interrupted run goes on."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrung import tasks
from lowrung.cli.answering import CHUNK, resumable
from lowrung.cli.asking import asking
from lowrung.core.errors import DataError, ModelError
from lowrung.core.task import Row, Task
from lowrung.data.files import accept, iter_rows, read_rows, takes_rows, write_rows
from lowrung.data.formats import first_line

if TYPE_CHECKING:
    from lowrung.run.ship import Shipped


def label(asked: argparse.Namespace) -> None:
    """Every row of the input is a line of `<out>.part`, null where it is not labelled; at the end those that are, are
    the file."""
    from lowrung.models.endpoint import Spent
    from lowrung.run.silver import silver_row

    takes_rows(asked.out)
    shipped, out = _model(asked), Path(asked.out)
    if os.path.exists(asked.rows) and out.exists() and os.path.samefile(out, asked.rows):
        raise DataError(f"{out}: is read from; name another file for the labelled rows")
    part, job = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.part.job")
    name, spent = str(shipped.facts.get("source", asked.model)), ""
    rows = _rows(asked, shipped.task)
    done = resumable(part, job, _job(asked, shipped.facts))
    rows = islice(rows, done, None)

    def labelled(made: Shipped, chunk: Sequence[Row]) -> Iterator[str]:
        nonlocal spent
        bare = [at for at, row in enumerate(chunk) if not shipped.task.golds(row)]
        questions = [shipped.task.question(chunk[at]) for at in bare]
        try:
            said: Sequence[Any] = made.model.answer(questions) if questions else ()
        except Spent as ended:
            said, spent = ended.predictions, str(ended)
        told = dict(zip(bare, said, strict=True))
        for at, row in enumerate(chunk):
            if at in told and told[at] is None:
                return  # the limit of cost came before it
            made_of_it = silver_row(shipped.task, row, told[at], name) if at in told else None
            yield json.dumps(made_of_it, ensure_ascii=False, default=_in_words)

    with asking(shipped, asked) as made, open(part, "ab") as file:
        while not spent and (chunk := list(islice(rows, CHUNK))):
            for line in labelled(made, chunk):
                file.write(line.encode("utf-8", "backslashreplace") + b"\n")
            file.flush()
    number = _written(part, out)
    if spent:
        print(f"lowrung: {spent}", file=sys.stderr)
    else:
        part.unlink()
        job.unlink(missing_ok=True)
    print(f"{out}: {number['labelled']:,} of {number['rows']:,} rows, labelled by {name}")


def _model(asked: argparse.Namespace) -> Shipped:
    from lowrung.run.ship import default, load, shipped_folder, with_labels

    task = tasks.task(asked.task)
    if shipped_folder(asked.model) is None:
        return default(task, model=asked.model, options=asked.options, meanings=dict(asked.meaning))
    found = load(asked.model)
    if found.task.name != task.name:
        raise ModelError(f"{asked.model} answers {found.task.name}, not {task.name}")
    named = with_labels(found, asked.options, dict(asked.meaning))
    source = found.facts["source"] if found.facts.get("method") == "remote" else asked.model
    return replace(named, facts={**named.facts, "source": source})


def _rows(asked: argparse.Namespace, task: Task[Any]) -> Iterator[Row]:
    found = iter_rows(asked.rows, rename=dict(asked.rename))  # or says at once that there is no such file

    def accepted() -> Iterator[Row]:
        for where, row in found:
            accept(task, row, where)
            try:  # before a model is asked: what cannot be written would never come to an end
                json.dumps(dict(row), ensure_ascii=False, allow_nan=False, default=_in_words).encode()
            except (TypeError, ValueError, RecursionError) as problem:
                raise DataError(f"{where} cannot be written as JSON: {first_line(problem)}") from problem
            yield row

    return accepted()


def _in_words(value: object) -> str:
    """Dates, times and decimals of a parquet file, which JSON lacks."""
    if isinstance(value, bytes):
        raise TypeError("it holds bytes")
    return str(value)


def _job(asked: argparse.Namespace, facts: Mapping[str, Any]) -> str:
    if asked.rows == "-":
        return "-"  # cannot be read again
    stat = os.stat(asked.rows)
    stamp = (stat.st_size, stat.st_mtime_ns)
    shape = (asked.task, asked.rows, asked.model, asked.options, asked.meaning, asked.rename, asked.max_tokens)
    return hashlib.sha256(repr((stamp, shape, dict(facts))).encode("utf-8", "backslashreplace")).hexdigest()


def _written(part: Path, out: Path) -> dict[str, int]:
    """Write the rows of `part` that are labelled; how many there are."""
    number = {"rows": 0, "labelled": 0}

    def rows() -> Iterator[Row]:
        with open(part, encoding="utf-8") as file:
            for line in file:
                number["rows"] += 1
                if (row := json.loads(line)) is not None:
                    number["labelled"] += 1
                    yield row

    write_rows(out, rows())
    return number


def silver(asked: argparse.Namespace, task: Task[Any]) -> list[Row]:
    """The rows that --silver names, [] without."""
    return read_rows(asked.silver, task=task) if asked.silver else []


def silver_told(facts: Mapping[str, Any] | None) -> Iterator[str]:
    if facts:
        left = f"; {facts['left_out']:,} left out, which gold rows ask as well" if facts["left_out"] else ""
        by = f" by {', '.join(facts['models'])}" if facts["models"] else ""
        yield f"silver: {facts['rows']:,} rows labelled{by}{left}"
