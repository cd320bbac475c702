"""What trainings tell of themselves while they run, to whoever listens. Nobody does unless `told_to` says so.

Who listens, and whose training it is, stand in context variables, so that neither goes through every function between
a verb and the loop. A thread that is started within does not see them; nothing here trains in threads of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

Fact = str | bool | int | float


@dataclass(frozen=True, slots=True)
class Run:
    """Whose training it is.

    Args:
        labels: how many rows with labels it learns from.
        part: which of several trainings of the same name, as a fold of cross-validation.
    """

    task: str
    method: str
    labels: int
    seed: int
    part: str = ""

    @property
    def name(self) -> str:
        return f"{self.task}/{self.method}-{self.labels}-{self.seed}{self.part and f'-{self.part}'}"


Tell = Callable[[int, Mapping[str, float]], None]  # steps done, values by name
# the run, None where nobody named one; what it is trained with; steps that are done already → what each step is told to
Track = Callable[[Run | None, Mapping[str, Fact], int], AbstractContextManager[Tell]]

_TRACK: ContextVar[Track | None] = ContextVar("track", default=None)
_RUN: ContextVar[Run | None] = ContextVar("run", default=None)


@contextmanager
def told_to(track: Track) -> Iterator[None]:
    """Every training within is told to `track`."""
    token = _TRACK.set(track)
    try:
        yield
    finally:
        _TRACK.reset(token)


@contextmanager
def run_of(task: str, method: str, labels: int, seed: int, *, part: str = "") -> Iterator[None]:
    """Trainings within are those of this run; where they are within another one, which knows better, of that one."""
    token = _RUN.set(_RUN.get() or Run(task, method, labels, seed, part))
    try:
        yield
    finally:
        _RUN.reset(token)


@contextmanager
def part_of_run(name: str) -> Iterator[None]:
    """Trainings within are a part of the run, under a name of their own; "" is no part."""
    run = _RUN.get()
    token = _RUN.set(replace(run, part="-".join(filter(None, (run.part, name.replace("/", "-"))))) if run else run)
    try:
        yield
    finally:
        _RUN.reset(token)


def _nobody(step: int, values: Mapping[str, float]) -> None:
    pass


@contextmanager
def training(facts: Mapping[str, Fact], done: int) -> Iterator[Tell]:
    """What a training that begins, or goes on after `done` steps, tells its steps to."""
    track = _TRACK.get()
    if track is None:
        yield _nobody
        return
    with track(_RUN.get(), facts, done) as tell:
        yield tell
