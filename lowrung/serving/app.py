"""The service: models over HTTP. `application` is an ASGI application; `lowrung serve` runs it in uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from lowrung import __version__
from lowrung.core.answers import Choice, Spans
from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.core.parts import Audio, Question
from lowrung.run.telling import prediction_json
from lowrung.serving import desk as page
from lowrung.serving import wire
from lowrung.serving.batching import Busy, Closing
from lowrung.serving.desk import Desk
from lowrung.serving.gate import LOCAL, Doors, Gate, Told
from lowrung.serving.gate import problem as told_as
from lowrung.serving.hosting import Host, Served
from lowrung.serving.store import MOST, PAGE, Conflict, Correction, Lingering, Store, gold_columns
from lowrung.serving.streams import Streams, event
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


def application(
    host: Host,
    *,
    store: Store | None = None,
    keys: Mapping[str, str] | None = None,
    hosts: Collection[str] = LOCAL,
    limits: Limits = Limits(),  # noqa: B008 (frozen value)
    desk: Desk | None = None,
) -> FastAPI:
    """The service of `host`.

    Args:
        store: where corrections go; without one they are refused.
        keys: hash → name of who may ask, as `keys.read` gives; None lets everybody ask.
        hosts: names and addresses that it is asked by; of no account where there are keys, as `Doors` says.
        desk: of the page; None for one without rows to label.
    """
    desk = desk or Desk(host, store, limits=limits)
    state = _State(host, store, limits, desk)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        state.ready = False
        state.streams.close()
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
    doors = Doors(keys, hosts)
    app.add_middleware(Gate, doors=doors, meters=host.meters, most=limits.body, open_=OPEN, busy=host.busy)
    for kind, handler in _handlers().items():
        app.add_exception_handler(kind, handler)
    _routes(app, state)
    desk.serve(app)
    state.streams.serve(app, host.of)
    return app


class _Problem(BaseModel):
    error: str


PROBLEMS = {
    400: "The body is no JSON",
    401: "No key, or none that is known",
    403: "Another page asks",
    404: "There is no such model",
    409: "The key stands for another correction",
    413: "More than one request may hold",
    415: "The body is neither JSON nor multipart/form-data",
    421: "The Host header names another service",
    422: "A row that the task cannot read, with the reason",
    429: "Too many questions are waiting; Retry-After says when there is room",
    503: "The service is shutting down, or an answer took too long",
}


HEARD: dict[str, Any] = {each: {} for each in ("application/json", "text/plain", "text/event-stream")}


class _State:
    def __init__(self, host: Host, store: Store | None, limits: Limits, desk: Desk) -> None:
        self.host, self.store, self.limits, self.desk, self.ready = host, store, limits, desk, True
        self.streams = Streams(limits, host.meters)

    async def answers(self, served: Served, rows: list[Any]) -> tuple[list[Question], list[Any]]:
        """The questions of rows and what is said to them.

        Raises:
            DataError: a row cannot be read; Busy, Closing: as the queue does.
        """
        if len(rows) > self.limits.rows:
            raise _TooMuch(f"{len(rows):,} rows at once; a request takes at most {self.limits.rows}")
        media = any(name in row for row in rows if isinstance(row, Mapping) for name in ("audio", "image", "given"))
        questions = await asyncio.to_thread(self._questions, served, rows) if media else self._questions(served, rows)
        self._small_enough(questions)
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

    async def sound(self, served: Served, row: Any) -> Audio:
        """The sound of a row. Raises DataError where it cannot be read, or is longer than a request may be."""
        questions = await asyncio.to_thread(self._questions, served, [row])
        self._small_enough(questions)
        return next(part for part in questions[0].given if isinstance(part, Audio))

    def _small_enough(self, questions: list[Question]) -> None:
        try:
            wire.cost_of(questions, self.limits)
        except DataError as problem:
            raise _TooMuch(str(problem)) from problem

    def _questions(self, served: Served, rows: list[Any]) -> list[Question]:
        made = []
        for number, given in enumerate(rows):
            try:
                row = wire.row_of(given, self.limits)
                made.append(wire.question_of(served.shipped.task, row, self.limits))
            except DataError as problem:
                raise DataError(f"rows[{number}]: {problem}" if len(rows) > 1 else str(problem)) from problem
        return made


class _TooMuch(DataError):
    pass


class _TooLong(LowrungError):
    pass


def _handlers() -> dict[Any, Callable[..., Any]]:
    from sqlalchemy.exc import SQLAlchemyError

    def told(status: int) -> Callable[..., Any]:
        return lambda _, problem: told_as(status, str(problem), problem)

    def invalid(_: Request, problem: RequestValidationError) -> Response:
        first = problem.errors()[0]
        where = ".".join(str(each) for each in first["loc"] if each != "body") or "body"
        status = 400 if first["type"] == "json_invalid" else 422
        return told_as(status, f"{where}: {first['msg']}")

    def refused(_: Request, problem: HTTPException) -> Response:
        found = told_as(problem.status_code, str(problem.detail))
        found.headers.update(problem.headers or {})
        return found

    return {
        Busy: told(429),
        Closing: told(503),
        _TooLong: told(503),
        _TooMuch: told(413),
        Conflict: told(409),
        Lingering: told(503),
        ModelError: told(422),
        DataError: told(422),
        LowrungError: told(422),
        _NoModel: told(404),
        RequestValidationError: invalid,
        HTTPException: refused,
        RecursionError: told(400),
        SQLAlchemyError: lambda *_: told_as(503, "the store of corrections cannot be reached; nothing was changed"),
    }


class _NoModel(ModelError):
    pass


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
        wire.question_of(served.shipped.task, row, state.limits)  # nothing is kept that could not be learnt from
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

    @app.post("/v1/audio/transcriptions", tags=["compatible"], responses={200: {"content": HEARD}})
    async def transcriptions(
        file: Annotated[UploadFile, File()],
        model: Annotated[str, Form()] = "",
        response_format: Annotated[str, Form(pattern="^(json|text|verbose_json)$")] = "json",
        stream: Annotated[bool, Form(description="server-sent events: deltas, then all of it")] = False,
    ) -> Response:
        """As OpenAI's transcription asks and answers."""
        served = of(model if model in host.served else "" if len(host.served) == 1 else model)
        content = await file.read()
        if served.shipped.task.media != "audio":
            raise DataError(f"{served.name} is for the task {served.shipped.task.name}, and hears nothing")
        row = {"audio": wire.packed(content)}
        if stream and served.hears:
            return await state.streams.events(served, await state.sound(served, row))
        questions, said = await state.answers(served, [row])
        told = prediction_json(said[0], questions[0])
        if stream:
            return PlainTextResponse(event("done", text=told["answer"] or ""), media_type="text/event-stream")
        if response_format == "text":
            return PlainTextResponse(told["answer"] or "")
        verbose = {"words": told.get("words", [])} if response_format == "verbose_json" else {}
        return Told({"text": told["answer"] or "", **verbose})


def _as_json(each: Correction) -> dict[str, Any]:
    return {name: getattr(each, name) for name in Correction.__slots__}
