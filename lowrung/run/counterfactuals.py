"""The smallest changes of a text that change an answer: words left out or swapped, letters changed, names and genders
swapped, found by a beam search within a number of questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import log
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lowrung.core.answers import Answer, Choice, Choices, Prediction, Span, Spans
from lowrung.core.edits import Edit
from lowrung.core.task import Example, labels_of
from lowrung.core.words import words
from lowrung.data.swaps import cased, first_names, gender_edits, name_edits
from lowrung.run.cells import answer_json

if TYPE_CHECKING:
    from lowrung.run.explaining import Asked

MOST = 600  # questions
SINGLE = 0.5  # the share of them that single changes may ask
WORDS = 24  # words that are changed, those that speak most for the answer
DEEP = 4  # changes at once
BEAM, EACH = 3, 24  # sets of changes that are gone on with, and changes that are added to each
SWAPPED = 4  # words tried in place of one, of each kind

Held: TypeAlias = Callable[[Sequence[Edit], Example[Any], Prediction[Any]], float]
Flips: TypeAlias = Callable[[Sequence[Edit], Example[Any], Prediction[Any]], bool]


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """A changed text that gets another answer.

    Args:
        edits: in reading order; places count in the question's texts, a line each.
        changes: (old, new) of each edit; "" where a word is left out.
        kinds: how each was made: "left out", "letter", "near word", "word of another label", "gender", "names".
        text: after the edits.
        answer, confidence: the new ones.
    """

    edits: tuple[Edit, ...]
    changes: tuple[tuple[str, str], ...]
    kinds: tuple[str, ...]
    text: str
    answer: Answer | None
    confidence: float

    def to_json(self) -> dict[str, Any]:
        return {
            "edits": len(self.edits),
            "changes": [
                {"start": edit.start, "end": edit.end, "from": old, "to": new, "kind": kind}
                for edit, (old, new), kind in zip(self.edits, self.changes, self.kinds, strict=True)
            ],
            "text": self.text,
            "answer": None if self.answer is None else answer_json(self.answer),
            "confidence": self.confidence,
        }


class Change(NamedTuple):
    """Edits that are made together."""

    kind: str
    edits: tuple[Edit, ...]


class _Tried(NamedTuple):
    changes: tuple[Change, ...]
    sure: float
    flips: bool
    after: Example[Any]
    said: Prediction[Any]

    @property
    def edits(self) -> tuple[Edit, ...]:
        return tuple(sorted(edit for change in self.changes for edit in change.edits))


def counterfactuals_of(
    asked: Asked,
    text: str,
    said: Prediction[Any],
    *,
    sure: Held,
    flips: Flips,
    toward: bool,
    order: Sequence[tuple[int, int]],
    fixed: Sequence[Span],
    rows: Sequence[Example[Any]],
    wanted: int,
    most: int,
    seed: int,
) -> tuple[Counterfactual, ...]:
    """Up to `wanted` counterfactuals, those of the fewest edits first, then of the fewest letters.

    All single changes are tried first; where none changes the answer, those after which the model is least sure are
    gone on with, by one more change at a time.

    Args:
        sure: how sure an answer is of what is explained. flips: whether it has changed as it should.
        toward: whether what is explained is to be answered at last, which it is not as yet.
        order: the words of the text, those first that speak most for it.
        fixed: what may not be changed.
        rows: rows whose words may be put in.
        most: questions to ask at most.
    """
    end = asked.number + most

    def tried(sets: Iterable[tuple[Change, ...]], limit: int) -> list[_Tried]:
        chosen = list(islice(sets, max(0, min(limit, end - asked.number))))
        edits = [sorted(edit for change in each for edit in change.edits) for each in chosen]
        found = zip(chosen, edits, asked(edits), strict=True)
        return [
            _Tried(
                each,
                (1.0 - sure(made, after, then)) if toward else sure(made, after, then),
                flips(made, after, then),
                after,
                then,
            )
            for each, made, (after, then) in found
            if after.question.given != asked.example.question.given
        ]

    spots = order[::-1] if toward else order
    others = _words_of_others(asked.example, rows, toward=toward)
    changes = (each for each in _changes(asked.example, text, spots, others, seed) if _apart(each.edits, fixed))
    singles = tried(((each,) for each in changes), int(most * SINGLE))
    singles.sort(key=lambda each: each.sure)
    found, beam = [each for each in singles if each.flips], singles[:BEAM]
    for _ in range(DEEP - 1):
        if found or not beam:
            break
        deeper = tried(_deeper(beam, singles), end)
        deeper.sort(key=lambda each: each.sure)
        found, beam = [each for each in deeper if each.flips], deeper[:BEAM]
    return tuple(_told(text, each) for each in _differing(text, found, wanted))


def _deeper(beam: Sequence[_Tried], singles: Sequence[_Tried]) -> Iterator[tuple[Change, ...]]:
    """Each set of the beam with one more change elsewhere."""
    seen = set[frozenset[Change]]()
    for each in beam:
        taken = [Span(edit.start, edit.end) for edit in each.edits if edit.start < edit.end]
        others = (one for one in singles if _apart(one.edits, taken))
        for one in islice(others, EACH):
            made = (*each.changes, *one.changes)
            if frozenset(made) not in seen:
                seen.add(frozenset(made))
                yield made


def _apart(edits: Iterable[Edit], spans: Iterable[Span]) -> bool:
    taken = list(spans)
    return all(edit.end <= span.start or span.end <= edit.start for edit in edits for span in taken)


def _differing(text: str, found: Sequence[_Tried], wanted: int) -> list[_Tried]:
    """The smallest ones, no two of which change the same words."""
    chosen = dict[tuple[int, ...], _Tried]()
    for each in sorted(found, key=lambda one: (len(one.edits), _size(one.edits), one.sure)):
        changed = tuple(start for start, end in words(text) for edit in each.edits if start <= edit.start < end)
        chosen.setdefault(changed, each)
    return list(chosen.values())[:wanted]


def _size(edits: Iterable[Edit]) -> int:
    """Letters that come or go."""
    return sum(max(len(edit.text), edit.end - edit.start) for edit in edits)


def _told(text: str, each: _Tried) -> Counterfactual:
    kinds = {edit: change.kind for change in each.changes for edit in change.edits}
    told = [_whole_words(text, edit) for edit in each.edits]
    return Counterfactual(
        each.edits,
        tuple(told),
        tuple(kinds[edit] for edit in each.edits),
        each.after.question.whole,
        each.said.answer,
        each.said.confidence,
    )


def _whole_words(text: str, edit: Edit) -> tuple[str, str]:
    """The word before and after: what people read, where one letter was changed."""
    inside = [spot for spot in words(text) if spot[0] <= edit.start and edit.end <= spot[1]]
    start, end = inside[0] if inside else (edit.start, edit.end)
    new = text[start : edit.start] + edit.text + text[edit.end : end]
    return text[start:end].strip(), new.strip()


# --- what is tried


def _changes(
    example: Example[Any], text: str, order: Sequence[tuple[int, int]], others: Sequence[str], seed: int
) -> Iterator[Change]:
    """Single changes, each once: swaps of people first, then word by word."""
    spans = _spans_of(example)
    told = Example(example.question, spans)
    for kind, found in (
        ("gender", gender_edits(told, Random(seed), first_names())),
        ("names", name_edits(told, Random(seed), first_names())),
    ):
        made = tuple(edit for edit in dict.fromkeys(found) if text[edit.start : edit.end] != edit.text)
        if made:
            yield Change(kind, made)
    near = _near_words(text)
    for start, end in order[:WORDS]:
        word = text[start:end]
        yield Change("left out", (Edit(start, end + (text[end : end + 1] == " "), ""),))
        kinds = (("word of another label", others), ("near word", near(word)))
        for kind, new in ((kind, new) for kind, several in kinds for new in several[:SWAPPED]):
            if new.casefold() != word.casefold():
                yield Change(kind, (Edit(start, end, cased(new, word)),))
        if end - start > 1:
            yield from (Change("letter", (edit,)) for edit in _letters(text, start, end))


def _spans_of(example: Example[Any]) -> tuple[Answer, ...]:
    return tuple(each for each in example.golds if isinstance(each, Spans))


def _letters(text: str, start: int, end: int) -> Iterator[Edit]:
    """One letter left out, or two neighbours swapped."""
    for at in range(start, end):
        yield Edit(at, at + 1, "")
        if at + 1 < end and text[at] != text[at + 1]:
            yield Edit(at, at + 2, text[at + 1] + text[at])


def _near_words(text: str) -> Callable[[str], Sequence[str]]:
    """Word → known words that are spelt nearly alike, of the language whose words most of the text are."""
    from lowrung.models.lexicon import languages, lexicon

    forms = [text[start:end] for start, end in words(text)]
    known = {name: sum(form in lexicon(name) for form in forms) for name in languages()}
    best = max(known, key=lambda name: known[name], default="")
    if not known.get(best):
        return lambda word: ()
    return lambda word: [
        each.text for each in lexicon(best).candidates(word, SWAPPED + 1, reach=1)[1:] if each.kind != "split"
    ]


def _words_of_others(example: Example[Any], rows: Sequence[Example[Any]], *, toward: bool) -> Sequence[str]:
    """Words that rows with other labels (`toward`: with this one) have most often beside all others, by the weighted
    log of the ratio; none where answers are no choices."""
    ours, theirs = Counter[str](), Counter[str]()
    answers = [gold for gold in example.golds if isinstance(gold, Choice | Choices)]
    labels = {label for gold in answers for label in labels_of(gold)}
    for row in rows if answers else ():
        own = labels.isdisjoint(label for gold in row.golds for label in labels_of(gold)) == toward
        found = {part.casefold() for part in _words_in(row.question.whole) if part.isalpha()}
        (ours if own else theirs).update(found)
    ranked = sorted(theirs, key=lambda word: -theirs[word] * log((theirs[word] + 1) / (ours[word] + 1)))
    return ranked[:SWAPPED]


def _words_in(text: str) -> list[str]:
    return [text[start:end] for start, end in words(text)]
