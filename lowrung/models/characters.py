"""A body that sees letters: what a word looks like as it is written is joined to what its pieces mean.

Subword bodies are blind to spelling: a typo breaks a word into pieces that mean something else, and an uncased body
sees no names. Here a small convolution over the letters of each word, case kept, gives a vector and a gate that are
joined to the embeddings of the word's pieces; every layer above reads both. The convolution keeps the most of each of
its channels, wherever it was met; which letter stands at which place may be added to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrung.models.batch import moved

LONGEST = 24  # letters that are read of a word; of a longer one the first 16 and the last 8
ALPHABET = 1024  # rows of the letter table: ASCII has its own, other code points share the rest
BEGIN, END = 1, 2
KEPT = 100_000  # words whose vectors are remembered while nothing moves


@dataclass(frozen=True, slots=True)
class Spelt:
    """U words as rows of the letter table, and which of them, from 1, each piece belongs to; 0 where it is none.

    Shape:
        letters, capitals: (U, C) · at: (W, T)
    """

    letters: Tensor
    capitals: Tensor
    at: Tensor

    @classmethod
    def of(cls, spelt: Sequence[Sequence[str]], length: int) -> Spelt:
        """W rows of a word a piece, "" where it is none, filled up to T = `length`."""
        words = list(dict.fromkeys(word for row in spelt for word in row if word))
        at = _places(words, spelt)
        return cls(*_spellings(words), F.pad(at, (0, length - at.shape[1])))


class Letters(nn.Module):
    """The letters of words -> a vector a word, with a gate as its last column.

    Shape:
        forward: U words -> (U, D + 1)

    Args:
        width: D of the body. size: of a letter's vector. channels: of the two convolutions.
        places: whether the vector also tells the letters by their places.
    """

    def __init__(self, width: int, *, size: int = 64, channels: int = 384, places: bool = False) -> None:
        super().__init__()
        self.letter = nn.Embedding(ALPHABET, size, padding_idx=0)
        self.capital = nn.Embedding(2, size)
        self.first = nn.Conv1d(size, channels, 3, padding=1)
        self.second = nn.Conv1d(channels, channels, 3, padding=1)
        self.out = nn.Linear(channels, width + 1)
        nn.init.zeros_(self.out.weight)  # a fresh one changes nothing
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.bias[-1] = -4.0
        self.places = nn.Linear((LONGEST + 2) * size, width, bias=False) if places else None
        if self.places:
            nn.init.zeros_(self.places.weight)
        self._kept: dict[str, Tensor] = {}

    def forward(self, words: Sequence[str]) -> Tensor:
        ids, capitals = (each.to(self.out.weight.device) for each in _spellings(words))
        return self.read(ids, capitals)

    def read(self, ids: Tensor, capitals: Tensor) -> Tensor:
        """`forward` of spellings.  (U, C), (U, C) -> (U, D + 1)"""
        return self.read_states(self.letter(ids) + self.capital(capitals), ids > 0)

    def read_states(self, states: Tensor, there: Tensor) -> Tensor:
        """`forward` of the vectors of letters, and which of them there are.  (U, C, S), (U, C) -> (U, D + 1)"""
        seen = there[:, None]  # (U, 1, C)
        spelt = states.transpose(1, 2) * seen  # (U, S, C)
        states = F.gelu(self.first(spelt)) * seen
        states = (states + F.gelu(self.second(states))) * seen
        made: Tensor = self.out(states.masked_fill(~seen, -1e4).amax(2))
        if self.places:
            whole = F.pad(spelt, (0, LONGEST + 2 - spelt.shape[2]))  # place by place: (U, C', S)
            placed = self.places(whole.transpose(1, 2).flatten(1))
            made = made + F.pad(placed, (0, 1))
        return made

    def beside(self, spelt: Sequence[Sequence[str]]) -> Tensor:
        """One vector a piece, that of its word; zeros and a closed gate at "".  W rows of T words -> (W, T, D + 1)"""
        words = list(dict.fromkeys(word for row in spelt for word in row if word))
        return self.laid(self._table(words), moved(_places(words, spelt), self.out.weight.device))

    def placed(self, spelt: Spelt) -> Tensor:
        """`beside` of words that are spelt out already; nothing is remembered."""
        return self.laid(self.read(spelt.letters, spelt.capitals), spelt.at)

    def laid(self, table: Tensor, at: Tensor) -> Tensor:
        """The row of each piece, counted from 1; zeros and a closed gate at 0.  (U, D + 1), (W, T) -> (W, T, D + 1)"""
        nothing = F.pad(self.out.weight.new_full((1, 1), -1e4), (table.shape[1] - 1, 0))
        made: Tensor = torch.cat([nothing, table])[at]
        return made

    def _table(self, words: Sequence[str]) -> Tensor:
        if torch.is_grad_enabled() and self.out.weight.requires_grad:
            self._kept.clear()  # they are about to move
            return self.forward(words)
        new = [word for word in words if word not in self._kept]
        if len(self._kept) + len(new) > KEPT:
            self._kept.clear()
            new = list(words)
        with torch.no_grad():
            for begin in range(0, len(new), 512):
                part = new[begin : begin + 512]
                self._kept |= zip(part, self(part), strict=True)
        return torch.stack([self._kept[word] for word in words]) if words else self.forward([])

    def settings(self) -> dict[str, Any]:
        """What it was made with, beside the width."""
        shape = {"size": self.letter.embedding_dim, "channels": self.first.out_channels}
        return shape | ({"places": True} if self.places else {})

    def train(self, mode: bool = True) -> Letters:
        self._kept.clear()
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Letters:
        self._kept.clear()  # they move to another device or type
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Letters:
        made = Letters(self.out.out_features - 1, **self.settings())
        made.load_state_dict(self.state_dict())
        for ours, theirs in zip(self.parameters(), made.parameters(), strict=True):
            theirs.requires_grad_(ours.requires_grad)
        memo[id(self)] = made
        return made.train(self.training)


class LettersBody(nn.Module):
    """A BERT whose embeddings are joined with `letters`: piece * (1 - gate) + letters.

    Args:
        bert: a transformers body with `embeddings.word_embeddings` and `inputs_embeds`.
    """

    def __init__(self, bert: nn.Module, letters: Letters) -> None:
        super().__init__()
        self.bert, self.letters = bert, letters
        self.config = bert.config

    @property
    def table(self) -> nn.Module:
        """The embeddings of pieces."""
        return self.bert.embeddings.word_embeddings  # type: ignore[union-attr,return-value]

    def forward(
        self,
        input_ids: Tensor | None = None,
        letters: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **given: Any,
    ) -> Any:
        """(W, T) or its embeddings (W, T, D), (W, T, D + 1) -> what the body gives, `last_hidden_state` among it"""
        states = self.table(input_ids) if inputs_embeds is None else inputs_embeds
        if letters is not None:
            seen, gate = letters[..., :-1], letters[..., -1:].sigmoid()
            states = states * (1 - gate) + seen
        return self.bert(inputs_embeds=states, **given)


def spelling(word: str) -> list[tuple[int, int]]:
    """(row of the letter table, whether it is a capital) of each letter between a beginning and an end."""
    cut = word if len(word) <= LONGEST else word[:16] + word[-8:]
    letters = [(_row(letter), int(letter.isupper())) for letter in cut]
    return [(BEGIN, 0), *letters, (END, 0)]


def _spellings(words: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The rows of the letter table and which are capitals, of each word.  -> (U, C), (U, C)"""
    spelt = [spelling(word) for word in words]
    return _padded([[row for row, _ in each] for each in spelt]), _padded(
        [[large for _, large in each] for each in spelt]
    )


def _places(words: Sequence[str], spelt: Sequence[Sequence[str]]) -> Tensor:
    """Which of `words`, from 1, each piece belongs to, 0 where it is none.  -> (W, T)"""
    place = {word: at for at, word in enumerate(words, 1)}
    return _padded([[place.get(word, 0) for word in row] for row in spelt])


def _row(letter: str) -> int:
    code = ord(letter.lower()[0])
    return code if 3 <= code < 128 else 128 + code % (ALPHABET - 128)


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True) if rows else torch.zeros(0, 1, dtype=torch.long)
