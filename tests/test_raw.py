"""Raw text: documents of so many lines, some held out, whatever is empty in between."""

import json
from pathlib import Path
from typing import Any

import pytest

from lowrung.core.errors import DataError
from lowrung.data.raw import DOCUMENT, documents, lines


def _rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_empty_lines_leave_documents_as_long_as_they_are(every: int, tmp_path: Path) -> None:
    file = tmp_path / "raw.txt"
    text = (f"line {at}\n" + "\n" * (at % every == every - 1) for at in range(40 * DOCUMENT))
    file.write_text("".join(text), "utf-8")
    learnt, held = (list(documents([file], held_out=side)) for side in (False, True))
    assert all(len(each) <= DOCUMENT + 1 for each in learnt + held)
    assert held
    assert len(learnt) > len(held)
    told = [line for document in learnt + held for line in document if line]
    assert sorted(told) == sorted(f"line {at}" for at in range(40 * DOCUMENT))


def test_an_empty_cell_is_a_border_and_a_number_is_no_text(tmp_path: Path) -> None:
    file = _rows(tmp_path / "a.jsonl", [{"body": "one"}, {"body": None}, {"body": ""}, {"body": "two"}])
    assert list(lines([file], "body", held_out=False)) == ["one", "", "", "two"]
    table = tmp_path / "a.csv"
    table.write_text("id,text\n1,one\n2,\n3,two\n", "utf-8")
    assert list(lines([table], held_out=False)) == ["one", "", "two"]
    for row in ({"text": 7}, {"text": ["one"]}, {"body": "one"}):
        with pytest.raises(DataError, match=r"b\.jsonl:2: no text in column 'text'"):
            list(lines([_rows(tmp_path / "b.jsonl", [{"text": "one"}, row])], held_out=False))
