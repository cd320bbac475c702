"""Pictures of lines as states: columns of ink, and convolutions with a small conformer that turn them into vectors.

The letters of models/batch.py, and: H rows of a line · T columns · T' states of `LESS` columns · C channels
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrung.core.parts import Image
from lowrung.models.sound import Block, Shape, through

HEIGHT = 40  # rows that every line is scaled to
LESS = 4  # columns in a state
MOST = 8000  # columns of a line; what is longer is squeezed
COARSE, FINE = 64, 160  # rows among which something written is looked for, and lines of it
LIKE, LEAST, PIECES = 0.4, 9, 3  # of the tallest one's height, rows, pieces across: a line has as much, unlike = and :
APART = 0.12  # of that height, rows between two lines: a streak of a printer is thinner
GAP = 24  # columns between two lines that are laid behind each other
KEPT = 0.3  # of a picture's height, at least: a full stop that filled the height would be a block
MARGIN = 0.06  # of the line's height, left around it
CELL, REACH = 4, 9  # pixels of a cell; cells in which the paper is looked for
FAINT = 12.0  # levels of grey that ink is darker than paper, at least; what is less is noise
GREY = (0.299, 0.587, 0.114)
BEYOND = 8  # columns of paper behind a line, which the convolutions reach: whether others are longer is not seen
CONVS = ((1, 2, 2), (2, 1, 2), (4, 2, 2), (4, 1, 1))  # of each: C times so many channels, columns and rows of a stride


class Line(NamedTuple):
    """The ink of a line, (T, H) in 0 to 1, and where in the width of its picture it begins and ends, 0 to 1."""

    ink: Tensor
    first: float
    last: float


def columns(image: Image) -> Tensor:
    """How much ink there is where, column by column: paper 0, the darkest ink 1. What is light on dark is turned over,
    the paper is made even, what is around a line is cut off; a few lines are laid behind each other.

    Shape: (rows, columns, 3) -> (T, H)
    """
    found = [line.ink for line in lines_of(image)]
    gap = torch.zeros(GAP, HEIGHT)
    return torch.cat([part for line in found for part in (gap, line)][1:])


def lines_of(image: Image) -> list[Line]:
    """The lines of a picture from above, at least one; what stands close or aslant is one line."""
    grey = torch.from_numpy(image.pixels).float() @ torch.tensor(GREY)
    if not grey.numel():
        return [Line(torch.zeros(1, HEIGHT), 0.0, 1.0)]
    cut, begin = _cut(grey)
    wide, found = grey.shape[1], list[Line]()
    parts = _parts(cut)
    for top, bottom in parts:
        part, more = _cut(cut[top:bottom]) if len(parts) > 1 else (cut, 0)
        ink = _ink(_scaled(part, HEIGHT, _width(part.shape[1] * HEIGHT / part.shape[0])))
        first = begin + more
        found.append(Line(ink.T.contiguous(), first / wide, (first + part.shape[1]) / wide))
    return found


def _cut(grey: Tensor) -> tuple[Tensor, int]:
    """What of a picture something is written in, with a small margin, and its first column."""
    rows, wide = grey.shape
    scale = min(1.0, COARSE / rows)
    top, bottom, left, right = _box(_ink(_scaled(grey, min(rows, COARSE), _width(wide * scale))))
    edge = MARGIN * (bottom - top)
    high, low = max(round((top - edge) / scale), 0), min(round((bottom + edge) / scale), rows)
    first, last = max(round((left - edge) / scale), 0), min(round((right + edge) / scale), wide)
    return grey[high : max(low, high + 1), first : max(last, first + 1)], first


def _parts(grey: Tensor) -> list[tuple[int, int]]:
    """(top, bottom) of each line, where rows without ink lie between parts of like height and several pieces each."""
    rows = len(grey)
    scale = min(1.0, FINE / rows)
    ink = _ink(_scaled(grey, min(rows, FINE), _width(grey.shape[1] * scale))) > 0.4
    written = ink.sum(1)
    full = F.pad((written > 0.04 * written.max()).int(), (1, 1))
    edges = full.diff().nonzero()[:, 0].tolist()
    bands = list(zip(edges[::2], edges[1::2], strict=True))
    tall = max((bottom - top for top, bottom in bands), default=0)
    found = list[tuple[int, int]]()
    for top, bottom in bands:
        pieces = int((ink[top:bottom].any(0).int().diff() == 1).sum())
        if bottom - top >= max(LIKE * tall, LEAST) and pieces >= PIECES:
            found.append((top, bottom))
    cuts = [0]
    for (_, above), (below, _) in pairwise(found):
        if below - above >= APART * tall:
            cuts.append(round((above + below) / 2 / scale))
    return list(pairwise([*cuts, rows]))


def _width(wanted: float) -> int:
    return min(max(round(wanted), 1), MOST)


def _scaled(grey: Tensor, rows: int, wide: int) -> Tensor:
    if grey.shape == (rows, wide):
        return grey
    return F.interpolate(grey[None, None], (rows, wide), mode="bilinear", antialias=True)[0, 0]


def _ink(grey: Tensor) -> Tensor:
    """What is darker than the paper around it, or lighter where most is dark; 0 to 1.  (rows, columns) -> the same"""
    flat = grey.flatten()
    middle = (_share(flat, 0.02) + _share(flat, 0.98)) / 2
    edge = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    dark = ((flat < middle).float().mean() + (edge < middle).float().mean()) / 2
    if dark > 0.5:
        grey = 255 - grey
    cells = F.avg_pool2d(grey[None, None], CELL, ceil_mode=True, count_include_pad=False)
    paper = F.max_pool2d(cells, REACH, stride=1, padding=REACH // 2)
    paper = F.avg_pool2d(paper, REACH, stride=1, padding=REACH // 2, count_include_pad=False)
    ink = F.interpolate(paper, grey.shape, mode="bilinear")[0, 0] - grey
    ink = ink - _share(ink.flatten(), 0.3)  # the lightest cells are lighter than the paper, where that is uneven
    return (ink / _share(ink.flatten(), 0.98).clamp(min=FAINT)).clamp(0, 1)


def _share(values: Tensor, share: float) -> Tensor:
    """The value that `share` of about ten thousand of them are below."""
    some = values[:: len(values) // 10_000 + 1]
    return some.kthvalue(int(share * (len(some) - 1)) + 1).values


def _box(ink: Tensor) -> tuple[int, int, int, int]:
    """Where something is written (top, bottom, left, right), specks aside; the whole where nothing is."""
    rows, wide = ink.shape
    strong = F.avg_pool2d(ink[None, None], 3, stride=1, padding=1)[0, 0] > 0.25
    down, across = strong.any(1).nonzero()[:, 0], strong.any(0).nonzero()[:, 0]
    if not len(down):
        return 0, rows, 0, wide
    top, bottom = int(down[0]), int(down[-1]) + 1
    lacking = max(0, int(KEPT * rows) - (bottom - top))
    top = max(0, min(top - lacking // 2, rows - (bottom - top) - lacking))
    return top, min(rows, max(bottom, top + int(KEPT * rows))), int(across[0]), int(across[-1]) + 1


class PictureBody(nn.Module):
    """Convolutions fold the height away and take four columns together, a small conformer (as of sound) follows."""

    def __init__(self, shape: Shape, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.shape = shape
        sizes = [1, *(times * shape.channels for times, _, _ in CONVS)]
        self.convs = nn.ModuleList(
            nn.Conv2d(given, made, 3, stride=(across, down), padding=1)
            for given, made, (_, across, down) in zip(sizes[:-1], sizes[1:], CONVS, strict=True)
        )
        self.norms = nn.ModuleList(
            nn.LayerNorm(size) for size in sizes[1:]
        )  # of the channels, so that nothing else joins
        self.enter = nn.Linear(sizes[-1] * HEIGHT // prod(down for _, _, down in CONVS), shape.width)
        self.norm = nn.LayerNorm(shape.width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Block(shape, dropout) for _ in range(shape.layers))

    def forward(self, columns: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States and how many of them each row has.  (B, T, H), (B,) -> (B, T', D), (B,)"""
        seen = F.pad(columns, (0, 0, 0, BEYOND))[:, None]  # (B, 1, T + BEYOND, H)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            seen = F.gelu(norm(conv(seen).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        seen = seen[:, :, : (columns.shape[1] + LESS - 1) // LESS]  # (B, 4 C, T', H / 8)
        states = self.dropout(self.norm(self.enter(seen.transpose(1, 2).flatten(2))))
        lengths = (lengths + LESS - 1) // LESS
        return through(self.layers, states, lengths, heads=self.shape.heads), lengths
