"""Extracted answers, counted on their words as SQuAD's scripts do (Rajpurkar et al. 2016, 2018): F1 over words in
common and exact match, without case, punctuation, articles and surplus blanks, against the reference that suits best.

Words are what stands between blanks; letters of scripts written without blanks (Chinese, Japanese, Thai) count each,
so that F1 is over letters there, as in CMRC 2018. A row whose right answer is none counts 1 where none was given.
"""

import re
import string
import unicodedata
from collections import Counter

from lowrung.core.answers import Spans
from lowrung.core.task import Counts, Example, Metric
from lowrung.metrics.counting import ratio
from lowrung.metrics.text import tokens

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normal(text: str) -> str:
    """As SQuAD's and MLQA's scripts compare answers: lower case, no punctuation, no English articles, single blanks.

    An article stays beside letters of another script than Latin.
    """
    plain = text.lower().translate(_PUNCTUATION)
    if not plain.isascii():
        plain = "".join(each for each in plain if not unicodedata.category(each).startswith("P"))
        if not all("LATIN" in unicodedata.name(each, "") for each in plain if each.isalpha()):
            return " ".join(plain.split())
    return " ".join(_ARTICLES.sub(" ", plain).split())


def words_of(text: str) -> list[str]:
    """The words of a `normal` text."""
    return [part[start:end] for part in text.split() for start, end in _units(part)]


def _units(part: str) -> list[tuple[int, int]]:
    return tokens(part) if not part.isascii() else [(0, len(part))]


def overlap(said: str, right: str) -> float:
    """F1 of the words of two answers, in [0, 1]; of empty ones 1 where both are."""
    one, two = words_of(normal(said)), words_of(normal(right))
    if not one or not two:
        return float(one == two)
    return 2.0 * sum((Counter(one) & Counter(two)).values()) / (len(one) + len(two))


def said_of(answer: Spans, text: str) -> str:
    """The words of an answer in the text that it is from; "" for none."""
    return " ".join(text[each.start : each.end] for each in answer.spans)


def count(example: Example[Spans], answer: Spans | None) -> Counts:
    """Events "rows", "f1", "exact"; and, where no answer is right, "unanswerable" and "withheld".

    No prediction at all is right about nothing; Spans() says that there is no answer.
    """
    if not example.golds:
        return {}
    text = example.question.text
    # as in SQuAD 2.0, a reference of nothing but articles and punctuation is none
    right = [each for gold in example.golds if normal(each := said_of(gold, text))] or [""]
    told: dict[str, float] = {"rows": 1.0}
    if right == [""]:
        told |= {"unanswerable": 1.0, "withheld": float(answer is not None and not answer.spans)}
    if answer is None:
        return told
    said = said_of(answer, text)
    told["f1"] = max(overlap(said, each) for each in right)
    told["exact"] = max(float(normal(said) == normal(each)) for each in right)
    return told


def has_none(example: Example[Spans]) -> bool:
    """Whether the right answer is that the text holds none."""
    return any(not gold.spans for gold in example.golds)


ANSWERS = (
    Metric("f1", count, lambda c: ratio(c.get("f1", 0.0), c.get("rows", 0.0))),
    Metric("exact", count, lambda c: ratio(c.get("exact", 0.0), c.get("rows", 0.0))),
    Metric("no_answer", count, lambda c: ratio(c.get("withheld", 0.0), c.get("unanswerable", 0.0)), of=has_none),
)
