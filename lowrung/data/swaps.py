"""Augmentations that change who a text is about and nothing else: other names, the other gender. Marks, golds and
offsets go along, in all texts of a question. What is swapped is data, English first; another language is another entry.

    Example, Random → Example
    Example, Random → the edits that make it, for `edited`
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from lowrung.core.answers import Answer, Choice, Span, Spans, Text
from lowrung.core.edits import Edit, apply, between
from lowrung.core.parts import Part, name_as_words
from lowrung.core.task import Example
from lowrung.core.words import words
from lowrung.data.names import Place, distinct, language_of, named, sentence_ends

FEMININE = tuple(
    """Ada Agnes Alice Amina Amy Ana Anna Barbara Beatrice Carmen Caroline Catherine Charlotte Clara Diana Dorothy Elena
    Elizabeth Ella Emily Emma Esther Eva Fatima Fiona Grace Hannah Helen Ingrid Irene Isabel Jane Jennifer Jessica Joan
    Julia Karen Kate Laura Leila Linda Lisa Lucy Margaret Maria Martha Mary Mei Nadia Nancy Natalia Olivia Patricia
    Priya Rachel Rebecca Rosa Ruth Sandra Sara Sarah Sofia Sophie Susan Teresa Victoria Virginia Yuki Zoe""".split()
)
MASCULINE = tuple(
    """Adam Ahmed Albert Alexander Andrew Anthony Arthur Benjamin Carlos Charles Christopher Daniel David Diego Edward
    Eric Felix Francis Frank Frederick George Hans Harold Henry Hiroshi Hugh Ivan Jack Jacob James John Jorge Joseph
    Karl Kenneth Kevin Lars Lawrence Leon Lewis Louis Luis Marco Mark Martin Matthew Michael Mohammed Nicholas Oliver
    Omar Oscar Patrick Paul Peter Philip Pierre Rafael Ravi Richard Robert Samuel Simon Stephen Thomas Victor Walter
    Wei William""".split()
)
FAMILY = tuple(
    """Adams Ahmadi Andersen Baker Becker Bell Bennett Bianchi Brooks Carter Castillo Chen Clarke Collins Costa Dubois
    Edwards Evans Fischer Fletcher Foster Garcia Gomez Graham Gray Gupta Hansen Harris Hughes Ibrahim Jensen Keller Khan
    Kowalski Kumar Lambert Larsen Lindgren Lopez Marshall Mendes Meyer Mitchell Moreau Morris Murphy Nakamura Novak
    Okafor Okoye Olsen Palmer Parker Pereira Petrov Popov Reed Rossi Sato Schmidt Silva Singh Stewart Suzuki Tanaka
    Torres Turner Walker Weber Wong Yilmaz""".split()
)
FIRST = frozenset(FEMININE + MASCULINE)
Known = tuple[frozenset[str], frozenset[str]]  # first names that are told apart, feminine and masculine
KNOWN: Known = (frozenset(FEMININE), frozenset(MASCULINE))


class Forms(NamedTuple):
    """The pronouns of a language for one person, a gender (or none) a place."""

    subject: tuple[str, ...]
    object: tuple[str, ...]
    possessive: tuple[str, ...]
    shares: tuple[float, ...]  # how often each is drawn
    governing: frozenset[str]  # words that an object follows
    verbs: frozenset[str] = frozenset()  # that often follow a subject, beside those with such
    endings: tuple[str, ...] = ()


FORMS: Mapping[str, Forms] = {
    "en": Forms(
        ("she", "he", "they"), ("her", "him", "them"), ("her", "his", "their"), (0.45, 0.45, 0.1),
        frozenset(
            """about against around at behind below beside between by defeated for from helped informed into joined
            killed like made married met of on over succeeded than to told toward towards under upon with
            without""".split()
        ),
        frozenset(
            """became began bought brought came chose died found gave got grew held kept knew laid led left lost made
            met paid played put ran read said sang sat saw says sent sold spent spoke stood taught told took tries wants
            went won wrote""".split()
        ),
        ("ed",),
    ),
    "de": Forms(
        ("sie", "er"), ("ihr", "ihm"), ("ihr", "sein"), (0.5, 0.5),
        frozenset("aus bei mit nach seit von zu gegenüber".split()),
    ),
    "fr": Forms(
        ("elle", "il"), ("elle", "lui"), ("sa", "son"), (0.5, 0.5),
        frozenset("à avec chez contre de par pour sans sur".split()),
    ),
    "es": Forms(
        ("ella", "él"), ("ella", "él"), ("su", "su"), (0.5, 0.5),
        frozenset("a con contra de en para por sin sobre".split()),
    ),
}  # fmt: skip
# language → (feminine, masculine) words; a form that stands for two others is settled by `_HERS`
PAIRS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "en": (
        ("she", "he"), ("hers", "his"), ("herself", "himself"), ("mrs", "mr"), ("ms", "mr"), ("miss", "mr"),
        ("woman", "man"), ("women", "men"), ("girl", "boy"), ("girls", "boys"), ("mother", "father"),
        ("mothers", "fathers"), ("mom", "dad"), ("mum", "dad"), ("daughter", "son"), ("daughters", "sons"),
        ("sister", "brother"), ("sisters", "brothers"), ("wife", "husband"), ("wives", "husbands"), ("aunt", "uncle"),
        ("niece", "nephew"), ("grandmother", "grandfather"), ("granddaughter", "grandson"), ("queen", "king"),
        ("princess", "prince"), ("duchess", "duke"), ("actress", "actor"),
        ("actresses", "actors"), ("waitress", "waiter"), ("heiress", "heir"), ("hostess", "host"),
        ("lady", "gentleman"),
        ("ladies", "gentlemen"), ("female", "male"), ("girlfriend", "boyfriend"), ("bride", "groom"),
        ("widow", "widower"), ("goddess", "god"), ("businesswoman", "businessman"),
    ),
    "de": (("sie", "er"), ("ihr", "sein"), ("ihre", "seine"), ("ihren", "seinen"), ("frau", "herr")),
    "fr": (("elle", "il"), ("madame", "monsieur"), ("femme", "homme"), ("fille", "garçon"), ("sœur", "frère")),
    "es": (("ella", "él"), ("señora", "señor"), ("mujer", "hombre"), ("hija", "hijo"), ("hermana", "hermano")),
}  # fmt: skip
# English «her» is «his» before what she has and «him» elsewhere: before one of these, or where nothing follows
_HERS = frozenset(
    """a about after again alone an and as at away back because before but by during for from he his how if in into it
    on or out over she so than that the there they this though through to until up upon was were what when where which
    while who why with without would""".split()
)

TITLES = frozenset("mr mrs ms miss".split())  # in small letters they are other words: «I miss you»
_UNMARKED = frozenset("god host".split())  # said of things, or of everyone: not turned feminine
_SAINTS = frozenset("San Santa Santo São St Saint Sainte Port Lake Mount Fort Cape".split())  # a place, not a person
_AFTER_NAMES = frozenset("Jr Sr II III IV".split())

# what a label, or its meaning, says where its spans are people: one of these words, or all of it
PEOPLE = frozenset(
    """pers person persons people peop human humans persona personas personne personnes persoon personen pessoa pessoas
    osoba osoby человек персона людина 人物 人名 人 人间 人間 姓名 사람 인물 이름""".split()
)
NAMES = frozenset({"name", "names", "full name", "first name", "last name", "family name", "surname", "nom"})
NO_PEOPLE = frozenset("cent percent percentage number group organization organisation".split())

Swap = Callable[[Example[Any], Random], Example[Any]]
Find = Callable[[Example[Any], Random], list[Edit]]


@cache
def first_names() -> Known:
    """Many more first names than are drawn from: whoever asks whether a text is changed through and through."""
    stored = json.loads((Path(__file__).parent / "first-names.json").read_text("utf-8"))
    feminine, masculine = (frozenset(" ".join(stored[side]).split()) for side in ("feminine", "masculine"))
    return feminine | KNOWN[0], masculine | KNOWN[1]


def person(text: str, mentions: Sequence[Place], first: frozenset[str] = FIRST) -> bool:
    """Whether a name is somebody's, as far as can be told: it has a known first name, or is told in full and by its
    last word alone."""
    forms = {text[start:end] for start, end in mentions}
    full = {form.split()[-1] for form in forms if " " in form}
    return any(form.split()[0] in first for form in forms) or bool(full & forms)


def swap_names(example: Example[Any], random: Random) -> Example[Any]:
    """Other names for people and for what is marked, alike for every mention; a known first name keeps its gender."""
    return edited(example, name_edits(example, random))


def name_edits(example: Example[Any], random: Random, known: Known = KNOWN) -> list[Edit]:
    """The edits of `swap_names`; `known` says which first names have a gender."""
    text = example.question.whole
    places = [place for mentions in _people(example, known) for place in mentions if not _of_a_place(text, place[0])]
    spots = [spot for place in places for spot in _words_in(text, place)]
    pools = [(names, list(drawn)) for names, drawn in zip(known, (FEMININE, MASCULINE), strict=True)]
    present, chosen = {text[start:end] for start, end in words(text)}, dict[str, str]()
    for start, end in sorted(spots):
        form = text[start:end]
        if form in chosen or len(form) == 1 or not form[0].isupper() or form in _AFTER_NAMES:
            continue
        pool = next((names for known, names in pools if form in known), list(FAMILY))
        free = [name for name in pool if name not in present and name not in chosen.values()]
        chosen[form] = random.choice(free) if free else form
    edits = [Edit(*spot, chosen.get(text[slice(*spot)], text[slice(*spot)])) for spot in spots]
    return _of_nobody_else(example, edits, known)


def swap_gender(example: Example[Any], random: Random) -> Example[Any]:
    """The other gender throughout: pronouns, words for people, known first names (all mentions alike) and the facet."""
    flipped = {"feminine": "masculine", "masculine": "feminine"}
    facets = tuple((name, flipped.get(value, value) if name == "gender" else value) for name, value in example.facets)
    return replace(edited(example, gender_edits(example, random)), facets=facets)


def gender_edits(example: Example[Any], random: Random, known: Known = KNOWN) -> list[Edit]:
    """The edits of `swap_gender`; `known` says which first names have a gender."""
    text = example.question.whole
    language = language_of(text)
    pairs = PAIRS.get(language, ())
    other = {masculine: feminine for feminine, masculine in reversed(pairs) if masculine not in _UNMARKED} | dict(pairs)
    spots, family = words(text), _family_names(text, known)
    present = {text[start:end] for start, end in spots}
    names, edits = dict[str, str](), []
    for at, (start, end) in enumerate(spots):
        form = text[start:end]
        follows = _follows([text[slice(*spot)] for spot in spots[at + 1 : at + 4]])
        new = _of_english(form.casefold(), follows) if language == "en" else None
        new = new or other.get(form.casefold())
        if new and not (form in TITLES and form.islower()):
            edits.append(Edit(start, end, cased(new, form)))
        elif (form in known[0] or form in known[1]) and form not in family and not _of_a_place(text, start):
            if form not in names:
                pool = MASCULINE if form in known[0] else FEMININE
                free = [name for name in pool if name not in present and name not in names.values()]
                names[form] = random.choice(free) if free else form
            edits.append(Edit(start, end, names[form]))
    return _of_nobody_else(example, edits, known)


def gender_reaches_all(example: Example[Any], known: Known = KNOWN) -> bool:
    """Whether everybody that is named has a first name with a known gender, or only a title that tells it; a swap of
    genders leaves the others as they are, beside pronouns that no longer suit them."""
    text = example.question.whole
    first = (known[0] | known[1]) - _family_names(text, known)
    for mentions in _people(example, known):
        forms = {word for start, end in mentions for word in text[start:end].split()}
        before = {text[:start].rstrip(" .").rpartition(" ")[2].casefold() for start, _ in mentions}
        if not forms & first and not before & TITLES:
            return False
    return True


def gender_of_names(example: Example[Any], known: Known = KNOWN) -> str:
    """What all first names that are known are: "feminine" or "masculine"; "" where there is none, or both."""
    text = example.question.whole
    forms = {text[start:end] for start, end in words(text)} - _family_names(text, known)
    found = [name for name, names in zip(("feminine", "masculine"), known, strict=True) if forms & names]
    return found[0] if len(found) == 1 else ""


SWAPS: Mapping[str, Swap] = {"names": swap_names, "gender": swap_gender}


def edited(example: Example[Any], edits: Iterable[Edit]) -> Example[Any]:
    """`example` with `edits`, which count in `whole`; marks, spans and options made of marked words go along.

    A Text gold is the mended first text: it is edited alike, and an edit of what it mends is left out. Where an edit
    would take a mark or a gold away, the example stays as it is.
    """
    question = example.question
    changes = outside_mends(example, edits)
    own = [edit for edit in changes if edit.end <= len(question.text)]
    numbered = tuple(Span(each.start, each.end, str(at)) for at, each in enumerate(question.marks))
    _, moved = apply(question.text, own, Spans(numbered))
    golds = [_carried(question.text, own, gold) for gold in example.golds]
    kept = all(
        len(new.spans) == len(old.spans)
        for new, old in zip(golds, example.golds, strict=True)
        if isinstance(old, Spans) and isinstance(new, Spans)
    )
    if len(moved.spans) != len(numbered) or not kept:
        return example
    places = sorted(moved.spans, key=lambda each: int(each.label))
    marks = tuple(Span(new.start, new.end, old.label) for new, old in zip(places, question.marks, strict=True))
    given, at = list[Part](), 0
    for part in question.given:
        if isinstance(part, str):
            end = at + len(part)
            inside = [each for each in changes if at <= each.start and each.end <= end]
            made, _ = apply(part, [Edit(each.start - at, each.end - at, each.text) for each in inside])
            part = type(part)(made)
            at = end + 1
        given.append(part)
    options, text = question.options, next((part for part in given if isinstance(part, str)), "")
    pointed = [each for each in marks if each.label == "candidate"]
    if pointed and len(pointed) == len(options) - 1:  # the question points: its options are the words that it marks
        options = distinct([text[each.start : each.end] for each in pointed], options[-1])
        golds = [
            Choice(options[question.options.index(gold.option)]) if isinstance(gold, Choice) else gold for gold in golds
        ]
    asked = replace(question, given=tuple(given), options=options, marks=marks)
    return replace(example, question=asked, golds=tuple(golds))


def outside_mends(example: Example[Any], edits: Iterable[Edit]) -> list[Edit]:
    """The edits that meet nothing that a Text gold mends, in reading order, each once: those that `edited` makes."""
    text, golds = example.question.text, example.golds
    mends = [mend for gold in golds if isinstance(gold, Text) for mend in between(text, gold.text)]
    changes = sorted(set(edits))
    return [edit for edit in changes if all(mend.end <= edit.start or mend.start >= edit.end for mend in mends)]


def _carried(text: str, edits: Sequence[Edit], gold: Answer) -> Answer:
    if isinstance(gold, Spans):
        return apply(text, edits, gold)[1]
    if not isinstance(gold, Text):
        return gold
    mends, moved = between(text, gold.text), []
    for edit in edits:
        growth = sum(len(mend.text) - (mend.end - mend.start) for mend in mends if mend.end <= edit.start)
        moved.append(Edit(edit.start + growth, edit.end + growth, edit.text))
    return Text(apply(gold.text, moved)[0])


def cased(new: str, old: str) -> str:
    """`new` with capitals where `old` has them: throughout, or in front."""
    letters = [at for at, letter in enumerate(new) if letter.isalpha()]
    if not letters:
        return new
    if old.isupper() and sum(letter.isalpha() for letter in old) > 1:
        return new.upper()
    capital = next((letter for letter in old if letter.isalpha()), "").isupper()
    return new[: letters[0]] + new[letters[0]].upper() + new[letters[0] + 1 :] if capital else new


def opens(text: str) -> set[int]:
    """Where sentences begin, as far as blanks and stops tell."""
    begins = [0, *sentence_ends(text)]
    return {at + len(text[at:]) - len(text[at:].lstrip()) for at in begins}


def _people(example: Example[Any], known: Known) -> list[tuple[Place, ...]]:
    """The names of people, and those that lie in a mark, with all their mentions."""
    text, first = example.question.whole, known[0] | known[1]
    marks = [(each.start, each.end) for each in (*example.question.marks, *_spans(example, people=True))]
    return [
        mentions
        for mentions in named(text)
        if person(text, mentions, first)
        or any(one[0] < two[1] and two[0] < one[1] for one in mentions for two in marks)
    ]


def _spans(example: Example[Any], *, people: bool) -> list[Span]:
    """The spans of the golds whose label says that they are people (PER, person, …), or those of the other labels."""
    found = [span for gold in example.golds if isinstance(gold, Spans) for span in gold.spans]
    told = dict(zip(example.question.options, example.question.words_for_options, strict=True))
    return [span for span in found if _says_people(span.label, told.get(span.label, "")) == people]


def _says_people(label: str, meaning: str = "") -> bool:
    """Whether a label is one of people, by its name or by what it means."""
    name, means = (re.findall(r"[^\W_]+", name_as_words(each).casefold()) for each in (label, meaning))
    if name[:1] == ["per"] and not NO_PEOPLE & {*name}:  # a code; elsewhere a word of its own: «price per night»
        return True
    return any(" ".join(each) in NAMES or (PEOPLE & {*each} and not NO_PEOPLE & {*each}) for each in (name, means))


def _of_nobody_else(example: Example[Any], edits: Iterable[Edit], known: Known) -> list[Edit]:
    """The edits outside of what the golds say to be no person: Virginia the state, King's Cross.

    Where no label says which are people, a known first name does.
    """
    question, others, first = example.question, _spans(example, people=False), known[0] | known[1]
    labels = {*question.options, *(span.label for span in others)}
    meanings = dict(zip(question.options, question.words_for_options, strict=True))
    if not any(_says_people(each, meanings.get(each, "")) for each in labels) and not _spans(example, people=True):
        others = [span for span in others if first.isdisjoint(_forms(question.text[span.start : span.end]))]
    return [edit for edit in edits if all(edit.end <= span.start or span.end <= edit.start for span in others)]


def _forms(text: str) -> list[str]:
    return [text[start:end] for start, end in words(text)]


def _of_a_place(text: str, start: int) -> bool:
    """Whether what stands before says that a name is no person's: San Diego, St. Patrick's Day."""
    return text[:start].rstrip(". ").rpartition(" ")[2] in _SAINTS


def _family_names(text: str, known: Known) -> set[str]:
    """What stands behind a known first name: Ross in «Diana Ross»."""
    runs = [text[start:end].split() for mentions in named(text) for start, end in mentions]
    return {run[-1] for run in runs if len(run) > 1 and any(run[0] in names for names in known)}


def _words_in(text: str, place: tuple[int, int]) -> list[tuple[int, int]]:
    return [(place[0] + start, place[0] + end) for start, end in words(text[slice(*place)])]


def _follows(forms: Sequence[str]) -> str:
    """The word behind a pronoun, or behind «or her»: «his or her dog»."""
    joined = len(forms) > 1 and forms[0].casefold() in ("and", "or", "/") and forms[1].casefold() in ("his", "her")
    return "".join(forms[2:3] if joined else forms[:1])


def _owned(follows: str) -> bool:
    return bool(follows) and follows[0] not in ".,;:!?…)]—–" and follows.casefold() not in _HERS


def _of_english(form: str, follows: str) -> str | None:
    if form == "his":
        return "her" if _owned(follows) else "hers"
    if form == "him":
        return "her"
    if form == "her":
        return "his" if _owned(follows) else "him"
    return None
