"""A body of any family learns to guess hidden pieces of raw text; the folder that it leaves loads like any other."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_bodies import CORPUS, FAMILIES, write_body

from lowrung.cli import main
from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.models import training
from lowrung.models.training import Settings

SETTINGS = Settings(lr=1e-2, head_lr=1e-2, batch=8, validations=2, patience=10**6, precision="float32")
LINES = [f"{CORPUS[at % len(CORPUS)].strip()} {CORPUS[(at * 7 + 3) % len(CORPUS)].strip()}" for at in range(400)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: write_body(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "raw.txt"
    file.write_text("\n".join(LINES) + "\n", "utf-8")
    return file


def _practised(text: Path, model: Path, **more: Any) -> Any:
    from lowrung.run.masked import practise_masked

    return practise_masked([text], model=str(model), held=8, settings=SETTINGS, **{"steps": 6} | more)


@pytest.mark.parametrize("family", FAMILIES)
def test_any_family_learns_and_loads(folders: dict[str, Path], text: Path, family: str, tmp_path: Path) -> None:
    from lowrung.models.catalog import backbone

    made = _practised(text, folders[family], steps=20, out=tmp_path / "body")
    assert made.steps == 20
    assert made.loss < made.curve[0]["score"]
    assert made.curve[-1]["step"] == 20
    old, new = backbone(str(folders[family])), backbone(str(tmp_path / "body"))
    assert new.depth == old.depth
    assert new.source.checksum != old.source.checksum
    assert [ids for ids, _ in new.tokenizer.pieces(LINES[:3])] == [ids for ids, _ in old.tokenizer.pieces(LINES[:3])]
    facts = json.loads((tmp_path / "body" / "practice.json").read_text("utf-8"))
    assert facts["base_checksum"] == old.source.checksum
    assert len(facts["curve"]) == len(made.curve)


def test_what_others_share_stays(folders: dict[str, Path], text: Path) -> None:
    import torch

    from lowrung.models.catalog import backbone

    body = backbone(str(folders["bert"])).body
    before = {name: each.clone() for name, each in body.state_dict().items()}
    _practised(text, folders["bert"])
    assert all(torch.equal(each, before[name]) for name, each in body.state_dict().items())
    assert not any(each.requires_grad for each in body.parameters())


def test_pieces_are_hidden_in_their_shares(folders: dict[str, Path]) -> None:
    from lowrung.models.catalog import backbone
    from lowrung.models.masking import Masking, windows

    found = backbone(str(folders["bert"]))
    masking = Masking(found.upto(found.depth))
    rows = list(windows(found.tokenizer, [LINES], 40))
    assert all(8 <= len(each) <= 40 - found.tokenizer.frame.single for each in rows)
    guess = masking.hide(rows, 3)
    number = sum(map(len, rows))
    assert 0.12 < len(guess.meant) / number < 0.18
    there = guess.ids[guess.hidden]
    assert 0.7 < float((there == masking.blank).float().mean()) < 0.9
    assert 0.04 < float((there == guess.meant).float().mean()) < 0.2
    again = masking.hide(rows, 3)
    assert bool((again.ids == guess.ids).all())
    assert bool((masking.hide(rows, 4).hidden != guess.hidden).any())
    special = {*found.tokenizer.frame.before, *found.tokenizer.frame.after}
    assert not special & {int(each) for each in guess.meant}


def test_practice_that_was_cut_goes_on(
    folders: dict[str, Path], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    whole = _practised(text, folders["roberta"], out=tmp_path / "whole")

    class Cut(Exception):
        pass

    def cut(step: int, steps: int, loss: float) -> None:
        if step == 4:
            raise Cut

    with pytest.raises(Cut):
        _practised(text, folders["roberta"], out=tmp_path / "cut", watch=cut)
    steps: list[int] = []
    again = _practised(text, folders["roberta"], out=tmp_path / "cut", watch=lambda step, *_: steps.append(step))
    assert steps == [4, 5, 6]
    assert (again.loss, again.accuracy) == (whole.loss, whole.accuracy)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert one == two
    assert not (tmp_path / "cut.training").exists()


def test_it_ends_by_the_clock(folders: dict[str, Path], text: Path) -> None:
    made = _practised(text, folders["bert"], steps=None, minutes=0.01)
    assert made.steps >= 1
    assert made.curve[-1]["step"] == made.steps
    assert made.curve[-1]["minutes"] < 0.1


def test_from_the_command_line(
    folders: dict[str, Path], text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "body"
    asked = ["practice", "--masked", "--text", str(text), "--model", str(folders["bert"]), "--steps", "2"]
    assert main([*asked, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "held-out loss" in said
    assert f"--model {out} takes it from here" in said
    assert main([*asked, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["topic", "--masked", "--text", "a.txt"], "--masked practises no task"),
        (
            ["--text", "a.txt"],
            "(answers_in_text, choice, dialogue, pronoun, reading, speech, spelling), or --masked",
        ),
        (["--masked", "--text", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--masked", "--text", "-"], "can only be read once"),
        (["--masked", "--text", "a.txt", "--least", "2"], "--least is for tasks that harvest words"),
    ],
)
def test_what_can_be_mended_is_one_line(
    arguments: list[str],
    message: str,
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["practice", *arguments, "--model", str(folders["bert"])]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_too_little_text_and_a_folder_of_something_else(folders: dict[str, Path], text: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("", "utf-8")
    with pytest.raises(DataError, match="too little text"):
        _practised(empty, folders["bert"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me", "utf-8")
    with pytest.raises(ModelError, match="something else"):
        _practised(text, folders["bert"], out=tmp_path / "mine")
    with pytest.raises(LowrungError, match="at least 1 step"):
        _practised(text, folders["bert"], steps=0)
