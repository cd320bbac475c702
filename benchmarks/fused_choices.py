"""Jobs of choices from text, sound and pictures, for benchmarks/fusion.py: fused against the better single part.

`orders`: what somebody orders in a café (picovoice_barista, no transcripts): each slot is a choice among
its values and «none». Its intent is always orderDrink and tells nothing; `coffeeDrink`, which every order fills, stands
for the topic. Of milk and sugar the amount («a lot of», «some») is left out of the value. `slot_f1`
counts the filled slots of all orders; rows are drawn again by order.

`digits`: a spoken digit in noise beside its name in a damaged picture. NOISE and DAMAGE are such that either part alone
is right in a half to three quarters of the dev rows. The speakers and noises of train, dev and test are different ones.

Nothing is tuned on test rows: which single part is the better one is chosen on dev rows, seed by seed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

import numpy as np

from benchmarks import datasets
from lowrung.core.answers import Choice
from lowrung.core.parts import Audio, Image, Question
from lowrung.core.task import Counts, Example, Metric, Row
from lowrung.data.media import sound_of
from lowrung.data.rendering import render
from lowrung.data.splits import draw
from lowrung.models.cascade import Cascade, ears_for, examples_with_words
from lowrung.models.catalog import backbone
from lowrung.models.encoder import Encoder
from lowrung.models.fusion import WAYS, fit_fused
from lowrung.run.adapt import adapt
from lowrung.run.compare import compare
from lowrung.run.evaluate import Report, evaluate, report_of
from lowrung.tasks import task

TOPIC, ALL = task("topic"), -1
Examples = tuple[Example[Choice], ...]
Splits = Mapping[str, Examples]
Answers = Mapping[str, Report[Choice]]  # split → report

# --- orders

SLOTS = ("coffeeDrink", "milkAmount", "sugarAmount", "numberOfShots", "roast", "size")
NOTHING = "none"
AMOUNT = re.compile(r"^(a little bit of|a bit of|a lot of|lots of|some) ")
ORDERS = (50, ALL)


def _filled(example: Example[Any], answer: Choice | None) -> Counts:
    gold, said = example.golds[0].option, answer.option if answer else NOTHING
    right = gold == said != NOTHING
    return {"right": float(right), "said": float(said != NOTHING), "there": float(gold != NOTHING)}


def _f1(counts: Counts) -> Any:
    right, whole = counts.get("right", 0.0), np.add(counts.get("said", 0.0), counts.get("there", 0.0))
    return np.divide(2 * np.asarray(right, dtype=float), whole, out=np.zeros(np.shape(whole)), where=whole > 0)


SLOT_F1: Metric[Choice] = Metric("slot_f1", _filled, _f1)


def slot_rows(rows: Sequence[Row], slot: str, options: Sequence[str]) -> Examples:
    made = []
    for row in rows:
        value = AMOUNT.sub("", row["slots"].get(slot) or NOTHING)
        question = Question((sound_of(row),), options=tuple(options))
        made.append(Example(question, (Choice(value if value in options else NOTHING),), row["audio"], row["audio"]))
    return tuple(made)


def orders(quick: bool, seeds: int) -> Iterator[dict[str, Any]]:
    most = 24 if quick else None
    rows = {split: datasets.speech("picovoice_barista", split, most) for split in ("train", "dev", "test")}
    values = {
        slot: (*sorted({AMOUNT.sub("", row["slots"][slot]) for row in rows["train"] if slot in row["slots"]}), NOTHING)
        for slot in SLOTS
    }
    sets = {
        slot: {split: slot_rows(each, slot, options) for split, each in rows.items()}
        for slot, options in values.items()
    }
    bench = Bench("orders", sets, SLOT_F1, singles=("text", "audio"), quick=quick)
    yield from bench.zero()
    whole = range(len(rows["train"]))
    for number in ORDERS[:1] if quick else ORDERS:
        for seed in range(seeds if number != ALL else 1):
            chosen = whole if number == ALL else Random(f"orders {seed}").sample(whole, min(number, len(whole)))
            yield from bench.learnt(number, seed, chosen)


# --- digits

DIGITS = "zero one two three four five six seven eight nine".split()
EACH = (8, 32)
NOISE = 0.0  # decibels of the speech above the noise
DAMAGE = (0.17, 34.0)  # the blur, in quarters of a picture's height, and the spread of the noise in 0 to 255


def digits(quick: bool, seeds: int) -> Iterator[dict[str, Any]]:
    most = {"train": 400 if quick else None, "dev": 60 if quick else 300, "test": 60 if quick else None}
    sets = {"digit": {split: digit_rows(split, number) for split, number in most.items()}}
    bench = Bench("digits", sets, TOPIC.metrics[0], singles=("audio", "image"), quick=quick)
    yield from bench.zero()
    for number in EACH[:1] if quick else EACH:
        size = number * len(DIGITS)
        for seed in range(seeds):
            chosen = draw(sets["digit"]["train"], size, seed=seed, balanced=True)
            yield from bench.learnt(number, seed, chosen)


def digit_rows(split: str, most: int | None) -> Examples:
    noises = datasets.speech("noise_esc10", split)
    rows = datasets.speech("fsdd", split, most)
    return tuple(_digit(row, Random(f"{split} {at}"), noises, f"{split} {at}") for at, row in enumerate(rows))


def _digit(row: Row, random: Random, noises: Sequence[Row], name: str) -> Example[Choice]:
    noise, seed = random.choice(noises), random.getrandbits(32)
    sound = Audio.of(cache(lambda: noisy(sound_of(row), sound_of(noise), Random(seed))), 16_000, f"{name} {NOISE}")
    picture = Image.of(cache(lambda: damaged(str(row["text"]), Random(seed))), f"{name} {DAMAGE}")
    question = Question((sound, picture), options=tuple(DIGITS))
    return Example(question, (Choice(str(row["text"])),), name)


def noisy(sound: Audio, noise: Audio, random: Random) -> Any:
    """Speech with a piece of noise under it, NOISE decibels softer."""
    speech, other = sound.samples, noise.samples
    begin = random.randrange(max(len(other) - len(speech), 1))
    piece = np.resize(other[begin : begin + len(speech)], len(speech))
    loud, soft = (float(np.sqrt(np.mean(each**2))) + 1e-6 for each in (speech, piece))
    mixed = speech + piece * loud / soft * 10 ** (-NOISE / 20)
    return (mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32)


def damaged(text: str, random: Random) -> Any:
    from PIL import Image as Pillow
    from PIL import ImageFilter

    made = None
    while made is None:
        made = render(text, random)
    blur, spread = DAMAGE
    page = Pillow.fromarray(made.pixels).convert("L")
    page = page.filter(ImageFilter.GaussianBlur(blur * page.height / 4))
    chance = np.random.default_rng(random.getrandbits(32)).normal(0, spread, (page.height, page.width))
    grey = np.clip(np.asarray(page) + chance, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


# --- both


class Bench:
    """One job: questions of one name or several, answered by every way, and what came of it, row by row."""

    def __init__(
        self, job: str, sets: Mapping[str, Splits], metric: Metric[Choice], *, singles: Sequence[str], quick: bool
    ) -> None:
        self.job, self.metric, self.singles, self.quick = job, metric, singles, quick
        body = backbone()
        kinds = {kind for splits in sets.values() for each in splits["train"] for kind in each.question.kinds}
        self.encoder = Encoder(body, ears_for(kinds), keeps=True)
        self.sets = {
            name: {split: examples_with_words(each, self.encoder.ears) for split, each in splits.items()}
            for name, splits in sets.items()
        }

    def zero(self) -> Iterator[dict[str, Any]]:
        """Sound heard, pictures read, and the options spotted: without labels."""
        models = {}
        for name, splits in self.sets.items():
            options = splits["train"][0].question.options
            inner = adapt(self.encoder.body, TOPIC.with_options(options))
            models[name] = Cascade(inner, self.encoder.ears, spots=True)
        yield self._row("zero-shot", 0, 0, self._answered("zero-shot", models))

    def learnt(self, labels: int, seed: int, chosen: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Single parts, then fused ones against the better of them on dev rows.

        Args:
            chosen: the places of the training rows that are learnt from.
        """
        found: dict[str, Answers] = {}
        for way in (*self.singles, *WAYS):
            models = {}
            for name, splits in self.sets.items():
                examples = [splits["train"][at] for at in chosen]
                task_of = TOPIC.with_options(examples[0].question.options)
                models[name] = fit_fused(
                    way, task_of, examples, body=self.encoder.body, seed=seed, encoder=self.encoder
                )
            found[way] = self._answered(way, models)
            against = None
            if way in WAYS:
                better = max(self.singles, key=lambda each: found[each]["dev"].value(self.metric))
                against = found[better]
            yield self._row(way, labels, seed, found[way], against)

    def _answered(self, way: str, models: Mapping[str, Any]) -> Answers:
        made = {}
        for split in ("dev", "test"):
            reports = [evaluate(TOPIC, models[name], splits[split]) for name, splits in self.sets.items()]
            examples = [each for report in reports for each in report.examples]
            said = [each for report in reports for each in report.predictions]
            made[split] = report_of(TOPIC, way, examples, said)
        return made

    def _row(self, way: str, labels: int, seed: int, found: Answers, against: Answers | None = None) -> dict[str, Any]:
        values = {
            self.metric.name: found["test"].value(self.metric),
            f"dev_{self.metric.name}": found["dev"].value(self.metric),
        }
        if len(self.sets) > 1:
            size = len(found["test"].examples) // len(self.sets)
            right = found["test"].right()
            for at, name in enumerate(self.sets):
                values[f"accuracy_{name}"] = float(np.mean(right[at * size : (at + 1) * size]))
        row: dict[str, Any] = {"job": self.job, "way": way, "labels": labels, "seed": seed, "split": "test"}
        row |= {"rows": len(found["test"].examples)} | {name: round(value, 4) for name, value in values.items()}
        if against is not None:
            pair = compare(against["test"], found["test"], self.metric)
            gap = pair.difference
            row |= {"against": against["test"].model, "difference": round(gap.value, 4), "low": round(gap.low, 4)}
            row |= {"high": round(gap.high, 4), "probability_better": round(pair.probability_better, 4)}
        return row


JOBS: Mapping[str, Callable[[bool, int], Iterator[dict[str, Any]]]] = {"orders": orders, "digits": digits}
