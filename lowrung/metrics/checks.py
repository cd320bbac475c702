"""What a written text must keep to, as a row says it in its column `checks`, and how much of it was kept to.

A check is a name with a value. Whether a text meets it is decided by rule: words and letters are counted, JSON is held
against its schema (jsonschema), Python is parsed and never run, the language is guessed from the letters (py3langid).
"""

from __future__ import annotations

import ast
import json
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

from lowrung.core.answers import Text
from lowrung.core.errors import DataError, LowrungError, unknown
from lowrung.core.parts import Question
from lowrung.core.task import Counts, Example, Metric
from lowrung.core.words import words
from lowrung.metrics.counting import ratio
from lowrung.metrics.translation import chrf

UNSURE, FAR = 0.3, 0.2  # no language is likely; so much less likely than the likeliest one


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of check.

    Args:
        takes: what its value is, in words, for people who gave another one.
        valid: whether a value is one.
        told: the value as a sentence for the model.
        met: whether a text meets it.
    """

    takes: str
    valid: Callable[[Any], bool]
    told: Callable[[Any], str]
    met: Callable[[str, Any], bool]


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _pieces(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) and each.strip() for each in value)


def words_in(text: str) -> int:
    """Words without marks; each letter of a script without blanks is one."""
    return sum(text[start].isalnum() for start, _ in words(text))


def _has(text: str, piece: str) -> bool:
    """Whether a piece stands in a text, case and the form of letters aside."""
    one, two = (unicodedata.normalize("NFKC", each).casefold() for each in (text, piece))
    return two in one


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise LowrungError("the check of a language needs an extra: pip install 'lowrung[checks]'") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _languages() -> tuple[str, ...]:
    return tuple(sorted(each for each, _ in _identifier().rank("")))


def _said_in(text: str, language: str) -> bool:
    """Whether a text may be of a language: some words are too short to tell, and speak against none."""
    likely = dict(_identifier().rank(text))
    best = max(likely.values())
    return bool(text.strip()) and bool(best < UNSURE or likely[language] >= FAR * best)


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """Raises DataError where it is no schema; nothing that it refers to is fetched."""
    try:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for
        from referencing import Registry
        from referencing.exceptions import Unresolvable
        from referencing.jsonschema import DRAFT202012
    except ImportError:
        raise LowrungError("the check of a schema needs an extra: pip install 'lowrung[checks]'") from None
    read = json.loads(schema)
    kind = validator_for(read)
    within = Registry().with_resource("", DRAFT202012.create_resource(read)).resolver()
    try:
        kind.check_schema(read)
        for each in _references(read):
            within.lookup(each)
    except SchemaError as problem:
        raise DataError(f"check 'json_schema' is no JSON schema: {problem.message}") from None
    except Unresolvable as problem:
        raise DataError(f"check 'json_schema' refers to {problem.ref!r}, which is not in it") from None
    return kind(read, registry=Registry())


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for each in schema.values():
            yield from _references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)


def _fits(text: str, schema: Any) -> bool:
    try:
        return bool(_validator(json.dumps(schema, sort_keys=True)).is_valid(json.loads(text)))
    except (ValueError, RecursionError):
        return False


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an odd escape, say
            return bool(ast.parse(text).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _listed(pieces: list[str]) -> str:
    return ", ".join(f"«{each}»" for each in pieces)


CHECKS: Mapping[str, Check] = {
    "min_words": Check(
        "a whole number", _number, "Write at least {} words.".format, lambda text, least: words_in(text) >= least
    ),
    "max_words": Check(
        "a whole number", _number, "Write at most {} words.".format, lambda text, most: words_in(text) <= most
    ),
    "must_have": Check(
        "a list of texts",
        _pieces,
        lambda value: f"The answer must contain: {_listed(value)}.",
        lambda text, value: all(_has(text, each) for each in value),
    ),
    "must_not_have": Check(
        "a list of texts",
        _pieces,
        lambda value: f"The answer must not contain: {_listed(value)}.",
        lambda text, value: not any(_has(text, each) for each in value),
    ),
    "language": Check(
        "a code of ISO 639-1 such as en, de or zh",
        lambda value: isinstance(value, str) and value in _languages(),
        "Write in the language with the code {}.".format,
        _said_in,
    ),
    "json_schema": Check(
        "a JSON schema",
        lambda value: isinstance(value, Mapping) and _validator(json.dumps(value, sort_keys=True)) is not None,
        lambda value: (
            f"Write JSON that fits this schema, without anything around it: {json.dumps(value, ensure_ascii=False)}"
        ),
        _fits,
    ),
    "python": Check(
        "true",
        lambda value: value is True,
        lambda _: "Write Python code, without anything around it.",
        lambda text, _: _parses(text),
    ),
}


def checks_of(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """(name, value as JSON) of each check in a row's `checks`, in the order of `CHECKS`; raises DataError."""
    held = row.get("checks")
    if held is None:
        return ()
    if not isinstance(held, Mapping):
        raise DataError(f"'checks' holds an object such as {{\"max_words\": 20}}, not {held!r:.60}")
    for name, value in held.items():
        if name not in CHECKS:
            raise DataError(unknown("check", str(name), CHECKS))
        if not CHECKS[name].valid(value):
            raise DataError(f"check {name!r} takes {CHECKS[name].takes}, not {value!r:.60}")
    if held.get("min_words", 0) > held.get("max_words", float("inf")):
        raise DataError(f"checks ask for at least {held['min_words']} and at most {held['max_words']} words")
    return tuple((name, json.dumps(held[name], ensure_ascii=False)) for name in CHECKS if name in held)


def told(checks: tuple[tuple[str, str], ...]) -> str:
    """The checks as sentences for a model, one a line."""
    return "\n".join(CHECKS[name].told(json.loads(value)) for name, value in checks)


def unmet(question: Question, text: str) -> tuple[str, ...]:
    """The names of the question's checks that `text` does not meet."""
    return tuple(name for name, value in question.checks if not CHECKS[name].met(text, json.loads(value)))


def _count(example: Example[Text], answer: Text | None) -> Counts:
    """Checks, those that are met, rows, and those with all checks met; no answer meets none."""
    checks = len(example.question.checks)
    if not checks:
        return {}
    missed = checks if answer is None else len(unmet(example.question, answer.text))
    return {"checks": float(checks), "met": float(checks - missed), "rows": 1.0, "right": float(not missed)}


def _checked(example: Example[Any]) -> bool:
    return bool(example.question.checks)


all_checks = Metric("all_checks", _count, lambda counts: ratio(counts.get("right", 0.0), counts.get("rows", 0.0)))
checks = Metric("checks", _count, lambda counts: ratio(counts.get("met", 0.0), counts.get("checks", 0.0)), of=_checked)
WRITTEN = (all_checks, checks, replace(chrf, of=lambda example: bool(example.golds)))
