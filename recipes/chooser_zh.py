"""Teaches the embedded Chinese chooser without labels: writes lowrung/models/chooser-zh.safetensors.

    pip install opencc-python-reimplemented
    .venv/bin/python -m recipes.chooser_zh [--letters]

Held-out lines of raw text get slips by the confusions of noise-zh.json, as many as writers make; the chooser learns to
see them. With --letters it learns with what the backbone letters-zh says besides, and is kept under its own name.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import numpy as np

from lowrung.core.words import words
from lowrung.models.choosing import PARTS, Chooser, Judge, reading_of
from lowrung.models.evidence import evidence
from lowrung.models.lexicon import HOME
from lowrung.models.tuned_letters import Row, ask, f1, surest, trained
from recipes import chinese

CLEAN = 0.5  # of the lines, those that stay right
SLIPS = (1, 1, 1, 1, 2, 2, 3)  # in a line, drawn
STEEP = 1.2  # the power of the rank of a confusion that says how seldom it is
BESIDE = 0.15  # of the further slips, those beside the last one
LONGEST, SHORTEST = 60, 8  # characters of a line
WRITTEN = 1500  # lines of it; talk is what people write
HARM = 0.02  # of right lines, those that may be broken; what people write is further from the counts than these lines
TWICE = 2  # times that each line is damaged


def damaged(line: str, kinds: dict[str, dict[str, str]], random: Random) -> str:
    made, open_ = list(line), [at for at, letter in enumerate(line) if kinds.get(letter)]
    if random.random() < CLEAN or not open_:
        return line
    at = random.choice(open_)
    for number in range(random.choice(SLIPS)):
        if number:
            at = at + 1 if at + 1 in open_ and random.random() < BESIDE else random.choice(open_)
        others = list(kinds[line[at]])
        made[at] = random.choices(others, [(1 + rank) ** -STEEP for rank in range(len(others))])[0]
    return "".join(made)


def held() -> Iterator[str]:
    for kind in (chinese.SPOKEN, chinese.WRITTEN):
        found = (line for line in chinese.lines(kind) if chinese.held(line))
        for number, line in enumerate(found):
            if kind == chinese.WRITTEN and number >= WRITTEN:
                break
            stop = max((end for _, end in words(line[:LONGEST])), default=0)
            if stop >= SHORTEST:
                yield line[:stop]


def main() -> None:
    parser = argparse.ArgumentParser(description="Teach the Chinese chooser without labels.")
    parser.add_argument("--letters", action="store_true", help="with what letters-zh says")
    asked = parser.parse_args()
    random, found = Random(0), evidence("zh")
    empty = Judge(**{name: np.zeros(0, dtype=np.float32) for name in PARTS})
    reading = reading_of("zh") if asked.letters else None
    chooser = Chooser("zh", found, empty, reading)
    rows: list[Row] = [(damaged(line, found.kinds, random), line) for line in held() for _ in range(TWICE)]  # type: ignore[arg-type]
    random.shuffle(rows)
    seen = ask(chooser, rows)
    part = len(seen) // 5
    judge = trained(seen[part:])
    keep = surest(judge, seen[:part], HARM)
    print(
        f"{len(rows):,} lines; sentence F1 {f1(replace(judge, keep=keep), seen[:part]):.3f} at {keep} on held-out ones"
    )
    made = replace(chooser, judge=replace(trained(seen), keep=keep))
    made.save(HOME / f"chooser-zh{'-letters' if asked.letters else ''}.safetensors")


if __name__ == "__main__":
    main()
