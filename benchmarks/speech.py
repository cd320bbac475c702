"""What recognizers hear: digits of a speaker never heard by labels, sentences of learners and of a reader; and speed.

    OMP_NUM_THREADS=1 python -m benchmarks.speech
    python -m benchmarks.speech --parts digits --labels 0 2 8
    python -m benchmarks.speech --table

Digits are fsdd's (test: one speaker who is in no training row): 0 labels is the embedded recognizer, or what it
practised on the ten words as espeak-ng speaks them; k labels a digit are of the four speakers of train. The embedded
one was trained on recordings of these four, too. Sentences are the test sets of speechocean762 and ljspeech_part, by
the likeliest letters and by the beam with words. pocketsphinx, where it is installed, hears the same clips: digits with
a grammar of the ten words, sentences with its own language model.
Results go to `results/speech.json`, each as soon as it is there, and what is there is not run again.
"""

import argparse
import os
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import datasets, kept
from lowrung.core.answers import Prediction, Text
from lowrung.core.task import Example
from lowrung.data.splits import draw
from lowrung.metrics.recognition import spoken
from lowrung.models import hearing
from lowrung.models.tuned_recognizer import fit_recognizer
from lowrung.models.tuning import Top
from lowrung.run.evaluate import evaluate
from lowrung.run.methods import recipe
from lowrung.run.recognizing import practise_recognizer
from lowrung.tasks import task

FILE, SPEECH = "speech.json", task("speech")
DIGITS = "zero one two three four five six seven eight nine".split()
LABELS, SEEDS = (0, 2, 8, 32, 200), 3  # a digit
SENTENCES = {"speechocean762": None, "ljspeech_part": None}
PARTS = ("digits", "sentences")
METHODS = ("zero-shot", "practice", "probe", "top", "full")
SPHINX = 300  # clips that pocketsphinx hears of a set


def examples(name: str, split: str, most: int | None = None) -> list[Example[Text]]:
    return [SPEECH.example(row) for row in datasets.speech(name, split, most)]


def practised() -> Any:
    """The embedded recognizer after practice on the ten words alone."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "digits.txt"
        file.write_text("\n".join(DIGITS * 100) + "\n", "utf-8")
        return practise_recognizer(SPEECH, [file], how=Top(2), steps=150).model


def model(method: str, rows: list[Example[Text]], seed: int) -> Any:
    base = hearing.recognizer()
    if method == "zero-shot":
        return base
    if method == "practice":
        return practised()
    return fit_recognizer(base, rows, how=recipe(method)[0], seed=seed)


def digits(method: str, labels: int, seed: int, most: int | None) -> dict[str, Any]:
    train, test = examples("fsdd", "train"), examples("fsdd", "test", most)
    chosen = []
    for digit in DIGITS if labels else ():
        mine = [each for each in train if spoken(each.golds[0].text) == digit]
        chosen += [mine[at] for at in draw(mine, labels, seed=seed, balanced=False)]
    made = model(method, chosen, seed)
    return {"part": "digits", "tool": method, "labels": labels, "seed": seed, **scored(made, test)}


def sentences(name: str, way: str, most: int | None) -> dict[str, Any]:
    base = hearing.recognizer()
    made = replace(base, how=None) if way == "letters" else base
    return {"part": "sentences", "tool": f"lowrung, {way}", "set": name, **scored(made, examples(name, "test", most))}


def scored(made: Any, rows: list[Example[Text]]) -> dict[str, Any]:
    begun = os.times()
    report = evaluate(SPEECH, made, rows)
    spent = os.times()
    seconds = sum(each.question.given[0].seconds for each in rows)  # type: ignore[union-attr]
    factor = (spent.user + spent.system - begun.user - begun.system) / seconds
    scores = {each.name: round(report.value(each), 4) for each in SPEECH.metrics}
    return {"rows": len(rows), "seconds": round(seconds), **scores, "real_time_factor": round(factor, 4)}


class Sphinx:
    """pocketsphinx as a Model[Text]."""

    name = "pocketsphinx"

    def __init__(self, words: list[str]) -> None:
        import pocketsphinx

        self.decoder = pocketsphinx.Decoder(samprate=16_000, loglevel="FATAL")
        if words:
            grammar = f"#JSGF V1.0; grammar g; public <g> = {' | '.join(words)};"
            self.decoder.add_jsgf_string("g", grammar)
            self.decoder.activate_search("g")

    def answer(self, questions: Any) -> list[Prediction[Text]]:
        return [Prediction(Text(self._heard(each.given[0].samples)), 0.5) for each in questions]

    def _heard(self, samples: Any) -> str:
        self.decoder.start_utt()
        self.decoder.process_raw((samples.clip(-1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
        self.decoder.end_utt()
        found = self.decoder.hyp()
        return found.hypstr if found else ""


def show(rows: list[dict[str, Any]]) -> None:
    lines = []
    for method in (*METHODS, "pocketsphinx"):
        mine = [row for row in rows if row["part"] == "digits" and row["tool"] == method]
        for labels in sorted({row["labels"] for row in mine}):
            right = [100 * row["exact"] for row in mine if row["labels"] == labels]
            lines.append([method, labels, f"{sum(right) / len(right):.1f}", len(right)])
    made = kept.table(("tool", "a digit", "right", "seeds"), lines)
    print(f"\nfsdd, a speaker never heard, % of digits right\n\n{made}")
    columns = ("wer", "cer", "exact")
    lines = [
        [row["set"], row["tool"], row["rows"], *(f"{100 * row[each]:.1f}" for each in columns), row["real_time_factor"]]
        for row in rows
        if row["part"] == "sentences"
    ]
    print(f"\nsentences, in %\n\n{kept.table(('set', 'tool', 'rows', *columns, 'real-time factor'), lines)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure recognizers of speech.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--labels", nargs="+", type=int, default=list(LABELS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="print what is there and measure nothing")
    parser.add_argument("--quick", action="store_true", help="see that it works: few rows, nothing is kept")
    asked = parser.parse_args()
    path, most = kept.place(FILE, quick=asked.quick), 20 if asked.quick else None
    for part in () if asked.table else asked.parts:
        if part == "sentences":
            for name in SENTENCES:
                for way in ("letters", "words"):
                    key = {"part": part, "set": name, "tool": f"lowrung, {way}"}
                    _unless(path, key, lambda name=name, way=way: sentences(name, way, most))  # type: ignore[misc]
        else:
            for labels in asked.labels:
                for method in asked.methods:
                    for seed in range(asked.seeds if labels else 1):
                        if (labels == 0) == (method in ("zero-shot", "practice")):
                            key = {"part": part, "tool": method, "labels": labels, "seed": seed}
                            _unless(path, key, lambda m=method, k=labels, s=seed: digits(m, k, s, most))  # type: ignore[misc]
        if find_spec("pocketsphinx"):
            _sphinx(path, part, most)
    show(kept.rows(path))


def _unless(path: Path, key: dict[str, Any], measure: Any) -> None:
    if not any(all(row.get(name) == value for name, value in key.items()) for row in kept.rows(path)):
        kept.add(path, measure())


def _sphinx(path: Path, part: str, most: int | None) -> None:
    if part == "digits":
        key: dict[str, Any] = {"part": part, "tool": "pocketsphinx", "labels": 0, "seed": 0}
        _unless(path, key, lambda: key | scored(Sphinx(DIGITS), examples("fsdd", "test", most)))
        return
    for name in SENTENCES:
        key = {"part": part, "tool": "pocketsphinx", "set": name}
        _unless(path, key, lambda key=key, name=name: key | scored(Sphinx([]), examples(name, "test", most or SPHINX)))  # type: ignore[misc]


if __name__ == "__main__":
    main()
