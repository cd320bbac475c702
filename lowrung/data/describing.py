"""A task described in words: its options, and the formats that a text and an option can be put in.

The templates of a language, the words that tell it from others and those that stand before a last option are data, in
described.json; what stands under "" is for every language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lowrung.core.errors import LowrungError
from lowrung.core.parts import name_as_words

TEMPLATES = Path(__file__).with_name("described.json")
OWN, PROPOSED = "own", "proposed"
ARROW = "=>"
_SEVERAL = re.compile(r"[,，、،;；؛/|]")
_KANA = re.compile(r"[\u3041-\u3096\u30a1-\u30fa]")


@dataclass(frozen=True, slots=True)
class Format:
    """How a text and an option are worded.

    Args:
        kind: label-name, label-description, instruction, question, cloze or entailment; `own` and `proposed` are those
            of a user and of a model.
        text: with {text}; {task} stands for what is to be done, {options} for all options.
        option: with {option}; {task} as above.
        language: of its words, "" for any.
    """

    kind: str
    text: str
    option: str
    language: str = ""

    def asked(self, text: str, task: str, options: Sequence[str] = ()) -> str:
        return _filled(self.text, text=text, task=task, options=", ".join(options))

    def said(self, option: str, task: str) -> str:
        return _filled(self.option, option=option, task=task)

    def __str__(self) -> str:
        return f"{self.text} {ARROW} {self.option}"


@dataclass(frozen=True, slots=True)
class Description:
    """What is to be done, in the words of a user.

    Args:
        task: without the options.
        options: those that it names, () where it names none.
        format: the only one to use, None to choose among those of the language.
    """

    task: str = ""
    options: tuple[str, ...] = ()
    format: Format | None = None


def described(text: str) -> Description:
    """«sort mails by urgency: low, normal or urgent» as task and options; what stands after the last colon is options
    where it is two or more, in any of , ， 、 ، ; ； ؛ / | or with a word for «or» between them.

    Raises:
        LowrungError: nothing is said, or two options are the same.
    """
    text = " ".join(text.split())
    if not text:
        raise LowrungError('--describe says what is to be done, as in --describe "sort mails by urgency: low, urgent"')
    cut = max(text.rfind(":"), text.rfind("："))
    options = _options(text[cut + 1 :].rstrip(" .。")) if cut > 0 else ()
    if len({each.casefold() for each in options}) < len(options):
        raise LowrungError(f"--describe names an option twice: {', '.join(options)}")
    return Description(text[:cut].strip() if options else text, options)


def _options(text: str) -> tuple[str, ...]:
    """The options that a list names, () where it is none; a word for «and» parts none, as options may hold one."""
    parts = [part.strip() for part in _SEVERAL.split(text)]
    joined, last = ([each for language in _stored().values() for each in language[name]] for name in ("or", "last"))
    for word in sorted((*joined, *last), key=len, reverse=True):
        glue = r"\s+" if word.isascii() else r"\s*"  # a script without blanks has none around the word either
        found = re.fullmatch(rf"(.+?){glue}{word}{glue}(.+)", parts[-1]) if word in joined else None
        led = re.fullmatch(rf"{word}{glue}(.+)", parts[-1]) if len(parts) > 1 else None  # «low, or urgent»
        if found or led:
            parts[-1:] = list((led or found).groups())  # type: ignore[union-attr]
            break
    options = tuple(part for part in parts if part)
    return options if len(options) > 1 else ()


def read_format(text: str) -> Format:
    """A user's «TEXT TEMPLATE => OPTION TEMPLATE», or the second alone, as in «This mail is {option}.».

    Raises:
        LowrungError: {option} or {text} is missing, stands twice or on the wrong side, or another name is in braces.
    """
    left, arrow, right = text.partition(ARROW)
    found = Format(OWN, left.strip() if arrow else "{text}", right.strip() if arrow else text.strip())
    if problem := _problem(found):
        raise LowrungError(f'--format: {problem}; as in "{{text}} {ARROW} This mail is {{option}}."')
    return found


def proposals(reply: str, language: str = "") -> tuple[Format, ...]:
    """The formats in a model's lines «TEXT TEMPLATE => OPTION TEMPLATE»; what has not the placeholders is dropped."""
    found = []
    for line in reply.splitlines():
        left, arrow, right = re.sub(r"^\s*(?:[-*•]|\d+[.):])\s*", "", line).strip().strip("`").partition(ARROW)
        each = Format(PROPOSED, left.strip(' "'), right.strip(' "'), language)
        if arrow and not _problem(each):
            found.append(each)
    return tuple(dict.fromkeys(found))


def request(task: str, options: Sequence[str]) -> str:
    """What a model that writes is told, for `proposals` to read its reply."""
    return (
        f"Task: {task}\nOptions: {', '.join(options)}\n\nWrite 5 different ways to word this task, one a line, in the "
        f"language of the task, each as: how the text is shown, then {ARROW}, then how an answer is worded. "
        "The left side holds {text} once and the right side holds {option} once. Nothing else.\n"
        f"For instance: A customer wrote: {{text}} {ARROW} This is about {{option}}."
    )


def formats(task: str, texts: Iterable[str] = ()) -> tuple[Format, ...]:
    """The formats for a task that is told in these words; where they tell no language, `texts` do."""
    language = language_of([task]) or language_of(texts)
    stored = ((name, each) for name in dict.fromkeys(("", language)) for each in _stored()[name]["formats"])
    known = [Format(kind, text, option, name) for name, (kind, text, option) in stored]
    return tuple(each for each in known if task or "{task}" not in each.text + each.option)


def language_of(texts: Iterable[str]) -> str:
    """The language of described.json whose words are commonest in `texts`, "" where none has one in twenty.

    Japanese, which shares signs with Chinese, is told by its kana: where one letter in twenty is one, it is not zh.
    """
    text = " ".join(texts).casefold()
    pieces = re.findall(r"[^\W\d_]", text) if _unspaced(text) else re.findall(r"[^\W\d_]+", text)
    shares = {
        name: sum(text.count(word) if _unspaced(word) else pieces.count(word) for word in stored["words"].split())
        for name, stored in _stored().items()
    }
    kana = len(_KANA.findall(text))
    if kana and kana >= len(pieces) / 20:
        shares["zh"] = 0
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] >= max(1, len(pieces) / 20) else ""


def wordings(option: str, meaning: str) -> tuple[str, ...]:
    """What an option is called: its name in words, and what it means where that is told."""
    return tuple(dict.fromkeys((name_as_words(option), *([meaning] if meaning else []))))


def _problem(found: Format) -> str:
    for side, template, wanted, other in (
        ("left", found.text, "{text}", "{option}"),
        ("right", found.option, "{option}", "{text}"),
    ):
        if template.count(wanted) != 1:
            return f"the {side} side holds {wanted} once, and {template!r} does not"
        if other in template:
            return f"{other} does not stand on the {side} side"
        unknown = set(re.findall(r"\{\w*\}", template)) - {wanted, "{task}", *(["{options}"] if side == "left" else [])}
        if unknown:
            return f"{sorted(unknown)[0]} is not known; there are {{text}}, {{option}}, {{options}} and {{task}}"
    return ""


def _filled(template: str, **given: str) -> str:
    """The template with its placeholders filled; braces in what fills them stay as they are."""
    return re.sub(r"\{(\w+)\}", lambda found: given.get(found[1], found[0]), template)


def _unspaced(text: str) -> bool:
    return any("\u3400" <= letter <= "\u9fff" for letter in text)


@lru_cache(maxsize=1)
def _stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(TEMPLATES.read_text("utf-8"))
    return found
