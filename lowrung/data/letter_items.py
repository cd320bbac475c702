"""What can be asked of the letters of words: items made from a list of words by a seed, with exact answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_lowercase

from rapidfuzz.distance import Levenshtein

from lowrung.core.errors import DataError

SHORTEST, LONGEST = 4, 9  # letters of a word
OPENING = 4  # letters that no word of one side shares with one of the other: walk and walked are on the same side
ENDING = 3  # letters that two words end in alike to rhyme, by spelling alone
PLACES = LONGEST + 1  # where a letter may be put in
TRIES = 200


@dataclass(frozen=True, slots=True)
class Item:
    """One question about one or two words.

    Args:
        words: (word,) or (word, the other or the changed word).
        asked: which of the kind's `asks` is put.
        answer: one number a part of the kind's `sizes`; right is who has all of them.
    """

    words: tuple[str, ...]
    asked: int
    answer: tuple[int, ...]


Make = Callable[[str, Sequence[str], Random], Item | None]
Edited = Iterator[tuple[tuple[int, ...], str]]  # an answer, and what the word then is


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of question.

    Args:
        name: as in tables. about: one line for people.
        asks: how many questions there are of a word: a place, a letter; 1 where there is nothing to choose.
        sizes: how many answers each part of the answer has.
        make: (word, all words of its side, random) -> an item, or None where the word allows none.
        follows: (words as they are spelt, asked) -> the answer. Of a kind that asks for the change between two words it
            lacks, and `edits` gives of a word all answers and what it then is.
    """

    name: str
    about: str
    asks: int
    sizes: tuple[int, ...]
    make: Make
    follows: Callable[[Sequence[str], int], tuple[int, ...]] | None = None
    edits: Callable[[str], Edited] | None = None


def sides(words: Iterable[str], numbers: Sequence[int], random: Random) -> list[list[str]]:
    """Draws of so many words of a-z each, of 4 to 9 letters; no two draws hold words that open alike.

    Raises:
        DataError: there are too few words.
    """
    groups: dict[str, list[str]] = {}
    for word in dict.fromkeys(words):
        if SHORTEST <= len(word) <= LONGEST and set(word) <= set(ascii_lowercase):
            groups.setdefault(word[:OPENING], []).append(word)
    openings = sorted(groups)
    random.shuffle(openings)
    made = []
    for number in numbers:
        side: list[str] = []
        while len(side) < number:
            if not openings:
                total = sum(map(len, groups.values()))
                raise DataError(f"{sum(numbers):,} words are too many: the list has {total:,} that fit; ask for fewer")
            side += groups[openings.pop()]
        random.shuffle(side)
        made.append(side[:number])
    return made


def items(kind: Kind, words: Sequence[str], random: Random) -> list[Item]:
    """One item a word, in order; a word that allows none is left out, and so is one that a change turns into another
    of `words`."""
    known = frozenset(words) if kind.name in CHANGED else frozenset()
    made = (kind.make(word, words, random) for word in words)
    return [each for each in made if each and (each.words[-1] not in known or len(set(each.words)) == 1)]


def _place(letter: str) -> int:
    return ascii_lowercase.index(letter)


def _spell(word: str, _: Sequence[str], random: Random) -> Item:
    at = random.randrange(len(word))
    return Item((word,), at, (_place(word[at]),))


def _end(at: int) -> Make:
    return lambda word, _, __: Item((word,), 0, (_place(word[at]),))


def _absent(word: str, words: Sequence[str], random: Random) -> str:
    """A letter that the word lacks, as common as those it has: it is taken from another word."""
    found = [letter for letter in random.choice(words) if letter not in word]
    return random.choice(found or [letter for letter in ascii_lowercase if letter not in word])


def _contains(word: str, words: Sequence[str], random: Random) -> Item:
    there = random.random() < 0.5
    letter = random.choice(word) if there else _absent(word, words, random)
    return Item((word,), _place(letter), (int(there),))


def _count(word: str, words: Sequence[str], random: Random) -> Item:
    often = random.randrange(3)
    found = [letter for letter in word if min(word.count(letter), 2) == often]
    letter = random.choice(found) if found else _absent(word, words, random)
    return Item((word,), _place(letter), (min(word.count(letter), 2),))


def _length(word: str, _: Sequence[str], __: Random) -> Item:
    return Item((word,), 0, (len(word) - SHORTEST,))


def _insert(word: str, _: Sequence[str], random: Random) -> Item:
    at = random.randrange(len(word) + 1)
    beside = word[max(at - 1, 0) : at + 1]  # beside its twin a letter's place could not be told
    letter = random.choice([each for each in ascii_lowercase if each not in beside])
    return Item((word, word[:at] + letter + word[at:]), 0, (_place(letter), at))


def _delete(word: str, _: Sequence[str], random: Random) -> Item | None:
    alone = [at for at, each in enumerate(word) if each not in word[max(at - 1, 0) : at] + word[at + 1 : at + 2]]
    if not alone:
        return None
    at = random.choice(alone)
    return Item((word, word[:at] + word[at + 1 :]), 0, (_place(word[at]), at))


def _swap(word: str, _: Sequence[str], random: Random) -> Item | None:
    apart = [at for at in range(len(word) - 1) if word[at] != word[at + 1]]
    if not apart:
        return None
    at = random.choice(apart)
    return Item((word, word[:at] + word[at + 1] + word[at] + word[at + 2 :]), 0, (at,))


def _substitute(word: str, _: Sequence[str], random: Random) -> Item:
    at = random.randrange(len(word))
    letter = random.choice(ascii_lowercase.replace(word[at], ""))
    return Item((word, word[:at] + letter + word[at + 1 :]), 0, (_place(letter), at))


def _rhyme(word: str, words: Sequence[str], random: Random) -> Item | None:
    alike = [other for other in words if other != word and other.endswith(word[-ENDING:])]
    if not alike:
        return None
    wanted = random.random() < 0.5
    other = random.choice(alike if wanted else words)
    while not wanted and other.endswith(word[-ENDING:]) and len(alike) + 1 < len(words):
        other = random.choice(words)
    return Item((word, other), 0, (int(other.endswith(word[-ENDING:]) and other != word),))


def _order(word: str, words: Sequence[str], random: Random) -> Item | None:
    other = random.choice(words)
    return Item((word, other), 0, (int(word < other),)) if word != other else None


def _distance(word: str, words: Sequence[str], random: Random) -> Item | None:
    wanted = random.randrange(4)
    for _ in range(TRIES):
        changed = word
        for _ in range(wanted):
            done = random.choice((_insert, _delete, _substitute))(changed, words, random)
            changed = done.words[1] if done else changed
        if Levenshtein.distance(word, changed) == wanted:
            return Item((word, changed), 0, (wanted,))
    return None


def _edits_insert(word: str) -> Edited:
    for at in range(len(word) + 1):
        yield from (((_place(each), at), word[:at] + each + word[at:]) for each in ascii_lowercase)


def _edits_delete(word: str) -> Edited:
    yield from (((_place(each), at), word[:at] + word[at + 1 :]) for at, each in enumerate(word))


def _edits_swap(word: str) -> Edited:
    yield from (((at,), word[:at] + word[at + 1] + word[at] + word[at + 2 :]) for at in range(len(word) - 1))


def _edits_substitute(word: str) -> Edited:
    for at in range(len(word)):
        yield from (((_place(each), at), word[:at] + each + word[at + 1 :]) for each in ascii_lowercase)


def _letter_at(words: Sequence[str], at: int) -> tuple[int, ...]:
    return (_place(words[0][min(at, len(words[0]) - 1)]),)


def _often(words: Sequence[str], letter: int, most: int) -> tuple[int, ...]:
    return (min(words[0].count(ascii_lowercase[letter]), most),)


def _long(words: Sequence[str], _: int) -> tuple[int, ...]:
    return (min(max(len(words[0]), SHORTEST), LONGEST) - SHORTEST,)


_ALL = len(ascii_lowercase)
KINDS = (
    Kind("spell", "the letter at a place", LONGEST, (_ALL,), _spell, _letter_at),
    Kind("first", "the first letter", 1, (_ALL,), _end(0), lambda words, _: _letter_at(words, 0)),
    Kind("last", "the last letter", 1, (_ALL,), _end(-1), lambda words, _: _letter_at(words, LONGEST)),
    Kind("contains", "whether a letter is in the word", _ALL, (2,), _contains, lambda words, at: _often(words, at, 1)),
    Kind("count", "how often: never, once, more", _ALL, (3,), _count, lambda words, at: _often(words, at, 2)),
    Kind("length", "how many letters", 1, (LONGEST - SHORTEST + 1,), _length, _long),
    Kind("insert", "which letter was put in, and where", 1, (_ALL, PLACES), _insert, edits=_edits_insert),
    Kind("delete", "which letter was left out, and where", 1, (_ALL, LONGEST), _delete, edits=_edits_delete),
    Kind("swap", "where two neighbours were swapped", 1, (LONGEST - 1,), _swap, edits=_edits_swap),
    Kind(
        "substitute",
        "which letter was put in another's place, and where",
        1,
        (_ALL, LONGEST),
        _substitute,
        edits=_edits_substitute,
    ),
    Kind(
        "rhyme",
        f"whether two words end in the same {ENDING} letters",
        1,
        (2,),
        _rhyme,
        lambda words, _: (int(words[0][-ENDING:] == words[1][-ENDING:]),),
    ),
    Kind(
        "order",
        "which of two words is first in the alphabet",
        1,
        (2,),
        _order,
        lambda words, _: (int(words[0] < words[1]),),
    ),
    Kind(
        "distance",
        "how many edits apart, 0 to 3",
        1,
        (4,),
        _distance,
        lambda words, _: (min(Levenshtein.distance(*words), 3),),
    ),
)
CHANGED = frozenset(("insert", "delete", "swap", "substitute", "distance"))  # kinds whose second word is made
