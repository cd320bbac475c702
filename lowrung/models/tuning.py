"""How much of a body moves, and the states of the part that does not, kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.models.batch import Batch, pad
from lowrung.models.text import TextBackbone


@dataclass(frozen=True, slots=True)
class Frozen:
    """Only the head moves."""


@dataclass(frozen=True, slots=True)
class Top:
    """The head and the last `layers` layers move."""

    layers: int = 2


@dataclass(frozen=True, slots=True)
class LoRA:
    """Low-rank updates of the attention's projections, in every layer (Hu et al. 2021), by peft.

    Args:
        rank: of the updates; their scale is 2 (alpha = 2 * rank).
    """

    rank: int = 8


@dataclass(frozen=True, slots=True)
class Full:
    """Everything moves, embeddings too."""


How = Frozen | Top | LoRA | Full


def describe(how: How) -> dict[str, Any]:
    """`Top(2)` → {"how": "Top", "layers": 2}, for JSON."""
    fields = {name: getattr(how, name) for name in how.__slots__}
    return {"how": type(how).__name__, **fields}


def described(fields: dict[str, Any]) -> How:
    kinds: dict[str, Any] = {"Frozen": Frozen, "Top": Top, "LoRA": LoRA, "Full": Full}
    return kinds[fields["how"]](**{name: value for name, value in fields.items() if name != "how"})  # type: ignore[no-any-return]


def frozen_depth(backbone: TextBackbone, how: How) -> int:
    """How many layers, from below, stay as they are and may be remembered."""
    if isinstance(how, Frozen):
        return backbone.depth
    return max(0, backbone.depth - how.layers) if isinstance(how, Top) else 0


def loosened(backbone: TextBackbone, how: How, *, seed: int = 0) -> TextBackbone:
    """A copy of `backbone` in which what `how` says may move requires gradients; LoRA's updates start from `seed`.

    Raises:
        ModelError: LoRA finds no projection that it knows in this body.
    """
    made = backbone.upto(backbone.depth)
    made.body.requires_grad_(False)
    if isinstance(how, LoRA):
        with_lora(made.body, how, seed)
        return made
    for number, layer in enumerate(made.layers):
        layer.requires_grad_(number >= frozen_depth(made, how))
    if isinstance(how, Full):
        made.body.requires_grad_(True)
    return made


def without_attention_dropout(body: nn.Module) -> None:
    """Let `body` attend to everything in training, in place.

    Only then torch computes attention on a processor without its table of weights, the larger part of the work where
    texts are long.
    """
    for module in body.modules():
        drops = getattr(module, "dropout", None)
        if type(module).__name__.endswith("SelfAttention") and isinstance(drops, nn.Dropout):
            drops.p = 0.0


def with_lora(body: nn.Module, how: LoRA, seed: int) -> None:
    """Put low-rank updates into the attention's projections of `body`, in place; they alone require gradients.

    Raises:
        ModelError: it has no projection of a known name.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    known = set(
        "query value query_proj value_proj q_proj v_proj Wqkv q_lin v_lin in_proj c_attn query_key_value q v".split()
    )
    names = {name.rpartition(".")[2] for name, _ in body.named_modules()}
    targets = sorted(names & known)
    if not targets:
        raise ModelError(f"LoRA knows no attention projection of {type(body).__name__}; use top or full")
    turned = any(isinstance(each, Conv1D) for each in body.modules())  # GPT-2's weights lie the other way round
    config = LoraConfig(
        r=how.rank, lora_alpha=2 * how.rank, lora_dropout=0.05, target_modules=targets, fan_in_fan_out=turned
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, body)


def moved(backbone: TextBackbone) -> dict[str, Tensor]:
    """Name → weights of everything in the body that training may have changed."""
    return {name: each for name, each in backbone.body.named_parameters() if each.requires_grad}


class Prefixes:
    """The frozen-prefix cache: states of the layers that do not move, computed once a text and kept.

    They are the same over epochs, seeds, label counts and methods, and for the test rows of every cell.
    Kept in float32, so that a run with the cache and one without have the same losses.

    Args:
        backbone: the untouched one.
        limit: bytes kept at most; texts beyond are computed each time.
    """

    def __init__(self, backbone: TextBackbone, *, limit: int = 4 << 30) -> None:
        self.backbone, self.limit, self.used = backbone, limit, 0
        self._kept: dict[tuple[tuple[int, ...], tuple[str, ...]], list[Tensor]] = {}
        self._vectors: dict[str, Tensor] = {}

    def states(self, batch: Batch, depths: tuple[int, ...]) -> Tensor:
        """States after each of `depths` layers, side by side.  -> (W, T, len(depths) * D)"""
        rows: dict[int, list[Tensor]] = {}
        missing = []
        for number, question in enumerate(batch.questions):
            kept = self._kept.get((depths, question.texts))
            if kept is None:
                missing.append(number)
            else:
                rows[number] = kept
        if missing:
            asked = batch if len(missing) == len(batch.questions) else None
            asked = asked or self.backbone.encode([batch.questions[number] for number in missing])
            with self._exact():
                tapped = self.backbone.taps(asked, depths)
            for place, windows in _by_question(asked, tapped):
                rows[missing[place]] = windows
                self._keep(depths, batch.questions[missing[place]], windows)
        return pad([window for number in range(len(batch.questions)) for window in rows[number]])

    def fill(self, questions: Sequence[Question], depths: tuple[int, ...]) -> None:
        """Compute what is missing of `questions` now, in batches of like length."""
        new = [each for each in questions if (depths, each.texts) not in self._kept]
        for _, batch in self.backbone.batches(new):
            self.states(batch, depths)

    @torch.no_grad()
    def vectors(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The untouched body's vector of each text, of length one: text → (D,), kept as the states are."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        found: dict[str, Tensor] = {text: self._vectors[text] for text in texts if text in self._vectors}
        for places, batch in self.backbone.batches([Question((text,)) for text in new]):
            with self._exact():
                pooled = nn.functional.normalize(self.backbone.pool(batch, self.backbone.hidden(batch)), dim=-1)
            found |= {new[place]: each.clone() for place, each in zip(places, pooled, strict=True)}
        size = self.backbone.width * 4
        for text in new if self.used + len(new) * size <= self.limit else ():
            self._vectors[text] = found[text]
            self.used += size
        return found

    def _exact(self) -> torch.autocast:
        """Float32, whatever surrounds it: what is kept must not depend on who asked first."""
        return torch.autocast(self.backbone.device.type, enabled=False)

    def _keep(self, depths: tuple[int, ...], question: Question, windows: list[Tensor]) -> None:
        size = sum(each.numel() * each.element_size() for each in windows)
        if self.used + size <= self.limit:
            self._kept[depths, question.texts] = windows
            self.used += size


def _by_question(batch: Batch, states: Tensor) -> Iterator[tuple[int, list[Tensor]]]:
    windows: dict[int, list[Tensor]] = {}
    for number, owner in enumerate(batch.owners):
        length = int(batch.attended[number].sum())
        windows.setdefault(owner, []).append(states[number, :length].clone())
    yield from windows.items()
