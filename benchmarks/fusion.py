"""What fusing text, sound and pictures is worth, against the better single part, by a paired comparison.

    OMP_NUM_THREADS=1 python -m benchmarks.fusion
    python -m benchmarks.fusion --jobs orders digits --seeds 1
    python -m benchmarks.fusion --table

The jobs stand in benchmarks/fused_choices.py (answers are labels) and benchmarks/fused_texts.py (answers are texts).
Results go to `results/fusion.json`, each as soon as it is there; a job that came to its end is not run again.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from benchmarks import kept

FILE, SEEDS = "fusion.json", 3
FINISHED = "finished"  # in the last row of a job: its seeds
MODULES = ("fused_choices", "fused_texts")
KEY = ("job", "way", "labels", "seed", "split")
BESIDE = ("rows", "against", "difference", "low", "high", "probability_better", "first_pass", "weights")

Job = Callable[[bool, int], Iterator[dict[str, Any]]]


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
        metrics = list(dict.fromkeys(name for row in mine for name in row if name not in (*KEY, *BESIDE)))
        lines = []
        for labels, split in dict.fromkeys((row["labels"], row["split"]) for row in mine):
            there = [row for row in mine if (row["labels"], row["split"]) == (labels, split)]
            for way in dict.fromkeys(row["way"] for row in there):
                same = [row for row in there if row["way"] == way]
                cells = [kept.spread([row[each] for row in same if each in row]) for each in metrics]
                told = "all" if labels == -1 else labels
                lines.append([way, told, split, *cells, _against(same), len(same)])
        head = ("way", "labels", "split", *metrics, "against the better part, by seed", "seeds")
        print(f"\n{job}\n\n{kept.table(head, lines)}")


def _against(rows: list[dict[str, Any]]) -> str:
    told = "{against} {difference:+.3f} ({low:+.3f} to {high:+.3f}), P {probability_better:.3f}"
    return "; ".join(told.format(**row) for row in rows if row.get("against")) or "-"


def main() -> None:
    known = jobs()
    parser = argparse.ArgumentParser(description="Measure what fusing several parts of a question is worth.")
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
