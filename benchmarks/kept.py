"""What the measuring programs share: results on disk, one thread, the names of machine and versions, tables."""

import fcntl
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks import others
from lowrung import __version__

RESULTS = Path(__file__).parent / "results"
PACKAGES = (*others.PACKAGES, "peft", "onnxruntime")
IMPORTED = (
    "peft pycrfsuite scipy.stats sklearn.feature_extraction.text sklearn.linear_model lowrung.models.baselines".split()
)


def place(name: str, *, quick: bool) -> Path:
    """Where results go; a quick run shows only that a program works, so its numbers are kept apart."""
    folder = Path(tempfile.mkdtemp(prefix="lowrung-quick-")) if quick else RESULTS
    return folder / name


def head() -> dict[str, Any]:
    known = {"lowrung": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # of a tool that this program does without
            known[name] = version(name)
    date = datetime.now(UTC).date().isoformat()
    return {"date": date, "machine": f"{others._processor()}, one thread", "versions": known}


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    return found


def add(path: Path, row: dict[str, Any]) -> None:
    """Append `row` at once, so that a cut run goes on where it stopped; two programs may write to one file."""
    path.parent.mkdir(exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        lines = ",\n".join("  " + json.dumps(each) for each in [*rows(path), row])
        _write(path, json.dumps(head(), indent=1)[:-2] + f',\n "rows": [\n{lines}\n ]\n}}\n')
    finally:
        os.close(folder)  # which lets go of the lock
    print(json.dumps(row), flush=True)


def put(path: Path, part: str, facts: dict[str, Any]) -> None:
    """Set one part of a file whose parts are measured apart; each says when and where."""
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    found[part] = head() | facts
    _write(path, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps({part: facts}, ensure_ascii=False, indent=1), flush=True)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.write_text(text, "utf-8")
    unfinished.replace(path)


def one_thread() -> None:
    """One thread, no progress bars, and every import done before a clock runs."""
    others._quiet()
    for name in IMPORTED:
        import_module(name)
    from lowrung.models.catalog import backbone

    os.environ["HF_HUB_OFFLINE"] = "1"
    backbone()


def spread(values: Sequence[float], digits: int = 3) -> str:
    """«0.812 ± 0.010» over seeds (sample standard deviation); "-" for none."""
    if not values:
        return "-"
    tail = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{tail}"


def table(titles: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    cells = [list(titles), *[[str(each) for each in line] for line in lines]]
    widths = [max(len(line[at]) for line in cells) for at in range(len(titles))]
    shown = ["| " + " | ".join(f"{each:<{n}}" for each, n in zip(line, widths, strict=True)) + " |" for line in cells]
    return "\n".join([shown[0], "|" + "|".join("-" * (n + 2) for n in widths) + "|", *shown[1:]])
