"""Questions of many callers, answered together: what came while one batch was answered is the next one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lowrung.core.answers import Prediction
from lowrung.core.errors import LowrungError
from lowrung.core.parts import Audio, Question

Answer: TypeAlias = Callable[[Sequence[Question]], Sequence[Prediction[Any]]]

BATCH_SECONDS = 0.15  # that a batch is meant to take: long enough to pay, short enough to wait for
LEAST_COST = 64  # tokens that a batch may always have, however slow the model is
PICTURE, SECOND = 200, 50  # tokens that a picture and a second of sound count as
LEARNS = 0.2  # how fast the pace follows what was measured


class Busy(LowrungError):
    """More is waiting than would be answered in time; after `seconds` there is room again."""

    def __init__(self, seconds: float, why: str = "too many questions are waiting") -> None:
        super().__init__(f"{why}; ask again in {seconds:.1f} s")
        self.seconds = seconds


class Closing(LowrungError):
    """The service is being shut down, and takes no more questions."""


def cost(question: Question) -> int:
    """About how many tokens a question has, without a tokenizer: a word has five letters and a blank, or is a letter
    of a script without blanks (three bytes)."""
    tokens = 2
    for part in question.given:
        if isinstance(part, str):
            tokens += len(part.encode("utf-8", "replace")) // 4 + 1
        elif isinstance(part, Audio):
            tokens += int(part.seconds * SECOND) + 1
        else:
            tokens += PICTURE
    return tokens


@dataclass
class _Asked:
    questions: Sequence[Question]
    cost: int
    future: Future[list[Prediction[Any]]]
    since: float


@dataclass
class Batcher:
    """Takes questions from many tasks of one event loop and hands them to a model on a thread of its own.

    No batch waits for company: while one is answered, the next one gathers. A batch holds as many tokens as are
    answered in about `BATCH_SECONDS` at the pace measured so far; what is asked together stays together.

    Args:
        answer: of a model.
        patience: seconds that a question may have to wait before its turn; who would wait longer is told so at once.
        watch: called with (questions, tokens, seconds waited by the first, seconds taken) after each batch.
    """

    answer: Answer
    patience: float = 0.5
    watch: Callable[[int, int, float, float], None] | None = None
    waiting: deque[_Asked] = field(default_factory=deque, init=False, repr=False)
    depth: int = field(default=0, init=False)  # questions that wait
    pace: float = field(default=0.0, init=False)  # seconds a token, 0 before anything was measured

    def __post_init__(self) -> None:
        self._change, self._tokens, self._open = threading.Condition(), 0, True
        self._begun, self._running = 0.0, 0
        self._thread = threading.Thread(target=self._work, name="lowrung-batches", daemon=True)
        self._thread.start()

    async def ask(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        """The predictions, in order.

        Raises:
            Busy: the wait would be longer than `patience`.
            Closing: `close` was called.
            Exception: what the model raises at these questions.
        """
        return await asyncio.wrap_future(self.put(questions))

    def put(self, questions: Sequence[Question]) -> Future[list[Prediction[Any]]]:
        """As `ask`, from any thread."""
        size = sum(map(cost, questions))
        asked = _Asked(questions, size, Future(), time.perf_counter())
        with self._change:
            if not self._open:
                raise Closing("the service is shutting down")
            if busy := self._busy():
                raise busy
            self.waiting.append(asked)
            self._tokens += size
            self.depth += len(questions)
            self._change.notify()
        return asked.future

    def busy(self) -> Busy | None:
        """What `put` would raise of a question that came now; None where it has a place."""
        with self._change:
            return self._busy()

    def _busy(self) -> Busy | None:
        return Busy(wait) if (wait := self._wait()) > self.patience else None

    def close(self, timeout: float | None = None) -> bool:
        """Take no more questions and answer those that wait; whether all were answered within `timeout` seconds."""
        with self._change:
            self._open = False
            self._change.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _wait(self) -> float:
        """Seconds until what is asked now would have its turn."""
        left = max(self._running * self.pace - (time.perf_counter() - self._begun), 0.0) if self._running else 0.0
        return self._tokens * self.pace + left

    def _next(self) -> list[_Asked] | None:
        """What is answered together next; None at the end, and nothing where all of it was given up."""
        with self._change:
            while not self.waiting:
                if not self._open:
                    return None
                self._change.wait()
            most = max(BATCH_SECONDS / self.pace, LEAST_COST) if self.pace else LEAST_COST
            taken, size = list[_Asked](), 0
            while self.waiting and (not taken or size + self.waiting[0].cost <= most):
                each = self.waiting.popleft()
                self._tokens -= each.cost
                self.depth -= len(each.questions)
                if each.future.set_running_or_notify_cancel():  # nobody waits for it any more
                    taken.append(each)
                    size += each.cost
            self._running, self._begun = size, time.perf_counter()
            return taken

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            if not taken:
                continue
            begun = time.perf_counter()
            self._answered(taken)
            seconds, size = time.perf_counter() - begun, sum(each.cost for each in taken)
            measured = seconds / size
            self.pace = measured if not self.pace else self.pace + LEARNS * (measured - self.pace)
            self._running = 0
            if self.watch:
                self.watch(sum(len(each.questions) for each in taken), size, begun - taken[0].since, seconds)

    def _answered(self, taken: Sequence[_Asked]) -> None:
        try:
            said = list(self.answer([question for each in taken for question in each.questions]))
        except Exception as problem:
            if len(taken) > 1:  # of one caller's question, which the others need not suffer for
                for each in taken:
                    self._answered([each])
                return
            taken[0].future.set_exception(problem)
            return
        for each in taken:
            number = len(each.questions)
            each.future.set_result(said[:number])
            del said[:number]
