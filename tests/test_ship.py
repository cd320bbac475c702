"""A shipped folder answers as the model did before, is whole or not there, and loads in plain transformers."""

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
from tiny_encoder import ROWS, TOPICS, write_tiny_encoder

from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.run.export import export
from lowrung.run.fit import fit
from lowrung.run.methods import methods_for
from lowrung.run.ship import Shipped, load, training_of, with_labels
from lowrung.tasks import task

NEW = {
    "topic": ["was I charged for the card?", "a parcel in London", "?", "Ünïcode 的 text " * 60],
    "entities": ["Grace met Ada in Rome.", "nothing", "Émile lives in 東京 😀 Paris", "Ada lives in London. " * 20],
}
CASES = [(name, each.name) for name in ROWS for each in methods_for(task(name)) if not (each.writer or each.described)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(autouse=True)
def _little_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from lowrung.models import probe, training

    monkeypatch.setattr(training.Settings, "steps", lambda self, number: 6)
    monkeypatch.setattr(probe, "GRID", probe.GRID[:2])
    monkeypatch.setattr(probe, "REPEATED", 0)


def _said(shipped: Shipped, name: str) -> list[Any]:
    return [(each.answer, pytest.approx(each.confidence, abs=1e-5)) for each in shipped.answer(NEW[name])]


def _files(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


@pytest.mark.parametrize(("name", "method"), CASES)
def test_a_shipped_model_answers_as_before(name: str, method: str, encoder: str, tmp_path: Path) -> None:
    made = fit(name, ROWS[name], method=method, model=encoder, out=tmp_path / "m")
    found = load(tmp_path / "m")
    assert [(each.answer, each.confidence) for each in found.answer(NEW[name])] == _said(made, name)
    assert found.task.options == made.task.options
    assert set(_files(tmp_path / "m")) >= {"lowrung.json", "report.json", "README.md"}
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]  # no leftovers beside it


def test_a_model_takes_other_labels(encoder: str, tmp_path: Path) -> None:
    made = with_labels(fit("topic", TOPICS, model=encoder, out=tmp_path / "m"), ("billing", "praise"))
    assert {made.answer(text).answer.option for text in NEW["topic"]} <= {"billing", "praise"}


@pytest.mark.parametrize("method", ["probe", "ngrams"])
def test_fewer_labels_than_classes(method: str, encoder: str) -> None:
    known = task("topic").with_options(["billing", "delivery", "praise", "other"])
    made = fit(known, TOPICS[:2], method=method, model=encoder)
    assert {each.answer.option for each in made.answer(NEW["topic"])} <= set(known.options)


def _cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])


def _other_weights(folder: Path) -> None:
    facts = folder / "lowrung.json"
    facts.write_text(re.sub(r'"checksum": "\w+"', '"checksum": "0"', facts.read_text()))


DAMAGES = {
    "weights cut short": _cut,
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no facts": lambda folder: (folder / "lowrung.json").unlink(),
    "half of the facts": lambda folder: (folder / "lowrung.json").write_text('{"task": {"name"'),
    "facts of another kind": lambda folder: (folder / "lowrung.json").write_text("[]"),
    "facts without a model": lambda folder: (folder / "lowrung.json").write_text('{"task": {"name": "topic"}}'),
    "a body with other weights": _other_weights,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_an_error_of_one_line(damage: str, encoder: str, tmp_path: Path) -> None:
    fit("topic", TOPICS, method="zero-shot", model=encoder, out=tmp_path / "m")
    DAMAGES[damage](tmp_path / "m")
    with pytest.raises(ModelError, match=re.escape(str(tmp_path / "m"))) as told:
        load(tmp_path / "m")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("name", "method"), [("topic", "ngrams"), ("topic", "majority"), ("entities", "ngrams")])
def test_a_damaged_baseline_is_an_error(name: str, method: str, tmp_path: Path) -> None:
    fit(name, ROWS[name], method=method, out=tmp_path / "m")
    whole = _files(tmp_path / "m")
    for file in whole.keys() - {"README.md", "report.json"}:
        (tmp_path / "m" / file).write_bytes(whole[file][:-20])
        with pytest.raises(ModelError):
            load(tmp_path / "m")
        (tmp_path / "m" / file).write_bytes(whole[file])


def _full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "call", ["lowrung.models.network.save_file", "lowrung.data.files.os.fsync", "pathlib.Path.write_text"]
)
def test_a_full_disk_leaves_the_old_model(
    call: str, encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit("topic", TOPICS, model=encoder, out=tmp_path / "m")
    before = _files(tmp_path / "m")
    monkeypatch.setattr(call, _full)
    with pytest.raises(LowrungError, match="No space left"):
        fit("topic", TOPICS[2:], model=encoder, out=tmp_path / "m")
    monkeypatch.undo()
    assert _files(tmp_path / "m") == before
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]
    load(tmp_path / "m")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelError, match="something else"):
        fit("topic", TOPICS, method="majority", out=tmp_path)
    with pytest.raises(ModelError, match="is a file"):
        fit("topic", TOPICS, method="majority", out=tmp_path / "thesis.txt")
    assert _files(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_folder_of_something_else_ends_a_fit_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    monkeypatch.setattr("lowrung.run.fit.fit_method", lambda *given, **more: pytest.fail("it learnt"))
    with pytest.raises(ModelError, match="something else"):
        fit("topic", TOPICS, method="majority", out=tmp_path)


@pytest.mark.parametrize("out", ["runs/x", "runs/x/", Path("runs/x")])
def test_a_training_is_kept_beside_the_folder(out: str | Path) -> None:
    assert training_of(out) == Path("runs/x.training")


@pytest.mark.parametrize(
    ("kind", "match", "others"),
    [
        (DataError, "all rows have the label 'billing'", {"rows": TOPICS[:1]}),
        (DataError, "none of the 1 rows has a label", {"rows": [{"text": "a"}]}),
        (DataError, "label 'praise' is not one of billing, delivery", {"dev": [{"text": "a", "label": "praise"}]}),
        (DataError, "none of the dev rows has a label", {"dev": [{"text": "a"}]}),
        (LowrungError, "'prob' is not one of .* Did you mean 'probe'", {"method": "prob"}),
        (LowrungError, "label 'biling' is not one of .* Did you mean 'billing'", {"meanings": {"biling": "money"}}),
        (LowrungError, "task 'topik' is not one of .* Did you mean 'topic'", {"task": "topik"}),
        (ModelError, "model 'minilmm' is not one of minilm.* Did you mean 'minilm'", {"model": "minilmm"}),
    ],
)
def test_fit_says_what_is_wrong(kind: type[Exception], match: str, others: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"task": "topic", "rows": TOPICS, **others}
    with pytest.raises(kind, match=match):
        fit(asked.pop("task"), asked.pop("rows"), **asked)


def test_an_interrupted_fit_goes_on(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lowrung.models.training.CHECKPOINT_SECONDS", -1.0)
    whole = fit("topic", TOPICS, method="full", model=encoder, out=tmp_path / "whole")

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit("topic", TOPICS, method="full", model=encoder, out=tmp_path / "cut", watch=stop)
    assert (tmp_path / "cut.training").is_dir()
    seen: list[int] = []
    again = fit(
        "topic", TOPICS, method="full", model=encoder, out=tmp_path / "cut", watch=lambda step, *_: seen.append(step)
    )
    assert seen == [4, 5, 6]  # the step that was being told when it was cut had not been kept
    assert [(each.answer, each.confidence) for each in again.answer(NEW["topic"])] == _said(whole, "topic")
    assert not (tmp_path / "cut.training").exists()


def test_another_job_does_not_go_on_from_the_checkpoint(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lowrung.models.training.CHECKPOINT_SECONDS", -1.0)
    seen: list[int] = []

    def watch(step: int, steps: int, loss: float) -> None:
        seen.append(step)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit("topic", TOPICS, method="full", model=encoder, out=tmp_path / "m", watch=watch)
    fit("topic", TOPICS[1:], method="full", model=encoder, out=tmp_path / "m", watch=watch)
    assert seen == [1, 2, 3, 1, 2, 3, 4, 5, 6]


def test_the_card_claims_a_score_only_where_one_was_measured(tmp_path: Path) -> None:
    fit("topic", TOPICS, method="ngrams", out=tmp_path / "m")
    assert "no score is claimed" in (tmp_path / "m" / "README.md").read_text()
    fit("topic", TOPICS, method="ngrams", dev=TOPICS, out=tmp_path / "m")
    assert re.search(r"accuracy: \d\.\d{3} \(95 % interval", (tmp_path / "m" / "README.md").read_text())


@pytest.mark.parametrize("method", ["zero-shot", "probe", "top", "lora"])
def test_the_exported_lines_compute_the_same(
    method: str, encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fit("topic", TOPICS, method=method, model=encoder)
    texts = [row["text"] for row in TOPICS]
    folder = export(made, tmp_path / "plain")
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]  # type: ignore[index]
    assert len(code.splitlines()) <= 15
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(code.replace('["a text", "another"]', repr(texts)), names)
    said = made.answer(texts)
    assert names["answers"] == [each.answer.option for each in said]
    assert names["shares"].max(-1).values.tolist() == pytest.approx([each.confidence for each in said], abs=1e-5)


def test_a_tagger_exports_its_body_alone(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fit("entities", ROWS["entities"], model=encoder)
    with pytest.raises(ModelError, match="--body-only"):
        export(made, tmp_path / "plain")
    assert not (tmp_path / "plain").exists()
    folder = export(made, tmp_path / "plain", body_only=True)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1], names)  # type: ignore[index]
    assert names["states"].shape[-1] == 32


def test_what_has_no_plain_form_is_refused(encoder: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no transformers model"):
        export(fit("topic", TOPICS, method="majority"), tmp_path / "plain")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes").write_text("mine")
    with pytest.raises(ModelError, match="something else"):
        export(fit("topic", TOPICS, model=encoder), tmp_path / "own")
