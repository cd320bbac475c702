"""What questions looked like when a model shipped, and whether those that come now look otherwise: drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lowrung.core.answers import Prediction
from lowrung.core.errors import DataError, ModelError
from lowrung.core.model import Model
from lowrung.core.parts import Question
from lowrung.core.words import words as spots
from lowrung.run.nearest import vectors_of

FILE = "reference.safetensors"
MOST = 512  # questions that a reference holds
LEAST = 20  # questions on either side, below which nothing is said
BUCKETS = 1 << 16  # that words are hashed into
DRAWS = 400  # permutations: the smallest p-value is 1 / 401
KINDS = ("meaning", "words", "length", "confidence")

Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """Questions of the time when a model shipped, without their words.

    Args:
        vectors: of their meaning, (N, D). words: which buckets of words were met, (BUCKETS,) of 0 and 1.
        unmet: of each question, the share of its words that no other has, (N,). lengths: in letters, (N,).
        confidence: of answers to questions that it had not learnt, (M,); empty where none were measured.
    """

    vectors: Floats
    words: Floats
    unmet: Floats
    lengths: Floats
    confidence: Floats

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        held: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        held |= {"vectors": self.vectors.astype(np.float16), "words": self.words.astype(np.uint8)}
        save_file({name: np.ascontiguousarray(each) for name, each in held.items()}, folder / FILE)


@dataclass(frozen=True, slots=True)
class Drift:
    """One kind of drift in a window.

    Args:
        kind: one of `KINDS`. value: how far the window lies from the reference; what it measures depends on the kind.
        p: how often chance alone goes as far. alarm: whether p is below the level, shared among the kinds.
    """

    kind: str
    value: float
    p: float
    alarm: bool


def reference_of(
    model: Model[Any], questions: Sequence[Question], *, confidence: Sequence[float] = (), seed: int = 0
) -> Reference | None:
    """A reference of questions in words, at most `MOST` of them; None where too few have words.

    Args:
        confidence: of answers to questions that the model had not learnt.
    """
    held = [each for each in questions if each.text.strip()]
    if len(held) < LEAST:
        return None
    random = np.random.default_rng(seed)
    hashed = [_hashed(each) for each in held]
    met = np.zeros(BUCKETS, dtype=np.int64)
    for each in hashed:
        met[np.unique(each)] += 1
    places = sorted(random.permutation(len(held))[:MOST])
    unmet = np.array([float((met[hashed[at]] < 2).mean()) if len(hashed[at]) else 0.0 for at in places], np.float32)
    chosen = [held[at] for at in places]
    lengths = np.array([len(each.text) for each in chosen], dtype=np.float32)
    vectors = np.asarray(vectors_of(model, chosen), dtype=np.float32)
    words = (met > 0).astype(np.float32)
    return Reference(vectors, words, unmet, lengths, np.asarray(list(confidence)[:MOST], dtype=np.float32))


def read_reference(folder: Path) -> Reference | None:
    """The reference of a shipped folder, None where it has none.

    Raises:
        ModelError: its file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / FILE
    if not path.is_file():
        return None
    try:
        held = load_file(path)
        made = Reference(**{name: each.astype(np.float32) for name, each in held.items()})
    except (OSError, TypeError, ValueError, SafetensorError) as problem:
        raise ModelError(f"{path}: is damaged ({problem})") from problem
    return made


def drifts(
    reference: Reference,
    model: Model[Any],
    questions: Sequence[Question],
    said: Sequence[Prediction[Any]],
    *,
    level: float = 0.05,
    seed: int = 0,
) -> list[Drift]:
    """What has drifted in a window of questions and the answers to them.

    meaning: the energy distance of vectors (Székely and Rizzo 2013) with a permutation test. words, length,
    confidence: the distance of means in standard deviations, likewise: what share of words was never met before
    (misspellings, another language), how long texts are, how sure answers are. `level` is shared among the kinds
    (Holm 1979), so that of windows without drift at most that share alarms.

    Raises:
        DataError: the window has too few questions.
    """
    if len(questions) < LEAST:
        raise DataError(f"{len(questions)} questions are too few to tell a drift from chance; {LEAST} are the least")
    random = np.random.default_rng(seed)
    hashed = [_hashed(each) for each in questions]
    unmet = [float((reference.words[each] == 0).mean()) if len(each) else 0.0 for each in hashed]
    sure = [each.confidence for each in said if each.answer is not None]
    found = {
        "meaning": _energy(reference.vectors, np.asarray(vectors_of(model, questions)), random),
        "words": _shift(reference.unmet, unmet, random),
        "length": _shift(np.log1p(reference.lengths), np.log1p([len(each.text) for each in questions]), random),
    }
    if len(reference.confidence) >= LEAST and len(sure) >= LEAST:
        found["confidence"] = _shift(reference.confidence, sure, random)
    ordered, alarms, open_ = sorted(found, key=lambda kind: found[kind][1]), set[str](), True
    for rank, kind in enumerate(ordered):
        open_ = open_ and found[kind][1] <= level / (len(found) - rank)
        alarms |= {kind} if open_ else set()
    return [Drift(kind, *found[kind], kind in alarms) for kind in KINDS if kind in found]


def _hashed(question: Question) -> NDArray[np.int64]:
    """The bucket of each word of a text."""
    text = question.text
    found = [text[start:end].casefold() for start, end in spots(text)]
    return np.array([crc32(each.encode("utf-8", "surrogatepass")) % BUCKETS for each in found], dtype=np.int64)


def _energy(one: Floats, two: Floats, random: np.random.Generator) -> tuple[float, float]:
    """The energy distance of two samples, (N, D) and (M, D), and its p-value."""
    both = np.concatenate([one, two]).astype(np.float32)
    squares = (both**2).sum(1)
    far = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * both @ both.T, 0.0))
    sides = np.zeros((DRAWS + 1, len(both)), dtype=np.float32)
    sides[0, len(one) :] = 1
    for row in sides[1:]:
        row[random.permutation(len(both))[: len(two)]] = 1
    n, m = len(one), len(two)
    crossing = ((1 - sides) @ far * sides).sum(1) / (n * m)
    inside_one = ((1 - sides) @ far * (1 - sides)).sum(1) / (n * n)
    inside_two = (sides @ far * sides).sum(1) / (m * m)
    values = 2 * crossing - inside_one - inside_two
    return float(values[0]), _p(values)


def _shift(one: Any, two: Any, random: np.random.Generator) -> tuple[float, float]:
    """How many standard deviations the mean of the second sample lies above that of the first, and its p-value."""
    one, two = np.asarray(one, dtype=float), np.asarray(two, dtype=float)
    both = np.concatenate([one, two])
    spread = float(both.std()) or 1.0
    sums = np.array([both[random.permutation(len(both))[: len(two)]].sum() for _ in range(DRAWS)])
    sums = np.concatenate([[two.sum()], sums])
    values = sums / len(two) - (both.sum() - sums) / len(one)
    return float(values[0] / spread), _p(np.abs(values))


def _p(values: NDArray[Any]) -> float:
    """The share of values that are as large as the first, itself among them."""
    return float((values >= values[0] - 1e-12).mean())
