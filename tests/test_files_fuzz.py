"""Whatever the bytes, a reader gives rows or one DataError that names the place; and rows written are rows read."""

import csv
import gzip
import io
import json
import lzma
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lowrung.core.errors import DataError
from lowrung.data.files import iter_rows, read_rows, write_rows

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SUFFIXES = ["jsonl", "csv", "tsv", "txt", "conll", "iob2", "parquet"]
SQUEEZE = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}

# pieces that readers look for, so that wild bytes get beyond the first line
_WORDS = '{ } [ ] : , " \\ # 1 2 O B-X text tags -DOCSTART- NaN 1e999 {"text":"a"} "\\ud800" 你 \u2028 \x85 PAR1'.split(
    " "
)
_BYTES = [b"\n", b"\r\n", b"\r", b"\t", b" ", b"\x00", b"\xff", b"\xe4\xbd", b"\xef\xbb\xbf", b"# a = b"]
_PIECES = st.sampled_from([*_BYTES, *(word.encode() for word in _WORDS)])
WILD = st.one_of(st.binary(max_size=60), st.lists(_PIECES, max_size=30).map(b"".join))


def _rows_or_fault(content: bytes, name: str) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        found = []
        try:
            for where, row in iter_rows(path):
                assert where.startswith(f"{path}:")
                assert all(isinstance(column, str) for column in row)
                found.append(dict(row))
        except DataError as fault:
            said = str(fault)
        else:
            return found
        assert said.startswith(f"{path}:")
        assert len(said.splitlines()) == 1
    return found


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
@pytest.mark.parametrize("suffix", SUFFIXES)
@FEW
@given(content=WILD)
def test_wild_bytes_give_rows_or_a_place(suffix: str, packing: str, content: bytes) -> None:
    _rows_or_fault(SQUEEZE[packing](content), f"rows.{suffix}{packing}")
    _rows_or_fault(content, f"rows.{suffix}{packing}")


def _whole_files() -> dict[str, bytes]:
    import pyarrow
    import pyarrow.parquet

    rows = [{"text": "a你", "label": n, "tags": ["O", "B-X"]} for n in range(3)]
    parquet = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), parquet)
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    squeezed = {"rows.jsonl.gz": gzip.compress(lines), "rows.jsonl.xz": lzma.compress(lines)}
    return {"rows.parquet": parquet.getvalue(), "rows.parquet.gz": gzip.compress(parquet.getvalue()), **squeezed}


WHOLE = _whole_files()


@pytest.mark.parametrize("name", sorted(WHOLE))
@settings(FEW, max_examples=60)
@given(data=st.data())
def test_a_broken_file_gives_rows_or_a_place(name: str, data: st.DataObject) -> None:
    content = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(content)))
    _rows_or_fault(bytes(content[:cut] if data.draw(st.booleans()) else content), name)


_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
_VALUE = st.recursive(_LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3), max_leaves=6)  # noqa: E501 # fmt: skip


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
@FEW
@given(rows=st.lists(st.dictionaries(_TEXT, _VALUE, max_size=4), min_size=1, max_size=5))
def test_written_rows_are_read(packing: str, rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.jsonl{packing}"
        write_rows(path, rows)
        assert read_rows(path) == rows


_NAME = st.text(st.characters(codec="utf-8", categories=["L", "N"]), max_size=5).map("column{}".format)
_CELL = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(',"\n\t x')), max_size=8)


@st.composite
def _tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    """Tables without the one thing a tab-separated file leaves open: see `_tab_records`."""
    header = draw(st.lists(_NAME, min_size=1, max_size=4, unique=True))
    left_out = draw(st.sampled_from("\n\t")) if len(header) > 1 else "\n"
    cell = _CELL.map(lambda text: text.replace(left_out, ""))
    records = draw(st.lists(st.lists(cell, min_size=len(header), max_size=len(header)), max_size=5))
    return header, [record for record in records if any(record)]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@settings(FEW, max_examples=100)
@given(table=_tables(), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_a_written_table_is_read(suffix: str, table: tuple[list[str], list[list[str]]], quoting: int) -> None:
    header, records = table
    text = io.StringIO(newline="")
    csv.writer(text, "excel-tab" if suffix == "tsv" else "excel", quoting=quoting).writerows([header, *records])
    wanted = [{name: cell or None for name, cell in zip(header, record, strict=True)} for record in records]
    assert _rows_or_fault(text.getvalue().encode(), f"rows.{suffix}") == wanted


@FEW
@given(records=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r"), max_size=9), max_size=6))
def test_a_table_without_quoting_is_read(records: list[str]) -> None:
    """Cells that are well quoted from end to end are the one thing that two kinds of tab-separated file share."""
    texts = [text for text in records if text and not text.startswith('"')]
    lines = "".join(f"{text}\t{number}\n" for number, text in enumerate(texts))
    found = _rows_or_fault(f"text\tlabel\n{lines}".encode(), "rows.tsv")
    assert [row["text"] for row in found] == texts


_TOKEN = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r", exclude_categories=["Z"]), min_size=1, max_size=6)  # noqa: E501 # fmt: skip
_TAGGED = st.tuples(_TOKEN.filter(lambda token: token != "-DOCSTART-"), st.sampled_from(["O", "B-X", "I-X"]))


@pytest.mark.parametrize("indexed", [False, True])
@settings(FEW, max_examples=80)
@given(sentences=st.lists(st.lists(_TAGGED, min_size=1, max_size=5), max_size=4))
def test_written_sentences_are_read(indexed: bool, sentences: list[list[tuple[str, str]]]) -> None:
    lines = []
    for sentence in sentences:
        for number, (token, tag) in enumerate(sentence, 1):
            lines.append(f"{number}\t{token}\t{tag}\t-\t-" if indexed else f"{token}\t{tag}")
        lines.append("")
    wanted = [{"tokens": [token for token, _ in each], "tags": [tag for _, tag in each]} for each in sentences]
    assert _rows_or_fault("\n".join(lines).encode(), "rows.iob2") == wanted
