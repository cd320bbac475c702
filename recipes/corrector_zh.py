"""Measures how often the Chinese corrector mends right words, for budgets to go by: writes corrector-zh.json.

    pip install opencc-python-reimplemented
    .venv/bin/python -m recipes.corrector_zh

Reads the lines of raw text that nothing was counted from and no body was practised on; half of the ones that taught
the chooser (recipes/chooser_zh.py reads the first ones) are among them. What is written holds shares, no text.
"""

from __future__ import annotations

import argparse
import json

from lowrung.core.words import words
from lowrung.models.correcting import corrector
from lowrung.models.lexicon import HOME
from recipes import chinese

LINES = 1500  # of each kind
LONGEST = 60  # characters of one


def clean() -> list[str]:
    found = []
    for kind in (chinese.SPOKEN, chinese.WRITTEN):
        held = [line for line in chinese.lines(kind) if chinese.held(line)]
        for line in held[-LINES:]:
            stop = max((end for _, end in words(line[:LONGEST])), default=0)
            found.append(line[:stop])
    return [line for line in found if line]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    told, texts = {}, clean()
    for stage in ("chooser", "context"):
        made = corrector("zh", context=stage == "context").with_curve(texts)
        print(f"{stage}: mends {100 * made.curve[0][0]:.3f} % of the words of {len(texts):,} clean lines", flush=True)
        told[stage] = {"curve": [[round(share, 7), logits] for share, logits in made.curve]}
    (HOME / "corrector-zh.json").write_text(json.dumps(told) + "\n", "utf-8")


if __name__ == "__main__":
    main()
