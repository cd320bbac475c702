"""The Chinese raw text that the recipes count and practise on, and which lines of it are held out.

Reads, in the folder `LOWRUNG_DATA` (default: `../shared/data` beside the repository), the Chinese texts of corpus/ and
the Chinese side of translation/tatoeba_en_zh (train), which mixes scripts and is made simplified here; that takes
`pip install opencc-python-reimplemented`.
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

DATA = Path(os.environ.get("LOWRUNG_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
HELD = 80  # one line of so many is held out, to measure on and to weigh evidence by
SPOKEN, WRITTEN = "spoken", "written"  # the kinds of text
_TURN = re.compile(r"\s*[甲乙]：")


def held(line: str) -> bool:
    return zlib.crc32(line.encode("utf-8", "replace")) % HELD == 0


def lines(kind: str) -> Iterator[str]:
    """All lines of a kind, one utterance or paragraph each, without blanks at the ends."""
    for line in _spoken() if kind == SPOKEN else _packed("zhwiki_simplified"):
        if line.strip():
            yield line.strip()


def _packed(name: str) -> Iterator[str]:
    with lzma.open(DATA / "corpus" / f"{name}.txt.xz", "rt", encoding="utf-8") as text:
        yield from text


def _spoken() -> Iterator[str]:
    from opencc import OpenCC

    simplified = OpenCC("t2s").convert
    with gzip.open(DATA / "translation/tatoeba_en_zh/train.jsonl.gz", "rt", encoding="utf-8") as rows:
        yield from dict.fromkeys(simplified(json.loads(row)["target"]) for row in rows)
    yield from _packed("commonvoice_sentences_zh-CN")
    for dialogue in _packed("kdconv_dialogues_zh"):
        yield from _TURN.split(dialogue)
