"""Which words stand beside which: n-grams of words counted from raw text, for a corrector to ask. Knows no language."""

from __future__ import annotations

import io
import json
import lzma
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lowrung.core.errors import DataError
from lowrung.data.files import atomic
from lowrung.models.corrector import Slot
from lowrung.models.lexicon import fold

PAUSE, EDGE, UNKNOWN, FIRST = 0, 1, 2, 3  # a comma and its like, the end of a sentence, any other word, the known ones
SILENT = -1  # an unknown word beside others, which says nothing of them
DISCOUNT = 0.75
CHUNK = 4_000_000  # words that are counted at once
FORMAT = 1
_TAG = r"<[^<>\s][^<>]{0,80}>"
_WORDS = re.compile(rf"{_TAG}|[^\W\d_]+(?:['’][^\W\d_]+)*|\d+|[.!?;:…,()–—\"“”]")  # other signs are passed over
_ENDS = frozenset(".!?;:…")

Ints: TypeAlias = NDArray[np.integer[Any]]
Keys: TypeAlias = NDArray[np.uint64]
Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Beside:
    """A Context of correctors: an n-gram model with absolute discounting (Ney, Essen & Kneser 1994), pruned.

    Args:
        words: the known ones, folded. single: (len(words) + 3,) how often each was met, after pauses, edges and others.
        several: of 2 words up to `order`: sorted keys of `64 // order` bits a word, and their counts.
    """

    words: tuple[str, ...]
    single: Ints
    several: tuple[tuple[Keys, Ints], ...]

    @property
    def order(self) -> int:
        return len(self.several) + 1

    @classmethod
    def count(cls, lines: Iterable[str], words: Sequence[str], *, least: Sequence[int] = (2, 3)) -> Beside:
        """Counted from raw text, a line a paragraph.

        Args:
            words: those that are told apart, folded.
            least: how often 2 words, 3 words, … must be met to be kept.

        Raises:
            ValueError: there are more words than keys of so many have room for.
        """
        order = len(least) + 1
        bits = np.uint64(64 // order)
        if len(words) + FIRST >= 1 << int(bits):
            raise ValueError(f"{len(words)} words are too many for sequences of {order}")
        empty = cls(tuple(words), np.zeros(len(words) + FIRST, dtype=np.int64), ())
        single = empty.single
        found: list[tuple[Keys, Ints]] = [(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64))] * (order - 1)
        for ids in empty._chunks(lines):
            single += np.bincount(ids, minlength=len(single))
            keys = ids.astype(np.uint64)
            for at in range(1, order):
                keys = (keys[:-1] << bits) | ids[at:].astype(np.uint64)
                found[at - 1] = _merged(*found[at - 1], *np.unique(keys, return_counts=True))
        kept = tuple((keys[n >= few], n[n >= few]) for (keys, n), few in zip(found, least, strict=True))
        return cls(tuple(words), single, kept)

    def _chunks(self, lines: Iterable[str]) -> Iterator[Ints]:
        ids: list[int] = []
        for line in lines:
            ids.append(EDGE)
            ids += [self._id(line[start:end]) for start, end in _places(line)]
            if len(ids) > CHUNK:
                yield np.array(ids, dtype=np.int64)
                ids = []
        if ids:
            yield np.array(ids, dtype=np.int64)

    def _id(self, word: str) -> int:
        found = self._numbers.get(word)
        if found is None:
            found = self._numbers.get(fold(word))
            if found is None:
                found = EDGE if word in _ENDS else UNKNOWN if word[0].isalnum() else PAUSE
        return found

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: at + FIRST for at, word in enumerate(self.words)}

    # --- probabilities

    @cached_property
    def _tables(self) -> list[tuple[Keys, Floats, Floats]]:
        """Of 1 word, 2 words, …: keys, counts, and what discounting and pruning leave to shorter ones."""
        bits = np.uint64(64 // self.order)
        levels = [(np.arange(len(self.single), dtype=np.uint64), self.single), *self.several]
        made = []
        for at, (keys, counts) in enumerate(levels):
            left = counts.astype(np.float32)
            if at + 1 < len(levels) and len(levels[at + 1][0]):
                longer, numbers = levels[at + 1]
                heads = longer >> bits
                starts = np.flatnonzero(np.concatenate([[True], heads[1:] != heads[:-1]]))
                places = np.minimum(np.searchsorted(keys, heads[starts]), len(keys) - 1)
                met = keys[places] == heads[starts]
                left[places[met]] -= np.add.reduceat(numbers - DISCOUNT, starts)[met]
            made.append((keys, counts.astype(np.float32), np.maximum(left, 0.0)))
        return made

    def logs(self, rows: Ints) -> Floats:
        """log P(last word | those before it), from the last `SILENT` one on; 0 where that is the last.

        (R, order) numbers of words -> (R,)
        """
        bits, tables = np.uint64(64 // self.order), self._tables
        last = np.maximum(rows[:, -1], 0)
        found = np.maximum(self.single[last], 0.5) / max(int(self.single.sum()), 1)
        for size in range(2, self.order + 1):
            heads = np.zeros(len(rows), dtype=np.uint64)
            before = rows[:, self.order - size : self.order - 1]
            for words in before.T:
                heads = (heads << bits) | np.maximum(words, 0).astype(np.uint64)
            whole, left = _looked_up(tables[size - 2], heads)
            whole[(before < 0).any(1)] = 0
            count, _ = _looked_up(tables[size - 1], (heads << bits) | last.astype(np.uint64))
            share = (np.maximum(count - DISCOUNT, 0.0) + left * found) / np.maximum(whole, 1.0)
            found = np.where(whole > 0, share, found)
        logs: Floats = np.where(rows[:, -1] < 0, 0, np.log(found))
        return logs

    # --- what a corrector asks

    def __call__(self, texts: Sequence[str], slots: Sequence[Sequence[Slot]]) -> list[list[list[float]]]:
        """For each text, slot and option: log P of it and of what follows, given what stands beside it, less log P of
        it by itself. Beside it stands what is the best of its own slot so far."""
        windows: list[list[int]] = []
        owners: list[int] = []
        alone: list[float] = []
        usual = np.log(np.maximum(self.single, 0.5) / max(int(self.single.sum()), 1))
        reach = self.order - 1
        for text, asked in zip(texts, slots, strict=True):
            for line, inside in self._lines(text, asked, reach) if asked else ():
                places = range(len(line) - reach)
                windows += [line[at : at + self.order] for at in places]
                owners += [len(alone)] * len(places)
                alone.append(float(sum(usual[each] for each in inside)))
        if not alone:
            return [[] for _ in texts]
        logs = self.logs(np.array(windows, dtype=np.int64))
        gains = iter((np.bincount(owners, weights=logs, minlength=len(alone)) - np.array(alone)).tolist())
        return [[[next(gains) for _ in slot.options] for slot in asked] for asked in slots]

    def _lines(self, text: str, asked: Sequence[Slot], reach: int) -> Iterator[tuple[list[int], list[int]]]:
        """Of each option of each slot: the words from `reach` before to `reach` after it, and its own."""
        places = _places(text)
        starts = [start for start, _ in places]
        ids = [self._id(text[start:end]) for start, end in places]
        spans = [(bisect_left(starts, slot.start), bisect_left(starts, slot.end)) for slot in asked]
        for slot, (first, last) in zip(asked, spans, strict=True):
            if last == first + 1 and slot.best != slot.options[0].text:
                ids[first] = own[0] if len(own := self._ids(slot.best)) == 1 else UNKNOWN
        ids = [EDGE] * reach + [SILENT if each == UNKNOWN else each for each in ids] + [EDGE] * reach
        for slot, (first, last) in zip(asked, spans, strict=True):
            before, after = ids[first : first + reach], ids[last + reach : last + 2 * reach]
            for option in slot.options:
                inside = self._ids(option.text)
                yield before + inside + after, inside

    def _ids(self, text: str) -> list[int]:
        found = self._remembered.get(text)
        if found is None:
            found = self._remembered[text] = [self._id(text[start:end]) for start, end in _places(text)] or [UNKNOWN]
        return found

    @cached_property
    def _remembered(self) -> dict[str, list[int]]:
        return {}

    # --- on disk

    def save(self, path: str | Path) -> None:
        """One file: words, counts, and keys as the steps between them, byte by byte, packed."""
        about = json.dumps({"format": FORMAT, "sizes": [len(keys) for keys, _ in self.several]})
        with atomic(Path(path)) as new, lzma.open(new, "wb", preset=9) as file:
            for line in (about, "\t".join(self.words)):
                file.write(line.encode() + b"\n")
            for values in (self.single, *(each for pair in self.several for each in pair)):
                steps = np.diff(values, prepend=values.dtype.type(0)) if values.dtype == np.uint64 else values
                file.write(np.ascontiguousarray(steps.astype("<u8").view(np.uint8).reshape(-1, 8).T).tobytes())

    @classmethod
    def load(cls, path: str | Path) -> Beside:
        """What `save` wrote.

        Raises:
            DataError: there is no such file, or not a whole one.
        """
        try:
            with lzma.open(path) as packed:
                file = io.BytesIO(packed.read())
            about = json.loads(file.readline())
            if about["format"] != FORMAT:
                raise ValueError(f"format {about['format']}")
            words = tuple(file.readline().decode().rstrip("\n").split("\t"))
            single = _read(file, len(words) + FIRST).astype(np.int64)
            pairs = []
            for size in about["sizes"]:
                keys = np.cumsum(_read(file, size), dtype=np.uint64)
                pairs.append((keys, _read(file, size).astype(np.int32)))
            return cls(words, single, tuple(pairs))
        except (OSError, EOFError, ValueError, KeyError, TypeError, lzma.LZMAError) as problem:
            raise DataError(f"{path}: no counted n-grams ({type(problem).__name__}: {problem})") from problem


def _places(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in _WORDS.finditer(text) if not found.group().startswith("<")]


def _read(file: io.BytesIO, size: int) -> Keys:
    planes = np.frombuffer(file.read(size * 8), dtype=np.uint8).reshape(8, size)
    return np.ascontiguousarray(planes.T).view("<u8")[:, 0].astype(np.uint64)


def _merged(keys: Keys, counts: Ints, more: Keys, numbers: Ints) -> tuple[Keys, Ints]:
    both, values = np.concatenate([keys, more]), np.concatenate([counts, numbers])
    order = np.argsort(both, kind="stable")
    both, values = both[order], values[order]
    starts = np.flatnonzero(np.concatenate([[True], both[1:] != both[:-1]]))
    return both[starts], np.add.reduceat(values, starts)


def _looked_up(table: tuple[Keys, Floats, Floats], keys: Keys) -> tuple[Floats, Floats]:
    known, *columns = table
    if not len(known):
        return np.zeros(len(keys), dtype=np.float32), np.zeros(len(keys), dtype=np.float32)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    met = known[at] == keys
    one, two = (np.where(met, each[at], 0.0).astype(np.float32) for each in columns)
    return one, two
