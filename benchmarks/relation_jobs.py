"""Relations between two marked nominals, SemEval-2010 task 8, with 0 to all labels; choices between minimal pairs.

    OMP_NUM_THREADS=1 python -m benchmarks.relation_jobs full -1

trains one model alone, and goes on where it was cut; benchmarks.applications measures all. A trained model stays in
lowrung's cache folder under `relation/`, with the CPU time that it took. Dev rows say when training was best.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.task import Example, Task
from lowrung.data import splits
from lowrung.data.cache import home
from lowrung.models.catalog import backbone
from lowrung.models.network import load
from lowrung.models.tuning import Prefixes
from lowrung.run.evaluate import evaluate
from lowrung.run.fit import STOPS_BY_DEV
from lowrung.run.methods import METHODS, ZERO_SHOT, fit_method

JOB, ALL = "semeval2010_task8", -1
WAYS = {0: (ZERO_SHOT,), 8: ("majority", "ngrams", "probe"), 32: ("ngrams", "probe"), ALL: ("ngrams", "probe", "full")}
TRAINED = ("top", "lora", "full")  # what takes long enough to be kept
SAVED, CPU, EVERY = "lowrung.json", "cpu.json", 25  # steps between two notes of the time


def job(quick: bool, seeds: int) -> Iterator[dict[str, Any]]:
    """Rows of results, each as soon as it is there; `labels` are of each label, and seeds differ in what is drawn."""
    task, _, dev, test = _examples(quick)
    for labels, methods in WAYS.items():
        for method in methods:
            for seed in range(seeds if labels > 0 else 1):
                if quick and method in TRAINED:
                    continue
                begun = _cpu()
                model, spent = made(method, labels, seed, quick=quick)
                spent = spent or _cpu() - begun
                for split, rows in (("dev", dev), ("test", test)):
                    report = evaluate(task, model, rows)
                    key = {"job": JOB, "method": method, "labels": labels, "seed": seed, "split": split}
                    scores = {each.name: round(report.value(each), 4) for each in task.metrics}
                    yield key | {"rows": len(rows)} | scores | {"cpu_hours": round(spent / 3600, 3)}


def pairs(quick: bool, seeds: int) -> Iterator[dict[str, Any]]:
    """The untouched model on BLiMP's minimal pairs, which nothing may learn from; whoever guesses has 0.5."""
    task = datasets.task_named("choice")
    rows = [task.example(row) for row in datasets.minimal_pairs()[: 40 if quick else None]]
    for method in ("longest", ZERO_SHOT):
        begun = _cpu()
        report = evaluate(task, fit_method(METHODS[method], task, [], backbone=backbone(), prefixes=_prefixes()), rows)
        key = {"job": "blimp", "method": method, "labels": 0, "seed": 0, "split": "test", "rows": len(rows)}
        accuracy = round(report.value(task.metrics[0]), 4)
        yield key | {"accuracy": accuracy, "chance": 0.5, "cpu_hours": round((_cpu() - begun) / 3600, 3)}


@cache
def _examples(quick: bool) -> tuple[Task[Any], list[Example[Any]], list[Example[Any]], list[Example[Any]]]:
    task, *sides = datasets.relation()
    train, dev, test = ([task.example(row) for row in rows[: 400 if quick else None]] for rows in sides)
    return task, train, dev, test


@cache
def _prefixes() -> Prefixes:
    return Prefixes(backbone(), limit=1 << 30)


def made(method: str, labels: int, seed: int, *, quick: bool = False) -> tuple[Any, float]:
    """(model, seconds of one processor, 0 where nobody counted them); what is trained is loaded, resumed or begun."""
    task, train, dev, _ = _examples(quick)
    folder = home() / "relation" / f"{method} {labels} {seed}"
    if (folder / SAVED).is_file():
        return load(folder, json.loads((folder / SAVED).read_text())), _spent(folder)
    drawn = splits.draw(train, labels * len(task.options), seed=seed, balanced=True) if labels != ALL else []
    rows = train if labels == ALL else [train[at] for at in drawn]
    given: dict[str, Any] = {"backbone": backbone(), "prefixes": _prefixes(), "seed": seed}
    if method not in TRAINED:
        return fit_method(METHODS[method], task, rows, **given), 0.0
    folder.mkdir(parents=True, exist_ok=True)
    before, begun = _spent(folder), _cpu()

    def watch(step: int, steps: int, loss: float) -> None:
        if step % EVERY == 0 or step == steps:
            (folder / CPU).write_text(json.dumps({"seconds": before + _cpu() - begun}))
            print(f"{method} {labels}: step {step} of {steps}, loss {loss:.3f}", flush=True)

    held = dev if method in STOPS_BY_DEV else []
    given |= {"dev": held, "checkpoint": folder / "checkpoint", "watch": watch, "prefixes": None}
    network: Any = fit_method(METHODS[method], task, rows, **given)
    (folder / SAVED).write_text(json.dumps(network.save(folder)))
    return network, _spent(folder)


def _cpu() -> float:
    spent = os.times()
    return spent.user + spent.system


def _spent(folder: Path) -> float:
    return float(json.loads((folder / CPU).read_text())["seconds"]) if (folder / CPU).is_file() else 0.0


JOBS: dict[str, Callable[[bool, int], Iterator[dict[str, Any]]]] = {JOB: job, "blimp": pairs}

if __name__ == "__main__":
    kept.one_thread()
    made(sys.argv[1], int(sys.argv[2]), 0)
