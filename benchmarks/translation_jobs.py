"""Translation learnt from pairs: captions into German, short sentences into Chinese, by a decoder above MiniLM.

    OMP_NUM_THREADS=1 python -m benchmarks.translation_jobs multi30k_en_de decoder -1

trains one of them alone, and goes on where it was cut; benchmarks.applications measures all. A trained model stays in
lowrung's cache folder under `translation/`, with the CPU time that it took. Dev rows say when training was best.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.task import Example, Task
from lowrung.data.cache import home
from lowrung.models.catalog import backbone
from lowrung.models.correcting import DoNothing
from lowrung.models.memory import fit_memory
from lowrung.models.training import Settings
from lowrung.models.translating import Translator, fit_translator, load_translator
from lowrung.models.tuning import Frozen, Full, Prefixes
from lowrung.run.evaluate import evaluate

ALL = -1
LABELS = {"multi30k_en_de": (0, 1000, ALL), "tatoeba_en_zh": (1000, ALL)}
WAYS = {"decoder": Frozen(), "decoder+full": Full()}
QUICK = Settings(least=4, most=4)
SAVED, CPU, EVERY = "lowrung.json", "cpu.json", 25  # steps between two notes of the time


def job(name: str, quick: bool, seeds: int) -> Iterator[dict[str, Any]]:
    """Rows of results, each as soon as it is there; all pairs are learnt from once, fewer with `seeds` draws."""
    task, _, dev, test = _examples(name, quick)
    for labels in LABELS[name]:
        for seed in range(seeds if labels not in (0, ALL) else 1):
            for method in ("do-nothing",) if labels == 0 else ("memory", *WAYS):
                begun = time.process_time()
                model, spent = _model(name, method, labels, seed, quick)
                spent = spent or time.process_time() - begun
                for split, rows in (("dev", dev), ("test", test)):
                    report = evaluate(task, model, rows)
                    key = {"job": name, "method": method, "labels": labels, "seed": seed, "split": split}
                    scores = {each.name: round(report.value(each), 4) for each in task.metrics}
                    yield key | {"rows": len(rows)} | scores | {"cpu_hours": round(spent / 3600, 3)}


@cache
def _examples(name: str, quick: bool) -> tuple[Task[Any], list[Example[Any]], list[Example[Any]], list[Example[Any]]]:
    task, *sides = datasets.translation(name)
    train, dev, test = ([task.example(row) for row in rows[: 40 if quick else None]] for rows in sides)
    return task, train, dev, test


def _drawn(rows: Sequence[Example[Any]], labels: int, seed: int) -> Sequence[Example[Any]]:
    return rows if labels == ALL else Random(f"translation {seed}").sample(rows, min(labels, len(rows)))


def _model(name: str, method: str, labels: int, seed: int, quick: bool) -> tuple[Any, float]:
    """(model, seconds of one processor, 0 where nobody counted them)."""
    if method == "do-nothing":
        return DoNothing(), 0.0
    rows = _drawn(_examples(name, quick)[1], labels, seed)
    if method == "memory":
        return fit_memory(_prefixes(name).backbone, rows), 0.0
    return trained(name, method, labels, seed, quick=quick)


@cache
def _prefixes(name: str) -> Prefixes:
    return Prefixes(backbone())


def trained(name: str, method: str, labels: int, seed: int, *, quick: bool = False) -> tuple[Translator, float]:
    """A translator, and the seconds that it took with its decoder; it is loaded, resumed or begun."""
    task, train, dev, _ = _examples(name, quick)
    folder = home() / "translation" / f"{name} {method} {labels} {seed}{' quick' if quick else ''}"
    if (folder / SAVED).is_file():
        return load_translator(folder, json.loads((folder / SAVED).read_text())), _spent(folder)
    start, taken = trained(name, "decoder", labels, seed, quick=quick) if method != "decoder" else (None, 0.0)
    folder.mkdir(parents=True, exist_ok=True)
    before, begun = _spent(folder) or taken, time.process_time()

    def watch(step: int, steps: int, loss: float) -> None:
        if step % EVERY == 0 or step == steps:
            (folder / CPU).write_text(json.dumps({"seconds": before + time.process_time() - begun}))
            print(f"{name} {method} {labels}: step {step} of {steps}, loss {loss:.3f}", flush=True)

    made = fit_translator(
        backbone(), _drawn(train, labels, seed), metric=task.metrics[0], how=WAYS[method], start=start, dev=dev,
        seed=seed, prefixes=_prefixes(name), checkpoint=folder / "checkpoint", watch=watch,
        settings=QUICK if quick else None,
    )  # fmt: skip
    (folder / SAVED).write_text(json.dumps(made.save(folder)))
    return made, _spent(folder)


def _spent(folder: Path) -> float:
    return float(json.loads((folder / CPU).read_text())["seconds"]) if (folder / CPU).is_file() else 0.0


JOBS: dict[str, Callable[[bool, int], Iterator[dict[str, Any]]]] = {name: partial(job, name) for name in LABELS}

if __name__ == "__main__":
    kept.one_thread()
    trained(sys.argv[1], sys.argv[2], int(sys.argv[3]), 0)
