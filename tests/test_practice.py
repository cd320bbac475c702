"""Practice: rows made of raw text teach without a label, and what is validated on was never learnt from."""

import gzip
import json
import lzma
import re
import tracemalloc
from pathlib import Path

import pytest
from test_harvest import SMALL
from tiny_encoder import write_tiny_encoder

from lowrung.cli import main
from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.data import raw
from lowrung.models import training
from lowrung.models.training import Settings
from lowrung.models.tuning import Frozen, Top
from lowrung.run import practice
from lowrung.run.fit import fit
from lowrung.run.harvest import harvest
from lowrung.run.practice import practise
from lowrung.run.ship import load
from lowrung.run.start import Rehearsal
from lowrung.run.study import study
from lowrung.tasks import task

PEOPLE = "Ada Grace Alan Edith Barbara Donald Frances Hedy Katherine Linus".split()
PLACES = "London Paris Rome Vienna Madrid".split()


def passage(at: int) -> str:
    one, two = PEOPLE[at % 10], PEOPLE[(at // 10 + at + 1) % 10]
    place = PLACES[at % 5]
    return (
        f"Yesterday {one} met {two} near {place} in room{at}. They talked for hours in room{at}. "
        f"Then {one} wrote a letter in room{at}, and later {two} read it twice. In the end {one} left room{at}."
    )


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "raw.txt"
    file.write_text("\n".join(passage(at) for at in range(1200)) + "\n", "utf-8")
    return file


SETTINGS = Settings(lr=1e-3, batch=4, validations=2, patience=10**6)


def test_rows_are_made_learnt_from_and_held_out(body, text):
    seen = []
    made = practise(
        task("pronoun"),
        [text],
        model=body,
        how=Top(1),
        steps=6,
        held=30,
        settings=SETTINGS,
        watch=lambda step, steps, loss: seen.append((step, steps)),
    )
    assert seen == [(step, 6) for step in range(1, 7)]
    assert made.steps == len(made.losses) == 6
    assert [each["step"] for each in made.curve] == [0, 3, 6]
    assert made.curve[1]["loss"] == pytest.approx(sum(made.losses[:3]) / 3, abs=1e-4)
    assert made.pace["pieces"] > made.pace["rows"] > 0
    assert made.rows > 6 * 4
    assert made.report.examples == made.untouched.examples
    numbers = {int(re.search(r"room(\d+)", each.question.text)[1]) for each in made.report.examples}
    assert {at // raw.DOCUMENT % raw.HELD_OUT for at in numbers} == {raw.HELD_OUT - 1}
    metric = task("pronoun").metrics[0]
    assert made.report.value(metric) >= made.untouched.value(metric) - 0.2
    assert made.model.name == "practice"


def test_learning_rows_are_never_of_held_out_documents(text):
    learnt = list(raw.lines([text], held_out=False))
    held = list(raw.lines([text], held_out=True))
    assert not {*learnt} & {*held}
    assert len(learnt) + len(held) == 1200
    assert len(held) == 50


@pytest.mark.parametrize(("number", "held"), [(49, 0), (50, 0), (51, 1), (100, 50), (1000, 50), (1001, 50), (1050, 50)])
def test_a_small_file_holds_out_its_last_document(number, held, tmp_path):
    file = tmp_path / "raw.txt"
    file.write_text("\n".join(f"line {at}" for at in range(number)), "utf-8")
    lines = [list(raw.lines([file], held_out=each)) for each in (False, True)]
    assert list(map(len, lines)) == [number - held, held]


def test_a_feed_that_is_resumed_goes_on_where_it_was():
    def numbers():
        yield from range(100)

    whole, cut = practice.Feed(numbers, 3), practice.Feed(numbers, 3)
    expected = [whole(step) for step in range(5)]
    assert cut(3) == expected[3]
    assert cut(4) == expected[4]


def test_text_is_read_again_when_it_ends(body, text, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("\n".join(passage(at) for at in range(60)) + "\n", "utf-8")
    made = practise(task("pronoun"), [short], model=body, how=Top(1), steps=60, held=5, settings=SETTINGS)
    assert made.steps == 60
    assert made.passes > 3


def test_the_same_seed_gives_the_same_model(body, text):
    runs = [
        practise(task("pronoun"), [text], model=body, how=Top(1), steps=4, held=10, settings=SETTINGS) for _ in range(2)
    ]
    assert runs[0].losses == runs[1].losses
    assert [each.answer for each in runs[0].report.predictions] == [each.answer for each in runs[1].report.predictions]


def test_the_head_alone_can_be_practised(body, text):
    made = practise(task("pronoun"), [text], model=body, how=Frozen(), held=10)
    assert (made.steps, made.losses) == (0, ())


def test_what_cannot_be_practised_is_said_in_one_line(body, text, tmp_path):
    with pytest.raises(LowrungError, match="topic cannot be practised"):
        practise(task("topic"), [text], model=body)
    with pytest.raises(LowrungError, match="none answers spelling;"):
        practise(task("spelling"), [text], model=body)
    with pytest.raises(LowrungError, match="at least 1 step"):
        practise(task("pronoun"), [text], model=body, steps=0)
    empty = tmp_path / "empty.txt"
    empty.write_text("nobody is named here\n", "utf-8")
    with pytest.raises(DataError, match="too little text for pronoun"):
        practise(task("pronoun"), [empty], model=body)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"body": "Ada met Grace."}\n', "utf-8")
    with pytest.raises(DataError, match="no text in column 'text'"):
        practise(task("pronoun"), [rows], model=body)


@pytest.mark.parametrize("name", ["pronoun", "speech", "spelling"])
def test_a_folder_of_something_else_ends_a_practice_before_it_begins(name, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    run = harvest if name == "spelling" else practise
    with pytest.raises(ModelError, match="something else"):
        run(task(name), [tmp_path / "there-is-no-such.txt"], out=tmp_path)


def test_it_ships_from_the_command_line(body, text, tmp_path, capsys):
    out = tmp_path / "practised"
    assert main(["practice", "pronoun", "--text", str(text), "--steps", "2", "--model", body, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert re.search(r"practised on \d+ rows in \d+ s \([\d,]+ rows/s, [\d,]+ pieces/s\)", said.out)
    assert re.search(r"^step +minutes +P\(right\) +loss$", said.out, re.M)
    assert re.search(r"^2/2 loss \d", said.err, re.M)
    curve = json.loads((out / "lowrung.json").read_text("utf-8"))["practice"]["curve"]
    assert [each["step"] for each in curve] == [0, 1, 2]
    assert {*curve[-1]} == {"step", "minutes", "score", "loss"}
    assert "Rows made of raw text are not rows of people" in (out / "README.md").read_text("utf-8")
    row = {"text": "Ada met Grace because she was late.", "pronoun": [22, 25], "candidates": [[0, 3], [8, 13]]}
    shipped = load(out)
    assert shipped.model.name == "practice"
    assert shipped.answer(row).answer.option in ("Ada", "Grace", "none of them")
    assert not out.with_name("practised.training").exists()


def test_practice_that_was_cut_goes_on(body, text, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    asked = {"model": body, "how": Top(1), "steps": 6, "held": 10, "settings": SETTINGS}
    whole = practise(task("pronoun"), [text], **asked)

    class Cut(Exception):
        pass

    def cut(step, steps, loss):
        if step == 4:
            raise Cut

    with pytest.raises(Cut):
        practise(task("pronoun"), [text], out=tmp_path / "cut", watch=cut, **asked)
    steps = []
    again = practise(task("pronoun"), [text], out=tmp_path / "cut", watch=lambda step, *_: steps.append(step), **asked)
    assert steps == [4, 5, 6]
    assert again.losses == whole.losses


def test_the_clock_ends_it_and_counts_what_was_spent_before(body, text, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    asked = {"model": body, "how": Top(1), "held": 5, "settings": SETTINGS, "out": tmp_path / "timed"}
    totals = []

    class Cut(Exception):
        pass

    def cut(step, steps, loss):
        totals.append(steps)
        if step == 5:
            raise Cut

    with pytest.raises(Cut):
        practise(task("pronoun"), [text], minutes=0.05, watch=cut, **asked)
    assert all(steps < practice.ENDLESS for steps in totals)
    state = next((tmp_path / "timed.training").rglob("state.json"))
    spent = json.loads(state.read_text("utf-8"))
    assert spent["step"] == 4
    state.write_text(json.dumps(spent | {"seconds": 2.9}), "utf-8")
    made = practise(task("pronoun"), [text], minutes=0.05, **asked)
    assert 4 < made.steps == made.curve[-1]["step"]
    assert 0.05 <= made.curve[-1]["minutes"] < 0.2
    assert practise(task("pronoun"), [text], minutes=9, steps=2, **asked).steps == 2


LINES = [f"line {at} of the text" for at in range(60)]


def _written(folder: Path, kind: str) -> tuple[Path, str]:
    whole, rows = "\n".join(LINES) + "\n", [{"id": at, "body": line} for at, line in enumerate(LINES)]
    file = folder / f"raw.{kind}"
    if kind == "txt":
        file.write_text(whole, "utf-8")
    elif kind == "txt.gz":
        file.write_bytes(gzip.compress(whole.encode()))
    elif kind == "txt.xz":
        file.write_bytes(lzma.compress(whole.encode()))
    elif kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    elif kind == "csv":
        file.write_text("id,body\n" + "\n".join(f"{each['id']},{each['body']}" for each in rows), "utf-8")
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), file, row_group_size=7)
    return file, "text" if kind.startswith("txt") else "body"


@pytest.mark.parametrize("kind", ["txt", "txt.gz", "txt.xz", "jsonl", "csv", "parquet"])
def test_text_comes_out_of_every_format(kind, tmp_path):
    file, column = _written(tmp_path, kind)
    assert list(raw.lines([file], column, held_out=False)) == LINES[: raw.DOCUMENT]
    assert list(raw.lines([file], column, held_out=True)) == LINES[raw.DOCUMENT :]


@pytest.mark.parametrize("kind", ["txt", "txt.xz", "jsonl"])
def test_text_is_never_held_as_a_whole(kind, tmp_path):
    line = "a long line of text " * 50
    file, big = tmp_path / f"raw.{kind}", 20_000  # 20 MB
    whole = "".join(f"{json.dumps({'text': line}) if kind == 'jsonl' else line}\n" for _ in range(big)).encode()
    file.write_bytes(lzma.compress(whole, preset=0) if kind == "txt.xz" else whole)
    del whole
    tracemalloc.start()
    assert sum(1 for _ in raw.lines([file], held_out=False)) == 19_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


ROWS = [
    {
        "id": str(at),
        "text": f"{one} met {two} because she was late in room{at}.",
        "pronoun": [len(f"{one} met {two} because "), len(f"{one} met {two} because she")],
        "candidates": [[0, len(one)], [len(f"{one} met "), len(f"{one} met {two}")]],
        "referent": at % 2,
    }
    for at, (one, two) in enumerate((PEOPLE[at % 10], PEOPLE[(at + 3) % 10]) for at in range(12))
]
METHODS = ("probe", "practice+probe", "practice+top")


HOWS = {"hot": Frozen(), "obe": Frozen(), "top": Top(2)}


@pytest.fixture
def short(monkeypatch):
    """Few rows and few steps, here as in what studies call."""
    monkeypatch.setattr(practice, "FIRST", 40)
    monkeypatch.setattr(
        "lowrung.run.methods.recipe", lambda name: (HOWS[name[-3:]], Settings(least=2, most=2, batch=4))
    )


def test_a_study_takes_practice_as_a_method_and_as_a_start(body, text, tmp_path, short, monkeypatch):
    asked = {"methods": METHODS, "labels": (0, "all"), "seeds": 1, "model": body, "out": tmp_path / "study"}
    rehearsal = Rehearsal((text,), steps=2)
    told = []
    found = study("pronoun", ROWS, rehearsal=rehearsal, watch=lambda what, *_: told.append(what), **asked)
    assert {(each.method, each.labels > 0) for each in found.cells} == {
        ("zero-shot", False),
        ("practice", False),
        *((name, True) for name in METHODS),
    }
    assert any(each.startswith("practice on raw text, loss") for each in told)
    assert found.facts["practice"]["steps"] == 2
    kept = next((tmp_path / "study").glob("practice-*"))
    assert load(kept).model.name == "practice"
    assert (tmp_path / "study" / "study.json").is_file()

    monkeypatch.setattr(practice, "train", None)  # nothing practises twice
    again = study("pronoun", ROWS, rehearsal=rehearsal, **asked)
    assert [each.metrics for each in again.cells] == [each.metrics for each in found.cells]
    cells = {each.name for each in (tmp_path / "study" / "cells").iterdir()}
    study("pronoun", ROWS, **asked | {"methods": ("probe",)})
    assert {each.name for each in (tmp_path / "study" / "cells").iterdir()} == cells  # the text is not in their keys


@pytest.mark.parametrize("method", ["practice", "practice+probe", "practice+top"])
def test_what_was_fitted_from_practice_loads(method, body, text, tmp_path, monkeypatch):
    monkeypatch.setattr(practice, "FIRST", 40)
    out = tmp_path / "fitted"
    made = fit("pronoun", ROWS, method=method, model=body, rehearsal=Rehearsal((text,), steps=2), out=out)
    assert made.model.name == method
    assert made.facts["practice"]["text"] == [str(text)]
    there, back = made.answer(ROWS), load(out).answer(ROWS)
    assert [each.answer for each in there] == [each.answer for each in back]
    assert [each.confidence for each in there] == pytest.approx([each.confidence for each in back], abs=1e-5)
    assert not out.with_name("fitted.training").exists()
    card = (out / "README.md").read_text("utf-8")
    assert f"practised on: {text}" in card
    assert ("no labelled row" in card) == (method == "practice")


def test_what_has_practised_is_where_labels_start(body, text, monkeypatch):
    from lowrung.run.adapt import adapt

    monkeypatch.setattr(practice, "FIRST", 40)
    made = practise(task("pronoun"), [text], model=body, how=Top(1), steps=4, held=5, settings=SETTINGS)
    examples = [task("pronoun").example(row) for row in ROWS]
    before = {name: each.clone() for name, each in made.model.backbone.body.state_dict().items()}
    probed = adapt(made.model, task("pronoun"), examples, how=Frozen())
    after = probed.backbone.body.state_dict()
    assert all(bool((after[name] == each).all()) for name, each in before.items())
    assert probed.how == Top(1)  # so that a shipped one keeps the body that it stands on
    with pytest.raises(LowrungError, match="moves less than practice"):
        adapt(practise(task("pronoun"), [text], model=body, how=Top(2), steps=1, held=5, settings=SETTINGS).model,
              task("pronoun"), examples, how=Top(1))  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study", "topic", "rows.jsonl", "--text", "a.txt"], "topic cannot be practised on raw text"),
        (["fit", "pronoun", "points.jsonl", "--method", "practice"], "needs some: --text FILE"),
        (["fit", "pronoun", "points.jsonl", "--method", "probe", "--text", "a.txt"], "these do: practice, practice+"),
        (["fit", "pronoun", "points.jsonl", "--practice-steps", "3"], "--text, which is missing"),
        (["practice", "pronoun", "--text", "nowhere.txt"], "nowhere.txt: no such file"),
        (["practice", "pronoun", "--text", "points.jsonl", "--column", "body"], "'body'"),
        (["practice", "pronoun", "--text", "a.txt", "--least", "3"], "--least is for tasks that harvest words"),
        (["practice", "pronouns", "--text", "a.txt"], "Did you mean 'pronoun'?"),
    ],
)
def test_bad_input_is_one_line(arguments, message, body, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("nobody is named here\n", "utf-8")
    (tmp_path / "points.jsonl").write_text("\n".join(map(json.dumps, ROWS)), "utf-8")
    rows = [{"text": f"text {at}", "label": "ab"[at % 2]} for at in range(8)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    assert main([*arguments, "--model", body]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_spelling_takes_its_words_into_a_study(text, tmp_path, monkeypatch):
    monkeypatch.setattr("lowrung.run.study.foundation", lambda task, model: SMALL)
    rows = [
        {"text": f"They recieved it in room {at}.", "correct": f"They received it in room {at}."} for at in range(6)
    ]
    asked = {"methods": ("practice+channel-tuned",), "labels": (0, "all"), "seeds": 1, "out": tmp_path / "study"}
    found = study("spelling", rows, test=rows, rehearsal=Rehearsal((text,)), **asked)
    assert {each.method for each in found.cells} == {"channel", "practice", "practice+channel-tuned"}
    assert found.facts["practice"]["words"] > 1000
