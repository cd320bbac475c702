"""What recognizers hear: digits of a speaker never heard by labels, sentences of learners and of a reader; and speed.

    OMP_NUM_THREADS=1 python -m benchmarks.speech
    python -m benchmarks.speech --parts digits --labels 0 2 8
    python -m benchmarks.speech --table

Digits are fsdd's (test: one speaker who is in no training row): 0 labels is the embedded recognizer, or what it
practised on the ten words as espeak-ng speaks them; k labels a digit are of the four speakers of train. The embedded
one was trained on recordings of these four, too. Orders are picovoice_barista's, of which nobody wrote down the words,
only what was ordered: counted is how many of the ordered things are heard, by the embedded recognizer and after
practice on made-up orders that espeak-ng speaks; both practices beside the embedded one on the same rows, paired.
A stream is heard block by block as it would come from a microphone: how long after a block its words are there.
Sentences are the test sets of speechocean762 and ljspeech_part, by the likeliest letters and by the beam with words.
pocketsphinx, where it is installed, hears the same clips: digits with a grammar of the ten words, sentences with its
own language model.
Results go to `results/speech.json`, each as soon as it is there, and what is there is not run again.
"""

import argparse
import os
import resource
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks import datasets, kept
from lowrung.core.answers import Prediction, Text
from lowrung.core.task import Example, Metric, Task
from lowrung.data.splits import draw
from lowrung.metrics.recognition import spoken
from lowrung.models import hearing
from lowrung.models.listening import listen
from lowrung.models.sound import RATE
from lowrung.models.tuned_recognizer import fit_recognizer
from lowrung.models.tuning import Top
from lowrung.run.compare import compare
from lowrung.run.evaluate import evaluate
from lowrung.run.methods import recipe
from lowrung.run.recognizing import practise_recognizer
from lowrung.tasks import task

FILE, SPEECH = "speech.json", task("speech")
DIGITS = "zero one two three four five six seven eight nine".split()
LABELS, SEEDS = (0, 2, 8, 32, 200), 3  # a digit
SENTENCES = {"speechocean762": None, "ljspeech_part": None}
PARTS = ("digits", "orders", "stream", "sentences")
METHODS = ("zero-shot", "practice", "probe", "top", "full")
SPHINX = 300  # clips that pocketsphinx hears of a set


def examples(name: str, split: str, most: int | None = None) -> list[Example[Text]]:
    return [SPEECH.example(row) for row in datasets.speech(name, split, most)]


def practised(lines: list[str]) -> Any:
    """The embedded recognizer after practice on lines alone."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lines.txt"
        file.write_text("\n".join(lines) + "\n", "utf-8")
        return practise_recognizer(SPEECH, [file], how=Top(2), steps=150).model


def model(method: str, rows: list[Example[Text]], seed: int) -> Any:
    base = hearing.recognizer()
    if method == "zero-shot":
        return base
    if method == "practice":
        return practised(DIGITS * 100)
    return fit_recognizer(base, rows, how=recipe(method)[0], seed=seed)


def digits(method: str, labels: int, seed: int, most: int | None) -> dict[str, Any]:
    train, test = examples("fsdd", "train"), examples("fsdd", "test", most)
    chosen = []
    for digit in DIGITS if labels else ():
        mine = [each for each in train if spoken(each.golds[0].text) == digit]
        chosen += [mine[at] for at in draw(mine, len(mine) if labels == ALL else labels, seed=seed, balanced=False)]
    made = model(method, chosen, seed)
    return {"part": "digits", "tool": method, "labels": labels, "seed": seed, **scored(made, test)}


ALL = -1
ORDER = (  # as people order coffee; in braces what they may want
    "can i have a {size} {coffeeDrink} with {milkAmount}",
    "i would like a {size} {coffeeDrink} please",
    "{coffeeDrink} with {sugarAmount} and {milkAmount}",
    "can you make me a {numberOfShots} {coffeeDrink} with {roast}",
    "{size} {roast} {coffeeDrink} with {milkAmount} and {sugarAmount}",
    "i want a {numberOfShots} {size} {coffeeDrink}",
    "make a {coffeeDrink} with a {numberOfShots} and {sugarAmount}",
    "please get me one {roast} {size} {coffeeDrink}",
)
ORDERED = Metric(  # of the things that were ordered, those that are heard; the right text of a row lists them
    "ordered_heard",
    lambda each, said: {
        "heard": sum(f" {thing} " in f" {said.text} " for thing in each.golds[0].text.split(", ")) if said else 0,
        "ordered": len(each.golds[0].text.split(", ")),
    },
    lambda counts: counts["heard"] / counts["ordered"],
)


def orders(most: int | None) -> list[dict[str, Any]]:
    random, wanted = Random(0), dict[str, set[str]]()
    for row in datasets.speech("picovoice_barista", "train"):
        for slot, value in row["slots"].items():
            wanted.setdefault(slot, set()).add(value)
    things = {slot: sorted(values) for slot, values in wanted.items()}
    drawn = lambda: {slot: random.choice(values) for slot, values in things.items()}  # noqa: E731
    made = practised([random.choice(ORDER).format(**drawn()) for _ in range(1500)])
    asked = [
        SPEECH.example(row | {"text": ", ".join(row["slots"].values())})
        for row in datasets.speech("picovoice_barista", "test", most)
    ]
    return compared("orders", replace(SPEECH, metrics=(ORDERED,)), made, asked)


def paired_digits(most: int | None) -> list[dict[str, Any]]:
    """All clips are of one speaker, so that the interval is of clips and not of speakers."""
    asked = [replace(each, group="") for each in examples("fsdd", "test", most)]
    return compared("digits paired", SPEECH, practised(DIGITS * 100), asked)


def compared(part: str, task: Task[Text], made: Any, asked: list[Example[Text]]) -> list[dict[str, Any]]:
    """The embedded recognizer and one that has practised on the same rows; of the latter how much better it is."""
    reports = [evaluate(task, each, asked) for each in (hearing.recognizer(), made)]
    found = compare(*reports)
    paired = {"gain": found.difference.value, "low": found.difference.low, "high": found.difference.high}
    return [
        {"part": part, "tool": tool, "metric": found.metric, "rows": len(asked), "value": round(value, 4)} | more
        for tool, value, more in (
            ("zero-shot", found.value_one, {}),
            ("practice", found.value_two, {name: round(each, 4) for name, each in paired.items()}),
        )
    ]


def stream(most: int | None) -> dict[str, Any]:
    """Half a minute at least of a reader's sentences, laid end to end, heard by blocks of half a second."""
    sounds = [each.question.given[0].samples for each in examples("ljspeech_part", "test", most or 12)]  # type: ignore[union-attr]
    whole, size = np.concatenate(sounds), RATE // 2
    told: list[float] = []
    waited = time.perf_counter()
    for _ in listen(hearing.recognizer(), (whole[at : at + size] for at in range(0, len(whole), size))):
        told.append(time.perf_counter() - waited)
        waited = time.perf_counter()
    seconds = len(whole) / RATE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    body = Path(hearing.__file__).parent / "sounds-en"
    return {
        "part": "stream", "tool": "lowrung", "seconds": round(seconds), "blocks": len(told),
        "median_ms": round(1000 * float(np.median(told))), "slowest_ms": round(1000 * max(told)),
        "of_real_time": round(sum(told) / seconds, 3), "peak_memory_mb": round(peak),
        "size_mb": round(sum(each.stat().st_size for each in body.iterdir()) / 1e6, 1),
    }  # fmt: skip


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
    lines = [
        [row["part"], row["tool"], row["rows"], row["metric"], f"{100 * row['value']:.1f}", _gain(row)]
        for row in rows
        if "metric" in row
    ]
    made = kept.table(("part", "tool", "rows", "metric", "value", "gain"), lines)
    print(f"\nafter practice without a recording, in %\n\n{made}")
    for row in rows:
        if row["part"] == "stream":
            print(f"\na stream: {row}")
    columns = ("wer", "cer", "exact")
    lines = [
        [row["set"], row["tool"], row["rows"], *(f"{100 * row[each]:.1f}" for each in columns), row["real_time_factor"]]
        for row in rows
        if row["part"] == "sentences"
    ]
    print(f"\nsentences, in %\n\n{kept.table(('set', 'tool', 'rows', *columns, 'real-time factor'), lines)}")


def _gain(row: dict[str, Any]) -> str:
    return f"{100 * row['gain']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})" if "gain" in row else ""


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
        elif part == "stream":
            _unless(path, {"part": part}, lambda: stream(most))
        elif part == "orders":
            for name, measure in (("digits paired", paired_digits), ("orders", orders)):
                if not any(row["part"] == name for row in kept.rows(path)):
                    for row in measure(most):
                        kept.add(path, row)
        else:
            for labels in asked.labels:
                for method in asked.methods:
                    for seed in range(asked.seeds if labels else 1):
                        if (labels == 0) == (method in ("zero-shot", "practice")):
                            key = {"part": part, "tool": method, "labels": labels, "seed": seed}
                            _unless(path, key, lambda m=method, k=labels, s=seed: digits(m, k, s, most))  # type: ignore[misc]
        if part in ("digits", "sentences") and find_spec("pocketsphinx"):
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
