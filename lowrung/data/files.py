"""Rows in and out, and files that are written whole or not at all."""

from __future__ import annotations

import ctypes
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, TypeVar

from lowrung.core.errors import DataError, LowrungError, unknown
from lowrung.core.task import Row, Task
from lowrung.data import hub
from lowrung.data.formats import FORMATS, PACKINGS, bearing, first_line, packed, read, unpacked, with_lists

MEDIA = ("audio", "image")  # columns that name a file; a relative name counts from the rows' folder
LISTED = "given"  # the column that lists parts, whose media are found likewise
BESIDE = ("start", "end")  # columns that say more of another one
_AS_THEY_ARE: Mapping[str, str] = MappingProxyType({})
T = TypeVar("T")


def iter_rows(source: str | Path, *, rename: Mapping[str, str] = _AS_THEY_ARE) -> Iterator[tuple[str, Row]]:
    """(place, row) pairs of a file, one at a time; a place reads `file.jsonl:17` or `file.parquet:row 17`.

    Args:
        source: a file of .jsonl, .csv, .tsv, .txt, .conll, .iob2 or .parquet, also with .gz or .xz after it;
            "-" for JSON lines on the standard input.
        rename: our column ← theirs; {"text": "sentence"} hands out the column `sentence` as `text`.

    Raises:
        DataError: no such file, an unknown format, or a row that cannot be read; the message starts with the place.
    """
    if str(source) == "-":
        return _arranged(read(sys.stdin.buffer, "-", "jsonl"), rename)
    path = Path(source)
    kind, packing = _there(path)
    placed = _from_file(path, packing, lambda stream: read(stream, str(path), kind))
    return _arranged(placed, rename, folder=path.parent, table=kind in ("csv", "tsv"))


def bearing_rows(source: str | Path, *, rename: Mapping[str, str] = _AS_THEY_ARE) -> Iterator[tuple[str, Row, str]]:
    """(place, row, problem) of the lines of a .jsonl file, packed or not, or of "-": as `iter_rows` gives them, but a
    line that is no row has {} and what is wrong with it, and does not end the file.

    Raises:
        DataError: no such file, or one that cannot be read to its end.
    """
    path = Path(source)
    if str(source) == "-":
        lines, folder = bearing(sys.stdin.buffer, "-"), None
    else:
        _, packing = _there(path)
        lines, folder = _from_file(path, packing, lambda stream: bearing(stream, str(path))), path.parent
    return _borne(lines, rename, folder)


def _borne(
    lines: Iterator[tuple[str, Row, str]], rename: Mapping[str, str], folder: Path | None
) -> Iterator[tuple[str, Row, str]]:
    for where, row, problem in lines:
        if not problem:
            try:
                ((_, row),) = _arranged(iter([(where, row)]), rename, folder=folder)
            except DataError as found:
                problem = str(found)
        yield where, row, problem


def read_rows(
    source: str | Path,
    *,
    rename: Mapping[str, str] = _AS_THEY_ARE,
    task: Task[Any] | None = None,
    split: str | None = None,
) -> list[Row]:
    """All rows of a file, of "-", of a folder with train/dev/test files, or of `hub:owner/name[:config]`.

    Args:
        rename: our column ← theirs.
        task: where given, each row must be one that the task can read.
        split: train (default), dev or test of a folder or hub data set; a single file has no splits to choose from.

    Raises:
        DataError: no such source or split, no rows, or a row that cannot be read or that `task` refuses.
        LowrungError: a hub data set is asked for and `datasets` is not installed.
    """
    rows = []
    for where, row in places(source, rename, split or "train"):
        if task is not None:
            accept(task, row, where)
        rows.append(row)
    if not rows:
        raise DataError(f"{source}: no rows in it")
    return rows


def holds_rows(name: str | Path) -> bool:
    """Whether a file of that name holds rows, packed or not."""
    stem, _, last = str(name).lower().rpartition(".")
    return (stem.rpartition(".")[2] if last in PACKINGS else last) in FORMATS


def split_names(folder: str | Path) -> dict[str, Path]:
    """train, dev and test → the file of that name in `folder` (validation, valid and val count as dev).

    Raises:
        DataError: no such folder, or two files for one split.
    """
    folder, found = Path(folder), dict[str, Path]()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder.{nearby(folder)}")
    for path in sorted(folder.iterdir()):
        shape = re.fullmatch(rf"(\w+?)(?:-00000-of-00001)?\.({'|'.join(FORMATS)})(\.gz|\.xz)?", path.name.lower())
        split = hub.ALIASES.get(shape[1]) if shape else None
        if split and split in found:
            raise DataError(f"{folder}: two files for the split {split!r}: {found[split].name} and {path.name}")
        if split and path.is_file():
            found[split] = path
    return {split: found[split] for split in ("train", "dev", "test") if split in found}


def write_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Write `rows` as JSON lines to a .jsonl, .jsonl.gz or .jsonl.xz file, whole or not at all.

    Raises:
        DataError: a row that JSON cannot hold, a name of another format, or a disk that refuses; an old file is intact.
    """
    path, packing = Path(path), takes_rows(path)
    try:
        with atomic(path) as temporary, open(temporary, "wb") as raw, packed(raw, packing) as stream:
            for number, row in enumerate(rows, 1):
                stream.write(_encoded(row, f"{path}: row {number}"))
    except OSError as problem:
        raise DataError(f"{path}: cannot be written: {problem.strerror or problem}; nothing is changed") from problem


def takes_rows(path: str | Path) -> str:
    """The packing of a file of that name, "" for none; to be asked before long work, too.

    Raises:
        DataError: rows are not written to files of that name.
    """
    found = re.fullmatch(r".+\.jsonl(?:\.(gz|xz))?", Path(path).name.lower(), re.DOTALL)
    if found is None:
        raise DataError(f"{path}: rows are written as .jsonl, .jsonl.gz or .jsonl.xz; name such a file")
    return found[1] or ""


def _encoded(row: Row, where: str) -> bytes:
    try:
        return json.dumps(dict(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as problem:
        raise DataError(f"{where} cannot be written as JSON: {first_line(problem)}") from problem


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it takes `path`'s place when the block ends without an error.

    The temporary name ends like `path`, so that a suffix still tells the format. A device or pipe is written directly.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    if path.exists() and not path.is_file():
        yield path
        return
    temporary = _beside(path)
    try:
        yield temporary
        _flush(temporary)
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A new folder beside `path` to fill; it takes `path`'s place, with all that was in it, when the block ends well.

    Raises:
        LowrungError: `path` is a file, or is or holds the folder one works in.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_dir():
        raise LowrungError(f"{path}: is a file; a folder is to be written there. Choose another name")
    if Path.cwd().is_relative_to(path):
        raise LowrungError(f"{path}: would be replaced as a whole and holds the working folder. Choose another name")
    temporary, old = _beside(path), _beside(path)
    try:
        temporary.mkdir()
        yield temporary
        for each in temporary.rglob("*"):
            if not each.is_symlink():
                _flush(each)
        if not (path.exists() and _exchanged(temporary, path)):
            if path.exists():
                os.rename(path, old)
            os.rename(temporary, path)
        _flush(path.parent)
    finally:
        if old.exists() and not path.exists():
            os.rename(old, path)
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _exchanged(one: Path, two: Path) -> bool:
    """Let two folders take each other's place in one step, so that there is no moment without either; whether this
    system can."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2  # Linux
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(one), here, os.fsencode(two), exchange) == 0)


def _beside(path: Path) -> Path:
    return path.with_name(f".{secrets.token_hex(4)}.{path.name[-200:]}")


def _flush(path: Path) -> None:
    """Ask the disk to have it, so that a power cut after the renaming finds the new bytes."""
    if not path.is_dir():
        with open(path, "r+b") as file:
            os.fsync(file.fileno())
        return
    with suppress(OSError):  # some systems cannot flush a folder
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def places(source: str | Path, rename: Mapping[str, str], split: str) -> Iterator[tuple[str, Row]]:
    """(place, row) pairs of whatever `read_rows` reads, one at a time; a place of the hub has no line."""
    if str(source).startswith(hub.PREFIX):
        return _arranged(hub.rows(str(source), split), rename)
    if not Path(source).is_dir():
        return iter_rows(source, rename=rename)
    files = split_names(source)
    if not files:
        raise DataError(f"{source}: no train, dev or test file in this folder; name a file, like train.jsonl")
    wanted = hub.ALIASES.get(split, split)
    if wanted not in files:
        raise DataError(f"{source}: {unknown('split', split, files)}")
    return iter_rows(files[wanted], rename=rename)


def _there(path: Path) -> tuple[str, str]:
    """`_format` of a file that is there."""
    if not os.path.exists(path):
        raise DataError(f"{path}: no such file.{nearby(path)}")
    return _format(path)


def _format(path: Path) -> tuple[str, str]:
    """("jsonl", "gz") of rows.jsonl.gz."""
    name = path.name.lower()
    stem, _, suffix = re.sub(r"(\.txt)\.(train|dev|test)$", r"\1", name).rpartition(".")  # as WinoBias names its files
    packing = suffix if suffix in PACKINGS else ""
    kind = (stem.rpartition(".")[2] if packing else suffix) if stem else ""
    if kind not in FORMATS:
        raise DataError(f"{path}: {unknown('format', kind, FORMATS)} Each may end in .gz or .xz")
    return kind, packing


def _from_file(path: Path, packing: str, reader: Callable[[BinaryIO], Iterator[T]]) -> Iterator[T]:
    try:
        stream = unpacked(path, packing)
    except OSError as problem:
        raise DataError(f"{path}: cannot be opened: {problem.strerror or problem}") from problem
    with stream:
        yield from reader(stream)


def nearby(path: Path) -> str:
    """What to say of a file that is not there: « Did you mean …?», or that its folder is not there either."""
    from rapidfuzz import fuzz, process  # a folder of sounds holds ten thousands of names

    names: list[str] = []
    with suppress(OSError, ValueError):
        names = os.listdir(path.parent)
    close = process.extractOne(path.name, names, scorer=fuzz.ratio, score_cutoff=60)
    if close:
        return f" Did you mean '{path.with_name(close[0])}'?"
    return "" if path.parent.is_dir() else f" There is no folder '{path.parent}'"


def _arranged(
    placed: Iterator[tuple[str, Row]], rename: Mapping[str, str], *, folder: Path | None = None, table: bool = False
) -> Iterator[tuple[str, Row]]:
    for where, row in placed:
        row = _renamed(row, rename, where) if rename else row
        row = with_lists(row) if table else row
        yield where, row if folder is None else _found_media(row, folder)


def _renamed(row: Row, rename: Mapping[str, str], where: str) -> Row:
    for ours, theirs in rename.items():
        if theirs not in row:
            raise DataError(f"{where}: {unknown('column', theirs, row)} It was to be read as {ours!r}")
    moved = {ours: row[theirs] for ours, theirs in rename.items()}
    return {**{name: value for name, value in row.items() if name not in rename.values()}, **moved}


def _found_media(row: Row, folder: Path) -> Row:
    def found(_: str, name: Any) -> Any:
        return str(folder / name) if isinstance(name, str) and os.path.isfile(folder / name) else name

    return with_media(row, found)


def with_media(row: Row, change: Callable[[str, Any], Any]) -> dict[str, Any]:
    """The row with `change(column, held)` in the place of each sound and picture, those of listed parts among them."""
    made = dict(row)
    for column in MEDIA:
        if column in made:
            made[column] = change(column, made[column])
    if isinstance(listed := made.get(LISTED), list):
        made[LISTED] = [with_media(part, change) if isinstance(part, Mapping) else part for part in listed]
    return made


def needed(task: Task[Any], row: Row, where: str) -> None:
    """Raises DataError, naming the column to rename, where `row` has none of the columns that `task` reads."""
    if not any(column in row for column in task.columns):
        ours, found = task.columns[0], ", ".join(map(str, row)) or "none"
        close = get_close_matches(ours, map(str, row), n=1)
        texts = sorted((str(value), name) for name, value in row.items() if isinstance(value, str))
        theirs = close[0] if close else max(texts, key=lambda pair: len(pair[0]), default=("", "<theirs>"))[1]
        columns = " or ".join(repr(column) for column in task.columns if column not in BESIDE)
        raise DataError(f"{where}: no column {columns} (found: {found}). Did you mean --rename {ours}={theirs}?")


def accept(task: Task[Any], row: Row, where: str) -> None:
    """Raises DataError, with the place, where `task` cannot read `row`."""
    needed(task, row, where)
    try:
        task.example(row)
    except (DataError, ValueError) as problem:
        raise DataError(f"{where}: {problem}") from problem
