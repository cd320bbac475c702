"""A language of two tones, and a body of width 24 that has never heard it."""

from random import Random

import numpy as np
import torch

from lowrung.core.parts import Audio
from lowrung.models.ctc import CTC
from lowrung.models.recognizer import Recognizer
from lowrung.models.sound import RATE, Shape, SoundBody
from lowrung.models.text import Source

TONES = {"ding": 400.0, "dong": 1500.0}
SHAPE = Shape(width=24, layers=2, heads=2, reach=5, channels=8)


def said(text: str, *, seconds: float = 0.24, seed: int = 0) -> Audio:
    """Each word as its tone, with quiet around."""
    random = np.random.default_rng(seed)
    parts = [np.zeros(int(0.1 * RATE))]
    for word in text.split():
        times = np.arange(int(seconds * RATE)) / RATE
        parts += [np.sin(2 * np.pi * TONES[word] * times) * 0.3, np.zeros(int(0.12 * RATE))]
    sound = np.concatenate(parts)
    return Audio((sound + random.normal(0, 0.003, len(sound))).astype(np.float32), RATE)


def texts(number: int, seed: int = 0) -> list[str]:
    random = Random(seed)
    return [" ".join(random.choices(list(TONES), k=random.randint(1, 4))) for _ in range(number)]


def untaught(alphabet: str = "dgino ") -> Recognizer:
    torch.manual_seed(0)
    body, head = SoundBody(SHAPE, dropout=0.0), CTC(alphabet, SHAPE.width)
    body.requires_grad_(False)
    head.requires_grad_(False)
    return Recognizer(body.eval(), head.eval(), Source("tiny", "0"))
