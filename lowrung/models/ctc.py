"""States to letters without an alignment: a CTC head (Graves et al. 2006) over an alphabet of any script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLANK = 0


class CTC(nn.Module):
    """A head that says at each state which symbol begins there, or none.

    Args:
        alphabet: the symbols, the blank not among them. width: D.
    """

    def __init__(self, alphabet: Sequence[str], width: int) -> None:
        super().__init__()
        self.alphabet = tuple(alphabet)
        self.out = nn.Linear(width, len(self.alphabet) + 1)
        self._places = {symbol: at for at, symbol in enumerate(self.alphabet, 1)}

    def with_letters(self, texts: Iterable[str]) -> CTC:
        """The same head, which knows the letters of `texts` as well; those that it lacked begin unlikely."""
        new = [each for each, _ in Counter(letter for text in texts for letter in text).most_common()]
        more = [each for each in new if each not in self._places]
        made = CTC((*self.alphabet, *more), self.out.in_features)
        with torch.no_grad():
            made.out.weight.zero_()
            made.out.bias.fill_(float(self.out.bias.min()))
            made.out.weight[: len(self.alphabet) + 1] = self.out.weight
            made.out.bias[: len(self.alphabet) + 1] = self.out.bias
        return made

    def forward(self, states: Tensor) -> Tensor:
        """log P of each symbol, the blank first.  (B, T', D) -> (B, T', V)"""
        said: Tensor = self.out(states).float().log_softmax(-1)
        return said

    def ids(self, text: str) -> list[int]:
        """The symbols of a text; letters that the alphabet lacks are passed over."""
        return [self._places[letter] for letter in text if letter in self._places]

    def loss(self, logs: Tensor, lengths: Tensor, texts: Sequence[str]) -> Tensor:
        """The mean over texts of -log P(text) a symbol; texts too long for their states count for nothing.

        Shape: logs (B, T', V), lengths (B,).
        """
        wanted = [torch.tensor(self.ids(text), dtype=torch.long) for text in texts]
        sizes = torch.tensor([len(each) for each in wanted])
        flat = torch.cat(wanted) if wanted else torch.zeros(0, dtype=torch.long)
        each = F.ctc_loss(
            logs.transpose(0, 1), flat.to(logs.device), lengths, sizes.to(logs.device),
            blank=BLANK, reduction="none", zero_infinity=True,
        )  # fmt: skip
        return (each / sizes.to(logs.device).clamp(min=1)).mean()
