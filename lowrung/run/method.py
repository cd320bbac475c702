"""What a way to adapt is, before anything is adapted by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lowrung.core.answers import Choice, Choices, Spans


@dataclass(frozen=True, slots=True)
class Method:
    """One way.

    Args:
        about: one line for people.
        answers: the shapes of answer it can give.
        learns: whether it needs labels; the untouched model does not.
        candidate: whether a study may ship it; the floor of the table may not.
        points: whether it can do without labels: choose among what a question itself brings, or find its answer.
        brings: whether it is for options that a row brings without marking them, and for nothing else.
        body: whether it stands on a backbone; mended texts stand on a language's words, or on nothing.
        mends: whether it mends texts, and does nothing else. writes: whether it writes new ones, and nothing else.
        extracts: whether it finds answers in texts, and does nothing else.
        practised: whether it is, or starts from, a model that has practised on raw text.
        hears: whether it can take a body that hears or reads to a task.
        fuses: whether it takes text, sound and pictures of a question together; it is for rows that have two of them.
        remote: whether it asks an endpoint; see models.remote.
        writer: whether it stands on a language model; see models.writer.
        named: whether a study takes it only where it is asked for by name.
        described: whether it is there only where the task is described in words; see run.describing.
        silver: whether it learns from silver rows as well, also without gold ones; see run.silver.
        augment: names of augmentations that it learns from as well; its own name then tells them after «~».
    """

    name: str
    about: str
    answers: tuple[type[Any], ...] = (Choice, Choices, Spans)
    learns: bool = True
    candidate: bool = True
    points: bool = True
    body: bool = True
    brings: bool = False
    mends: bool = False
    writes: bool = False
    extracts: bool = False
    practised: bool = False
    hears: bool = False
    fuses: bool = False
    remote: bool = False
    writer: bool = False
    named: bool = False
    described: bool = False
    silver: bool = False
    augment: tuple[str, ...] = ()

    @property
    def plain(self) -> str:
        """Its name without augmentations."""
        return self.name.partition("~")[0]

    @property
    def untouched(self) -> bool:
        """Whether it is what a task's model does with 0 labels, which all others are compared with."""
        return self.candidate and not (self.learns or self.practised or self.remote or self.writer)
