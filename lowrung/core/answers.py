"""The four shapes of answer, the prediction around one, and their form in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from lowrung.core.edits import Mend
    from lowrung.core.parts import Question


@dataclass(frozen=True, slots=True)
class Text:
    """An answer in words: a mended sentence, a transcript, a translation."""

    text: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the question's options."""

    option: str


@dataclass(frozen=True, slots=True)
class Choices:
    """Any number of the question's options, none of them as well; kept in the order of the alphabet, each once."""

    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(sorted(set(self.options))))


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A labelled piece of the first text of a question; offsets count characters (code points).

    Raises:
        ValueError: `start` is negative or `end` is not after `start`.
    """

    start: int
    end: int
    label: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a span needs 0 <= start < end, not {self.start}-{self.end}")


@dataclass(frozen=True, slots=True)
class Spans:
    """Labelled pieces, kept in reading order; they may touch, never overlap.

    Raises:
        ValueError: two spans overlap.
    """

    spans: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.spans))
        for left, right in pairwise(ordered):
            if right.start < left.end:
                raise ValueError(f"spans {left.start}-{left.end} and {right.start}-{right.end} overlap")
        object.__setattr__(self, "spans", ordered)


Answer: TypeAlias = Text | Choice | Choices | Spans
A = TypeVar("A", bound=Answer)
A_co = TypeVar("A_co", bound=Answer, covariant=True)


@dataclass(frozen=True, slots=True)
class Prediction(Generic[A_co]):
    """What a model says.

    Args:
        answer: the answer; None where the model has none (counted, never guessed).
        confidence: in [0, 1].
        others: the next best answers with their confidence, best first; of Choices, each option by itself with the
            probability that it belongs.
        mends: of a Text that mends the question's text: the edits that make it, each with a confidence of its own.
        times: of a Text that was heard: each word with the seconds where it begins and ends.
        lacking: the kinds of parts (core.parts.KINDS) that the model learnt from and this question does not give.
    """

    answer: A_co | None
    confidence: float
    others: tuple[tuple[A_co, float], ...] = ()
    mends: tuple[Mend, ...] = ()
    times: tuple[tuple[str, float, float], ...] = ()
    lacking: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"a confidence lies in [0, 1], not {self.confidence}")


NOTHING = "(none)"  # Choices of no option, in words


def write(answer: Answer, question: Question) -> str:
    r"""What a generating model should say for `answer`.

    Text and Choice are their own words. Choices are parted by semicolons, or stand one a line where one
    of them has such in it; `NOTHING` says that there are none. Spans are written into the text as `[Paris](LOC)`, with
    `\`, `[` and `]` of the text escaped by `\`, so that offsets survive; labels as `marked_label` has them.
    """
    if isinstance(answer, Text):
        return answer.text
    if isinstance(answer, Choice):
        return answer.option
    if isinstance(answer, Choices):
        return ("\n" if any(";" in option for option in answer.options) else "; ").join(answer.options) or NOTHING
    pieces, at = [], 0
    for span in answer.spans:
        pieces.append(_escape(question.text[at : span.start]))
        pieces.append(f"[{_escape(question.text[span.start : span.end])}]({marked_label(span.label)})")
        at = span.end
    return "".join(pieces) + _escape(question.text[at:])


def marked_label(label: str) -> str:
    r"""A label as it stands in the parentheses of a marked span: as it is, also with parentheses that pair; one with
    others, or with `\` beside them, in parentheses of its own, `:)` as `(:\))`."""
    return label if re.fullmatch(_LABEL, label) else "(" + re.sub(r"([\\()])", r"\\\1", label) + ")"


def parse(kind: type[A], text: str, question: Question) -> A | None:
    """The answer that a model's words stand for, or None where they stand for none.

    A Choice must be one of the question's options (case and outer space aside); Choices too, one a line or parted by
    semicolons. Marked Spans must
    repeat the question's text and use its options as labels where it has options.
    """
    if kind is Text:
        return Text(text)  # type: ignore[return-value]
    if kind is Choice:
        said = text.strip().casefold()
        exact = [option for option in question.options if option == text.strip()]
        folded = exact or [each for each in question.options if each.strip().casefold() == said]
        return Choice(folded[0]) if len(folded) == 1 else None  # type: ignore[return-value]
    if kind is Choices:
        return _parse_choices(text, question)  # type: ignore[return-value]
    return _parse_spans(text, question)  # type: ignore[return-value]


def _parse_choices(text: str, question: Question) -> Choices | None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if [line.casefold() for line in lines] == [NOTHING] and NOTHING not in question.options:
        return Choices()
    for parts in (lines, [part for line in lines for part in line.split(";") if part.strip()]):
        found = [parse(Choice, part, question) for part in parts]
        if found and all(found):
            return Choices(tuple(each.option for each in found if each))
    return None


# without parentheses, or with some that pair, at most one pair within another
_LABEL = r"[^()]*|[^()\\]*(?:\((?:[^()\\]|\([^()\\]*\))*\)[^()\\]*)+"
_MARKED = re.compile(
    r"\\(?P<escaped>.)|\[(?P<inside>(?:\\.|[^\\\[\]])+)\]"
    rf"\((?:(?P<label>{_LABEL})|\((?P<odd>(?:\\.|[^\\()])*)\))\)",
    re.S,
)


def _escape(text: str) -> str:
    return re.sub(r"([\\\[\]])", r"\\\1", text)


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.S)


def _parse_spans(text: str, question: Question) -> Spans | None:
    plain, spans, at = "", [], 0
    for found in _MARKED.finditer(text):
        plain += text[at : found.start()]
        at = found.end()
        if found["escaped"] is not None:
            plain += found["escaped"]
            continue
        inside = _unescape(found["inside"])
        label = _unescape(found["odd"]) if found["label"] is None else found["label"]
        spans.append(Span(len(plain), len(plain) + len(inside), label))
        plain += inside
    plain += text[at:]
    allowed = not question.options or all(span.label in question.options for span in spans)
    return Spans(tuple(spans)) if plain == question.text and allowed else None
