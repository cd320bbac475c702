"""What a body that reads letters is worth beside MiniLM: topics with and without typos, and entities.

    OMP_NUM_THREADS=1 python -m benchmarks.letters
    python -m benchmarks.letters --table

Topics: a probe on the frozen body, trec at 32 rows a class and banking77 at 8, on the test rows as they are and with a
slip (as people make them) in 30 % of the words. Entities: `top` on 200 sentences. Results go to `results/letters.json`,
each as soon as it is there, and what is there is not run again.
"""

import argparse
from random import Random
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.words import words
from lowrung.data.noise import noise
from lowrung.models import catalog
from lowrung.models.tuning import Frozen, How, Top
from lowrung.run.adapt import adapt
from lowrung.run.evaluate import evaluate

FILE = "letters.json"
BODIES = ("minilm", "letters-en")
SETS: dict[str, tuple[int, How]] = {
    "trec": (32, Frozen()),
    "banking77": (8, Frozen()),
    "uner_ewt": (200, Top(2)),
    "wnut17": (200, Top(2)),
}
SHARE = 0.3  # of words that get a slip

Row = dict[str, Any]


def slipped(text: str, random: Random) -> str:
    """The text with a slip in about `SHARE` of its words of letters."""
    made, done = [], 0
    for start, end in words(text):
        word = text[start:end]
        if word.isalpha() and random.random() < SHARE:
            made += [text[done:start], noise("en").damage(word, random)]
            done = end
    return "".join(made) + text[done:]


def measure(name: str, body: str, seed: int, most: int | None) -> Row:
    size, how = SETS[name]
    task, train, _, test = datasets.load(name)
    rows = datasets.draw(train, task, size, seed=seed)
    made = adapt(catalog.backbone(body), task, [task.example(row) for row in rows], how=how, seed=seed)
    test, metric, random = test[:most], task.metrics[0], Random(0)
    found: Row = {"set": name, "body": body, "labels": size, "seed": seed, "metric": metric.name}
    found["clean"] = round(evaluate(task, made, [task.example(row) for row in test]).value(metric), 4)
    if isinstance(how, Frozen):
        spoilt = [task.example(row | {"text": slipped(row["text"], random)}) for row in test]
        found["slips"] = round(evaluate(task, made, spoilt).value(metric), 4)
    return found


def show(rows: list[Row]) -> None:
    lines = []
    for name, (size, _) in SETS.items():
        for body in BODIES:
            met = [row for row in rows if (row["set"], row["body"]) == (name, body)]
            if met:
                clean, slips = ([row[each] for row in met if each in row] for each in ("clean", "slips"))
                cells = [f"{100 * sum(each) / len(each):.1f}" if each else "-" for each in (clean, slips)]
                lines.append([name, str(size), body, *cells, str(len(met))])
    print(kept.table(("set", "labels", "body", "clean", "30 % slips", "seeds"), lines))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a body that reads letters beside MiniLM.")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few rows, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    for seed in range(0 if asked.table else 1 if asked.quick else asked.seeds):
        for name in asked.sets:
            for body in BODIES:
                if (name, body, seed) not in {(row["set"], row["body"], row["seed"]) for row in kept.rows(path)}:
                    kept.add(path, measure(name, body, seed, 20 if asked.quick else None))
    show(kept.rows(path))


if __name__ == "__main__":
    main()
