"""Floor 2: one task, one file; the file name is the registry. `task("topic")` finds tasks/topic.py."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from lowrung.core.errors import LowrungError, unknown
from lowrung.core.task import Task


def names() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_")))


def task(name: str) -> Task[Any]:
    """The task of that name.

    Raises:
        LowrungError: no such task; the message names the closest one.
    """
    if name not in names():
        raise LowrungError(unknown("task", name, names()))
    found: Task[Any] = import_module(f"{__name__}.{name}").TASK
    return found
