"""What can be asked of numbers, words in a row and pairs of sentences; any item as a prompt with its exact answer.

The words of a language, its nouns and the frames that want one form of a word, are data: probe-en.json is English.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Any

from lowrung.core.errors import DataError
from lowrung.data.letter_items import KINDS, Item, Kind

HOME = Path(__file__).parent
NUMBERS = (10, 10_000)  # drawn by their digits
LONG = (3, 7)  # words in a row


@cache
def language(name: str) -> Mapping[str, Any]:
    """What probe-<name>.json holds.

    Raises:
        DataError: there is none.
    """
    file = HOME / f"probe-{name}.json"
    if not file.is_file():
        raise DataError(f"{name}: nothing can be asked in this language; there is no {file.name}")
    found: Mapping[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def _larger(one: str, others: Sequence[str], random: Random) -> Item | None:
    alike = [each for each in others if len(each) == len(one) and each != one]
    if not alike:
        return None
    other = random.choice(alike)
    return Item((one, other), 0, (int(int(one) > int(other)),))


def _grammar(told: Mapping[str, Any]) -> Callable[[str, Sequence[str], Random], Item]:
    def make(noun: str, nouns: Sequence[str], random: Random) -> Item:
        frame, *forms = random.choice(told["frames"])
        number = random.randrange(2)
        subject, other = noun.split("|")[number], random.choice(nouns).split("|")[1 - number]
        made = [frame.format(subject=subject, other=other, form=form) for form in forms]
        made = [each[0].upper() + each[1:] for each in made]
        first = random.randrange(2)  # which form stands first
        return Item((made[first], made[1 - first]), 0, (int(first == number),))

    return make


def text_kinds(name: str) -> tuple[Kind, ...]:
    """Kinds that are made of other lists than of words: see `sources`."""
    return (
        Kind("larger", "which of two numbers of as many digits is larger", 1, (2,), _larger),
        Kind("grammar", "which of two sentences has the right form of a word", 1, (2,), _grammar(language(name))),
    )


def sources(kind: str, name: str, numbers: Sequence[int], random: Random) -> list[list[str]]:
    """Lists to make a kind of `text_kinds` of, so many each; no two hold the same number or noun.

    Raises:
        DataError: there are too few numbers.
    """
    if kind == "larger":
        known = range(*NUMBERS)
        if sum(numbers) > len(known):
            raise DataError(f"{sum(numbers):,} numbers are too many: there are {len(known):,}; ask for fewer")
        every = list(map(str, random.sample(known, sum(numbers))))
    else:
        every = ["|".join(each) for each in language(name)["nouns"]]
        random.shuffle(every)
    made, begin = [], 0
    for number in numbers:
        part = every[begin : begin + max(2, len(every) * number // sum(numbers))]
        begin += len(part)
        made.append((part * (number // len(part) + 1))[:number])
    return made


def _row(words: Sequence[str], random: Random) -> dict[str, Any]:
    chosen = random.sample(list(words), random.randint(*LONG))
    at = random.randrange(len(chosen) - 1)
    swapped = [*chosen[:at], chosen[at + 1], chosen[at], *chosen[at + 2 :]]
    told = {"text": " ".join(chosen), "size": len(chosen), "place": at + 1, "next": at + 2, "chosen": chosen[at]}
    return told | {"swapped": " ".join(swapped), "without": " ".join(chosen[:at] + chosen[at + 1 :])}


def _sum(_: Sequence[str], random: Random) -> dict[str, Any]:
    one, two = random.randrange(1, 100), random.randrange(1, 100)
    return {"one": one, "two": two, "sum": one + two}


ROWS: Mapping[str, tuple[str, Callable[[Sequence[str], Random], dict[str, Any]]]] = {
    "add": ("two numbers below 100 added", _sum),
    "copy": ("3 to 7 words copied", _row),
    "words": ("how many words there are", _row),
    "swap words": ("two neighbouring words swapped", _row),
    "delete word": ("a word taken out", _row),
}


def about(name: str) -> dict[str, str]:
    """Every kind and what it asks, for people."""
    return {kind.name: kind.about for kind in (*KINDS, *text_kinds(name))} | {
        **{each: told for each, (told, _) in ROWS.items()},
        "noise": "how much of a text's vector stays when 3 in 10 words are misspelt",
    }


def in_words(kind: str, item: Item, told: Mapping[str, Any]) -> tuple[str, str]:
    """An item as a question and its answer; of a change, the answer is the new spelling."""
    word, other = item.words[0], item.words[-1]
    fields: dict[str, Any] = {"word": word, "other": other, "spelt": " ".join(word), "size": len(word)}
    fields |= {"first": word[0], "last": word[-1], "number": item.answer[0], "side": 2 - item.answer[0]}
    fields |= {"truth": told["yes" if item.answer[0] else "no"], "chosen": word if item.answer[0] else other}
    place = item.answer[-1]
    fields |= {"place": place + 1, "next": place + 2}
    letter = item.asked if kind in ("contains", "count") else item.answer[0]
    fields["letter"] = ascii_lowercase[letter % len(ascii_lowercase)]
    fields["often"] = word.count(fields["letter"])
    ask, answer = told["prompts"][kind]
    return ask.format(**fields), answer.format(**fields)


def row_in_words(kind: str, words: Sequence[str], random: Random, told: Mapping[str, Any]) -> tuple[str, str]:
    """A question of a kind of `ROWS` and its answer."""
    fields = ROWS[kind][1](words, random)
    ask, answer = told["prompts"][kind]
    return ask.format(**fields), answer.format(**fields)


def prompted(shots: Sequence[tuple[str, str]], ask: str, told: Mapping[str, Any]) -> str:
    """A question after some that are answered."""
    asked, answered = told["question"], told["answer"]
    return "\n\n".join([f"{asked}{one}\n{answered}{two}" for one, two in shots] + [f"{asked}{ask}\n{answered.strip()}"])
