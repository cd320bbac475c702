"""Which words of a text became which words of another: changed, split, merged, left out, put in."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate

Step = tuple[int, int, int, int]  # words start..end of the one text became words first..last of the other

CELLS = 1 << 14  # of a table of costs; a larger piece is first cut at what is found once in both texts
RUN = 3  # equal words in a row that fix a place
CUT = 32  # words a side; what nothing cuts (two texts with little in common) is cut here

# Costs, in words left out. What counts is their order: a changed word < one left out and one put in; exact splits and
# merges < a changed word beside one put in < splits and merges with a change in them.
CHANGED, UNLIKE, MARK = 0.3, 1.4, 0.7
JOINED, JOINED_UNLIKE = 0.5, 2.0
ALMOST = 0.5  # added to a split or merge that also changes letters
GROUPS = tuple((p, q) for p in (1, 2, 3, 4) for q in (1, 2, 3, 4) if (p, q) != (1, 1) and p + q <= 5)
GAP = 3  # letters that may come or go in a split or merge
INNER = str.maketrans("", "", "'’-‐\u00ad")  # marks inside a word, which come and go with its parts


def aligned(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[Step]:
    """Steps that cover both word lists in order and without a gap; one side of a step may be empty."""
    end, last = len(ours), len(theirs)
    start = 0
    while start < min(end, last) and ours[start] == theirs[start]:
        start += 1
    while end > start and last > start and ours[end - 1] == theirs[last - 1]:
        end, last = end - 1, last - 1
    yield from ((at, at + 1, at, at + 1) for at in range(start))
    yield from _cut(ours, theirs, (start, end, start, last), RUN)
    yield from ((end + at, end + at + 1, last + at, last + at + 1) for at in range(len(ours) - end))


def _cut(ours: Sequence[str], theirs: Sequence[str], piece: Step, run: int) -> Iterator[Step]:
    """The steps of a piece, which is cut at runs of equal words where it is large."""
    start, end, first, last = piece
    cells = (end - start) * (last - first)
    if cells == 0 or (run < RUN and cells <= CELLS) or cells <= RUN**2:
        yield from _priced(ours[start:end], theirs[first:last], start, first)
        return
    if run == 0:
        pieces = max(end - start, last - first) // CUT + 1
        for at in range(pieces):
            a, b = (start + (end - start) * each // pieces for each in (at, at + 1))
            c, d = (first + (last - first) * each // pieces for each in (at, at + 1))
            yield from _priced(ours[a:b], theirs[c:d], a, c)
        return
    for step, other in _anchors(ours[start:end], theirs[first:last], run):
        at, there = piece[0] + step, piece[2] + other
        if at < start or there < first:  # inside the anchor before
            continue
        yield from _cut(ours, theirs, (start, at, first, there), run // RUN)
        start, first = at, there
        while start < end and first < last and ours[start] == theirs[first]:
            yield start, start + 1, first, first + 1
            start, first = start + 1, first + 1
    yield from _cut(ours, theirs, (start, end, first, last), run // RUN)


def _anchors(ours: Sequence[str], theirs: Sequence[str], run: int) -> list[tuple[int, int]]:
    """Places of runs of words that each text has once, the longest chain of them in both orders (patience diff)."""
    mine, other = ([tuple(each[i : i + run]) for i in range(len(each) - run + 1)] for each in (ours, theirs))
    once = Counter(other)
    places = {key: at for at, key in enumerate(other) if once[key] == 1}
    own = Counter(mine)
    pairs = [(at, places[key]) for at, key in enumerate(mine) if own[key] == 1 and key in places]
    ends: list[int] = []  # of the best chain of each length: the place in `theirs`
    links: list[tuple[int, int]] = []  # (pair, length of the chain that it ends)
    for number, (_, there) in enumerate(pairs):
        length = bisect_left(ends, there)
        ends[length : length + 1] = [there]
        links.append((number, length))
    chain: list[tuple[int, int]] = []
    wanted, below = len(ends) - 1, len(theirs)
    for number, length in reversed(links):
        if length == wanted and pairs[number][1] < below:
            chain.append(pairs[number])
            wanted, below = wanted - 1, pairs[number][1]
    return chain[::-1]


def _priced(ours: Sequence[str], theirs: Sequence[str], at: int, there: int) -> Iterator[Step]:
    """The cheapest steps between two short lists of words, whose first words are numbers `at` and `there`."""
    if len(ours) == len(theirs) and all(a == b or likeness(a, b) >= 0.5 for a, b in zip(ours, theirs, strict=True)):
        yield from ((at + k, at + k + 1, there + k, there + k + 1) for k in range(len(ours)))
        return
    alone, added = [_price(each) for each in ours], [_price(each) for each in theirs]
    best = [[0.0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    came = [[(0, 0)] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    ends, lasts = ([0, *accumulate(map(len, each))] for each in (ours, theirs))
    for i in range(len(ours) + 1):
        for j in range(len(theirs) + 1):
            options = []
            if i and j:
                options.append((best[i - 1][j - 1] + _changing(ours[i - 1], theirs[j - 1]), (1, 1)))
                for p, q in GROUPS:
                    if p > i or q > j or not -GAP <= ends[i] - ends[i - p] - lasts[j] + lasts[j - q] <= GAP:
                        continue
                    if (price := _joining(ours[i - p : i], theirs[j - q : j])) is not None:
                        options.append((best[i - p][j - q] + price, (p, q)))
            if i:
                options.append((best[i - 1][j] + alone[i - 1], (1, 0)))
            if j:
                options.append((best[i][j - 1] + added[j - 1], (0, 1)))
            if options:
                best[i][j], came[i][j] = min(options, key=lambda option: option[0])
    steps, i, j = [], len(ours), len(theirs)
    while i or j:
        p, q = came[i][j]
        steps.append((at + i - p, at + i, there + j - q, there + j))
        i, j = i - p, j - q
    yield from reversed(steps)


def _price(word: str) -> float:
    return 1.0 if word[0].isalnum() else MARK


def _changing(one: str, two: str) -> float:
    if one == two:
        return 0.0
    if one[0].isalnum() != two[0].isalnum():  # a word does not become a comma
        return CHANGED + UNLIKE + 0.1
    return CHANGED + UNLIKE * (1.0 - likeness(one, two))


def _joining(ours: Sequence[str], theirs: Sequence[str]) -> float | None:
    """What it costs that these words together became those; None where they are not the same letters, or nearly."""
    one, two = "".join(ours), "".join(theirs)
    bare, other = one.translate(INNER), two.translate(INNER)
    if bare == other != "":
        tidy = ours[0] != theirs[0] and ours[-1] != theirs[-1]  # else a smaller group says the same
        return JOINED if tidy or len(ours) == 1 or len(theirs) == 1 else None
    if min(len(ours), len(theirs)) > 1 or set(ours) & set(theirs):
        return None
    alike = likeness(bare, other) if bare and other else 0.0
    return JOINED + ALMOST + JOINED_UNLIKE * (1.0 - alike) if alike >= 0.6 else None


def likeness(one: str, two: str) -> float:
    """In [0, 1]: how many letters and pairs of letters two words share, case aside (Dice)."""
    ours, theirs = _pairs(one), _pairs(two)
    return 2.0 * len(ours & theirs) / (len(ours) + len(theirs))


@lru_cache(maxsize=1 << 14)
def _pairs(word: str) -> frozenset[str]:
    folded = f"\n{word.casefold()}\n"
    return frozenset(folded[1:-1]) | {folded[i : i + 2] for i in range(len(folded) - 1)}
