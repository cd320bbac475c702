"""Answers in texts: SQuAD 1.1 with 0 to all questions of a third of its training set, with and without cloze practice.

    OMP_NUM_THREADS=1 python -m benchmarks.answering_jobs full -1
    OMP_NUM_THREADS=1 python -m benchmarks.answering_jobs practice 0

train one model alone, and go on where they were cut; benchmarks.applications measures all. A trained model stays in
lowrung's cache folder under `answering/`, with the CPU time that it took. Questions of articles held out of the
training set (the split «dev») say when training was best; SQuAD's own dev part is the split «test».
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.task import Example, Task
from lowrung.data.cache import home
from lowrung.models import fast
from lowrung.models.catalog import backbone
from lowrung.models.network import Adapted, load
from lowrung.models.training import Settings, train
from lowrung.models.tuning import Frozen, Full
from lowrung.run.adapt import WARM, adapt, loosen
from lowrung.run.evaluate import evaluate
from lowrung.run.fit import STOPS_BY_DEV
from lowrung.run.methods import METHODS, PRACTICE, ZERO_SHOT, fit_method
from lowrung.run.practice import practise
from lowrung.run.ship import FACTS

JOB, ALL = "squad", -1
WAYS = {
    0: (ZERO_SHOT, "sentence", PRACTICE),
    100: ("probe", "full", "practice+probe", "practice+full"),
    1000: ("probe", "full", "practice+full"),
    ALL: ("full",),
}
CORPUS, STEPS = "enwiki2015_core", 1500  # of practice, 16 passages each
EPOCHS, BATCH = 2, 16  # of all questions, in each of these rounds
RATES = (1e-4, 3e-4)  # a round's peak: the second starts warm from the best of the first (Loshchilov & Hutter 2017)
SCORED = 300  # dev questions that say when training was best
POOL = 40 * BATCH  # questions drawn together, and put into batches by their length
SAVED, CPU, EVERY = "lowrung.json", "cpu.json", 25  # steps between two notes of the time

Examples = list[Example[Any]]


def job(quick: bool, seeds: int) -> Iterator[dict[str, Any]]:
    """Rows of results, each as soon as it is there; seeds differ in the questions that are drawn."""
    task, _, dev, test = _examples(quick)
    for labels, methods in WAYS.items():
        for method in methods:
            for seed in range(seeds if labels > 0 else 1):
                if quick and method not in (ZERO_SHOT, "sentence", "probe"):
                    continue
                begun = _cpu()
                model, spent = made(method, labels, seed, quick=quick)
                spent = spent or _cpu() - begun
                if isinstance(model, Adapted) and fast.available() and not quick:
                    model.prefixes = None
                    model.quicken()
                for split, rows in (("dev", dev), ("test", test)):
                    report = evaluate(task, model, rows)
                    key = {"job": JOB, "method": method, "labels": labels, "seed": seed, "split": split}
                    told = (each for each in task.metrics if each.tells(rows))
                    scores = {each.name: round(report.value(each), 4) for each in told}
                    yield key | {"rows": len(rows)} | scores | {"cpu_hours": round(spent / 3600, 3)}


@cache
def _examples(quick: bool) -> tuple[Task[Any], Examples, Examples, Examples]:
    task, *sides = datasets.squad()
    train, dev, test = ([task.example(row) for row in rows[: 100 if quick else None]] for rows in sides)
    return task, train, dev, test


def made(method: str, labels: int, seed: int, *, quick: bool = False) -> tuple[Any, float]:
    """(model, seconds of one processor, 0 where nobody counted them); what is trained is loaded, resumed or begun."""
    task, train, dev, _ = _examples(quick)
    if labels == 0 and method != PRACTICE:
        return fit_method(METHODS[method], task, (), backbone=backbone()), 0.0
    folder = home() / "answering" / f"{method} {labels} {seed}"
    if (folder / SAVED).is_file():
        return load(folder, json.loads((folder / SAVED).read_text())), _spent(folder)
    rows = train if labels == ALL else Random(f"{labels} {seed}").sample(train, min(labels, len(train)))
    start = made(PRACTICE, 0, 0)[0] if METHODS[method].practised and method != PRACTICE else None
    folder.mkdir(parents=True, exist_ok=True)
    before, begun = _spent(folder), _cpu()

    def watch(step: int, steps: int, loss: float) -> None:
        if step % EVERY == 0 or step == steps:
            (folder / CPU).write_text(json.dumps({"seconds": before + _cpu() - begun}))
            print(f"{method} {labels}: step {step} of {steps}, loss {loss:.3f}", flush=True)

    if method == PRACTICE:
        found = practise(task, [datasets.corpus(CORPUS)], steps=STEPS, out=folder / "shipped", watch=watch)
        facts = json.loads((folder / "shipped" / FACTS).read_text())["model"]
        network: Any = load(folder / "shipped", facts)
        print(json.dumps(found.to_json()), flush=True)
    elif labels == ALL:
        network = _of_all(task, rows, dev[:SCORED], seed, folder / "checkpoint", watch)
    else:
        held = dev[:SCORED] if method in STOPS_BY_DEV else []
        given: dict[str, Any] = {"dev": held, "checkpoint": folder / "checkpoint", "watch": watch, "start": start}
        network = fit_method(METHODS[method], task, rows, backbone=backbone(), seed=seed, **given)
    (folder / CPU).write_text(json.dumps({"seconds": before + _cpu() - begun}))
    if not quick:
        (folder / SAVED).write_text(json.dumps(network.save(folder)))
    return network, _spent(folder)


def _of_all(
    task: Task[Any],
    rows: Examples,
    dev: Examples,
    seed: int,
    checkpoint: Path,
    watch: Callable[[int, int, float], None],
) -> Adapted[Any]:
    """`full` over all rows, questions of like length together, which halves the time."""
    first = adapt(backbone(), task, rows[:WARM], how=Frozen(), seed=seed)
    network = loosen(first, Full(), seed)
    network.prefixes, network.name = None, "full"
    metric = task.metrics[0]
    for number, rate in enumerate(RATES):
        feed = Sorted(rows, seed + number)
        train(
            network,
            feed,
            settings=Settings(lr=rate, batch=BATCH, most=EPOCHS * feed.steps, patience=10**6),
            seed=seed + number,
            score=lambda made: evaluate(task, made, dev).value(metric),
            checkpoint=checkpoint / str(number),
            watch=watch,
        )
    return network


class Sorted:
    """A step's questions: each once an epoch, in batches of like length in an order by chance."""

    def __init__(self, rows: Sequence[Example[Any]], seed: int) -> None:
        self.rows, self.seed, self.steps = rows, seed, -(-len(rows) // BATCH)
        self.sizes = [sum(map(len, row.question.texts)) for row in rows]
        self.epoch, self.batches = -1, list[list[int]]()

    def __call__(self, step: int) -> list[Example[Any]]:
        epoch, at = divmod(step, self.steps)
        if epoch != self.epoch:
            self.epoch, self.batches = epoch, self._order(Random(f"{self.seed} {epoch}"))
        return [self.rows[place] for place in self.batches[at]]

    def _order(self, random: Random) -> list[list[int]]:
        mixed = random.sample(range(len(self.rows)), len(self.rows))
        pools = [sorted(mixed[at : at + POOL], key=self.sizes.__getitem__) for at in range(0, len(mixed), POOL)]
        batches = [pool[at : at + BATCH] for pool in pools for at in range(0, len(pool), BATCH)]
        random.shuffle(batches)
        return batches


def _cpu() -> float:
    spent = os.times()
    return spent.user + spent.system


def _spent(folder: Path) -> float:
    return float(json.loads((folder / CPU).read_text())["seconds"]) if (folder / CPU).is_file() else 0.0


JOBS: dict[str, Callable[[bool, int], Iterator[dict[str, Any]]]] = {JOB: job}

if __name__ == "__main__":
    kept.one_thread()
    made(sys.argv[1], int(sys.argv[2]), 0)
