"""What augmentations do to the winner of a study on real rows, and which of them held-out rows veto.

    OMP_NUM_THREADS=1 python -m benchmarks.augmenting
    python -m benchmarks.augmenting --sets trec --table

Of each set so many training rows are drawn; the method learns from two thirds of them, with one augmentation and
without, and answers the rest, three times (`study --augment`). Nothing is read of a test split. Of speech, the rows are
of the dev split, since the embedded body has learnt from the training rows.
Results go to `results/augmenting.json`, each as soon as it is there, and what is there is not run again.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.task import Row, Task
from lowrung.data.splits import draw
from lowrung.run.augmenting import augmentations
from lowrung.run.study import study
from lowrung.tasks import task as named

FILE = "augmenting.json"


@dataclass(frozen=True)
class Job:
    """Rows of a set to learn from, with its task; augmentations that are not for such rows are left out."""

    method: str
    number: int
    rows: Callable[[], tuple[Task[Any], Sequence[Row]]]
    leaves: tuple[str, ...] = ()


JOBS = {
    "trec": Job("probe", 200, lambda: datasets.topic("trec")[:2], ("names", "genders")),
    "sms_spam": Job("probe", 200, lambda: datasets.topic("sms_spam")[:2], ("names", "genders")),
    "wnut17": Job("probe", 200, lambda: datasets.entities("wnut17")[:2]),
    "gap": Job("probe", 300, lambda: datasets.gap()[:2]),
    "speechocean762": Job("top", 200, lambda: (named("speech"), datasets.speech("speechocean762", "dev"))),
}


def measured(name: str, number: int, most: int | None) -> list[dict[str, Any]]:
    job = JOBS[name]
    task, rows = job.rows()
    chosen = [rows[at] for at in draw([task.example(row) for row in rows], number, seed=0)]
    names = [each for each in augmentations(task) if each not in job.leaves]
    made = study(task, chosen, methods=(job.method,), labels=("all",), seeds=1, augment=names[:most])
    facts = {"set": name, "task": task.name, "method": job.method, "rows": number, "metric": task.metrics[0].name}
    return [{**facts, **each} for each in made.facts["augmentations"]]


def show(rows: list[dict[str, Any]]) -> None:
    for name in dict.fromkeys(row["set"] for row in rows):
        mine = [row for row in rows if row["set"] == name]
        lines = []
        for row in mine:
            gain, low, high = (100 * each for each in row["gain"])
            cells = (f"{100 * row['value']:.1f}", f"{100 * row['without']:.1f}")
            verdict = "kept" if row["kept"] else "vetoed"
            told = f"{gain + 0.0:+.1f} ({low:+.1f} to {high:+.1f})"
            lines.append([row["name"], *cells, told, f"{row['probability']:.2f}", verdict])
        first = mine[0]
        print(f"\n{name}: {first['method']} on {first['rows']} rows, {first['metric']} in %\n")
        print(kept.table(("augmentation", "with it", "without", "gain", "P(helps)", ""), lines))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what augmentations do on real rows.")
    parser.add_argument("--sets", nargs="+", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few rows, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    for name in () if asked.table else asked.sets:
        if not any(row["set"] == name for row in kept.rows(path)):
            for row in measured(name, 40 if asked.quick else JOBS[name].number, 2 if asked.quick else None):
                kept.add(path, row)
    show(kept.rows(path))


if __name__ == "__main__":
    main()
