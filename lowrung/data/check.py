"""The data doctor: what is odd about rows before anything is trained on them. It reports; it never changes a row."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from lowrung.core.answers import Choice, Span, Spans
from lowrung.core.errors import DataError
from lowrung.core.parts import Audio, Image, Part, Question
from lowrung.core.task import Example, Row, Task, group_of, labels_of
from lowrung.data.files import LISTED, MEDIA

SHOWN = 5  # places named in a finding; its count tells how many there are
MEASURED = 5_000  # texts whose pieces are counted; more would only sharpen a share that nobody reads to 1 %
DECODED, LONGEST = 200, 60.0  # sounds and pictures a side that are decoded, and seconds of a sound that may be
QUIET = 1e-3  # the loudest sample of a silent sound, 60 dB below full scale: no speech is so soft
EMPTY = "empty"
UNEVEN = 10  # times as many rows with the commonest label as with the rarest
_P = TypeVar("_P", Audio, Image)


@dataclass(frozen=True, slots=True)
class Finding:
    """One oddity: its `kind` (for programs), what it is in words, how often, and the first places of it.

    A place reads «train row 17» (counting from 1) or «train row 17 (id dev-3)».
    """

    kind: str
    message: str  # one line
    count: int
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    """Counts, and what is odd.

    Args:
        rows: side ("train", "dev", "test") → number of rows.
        labelled: side → number of rows with a right answer.
        labels: side → label → how often it occurs, commonest first.
        findings: the oddities, in the order of a reading: broken rows, sounds, repeats, leaks, labels, spans,
            characters.
        facts: what is worth knowing and not odd, a line each: how long the sounds of a side are.
    """

    task: str
    rows: Mapping[str, int]
    labelled: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]]
    findings: tuple[Finding, ...]
    facts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Side:
    name: str
    rows: int
    examples: dict[int, Example[Any]]  # row number → example, for the rows that can be read
    exact: dict[int, Hashable]  # row number → what makes its question the same as another
    loose: dict[int, Hashable]  # the same up to case and blanks
    unreadable: dict[int, str]  # row number → what the task said
    missing: set[int]  # row numbers of unreadable rows that name a file which is not there
    groups: dict[int, tuple[str, str]]  # row number → ("speaker", "s1")

    def place(self, number: int) -> str:
        known = self.examples.get(number)
        return f"{self.name} row {number}" + (f" (id {known.id})" if known and known.id else "")


def check(
    task: Task[Any],
    rows: Sequence[Row],
    *,
    test: Sequence[Row] | None = None,
    dev: Sequence[Row] | None = None,
    count_pieces: Callable[[str], int] | None = None,
    longest: int | None = None,
) -> Findings:
    """What is odd about `rows` (and about them together with `dev` and `test`) for `task`.

    Args:
        count_pieces: how many pieces a model cuts a text into; with `longest`, the number of pieces it can read.
    """
    named = (("train", rows), ("dev", dev), ("test", test))
    sides = [_side(task, name, each) for name, each in named if each is not None]
    heard = [_sounds(side) for side in sides]
    findings = [
        *(each for side in sides for each in _unreadable(side)),
        *(each for found, _ in heard for each in found),
        *(each for side in sides for each in _pictures(side)),
        *(each for side in sides for each in _repeats(side)),
        *(each for side in sides[1:] for each in _leaks(sides[0], side)),
        *(_leaks(*sides[1:]) if len(sides) == 3 else ()),
        *(each for side in sides for each in _label_counts(side)),
        *(each for side in sides[1:] for each in _label_sets(sides[0], side)),
        *(each for side in sides for each in _borders(side)),
        *(each for side in sides for each in _characters(side)),
    ]
    if count_pieces is not None and longest is not None:
        findings += [each for side in sides for each in _too_long(side, count_pieces, longest)]
    return Findings(
        task=task.name,
        rows={side.name: side.rows for side in sides},
        labelled={side.name: sum(bool(each.golds) for each in side.examples.values()) for side in sides},
        labels={side.name: dict(_labels(side).most_common()) for side in sides},
        findings=tuple(findings),
        facts=tuple(fact for _, fact in heard if fact),
    )


def _side(task: Task[Any], name: str, rows: Sequence[Row]) -> _Side:
    side = _Side(name, len(rows), {}, {}, {}, {}, set(), {})
    for number, row in enumerate(rows, 1):
        try:
            example = task.example(row)
        except (DataError, ValueError) as problem:
            side.unreadable[number] = EMPTY if _is_empty(task, row) else str(problem)
            if any(_is_gone(name) for name in _files(task, row)):
                side.missing.add(number)
            continue
        side.examples[number] = example
        side.groups[number] = group_of(row)
        side.exact[number] = _sameness(example.question, str)
        side.loose[number] = _sameness(example.question, _folded)
    return side


def _is_empty(task: Task[Any], row: Row) -> bool:
    values = [row[column] for column in task.columns if column in row]
    return bool(values) and all(each is None or (isinstance(each, str) and not each.strip()) for each in values)


def _files(task: Task[Any], row: Row) -> Iterator[object]:
    """What a row names as files, in its columns and in its list of parts."""
    listed = row.get(LISTED) if LISTED in task.columns else ()
    parts = [part for part in listed if isinstance(part, Mapping)] if isinstance(listed, Sequence) else []
    yield from (row.get(column) for column in MEDIA if column in task.columns)
    yield from (part.get(column) for part in parts for column in MEDIA)


def _is_gone(name: object) -> bool:
    return isinstance(name, str) and bool(name.strip()) and not os.path.exists(name)


def _sameness(question: Question, form: Callable[[str], str]) -> Hashable:
    """Questions are the same when all that a model may see of them is; marks count by where they lie in the form."""
    text, marks = question.text, question.marks
    places = tuple((len(form(text[: mark.start])), len(form(text[: mark.end])), mark.label) for mark in marks)
    return tuple(_part(part, form) for part in question.given), question.instruction, question.options, places


def _part(part: Part, form: Callable[[str], str]) -> Hashable:
    if isinstance(part, str):
        return form(part)
    if part.key:
        return part.key
    array = part.samples if isinstance(part, Audio) else part.pixels
    return array.shape, hashlib.blake2b(array.tobytes(), digest_size=16).digest()


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _found(kind: str, side: _Side, numbers: Iterable[int] | Mapping[int, str], message: str) -> list[Finding]:
    """A finding «7 of 90 train rows <message>», none where there are no rows; a mapping adds a note to each place."""
    notes = numbers if isinstance(numbers, Mapping) else dict.fromkeys(numbers, "")
    if not notes:
        return []
    places = tuple(f"{side.place(number)}{notes[number]}" for number in sorted(notes)[:SHOWN])
    return [Finding(kind, f"{len(notes)} of {side.rows} {side.name} rows {message}", len(notes), places)]


# --- broken rows


def _unreadable(side: _Side) -> list[Finding]:
    if not side.rows:
        return [Finding("no-rows", f"there are no {side.name} rows", 0)]
    empty = [number for number, said in side.unreadable.items() if said == EMPTY]
    faults = {number: f": {said}" for number, said in side.unreadable.items() if said != EMPTY}
    missing = {number: said for number, said in faults.items() if number in side.missing}
    broken = {number: said for number, said in faults.items() if number not in side.missing}
    unlabelled = [number for number, example in side.examples.items() if not example.golds]
    return [
        *_found("missing-file", side, missing, "name a file that is not there"),
        *_found("unreadable", side, broken, "cannot be read"),
        *_found("empty", side, empty, "are empty"),
        *_found("unlabelled", side, unlabelled, "have no right answer; nothing is learnt from or measured on them"),
    ]


# --- sounds and pictures


def _sounds(side: _Side) -> tuple[list[Finding], str]:
    """Which of DECODED sounds, evenly spaced, are silent or broken; and how long all are, by their headers."""
    import numpy as np

    given = ((number, part) for number, example in side.examples.items() for part in example.question.given)
    sounds = [(number, part) for number, part in given if isinstance(part, Audio)]
    if not sounds:
        return [], ""
    seconds = [sound.seconds for _, sound in sounds]
    heard = _few([(number, sound) for number, sound in sounds if sound.seconds <= LONGEST])
    silent, broken = [], {}
    for number, sound in heard:
        try:
            if np.abs(sound.samples).max(initial=0.0) < QUIET:
                silent.append(number)
        except DataError as problem:
            broken[number] = f": {problem}"
    lengths = f"{sum(seconds):,.1f} s in all, the shortest {min(seconds):.2f} s, the longest {max(seconds):.2f} s"
    found = [
        *_found("silent", side, silent, f"are silent, of {len(heard)} listened to"),
        *_found("broken-sound", side, broken, f"cannot be decoded, of {len(heard)} listened to"),
    ]
    return found, f"{side.name}: {len(sounds)} sounds, {lengths}"


def _pictures(side: _Side) -> list[Finding]:
    given = ((number, part) for number, example in side.examples.items() for part in example.question.given)
    seen = _few([(number, part) for number, part in given if isinstance(part, Image)])
    broken = {}
    for number, image in seen:
        try:
            _ = image.pixels
        except DataError as problem:
            broken[number] = f": {problem}"
    return _found("broken-picture", side, broken, f"cannot be decoded, of {len(seen)} looked at")


def _few(parts: list[tuple[int, _P]]) -> list[tuple[int, _P]]:
    """DECODED of them, evenly spaced."""
    return parts[:: max(1, -(-len(parts) // DECODED))]


# --- repeats and leaks


def _repeats(side: _Side) -> list[Finding]:
    exact: dict[int, str] = {}
    loose: dict[int, str] = {}
    unlike: dict[int, str] = {}
    first_exact: dict[Hashable, int] = {}
    first_loose: dict[Hashable, int] = {}
    answered: dict[Hashable, tuple[int, set[Any]]] = {}
    for number, example in side.examples.items():
        if (first := first_exact.setdefault(side.exact[number], number)) != number:
            exact[number] = f", like row {first}"
        elif (first := first_loose.setdefault(side.loose[number], number)) != number:
            loose[number] = f", like row {first}"
        if example.golds:
            first, golds = answered.setdefault(side.exact[number], (number, set(example.golds)))
            if golds.isdisjoint(example.golds):
                unlike[number] = f", unlike row {first}"
    return [
        *_found("duplicate", side, exact, "repeat an earlier question exactly"),
        *_found("near-duplicate", side, loose, "repeat an earlier question but for case and blanks"),
        *_found("contradiction", side, unlike, "ask what an earlier row asks and give another answer"),
    ]


def _leaks(known: _Side, held: _Side) -> list[Finding]:
    exact = {key: number for number, key in reversed(known.exact.items())}
    loose = {key: number for number, key in reversed(known.loose.items())}
    same = {n: f", like {known.place(exact[key])}" for n, key in held.exact.items() if key in exact}
    alike = {n: f", like {known.place(loose[key])}" for n, key in held.loose.items() if key in loose and n not in same}
    groups = {group for _, group in known.groups.values()} - {""}
    both = {n: f", {column} {group}" for n, (column, group) in held.groups.items() if group in groups}
    shared = Counter(" ".join(held.groups[number]) for number in both).most_common()
    told = "; ".join(f"{group} is in {known.name} and in {held.name}: {n} rows" for group, n in shared[:SHOWN])
    return [
        *_found("leak", held, same, f"are {known.name} rows too; scores on them flatter"),
        *_found("near-leak", held, alike, f"are {known.name} rows too but for case and blanks; scores on them flatter"),
        *_found("group-leak", held, both, f"share a group with {known.name}, and scores flatter; {told}"),
    ]


# --- labels


def _labels(side: _Side) -> Counter[str]:
    """How often each label is the answer; empty where each row brings options of its own, which are no labels."""
    if len({example.question.options for example in side.examples.values()}) > 1:
        return Counter()
    golds = (gold for example in side.examples.values() for gold in example.golds[:1])
    return Counter(label for gold in golds for label in labels_of(gold) if label)


def _label_counts(side: _Side) -> list[Finding]:
    counts = _labels(side).most_common()
    if not counts:
        return []
    found, first = [], next(iter(side.examples.values()))
    (most, often), (least, rarely) = counts[0], counts[-1]
    labels = max(len(counts), len(first.question.options))
    if len(counts) == 1 and any(isinstance(gold, Choice) for each in side.examples.values() for gold in each.golds):
        found.append(Finding("one-label", f"all {side.name} rows have the label {most!r}", often))
    if len(side.examples) < labels:
        found.append(Finding("few-rows", f"{len(side.examples)} {side.name} rows for {labels} labels", labels))
    if often >= UNEVEN * rarely:
        message = f"{side.name}: {most!r} occurs {often} times, {least!r} {rarely}; an overall score says little of it"
        found.append(Finding("uneven-labels", message, sum(often >= UNEVEN * n for _, n in counts)))
    return found


def _label_sets(known: _Side, held: _Side) -> list[Finding]:
    ours, theirs = _labels(known), _labels(held)
    if not ours or not theirs:
        return []
    found = []
    for kind, only, where, other in (
        ("unseen-labels", theirs.keys() - ours.keys(), held.name, known.name),
        ("unmeasured-labels", ours.keys() - theirs.keys(), known.name, held.name),
    ):
        shown = ", ".join(sorted(only)[:SHOWN]) + (", …" if len(only) > SHOWN else "")
        if only:
            found.append(Finding(kind, f"{where} has labels that never occur in {other}: {shown}", len(only)))
    return found


# --- spans and characters

# Scripts written without blanks, and Hangul, whose particles are joined to the name: no border to miss inside a word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana, Chinese characters
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]"  # Hangul
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")


def _borders(side: _Side) -> list[Finding]:
    inside, blank = [], []
    for number, example in side.examples.items():
        text = example.question.text
        for span in _spans(example):
            if _cuts(text, span.start) or _cuts(text, span.end):
                inside.append(number)
            if text[span.start].isspace() or text[span.end - 1].isspace():
                blank.append(number)
    return [
        *_found("inside-word", side, set(inside), "have a span that starts or ends inside a word"),
        *_found("blank-in-span", side, set(blank), "have a span that starts or ends with a blank"),
    ]


def _spans(example: Example[Any]) -> Iterator[Span]:
    for gold in example.golds:
        if isinstance(gold, Spans):
            yield from gold.spans


def _cuts(text: str, at: int) -> bool:
    """Whether the border before character `at` lies inside a word: letters, digits, marks or _ on both sides."""
    if not 0 < at < len(text):
        return False
    pair = text[at - 1 : at + 1]
    return not _UNSPACED.search(pair) and all(_in_word(letter) for letter in pair)


def _in_word(letter: str) -> bool:
    return letter == "_" or letter.isalnum() or unicodedata.category(letter)[0] == "M"


def _characters(side: _Side) -> list[Finding]:
    texts = {number: "\n".join(example.question.texts) for number, example in side.examples.items()}
    control = [number for number, text in texts.items() if _CONTROL.search(text)]
    pieces = [number for number, text in texts.items() if not unicodedata.is_normalized("NFC", text)]
    return [
        *_found("control-characters", side, control, "hold control characters or U+FFFD; was the encoding right?"),
        *_found("not-nfc", side, pieces, "hold letters written in pieces (not NFC), which a model may not know"),
    ]


def _too_long(side: _Side, count_pieces: Callable[[str], int], longest: int) -> list[Finding]:
    """Measured on at most MEASURED rows, evenly spaced."""
    numbers = [number for number, example in side.examples.items() if example.question.texts]
    step = max(1, -(-len(numbers) // MEASURED))
    measured = numbers[::step]
    over = [n for n in measured if sum(map(count_pieces, side.examples[n].question.texts)) > longest]
    if not over:
        return []
    share = f"{len(over)} of the {len(measured)} {side.name} rows measured ({len(over) / len(measured):.1%})"
    message = f"{share} are longer than the {longest} pieces that the model reads; the rest of them is not seen"
    return [Finding("too-long", message, len(over), tuple(map(side.place, over[:SHOWN])))]
