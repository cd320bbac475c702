"""Many requests to one OpenAI-compatible endpoint at once: paced, repeated where that helps, within a limit of cost.

What the server may ask for is done: `Retry-After` holds back every request, HTTP 429 and 5xx, time-outs, cut
connections and bodies that are no chat completion are tried again with exponential back-off and full jitter (Brooker
2015), anything else is told. The key comes from the environment at the moment of asking and is written nowhere.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from lowrung.core.answers import Prediction
from lowrung.core.errors import LowrungError, ModelError

KEYS = ("LOWRUNG_API_KEY", "OPENAI_API_KEY")  # of the environment, the first that is set
FIRST, MOST = 0.5, 30.0  # seconds: the back-off after the first failure, and at most
LONGEST = 600.0  # seconds of Retry-After that are waited for
SECRET = 8  # characters that a key has at least
CONNECT = 10.0  # seconds to reach a server at all
AGAIN = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 507, 520, 522, 524, 529))
OF_THE_ROW = (400, 413, 422)  # what a server says of one request that it will never answer
REFUSED_FIRST = 3  # such refusals, before any answer, after which the fault is not the rows'
# settings that some servers do not take: name → what to ask for instead
OPTIONAL = {"max_tokens": "max_completion_tokens", "logprobs": "", "temperature": ""}
PER_MESSAGE = 64  # tokens at most that a server adds to the words of a request
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Terms:
    """How an endpoint is asked.

    Args:
        concurrency: requests under way at once.
        timeout: seconds for one request, from connecting to the last byte.
        tries: how often a request is sent before its row is given up.
        per_minute: requests started in a minute, None for as many as there are.
        price: of a million tokens (read, written), in any currency; None where it is not known.
        most_cost: requests end before this would be passed, in the currency of `price`.
        most_tokens: of an answer, 0 for what its shape may need; a model that thinks aloud needs more.

    Raises:
        LowrungError: a number is out of range, or there is a limit of cost without a price.
    """

    concurrency: int = 16
    timeout: float = 60.0
    tries: int = 8
    per_minute: float | None = None
    price: tuple[float, float] | None = None
    most_cost: float | None = None
    most_tokens: int = 0

    def __post_init__(self) -> None:
        if self.most_cost is not None and self.price is None:
            raise LowrungError("--max-cost needs prices: --price IN,OUT, of a million tokens read and written")
        numbers = (self.concurrency, self.timeout, self.tries, self.per_minute or 1)
        if min(numbers) <= 0 or min(self.price or (0,)) < 0 or (self.most_cost or 0) < 0 or self.most_tokens < 0:
            raise LowrungError(f"an endpoint cannot be asked by {self}: numbers above 0, prices from 0 on")

    def cost(self, read: float, written: float) -> float:
        """Of so many tokens; 0 where no price is known."""
        return (read * self.price[0] + written * self.price[1]) / MILLION if self.price else 0.0


@dataclass(slots=True)
class Bill:
    """What answering took so far.

    Args:
        rows: questions answered; asked: of them, those that were sent now and not stored before.
        read, written: tokens of all rows, as the server counts them, stored ones included.
        paid: the cost of what was sent now. cost: of all rows, as if all had been sent now.
        seconds: from the first request to the last reply; of stored rows, what they took then over the concurrency.
        refused: rows that the server declined, with what it said of the first one.
    """

    rows: int = 0
    asked: int = 0
    unanswered: int = 0
    read: int = 0
    written: int = 0
    paid: float = 0.0
    cost: float = 0.0
    seconds: float = 0.0
    refused: int = 0
    said: str = ""


class Spent(ModelError):
    """The limit of cost is reached. `predictions` holds what was answered by then, None for the rest."""

    def __init__(self, message: str, predictions: Sequence[Prediction[Any] | None]) -> None:
        super().__init__(message)
        self.predictions = predictions


class Refused(Exception):
    """The server will not answer this request; the text says why."""


class _Over(Exception):
    """No request fits below the limit of cost any more."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one request: the words, the sum of their log-probabilities where told, tokens, seconds."""

    said: str | None
    log: float | None
    read: int
    written: int
    seconds: float


@dataclass
class Endpoint:
    """`url` as a user gives it, such as http://127.0.0.1:8000/v1."""

    url: str
    terms: Terms
    lacks: set[str] = field(default_factory=set, init=False)  # of OPTIONAL, as the server said
    reached: bool = field(default=False, init=False)
    spent: float = field(default=0.0, init=False)  # at most
    slot: float = field(default=0.0, init=False)  # of time.monotonic: when the pace lets the next request start
    pause: float = field(default=0.0, init=False)  # likewise: before it the server wants none

    def ask(
        self, requests: Sequence[Mapping[str, Any]], put: Callable[[int, Reply], None]
    ) -> tuple[dict[int, str], bool]:
        """Send `requests` (bodies of chat completions), each until it is answered; `put` takes each reply at once.

        Returns:
            (number of a request → why the server refused it, whether the limit of cost ended it before the last).

        Raises:
            ModelError: the extra `remote` is missing, the server cannot be reached, wants another key or address, or
                fails again and again; what was answered has been put.
        """
        run = _Run(self, requests, put)
        _finished(run.all())
        return run.refused, run.over


class _Run:
    """The requests of one call."""

    def __init__(
        self, endpoint: Endpoint, requests: Sequence[Mapping[str, Any]], put: Callable[[int, Reply], None]
    ) -> None:
        self.of, self.terms, self.requests, self.put = endpoint, endpoint.terms, requests, put
        self.refused: dict[int, str] = {}
        self.over = False
        self.next, self.answered, self.reserved = 0, 0, 0.0
        self.settled = asyncio.Condition()

    async def all(self) -> None:
        try:
            import httpx2
        except ImportError as problem:
            raise ModelError("endpoints are asked by httpx2, an extra: pip install 'lowrung[remote]'") from problem
        number = min(self.terms.concurrency, len(self.requests))
        key = next((told for name in KEYS if (told := os.environ.get(name, "").strip())), "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Limits(max_connections=number, max_keepalive_connections=number)
        try:
            if not key.isprintable():  # it would be refused, and shown, when it is sent
                raise ValueError
            waits = httpx2.Timeout(None, connect=CONNECT)
            client = httpx2.AsyncClient(headers=headers, limits=limits, timeout=waits, follow_redirects=False)
        except (ValueError, UnicodeError):
            raise ModelError(f"the key in the environment ({' or '.join(KEYS)}) holds odd characters") from None
        async with client:
            self.client, self.key = client, key
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(number):
                        group.create_task(self._worker())
            except ExceptionGroup as problems:
                raise problems.exceptions[0] from None

    async def _worker(self) -> None:
        while not self.over and self.next < len(self.requests):
            at, self.next = self.next, self.next + 1
            most = self._most_cost(self.requests[at])
            if not await self._reserve(most):
                return
            cost = 0.0
            try:
                reply = await self._answered(self.requests[at], most)
                cost = self.terms.cost(reply.read, reply.written)
                self.answered += 1
                self.put(at, reply)
            except _Over:
                self.over = True
            except Refused as problem:
                self.refused[at] = str(problem)
                if not self.answered and len(self.refused) >= min(REFUSED_FIRST, len(self.requests)):
                    raise ModelError(f"{self.of.url} {problem}") from None
            finally:
                async with self.settled:
                    self.reserved -= most
                    self.of.spent += cost
                    self.settled.notify_all()

    async def _reserve(self, most: float) -> bool:
        """Wait until the request fits below the limit whatever it costs; False where it never will."""
        async with self.settled:
            while self._passes(most) and self.reserved > 0:
                await self.settled.wait()
            self.over = self.over or self._passes(most)
            self.reserved += 0.0 if self.over else most
        return not self.over

    def _passes(self, more: float) -> bool:
        limit = self.terms.most_cost
        return limit is not None and self.of.spent + self.reserved + more > limit

    def _lose(self, most: float) -> None:
        """Count a request that may have been answered unheard at its most; raises _Over where none fits any more."""
        self.of.spent += most
        if self._passes(0.0):
            raise _Over

    def _most_cost(self, request: Mapping[str, Any]) -> float:
        """No text has more tokens than bytes."""
        words = sum(len(each["content"].encode("utf-8", "replace")) + PER_MESSAGE for each in request["messages"])
        return self.terms.cost(words, request["max_tokens"])

    async def _answered(self, request: Mapping[str, Any], most: float) -> Reply:
        """The reply, by as many tries as it takes.

        Raises:
            Refused: the server will not answer this one.
            ModelError: it will answer none, or has failed as often as is tried.
        """
        import httpx2

        failed, waited, problem, before = 0, 0, "", self.answered
        without = set[str]()  # settings that this request does without; only its answer says that it was they
        while failed < self.terms.tries:
            await self._turn()
            begun, body, queued = time.monotonic(), self._body(request, without), False
            try:
                async with asyncio.timeout(self.terms.timeout):
                    got = await self.client.post(f"{self.of.url}/chat/completions", json=body)
            except TimeoutError:
                problem = f"did not answer within {self.terms.timeout:g} s"
                self._lose(most)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as found:
                problem = f"cannot be reached: {self._clean(str(found) or type(found).__name__)}"
                if not self.of.reached:
                    raise ModelError(f"{self.of.url} {problem}") from None
            except httpx2.HTTPError as found:
                problem = f"cut the connection: {self._clean(str(found) or type(found).__name__)}"
                self._lose(most)
            else:
                self.of.reached = True
                reply = self._read(got, time.monotonic() - begun)
                if isinstance(reply, Reply):
                    self.of.lacks.update(without)
                    return reply
                problem, status = reply, got.status_code
                if status == 200:
                    self._lose(most)
                elif status == 400 and (named := [name for name in OPTIONAL if name in got.text and name in body]):
                    without.update(named)
                    continue
                elif status in OF_THE_ROW:
                    raise Refused(problem)
                elif status not in AGAIN:
                    raise ModelError(f"{self.of.url} {problem}{self._mend(got)}")
                self._hold_back(got, problem)
                queued = status == 429 and self.answered > before  # others get through: a queue, and no failure
            failed, before = (0, self.answered) if queued else (failed + 1, before)
            await asyncio.sleep(min(MOST, FIRST * 2**waited) * random.uniform(0.0, 1.0))
            waited = min(waited + 1, 16)
        raise ModelError(
            f"{self.of.url} {problem}, {failed} times for one row; what was answered is kept, and the same command "
            "goes on from there"
        )

    def _hold_back(self, got: Any, problem: str) -> None:
        """No request starts before the time that the server names."""
        waits = _retry_after(got.headers.get("Retry-After", ""))
        if waits is not None and waits > LONGEST:
            raise ModelError(f"{self.of.url} {problem}; it asks to wait {waits:,.0f} s. Try again then")
        if waits is not None:
            self.of.pause = max(self.of.pause, time.monotonic() + waits)

    async def _turn(self) -> None:
        """Wait for what the server asked to be waited for, then for the pace, in which it may ask again."""
        while True:
            while (waits := self.of.pause - time.monotonic()) > 0:
                await asyncio.sleep(waits + random.uniform(0.0, 0.1))
            if self.terms.per_minute:
                now = time.monotonic()
                begins = max(self.of.slot, now)
                self.of.slot = begins + 60.0 / self.terms.per_minute
                await asyncio.sleep(begins - now)
            if self.of.pause <= time.monotonic():
                return

    def _body(self, request: Mapping[str, Any], without: Set[str]) -> dict[str, Any]:
        lacks = self.of.lacks | without
        kept = {name: each for name, each in request.items() if name not in lacks}
        return kept | {OPTIONAL[name]: request[name] for name in lacks & request.keys() if OPTIONAL[name]}

    def _read(self, got: Any, seconds: float) -> Reply | str:
        """The reply, or what is wrong with it."""
        if got.status_code != 200:
            return f"answered {got.status_code}{self._reason(got)}"
        if "json" not in got.headers.get("Content-Type", "application/json"):
            return f"answered {self._clean(got.headers['Content-Type'])} where JSON was due"
        try:
            told = got.json()
            first, usage = told["choices"][0], told.get("usage") or {}
            said = first["message"].get("content") or ""
            if not isinstance(said, str):
                raise TypeError
            tokens = (first.get("logprobs") or {}).get("content") or ()
            logs = [each["logprob"] for each in tokens]
            log = float(sum(min(0.0, float(each)) for each in logs)) if logs and None not in logs else None
            counted = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            counts = tuple(-1 if each is None else int(each) for each in counted)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return "answered something else than a chat completion"
        if min(counts) < 0:  # not told: as many as there can be, so that a limit holds
            counts = (len(got.request.content), len(said.encode("utf-8", "replace")) + 1)
        cut = first.get("finish_reason") == "length"
        return Reply(None if cut else self._clean(said), log, counts[0], counts[1], seconds)

    def _reason(self, got: Any) -> str:
        try:
            told = got.json()
            found = told.get("error", told.get("detail", told.get("message", told)))
            found = found.get("message", found) if isinstance(found, dict) else found
        except (ValueError, AttributeError, RecursionError):
            found = got.text
        text = self._clean(" ".join(str(found).split()))
        return f": {text[:200]}" if text else ""

    def _mend(self, got: Any) -> str:
        if got.status_code in (401, 403):
            return f"; {' or '.join(KEYS)} in the environment holds the key"
        if 300 <= got.status_code < 400:
            return f"; it points to {self._clean(got.headers.get('Location', 'nowhere'))}, which is not followed"
        return "; is this the address up to /v1, and the name of a model there?"

    def _clean(self, text: str) -> str:
        """Without the key, which servers like to repeat; what is shorter is a placeholder, and may be a word."""
        return text.replace(self.key, "…") if len(self.key) >= SECRET else text


def _retry_after(told: str) -> float | None:
    """Seconds, from a number or a date; None where there is neither."""
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(told)
    except ValueError:
        return None
    return max(0.0, ((when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def _finished(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, also where a loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()
