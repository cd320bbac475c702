"""What stands around a word says which of its options is meant: scores by the states of a body that reads letters."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from lowrung.core.edits import Edit
from lowrung.core.parts import Question
from lowrung.models.batch import autocast, moved, pad
from lowrung.models.corrector import NEVER, Slot
from lowrung.models.heads import states_at
from lowrung.models.pieces import Tokenizer
from lowrung.models.text import TextBackbone

CASES = 4  # lower, Capital, UPPER, mIxed
KEPT = 100_000  # texts whose keys are remembered
BUDGET = 1024  # pieces a batch
SURE = 4.0  # logits that the best of a slot is ahead by where nothing is asked: hardly any such decision ever turned


def case_of(text: str) -> int:
    return 0 if text.islower() else 1 if text[:1].isupper() and text[1:].islower() else 2 if text.isupper() else 3


class Reader(nn.Module):
    """Of states and of what may stand in their place, how well they go together.

    A state is turned into a question, a text into a key, by the mean of its pieces' own embeddings; their product is
    the score, to which come what the state says of the capitals there, and that anything but what stands there is
    meant at all.

    Args:
        width: D of the body. taps: how many layers' states lie side by side. size: H of questions and keys.

    Attributes:
        powers: (3,) of the product, of the capitals, and of that anything else is meant. Practice has other capitals
            and far more slips than texts have, so that these are found on texts.
    """

    powers: Tensor

    def __init__(self, width: int, *, taps: int = 2, size: int = 256) -> None:
        super().__init__()
        self.size = size
        self.ask = nn.Linear(taps * width, size)
        self.key = nn.Sequential(nn.Linear(width, 2 * size), nn.GELU(), nn.Linear(2 * size, size))
        self.case = nn.Linear(taps * width, CASES)
        self.other = nn.Linear(taps * width, 1)
        self.register_buffer("powers", torch.ones(3))

    def forward(self, states: Tensor, keys: Tensor, cases: Tensor, kept: Tensor) -> Tensor:
        """What each option's logarithm gains.  (S, taps * D), (S, K, H), (S, K), (K,) -> (S, K)

        Args:
            cases: `case_of` each option. kept: 1 at the option that stands there already, 0 at others.
        """
        return self.parts(states, keys, cases, kept) @ self.powers

    def parts(self, states: Tensor, keys: Tensor, cases: Tensor, kept: Tensor) -> Tensor:
        """The three that `forward` weighs.  -> (S, K, 3)"""
        product = (keys @ self.ask(states)[..., None])[..., 0] / self.size**0.5
        capitals = self.case(states).log_softmax(-1).gather(1, cases)
        other = self.other(states) * (1 - kept)
        return torch.stack([product, capitals, other.expand_as(product)], -1)


class InContext:
    """A Context of correctors.

    Args:
        backbone: a body that reads letters. table: where the keys come from: the body that it was built on.
        depths: the layers whose states the reader was taught on.
    """

    def __init__(self, backbone: TextBackbone, reader: Reader, table: TextBackbone, depths: Sequence[int]) -> None:
        self.backbone = copy.copy(backbone)  # to be told what others have mended already
        pieces = backbone.tokenizer
        self.backbone.tokenizer = Tokenizer(pieces.inner, longest=pieces.longest, spell=True, mend=self._mended)
        self._turn = threading.RLock()
        self._mends: dict[str, tuple[Edit, ...]] = {}
        self.reader, self.table, self.depths = reader.eval(), table, tuple(depths)
        self._rows: dict[str, int] = {}
        self._keys = reader.powers.new_zeros(0, reader.size)
        self._cases = torch.zeros(0, dtype=torch.long)

    def __call__(self, texts: Sequence[str], slots: Sequence[Sequence[Slot]]) -> list[list[list[float]]]:
        """For each text, slot and option what its logarithm gains; 0 where the slot is `SURE` already."""
        found: list[list[list[float]]] = self._asked(texts, slots, self.reader, SURE)
        return found

    def parts(self, texts: Sequence[str], slots: Sequence[Sequence[Slot]]) -> list[list[list[list[float]]]]:
        """The same as the three numbers that the reader weighs."""
        found: list[list[list[list[float]]]] = self._asked(texts, slots, self.reader.parts, NEVER)
        return found

    @torch.no_grad()
    def _asked(
        self, texts: Sequence[str], slots: Sequence[Sequence[Slot]], read: Callable[..., Tensor], sure: float
    ) -> Any:
        with self._turn:  # what was mended and the keys are one call's; before the body's own turn, never within it
            return self._read(texts, slots, read, sure)

    def _read(
        self, texts: Sequence[str], slots: Sequence[Sequence[Slot]], read: Callable[..., Tensor], sure: float
    ) -> list[list[Any]]:
        self._mends = {text: _best(each) for text, each in zip(texts, slots, strict=True)}
        found: list[list[Any]] = [[[0.0] * len(slot.options) for slot in row] for row in slots]
        open_ = [[at for at, slot in enumerate(row) if slot.ahead < sure] for row in slots]
        asked = [at for at, each in enumerate(open_) if each]
        for places, batch in self.backbone.batches([Question((texts[at],)) for at in asked], budget=BUDGET):
            with autocast(self.backbone.device):
                hidden = batch.stitched(self.backbone.taps(batch, self.depths))
            chosen = [[slots[asked[place]][at] for at in open_[asked[place]]] for place in places]
            lie = Places.of([[(each.start, each.end) for each in row] for row in chosen])
            states = slot_states(hidden, batch.offsets, moved(lie, hidden.device))
            flat = [slot for row in chosen for slot in row]
            rows = self._known([[option.text for option in slot.options] for slot in flat])  # (S, K)
            cases = self._cases[rows].to(hidden.device)
            scores = iter(read(states, self._keys[rows], cases, stands(rows.shape[1], hidden.device)).tolist())
            for place, row in zip(places, chosen, strict=True):
                for at, slot in zip(open_[asked[place]], row, strict=True):
                    found[asked[place]][at] = next(scores)[: len(slot.options)]
        return found

    def _mended(self, texts: Sequence[str]) -> list[tuple[Edit, ...]]:
        return [self._mends[text] for text in texts]

    def _known(self, options: Sequence[Sequence[str]]) -> Tensor:
        """The rows of `_keys` of each slot's options; those that are new are added.  S rows of texts -> (S, K)"""
        if len(self._rows) > KEPT:
            self._rows, self._keys, self._cases = {}, self._keys[:0], self._cases[:0]
        new = [text for text in dict.fromkeys(text for row in options for text in row) if text not in self._rows]
        if new:
            self._rows |= {text: len(self._rows) + at for at, text in enumerate(new)}
            coded = moved(Coded.of(self.table.tokenizer, new), self.table.device)
            self._keys = torch.cat([self._keys, self.reader.key(embedded_means(self.table, coded))])
            self._cases = torch.cat([self._cases, torch.tensor([case_of(text) for text in new])])
        return pad([torch.tensor([self._rows[text] for text in row]) for row in options])


def _best(slots: Sequence[Slot]) -> tuple[Edit, ...]:
    """What is the best in its slot so far, of slots that lie apart."""
    found: list[Edit] = []
    for slot in slots:
        if slot.best != slot.options[0].text and (not found or found[-1].end <= slot.start):
            found.append(Edit(slot.start, slot.end, slot.best))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Coded:
    """Texts as pieces. flat: those of all texts one after the other · starts: (K,) where each text's begin."""

    flat: Tensor
    starts: Tensor

    @classmethod
    def of(cls, tokenizer: Tokenizer, texts: Sequence[str]) -> Coded:
        coded = [ids or [tokenizer.pad] for ids, _ in tokenizer.pieces(list(texts))]
        starts = [0, *accumulate(len(ids) for ids in coded)][:-1]
        return cls(torch.tensor([each for ids in coded for each in ids]), torch.tensor(starts))


@dataclass(frozen=True, slots=True)
class Places:
    """Places in B texts. spans: (B, N, 2) start..end, filled up · rows: (S,) which of the B * N are places."""

    spans: Tensor
    rows: Tensor

    @classmethod
    def of(cls, places: Sequence[Sequence[tuple[int, int]]]) -> Places:
        spans = pad([torch.tensor(each or [(0, 1)]) for each in places])
        rows = [at * spans.shape[1] + place for at, each in enumerate(places) for place in range(len(each))]
        return cls(spans, torch.tensor(rows, dtype=torch.long))


def stands(options: int, device: torch.device) -> Tensor:
    """1 at the first option of a slot, which is what stands there, 0 at the others.  -> (K,)"""
    return (torch.arange(options, device=device) == 0).float()


def embedded_means(backbone: TextBackbone, texts: Coded) -> Tensor:
    """The mean of the body's own embeddings of each text's pieces.  -> (K, D)"""
    table = next(each for name, each in backbone.body.named_parameters() if name.endswith("word_embeddings.weight"))
    return nn.functional.embedding_bag(texts.flat, table, texts.starts, mode="mean")


def slot_states(hidden: Tensor, offsets: Tensor, places: Places) -> Tensor:
    """The mean state of each place, of all texts one after the other.  (B, T, D) -> (S, D)"""
    return states_at(hidden, offsets, places.spans).flatten(0, 1)[places.rows]
