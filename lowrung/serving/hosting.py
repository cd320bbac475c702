"""Models by name, each with its queue; a newer version takes over without a request lost."""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowrung.core.errors import LowrungError, ModelError, unknown
from lowrung.run.ship import FACTS, Shipped, shipped_folder
from lowrung.run.silver import gold_column
from lowrung.serving.batching import Batcher, Busy
from lowrung.serving.drift import Monitor
from lowrung.serving.meters import Meters

Loader = Callable[[str], Shipped]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LATE = 30.0  # seconds that a model which another took the place of goes on answering
LOOKS = 1.0  # seconds between two looks at whether a newer version has been promoted


@dataclass(frozen=True)
class Served:
    """One version of one model, answering.

    Args:
        source: what it was loaded from. stamp: of that, at the time.
        version: tells it from others of the same name.
    """

    name: str
    source: str
    shipped: Shipped
    batcher: Batcher
    version: str
    stamp: tuple[int, int] | None

    @property
    def hears(self) -> bool:
        """Whether its model hears sound block by block."""
        if self.shipped.task.media != "audio":
            return False
        from lowrung.models.recognizer import Recognizer

        return isinstance(self.shipped.model, Recognizer)

    def about(self) -> dict[str, Any]:
        """As `GET /v1/models` tells it."""
        task = self.shipped.task
        return {
            "name": self.name,
            "version": self.version,
            "task": task.name,
            "about": task.about,
            "method": str(self.shipped.facts.get("method", self.shipped.model.name)),
            "options": list(task.options),
            "media": task.media,
            "live": self.hears,
            "shape": task.answer.__name__.lower(),
            "columns": list(task.columns),
            "gold": gold_column(task),
            "sample": {} if task.media else dict(task.sample),
            "date": str(self.shipped.facts.get("date", "")),
        }


@dataclass
class Host:
    """All that is served.

    Args:
        sources: name → folder, or task for its embedded default.
        load: source → model.
        patience: seconds that a question may wait for its turn.
        precision: "exact" or "fast", as models.network.Adapted.quicken takes it.

    Raises:
        LowrungError: a name is none, or a model cannot be loaded.
    """

    sources: Mapping[str, str]
    load: Loader
    meters: Meters
    patience: float = 0.5
    precision: str = "exact"
    served: dict[str, Served] = field(default_factory=dict, init=False)
    drift: Monitor = field(init=False)

    def __post_init__(self) -> None:
        self.drift = Monitor(self.meters)
        for name, source in self.sources.items():
            if not NAME.fullmatch(name):
                raise LowrungError(f"a model is served under letters, digits, '.', '_' and '-', not {name!r}")
            self.served[name] = self._made(name, source)
        self._ended, self._broken = threading.Event(), dict[str, tuple[int, int] | None]()
        self._watcher = threading.Thread(target=self._look, name="lowrung-versions", daemon=True)
        self._watcher.start()

    def of(self, name: str = "") -> Served:
        """The model of that name; the only one where there is one and none is named.

        Raises:
            ModelError: there is none of that name, or several and none is named.
        """
        if not name and len(self.served) == 1:
            return next(iter(self.served.values()))
        if name not in self.served:
            raise ModelError(unknown("model", name, self.served))
        return self.served[name]

    def busy(self) -> tuple[str, Busy] | None:
        """(name, why) of the one model that is served, where it takes no more questions; None of several."""
        if len(self.served) != 1:
            return None
        only = self.of()
        found = only.batcher.busy()
        return (only.name, found) if found else None

    def refresh(self, name: str) -> bool:
        """Let a newer version take over where there is one; whether there was.

        What waits for the old one is still answered by it.

        Raises:
            LowrungError: the newer version cannot be loaded; the old one goes on.
        """
        old = self.served[name]
        if old.stamp is None or _stamp(old.source) in (old.stamp, None):
            return False
        self.served[name] = self._made(name, old.source)
        closing = threading.Timer(LATE, old.batcher.close)  # who is about to ask the old one is answered, too
        closing.daemon = True
        closing.start()
        return True

    def close(self, timeout: float = 30.0) -> bool:
        """Take no more questions; whether all that waited were answered in time."""
        self._ended.set()
        self.drift.close()
        end = time.monotonic() + timeout
        done = [each.batcher.close(max(end - time.monotonic(), 0.0)) for each in self.served.values()]
        return all(done)

    def _made(self, name: str, source: str) -> Served:
        stamp = _stamp(source)
        shipped = self.load(source)
        model: Any = shipped.model
        if hasattr(model, "quicken"):
            try:
                model.quicken(self.precision)
            except ModelError as problem:  # without onnxruntime, or for a body without such a graph
                if self.precision == "fast":
                    print(f"lowrung: {name} is not served fast: {problem}", file=sys.stderr)
        if not shipped.task.media and (shipped.task.points or shipped.task.options):
            with suppress(LowrungError, ValueError):
                model.answer([shipped.question(shipped.task.sample)] * 4)  # the first answer pays for what is set up
        meters = self.meters
        meters.loaded.labels(name).set_to_current_time()

        def watch(questions: int, tokens: int, waited: float, seconds: float) -> None:
            meters.batch.labels(name).observe(questions)
            meters.tokens.labels(name).inc(tokens)
            meters.waited.labels(name).observe(waited)
            meters.batch_seconds.labels(name).observe(seconds)

        self.drift.watch(name, shipped)
        batcher = Batcher(model.answer, self.patience, watch)
        meters.waiting.labels(name).set_function(lambda: self.served[name].batcher.depth if name in self.served else 0)
        return Served(name, source, shipped, batcher, version_of(shipped), stamp)

    def _look(self) -> None:
        while not self._ended.wait(LOOKS):
            for name, old in list(self.served.items()):
                stamp = _stamp(old.source)
                if stamp == self._broken.get(name, old.stamp):
                    continue
                try:
                    self.refresh(name)
                except Exception as problem:  # of a version that cannot be loaded; the old one goes on
                    self._broken[name] = stamp
                    told = f"cannot be loaded ({type(problem).__name__}: {problem})"
                    print(f"lowrung: {name}: {old.source} {told}; {old.version} goes on answering", file=sys.stderr)


def version_of(shipped: Shipped) -> str:
    """12 letters that tell one shipped model from another; the method's name for an embedded default."""
    if shipped.folder is None:
        return str(shipped.facts.get("method", shipped.model.name))
    return version_in(shipped.folder)


def version_in(folder: Path) -> str:
    """The same of a shipped model's folder, without loading it."""
    return hashlib.sha256((folder / FACTS).read_bytes()).hexdigest()[:12]


def _stamp(source: str) -> tuple[int, int] | None:
    """What changes when another version takes a folder's place; None for what has none."""
    folder = shipped_folder(source)
    if folder is None:
        return None
    try:
        stat = (Path(folder) / FACTS).stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def names_of(models: list[str]) -> dict[str, str]:
    """name → source of NAME=SOURCE, or of a source alone, which is called like its folder.

    Raises:
        LowrungError: two have the same name.
    """
    found: dict[str, str] = {}
    for each in models:
        name, equals, source = each.partition("=")
        if not equals or Path(each).exists():
            path = Path(each)
            name, source = path.parent.name if path.name == "model" and path.parent.name else path.name, each
        if name in found:
            raise LowrungError(f"two models are called {name!r}; name one as in {name}-2={source}")
        found[name] = source
    return found
