"""`lowrung answer`: any number of rows, a chunk at a time, in order; an interrupted run goes on."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lowrung.cli.asking import asking
from lowrung.cli.describing import shipped_for
from lowrung.cli.listening import listened
from lowrung.core.answers import Choice, Choices, Prediction, Spans, write
from lowrung.core.errors import DataError, ModelError
from lowrung.core.parts import Question, kind_of
from lowrung.core.task import Row, Task
from lowrung.data.files import bearing_rows, holds_rows, iter_rows, needed
from lowrung.data.formats import PACKINGS
from lowrung.metrics.answers import said_of

if TYPE_CHECKING:
    from lowrung.run.mending import Wishes
    from lowrung.run.ship import Shipped

CHUNK = 256  # rows answered together; more would only cost memory
LETTERS = 1 << 20  # and no more letters than these, unless one row has them


class Entry(NamedTuple):
    """One row of the input, or why it is none."""

    number: int  # from 1 over the whole input
    row: Row
    question: Question | None
    problem: str = ""


def answer(asked: argparse.Namespace) -> None:
    from lowrung.run.ship import load, with_labels

    described = shipped_for(asked, lambda media: _rows(asked, media))
    shipped = described or load(asked.model, options=asked.options, meanings=dict(asked.meaning), model=asked.body)
    shipped = expecting(granted_to(with_labels(shipped, asked.options, dict(asked.meaning)), asked), asked)
    model: Any = shipped.model
    if shipped.task.media == "audio" and list(asked.given) == ["-"]:
        listened(model, as_json=asked.json)
        return
    quick = hasattr(model, "quicken")
    if asked.fast and quick:
        model.quicken("fast")
    entries = _entries(asked, shipped.task)
    bar = bool(asked.out) or not sys.stdout.isatty()
    with asking(shipped, asked, bar=bar) as shipped, _sink(asked, shipped.facts) as (done, put):
        for number, chunk in enumerate(_chunks(islice(entries, done, None))):
            if number == 1 and quick and not asked.fast:  # a long file pays for the seconds that the graph takes
                with suppress(ModelError):  # without onnxruntime, or for a body without such a graph: as before
                    model.quicken("exact")
            put("".join(f"{line}\n" for line in _lines(chunk, shipped.model, asked.json)))
            _forget()


def wishes_of(asked: argparse.Namespace) -> Wishes:
    from lowrung.run.mending import Wishes

    return Wishes(tuple(asked.protect), asked.lexicon, asked.budget)


def granted_to(shipped: Shipped, asked: argparse.Namespace) -> Shipped:
    """The model with what the options say of a corrector; what a budget comes to is told on the standard error."""
    from lowrung.run.mending import granted

    model, told = granted(shipped.model, wishes_of(asked))
    if told:
        print(f"lowrung: {told}", file=sys.stderr)
    return replace(shipped, model=model)


def expecting(shipped: Shipped, asked: argparse.Namespace) -> Shipped:
    """The model with the words that the options say it should expect; which are passed over is told on the standard
    error."""
    from lowrung.run.ship import expecting as run

    if not asked.words:
        return shipped
    found = run(shipped, asked.words)
    print(f"lowrung: {found.facts['words']}", file=sys.stderr)
    return found


def _forget() -> None:
    """What the models remember of texts they have seen serves studies; over a long file it would only grow."""
    shapes = sys.modules.get("lowrung.models.shapes")
    if shapes is not None:
        shapes.forget()


def _lines(chunk: Sequence[Entry], model: Any, as_json: bool) -> Iterator[str]:
    questions = [entry.question for entry in chunk if entry.question is not None]
    said = iter(model.answer(questions) if questions else ())
    for entry in chunk:
        if entry.question is None:
            problem = {"id": id_of(entry), "error": entry.problem}
            yield json.dumps(problem, ensure_ascii=False, default=str) if as_json else f"(error: {entry.problem})"
        else:
            yield (as_object if as_json else in_words)(entry, next(said))


def id_of(entry: Entry) -> Any:
    """The row's id, its number where it has none."""
    return entry.number if entry.row.get("id") is None else entry.row["id"]


def as_object(entry: Entry, said: Prediction[Any]) -> str:
    from lowrung.run.telling import prediction_json

    assert entry.question is not None
    return json.dumps({"id": id_of(entry), **prediction_json(said, entry.question)}, ensure_ascii=False, default=str)


def in_words(entry: Entry, said: Prediction[Any]) -> str:
    """One line for people: the text with its spans marked, or label, confidence and text."""
    assert entry.question is not None
    if said.answer is None:
        return "(no answer)"
    words = write(said.answer, entry.question)
    if isinstance(said.answer, Choice | Choices):
        without = f" (without {' and '.join(said.lacking)})" if said.lacking else ""
        words = f"{words}\t{said.confidence:.2f}{without}\t{shown(entry.question)}"
    elif isinstance(said.answer, Spans) and not entry.question.options:
        words = f"{said_of(said.answer, entry.question.text) or '(the text has no answer)'}\t{said.confidence:.2f}"
    elif not isinstance(said.answer, Spans):
        words = f"{words}\t{said.confidence:.2f}"
    return " ".join(words.splitlines())


def shown(question: Question) -> str:
    """The texts of a question, and how many sounds and pictures it has."""
    media = Counter(kind for kind in map(kind_of, question.given) if kind != "text")
    return " | ".join([*question.texts, *(f"{kind} x {n}" if n > 1 else kind for kind, n in media.items())])


def _entries(asked: argparse.Namespace, task: Task[Any]) -> Iterator[Entry]:
    """Raises DataError at the first row that cannot be read, unless bad rows are to be skipped."""
    for number, (where, row, problem) in enumerate(_rows(asked, task.media), 1):
        question = None
        if not problem:
            try:
                needed(task, row, where)
                question = task.question(row)
            except (DataError, ValueError) as found:
                problem = str(found) if str(found).startswith(where) else f"{where}: {found}"
        if problem and not asked.skip_bad:
            raise DataError(problem)
        yield Entry(number, row, question, problem)


def _rows(asked: argparse.Namespace, media: str) -> Iterator[tuple[str, Row, str]]:
    """(place, row, problem) of every argument in turn.

    Args:
        media: the column of a task whose rows name files; a file that holds no rows is one of these.
    """
    rename = dict(asked.rename)
    for at, given in enumerate(asked.given, 1):
        if media and given != "-" and not holds_rows(given):
            yield given, {media: given}, ""
        elif is_text(given):
            yield f"text {at}", {"text": given}, ""
        elif asked.skip_bad and _line_by_line(given):
            yield from bearing_rows(given, rename=rename)
        else:
            yield from ((where, row, "") for where, row in iter_rows(given, rename=rename))


def is_text(given: str) -> bool:
    """Whether an argument is a text: it is no file, and has a blank or no suffix as a file would."""
    if given == "-" or os.path.exists(given):
        return False
    suffix = Path(given).suffix[1:]
    return any(letter.isspace() for letter in given) or not suffix.isalnum() or suffix.isdigit()


def _line_by_line(given: str) -> bool:
    """Where each line is a row, the next line can be read after a bad one."""
    stem, _, last = given.rpartition(".")
    return given == "-" or (stem.rpartition(".")[2] if last in PACKINGS else last) == "jsonl"


def _chunks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    chunk: list[Entry] = []
    letters = 0
    for entry in entries:
        chunk.append(entry)
        letters += sum(map(len, entry.question.texts)) if entry.question else 0
        if len(chunk) == CHUNK or letters > LETTERS:
            yield chunk
            chunk, letters = [], 0
    if chunk:
        yield chunk


@contextmanager
def _sink(asked: argparse.Namespace, facts: Any) -> Iterator[tuple[int, Any]]:
    """How many rows are answered already, and where to put lines; a file takes its name when all are there."""
    out = Path(asked.out) if asked.out else None
    if out is None or (out.exists() and not out.is_file()):
        with open(out, "w", encoding="utf-8") if out else _stdout() as stream:
            yield 0, lambda lines: (stream.write(lines), stream.flush())
        return
    if out.suffix[1:] in PACKINGS:
        raise DataError(f"{out}: answers are written plain; leave {out.suffix} off")
    if any(os.path.exists(given) and out.exists() and os.path.samefile(given, out) for given in asked.given):
        raise DataError(f"{out}: is read from; name another file for the answers")
    part, job = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.part.job")
    done = resumable(part, job, _job(asked, facts))
    with open(part, "ab") as file:

        def put(lines: str) -> None:
            file.write(lines.encode("utf-8", "backslashreplace"))
            file.flush()

        yield done, put
        os.fsync(file.fileno())
    os.replace(part, out)
    job.unlink(missing_ok=True)


@contextmanager
def _stdout() -> Iterator[Any]:
    yield sys.stdout


def resumable(part: Path, job: Path, wanted: str) -> int:
    """How many whole lines `part` holds of this very job; what belongs to another, or half a line, is cut off."""
    same = "-" not in wanted and part.is_file() and job.is_file() and job.read_text("utf-8") == wanted
    lines = end = at = 0
    if same:
        with open(part, "rb") as file:
            while block := file.read(1 << 20):
                lines += block.count(b"\n")
                end = at + block.rfind(b"\n") + 1 if b"\n" in block else end
                at += len(block)
    with open(part, "ab") as file:
        file.truncate(end)
    job.write_text(wanted, "utf-8")
    return lines


def _job(asked: argparse.Namespace, facts: Any) -> str:
    """What the answers depend on; a run goes on only from its own. "-" cannot be read again, and says so."""
    if "-" in asked.given:
        return "-"
    files = filter(os.path.exists, [*asked.given, asked.lexicon, asked.words])
    stamps = [(stat.st_size, stat.st_mtime_ns) for stat in map(os.stat, files)]
    shape = (
        asked.model,
        asked.body,
        asked.max_tokens,
        asked.given,
        asked.options,
        asked.meaning,
        asked.rename,
        asked.json,
        asked.skip_bad,
        asked.fast,
        tuple(asked.protect),
        asked.lexicon,
        asked.budget,
        asked.words,
    )
    return hashlib.sha256(repr((stamps, shape, dict(facts))).encode("utf-8", "backslashreplace")).hexdigest()
