"""Augmentations that are kept where held-out rows say that they help, and vetoed where they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any

from lowrung.core.answers import A
from lowrung.core.errors import LowrungError, unknown
from lowrung.core.task import Example, Task
from lowrung.data.augment import AUGMENTATIONS
from lowrung.data.sounding import SOUNDINGS
from lowrung.data.splits import same_asked
from lowrung.data.swaps import swap_gender, swap_names
from lowrung.run.cells import Bench
from lowrung.run.compare import compare
from lowrung.run.methods import Method

SWAPS = {"names": swap_names, "genders": swap_gender}
SHOWN = 0.8  # the paired probability of being better from which an augmentation is kept; its rows decide, not its idea

Augmentation = Callable[..., Example[Any]]


@dataclass(frozen=True, slots=True)
class Tried:
    """One augmentation, beside the same method without it, on the same held-out rows.

    Args:
        value, without: the first metric. gain: the difference, positive where it helps, and its interval.
        probability: of helping, by a paired test. kept: whether what ships has learnt from it.
    """

    name: str
    value: float
    without: float
    gain: tuple[float, float, float]
    probability: float
    kept: bool


def augmentations(task: Task[Any]) -> Mapping[str, Augmentation]:
    """Name → augmentation, of those that a task's rows can go through."""
    if task.media:
        return SOUNDINGS if task.media == "audio" else {}
    return {**AUGMENTATIONS, **SWAPS}


def checked(task: Task[Any], names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once. Raises LowrungError where one is none of the task's."""
    known = augmentations(task)
    for name in names:
        if name not in known:
            raise LowrungError(unknown(f"augmentation for {task.name}", name, known))
    return tuple(dict.fromkeys(names))


def augmented(task: Task[A], examples: Sequence[Example[A]], names: Sequence[str], *, seed: int) -> list[Example[A]]:
    """The examples, and after them one copy of each by each augmentation; a copy that is the same is left out.

    A copy is of its row's group, and rows without a group that ask the same are given one, so that nothing that is
    held out of them to stop early by was learnt from as a copy.
    """
    if not names:
        return list(examples)
    asked = [same_asked(each.question, at) for at, each in enumerate(examples)]
    group = {same: f"row {at}" for at, same in reversed(list(enumerate(asked)))}
    group |= {same: each.group for same, each in zip(asked, examples, strict=True) if each.group}
    found = [replace(each, group=each.group or group[same]) for same, each in zip(asked, examples, strict=True)]
    grouped = list(found)
    for name in names:
        change, random = augmentations(task)[name], Random(f"{seed} {name}")
        copies = [change(each, random) for each in grouped]
        found += [copy for each, copy in zip(grouped, copies, strict=True) if copy != each]
    return found


def vetted(
    bench: Bench[A], winner: Method, names: Sequence[str], *, folds: int = 3
) -> tuple[Method, tuple[Tried, ...]]:
    """The winner with the augmentations that help it, by cross-validation on the rows to learn from, and all tried.

    Where several are kept, they must help together, too; else the best one alone is.
    """
    plan = bench.plan
    most = len(plan.train) - -(-len(plan.train) // folds)
    before, _ = bench.validated(winner, most, 0, folds)
    tried = []
    for name in names:
        after, _ = bench.validated(with_augmentations(winner, (name,)), most, 0, folds)
        found = compare(before, after)
        gain = found.difference
        kept = found.probability_better >= SHOWN
        told = (gain.value, gain.low, gain.high)
        tried.append(Tried(name, found.value_two, found.value_one, told, found.probability_better, kept))
    kept_names = tuple(each.name for each in tried if each.kept)
    if len(kept_names) > 1:
        together, _ = bench.validated(with_augmentations(winner, kept_names), most, 0, folds)
        if compare(before, together).probability_better < SHOWN:
            best = max((each for each in tried if each.kept), key=lambda each: each.gain[0]).name
            kept_names = (best,)
            tried = [replace(each, kept=each.name == best) for each in tried]
    return with_augmentations(winner, kept_names), tuple(tried)


def with_augmentations(method: Method, names: tuple[str, ...]) -> Method:
    return replace(method, name="~".join((method.name, *names)), augment=names) if names else method


def rows_of(tried: Sequence[Tried]) -> list[dict[str, Any]]:
    """As study.json has them."""
    return [asdict(each) for each in tried]
