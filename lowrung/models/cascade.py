"""Sound heard and pictures read first, then understood: a Model of words answers questions of sounds and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from lowrung.core.answers import A, Choice, Prediction
from lowrung.core.errors import ModelError
from lowrung.core.model import Model
from lowrung.core.parts import KINDS, Audio, Heard, Image, Part, Question, kind_of
from lowrung.core.task import Example
from lowrung.models.hearing import recognizer, taught
from lowrung.models.recognizer import Recognizer
from lowrung.models.senses import HEARING, READING
from lowrung.models.spotting import WEIGHT, spot

SENSE_OF = {"audio": HEARING, "image": READING}
MOST = 1 << 17  # parts whose words are remembered
LEAST = 1e-6  # of an answer's share, so that what is spotted can speak for it

Ears = Mapping[str, Recognizer]  # kind of a part → what hears or reads it
NONE: Ears = MappingProxyType({})
_remembered: dict[tuple[str, str], Heard] = {}  # (checksum of a recognizer, key of a part) → its words


class Cascade:
    """`inner`, asked about questions in which each sound and picture is followed by its words.

    Args:
        inner: a Model of texts, or one that takes the parts as well.
        ears: recognizers; the embedded one of a kind that is not among them.
        spots: whether the options that are said or written somewhere gain by it; for a Model of Choices without labels.
        learnt: the kinds of parts that `inner` learnt from; a prediction names those that its question lacks.
    """

    def __init__(self, inner: Model[A], ears: Ears = NONE, *, spots: bool = False, learnt: Iterable[str] = ()) -> None:
        self.inner, self.ears, self.spots, self.learnt = inner, ears, spots, frozenset(learnt)

    @property
    def name(self) -> str:
        return self.inner.name

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        """One prediction a question, in order.

        Raises:
            ModelError: there is no recognizer for a kind of part.
        """
        heard = with_words(questions, self.ears)
        found = list(self.inner.answer(heard))
        if self.spots:
            found = [self._spotted(asked, said) for asked, said in zip(heard, found, strict=True)]
        return [replace(said, lacking=self._lacking(asked)) for asked, said in zip(heard, found, strict=True)]

    def quicken(self, precision: str = "exact") -> None:
        """As the inner model is quickened; nothing where it cannot be."""
        if hasattr(self.inner, "quicken"):
            self.inner.quicken(precision)

    def _lacking(self, asked: Question) -> tuple[str, ...]:
        return tuple(kind for kind in KINDS if kind in self.learnt - asked.kinds)

    def _spotted(self, asked: Question, said: Prediction[Any]) -> Prediction[Any]:
        """The shares of the options, each raised by how well it was spotted."""
        media = [part for part in asked.given if not isinstance(part, str)]
        if not media or not asked.options or not isinstance(said.answer, Choice):
            return said
        shares = {each.option: share for each, share in ((said.answer, said.confidence), *said.others)}
        logits = np.log([max(shares.get(option, 0.0), LEAST) for option in asked.options])
        for part in media:
            ear = ear_for(kind_of(part), self.ears)
            logits += WEIGHT * spot(ear, ear.logs([part])[0], asked.words_for_options)
        likely = np.exp(logits - logits.max())
        likely /= likely.sum()
        order = np.argsort(-likely, kind="stable")
        ranked = [(Choice(asked.options[at]), float(likely[at])) for at in order]
        return Prediction(ranked[0][0], ranked[0][1], tuple(ranked[1:]))

    def save(self, folder: Path, inner: Mapping[str, Any]) -> dict[str, Any]:
        """What a shipped folder keeps of it, beside the files of the inner model and what it keeps of that."""
        ears = {kind: ear_for(kind, self.ears) for kind in sorted(self.learnt | self.ears.keys()) if kind in SENSE_OF}
        named = {kind: {"name": ear.source.name, "checksum": ear.source.checksum} for kind, ear in ears.items()}
        return {
            "kind": "cascade",
            "inner": dict(inner),
            "ears": named,
            "spots": self.spots,
            "learnt": [kind for kind in KINDS if kind in self.learnt],
        }


def ear_for(kind: str, ears: Ears = NONE) -> Recognizer:
    """What hears or reads a kind of part: the one in `ears`, else the embedded one.

    Raises:
        ModelError: there is none.
    """
    if kind in ears:
        return ears[kind]
    try:
        return taught(recognizer("", SENSE_OF[kind]))
    except ModelError as problem:
        raise ModelError(f"questions with {kind} need a body that {SENSE_OF[kind].does} them: {problem}") from problem


def ears_for(kinds: Iterable[str], ears: Ears = NONE) -> dict[str, Recognizer]:
    """`ear_for` each kind of part that is no text."""
    return {kind: ear_for(kind, ears) for kind in KINDS if kind in SENSE_OF and kind in set(kinds)}


def loaded_ears(facts: Mapping[str, Any], folder: Path) -> dict[str, Recognizer]:
    """The recognizers that `Cascade.save` names.

    Raises:
        ModelError: one is not there, or has other weights.
    """
    found = {}
    for kind, named in facts["ears"].items():
        found[kind] = taught(recognizer(named["name"], SENSE_OF[kind]))
        if found[kind].source.checksum != named["checksum"]:
            raise ModelError(f"{folder}: was made with other weights of {named['name']} than the ones found here")
    return found


def with_words(questions: Sequence[Question], ears: Ears = NONE) -> list[Question]:
    """The questions with what is heard or read (core.parts.Heard) after each sound and picture that lacks it."""
    words = _words_of(list(_unheard(questions)), ears)
    return [_joined(each, words) if each.kinds & SENSE_OF.keys() else each for each in questions]


def examples_with_words(examples: Sequence[Example[A]], ears: Ears = NONE) -> tuple[Example[A], ...]:
    """`with_words` of examples."""
    asked = with_words([each.question for each in examples], ears)
    return tuple(replace(each, question=question) for each, question in zip(examples, asked, strict=True))


def _unheard(questions: Iterable[Question]) -> Iterator[Audio | Image]:
    """The sounds and pictures that are not followed by their words."""
    for question in questions:
        for part, after in zip(question.given, (*question.given[1:], ""), strict=True):
            if not isinstance(part, str) and not isinstance(after, Heard):
                yield part


def _joined(question: Question, words: Mapping[int, Heard]) -> Question:
    given: list[Part] = []
    for part, after in zip(question.given, (*question.given[1:], ""), strict=True):
        given.append(part)
        if not isinstance(part, str) and not isinstance(after, Heard):
            given.append(words[id(part)])
    return replace(question, given=tuple(given))


def _words_of(parts: Sequence[Audio | Image], ears: Ears) -> dict[int, Heard]:
    """id of a part → its words, remembered by key where it has one."""
    found: dict[int, Heard] = {}
    for kind in SENSE_OF:
        mine = [part for part in parts if kind_of(part) == kind]
        if not mine:
            continue
        ear = ear_for(kind, ears)
        if len(_remembered) > MOST:
            _remembered.clear()
        new = [part for part in mine if not part.key or (ear.source.checksum, part.key) not in _remembered]
        said = ear.answer([Question((part,)) for part in new])
        for part, one in zip(new, said, strict=True):
            found[id(part)] = Heard(one.answer.text if one.answer else "")
            if part.key:
                _remembered[ear.source.checksum, part.key] = found[id(part)]
        for part in mine:
            if id(part) not in found:
                found[id(part)] = _remembered[ear.source.checksum, part.key]
    return found
