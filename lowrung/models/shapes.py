"""What the letters of a word show on the outside: case, digits, place.

Uncased bodies cannot see it, names are full of it.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from lowrung.core.words import words

NAMELIKE = 0  # the column that says «capitalised where nothing but a name would be»
COLUMNS = 17
SHORT, KEPT = 1000, 10_000  # letters of the texts that are remembered, and how many: 400 MB at most


def looks(text: str) -> tuple[Tensor, Tensor]:
    """Where the words of `text` lie, and how they look.  -> (N, 2) int64, (N, 3 * COLUMNS) float32

    The three blocks of columns are the word's own, its left and its right neighbour's.
    """
    return _kept(text) if len(text) <= SHORT else _looks(text)


def _looks(text: str) -> tuple[Tensor, Tensor]:
    spans = words(text)
    if not spans:
        return torch.zeros(0, 2, dtype=torch.long), torch.zeros(0, 3 * COLUMNS)
    own = torch.tensor(_own(text, spans), dtype=torch.float32)
    nothing = torch.zeros(1, COLUMNS)
    left, right = torch.cat([nothing, own[:-1]]), torch.cat([own[1:], nothing])
    return torch.tensor(spans), torch.cat([own, left, right], 1)


_kept = lru_cache(maxsize=KEPT)(_looks)  # a study asks for the same texts in every cell
forget = _kept.cache_clear


def _own(text: str, spans: list[tuple[int, int]]) -> list[list[float]]:
    found = [text[start:end] for start, end in spans]
    lettered = [word for word in found if word[0].isalpha()]
    upper_share = sum(word[0].isupper() for word in lettered) / max(1, len(lettered))
    shouting = upper_share > 0.8 and len(lettered) > 4  # a headline: capitals say nothing there
    rows = []
    for at, word in enumerate(found):
        before = found[at - 1] if at else ""
        after = found[at + 1] if at + 1 < len(found) else ""
        capital = word[0].isupper()
        opens = at == 0 or before in (".", "!", "?", ":", "“", '"', "—")
        namelike = capital and not shouting and (not opens or after[:1].isupper())
        rows.append(
            [
                float(each)
                for each in (
                    namelike,
                    capital,
                    len(word) > 1 and word.isupper(),
                    word.islower(),
                    any(letter.isdigit() for letter in word),
                    word.isdigit(),
                    not any(letter.isalnum() for letter in word),
                    any(letter.isupper() for letter in word[1:]),
                    len(word) == 1,
                    len(word) > 6,
                    at == 0,
                    opens,
                    at > 0 and spans[at - 1][1] == spans[at][0],
                    at + 1 < len(found) and spans[at + 1][0] == spans[at][1],
                    before in ("@", "#") or word in ("@", "#"),
                    upper_share,
                    shouting,
                )
            ]
        )
    return rows
