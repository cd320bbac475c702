"""Text while it is being said: a recognizer that hears a stream block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowrung.core.parts import Audio
from lowrung.models.recognizer import Recognizer
from lowrung.models.sound import RATE

LONGEST = 12.0  # seconds that are heard anew with each block
SETTLED = (0.35, 0.75)  # the part of them in which what was said is cut from what is being said


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said so far.

    Args:
        settled: what will not change. text: all of it. seconds: of the stream that were heard.
        words: each with the seconds where it begins and ends; told at the end alone.
    """

    settled: str
    text: str
    seconds: float
    words: tuple[tuple[str, float, float], ...] = ()


def listen(model: Recognizer, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Heard]:
    """What was said, after each block of sound at 16 kHz, and once more at the end.

    The last `LONGEST` seconds are heard anew each time. When there are more, they are cut where the model is surest
    that no letter is said, and what lies before is settled.
    """
    seconds = model.sense.seconds  # of a state
    rest, begin, texts = np.zeros(0, dtype=np.float32), 0, list[str]()
    words: list[tuple[str, float, float]] = []
    now = None
    for block in blocks:
        rest = np.concatenate([rest, block])
        logs = model.logs([Audio(rest, RATE)])[0] if len(rest) else np.zeros((0, 0), dtype=np.float32)
        now = model.decoded(logs)
        yield Heard(" ".join(texts), " ".join((*texts, *now.text.split())), (begin + len(rest)) / RATE)
        if len(rest) > LONGEST * RATE:
            low, high = (int(len(logs) * share) for share in SETTLED)
            cut = low + int(np.convolve(logs[low:high, 0], np.ones(5), "same").argmax())
            said = model.decoded(logs[:cut])
            words += _timed(said.words, begin, seconds)
            texts += said.text.split()
            samples = round(cut * seconds * RATE)
            rest, begin, now = rest[samples:], begin + samples, None
    if len(rest):
        said = model.decoded(model.logs([Audio(rest, RATE)])[0]) if now is None else now
        words += _timed(said.words, begin, seconds)
        texts += said.text.split()
    text = " ".join(texts)
    yield Heard(text, text, (begin + len(rest)) / RATE, tuple(words))


def _timed(words: Iterable[tuple[str, int, int]], begin: int, seconds: float) -> list[tuple[str, float, float]]:
    start = begin / RATE
    return [(word, start + seconds * first, start + seconds * (last + 1)) for word, first, last in words]
