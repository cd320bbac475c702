"""What a model may see: parts (text, sound, picture) and the question made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lowrung.core.answers import Span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """Mono sound: `samples` (n,) float32 in [-1, 1], `rate` in samples a second.

    Raises:
        ValueError: the samples are not one-dimensional or the rate is not positive.
    """

    samples: NDArray[np.float32]
    rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 1:
            raise ValueError(f"audio samples must be (n,), not {self.samples.shape}")
        if self.rate <= 0:
            raise ValueError(f"an audio rate is positive, not {self.rate}")

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A picture: `pixels` (H, W, 3) uint8.

    Raises:
        ValueError: the pixels are not (H, W, 3).
    """

    pixels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError(f"image pixels must be (H, W, 3), not {self.pixels.shape}")


Part: TypeAlias = str | Audio | Image


@dataclass(frozen=True, slots=True)
class Question:
    """All that a model may see of a row.

    Args:
        given: the input, in reading order.
        instruction: what to do, for models that read instructions.
        options: candidates (Choice), label names (Spans), () (Text).
        meanings: what each option means in words, as many as there are options, or ().
        marks: the pieces of the first text it is about: a pronoun, its candidates, two entities.

    Raises:
        ValueError: nothing is given, an option is repeated, meanings and options differ in number,
            or a mark lies outside the text.
    """

    given: tuple[Part, ...]
    instruction: str = ""
    options: tuple[str, ...] = ()
    meanings: tuple[str, ...] = ()
    marks: tuple[Span, ...] = ()

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
