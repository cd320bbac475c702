"""Which words follow which in somebody's own text, beside what is known of a language at large: for a beam to ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, log

from lowrung.metrics.recognition import spoken
from lowrung.models.beside import Beside
from lowrung.models.decoding import NextWord
from lowrung.models.prefixes import WordModel, Words

MOST = 50_000  # words of one's own that are told apart
HELD = 10  # one line of so many is held out, to weigh the two by
ROUNDS = 20  # of weighing
SHARE = (0.05, 0.95)  # of one's own words, at least and at most
LEAST = 1e-12
UNMET = 50_000  # words that one who counted words did not meet


@dataclass(frozen=True, eq=False)
class Mixed:
    """A WordModel of two: `share` of what one's own text says, the rest of what `general` says, where there is one."""

    own: NextWord
    general: WordModel | None
    share: float

    @property
    def reach(self) -> int:
        return max(self.own.reach, self.general.reach if self.general else 0)

    def log(self, word: str, before: Words) -> float:
        found = self.share * _of_word(self.own, word, before)
        if self.general is not None:
            found += (1 - self.share) * _of_word(self.general, word, before)
        return log(max(found, LEAST))

    def ahead(self, letters: str) -> float | None:
        own = self.own.ahead(letters)
        general = self.general.ahead(letters) if self.general is not None else None
        parts = ((self.share, own), (1 - self.share, general))
        found = [share * exp(each) for share, each in parts if each is not None]
        return log(max(*found, LEAST)) if found else None

    def known(self, word: str) -> bool:
        return self.own.known(word) or (self.general is not None and self.general.known(word))


def _of_word(model: WordModel, word: str, before: Words) -> float:
    """P(word), where what a model gives to all words that it does not know is shared among `UNMET`."""
    share = exp(model.log(word, before[-model.reach :]))
    return share if not word or model.known(word) else share / UNMET


@dataclass(frozen=True, eq=False)
class Counted:
    """N-grams of one's own text, and the share that they deserve."""

    beside: Beside
    share: float
    lines: int

    @cached_property
    def own(self) -> NextWord:
        return NextWord(self.beside)

    def with_general(self, general: WordModel | None) -> Mixed:
        return Mixed(self.own, general, self.share)


def counted(lines: Iterable[str], general: WordModel | None) -> Counted | None:
    """Counted from raw text; None where it has no words.

    The share is the one that makes lines held out likeliest, by expectation maximisation (Jelinek & Mercer 1980).
    """
    told = [spoken(line) for line in lines]
    told = [line for line in told if line]
    if not told:
        return None
    learnt = _of(line for at, line in enumerate(told) if len(told) < HELD or at % HELD)
    held = told[::HELD] if len(told) >= HELD else told
    share = _share(NextWord(learnt), general, held) if general is not None else SHARE[1]
    return Counted(_of(told), share, len(told))


def _of(lines: Iterable[str]) -> Beside:
    kept = list(lines)
    met = Counter(word for line in kept for word in line.split())
    return Beside.count(kept, [word for word, _ in met.most_common(MOST)], least=(1, 1))


def _share(own: NextWord, general: WordModel, held: Sequence[str]) -> float:
    pairs = []
    for line in held:
        before: tuple[str, ...] = ("",) * max(own.reach, general.reach)
        for word in line.split():
            pairs.append((_of_word(own, word, before), _of_word(general, word, before)))
            before = (*before[1:], word)
    share = 0.5
    for _ in range(ROUNDS):
        share = sum(share * one / max(share * one + (1 - share) * two, LEAST) for one, two in pairs) / max(
            len(pairs), 1
        )
        share = min(max(share, SHARE[0]), SHARE[1])
    return share
