"""How often a service without drift alarms, and after how many requests a drift is seen.

    OMP_NUM_THREADS=1 python -m benchmarks.drift
    python -m benchmarks.drift --table

A reference is made of rows as one ships with a model, and other rows of the same set are asked in turn: windows of 500
that end every 100 requests, as `lowrung serve` looks at them; an alarm of these is a false one. Then a share of the
words is misspelt, or the rows are of another set (sms_spam → trec), after a window of unchanged ones: how many requests
later is the first alarm?
Results go to `results/drift.json`, each as soon as it is there, and what is there is not run again.
"""

import argparse
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.data.augment import AUGMENTATIONS
from lowrung.models.catalog import backbone
from lowrung.models.tuning import Frozen
from lowrung.run.adapt import adapt
from lowrung.run.nearest import vectors_of
from lowrung.run.reference import Seen, drifts, reference_of, seen
from lowrung.serving.drift import BLOCK, EMBEDDED, LEVEL, WINDOW

FILE, SEEDS = "drift.json", 5
SETS = ("sms_spam", "banking77", "trec")
SHARES = (0.02, 0.05, 0.10)
LEARNT = 1500  # rows of the reference
TRIES = 200  # until a word is misspelt


def measured(name: str, seed: int, quick: bool) -> dict[str, Any]:
    task, train, _, test = datasets.topic(name)
    random = Random(f"{name} {seed}")
    rows = random.sample([*train, *test], len(train) + len(test))
    asked = [task.question(row) for row in rows]
    model: Any = adapt(backbone(), task, (), how=Frozen())
    known, fresh = asked[:LEARNT], asked[LEARNT:]
    held = fresh[:200]
    reference = reference_of(model, known, confidence=[each.confidence for each in model.answer(held)], seed=seed)
    assert reference is not None
    fresh = fresh[200 : 200 + (8 if quick else 20) * BLOCK]

    def blocks(questions: Sequence[Question]) -> list[list[Seen]]:
        parts = [questions[at : at + BLOCK] for at in range(0, len(questions) - BLOCK + 1, BLOCK)]
        return [seen(reference, part, model.answer(part), vectors_of(model, part[:EMBEDDED])) for part in parts]

    calm = blocks(fresh)
    looks, alarms, window = 0, 0, deque[Seen](maxlen=WINDOW)
    for at, block in enumerate(calm):
        window += block
        found = drifts(reference, list(window), level=LEVEL, seed=seed * 100 + at)
        looks, alarms = looks + 1, alarms + any(each.alarm for each in found)
    result = {"set": name, "seed": seed, "looks": looks, "false_alarms": alarms}
    changed = {f"typos {share:.0%}": [_slipped(each, share, random) for each in fresh[: 5 * BLOCK]] for share in SHARES}
    if name == "sms_spam":
        changed["trec"] = [
            Question((row["text"],), options=task.options) for row in datasets.topic("trec")[1][: 5 * BLOCK]
        ]
    for what, questions in changed.items():
        window = deque((each for block in calm[:5] for each in block), maxlen=WINDOW)
        result[what] = None
        for at, block in enumerate(blocks(questions), 1):
            window += block
            if any(each.alarm for each in drifts(reference, list(window), level=LEVEL, seed=seed)):
                result[what] = at * BLOCK
                break
    return result


def _slipped(question: Question, share: float, random: Random) -> Question:
    words = [
        _slip(word, random) if word.isalpha() and random.random() < share else word for word in question.text.split(" ")
    ]
    return Question((" ".join(words),), options=question.options, meanings=question.meanings)


def _slip(word: str, random: Random) -> str:
    for _ in range(TRIES):
        made = AUGMENTATIONS["typos"](Example(Question((word,)), ()), random).question.text
        if made != word:
            return made
    return word


def show(rows: list[dict[str, Any]]) -> None:
    lines = []
    kinds = [f"typos {share:.0%}" for share in SHARES] + ["trec"]
    for name in dict.fromkeys(row["set"] for row in rows):
        mine = [row for row in rows if row["set"] == name]
        looks, alarms = sum(row["looks"] for row in mine), sum(row["false_alarms"] for row in mine)
        delays = [
            ", ".join(str(row.get(kind) or "not in 500") for row in mine) if kind in mine[0] else "" for kind in kinds
        ]
        lines.append([name, f"{alarms} of {looks}", *delays])
    print(kept.table(("set", "false alarms", *(f"requests until {kind}" for kind in kinds)), lines))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure false alarms and delays of drift.")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few rows, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    for name in () if asked.table else asked.sets:
        for seed in range(1 if asked.quick else asked.seeds):
            key = {"set": name, "seed": seed}
            if not any(key.items() <= row.items() for row in kept.rows(path)):
                kept.add(path, measured(name, seed, asked.quick))
    show(kept.rows(path))


if __name__ == "__main__":
    main()
