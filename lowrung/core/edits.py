"""Replacements in a text that carry spans along."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from lowrung.core.answers import Span, Spans


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
