"""One reader a format: bytes of a file → (place, row) pairs. A place is «file:line», so that an error can be found.

Every reader yields right rows or raises DataError with the place; a half-understood row is never guessed at.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

from lowrung.core.errors import DataError
from lowrung.core.task import Row

FORMATS = ("jsonl", "csv", "tsv", "txt", "conll", "iob2", "iob", "bio", "parquet")
PACKINGS = ("gz", "xz")
# columns whose cells in a table may hold JSON
LISTS = tuple(
    """tokens tags spans options candidates candidate_offsets marks given labels turns first second pronoun answers
    checks""".split()
)
UNTOLD = ("answers", "referent")  # columns whose null says something: of a table, an empty cell is no column
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
_MAX_CELL = 1 << 30  # csv refuses cells over 128 KiB unless told; a text may be a whole book

Line = tuple[int, str]
Placed = Iterator[tuple[str, Row]]


def read(stream: BinaryIO, name: str, kind: str) -> Placed:
    """The rows of `stream` (already decompressed), which holds format `kind` of FORMATS; `name` stands in places.

    Raises:
        DataError: the bytes are not `kind`; the message starts with the place.
    """
    if kind == "parquet":
        return _parquet(stream, name)
    lines = _lines(stream, name)
    if kind in ("csv", "tsv"):
        return _table(lines, name, kind)
    return {"jsonl": _jsonl, "txt": _txt}.get(kind, _conll)(lines, name)


def unpacked(path: Path, packing: str) -> BinaryIO:
    """The file's bytes, decompressed on the way where `packing` is "gz" or "xz"."""
    if packing == "gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return cast(BinaryIO, lzma.open(path, "rb")) if packing == "xz" else open(path, "rb")


def packed(raw: BinaryIO, packing: str) -> BinaryIO:
    """A stream that compresses into `raw`; the same bytes give the same bytes (gzip without a name and a time)."""
    if packing == "gz":
        return cast(BinaryIO, gzip.GzipFile("", "wb", 6, raw, mtime=0))
    return cast(BinaryIO, lzma.open(raw, "wb")) if packing == "xz" else raw


def first_line(problem: BaseException) -> str:
    """What a library's error says, cut to one line."""
    said = str(problem).strip().splitlines()
    return said[0] if said else type(problem).__name__


def _lines(stream: BinaryIO, name: str) -> Iterator[Line]:
    """Lines with their number and their end. Only a line feed ends a line: U+2028 and the like belong to the text."""
    return ((number, _decoded(raw, f"{name}:{number}")) for number, raw in _raw_lines(stream, name))


def _raw_lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    number = 0  # an error names the line after the last whole one
    try:
        for number, raw in enumerate(stream, 1):
            yield number, raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
    except _BROKEN as problem:
        raise DataError(f"{name}:{number + 1}: cannot be read: {first_line(problem)}; is the file whole?") from problem


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        mend = f"iconv -f {'UTF-16' if wide else 'WINDOWS-1252'} -t UTF-8"
        wrong = f"byte 0x{raw[problem.start]:02x} at column {problem.start + 1}"
        raise DataError(f"{where}: not UTF-8 ({wrong}); convert it with {mend}, or its true encoding") from problem


def parsed(text: str) -> Any:
    """Strict JSON: no NaN, no key twice, no number beyond a float, no half of a surrogate pair.

    Raises:
        ValueError: `text` is not that.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
    except json.JSONDecodeError as problem:
        raise ValueError(f"{problem.msg} at column {problem.pos + 1}") from problem
    except RecursionError as problem:
        raise ValueError("nested too deeply") from problem
    if re.search(r"\\u[dD][89a-fA-F]", text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as problem:
            raise ValueError("half of a surrogate pair (\\ud800 to \\udfff) is not a character") from problem
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return row


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not JSON; write null")


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


def _jsonl(lines: Iterable[Line], name: str) -> Placed:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = parsed(line)
        except ValueError as problem:
            raise DataError(f"{name}:{number}: not a line of JSON: {problem}") from problem
        if not isinstance(row, dict):
            shape = '{"text": "…"}'
            raise DataError(f"{name}:{number}: a line holds one JSON object like {shape}, not a {type(row).__name__}")
        yield f"{name}:{number}", row


def bearing(stream: BinaryIO, name: str) -> Iterator[tuple[str, Row, str]]:
    """(place, row, "") of each line of JSON, (place, {}, what is wrong) of a line that is none.

    Raises:
        DataError: the stream cannot be read to its end.
    """
    for number, raw in _raw_lines(stream, name):
        where, found = f"{name}:{number}", list[tuple[str, Row, str]]()
        try:
            found = [(at, row, "") for at, row in _jsonl([(number, _decoded(raw, where))], name)]
        except DataError as problem:
            found = [(where, {}, str(problem))]
        yield from found


def _txt(lines: Iterable[Line], name: str) -> Placed:
    return ((f"{name}:{number}", {"text": line.rstrip("\r\n")}) for number, line in lines if line.strip())


# --- tables


def _table(lines: Iterator[Line], name: str, kind: str) -> Placed:
    """A table with a header line. An empty cell is a missing value (None); a column without a name is left out."""
    records = _comma_records(lines, name) if kind == "csv" else _tab_records(lines, name)
    header: list[str] = []
    for number, cells in records:
        if not header:
            header = [cell.strip() for cell in cells]
            for column in header:
                if column and header.count(column) > 1:
                    raise DataError(f"{name}:{number}: column {column!r} stands twice in the header line")
        elif len(cells) != len(header):
            raise DataError(f"{name}:{number}: {len(cells)} cells where the header line has {len(header)}")
        elif any(cells):
            named = zip(header, cells, strict=True)
            yield f"{name}:{number}", {column: cell or None for column, cell in named if column}


def _comma_records(lines: Iterator[Line], name: str) -> Iterator[tuple[int, list[str]]]:
    """Records of RFC 4180 with the line each starts on; blank lines are skipped."""
    csv.field_size_limit(_MAX_CELL)
    reader, at = csv.reader((line for _, line in lines), strict=True), 0
    try:
        for cells in reader:
            if cells:
                yield at + 1, cells
            at = reader.line_num
    except csv.Error as problem:
        raise DataError(f"{name}:{at + 1}: not a CSV record: {problem}") from problem


def _tab_records(lines: Iterator[Line], name: str) -> Iterator[tuple[int, list[str]]]:
    """Both kinds of TSV in use: without quoting, where " is a character like any other, and with a spreadsheet's.

    A line with as many cells as the header is one record, its cells unquoted where they are well quoted and taken as
    they are where not; a line with another number of cells is read by a spreadsheet's rules. What this leaves open: a
    quoted cell with line breaks whose every line has as many tabs as the header is taken for so many records.
    """
    csv.field_size_limit(_MAX_CELL)
    width, after = 0, next(lines, None)
    while after is not None:
        (number, line), after = after, next(lines, None)
        text = line.rstrip("\r\n")
        if not text:
            continue
        cells = text.split("\t")
        width = width or len(cells)
        open_end = cells[-1].startswith('"') and not _QUOTED.fullmatch(cells[-1])
        goes_on = open_end and after is not None and after[1].count("\t") + 1 != width
        if len(cells) == width and not goes_on:
            yield number, [_unquoted(cell) for cell in cells]
            continue
        rest = chain([(number, line)], [after] if after else [], lines)
        reader = csv.reader((each for _, each in rest), delimiter="\t", strict=True)
        try:
            cells = next(reader)
        except csv.Error as problem:
            raise DataError(f"{name}:{number}: {len(cells)} cells where the header line has {width}") from problem
        yield number, cells
        after = next(rest, None)


_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if _QUOTED.fullmatch(cell) else cell


def with_lists(row: Row) -> Row:
    """A table's row with the cells of LISTS that hold a list or an object decoded from JSON; others stay texts, for
    what a column holds is the task's to say. Of UNTOLD, an empty cell is left out, and `null` is None."""
    decoded = {column: cell for column, cell in row.items() if cell is not None or column not in UNTOLD}
    for column in LISTS:
        if isinstance(cell := row.get(column), str) and cell.lstrip()[:1] in ("[", "{"):
            with suppress(ValueError):
                decoded[column] = parsed(cell)
    if decoded.get("referent") == "null":
        decoded["referent"] = None
    return decoded


# --- one token a line

_KEYED = re.compile(r"# +(?:[^\s=]+ +)*[^\s=]+ *=|# *$|# +new(?:doc|par)\b")
_NEW_DOCUMENT = re.compile(r"# +newdoc\b")
_TAG = re.compile(r"O|[BIESLUM]-\S+")
_RANGE = re.compile(r"\d+[-.]\d+")  # CoNLL-U's multiword tokens (3-4) and empty nodes (8.1) are no tokens of their own

Sentence = list[tuple[int, list[str]]]  # (line number, columns) of each token
Numbered = tuple[int, Sentence]  # which document of the file it is of, from 1; 0 before the first border


def _conll(lines: Iterator[Line], name: str) -> Placed:
    """Token first and tag last (CoNLL 2003), or index, token, tag and more (UNER), as the file's sentences show.

    Where `-DOCSTART-` or `# newdoc` part the file into documents, `document` is the end of the file's path and a
    number, so that no two files have one in common. A file of one document is not parted.
    """
    indexed: bool | None = None
    undecided: list[Numbered] = []
    parted = False
    for number, sentence in _sentences(lines, name):
        undecided.append((number, sentence))
        parted = parted or number > 1
        if indexed is None:
            indexed = _is_indexed(sentence)
        if indexed is not None and (parted or number == 0):
            yield from (_tagged(each, name, indexed, parted) for each in undecided)
            undecided = []
    yield from (_tagged(each, name, indexed is not False, parted) for each in undecided)


def _is_indexed(sentence: Sentence) -> bool | None:
    """True where the first column counts 1, 2, …; None for a lone «1», which may be an index or a token."""
    firsts = [columns[0] for _, columns in sentence if not _RANGE.fullmatch(columns[0])]
    if len(sentence[0][1]) < 3 or firsts != [str(n) for n in range(1, len(firsts) + 1)]:
        return False
    return True if len(firsts) > 1 else None


def _sentences(lines: Iterable[Line], name: str) -> Iterator[Numbered]:
    width, tabbed = 0, False  # of the first token's line; all others must agree
    sentence: Sentence = []
    document = 0
    for number, line in lines:
        line = line.rstrip("\r\n")
        tabbed = tabbed if width else "\t" in line
        columns = line.split("\t") if tabbed else re.split(r"[ \t]+", line.strip(" \t"))
        if not line.strip(" \t") or columns[0] == "-DOCSTART-":
            if sentence:
                yield document, sentence
            sentence = []
            document += columns[0] == "-DOCSTART-"
        elif not sentence and _is_comment(line, columns, width):
            document += _NEW_DOCUMENT.match(line) is not None
        elif len(columns) < 2:
            raise DataError(f"{name}:{number}: one column where a token and a tag are due: {line[:40]!r}")
        elif width and len(columns) != width:
            raise DataError(f"{name}:{number}: {len(columns)} columns where the lines before have {width}")
        else:
            width = len(columns)
            sentence.append((number, columns))
    if sentence:
        yield document, sentence


def _is_comment(line: str, columns: list[str], width: int) -> bool:
    """«# text = …» is a comment; «# O» is the token «#»; other «# …» lines are, unless their columns fit the file's."""
    if _KEYED.match(line):
        return True
    return line.startswith("# ") and len(columns) != width and not _TAG.fullmatch(columns[-1])


def _tagged(numbered: Numbered, name: str, indexed: bool, parted: bool) -> tuple[str, Row]:
    document, sentence = numbered
    tokens: list[str] = []
    tags: list[str] = []
    for number, columns in sentence:
        if indexed and _RANGE.fullmatch(columns[0]):
            continue
        if indexed and columns[0] != str(len(tokens) + 1):
            raise DataError(f"{name}:{number}: index {columns[0][:40]!r} where {len(tokens) + 1} was due")
        token, tag = (columns[1], columns[2]) if indexed else (columns[0], columns[-1])
        if not token or not tag:
            raise DataError(f"{name}:{number}: the {'tag' if token else 'token'} is empty")
        tokens.append(token)
        tags.append(tag)
    row: Row = {"tokens": tokens, "tags": tags}
    if parted and document:
        row = {**row, "document": f"{'/'.join(Path(name).parts[-2:])} {document}"}
    return f"{name}:{sentence[0][0]}", row


# --- parquet


def _parquet(stream: BinaryIO, name: str) -> Placed:
    """Rows of a parquet file; NaN is a missing value (pandas writes it so), class numbers become their names."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        file = ParquetFile(pyarrow.BufferReader(stream.read()) if not isinstance(stream, io.BufferedReader) else stream)
        columns = file.schema_arrow.names
        for column in columns:
            if columns.count(column) > 1:
                raise DataError(f"{name}: column {column!r} stands twice")
        names = _stored_names(file.schema_arrow.metadata or {})
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                missing = {column: None for column, value in row.items() if value != value}
                yield f"{name}:row {number}", with_names({**row, **missing}, names)
    except (*_BROKEN, pyarrow.ArrowException, ValueError, TypeError, ArithmeticError) as problem:
        raise DataError(f"{name}:row {number + 1}: not a readable parquet file: {first_line(problem)}") from problem


def _stored_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """The class names that the `datasets` library leaves in a parquet file."""
    try:
        return class_names(json.loads(metadata[b"huggingface"])["info"]["features"])
    except (KeyError, TypeError, ValueError):
        return {}


def class_names(features: Any) -> dict[str, list[str]]:
    """column → class names, from `datasets` features as a dict; lists of classes count as their column."""
    found = {}
    for column, feature in features.items():
        while isinstance(feature, dict) and "feature" in feature:
            feature = feature["feature"]
        if isinstance(feature, dict) and isinstance(feature.get("names"), list):
            found[column] = [str(each) for each in feature["names"]]
    return found


def with_names(row: Row, names: dict[str, list[str]]) -> Row:
    """`row` with class numbers turned into names (-1, the hub's «not told», into None) and ner_tags into tags."""
    named = {column: _named(value, names[column]) if column in names else value for column, value in row.items()}
    if "ner_tags" in names and "tags" not in named:
        named["tags"] = named.pop("ner_tags")
    return named


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    if not isinstance(value, int):
        return value
    if value >= len(names):
        raise ValueError(f"class number {value} of {len(names)} classes")
    return names[value] if value >= 0 else None
