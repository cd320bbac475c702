"""Counts which letter follows which: writes lowrung/models/sequences-zh.xz.

    pip install opencc-python-reimplemented
    .venv/bin/python -m recipes.sequences

What is written holds n-grams of letters with their probabilities, no text.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lowrung.models.lexicon import HOME
from lowrung.models.sequences import FIRST, Alphabet, Grams, Sequences
from recipes import chinese

MOST = 5_900  # letters and marks
LEAST = {chinese.WRITTEN: (0, 1.0, 3.8, 4.8), chinese.SPOKEN: (0, 0.3, 0.9, 1.4)}  # nats that an n-gram is worth
LIMIT = 15_000_000  # bytes
STEPS = 12  # of looking for the shares


def kept(kind: str) -> list[str]:
    return [line for line in chinese.lines(kind) if not chinese.held(line)]


def main(path: Path = HOME / "sequences-zh.xz") -> None:
    texts = {kind: kept(kind) for kind in LEAST}
    spoken = texts[chinese.SPOKEN]
    alphabet = Alphabet.count([*texts[chinese.WRITTEN], *(line for line in spoken for _ in range(6))], MOST)
    grams = tuple(Grams.count(texts[kind], alphabet, least=least) for kind, least in LEAST.items())
    asked = [line for line in chinese.lines(chinese.SPOKEN) if chinese.held(line)]
    ids = alphabet.ids("\n" + "\n".join(asked) + "\n")
    rows = np.stack([ids[at : len(ids) - 3 + at] for at in range(4)], axis=1)
    rows = rows[rows[:, 3] >= FIRST]
    said = np.exp(np.stack([each.log(rows) for each in grams]))  # (G, M)
    shares = np.full(len(grams), 1 / len(grams))
    for _ in range(STEPS):  # by expectation and maximisation
        parts = shares[:, None] * said
        shares = (parts / parts.sum(0)).mean(1)
    made = Sequences(alphabet, grams, tuple(shares.round(3).tolist()))
    made.save(path)
    loss = -float(np.log((shares[:, None] * said).sum(0)).mean())
    sizes = [[len(keys) for keys in each.keys] for each in grams]
    print(f"{sizes} n-grams, shares {made.shares}, {path.stat().st_size:,} bytes")
    print(f"{loss:.3f} nats a letter of held-out talk; alone: {-np.log(said).mean(1)}")
    if path.stat().st_size > LIMIT:
        raise SystemExit("these are too many bytes: raise LEAST")


if __name__ == "__main__":
    main()
