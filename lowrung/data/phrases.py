"""What may answer a question, by rules that need no model: names, numbers, times and runs of content words in a text,
and which of them a question asks for by its first words.

The words of a language are data, a language at a time; a text in another one has numbers, and names where it has
capitals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from lowrung.core.words import words
from lowrung.data.names import COMMON, named

NAME, NUMBER, TIME, CHUNK = KINDS = ("name", "number", "time", "chunk")
PLACE = "place"  # what a question may ask for besides; a name, as far as rules tell
LONGEST = 4  # words of a chunk; of a script without blanks, twice as many letters

# language → kind → the words that ask for it, the plainest first; longer ones are looked for before shorter ones
ASKING: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        NAME: ("who", "whom", "whose"),
        PLACE: ("where", "which city", "what city", "which country", "what country", "what state"),
        TIME: ("when", "what year", "which year", "what date", "what day", "what month", "what century", "what decade"),
        NUMBER: tuple(
            f"{first} {what}"
            for first, several in (
                ("how", "many much long old far tall large big often"),
                ("what", "percentage percent number amount"),
            )
            for what in several.split()
        ),
        CHUNK: ("what", "which", "how", "why"),
    },
    "de": {
        NAME: ("wer", "wem", "wen", "wessen"),
        PLACE: ("wo", "wohin", "woher"),
        TIME: ("wann", "welches jahr", "welchem jahr"),
        NUMBER: ("wie viele", "wie viel", "wieviel", "wie lange", "wie alt", "wie hoch", "wie groß"),
        CHUNK: ("was", "welche", "welcher", "welches", "welchen", "wie", "warum"),
    },
    "fr": {
        NAME: ("qui",),
        PLACE: ("où",),
        TIME: ("quand", "quelle année", "quelle date"),
        NUMBER: ("combien", "quel âge", "quel nombre"),
        CHUNK: ("que", "quoi", "quel", "quelle", "quels", "quelles", "comment", "pourquoi"),
    },
    "es": {
        NAME: ("quién", "quiénes"),
        PLACE: ("dónde", "adónde"),
        TIME: ("cuándo", "qué año", "qué fecha"),
        NUMBER: ("cuántos", "cuántas", "cuánto", "cuánta"),
        CHUNK: ("qué", "cuál", "cuáles", "cómo", "por qué"),
    },
    "zh": {
        NAME: ("谁", "什么人", "哪位"),
        PLACE: ("哪里", "哪儿", "何处", "什么地方", "哪个国家", "哪个城市"),
        TIME: ("什么时候", "何时", "哪一年", "哪年", "几月", "几号"),
        NUMBER: ("多少", "几个", "多大", "多长", "多高", "几"),
        CHUNK: ("什么", "哪个", "哪些", "怎么", "为什么"),
    },
}
PLACING = frozenset("in at from to near of en à au de desde hacia nach aus bei 在 于".split())  # before a place, mostly
_SMALL_ZH = frozenset("的了在是和与及为有被于也将就都而并或其这那他她它们我你个着过等之以从到对把让向由因但所不很")
_MONTHS = """january february march april may june july august september october november december januar februar märz
mai juni juli oktober dezember janvier février mars avril juin juillet août septembre octobre novembre décembre enero
febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre""".split()
_MONTH = rf"(?:{'|'.join(_MONTHS)})\b"
_YEAR = r"(?:1\d|20)\d\d"
_TIME = re.compile(
    rf"\d+年(?:\d+月)?(?:\d+日)?|\d+月(?:\d+日)?|\b\d{{4}}-\d\d-\d\d\b"
    rf"|\b(?:\d{{1,2}}\.? (?:de )?)?{_MONTH}(?: \d{{1,2}}\b,?)?(?:,? (?:de )?{_YEAR}\b)?"
    rf"|\b\d+(?:st|nd|rd|th) century\b|\b{_YEAR}s?\b(?:[-–](?:{_YEAR}|\d\d)\b)?",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"[$€£¥]?\d+(?:[.,]\d+)*(?: ?%|[ -](?:percent|per cent|million|billion|trillion|thousand|hundred|Prozent|Millionen|"
    r"Milliarden|pour cent|millions|milliards|por ciento|millones|km|kg|m|miles|years|meters|feet)\b|[万亿]+)?",
    re.IGNORECASE,
)


class Phrase(NamedTuple):
    """The characters start..end of a text, and one of `KINDS`."""

    start: int
    end: int
    kind: str


@lru_cache(maxsize=1 << 12)
def phrases(text: str) -> tuple[Phrase, ...]:
    """What may answer a question about `text`, in reading order and apart."""
    found: list[Phrase] = []
    taken = bytearray(len(text))

    def add(start: int, end: int, kind: str) -> None:
        if end > start and not any(taken[start:end]):
            found.append(Phrase(start, end, kind))
            taken[start:end] = b"\1" * (end - start)

    for each in _TIME.finditer(text):
        if not (each[0].isalpha() and each[0].islower()):  # «may», «mars»
            add(*each.span(), TIME)
    for mentions in named(text):
        for start, end in mentions:
            add(start, end, NAME)
    for each in _NUMBER.finditer(text):
        if not text[each.start() - 1 : each.start()].isalnum() or not text[each.start() - 1].isascii():
            add(*each.span(), NUMBER)
    for start, end in _runs(text, taken):
        add(start, end, CHUNK)
    return tuple(sorted(found))


def _runs(text: str, taken: bytearray) -> list[tuple[int, int]]:
    """Neighbouring words that are neither function words nor taken, no longer than a phrase is."""
    language, runs = language_in(text), list[list[tuple[int, int]]]()
    small = _SMALL_ZH if language == "zh" else COMMON.get(language, frozenset[str]())
    most, before = LONGEST * (2 if language == "zh" else 1), -2
    for start, end in words(text):
        form = text[start:end].casefold()
        if not form[0].isalnum() or form in small or taken[start]:
            continue
        if runs and len(runs[-1]) < most and before == start - (0 if language == "zh" else 1) and _joins(text, start):
            runs[-1].append((start, end))
        else:
            runs.append([(start, end)])
        before = end
    least = 2 if language == "zh" else 1
    return [(run[0][0], run[-1][1]) for run in runs if len(run) >= least]


def _joins(text: str, start: int) -> bool:
    return text[start - 1] in " -" or not text[start - 1].isascii()


@lru_cache(maxsize=1 << 12)
def language_in(text: str) -> str:
    """The language of `ASKING` that a text is in, as its letters and small words tell; "" where they do not."""
    letters = [letter for letter in text[:400] if letter.isalpha()]
    if letters and 2 * sum("\u4e00" <= letter <= "\u9fff" for letter in letters) > len(letters):
        return "zh"
    forms = [text[start:end].casefold() for start, end in words(text)]
    counts = {language: sum(form in small for form in forms) for language, small in COMMON.items()}
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] else ""


@lru_cache(maxsize=1 << 12)
def asked_for(question: str) -> str:
    """The kind that a question asks for: one of `KINDS`, `PLACE`, or "" where none of the words of `ASKING` is in it.

    The words that come first count, of those that begin there the longest.
    """
    language = language_in(question)
    own = _hits(question, [ASKING[language]]) if language else []
    return min(own or _hits(question, ASKING.values()), default=(0, 0, ""))[2]


def _hits(question: str, languages: Iterable[dict[str, tuple[str, ...]]]) -> list[tuple[int, int, str]]:
    """(place, less the length, kind) of each of the words that ask."""
    folded, hits = " ".join(question.casefold().split()), list[tuple[int, int, str]]()
    for kinds in languages:
        for kind, forms in kinds.items():
            for form in forms:
                # a script without blanks has no borders of words
                bare = re.escape(form) if form[0] > "\u2fff" else rf"(?<!\w){re.escape(form)}(?!\w)"
                found = re.search(bare, folded)
                hits += [(found.start(), -len(form), kind)] if found else []
    return hits
