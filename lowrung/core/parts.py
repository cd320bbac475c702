"""What a model may see: parts (text, sound, picture) and the question made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from lowrung.core.answers import Span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Audio:
    """Mono sound: `samples` (n,) float32 in [-1, 1], `rate` in samples a second.

    `Audio(samples, rate)` holds what it is given; `Audio.of` makes one that decodes whenever `samples` is read and
    retains nothing, so that a hundred thousand rows fit in memory: read `samples` once and keep the array while it is
    needed.

    Raises:
        ValueError: the samples are not one-dimensional or the rate is not positive.
    """

    rate: int
    key: str  # the same for the same sound, for caches; "" where nobody can tell
    _load: Callable[[], NDArray[np.float32]] = field(repr=False)
    _seconds: float | None = field(repr=False)

    def __init__(self, samples: NDArray[np.float32], rate: int) -> None:
        self._hold(lambda: samples, rate, "", len(_flat(samples)) / _positive(rate))

    @classmethod
    def of(
        cls, load: Callable[[], NDArray[np.float32]], rate: int, key: str = "", seconds: float | None = None
    ) -> Audio:
        """Sound that `load` decodes, at each access anew.

        Args:
            key: names file, size, time of change, start, end and rate, so that a sound of the same key is the same.
            seconds: how long it is, where that is known without decoding.
        """
        sound = cls.__new__(cls)
        sound._hold(load, _positive(rate), key, seconds)
        return sound

    def _hold(self, load: Callable[[], NDArray[np.float32]], rate: int, key: str, seconds: float | None) -> None:
        for name, value in (("_load", load), ("rate", rate), ("key", key), ("_seconds", seconds)):
            object.__setattr__(self, name, value)

    @property
    def samples(self) -> NDArray[np.float32]:
        return _flat(self._load())

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate if self._seconds is None else self._seconds


def _flat(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    if samples.ndim != 1:
        raise ValueError(f"audio samples must be (n,), not {samples.shape}")
    return samples


def _positive(rate: int) -> int:
    if rate <= 0:
        raise ValueError(f"an audio rate is positive, not {rate}")
    return rate


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Image:
    """A picture: `pixels` (H, W, 3) uint8. `Image.of` makes one that decodes whenever `pixels` is read.

    Raises:
        ValueError: the pixels are not (H, W, 3).
    """

    key: str  # as Audio's
    _load: Callable[[], NDArray[np.uint8]] = field(repr=False)

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        _coloured(pixels)
        self._hold(lambda: pixels, "")

    @classmethod
    def of(cls, load: Callable[[], NDArray[np.uint8]], key: str = "") -> Image:
        """A picture that `load` decodes, at each access anew."""
        picture = cls.__new__(cls)
        picture._hold(load, key)
        return picture

    def _hold(self, load: Callable[[], NDArray[np.uint8]], key: str) -> None:
        object.__setattr__(self, "_load", load)
        object.__setattr__(self, "key", key)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        return _coloured(self._load())


def _coloured(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"image pixels must be (H, W, 3), not {pixels.shape}")
    return pixels


Part: TypeAlias = str | Audio | Image
KINDS = ("text", "audio", "image")


class Heard(str):
    """What a recognizer made of the sound or picture that stands before it in `given`; the row did not give it."""

    __slots__ = ()


def kind_of(part: Part) -> str:
    """One of `KINDS`."""
    return "text" if isinstance(part, str) else "audio" if isinstance(part, Audio) else "image"


@dataclass(frozen=True, slots=True)
class Question:
    """All that a model may see of a row.

    Args:
        given: the input, in reading order.
        instruction: what to do, for models that read instructions.
        options: candidates (Choice), label names (Spans), () (Text).
        meanings: what each option means in words, as many as there are options, or ().
        marks: the pieces of the first text it is about: a pronoun, its candidates, two entities.
        checks: what a Text must keep to, as (name, value in JSON); the instruction says the same in words.

    Raises:
        ValueError: nothing is given, an option is repeated, meanings and options differ in number,
            or a mark lies outside the text.
    """

    given: tuple[Part, ...]
    instruction: str = ""
    options: tuple[str, ...] = ()
    meanings: tuple[str, ...] = ()
    marks: tuple[Span, ...] = ()
    checks: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.given:
            raise ValueError("a question needs at least one part in `given`")
        if len(set(self.options)) != len(self.options):
            raise ValueError(f"options must differ from each other: {self.options}")
        if self.meanings and len(self.meanings) != len(self.options):
            raise ValueError(f"{len(self.meanings)} meanings for {len(self.options)} options")
        if self.marks and max(mark.end for mark in self.marks) > len(self.text):
            raise ValueError("a mark ends after the text does")

    @property
    def text(self) -> str:
        """The first text in `given`, the one that offsets count in; "" when there is none."""
        return next((part for part in self.given if isinstance(part, str)), "")

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(part for part in self.given if isinstance(part, str))

    @property
    def whole(self) -> str:
        """All texts, a line each; an offset in the first text is the same in it."""
        return "\n".join(self.texts)

    @property
    def kinds(self) -> frozenset[str]:
        """Which of `KINDS` the row gives; what was `Heard` is none of them."""
        return frozenset(kind_of(part) for part in self.given if not isinstance(part, Heard))

    @property
    def words_for_options(self) -> tuple[str, ...]:
        """What to read for each option: its meaning, else its name as words."""
        meanings = self.meanings or ("",) * len(self.options)
        pairs = zip(meanings, self.options, strict=True)
        return tuple(meaning or name_as_words(name) for meaning, name in pairs)


def name_as_words(name: str) -> str:
    """`card_arrival` → «card arrival», `creative-work` → «creative work», `cardArrival` → «card Arrival»."""
    spaced = "".join(
        f" {letter}" if letter.isupper() and before.islower() else letter
        for before, letter in zip(" " + name, name, strict=False)
    )
    return " ".join(spaced.replace("_", " ").replace("-", " ").replace("/", " ").split()) or name
