"""Replacements in a text that carry spans along, and those that turn one text into another, word by word."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lowrung.core.alignment import aligned
from lowrung.core.answers import Span, Spans
from lowrung.core.words import words


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Put `text` in place of the characters start..end; start == end inserts, text == "" deletes.

    Raises:
        ValueError: `start` is negative or `end` lies before `start`.
    """

    start: int
    end: int
    text: str

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"an edit needs 0 <= start <= end, not {self.start}-{self.end}")


@dataclass(frozen=True, slots=True)
class Mend:
    """An edit that a model proposes in the text as it was given.

    Args:
        confidence: in [0, 1], that `text` is right here.
        others: what else might stand here, with its confidence, best first.

    Raises:
        ValueError: `start` is negative, `end` lies before it, or the confidence is out of range.
    """

    start: int
    end: int
    text: str
    confidence: float
    others: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"a mend needs 0 <= start <= end, not {self.start}-{self.end}")
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"a confidence lies in [0, 1], not {self.confidence}")

    @property
    def edit(self) -> Edit:
        return Edit(self.start, self.end, self.text)


def apply(text: str, edits: Iterable[Edit], spans: Spans = Spans()) -> tuple[str, Spans]:  # noqa: B008 (frozen)
    """`text` after `edits`, and the spans where they lie now.

    An edit inside a span stretches or shrinks it; an insertion at a span's border stays outside;
    an edit that takes a part of a span together with text outside it, or leaves nothing of it,
    drops the span.

    Raises:
        ValueError: edits overlap or end after the text does.
    """
    ordered = sorted(edits)
    for left, right in pairwise(ordered):
        if right.start < left.end:
            raise ValueError(f"edits {left.start}-{left.end} and {right.start}-{right.end} overlap")
    if ordered and ordered[-1].end > len(text):
        raise ValueError("an edit ends after the text does")
    pieces, at = [], 0
    for edit in ordered:
        pieces += [text[at : edit.start], edit.text]
        at = edit.end
    moved = [_moved(span, ordered) for span in spans.spans]
    return "".join(pieces) + text[at:], Spans(tuple(span for span in moved if span))


def _moved(span: Span, edits: list[Edit]) -> Span | None:
    start, end = span.start, span.end
    for edit in edits:
        growth = len(edit.text) - (edit.end - edit.start)
        if edit.end <= span.start:
            start, end = start + growth, end + growth
        elif edit.start < span.end:
            if edit.start < span.start or edit.end > span.end:
                return None
            end += growth
    return Span(start, end, span.label) if end > start else None


def undone(text: str, edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """The edits that take `apply(text, edits)` back to `text`, in reading order."""
    back, growth = [], 0
    for edit in sorted(edits):
        start = edit.start + growth
        back.append(Edit(start, start + len(edit.text), text[edit.start : edit.end]))
        growth += len(edit.text) - (edit.end - edit.start)
    return tuple(back)


def between(before: str, after: str) -> tuple[Edit, ...]:
    """Edits that turn `before` into `after`: `apply(before, between(before, after))[0] == after`, for any two texts.

    In reading order and apart. Each takes the place of whole words (`words`), of one where it can; where words were
    split or merged, of those together. What changed between two words that stayed is an edit of its own.
    """
    ours, theirs = words(before), words(after)
    pieces = [before[start:end] for start, end in ours], [after[start:end] for start, end in theirs]
    edits: list[Edit] = []
    left, right = 0, 0  # up to where both texts are done
    for start, end, first, last in aligned(*pieces):
        if start == end or first == last:  # left out or put in: goes with the blanks around it
            continue
        edits += _changed(before, after, (left, ours[start][0]), (right, theirs[first][0]))
        left, right = ours[end - 1][1], theirs[last - 1][1]
        if before[ours[start][0] : left] != after[theirs[first][0] : right]:
            edits.append(Edit(ours[start][0], left, after[theirs[first][0] : right]))
    return (*edits, *_changed(before, after, (left, len(before)), (right, len(after))))


def _changed(before: str, after: str, ours: tuple[int, int], theirs: tuple[int, int]) -> Sequence[Edit]:
    """The edit between two words that stay, without the blanks that both texts have at its ends."""
    (start, end), (first, last) = ours, theirs
    while start < end and first < last and before[start] == after[first] and before[start].isspace():
        start, first = start + 1, first + 1
    while start < end and first < last and before[end - 1] == after[last - 1] and before[end - 1].isspace():
        end, last = end - 1, last - 1
    return [Edit(start, end, after[first:last])] if before[start:end] != after[first:last] else []
