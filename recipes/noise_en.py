"""Counts English noise: writes lowrung/data/noise-en.json from misspelling pairs and a pronouncing dictionary.

    .venv/bin/python -m recipes.noise_en

Reads, in the folder `LOWRUNG_DATA` (default: `../shared/data` beside the repository), spelling/birkbeck and
spelling/wikipedia_misspellings (source → target words), g2p/cmudict (word, phones) and the 50,000 commonest words of
corpus/wordlists. What is written holds counts of letter patterns and pairs of frequent words, no misspelt word.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lowrung.data.letters import changes, slips
from lowrung.data.noise import HOME, LONGEST, Noise

DATA = Path(os.environ.get("LOWRUNG_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
FREQUENT = 12_000  # ranks of words that are mistaken for each other
NEARLY = 6_000  # ranks of words that only nearly sound alike, or that writers were seen to mistake
LONG = 6  # letters; of shorter words only commoner ones count, for the rare ones are names and noises
CLITIC_BASES = 60  # ranks of words before 's, 're and their like; else each noun would bring its genitive
CLITICS = ("'s", "'re", "'ve", "'ll", "'d")
MOST = 5  # words that one word is mistaken for
LIMIT = 300_000  # bytes
# phones that are taken for each other: weak and neighbouring vowels, voiced and voiceless consonants
CLOSE = [set(each.split()) for each in ("AH IH EH AE", "AH AO AA", "UH UW", "IY IH", "EH EY", "S Z", "F V", "T D")]


def rows(name: str, split: str) -> Iterator[dict[str, Any]]:
    with gzip.open(DATA / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def pairs() -> Iterator[tuple[str, str]]:
    for name in ("spelling/birkbeck", "spelling/wikipedia_misspellings"):
        for row in rows(name, "test"):
            wrong, right = (row[side].replace("_", " ").strip() for side in ("source", "target"))
            if not any(letter.isspace() for letter in wrong + right):
                yield wrong, right


def ranks() -> dict[str, int]:
    lines = (DATA / "corpus/wordlists/freq_opensubtitles2018_en_50k.txt").read_text("utf-8").splitlines()
    found = {line.split()[0]: rank for rank, line in enumerate(lines)}
    bases = [word for word in found if word.isalpha()][:CLITIC_BASES]
    return {**found, **{base + clitic: found[base] + 100 for base in bases for clitic in CLITICS}}


def close(one: str, two: str) -> bool:
    """Whether phones differ by one that is taken for the other, or by one weak vowel."""
    ours, theirs = tuple(one.split()), tuple(two.split())
    found = changes(ours, theirs, 1)
    if len(found) != 1:
        return False
    (start, end, put) = found[0]
    taken = "".join(ours[start:end])
    if not taken or not put:
        return {taken, put} == {"", "AH"} and len(ours) > 3
    return any({taken, put} <= group for group in CLOSE)


def confusions(rank: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """Word → frequent words that sound the same or nearly so, or that were written for it, likeliest first."""
    phones: dict[str, set[str]] = defaultdict(set)
    for split in ("train", "dev", "test"):
        for row in rows("g2p/cmudict", split):
            if row["word"] in rank and row["word"].replace("'", "").isalpha():
                phones[re.sub(r"\d", "", row["phones"])].add(row["word"])
    scores: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def note(one: str, two: str, limit: int, weight: float) -> None:
        short = min(len(one), len(two))
        if one != two and short > 1 and max(rank[one], rank[two]) < limit * min(1.0, (short / LONG) ** 2):
            scores[one][two] += weight

    for words in phones.values():
        for one in words:
            for two in words:
                note(one, two, FREQUENT, 3.0)
    sounds = {key: [word for word in words if rank[word] < NEARLY] for key, words in phones.items()}
    groups: dict[tuple[str, int], list[str]] = defaultdict(list)
    for key in (key for key, words in sounds.items() if words):  # with a phone left out: neighbours share one of these
        parts = key.split()
        for at in range(len(parts)):
            groups[" ".join([*parts[:at], *parts[at + 1 :]]), 0].append(key)
        groups[key, 0].append(key)
    for keys in groups.values():
        for one_key in keys:
            for two_key in keys:
                if one_key != two_key and close(one_key, two_key):
                    for one in sounds[one_key]:
                        for two in sounds[two_key]:
                            if len(changes(one, two, LONGEST)) <= 2 and len(one) > 2 and len(two) > 2:
                                note(one, two, NEARLY, 1.0)
    for wrong, right in pairs():
        if {wrong, right} <= rank.keys() and slip(wrong, right):
            note(right, wrong, NEARLY, 1.0)
    order = {word: sorted(found, key=lambda other: (-found[other], rank[other])) for word, found in scores.items()}
    return {word: tuple(order[word][:MOST]) for word in sorted(order)}


def slip(wrong: str, right: str) -> bool:
    found = changes(right, wrong, LONGEST)
    return len(found) == 1 and all(slips(right[start:end], put) <= 1 for start, end, put in found)


def main() -> None:
    learnt = Noise.learn(pairs(), confusions=confusions(ranks()))
    text = json.dumps(learnt.to_json(), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    if len(text.encode()) >= LIMIT:
        raise SystemExit(f"{len(text.encode()):,} bytes are too many: raise `least`, or lower the ranks")
    (HOME / "noise-en.json").write_text(text + "\n", "utf-8")
    print(f"{len(learnt.patterns):,} sites, {len(learnt.confusions):,} words with confusions, {len(text):,} bytes")


if __name__ == "__main__":
    main()
