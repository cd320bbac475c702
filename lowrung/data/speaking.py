"""Text spoken by espeak-ng, in many voices, rates and pitches: speech to practise on, with the time of every sound."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowrung.core.errors import LowrungError

RATE = 16_000  # samples a second of what is handed out
VARIANTS = ("", *(f"m{number}" for number in range(1, 9)), *(f"f{number}" for number in range(1, 6)), "klatt2")
BRITISH = ("en", "en-GB-scotland", "en-GB-x-rp", "en-GB-x-gbcwmd", "en-GB-x-gbclan")
ACCENTS = ("en-us", "gmw/en-US-nyc", *(f"gmw/{name}" for name in BRITISH))
SLOW, FAST = 110, 230  # words a minute
LOW, HIGH = 15, 95  # of espeak's pitch, 0 to 99
SYNCHRONOUS, PHONEMES = 2, 1 | 1 << 1  # sound is handed out, by no thread of its own; phonemes are told, in IPA
UTF8, END_PAUSE = 1, 0x1000
EV_END, EV_WORD, EV_PHONEME = 0, 1, 7
P_RATE, P_PITCH, P_RANGE = 1, 3, 4

Floats = NDArray[np.float32]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("string", ctypes.c_char * 8),
    ]


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks: espeak's name of a language or accent with a variant, words a minute, pitch and its range (0-99)."""

    name: str = "en-us"
    rate: int = 170
    pitch: int = 50
    range: int = 50

    @classmethod
    def drawn(cls, random: Random, accents: Sequence[str] = ACCENTS) -> Voice:
        accent, variant = random.choice(accents), random.choice(VARIANTS)
        name = f"{accent}+{variant}" if variant else accent
        return cls(name, random.randint(SLOW, FAST), random.randint(LOW, HIGH), random.randint(20, 80))


@dataclass(frozen=True, eq=False)
class Speech:
    """Sound and what it is made of.

    Args:
        samples: (n,) in [-1, 1], at `RATE`. phonemes: (seconds from the beginning, IPA), as they begin.
    """

    samples: Floats
    phonemes: tuple[tuple[float, str], ...]


def speak(text: str, voice: Voice = Voice()) -> Speech:
    """`text` spoken by a voice; empty where there is nothing to speak.

    Raises:
        LowrungError: espeak-ng is not installed, or it has no such voice.
    """
    if not text.strip():
        return Speech(np.zeros(0, dtype=np.float32), ())
    import soxr

    return _engine().speak(text, voice, lambda sound, rate: soxr.resample(sound, rate, RATE))


class _Engine:
    """espeak-ng's library; there is one in a process, and it is not asked by two threads at once."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.rate = library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEMES)
        if self.rate <= 0:
            raise LowrungError("espeak-ng does not find its voices. Install it anew: apt install espeak-ng")
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self.callback = kind(self._heard)  # held, or it is collected
        library.espeak_SetSynthCallback(self.callback)
        self.blocks: list[NDArray[np.int16]] = []
        self.events: list[tuple[int, str]] = []
        self.voice = ""

    def _heard(self, sound: Any, size: int, events: Any) -> int:
        if sound and size > 0:
            self.blocks.append(np.ctypeslib.as_array(sound, (size,)).copy())
        at = 0
        while events[at].type != EV_END:
            if events[at].type == EV_PHONEME:
                self.events.append((events[at].sample, events[at].string.decode("utf-8", "ignore")))
            at += 1
        return 0

    def speak(self, text: str, voice: Voice, resampled: Any) -> Speech:
        if voice.name != self.voice:
            if self.library.espeak_SetVoiceByName(voice.name.encode()) != 0:
                raise LowrungError(f"espeak-ng has no voice {voice.name!r}; espeak-ng --voices lists those it has")
            self.voice = voice.name
        for parameter, value in ((P_RATE, voice.rate), (P_PITCH, voice.pitch), (P_RANGE, voice.range)):
            self.library.espeak_SetParameter(parameter, value, 0)
        self.blocks, self.events = [], []
        said = text.encode("utf-8", "replace") + b"\0"
        self.library.espeak_Synth(said, len(said), 0, 1, 0, UTF8 | END_PAUSE, None, None)
        self.library.espeak_Synchronize()
        if not self.blocks:
            return Speech(np.zeros(0, dtype=np.float32), ())
        sound = np.concatenate(self.blocks).astype(np.float32) / 32768
        phonemes = tuple((sample / self.rate, name) for sample, name in self.events)
        return Speech(resampled(sound, self.rate).astype(np.float32), phonemes)


@cache
def _engine() -> _Engine:
    name = ctypes.util.find_library("espeak-ng")
    if name is None:
        raise LowrungError("speech to practise on is spoken by espeak-ng, which is missing: apt install espeak-ng")
    library = ctypes.CDLL(name)
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
        ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    return _Engine(library)
