"""What speaks for each letter that may stand in a place: numbers, made of counts, that a chooser weighs.

For scripts without blanks, where a letter is a word and its options are its confusions.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import log
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lowrung.data.noise import HOME as NOISES
from lowrung.models.lexicon import HOME, lexicon
from lowrung.models.sequences import BORDER, Ids, Logs, Sequences

KEPT = 12  # options of a place that are looked at closely, what stands there among them
LONGEST = 4  # letters of a word
KINDS = "tsnl"  # the same sound, the tone aside, nearly the same, alike in shape only; capitals are alike in shape, too
BESIDE = 4  # options of a place that are tried together with one of its neighbour
SEEN = 6.0  # what it adds to an option's logarithm that this very slip was met
MET = 0.5  # times that every slip counts as met


class Reading(Protocol):
    """What a body says of letters in their places: log P of each, for each text, place and letter."""

    def __call__(
        self, texts: Sequence[str], places: Sequence[Sequence[int]], options: Sequence[Sequence[Sequence[str]]]
    ) -> list[list[Logs]]: ...


@dataclass(frozen=True, eq=False)
class Slips:
    """Slips met in labelled rows, as strings of letters, by how much of what stands around is told apart.

    Args:
        pairs: (letters with the written one, the meant one) → times; the letters are the written one alone, with
            the one before it, or with the one after it (`ways` makes them).
        right: the letters → times that the written one stood rightly.
    """

    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)

    @classmethod
    def count(cls, rows: Iterable[tuple[str, str]]) -> Slips:
        """From (text, right text) of the same length."""
        made = cls()
        for text, right in rows:
            for at, meant in enumerate(right):
                for way in ways(text, at):
                    if text[at] == meant:
                        made.right[way] += 1
                    else:
                        made.pairs[way, meant] += 1
        return made

    @cached_property
    def others(self) -> dict[str, list[str]]:
        """Written → meant."""
        found: dict[str, list[str]] = {}
        for written, meant in self.pairs:
            if len(written) == 1:
                found.setdefault(written, []).append(meant)
        return found


def ways(text: str, at: int) -> tuple[str, str, str]:
    """A letter alone, after the letter before it, and before the letter after it."""
    before = text[at - 1 : at] or "\n"
    return text[at], f"{before}{text[at]}|", f"|{text[at : at + 2]}" if at + 1 < len(text) else f"|{text[at]}\n"


@dataclass(frozen=True, eq=False)
class Places:
    """The places of a text, each with its options; the first is what stands there.

    Args:
        at: (S,) where. options: S lists of letters. facts: (S, K, F); rows of places with fewer options end in zeros.
    """

    at: list[int]
    options: list[list[str]]
    facts: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Makes facts of texts.

    Args:
        kinds: written → meant → the kind of slip. counts: how common a letter is. words: the same, of several letters.
    """

    sequences: Sequences
    kinds: Mapping[str, Mapping[str, str]]
    counts: Mapping[str, int]
    words: Mapping[str, int] = field(default_factory=dict)
    slips: Slips = Slips()

    NAMES = (
        "other", "before", "after", "together", "beside", "ends", "odd", "odd_after", "spoken", "rows",
        *(f"kind_{each}" for each in KINDS), "shape", "unknown_kind", "commoner", "common", "rare",
        "met", "met_share", "stood", "of_it", "met_after", "met_before", "stood_after", "stood_before",
        "word", "word_before", "word_longer", "word_commoner",
    )  # fmt: skip

    @cached_property
    def _total(self) -> float:
        return float(sum(self.counts.values()))

    def places(self, text: str, at: Sequence[int], offered: Sequence[Sequence[str]]) -> Places:
        """Args: at: the places. offered: what else may stand in each."""
        if not at:
            return Places([], [], np.zeros((0, 1, len(self.NAMES)), dtype=np.float32))
        alphabet = self.sequences.alphabet
        ids = np.concatenate([[BORDER] * 3, alphabet.ids(text), [BORDER] * 3])  # text at 3
        options = [
            self._likeliest(ids, place + 3, [text[place], *dict.fromkeys(each)])
            for place, each in zip(at, offered, strict=True)
        ]
        most = max(map(len, options), default=1)
        size = len(at)
        letters = np.zeros((size, most), dtype=np.int64)
        for row, each in enumerate(options):
            letters[row] = [alphabet[letter] for letter in each] + [alphabet[each[0]]] * (most - len(each))
        logs, alone = self._windows(ids, np.asarray(at, dtype=np.int64) + 3, letters)  # (S, K, 4), (G, S, K)
        facts = np.zeros((size, most, len(self.NAMES)), dtype=np.float32)
        gained = logs - logs[:, :1]
        facts[..., 0] = 1
        facts[..., 1] = gained[..., 0]
        facts[..., 2] = gained[..., 1:].sum(-1)
        facts[..., 3] = np.clip(gained.sum(-1), -15, 15)
        facts[..., 6] = logs[:, :1, 0]
        facts[..., 7] = logs[:, :1, 1:].sum(-1) / 3
        facts[..., 4] = self._beside(ids, at, letters, gained.sum(-1))
        facts[..., 5] = gained.sum(-1) + logs[:, :1].sum(-1)
        for part, column in enumerate((8, 9), 1):  # the first is the largest, and the others differ from it
            if part < len(alone):
                facts[..., column] = np.clip(alone[part] - alone[part][:, :1], -15, 15)
        for row, each in enumerate(options):
            met, words = ways(text, at[row]), [self._word(text, at[row], letter) for letter in each]
            for column, letter in enumerate(each):
                if column:
                    (size_, times), (before, usual) = words[column], words[0]
                    facts[row, column, 10:-4] = self._of_slip(met, letter)
                    facts[row, column, -4:] = size_, before, size_ - before, times - usual
            facts[row, 0] = 0
            facts[row, len(each) :] = 0
        return Places(list(at), options, facts)

    def _likeliest(self, ids: Ids, place: int, options: list[str]) -> list[str]:
        """What stands there and the others that go best with the letters on both sides."""
        if len(options) <= KEPT:
            return options
        alphabet = self.sequences.alphabet
        letters = np.array([alphabet[each] for each in options])
        pairs = self.sequences.pairs
        left, right = pairs[ids[place - 1], letters], pairs[letters, ids[place + 1]]
        score = left.astype(np.float32) + right
        score += [SEEN * ((options[0], each) in self.slips.pairs) for each in options]
        score[0] = np.inf
        return [options[at] for at in np.argsort(-score, kind="stable")[:KEPT]]

    def _windows(self, ids: Ids, at: Ids, letters: Ids) -> tuple[Logs, Logs]:
        """log P of each letter in its place, and of the three letters after it, and the sums of them by each of the
        counts.  (S,), (S, K) -> (S, K, 4), (G, S, K)"""
        around = ids[at[:, None] + np.arange(-3, 4)]  # (S, 7)
        rows = np.repeat(around[:, None], letters.shape[1], axis=1)
        rows[..., 3] = letters
        fours = np.stack([rows[..., shift : shift + 4] for shift in range(4)], axis=2)  # (S, K, 4, 4)
        parts = self.sequences.parts(fours.reshape(-1, 4))
        beyond = at[:, None] + np.arange(4) > len(ids) - 3  # more than one border after the text says nothing
        logs = np.where(beyond[:, None], 0, self.sequences.mixed(parts).reshape(*letters.shape, 4))
        return logs, np.where(beyond[:, None], 0, parts.reshape(-1, *letters.shape, 4)).sum(-1)

    def _word(self, text: str, at: int, letter: str) -> tuple[float, float]:
        """Of the longest known word that a letter would be part of in its place, the length and how common it is."""
        for size in range(LONGEST, 1, -1):
            best = 0
            for start in range(max(0, at - size + 1), min(at, len(text) - size) + 1):
                best = max(best, self.words.get(f"{text[start:at]}{letter}{text[at + 1 : start + size]}", 0))
            if best:
                return float(size), log(best)
        return 1.0, 0.0

    def _beside(self, ids: Ids, at: Sequence[int], letters: Ids, gained: Logs) -> Logs:
        """What an option gains more where the next or the last letter is mended as well.  (S, K)"""
        found = np.zeros_like(gained)
        pairs = [(row, row + 1) for row in range(len(at) - 1) if at[row + 1] == at[row] + 1]
        pairs = [pair for pair in pairs if all(self._odd(ids, at[row] + 3) for row in pair)]
        if not pairs:
            return found
        one, two = (np.array(each) for each in zip(*pairs, strict=True))
        number = min(BESIDE, letters.shape[1] - 1)
        if number < 1:
            return found
        # by what they gain alone with the letter on the other side
        places = np.asarray(at)[one] + 3
        dense = self.sequences.pairs
        best_one = np.argsort(-dense[ids[places - 1][:, None], letters[one]].astype(np.float32), axis=1)[
            :, : number + 2
        ]
        best_two = np.argsort(-dense[letters[two], ids[places + 2][:, None]].astype(np.float32), axis=1)[
            :, : number + 2
        ]
        first = np.take_along_axis(letters[one], best_one, 1)  # (P, N)
        second = np.take_along_axis(letters[two], best_two, 1)
        around = ids[places[:, None] + np.arange(-3, 5)]  # (P, 8)
        rows = np.broadcast_to(around[:, None, None], (*first.shape, second.shape[1], 8)).copy()
        rows[..., 3], rows[..., 4] = first[:, :, None], second[:, None, :]
        fours = np.stack([rows[..., shift : shift + 4] for shift in range(5)], axis=3)
        logs = self.sequences.log(fours.reshape(-1, 4)).reshape(*rows.shape[:3], 5).sum(-1)
        still = np.stack([around[:, shift : shift + 4] for shift in range(5)], axis=1)
        usual = self.sequences.log(still.reshape(-1, 4)).reshape(len(pairs), 5).sum(-1)
        both = logs - usual[:, None, None]  # (P, N, N)
        both -= 100 * ((best_one == 0)[:, :, None] | (best_two == 0)[:, None, :])
        for number, (row, next_) in enumerate(pairs):
            alone_one, alone_two = gained[row][best_one[number]], gained[next_][best_two[number]]
            # what the pair gains beyond what its better half gains alone, for either half
            more = both[number] - np.maximum(np.maximum(alone_one[:, None], alone_two[None]), 0)
            for place, columns, gains in ((row, best_one[number], more.max(1)), (next_, best_two[number], more.max(0))):
                found[place, columns] = np.maximum(found[place, columns], np.clip(gains, 0, 15))
        return found

    def _odd(self, ids: Ids, place: int) -> bool:
        """Whether a letter seldom stands between its neighbours."""
        pairs = self.sequences.pairs
        return bool(pairs[ids[place - 1], ids[place]] + pairs[ids[place], ids[place + 1]] < -9.0)

    def _of_slip(self, met: tuple[str, str, str], meant: str) -> list[float]:
        written, pairs, right = met[0], self.slips.pairs, self.slips.right
        kind = self.kinds.get(written, {}).get(meant, "")
        common = log((self.counts.get(meant, 0) + 1.0) / self._total)
        other = log((self.counts.get(written, 0) + 1.0) / self._total)
        times, stood, after, before = pairs[written, meant], right[written], pairs[met[1], meant], pairs[met[2], meant]
        return [
            *(float(kind.lower() == each) for each in KINDS), float(kind.isupper()), float(not kind),
            common - other, common, other, log((times + MET) / MET), log((times + MET / 10) / (stood + times + 5)),
            log(stood + 1), log((times + MET / 10) / (right[meant] + times + 5)), log((after + MET) / MET),
            log((before + MET) / MET), log(right[met[1]] + 1), log(right[met[2]] + 1),
        ]  # fmt: skip


@cache
def evidence(language: str) -> Evidence:
    """What the embedded counts of a language say."""
    stored = json.loads((NOISES / f"noise-{language}.json").read_text("utf-8"))
    kinds = {
        written: dict(zip(others, stored["kinds"][written], strict=True))
        for written, others in stored["confusions"].items()
    }
    letters, words = dict[str, int](), dict[str, int]()
    for form, times in lexicon(language).counts.items():
        (letters if len(form) == 1 else words)[form] = times
    return Evidence(Sequences.load(HOME / f"sequences-{language}.xz"), kinds, letters, words)
