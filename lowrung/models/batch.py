"""Questions as tensors. The letters that shapes are written with, in every file of this folder:

B questions · W windows (W >= B: a long text fills several) · T time (pieces) · N words · D width ·
K options or tags · L layers
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lowrung.core.parts import Question

T = TypeVar("T")


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


def widened(batch: Batch, multiple: int, *, most: int) -> Batch:
    """The same, filled up to a length that is a multiple, or to `most`. Texts that are cut stay as they are."""
    length = batch.ids.shape[1]
    more = min(-length % multiple, most - length)
    if more <= 0 or batch.stitch is not None:
        return batch
    wide: dict[str, Any] = {name: getattr(batch, name) for name in ("ids", "attended", "kinds", "mask")}
    wide = {name: each if each is None else F.pad(each, (0, more)) for name, each in wide.items()}
    deep: dict[str, Any] = {name: getattr(batch, name) for name in ("offsets", "letters")}
    deep = {name: each if each is None else F.pad(each, (0, 0, 0, more)) for name, each in deep.items()}
    return replace(batch, **wide, **deep)


def mapped(value: T, change: Callable[[Tensor], Tensor]) -> T:
    """A tensor, or a dataclass with `change` made to the tensors in it and in the dataclasses in it."""
    made: Any = value
    if isinstance(value, Tensor):
        made = change(value)
    elif is_dataclass(value) and not isinstance(value, type):
        made = replace(value, **{each.name: mapped(getattr(value, each.name), change) for each in fields(value)})
    return made  # type: ignore[no-any-return]


def moved(value: T, device: torch.device) -> T:
    """The same on a device; to a card without waiting, where its tensors are pinned."""
    return mapped(value, lambda each: each.to(device, non_blocking=device.type == "cuda"))


def bfloat16_pays(kind: str = "cpu") -> bool:
    """Whether a device of this kind multiplies bfloat16 in hardware."""
    import torch.backends.cpu

    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    supported = (torch.cpu._is_avx512_bf16_supported, torch.cpu._is_amx_tile_supported)
    return kind == "cpu" and any(each() for each in supported)


CPU = torch.device("cpu")


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Within, matrices are multiplied in bfloat16, where that pays."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if bfloat16_pays(device.type) else nullcontext()
