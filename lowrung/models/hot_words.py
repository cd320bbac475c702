"""Hot words: a user's list of words and phrases that are likely to be said, for a recognizer's beam to look for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lowrung.core.errors import DataError, LowrungError
from lowrung.data.files import nearby
from lowrung.metrics.recognition import spoken
from lowrung.models.decoding import Settings
from lowrung.models.prefixes import GAP
from lowrung.models.recognizer import Recognizer

WORTH = 2.0  # of a word, in natural logarithms: most found beyond those put where they were not said, on dev rows
MOST = 20.0  # which hardly anything that is heard outweighs
SHORT = 3  # letters of a word of a phrase that, where the language has it, is looked for inside the phrase alone
NAMED = 10  # words that are named as passed over


def read(path: str | Path) -> dict[str, float]:
    """Words and phrases as they are listed, each with what it is worth: one a line, in UTF-8, a weight behind a tab
    or none; lines that begin with # and empty ones say nothing.

    Raises:
        DataError: it cannot be read, lists nothing, or a weight is none.
    """
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as problem:
        raise DataError(f"{path}: is no text in UTF-8; save it as UTF-8, one word or phrase a line") from problem
    except FileNotFoundError as problem:
        raise DataError(f"{path}: no such file.{nearby(Path(path))}") from problem
    except (OSError, ValueError) as problem:
        raise DataError(f"{path}: cannot be read ({getattr(problem, 'strerror', None) or problem})") from problem
    listed: dict[str, float] = {}
    for number, line in enumerate(lines, 1):
        words, tab, told = line.partition("\t")
        if words.strip() and not words.startswith("#"):
            listed[" ".join(words.split())] = _worth(told.strip(), f"{path}:{number}") if tab else WORTH
    if not listed:
        raise DataError(f"{path}: lists no word; it takes one word or phrase a line")
    return listed


def _worth(told: str, where: str) -> float:
    try:
        worth = float(told)
    except ValueError:
        worth = math.nan
    if not 0 < worth <= MOST:
        raise DataError(f"{where}: behind a tab stands a weight above 0 and up to {MOST:g}, as in 3.5, not {told!r}")
    return worth


def expecting(model: Any, path: str | Path, *, texts: Iterable[str] = ()) -> tuple[Recognizer, str]:
    """The recognizer with a beam that looks for the words of a file, and a line that says how many those are and which
    are passed over, since they have letters that the recognizer has not.

    A phrase is worth its weight as a whole, and each of its words besides; short ones that the language has, only
    inside of it.

    Args:
        texts: right texts that it will learn from, whose letters it will have.

    Raises:
        DataError: as `read` does, or all words are passed over.
        LowrungError: the model does not hear, or has no beam.
    """
    if not isinstance(model, Recognizer) or not model.sense.expects:
        raise LowrungError("words to expect are for speech, heard by a body with a CTC head; this model takes none")
    listed = read(path)
    letters = {*model.head.alphabet, GAP}.union(*map(model.sense.written, texts))
    said = {words: spoken(words) for words in listed}
    passed = [words for words, form in said.items() if not form or set(form) - letters]
    if len(passed) == len(listed):
        raise DataError(f"{path}: no word has only letters that {model.source.name} hears ({_named(passed)})")
    found = hot({form: listed[words] for words, form in said.items() if words not in passed}, model)
    how = model.how or Settings()
    lacking = f"; passed over, with letters that {model.source.name} has not: {_named(passed)}" if passed else ""
    told = f"{path}: {len(listed) - len(passed)} words or phrases are expected{lacking}"
    return replace(model, how=replace(how, hot={**how.hot, **found})), told


def hot(said: Mapping[str, float], model: Recognizer) -> dict[str, float]:
    """What `models.decoding.Settings` takes: words and phrases as they are spoken, and the words of phrases."""
    alone: dict[str, float] = {}
    for form, worth in said.items():
        for word in form.split() if GAP in form else ():
            known = model.expected is not None and model.expected.known(word)
            if len(word) > SHORT or not known:
                alone[word] = max(worth, alone.get(word, 0.0))
    return {**alone, **said}


def _named(words: list[str]) -> str:
    more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]) + more
