"""A start for the methods that learn: a model that has practised on raw text, made once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowrung.core.model import Model
from lowrung.core.task import Task
from lowrung.run.ship import CARD, FACTS, REPORT, load


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is to be practised on, and how much.

    Args:
        text: files of raw text. column: of rows, the one that holds the text.
        steps, minutes: as `practise` takes them; words are harvested without.
    """

    text: tuple[str | Path, ...]
    column: str = "text"
    steps: int | None = None
    minutes: float = 0.0


@dataclass(frozen=True)
class Start:
    """A practised model: what it is, what tells it from another one, what it took, and what lowrung.json says of it."""

    model: Model[Any]
    checksum: str
    seconds: float
    facts: Mapping[str, Any]


def unpractised(task: Task[Any]) -> str:
    """What to say of a task that no raw text teaches."""
    return (
        f"task {task.name} cannot be practised on raw text; it needs labelled rows, or a body that knows such text "
        "better: lowrung practice --masked makes one for --model"
    )


def started(
    task: Task[Any],
    asked: Rehearsal,
    *,
    base: Any,
    out: Path | None = None,
    seed: int = 0,
    watch: Callable[[int, int, float], None] | None = None,
) -> Start:
    """Practise `task`, or take what the same call has made before.

    Args:
        base: what `run.methods.foundation` gives.
        out: a folder in which the model is kept, as the folder `practice-<key>`; an interrupted practice goes on there.
        watch: called with (step, steps, loss) as a network practises.

    Raises:
        LowrungError, DataError, ModelError: as `practise` and `harvest` do.
    """
    from lowrung.run.practice import job_of

    key = job_of(task, asked.text, base.source, asked.column, asked.steps, asked.minutes, seed)
    folder = out / f"practice-{key[:12]}" if out else None
    if folder is None or not (folder / FACTS).is_file():
        model, facts, seconds = _made(task, asked, base, folder, seed, watch)
        if folder is None:
            return Start(model, key, seconds, facts)
    kept = json.loads((folder / FACTS).read_text("utf-8"))
    return Start(load(folder).model, _checksum(folder), kept["practice"]["seconds"], kept["practice"])


def _made(
    task: Task[Any],
    asked: Rehearsal,
    base: Any,
    folder: Path | None,
    seed: int,
    watch: Callable[[int, int, float], None] | None,
) -> tuple[Model[Any], Mapping[str, Any], float]:
    if task.mends:
        from lowrung.run.harvest import harvest

        found = harvest(task, asked.text, base=base, column=asked.column, seed=seed, out=folder)
        return found.model, found.to_json(), found.seconds
    from lowrung.run.practice import practise

    made = practise(
        task,
        asked.text,
        model=base.source.name,
        steps=asked.steps,
        minutes=asked.minutes,
        column=asked.column,
        seed=seed,
        out=folder,
        watch=watch,
    )
    return made.model, made.to_json(), made.seconds


def practised_states(model: Any) -> Any:
    """A models.tuning.Prefixes of the body that has practised, to share its states."""
    from lowrung.models.tuning import Prefixes

    return Prefixes(model.backbone)


def _checksum(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.name not in (FACTS, REPORT, CARD):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()
