"""chrF and BLEU of translations, as sacrebleu counts them (Post 2018), over 100: they lie in [0, 1].

Both are scores of all rows together, made of counts that add up. BLEU's words are those of mteval-v13a; where a right
translation is Chinese, each of its letters is one (sacrebleu's «zh»), in other scripts without blanks as well («char»).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from lowrung.core.answers import Text
from lowrung.core.errors import LowrungError
from lowrung.core.task import Counts, Example, Metric
from lowrung.metrics.text import tokens

ORDERS = 4  # of BLEU's n-grams
_HAN, _KANA = re.compile("[\u3400-\u9fff]"), re.compile("[\u3041-\u30ff]")


@cache
def _scorer(kind: str, cut: str = "") -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise LowrungError("chrF and BLEU need an extra: pip install 'lowrung[translation]'") from None
    return CHRF() if kind == "chrf" else BLEU(tokenize=cut, effective_order=True)


def cut_for(reference: str) -> str:
    """The name in sacrebleu of what cuts such a text into words: by its script."""
    if _HAN.search(reference) and not _KANA.search(reference):
        return "zh"
    return "char" if len(tokens(reference)) > max(4, 3 * len(reference.split())) else "13a"


def _count_chrf(example: Example[Text], answer: Text | None) -> Counts:
    """n-grams of letters that were written, are right, and both, for n of 1 to 6; of several golds, the nearest."""
    if not example.golds:
        return {}
    said = "" if answer is None else answer.text
    found = _scorer("chrf")._extract_corpus_statistics([said], [[gold.text] for gold in example.golds])[0]
    return {("chrf", at): float(each) for at, each in enumerate(found)}


def _count_bleu(example: Example[Text], answer: Text | None) -> Counts:
    if not example.golds:
        return {}
    golds = [gold.text for gold in example.golds]
    found = _scorer("bleu", cut_for(golds[0])).sentence_score("" if answer is None else answer.text, golds)
    lengths = {"written": float(found.sys_len), "right": float(found.ref_len)}
    ngrams = {"hit": found.counts, "all": found.totals}
    return lengths | {(name, n): float(each[n]) for name, each in ngrams.items() for n in range(ORDERS)}


def _chrf(counts: Counts) -> Any:
    names = [("chrf", at) for at in range(3 * _scorer("chrf").order)]
    return _each(lambda *sums: _scorer("chrf")._compute_f_score(sums), counts, names)


def _bleu(counts: Counts) -> Any:
    def score(*sums: float) -> float:
        written, right, *both = sums
        found = _scorer("bleu", "13a").compute_bleu(
            both[:ORDERS], both[ORDERS:], int(written), int(right), smooth_method="exp", max_ngram_order=ORDERS
        )
        return float(found.score)

    names = [(name, n) for name in ("hit", "all") for n in range(ORDERS)]
    return _each(score, counts, ["written", "right", *names])


def _each(score: Callable[..., float], counts: Counts, names: list[Any]) -> Any:
    """`score` over 100, of the sums of `names`, elementwise; a bootstrap draws whole counts, which floats hold."""
    import numpy as np

    found = np.vectorize(score, otypes=[float])(*(counts.get(name, 0.0) for name in names)) / 100
    return found if found.ndim else float(found)


chrf = Metric("chrf", _count_chrf, _chrf)
bleu = Metric("bleu", _count_bleu, _bleu)
TRANSLATED = (chrf, bleu)
