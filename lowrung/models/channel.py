"""P(written | meant): how likely a word comes out as another one by slips of the kinds that were counted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import TypeAlias

from lowrung.data.letters import letters
from lowrung.data.noise import LONGEST, Noise

SLIPS = 0.15  # of a misspelt word's letters, those that went wrong by a key or by chance
HITS = 0.7  # of the slips of a finger, those on the next key instead of the right one; the others hit both
CHANCES = 5  # kinds of slips by chance: left out, doubled, swapped, put in, changed
ALPHABET = 30  # letters that may be put in by chance
WIDER = 0.3  # the trust in what was counted in a wider context than the nearest one that is known
MARGIN = 1  # equal letters around what differs that may have a part in it
NEVER = -60.0
FAINT = 1e-8  # a way to here that is less likely than this is not followed
REMEMBERED = 100_000  # pairs

Letters: TypeAlias = tuple[str, ...]
Ways: TypeAlias = dict[str, list[tuple[Letters, int, float]]]  # first letter → what is put, its length, its share


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
            if max(table[i - first]) > FAINT:
                self._passed_on(ours[:stop], theirs[:last], i, table, first, ours)
        return table[-1][-1]

    def _passed_on(
        self, ours: Letters, theirs: Letters, i: int, table: list[list[float]], first: int, word: Letters
    ) -> None:
        """Pass on what has come to the places of row `i` to all that one letter kept, or one slip, leads to.

        Args:
            ours: the letters of `word` up to where it ends like what is written.
        """
        here, last, inside = table[i - first], len(theirs), i < len(ours)
        reach = range(min(LONGEST, len(ours) - i) + 1)
        ways = [(taken, self._became(word, i, i + taken)) for taken in reach]
        learnt = [(table[i + taken - first], ours[i : i + taken], became) for taken, became in ways if became]
        below = table[i + 1 - first] if inside else []
        put_in, changed = self._put_in(word, i), self._changed(word[i]) if inside else {}
        mixture = self.noise.mixture
        chance = SLIPS * mixture.uniform / CHANCES
        for j in range(first, last + 1):
            came, at = here[j - first], j - first
            if came <= FAINT:
                continue
            for row, own, became in learnt:
                for _, _, rate in became.get("", ()):
                    row[at] += came * rate
                for put, size, rate in became.get(theirs[j], ()) if j < last else ():
                    if size <= last - j and theirs[j : j + size] == put != own:
                        row[at + size] += came * rate
            if inside:
                below[at] += came * chance  # left out
            if j == last:
                continue
            letter = theirs[j]
            plain = chance / ALPHABET
            here[at + 1] += came * (put_in.get(letter, plain) if letter[0].isalpha() else plain)
            if inside and ours[i] == letter:
                below[at + 1] += came
            elif inside:
                below[at + 1] += came * (changed.get(letter, plain) if letter[0].isalpha() else plain)
            if i + 1 < len(ours) and j + 1 < last and ours[i : i + 2] == (theirs[j + 1], letter) != theirs[j : j + 2]:
                table[i + 2 - first][at + 2] += came * chance

    def _became(self, word: Letters, start: int, end: int) -> Ways:
        """What was learnt that the letters start..end become here, by its first letter, each with its share."""
        if word[start:end] not in self._slipping:
            return {}
        key = word[max(0, start - 2) : end + 2], min(start, 2), end - start
        made = self._rates.get(key)
        if made is None:
            found: dict[Letters, float] = {}
            share = self.noise.mixture.learnt
            for met, puts in self.noise.seen(word, start, end):
                for written, number in puts.items():
                    found[letters(written)] = found.get(letters(written), 0.0) + share * number / met
                share *= WIDER
            made = self._rates[key] = {}
            for put, rate in found.items():
                if put or end > start:
                    made.setdefault(put[0] if put else "", []).append((put, len(put), rate))
        return made

    @cached_property
    def _slipping(self) -> frozenset[Letters]:
        """What was counted to become anything, wherever it stood."""
        return frozenset(letters(taken) for _, taken, _ in self.noise.patterns)

    @cached_property
    def _rates(self) -> dict[tuple[Letters, int, int], Ways]:
        return {}

    def _put_in(self, word: Letters, i: int) -> dict[str, float]:
        """What a finger puts in before letter `i`, with the chance of each; any other letter is as likely as others."""
        key = word[max(0, i - 1) : i + 1], i > 0
        made = self._fingers.get(key)
        if made is None:
            mixture, near = self.noise.mixture, self.noise.neighbours
            made = self._fingers[key] = {}
            for keys in (near.get(each, "") for each in key[0]):
                for other in keys:
                    hit = SLIPS * mixture.keyboard * (1 - HITS) / 2 / len(keys)
                    made[other] = made.get(other, SLIPS * mixture.uniform / CHANCES / ALPHABET) + hit
            if i:
                made[word[i - 1]] = SLIPS * mixture.uniform / CHANCES  # doubled
        return made

    def _changed(self, letter: str) -> dict[str, float]:
        """What a finger hits in place of a letter, with the chance of each."""
        made = self._fingers.get(letter)
        if made is None:
            mixture, keys = self.noise.mixture, self.noise.neighbours.get(letter, "")
            hit = SLIPS * mixture.keyboard * HITS / max(len(keys), 1)
            made = self._fingers[letter] = dict.fromkeys(keys, hit + SLIPS * mixture.uniform / CHANCES / ALPHABET)
        return made

    @cached_property
    def _fingers(self) -> dict[str | tuple[Letters, bool], dict[str, float]]:
        return {}


def _harmonic(number: int) -> float:
    return sum(1 / (rank + 1) for rank in range(number))
