"""Texts into word pieces that know where they lie, for fast and slow tokenizers, in windows where they are long."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch

from lowrung.core.edits import Edit, apply
from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.core.words import words
from lowrung.models.batch import Batch, pad

Pieces = tuple[list[int], list[tuple[int, int]]]  # ids, and the characters start..end of each
Coded = tuple[Pieces, Pieces]  # of one question: its first text, and the others as one
Mender = Callable[[Sequence[str]], Sequence[Sequence[Edit]]]
CHUNK = 4096  # questions whose pieces are held at once
NOWHERE = (0, 0)  # the offsets of a piece that stands for no character of the first text


@dataclass(frozen=True, slots=True)
class Frame:
    """The special pieces a tokenizer puts before, between and after its texts, read off one probe."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    kinds: tuple[int, int] | None  # token type of the first and of the second text

    @property
    def single(self) -> int:
        return len(self.before) + len(self.after)

    @property
    def pair(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)


class Tokenizer:
    """A transformers tokenizer behind one question: pieces, offsets and windows.

    Args:
        inner: any transformers tokenizer; a slow one is asked word by word, which keeps its offsets right.
        longest: the most pieces, special ones included, that the body can read at once.
        spell: whether batches say which word each piece belongs to.
        mend: what misspelt words of texts are read as, if at all; the pieces of what is put in place of a word lie all
            where that word does.
    """

    def __init__(self, inner: Any, *, longest: int, spell: bool = False, mend: Mender | None = None) -> None:
        self.inner, self.longest, self.spell, self.mend = inner, longest, spell, mend
        self.frame = _frame(inner)
        if self.longest < self.frame.pair + 4:
            raise ModelError(f"a body that reads {self.longest} pieces at once is too short for any text")
        self.pad = inner.pad_token_id if inner.pad_token_id is not None else 0

    def pieces(self, texts: Sequence[str]) -> list[Pieces]:
        """Ids and offsets of each text, no special pieces, nothing cut off."""
        if not texts:
            return []
        if self.mend is None:
            return self._pieces(texts)
        edits = self.mend(texts)
        found = self._pieces([apply(text, each)[0] for text, each in zip(texts, edits, strict=True)])
        return [(ids, _moved_back(offsets, each)) for (ids, offsets), each in zip(found, edits, strict=True)]

    def _pieces(self, texts: Sequence[str]) -> list[Pieces]:
        if self.inner.is_fast:
            coded = self._fast.encode_batch(list(texts), add_special_tokens=False)
            pairs = zip(texts, coded, strict=True)
            return [(found.ids, [_tight(text, *each) for each in found.offsets]) for text, found in pairs]
        return [self._by_words(text) for text in texts]

    @cached_property
    def _fast(self) -> Any:
        """The tokenizer inside, which what transformers lays around it slows down; it must neither cut nor fill."""
        self.inner.backend_tokenizer.no_truncation()
        self.inner.backend_tokenizer.no_padding()
        return self.inner.backend_tokenizer

    def _by_words(self, text: str) -> Pieces:
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for start, end in words(text):
            blank = " " if start and text[start - 1].isspace() else ""
            found = self.inner.convert_tokens_to_ids(self.inner.tokenize(blank + text[start:end]))
            ids += found
            offsets += [(start, end)] * len(found)
        return ids, offsets

    def batch(self, questions: Sequence[Question]) -> Batch:
        """Any number of questions as one batch. A text longer than the body reads is cut into windows
        that overlap by a quarter; the states nearest a window's middle are the ones that count. Further texts stand in
        each window of the first, unless they leave it less than half of what the body reads.

        Raises:
            ModelError: a question has no text.
        """
        return self._batch(questions, self._coded(questions))

    def batches(
        self, questions: Sequence[Question], *, budget: int = 4096, most: int = 64
    ) -> Iterator[tuple[list[int], Batch]]:
        """Batches of questions of like length, each with the places of its questions: hardly any padding.

        Args:
            budget: about how many pieces a batch has, padding included. most: how many questions at most.
        """
        for begin in range(0, len(questions), CHUNK):
            part = questions[begin : begin + CHUNK]
            coded = self._coded(part)
            lengths = [len(ids) + len(others) + self.frame.single for (ids, _), (others, _) in coded]
            for chosen in bucketed(lengths, budget=budget, most=most):
                batch = self._batch([part[at] for at in chosen], [coded[at] for at in chosen])
                yield [begin + at for at in chosen], batch

    def _coded(self, questions: Sequence[Question]) -> list[Coded]:
        texts: list[tuple[str, str]] = []
        for question in questions:
            given = question.texts
            if not given:
                raise ModelError("a text backbone was asked about a question without text")
            texts.append((given[0], "\n".join(given[1:])))
        firsts = self.pieces([first for first, _ in texts])
        seconds = iter(self.pieces([second for _, second in texts if second]))
        nothing: Pieces = ([], [])
        return [(first, next(seconds) if second else nothing) for (_, second), first in zip(texts, firsts, strict=True)]

    def _batch(self, questions: Sequence[Question], coded: Sequence[Coded]) -> Batch:
        windows: list[tuple[list[int], list[int]]] = []
        owners: list[int] = []
        places: list[list[tuple[int, int]]] = []  # of each question: (window, position) of every stitched piece
        spots: list[list[tuple[int, int]]] = []  # of each question: offsets of every stitched piece
        spelt: list[tuple[str, ...]] = []
        for number, (first, (second, seconds)) in enumerate(coded):
            place: list[tuple[int, int]] = []
            spot: list[tuple[int, int]] = []
            for pieces, types, keep, offsets in self._windows(first, second):
                place += [(len(windows), at) for at in keep]
                spot += offsets
                windows.append((pieces, types))
                owners.append(number)
            places.append(place)
            spots.append(spot)
            if self.spell:
                given = questions[number].texts
                own = (_words_of(given[0], first[1]), first[1])
                rows = self._windows(own, _words_of("\n".join(given[1:]), seconds))
                spelt += [tuple(word if isinstance(word, str) else "" for word in row) for row, *_ in rows]
        ids = pad([torch.tensor(pieces) for pieces, _ in windows], self.pad)
        attended = pad([torch.ones(len(pieces), dtype=torch.bool) for pieces, _ in windows])
        kinds = pad([torch.tensor(types) for _, types in windows]) if self.frame.kinds else None
        width = ids.shape[1]
        mask = pad([torch.ones(len(place), dtype=torch.bool) for place in places])
        cut = len(windows) > len(questions)
        stitch = pad([torch.tensor([w * width + at for w, at in place]) for place in places]) if cut else None
        where = pad([torch.tensor(spot) for spot in spots])
        words_of = tuple(spelt) if self.spell else None
        return Batch(ids, attended, kinds, mask, where, stitch, tuple(owners), tuple(questions), words_of)

    def _windows(
        self, first: tuple[list[Any], list[tuple[int, int]]], second: list[Any]
    ) -> list[tuple[list[Any], list[int], list[int], list[tuple[int, int]]]]:
        """(ids, kinds, positions kept by the stitch, their offsets) of each window of one question.

        What stands in place of ids is the same to it: it lays out the words of the pieces as well.
        """
        frame, (ids, offsets) = self.frame, first
        room = self.longest - frame.pair - len(second)
        if second and (room < 1 or len(ids) > room < self.longest // 2):
            # too long a pair to be read together: one stream, so that no piece of either is lost
            ids = [*ids, *frame.between, *second]
            offsets = [*offsets, *[NOWHERE] * (len(ids) - len(offsets))]
            second = []
        if not second:
            room = self.longest - frame.single
        tail = [*second, *frame.after]  # stands in every window, so that each part of the first text meets it
        between, (one, two) = frame.between if second else (), frame.kinds or (0, 0)
        overlap = room // 4 if len(ids) > room else 0
        starts = range(0, max(len(ids) - overlap, 1), room - overlap)
        lead, made = len(frame.before), []
        for start in starts:
            body, spots = ids[start : start + room], offsets[start : start + room]
            framed = [*frame.before, *body, *between, *tail]
            opening, closing = start == 0, start == starts[-1]
            low = 0 if opening else overlap - overlap // 2
            high = len(body) if closing else len(body) - overlap // 2
            keep, kept = list(range(lead + low, lead + high)), spots[low:high]
            if opening:
                keep, kept = [*range(lead), *keep], [NOWHERE] * lead + kept
            if closing:
                keep = [*keep, *range(lead + len(body), len(framed))]
                kept = kept + [NOWHERE] * (len(between) + len(tail))
            kinds = [one] * (len(framed) - len(tail)) + [two if second else one] * len(tail)
            made.append((framed, kinds, keep, kept))
        return made


def bucketed(lengths: Sequence[int], *, budget: int, most: int) -> Iterator[list[int]]:
    """Places of like lengths, at most `most` together and about `budget` in all with padding, the short ones first."""
    chosen: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda at: lengths[at]):
        if chosen and (len(chosen) >= most or lengths[at] * (len(chosen) + 1) > budget):
            yield chosen
            chosen = []
        chosen.append(at)
    if chosen:
        yield chosen


def _moved_back(offsets: list[tuple[int, int]], edits: Sequence[Edit]) -> list[tuple[int, int]]:
    """Places in a text after `edits` as places before them; all of what was put in lies where the edit does."""
    if not edits:
        return offsets
    ordered = sorted(edits)
    growths = list(accumulate((len(edit.text) - (edit.end - edit.start) for edit in ordered), initial=0))
    starts = [edit.start + growth for edit, growth in zip(ordered, growths, strict=False)]  # after the edits
    moved = []
    for start, end in offsets:
        at = bisect_right(starts, start) - 1
        if at >= 0 and start < starts[at] + len(ordered[at].text):
            moved.append((ordered[at].start, ordered[at].end))
        else:
            moved.append((start - growths[at + 1], end - growths[at + 1]))
    return moved


def _words_of(text: str, offsets: Sequence[tuple[int, int]]) -> list[str]:
    """The word that each piece lies in; "" for one that lies in none."""
    spans = words(text)
    ends = [end for _, end in spans]
    found = []
    for start, _ in offsets:
        at = bisect_right(ends, start)
        inside = at < len(spans) and spans[at][0] <= start
        found.append(text[slice(*spans[at])] if inside else "")
    return found


def _tight(text: str, start: int, end: int) -> tuple[int, int]:
    """Byte-level tokenizers count the blank before a word as its own; spans must not."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _frame(inner: Any) -> Frame:
    """Where the special pieces stand, from how the tokenizer frames two words it knows."""
    word = next((each for each in ("a", "1", ".", "的") if inner(each, add_special_tokens=False)["input_ids"]), None)
    if word is None:
        raise ModelError("the tokenizer has no pieces for any of: a, 1, ., 的")
    plain = inner(word, add_special_tokens=False)["input_ids"]
    single = inner(word)["input_ids"]
    at = _find(single, plain)
    before, after = tuple(single[:at]), tuple(single[at + len(plain) :])
    coded = inner(word, word)
    pair, kinds = coded["input_ids"], coded.get("token_type_ids")
    if "token_type_ids" not in inner.model_input_names:
        kinds = None
    first = _find(pair, plain)
    second = first + len(plain) + _find(pair[first + len(plain) :], plain)
    between = tuple(pair[first + len(plain) : second])
    return Frame(before, between, after, (kinds[first], kinds[second]) if kinds else None)


def _find(ids: list[int], part: list[int]) -> int:
    for at in range(len(ids) - len(part) + 1):
        if ids[at : at + len(part)] == part:
            return at
    raise ModelError("the tokenizer writes a word differently beside its special pieces; it cannot be used here")
