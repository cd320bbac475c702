"""The service: models over HTTP. `application` is an ASGI application; `lowrung serve` runs it in uvicorn."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lowrung import __version__
from lowrung.core.answers import Choice, Spans
from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.core.parts import Question
from lowrung.run.telling import prediction_json
from lowrung.serving import desk as page
from lowrung.serving import keys as known
from lowrung.serving import wire
from lowrung.serving.batching import Busy, Closing
from lowrung.serving.desk import Desk
from lowrung.serving.hosting import Host, Served
from lowrung.serving.store import MOST, PAGE, Conflict, Correction, Store, gold_columns
from lowrung.serving.wire import Limits

OPEN = ("/healthz", "/readyz", *page.OPEN)  # that ask for no key
Name = Annotated[str, Field(max_length=100, description="of a model; may be left out where there is one")]


class Asked(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"rows": [{"text": "I was charged twice for the same order."}]}]},
    )
    model: Name = ""
    rows: Annotated[list[dict[str, Any]], Field(description="home rows; sounds and pictures as base64")] = []
    row: dict[str, Any] | None = None


class Corrected(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"key": "9f2c", "row": {"text": "I was charged twice."}, "correction": {"label": "billing"}}]
        },
    )
    key: Annotated[str, Field(pattern=r"^[!-~]{1,200}$", description="yours; the same one again is stored once")]
    model: Name = ""
    row: dict[str, Any]
    correction: Annotated[Any, Field(description="the columns that hold the right answer, or that answer itself")]
    answer: Any = None
    version: Annotated[str, Field(max_length=100, pattern=r"^[ -~]*$")] = ""
    who: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")] = ""
    source: Annotated[str, Field(max_length=200, pattern=r"^[ -~]*$")] = "api"


class Inputs(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": "I was charged twice."}]})
    inputs: str | list[str]
    parameters: dict[str, Any] = {}


class Told(Response):
    """JSON that any text can be told in, lone surrogates too."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def application(
    host: Host,
    *,
    store: Store | None = None,
    keys: Mapping[str, str] | None = None,
    limits: Limits = Limits(),  # noqa: B008 (frozen value)
    desk: Desk | None = None,
) -> FastAPI:
    """The service of `host`.

    Args:
        store: where corrections go; without one they are refused.
        keys: hash → name of who may ask, as `keys.read` gives; None lets everybody ask.
        desk: of the page; None for one without rows to label.
    """
    desk = desk or Desk(host, store, limits=limits)
    state = _State(host, store, keys, limits, desk)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        state.ready = False
        await asyncio.to_thread(host.close)
        if store is not None:
            store.close()

    app = FastAPI(
        title="lowrung",
        version=__version__,
        lifespan=life,
        default_response_class=Told,
        docs_url=None,  # its page fetches scripts from elsewhere
        redoc_url=None,
        responses={code: {"description": told, "model": _Problem} for code, told in PROBLEMS.items()},
    )
    app.state.lowrung = state
    app.add_middleware(_Gate, state=state)
    for kind, handler in _handlers().items():
        app.add_exception_handler(kind, handler)
    _routes(app, state)
    desk.serve(app)
    return app


class _Problem(BaseModel):
    error: str


PROBLEMS = {
    400: "The body is no JSON",
    401: "No key, or none that is known",
    404: "There is no such model",
    409: "The key stands for another correction",
    413: "More than one request may hold",
    422: "A row that the task cannot read, with the reason",
    429: "Too many questions are waiting; Retry-After says when there is room",
    503: "The service is shutting down, or an answer took too long",
}


class _State:
    def __init__(
        self, host: Host, store: Store | None, keys: Mapping[str, str] | None, limits: Limits, desk: Desk
    ) -> None:
        self.host, self.store, self.keys, self.limits, self.desk, self.ready = host, store, keys, limits, desk, True

    async def answers(self, served: Served, rows: list[Any]) -> tuple[list[Question], list[Any]]:
        """The questions of rows and what is said to them.

        Raises:
            DataError: a row cannot be read; Busy, Closing: as the queue does.
        """
        if len(rows) > self.limits.rows:
            raise _TooMuch(f"{len(rows):,} rows at once; a request takes at most {self.limits.rows}")
        media = any(name in row for row in rows if isinstance(row, Mapping) for name in ("audio", "image", "given"))
        questions = await asyncio.to_thread(self._questions, served, rows) if media else self._questions(served, rows)
        try:
            wire.cost_of(questions, self.limits)
        except DataError as problem:
            raise _TooMuch(str(problem)) from problem
        meters, name = self.host.meters, served.name
        try:
            async with asyncio.timeout(self.limits.patience):
                said = await served.batcher.ask(questions)
        except TimeoutError as problem:
            raise _TooLong(f"no answer within {self.limits.patience:g} s") from problem
        except Busy:
            meters.refused.labels(name).inc()
            raise
        self.host.drift.met(name, questions, said)
        for each in said:
            if each.answer is None:
                meters.unanswered.labels(name).inc()
            else:
                meters.confidence.labels(name).observe(each.confidence)
        self.desk.saw(name, rows)
        return questions, said

    def _questions(self, served: Served, rows: list[Any]) -> list[Question]:
        made = []
        for number, given in enumerate(rows):
            try:
                row = wire.row_of(given, self.limits)
                made.append(wire.question_of(served.shipped.task, row, self.limits))
            except DataError as problem:
                raise DataError(f"rows[{number}]: {problem}" if len(rows) > 1 else str(problem)) from problem
        return made

    def who(self, given: str) -> str | None:
        """Whose key an Authorization header holds; "" where none is needed, None where it is nobody's."""
        if self.keys is None:
            return ""
        kind, _, key = given.partition(" ")
        found = known.owner(dict(self.keys), key.strip())
        return found if kind.lower() == "bearer" else None


class _TooMuch(DataError):
    pass


class _TooLong(LowrungError):
    pass


def _handlers() -> dict[Any, Callable[..., Any]]:
    def told(status: int) -> Callable[..., Any]:
        return lambda _, problem: _problem(status, str(problem), problem)

    def invalid(_: Request, problem: RequestValidationError) -> Response:
        first = problem.errors()[0]
        where = ".".join(str(each) for each in first["loc"] if each != "body") or "body"
        status = 400 if first["type"] == "json_invalid" else 422
        return _problem(status, f"{where}: {first['msg']}")

    return {
        Busy: told(429),
        Closing: told(503),
        _TooLong: told(503),
        _TooMuch: told(413),
        Conflict: told(409),
        ModelError: told(422),
        DataError: told(422),
        LowrungError: told(422),
        _NoModel: told(404),
        RequestValidationError: invalid,
        HTTPException: lambda _, problem: _problem(problem.status_code, str(problem.detail)),
        RecursionError: told(400),
    }


class _NoModel(ModelError):
    pass


def _problem(status: int, said: str, problem: Exception | None = None) -> Response:
    headers = {"Retry-After": str(max(1, math.ceil(problem.seconds)))} if isinstance(problem, Busy) else {}
    headers |= {"Retry-After": "5"} if status == 503 else {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Told({"error": said}, status_code=status, headers=headers)


def _routes(app: FastAPI, state: _State) -> None:
    host = state.host

    def of(name: str) -> Served:
        try:
            return host.of(name)
        except ModelError as problem:
            raise _NoModel(str(problem)) from problem

    def stored() -> Store:
        if state.store is None:
            raise HTTPException(404, "this service keeps no corrections; lowrung serve --store sqlite:///file.db does")
        return state.store

    @app.get("/healthz", tags=["service"], response_class=PlainTextResponse)
    async def healthz() -> str:
        return "ok"

    @app.get("/readyz", tags=["service"])
    async def readyz() -> Response:
        return Told({"ready": state.ready}, status_code=200 if state.ready else 503)

    @app.get("/metrics", tags=["service"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        content, kind = host.meters.text()
        return Response(content, media_type=kind)

    @app.get("/v1/models", tags=["models"])
    async def models() -> dict[str, Any]:
        return {"models": [each.about() for each in host.served.values()]}

    @app.get("/v1/drift", tags=["models"])
    async def drift() -> dict[str, Any]:
        """What has drifted in windows of the questions that were asked, look by look."""
        return {"drift": host.drift.told()}

    @app.post("/v1/answer", tags=["models"])
    async def answer(asked: Asked) -> Any:
        """What a model says to one row or to several, in order."""
        served = of(asked.model)
        if (asked.row is None) == (not asked.rows):
            raise DataError("a request holds either 'row' or 'rows' with one at least")
        questions, said = await state.answers(served, asked.rows if asked.row is None else [asked.row])
        found = [prediction_json(each, question) for each, question in zip(said, questions, strict=True)]
        return {"model": served.name, "version": served.version, "answers": found}

    @app.post("/v1/corrections", tags=["corrections"], status_code=201, responses={200: {"description": "Known"}})
    def correct(given: Corrected, request: Request) -> Response:
        """Keep what the right answer is; it is on the disk when this answers. The same key again changes nothing."""
        served, kept = of(given.model), stored()
        row = wire.row_of(given.row, state.limits)
        columns = gold_columns(served.shipped.task, row, given.correction)
        wire.checked([given.answer, given.correction], state.limits.deep)
        who = request.state.who or given.who
        made = Correction(
            given.key, served.name, served.shipped.task.name, given.row, columns,
            given.version or served.version, given.answer, who, given.source,
        )  # fmt: skip
        found, new = kept.add(made)
        if new:
            host.meters.corrections.labels(served.name).inc()
        return Told(_as_json(found), status_code=201 if new else 200)

    @app.get("/v1/corrections", tags=["corrections"])
    def corrections(
        limit: Annotated[int, Query(ge=1, le=MOST)] = PAGE,
        after: Annotated[int, Query(ge=0, le=2**62)] = 0,
        model: Annotated[str, Query(max_length=100)] = "",
        newest: bool = False,
    ) -> dict[str, Any]:
        """Corrections in the order in which they came; `after` the number of the last one that is known."""
        found = stored().page(limit=limit, after=after, model=model, newest=newest)
        return {"corrections": [_as_json(each) for each in found]}

    @app.delete("/v1/corrections", tags=["corrections"])
    def erase(who: Annotated[str, Query(min_length=1, max_length=200)]) -> dict[str, int]:
        """Remove all corrections of a person."""
        return {"erased": stored().erase(who)}

    @app.post("/models/{name}", tags=["compatible"])
    async def inference(name: str, asked: Inputs) -> Any:
        """As the Hugging Face inference API asks and answers, of topics and entities."""
        served = of(name)
        texts = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs
        if not texts:
            raise DataError("'inputs' holds a text, or a list with one at least")
        questions, said = await state.answers(served, [{"text": text} for text in texts])
        found: list[Any] = []
        for question, each in zip(questions, said, strict=True):
            told = prediction_json(each, question)
            if served.shipped.task.answer is Choice:
                found.append(wire.as_labels(told["answer"], told["confidence"], told["others"]))
            elif served.shipped.task.answer is Spans:
                found.append(wire.as_groups(question.text, told["answer"], told["confidence"]))
            else:
                found.append({"generated_text": told["answer"]})
        return found[0] if isinstance(asked.inputs, str) and served.shipped.task.answer is Spans else found

    @app.post("/v1/audio/transcriptions", tags=["compatible"])
    async def transcriptions(
        file: Annotated[UploadFile, File()],
        model: Annotated[str, Form()] = "",
        response_format: Annotated[str, Form(pattern="^(json|text|verbose_json)$")] = "json",
    ) -> Response:
        """As OpenAI's transcription asks and answers."""
        served = of(model if model in host.served else "" if len(host.served) == 1 else model)
        content = await file.read()
        if served.shipped.task.media != "audio":
            raise DataError(f"{served.name} is for the task {served.shipped.task.name}, and hears nothing")
        row = {"audio": wire.packed(content)}
        questions, said = await state.answers(served, [row])
        told = prediction_json(said[0], questions[0])
        if response_format == "text":
            return PlainTextResponse(told["answer"] or "")
        verbose = {"words": told.get("words", [])} if response_format == "verbose_json" else {}
        return Told({"text": told["answer"] or "", **verbose})


def _as_json(each: Correction) -> dict[str, Any]:
    return {name: getattr(each, name) for name in Correction.__slots__}


class _Gate:
    """Counts requests, asks for a key, and cuts off a body that is larger than it may be."""

    def __init__(self, app: ASGIApp, state: _State) -> None:
        self.app, self.state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, path, status = time.perf_counter(), scope["path"], 500
        headers = {name.lower(): value for name, value in scope["headers"]}
        length, most, taken = headers.get(b"content-length", b""), self.state.limits.body, 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise HTTPException(413, f"the body is larger than {most:,} bytes")
            return message

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        who = "" if path in OPEN else self.state.who(headers.get(b"authorization", b"").decode("latin-1"))
        scope.setdefault("state", {})["who"] = who or ""
        try:
            if who is None:
                await _problem(401, "a key is needed: Authorization: Bearer …")(scope, receive, told)
            elif length.isdigit() and int(length) > most:
                await _problem(413, f"the body is larger than {most:,} bytes")(scope, receive, told)
            else:
                await self.app(scope, counted, told)
        finally:
            meters = self.state.host.meters
            route = getattr(scope.get("route"), "path", "other")
            meters.requests.labels(route, str(status)).inc()
            meters.seconds.labels(route).observe(time.perf_counter() - begun)
