"""What a body that was taught to restore characters says of each place of a text: log P over its vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.models.batch import autocast
from lowrung.models.text import TextBackbone

FILE = "saying.safetensors"  # beside the weights of the body
BUDGET = 2048  # pieces a batch
ABSENT = -14.0  # log P of a letter that the body does not know


class Saying(nn.Module):
    """From states to logits over the vocabulary, by the body's own embeddings.  V words, D wide."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.turn = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, states: Tensor, table: Tensor) -> Tensor:
        """(M, D), (V, D) -> (M, V)"""
        said: Tensor = self.norm(nn.functional.gelu(self.turn(states))) @ table.T + self.bias
        return said

    def save(self, folder: Path) -> None:
        state = {name: each.detach().to(torch.bfloat16).contiguous() for name, each in self.state_dict().items()}
        save_file(state, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Saying:
        """Raises ModelError where `save` wrote nothing there."""
        try:
            state = {name: each.float() for name, each in load_file(folder / FILE).items()}
            made = cls(state["turn.weight"].shape[0], state["bias"].shape[0])
            made.load_state_dict(state)
        except (OSError, KeyError, RuntimeError, SafetensorError) as problem:
            raise ModelError(f"{folder}: nothing there says characters ({problem})") from problem
        return made.requires_grad_(False)


class Restoring:
    """log P of letters in their places, by a backbone and its `Saying`."""

    def __init__(self, backbone: TextBackbone, saying: Saying) -> None:
        self.backbone, self.saying = backbone, saying
        named = backbone.body.named_parameters()
        self.table = next(each for name, each in named if name.endswith("word_embeddings.weight"))
        self._ids: dict[str, int | None] = {}

    @torch.no_grad()
    def __call__(
        self, texts: Sequence[str], places: Sequence[Sequence[int]], options: Sequence[Sequence[Sequence[str]]]
    ) -> list[list[NDArray[np.float32]]]:
        """For each text and place, log P of each of its options."""
        found: list[list[NDArray[np.float32]]] = [[] for _ in texts]
        asked = [at for at, each in enumerate(places) if each]
        for rows, batch in self.backbone.batches([Question((texts[at],)) for at in asked], budget=BUDGET):
            with autocast(self.backbone.device):
                hidden = batch.stitched(self.backbone.taps(batch, (self.backbone.depth,))).float()  # (B, T, D)
            for row, number in enumerate(rows):
                at = asked[number]
                begins = {
                    int(start): piece for piece, (start, end) in enumerate(batch.offsets[row].tolist()) if end > start
                }
                pieces = [begins.get(place, -1) for place in places[at]]
                states = hidden[row, [max(piece, 0) for piece in pieces]]
                logs = self.saying(states, self.table).log_softmax(-1).cpu().numpy()
                for place, (piece, letters) in enumerate(zip(pieces, options[at], strict=True)):
                    said = np.full(len(letters), ABSENT, dtype=np.float32)
                    for column, letter in enumerate(letters):
                        known = self._known(letter)
                        if known is not None and piece >= 0:
                            said[column] = logs[place, known]
                    found[at].append(said if piece >= 0 else np.zeros_like(said))
        return found

    def _known(self, letter: str) -> int | None:
        if letter not in self._ids:
            ((ids, _),) = self.backbone.tokenizer.pieces([letter])
            unknown = self.backbone.tokenizer.inner.unk_token_id
            self._ids[letter] = ids[0] if len(ids) == 1 and ids[0] != unknown else None
        return self._ids[letter]
