"""Metrics of a corrector, from one count of words: those that were wrong as given, and those that were right.

A word here is what stands between blanks; letters of scripts written without blanks stand alone. Case and punctuation
count as written. What reference and answer did to a word is compared where their edits lie, so words may be split and
merged; a word put in belongs to the one it stands before. Blanks that only grow or shrink change no word.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from lowrung.core.answers import Text
from lowrung.core.edits import Edit, apply, between
from lowrung.core.task import Counts, Example, Metric
from lowrung.core.words import words
from lowrung.metrics.counting import ratio

BETA = 0.5  # precision counts twice as much as recall, as is the custom where a wrong mend is worse than none


def count(example: Example[Text], answer: Text | None) -> Counts:
    """Words: right, broken, misspelt, mended, edited; rows, exact. Of several golds, the one that suits best.

    mended: misspelt words that the answer writes as the gold does. edited: words that the answer changed, save those
    that were misspelt and came out as the gold has them together with mended ones. No answer leaves the text as it is.
    """
    if not example.golds:
        return {}
    source = example.question.text
    said = source if answer is None else answer.text
    found = [_against(source, gold.text, said) for gold in example.golds]
    best = min(found, key=lambda each: (_errors(each), -each["mended"]))
    return {**best, "rows": 1.0, "exact": float(any(said == gold.text for gold in example.golds))}


def _errors(counts: dict[str, float]) -> float:
    return (counts["misspelt"] - counts["mended"]) + (counts["edited"] - counts["mended"])


def _against(source: str, gold: str, said: str) -> dict[str, float]:
    units = tokens(source)
    counts = {"right": float(len(units)), "broken": 0.0, "misspelt": 0.0, "mended": 0.0, "edited": 0.0}
    due = list(_placed(_between(source, gold), units))
    done = due if said == gold else list(_placed(_between(source, said), units))
    for start, end in _joined([(first, last) for first, last, _ in (*due, *done)]):
        ours = [each for each in due if start <= each[0] and each[1] <= end]
        theirs = [each for each in done if start <= each[0] and each[1] <= end]
        wrong = {unit for first, last, _ in ours for unit in range(first, last)}
        touched = {unit for first, last, _ in theirs for unit in range(first, last)}
        places = [*units[start:end], *((edit.start, edit.end) for _, _, edit in (*ours, *theirs))]
        piece = min(place[0] for place in places), max(place[1] for place in places)
        hit = _image(source, piece, ours) == _image(source, piece, theirs)
        counts["right"] -= len(wrong)
        counts["misspelt"] += len(wrong)
        counts["mended"] += len(wrong) if hit else 0
        counts["edited"] += len(wrong) if hit else len(touched)
        counts["broken"] += 0 if hit else len(touched - wrong)
    return counts


_between = lru_cache(maxsize=256)(between)  # every answer of a study meets the same golds


def tokens(text: str) -> list[tuple[int, int]]:
    """(start, end) of what stands between blanks; letters of scripts written without blanks stand alone."""
    found: list[tuple[int, int]] = []
    before = True  # the token before takes nothing more
    for start, end in words(text):
        alone = _alone(text[start:end])
        if found and found[-1][1] == start and not alone and not before:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
        before = alone
    return found


@lru_cache(maxsize=1 << 14)
def _alone(word: str) -> bool:
    """Whether `word` is a letter that does not grow into a word with the next one."""
    return word[0].isalpha() and len(word) < 8 and len(words(word * 2)) > 1


def _placed(edits: Iterable[Edit], units: list[tuple[int, int]]) -> Iterator[tuple[int, int, Edit]]:
    """(first, last, edit) with the words first..last (excluded) that each edit changes."""
    starts, ends = [start for start, _ in units], [end for _, end in units]
    for edit in edits:
        first, last = bisect_right(ends, edit.start), bisect_left(starts, edit.end)
        if first < last:
            yield first, last, edit
        elif edit.text.strip():
            after = edit.text[-1:].isspace() or first == 0
            near = first if after and first < len(units) else first - 1
            glued = 0 < first < len(units) and not edit.text[0].isspace() and not edit.text[-1].isspace()
            if glued and edit.start < edit.end:  # a blank became a mark: one word of two
                yield first - 1, first + 1, edit
            elif glued and starts[first] == edit.start and ends[first - 1] != edit.start:
                yield first, first + 1, edit
            elif units:
                yield near, near + 1, edit
        elif 0 < first < len(units) and (ends[first - 1], starts[first]) == (edit.start, edit.end) and _parts(edit):
            yield first - 1, first + 1, edit


def _parts(edit: Edit) -> bool:
    """Whether two words become one, or one that was written together two."""
    return (edit.text == "") != (edit.start == edit.end)


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges, ascending, with those that overlap made one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _image(source: str, piece: tuple[int, int], edits: Iterable[tuple[int, int, Edit]]) -> list[str]:
    """What becomes of a piece of the source, blanks aside."""
    start, end = piece
    moved = [Edit(edit.start - start, edit.end - start, edit.text) for _, _, edit in edits]
    return apply(source[start:end], moved)[0].split()


def _of(part: str, whole: str) -> Callable[[Counts], Any]:
    return lambda counts: ratio(counts.get(part, 0.0), counts.get(whole, 0.0))


def _f05(counts: Counts) -> Any:
    hit, said, due = (counts.get(event, 0.0) for event in ("mended", "edited", "misspelt"))
    return ratio((1 + BETA**2) * hit, said + BETA**2 * due)


f05 = Metric("f0.5", count, _f05)
mended = Metric("mended", count, _of("mended", "misspelt"))
broken = Metric("broken", count, _of("broken", "right"), higher_is_better=False)
precision = Metric("precision", count, _of("mended", "edited"))
recall = Metric("recall", count, _of("mended", "misspelt"))  # of words, so it is `mended` under the name of the field
exact = Metric("exact", count, _of("exact", "rows"))
MENDING = (f05, mended, broken, precision, recall, exact)
