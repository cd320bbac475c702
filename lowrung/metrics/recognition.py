"""Metrics of texts that were heard or read: words and letters that must be put in, taken out or replaced (WER, CER).

Heard texts are compared as people speak: lower case, no punctuation, compatibility forms as one (NFKC); read texts as
they stand (NFC). White space counts as one blank in both, and outer white space for nothing. Words are what stands
between blanks, letters of scripts without blanks stand alone; letters are code points, the blanks among them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from lowrung.core.answers import Text
from lowrung.core.task import Counts, Example, Metric
from lowrung.metrics.counting import ratio
from lowrung.metrics.text import tokens

_INSIDE = re.compile(r"(?<=[^\W_])['’‘](?=[^\W_])")  # don't, l’heure: the one mark that makes another word


@lru_cache(maxsize=1 << 14)
def spoken(text: str) -> str:
    """`text` in NFKC and lower case without punctuation, but for apostrophes inside words; dashes part words.

    What is left out is what Unicode calls punctuation (P…), as jiwer's RemovePunctuation does; symbols like € and +
    stay, and a hyphen joins: «well-known» is «wellknown».
    """
    told = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    told = re.sub("[‒–—―]", " ", _INSIDE.sub("'", told))
    inside = {found.start() for found in _INSIDE.finditer(told)}
    kept = (letter for at, letter in enumerate(told) if at in inside or unicodedata.category(letter)[0] != "P")
    return squeezed(unicodedata.normalize("NFKC", "".join(kept)))


@lru_cache(maxsize=1 << 14)
def squeezed(text: str) -> str:
    """`text` in NFC with one blank for all white space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def spoken_words(text: str) -> list[str]:
    return _words(spoken(text))


def written_words(text: str) -> list[str]:
    return _words(squeezed(text))


def folded(text: str) -> str:
    return squeezed(squeezed(text).lower())


def lines(text: str) -> list[str]:
    """The lines of `text` that hold something."""
    return [line for line in map(squeezed, text.splitlines()) if line]


def _words(text: str) -> list[str]:
    return [text[start:end] for start, end in tokens(text)]


def error_rate(name: str, cut: Callable[[str], Sequence[str]]) -> Metric[Text]:
    """Edits over what the gold has, of the pieces that `cut` makes of a text; it may exceed 1.

    Of several golds the one with fewest edits counts (of the same number, the longer one). No answer has all pieces
    deleted. Where no gold has a piece, the edits themselves are the rate.
    """

    def count(example: Example[Text], answer: Text | None) -> Counts:
        from rapidfuzz.distance import Levenshtein

        if not example.golds:
            return {}
        said = cut("" if answer is None else answer.text)
        golds = [cut(gold.text) for gold in example.golds]
        found = [(Levenshtein.distance(gold, said), -len(gold)) for gold in golds]
        edits, length = min(found)
        return {"edits": float(edits), "length": float(-length)}

    return Metric(name, count, _rate, higher_is_better=False)


def _rate(counts: Counts) -> Any:
    import numpy as np

    return ratio(counts.get("edits", 0.0), np.maximum(counts.get("length", 0.0), 1.0))


def _count_sentence(example: Example[Text], answer: Text | None) -> Counts:
    if not example.golds:
        return {}
    right = answer is not None and any(spoken(answer.text) == spoken(gold.text) for gold in example.golds)
    return {"right": float(right), "rows": 1.0}


def _count_lines(example: Example[Text], answer: Text | None) -> Counts:
    """Lines of the gold that were read without a fault and in their order; of several golds, the best one."""
    from rapidfuzz.distance import LCSseq

    said = [] if answer is None else lines(answer.text)
    found = [(LCSseq.similarity(gold, said), -len(gold)) for gold in (lines(gold.text) for gold in example.golds)]
    if not found:
        return {}
    right, length = max(found, key=lambda each: (each[0] + each[1], each[0]))
    return {"right": float(right), "lines": float(-length)}


wer = error_rate("wer", spoken_words)
cer = error_rate("cer", spoken)
exact = Metric("exact", _count_sentence, lambda counts: ratio(counts.get("right", 0.0), counts.get("rows", 0.0)))
HEARD = (wer, cer, exact)

cer_written = error_rate("cer", squeezed)
cer_folded = error_rate("cer_folded", folded)
wer_written = error_rate("wer", written_words)
line_accuracy = Metric(
    "line_accuracy", _count_lines, lambda counts: ratio(counts.get("right", 0.0), counts.get("lines", 0.0))
)
READ = (cer_written, cer_folded, line_accuracy, wer_written)
