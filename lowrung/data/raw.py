"""Raw text of any size, line by line: a document in so many is held out, and what is learnt from never meets it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lowrung.core.errors import DataError
from lowrung.data.files import iter_rows

DOCUMENT = 50  # lines in a row that count as one document
HELD_OUT = 20  # of so many documents one is never learnt from


def lines(text: Sequence[str | Path], column: str = "text", *, held_out: bool) -> Iterator[str]:
    """The lines of `documents`."""
    for document in documents(text, column, held_out=held_out):
        yield from document


def documents(text: Sequence[str | Path], column: str = "text", *, held_out: bool) -> Iterator[list[str]]:
    """The documents of all files, file by file in turn, so that no file comes late; those held out, or the others.

    Args:
        text: files of raw text (.txt, a line a paragraph) or of rows with `column`, also with .gz or .xz after it.

    Raises:
        DataError: a file cannot be read, or has no such column.
    """
    _reread(text)
    streams = [_of_file(file, column, held_out) for file in text]
    while streams:
        for stream in list(streams):
            document = next(stream, None)
            if document is None:
                streams.remove(stream)
            else:
                yield document


def _of_file(file: str | Path, column: str, held_out: bool) -> Iterator[list[str]]:
    rename = {} if column == "text" else {"text": column}
    block: list[str] = []
    number = before = 0
    plain = ".txt" in Path(file).suffixes
    for where, row in iter_rows(file, rename=rename):
        line = row.get("text", ...)
        if not isinstance(line, str | None):
            raise DataError(f"{where}: no text in column {column!r}; name the right one with --column")
        if len(block) >= DOCUMENT:  # and is not the last one
            if (number % HELD_OUT == HELD_OUT - 1) == held_out:
                yield block
            block, number = [], number + 1
        at = int(where.rpartition(":")[2]) if plain else before + 1
        if before and at > before + 1:  # a reader of rows passes over empty lines, which part dialogues and chapters
            block.append("")
        block.append(line or "")  # an empty cell is a border likewise
        before = at
    # of a small file the last document is all that there is to hold out
    if block and (number % HELD_OUT == HELD_OUT - 1 or 0 < number < HELD_OUT) == held_out:
        yield block


def identity(text: Sequence[str | Path]) -> list[tuple[str, int, int]]:
    """What tells that files are still the same: name, size and when they were changed, of each.

    Raises:
        DataError: no such file, or of an unknown format.
    """
    _reread(text)
    for each in text:
        iter_rows(each)  # says what is wrong with it
    stats = [(str(each), Path(each).stat()) for each in text]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def _reread(text: Sequence[str | Path]) -> None:
    if any(str(each) == "-" for each in text):
        raise DataError("raw text is read more than once, and the standard input can only be read once; name files")
