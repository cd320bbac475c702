"""Chinese spelling, sentence by sentence as the field counts it: the embedded corrector with 0 labels, and tuned.

    OMP_NUM_THREADS=1 python -m benchmarks.chinese
    python -m benchmarks.chinese --models "lowrung zh" --table

Asks the 1,100 sentences of sighan15_full; tunes on the training rows of sighan14 and sighan15, without those of whose
texts one stands in the test. Rows are taken as they are: the few traditional characters in them are not converted.
Results go to `results/chinese.json`, each as soon as it is there, and what is there is not run again.
"""

import argparse
import os
from dataclasses import replace
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.task import Example
from lowrung.metrics.sentences import SENTENCES
from lowrung.models import choosing, tuned_letters
from lowrung.models.correcting import DoNothing, corrector
from lowrung.run.evaluate import evaluate

FILE = "chinese.json"
TEST, TRAIN = "sighan15_full", ("sighan14", "sighan15")
MODELS = ("do-nothing", "lowrung zh", "lowrung zh + letters", "lowrung zh, tuned", "lowrung zh + letters, tuned")


def training(test: list[Example[Any]]) -> list[Example[Any]]:
    known = {text for each in test for text in (each.question.text, each.golds[0].text)}
    rows = [each for name in TRAIN for each in datasets.spelling(name, "train")[1]]
    return [each for each in rows if not known & {each.question.text, each.golds[0].text}]


def made(name: str, rows: list[Example[Any]]) -> Any:
    if name == "do-nothing":
        return DoNothing()
    base = choosing.equipped(corrector("zh", context=False), "zh", reads="letters" in name)
    return tuned_letters.fit(base, rows) if name.endswith("tuned") else base


def measure(name: str, most: int | None) -> dict[str, Any]:
    task, test = datasets.spelling(TEST, "test")
    rows = training(test)[:most] if name.endswith("tuned") else []
    begun = os.times()
    model = made(name, rows)
    fitted = os.times()
    report = evaluate(replace(task, metrics=SENTENCES), model, test[:most])
    done = os.times()
    scores = {metric.name: round(report.value(metric), 4) for metric in SENTENCES}
    spent = {"fit_seconds": round(fitted.user - begun.user, 1), "answer_seconds": round(done.user - fitted.user, 1)}
    return {"tool": name, "set": TEST, "rows": len(report.examples), "labels": len(rows), **scores, **spent}


def show(rows: list[dict[str, Any]]) -> None:
    columns = [metric.name for metric in SENTENCES]
    lines = [[row["tool"], row["labels"], *(f"{100 * row[each]:.1f}" for each in columns)] for row in rows]
    print(f"\n{TEST}, in %\n\n{kept.table(('tool', 'labels', *columns), lines)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure correctors of Chinese spelling.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few rows, nothing is kept")
    asked = parser.parse_args()
    path = kept.place(FILE, quick=asked.quick)
    for name in () if asked.table else asked.models:
        if name not in {row["tool"] for row in kept.rows(path)}:
            kept.add(path, measure(name, 60 if asked.quick else None))
    show(kept.rows(path))


if __name__ == "__main__":
    main()
