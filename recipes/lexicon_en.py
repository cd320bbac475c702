"""Counts the English lexicon from raw text.

    .venv/bin/python -m recipes.lexicon_en

Reads, in the folder `LOWRUNG_DATA` (default: `../shared/data` beside the repository), the English texts of corpus/ and
its word lists; writes lowrung/models/lexicon-en.tsv.xz, which holds counts of words, no text.
"""

from __future__ import annotations

import lzma
import os
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from lowrung.models.lexicon import HOME, SUFFIX, Lexicon, fold

DATA = Path(os.environ.get("LOWRUNG_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data") / "corpus"
TEXTS = "enwiki2015_core enwikinews gutenberg_misc masc_sentences commonvoice_sentences_en sgd_dialogues".split()
MOST = 90_000  # folded words that are kept because they are common
RARE = 4  # times that a word without capitals is met to be kept besides
SHARE = 0.005  # of a word's count: forms met less often are slips of the shift key
UNLIKELY = 1000  # times commoner: beside such a word a rare one at distance 1 is most likely its misspelling
FREQUENT = 1500  # ranks of words that pairs are made of
PAIRED = 400  # times that a pair is met to be kept
UNLIKELY_PAIR = 30  # times commoner: beside such a pair the same letters in one are its misspelling
LIMIT = 1_500_000  # bytes
HELD = 300  # one line of so many is held out, to measure on


def lines(*, held: bool) -> Iterator[str]:
    """The lines that are counted, or those that are held out."""
    for name in TEXTS:
        with lzma.open(DATA / f"{name}.txt.xz", "rt", encoding="utf-8") as text:
            yield from (line for at, line in enumerate(text) if (at % HELD == 0) == held)


def listed() -> tuple[set[str], set[str]]:
    """Folded words that a dictionary has, and those that it or a pronouncing dictionary has, where slips stand, too."""
    words = {fold(line.strip()) for line in (DATA / "wordlists/english_words_unix.txt").open(encoding="utf-8")}
    spoken = {fold(line.split()[0]) for line in (DATA / "wordlists/cmudict_0.6.txt").open(encoding="utf-8")}
    return words, words | spoken


def together(words: set[str]) -> dict[str, int]:
    """Pairs of `words` that are met side by side often enough to be written as one by mistake."""
    found = Counter[str]()
    for line in lines(held=False):
        parts = line.lower().split()
        found.update(f"{one} {two}" for one, two in pairwise(parts) if one in words and two in words)
    return {pair: number for pair, number in found.items() if number >= PAIRED}


def misspelling(word: str, lexicon: Lexicon) -> bool:
    limit = UNLIKELY * lexicon.times(word)
    return any(each.count > limit for each in lexicon.candidates(word, 20, reach=1)[1:] if each.kind == "word")


def main() -> None:
    (sure, known), counted = listed(), Lexicon.count(lines(held=False))
    ranked = sorted({fold(word) for word in counted.counts}, key=lambda word: -counted.times(word))
    words = set(ranked[:MOST])
    words |= {word for word in ranked[MOST:] if word in known or counted.counts.get(word, 0) >= RARE}
    forms = {form: n for form, n in counted.counts.items() if fold(form) in words and n >= SHARE * counted.times(form)}
    all_of_them = Lexicon(forms)
    dropped = {word for word in words if word not in known and misspelling(word, all_of_them)}
    pairs = together(set(ranked[:FREQUENT]))
    joined = {pair.replace(" ", ""): number for pair, number in pairs.items()}
    low = {word for word in words if next(iter(all_of_them.forms(word))).islower()}  # and so no name
    doubtful = (words - known) | (low - sure)
    dropped |= {word for word in doubtful if all_of_them.times(word) * UNLIKELY_PAIR < joined.get(word, 0)}
    kept = {form: number for form, number in forms.items() if fold(form) not in dropped} | pairs
    made, path = Lexicon(kept), HOME / f"lexicon-en{SUFFIX}"
    made.save(path)
    if path.stat().st_size > LIMIT:
        raise SystemExit(f"{path.stat().st_size:,} bytes are too many: lower MOST")
    print(f"{len(made):,} words in {len(kept):,} forms of {made.total:,} met; {len(dropped):,} dropped as misspellings")
    print(f"{path.stat().st_size:,} bytes; dropped: {' '.join(sorted(dropped)[:: max(1, len(dropped) // 60)])}")


if __name__ == "__main__":
    main()
