"""P(written | meant): how likely a word comes out as another one by slips of the kinds that were counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import TypeAlias

from lowrung.data.letters import letters
from lowrung.data.noise import LONGEST, Noise

SLIPS = 0.15  # of a misspelt word's letters, those that went wrong by a key or by chance
HITS = 0.7  # of the slips of a finger, those on the next key instead of the right one; the others hit both
CHANCES_TAKE = ((0, 1), (1, 0), (1, 1), (2, 2))  # letters taken and put by a slip by chance
CHANCES = 5  # kinds of slips by chance: left out, doubled, swapped, put in, changed
ALPHABET = 30  # letters that may be put in by chance
WIDER = 0.3  # the trust in what was counted in a wider context than the nearest one that is known
MARGIN = 2  # equal letters around what differs that may have a part in it
NEVER = -60.0
FAINT = 1e-8  # a way to here that is less likely than this is not followed
REMEMBERED = 100_000  # pairs

Letters: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Channel:
    """A noisy channel (Kernighan, Church & Gale 1990; Brill & Moore 2000) by what `noise` has counted."""

    noise: Noise

    def log(self, written: str, meant: str) -> float:
        """Natural logarithm of P(written | meant, something went wrong), case aside; `NEVER` at the least."""
        key = written, meant
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            likely = self._likely(written.replace("’", "'").lower(), meant.replace("’", "'").lower())
            found = self._remembered[key] = max(log(likely), NEVER) if likely > 0 else NEVER
        return found

    @cached_property
    def _remembered(self) -> dict[tuple[str, str], float]:
        return {}

    def _likely(self, written: str, meant: str) -> float:
        mixture = self.noise.mixture
        whole = mixture.letters + mixture.confusions + mixture.spaces
        if "".join(written.split()) == "".join(meant.split()) and written != meant:
            joined = " " in meant  # which has one place; a blank may come in anywhere, and does so half as often
            return mixture.spaces / whole / (1 if joined else 2 * max(len(meant), 1))
        found = mixture.letters / whole * self.slipped(written, meant)
        others = self.noise.confusions.get(meant, ())
        if written in others:
            found += mixture.confusions / whole / (1 + others.index(written)) / _harmonic(len(others))
        return found

    def slipped(self, written: str, meant: str) -> float:
        """The part of slips of letters: the sum over all ways to make `written` of `meant` letter by letter."""
        ours, theirs = letters(meant), letters(written)
        size, other = len(ours), len(theirs)
        if abs(size - other) > 2 * LONGEST:
            return 0.0
        shared = min(size, other)
        begin = next((at for at in range(shared) if ours[at] != theirs[at]), shared)
        rest = shared - begin
        tail = next((at for at in range(rest) if ours[-1 - at] != theirs[-1 - at]), rest)
        first, end = max(0, begin - MARGIN), max(0, tail - MARGIN)
        stop, last = size - end, other - end
        # (stop - first + 1) rows of written letters done so far: the probability to have come here
        table = [[0.0] * (last - first + 1) for _ in range(stop - first + 1)]
        table[0][0] = 1.0
        for i in range(first, stop + 1):
            for j in range(first, last + 1):
                here = table[i - first][j - first]
                if here > FAINT:
                    self._step(ours, theirs, (i, j), (stop, last), table, first, here)
        return table[-1][-1]

    def _step(
        self,
        ours: Letters,
        theirs: Letters,
        at: tuple[int, int],
        ends: tuple[int, int],
        table: list[list[float]],
        first: int,
        here: float,
    ) -> None:
        """Pass on what has come to `at` to all places that one letter kept, or one slip, leads to."""
        (i, j), (stop, last) = at, ends
        if i < stop and j < last and ours[i] == theirs[j]:
            table[i + 1 - first][j + 1 - first] += here
        for taken in range(min(LONGEST, stop - i) + 1):
            for put, rate in self._became(ours, i, i + taken):
                size = len(put)
                if size <= last - j and theirs[j : j + size] == put and ours[i : i + taken] != put:
                    table[i + taken - first][j + size - first] += here * rate
        for taken, size in CHANCES_TAKE:
            if taken <= stop - i and size <= last - j and ours[i : i + taken] != theirs[j : j + size]:
                rate = self._by_chance(ours, theirs, at, taken, size)
                table[i + taken - first][j + size - first] += here * rate

    def _became(self, word: Letters, start: int, end: int) -> Sequence[tuple[Letters, float]]:
        """What was learnt that the letters start..end become here, each with its share."""
        key = word[max(0, start - 2) : end + 2], min(start, 2), end - start
        made = self._rates.get(key)
        if made is None:
            found: dict[Letters, float] = {}
            share = self.noise.mixture.learnt
            for met, puts in self.noise.seen(word, start, end):
                for put, number in puts.items():
                    found[letters(put)] = found.get(letters(put), 0.0) + share * number / met
                share *= WIDER
            made = self._rates[key] = tuple((put, rate) for put, rate in found.items() if put or end > start)
        return made

    @cached_property
    def _rates(self) -> dict[tuple[Letters, int, int], Sequence[tuple[Letters, float]]]:
        return {}

    def _by_chance(self, ours: Letters, theirs: Letters, at: tuple[int, int], taken: int, put: int) -> float:
        """A slip that the keys or nothing explain."""
        (i, j), mixture = at, self.noise.mixture
        chance = SLIPS * mixture.uniform / CHANCES
        if taken == put == 2:
            swapped = ours[i] == theirs[j + 1] and ours[i + 1] == theirs[j]
            return chance if swapped else 0.0
        if put == 0:
            return chance
        if put > 1 or not theirs[j][0].isalpha():
            return chance / ALPHABET if put == 1 else 0.0
        letter = theirs[j]
        if taken == 0 and i and ours[i - 1] == letter:
            return chance
        near = self.noise.neighbours
        if taken == 1:
            keys = near.get(ours[i], "")
            hit = SLIPS * mixture.keyboard * HITS / len(keys) if letter in keys else 0.0
        else:
            around = [keys for keys in (near.get(each, "") for each in ours[max(0, i - 1) : i + 1]) if letter in keys]
            hit = sum(SLIPS * mixture.keyboard * (1 - HITS) / 2 / len(keys) for keys in around)
        return hit + chance / ALPHABET


def _harmonic(number: int) -> float:
    return sum(1 / (rank + 1) for rank in range(number))
