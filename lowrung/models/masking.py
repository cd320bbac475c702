"""Guessing hidden pieces (Devlin et al. 2019): what any encoder can learn from raw text alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrung.core.errors import ModelError
from lowrung.models.batch import pad
from lowrung.models.pieces import Tokenizer
from lowrung.models.text import TextBackbone

HIDDEN = 0.15  # of the pieces
BLANKED, SWAPPED = 0.8, 0.1  # of those: a mask stands there, any piece stands there; the rest stay
LENGTH = 128  # pieces of a window, special ones included
SHORTEST = 8  # pieces of a window


class Guess(NamedTuple):
    """Windows with pieces hidden.

    Shape:
        ids, attended: (W, T) · hidden: (W, T), where pieces are to be guessed · meant: (N,), those pieces
    """

    ids: Tensor
    attended: Tensor
    hidden: Tensor
    meant: Tensor


class Guesser(nn.Module):
    """From the state of a hidden piece to scores of all pieces, held against the body's own embeddings of them.

    Shape:
        states: (N, D) · table: (V, E) · scores: (N, V)
    """

    def __init__(self, table: Tensor, *, width: int) -> None:
        super().__init__()
        size, inner = table.shape
        self.dense, self.norm = nn.Linear(width, inner), nn.LayerNorm(inner)
        self.bias = nn.Parameter(torch.zeros(size))
        if width == inner:  # states lie closer to the embeddings than noise does
            nn.init.eye_(self.dense.weight)
            nn.init.zeros_(self.dense.bias)

    def forward(self, states: Tensor, table: Tensor) -> Tensor:
        made: Tensor = self.norm(F.gelu(self.dense(states))) @ table.T + self.bias
        return made


class Masking:
    """A body with all that it needs to guess hidden pieces.

    Args:
        backbone: trained in place.

    Raises:
        ModelError: the body has no table of its pieces, or its tokenizer nothing to put in a piece's place.
    """

    def __init__(self, backbone: TextBackbone) -> None:
        self.backbone, self.tokenizer = backbone, backbone.tokenizer
        inner = self.tokenizer.inner
        table = getattr(backbone.body, "get_input_embeddings", lambda: None)()
        blank = inner.mask_token_id if inner.mask_token_id is not None else inner.unk_token_id
        if not isinstance(table, nn.Embedding) or blank is None:
            lacks = "mask and no unknown piece" if isinstance(table, nn.Embedding) else "table of pieces"
            raise ModelError(f"{backbone.source.name}: has no {lacks}, and cannot be practised by hiding pieces")
        self.table, self.blank = table, int(blank)
        special = set(inner.all_special_ids)
        self.ordinary = torch.tensor(
            [each for each in range(min(len(inner), table.num_embeddings)) if each not in special]
        )
        self.guesser = Guesser(table.weight, width=backbone.width)
        backbone.body.requires_grad_(True)

    def moving(self) -> dict[str, Tensor]:
        """Name → everything that training changes."""
        body = {f"body.{name}": each for name, each in self.backbone.body.named_parameters()}
        return {**body, **{f"head.{name}": each for name, each in self.guesser.named_parameters()}}

    def hide(self, windows: Sequence[Sequence[int]], seed: int) -> Guess:
        """The windows between their special pieces, some pieces hidden; which ones follows from `seed`."""
        random = torch.Generator().manual_seed(seed)
        before, after = self.tokenizer.frame.before, self.tokenizer.frame.after
        ids = pad([torch.tensor([*before, *each, *after]) for each in windows], self.tokenizer.pad)
        attended = pad([torch.ones(len(each) + self.tokenizer.frame.single, dtype=torch.bool) for each in windows])
        open_ = torch.zeros_like(attended)
        for row, each in enumerate(windows):
            open_[row, len(before) : len(before) + len(each)] = True
        drawn = torch.rand(ids.shape, generator=random)
        hidden = open_ & (drawn < HIDDEN)
        if not hidden.any():
            hidden[0, len(before)] = True
        meant, how = ids[hidden], drawn[hidden] / HIDDEN  # evenly in [0, 1]
        others = self.ordinary[torch.randint(len(self.ordinary), meant.shape, generator=random)]
        swapped = torch.where(how < BLANKED + SWAPPED, others, meant)
        ids[hidden] = torch.where(how < BLANKED, torch.full_like(meant, self.blank), swapped)
        return Guess(ids, attended, hidden, meant)

    def scores(self, guess: Guess) -> Tensor:
        """-> (N, V)"""
        kinds = self.tokenizer.frame.kinds
        types = {} if kinds is None else {"token_type_ids": torch.full_like(guess.ids, kinds[0])}
        states = self.backbone.body(input_ids=guess.ids, attention_mask=guess.attended.long(), **types)
        made: Tensor = self.guesser(states.last_hidden_state[guess.hidden].float(), self.table.weight)
        return made


def windows(tokenizer: Tokenizer, documents: Iterable[Sequence[str]], length: int = LENGTH) -> Iterator[list[int]]:
    """The pieces of each document's lines one after the other, cut into windows; a last one that is too short goes."""
    room = min(length, tokenizer.longest) - tokenizer.frame.single
    for document in documents:
        pieces = [each for ids, _ in tokenizer.pieces([line for line in document if line.strip()]) for each in ids]
        for at in range(0, len(pieces), room):
            if len(pieces) - at >= min(SHORTEST, room):
                yield pieces[at : at + room]
