"""What lowrung's methods score on GAP with 0 to 2,000 labels, for either gender, and how far WinoBias pulls them.

    OMP_NUM_THREADS=1 python -m benchmarks.pronouns --sizes 0 200 --seeds 0 1 2
    python -m benchmarks.pronouns --part dev --methods probe
    python -m benchmarks.pronouns --start FOLDER --methods practice practice+probe
    python -m benchmarks.pronouns --table

FOLDER is what `lowrung practice pronoun` has written; the methods that begin with it need one.
Results go to `results/pronouns.json`, each run as soon as it is there, and what is there is not run again.

`score` is F1 as GAP's scorer counts it, `ratio` that of feminine rows over that of masculine ones. `pro` and `anti` are
F1 on WinoBias sentences whose gold agrees with a stereotype and on those whose gold does not, by the same model; no
model learns from them. At 2,000 labels the draw is every row, and seeds differ in the training alone.
"""

import argparse
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.errors import LowrungError
from lowrung.data import splits
from lowrung.run.methods import METHODS, ZERO_SHOT, fit_method, methods_for
from lowrung.run.ship import load as load_shipped

FILE = "pronouns.json"
SIZES = (0, 50, 200, 2000)
PUBLISHED = 66.9  # F1 in % of the parallelism heuristic on GAP's test set (Webster et al. 2018), which learns nothing

Row = dict[str, Any]
load = lru_cache(maxsize=1)(datasets.gap)


class Asker:
    """The rows that all models are asked about, whose frozen states they share."""

    def __init__(self, part: str, most: int | None, start: str) -> None:
        from lowrung.models.catalog import backbone
        from lowrung.models.tuning import Prefixes

        self.part = part
        self.task, self.pool, dev, test = load()
        self.asked = [self.task.example(row) for row in (dev if part == "dev" else test)[:most]]
        rows = datasets.winobias("dev" if part == "dev" else "test")
        self.sides = {
            side: [self.task.example(row) for row in rows if row["stereotype"] == side][:most]
            for side in ("pro", "anti")
        }
        self.shared = Prefixes(backbone())
        self.start = load_shipped(start).model if start else None

    def scores(self, model: Any) -> Row:
        from lowrung.run.evaluate import evaluate

        prefixes = getattr(model, "prefixes", None)
        if prefixes is not None and prefixes.backbone is self.shared.backbone:
            model.prefixes = self.shared
        report = evaluate(self.task, model, self.asked)
        names = ("score", *(metric.name for metric in self.task.metrics[1:]))
        found = {name: report.value(metric) for name, metric in zip(names, self.task.metrics, strict=True)}
        sides = {
            side: evaluate(self.task, model, each).value(self.task.metrics[0]) for side, each in self.sides.items()
        }
        return {name: round(value, 4) for name, value in (found | sides).items()}

    def measure(self, method: str, size: int, seed: int) -> Row:
        from lowrung.models.catalog import backbone
        from lowrung.models.tuning import Prefixes

        examples = [self.task.example(row) for row in self.pool]
        chosen = splits.draw(examples, size, seed=seed)
        row = {"tool": f"lowrung {method}", "set": "gap", "part": self.part, "size": size, "seed": seed}
        row |= {"train_rows": len(chosen), "test_rows": len(self.asked)}
        row |= {"draw": datasets.fingerprint([self.pool[at] for at in chosen])}
        begun = time.process_time()
        model = fit_method(
            METHODS[method],
            self.task,
            [examples[at] for at in chosen],
            backbone=backbone(),
            prefixes=None if METHODS[method].practised else Prefixes(backbone()),
            seed=seed,
            start=self.start,
        )
        seconds = time.process_time() - begun
        return row | self.scores(model) | {"fit_cpu_seconds": round(seconds, 2)}


def wanted(asked: argparse.Namespace) -> Iterator[tuple[str, int, int]]:
    """(method, size, seed) of everything asked for, cheap sizes first."""
    for size in sorted(set(asked.sizes)):
        for method in asked.methods:
            if METHODS[method].learns == (size > 0):
                # nothing is drawn for 0 labels, so that every seed is the same run
                yield from ((method, size, seed) for seed in (asked.seeds if size else [0]))


def show(rows: list[Row]) -> None:
    """One table a part, then what it takes to be better than knowing nothing."""
    columns = ("score", "accuracy", "f1_feminine", "f1_masculine", "ratio", "pro", "anti", "fit_cpu_seconds")
    for part in dict.fromkeys(row["part"] for row in rows):
        print(f"\nGAP {part}: mean ± standard deviation over seeds\n")
        own = [row for row in rows if row["part"] == part]
        lines = []
        for size, tool in sorted({(row["size"], row["tool"]) for row in own}):
            same = [row for row in own if (row["size"], row["tool"]) == (size, tool)]
            cells = [kept.spread([row[name] for row in same], 1 if "seconds" in name else 3) for name in columns]
            lines.append([str(size), tool, *cells])
        print(kept.table(("size", "tool", *columns), lines))
    print(f"\nThe parallelism heuristic, which learns nothing, is published with {PUBLISHED} % on the test set.")


def main() -> None:
    fitting = [each.name for each in methods_for(datasets.task_named("pronoun"), text=True)]
    parser = argparse.ArgumentParser(description="Measure lowrung on pronouns.")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=fitting, default=fitting)
    parser.add_argument("--start", default="", metavar="FOLDER", help="a model that has practised")
    parser.add_argument("--part", choices=("dev", "test"), default="test", help="which rows are asked about")
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: tiny sizes, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    if asked.quick:
        asked.sizes, asked.seeds, asked.methods = [0, 20], [0], [ZERO_SHOT, "probe", "top"]
    if not asked.table:
        kept.one_thread()
        asker: Asker | None = None
        for method, size, seed in wanted(asked):
            done = {(row["tool"], row["part"], row["size"], row["seed"]) for row in kept.rows(path)}
            if (f"lowrung {method}", asked.part, size, seed) in done:
                continue
            asker = asker or Asker(asked.part, 40 if asked.quick else None, asked.start)
            try:
                kept.add(path, asker.measure(method, size, seed))
            except LowrungError as problem:  # a method that refuses is no reason to lose the others
                print(f"{method}, {size}, seed {seed}: {problem}", flush=True)
    show(kept.rows(path))


if __name__ == "__main__":
    main()
