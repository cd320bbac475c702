"""Sound as states: a log-mel front end, and a conformer that turns it into vectors, 25 a second.

The letters of models/batch.py, and: S samples · M mel bands · T frames of 10 ms · T' frames of 40 ms
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

RATE = 16_000  # samples a second that the front end hears
HOP, WINDOW, POINTS = 160, 400, 512  # samples between frames, of a frame, of its transform
BANDS = 80
LOWEST, HIGHEST = 20.0, 7600.0  # hertz
FLOOR = 1e-6  # of a band's power, against the logarithm of nothing
LESS = 4  # frames of 10 ms in a state
SECONDS = HOP * LESS / RATE  # of a state


def log_mel(samples: NDArray[np.float32] | Tensor) -> Tensor:
    """Logarithms of the power in mel bands, of sound at `RATE`.  (S,) -> (T, M)"""
    sound = torch.as_tensor(samples, dtype=torch.float32)
    sound = F.pad(sound, (0, max(0, WINDOW - len(sound))))
    frames = sound.unfold(0, WINDOW, HOP)  # (T, WINDOW), not centred: no frame hears what comes later
    power = torch.fft.rfft(frames * _hann(), POINTS).abs().square()
    heard: Tensor = (power @ _mels() + FLOOR).log()
    return heard


@cache
def _hann() -> Tensor:
    return torch.hann_window(WINDOW, periodic=False)


@cache
def _mels() -> Tensor:
    """Triangles that overlap by half, evenly apart in mel (O'Shaughnessy 1987).  (POINTS / 2 + 1, M)"""
    mel = torch.linspace(_to_mel(LOWEST), _to_mel(HIGHEST), BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = torch.linspace(0, RATE / 2, POINTS // 2 + 1)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    return torch.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)).clamp(min=0)


def _to_mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def normalised(mel: Tensor) -> Tensor:
    """Without what the room and the microphone add to every frame: each band has mean 0, all together spread 1."""
    centred = mel - mel.mean(0, keepdim=True)
    return centred / centred.std().clamp(min=0.1) if len(mel) > 1 else centred


TRACTS = (0.84, 1.2)  # lengths of vocal tracts against the speaker's own


def tract(mel: Tensor, length: float) -> Tensor:
    """As from a vocal tract of another length, which moves all resonances (Jaitly & Hinton 2013).  (T, M) -> (T, M)"""
    places = (torch.arange(mel.shape[1]) * length).clamp(max=mel.shape[1] - 1)
    low = places.long().clamp(max=mel.shape[1] - 2)
    share = places - low
    return mel[:, low] * (1 - share) + mel[:, low + 1] * share


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a conformer: D width, layers, heads, the reach of its convolutions in states (of sound, of 40 ms)."""

    width: int = 192
    layers: int = 8
    heads: int = 4
    reach: int = 15
    channels: int = 48  # of the first convolution of those that make one state of four frames

    def to_json(self) -> dict[str, int]:
        return asdict(self)


class SoundBody(nn.Module):
    """A small conformer (Gulati et al. 2020): convolutions take four frames together, blocks of attention and
    convolution follow; layer norms in place of batch norms, and places told by rotation (Su et al. 2021)."""

    def __init__(self, shape: Shape = Shape(), *, dropout: float = 0.1) -> None:
        super().__init__()
        self.shape = shape
        bands = (BANDS + 1) // 2
        self.first = nn.Conv2d(1, shape.channels, 3, stride=2, padding=1)
        self.second = nn.Conv2d(shape.channels, shape.channels, 3, stride=2, padding=1)
        self.enter = nn.Linear(shape.channels * ((bands + 1) // 2), shape.width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Block(shape, dropout) for _ in range(shape.layers))

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States and how many of them each row has.  (B, T, M), (B,) -> (B, T', D), (B,)"""
        heard = F.gelu(self.first(mel[:, None]))
        heard = F.gelu(self.second(heard))  # (B, C, T', M / 4)
        states = self.dropout(self.enter(heard.transpose(1, 2).flatten(2)))
        lengths = (lengths + LESS - 1) // LESS
        return through(self.layers, states, lengths, heads=self.shape.heads), lengths


def through(layers: Iterable[nn.Module], states: Tensor, lengths: Tensor, *, heads: int) -> Tensor:
    """Through `Block`s one after the other, padding unseen.  (B, T', D), (B,) -> (B, T', D)"""
    mask = torch.arange(states.shape[1], device=states.device)[None] < lengths[:, None]  # (B, T')
    turn = turns(torch.arange(states.shape[1], device=states.device), states.shape[2] // heads)
    for layer in layers:
        states = layer(states, mask, turn)
    return states


class Block(nn.Module):
    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        width = shape.width
        self.before, self.after = _Forward(width, dropout), _Forward(width, dropout)
        self.heads = shape.heads
        self.attention_norm, self.qkv, self.out = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.near_norm, self.gate = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.near = nn.Conv1d(width, width, shape.reach, padding=shape.reach // 2, groups=width)
        self.near_after, self.mix = nn.LayerNorm(width), nn.Linear(width, width)
        self.dropout, self.norm = nn.Dropout(dropout), nn.LayerNorm(width)

    def forward(self, states: Tensor, mask: Tensor, turn: Tensor) -> Tensor:
        """(B, T', D), (B, T'), (2, T', D / heads / 2) -> (B, T', D)"""
        states = states + 0.5 * self.before(states)
        states = states + self.dropout(self._attended(self.attention_norm(states), mask, turn))
        states = states + self.dropout(self._beside(self.near_norm(states), mask))
        states = states + 0.5 * self.after(states)
        normed: Tensor = self.norm(states)
        return normed

    def _attended(self, states: Tensor, mask: Tensor, turn: Tensor) -> Tensor:
        size, time, width = states.shape
        parts = self.qkv(states).view(size, time, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts  # (B, heads, T', D / heads) each
        query, key = turned(query, turn), turned(key, turn)
        met = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        made: Tensor = self.out(met.transpose(1, 2).flatten(2))
        return made

    def _beside(self, states: Tensor, mask: Tensor) -> Tensor:
        states = F.glu(self.gate(states), -1) * mask[..., None]
        states = self.near(states.transpose(1, 2)).transpose(1, 2)
        made: Tensor = self.mix(F.silu(self.near_after(states)))
        return made


class _Forward(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        made: Tensor = self.dropout(self.down(self.dropout(F.silu(self.up(self.norm(states))))))
        return made


def turns(places: Tensor, width: int) -> Tensor:
    """Cosines and sines of each place's angles.  (…, T') -> (2, …, T', width / 2)"""
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=places.device) / width)
    angles = places[..., None] * rates
    return torch.stack([angles.cos(), angles.sin()])


def turned(states: Tensor, turn: Tensor) -> Tensor:
    """Each state by its place's angles (Su et al. 2021).  (…, T', width), (2, …, T', width / 2) -> (…, T', width)"""
    one, two = states.float().chunk(2, -1)
    cosine, sine = turn
    return torch.cat([one * cosine - two * sine, one * sine + two * cosine], -1).to(states.dtype)


def batched(mels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Frames of several sounds as one tensor.  B times (T_i, M) -> (B, T, M), (B,)"""
    lengths = torch.tensor([len(each) for each in mels])
    return nn.utils.rnn.pad_sequence(list(mels), batch_first=True), lengths
