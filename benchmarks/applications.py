"""What four applied tasks cost and give: answering, relation and choice, translation, dialogue.

    OMP_NUM_THREADS=1 python -m benchmarks.applications
    python -m benchmarks.applications --jobs semeval2010_task8 --seeds 1
    python -m benchmarks.applications --table

The jobs stand in benchmarks/answering_jobs.py, relation_jobs.py, translation_jobs.py and dialogue_jobs.py.
Results go to `results/applications.json`, each as soon as it is there; a job that came to its end is not run again.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from benchmarks import kept

FILE, SEEDS = "applications.json", 3
FINISHED = "finished"  # in the last row of a job: its seeds
MODULES = ("answering_jobs", "relation_jobs", "translation_jobs", "dialogue_jobs")
KEY = ("job", "method", "labels", "seed", "split")

Job = Callable[[bool, int], Iterator[dict[str, Any]]]  # (quick, seeds) → rows: KEY, "rows", metrics…, "cpu_hours"


def jobs() -> Mapping[str, Job]:
    """name → (quick, seeds) → results, of the modules that are there."""
    found: dict[str, Job] = {}
    for name in MODULES:
        if find_spec(f"benchmarks.{name}"):
            found |= import_module(f"benchmarks.{name}").JOBS
    return found


def show(rows: list[dict[str, Any]]) -> None:
    for job in dict.fromkeys(row["job"] for row in rows):
        mine = [row for row in rows if row["job"] == job]
        metrics = list(dict.fromkeys(name for row in mine for name in row if name not in KEY))
        lines = []
        for split, labels, method in dict.fromkeys((row["split"], row["labels"], row["method"]) for row in mine):
            same = [row for row in mine if (row["split"], row["labels"], row["method"]) == (split, labels, method)]
            cells = [_told([row[each] for row in same if row.get(each) is not None], each) for each in metrics]
            lines.append([split, "all" if labels == -1 else labels, method, *cells, len(same)])
        head = ("split", "labels", "method", *metrics, "seeds")
        print(f"\n{job}\n\n{kept.table(head, lines)}")


def _told(values: list[Any], metric: str) -> str:
    if values and not all(isinstance(each, int | float) for each in values):
        return ", ".join(dict.fromkeys(map(str, values)))
    if metric == "rows":
        return ", ".join(map(str, dict.fromkeys(values))) or "-"
    return kept.spread(values)


def main() -> None:
    known = jobs()
    parser = argparse.ArgumentParser(description="Measure the applied tasks.")
    parser.add_argument("--jobs", nargs="+", choices=list(known), default=list(known))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few rows, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    for name in () if asked.table else asked.jobs:
        there = [row for row in kept.rows(path) if row["job"] == name]
        if max((row.get(FINISHED, 0) for row in there), default=0) >= asked.seeds:
            continue
        done = {tuple(row.get(each) for each in KEY) for row in there}
        for row in known[name](asked.quick, 1 if asked.quick else asked.seeds):
            if tuple(row.get(each) for each in KEY) not in done:
                kept.add(path, row)
        kept.add(path, {"job": name, FINISHED: asked.seeds})
    show([row for row in kept.rows(path) if FINISHED not in row])


if __name__ == "__main__":
    main()
