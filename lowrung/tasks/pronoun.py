"""pronoun: which of the marked candidates a pronoun stands for, or none of them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any

from lowrung.core.answers import Choice, Span, Spans
from lowrung.core.edits import Edit, apply
from lowrung.core.errors import DataError
from lowrung.core.parts import Question
from lowrung.core.task import Example, Row, Task, apart, mark_of, place_of, text_of
from lowrung.core.words import words
from lowrung.data.names import COMMON, Place, candidates, distinct, language_of, named, passages, sentence_ends
from lowrung.data.swaps import FORMS, SWAPS, person
from lowrung.metrics.pronoun import GENDER, PRONOUN

NONE = "none of them"  # the last option of every question
STEREOTYPE = "stereotype"  # the column that says whether the right answer is "pro" or "anti" one; for audits
WHICH = "Which of the candidates does the marked pronoun stand for?"


def ask(row: Row) -> Question:
    """The marks are the pronoun, then the candidates; the options are the candidates' words, then `NONE`."""
    text = text_of(row)
    pronoun = mark_of(text, row.get("pronoun"), "pronoun")
    given = row.get("candidates")
    if not _listed(given) or not len(given):  # type: ignore[arg-type]
        raise DataError(f"'candidates' holds a list of [start, end], at least one, not {given!r}")
    offered = [mark_of(text, each, "candidate") for each in given]  # type: ignore[union-attr]
    marks = (pronoun, *offered)
    apart(marks)
    options = distinct((text[each.start : each.end] for each in offered), NONE)
    return Question((text,), instruction=WHICH, options=options, marks=marks)


def golds(row: Row) -> tuple[Choice, ...]:
    """A `referent` of null says none of them; a row without one has no right answer."""
    if "referent" not in row:
        return ()
    options, referent = ask(row).options, row["referent"]
    if referent is None:
        return (Choice(NONE),)
    place = place_of(referent)
    if place is None:
        raise DataError(f"'referent' holds the place of a candidate, counted from 0, or null, not {referent!r}")
    if not 0 <= place < len(options) - 1:
        raise DataError(f"'referent' {place} is not one of the {len(options) - 1} candidates, counted from 0")
    return (Choice(options[place]),)


def row_of(text: str, word: str, names: Sequence[str] = ()) -> dict[str, Any]:
    """A row that asks about the pronoun `word` in `text`, among `names` or, without any, the names found in the text.

    Of several such words the first that has a candidate before it is meant, else the first; a name is looked for
    likewise, case aside.

    Raises:
        DataError: the word or a name is not in the text, or no candidate is found.
    """
    places = _occurrences(text, word)
    if not places:
        raise DataError(f"pronoun {word!r} does not stand in the text")
    chosen: list[Place] = []
    for name in names:
        found = [each for each in _occurrences(text, name) if all(_apart(each, other) for other in chosen)]
        if not found:
            raise DataError(f"candidate {name!r} does not stand in the text")
        chosen.append(found[0])
    for place in places:
        known = [each for each in chosen or candidates(text, place) if _apart(each, place)]
        if any(end <= place[0] for _, end in known):
            return _row(text, place, known)
    known = [each for each in chosen or candidates(text, places[0]) if _apart(each, places[0])]
    if not known:
        raise DataError("no candidate is found in the text; name some with --options A,B")
    return _row(text, places[0], known)


def practice(lines: Iterable[str], random: Random) -> Iterator[Row]:
    """Rows from raw text: a mention of a name gives way to a pronoun, and which name it was is asked.

    Only a name that is told twice can be found again (WikiCREM, Kocijan et al. 2019); now and then one that is told
    once is hidden, and none of the others is it. The pronoun is drawn at random and half of the rows get other names
    and half the other gender, so that gender says nothing.
    """
    for passage in passages(lines, random, sentences=PASSAGE, longest=LONGEST):
        row = _hidden(passage, random)
        if row is not None:
            example = TASK.example(row)
            for swap in SWAPS.values():
                example = swap(example, random) if random.random() < 0.5 else example
            yield _of_example(example, row["referent"])


PASSAGE = (3, 5)  # sentences
LONGEST = 900  # characters; a longer passage is no snippet
ARTICLES = frozenset("the a an this that der die das den dem des ein eine le la les l un une el los las una".split())
ALONE = 0.1  # how often a name that is told once is hidden


def _hidden(text: str, random: Random) -> dict[str, Any] | None:
    """A row made of `text`, None where it names too few."""
    groups = named(text)
    people = [each for each in groups if person(text, each)]
    alone = random.random() < ALONE
    told = [each for each in people if (len(each) == 1) == alone]
    hidden = random.choice(told) if told else ()
    others = [each for each in groups if each != hidden]
    free = [each for each in hidden[0 if alone else 1 :] if _stands_alone(text, each)]
    if not free or not others:
        return None
    gone = random.choice(free)
    rivals = [each for each in others if each in people] or others
    wrong = random.sample(rivals, min(len(rivals), random.randint(1, 3)))
    marks = [_nearest(each, gone) for each in wrong]
    referent = None
    if not alone:
        right = _nearest([each for each in hidden if each != gone], gone)
        marks = sorted([*marks, right])
        referent = marks.index(right)
    word, end = _pronoun(text, gone, random)
    spans = Spans(tuple(Span(*each, str(at)) for at, each in enumerate(sorted(marks))))
    changed, moved = apply(text, [Edit(gone[0], end, word)], spans)
    where = changed.index(word, gone[0])
    return _row(changed, (where, where + len(word)), [(each.start, each.end) for each in moved.spans], referent)


def _stands_alone(text: str, place: Place) -> bool:
    """Whether a name is a phrase of its own, as a pronoun is: no article before it, and no word that it describes."""
    start, end = place
    language = language_of(text)
    forms = FORMS[language]
    before = re.findall(r"[\w-]+$", text[max(0, start - 30) : start].rstrip())
    after = re.match(r" ?([\w-]*)", text[end:])
    word = after[1] if after else ""
    verb = word in COMMON[language] or word in forms.verbs or (bool(forms.endings) and word.endswith(forms.endings))
    owning = text[end : end + 1] in ("'", "’") and text[end + 1 : end + 2] != "s"
    joined = owning or text[start - 1 : start] in ("-", "/", "(") or text[end : end + 1] in ("-", "/", ")")
    return not (joined or (word and not verb) or (before and before[-1].casefold() in ARTICLES))


def _nearest(mentions: Sequence[Place], place: Place) -> Place:
    before = [each for each in mentions if each[1] <= place[0]]
    return before[-1] if before else mentions[0]


def _pronoun(text: str, place: Place, random: Random) -> tuple[str, int]:
    """A pronoun for the name at `place`, and where what it replaces ends."""
    start, end = place
    forms = FORMS[language_of(text)]
    number = random.choices(range(len(forms.subject)), forms.shares)[0]
    if text[end : end + 2] in ("'s", "’s"):
        word, end = forms.possessive[number], end + 2
    else:
        before = re.findall(r"\w+", text[max(0, start - 30) : start])[-1:]
        word = (forms.object if before and before[0].casefold() in forms.governing else forms.subject)[number]
    opens = not text[:start].strip() or start in {_skip(text, at) for at in sentence_ends(text)}
    return (word[0].upper() + word[1:] if opens else word), end


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _of_example(example: Example[Choice], referent: int | None) -> Row:
    pronoun, *marks = example.question.marks
    return _row(
        example.question.text, (pronoun.start, pronoun.end), [(each.start, each.end) for each in marks], referent
    )


def _row(text: str, pronoun: Place, marks: Sequence[Place], *referent: int | None) -> dict[str, Any]:
    row: dict[str, Any] = {"text": text, "pronoun": list(pronoun), "candidates": [list(each) for each in sorted(marks)]}
    return {**row, "referent": referent[0]} if referent else row


def _apart(one: Place, two: Place) -> bool:
    return one[1] <= two[0] or two[1] <= one[0]


def _occurrences(text: str, form: str) -> list[Place]:
    """Where `form` stands in `text`, case aside, not inside a longer word unless its script has no blanks."""
    spots = words(text)
    starts, ends = {start for start, _ in spots}, {end for _, end in spots}
    found = re.finditer(re.escape(form), text, re.I) if form.strip() else ()
    return [each.span() for each in found if each.start() in starts and each.end() in ends]


def _listed(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


TASK = Task(
    name="pronoun",
    about="which of the marked candidates a pronoun stands for, or none of them",
    answer=Choice,
    columns=("text", "pronoun", "candidates"),
    ask=ask,
    golds=golds,
    metrics=PRONOUN,
    practice=practice,
    facets=(GENDER, STEREOTYPE),
    points=True,
    sample={
        "text": "Ada wrote to Grace because she admired the engine.",
        "pronoun": [27, 30],
        "candidates": [[0, 3], [13, 18]],
        "referent": 0,
    },
)
