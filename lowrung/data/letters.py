"""The letters of a word, and what was done to them in another."""

import re
from collections.abc import Sequence
from functools import lru_cache
from unicodedata import category

_JOINERS = "\u00ad\u200c\u200d"
_MARKED = re.compile(rf"[^\x00-\u02ff{_JOINERS}]")


@lru_cache(maxsize=1 << 15)
def letters(word: str) -> tuple[str, ...]:
    """The letters with the marks and joiners that follow them; together they are `word`."""
    if not _MARKED.search(word) and word.isalnum():
        return tuple(word)
    found: list[str] = []
    for letter in word:
        if found and (letter in _JOINERS or category(letter).startswith("M")):
            found[-1] += letter
        else:
            found.append(letter)
    return tuple(found)


def changes(right: Sequence[str], wrong: Sequence[str], longest: int) -> list[tuple[int, int, str]]:
    """(start, end, put): what stands in `wrong` in place of the letters start..end of `right`; few and small.

    The fewest letters put in, left out, changed and swapped with the next (Damerau and Levenshtein's restricted
    distance). Changes that touch are one, up to `longest` letters a side. A letter put in or left out beside its twin
    is said as one letter that became two, or two that became one.
    """
    steps, found = _steps(right, wrong), list[tuple[int, int, int, int]]()
    for start, end, first, last in steps:
        if right[start:end] == wrong[first:last]:
            continue
        if found and found[-1][1] == start and found[-1][3] == first:
            before = found[-1]
            if end - before[0] <= longest and last - before[2] <= longest:
                found[-1] = (before[0], end, before[2], last)
                continue
        found.append((start, end, first, last))
    made, done = list[tuple[int, int, str]](), 0
    for number, (start, end, first, last) in enumerate(found):
        free = done, found[number + 1][0] if number + 1 < len(found) else len(right)
        made.append(_with_twin(right, start, end, "".join(wrong[first:last]), free))
        done = made[-1][1]
    return made


def slips(taken: Sequence[str], put: Sequence[str]) -> int:
    """How many single slips made `put` of `taken`; a swap is one, and so are a twin too many and one too few."""
    twin = len({*taken, *put}) == 1
    swap = tuple(put) == tuple(taken)[::-1]
    return max(1, max(len(taken), len(put)) - (twin or swap))


def _with_twin(right: Sequence[str], start: int, end: int, put: str, free: tuple[int, int]) -> tuple[int, int, str]:
    """The change with the equal letter beside it, where that lies between the changes before and after."""
    taken = "".join(right[start:end])
    if (taken == "") == (put == "") or end - start > 1:
        return start, end, put
    letter = taken or put
    if start > free[0] and right[start - 1] == letter:
        return start - 1, end, letter + put
    if end < free[1] and right[end] == letter:
        return start, end + 1, put + letter
    return start, end, put


def _steps(right: Sequence[str], wrong: Sequence[str]) -> list[tuple[int, int, int, int]]:
    cost = [[0] * (len(wrong) + 1) for _ in range(len(right) + 1)]
    for i in range(len(right) + 1):
        for j in range(len(wrong) + 1):
            if i and j:
                best = min(cost[i - 1][j - 1] + (right[i - 1] != wrong[j - 1]), cost[i - 1][j] + 1, cost[i][j - 1] + 1)
                swapped = i > 1 and j > 1 and right[i - 1] == wrong[j - 2] and right[i - 2] == wrong[j - 1]
                cost[i][j] = min(best, cost[i - 2][j - 2] + 1) if swapped else best
            else:
                cost[i][j] = i or j
    steps, i, j = list[tuple[int, int, int, int]](), len(right), len(wrong)
    while i or j:
        here = cost[i][j]
        swapped = i > 1 and j > 1 and right[i - 1] == wrong[j - 2] and right[i - 2] == wrong[j - 1]
        if i and j and right[i - 1] == wrong[j - 1] and here == cost[i - 1][j - 1]:
            a, b = 1, 1
        elif swapped and here == cost[i - 2][j - 2] + 1:
            a, b = 2, 2
        elif i and j and here == cost[i - 1][j - 1] + 1:
            a, b = 1, 1
        elif i and here == cost[i - 1][j] + 1:
            a, b = 1, 0
        else:
            a, b = 0, 1
        steps.append((i - a, i, j - b, j))
        i, j = i - a, j - b
    return steps[::-1]
