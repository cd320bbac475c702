"""What verbs are given: a model by its name, rows in parts, labels with what they mean."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrung import tasks
from lowrung.core.errors import LowrungError, unknown
from lowrung.core.task import Example, Task
from lowrung.data.files import split_names

if TYPE_CHECKING:
    from lowrung.run.ship import Shipped


def folder_or_task(name: str, body: str = "") -> Shipped | Task[Any]:
    """The shipped model of that name, or the task whose untouched model, or `body`, is meant."""
    from lowrung.run.ship import load, shipped_folder

    return tasks.task(name) if shipped_folder(name) is None and name in tasks.names() else load(name, model=body)


def meant(task: Task[Any], asked: argparse.Namespace) -> Task[Any]:
    for label, _ in asked.meaning:
        if label not in task.options:
            raise LowrungError(f"--meaning: {unknown('label', label, task.options)}")
    return task.with_options(task.options, dict(asked.meaning))


def parts_of(source: str) -> dict[str, Path]:
    return split_names(source) if os.path.isdir(source) else {}


def warn_of_learnt(shipped: Shipped, examples: Sequence[Example[Any]], source: str) -> None:
    from lowrung.run.ship import fingerprint

    if shipped.facts.get("fingerprint") == fingerprint(examples):
        print(f"lowrung: {source} holds the rows that the model learnt from; this is no test", file=sys.stderr)
