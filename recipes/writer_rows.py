"""What recipes.writer_en asks, in the product's own wording: rows that raw text answers by itself, without labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from lowrung.core.answers import Answer, Choice, Span, Spans, Text
from lowrung.core.parts import Question
from lowrung.core.words import words
from lowrung.data.letter_items import KINDS as ITEMS
from lowrung.data.letter_items import Item
from lowrung.data.names import named, sentence_ends
from lowrung.data.noise import Noise
from lowrung.tasks import task

TOPIC, SPELLING, ENTITIES = (task(name).about for name in ("topic", "spelling", "entities"))
GAP = "___"
PLAIN = re.compile(r"[a-z]{4,9}")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
SORTS = {  # file → what its texts are called
    "enwiki2015_core": "encyclopedia",
    "enwikinews": "news",
    "gutenberg_misc": "book",
    "masc_sentences": "",
    "commonvoice_sentences_en": "",
    "sgd_dialogues": "conversation",
}
NAMES = ("NAME", "ENTITY", "NAM", "PROPER")


@dataclass(frozen=True)
class Row:
    """A question, its right answer, and which of `KINDS` it is."""

    kind: str
    question: Question
    answer: Answer


@dataclass(frozen=True)
class Source:
    """Lines of one document, the file it is of, and the small words that occur in it."""

    lines: Sequence[str]
    file: str
    small: Sequence[str]

    @classmethod
    def of(cls, lines: Sequence[str], file: str) -> Source:
        kept = [each for line in lines if len(each := line.strip()) > 20]
        return cls(kept, file, sorted({word for line in kept[:20] for word in PLAIN.findall(line)}))


Maker = Callable[[str, Source, Random], tuple[Question, Answer] | None]


def stretch(line: str, random: Random, longest: int) -> str:
    """Whole words of a line, from the start of a sentence where there is one."""
    begins = [0, *(end for end in sentence_ends(line) if end < len(line) - 20)]
    begin = random.choice(begins)
    part = line[begin : begin + random.randint(longest // 4, longest)].strip()
    if begin + len(part) < len(line) and " " in part:
        part = part.rpartition(" ")[0]
    return part


def _copy(text: str, _: Source, random: Random) -> tuple[Question, Answer]:
    told = random.choice(("copy the text", "repeat the text letter by letter", "say the text again"))
    return Question((text,), told), Text(text)


class Mend:
    def __init__(self, made: Noise, shares: Sequence[float]) -> None:
        self.made, self.shares = made, shares

    def __call__(self, text: str, _: Source, random: Random) -> tuple[Question, Answer]:
        damaged, _edits = self.made.damaged(text, random, random.choice(self.shares))
        told = random.choice((SPELLING, SPELLING, "mend the misspelt words"))
        return Question((damaged,), told), Text(text)


def _continue(text: str, _: Source, random: Random) -> tuple[Question, Answer] | None:
    places = words(text)
    if len(places) < 12:
        return None
    cut = places[random.randint(len(places) // 2, len(places) - 4)][0]
    return Question((text[:cut].rstrip(),), "continue the text"), Text(text[cut:])


def _gap(text: str, source: Source, random: Random) -> tuple[Question, Answer] | None:
    places = list(PLAIN.finditer(text))
    if not places or len(source.small) < 8:
        return None
    place = random.choice(places)
    right = place[0]
    others = [word for word in random.sample(source.small, random.randint(1, 4)) if word != right]
    if not others:
        return None
    options = random.sample([right, *others], len(others) + 1)
    holed = text[: place.start()] + GAP + text[place.end() :]
    return Question((holed,), f"which word stands in the place of {GAP}?", tuple(options)), Choice(right)


def _occurs(text: str, source: Source, random: Random) -> tuple[Question, Answer] | None:
    inside = sorted(set(PLAIN.findall(text)))
    outside = [word for word in source.small if word not in text]
    if not inside or len(outside) < 4:
        return None
    right = random.choice(inside)
    options = [right, *random.sample(outside, random.randint(1, 3))]
    random.shuffle(options)
    return Question((text,), "which of the words occurs in the text?", tuple(options)), Choice(right)


def _follows(text: str, source: Source, random: Random) -> tuple[Question, Answer] | None:
    places = words(text)
    if len(places) < 16:
        return None
    cut = places[random.randint(len(places) // 2, len(places) - 6)][0]
    right = text[cut : places[-1][1]][:60].strip()
    others = [stretch(random.choice(source.lines), random, 70)[-len(right) :].strip() for _ in range(2)]
    options = list(dict.fromkeys([right, *(each for each in others if each)]))
    if len(options) < 2:
        return None
    random.shuffle(options)
    return Question((text[:cut].rstrip(),), "how does the text go on?", tuple(options)), Choice(right)


def _sort(text: str, source: Source, random: Random) -> tuple[Question, Answer] | None:
    if not SORTS.get(source.file):
        return None
    options = sorted({each for each in SORTS.values() if each})
    random.shuffle(options)
    told = random.choice((TOPIC, "which kind of text is it?"))
    return Question((text,), told, tuple(options)), Choice(SORTS[source.file])


def _marks(text: str, _: Source, random: Random) -> tuple[Question, Answer] | None:
    """Names, numbers, one word, or words that begin with a letter: one or two of these at once."""
    spots = words(text)
    if not spots:
        return None
    word = text[slice(*random.choice(spots))]
    first = random.choice(text[random.choice(spots)[0]].lower())
    name, begins = random.choice(NAMES), f"WITH_{first.upper()}"
    sorts: Mapping[str, tuple[str, list[tuple[int, int]]]] = {
        name: ("names", [place for group in named(text) for place in group]),
        "NUMBER": ("numbers", [found.span() for found in NUMBER.finditer(text)]),
        "WORD": (f"the word {word}", [spot for spot in spots if text[slice(*spot)] == word]),
        begins: (f"words that begin with {first}", [spot for spot in spots if text[spot[0]].lower() == first]),
    }
    chosen = random.sample(sorted(sorts), random.choice((1, 1, 2)))
    if random.random() < 0.5:
        chosen = [name, *(each for each in chosen[1:] if each != name)]
    spans, taken = list[Span](), set[int]()
    for label in chosen:
        for start, end in sorts[label][1]:
            if start < end and not taken & set(range(start, end)):
                spans.append(Span(start, end, label))
                taken |= set(range(start, end))
    told = f"mark {' and '.join(sorts[label][0] for label in chosen)} in the text"
    if chosen == [name] and random.random() < 0.5:
        told = ENTITIES
    meanings = tuple(sorts[label][0] for label in chosen) if random.random() < 0.5 else ()
    return Question((text,), told, tuple(chosen), meanings), Spans(tuple(spans))


def _letters(_: str, source: Source, random: Random) -> tuple[Question, Answer] | None:
    if len(source.small) < 8:
        return None
    word = random.choice(source.small)
    if random.random() < 0.3:
        return random.choice(
            (
                (Question((word,), "write the letters of the word, with blanks between them"), Text(" ".join(word))),
                (Question((word,), "write the word backwards"), Text(word[::-1])),
                (Question((" ".join(word),), "write the letters together as a word"), Text(word)),
            )
        )
    kind = random.choice([each for each in ITEMS if each.name in ASKED])
    made = kind.make(word, source.small, random)
    return ASKED[kind.name](made) if made else None


def _letter(at: int) -> str:
    return chr(ord("a") + at)


def _said(told: str, of: Callable[[Item], str]) -> Callable[[Item], tuple[Question, Answer]]:
    return lambda item: (Question(item.words, told), Text(of(item)))


def _yes(told: Callable[[Item], str]) -> Callable[[Item], tuple[Question, Answer]]:
    return lambda item: (Question(item.words, told(item), ("yes", "no")), Choice("yes" if item.answer[0] else "no"))


ASKED: Mapping[str, Callable[[Item], tuple[Question, Answer]]] = {
    "spell": lambda item: (
        Question(item.words, f"which letter stands in place {item.asked + 1} of the word?"),
        Text(_letter(item.answer[0])),
    ),
    "first": _said("what is the first letter of the word?", lambda item: _letter(item.answer[0])),
    "last": _said("what is the last letter of the word?", lambda item: _letter(item.answer[0])),
    "length": _said("how many letters has the word?", lambda item: str(len(item.words[0]))),
    "insert": _said("which letter was put into the first word?", lambda item: _letter(item.answer[0])),
    "delete": _said("which letter was left out of the first word?", lambda item: _letter(item.answer[0])),
    "contains": _yes(lambda item: f"is the letter {_letter(item.asked)} in the word?"),
    "rhyme": _yes(lambda _: "do the two words end in the same three letters?"),
    "order": _yes(lambda _: "is the first word before the second in the alphabet?"),
}


def makers(made: Noise, shares: Sequence[float]) -> dict[str, tuple[float, Maker]]:
    """Kind → how often it is drawn, and what makes it."""
    return {
        "copy": (2.0, _copy),
        "mend": (4.0, Mend(made, shares)),
        "continue": (1.0, _continue),
        "gap": (2.0, _gap),
        "occurs": (1.0, _occurs),
        "follows": (1.0, _follows),
        "sort": (1.0, _sort),
        "marks": (4.0, _marks),
        "letters": (3.0, _letters),
    }


def row(sources: Sequence[Source], kinds: Mapping[str, tuple[float, Maker]], random: Random, longest: int) -> Row:
    """One row of a kind and a document that are drawn."""
    while True:
        name = random.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
        source = random.choice(sources)
        text = stretch(random.choice(source.lines), random, longest) if source.lines else ""
        found = kinds[name][1](text, source, random) if len(words(text)) >= 4 else None
        if found:
            return Row(name, *found)
