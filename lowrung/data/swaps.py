"""Augmentations that change who a text is about and nothing else: other names, the other gender. Marks, golds and
offsets go along. What is swapped is data, English first; another language is another entry.

    Example, Random → Example
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

from lowrung.core.answers import Choice, Span, Spans
from lowrung.core.edits import Edit, apply
from lowrung.core.task import Example
from lowrung.core.words import words
from lowrung.data.names import Place, distinct, language_of, named

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

Swap = Callable[[Example[Any], Random], Example[Any]]


def person(text: str, mentions: Sequence[Place]) -> bool:
    """Whether a name is somebody's, as far as can be told: it has a known first name, or is told in full and by its
    last word alone."""
    forms = {text[start:end] for start, end in mentions}
    full = {form.split()[-1] for form in forms if " " in form}
    return any(form.split()[0] in FIRST for form in forms) or bool(full & forms)


def swap_names(example: Example[Any], random: Random) -> Example[Any]:
    """Other names for people and for what is marked, alike for every mention; a known first name keeps its gender."""
    text = example.question.text
    marks = [(each.start, each.end) for each in example.question.marks]
    swapped = [
        mentions
        for mentions in named(text)
        if person(text, mentions) or any(one[0] < two[1] and two[0] < one[1] for one in mentions for two in marks)
    ]
    spots = [spot for mentions in swapped for place in mentions for spot in _words_in(text, place)]
    pools = [(set(names), list(names)) for names in (FEMININE, MASCULINE)]
    present, chosen = {text[start:end] for start, end in words(text)}, dict[str, str]()
    for start, end in sorted(spots):
        form = text[start:end]
        if form in chosen or len(form) == 1 or not form[0].isupper():
            continue
        pool = next((names for known, names in pools if form in known), list(FAMILY))
        free = [name for name in pool if name not in present and name not in chosen.values()]
        chosen[form] = random.choice(free) if free else form
    return edited(example, [Edit(*spot, chosen.get(text[slice(*spot)], text[slice(*spot)])) for spot in spots])


def swap_gender(example: Example[Any], random: Random) -> Example[Any]:
    """The other gender throughout: pronouns, words for people, known first names (all mentions alike) and the facet."""
    text = example.question.text
    language = language_of(text)
    pairs = PAIRS.get(language, ())
    other = {masculine: feminine for feminine, masculine in reversed(pairs)} | dict(pairs)
    spots = words(text)
    present = {text[start:end] for start, end in spots}
    names, edits = dict[str, str](), []
    for at, (start, end) in enumerate(spots):
        form = text[start:end]
        follows = text[slice(*spots[at + 1])] if at + 1 < len(spots) else ""
        new = _of_english(form.casefold(), follows) if language == "en" else None
        new = new or other.get(form.casefold())
        if new:
            edits.append(Edit(start, end, _cased(new, form)))
        elif form in names or form in FEMININE or form in MASCULINE:
            if form not in names:
                pool = MASCULINE if form in FEMININE else FEMININE
                free = [name for name in pool if name not in present and name not in names.values()]
                names[form] = random.choice(free) if free else form
            edits.append(Edit(start, end, names[form]))
    flipped = {"feminine": "masculine", "masculine": "feminine"}
    facets = tuple((name, flipped.get(value, value) if name == "gender" else value) for name, value in example.facets)
    return replace(edited(example, edits), facets=facets)


SWAPS: Mapping[str, Swap] = {"names": swap_names, "gender": swap_gender}


def edited(example: Example[Any], edits: Iterable[Edit]) -> Example[Any]:
    """`example` with `edits` in its first text; marks, spans and options made of marked words go along.

    Where an edit would take a mark or a gold away, the example stays as it is.
    """
    question, changes = example.question, sorted(set(edits))
    numbered = tuple(Span(each.start, each.end, str(at)) for at, each in enumerate(question.marks))
    text, moved = apply(question.text, changes, Spans(numbered))
    golds = [apply(question.text, changes, gold)[1] if isinstance(gold, Spans) else gold for gold in example.golds]
    kept = all(
        len(new.spans) == len(old.spans)
        for new, old in zip(golds, example.golds, strict=True)
        if isinstance(old, Spans)
    )
    if len(moved.spans) != len(numbered) or not kept:
        return example
    places = sorted(moved.spans, key=lambda each: int(each.label))
    marks = tuple(Span(new.start, new.end, old.label) for new, old in zip(places, question.marks, strict=True))
    first = next(at for at, part in enumerate(question.given) if isinstance(part, str))
    given = (*question.given[:first], text, *question.given[first + 1 :])
    options = question.options
    own = [each for each in marks if each.label == "candidate"]
    if own and len(own) == len(options) - 1:  # the question points: its options are the words that it marks
        options = distinct([text[each.start : each.end] for each in own], options[-1])
        golds = [
            Choice(options[question.options.index(gold.option)]) if isinstance(gold, Choice) else gold for gold in golds
        ]
    return replace(example, question=replace(question, given=given, options=options, marks=marks), golds=tuple(golds))


def _words_in(text: str, place: tuple[int, int]) -> list[tuple[int, int]]:
    return [(place[0] + start, place[0] + end) for start, end in words(text[slice(*place)])]


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


def _cased(new: str, old: str) -> str:
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new[0].upper() + new[1:] if old[0].isupper() else new
