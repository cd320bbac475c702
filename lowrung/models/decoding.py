"""From the log-probabilities of a CTC network to text: what was said, when each word was, and what else it may be.

T frames · V symbols · S states of an alignment. Symbol 0 is the blank; symbol n > 0 is `alphabet[n - 1]`. Where " " is
in the alphabet it parts words; where it is not, as in Chinese, each symbol is a word. Knows no language.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import exp, log
from typing import NamedTuple

import numpy as np

from lowrung.models.beside import EDGE, PAUSE, UNKNOWN, Beside
from lowrung.models.lexicon import fold
from lowrung.models.prefixes import GAP, Logs, Parts, Search, Settings, WordModel, Words, checked, written

__all__ = [
    "Decoded",
    "NextWord",
    "Partial",
    "Parts",
    "Settings",
    "Timed",
    "WordModel",
    "aligned",
    "beam",
    "decode",
    "greedy",
    "stitched",
    "timed",
    "tune",
]

PRUNE = -7.0  # letters of less than a thousandth are hardly ever missed
BAND = 1024  # states of an alignment that are looked at in each frame
OTHERS = 5  # next best texts that are told
REMEMBERED = 500_000  # probabilities of words
LEAST, NEVER = 1e-12, -1e4  # probability of a word; logarithm of a symbol that cannot be but has to
WIDE, ROUNDS = 32, 4  # of tuning: texts a row, and how often they are found anew
POWERS, BONUSES, COSTS = (0.0, 0.2, 0.35, 0.5, 0.7, 0.9), (0.0, 0.75, 1.5, 2.5), (2.0, 4.0, 7.0, 10.0)


class Timed(NamedTuple):
    """A word, and the first and the last frame of its letters."""

    word: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was said.

    Args:
        score: the confidence in the whole, in [0, 1].
        others: the next best texts, each with its confidence.
    """

    text: str
    score: float
    words: tuple[Timed, ...] = ()
    others: tuple[tuple[str, float], ...] = ()


# --- which word follows


@dataclass(frozen=True, eq=False)
class NextWord:
    """A WordModel by counted n-grams; commas and ends of sentences, which nobody hears, may stand between any two."""

    beside: Beside

    @property
    def reach(self) -> int:
        return self.beside.order - 1

    def log(self, word: str, before: Words) -> float:
        key = word, before
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            found = self._remembered[key] = self._log(self._id(word), [self._id(each) for each in before])
        return found

    def _log(self, word: int, before: list[int]) -> float:
        rows = [[*before, word]]
        if before and word != EDGE:
            for unheard in (PAUSE, EDGE):
                rows += [[*before, unheard], [*before[1:], unheard, word]]
        shares = np.exp(self.beside.logs(np.array(rows, dtype=np.int64)).astype(np.float64))
        return log(max(shares[0] + (shares[1::2] * shares[2::2]).sum(), LEAST))

    def _id(self, word: str) -> int:
        return max(self.beside._id(word), UNKNOWN) if word else EDGE

    def known(self, word: str) -> bool:
        return self._id(word) > UNKNOWN

    def ahead(self, letters: str) -> float | None:
        sought = fold(letters)
        words, logs = self._sorted
        first = bisect_left(words, sought)
        last = bisect_left(words, sought + "\U0010ffff", first)
        return float(logs[first:last].max()) if last > first else None

    @cached_property
    def _sorted(self) -> tuple[list[str], Logs]:
        beside = self.beside
        shares = np.maximum(beside.single, 0.5) / max(int(beside.single.sum()), 1)
        ranked = sorted(beside.words)
        return ranked, np.log(shares[[self._id(word) for word in ranked]])

    @cached_property
    def _remembered(self) -> dict[tuple[str, Words], float]:
        return {}


# --- what is asked from outside


def beam(
    logs: Logs,
    alphabet: Words,
    *,
    width: int = Settings.width,
    words: WordModel | None = None,
    power: float = Settings.power,
    bonus: float = Settings.bonus,
    unknown: float = Settings.unknown,
    hot: Mapping[str, float] | None = None,
    prune: float = PRUNE,
) -> list[tuple[str, float, Parts]]:
    """The likeliest texts with their scores and what those are made of, best first; see `Settings`.

    Args:
        logs: (T, V) log-probabilities.
        prune: the log-prob that a letter must have to be tried; with what its text lies behind the best one, twice as
            much. With -inf and enough width the sound is the exact sum over all paths.

    Raises:
        ValueError: `logs` are not of this alphabet.
    """
    search = Search(alphabet, Settings(width, power, bonus, unknown, hot or {}), words, prune)
    search.feed(logs)
    return [(each.text, each.score, each.parts) for each in search.found()]


def decode(logs: Logs, alphabet: Words, how: Settings | None = None, *, words: WordModel | None = None) -> Decoded:
    """The best text of a beam with the times of its words; confidences are shares among the texts of the beam."""
    search = Search(alphabet, how or Settings(), words, PRUNE)
    search.feed(logs)
    found = search.found()
    shares = np.exp([each.score - found[0].score for each in found])
    rated = [(each.text, share) for each, share in zip(found, (shares / shares.sum()).tolist(), strict=True)]
    spans = aligned(logs, found[0].symbols)
    return Decoded(*rated[0], timed(found[0].symbols, spans, alphabet), tuple(rated[1 : 1 + OTHERS]))


def greedy(logs: Logs, alphabet: Words) -> Decoded:
    """The likeliest symbol of each frame, repeats and blanks left out; the score is the geometric mean of theirs.

    logs: (T, V). Raises ValueError where they are not of this alphabet.
    """
    logs = checked(logs, alphabet)
    if not len(logs):
        return Decoded("", 1.0)
    path = logs.argmax(axis=1)
    starts = np.flatnonzero(np.diff(path, prepend=-1))
    ends = np.append(starts[1:], len(path)) - 1
    kept = path[starts] > 0
    symbols = path[starts][kept].tolist()
    spans = list(zip(starts[kept].tolist(), ends[kept].tolist(), strict=True))
    score = min(exp(float(logs.max(axis=1).mean())), 1.0)
    return Decoded(written(symbols, alphabet), score, timed(symbols, spans, alphabet))


def aligned(logs: Logs, symbols: Sequence[int]) -> list[tuple[int, int]]:
    """The first and the last frame of each symbol on the best path that says them all.  (T, V) -> [(first, last)]

    Viterbi in a band of `BAND` states around the best one, which is exact up to half as many symbols.

    Raises:
        ValueError: there are not enough frames.
    """
    states = np.zeros(2 * len(symbols) + 1, dtype=np.int64)  # (S,) blank, symbol, blank, …
    states[1::2] = symbols
    size, total = len(states), len(logs)
    repeats = int((np.diff(states[1::2]) == 0).sum())
    if total < len(symbols) + repeats:
        raise ValueError(f"{total} frames are not enough for {len(symbols)} symbols")
    leaps = np.zeros(size, dtype=bool)  # over the blank between two different symbols
    leaps[1::2] = np.diff(states[1::2], prepend=0) != 0
    scores = np.full(size + 2, -np.inf)  # the first two stand before the start
    scores[1] = 0.0
    low, band = 0, min(BAND, size)
    lows, steps = np.zeros(total, dtype=np.int64), np.zeros((total, band), dtype=np.int8)
    for at, frame in enumerate(logs):
        best = low + int(scores[2:][low : low + band].argmax()) if at else 0
        last = size - band
        low = max(low, min(best - band // 2, last), last - 2 * (total - 1 - at))  # the end must stay in reach
        here = slice(low, low + band)
        ways = np.stack([scores[2:][here], scores[1:-1][here], np.where(leaps[here], scores[:-2][here], -np.inf)])
        steps[at], lows[at] = ways.argmax(axis=0), low
        scores[:] = -np.inf
        scores[2:][here] = ways.max(axis=0) + np.maximum(frame[states[here]], NEVER)
    state = size - 1 if size == 1 or scores[-1] >= scores[-2] else size - 2
    spans = [(total, -1)] * len(symbols)
    for at in range(total - 1, -1, -1):
        if state % 2:
            spans[state // 2] = at, max(at, spans[state // 2][1])
        state -= int(steps[at, min(max(state - lows[at], 0), band - 1)])
    return spans


def stitched(parts: Sequence[tuple[Logs, int]]) -> Logs:
    """Windows of one recording that overlap, as one: cut where both are surest of the blank, about the middle.

    Args:
        parts: (T', V) log-probabilities of each window, and its first frame; in any order.

    Raises:
        ValueError: there are none, or frames between two windows are missing.
    """
    ordered = sorted(parts, key=lambda part: part[1])
    if not ordered:
        raise ValueError("no windows to stitch")
    whole, begin = ordered[0]
    for logs, start in ordered[1:]:
        end = begin + len(whole)
        if start > end:
            raise ValueError(f"no window has the frames {end}-{start}")
        shared = end - start
        if len(logs) <= shared:
            continue  # it lies inside of those before
        first, last = shared // 4, shared - shared // 4
        if last > first:
            sure = whole[start - begin :][first:last, 0] + logs[first:last, 0]
            near = np.abs(np.arange(first, last) - shared // 2)
            cut = first + int(np.lexsort((near, -np.round(sure, 2)))[0])
        else:
            cut = first
        whole = np.concatenate([whole[: start - begin + cut], logs[cut:]])
    return whole


class Partial:
    """Text while it is being said: `feed` blocks of frames, read `text`; what is `stable` will not change.

    Greedy without settings, which is stable at once; with them by a beam.
    """

    def __init__(self, alphabet: Words, how: Settings | None = None, *, words: WordModel | None = None) -> None:
        self._alphabet, self._last, self._symbols = alphabet, 0, list[int]()
        self._search = None if how is None else Search(alphabet, how, words, PRUNE)

    def feed(self, logs: Logs) -> None:
        """(T', V) log-probabilities of the frames that follow. Raises ValueError as `beam` does."""
        if self._search is not None:
            self._search.feed(logs)
            return
        for symbol in checked(logs, self._alphabet).argmax(axis=1).tolist():
            if symbol not in (0, self._last):
                self._symbols.append(symbol)
            self._last = symbol

    @property
    def text(self) -> str:
        return self.stable if self._search is None else self._search.found(others=False)[0].text

    @property
    def stable(self) -> str:
        if self._search is None:
            return written(self._symbols, self._alphabet)
        self._search.settle()
        return written(self._search.settled, self._alphabet)


def tune(
    cases: Sequence[tuple[Logs, str]],
    alphabet: Words,
    *,
    words: WordModel,
    start: Settings | None = None,
    grid: Sequence[tuple[float, float, float]] = tuple(product(POWERS, BONUSES, COSTS)),
) -> Settings:
    """The settings with the fewest wrong words (letters where there is no " ") in `cases`: of logs and the right text.

    Each point of the `grid` (power, bonus, unknown) is scored on texts that were found before; where another point than
    the last one is best, texts are found with that one as well (as minimum error rate training does; Och 2003). Of
    equals, the one nearest to `start`.
    """
    from rapidfuzz.distance import Levenshtein

    start = start or Settings()
    pools: list[dict[str, tuple[int, Parts]]] = [{} for _ in cases]
    points = [replace(start, power=power, bonus=bonus, unknown=unknown) for power, bonus, unknown in grid]
    how = replace(start, width=max(start.width, WIDE))
    points.sort(
        key=lambda each: (
            abs(each.power - how.power) + abs(each.bonus - how.bonus) / 4 + abs(each.unknown - how.unknown) / 8
        )
    )
    met = list[Settings]()
    while how not in met and len(met) < ROUNDS:
        met.append(how)
        for (logs, right), pool in zip(cases, pools, strict=True):
            search = Search(alphabet, how, words, PRUNE)
            search.feed(logs)
            for each in search.found():
                wrong = Levenshtein.distance(_units(right, alphabet), _units(each.text, alphabet))
                pool[each.text] = wrong, each.parts
        totals = [sum(_picked(pool, point) for pool in pools) for point in points]
        how = replace(points[int(np.argmin(totals))], width=how.width)
    return replace(how, width=start.width)


def _picked(pool: Mapping[str, tuple[int, Parts]], how: Settings) -> int:
    return max(pool.values(), key=lambda each: each[1].score(how))[0]


def _units(text: str, alphabet: Words) -> list[str]:
    return text.split() if GAP in alphabet else list(text)


def timed(symbols: Sequence[int], spans: Sequence[tuple[int, int]], alphabet: Words) -> tuple[Timed, ...]:
    """Words with their first and last frames, of symbols and where each was `aligned`."""
    made, fresh = list[Timed](), True
    for symbol, (first, last) in zip(symbols, spans, strict=True):
        letter = alphabet[symbol - 1]
        if letter != GAP:
            begun = Timed("", first, last) if fresh or GAP not in alphabet else made.pop()
            made.append(Timed(begun.word + letter, begun.first, last))
        fresh = letter == GAP
    return tuple(made)
