"""Dialect marks: the other spelling of a word (British, American), and informal forms for formal ones or back. Which
there are is data: dialect-en.json holds the English ones, and a language without such a file has none.

    Example, Random → the edits, for `swaps.edited`
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from lowrung.core.answers import Span, Spans
from lowrung.core.edits import Edit
from lowrung.core.task import Example
from lowrung.core.words import words
from lowrung.data.names import language_of
from lowrung.data.swaps import Find, Swap, cased, edited, opens

HOME = Path(__file__).parent
_BEFORE, _AFTER = r"(?<![\w'’@/#.\\-])", r"(?![\w@/\\-]|['’.]\w)"  # whole words; none of an address or a compound
_VOWELS = frozenset("aeiouy")  # without one before it, -ing is stressed: bring, thing


class Phrase(NamedTuple):
    """A formal phrase and the informal one, with the words that tell another sense of it."""

    formal: str
    informal: str
    not_before: frozenset[str] = frozenset()
    not_after: frozenset[str] = frozenset()


class Ending(NamedTuple):
    """What the formal and the informal form of a word end in, and the words that end so for another reason."""

    formal: str = ""
    informal: str = ""
    not_formal: frozenset[str] = frozenset()
    not_informal: frozenset[str] = frozenset()


class Dialects(NamedTuple):
    """The marks of a language; `spelling` holds each form with its other one, both ways."""

    spelling: Mapping[str, str]
    phrases: tuple[Phrase, ...]
    ending: Ending


@cache
def dialects(language: str) -> Dialects:
    """What dialect-LANGUAGE.json says; without such a file, no marks."""
    path = HOME / f"dialect-{language}.json"
    if not path.is_file():
        return Dialects({}, (), Ending())
    stored = json.loads(path.read_text("utf-8"))
    spelling = dict[str, str]()
    for one, two in pairs(stored["spelling"]):
        spelling |= {one: two, two: one}
    kinds = ("not_before", "not_after")
    phrases = [
        Phrase(each["formal"], each["informal"], *(_set(each.get(kind, "")) for kind in kinds))
        for each in stored["informal"]
    ]
    ends = stored["endings"]
    ending = Ending(ends["formal"], ends["informal"], _set(ends["not_formal"]), _set(ends["not_informal"]))
    return Dialects(spelling, tuple(phrases), ending)


def pairs(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """«colour/color: - s» → (colour, color), (colours, colors)."""
    for line in lines:
        stems, _, endings = line.partition(":")
        one, two = stems.split("/")
        for ending in endings.split():
            yield one + ending.strip("-"), two + ending.strip("-")


def swap_spelling(example: Example[Any], random: Random) -> Example[Any]:
    """Each word that is spelt in two ways in the other way; a name («Labour Party») stays."""
    return edited(example, spelling_edits(example, random))


def spelling_edits(example: Example[Any], random: Random) -> list[Edit]:
    """The edits of `swap_spelling`; nothing is drawn."""
    text = example.question.whole
    other, begins = dialects(language_of(text)).spelling, opens(text)
    edits = []
    for start, end in words(text):
        form = text[start:end]
        new = other.get(form.casefold())
        named = form[0].isupper() and not form.isupper() and start not in begins
        if new and not named and _stands_alone(text, start, end):
            edits.append(Edit(start, end, cased(new, form)))
    return _whole_spans(example, edits)


def swap_informal(example: Example[Any], random: Random) -> Example[Any]:
    """Informal forms (gonna, -in') for formal ones; in a text that has such forms, formal ones for these."""
    return edited(example, informal_edits(example, random))


def informal_edits(example: Example[Any], random: Random) -> list[Edit]:
    """The edits of `swap_informal`; nothing is drawn."""
    text = example.question.whole
    known = dialects(language_of(text))
    return _whole_spans(example, _to_formal(text, known) or _to_informal(text, known))


DIALECTS: Mapping[str, Swap] = {"dialect-spelling": swap_spelling, "dialect-informal": swap_informal}
DIALECT_EDITS: Mapping[str, Find] = {"dialect-spelling": spelling_edits, "dialect-informal": informal_edits}


def _to_informal(text: str, known: Dialects) -> list[Edit]:
    edits = list[Edit]()
    for each in known.phrases:
        for found in _occurrences(text, each.formal):
            follows, goes_before = _next_word(text, found.end()), _last_word(text, found.start())
            told = follows.islower() and follows.casefold() not in each.not_before if each.not_before else True
            if told and goes_before.casefold() not in each.not_after:
                edits.append(Edit(*found.span(), _quoted(cased(each.informal, found[0]), text)))
    stems, ending = rf"{_BEFORE}([^\W\d_]+){re.escape(known.ending.formal)}{_AFTER}", known.ending
    for found in re.finditer(stems, text) if ending.formal else ():
        voiced = len(found[1]) > 1 and bool(_VOWELS & set(found[1]))
        if voiced and found[0].islower() and found[0] not in ending.not_formal:
            edits.append(Edit(*found.span(), _quoted(found[1] + ending.informal, text)))
    return _apart(edits)


def _to_formal(text: str, known: Dialects) -> list[Edit]:
    edits = list[Edit]()
    for each in known.phrases:
        for found in _occurrences(text, each.informal):
            edits.append(Edit(*found.span(), _quoted(cased(each.formal, found[0]), text)))
    ending = known.ending
    stems = rf"{_BEFORE}([^\W\d_]+){_either(re.escape(ending.informal))}(?!\w)"
    for found in re.finditer(stems, text) if ending.formal else ():
        word = found[0].rstrip("'’")
        voiced = len(found[1]) > 1 and bool(_VOWELS & set(found[1]))
        if voiced and word.islower() and word not in ending.not_informal:
            edits.append(Edit(*found.span(), found[1] + ending.formal))
    return _apart(edits)


def _occurrences(text: str, phrase: str) -> Iterator[re.Match[str]]:
    ends = r"(?!['’])" if phrase[0] == "'" else ""  # «'cause'» is a quotation
    pattern = _either(r"[ ]+".join(map(re.escape, phrase.split())))
    return re.finditer(rf"{_BEFORE}{pattern}{ends}{_AFTER}", text, re.I)


def _either(pattern: str) -> str:
    """Both apostrophes that are in use."""
    return pattern.replace("'", "['’]")


def _quoted(form: str, text: str) -> str:
    return form.replace("'", "’") if "’" in text and "'" not in text else form


def _next_word(text: str, at: int) -> str:
    found = re.match(r"[ ]+([^\W_]+)", text[at:])
    return found[1] if found else ""


def _last_word(text: str, at: int) -> str:
    found = re.search(r"([^\W_]+)[ ]+$", text[:at])
    return found[1] if found else ""


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a word is no part of an address, a path or a tag; a hyphen may join it to others."""
    return not re.search(r"[@/#_\\.]$", text[max(0, start - 1) : start]) and not re.match(r"[@/_\\]|\.\w", text[end:])


def _apart(edits: Iterable[Edit]) -> list[Edit]:
    """Edits that do not overlap; of those that do, the longest."""
    found = list[Edit]()
    for each in sorted(edits, key=lambda edit: (edit.start - edit.end, edit.start)):
        if all(each.end <= other.start or other.end <= each.start for other in found):
            found.append(each)
    return sorted(found)


def _whole_spans(example: Example[Any], edits: Iterable[Edit]) -> list[Edit]:
    """The edits that cut no mark and no gold in two."""
    spans: list[Span] = [*example.question.marks]
    spans += [span for gold in example.golds if isinstance(gold, Spans) for span in gold.spans]
    return [
        edit
        for edit in edits
        if all(
            edit.end <= span.start or span.end <= edit.start or (span.start <= edit.start and edit.end <= span.end)
            for span in spans
        )
    ]


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())
