"""What comes over the wire: rows whose sounds and pictures are bytes, never the name of a file."""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lowrung.core.errors import DataError
from lowrung.core.parts import Audio, Image, Question
from lowrung.core.task import Row, Task
from lowrung.data.files import with_media
from lowrung.serving.batching import cost

HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may be.

    Args:
        body: bytes. rows: at once. tokens: of all rows together, about. deep: lists within lists.
        pixels: of a picture. seconds: of a sound; patience: that it may take to be answered.
        streams: of sound at once, each of `listened` seconds at most.
    """

    body: int = 10 << 20
    rows: int = 256
    tokens: int = 20_000
    deep: int = 12
    pixels: int = 40_000_000
    seconds: float = 300.0
    patience: float = 30.0
    streams: int = 4
    listened: float = 3600.0


def row_of(given: Any, limits: Limits) -> dict[str, Any]:
    """A row as JSON has it, with base64 or a data URL in the place of files.

    Raises:
        DataError: it is no object, is nested too deeply, holds a number that is none, or names a file.
    """
    if not isinstance(given, Mapping):
        raise DataError(f"a row is an object with columns, not {type(given).__name__}")
    checked(given, limits.deep)
    return with_media(given, lambda name, value: _content(name, value, limits))


def checked(given: Any, deep: int) -> None:
    """Raises DataError where JSON is nested more than `deep` times, or holds NaN, an infinity or half a letter."""
    if isinstance(given, str) and not given.isascii() and HALF.search(given):
        raise DataError("a text holds half of a surrogate pair, which is no letter")
    if isinstance(given, float) and not math.isfinite(given):
        raise DataError("a number is NaN or infinite, which JSON does not know")
    if isinstance(given, Mapping | list):
        if not deep:
            raise DataError("lists and objects are nested too deeply")
        for each in (*given, *given.values()) if isinstance(given, Mapping) else given:
            checked(each, deep - 1)


def question_of(task: Task[Any], row: Row, limits: Limits) -> Question:
    """The question of a row that `row_of` made.

    Raises:
        DataError: the task cannot read it, or a part of it is larger than it may be.
    """
    try:
        asked = task.question(row)
    except ValueError as problem:
        raise DataError(str(problem)) from problem
    for part in asked.given:
        if isinstance(part, Audio) and part.seconds > limits.seconds:
            raise DataError(f"a sound lasts {part.seconds:.0f} s; at most {limits.seconds:g} are taken at once")
        if isinstance(part, Image):
            part.pixels  # noqa: B018 (broken ones are told here, by whose request they are)
    return asked


def cost_of(questions: list[Question], limits: Limits) -> int:
    """Tokens of them together. Raises DataError where they are more than one request may have."""
    found = sum(map(cost, questions))
    if found > limits.tokens:
        raise DataError(f"about {found:,} tokens at once; a request takes at most {limits.tokens:,}: ask in parts")
    return found


def _content(name: str, value: Any, limits: Limits) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"{name!r} holds base64 or a data URL, not {type(value).__name__}")
    head, comma, rest = value.partition(",")
    held = rest if comma and head.startswith("data:") and head.endswith(";base64") else value
    try:
        content = base64.b64decode(held, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise DataError(f"{name!r} holds base64 or a data URL with it; names of files are not taken") from problem
    if not content:
        raise DataError(f"{name!r} is empty")
    if name == "image":
        _small_enough(content, limits)
    return content


def _small_enough(content: bytes, limits: Limits) -> None:
    """Look at a picture's header: raises DataError where it says more pixels than are taken, before one is decoded."""
    try:
        from PIL import Image as Pillow

        with Pillow.open(io.BytesIO(content)) as opened:
            wide, high = opened.size
    except Exception:  # what is no picture is told by who decodes it
        return
    if wide * high > limits.pixels:
        raise DataError(f"a picture of {wide} x {high} pixels; at most {limits.pixels:,} are taken")


def as_labels(answer: Any, confidence: float, others: list[Any]) -> list[dict[str, Any]]:
    """A choice as the Hugging Face inference API has it: labels with scores, best first."""
    return [{"label": label, "score": score} for label, score in [(answer, confidence), *others] if label is not None]


def as_groups(text: str, answer: Any, confidence: float) -> list[dict[str, Any]]:
    """Spans as its token classification has them."""
    return [
        {
            "entity_group": each["label"],
            "score": confidence,
            "word": text[each["start"] : each["end"]],
            "start": each["start"],
            "end": each["end"],
        }
        for each in answer or ()
    ]


def packed(content: bytes) -> str:
    """Bytes as a row holds them."""
    return base64.b64encode(content).decode()


def sent(row: Row) -> dict[str, Any]:
    """A row of a file as it goes over the wire: sounds and pictures as base64.

    Raises:
        DataError: it holds what JSON has no form for, or a file that cannot be read.
    """
    made = with_media(row, _packed_file)
    try:
        return cast(dict[str, Any], json.loads(json.dumps(made, allow_nan=False)))
    except (TypeError, ValueError) as problem:
        raise DataError(f"row {row.get('id', '')}: cannot be sent as JSON ({problem})") from problem


def _packed_file(_: str, value: Any) -> Any:
    if isinstance(value, Mapping):  # as data sets of the hub have it
        value = value.get("bytes") or value.get("path")
    try:
        return packed(value if isinstance(value, bytes) else Path(value).read_bytes()) if value else None
    except (OSError, TypeError) as problem:
        raise DataError(f"{value}: cannot be read: {problem}") from problem
