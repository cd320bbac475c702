"""What the embedded models can do on the lowest rungs: generated items, and CUTE where its rows are at hand.

    OMP_NUM_THREADS=1 python -m benchmarks.probing
    python -m benchmarks.probing --table

Bodies by read-outs of their frozen states, language models asked in words. CUTE is read from `LOWRUNG_DATA`
(elementary/cute), to measure with and nothing else. Results go to `results/probing.json`, each as soon as it is there,
and what is there is not run again.
"""

import argparse
from typing import Any

from benchmarks import datasets, kept
from lowrung.models import language_model
from lowrung.run.probing import probe
from lowrung.run.probing_sets import probe_set

FILE = "probing.json"
BODIES = ("minilm", "letters-en", "letters-en-places")
SETS = ("items", "cute")
QUICK = 200  # words to learn from, or questions a kind


def measure(model: str, name: str, seed: int, rows: int | None) -> dict[str, Any]:
    if name == "items":
        found = probe(model, rows=rows, seed=seed)
    else:
        found = probe_set(model, name, datasets._folder() / "elementary" / name, rows=rows or 1000, seed=seed)
    told = found.to_json()
    values = {
        kind: [round(each[key], 4) for key in ("value", "low", "high", "chance")]
        for kind, each in told["metrics"].items()
    }
    return {"model": model, "set": name, "seed": seed, "learnt": found.learnt, "metrics": values, "ways": told["ways"]}


def show(rows: list[dict[str, Any]]) -> None:
    for name in SETS:
        met = [row for row in rows if row["set"] == name]
        models = list(dict.fromkeys(row["model"] for row in met))
        kinds = list(dict.fromkeys(kind for row in met for kind in row["metrics"]))
        lines = []
        for kind in kinds:
            cells = []
            for model in models:
                values = [row["metrics"][kind][0] for row in met if row["model"] == model and kind in row["metrics"]]
                cells.append(kept.spread(values))
            lines.append([kind, *cells])
        if lines:
            print(f"\n{kept.table((name, *models), lines)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Probe the embedded models.")
    parser.add_argument("--models", nargs="+", default=[*BODIES, *language_model.embedded()])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few rows, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    for seed in range(0 if asked.table else 1 if asked.quick else asked.seeds):
        for name in asked.sets:
            for model in asked.models:
                done = {(row["model"], row["set"], row["seed"]) for row in kept.rows(path)}
                if (model, name, seed) not in done:
                    kept.add(path, measure(model, name, seed, QUICK if asked.quick else None))
    show(kept.rows(path))


if __name__ == "__main__":
    main()
