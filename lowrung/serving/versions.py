"""Every version of a shipped model, kept beside it; one of them is in its place, and any can be put there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowrung.core.errors import LowrungError, ModelError, unknown
from lowrung.data.files import atomic_folder
from lowrung.run.ship import FACTS, now, shipped_folder
from lowrung.serving.hosting import version_in

HISTORY = "history.jsonl"


@dataclass(frozen=True, slots=True)
class Version:
    """One.

    Args:
        date: when it was made. rows: that it learnt from, None where it does not say.
        current: whether it is the one in the model's place.
    """

    version: str
    method: str
    date: str
    rows: int | None
    current: bool


def place(model: str | Path) -> Path:
    """The folder of a shipped model, or of a study's winner.

    Raises:
        ModelError: it is none.
    """
    found = shipped_folder(model)
    if found is None:
        raise ModelError(f"{model}: not a shipped model (there is no {FACTS})")
    return found


def beside(model: str | Path) -> Path:
    """The folder that keeps the versions of a model."""
    folder = Path(os.path.realpath(place(model)))
    return folder.with_name(f"{folder.name}.versions")


def current(model: str | Path) -> str:
    return version_in(place(model))


def keep(model: str | Path) -> str:
    """Keep the version that is in the model's place, unless it is kept already; its name."""
    folder, version = place(model), current(model)
    kept = beside(model) / version
    if not (kept / FACTS).is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(kept) as new:
            shutil.copytree(folder, new, dirs_exist_ok=True)
    return version


def listed(model: str | Path) -> list[Version]:
    """All versions that are kept, and the current one, by date."""
    now_, folder = current(model), beside(model)
    there = [each for each in folder.iterdir() if not each.name.startswith(".")] if folder.is_dir() else []
    kept = {each.name: each for each in there if (each / FACTS).is_file()}  # without what was being written
    found = []
    for name, each in {**kept, now_: place(model)}.items():
        facts = json.loads((each / FACTS).read_text("utf-8"))
        rows = facts.get("rows")
        told = rows if isinstance(rows, int) else None
        found.append(Version(name, str(facts.get("method", "")), str(facts.get("date", "")), told, name == now_))
    made = {
        name: (each / FACTS).stat().st_mtime_ns for name, each in {**kept, now_: kept.get(now_, place(model))}.items()
    }
    return sorted(found, key=lambda each: (each.date, made[each.version]))  # dates are of whole seconds


def promote(model: str | Path, version: str, why: str = "promoted") -> str:
    """Put a kept version into the model's place, in one step; what was there is kept. Which that was.

    Raises:
        LowrungError: there is no such version.
    """
    known = [each.version for each in listed(model)]
    if version not in known:
        raise LowrungError(f"{model}: {unknown('version', version, known)}")
    before, folder = keep(model), place(model)
    if before == version:
        return before
    _told(model, {"at": now(), "from": before, "to": version, "why": why})
    with atomic_folder(folder) as new:
        shutil.copytree(beside(model) / version, new, dirs_exist_ok=True)
    return before


def rollback(model: str | Path) -> tuple[str, str]:
    """Put back the version that the current one took the place of; (from, to).

    Raises:
        LowrungError: it took no other's place.
    """
    here = current(model)
    came = next((each for each in reversed(list(history(model))) if each.get("to") == here), None)
    if came is None:
        raise LowrungError(f"{model}: version {here} took no other version's place; there is none to go back to")
    promote(model, came["from"], "rolled back")
    return here, str(came["from"])


def history(model: str | Path) -> Iterator[dict[str, Any]]:
    """What was put into the model's place, or tried, in order: {"at", "from", "to", "why"}."""
    path = beside(model) / HISTORY
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            yield json.loads(line)
        except ValueError:  # of a line that was being written when the power went
            continue


def _told(model: str | Path, what: dict[str, Any]) -> None:
    path = beside(model) / HISTORY
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")  # when the power went
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * torn + json.dumps(what, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def tell(model: str | Path, **what: Any) -> None:
    """Add a line to the model's history."""
    _told(model, {"at": now(), **what})
