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
from lowrung.core.errors import ModelError
from lowrung.core.model import Model
from lowrung.core.parts import Question
from lowrung.core.words import words
from lowrung.run.nearest import vectors_of

FILE = "reference.safetensors"
MOST = 512  # questions that a reference holds
LEAST = 20  # questions on either side, below which nothing is said
BUCKETS = 1 << 16  # that groups of three letters are hashed into
DRAWS = 400  # permutations: the smallest p-value is 1 / 401
KINDS = ("meaning", "letters", "length", "confidence")

Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """Questions of the time when a model shipped, without their words.

    Args:
        vectors: of their meaning, (N, D). letters: which buckets of three letters were met, (BUCKETS,) of 0 and 1.
        odd: of each question, the share of its words with three letters that no other question has, (N,).
        lengths: log(1 + letters), (N,).
        confidence: of answers to questions that the model had not learnt, (M,); empty where none were measured.
    """

    vectors: Floats
    letters: Floats
    odd: Floats
    lengths: Floats
    confidence: Floats

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        held: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        held |= {"vectors": self.vectors.astype(np.float16), "letters": np.packbits(self.letters > 0)}
        save_file({name: np.ascontiguousarray(each) for name, each in held.items()}, folder / FILE)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of a question that was asked: nothing that it said.

    Args:
        vector: of its meaning, (D,); None where none was made. confidence: None where there was no answer.
    """

    odd: float
    length: float
    confidence: float | None
    vector: Floats | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """One kind of drift in a window.

    Args:
        kind: one of `KINDS`. value: how far the window lies from the reference: of meaning an energy distance, of
            others standard deviations.
        p: how often chance alone goes as far. alarm: whether that is below the level, shared among the kinds.
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
        confidence: of answers to questions that the model had not learnt; `MOST` of them are drawn.
    """
    held = [each for each in questions if each.text.strip()]
    if len(held) < LEAST:
        return None
    random = np.random.default_rng(seed)
    hashed = [_hashed(each) for each in held]
    met = np.zeros(BUCKETS, dtype=np.int64)
    for each in hashed:
        met[np.unique(np.concatenate([*each, np.zeros(0, dtype=np.int64)]))] += 1
    places = sorted(random.permutation(len(held))[:MOST])
    chosen = [held[at] for at in places]
    sure = np.asarray(confidence, dtype=np.float32)
    return Reference(
        np.asarray(vectors_of(model, chosen), dtype=np.float32),
        (met > 0).astype(np.float32),
        np.array([_odd(hashed[at], met, 1) for at in places], dtype=np.float32),
        np.log1p([len(each.text) for each in chosen]).astype(np.float32),
        sure[np.sort(random.permutation(len(sure))[:MOST])],
    )


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
        held["letters"] = np.unpackbits(held["letters"])
        return Reference(**{name: each.astype(np.float32) for name, each in held.items()})
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as problem:
        raise ModelError(f"{path}: is damaged ({type(problem).__name__}: {problem})") from problem


def seen(
    reference: Reference, questions: Sequence[Question], said: Sequence[Prediction[Any]], vectors: Floats | None = None
) -> list[Seen]:
    """What is kept of questions and the answers to them.

    Args:
        vectors: of the first ones among them, (n, D).
    """
    made = []
    for at, (asked, each) in enumerate(zip(questions, said, strict=True)):
        odd = _odd(_hashed(asked), reference.letters, 0)
        sure = each.confidence if each.answer is not None else None
        vector = vectors[at] if vectors is not None and at < len(vectors) else None
        made.append(Seen(odd, float(np.log1p(len(asked.text))), sure, vector))
    return made


def drifts(reference: Reference, window: Sequence[Seen], *, level: float = 0.05, seed: int = 0) -> list[Drift]:
    """What has drifted in a window; nothing is said of a kind with fewer than `LEAST` questions on either side.

    meaning: the energy distance of vectors (Székely and Rizzo 2013) with a permutation test. letters, length,
    confidence: the distance of means, likewise: what share of words has three letters in a row that were never met
    (misspellings, another language), how long texts are, how sure answers are. `level` is shared among the kinds
    (Holm 1979), so that of windows without drift at most that share alarms.
    """
    random = np.random.default_rng(seed)
    vectors = [each.vector for each in window if each.vector is not None]
    sure = [each.confidence for each in window if each.confidence is not None]
    found: dict[str, tuple[float, float]] = {}
    if len(vectors) >= LEAST and vectors[0].shape == reference.vectors.shape[1:]:  # else another release made them
        found["meaning"] = _energy(reference.vectors, np.stack(vectors), random)
    for kind, one, two in (
        ("letters", reference.odd, [each.odd for each in window]),
        ("length", reference.lengths, [each.length for each in window]),
        ("confidence", reference.confidence, sure),
    ):
        if min(len(one), len(two)) >= LEAST:
            found[kind] = _shift(one, two, random)
    ordered, alarms, falls = sorted(found, key=lambda kind: found[kind][1]), set[str](), True
    for rank, kind in enumerate(ordered):
        falls = falls and found[kind][1] <= level / (len(found) - rank)
        alarms |= {kind} if falls else set()
    return [Drift(kind, *found[kind], kind in alarms) for kind in KINDS if kind in found]


def _hashed(question: Question) -> list[NDArray[np.int64]]:
    """The buckets of the groups of three letters of each word, its borders among them."""
    text = question.text
    found = [f" {text[start:end].casefold()} " for start, end in words(text)]
    return [
        np.array([crc32(word[at : at + 3].encode("utf-8", "surrogatepass")) % BUCKETS for at in range(len(word) - 2)])
        for word in found
    ]


def _odd(hashed: Sequence[NDArray[np.int64]], met: NDArray[Any], own: int) -> float:
    """The share of words with a bucket that is met nowhere else; `own` is how often the text itself counts in `met`."""
    return float(np.mean([met[each].min() - own <= 0 for each in hashed])) if hashed else 0.0


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
    sums = np.array([two.sum(), *(both[random.permutation(len(both))[: len(two)]].sum() for _ in range(DRAWS))])
    values = sums / len(two) - (both.sum() - sums) / len(one)
    return float(values[0] / spread), _p(np.abs(values))


def _p(values: NDArray[Any]) -> float:
    """The share of values that are as large as the first, itself among them."""
    return float((values >= values[0] - 1e-12).mean())
