"""A question in words: what a model that reads instructions is told, and what it is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lowrung.core.answers import NOTHING, Choice, Choices, Spans, write
from lowrung.core.parts import Question

SCHEMA = "json_schema"  # the check that can be written by
PER_WORD = 8  # tokens that a word of an answer may take, at most
WORDING = 1  # which wording this is; what was answered, or learnt, to another one is not mixed with it


def instructed(question: Question, shape: type[Any], about: str = "") -> str:
    """What is to be done, the form of the answer, and the options with their meanings.

    Args:
        shape: of the answer: Text, Choice, Choices or Spans.
        about: what is to be done, for a question without an instruction.
    """
    what = (question.instruction or about).strip()
    lines = [f"{what[:1].upper()}{what[1:]}{'' if what.endswith(('.', '?', '!')) else '.'}"] if what else []
    meanings = question.meanings or ("",) * len(question.options)
    options = [
        f"- {name}: {meaning}" if meaning else f"- {name}"
        for name, meaning in zip(question.options, meanings, strict=True)
    ]
    if shape is Choice:
        lines += ["Answer with one of these options, word for word, and nothing else:", *options]
    elif shape is Choices:
        lines += [
            "Answer with each of these options that fits, word for word, one a line, and nothing else; "
            f"with {NOTHING} where none fits:",
            *options,
        ]
    elif shape is Spans:
        lines += [
            "Copy the text letter by letter, and write each piece that is meant as [piece](LABEL). "
            "Put \\ before each \\, [ and ] of the text itself. Add nothing else.",
            *(["The labels are:", *options] if options else ["No piece has a label."]),
            "For instance, with a label LOC: She lived in [Paris](LOC)."
            if options
            else "For instance: She lived in [Paris]().",
        ]
    else:
        lines += ["Answer with the text that is asked for, and nothing else."]
    return "\n".join(lines)


def given(question: Question) -> str:
    """The texts; what is marked in the first stands as [piece](label) in it."""
    first = question.text
    if question.marks:
        first = write(Spans(question.marks), question)
    texts = [first, *question.texts[1:]]
    if len(texts) == 1:
        return first
    return "\n\n".join(f"Text {number}:\n{each}" for number, each in enumerate(texts, 1))


def room(question: Question, size: Callable[[str], int]) -> int:
    """How long a Text may be: as long as the text twice, or as its checks ask for, and twice its schema.

    Args:
        size: of a text, in tokens or in what are more.
    """
    checks = dict(question.checks)
    words = max(json.loads(checks.get(name, "0")) for name in ("min_words", "max_words"))
    return max(2 * size(question.text), PER_WORD * int(words)) + 2 * size(checks.get(SCHEMA, ""))


def plain(text: str) -> str:
    """As UTF-8 can hold it."""
    return text.encode("utf-8", "replace").decode()
