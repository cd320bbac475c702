"""Does the gate let harm through? Studies without test rows on few, noisy or shuffled labels, held against many rows.

    OMP_NUM_THREADS=1 python -m benchmarks.gate
    python -m benchmarks.gate --table

A decision is one `study` of zero-shot and probe on as many rows as somebody has, labels clean, noisy or shuffled. The
truth is told by the clean rows held out (up to 1000), which the study never sees: the probe fitted to all its rows is
truly better than the untouched model where the paired comparison there has a probability of 0.975 or more, truly worse
at 0.025 or less, and unclear between. Shipping a truly worse probe is harm.

    clean      the labels of the set
    noisy      3 of 10 labels wrong: another label at random; of spans, half of those are missing and half mislabelled
    shuffled   the labels dealt out anew over the rows; tags over the words of their sentence

How the gate weighs probabilities beside right and wrong (`compare.SHARE`) was chosen on draws 10 and 11 of the topic
sets, with the rest of the rows to learn from as truth; the draws here are others, and so is the truth.

Results go to `results/gate.json`, each decision as soon as it is there, and what is there is not run again.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.answers import Choice
from lowrung.core.errors import LowrungError
from lowrung.core.task import Example, Row, Task
from lowrung.data import splits
from lowrung.run.methods import METHODS, ZERO_SHOT, fit_method
from lowrung.tasks import task as task_named

FILE = "gate.json"
SETS = ("trec", "sst2", "sms_spam", "banking77", "uner_ewt", "wnut17")
LABELS = (8, 32, 100, 200)
CONDITIONS = ("clean", "noisy", "shuffled")
METHOD = "probe"
REPEATS = 3  # of cross-validation, as a study does by default
HELD, POOL = 1000, 250  # rows that tell the truth, and at least so many to draw from
WRONG = 0.3
SURE = 0.975
CLASSES = 8  # of banking77's 77, like each other: the first whose names start with «card_»


class Ground:
    """One set: the rows to draw from, and the clean ones that tell the truth."""

    def __init__(self, name: str, most: int = HELD) -> None:
        from lowrung.models.catalog import backbone
        from lowrung.models.tuning import Prefixes

        self.task, pool, _, test = datasets.load(name)
        if name == "banking77":
            chosen = [option for option in self.task.options if option.startswith("card_")][:CLASSES]
            pool, test = ([row for row in rows if row["label"] in chosen] for rows in (pool, test))
            self.task = task_named("topic").with_options(chosen)
        mixed = list(pool)
        Random(datasets.SPLIT_SEED).shuffle(mixed)
        spare = max(
            0, min(most - len(test), len(mixed) - POOL)
        )  # a small test set takes rows that nothing is drawn from
        self.held = [self.task.example(row) for row in [*test, *mixed[:spare]][:most]]
        self.pool = mixed[spare:]
        self.examples = [self.task.example(row) for row in self.pool]
        self.body = backbone()
        self.shared = Prefixes(self.body)

    def report(self, model: Any) -> Any:
        from lowrung.run.evaluate import evaluate

        model.prefixes = self.shared
        return evaluate(self.task, model, self.held)

    def draw(self, number: int, seed: int) -> list[Row]:
        return [self.pool[at] for at in splits.draw(self.examples, number, seed=seed)]


def spoilt(rows: Sequence[Row], task: Task[Any], condition: str, seed: int) -> list[Row]:
    """The same rows with their labels as `condition` says; a function of its arguments alone."""
    random = Random(f"{condition} {seed}")
    if condition == "clean":
        return list(rows)
    if task.answer is Choice:
        labels = [row["label"] for row in rows]
        if condition == "shuffled":
            random.shuffle(labels)
        else:
            labels = [_other(each, task.options, random) if random.random() < WRONG else each for each in labels]
        return [{**row, "label": label} for row, label in zip(rows, labels, strict=True)]
    if condition == "shuffled":
        return [{**row, "tags": random.sample(row["tags"], len(row["tags"]))} for row in rows]
    return [{**row, "tags": _noisy(row["tags"], task.options, random)} for row in rows]


def _other(label: str, options: Sequence[str], random: Random) -> str:
    return random.choice([each for each in options if each != label])


def _noisy(tags: Sequence[str], options: Sequence[str], random: Random) -> list[str]:
    """Each span in turn: kept, or with probability `WRONG` lost or mislabelled."""
    made: list[str] = []
    now = ""  # the label that stands in place of the span's own; "" for O
    for tag in tags:
        kind, _, label = tag.partition("-")
        if kind == "B":
            now = label
            if random.random() < WRONG:
                now = _other(label, options, random) if random.random() < 0.5 else ""
        made.append(f"{kind}-{now}" if kind != "O" and now else "O")
    return made


def decide(ground: Ground, name: str, labels: int, condition: str, seed: int) -> dict[str, Any]:
    from lowrung.run.compare import compare
    from lowrung.run.study import study

    rows = spoilt(ground.draw(labels, seed), ground.task, condition, seed)
    begun = time.process_time()
    made = study(ground.task, rows, labels=("all",), seeds=REPEATS, methods=(METHOD,))
    seconds = time.process_time() - begun
    examples: list[Example[Any]] = [ground.task.example(row) for row in rows]
    model, untouched = (
        fit_method(METHODS[each], ground.task, examples, backbone=ground.body, prefixes=ground.shared)
        for each in (METHOD, ZERO_SHOT)
    )
    truth = compare(ground.report(untouched), ground.report(model))
    sure = truth.probability_better
    return {
        "set": name,
        "labels": labels,
        "condition": condition,
        "seed": seed,
        "rows": len(rows),
        "held": len(ground.held),
        "shipped": made.gate.shipped != ZERO_SHOT,
        "probability_better": round(made.gate.probability_better, 4),
        "untouched": round(truth.value_one, 4),
        METHOD: round(truth.value_two, 4),
        "truth_probability": round(sure, 4),
        "truth": "better" if sure >= SURE else "worse" if sure <= 1 - SURE else "unclear",
        "study_cpu_seconds": round(seconds, 2),
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    titles = ("", "decisions", "shipped", "harmful", "of decisions", "truly better", "of them shipped", "truly worse")
    groups = [(f"{number} labels", [row for row in rows if row["labels"] == number]) for number in LABELS]
    groups += [(each, [row for row in rows if row["condition"] == each]) for each in CONDITIONS]
    groups += [(each, [row for row in rows if row["set"] == each]) for each in SETS]
    print(kept.table(titles, [_line(name, own) for name, own in [*groups, ("all", list(rows))] if own]))
    for row in rows:
        if row["shipped"] and row["truth"] == "worse":
            print("harm:", {name: row[name] for name in ("set", "labels", "condition", "seed", "untouched", METHOD)})


def _line(name: str, rows: Sequence[dict[str, Any]]) -> list[object]:
    shipped = [row for row in rows if row["shipped"]]
    harmful = [row for row in shipped if row["truth"] == "worse"]
    better = [row for row in rows if row["truth"] == "better"]
    caught = [row for row in better if row["shipped"]]
    share = f"{len(harmful) / len(rows):.1%}"
    reached = f"{len(caught) / len(better):.0%}" if better else "-"
    worse = sum(row["truth"] == "worse" for row in rows)
    return [name, len(rows), len(shipped), len(harmful), share, len(better), reached, worse]


def main() -> None:
    parser = argparse.ArgumentParser(description="Hold the gate's decisions against the truth.")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--labels", nargs="+", type=int, default=list(LABELS), help="rows in all")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few decisions, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    if asked.quick:
        asked.sets, asked.labels, asked.seeds = ["banking77", "wnut17"], [8], [0]
    if not asked.table:
        measure(asked, path)
    show(kept.rows(path))


def measure(asked: argparse.Namespace, path: Path) -> None:
    kept.one_thread()
    for name in asked.sets:
        ground: Ground | None = None
        for key in [(name, n, c, s) for n in asked.labels for c in asked.conditions for s in asked.seeds]:
            if key in {(row["set"], row["labels"], row["condition"], row["seed"]) for row in kept.rows(path)}:
                continue
            ground = ground or Ground(name, 40 if asked.quick else HELD)
            try:
                kept.add(path, decide(ground, *key))
            except LowrungError as problem:  # shuffled or noisy rows may leave nothing to choose
                print(f"{key}: {problem}", flush=True)


if __name__ == "__main__":
    main()
