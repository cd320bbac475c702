"""Practise a sound body and its CTC head, on recordings and on speech that espeak-ng and Flite speak.

    apt install espeak-ng libflite1
    python -m recipes.sounds recipes/sounds-en.toml --minutes 200 --out runs/sounds-en

The body learns to write down what is said (CTC, at the top and midway) and, where espeak-ng speaks and so tells when
each sound begins, to name the phoneme of every state midway: an aim without the silence in which CTC otherwise starts.
All are heard as from longer and shorter vocal tracts, with noise, as over a telephone, and with parts of time and pitch
struck out; recordings at three speeds besides.
Stops at --minutes or --steps, whichever is first; cut off, it goes on from its last checkpoint.
"""

from __future__ import annotations

import gzip
import json
import lzma
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from lowrung.data.speaking import Voice, speak
from lowrung.metrics.recognition import spoken
from lowrung.models import hearing
from lowrung.models.batch import CPU, autocast
from lowrung.models.ctc import CTC
from lowrung.models.decoding import Settings, tune
from lowrung.models.recognizer import write_body
from lowrung.models.sound import LESS, RATE, SECONDS, TRACTS, Shape, SoundBody, batched, log_mel, normalised, tract
from recipes import flite, recognizers, training
from recipes.lexicon_en import DATA

SPEEDS = (0.9, 1.0, 1.1)
DIGITS = "zero one two three four five six seven eight nine".split()
NOISY, TELEPHONE, QUIET = 0.3, 0.2, (3.0, 25.0)  # shares of sounds; decibels that noise is below speech
CUT = 53  # bands below 4 kHz
GAP = (5, 40)  # frames of silence between digits that are said in a row
POOL = 400  # sounds that are drawn at once, and laid together by length
INVENTORY = 300  # lines whose phonemes are the ones that are told apart
ASKED = 160  # sounds of each dev set
WIDTH = 48  # texts that a beam follows
ALONE = ("fsdd", "picovoice_wakeword")  # of words said alone, which say nothing of what follows what


@dataclass(frozen=True)
class Heard:
    """A sound with what is said, and where known the phoneme of each state, -1 elsewhere."""

    mel: Tensor  # (T, M)
    text: str
    phonemes: Tensor  # (T',)


@dataclass(frozen=True)
class Set:
    """Recordings at each speed, by who speaks."""

    mels: list[list[np.ndarray[Any, Any]]]
    texts: list[str]
    speakers: list[str]


def recordings(name: str, split: str, speeds: Sequence[float], most: int | None = None) -> Set:
    import soundfile
    import soxr

    folder = DATA.parent / "speech" / name
    with gzip.open(folder / "manifest.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == split and row.get("text")]
    if most is not None:
        rows = Random(0).sample(rows, min(most, len(rows)))
    made = Set([], [], [])
    for row in rows:
        sound, rate = soundfile.read(folder / row["audio"], dtype="float32")
        # a speed is a rate that is told wrongly
        sounds = [soxr.resample(sound, rate * speed, RATE) for speed in speeds]
        made.mels.append([log_mel(each.astype(np.float32)).half().numpy() for each in sounds])
        made.texts.append(spoken(row["text"]))
        made.speakers.append(row["speaker"] or "")
    return made


def lines(settings: dict[str, Any]) -> list[str]:
    """What espeak-ng may speak: plain words without digits."""
    least, most = settings["words"]
    found = []
    for name in settings["files"]:
        with lzma.open(DATA / name, "rt", encoding="utf-8") as file:
            for line in file:
                words = line.split()
                if least <= len(words) <= most and line.isascii() and not any(map(str.isdigit, line)):
                    found.append(line.strip())
    return found


class Sounds(IterableDataset[list[Heard]]):
    """Endless batches of sounds of like length."""

    def __init__(self, settings: dict[str, Any], phonemes: Sequence[str], *, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.places = {name: at for at, name in enumerate(phonemes)}
        self.texts = lines(settings["texts"])
        self.sets = {name: recordings(name, "train", SPEEDS) for name in settings["sets"]}
        self.noises = recordings_of_noise()

    def __iter__(self) -> Iterator[list[Heard]]:
        torch.set_num_threads(1)
        random = Random(self.seed)
        yield from recognizers.endless(
            lambda: self._one(random), lambda each: len(each.mel), random, pool=POOL, budget=self.settings["frames"]
        )

    def _one(self, random: Random) -> Heard:
        while True:
            heard = self._spoken(random) if random.random() < self.settings["spoken"] else self._recorded(random)
            if heard.text and 20 < len(heard.mel) <= self.settings["longest"]:
                return Heard(damaged(heard.mel, self.noises, random), heard.text, heard.phonemes)

    def _spoken(self, random: Random) -> Heard:
        digits = random.random() < self.settings["digits"]
        text = " ".join(random.choices(DIGITS, k=random.randint(1, 6))) if digits else random.choice(self.texts)
        if random.random() < self.settings["flite"]:
            mel = log_mel(flite.speak(text, random)) + random.uniform(-2, 1)
            return Heard(mel, spoken(text), unknown(len(mel)))
        speech = speak(text, Voice.drawn(random))
        mel = log_mel(speech.samples) + random.uniform(-2, 1)
        return Heard(mel, spoken(text), self.named(speech.phonemes, len(mel)))

    def named(self, phonemes: Sequence[tuple[float, str]], frames: int) -> Tensor:
        """The phoneme in the middle of each state.  -> (T',)"""
        starts = np.array([start for start, _ in phonemes])
        names = np.array([self.places.get(name, -1) for _, name in phonemes], dtype=np.int64)
        times = (np.arange((frames + LESS - 1) // LESS) + 0.5) * SECONDS
        at = np.searchsorted(starts, times, side="right") - 1
        return torch.from_numpy(np.where(at < 0, -1, names[np.maximum(at, 0)]))

    def _recorded(self, random: Random) -> Heard:
        names = list(self.sets)
        name = random.choices(names, [self.settings["sets"][each] for each in names])[0]
        chosen = self.sets[name]
        at, speed = random.randrange(len(chosen.texts)), random.randrange(len(SPEEDS))
        parts, texts = [chosen.mels[at][speed]], [chosen.texts[at]]
        if name == "fsdd":  # one digit is half a second; several of a speaker are said in a row
            same = [each for each, who in enumerate(chosen.speakers) if who == chosen.speakers[at]]
            for other in random.choices(same, k=random.randint(0, 5)):
                quiet = np.full((random.randint(*GAP), parts[0].shape[1]), parts[0].min(), dtype=np.float16)
                parts += [quiet, chosen.mels[other][speed]]
                texts.append(chosen.texts[other])
        mel = torch.from_numpy(np.concatenate(parts)).float()
        return Heard(mel, " ".join(texts), unknown(len(mel)))


def unknown(frames: int) -> Tensor:
    """The phonemes of a sound of which nobody told them.  -> (T',)"""
    return torch.full(((frames + LESS - 1) // LESS,), -1)


def recordings_of_noise() -> list[Tensor]:
    import soundfile

    folder = DATA.parent / "speech" / "noise_esc10"
    with gzip.open(folder / "manifest.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == "train"]
    return [log_mel(soundfile.read(folder / row["audio"], dtype="float32")[0]) for row in rows]


def damaged(mel: Tensor, noises: Sequence[Tensor], random: Random) -> Tensor:
    """From another vocal tract, with noise (powers of sounds add up), without the upper bands, with parts struck out
    (Park et al. 2019)."""
    mel = tract(mel, random.uniform(*TRACTS))
    if random.random() < NOISY:
        noise = random.choice(noises)
        begin = random.randrange(len(noise))
        noise = noise[torch.arange(begin, begin + len(mel)) % len(noise)]
        loud = torch.logsumexp(mel.flatten(), 0) - torch.logsumexp(noise.flatten(), 0)
        mel = torch.logaddexp(mel, noise + loud - random.uniform(*QUIET) / 10 * np.log(10))
    if random.random() < TELEPHONE:
        mel = mel.clone()
        mel[:, CUT:] = mel.min()
    mel = normalised(mel)
    for _ in range(2):
        size = random.randint(0, 16)
        begin = random.randint(0, mel.shape[1] - size)
        mel[:, begin : begin + size] = 0
    for _ in range(len(mel) // 150 + 1):
        size = random.randint(0, min(20, len(mel) // 8))
        begin = random.randint(0, len(mel) - size)
        mel[begin : begin + size] = 0
    return mel


class School(nn.Module):
    """The body, its head, and what stands midway only to learn by."""

    def __init__(self, settings: dict[str, Any], phonemes: int) -> None:
        super().__init__()
        torch.manual_seed(settings["seed"])
        shape = Shape(settings["width"], settings["layers"], settings["heads"], channels=settings["channels"])
        self.midway = settings["midway"]
        self.body = SoundBody(shape, dropout=settings["dropout"])
        self.head, self.early = CTC(settings["alphabet"], shape.width), CTC(settings["alphabet"], shape.width)
        self.phoneme = nn.Linear(shape.width, phonemes)

    def loss(self, batch: Sequence[Heard]) -> tuple[Tensor, dict[str, float]]:
        mel, lengths = batched([each.mel for each in batch])
        midway: list[Tensor] = []
        hook = self.body.layers[self.midway - 1].register_forward_hook(lambda _, __, made: midway.append(made))
        with autocast(CPU):
            states, lengths = self.body(mel, lengths)
            named = self.phoneme(midway[0])
            logs, early = self.head(states), self.early(midway[0])
        hook.remove()
        texts = [each.text for each in batch]
        wanted = nn.utils.rnn.pad_sequence([each.phonemes for each in batch], batch_first=True, padding_value=-1)
        known = bool((wanted >= 0).any())
        phoneme = F.cross_entropy(named.float()[wanted >= 0], wanted[wanted >= 0]) if known else torch.zeros(())
        top, half = self.head.loss(logs, lengths, texts), self.early.loss(early, lengths, texts)
        right = (named[wanted >= 0].argmax(-1) == wanted[wanted >= 0]).float().mean() if known else torch.zeros(())
        facts = {"letters": top, "midway": half, "phonemes": phoneme, "phonemes_right": right}
        return top + 0.3 * half + 0.5 * phoneme, {name: float(each.detach()) for name, each in facts.items()}


def inventory(texts: Sequence[str]) -> list[str]:
    random, met = Random(0), Counter[str]()
    for text in random.sample(texts, min(INVENTORY, len(texts))):
        met.update(name for _, name in speak(text, Voice.drawn(random)).phonemes)
    return sorted(name for name, times in met.items() if times >= 3)


@torch.no_grad()
def beam(school: School, exam: Sequence[Set]) -> Settings:
    """How the beam is best searched, on sounds that were not learnt from."""
    words = hearing.words("en")
    assert words is not None
    cases = []
    for each in exam:
        for (mel, *_), text in zip(each.mels, each.texts, strict=True):
            states, _ = school.body(*batched([normalised(torch.from_numpy(mel).float())]))
            cases.append((school.head(states)[0].numpy(), text))
    return tune(cases, school.head.alphabet, words=words, start=Settings(width=WIDTH))


def practise(settings: dict[str, Any], out: Path, *, steps: int, minutes: float) -> None:
    print("reading what there is to hear …", flush=True)
    phonemes = inventory(lines(settings["texts"]))
    school = School(settings, len(phonemes))
    exam = {name: recordings(name, "dev", (1.0,), ASKED) for name in settings["sets"]}

    def measured() -> dict[str, float]:
        found = {}
        for name, each in exam.items():
            mels = [normalised(torch.from_numpy(mel).float()) for mel, *_ in each.mels]
            heard = recognizers.said(school.body, school.head, mels, together=16)
            words = [[text.split() for text in texts] for texts in (heard, each.texts)]
            found[f"wer_{name}"] = round(recognizers.error_rate(*words), 4)
        return found

    learnt = recognizers.learn(
        school,
        lambda step: Sounds(settings, phonemes, seed=settings["seed"] + step),
        measured,
        out,
        settings,
        counted=("heard_seconds", lambda batch: sum(len(each.mel) for each in batch) / 100),
        ahead=4,
        steps=steps,
        minutes=minutes,
    )
    how = beam(school, [each for name, each in exam.items() if name not in ALONE])
    about = {"how": how.to_json(), "about": settings["about"], "recipe": settings}
    write_body(out / "body", school.body, school.head, about | learnt)


if __name__ == "__main__":
    training.run(practise, __doc__ or "", minutes=200.0)
