"""Where names and sentences lie in a text, by rules that need no model: a name is a run of capitalised words.

A script without capitals has no names here; whoever knows them marks them. Words that are no names though capitalised
are data, a language at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from random import Random

from lowrung.core.words import words

Place = tuple[int, int]  # start and end, in characters

# a full stop behind a single letter is an initial, not an end
_END = re.compile(r"(?<!\b[^\W\d_])[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？]+[」』”’]*|\n+|[।؟۔]+")
_JOINED = re.compile(r" |-|'|’")  # between two words of one name
PARTICLES = frozenset("de la las los del van von der den bin ibn al el di da du dos le zu ten y e".split())
COMMON = {  # language → words that open sentences or are always capitalised, and are no names
    "en": frozenset(
        """a about above according after afterwards again all almost already also although always among an and another
        any are as at away back be because become been before being below between both but by can could did do does
        during each early eight either even eventually every few finally first five following for four from had has
        have he hello hence her here hers herself him himself his how however i if in indeed initially instead into is
        it its itself just later less like many may maybe me meanwhile might mine more moreover most much must my near
        nearly neither never nevertheless next nine no none nor not nothing now of off often oh on once one only or
        originally other others our ours out over perhaps please previously quite rather recently same second
        seven several shall she should shortly similarly since six so some sometimes soon still subsequently such ten
        than that the their theirs them themselves then there thereafter therefore these they thing third this those
        though three through throughout thus to together too two under unfortunately unlike until up upon us very was
        we were what when where whereas whether which while who whom whose why will with within without would yes yet
        you your yours mr mrs ms miss dr sir lord lady king queen prince princess president professor captain
        general colonel monday tuesday wednesday thursday friday saturday sunday january february march april may june
        july august september october november december""".split()
    ),
    "de": frozenset(
        """aber als am an auch auf aus bei beim bis da damals danach dann das dass dem den der des deshalb die dies
        diese dieser doch dort ein eine einem einen einer er es für hier ich ihm ihn ihr ihre im in ist ja jedoch kein
        man mein mit nach nachdem nicht noch nun nur oder ob obwohl schon sein seine seit sie sind so später und unter
        vom von vor war warum was weil wenn wer wie wir wo zu zum zur zwei herr frau""".split()
    ),
    "fr": frozenset(
        """à après au aussi aux avant avec bien c ce cependant ces cet cette comme d dans de depuis des donc du elle
        elles en enfin ensuite est et eux il ils j je l la le les leur lors lorsque lui mais mon n ne nous on or ou
        où par pendant plus pour puis qu quand que qui sa sans se selon ses si son sous sur ton tous tout très un une
        vous y monsieur madame""".split()
    ),
    "es": frozenset(
        """a al algunos allí ante antes aquí así aunque cada como con cuando de del desde después donde durante e el él
        ella ellas ellos en entonces era es esa ese esta este estos fue ha hasta hay la las le les lo los luego más
        mi mientras muy no nos o para pero por porque pues que quien se según ser si sin sobre su sus también tras
        tu un una y ya yo señor señora don doña""".split()
    ),
}
_NEVER = frozenset().union(*COMMON.values())


def sentence_ends(text: str) -> list[int]:
    """Where sentences end, in characters, ascending; the end of the text is not among them."""
    return [found.end() for found in _END.finditer(text) if found.end() < len(text)]


def passages(lines: Iterable[str], random: Random, *, sentences: tuple[int, int], longest: int) -> Iterator[str]:
    """Neighbouring sentences, of long lines a few, of short lines several lines; an empty line is a border.

    Args:
        sentences: how many at least and at most, drawn anew each time. longest: characters; longer ones are left out.
    """
    held = ""
    for line in lines:
        line = " ".join(line.split())
        held = f"{held} {line}".strip() if line else ""
        ends = [*sentence_ends(held), len(held)]
        while len(ends) >= sentences[0]:
            taken = min(len(ends), random.randint(*sentences))
            passage, held = held[: ends[taken - 1]], held[ends[taken - 1] :].lstrip()
            ends = [*sentence_ends(held), len(held)] if held else []
            if len(passage) <= longest:
                yield passage


def language_of(text: str) -> str:
    """The language of `COMMON` that has most words of `text`; "en" where none has any."""
    forms = [text[start:end].casefold() for start, end in words(text)]
    return max(COMMON, key=lambda language: sum(form in COMMON[language] for form in forms))


@lru_cache(maxsize=256)
def named(text: str) -> tuple[tuple[Place, ...], ...]:
    """The names in `text`, each with the places of all its mentions, in reading order.

    A mention by the first or the last word of a longer name («Ada», «Lovelace») is one of that name.
    """
    groups: list[tuple[list[str], list[Place]]] = []  # its longest form in words, its mentions
    found = _runs(text)
    for start, end in sorted(found, key=lambda place: (-len(words(text[slice(*place)])), place)):
        form = [text[start:end][left:right] for left, right in words(text[start:end])]
        form = [each for each in form if each[0].isalnum()]
        own = (each for each in groups if each[0] == form or (len(form) == 1 and form[0] in (each[0][0], each[0][-1])))
        group = next(own, None)
        if group is None:
            group = (form, [])
            groups.append(group)
        group[1].append((start, end))
    return tuple(sorted(tuple(sorted(places)) for _, places in groups))


def candidates(text: str, pronoun: Place) -> list[Place]:
    """Who the pronoun at `pronoun` may stand for: of each name the mention last before it, else the first after.

    -> in reading order; [] where the rule finds no name, as in a script without capitals.
    """
    chosen = []
    for mentions in named(text):
        apart = [each for each in mentions if each[1] <= pronoun[0] or each[0] >= pronoun[1]]
        before = [each for each in apart if each[1] <= pronoun[0]]
        if apart:
            chosen.append(before[-1] if before else apart[0])
    return sorted(chosen)


def distinct(names: Iterable[str], last: str) -> tuple[str, ...]:
    """Options in words that all differ, `last` at the end: a name that repeats has its number behind it."""
    taken, made = {last}, []
    for name in names:
        form = " ".join(name.split())
        option, number = form, 2
        while option in taken:
            option, number = f"{form} ({number})", number + 1
        taken.add(option)
        made.append(option)
    return (*made, last)


def _runs(text: str) -> list[Place]:
    """Runs of capitalised words that are names, as far as capitals tell."""
    spots = words(text)
    small = {text[start:end] for start, end in spots if text[start].islower()}
    begins = [0, *sentence_ends(text)]
    runs: list[list[Place]] = []
    held: list[Place] = []  # particles that belong to a name if one goes on behind them
    for start, end in spots:
        last = (held or runs[-1])[-1] if runs else (0, 0)
        gap = text[last[1] : start]
        joined = bool(runs) and (_JOINED.fullmatch(gap) is not None or (last[1] - last[0] == 1 and gap in (". ", ".")))
        if text[start].isupper():
            if joined:
                runs[-1] += [*held, (start, end)]
            else:
                runs.append([(start, end)])
            held = []
        elif joined and text[start:end] in PARTICLES and text[start - 1] == " ":
            held.append((start, end))
        else:
            held = []
    openings = {next((start for start, _ in spots if start >= at), -1) for at in begins}
    return [place for run in runs if (place := _trimmed(text, run, small, openings))]


def _trimmed(text: str, run: list[Place], small: set[str], openings: set[int]) -> Place | None:
    """`run` without the words at its front that are capitalised for another reason; None where nothing is left."""
    while run:
        form = text[slice(*run[0])]
        opens = run[0][0] in openings and form.casefold() in small
        initial = len(form) == 1 and text[run[0][1] : run[0][1] + 1] == "."
        if initial or (form.casefold() not in _NEVER and not opens):
            break
        run = run[1:]
    if not run or all(len(text[slice(*each)]) == 1 for each in run):
        return None
    whole = text[run[0][0] : run[-1][1]]
    return None if whole.isupper() and len(run) == 1 else (run[0][0], run[-1][1])  # an abbreviation is no name
