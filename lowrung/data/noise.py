"""Noise as people make it: letter patterns counted from misspellings, keys beside the right one, words that are taken
for each other, blanks and case. What is counted and which letters there are is data; nothing here knows a language."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property, lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from lowrung.core.edits import Edit, apply
from lowrung.core.errors import DataError, unknown
from lowrung.core.words import words
from lowrung.data.letters import changes, letters, slips

Site: TypeAlias = tuple[str, str, str]  # letters before, letters in place, letters after
Seen: TypeAlias = tuple[int, Mapping[str, int]]  # how often the site was met, and what it became how often
Way: TypeAlias = tuple[int, int, str]  # put these letters in place of the letters start..end of a word
Ways: TypeAlias = tuple[tuple[Way, ...], tuple[float, ...]]  # with sums of their weights

HOME = Path(__file__).parent
QWERTY = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
REACH = ((2, 2), (1, 1), (0, 2), (0, 0))  # letters before and after; the first that was met often enough decides
LONGEST = 3  # letters that one pattern takes or puts
MET = 20  # times a site must be met before its own counts are believed
STAYS = 0.05  # the share of the usual damage that URLs, numbers and the like get
REMEMBERED = 50_000  # words whose ways to go wrong are kept
_EDGES = "^$"
_PROTECTED = re.compile(r"://|www\.|[@\d_\\/<>{}=#$%^&*|~`]|\w\.\w")
_RUN = re.compile(r"\S+")
_APOSTROPHES = frozenset("'’")


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of the kinds of damage; each group need not add up to 1.

    Args:
        letters, confusions, spaces, case: a word misspelt, a word for another, split or merged, capitals.
        learnt, keyboard, uniform: of misspelt words, by a learnt pattern, a neighbouring key, any letter.
        twice: of misspelt words, those that are damaged a second time.
    """

    letters: float = 0.72
    confusions: float = 0.14
    spaces: float = 0.09
    case: float = 0.05
    learnt: float = 0.78
    keyboard: float = 0.12
    uniform: float = 0.10
    twice: float = 0.12


@dataclass(frozen=True)
class Noise:
    """Draws damage.

    Args:
        patterns: counted changes of letters, by the letters around them; `learn` makes them.
        confusions: word (or letter, in scripts without blanks) → what is written for it by mistake, commonest first.
        keys: rows of a keyboard, each shifted by half a key against the one above.
    """

    patterns: Mapping[Site, Seen] = field(default_factory=dict)
    confusions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keys: tuple[str, ...] = QWERTY
    mixture: Mixture = Mixture()

    @classmethod
    def learn(cls, pairs: Iterable[tuple[str, str]], *, least: int = 2, **others: Any) -> Noise:
        """Patterns counted from (wrong, right) words; pairs that have little in common are passed over.

        Args:
            least: how often a pattern must occur to be kept.
            others: the other fields of Noise.
        """
        return cls(_counted(list(_comparable(pairs)), least), **others)

    def damage(self, word: str, random: Random) -> str:
        """`word` with a slip in it, seldom two; as it is where nothing applies. Capitals stay where they were."""
        made = self._slip(word, random)
        if made == word or random.random() >= self.mixture.twice:
            return made
        again = self._slip(made, random)
        return made if again == word else again

    def damaged(self, text: str, random: Random, share: float) -> tuple[str, tuple[Edit, ...]]:
        """Up to `share` of the words of a text damaged, and the edits in `text` that did it, in reading order.

        Short words are damaged less often, and so are words with few ways to go wrong; URLs, numbers, code and the
        like seldom. `core.edits.undone` gives the way back.
        """
        edits, places, done = list[Edit](), units(text), 0
        chances = asdict(self.mixture)
        whole = sum(chances[kind] for kind in ("letters", "confusions", "spaces", "case")) or 1.0
        for number, (start, end, protected) in enumerate(places):
            chance = random.random() / (share * STAYS if protected else share) if share else 1.0
            if chance >= 1.0 or start < done:
                continue
            after = places[number + 1][:2] if number + 1 < len(places) else (end, end)
            ways = self._kinds(text, (start, end), after)
            kind = _drawn(chance * whole, [(kind, chances[kind] * part) for kind, part in ways.items()])
            for edit in self._made(kind, text, (start, end), after, random) if kind else ():
                edits.append(edit)
                done = edit.end
        return apply(text, edits)[0], tuple(edits)

    def _kinds(self, text: str, place: tuple[int, int], after: tuple[int, int]) -> dict[str, float]:
        """The kinds of damage that a word can take, with a factor each."""
        word = text[place[0] : place[1]]
        size = len(letters(word))
        found = {"confusions": 1.0} if self._mistaken(word) else {}
        if size > 1:
            found["letters"] = min(1.0, (size - 1) / 3)
        if size > 3 or text[place[1] : after[0]] == " ":
            found["spaces"] = 1.0
        if word[:1] != word[:1].swapcase() and not alone(word):
            found["case"] = 1.0
        return found

    def _made(
        self, kind: str, text: str, place: tuple[int, int], after: tuple[int, int], random: Random
    ) -> Iterator[Edit]:
        (start, end), word = place, text[place[0] : place[1]]
        if kind == "spaces":
            yield _spaced(text, place, after, random)
            return
        if kind == "letters":
            made = self.damage(word, random)
        elif kind == "case":
            made = word.upper() if random.random() < 0.1 else word[0].swapcase() + word[1:]
        else:
            others = self._mistaken(word)
            made = like(word, random.choices(others, [1 / (rank + 1) for rank in range(len(others))])[0])
        if made != word:
            yield Edit(start, end, made)

    def _mistaken(self, word: str) -> tuple[str, ...]:
        plain = word.replace("’", "'")
        return self.confusions.get(plain) or self.confusions.get(plain.lower(), ())

    def _slip(self, word: str, random: Random) -> str:
        parts = letters(word)
        folded = tuple(part.lower() for part in parts)
        mixture = self.mixture
        sources = [
            (ways, weight)
            for ways, weight in zip(
                self._ways(folded), (mixture.learnt, mixture.keyboard, mixture.uniform), strict=True
            )
            if ways[1] and weight
        ]
        if not sources:
            return word
        (ways, sums), _ = random.choices(sources, [weight for _, weight in sources])[0]
        start, end, put = ways[min(bisect_left(sums, random.random() * sums[-1]), len(ways) - 1)]
        taken = "".join(parts[start:end])
        if word.isupper() and len(parts) > 1:
            put = put.upper()
        elif taken[:1].isupper() and put:
            put = put[0].upper() + put[1:]
        made = "".join(parts[:start]) + put + "".join(parts[end:])
        return made[:1].upper() + made[1:] if start == 0 and word[:1].isupper() else made

    @cached_property
    def _remembered(self) -> dict[tuple[str, ...], tuple[Ways, Ways, Ways]]:
        return {}

    def _ways(self, word: tuple[str, ...]) -> tuple[Ways, Ways, Ways]:
        """How a word of these letters goes wrong: by what was learnt, by the keys, by any letter."""
        found = self._remembered.get(word)
        if found is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            usable = [letter for letter in word if letter[0].isalpha() and not alone(letter)]
            found = (
                _summed([*self._learnt(word), *self._alike(word)]),
                _summed(self._beside(word) if usable else ()),
                _summed(self._any(word, usable) if len(usable) > 1 else ()),
            )
            self._remembered[word] = found
        return found

    def _learnt(self, word: tuple[str, ...]) -> Iterator[tuple[Way, float]]:
        if not self.patterns:
            return
        known = [letter in self._alphabet or not letter[0].isalpha() for letter in word]
        for start, end in _places(word):
            if not all(known[max(0, start - 1) : end + 1] if start == end else known[start:end]):
                continue  # no Latin letter is put between Cyrillic ones
            met, became = next(self.seen(word, start, end), (1, {}))
            yield from (((start, end, put), number / met) for put, number in became.items())

    def seen(self, word: tuple[str, ...], start: int, end: int) -> Iterator[Seen]:
        """What was counted of the letters start..end of a word (in lower case), with the nearest context first."""
        for reach in REACH:
            found = self.patterns.get(_site(word, start, end, reach))
            if found is not None:
                yield found

    def _alike(self, word: tuple[str, ...]) -> Iterator[tuple[Way, float]]:
        """Single letters for each other, in scripts without blanks."""
        for at, letter in enumerate(word):
            if alone(letter):
                for rank, other in enumerate(self.confusions.get(letter, ())):
                    yield (at, at + 1, other), 1 / (rank + 1)

    def _beside(self, word: tuple[str, ...]) -> Iterator[tuple[Way, float]]:
        for at, letter in enumerate(word):
            for other in self.neighbours.get(letter, ""):
                yield (at, at + 1, other), 0.7
                yield (at, at, other), 0.15  # both keys at once, the wrong one first
                yield (at + 1, at + 1, other), 0.15

    def _any(self, word: tuple[str, ...], usable: Sequence[str]) -> Iterator[tuple[Way, float]]:
        """Each of left out, doubled, swapped, put in and changed is as likely as the others."""
        own = list(self._alphabet) if all(letter in self._alphabet for letter in usable) else sorted(set(usable))
        for at, letter in enumerate(word):
            if not letter[0].isalpha():
                continue
            yield (at, at + 1, ""), 1.0
            yield (at, at + 1, letter + letter), 1.0
            if at + 1 < len(word) and word[at + 1] != letter:
                yield (at, at + 2, word[at + 1] + letter), 1.0
            for other in own:
                yield (at, at, other), 1 / len(own)
                if other != letter:
                    yield (at, at + 1, other), 1 / len(own)

    @cached_property
    def neighbours(self) -> dict[str, str]:
        """Letter → those on the keys around its own."""
        found = {}
        for number, row in enumerate(self.keys):
            for at, key in enumerate(row):
                above = self.keys[number - 1][at : at + 2] if number else ""
                below = self.keys[number + 1][max(at - 1, 0) : at + 1] if number + 1 < len(self.keys) else ""
                found[key] = row[max(at - 1, 0) : at] + row[at + 1 : at + 2] + above + below
        return found

    @cached_property
    def _alphabet(self) -> dict[str, None]:  # a set with an order
        met = {letter for _, middle, _ in self.patterns for letter in letters(middle) if letter[0].isalpha()}
        return dict.fromkeys(sorted(met | {key for row in self.keys for key in row}))

    def to_json(self) -> dict[str, Any]:
        patterns = {"|".join(site): [met, dict(became)] for site, (met, became) in self.patterns.items()}
        others = {"confusions": {word: list(others) for word, others in self.confusions.items()}}
        return {"patterns": patterns, **others, "keys": list(self.keys), "mixture": asdict(self.mixture)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Noise:
        """Raises DataError where `stored` is not what `to_json` gives."""
        try:
            patterns: dict[Site, Seen] = {}
            for key, (met, became) in stored["patterns"].items():
                before, middle, after = key.split("|")
                patterns[before, middle, after] = int(met), {str(put): int(n) for put, n in became.items()}
            confusions = {str(word): tuple(map(str, others)) for word, others in stored["confusions"].items()}
            return cls(patterns, confusions, tuple(map(str, stored["keys"])), Mixture(**stored["mixture"]))
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise DataError(f"this is no stored noise: {type(problem).__name__}: {problem}") from problem


def languages() -> tuple[str, ...]:
    return tuple(sorted(file.stem.removeprefix("noise-") for file in HOME.glob("noise-*.json")))


@cache
def noise(language: str) -> Noise:
    """The noise that was counted for a language ("en").

    Raises:
        DataError: none was counted; the message names those that were.
    """
    if language not in languages():
        raise DataError(unknown("noise", language, languages()))
    return Noise.from_json(json.loads((HOME / f"noise-{language}.json").read_text("utf-8")))


def like(word: str, other: str) -> str:
    """`other` with the capitals of `word`, where `word` has any."""
    if word.isupper() and len(word) > 1:
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other


# --- counting


def _comparable(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[tuple[str, ...], list[Way]]]:
    """The letters of each right word, and what was changed in them."""
    for wrong, right in pairs:
        ours, theirs = (tuple(part.lower() for part in letters(word)) for word in (right, wrong))
        if ours == theirs or any(edge in wrong + right for edge in (*_EDGES, "|")):
            continue
        found = changes(ours, theirs, LONGEST)
        # three letters of ten: what is further off is another word, or a guess that says nothing about spelling
        if sum(slips(ours[start:end], letters(put)) for start, end, put in found) <= max(1, 0.3 * len(ours) + 0.5):
            yield ours, found


def _counted(pairs: list[tuple[tuple[str, ...], list[Way]]], least: int) -> dict[Site, Seen]:
    """Site → what it became. A context counts only what none before it, of those that are kept, has counted."""
    patterns: dict[Site, Seen] = {}
    for rank, reach in enumerate(REACH):
        met: Counter[Site] = Counter()
        became: dict[Site, Counter[str]] = {}
        longer = REACH[:rank]
        for word, found in pairs:
            changed = {(start, end): put for start, end, put in found}
            for start, end in _places(word):
                if any(_site(word, start, end, each) in patterns for each in longer):
                    continue
                site = _site(word, start, end, reach)
                met[site] += 1
                if (start, end) in changed:
                    became.setdefault(site, Counter())[changed[start, end]] += 1
        for site, puts in became.items():
            kept = {put: number for put, number in puts.most_common() if number >= least}
            if kept and met[site] >= MET:
                patterns[site] = met[site], kept
    return patterns


def _places(word: Sequence[str]) -> Iterator[tuple[int, int]]:
    for start in range(len(word) + 1):
        for end in range(start, min(start + LONGEST, len(word)) + 1):
            yield start, end


def _site(word: tuple[str, ...], start: int, end: int, reach: tuple[int, int]) -> Site:
    before, after = reach
    left = "".join(word[max(0, start - before) : start])
    right = "".join(word[end : end + after])
    left = _EDGES[0] + left if start < before else left
    return left, "".join(word[start:end]), right + _EDGES[1] if end + after > len(word) else right


def _summed(ways: Iterable[tuple[Way, float]]) -> Ways:
    kept = list(ways)
    return tuple(way for way, _ in kept), tuple(accumulate(weight for _, weight in kept))


# --- running text


def units(text: str) -> list[tuple[int, int, bool]]:
    """(start, end, protected) of the words that have letters; those around an apostrophe are one."""
    found: list[tuple[int, int, bool]] = []
    runs = (run.span() for run in _RUN.finditer(text))
    spared = {at for run in runs if _PROTECTED.search(text, *run) for at in range(*run)}
    joins = False
    for start, end in words(text):
        word = text[start:end]
        if word in _APOSTROPHES:
            joins = bool(found) and found[-1][1] == start
            continue
        if not any(letter.isalpha() for letter in word):
            joins = False
            continue
        if joins and found[-1][1] == start - 1 and not alone(word):
            start = found.pop()[0]
        inner = any(left.islower() and right.isupper() for left, right in pairwise(word))
        found.append((start, end, inner or (start in spared and not alone(word))))
        joins = False
    return found


def _spaced(text: str, place: tuple[int, int], after: tuple[int, int], random: Random) -> Edit:
    """A blank too many, too few, or a letter too early or too late."""
    start, end = place
    parts, follows = letters(text[start:end]), text[end : after[0]] == " " and after[1] > after[0]
    if len(parts) < 4 or (follows and random.random() < 0.5):
        if len(parts) > 2 and random.random() < 0.2:
            return Edit(start, after[0], f"{''.join(parts[:-1])} {parts[-1]}")
        return Edit(end, after[0], "")
    at = random.randrange(2, len(parts) - 1)
    return Edit(start, end, f"{''.join(parts[:at])} {''.join(parts[at:])}")


def _drawn(chance: float, weights: Iterable[tuple[str, float]]) -> str:
    """The kind into whose share `chance` falls, "" where it falls beyond them all."""
    for kind, weight in weights:
        chance -= weight
        if chance < 0:
            return kind
    return ""


@lru_cache(maxsize=1 << 14)
def alone(word: str) -> bool:
    """Whether `word` is a letter of a script written without blanks."""
    letter = letters(word)
    return len(letter) == 1 and word[0].isalpha() and not word.isascii() and len(words(word * 2)) > 1
