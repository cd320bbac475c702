"""The words of a language with their counts: what a corrector draws its candidates from. Knows no language itself."""

from __future__ import annotations

import gzip
import lzma
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from math import log
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lowrung.core.errors import DataError, unknown
from lowrung.data.files import atomic
from lowrung.data.noise import alone, like, noise, units

HOME = Path(__file__).parent
SUFFIX = ".tsv.xz"
LONG = 8  # letters from which a word may have three slips in it
SPLITS = 2  # of one word that are offered
LONGEST = 40  # letters; what is longer is no word that anybody misspelt
OWN_RANK = 3_000  # a word of the user's own counts at least as much as the word of this rank
CHANCE = 0.14  # of the meetings of two words by chance, those that are no parts of one word
TAILS = 20  # words with the same ending behind an apostrophe, for it to be one that any word may take
ENDING, STEM = 3, 4  # letters of an ending at most, of what it follows at least
USUAL = 0.01  # the share of words that have an ending behind a known word, for it to be a usual one
SAMPLE = 5  # one word of so many is looked at for endings
WITHOUT = 0.1  # of a word's count, what it must be met without capitals to be written so
EACH_SLIP = 6.0  # of log counts: a word one slip further away must be 400 times commoner to be tried before
PACKED: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}
_ENDS = re.compile(r"[.!?:;。！？…]['\"’”»)\]]*\s*$")
_PLAIN = re.compile(r"(?<!\w)[A-Za-z]+(?:'[A-Za-z]+)*(?!\w)")

Forms: TypeAlias = Mapping[str, int]  # words as written, each with its count


class Origin(NamedTuple):
    """Where words come from: a language or a folder, and a checksum of what was read there."""

    name: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may have been meant.

    Args:
        text: as the lexicon writes it; of a word split in two, both with a blank between them.
        distance: letters put in, left out, changed or swapped; 0 for the word itself, 1 for a blank.
        count: how often it was met; of two words, how often they would meet by chance.
        kind: "word", "split", or "confusion".
    """

    text: str
    distance: int
    count: float
    kind: str = "word"


@dataclass(frozen=True)
class Lexicon:
    """Words as written, with counts.

    Args:
        counts: «Paris» and «paris» are two entries; «a lot» may be one, for what is often written together.
        own: folded words of the user's own, which a corrector leaves alone.
        confusions: word or letter → what it is mistaken for; all that is offered in scripts without blanks.
    """

    counts: Forms
    own: frozenset[str] = frozenset()
    confusions: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def count(cls, lines: Iterable[str], *, least: int = 1, most: int | None = None) -> Lexicon:
        """Counted from raw text.

        A word that opens a line or a sentence says nothing of its case: it counts for the form that is commonest
        elsewhere.

        Args:
            least: how often a form must be met to be kept.
            most: how many folded words are kept, the commonest.
        """
        inside, opening = Counter[str](), Counter[str]()
        for line in lines:
            before = 0
            line = line.replace("’", "'")
            for start, end in _places(line):
                opens = before == 0 or (start - before > 1 and _ENDS.search(line, before, start))
                found = opening if opens else inside
                found[line[start:end]] += 1
                before = end
        usual: dict[str, str] = {}
        for form, _ in inside.most_common():
            usual.setdefault(fold(form), form)
        for form, number in opening.items():
            inside[usual.get(fold(form), form.lower())] += number
        totals = Counter[str]()
        for form, number in inside.items():
            totals[fold(form)] += number
        kept = {word for word, number in totals.most_common(most) if number >= least}
        return cls({form: n for form, n in inside.items() if n >= least and fold(form) in kept})

    def with_words(self, more: Iterable[str] | Mapping[str, int]) -> Lexicon:
        """With words of the user's own, which a corrector never touches and likes to offer."""
        given = dict(more) if isinstance(more, Mapping) else Counter(more)
        counts = dict(self.counts)
        for word, number in given.items():
            for start, end in _places(word := word.replace("’", "'")):
                form = word[start:end]
                counts[form] = max(counts.get(form, 0) + number, self._own_count)
        own = {fold(word[start:end]) for word in map(_straight, given) for start, end in _places(word)}
        return Lexicon(counts, self.own | own, self.confusions)

    @cached_property
    def _own_count(self) -> int:
        ranked = sorted(self.counts.values())
        return ranked[-min(OWN_RANK, len(ranked) // 2 + 1)] if ranked else 1

    # --- looking up

    @cached_property
    def total(self) -> int:
        return sum(number for form, number in self.counts.items() if " " not in form) or 1

    @cached_property
    def _forms(self) -> dict[str, dict[str, int]]:
        """Folded word → its forms, commonest first."""
        found: dict[str, dict[str, int]] = {}
        for form, number in sorted(self.counts.items(), key=lambda item: -item[1]):
            found.setdefault(fold(form), {})[form] = number
        return found

    def __contains__(self, word: str) -> bool:
        return fold(word) in self._forms

    def __len__(self) -> int:
        """How many folded words there are."""
        return len(self._forms)

    def forms(self, word: str) -> Forms:
        """The forms of a word, commonest first; {} where it is not known."""
        return self._forms.get(fold(word), {})

    def times(self, word: str) -> int:
        """How often a word was met in any form."""
        return sum(self.forms(word).values())

    @cached_property
    def _tails(self) -> frozenset[str]:
        """What follows the last apostrophe of many words: 's, 'll."""
        found = Counter("'" + word.rpartition("'")[2] for word in self._forms if "'" in word[1:])
        return frozenset(tail for tail, number in found.items() if number >= TAILS)

    def parted(self, word: str) -> tuple[str, str]:
        """A word that is not known as a whole, and the ending behind its apostrophe, "" where it has none of those."""
        at = _straight(word).rfind("'")
        if at > 0 and word not in self and fold(word[at:]) in self._tails:
            return word[:at], word[at:]
        return word, ""

    @cached_property
    def _endings(self) -> tuple[str, ...]:
        """What many words take, as -s and -ing in English."""
        found = Counter[str]()
        stems = Counter[int]()
        for word in list(self._forms)[::SAMPLE]:
            for size in range(1, min(ENDING, len(word) - STEM) + 1):
                found[word[-size:]] += word[:-size] in self._forms
                stems[size] += 1
        whole = max(stems.values(), default=0)
        return ("", *(ending for ending, number in found.items() if number >= USUAL * whole))

    def derived(self, word: str) -> bool:
        """Whether the word, or it with another of the usual endings, is made of a known one: «mavens» of «maven»."""
        folded = fold(word)
        stems = [folded[: len(folded) - len(each)] for each in self._endings if folded.endswith(each)]
        return any(stem + other in self._forms for stem in stems if len(stem) >= STEM for other in self._endings)

    def cased(self, word: str, written: str) -> str:
        """`word` with the capitals of what was `written`, and with those that it hardly ever goes without."""
        forms = self.forms(word)
        form = next(iter(forms), word)
        low = next((each for each in forms if each[:1].islower()), form)
        usual = low if forms.get(low, 0) >= WITHOUT * self.times(word) else form
        return like(written, usual) if written[:1].isupper() else usual

    def candidates(self, word: str, n: int = 20, *, reach: int | None = None) -> list[Candidate]:
        """Up to `n` that may have been meant by `word`: itself, then by distance and count, then the best splits.

        Args:
            reach: the largest distance; by the length of the word where None.
        """
        folded = fold(word)
        found = [Candidate(word, 0, self.times(word))]
        others = [
            Candidate(other, 1, self.times(other), "confusion")
            for other in (*self.confusions.get(folded, ()), *self.confusions.get(word, ()))
        ]
        alike = not alone(word) and len(folded) <= LONGEST
        if alike:
            reach = (3 if len(folded) >= LONG else 2) if reach is None else reach
            others += self._near(folded, min(reach, len(folded) - 1, reach if len(folded) > 2 else 1), n)
        # two words meet far more often than by chance, so that splits compete among themselves alone
        splits = sorted(self._splits(folded), key=_rank)[:SPLITS] if alike else []
        seen = {folded}
        for each in sorted(others, key=_rank):
            if len(found) >= n - len(splits):
                break
            if fold(each.text) not in seen:
                seen.add(fold(each.text))
                found.append(each)
        return [*found, *splits]

    def _near(self, folded: str, reach: int, n: int) -> list[Candidate]:
        """The first `n` words within a restricted Damerau-Levenshtein distance, without the word itself."""
        from rapidfuzz import process
        from rapidfuzz.distance import OSA

        index, size = self._index, len(folded)
        if not reach:
            return []
        low, high = index.starts[max(0, size - reach)], index.starts[min(size + reach + 1, len(index.starts) - 1)]
        apart = np.bitwise_count(index.marks[low:high] ^ _marks([folded])[0])
        # each letter changed turns two marks, each put in or left out one
        close = low + np.flatnonzero(apart <= 2 * reach - np.abs(index.sizes[low:high] - size))
        far = process.cdist([folded], index.words[close], scorer=OSA.distance, score_cutoff=reach, dtype=np.uint8)[0]
        met = np.flatnonzero((far > 0) & (far <= reach))
        ranked = met[np.argsort(EACH_SLIP * far[met] - index.logs[close[met]], kind="stable")][:n].tolist()
        words = [(next(iter(self._forms[index.words[close[at]]])), int(far[at])) for at in ranked]
        return [Candidate(word, far, self.times(word)) for word, far in words]

    def _splits(self, folded: str) -> list[Candidate]:
        found = []
        for at in range(1, len(folded)):
            left, right = folded[:at], folded[at:]
            if left in self._forms and right in self._forms:
                one, two = (next(iter(self._forms[part])) for part in (left, right))
                chance = CHANCE * self.times(left) * self.times(right) / self.total
                found.append(Candidate(f"{one} {two}", 1, max(chance, self.times(f"{left} {right}")), "split"))
        return found

    @cached_property
    def _index(self) -> _Index:
        words = sorted(
            (word for word in self._forms if len(word) <= LONGEST and " " not in word),
            key=lambda word: (len(word), word),
        )
        sizes = np.array([len(word) for word in words], dtype=np.int16)
        starts = np.searchsorted(sizes, np.arange(LONGEST + 2)).tolist()
        logs = np.log([max(self.times(word), 1) for word in words])
        return _Index(np.array(words, dtype=object), sizes, _marks(words), logs, starts)

    # --- on disk

    def save(self, path: str | Path) -> None:
        """Lines of word, tab, count, sorted; packed where the name ends in .xz or .gz. The user's own have a «+»."""
        lines = [f"{form}\t{n}{'+' * (fold(form) in self.own)}\n" for form, n in sorted(self.counts.items())]
        with atomic(Path(path)) as new, PACKED.get(Path(path).suffix, open)(new, "wb") as file:
            file.write("".join(lines).encode("utf-8", "surrogatepass"))

    @classmethod
    def load(cls, path: str | Path) -> Lexicon:
        """What `save` wrote, or any list of words, one a line, with or without a count behind a tab.

        Raises:
            DataError: it cannot be read, or a count is no number.
        """
        counts: dict[str, int] = {}
        own = set()
        try:
            with PACKED.get(Path(path).suffix, open)(path, "rb") as file:
                lines = file.read().decode("utf-8", "surrogatepass").splitlines()
        except (OSError, EOFError, ValueError, lzma.LZMAError) as problem:
            raise DataError(f"{path}: cannot be read as a list of words ({problem})") from problem
        for number, line in enumerate(lines, 1):
            form, _, told = line.strip("\r\n").partition("\t")
            if not form.strip():
                continue
            if told and not told.rstrip("+").isdecimal():
                raise DataError(f"{path}:{number}: behind the tab stands a count, not {told!r}")
            form = _straight(form.strip())
            counts[form] = counts.get(form, 0) + int(told.rstrip("+") or 1)
            if told.endswith("+"):
                own.add(fold(form))
        return cls(counts, frozenset(own))


def _rank(each: Candidate) -> float:
    return EACH_SLIP * each.distance - log(max(each.count, 1e-9))


@dataclass(frozen=True)
class _Index:
    """Folded words by length, (N,) each, with what tells most of them apart without a comparison of letters."""

    words: NDArray[np.object_]
    sizes: NDArray[np.int16]
    marks: NDArray[np.uint64]
    logs: NDArray[np.float64]  # of how often each was met
    starts: list[int]  # where each length begins


def fold(word: str) -> str:
    """As words are looked up: without case, with a straight apostrophe."""
    return _straight(word).lower()


def languages() -> tuple[str, ...]:
    return tuple(sorted(file.name[len("lexicon-") : -len(SUFFIX)] for file in HOME.glob(f"lexicon-*{SUFFIX}")))


@cache
def lexicon(language: str) -> Lexicon:
    """The lexicon that was counted for a language ("en"), with the confusions of its noise.

    Raises:
        DataError: none was counted; the message names those that were.
    """
    if language not in languages():
        raise DataError(unknown("lexicon", language, languages()))
    return replace(Lexicon.load(HOME / f"lexicon-{language}{SUFFIX}"), confusions=noise(language).confusions)


def _straight(word: str) -> str:
    return word.replace("’", "'")


def _places(line: str) -> list[tuple[int, int]]:
    """Where the words of letters lie; those around an apostrophe are one."""
    if line.isascii():
        return [found.span() for found in _PLAIN.finditer(line)]
    return [(start, end) for start, end, _ in units(line) if line[start:end].replace("'", "").isalpha()]


def _marks(words: Sequence[str]) -> NDArray[np.uint64]:
    """(N,) 64 marks a word: for each of 32 classes of letters, one is there, and another one."""
    if not words:
        return np.zeros(0, dtype=np.uint64)
    codes = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    owner = np.repeat(np.arange(len(words)), [len(word) for word in words])
    met = np.bincount(owner * 32 + (codes & 31), minlength=len(words) * 32).reshape(len(words), 32)
    bits = np.packbits(np.concatenate([met > 0, met > 1], axis=1), axis=1)  # (N, 64) -> (N, 8)
    return np.ascontiguousarray(bits).view(np.uint64)[:, 0]
