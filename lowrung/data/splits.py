"""Which rows to learn from and which to hold out: nested draws, folds and a held-out share, all from a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from random import Random
from typing import Any

from lowrung.core.answers import Choice
from lowrung.core.errors import DataError
from lowrung.core.parts import Question, kind_of
from lowrung.core.task import Example, labels_of

Split = tuple[list[int], list[int]]  # (train, test) as indices into the examples, each ascending


def keys(examples: Sequence[Example[Any]]) -> list[str]:
    """What each example counts as when a split is stratified; only the first gold is looked at.

    A Choice counts as its option, or as that option's place where the questions bring options of their own; Choices and
    Spans as the rarest of their labels (by the number of examples that have it), so that rare labels are spread too; a
    Text, Choices or Spans without a label and an example without golds count as "".
    """
    own = len({example.question.options for example in examples}) > 1
    labels = [_labels(example, own) if example.golds else set[str]() for example in examples]
    having = Counter(label for each in labels for label in each)
    return [min(each, key=lambda label: (having[label], label), default="") for each in labels]


def _labels(example: Example[Any], own: bool) -> set[str]:
    options, gold = example.question.options, example.golds[0]
    if own and isinstance(gold, Choice) and gold.option in options:
        place = options.index(gold.option)  # the last one often says «none of these»
        return {"last option" if place == len(options) - 1 else f"option {place + 1}"}
    return set(labels_of(gold))


def order(keys: Sequence[str], *, seed: int, balanced: bool = False) -> list[int]:
    """All indices in an order whose every prefix is a stratified draw, so that 8 rows lie inside 32 by construction.

    Proportional (default): prefixes follow the shares of the classes, but every second place goes to the commonest
    class that is still missing. So the first 2·C rows hold each of C classes, and save for the at most C rows that are
    let in early, a prefix holds of each class its share to within 1.

    Balanced: the classes take turns, so that the first n·C rows hold n of each class that has n.
    """
    random = Random(seed)
    members: dict[str, list[int]] = {key: [] for key in sorted(set(keys))}
    for index, key in enumerate(keys):
        members[key].append(index)
    for indices in members.values():
        random.shuffle(indices)
    start = {key: random.random() for key in members}
    if balanced:
        turns = [(rank, start[key], index) for key, rows in members.items() for rank, index in enumerate(rows)]
        return [index for *_, index in sorted(turns)]
    shares = [((i + start[key]) / len(rows), index) for key, rows in members.items() for i, index in enumerate(rows)]
    return _with_all_early([index for _, index in sorted(shares)], keys, members)


def _with_all_early(proportional: list[int], keys: Sequence[str], members: dict[str, list[int]]) -> list[int]:
    missing = sorted(members, key=lambda key: -len(members[key]))
    ordered: dict[int, None] = {}  # as an ordered set
    present: set[str] = set()
    for index in proportional:
        if index in ordered:  # its class was let in early and with it this row
            continue
        ordered[index] = None
        present.add(keys[index])
        missing = [key for key in missing if key not in present] if missing else missing
        if missing:
            ordered[members[missing[0]][0]] = None
            present.add(missing.pop(0))
    return list(ordered)


def draw(examples: Sequence[Example[Any]], k: int, *, seed: int, balanced: bool = False) -> list[int]:
    """The first `k` indices of `order`: a stratified draw that contains every smaller draw of the same seed."""
    if k < 0:
        raise ValueError(f"a draw has 0 rows or more, not {k}")
    return order(keys(examples), seed=seed, balanced=balanced)[:k]


def folds(examples: Sequence[Example[Any]], *, k: int = 5, repeats: int = 1, seed: int = 0) -> list[list[Split]]:
    """`repeats` times `k` stratified folds; the rows of a group (speaker, document) are never on both sides, nor are
    rows without a group that ask the same.

    Each row is in the test part of one fold a repeat. Without groups, the folds differ in size and in the number of
    rows of a class by 1 at most; with groups they come as near as dealing the largest group first brings them. There
    are fewer folds where there are fewer groups (rows without one are their own where they differ) than `k`.

    Raises:
        ValueError: fewer than 2 folds or than 1 repeat are asked for.
        DataError: nothing can be held out, because there is one row or one group only.
    """
    if k < 2 or repeats < 1:
        raise ValueError(f"cross-validation needs 2 folds and 1 repeat or more, not {k} and {repeats}")
    units, classes = _units(examples, "cross-validation"), keys(examples)
    return [_dealt(units, classes, min(k, len(units)), Random(f"{seed}/{repeat}")) for repeat in range(repeats)]


def _dealt(units: list[list[int]], classes: list[str], k: int, random: Random) -> list[Split]:
    """Units dealt one by one, the largest first and class by class, to the fold that has least of their classes."""
    dealt = sorted(random.sample(units, len(units)), key=lambda unit: (-len(unit), classes[unit[0]]))
    totals, sizes, parts = Counter(classes), [0] * k, [list[int]() for _ in range(k)]
    having = [Counter[str]() for _ in range(k)]
    for unit in dealt:
        own = Counter(classes[index] for index in unit)
        costs = [(sum(n * having[fold][key] / totals[key] for key, n in own.items()), sizes[fold]) for fold in range(k)]
        fold = costs.index(min(costs))
        parts[fold] += unit
        sizes[fold] += len(unit)
        having[fold].update(own)
    return [_split(part, len(classes)) for part in parts]


def holdout(examples: Sequence[Example[Any]], *, share: float, seed: int) -> Split:
    """(train, test) indices with about `share` of the rows in test, stratified, no group on both sides, nor rows
    without a group that ask the same.

    Rows are taken at even steps through the rows sorted by class (systematic sampling): without groups the test part
    has `share` of the rows, and of each class, to within 1. Neither part is empty.

    Raises:
        ValueError: `share` is not between 0 and 1.
        DataError: nothing can be held out, because there is one row or one group only.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"the share to hold out lies between 0 and 1, not {share}")
    units, classes, random = _units(examples, "holding rows out"), keys(examples), Random(seed)
    walk = sorted(random.sample(units, len(units)), key=lambda unit: classes[unit[0]])
    due, threshold, test = 0.0, 1.0 - random.random(), list[list[int]]()
    for unit in walk:
        due += share * len(unit)
        if due >= threshold * len(unit):
            test.append(unit)
            due -= len(unit)
    if not test or len(test) == len(walk):
        test = [random.choice(walk)] if share <= 0.5 else walk[:-1]
    return _split([index for unit in test for index in unit], len(examples))


def _units(examples: Sequence[Example[Any]], purpose: str) -> list[list[int]]:
    """Indices that stay together: the rows of each group, and rows without a group that ask the same.

    A row without a group that asks what a row of a group does is of that group. Two groups that ask the same stay two:
    a headline that stands in every document would make one of all. Where all rows ask the same, each is by itself.
    """
    asked = [same_asked(example.question, index) for index, example in enumerate(examples)]
    first: dict[Hashable, str] = {}
    for same, example in zip(asked, examples, strict=True):
        if example.group:
            first.setdefault(same, example.group)
    named = [example.group or first.get(same, same) for same, example in zip(asked, examples, strict=True)]
    if len(set(named)) < 2:
        named = [example.group or index for index, example in enumerate(examples)]
    together: dict[Hashable, list[int]] = {}
    for index, name in enumerate(named):
        together.setdefault(name, []).append(index)
    if len(together) < 2:
        why = "all rows are of one group" if len(examples) > 1 else f"there are {len(examples)}"
        raise DataError(f"{purpose} needs 2 rows of different groups or more; {why}. Add rows, or a test file")
    return list(together.values())


def same_asked(question: Question, index: int) -> Hashable:
    """The same for questions that are the same to a model; a sound or picture without a key is like no other."""
    given = tuple(part if isinstance(part, str) else (kind_of(part), part.key or index) for part in question.given)
    return given, question.options, question.marks


def _split(test: list[int], rows: int) -> Split:
    held = set(test)
    return [index for index in range(rows) if index not in held], sorted(held)
