"""Which letter follows which: n-grams with modified Kneser-Ney smoothing, pruned, in one small file. Knows no language.

For scripts without blanks, where a letter is a word and its neighbours say whether it is the right one.
"""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lowrung.core.errors import DataError
from lowrung.data.files import atomic

ORDER = 4  # letters of the longest n-gram
UNKNOWN, BORDER, DIGIT, LATIN = range(4)  # places of the alphabet that stand for any other letter, the end of a line, …
FIRST = 4  # place of the first letter of the alphabet
STEP = 0.06  # of natural logarithms, in which they are stored
WIDE = 0xFEE0  # from a full-width form to the usual one
VERSION = 1

Ids = NDArray[np.int64]
Logs = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Alphabet:
    """Letters, each with a number; digits share one, and so do Latin letters."""

    letters: str

    @classmethod
    def count(cls, lines: Iterable[str], most: int) -> Alphabet:
        """The letters that are met most often."""
        met = Counter[str]()
        for line in lines:
            met.update(line)
        found = Counter[str]()
        for letter, number in met.items():
            if _shared(plain := _plain(letter)) == UNKNOWN:
                found[plain] += number
        return cls("".join(letter for letter, _ in found.most_common(most)))

    def __len__(self) -> int:
        return FIRST + len(self.letters)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {letter: FIRST + at for at, letter in enumerate(self.letters)}

    def __getitem__(self, letter: str) -> int:
        found = self._seen.get(letter)
        if found is None:
            plain = _plain(letter)
            found = self._seen[letter] = _shared(plain) or self._places.get(plain, UNKNOWN)
        return found

    @cached_property
    def _seen(self) -> dict[str, int]:
        return {"\n": BORDER}

    def ids(self, text: str) -> Ids:
        """(N,) the number of each character."""
        return np.fromiter((self[letter] for letter in text), dtype=np.int64, count=len(text))


def _plain(letter: str) -> str:
    code = ord(letter)
    return chr(code - WIDE) if 0xFF01 <= code <= 0xFF5E else letter


def _shared(plain: str) -> int:
    return DIGIT if plain.isdigit() else LATIN if plain.isascii() and plain.isalpha() else UNKNOWN


@dataclass(frozen=True, eq=False)
class Grams:
    """log P(letter | the letters before), from n-grams.

    Args:
        keys: of each order n, the n-grams as numbers in base V, ascending. (N,)
        logs: log P of the last letter of each. backs: what the logarithm loses where a longer n-gram that begins so is
            not among them; 0 at the longest.
    """

    size: int  # V
    keys: tuple[NDArray[np.uint64], ...]
    logs: tuple[Logs, ...]
    backs: tuple[Logs, ...]

    @classmethod
    def count(
        cls, lines: Iterable[str], alphabet: Alphabet, *, order: int = ORDER, least: Sequence[float] = (0, 0, 0, 0)
    ) -> Grams:
        """Counted from lines of text.

        Args:
            least: for each order, what an n-gram must add to the logarithm of the lines' probability to be kept.

        Follows Chen & Goodman (1999), interpolated; pruned by what the lines themselves lose (Stolcke 1998).
        """
        size = len(alphabet)
        if size**order >= 2**64:
            raise ValueError(f"{size} letters are too many for n-grams of {order}")
        stream = alphabet.ids("\n" + "\n".join(lines) + "\n").astype(np.uint64)
        met = [_met(stream, size, n) for n in range(1, order + 1)]  # (keys, times) of each order
        logs: list[Logs] = []
        below: NDArray[np.float64] = np.full(size, 1 / size)  # P by one order less
        for n in range(1, order + 1):
            keys, times = met[n - 1]
            if n < order:  # how many different letters stand before it
                longer = met[n][0] % np.uint64(size**n)
                before, times = np.unique(longer, return_counts=True)
                full = np.ones(len(keys), dtype=np.int64)
                full[np.searchsorted(keys, before)] = times
                times = full
            short = keys % np.uint64(size ** (n - 1))
            lower = below[keys.astype(np.int64)] if n == 1 else below[np.searchsorted(met[n - 2][0], short)]
            below = _smoothed(keys // np.uint64(size), times, lower)
            logs.append(np.log(below).astype(np.float32))
        return cls._pruned(size, met, logs, least)

    @classmethod
    def _pruned(
        cls, size: int, met: Sequence[tuple[NDArray[np.uint64], Ids]], logs: Sequence[Logs], least: Sequence[float]
    ) -> Grams:
        order = len(met)
        kept = [np.ones(len(keys), dtype=bool) for keys, _ in met]
        for n in range(order, 1, -1):
            (keys, times), lower = met[n - 1], met[n - 2][0]
            without = logs[n - 2][np.searchsorted(lower, keys % np.uint64(size ** (n - 1)))]
            # the part of what is left for letters that never followed is not known yet: ln 2 is usual
            kept[n - 1] = times * (logs[n - 1] - without + 0.7) >= least[n - 1]
            if least[n - 1] <= 0:
                kept[n - 1][:] = True
        for n in range(order, 1, -1):  # what a longer one begins with stays
            begins = np.unique(met[n - 1][0][kept[n - 1]] // np.uint64(size))
            kept[n - 2][np.searchsorted(met[n - 2][0], begins)] = True
        left = tuple(met[n][0][kept[n]] for n in range(order))
        said = tuple(logs[n][kept[n]] for n in range(order))
        backs: list[Logs] = []
        for n in range(2, order + 1):
            begins = left[n - 1] // np.uint64(size)
            place = np.searchsorted(left[n - 2], begins)
            nothing = np.zeros(len(left[n - 2]), dtype=np.float32)
            shorter = cls(size, left[: n - 1], said[: n - 1], (*backs, nothing))
            spelt = _letters(left[n - 1], size, n)[:, 1:]
            own = np.bincount(place, np.exp(said[n - 1].astype(np.float64)), len(nothing))
            less = np.bincount(place, np.exp(shorter.log(spelt).astype(np.float64)), len(nothing))
            backs.append(np.log(np.clip(1 - own, 1e-4, 1) / np.clip(1 - less, 1e-4, None)).astype(np.float32))
        return cls(size, left, said, (*backs, np.zeros(len(left[-1]), dtype=np.float32)))

    @property
    def order(self) -> int:
        return len(self.keys)

    def log(self, ids: Ids) -> Logs:
        """log P of the last letter of each row after those before it.  (M, n) -> (M,), n at least 1"""
        rows = ids[:, -self.order :].astype(np.uint64)
        found = np.zeros(len(rows), dtype=np.float32)
        open_ = np.arange(len(rows))
        for n in range(rows.shape[1], 0, -1):
            if not len(open_):
                break
            powers = np.uint64(self.size) ** np.arange(n - 1, -1, -1, dtype=np.uint64)
            wanted = rows[open_, -n:] @ powers
            places, hit = _find(self.keys[n - 1], wanted)
            found[open_[hit]] += self.logs[n - 1][places[hit]]
            open_, wanted = open_[~hit], wanted[~hit]
            if n == 1:
                found[open_] += np.float32(-np.log(self.size))
            else:
                places, hit = _find(self.keys[n - 2], wanted // np.uint64(self.size))
                found[open_[hit]] += self.backs[n - 2][places[hit]]
        return found

    def packed(self) -> list[NDArray[np.generic]]:
        """Children of each shorter n-gram, last letters, logs, backs of each order: small numbers that pack well."""
        found: list[NDArray[np.generic]] = []
        for n, keys in enumerate(self.keys, 1):
            if n > 1:
                begins = np.searchsorted(self.keys[n - 2], keys // np.uint64(self.size))
                found.append(np.bincount(begins, minlength=len(self.keys[n - 2])).astype(np.uint16))
            found.append((keys % np.uint64(self.size)).astype(np.uint16))
            found += [_coarse(self.logs[n - 1], -255 * STEP)]
            if n < self.order:
                found.append(_coarse(self.backs[n - 1], -200 * STEP))
        return found

    @classmethod
    def unpacked(cls, size: int, order: int, arrays: Iterable[NDArray[np.generic]]) -> Grams:
        taken = iter(arrays)
        keys: list[NDArray[np.uint64]] = []
        logs, backs = list[Logs](), list[Logs]()
        for n in range(1, order + 1):
            parents = np.repeat(keys[-1], next(taken).astype(np.int64)) if n > 1 else np.uint64(0)
            keys.append((parents * np.uint64(size) + next(taken).astype(np.uint64)).astype(np.uint64))
            logs.append(next(taken).astype(np.float32) * STEP - 255 * STEP)
            backs.append(next(taken).astype(np.float32) * STEP - 200 * STEP if n < order else np.zeros_like(logs[-1]))
        return cls(size, tuple(keys), tuple(logs), tuple(backs))


def _met(stream: NDArray[np.uint64], size: int, n: int) -> tuple[NDArray[np.uint64], Ids]:
    """The n-grams of a stream as numbers, ascending, and how often each is met."""
    codes = np.zeros(len(stream) - n + 1, dtype=np.uint64)
    for at in range(n):
        codes = codes * np.uint64(size) + stream[at : len(stream) - n + 1 + at]
    if n == 1:  # every letter, met or not
        return np.arange(size, dtype=np.uint64), np.bincount(codes.astype(np.int64), minlength=size)
    keys, times = np.unique(codes, return_counts=True)
    return keys, times.astype(np.int64)


def _smoothed(begins: NDArray[np.uint64], times: Ids, lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """P of n-grams that begin so, by their times and by P of one order less.  (N,) each"""
    one, two, three, four = (max(int((times == each).sum()), 1) for each in (1, 2, 3, 4))
    share = one / (one + 2 * two)
    discounts = np.array([0.0, 1 - 2 * share * two / one, 2 - 3 * share * three / two, 3 - 4 * share * four / three])
    discounts = np.clip(discounts, [0.0, 0.1, 0.2, 0.3], [0.0, 0.95, 1.9, 2.8])
    taken = discounts[np.minimum(times, 3)]
    starts = np.flatnonzero(np.concatenate([[True], begins[1:] != begins[:-1]]))
    group = np.cumsum(np.concatenate([[False], begins[1:] != begins[:-1]]))
    whole = np.add.reduceat(times, starts)[group]
    found: NDArray[np.float64] = ((times - taken) + np.add.reduceat(taken, starts)[group] * lower) / whole
    return found


def _letters(keys: NDArray[np.uint64], size: int, n: int) -> Ids:
    """(N, n) the letters of n-grams."""
    found = np.empty((len(keys), n), dtype=np.int64)
    for at in range(n - 1, -1, -1):
        found[:, at] = keys % np.uint64(size)
        keys = keys // np.uint64(size)
    return found


def _find(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> tuple[Ids, NDArray[np.bool_]]:
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=bool)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return places, keys[places] == wanted


def _coarse(logs: Logs, lowest: float) -> NDArray[np.uint8]:
    steps: NDArray[np.float32] = np.clip(np.rint((logs - lowest) / STEP), 0, 255)
    return steps.astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Sequences:
    """Several counts of n-grams as one: their probabilities, mixed by `shares`, which add up to 1."""

    alphabet: Alphabet
    grams: tuple[Grams, ...]
    shares: tuple[float, ...]

    def log(self, ids: Ids) -> Logs:
        """As `Grams.log`.  (M, n) -> (M,)"""
        return self.mixed(self.parts(ids))

    def parts(self, ids: Ids) -> Logs:
        """What each of them says.  (M, n) -> (G, M)"""
        powers = len(self.alphabet) ** np.arange(ids.shape[1] - 1, -1, -1, dtype=np.int64)
        _, first, back = np.unique(ids @ powers, return_index=True, return_inverse=True)
        rows = ids[first]
        found: Logs = np.stack([each.log(rows) for each in self.grams])
        return found[:, back.reshape(-1)]

    def mixed(self, parts: Logs) -> Logs:
        """(G, M) -> (M,)"""
        found = parts + np.log(np.array(self.shares, dtype=np.float32))[:, None]
        most = found.max(0)
        mixed: Logs = most + np.log(np.exp(found - most).sum(0))
        return mixed

    @cached_property
    def pairs(self) -> NDArray[np.float16]:
        """log P(second | first) of any two letters.  (V, V)"""
        found = np.zeros((len(self.alphabet),) * 2, dtype=np.float32)
        for each, share in zip(self.grams, self.shares, strict=True):
            logs = each.backs[0][:, None] + each.logs[0][None]
            one, two = np.divmod(each.keys[1].astype(np.int64), each.size)
            logs[one, two] = each.logs[1]
            found += np.float32(share) * np.exp(logs)
        return np.log(found).astype(np.float16)

    def with_grams(self, more: Grams, share: float) -> Sequences:
        """Mixed with other n-grams of the same alphabet, which get `share`."""
        shares = tuple(each * (1 - share) for each in self.shares)
        return Sequences(self.alphabet, (*self.grams, more), (*shares, share))

    def packed(self) -> bytes:
        """Numbers of one byte or two, packed with xz, behind a line of JSON that says what they are."""
        parts = [each.packed() for each in self.grams]
        head = {
            "version": VERSION,
            "alphabet": self.alphabet.letters,
            "shares": self.shares,
            "arrays": [[[str(array.dtype), len(array)] for array in arrays] for arrays in parts],
            "orders": [each.order for each in self.grams],
        }
        body = b"".join(_planes(array) for arrays in parts for array in arrays)
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0}]
        return lzma.compress(json.dumps(head, ensure_ascii=False).encode() + b"\n" + body, filters=filters)

    @classmethod
    def unpacked(cls, packed: bytes) -> Sequences:
        """Raises ValueError, KeyError, TypeError or LZMAError where `packed` is nothing that was packed."""
        told, _, body = lzma.decompress(packed).partition(b"\n")
        return cls._read(json.loads(told), body)

    def save(self, path: str | Path) -> None:
        with atomic(Path(path)) as new:
            new.write_bytes(self.packed())

    @classmethod
    def load(cls, path: str | Path) -> Sequences:
        """What `save` wrote.

        Raises:
            DataError: it cannot be read, or is something else.
        """
        try:
            return cls.unpacked(Path(path).read_bytes())
        except (OSError, ValueError, KeyError, TypeError, StopIteration, lzma.LZMAError) as problem:
            raise DataError(f"{path}: no n-grams can be read there ({problem})") from problem

    @classmethod
    def _read(cls, head: Mapping[str, object], body: bytes) -> Sequences:
        if head["version"] != VERSION:
            raise ValueError(f"version {head['version']}, not {VERSION}")
        alphabet, at, grams = Alphabet(str(head["alphabet"])), 0, list[Grams]()
        for order, shapes in zip(head["orders"], head["arrays"], strict=True):  # type: ignore[call-overload]
            arrays = []
            for kind, number in shapes:
                width = np.dtype(kind).itemsize
                flat = np.frombuffer(body, dtype=np.uint8, count=number * width, offset=at)
                arrays.append(np.ascontiguousarray(flat.reshape(width, number).T).view(kind)[:, 0])
                at += number * width
            grams.append(Grams.unpacked(len(alphabet), order, arrays))
        return cls(alphabet, tuple(grams), tuple(head["shares"]))  # type: ignore[arg-type]


def _planes(array: NDArray[np.generic]) -> bytes:
    """The low bytes of all numbers, then the high ones: alike stands beside alike."""
    width = array.dtype.itemsize
    return array.view(np.uint8).reshape(len(array), width).T.tobytes()
