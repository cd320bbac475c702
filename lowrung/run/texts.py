"""Models by a method's name: correctors, recognizers, what writes new texts, and language models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lowrung.core.model import Model
from lowrung.core.task import Example, Task

if TYPE_CHECKING:
    from lowrung.run.method import Method


def fit_mender(method: Method, examples: Sequence[Example[Any]], base: Any, *, seed: int) -> Model[Any]:
    """A corrector, or what stands for one at the bottom of the table."""
    from lowrung.models import correcting

    if method.name == "do-nothing":
        return correcting.DoNothing()
    if method.name == "dictionary":
        return correcting.Dictionary(base.lexicon)
    if not method.learns:
        return base  # type: ignore[no-any-return]
    return replace(correcting.fit_corrector(base, examples, seed=seed), name=method.name)


def fit_listener(
    method: Method, examples: Sequence[Example[Any]], base: Any, *, how: Any, **learning: Any
) -> Model[Any]:
    """A recognizer: what is said or written, by `base` as it is or taught."""
    from lowrung.models.hearing import taught
    from lowrung.models.tuned_recognizer import fit_recognizer

    if not method.learns:
        return base  # type: ignore[no-any-return]
    return replace(fit_recognizer(taught(base), examples, how=how, **learning), name=method.name)


def fit_writer(
    method: Method,
    task: Task[Any],
    examples: Sequence[Example[Any]],
    body: Any,
    *,
    how: Any,
    prefixes: Any,
    **learning: Any,
) -> Model[Any]:
    """What writes a new text: a memory of those that rows have shown, or a decoder above `body`."""
    from lowrung.models.memory import fit_memory
    from lowrung.models.translating import fit_translator

    if method.plain == "memory":
        return fit_memory(body, examples)
    made = fit_translator(body, examples, metric=task.metrics[0], how=how, prefixes=prefixes, **learning)
    made.name = method.name
    return made


def fit_language_model(
    method: Method, examples: Sequence[Example[Any]], base: Any, *, how: Any, settings: Any, **learning: Any
) -> Model[Any]:
    """The models.writer.TextWriter `base` as it is, shown examples in its prompt, or trained."""
    from lowrung.models.tuned_writer import fit_shots, fit_writer

    if not method.learns:
        return base  # type: ignore[no-any-return]
    if how is None:
        made = fit_shots(base, examples, seed=learning["seed"])
    else:
        made = fit_writer(base, examples, how=how, settings=settings, **learning)
    return replace(made, name=method.name)
