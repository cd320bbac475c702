"""Questions made of raw text: a phrase of a sentence is asked for, and the passage around it holds the answer.

After Lewis et al. (2019), who hide a name or number of a sentence and put the sentence as a question by rules, and
Fabbri et al. (2020), who let another sentence than the one asked about hold the answer.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any

from lowrung.core.words import words
from lowrung.data.names import COMMON, named, passages, sentence_ends
from lowrung.data.phrases import ASKING, CHUNK, NAME, NUMBER, PLACE, PLACING, TIME, Phrase, language_in, phrases
from lowrung.data.swaps import person

SENTENCES = (3, 7)  # of a passage
MOST = 1200  # characters of a passage
SHARES = {NAME: 0.35, CHUNK: 0.35, NUMBER: 0.15, TIME: 0.15}  # how often each kind is asked for, where all are there
ELSEWHERE = 0.7  # how often the sentence asked about is left out, where another one holds the answer
UNANSWERABLE = 0.1  # how often it is left out though none does
LOST, SWAPPED, SHORTER = 0.1, 0.05, 0.5  # words that are left out, or change places; names told by their last word
WHOLE = 0.4  # how often the whole sentence is asked about, not the clause around the answer
FRONTED = 0.7  # how often the words that ask stand first, as in most questions
BLANK = "…"  # stands for the answer where a language's words for asking are not known
_BORDER = re.compile(r"[,;:()–—、，；：（）]|\s-\s")


def practice(lines: Iterable[str], random: Random) -> Iterator[dict[str, Any]]:
    """Rows with `text`, `question` and `answers`, without a label of anybody: one a passage at most."""
    for passage in passages(lines, random, sentences=SENTENCES, longest=MOST):
        row = _row(passage, random)
        if row is not None:
            yield row


def _row(passage: str, random: Random) -> dict[str, Any] | None:
    offered = [each for each in phrases(passage) if each.kind != CHUNK or _noun(passage, each)]
    kinds = [kind for kind in SHARES if any(each.kind == kind for each in offered)]
    if not kinds:
        return None
    kind = random.choices(kinds, [SHARES[each] for each in kinds])[0]
    hidden = _longer(passage, random.choice([each for each in offered if each.kind == kind]), offered, random)
    ends = [*sentence_ends(passage), len(passage)]
    number = bisect_right(ends, hidden.start)
    start, end = ends[number - 1] if number else 0, ends[number]
    question = asked(passage, hidden, (start, end), random)
    if question is None:
        return None
    said = passage[hidden.start : hidden.end]
    rest = f"{passage[:start].rstrip()} {passage[end:].lstrip()}".strip()
    again = _places(rest, said)
    left_out = random.random() < (ELSEWHERE if again and _about(rest, again, question) else UNANSWERABLE)
    if not left_out:
        return {"text": passage, "question": question, "answers": [{"text": said, "start": hidden.start}]}
    if not again and len(ends) < SENTENCES[0]:
        return None
    answers = [{"text": said, "start": min(again, key=lambda at: abs(at - start))}] if again else []
    return {"text": rest, "question": question, "answers": answers}


def asked(passage: str, hidden: Phrase, sentence: tuple[int, int], random: Random) -> str | None:
    """The sentence start..end of `passage` put as a question for `hidden`; None where too little else is said in it."""
    start, end = sentence
    language = language_in(passage)
    if random.random() >= WHOLE:
        start, end = _clause(passage, hidden, sentence)
    before, after = passage[start : hidden.start], passage[hidden.end : end]
    small = COMMON.get(language, frozenset[str]())
    if sum(_tells(form, small) for form in [*_forms(before), *_forms(after)]) < (3 if language == "zh" else 2):
        return None
    shorter = _shorter(passage) if random.random() < SHORTER else {}
    left, right = (_noisy(_forms(part), small, shorter, random) for part in (before, after))
    wh = _asking(passage, hidden, language, left)
    blank = "" if language == "zh" else " "
    if left and wh != BLANK and left[-1].casefold() in PLACING and hidden.kind in (TIME, NAME):
        left = left[:-1]  # «in» is part of «when» and «where»
    fronted = wh != BLANK and language != "zh" and random.random() < FRONTED
    told = [wh, *left, *right] if fronted else [*left, wh, *right]
    line = blank.join(told)
    return f"{line[0].upper()}{line[1:]}{'？' if language == 'zh' else '?'}"


def _asking(passage: str, hidden: Phrase, language: str, left: Sequence[str]) -> str:
    forms = ASKING.get(language)
    if forms is None:
        return BLANK
    kind = hidden.kind
    if kind == NAME:
        group = next((each for each in named(passage) if (hidden.start, hidden.end) in each), ())
        if left and left[-1].casefold() in PLACING:
            kind = PLACE
        elif not group or not person(passage, group):
            kind = CHUNK
    return forms[kind][0]


def _clause(passage: str, hidden: Phrase, sentence: tuple[int, int]) -> tuple[int, int]:
    """The piece between two borders around `hidden`, taken further to the left and the right while it is short."""
    start, end = sentence
    borders = [start, *(each.end() for each in _BORDER.finditer(passage, start, end) if each.end() < end), end]
    cuts = [at for at in borders if at <= hidden.start], [at for at in borders if at >= hidden.end]
    for left, right in zip((1, 2, 2), (1, 1, 2), strict=True):
        begin, stop = cuts[0][max(-left, -len(cuts[0]))], cuts[1][min(right, len(cuts[1])) - 1]
        if len(_forms(passage[begin:stop])) >= SHORT:
            break
    return begin, stop


SHORT = 6  # words that a clause has at least, if its sentence has them


def _noisy(forms: list[str], small: frozenset[str], shorter: dict[str, str], random: Random) -> list[str]:
    if not small:  # where no small words are known, what is a word is not either
        return forms
    kept = [form for form in forms if form not in shorter and random.random() >= LOST]
    for at in range(len(kept) - 1):
        if random.random() < SWAPPED:
            kept[at : at + 2] = kept[at + 1], kept[at]
    return [form.lower() if at == 0 and form.casefold() in small else form for at, form in enumerate(kept)]


def _shorter(passage: str) -> dict[str, str]:
    """The words of names of several words that are left out where the last one stands for all of them."""
    spots = [passage[start:end].split() for mentions in named(passage) for start, end in mentions]
    return {form: parts[-1] for parts in spots if 1 < len(parts) < 4 for form in parts[:-1]}


def _forms(text: str) -> list[str]:
    """The words of `text` with what hangs on them: «Lincoln's», «well-known», «U.S»."""
    joined: list[tuple[int, int]] = []
    for start, end in words(text):
        if not text[start].isalnum():
            continue
        if joined and joined[-1][1] == start - 1 and text[start - 1] in "'’-.":
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return [text[start:end] for start, end in joined]


def _noun(passage: str, chunk: Phrase) -> bool:
    """Whether a chunk stands as nouns do: after a small word, before another or a mark, and with no ending of verbs."""
    language = language_in(passage)
    if language == "zh":
        return True
    small, ending = COMMON.get(language, frozenset[str]()), ("ed", "ing", "ly") if language == "en" else ()
    before = re.search(r"(\w+) $", passage[max(0, chunk.start - 20) : chunk.start])
    after = re.match(r" (\w+)", passage[chunk.end : chunk.end + 20])
    verb = any(form.endswith(ending) for form in passage[chunk.start : chunk.end].split()) if ending else False
    return bool(before) and before[1].casefold() in small and not verb and (not after or after[1].casefold() in small)  # type: ignore[index]


def _longer(passage: str, hidden: Phrase, offered: Sequence[Phrase], random: Random) -> Phrase:
    """Now and then with the article before it, or as far as the next phrase where a single small word lies between."""
    start, end, kind = hidden
    if kind in (CHUNK, NAME) and random.random() < LINKED:
        later = next((each for each in offered if each.start > end), None)
        if later and later.kind in (CHUNK, NAME) and re.fullmatch(r" \w{1,3} (?:the )?", passage[end : later.start]):
            end = later.end
    article = re.search(r"\b(?:the|a|an) $", passage[max(0, start - 5) : start], re.IGNORECASE)
    if article and random.random() < WITH_ARTICLE:
        start -= len(article[0])
    return Phrase(start, end, kind)


LINKED, WITH_ARTICLE = 0.25, 0.4


def _tells(form: str, small: frozenset[str]) -> bool:
    return form.casefold() not in small


def _places(text: str, said: str) -> list[int]:
    """Where `said` stands in `text`, not inside a longer word."""
    edge = r"(?<!\w){}(?!\w)" if said[0].isascii() or said[0].islower() else "{}"
    return [each.start() for each in re.finditer(edge.format(re.escape(said)), text)]


def _about(text: str, places: Sequence[int], question: str) -> bool:
    """Whether a sentence around one of `places` shares two telling words with the question."""
    small = COMMON.get(language_in(text), frozenset[str]())
    wanted = {form.casefold() for form in _forms(question) if _tells(form, small)}
    ends = [0, *sentence_ends(text), len(text)]
    for at in places:
        number = bisect_right(ends, at)
        found = {form.casefold() for form in _forms(text[ends[number - 1] : ends[min(number, len(ends) - 1)]])}
        if len(found & wanted) >= SHARED:
            return True
    return False


SHARED = 2
