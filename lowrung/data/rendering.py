"""Text rendered as pictures of one line, in the fonts of this machine and in many conditions: lines to practise on.

Letters are a mask of ink, (H, W) in 0 to 255, until they come on paper; every step draws from one `Random`, so that on
one machine the same seed gives the same picture.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lowrung.core.errors import LowrungError
from lowrung.core.parts import Image

if TYPE_CHECKING:
    import PIL.Image
    from PIL.ImageFont import FreeTypeFont

FOLDERS = (
    *("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts"),
    *("/System/Library/Fonts", "/Library/Fonts", "C:/Windows/Fonts"),
)
SUFFIXES = (".ttf", ".otf")
NONE = "lines to practise on are written in fonts, and this machine has none: apt install fonts-dejavu fonts-liberation"
BASIC = "aeghnrtAEHR0258"  # what a font of Latin letters has
SIGNS = ("symbol", "dingbat", "d050000l", "emoji", "icon", "math", "nushu")  # names of fonts with signs in their place
ABSENT = "\U0010fffd"  # no font has this, so that it shows what a font draws in place of letters that it lacks
TRIES = 12  # fonts that are drawn before all are looked through
SMALLEST, LARGEST = 12, 46  # of a font, in pixels
SMALL = 11  # rows that are left of a picture at least
LOUD, SPECKS = 24, 0.005  # the spread of noise at most, the share of pixels that are specks

Grey = NDArray[np.float32]


# --- fonts


@cache
def families() -> tuple[tuple[str, ...], ...]:
    """The files of fonts with Latin letters, by family: what its name begins with, so that a family of many cuts is
    not drawn more often than others.

    Raises:
        LowrungError: there is none, or pillow is not installed.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(_files()):
        try:
            if all(has(path, letter) for letter in BASIC):
                name = str(font(path, LARGEST).getname()[0])
                if not any(sign in name.lower() for sign in SIGNS):
                    found.setdefault(" ".join(name.split()[:2]), []).append(path)
        except (OSError, ValueError):  # no font, or one of a kind that is not drawn
            continue
    if not found:
        raise LowrungError(NONE)
    return tuple(tuple(each) for _, each in sorted(found.items()))


def _files() -> Iterator[str]:
    """The fonts that fontconfig knows; without it, those in the usual folders."""
    if shutil.which("fc-list"):
        told = subprocess.run(["fc-list", "--format", "%{file}\n"], capture_output=True, text=True, check=False).stdout
        yield from {each for each in told.splitlines() if each.lower().endswith(SUFFIXES)}
        return
    for folder in FOLDERS:
        for base, _, names in os.walk(Path(folder).expanduser()):
            yield from (os.path.join(base, name) for name in names if name.lower().endswith(SUFFIXES))


@lru_cache(maxsize=512)
def font(path: str, size: int) -> FreeTypeFont:
    try:
        from PIL import ImageFont
    except ImportError as problem:
        raise LowrungError("pictures of lines need the media extra; run pip install 'lowrung[media]'") from problem
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)  # raqm is not everywhere, and slower


@lru_cache(maxsize=1 << 16)
def has(path: str, letter: str) -> bool:
    """Whether a font has a letter of its own for it."""
    if letter.isspace():
        return True
    drawn = _drawn(path, letter)
    return bool(drawn) and drawn != _drawn(path, ABSENT)


@lru_cache(maxsize=1 << 10)
def _drawn(path: str, letter: str) -> bytes:
    mask = font(path, 24).getmask(letter)
    return repr(mask.size).encode() + bytes(mask) if mask.getbbox() else b""


def font_for(text: str, random: Random) -> str | None:
    """The file of a font that has all letters of `text`; None where none has.

    Raises:
        LowrungError: there are no fonts.
    """
    known, letters = families(), set(text)
    for _ in range(TRIES):
        path = random.choice(random.choice(known))
        if all(has(path, letter) for letter in letters):
            return path
    fitting = [path for family in known for path in family if all(has(path, letter) for letter in letters)]
    return random.choice(fitting) if fitting else None


# --- a line


@dataclass(frozen=True)
class Drawn:
    """A picture of a line, and where in its width the middle of each letter is, 0 to 1 (a little beyond, where cut)."""

    image: Image
    middles: tuple[float, ...]


def render(text: str, random: Random) -> Image | None:
    """A picture of `text` on one line; None where no font of this machine has all its letters, or it has none.

    Drawn are the font, its size and spacing, the slant, how the ink ran, the paper, what stands beside the line, and
    how the picture was taken.

    Raises:
        LowrungError: there are no fonts, or pillow is not installed.
    """
    made = drawn(text, random)
    return made.image if made else None


def drawn(text: str, random: Random) -> Drawn | None:
    """As `render`, with the places of the letters, blanks among them."""
    path = font_for(text, random) if text.strip() else None
    if path is None:
        return None
    size = round(SMALLEST * (LARGEST / SMALLEST) ** random.random())
    line, (first, last) = _cropped(_turned(_written(text, path, size, random), random), size, random)
    grey = _taken(_on_paper(_run(line.mask, size, random), random), size, random)
    middles = tuple((middle - first) / (last - first) for middle in line.middles)
    return Drawn(Image(np.repeat(grey[..., None], 3, axis=2)), middles)


@dataclass(frozen=True)
class _Line:
    """A mask, where the letters of the line are in it (left, top, right, bottom), the middle of each one, across, and
    whether other lines stand around."""

    mask: PIL.Image.Image
    box: tuple[int, int, int, int]
    middles: tuple[float, ...]
    alone: bool


def _written(text: str, path: str, size: int, random: Random) -> _Line:
    """A line, in some with what shows of those above and below it."""
    from PIL import Image, ImageDraw

    hand = font(path, size)
    apart = random.random() < 0.25  # letters, else words
    gap = size * random.uniform(-0.04, 0.22) if apart else 0.0
    wide = size * random.uniform(0.0, 0.5) if random.random() < 0.25 else 0.0  # between words, as in justified lines
    pieces, middles, at, edge = list[tuple[str, float]](), list[float](), 0.0, size // 2 + 2
    for number, word in enumerate(text.split(" ")):
        if number:
            blank = hand.getlength(" ") + gap + wide
            middles.append(edge + at + blank / 2)
            at += blank
        for piece in word if apart else [word]:
            pieces.append((piece, at))
            ends = [hand.getlength(piece[:end]) for end in range(len(piece) + 1)]
            middles += [edge + at + (one + two) / 2 for one, two in pairwise(ends)]
            at += ends[-1] + gap
    high = sum(hand.getmetrics())
    mask = Image.new("L", (int(at) + 2 * edge, 3 * high))
    draw = ImageDraw.Draw(mask)
    for piece, x in pieces:
        draw.text((edge + x, high), piece, 255, font=hand)
    box, alone, words = mask.getbbox() or (0, 0, *mask.size), random.random() < 0.8, text.split()
    for way in () if alone else random.choice(((-1,), (1,), (-1, 1))):
        random.shuffle(words)
        y = high + way * high * random.uniform(0.85, 1.2)
        draw.text((edge * random.uniform(-1, 2), y), " ".join(words), 255, font=hand)
    return _Line(mask, box, tuple(middles), alone)


def _turned(line: _Line, random: Random) -> _Line:
    """Slanted, turned by some degrees, wider or narrower in most; a long line is turned less."""
    from PIL import Image

    if random.random() < 0.4:
        return line
    left, top, right, bottom = line.box
    wide = random.choice((1.0, random.uniform(0.75, 1.35)))
    lean = random.gauss(0, 0.12) if random.random() < 0.5 else 0.0
    most = min(0.05, 0.3 * (bottom - top) / max(right - left, 1))
    rise = random.uniform(-most, most)
    width, x, y = int(line.mask.width * wide) + 1, (left + right) / 2, (top + bottom) / 2
    # where a pixel comes from: x + (x' - middle) / wide + lean (y' - y), y' + rise (x' - middle) / wide
    middle = width / 2
    place = (1 / wide, lean, x - middle / wide - lean * y, rise / wide, 1.0, -rise * middle / wide)
    made = line.mask.transform((width, line.mask.height), Image.Transform.AFFINE, place, Image.Resampling.BILINEAR)
    across = (right - left) * wide / 2 + abs(lean) * (bottom - top) / 2
    down = abs(rise) * (right - left) / 2
    box = (max(int(middle - across), 0), int(top - down), min(int(middle + across) + 1, width), int(bottom + down) + 1)
    return _Line(made, box, tuple(middle + wide * (each - x) for each in line.middles), line.alone)


def _cropped(line: _Line, size: int, random: Random) -> tuple[_Line, tuple[int, int]]:
    """The line, cut about as tight as people cut, with a rule under it or along an edge in some; and what is left of
    the width."""
    from PIL import ImageDraw

    left, top, right, bottom = line.box
    loose = random.uniform(0.1, 0.3) if not line.alone or random.random() < 0.75 else 0.9
    before, above, after, below = (size * random.uniform(-0.04, loose) for _ in range(4))
    box = (int(left - max(before, 0)), int(top - above), int(right + max(after, 0)) + 1, int(bottom + below) + 1)
    kind = random.random()
    if kind < 0.14:
        draw, dark, thick = ImageDraw.Draw(line.mask), random.randint(90, 255), random.randint(1, max(1, size // 12))
        if kind < 0.12:
            under = bottom + random.randint(0, max(1, size // 5))
            y = under if kind < 0.08 else random.choice((box[1], box[3] - 1))
            draw.line((box[0], y, box[2], y), dark, thick)
        else:
            x = random.choice((box[0], box[2] - thick))
            draw.line((x, box[1], x, box[3]), dark, thick)
    return replace(line, mask=line.mask.crop(box)), (box[0], box[2])


def _run(mask: PIL.Image.Image, size: int, random: Random) -> Grey:
    """As the ink ran or dried: strokes thicker or thinner, faded places, rows of dots, as printers leave them.

    -> (H, W), how much ink there is, in 0 to 1
    """
    from PIL import ImageFilter

    kind = random.random()
    if kind < 0.5:
        mask = mask.filter(ImageFilter.GaussianBlur(size / 40 * random.uniform(0.6, 1.3)))
        level, steep = random.uniform(0.2, 0.35 + size / 200), random.uniform(1.5, 4.0)  # thin strokes blur away
        mask = mask.point([round(min(max((at / 255 - level) * steep + 0.5, 0), 1) * 255) for at in range(256)])
    elif kind < 0.56 and size >= 22:
        mask = mask.filter(ImageFilter.MaxFilter(3) if random.random() < 0.7 else ImageFilter.MinFilter(3))
    ink: Grey = np.asarray(mask, dtype=np.float32) / np.float32(255)
    if random.random() < 0.15:
        ink *= np.clip(_cloud(ink.shape, random, cell=max(size // 4, 3)) * 0.4 + random.uniform(0.6, 1.0), 0, 1)
    if random.random() < 0.12:
        step, deep = random.choice((2, 3, 4)), random.uniform(0.4, 0.9)
        ink[random.randrange(step) :: step] *= deep
        if random.random() < 0.5:
            ink[:, random.randrange(step) :: step] *= deep
    return ink


def _on_paper(ink: Grey, random: Random) -> Grey:
    """Dark on light, the paper uneven in some; light on dark in a few.  (H, W) -> (H, W), in 0 to 255"""
    paper: Any = random.uniform(200, 255) if random.random() < 0.75 else random.uniform(130, 220)
    dark = random.uniform(0, 0.35) if random.random() < 0.75 else random.uniform(0.3, 0.65)
    contrast = paper * (1 - dark)
    height, width = ink.shape
    if random.random() < 0.3:
        across = np.linspace(-1, 1, width, dtype=np.float32) * random.uniform(-30, 30)
        down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * random.uniform(-15, 15)
        paper = paper + across + down
    if random.random() < 0.3:
        uneven = contrast * random.uniform(0.02, 0.12)
        paper = paper + _cloud(ink.shape, random, cell=random.choice((3, 6, 12, 30))) * uneven
    grey: Grey = (paper * (1 - ink * (1 - dark))).astype(np.float32)
    return 255 - grey if random.random() < 0.07 else grey


def _taken(grey: Grey, size: int, random: Random) -> NDArray[np.uint8]:
    """As a scanner or a camera takes it: blurred, in few pixels, with noise, packed by JPEG."""
    from PIL import Image, ImageFilter

    chance = np.random.default_rng(random.getrandbits(64))
    noise = random.random()
    if noise < 0.5:
        grey = grey + chance.standard_normal(grey.shape, dtype=np.float32) * (LOUD * random.random() ** 2)
    if noise < 0.04:
        specks = chance.random(grey.shape, dtype=np.float32)
        grey = np.where(specks < SPECKS, 0, np.where(specks > 1 - SPECKS, 255, grey))
    made = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
    if random.random() < 0.4:
        made = made.filter(ImageFilter.GaussianBlur(size / 40 * random.uniform(0.3, 1.6)))
    if random.random() < 0.35:
        share = max(random.uniform(0.4, 0.95), SMALL / made.height)
        how = random.choice((Image.Resampling.BILINEAR, Image.Resampling.BOX, Image.Resampling.BICUBIC))
        if share < 1:
            made = made.resize((max(1, round(made.width * share)), max(1, round(made.height * share))), how)
    if random.random() < 0.3:
        packed = io.BytesIO()
        made.save(packed, "JPEG", quality=random.randint(15, 80))
        made = Image.open(packed)
    return np.asarray(made)


def _cloud(shape: tuple[int, ...], random: Random, *, cell: int) -> Grey:
    """Smooth noise of about mean 0 and spread 1, from a grid of `cell` pixels.  -> (H, W)"""
    from PIL import Image

    height, width = shape
    chance = np.random.default_rng(random.getrandbits(64))
    coarse = chance.standard_normal((height // cell + 2, width // cell + 2), dtype=np.float32)
    wide = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(wide, dtype=np.float32)
