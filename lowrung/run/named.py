"""The models that somebody has named, by what they are: a body, a language model, an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lowrung.core.errors import ModelError
from lowrung.core.task import Task
from lowrung.models.remote import is_remote

if TYPE_CHECKING:
    from lowrung.models.endpoint import Terms
    from lowrung.models.remote import Remote
    from lowrung.models.writer import TextWriter


@dataclass(frozen=True)
class Named:
    """At most one of each kind.

    Args:
        body: the name of a body (where texts are mended, of a language), "" for the embedded one.
    """

    body: str = ""
    writer: TextWriter | None = None
    remote: Remote | None = None

    @property
    def foreign(self) -> Any:
        """The language model or the endpoint, which need no body."""
        return self.writer or self.remote


def named(task: Task[Any], models: str | Sequence[str], terms: Terms | None = None) -> Named:
    """What each name stands for; a language model and an endpoint are asked in the words of `task`.

    Raises:
        ModelError: two of one kind, or one of them cannot be loaded or cannot be asked about what the task's rows give.
    """
    kinds: dict[str, list[str]] = {"body": [], "language model": [], "endpoint": []}
    for name in [models] if isinstance(models, str) else models:
        kinds["endpoint" if is_remote(name) else "language model" if writes(task, name) else "body"] += [name]
    for kind, names in kinds.items():
        if len(names) > 1:
            raise ModelError(f"--model takes one {kind} at most, and got {' and '.join(names)}; study them one by one")
    body, writer, remote = (names[0] if names else "" for names in kinds.values())
    if not writer and not remote:
        return Named(body)
    from lowrung.models.remote import remote_for
    from lowrung.models.writer import writer_for

    asked = writer_for(task, writer) if writer else None
    return Named(body, asked, remote_for(task, remote, terms) if remote else None)


def writes(task: Task[Any], model: str) -> bool:
    """Whether the model of that name is a language model, which sounds and pictures have none of."""
    if not model or task.media or is_remote(model):
        return False
    from lowrung.models.language_model import is_writer

    return is_writer(model)
