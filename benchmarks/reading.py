"""What is read of lines that people scanned: receipts and a few printed pages, by labels; beside tesseract; and speed.

    OMP_NUM_THREADS=1 python -m benchmarks.reading
    python -m benchmarks.reading --sets sroie_lines --labels 0 100
    python -m benchmarks.reading --table

0 labels is the embedded body, which learnt from rendered lines alone; k labels are lines of the training split, drawn
by seed; -1 stands for all of them, once. The test lines are of companies, or of a book, that no training line is of.
sroie_lines has its right texts in capitals while the pictures have both cases, so that of 0 labels only what is counted
without regard to case tells anything. tesseract, where it is installed (apt install tesseract-ocr), is handed the same
pictures with a white border, as single lines (--psm 7).
Results go to `results/reading.json`, each as soon as it is there, and what is there is not run again.
"""

import argparse
import io
import os
import shutil
import subprocess
from random import Random
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.answers import Prediction, Text
from lowrung.core.task import Example
from lowrung.models.hearing import recognizer
from lowrung.models.senses import READING as SENSE
from lowrung.models.tuned_recognizer import fit_recognizer
from lowrung.run.evaluate import evaluate
from lowrung.run.methods import recipe
from lowrung.tasks import task

FILE, READING = "reading.json", task("reading")
SETS = ("sroie_lines", "fondue_en_print_lines")
METHODS = ("zero-shot", "probe", "top", "full")
LABELS, ALL, SEEDS = (0, 100, -1), -1, 3
BORDER = 12  # pixels of white around what tesseract is handed


def examples(name: str, split: str, most: int | None = None) -> list[Example[Text]]:
    rows = [row for row in datasets.reading(name, split) if row["text"].strip()]
    return [READING.example(row) for row in rows[:most]]


def measured(name: str, method: str, labels: int, seed: int, most: int | None) -> dict[str, Any]:
    model = recognizer("", SENSE)
    if labels:
        train = examples(name, "train")
        chosen = train if labels == ALL else Random(f"{name} {seed}").sample(train, min(labels, len(train)))
        model = fit_recognizer(model, chosen[: most if labels == ALL else None], how=recipe(method)[0], seed=seed)
    return scored(model, examples(name, "test", most))


def scored(made: Any, rows: list[Example[Text]]) -> dict[str, Any]:
    begun = os.times()
    report = evaluate(READING, made, rows)
    spent = os.times()
    seconds = sum(two - one for one, two in zip(begun[:4], spent[:4], strict=True))  # of the programs it started, too
    scores = {each.name: round(report.value(each), 4) for each in READING.metrics}
    return {"rows": len(rows), **scores, "lines_per_cpu_second": round(len(rows) / seconds, 1)}


class Tesseract:
    """tesseract as a Model[Text]."""

    name = "tesseract"

    def answer(self, questions: Any) -> list[Prediction[Text]]:
        return [Prediction(Text(self._read(each.given[0].pixels)), 0.5) for each in questions]

    def _read(self, pixels: Any) -> str:
        from PIL import Image, ImageOps

        file = io.BytesIO()
        ImageOps.expand(Image.fromarray(pixels), BORDER, "white").save(file, "PNG")
        command = ["tesseract", "stdin", "stdout", "--psm", "7", "-l", "eng"]
        said = subprocess.run(command, input=file.getvalue(), capture_output=True, check=True)
        return " ".join(said.stdout.decode("utf-8").split())


def show(rows: list[dict[str, Any]]) -> None:
    metrics = ("cer_folded", "cer", "line_accuracy", "wer")
    for name in SETS:
        lines = []
        for method in ("tesseract", *METHODS):
            mine = [row for row in rows if row["set"] == name and row["tool"] == method]
            for labels in dict.fromkeys(row["labels"] for row in mine):
                same = [row for row in mine if row["labels"] == labels]
                cells = [f"{100 * sum(row[each] for row in same) / len(same):.1f}" for each in metrics]
                pace = sum(row["lines_per_cpu_second"] for row in same) / len(same)
                lines.append([method, "all" if labels == ALL else labels, *cells, f"{pace:.0f}", len(same)])
        print(f"\n{name}, in %\n\n{kept.table(('tool', 'labels', *metrics, 'lines/s', 'seeds'), lines)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what is read of lines.")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--labels", nargs="+", type=int, default=list(LABELS), help="-1 for all")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["zero-shot", "full"])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few rows, nothing is kept")
    asked = parser.parse_args()
    path, most = kept.place(FILE, quick=asked.quick), 24 if asked.quick else None
    for name in () if asked.table else asked.sets:
        for labels in asked.labels:
            for method in asked.methods:
                for seed in range(asked.seeds if labels > 0 else 1):
                    key = {"set": name, "tool": method, "labels": labels, "seed": seed}
                    if (labels == 0) == (method == "zero-shot") and not _there(path, key):
                        kept.add(path, key | measured(name, method, labels, seed, most))
        key = {"set": name, "tool": "tesseract", "labels": 0, "seed": 0}
        if shutil.which("tesseract") and not _there(path, key):
            kept.add(path, key | scored(Tesseract(), examples(name, "test", most)))
    show(kept.rows(path))


def _there(path: Any, key: dict[str, Any]) -> bool:
    return any(key.items() <= row.items() for row in kept.rows(path))


if __name__ == "__main__":
    main()
