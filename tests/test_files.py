"""Rows in and out: each format gives its rows with their places, each fault is one line that names its place."""

import csv
import gzip
import io
import json
import lzma
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lowrung.core.answers import write
from lowrung.core.errors import DataError, LowrungError
from lowrung.data.files import atomic, atomic_folder, iter_rows, read_rows, split_names, write_rows
from lowrung.tasks import task

File = Callable[..., Path]


@pytest.fixture
def file(tmp_path: Path) -> File:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def _places(path: Path) -> list[tuple[str, Any]]:
    return [(where.removeprefix(str(path)), dict(row)) for where, row in iter_rows(path)]


def _fault(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_rows(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path)), message
    assert "\n" not in message
    return message.removeprefix(str(path))


TABLE = [{"text": 'a, "b"\nc', "label": "x"}, {"text": "naïve 你好 \u2028", "label": "y"}]


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_rows_come_back_from_every_format(file: File, suffix: str, packing: str) -> None:
    whole = io.BytesIO()
    if suffix == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(TABLE), whole)
    elif suffix == "jsonl":
        whole.write("".join(json.dumps(row) + "\n" for row in TABLE).encode())
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, ["text", "label"], delimiter="\t" if suffix == "tsv" else ",")
        writer.writeheader()
        writer.writerows(TABLE)
        whole.write(text.getvalue().encode("utf-8-sig"))
    squeeze = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[packing]
    path = file(f"rows.{suffix}{packing}", squeeze(whole.getvalue()))
    assert read_rows(path) == TABLE
    assert read_rows(str(path), task=task("topic")) == TABLE


def test_places_count_physical_lines(file: File) -> None:
    assert _places(file("a.jsonl", '\n{"a": 1}\r\n\n{"a": 2}')) == [(":2", {"a": 1}), (":4", {"a": 2})]
    assert _places(file("a.csv", 'a,b\n"x\ny",1\n\nz,2\n')) == [
        (":2", {"a": "x\ny", "b": "1"}),
        (":5", {"a": "z", "b": "2"}),
    ]
    assert _places(file("a.txt", "one\n\n two \r\n")) == [(":1", {"text": "one"}), (":3", {"text": " two "})]


def test_an_empty_cell_is_a_missing_value_and_a_nameless_column_is_left_out(file: File) -> None:
    assert read_rows(file("a.csv", ",text,label\n0,hello,\n1,,x\n,,\n")) == [
        {"text": "hello", "label": None},
        {"text": None, "label": "x"},
    ]


def test_lists_in_cells_are_decoded(file: File) -> None:
    path = file("a.csv", 'text,tokens,tags\nA b,"[""A"", ""b""]","[""B-X"", ""O""]"\n')
    assert read_rows(path) == [{"text": "A b", "tokens": ["A", "b"], "tags": ["B-X", "O"]}]
    assert read_rows(file("c.tsv", 'tags\n["O"]\n')) == [{"tags": ["O"]}]


def test_a_cell_that_is_no_list_stays_a_text_for_the_task_to_judge(file: File) -> None:
    path = file("a.csv", 'text,label,tags\nhi,a,"urgent, web"\nho,b,[news] [sport]\n')
    assert [row["tags"] for row in read_rows(path, task=task("topic"))] == ["urgent, web", "[news] [sport]"]
    for name, table, said in (
        ("entities", 'text,tokens,tags\nA b,"[""A"", ""b""]",[\'O\' \'O\']\n', "'tags' holds a list of tags, not"),
        ("entities", "tokens,tags\n['A' 'b'],['O' 'O']\n", "'tokens' holds a list of tokens, not"),
        ("topics", "text,labels\nhi,['a' 'b']\n", "'labels' holds a list that is not JSON"),
        ("choice", "question,options\nwhy?,['a' 'b']\n", "'options' holds a list of texts"),
    ):
        known = task(name)
        with pytest.raises(DataError, match=said):
            [known.example(row) for row in read_rows(file("b.csv", table))]


QUOTED = {
    "topics": [{"text": "hi", "labels": '["a", "b"]'}],
    "relation": [{"text": "Rain brought floods.", "first": "[0, 4]", "second": "[13, 19]", "label": "x"}],
    "pronoun": [
        {"text": "Ada met Eva; she left.", "pronoun": "[13, 16]", "candidates": "[[0, 3], [8, 11]]", "referent": said}
        for said in ("1", "null", "")
    ],
    "dialogue": [{"turns": '["Hello."]', "candidates": '["Hi.", "No."]', "next": said} for said in ("1", "Hi.", "")],
    "choice": [
        {"question": "When?", "options": options, "answer": said}
        for options, said in (
            ('["1984", "1"]', "1984"),
            ('["1984", "1"]', "1"),
            ('["a", "b"]', "0"),
            ('["a", "b"]', ""),
        )
    ],
    "answers_in_text": [
        {"text": "Ada lived in London.", "question": "Where?", "answers": said}
        for said in ('["London"]', '{"text": ["London"], "answer_start": [13]}', "London", "[]", "")
    ],
    "write": [{"text": "Go.", "checks": '{"max_words": 3}', "answer": "[Yes]"}],
}


def test_a_table_says_what_json_lines_say(file: File) -> None:
    found = {}
    for name, rows in QUOTED.items():
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        examples = [task(name).example(row) for row in read_rows(file(f"{name}.csv", text.getvalue()))]
        found[name] = [write(*each.golds, each.question) if each.golds else None for each in examples]
        if name == "write":
            assert examples[0].question.checks == (("max_words", "3"),)
    assert found.pop("topics") == ["a; b"]
    assert found.pop("relation") == ["x"]
    assert found.pop("pronoun") == ["Eva", "none of them", None]
    assert found.pop("dialogue") == ["No.", "Hi.", None]
    assert found.pop("choice") == ["1984", "1", "a", None]
    answers = found.pop("answers_in_text")
    assert answers[:3] == [answers[0]] * 3
    assert answers[3] not in (None, answers[0])
    assert answers[4] is None
    assert found == {"write": ["[Yes]"]}


def test_a_tab_separated_file_without_quoting_keeps_its_quotes(file: File) -> None:
    lines = 'label\ttext\n1\t"Hello" he said\n2\t"an open one\n3\t"whole"\n4\tplain "end"\n'
    texts = ['"Hello" he said', '"an open one', "whole", 'plain "end"']
    assert [row["text"] for row in read_rows(file("a.tsv", lines))] == texts
    quoted = 'label\ttext\n1\t"two\nlines"\n2\t"a\ttab"\n3\tx\n'
    assert _places(file("b.tsv", quoted)) == [
        (":2", {"label": "1", "text": "two\nlines"}),
        (":4", {"label": "2", "text": "a\ttab"}),
        (":5", {"label": "3", "text": "x"}),
    ]


def test_conll_takes_the_first_and_the_last_column(file: File) -> None:
    text = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\n# CD B-NP O\n1 CD I-NP O\n"
    assert _places(file("a.conll", text)) == [  # one document parts nothing
        (":3", {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}),
        (":7", {"tokens": ["#", "1"], "tags": ["O", "O"]}),
    ]
    assert read_rows(file("b.bio", "#tag\tO\n\u00a0\tO\n"))[0]["tokens"] == ["#tag", "\u00a0"]


def test_documents_of_a_conll_file_are_told_apart_where_there_are_two(file: File) -> None:
    text = "a O\n\n-DOCSTART- -X-\n\nb O\n\nc O\n\n-DOCSTART- -X-\nd O\n"
    rows = read_rows(file("a.conll", text))
    assert [row["tokens"][0] for row in rows] == ["a", "b", "c", "d"]
    documents = [row.get("document", "") for row in rows]
    assert [each.rpartition(" ")[2] for each in documents] == ["", "1", "1", "2"]
    assert documents[1].endswith("/a.conll 1")
    assert all("document" not in row for row in read_rows(file("b.conll", text.replace("-DOCSTART- -X-\nd", "d"))))
    indexed = "# newdoc id = x\n# sent_id = 1\n1\tHi\tO\n\n# newdoc id = y\n1\tHo\tO\n2\t!\tO\n"
    assert [row["document"][-1] for row in read_rows(file("c.iob2", indexed))] == ["1", "2"]


def test_an_index_column_is_recognised(file: File) -> None:
    text = (
        "# newdoc id = x\n# sent_id = 1\n# text = Hi\n1\tHi\tO\t-\t-\n\n"
        "# text = In the EU\n1-2\tInthe\tO\t-\t-\n1\tIn\tO\t-\t-\n2\tEU\tB-ORG\t-\t-\n"
    )
    assert _places(file("a.iob2", text)) == [
        (":4", {"tokens": ["Hi"], "tags": ["O"]}),
        (":7", {"tokens": ["In", "EU"], "tags": ["O", "B-ORG"]}),
    ]
    assert read_rows(file("b.conll", "1 CD O\n\nin IN O\n2 CD O\n"))[0] == {"tokens": ["1"], "tags": ["O"]}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": 1,}\n', ":2: not a line of JSON: "),
        ("a.jsonl", "[1]\n", ":1: a line holds one JSON object"),
        ("a.jsonl", '{"a": NaN}\n', ":1: not a line of JSON: NaN is not JSON; write null"),
        ("a.jsonl", '{"a": 1e999}\n', ":1: not a line of JSON: the number 1e999 is too large"),
        ("a.jsonl", '{"a": 1, "a": 2}\n', ":1: not a line of JSON: the key 'a' stands twice"),
        ("a.jsonl", '{"a": "\\ud83d"}\n', ":1: not a line of JSON: half of a surrogate pair"),
        ("a.jsonl", "[" * 100_000, ":1: not a line of JSON: nested too deeply"),
        ("a.jsonl", '{"a": "ü"}\n{"a": "ü"}'.encode("latin-1"), ":1: not UTF-8 (byte 0xfc at column 8); convert it"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), ":1: not UTF-8 (byte 0xff at column 1); convert it with iconv -f UTF"),
        ("a.jsonl", "\n\n", ": no rows"),
        ("a.csv", "text,label\n", ": no rows"),
        ("a.csv", "text,label\na,b\nc\n", ":3: 1 cells where the header line has 2"),
        ("a.csv", 'text,label\n"a,b\nc,d\n', ":2: not a CSV record: "),
        ("a.csv", "text,text\na,b\n", ":1: column 'text' stands twice"),
        ("a.tsv", 'text\tlabel\n"a\n', ":2: 1 cells where the header line has 2"),
        ("a.conll", "EU B-ORG\nrejects\n", ":2: one column where a token and a tag are due"),
        ("a.conll", "EU B-ORG\nrejects V O\n", ":2: 3 columns where the lines before have 2"),
        ("a.conll", "EU\tB-ORG\nrejects\t\n", ":2: the tag is empty"),
        ("a.iob2", "1\ta\tO\n2\tb\tO\n\n1\ta\tO\n3\tb\tO\n", ":5: index '3' where 2 was due"),
        ("a.jsonl.gz", b'{"a": 1}\n', ":1: cannot be read: Not a gzipped file"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-12], ":"),
        ("a.txt.xz", lzma.compress(b"hello\n" * 99)[:-12], ":"),
        ("a.parquet", b"PAR1 and nothing else", ":row 1: not a readable parquet file: "),
        ("a.jsom", "{}", ": format 'jsom' is not one of jsonl"),
    ],
)  # fmt: skip
def test_a_fault_names_its_place(file: File, name: str, content: str | bytes, said: str) -> None:
    assert _fault(file(name, content)).startswith(said)


def test_a_very_long_line_is_read(file: File) -> None:
    csv.field_size_limit(131_072)  # Python's own, which an earlier test may have raised
    long = "wörd " * 400_000
    assert read_rows(file("a.jsonl", json.dumps({"text": long})))[0]["text"] == long
    assert read_rows(file("a.csv", f"text\n{long}\n"))[0]["text"] == long


def test_a_column_can_be_read_under_our_name(file: File) -> None:
    path = file("a.jsonl", '{"sentence": "hi", "text": "no", "y": "a"}\n')
    assert read_rows(path, rename={"text": "sentence", "label": "y"}) == [{"text": "hi", "label": "a"}]
    assert read_rows(path, rename={"text": "y", "y": "text"}) == [{"sentence": "hi", "text": "a", "y": "no"}]
    said = _fault(path, rename={"text": "sentense"})
    assert said.startswith(":1: column 'sentense' is not one of sentence, text, y. Did you mean 'sentence'?")


def test_a_row_that_the_task_refuses_is_named(file: File) -> None:
    topic = task("topic").with_options(["sport", "music"])
    path = file("a.jsonl", '{"text": "a", "label": "music"}\n{"text": "b", "label": "musik"}\n')
    said = _fault(path, task=topic)
    assert said == ":2: label 'musik' is not one of sport, music. Did you mean 'music'?"
    said = _fault(file("b.csv", "id,sentence\n7,a long one\n"), task=topic)
    columns = "'text' or 'text_pair' or 'audio' or 'image' or 'given'"
    assert said == f":2: no column {columns} (found: id, sentence). Did you mean --rename text=sentence?"
    assert "--rename text=txt?" in _fault(file("c.csv", "txt,sentence\n7,a long one\n"), task=topic)


def test_a_missing_file_is_told_with_the_closest_name(file: File, tmp_path: Path) -> None:
    file("train.jsonl", "{}")
    assert f"no such file. Did you mean '{tmp_path}/train.jsonl'?" in _fault(tmp_path / "trian.jsonl")
    assert "There is no folder" in _fault(tmp_path / "nowhere" / "train.jsonl")


def test_standard_input_is_read_as_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "a"}\n{"text": 1}\n')))
    assert [where for where, _ in iter_rows("-")] == ["-:1", "-:2"]


def test_a_folder_has_splits(file: File, tmp_path: Path) -> None:
    assert "no train, dev or test file" in _fault(tmp_path)
    file("train.csv", "text\na\n")
    file("validation.jsonl.gz", gzip.compress(b'{"text": "b"}\n', mtime=0))
    file("notes.txt", "not a split")
    assert [*split_names(tmp_path)] == ["train", "dev"]
    assert read_rows(tmp_path) == [{"text": "a"}]
    assert read_rows(tmp_path, split="dev") == read_rows(tmp_path, split="valid") == [{"text": "b"}]
    assert "split 'test' is not one of train, dev." in _fault(tmp_path, split="test")
    file("dev.jsonl", "{}")
    assert "two files for the split 'dev': dev.jsonl and validation.jsonl.gz" in _fault(tmp_path)


def test_a_sound_is_found_from_the_folder_of_its_rows(file: File, tmp_path: Path) -> None:
    file("one.wav", b"")
    rows = read_rows(file("a.jsonl", '{"audio": "one.wav"}\n{"audio": "two.wav"}\n'))
    assert [row["audio"] for row in rows] == [str(tmp_path / "one.wav"), "two.wav"]


def test_class_numbers_and_missing_values_of_a_parquet_file(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    names = {"_type": "ClassLabel", "names": ["no", "yes"]}
    tags = {"_type": "List", "feature": {"_type": "ClassLabel", "names": ["O", "B-X"]}}
    info = json.dumps({"info": {"features": {"label": names, "ner_tags": tags}}})
    table = pyarrow.table({"label": [1, -1], "ner_tags": [[0, 1], []], "score": [0.5, float("nan")]})
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": info}), path)
    assert _places(path) == [
        (":row 1", {"label": "yes", "tags": ["O", "B-X"], "score": 0.5}),
        (":row 2", {"label": None, "tags": [], "score": None}),
    ]


def test_a_hub_data_set_gives_names_and_says_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    data = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [1, 0]}, features=features)
    data.to_parquet(str(tmp_path / "set" / "train.parquet"))
    source = f"hub:{tmp_path}/set"  # `datasets` takes a folder where it takes a name
    assert read_rows(source, task=task("topic")) == [{"text": "x", "label": "b"}, {"text": "y", "label": "a"}]
    assert f"{source}: from https://" in capsys.readouterr().err
    with pytest.raises(DataError, match="split 'test' is not one of train"):
        read_rows(source, split="test")
    with pytest.raises(DataError, match="hub:nobody/nothing: cannot be had from the hub: "):
        read_rows("hub:nobody/nothing")


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(LowrungError, match=r"pip install 'lowrung\[hub\]'"):
        read_rows("hub:owner/name")


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.xz"])
def test_written_rows_are_read_and_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    write_rows(one, TABLE)
    write_rows(two, iter(TABLE))
    assert read_rows(one) == TABLE
    assert one.read_bytes() == two.read_bytes()
    assert sorted(os.listdir(tmp_path)) == [one.name, two.name]


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud800", b"x"])
@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.xz"])
def test_a_row_that_cannot_be_written_leaves_the_old_file(file: File, tmp_path: Path, value: Any, suffix: str) -> None:
    path = file(f"a.{suffix}", "old")
    with pytest.raises(DataError, match="row 2 cannot be written as JSON"):
        write_rows(path, [{"a": 1}, {"a": value}])
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_full_disk_leaves_the_old_file(file: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    path = file("a.jsonl", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device; nothing is changed"):
        write_rows(path, TABLE)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_rows_are_written_as_json_lines_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"written as \.jsonl"):
        write_rows(tmp_path / "a.csv", TABLE)


def test_atomic_keeps_links_modes_and_devices(tmp_path: Path) -> None:
    target, link = tmp_path / "target.bin", tmp_path / "link.bin"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    with atomic(link) as temporary:
        assert temporary.suffix == ".bin"
        temporary.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640
    with atomic(os.devnull) as device:
        device.write_bytes(b"gone")
    assert not Path(os.devnull).is_file()


def test_a_folder_is_swapped_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    for content in ("one", "two"):
        with atomic_folder(folder) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / content).write_text(content)
        assert os.listdir(folder / "sub") == [content]
    with pytest.raises(KeyboardInterrupt), atomic_folder(folder) as temporary:  # noqa: PT012
        (temporary / "half").write_text("half")
        raise KeyboardInterrupt
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if target == folder and not source.joinpath("sub").exists():
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr("lowrung.data.files._exchanged", lambda *_: False)  # as on systems that cannot
    with pytest.raises(OSError, match="No space"), atomic_folder(folder):
        pass
    assert os.listdir(folder / "sub") == ["two"]
    assert os.listdir(tmp_path) == ["model"]


def test_a_folder_that_one_works_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (".", "..", "/"):
        with pytest.raises(LowrungError, match="holds the working folder"), atomic_folder(path):
            pass
