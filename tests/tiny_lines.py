"""A script of two words in pillow's own font, and a body of width 24 that has never seen it."""

from random import Random

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from lowrung.core.parts import Image
from lowrung.models.ctc import CTC
from lowrung.models.picture import PictureBody
from lowrung.models.recognizer import Recognizer
from lowrung.models.senses import READING
from lowrung.models.sound import Shape
from lowrung.models.text import Source

WORDS = ("low", "rung")
SHAPE = Shape(width=24, layers=2, heads=2, reach=5, channels=8)


def written(text: str, *, seed: int = 0, size: int = 24, edge: int = 6) -> Image:
    """Black on white, with noise."""
    font = ImageFont.load_default(size)
    page = Pillow.new("L", (round(font.getlength(text)) + 2 * edge, size + 2 * edge), 255)
    ImageDraw.Draw(page).text((edge, edge - size // 8), text, 0, font=font)
    noise = np.random.default_rng(seed).normal(0, 4, (page.height, page.width))
    grey = np.clip(np.asarray(page) + noise, 0, 255).astype(np.uint8)
    return Image(np.repeat(grey[..., None], 3, axis=2))


def texts(number: int, seed: int = 0) -> list[str]:
    random = Random(seed)
    return [" ".join(random.choices(WORDS, k=random.randint(1, 3))) for _ in range(number)]


def untaught(alphabet: str = "lowrung ") -> Recognizer:
    torch.manual_seed(0)
    body, head = PictureBody(SHAPE, dropout=0.0), CTC(alphabet, SHAPE.width)
    body.requires_grad_(False)
    head.requires_grad_(False)
    return Recognizer(body.eval(), head.eval(), Source("tiny", "0"), sense=READING)
