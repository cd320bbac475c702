"""Which words of a text a corrector may touch: no URL, address, markup, code, number, identifier, handle, nor what the
user protects."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from lowrung.core.errors import LowrungError
from lowrung.data.noise import alone, units
from lowrung.models.lexicon import fold

_CODE = re.compile(r"```[\s\S]*?```|`[^`\n]+`|<[^<>\n]*>|&#?\w{1,32};")
_RUN = re.compile(r"[^\s<>]+")
# what makes a whole run between blanks something else than words: URL, address, path, host, assignment, handle
_STRANGE = re.compile(r"://|www\.|[@_\\{}=|~^$*]|\w\.\w|^[/.]\w|\w/\w+/|(?<![\w])#\w|\w\(\)|--\w+=?")
_ENDS = re.compile(r"[.!?:;。！？…\n]['\"’”»)\]]*\s*$")
_PLAIN = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
TAIL = 40  # characters before a word in which the end of the sentence before is looked for


class Word(NamedTuple):
    """A word that may be touched: where it lies, and whether it opens a line or a sentence."""

    start: int
    end: int
    opens: bool


@dataclass(frozen=True)
class Protection:
    """What the user protects: plain words (whole, case aside), and regular expressions for everything else.

    Raises:
        LowrungError: one is no regular expression.
    """

    patterns: tuple[str, ...] = ()
    _words: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        plain = {each for each in self.patterns if _PLAIN.fullmatch(each)}
        object.__setattr__(self, "_words", frozenset(map(fold, plain)))
        for each in self.patterns:
            try:
                re.compile(each)
            except re.error as problem:
                raise LowrungError(f"{each!r} is neither a plain word nor a regular expression: {problem}") from None

    @cached_property
    def _others(self) -> list[re.Pattern[str]]:
        found = [each for each in self.patterns if not _PLAIN.fullmatch(each)]
        compound = [re.escape(each) for each in self.patterns if _PLAIN.fullmatch(each) and "-" in each]
        runs = [re.escape(each) for each in self.patterns if len(each) > 1 and all(map(alone, each))]
        return [*map(re.compile, (*found, *runs)), *(re.compile(rf"(?i)\b{each}\b") for each in compound)]

    def words(self, text: str) -> list[Word]:
        """The words of letters that may be touched, in reading order."""
        spared = sorted(_joined([*_strange(text), *(each.span() for it in self._others for each in it.finditer(text))]))
        found, at, before = list[Word](), 0, 0
        for start, end, mixed in units(text):
            while at < len(spared) and spared[at][1] <= start:
                at += 1
            opens = before == 0 or (start - before > 1 and bool(_ENDS.search(text, max(before, start - TAIL), start)))
            before = end
            word = text[start:end]
            hidden = at < len(spared) and spared[at][0] < end
            if hidden or (mixed and _mixed(word)) or fold(word) in self._words:
                continue
            if not any(letter.isdigit() for letter in word):
                found.append(Word(start, end, opens))
        return found


def _mixed(word: str) -> bool:
    """Whether capitals stand inside, as in iPhone and getName; where there is but one, it may also be a slip."""
    return any(left.islower() and right.isupper() for left, right in pairwise(word))


def _strange(text: str) -> Iterable[tuple[int, int]]:
    yield from (found.span() for found in _CODE.finditer(text))
    for run in _RUN.finditer(text):
        if _STRANGE.search(run.group()):
            yield run.span()


def _joined(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places that overlap as one, empty ones left out."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        elif end > start:
            found.append((start, end))
    return found
