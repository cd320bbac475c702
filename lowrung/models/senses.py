"""What a recognizer takes: sound, or pictures of lines; how each becomes frames, and what else tells the two apart.

The letters of models/batch.py, and: T frames (10 ms of sound, a column of a picture) · M values of a frame
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lowrung.core.answers import Text
from lowrung.core.parts import Audio, Image, Question
from lowrung.core.task import Metric
from lowrung.data.cache import Cache
from lowrung.metrics.recognition import HEARD, READ, spoken, squeezed
from lowrung.models import picture, sound, waves
from lowrung.models.patches import PatchBody, PatchShape
from lowrung.models.picture import PictureBody
from lowrung.models.sound import RATE, SECONDS, Shape, SoundBody, log_mel, normalised
from lowrung.models.waves import WaveBody, WaveShape, levelled, wave

Body: TypeAlias = SoundBody | PictureBody | WaveBody | PatchBody

THREADS = 8  # that decode at once, at most


@dataclass(frozen=True, eq=False)
class Sense:
    """One of the two.

    Args:
        column: what a row calls it, which is also the task's `media`.
        does, lacking: for people: what a body of it does, and what rows lack that have none of it.
        part: what it takes of a question.
        body: its bodies, which `built` makes of a shape as JSON has it; `default` is the name of the embedded one,
            `about` of the file that describes one.
        made: part → frames (T, M); `mark` tells cached ones from those that were made in another way.
        normalised: frames as a body takes them.
        less: frames in a state. seconds: of a state, 0 where states are not in time.
        longest, overlap: frames that are taken at once, and those that two windows share.
        budget: frames a batch at most.
        struck: values and frames that are struck out together at most when it learns, and of how many frames once.
        written: right texts as its heads learn them.
        metrics: as its task counts; the first one decides.
        expects: whether a beam may expect the words that right texts have.
    """

    column: str
    does: str
    lacking: str
    part: type[Audio] | type[Image]
    body: type[SoundBody] | type[PictureBody] | type[WaveBody] | type[PatchBody]
    built: Callable[[Mapping[str, Any]], Body]
    default: str
    about: str
    made: Callable[[Any], Tensor]
    mark: str
    normalised: Callable[[Tensor], Tensor]
    less: int
    seconds: float
    longest: int
    overlap: int
    budget: int
    struck: tuple[int, int, int]
    written: Callable[[str], str]
    metrics: tuple[Metric[Text], ...]
    expects: bool

    def found(self, question: Question) -> Audio | Image | None:
        """The first part of a question that it takes."""
        return next((part for part in question.given if isinstance(part, self.part)), None)

    def features(self, part: Audio | Image, cache: Cache | None = None) -> Tensor:
        """The frames of a part, from the cache where they have been made before.  -> (T, M)"""
        key = f"{self.mark} {part.key}" if cache is not None and part.key else ""
        if cache is not None and key and (kept := cache.get(key)) is not None:
            return torch.from_numpy(kept).float()
        frames = self.made(part)
        if cache is None or not key:
            return frames
        kept = frames.half().numpy()
        cache.put(key, kept)
        return torch.from_numpy(kept).float()  # as it will come from there

    def features_of(self, parts: Sequence[Audio | Image], cache: Cache | None = None) -> list[Tensor]:
        """`features` of many parts, which are decoded on all cores.  -> of each (T, M)"""
        if len(parts) < 2:
            return [self.features(each, cache) for each in parts]
        with ThreadPoolExecutor(min(os.cpu_count() or 1, THREADS)) as pool:
            return list(pool.map(lambda each: self.features(each, cache), parts))


def mel(given: Audio) -> Tensor:
    """`log_mel` of a sound at any rate.  -> (T, M)"""
    samples = given.samples
    if given.rate != RATE:
        import soxr

        samples = soxr.resample(samples, given.rate, RATE)
    return log_mel(samples.astype(np.float32))


HEARING = Sense(
    column="audio",
    does="hears",
    lacking="recording of at most 20 seconds",
    part=Audio,
    body=SoundBody,
    built=lambda shape: SoundBody(Shape(**shape)),
    default="sounds-en",
    about="sounds.json",
    made=mel,
    mark="mel 1",
    normalised=normalised,
    less=sound.LESS,
    seconds=SECONDS,
    longest=2000,
    overlap=400,
    budget=6000,
    struck=(16, 20, 150),
    written=spoken,
    metrics=HEARD,
    expects=True,
)
READING = Sense(
    column="image",
    does="reads",
    lacking="picture of a line",
    part=Image,
    body=PictureBody,
    built=lambda shape: PictureBody(Shape(**shape)),
    default="lines",
    about="lines.json",
    made=picture.columns,
    mark="ink 2",
    normalised=lambda ink: ink,
    less=picture.LESS,
    seconds=0.0,
    longest=1600,
    overlap=320,
    budget=8000,
    struck=(4, 5, 60),  # less than a letter, which no other frame tells of
    written=squeezed,
    metrics=READ,
    expects=False,  # of few receipts it would make all prices those that it has met
)
WAVES = replace(
    HEARING,
    body=WaveBody,
    built=lambda shape: WaveBody(WaveShape(shape)),
    about="waves.json",
    made=wave,
    mark="wave 2",
    normalised=levelled,
    less=waves.LESS,
    seconds=waves.LESS / RATE,
    longest=20 * RATE,
    overlap=4 * RATE,
    budget=60 * RATE,
    struck=(0, RATE // 5, 3 * RATE // 2),
)
PATCHES = replace(READING, body=PatchBody, built=lambda shape: PatchBody(PatchShape(**shape)), about="patches.json")
SENSES = (HEARING, READING, WAVES, PATCHES)


def sense_of(column: str) -> Sense:
    """The sense of a task by its `media`."""
    return next(each for each in SENSES if each.column == column)
