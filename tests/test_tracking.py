"""--track tells every training, as it runs, to TensorBoard or MLflow; without it nothing is written."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_encoder import ROWS, write_tiny_encoder

import lowrung
from lowrung.cli import main
from lowrung.core.errors import LowrungError

STEPS = 6


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture
def rows(tmp_path: Path) -> str:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS["topic"]), "utf-8")
    return str(file)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods that train take a few steps."""
    from lowrung.models.training import Settings
    from lowrung.run import adapt, methods, recipe

    quick = Settings(least=STEPS, most=STEPS, batch=4, validations=2, precision="float32")
    monkeypatch.setattr(methods, "recipe", lambda name: (recipe.recipe(name)[0], quick))
    monkeypatch.setattr(adapt, "PROBE", quick)


def _runs(folder: Path) -> dict[str, dict[str, dict[int, float]]]:
    """What TensorBoard reads there: run → tag → step → value, and of a step that it has twice an error."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for run in {file.parent for file in folder.rglob("events.out.tfevents.*")}:
        read = EventAccumulator(str(run), size_guidance={"scalars": 0})
        read.Reload()
        curves = {tag: read.Scalars(tag) for tag in read.Tags()["scalars"]}
        assert all(len({each.step for each in curve}) == len(curve) for curve in curves.values())
        found[str(run.relative_to(folder))] = {
            tag: {each.step: each.value for each in curve} for tag, curve in curves.items()
        }
    return found


def _settings_of(run: Path) -> dict[str, Any]:
    """The hyperparameters that TensorBoard shows of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    read = EventAccumulator(str(run))
    read.Reload()
    data = plugin_data_pb2.HParamsPluginData.FromString(
        read.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    )
    told = data.session_start_info.hparams
    return {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in told.items()}


def test_a_fit_tells_every_step(
    body: str, rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    asked = ["fit", "topic", rows, "--method", "top", "--model", body, "--dev", rows, "--out", "made", "--seed", "3"]
    assert main([*asked, "--track", "tensorboard"]) == 0
    said = capsys.readouterr().err
    assert "lowrung: training is told to runs/track: tensorboard --logdir runs/track\n" in said
    (name, run), *others = _runs(tmp_path / "runs" / "track").items()
    assert (name, others) == ("topic/top-10-3", [])
    steps = list(range(1, STEPS + 1))
    for tag in ("loss", "learning_rate/body", "learning_rate/head", "gradient_norm", "pieces_per_second"):
        assert sorted(run[tag]) == steps, tag
    assert run["learning_rate/head"][1] == pytest.approx(2e-3), "no warm-up in so few steps"
    assert run["learning_rate/body"][STEPS] == pytest.approx(1e-4 / STEPS, rel=0.3)
    assert sorted(run["score"]) == [0, 3, 6]
    assert all(0 <= each <= 1 for each in run["score"].values())
    found = _settings_of(tmp_path / "runs" / "track" / name)
    assert (found["task"], found["method"], found["labels"], found["seed"]) == ("topic", "top", 10, 3)
    assert (found["lr"], found["steps"], found["schedule"]) == (1e-4, STEPS, "linear")
    # the same again takes the place of the run
    assert main([*asked, "--track", "tensorboard", "--out", "again"]) == 0
    again = _runs(tmp_path / "runs" / "track")
    assert {name: again[name]["loss"] for name in again} == {name: run["loss"]}


def test_without_the_option_nothing_is_written(
    body: str, rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "topic", rows, "--method", "top", "--model", body, "--out", "made"]) == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["made", "rows.jsonl"]
    assert "told" not in capsys.readouterr().err


def test_tracking_changes_nothing_of_the_training(body: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    untold = _trained(body)
    with lowrung.tracking("tensorboard", tmp_path):
        told = _trained(body)
    assert told.losses == untold.losses
    assert _runs(tmp_path)["training"]["loss"] == pytest.approx(dict(enumerate(told.losses, 1)), rel=1e-6)


def test_each_part_of_a_fit_is_a_run_of_its_own(body: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with lowrung.tracking("tensorboard", tmp_path):
        lowrung.fit("entities", ROWS["entities"], method="top", model=body)
        lowrung.fit("topic", ROWS["topic"], method="probe", model=body)  # solved, not trained
    assert sorted(_runs(tmp_path)) == [f"entities/top-{len(ROWS['entities'])}-0{part}" for part in ("", "-head")]


def test_a_study_has_a_run_for_each_cell_that_trains(body: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    learn, test = ROWS["topic"][:6], ROWS["topic"][6:]
    with lowrung.tracking("tensorboard", tmp_path / "track"):
        made = lowrung.study(
            "topic", learn, test=test, methods=("probe", "top"), labels=(4,), seeds=2, model=body, out=tmp_path / "out"
        )
        wanted = {"top-4-0", "top-4-1", *(f"top-4-0-fold-{fold}-of-3" for fold in (1, 2, 3))}
        wanted |= {"top-6-0-to-ship"} if made.gate.shipped == "top" else set()
        found = _runs(tmp_path / "track")
        assert set(found) == {f"topic/{name}" for name in wanted}
        assert all(len(run["loss"]) == STEPS for run in found.values())


def test_practice_and_a_training_after_it_are_runs(body: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from lowrung.run.masked import SETTINGS, practise_masked

    text = tmp_path / "text.txt"
    text.write_text("my parcel arrived broken in Paris\n" * 1000, "utf-8")
    with lowrung.tracking("tensorboard", tmp_path / "track"):
        practise_masked([text], model=body, steps=2, held=2, settings=replace(SETTINGS, batch=2))
    found = _runs(tmp_path / "track")
    assert list(found) == ["masked/practice-0-0"]
    assert sorted(found["masked/practice-0-0"]["loss"]) == [1, 2]


def test_a_refit_tells_each_of_its_trainings_apart(body: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from lowrung.serving.refit import refit

    rows = ROWS["topic"]
    lowrung.fit("topic", rows[:6], method="top", model=body, out=tmp_path / "made")
    with lowrung.tracking("tensorboard", tmp_path / "track"):
        refit(tmp_path / "made", rows[6:], rows=rows[:6], dry=True)
    found = {name.rpartition("-refit-")[2] for name in _runs(tmp_path / "track")}
    assert found == {f"{number}-of-9" for number in range(1, 10)}


def test_a_recipe_tells_its_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    import torch

    from recipes import training

    def practise(settings: Any, out: Path, *, steps: int, minutes: float) -> None:
        weight = torch.nn.Parameter(torch.ones(2))

        def loss(batch: Any) -> Any:
            return (weight * batch).sum(), {"loss": (weight * batch).sum().detach()}

        more = {"size": 1, "warm": 1, "every": 0.0}  # it reports after each step
        course = training.Course({"w": weight}, training.adam({1e-2: [weight]}), loss, lambda _: (2, 1.0), **more)
        batches = iter([torch.ones(2)] * steps)
        training.descend(course, batches, [torch.ones(2)], out, done={}, steps=steps, minutes=minutes)

    (tmp_path / "tiny.toml").write_text("seed = 7\n", "utf-8")
    told = ["--steps", "3", "--track", f"tensorboard:{tmp_path / 'track'}"]
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "out"), *told])
    training.run(practise, "", minutes=1.0)
    found = _runs(tmp_path / "track")
    assert list(found) == ["tiny/recipe-0-7"]
    assert list(found["tiny/recipe-0-7"]["loss"]) == [1, 2, 3]


class Cut(Exception):
    pass


def _trained(body: str, checkpoint: Path | None = None, cut: int = 0) -> Any:
    from lowrung.models.catalog import backbone
    from lowrung.models.heads import Rank
    from lowrung.models.network import Adapted
    from lowrung.models.training import Settings, train
    from lowrung.models.tuning import Top, loosened

    def watch(step: int, steps: int, loss: float) -> None:
        if step == cut:
            raise Cut

    task = lowrung.task("topic").fitted_to(ROWS["topic"])
    found = backbone(body)
    head = Rank(task.options, found.embed(task.options))
    network: Any = Adapted(loosened(found, Top(1), seed=0), head, how=Top(1))
    settings = Settings(least=STEPS, most=STEPS, batch=4, precision="float32")
    examples = [task.example(row) for row in ROWS["topic"]]
    return train(network, examples, settings=settings, seed=0, checkpoint=checkpoint, watch=watch)


def test_a_training_that_goes_on_goes_on_in_its_run(body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from lowrung.models import training

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    with lowrung.tracking("tensorboard", tmp_path / "track"), pytest.raises(Cut):
        _trained(body, tmp_path / "kept", cut=4)  # which was told of four steps, and keeps three
    assert sorted(_runs(tmp_path / "track")["training"]["loss"]) == [1, 2, 3, 4]
    with lowrung.tracking("tensorboard", tmp_path / "track"):
        progress = _trained(body, tmp_path / "kept")
    found = _runs(tmp_path / "track")
    assert list(found) == ["training"]
    assert found["training"]["loss"] == pytest.approx(dict(enumerate(progress.losses, 1)), rel=1e-6)
    assert len(progress.losses) == STEPS
    assert _settings_of(tmp_path / "track" / "training")["steps"] == STEPS


def test_what_cannot_be_told_does_not_stop_a_training(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    from accelerate.tracking import TensorBoardTracker

    def full(self: object, values: object, step: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorBoardTracker, "log", full)
    with lowrung.tracking("tensorboard", tmp_path):
        assert _trained(body).step == STEPS
    assert capsys.readouterr().err.count("training goes on") == 1


def test_a_place_that_takes_nothing_is_named(body: str, rows: str, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("tensorboard")
    asked = ["fit", "topic", rows, "--method", "top", "--model", body, "--out", str(tmp_path / "made")]
    assert main([*asked, "--track", f"tensorboard:{rows}"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"lowrung: --track tensorboard: {rows}: ")


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_a_tracker_that_is_not_installed_is_named(
    tracker: str, body: str, rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    out = tmp_path / "made"
    assert main(["fit", "topic", rows, "--model", body, "--out", str(out), "--track", tracker]) == 2
    wanted = f"lowrung: --track {tracker} needs {tracker}: pip install 'lowrung[{tracker}]'\n"
    assert capsys.readouterr().err == wanted
    assert not out.exists()


def test_another_tracker_is_not_known(capsys: Any) -> None:
    assert main(["practice", "--masked", "--text", "none.txt", "--track", "tensorbord"]) == 2
    assert "Did you mean 'tensorboard'?" in capsys.readouterr().err
    with pytest.raises(LowrungError, match="wandb"), lowrung.tracking("wandb"):
        pass


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_is_told_the_same(body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    from lowrung.models import training

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    place, before = f"sqlite:///{tmp_path / 'runs.db'}", mlflow.get_tracking_uri()
    with lowrung.tracking("mlflow", place) as where:
        assert where == place
        lowrung.fit("topic", ROWS["topic"], method="top", model=body)
        with pytest.raises(Cut):
            _trained(body, tmp_path / "kept", cut=4)
    with lowrung.tracking("mlflow", place):
        progress = _trained(body, tmp_path / "kept")
    assert mlflow.get_tracking_uri() == before
    client = mlflow.MlflowClient(place)
    (experiment,) = client.search_experiments(filter_string="name = 'lowrung'")
    runs = {each.info.run_name: each for each in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["topic/top-10-0", "training"]
    fitted, resumed = runs["topic/top-10-0"], runs["training"]
    assert (fitted.data.params["method"], fitted.data.params["lr"], fitted.info.status) == ("top", "0.0001", "FINISHED")
    curve = {each.step: each.value for each in client.get_metric_history(resumed.info.run_id, "loss")}
    assert curve == pytest.approx(dict(enumerate(progress.losses, 1)))
