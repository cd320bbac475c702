"""Augmentations: an example and a random generator → the same example, harder to read.

Gold spans and marks move along. What would cut one of them in two, or swallow it, is not done. All texts that are given
are damaged; the right answers of the other shapes stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from random import Random
from types import MappingProxyType
from typing import Any, TypeAlias

from lowrung.core.answers import A, Span, Spans
from lowrung.core.edits import Edit, apply
from lowrung.core.parts import Part
from lowrung.core.task import Example
from lowrung.data.noise import QWERTY, Mixture, Noise, noise

__all__ = ["AUGMENTATIONS", "Mixture", "Noise", "case", "keyboard", "noise", "noisy", "sound_alikes", "spaces", "typos"]

SHARE = 0.1  # of the words, where nobody says
PLAIN = Noise()  # nothing learnt: neighbouring keys and any letters
NOTHING = Mixture(letters=0.0, confusions=0.0, spaces=0.0, case=0.0)
_NONE: Mapping[str, tuple[str, ...]] = MappingProxyType({})

Augmentation: TypeAlias = Callable[..., Example[Any]]  # (example, random, *, share=…)


def noisy(example: Example[A], random: Random, *, share: float = SHARE, noise: Noise = PLAIN) -> Example[A]:
    """All kinds of damage, as `noise` mixes them, to up to `share` of the words."""
    marks, golds = example.question.marks, example.golds
    spans = [*marks, *(span for gold in golds if isinstance(gold, Spans) for span in gold.spans)]
    first, given = True, list[Part]()
    for part in example.question.given:
        if isinstance(part, str):
            kept = [edit for edit in noise.damaged(part, random, share)[1] if not first or _fits(edit, spans)]
            if first:
                marks = tuple(span for mark in marks for span in apply(part, kept, Spans((mark,)))[1].spans)
                golds = tuple(apply(part, kept, gold)[1] if isinstance(gold, Spans) else gold for gold in golds)  # type: ignore[misc]
            first, part = False, type(part)(apply(part, kept)[0])  # what was Heard stays Heard
        given.append(part)
    return replace(example, question=replace(example.question, given=tuple(given), marks=marks), golds=golds)


def typos(example: Example[A], random: Random, *, share: float = SHARE, noise: Noise = PLAIN) -> Example[A]:
    """Words misspelt: by the patterns that `noise` has learnt, where it has, by neighbouring keys and any letters."""
    return noisy(example, random, share=share, noise=_only(noise, "letters"))


def keyboard(
    example: Example[A], random: Random, *, share: float = SHARE, keys: tuple[str, ...] = QWERTY
) -> Example[A]:
    """A neighbouring key in place of the right one, or beside it."""
    return noisy(example, random, share=share, noise=_keys(keys))


def sound_alikes(
    example: Example[A], random: Random, *, share: float = SHARE, confusions: Mapping[str, tuple[str, ...]] = _NONE
) -> Example[A]:
    """Words, or letters of scripts without blanks, for those that they are mistaken for, as `confusions` has them."""
    mixture = replace(NOTHING, confusions=1.0)
    return noisy(example, random, share=share, noise=Noise(confusions=confusions, mixture=mixture))


def spaces(example: Example[A], random: Random, *, share: float = SHARE) -> Example[A]:
    """Words split, and words written together."""
    return noisy(example, random, share=share, noise=_only(PLAIN, "spaces"))


def case(example: Example[A], random: Random, *, share: float = SHARE) -> Example[A]:
    """First letters in the other case, seldom whole words in capitals."""
    return noisy(example, random, share=share, noise=_only(PLAIN, "case"))


AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType(
    {each.__name__: each for each in (typos, keyboard, sound_alikes, spaces, case, noisy)}
)


@lru_cache(maxsize=8)
def _keys(keys: tuple[str, ...]) -> Noise:
    return Noise(keys=keys, mixture=replace(NOTHING, letters=1.0, learnt=0.0, uniform=0.0))


def _only(noise: Noise, kind: str) -> Noise:
    """`noise` with one kind of damage alone, made once: it remembers the words it has met."""
    if (id(noise), kind) not in _MADE:
        if len(_MADE) > 64:
            _MADE.clear()
        shares = {each: float(each == kind) for each in ("letters", "confusions", "spaces", "case")}
        _MADE[id(noise), kind] = noise, replace(noise, mixture=replace(noise.mixture, **shares))
    return _MADE[id(noise), kind][1]


_MADE: dict[tuple[int, str], tuple[Noise, Noise]] = {}  # holds the noise too, so that its id stays its own


def _fits(edit: Edit, spans: list[Span]) -> bool:
    """Whether every span keeps its place: the edit lies in it and leaves something, or outside."""
    for span in spans:
        outside = edit.end <= span.start or edit.start >= span.end
        inside = span.start <= edit.start and edit.end <= span.end and edit.text
        if not outside and not inside:
            return False
    return True
