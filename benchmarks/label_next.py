"""How many labels chosen by `lowrung next` teach as much as 200 drawn at random.

    OMP_NUM_THREADS=1 python -m benchmarks.label_next
    python -m benchmarks.label_next --table

From 0 labels on, 20 rows at a time are chosen by the model fitted to those before (a probe on the frozen body) and get
their right answers; beside it, rows drawn at random. Scores are on test rows. The number told is where the curve of
chosen rows, drawn straight between its points, reaches the score of 200 random rows of the same seed. Longer rows are
more work, so their words are counted, too.
Results go to `results/label_next.json`, each as soon as it is there, and what is there is not run again.
"""

import argparse
from random import Random
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.words import words
from lowrung.models.catalog import backbone
from lowrung.models.tuning import Prefixes
from lowrung.run.adapt import adapt, frozen_depths
from lowrung.run.evaluate import evaluate
from lowrung.run.labelling import label_next
from lowrung.run.methods import recipe

FILE, STEP, MOST, SEEDS = "label_next.json", 20, 200, 5
SETS = {"banking77": 3000, "wnut17": 1500}  # and how many raw rows there are to choose among
TEST = 1000


def curve(name: str, way: str, seed: int, quick: bool) -> dict[str, Any]:
    task, train, _, test = datasets.load(name)
    random, body = Random(f"{name} {seed}"), backbone()
    pool = [task.example(row) for row in random.sample(list(train), min(len(train), 300 if quick else SETS[name]))]
    held = [task.example(row) for row in test[: 100 if quick else TEST]]
    prefixes = Prefixes(body)
    prefixes.fill([each.question for each in (*pool, *held)], frozen_depths(body, task))
    how, settings = recipe("probe")
    chosen, left, scores, sizes = list[int](), list(range(len(pool))), dict[int, float](), dict[int, int]()
    model: Any = adapt(body, task, (), how=how, prefixes=prefixes)
    while len(chosen) < (2 * STEP if quick else MOST):
        if way == "random":
            taken = random.sample(left, STEP)
        else:
            known = [pool[at].question for at in chosen]
            found = label_next(model, [pool[at].question for at in left], STEP, known=known)
            taken = [left[each.row] for each in found]
        chosen += taken
        left = [at for at in left if at not in set(taken)]
        learnt = [pool[at] for at in chosen]
        model = adapt(body, task, learnt, how=how, settings=settings, prefixes=prefixes, seed=seed)
        if way == "chosen" or len(chosen) == MOST or quick:
            scores[len(chosen)] = round(evaluate(task, model, held).value(task.metrics[0]), 4)
            sizes[len(chosen)] = sum(len(words(each.question.text)) for each in learnt)
    told = {"set": name, "way": way, "seed": seed, "metric": task.metrics[0].name, "test": len(held)}
    return told | {"scores": scores, "words": sizes}


def reached(scores: dict[str, float], wanted: float) -> float | None:
    """The number of labels at which a curve reaches a score, None where it does not."""
    before = (0, 0.0)
    for labels, score in ((int(labels), score) for labels, score in scores.items()):
        if score >= wanted:
            share = (wanted - before[1]) / (score - before[1]) if before[0] and score > before[1] else 1.0
            return float(before[0] + share * (labels - before[0]))
        before = (labels, score)
    return None


def show(rows: list[dict[str, Any]]) -> None:
    lines = []
    for name in dict.fromkeys(row["set"] for row in rows):
        ways = {way: [row for row in rows if (row["set"], row["way"]) == (name, way)] for way in ("random", "chosen")}
        random, mine = ({row["seed"]: row["scores"] for row in ways[way]} for way in ways)
        both = [seed for seed in mine if str(MOST) in random.get(seed, {})]
        if not both:
            continue
        wanted = sum(random[seed][str(MOST)] for seed in both) / len(both)
        found = [reached(mine[seed], random[seed][str(MOST)]) for seed in both]
        mean = sum(each if each is not None else MOST for each in found) / len(found)
        at = {labels: sum(mine[seed][labels] for seed in both) / len(both) for labels in mine[both[0]]}
        told = ", ".join("never" if each is None else f"{each:.0f}" for each in found)
        sizes = [
            [row["words"][labels] for row in ways[way] if "words" in row]
            for way, labels in (("random", "200"), ("chosen", "120"))
        ]
        long = " : ".join(f"{sum(each) / len(each):.0f}" if each else "-" for each in sizes)
        scores = (f"{100 * each:.1f}" for each in (wanted, at["120"], at["200"]))
        lines.append([name, *scores, f"{mean:.0f}", told, long])
    head = (
        "set",
        "200 random",
        "120 chosen",
        "200 chosen",
        "chosen that reach 200 random",
        "by seed",
        "words 200 : 120",
    )
    print(kept.table(head, lines))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how many chosen labels are worth 200 random ones.")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few rows, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    for name in () if asked.table else asked.sets:
        for seed in range(1 if asked.quick else asked.seeds):
            for way in ("random", "chosen"):
                key = {"set": name, "way": way, "seed": seed}
                if not any(key.items() <= row.items() for row in kept.rows(path)):
                    kept.add(path, curve(name, way, seed, asked.quick))
    if not asked.quick:
        show(kept.rows(path))


if __name__ == "__main__":
    main()
