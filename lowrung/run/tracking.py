"""Trainings streamed to TensorBoard or MLflow, by the trackers of accelerate, while they run."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lowrung.core.errors import LowrungError, unknown
from lowrung.models.tracked import Fact, Run, Tell, told_to

FOLDER = "runs/track"
EXPERIMENT = "lowrung"
TRACKERS = ("tensorboard", "mlflow")

Opened = Callable[[str, int], Any]  # the name of a run, steps that are done already → a started GeneralTracker


@contextmanager
def tracking(tracker: str, place: str | Path = "") -> Iterator[str]:
    """Tell every training within to `tracker`, one run each, and give the place where the runs are.

    A run is named TASK/METHOD-LABELS-SEED, after which stands what tells several of that name apart (a fold, a part, a
    number), and holds the settings. At each step it is told `loss`, `learning_rate/body` and `learning_rate/head`,
    `gradient_norm` (before clipping) and `pieces_per_second`, at each validation `score` (higher is better: an error
    rate has a minus sign). A training that goes on after a cut goes on in its run; one that begins anew takes the place
    of the TensorBoard run of its name, and is another MLflow run.
    What is solved in closed form takes no steps and has no run. Trackers see the process that they are opened in alone.

    Args:
        tracker: one of TRACKERS.
        place: a folder, `FOLDER` unless told; for MLflow the URI of a server or data base, MLflow's own choice unless
            told.

    Raises:
        LowrungError: no such tracker, one that is not installed, or, as a training begins, a place that takes nothing.
    """
    if tracker not in TRACKERS:
        raise LowrungError(unknown("tracker", tracker, TRACKERS))
    with _tensorboard(str(place)) if tracker == "tensorboard" else _mlflow(str(place)) as (opened, where):
        met = Counter[str]()

        @contextmanager
        def track(run: Run | None, facts: Mapping[str, Fact], done: int) -> Iterator[Tell]:
            name = run.name if run else "training"
            met[name] += 1
            name += f"-{met[name]}" if met[name] > 1 else ""
            try:
                made = opened(name, done)
                if not done:
                    _store(made, (_facts_of(run) if run else {}) | dict(facts))
            except Exception as problem:  # of a file, a data base, a server: each library has errors of its own
                raise LowrungError(f"--track {tracker}: {where}: {problem}") from problem
            with _telling(made, f"{tracker}: {where}") as tell:
                yield tell

        with told_to(track):
            yield where


def _facts_of(run: Run) -> dict[str, Fact]:
    return {"task": run.task, "method": run.method, "labels": run.labels, "part": run.part}


@contextmanager
def _telling(made: Any, where: str) -> Iterator[Tell]:
    """What tells a step. From the first one that cannot be told on none is, and training goes on: it is worth more."""
    more = {"synchronous": False} if made.name == "mlflow" else {}  # a data base may take longer than the step did
    failed = False

    def tell(step: int, values: Mapping[str, float]) -> None:
        attempt(lambda: made.log(dict(values), step=step, **more))

    def attempt(call: Callable[[], None]) -> None:
        nonlocal failed
        try:
            if not failed:
                call()
        except Exception as problem:  # a full disk, a server that left
            failed = True
            print(f"lowrung: training goes on, told to {where} no longer: {problem}", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        attempt(made.finish)


def _store(made: Any, facts: Mapping[str, Fact]) -> None:
    """The settings, in the run itself."""
    if made.name != "tensorboard":
        made.store_init_configuration(dict(facts))
        return
    from torch.utils.tensorboard.summary import hparams

    # store_init_configuration would make a second run of them, named by the clock
    experiment, session, _ = hparams(dict(facts), {})  # type: ignore[no-untyped-call]
    for each in (experiment, session):
        made.tracker.file_writer.add_summary(each)


@contextmanager
def _tensorboard(place: str) -> Iterator[tuple[Opened, str]]:
    if find_spec("tensorboard") is None:
        raise LowrungError("--track tensorboard needs tensorboard: pip install 'lowrung[tensorboard]'")
    from accelerate.tracking import TensorBoardTracker

    folder = place or FOLDER

    def opened(name: str, done: int) -> Any:
        if not done:
            for old in (Path(folder) / name).glob("events.out.tfevents.*"):
                old.unlink()  # of the training before; TensorBoard would show its settings
        # what was told after the checkpoint that it goes on from is taken back
        made = TensorBoardTracker(name, folder, **({"purge_step": done + 1} if done else {}))
        made.start()
        return made

    yield opened, folder


@contextmanager
def _mlflow(place: str) -> Iterator[tuple[Opened, str]]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody else is told
    try:
        import mlflow
    except ImportError:
        raise LowrungError("--track mlflow needs mlflow: pip install 'lowrung[mlflow]'") from None
    from accelerate.tracking import MLflowTracker

    def opened(name: str, done: int) -> Any:
        made = MLflowTracker(EXPERIMENT, run_name=name, run_id=_cut(name) if done else None, nested_run=True)
        made.start()
        return made

    def _cut(name: str) -> str | None:
        """The latest run of that name."""
        found = mlflow.search_runs(
            experiment_names=[EXPERIMENT],
            filter_string=f"attributes.run_name = '{name}'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
            output_format="list",
        )
        return str(found[0].info.run_id) if found else None

    before = mlflow.get_tracking_uri()
    if place:
        mlflow.set_tracking_uri(place)
    try:
        yield opened, str(mlflow.get_tracking_uri())
    finally:
        mlflow.set_tracking_uri(before)


def shown(tracker: str, where: str) -> str:
    """What shows the runs that are there, as a command or an address."""
    if tracker == "tensorboard":
        return f"tensorboard --logdir {where}"
    return where if where.startswith(("http://", "https://")) else f"mlflow ui --backend-store-uri {where}"
