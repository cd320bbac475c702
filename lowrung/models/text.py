"""Text backbones: any transformers encoder (BERT, RoBERTa, DeBERTa, ModernBERT, XLM-R, MiniLM, …)."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.models.batch import Batch, mean_pool, moved
from lowrung.models.characters import LettersBody
from lowrung.models.pieces import Tokenizer


class _Enough(Exception):
    """Thrown by the hook that has caught what it was waiting for: the layers above need not run."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a backbone came from, as written into a shipped folder."""

    name: str  # what the user calls it: "minilm", a folder, a hub id
    checksum: str  # sha256 of its weights


class TextBackbone:
    """An encoder that turns questions into states, one vector a piece.

    Args:
        tokenizer: pieces and windows.
        body: the transformers encoder (a base model, no head).
        source: where it came from.
        pooling: how the states of a text become its vector: "mean" or "first".
        tagging_layer: after how many layers the states say most about single words. Sentence
            encoders forget words towards the top; for other bodies it is their full depth.
        width: D. depth: number of layers.
    """

    def __init__(
        self, tokenizer: Tokenizer, body: nn.Module, *, source: Source, pooling: str, tagging_layer: int | None = None
    ) -> None:
        self.tokenizer, self.body, self.source, self.pooling = tokenizer, body, source, pooling
        self.layers: nn.ModuleList = getattr(*_holder(body))
        self._turn = _turn_of(body)
        self.tagging_layer = tagging_layer or self.depth
        body.eval()
        self._layer_returns = self._probe()

    @property
    def width(self) -> int:
        return int(self.body.config.hidden_size)  # type: ignore[union-attr,arg-type]

    @property
    def depth(self) -> int:
        return len(self.layers)

    @property
    def device(self) -> torch.device:
        """Where the body is, and so what `encode` makes."""
        return next(self.body.parameters()).device

    def encode(self, questions: Sequence[Question]) -> Batch:
        return self._lettered(self.tokenizer.batch(questions))

    def batches(self, questions: Sequence[Question], *, budget: int = 4096) -> Iterator[tuple[list[int], Batch]]:
        """`encode` in batches of like length, each with the places of its questions; `budget` pieces a batch."""
        for places, batch in self.tokenizer.batches(questions, budget=budget):
            yield places, self._lettered(batch)

    def upto(self, depth: int, *, shared: nn.Module | None = None) -> TextBackbone:
        """A copy of this backbone that ends after `depth` layers; nothing is shared, so it may be trained.

        Args:
            shared: a part of the body that is not copied after all.
        """
        body = copy.deepcopy(self.body, {id(shared): shared} if shared is not None else None)
        holder, name = _holder(body)
        setattr(holder, name, getattr(holder, name)[:depth])
        body.config.num_hidden_layers = depth  # type: ignore[union-attr]
        return TextBackbone(self.tokenizer, body, source=self.source, pooling=self.pooling, tagging_layer=depth)

    def prefix(self, batch: Batch, depth: int) -> Tensor:
        """States that enter layer `depth` (0: the embeddings), without gradient.  -> (W, T, D)"""
        return self.taps(batch, (depth,))

    def suffix(self, batch: Batch, states: Tensor, depth: int) -> Tensor:
        """The last layer's states, from those that enter layer `depth`.  (W, T, D) -> (B, T', D)"""
        if depth >= self.depth:
            return batch.stitched(states)
        with self._turn, self._resumed(states, depth):
            return batch.stitched(self.states(**self.given(batch)))

    def hidden(self, batch: Batch) -> Tensor:
        """(B, T', D)"""
        return batch.stitched(in_slices(self.states, self.given(batch)))

    def states(self, **given: Tensor) -> Tensor:
        """The last layer's states of the body's own arguments; threads take turns.  -> (W, T, D)"""
        with self._turn:
            return self.body(**given).last_hidden_state  # type: ignore[no-any-return]

    def taps(self, batch: Batch, depths: Sequence[int]) -> Tensor:
        """States after each of `depths` layers (rising), side by side, without gradient.  -> (W, T, len(depths) * D)"""
        with torch.no_grad():
            return in_slices(partial(self.taps_of, depths), self.given(batch))

    def taps_of(self, depths: Sequence[int], **given: Tensor) -> Tensor:
        """`taps` of the body's own arguments; layers above the last tap are not run."""
        with self._turn:  # what catches them hangs on the body, which other threads may share
            return self._caught(depths, given)

    def _caught(self, depths: Sequence[int], given: dict[str, Tensor]) -> Tensor:
        caught: dict[int, Tensor] = {}

        def catch_at(depth: int) -> Callable[..., None]:
            def catch(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                caught[depth] = args[0] if args else kwargs["hidden_states"]
                if depth == depths[-1]:
                    raise _Enough

            return catch

        inner = [depth for depth in depths if depth < self.depth]
        hooks = [self.layers[depth].register_forward_pre_hook(catch_at(depth), with_kwargs=True) for depth in inner]
        try:
            caught[self.depth] = self.body(**given).last_hidden_state
        except _Enough:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([caught[depth] for depth in depths], -1)

    def pool(self, batch: Batch, hidden: Tensor) -> Tensor:
        """One vector a question.  (B, T, D) -> (B, D)"""
        return hidden[:, 0] if self.pooling == "first" else mean_pool(hidden, batch.mask)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """One vector a text, of length one.  -> (K, D)"""
        batch = self.encode([Question((text,)) for text in texts])
        return nn.functional.normalize(self.pool(batch, self.hidden(batch)), dim=-1)

    def _lettered(self, batch: Batch) -> Batch:
        batch = moved(batch, self.device)
        if batch.spelt is None or not isinstance(self.body, LettersBody):
            return batch
        return replace(batch, letters=self.body.letters.beside(batch.spelt))

    def given(self, batch: Batch) -> dict[str, Tensor]:
        """What the body is called with."""
        kinds = {} if batch.kinds is None else {"token_type_ids": batch.kinds}
        letters = {} if batch.letters is None else {"letters": batch.letters}
        return {"input_ids": batch.ids, "attention_mask": batch.attended.long(), **kinds, **letters}

    def _probe(self) -> int:
        """How many values a layer returns in a tuple; 0 for a bare tensor."""
        seen: list[Any] = []
        hook = self.layers[0].register_forward_hook(lambda _, __, output: seen.append(output))
        with torch.no_grad(), self._turn:
            self.states(**self.given(self.encode([Question(("a",))])))
        hook.remove()
        return len(seen[0]) if isinstance(seen[0], tuple) else 0

    @contextmanager
    def _resumed(self, states: Tensor, depth: int) -> Iterator[None]:
        """Within, the body's own forward skips the layers below `depth` and enters that one with `states`.

        The body still makes its masks and position biases itself, which is why this works for every family.
        """
        resumed, skipped = self.layers[depth], list(self.layers)[:depth]
        inner: Callable[..., Any] = resumed.forward

        def enter(_: Tensor, *args: Any, **kwargs: Any) -> Any:
            return inner(states, *args, **kwargs)

        def skip(hidden: Tensor, *_: Any, **__: Any) -> Any:
            return (hidden, *[None] * (self._layer_returns - 1)) if self._layer_returns else hidden

        resumed.forward = enter
        for layer in skipped:
            layer.forward = skip
        try:
            yield
        finally:
            for layer in (resumed, *skipped):
                del layer.forward  # uncovers the method of the class


_TURNS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_MADE = threading.Lock()


def _turn_of(body: nn.Module) -> threading.RLock:
    """The lock of a body, whoever holds it."""
    with _MADE:
        return _TURNS.setdefault(body, threading.RLock())


SLICE = 64  # windows at once: a text of megabytes is as many thousands of pieces, and must not be held whole


def in_slices(run: Callable[..., Tensor], given: dict[str, Tensor]) -> Tensor:
    """`run` over at most `SLICE` windows at a time, unless gradients need them together."""
    number = len(given["input_ids"])
    if number <= SLICE or torch.is_grad_enabled():
        return run(**given)
    starts = range(0, number, SLICE)
    return torch.cat([run(**{name: each[at : at + SLICE] for name, each in given.items()}) for at in starts])


def _holder(body: nn.Module) -> tuple[nn.Module, str]:
    """The module that owns the list of layers, and the list's name there."""
    wanted = int(getattr(body.config, "num_hidden_layers", 0))
    for module in body.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == wanted > 0:
                return module, name
    raise ModelError(f"{type(body).__name__} has no list of {wanted} layers; lowrung needs a transformer encoder")
