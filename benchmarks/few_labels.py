"""What lowrung scores with 0 to a few hundred labels, by method and as a study without test rows would ship it.

    OMP_NUM_THREADS=1 python -m benchmarks.few_labels --sets trec --sizes 8 --seeds 0 1 2
    python -m benchmarks.few_labels --table

Rows, draws and sizes are those of `benchmarks.others` (`draw` is the fingerprint of the training rows); results go to
`results/few_labels.json` in the same form, each as soon as it is there, and what is there is not run again.

    lowrung <method>   one method, fitted to the draw with the draw's seed. Its CPU seconds contain the states of the
                       frozen layers: each run starts with an empty cache.
    lowrung (picked)   `study` on the draw and nothing else, one seed: the winner of cross-validation ships if it passes
                       the gate, else the untouched model does. Its CPU seconds are those of the whole study.
                       `winner` is who won, `shipped` who passed, `probability_better` what the gate saw.

`score` is accuracy for the topic sets and exact-match micro-F1 for the entity sets, both in [0, 1], on the test rows.
Answering uses states that all runs share, so that its seconds say nothing and are not kept; see `benchmarks.speed`.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import datasets, kept, others
from lowrung.core.errors import LowrungError
from lowrung.run.methods import METHODS, ZERO_SHOT, fit_method, methods_for

FILE = "few_labels.json"
PICKED = "lowrung (picked)"
SIZES = {"topic": (0, 2, 8, 32), "entities": (0, 50, 200, 1000)}
CHOSEN_AMONG = {"topic": ("ngrams", "probe", "contrastive"), "entities": ("ngrams", "probe", "top")}
DIP = 0.01  # below the untouched model by no more than this counts as no dip

Row = dict[str, Any]
load = lru_cache(maxsize=1)(datasets.load)


def kind_of(name: str) -> str:
    return "topic" if name in datasets.TOPICS else "entities"


class Asker:
    """The test rows of one set, whose frozen states all models asked about them share."""

    def __init__(self, name: str, most: int | None) -> None:
        from lowrung.models.catalog import backbone
        from lowrung.models.tuning import Prefixes

        self.name = name
        self.task, self.pool, _, test = load(name)
        self.test = [self.task.example(row) for row in test[:most]]
        self.shared = Prefixes(backbone())

    def score(self, model: Any) -> float:
        from lowrung.run.evaluate import evaluate

        if getattr(model, "prefixes", None) is not None:
            model.prefixes = self.shared
        return round(evaluate(self.task, model, self.test).value(self.task.metrics[0]), 4)

    def run(self, tool: str, size: int, seed: int) -> tuple[Row, datasets.Rows]:
        drawn = datasets.draw(self.pool, self.task, size, seed=seed)
        row = {"tool": tool, "set": self.name, "size": size, "seed": seed, "train_rows": len(drawn)}
        return row | {"test_rows": len(self.test), "draw": datasets.fingerprint(drawn)}, drawn


def measure_method(asker: Asker, method: str, size: int, seed: int) -> Row:
    from lowrung.models.catalog import backbone
    from lowrung.models.tuning import Prefixes

    row, drawn = asker.run(f"lowrung {method}", size, seed)
    examples = [asker.task.example(each) for each in drawn]
    _forget()
    begun = time.process_time()
    model = fit_method(
        METHODS[method], asker.task, examples, backbone=backbone(), prefixes=Prefixes(backbone()), seed=seed
    )
    seconds = time.process_time() - begun
    return row | {"score": asker.score(model), "fit_cpu_seconds": round(seconds, 2)}


def measure_picked(asker: Asker, methods: tuple[str, ...], size: int, seed: int) -> Row:
    from lowrung.run.study import study

    row, drawn = asker.run(PICKED, size, seed)
    if size == 0:  # nothing to pick by: the untouched model
        return measure_method(asker, ZERO_SHOT, 0, seed) | {"tool": PICKED, "winner": ZERO_SHOT, "shipped": ZERO_SHOT}
    _forget()
    begun = time.process_time()
    made = study(asker.task, drawn, labels=("all",), seeds=1, methods=methods, balanced=kind_of(asker.name) == "topic")
    seconds = time.process_time() - begun
    row |= {"score": asker.score(made.model), "fit_cpu_seconds": round(seconds, 2), "methods": list(methods)}
    gate = {"winner": made.gate.winner, "shipped": made.gate.shipped}
    return row | gate | {"probability_better": round(made.gate.probability_better, 4)}


def _forget() -> None:
    """What is remembered of the looks of words must be paid for by each run anew."""
    from lowrung.models.shapes import looks

    looks.cache_clear()


def wanted(asked: argparse.Namespace, name: str) -> Iterator[tuple[str, int, int, Callable[[Asker], Row]]]:
    """(tool, size, seed, how to measure it) of everything asked for about one set, cheap sizes first."""
    kind, task = kind_of(name), load(name)[0]
    fitting = [each.name for each in methods_for(task)]
    for method in asked.methods or ():
        if method not in fitting:
            print(f"{name}: {method} does not answer with {task.answer.__name__}; left out")
    own = tuple(each for each in asked.methods or fitting if each in fitting)
    picked = tuple(each for each in asked.methods or CHOSEN_AMONG[kind] if each in fitting and METHODS[each].candidate)
    for size in sorted(set(asked.sizes or SIZES[kind])):
        for seed in asked.seeds if size else [0]:  # nothing is drawn for 0 labels, so that every seed is the same run
            for method in own if "methods" in asked.tools else ():
                if METHODS[method].learns == (size > 0):
                    yield f"lowrung {method}", size, seed, _bound(measure_method, method, size, seed)
            if "picked" in asked.tools:
                yield PICKED, size, seed, _bound(measure_picked, picked, size, seed)


def _bound(measure: Callable[[Asker, Any, int, int], Row], which: Any, size: int, seed: int) -> Callable[[Asker], Row]:
    return lambda asker: measure(asker, which, size, seed)


def show(mine: list[Row], theirs: list[Row]) -> None:
    """Tables of both kinds of sets, then the checks."""
    rows = [row for row in [*mine, *_before_the_gate(mine), *theirs] if "score" in row]
    for kind, names in (("topic", datasets.TOPICS), ("entities", datasets.ENTITIES)):
        score = "accuracy" if kind == "topic" else "micro-F1"
        for what, field, digits in ((score, "score", 3), ("CPU seconds of the fit", "fit_cpu_seconds", 1)):
            print(f"\n{kind}: {what}, mean ± standard deviation over seeds\n")
            print(kept.table(("size", "tool", *names), _lines(rows, names, field, digits)))
    _checks(mine, rows)


def _lines(rows: list[Row], names: tuple[str, ...], field: str, digits: int) -> Iterator[list[str]]:
    for size in sorted({row["size"] for row in rows if row["set"] in names}):
        tools = dict.fromkeys(row["tool"] for row in rows if row["set"] in names and row["size"] == size)
        for tool in sorted(tools):
            cells = [kept.spread(_of(rows, tool, name, size, field), digits) for name in names]
            yield [str(size), tool, *cells]


def _of(rows: list[Row], tool: str, name: str, size: int, field: str = "score") -> list[float]:
    own = [row for row in rows if (row["tool"], row["set"], row["size"]) == (tool, name, size)]
    return [row[field] for row in own if field in row]


def _before_the_gate(mine: list[Row]) -> Iterator[Row]:
    """What the winners of cross-validation score on the test, whether they passed the gate or not."""
    scores = {(row["tool"], row["set"], row["size"], row["seed"]): row.get("score") for row in mine}
    for row in mine:
        if row["tool"] == PICKED:
            found = scores.get((f"lowrung {row['winner']}", row["set"], row["size"], row["seed"]))
            if found is not None:
                same = {name: row[name] for name in ("set", "size", "seed")}
                yield {"tool": "lowrung (picked, before the gate)", "score": found, **same}


def _checks(mine: list[Row], rows: list[Row]) -> None:
    print(
        "\nlowrung (picked) and setfit: mean accuracy over the topic sets that both have, CPU seconds of the same runs"
    )
    for size in SIZES["topic"][1:]:
        both = [name for name in datasets.TOPICS if _of(rows, PICKED, name, size) and _of(rows, "setfit", name, size)]
        if both:
            ours, others_ = (mean(mean(_of(rows, tool, name, size)) for name in both) for tool in (PICKED, "setfit"))
            print(
                f"  {size} a class, {len(both)} of {len(datasets.TOPICS)} sets: {ours:.3f} and {others_:.3f}", end="; "
            )
            print(_ratio(rows, "setfit", PICKED, tuple(both), size), end="; ")
            print(_ratio(rows, "setfit", "lowrung contrastive", tuple(both), size))
    for size in SIZES["entities"][1:]:
        print(f"  {size} sentences: {_ratio(rows, 'trainer', 'lowrung top', datasets.ENTITIES, size)}")
    dips, cells = [], 0
    for name in (*datasets.TOPICS, *datasets.ENTITIES):
        untouched = _of(mine, f"lowrung {ZERO_SHOT}", name, 0)
        for size in SIZES[kind_of(name)][1:]:
            shipped = _of(mine, PICKED, name, size)
            if untouched and shipped:
                cells += 1
                if mean(shipped) < untouched[0] - DIP:
                    dips.append(f"{name} at {size}: {mean(shipped):.3f} against {untouched[0]:.3f}")
    print(f"What ships is no more than {DIP:.0%} below the untouched model in {cells - len(dips)} of {cells} cells.")
    print("".join(f"  dip: {dip}\n" for dip in dips), end="")


def _ratio(rows: list[Row], one: str, two: str, names: tuple[str, ...], size: int) -> str:
    """How many times the CPU seconds of `two` the ones of `one` are, over the (set, seed) that both ran."""

    def seconds(tool: str) -> dict[tuple[str, int], float]:
        own = [row for row in rows if row["tool"] == tool and row["size"] == size and row["set"] in names]
        return {(row["set"], row["seed"]): row["fit_cpu_seconds"] for row in own if "fit_cpu_seconds" in row}

    ones, twos = seconds(one), seconds(two)
    shared = sorted(ones.keys() & twos.keys())
    if not shared:
        return f"no run of both {one} and {two}"
    total, other = (sum(each[key] for key in shared) for each in (ones, twos))
    times = f"{total / other:.1f} times" if other else "any number of times"
    return f"{one} takes {times} the CPU seconds of {two} ({total:.0f} and {other:.0f}, {len(shared)} runs)"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure lowrung with few labels on the benchmark sets.")
    names = datasets.TOPICS + datasets.ENTITIES
    parser.add_argument("--sets", nargs="+", choices=names, default=list(names))
    parser.add_argument("--sizes", nargs="+", type=int, help="rows a label, or sentences; 0 2 8 32, 0 50 200 1000")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--tools", nargs="+", choices=("methods", "picked"), default=["methods", "picked"])
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), help="default: all; a few for the picked rows")
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: tiny sizes, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    if asked.quick:
        asked.sets, asked.sizes, asked.seeds = ["sst2", "wnut17"], [0, 6], [0]
        asked.methods = asked.methods or ["zero-shot", "ngrams", "probe"]
    if not asked.table:
        measure(asked, path)
    show(kept.rows(path), kept.rows(others.RESULTS))


def measure(asked: argparse.Namespace, path: Path) -> None:
    kept.one_thread()
    for name in asked.sets:
        asker: Asker | None = None
        for tool, size, seed, run in wanted(asked, name):
            if (tool, name, size, seed) in {
                (row["tool"], row["set"], row["size"], row["seed"]) for row in kept.rows(path)
            }:
                continue
            asker = asker or Asker(name, 40 if asked.quick else None)
            try:
                kept.add(path, run(asker))
            except LowrungError as problem:  # rows that a study refuses are no reason to lose the others
                print(f"{tool}, {name}, {size}, seed {seed}: {problem}", flush=True)


if __name__ == "__main__":
    main()
