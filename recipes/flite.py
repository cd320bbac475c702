"""Text spoken by Flite, whose voices are made of recordings of people (Black & Lenzo 2001): apt install libflite1"""

from __future__ import annotations

import ctypes
from functools import cache
from random import Random
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from lowrung.data.speaking import RATE

VOICES = {"slt": 3.0, "rms": 3.0, "awb": 2.0, "kal16": 1.0}  # how often each is drawn, against the others
STRETCH = (0.8, 1.35)  # of how long each sound lasts
HIGHER = (0.8, 1.25)  # of the pitch of a voice


class _Wave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class _Voice(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
        for name in ("libflite_cmulex.so.1", "libflite_usenglish.so.1"):
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        raise SystemExit("Flite is missing, whose voices speak as well: apt install libflite1") from None
    library.flite_init()
    library.flite_text_to_wave.restype = ctypes.POINTER(_Wave)
    library.flite_text_to_wave.argtypes = [ctypes.c_char_p, ctypes.POINTER(_Voice)]
    library.flite_feat_set_float.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
    library.flite_get_param_float.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
    library.flite_get_param_float.restype = ctypes.c_float
    library.delete_wave.argtypes = [ctypes.POINTER(_Wave)]
    return library


@cache
def _voice(name: str) -> tuple[Any, float]:
    """A voice and its own pitch."""
    register = getattr(ctypes.CDLL(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
    register.restype = ctypes.POINTER(_Voice)
    voice = register(None)
    return voice, float(_library().flite_get_param_float(voice.contents.features, b"int_f0_target_mean", 100.0))


def speak(text: str, random: Random) -> NDArray[np.float32]:
    """`text` spoken by a voice that is drawn, at some pace and pitch.  -> (n,) in [-1, 1] at `RATE`"""
    library = _library()
    voice, pitch = _voice(random.choices(list(VOICES), list(VOICES.values()))[0])
    features = voice.contents.features
    library.flite_feat_set_float(features, b"duration_stretch", random.uniform(*STRETCH))
    library.flite_feat_set_float(features, b"int_f0_target_mean", pitch * random.uniform(*HIGHER))
    wave = library.flite_text_to_wave(text.encode("ascii", "ignore"), voice)
    made = np.ctypeslib.as_array(wave.contents.samples, (wave.contents.num_samples,)).astype(np.float32) / 32768
    rate = wave.contents.sample_rate
    library.delete_wave(wave)
    return made if rate == RATE else soxr.resample(made, rate, RATE).astype(np.float32)
