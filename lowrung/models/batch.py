"""Questions as tensors. The letters that shapes are written with, in every file of this folder:

B questions · W windows (W >= B: a long text fills several) · T time (pieces) · N words · D width ·
K options or tags · L layers
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lowrung.core.parts import Question


@dataclass(frozen=True, slots=True)
class Batch:
    """What a backbone reads, and where its states lie in the text; checked once, here.

    Shape:
        ids, attended, kinds: (W, T) · mask: (B, T') · offsets: (B, T', 2) · stitch: (B, T') or None ·
        letters: (W, T, D + 1) or None

    Args:
        ids: pieces of each window, special ones included.
        attended: which of `ids` are not padding.
        kinds: token type (0 first text, 1 second), or None where the backbone has none.
        mask: which positions after stitching are pieces, special ones included.
        offsets: characters start..end in the first text of the question; (0, 0) for a special piece or one of
            another part.
        stitch: for each position its place in the flattened windows (W * T), or None where W == B and nothing was cut.
        owners: (W,) the question of each window.
        questions: B questions.
        spelt: of each window the word that each piece belongs to, "" at special ones; None where nobody asks.
        letters: what the letters of those words say, or None; see models.characters.
    """

    ids: Tensor
    attended: Tensor
    kinds: Tensor | None
    mask: Tensor
    offsets: Tensor
    stitch: Tensor | None
    owners: tuple[int, ...]
    questions: tuple[Question, ...]
    spelt: tuple[tuple[str, ...], ...] | None = None
    letters: Tensor | None = None

    def __post_init__(self) -> None:
        if self.ids.shape != self.attended.shape or self.ids.shape[0] != len(self.owners):
            raise ValueError(
                f"{tuple(self.ids.shape)} ids, {tuple(self.attended.shape)} attended, {len(self.owners)} owners"
            )
        if self.offsets.shape != (*self.mask.shape, 2) or len(self.mask) != len(self.questions):
            raise ValueError(
                f"{tuple(self.mask.shape)} mask, {tuple(self.offsets.shape)} offsets, {len(self.questions)} questions"
            )

    def stitched(self, states: Tensor) -> Tensor:
        """States of the windows laid end to end.  (W, T, D) -> (B, T', D)"""
        if self.stitch is None:
            return states
        return states.flatten(0, 1)[self.stitch] * self.mask[..., None]


def pad(rows: Sequence[Tensor], value: float = 0) -> Tensor:
    """B tensors (T_i, ...) -> (B, T, ...)"""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """(B, T, D), (B, T) -> (B, D)"""
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def bfloat16_pays() -> bool:
    """Whether this processor multiplies bfloat16 in hardware."""
    import torch.backends.cpu

    supported = (torch.cpu._is_avx512_bf16_supported, torch.cpu._is_amx_tile_supported)
    return any(each() for each in supported)
