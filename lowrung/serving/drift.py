"""Whether what a service is asked has drifted from what its models were made for."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from queue import Empty, Full, Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowrung.core.answers import Prediction
from lowrung.core.errors import ModelError
from lowrung.core.model import Model
from lowrung.core.parts import Question
from lowrung.run.nearest import vectors_of
from lowrung.run.reference import KINDS, Reference, Seen, drifts, read_reference, seen
from lowrung.run.ship import Shipped, now
from lowrung.serving.meters import Meters

BLOCK = 100  # questions after which the window is looked at again
WINDOW = 500  # questions that are looked at together
EMBEDDED = 20  # of a block: their vectors cost as much as their answers did
PIECE = 4  # of these at once: as long as that, answers wait for the body
TOLD = 200  # looks that are remembered
LEVEL = 0.05
REST = 20  # times as long as a part of a look took, there is no other one: answers come first

Block = tuple[Sequence[Question], Sequence[Prediction[Any]]]


@dataclass
class _Watched:
    model: Model[Any]
    reference: Reference
    asked: list[Question] = field(default_factory=list)
    said: list[Prediction[Any]] = field(default_factory=list)
    window: deque[Seen] = field(default_factory=lambda: deque(maxlen=WINDOW))
    told: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=TOLD))


class Monitor:
    """Looks at windows of questions beside those that a model was made for, on a thread of its own.

    Of the questions numbers are kept, and nothing that they said. What comes faster than it can be looked at is passed
    over.
    """

    def __init__(self, meters: Meters) -> None:
        self.meters, self._watched, self._lock = meters, dict[str, _Watched](), threading.Lock()
        self._blocks: Queue[tuple[str, _Watched, Block]] = Queue(maxsize=4)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lowrung-drift", daemon=True)
        self._thread.start()

    def watch(self, name: str, shipped: Shipped) -> None:
        """From now on, of the model of that name; not where its folder has no reference."""
        for kind in KINDS:
            with suppress(KeyError):  # what was told of the version before
                self.meters.drift.remove(name, kind)
        with self._lock:
            self._watched.pop(name, None)
            if shipped.folder is None:
                return
            with suppress(ModelError):  # of a damaged one, which is no reason not to answer
                reference = read_reference(shipped.folder)
                if reference is not None:
                    self._watched[name] = _Watched(shipped.model, reference)

    def met(self, name: str, questions: Sequence[Question], said: Sequence[Prediction[Any]]) -> None:
        """These were asked and answered."""
        with self._lock:
            watched = self._watched.get(name)
            if watched is None:
                return
            watched.asked += questions
            watched.said += said
            if len(watched.asked) < BLOCK:
                return
            block = watched.asked, watched.said
            watched.asked, watched.said = [], []
        with suppress(Full):
            self._blocks.put_nowait((name, watched, block))

    def told(self) -> dict[str, list[dict[str, Any]]]:
        """model → what was found at each look, the oldest first: {"at", "kind", "value", "p", "alarm"}."""
        with self._lock:
            return {name: list(watched.told) for name, watched in self._watched.items()}

    def close(self) -> None:
        self._ended.set()
        self._thread.join(10)

    def _work(self) -> None:
        while not self._ended.is_set():
            try:
                name, watched, block = self._blocks.get(timeout=0.5)
            except Empty:
                continue
            try:
                found = self.look(watched, *block)
            except Exception as problem:  # of one model, whose drift nobody looks at any more; the others go on
                print(f"lowrung: {name}: drift is not watched: {type(problem).__name__}: {problem}", file=sys.stderr)
                with self._lock:
                    if self._watched.get(name) is watched:
                        del self._watched[name]
                continue
            at = now()
            with self._lock:
                watched.told += [{"at": at, **asdict(each)} for each in found]
            for each in found:
                self.meters.drift.labels(name, each.kind).set(int(each.alarm))

    def look(self, watched: _Watched, questions: Sequence[Question], said: Sequence[Prediction[Any]]) -> list[Any]:
        """One more block of questions, and what has drifted in the window that it ends."""
        parts = list[NDArray[np.float32]]()
        for at in range(0, min(EMBEDDED, len(questions)), PIECE):
            with self._resting():
                parts.append(vectors_of(watched.model, questions[at : min(at + PIECE, EMBEDDED)]))
        with self._resting():
            watched.window += seen(watched.reference, questions, said, np.concatenate(parts))
            return drifts(watched.reference, list(watched.window), level=LEVEL)

    @contextmanager
    def _resting(self) -> Iterator[None]:
        begun = time.thread_time()
        yield
        self._ended.wait(REST * (time.thread_time() - begun))
