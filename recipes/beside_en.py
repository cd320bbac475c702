"""Counts which English words follow which, for the corrector to go by.

    .venv/bin/python -m recipes.beside_en

Reads the texts that recipes.lexicon_en reads and the lexicon that it wrote; writes lowrung/models/beside-en.xz. One
block of lines in five is left out, for a body to be practised on text that the counts do not know.
"""

from __future__ import annotations

import argparse
import lzma
from collections.abc import Iterator
from pathlib import Path

from lowrung.models.beside import Beside
from lowrung.models.lexicon import HOME, lexicon
from recipes.lexicon_en import DATA, TEXTS

BLOCK, HELD = 64, 5  # lines a block; one block of so many is held out
MOST = 60_000  # words that are told apart
LEAST = (2, 3)  # times that pairs, and that triples are met to be kept


def lines(*, held: bool) -> Iterator[str]:
    for name in TEXTS:
        yield from lines_of(DATA / f"{name}.txt.xz", held=held)


def lines_of(file: Path, *, held: bool) -> Iterator[str]:
    """The lines of a text that are counted, or those that are held out."""
    with lzma.open(file, "rt", encoding="utf-8") as text:
        yield from (line.strip() for at, line in enumerate(text) if (at // BLOCK % HELD == 0) == held)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    words = lexicon("en")
    known = {word for form in words.counts if " " not in (word := form.lower())}
    units = sorted(known, key=lambda word: (-words.times(word), word))[:MOST]
    made = Beside.count(lines(held=False), units, least=LEAST)
    path = HOME / "beside-en.xz"
    made.save(path)
    told = ", ".join(f"{len(keys):,} of {at}" for at, (keys, _) in enumerate(made.several, 2))
    print(f"{len(units):,} words, n-grams: {told}; {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
