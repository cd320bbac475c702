"""Corrections in files, and other tools' annotations as corrections."""

import base64
import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
import lowrung
from lowrung.cli import main
from lowrung.core.errors import DataError
from lowrung.data.files import read_rows
from lowrung.serving.exchange import bring, export
from lowrung.serving.store import Correction, Store
from lowrung.tasks import task

TOPIC = task("topic").with_options(("billing", "praise"))
ENTITIES = task("entities").with_options(("PER", "LOC"))


@pytest.fixture
def store(tmp_path):
    made = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield made
    made.close()


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


LABEL_STUDIO = [
    {
        "id": 7,
        "data": {"text": "Ada lived in London."},
        "annotations": [
            {"was_cancelled": True, "result": []},
            {
                "result": [
                    {"type": "labels", "value": {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]}},
                    {"type": "labels", "value": {"start": 13, "end": 19, "text": "London", "labels": ["LOC"]}},
                ]
            },
        ],
    },
    {"id": 8, "data": {"text": "Nobody has looked at this."}, "annotations": []},
]
CHOICES = [
    {
        "data": {"text": "I was charged twice"},
        "annotations": [{"result": [{"type": "choices", "value": {"choices": ["billing"]}}]}],
    }
]


def test_label_studio_spans(store, tmp_path):
    file = written(tmp_path / "project.json", LABEL_STUDIO)
    assert bring(store, ENTITIES, "names", file, "label-studio") == (1, 1)
    assert bring(store, ENTITIES, "names", file, "label-studio") == (0, 1)
    (found,) = store.page()
    assert found.row == {"text": "Ada lived in London."}
    assert [(each["start"], each["end"], each["label"]) for each in found.correction["spans"]] == [
        (0, 3, "PER"),
        (13, 19, "LOC"),
    ]
    assert found.source == "project.json"


def test_label_studio_choices(store, tmp_path):
    assert bring(store, TOPIC, "mails", written(tmp_path / "p.json", CHOICES), "label-studio") == (1, 1)
    assert store.page()[0].correction == {"label": "billing"}


def test_doccano(store, tmp_path):
    lines = '{"text": "great", "label": ["praise"]}\n{"text": "bill", "label": ["billing"]}\n'
    assert bring(store, TOPIC, "mails", written(tmp_path / "d.jsonl", lines), "doccano") == (2, 2)
    lines = '{"text": "Ada in Rome", "label": [[0, 3, "PER"], [7, 11, "LOC"]]}\n'
    assert bring(store, ENTITIES, "names", written(tmp_path / "e.jsonl", lines), "doccano") == (1, 1)
    assert store.page(model="names")[0].correction["spans"][1]["start"] == 7


@pytest.mark.parametrize(
    ("content", "form", "said"),
    [
        ("{", "label-studio", "cannot be read"),
        ({"a": 1}, "label-studio", "a list of tasks"),
        ([{"data": {}, "annotations": [{"result": []}]}], "label-studio", "task 1: its data has no 'text'"),
        ([{"data": {"text": "x"}, "annotations": [{"result": []}]}], "label-studio", "holds no answer for topic"),
        ('{"text": "x", "label": ["a", "b"]}\n', "doccano", "2 labels"),
        ('{"text": "x", "label": ["odd"]}\n', "doccano", "odd"),
        ('{"text": "x"}\n', "rows", "has no 'label'"),
        ('{"text": "x"}\n', "odd", "format 'odd'"),
    ],
)
def test_a_bad_file_is_told_with_its_place(store, tmp_path, content, form, said):
    with pytest.raises(DataError, match=said):
        bring(store, TOPIC, "mails", written(tmp_path / "bad.jsonl", content), form)


def test_out_and_in_again(store, tmp_path, capsys):
    one = Correction("a", "mails", "topic", {"text": "my card"}, {"label": "billing"}, who="ada")
    store.add(one)
    assert export(store.all(), tmp_path / "out.jsonl") == 1
    (row,) = read_rows(tmp_path / "out.jsonl", task=TOPIC)
    assert (row["text"], row["label"]) == ("my card", "billing")
    url = f"sqlite:///{tmp_path / 'store.db'}"
    assert main(["corrections", url]) == 0
    assert "my card" in capsys.readouterr().out
    assert main(["corrections", url, "--erase", "ada"]) == 0
    assert main(["corrections", url, "--json"]) == 0
    assert capsys.readouterr().out.endswith("[]\n")
    assert main(["corrections", url, "--import", "x.jsonl"]) == 2


def test_media_become_files_beside_the_rows(store, tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    path = tmp_path / "line.png"
    pillow.new("RGB", (30, 10), "white").save(path)
    content = base64.b64encode(path.read_bytes()).decode()
    store.add(Correction("a", "lines", "reading", {"image": f"data:image/png;base64,{content}"}, {"text": "abc"}))
    export(store.all(), tmp_path / "out.jsonl")
    (row,) = read_rows(tmp_path / "out.jsonl", task=task("reading"))
    assert row["text"] == "abc"
    assert task("reading").question(row).given[0].pixels.shape == (10, 30, 3)


SOUND = Path(lowrung.__file__).parent / "tasks" / "speech-sample.wav"


def test_sounds_of_a_file_come_and_go(store, tmp_path):
    shutil.copy(SOUND, tmp_path / "said.wav")
    file = written(tmp_path / "rows.jsonl", json.dumps({"audio": "said.wav", "text": "ding dong"}))
    assert bring(store, task("speech"), "ears", file, "rows") == (1, 1)
    assert export(store.all(), tmp_path / "out.jsonl") == 1
    (row,) = read_rows(tmp_path / "out.jsonl", task=task("speech"))
    assert task("speech").example(row).question.given[0].seconds == 1


def test_media_of_lists_are_files_beside(store, tmp_path):
    given = [{"text": "door"}, {"audio": base64.b64encode(SOUND.read_bytes()).decode()}]
    store.add(Correction("k", "mails", "topic", {"given": given}, {"label": "praise"}))
    assert export(store.all(), tmp_path / "out.jsonl") == 1
    (row,) = read_rows(tmp_path / "out.jsonl", task=TOPIC)
    assert TOPIC.example(row).question.given[1].seconds == 1


def test_one_row_that_cannot_be_read_back_holds_up_no_other(store, tmp_path):
    store.add(Correction("k", "m", "speech", {"audio": "of another time.wav"}, {"text": "a"}))
    store.add(Correction("l", "m", "topic", {"text": "fine"}, {"label": "praise"}))
    told = []
    assert export(store.all(), tmp_path / "out.jsonl", told.append) == 1
    assert "'audio' holds base64" in told[0]
    with pytest.raises(DataError, match="holds base64"):
        export(store.all(), tmp_path / "out.jsonl")


def test_a_file_is_brought_for_each_model_of_a_task(store, tmp_path):
    file = written(tmp_path / "p.json", CHOICES)
    assert bring(store, TOPIC, "mails", file, "label-studio") == (1, 1)
    assert bring(store, TOPIC, "letters", file, "label-studio") == (1, 1)


def test_several_labels_of_a_text(store, tmp_path):
    several = [{"data": {"text": "both"}, "annotations": [{"result": [{"value": {"choices": ["billing", "praise"]}}]}]}]
    topics = task("topics").with_options(("billing", "praise"))
    assert bring(store, topics, "m", written(tmp_path / "p.json", several), "label-studio") == (1, 1)
    file = written(tmp_path / "d.jsonl", json.dumps({"text": "all", "label": ["praise", "billing"]}))
    assert bring(store, topics, "m", file, "doccano") == (1, 1)
    assert [sorted(each.correction["labels"]) for each in store.page()] == [["billing", "praise"]] * 2
