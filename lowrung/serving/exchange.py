"""Corrections as rows in files, and annotations of other tools (Label Studio, doccano) as corrections."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lowrung.core.answers import Choice, Choices, Spans
from lowrung.core.errors import DataError, unknown
from lowrung.core.task import Row, Task
from lowrung.data.files import iter_rows, with_media, write_rows
from lowrung.run.silver import gold_column
from lowrung.serving.store import Correction, Store, gold_columns, rows_of
from lowrung.serving.wire import Limits, row_of, sent

FORMATS = ("rows", "label-studio", "doccano")
LIMITS = Limits()


def home_rows(
    corrections: Iterable[Correction], passed_over: Callable[[str], None] | None = None
) -> Iterator[dict[str, Any]]:
    """Rows to learn from, sounds and pictures as bytes; of several corrections of one row the newest.

    Args:
        passed_over: told of each that cannot be read back, which is left out.

    Raises:
        DataError: one cannot be read back, and nobody is to be told.
    """
    for row in rows_of(iter(corrections)):
        try:
            yield row_of(row, LIMITS)
        except DataError as problem:
            if passed_over is None:
                raise
            passed_over(f"{row['id']}: {problem}")


def export(corrections: Iterable[Correction], out: str | Path, passed_over: Callable[[str], None] | None = None) -> int:
    """Write them as home rows, sounds and pictures as files in a folder beside; how many there were.

    Args:
        passed_over: as of `home_rows`.

    Raises:
        DataError: the file's suffix is none that rows are written in; or as `home_rows`.
    """
    out, number = Path(out), 0
    media = out.with_name(f"{out.name}.media")

    def rows() -> Iterator[Row]:
        nonlocal number
        for row in home_rows(corrections, passed_over):
            number += 1
            yield with_media(row, lambda _, content: _filed(media, content))

    write_rows(out, rows())
    return number


def _filed(folder: Path, content: Any) -> Any:
    if not isinstance(content, bytes):
        return content
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(content).hexdigest()[:24]
    path.write_bytes(content)
    return f"{folder.name}/{path.name}"


def bring(store: Store, task: Task[Any], model: str, file: str | Path, form: str, who: str = "") -> tuple[int, int]:
    """Put the corrections of a file into a store; (how many are new, how many it holds). The same file again adds none.

    Args:
        form: one of `FORMATS`: home rows with their right answers, an export of Label Studio (JSON) or of doccano
            (JSONL).

    Raises:
        DataError: a row cannot be read, with its place; those before it are stored.
    """
    if form not in FORMATS:
        raise DataError(unknown("format", form, FORMATS))
    new = number = 0
    for where, row, answer in _of_form(Path(file), task, form):
        try:
            columns, row = gold_columns(task, row, answer), sent(row)
        except DataError as problem:
            raise DataError(f"{where}: {problem}") from problem
        told = json.dumps([model, task.name, row, columns], sort_keys=True)
        key = f"file-{hashlib.sha256(told.encode()).hexdigest()[:32]}"
        new += store.add(Correction(key, model, task.name, row, columns, who=who, source=Path(file).name))[1]
        number += 1
    return new, number


def _of_form(file: Path, task: Task[Any], form: str) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """(place, row without its answer, the answer)"""
    if form == "label-studio":
        yield from _label_studio(file, task)
        return
    gold = gold_column(task)
    for where, row in iter_rows(file):
        if form == "doccano":
            labels = row.get("label", row.get("labels"))
            yield where, {"text": row.get("text", row.get("data"))}, _doccano(task, labels, where)
        else:
            golds = {name: row[name] for name in task.sample if name in row and name not in task.columns}
            if not golds:
                raise DataError(f"{where}: has no {gold!r}, which would hold the right answer")
            yield where, {name: value for name, value in row.items() if name not in golds}, golds


def _doccano(task: Task[Any], labels: Any, where: str) -> Any:
    if not isinstance(labels, list):
        raise DataError(f"{where}: doccano writes its labels as a list in 'label', not {labels!r:.60}")
    if task.answer is Spans:
        try:
            return [{"start": int(start), "end": int(end), "label": str(label)} for start, end, label in labels]
        except (TypeError, ValueError) as problem:
            raise DataError(f"{where}: a label of a span is [start, end, name], not {labels!r:.80}") from problem
    if task.answer is Choices:
        return [str(label) for label in labels]
    if len(labels) != 1:
        raise DataError(f"{where}: {len(labels)} labels; {task.name} takes one")
    return labels[0]


def _label_studio(file: Path, task: Task[Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    try:
        tasks = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise DataError(f"{file}: cannot be read as an export of Label Studio (JSON): {problem}") from problem
    if not isinstance(tasks, list):
        raise DataError(f"{file}: an export of Label Studio is a list of tasks; export it as JSON")
    for number, each in enumerate(tasks, 1):
        where = f"{file}: task {number}"
        done = [
            one for one in _listed(each, "annotations") if isinstance(one, Mapping) and not one.get("was_cancelled")
        ]
        if not done:
            continue  # nobody has labelled it yet
        data = each.get("data")
        if not isinstance(data, Mapping) or not isinstance(data.get("text"), str):
            raise DataError(f"{where}: its data has no 'text'")
        yield where, {"text": data["text"]}, _answer(task, _listed(done[-1], "result"), where)


def _listed(held: Any, name: str) -> list[Any]:
    found = held.get(name) if isinstance(held, Mapping) else None
    return found if isinstance(found, list) else []


def _answer(task: Task[Any], results: list[Any], where: str) -> Any:
    values = [each["value"] for each in results if isinstance(each, Mapping) and isinstance(each.get("value"), Mapping)]
    try:
        if task.answer is Spans:
            return [
                {"start": each["start"], "end": each["end"], "label": each["labels"][0]}
                for each in values
                if each.get("labels")
            ]
        if task.answer is Choices:
            return [str(label) for each in values for label in each["choices"]]
        kind = "choices" if task.answer is Choice else "text"
        found = [each[kind] for each in values if each.get(kind)]
        first = found[0]
        return first[0] if isinstance(first, list) else first
    except (KeyError, IndexError, TypeError) as problem:
        raise DataError(f"{where}: its annotation holds no answer for {task.name}") from problem
