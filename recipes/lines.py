"""Practise a body that reads, and its CTC head, on rendered lines: no picture that somebody took is learnt from.

    apt install --no-install-recommends FONTS     (the packages that recipes/lines.toml names)
    python -m recipes.lines recipes/lines.toml --minutes 25 --out runs/lines

These fonts write lines of raw text, and of what stands on receipts. The body learns to read them (CTC) and, midway,
where each letter stands, which rendering tells: an aim without the silence in which CTC otherwise starts. How well it
reads held-out lines in the same fonts, and real ones of `[exams]`, is told as it goes; nothing is chosen by that.
Stops at --minutes or --steps, whichever is first; cut off, it goes on from its last checkpoint. The folder body in
--out is what lowrung/models/lines holds.
"""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from lowrung.core.parts import Image
from lowrung.data.media import picture
from lowrung.data.receipts import line
from lowrung.data.rendering import drawn, families
from lowrung.metrics.recognition import folded, squeezed
from lowrung.models.batch import CPU, autocast
from lowrung.models.ctc import CTC
from lowrung.models.picture import LESS, PictureBody, columns, lines_of
from lowrung.models.recognizer import write_body
from lowrung.models.sound import Shape, batched
from recipes import recognizers, training
from recipes.lexicon_en import DATA, HELD

POOL = 500  # lines that are drawn at once, and laid together by length
ASKED = 200  # lines of each exam


@dataclass(frozen=True)
class Seen:
    """A line, and what is written there."""

    columns: Tensor  # (T, H)
    text: str
    letters: Tensor  # (T',) which letter's middle lies in the state, counted as the head does; 0 where none does


def texts(settings: dict[str, Any], *, held: bool) -> list[str]:
    """Raw text, a line a sentence or paragraph: what is learnt from, or one line of `HELD`."""
    found = []
    for name in settings["files"]:
        with lzma.open(DATA / name, "rt", encoding="utf-8") as file:
            some = enumerate(islice(file, settings["most"]))
            found += [text.strip() for at, text in some if (at % HELD == 0) == held and text.strip()]
    return found


class Lines(IterableDataset[list[Seen]]):
    """Endless batches of lines of like length."""

    def __init__(self, settings: dict[str, Any], raw: Sequence[str], *, seed: int) -> None:
        self.settings, self.raw, self.seed = settings, raw, seed
        self.places = {letter: at for at, letter in enumerate(settings["alphabet"], 1)}

    def __iter__(self) -> Iterator[list[Seen]]:
        torch.set_num_threads(1)
        random = Random(self.seed)
        yield from recognizers.endless(
            lambda: self.one(random), lambda each: len(each.columns), random, pool=POOL, budget=self.settings["columns"]
        )

    def one(self, random: Random) -> Seen:
        while True:
            text = squeezed(line(random.choice(self.raw), random, receipts=self.settings["receipts"]))
            made = drawn(text, random) if self.places.keys() >= set(text) else None
            if made is None:
                continue
            found = lines_of(made.image)
            seen, first, last = found[0]
            if len(found) == 1 and len(seen) <= self.settings["longest"]:
                letters = torch.zeros((len(seen) + LESS - 1) // LESS, dtype=torch.long)
                for letter, middle in zip(text, made.middles, strict=True):
                    at = int((middle - first) / (last - first) * len(letters))
                    letters[min(max(at, 0), len(letters) - 1)] = self.places[letter]
                return Seen(seen, text, letters)


def real(name: str, split: str) -> list[tuple[Image, str]]:
    """Lines that people scanned, to measure on."""
    folder = DATA.parent / "vision" / name
    with gzip.open(folder / "manifest.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == split and row["text"].strip()]
    return [(picture(folder / row["image"]), row["text"]) for row in Random(0).sample(rows, min(ASKED, len(rows)))]


class School(nn.Module):
    """The body, its head, and a head midway that learns where each letter stands, only to learn by."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(settings["seed"])
        named = ("width", "layers", "heads", "reach", "channels")
        shape = Shape(**{name: settings[name] for name in named})
        self.midway = settings["midway"]
        self.body = PictureBody(shape, dropout=settings["dropout"])
        self.head, self.early = CTC(settings["alphabet"], shape.width), CTC(settings["alphabet"], shape.width)

    def loss(self, batch: Sequence[Seen]) -> tuple[Tensor, dict[str, float]]:
        seen, lengths = batched([each.columns for each in batch])
        halfway: list[Tensor] = []
        hook = self.body.layers[self.midway - 1].register_forward_hook(lambda _, __, made: halfway.append(made))
        with autocast(CPU):
            states, lengths = self.body(seen, lengths)
            logs, early = self.head(states), self.early(halfway[0])
        hook.remove()
        top = self.head.loss(logs, lengths, [each.text for each in batch])
        wanted = nn.utils.rnn.pad_sequence([each.letters for each in batch], batch_first=True, padding_value=-1)
        half = F.nll_loss(early.flatten(0, 1), wanted.flatten(), ignore_index=-1)
        right = (early.argmax(-1) == wanted)[wanted > 0].float().mean()
        facts = {"letters": top, "midway": half, "midway_right": right}
        return top + half, {name: float(each.detach()) for name, each in facts.items()}


def measured(school: School, exams: dict[str, list[Seen]]) -> dict[str, float]:
    """CER of each exam, and without regard to case; the share of lines without a fault, likewise."""
    found = {}
    for name, lines in exams.items():
        said = recognizers.said(school.body, school.head, [each.columns for each in lines], together=8)
        right = [squeezed(each.text) for each in lines]
        low, low_right = [folded(each) for each in said], [folded(each) for each in right]
        found[f"cer_{name}"] = round(recognizers.error_rate(said, right), 4)
        found[f"cer_folded_{name}"] = round(recognizers.error_rate(low, low_right), 4)
        found[f"lines_folded_{name}"] = round(sum(map(str.__eq__, low, low_right)) / len(lines), 4)
    return found


def practise(settings: dict[str, Any], out: Path, *, steps: int, minutes: float) -> None:
    print(f"{sum(map(len, families()))} fonts of {len(families())} families; reading texts …", flush=True)
    raw = texts(settings["texts"], held=False)
    school = School(settings)
    held = Lines(settings, texts(settings["texts"], held=True), seed=-1)
    exams = {"rendered": [held.one(Random(at)) for at in range(ASKED)]}
    for name, split in settings["exams"].items():
        exams[name] = [Seen(columns(image), text, torch.zeros(0)) for image, text in real(name, split)]
    learnt = recognizers.learn(
        school,
        lambda step: Lines(settings, raw, seed=settings["seed"] + step),
        lambda: measured(school, exams),
        out,
        settings,
        counted=("lines", len),
        ahead=8,
        steps=steps,
        minutes=minutes,
    )
    write_body(out / "body", school.body, school.head, {"about": settings["about"], "recipe": settings} | learnt)


if __name__ == "__main__":
    training.run(practise, __doc__ or "", minutes=25.0)
