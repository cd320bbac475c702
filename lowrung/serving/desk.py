"""The desk: what the page of `lowrung serve` asks for besides answers and corrections, and the page itself."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from lowrung.core.answers import Prediction
from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Row
from lowrung.run.explaining import explain
from lowrung.run.labelling import label_next
from lowrung.run.ship import REPORT
from lowrung.run.telling import prediction_json
from lowrung.serving import versions, wire
from lowrung.serving.batching import BATCH_SECONDS, LEAST_COST, Busy, cost
from lowrung.serving.hosting import Host, Served
from lowrung.serving.store import MOST, Store
from lowrung.serving.wire import Limits

KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css"}  # of the page's files
PAGE = {  # name → content, read once: no request names a file
    each.name: each.read_bytes()
    for each in files("lowrung.serving").joinpath("page").iterdir()
    if each.name.rpartition(".")[2] in KINDS
}
OPEN = ("/", *(f"/page/{name}" for name in PAGE))  # that ask for no key
SAFE = {  # nothing from elsewhere, nothing inline, in nobody's frame
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
FIRST = 16  # waiting rows that are looked at before it is known how fast a model is
EXPLAINED = 1000  # tokens of a question, about, that is explained here
SEARCHED = 64  # questions that the search for changes of an answer may ask
LOOKED = 512  # waiting rows that are looked at for the next ones
AHEAD = 50  # that are put in order at once, and told at most
WAIT = 2.0  # seconds for what is being explained or put in order
LARGEST = 1 << 20  # letters of a row that is remembered


class Explained(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"row": {"text": "Charged twice."}}]})
    model: Annotated[str, Field(max_length=100)] = ""
    row: dict[str, Any]


class Placed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: Annotated[str, Field(max_length=100)] = ""
    version: Annotated[str, Field(max_length=100, description="one that GET /v1/versions tells")]


class Named(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: Annotated[str, Field(max_length=100)] = ""


@dataclass(frozen=True)
class Queued:
    """A served model, asked a batch at a time through its queue, so that who asks meanwhile is answered, too.

    Args:
        until: `time.monotonic` at which it gives up.
    """

    served: Served
    until: float

    @property
    def name(self) -> str:
        return self.served.shipped.model.name

    @property
    def inner(self) -> Any:
        model = self.served.shipped.model
        return getattr(model, "inner", model)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        """As the model answers. Raises HTTPException (503) where that takes too long."""
        left, found = deque(questions), list[Prediction[Any]]()
        while left:
            pace = self.served.batcher.pace
            most, some = max(BATCH_SECONDS / pace, LEAST_COST) if pace else LEAST_COST, [left.popleft()]
            size = cost(some[0])
            while left and (size := size + cost(left[0])) <= most:
                some.append(left.popleft())
            found += self._said(some)
        return found

    def _said(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        while True:
            left = self.until - time.monotonic()
            try:
                asked = self.served.batcher.put(questions)
            except Busy:
                if left < 0:
                    raise
                time.sleep(min(0.1, max(left, 0.0)))
                continue
            try:
                return asked.result(max(left, 0.0))
            except TimeoutError as problem:
                asked.cancel()
                raise HTTPException(503, "it took too long; ask for less, or later") from problem


@dataclass
class _Waiting:
    """The rows of one model that wait for their right answers, by their digests.

    Args:
        raw: of a file. seen: of questions that were asked, the last ones. known: of rows with a correction.
        after: the number of the last correction that was looked at.
        order: (digest, how unsure the model is, what it says), as version `version` puts them.
    """

    raw: Mapping[str, Row] = field(default_factory=dict)
    seen: dict[str, Row] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    after: int = 0
    order: list[tuple[str, float, dict[str, Any]]] = field(default_factory=list)
    version: str = ""

    def sent(self, key: str, row: Row) -> Row:
        """As it goes over the wire; of a row that came over it nothing is taken for the name of a file."""
        return wire.sent(row) if key in self.raw else row


class Desk:
    """What the page needs of a host.

    Args:
        raw: model → rows without right answers, as a file holds them, for the queue of what to label next.
        remember: how many of the rows that were asked about last wait in that queue, too; in memory alone.

    Raises:
        DataError: a row cannot be read, or belongs to a model that is not served.
    """

    def __init__(
        self,
        host: Host,
        store: Store | None = None,
        *,
        raw: Mapping[str, Sequence[Row]] | None = None,
        remember: int = 0,
        limits: Limits = Limits(),  # noqa: B008 (frozen value)
    ) -> None:
        self.host, self.store, self.remember, self.limits = host, store, remember, limits
        self._working, self._placing, self._rows = threading.Lock(), threading.Lock(), threading.Lock()
        self._waiting = {name: _Waiting() for name in host.served}
        for name, rows in (raw or {}).items():
            task = host.of(name).shipped.task
            self._waiting[name].raw = {digest(wire.sent(row)): row for row in rows if not task.golds(row)}

    def saw(self, name: str, rows: Sequence[Row]) -> None:
        """Remember rows that `name` was asked about, where that was asked for."""
        for row in rows if self.remember else ():
            if len(json.dumps(row)) <= LARGEST:
                with self._rows:
                    seen = self._waiting[name].seen
                    seen[digest(row)] = row
                    while len(seen) > self.remember:
                        del seen[next(iter(seen))]

    def explained(self, served: Served, row: Row) -> dict[str, Any]:
        """What moved the answer to a row, as `Explanation.to_json`, by words left out.

        Raises:
            Busy: something is being explained. LowrungError: as `run.explaining.explain` does.
        """
        question = wire.question_of(served.shipped.task, row, self.limits)
        if cost(question) > EXPLAINED:
            raise HTTPException(413, f"texts of about {EXPLAINED:,} tokens at most are explained here")
        with self._alone():
            model = Queued(served, time.monotonic() + self.limits.patience)
            shipped = replace(served.shipped, model=model)
            return explain(shipped, row, by="occlusion", counterfactuals=2, most=SEARCHED).to_json()

    def next(self, served: Served, n: int) -> tuple[int, list[dict[str, Any]]]:
        """How many rows wait for their right answers, and the `n` to label first, with what the model says.

        Raises:
            Busy: something is being explained or put in order.
        """
        held = self._waiting[served.name]
        with self._alone():
            self._learn(served.name, held)
            with self._rows:
                left = {key: row for key, row in {**held.seen, **held.raw}.items() if key not in held.known}
            order = [each for each in held.order if each[0] in left and held.version == served.version]
            if len(order) < min(n, len(left)):
                order = list(self._ordered(served, held, left))
            held.order, held.version = order, served.version
        told = [
            {"row": held.sent(key, left[key]), "unsure": round(unsure, 4), **said} for key, unsure, said in order[:n]
        ]
        return len(left), told

    def _learn(self, name: str, held: _Waiting) -> None:
        """Take note of the corrections that came since the last time."""
        while self.store and (some := self.store.page(limit=MOST, after=held.after, model=name)):
            held.known |= {digest(each.row) for each in some}
            held.after = some[-1].number

    def _ordered(
        self, served: Served, held: _Waiting, left: Mapping[str, Row]
    ) -> Iterator[tuple[str, float, dict[str, Any]]]:
        """Of some of the rows, as many as are answered in half of the patience at the pace measured so far."""
        keys = Random(len(left)).sample(sorted(left), LOOKED) if len(left) > LOOKED else list(left)
        task, pace, questions, taken = served.shipped.task, served.batcher.pace, list[Question](), list[str]()
        seconds = 0.0
        for key in keys if pace else keys[:FIRST]:
            try:
                row = wire.row_of(held.sent(key, left[key]), self.limits)
                asked = wire.question_of(task, row, self.limits)
            except DataError:  # of a file that has moved, or a picture that is too large; the others can be asked
                continue
            seconds += cost(asked) * pace
            if questions and seconds > self.limits.patience / 2:
                break
            questions.append(asked)
            taken.append(key)
        model = Queued(served, time.monotonic() + self.limits.patience)
        for each in label_next(model, questions, AHEAD):
            yield taken[each.row], each.unsure, prediction_json(each.said, questions[each.row])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._working.acquire(timeout=WAIT):
            raise Busy(WAIT)
        try:
            yield
        finally:
            self._working.release()

    def serve(self, app: FastAPI) -> None:
        """Add the page and its paths to an application."""

        def of(name: str) -> Served:
            try:
                return self.host.of(name)
            except ModelError as problem:
                raise HTTPException(404, str(problem)) from problem

        def folder(name: str) -> tuple[Served, str]:
            served = of(name)
            if served.shipped.folder is None:
                raise HTTPException(404, f"{served.name} is no shipped folder; it has no versions and no report")
            return served, served.source

        @app.get("/", include_in_schema=False)
        def index() -> Response:
            return Response(PAGE["index.html"], media_type="text/html", headers=SAFE)

        @app.get("/page/{name}", include_in_schema=False)
        def page(name: str) -> Response:
            if name not in PAGE:
                raise HTTPException(404, "there is no such file")
            return Response(PAGE[name], media_type=KINDS[name.rpartition(".")[2]], headers=SAFE)

        @app.post("/v1/explain", tags=["models"])
        def explained(asked: Explained) -> Any:
            """Which words moved an answer, and which small changes would change it."""
            return self.explained(of(asked.model), wire.row_of(asked.row, self.limits))

        @app.get("/v1/next", tags=["corrections"])
        def next_rows(model: ModelName = "", n: Annotated[int, Query(ge=1, le=AHEAD)] = 20) -> Any:
            """The rows to label next: of those that wait, what would teach most first."""
            served = of(model)
            left, rows = self.next(served, n)
            return {"model": served.name, "version": served.version, "left": left, "rows": rows}

        @app.get("/v1/versions", tags=["versions"])
        def listed(model: ModelName = "") -> Any:
            """Every version that is kept, by date, and what took whose place."""
            served, source = folder(model)
            found = [asdict(each) for each in versions.listed(source)]
            return {"model": served.name, "versions": found, "history": list(versions.history(source))}

        @app.post("/v1/promote", tags=["versions"])
        def promote(asked: Placed) -> Any:
            """Put a kept version into the model's place; it answers within a second or two."""
            return self._placed(*folder(asked.model), lambda source: (versions.promote(source, asked.version), ""))

        @app.post("/v1/rollback", tags=["versions"])
        def rollback(asked: Named) -> Any:
            """Put back the version that the current one took the place of."""
            return self._placed(*folder(asked.model), versions.rollback)

        @app.get("/v1/curve", tags=["models"])
        def curve(model: ModelName = "") -> Any:
            """Methods by numbers of labels, from the study that the model comes from."""
            served, source = folder(model)
            return {"model": served.name, **_curve(versions.place(source))}

    def _placed(self, served: Served, source: str, place: Callable[[str], tuple[str, str]]) -> dict[str, str]:
        with self._placing:
            before, _ = place(source)
            return {"model": served.name, "from": before, "to": versions.current(source)}


ModelName = Annotated[str, Query(max_length=100, description="may be left out where there is one")]


def _curve(folder: Path) -> dict[str, Any]:
    try:
        study = json.loads((folder / REPORT).read_text("utf-8"))
        metric = study.get("metric") or study["summary"][0]["metric"]
        lines = [each for each in study["summary"] if each["metric"] == metric]
        told = [{name: each[name] for name in ("method", "labels", "value", "low", "high")} for each in lines]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as problem:
        raise HTTPException(404, "the model comes from no study; lowrung study makes one") from problem
    if len({each["labels"] for each in told}) < 2:
        raise HTTPException(404, "the study has one number of labels, which is no curve")
    return {"task": study.get("task", ""), "metric": metric, "summary": told, "gate": study.get("gate", {})}


def digest(row: Row) -> str:
    """The same for the same row, also after a browser has read and written it (where 1.0 becomes 1)."""
    return hashlib.sha256(json.dumps(_plain(row), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def raw_of(given: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """model → file of NAME=FILE, or of a file alone where one model is served.

    Raises:
        LowrungError: the name is that of no served model.
    """
    found = {}
    for each in given:
        name, equals, file = each.partition("=")
        name, file = (name, file) if equals and name in names else (names[0] if len(names) == 1 else "", each)
        if not name:
            raise LowrungError(f"--raw {each}: NAME=FILE says which of {', '.join(names)} the rows are for")
        found[name] = file
    return found
