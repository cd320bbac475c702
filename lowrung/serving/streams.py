"""Sound that is heard while it comes in, over a WebSocket; and whole recordings, told piece by piece."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI, WebSocket
from fastapi.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from lowrung.core.errors import DataError, ModelError
from lowrung.core.parts import Audio
from lowrung.data.media import RATE, live
from lowrung.run.telling import words_json
from lowrung.serving.batching import Busy, Closing
from lowrung.serving.gate import STREAM, problem
from lowrung.serving.hosting import Served
from lowrung.serving.meters import Meters
from lowrung.serving.wire import Limits

if TYPE_CHECKING:
    from lowrung.models.listening import Heard

PATH = "/v1/audio/stream"
RATES = (8_000, 48_000)  # samples a second, from and to
LEAST, MOST = 0.5, 4.0  # seconds of sound that are heard at once: what came while others were heard is heard together
WHOLE = 6.0  # of a whole recording at once
AHEAD = 8.0  # seconds that may wait; a client that sends faster than is heard waits, too
LARGEST = 1 << 20  # bytes of a message
AGAIN = 5.0  # seconds after which there may be room for another stream
DRAINED = 15.0  # seconds that streams have to end in
BUSY, GOING, WRONG, BROKEN = 1013, 1012, 1008, 1011  # codes that a WebSocket is closed with; 1000 is the end


class Hearing:
    """One stream, step by step: sound in, what has been heard so far out. It keeps no thread waiting."""

    def __init__(self, model: Any, rate: int) -> None:
        from lowrung.models.listening import Heard, listen

        self._waiting, self._last = deque[bytes](), Heard("", "", 0.0)
        self._heard = listen(model, live(iter(self._next, b""), rate))

    def _next(self) -> bytes:
        return self._waiting.popleft() if self._waiting else b""

    def step(self, sound: bytes) -> Heard:
        """Hear some more: 16-bit little-endian samples, a whole number of them, one at least."""
        self._waiting.append(sound)
        self._last = next(self._heard, self._last)
        return self._last

    def end(self) -> Heard:
        """What was said, with the times of its words."""
        for found in self._heard:
            self._last = found
        return self._last


class Streams:
    """All streams of a service. They are heard in turn on one thread of their own, so that what is asked of models
    meanwhile is answered as ever.

    Args:
        limits: `streams` at once, `listened` seconds of sound each, `patience` for the next sound to come.
    """

    def __init__(self, limits: Limits, meters: Meters) -> None:
        self.limits, self.meters, self.open, self.ending = limits, meters, 0, asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "lowrung-streams")

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the streams that there may be at once.

        Raises:
            Busy: there are as many. Closing: the service is shutting down.
        """
        if self.ending.is_set():
            raise Closing("the service is shutting down")
        if self.open >= self.limits.streams:
            raise Busy(AGAIN, f"{self.open} streams are being heard, and no more at once")
        self.open += 1
        self.meters.streams.set(self.open)
        try:
            yield
        finally:
            self.open -= 1
            self.meters.streams.set(self.open)

    async def drain(self) -> None:
        """Take no more streams, and end those that there are with what was heard."""
        self.ending.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAINED):
                while self.open:
                    await asyncio.sleep(0.02)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., Any], *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    # --- while it is being said

    async def hear(self, socket: WebSocket, served: Served, rate: int) -> None:
        """Partial results as they change, then the whole, then the end.

        Raises:
            Busy, Closing: there is no place. WebSocketDisconnect: nobody listens any more.
        """
        with self.place():
            coming, hearing = _Coming(socket, rate, self.limits), await self._run(Hearing, served.shipped.model, rate)
            pump, told = asyncio.create_task(coming.pump(self.ending)), ""
            try:
                while sound := await coming.some():
                    found = await self._run(hearing.step, sound)
                    if found.text != told and not coming.over:
                        told = found.text
                        await self._send(socket, {"text": told, "final": False, **_where(found)})
                if coming.gone:
                    raise WebSocketDisconnect
                found = await self._run(hearing.end)
                words = words_json(found.words)
                await self._send(socket, {"text": found.text, "final": True, **_where(found), "words": words})
                await socket.close(*coming.why)
            finally:
                pump.cancel()

    async def _send(self, socket: WebSocket, told: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self.limits.patience):
                await socket.send_text(json.dumps(told))
        except TimeoutError as late:  # who does not read does not keep a place
            raise WebSocketDisconnect from late

    def serve(self, app: FastAPI, of: Callable[[str], Served]) -> None:
        """Add the WebSocket to an application."""

        @app.websocket(PATH)
        async def stream(socket: WebSocket) -> None:
            await socket.accept(STREAM if STREAM in socket.scope.get("subprotocols", ()) else None)
            try:
                served = of(socket.query_params.get("model", ""))
                if not served.hears:
                    raise DataError(f"{served.name} hears no streams; a recognizer for the task speech does")
                await self.hear(socket, served, _rate(socket.query_params.get("rate", str(RATE))))
            except WebSocketDisconnect:
                pass
            except (Busy, Closing, DataError, ModelError) as refused:
                code = BUSY if isinstance(refused, Busy) else GOING if isinstance(refused, Closing) else WRONG
                await _closed(socket, code, str(refused))
            except Exception:
                await _closed(socket, BROKEN, "the model failed")
                raise

        @app.get(PATH, include_in_schema=False)
        async def plain() -> Response:
            found = problem(426, "a WebSocket is answered here: sound as binary messages, {} as text ends it")
            found.headers["Upgrade"] = "websocket"
            return found

    # --- of a whole recording

    async def events(self, served: Served, audio: Audio) -> Response:
        """A transcript as server-sent events, as OpenAI's: deltas of what will not change, then all of it.

        Raises:
            Busy, Closing: there is no place. DataError: the sound is broken.
        """

        async def told(pcm: bytes) -> AsyncGenerator[str]:
            hearing, said = await self._run(Hearing, served.shipped.model, audio.rate), ""
            size = 2 * round(WHOLE * audio.rate)
            for at in range(0, len(pcm), size):
                found = await self._run(hearing.step, pcm[at : at + size])
                if found.settled != said:
                    yield event("delta", delta=found.settled[len(said) :])
                    said = found.settled
            found = await self._run(hearing.end)
            if found.text != said:
                yield event("delta", delta=found.text[len(said) :])
            yield event("done", text=found.text)

        with ExitStack() as place:
            place.enter_context(self.place())
            samples = await asyncio.to_thread(lambda: audio.samples)
            pcm = (samples * 32767).round().astype("<i2").tobytes()
            return _Events(told(pcm), place.pop_all(), self.limits.patience)


class _Events(StreamingResponse):
    """Events that hold a place until they are told, or nobody reads them for too long."""

    def __init__(self, told: AsyncGenerator[str], place: ExitStack, patience: float) -> None:
        super().__init__(told, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self.told, self.place, self.patience = told, place, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            async with asyncio.timeout(self.patience):
                await send(message)

        try:
            with suppress(TimeoutError):
                async with aclosing(self.told):
                    await super().__call__(scope, receive, sent)
        finally:
            self.place.close()


class Server(uvicorn.Server):
    """uvicorn that lets the streams of an application end before it closes their connections."""

    def __init__(self, config: uvicorn.Config, streams: Streams) -> None:
        super().__init__(config)
        self.streams = streams

    async def shutdown(self, sockets: Any = None) -> None:
        for each in self.servers:
            each.close()  # nobody new comes in
        await self.streams.drain()
        await super().shutdown(sockets)


def event(kind: str, **told: str) -> str:
    """One server-sent event of a transcript."""
    return f"data: {json.dumps({'type': f'transcript.text.{kind}', **told})}\n\n"


class _Coming:
    """Sound that came over a WebSocket and was not heard yet.

    Attributes:
        over: no more will come. gone: nobody is there to be told. why: code and reason of the end.
    """

    def __init__(self, socket: WebSocket, rate: int, limits: Limits) -> None:
        self.socket, self.rate, self.limits = socket, rate, limits
        self.held, self.taken, self.over, self.gone = bytearray(), 0, False, False
        self.why = (1000, "")
        self._changed = asyncio.Condition()

    async def pump(self, ending: asyncio.Event) -> None:
        """Take sound in, until it ends in one way or another."""
        end, message = asyncio.create_task(ending.wait()), None
        try:
            while True:
                message = asyncio.create_task(self.socket.receive())
                done, _ = await asyncio.wait(
                    (message, end), timeout=self.limits.patience, return_when=asyncio.FIRST_COMPLETED
                )
                if message not in done:
                    late = (1000, f"no sound came for {self.limits.patience:g} s")
                    self.why = (GOING, "the service is shutting down") if end in done else late
                    break
                if not await self._put(message.result()):
                    break
        finally:
            end.cancel()
            if message is not None:
                message.cancel()
            async with self._changed:
                self.over = True
                self._changed.notify_all()

    async def _put(self, message: Any) -> bool:
        """Whether more is to come."""
        sound = message.get("bytes")
        if message["type"] == "websocket.disconnect":
            self.gone = True
        elif sound is None:
            return False  # a text ends it
        else:
            async with self._changed:
                room = 2 * round(self.limits.listened * self.rate) - self.taken
                self.held += sound[:room]
                self.taken += len(sound)
                self._changed.notify_all()
                if len(sound) >= room:
                    self.why = (1000, f"{self.limits.listened:g} s are heard at most")
                    return False
                await self._changed.wait_for(lambda: len(self.held) < 2 * AHEAD * self.rate)
        return not self.gone

    async def some(self) -> bytes:
        """What is heard next: from `LEAST` to `MOST` seconds, less at the end, nothing after it."""
        least, most = (2 * round(seconds * self.rate) for seconds in (LEAST, MOST))
        async with self._changed:
            await self._changed.wait_for(lambda: self.over or len(self.held) >= least)
            size = 0 if self.gone else min(len(self.held), most) // 2 * 2
            sound = bytes(self.held[:size])
            del self.held[:size]
            self._changed.notify_all()
        return sound


def _rate(given: str) -> int:
    low, high = RATES
    if not given.isascii() or not given.isdigit() or len(given) > 9 or not low <= int(given) <= high:
        raise DataError(f"'rate' is {low} to {high} samples a second, not {given[:20]!r}")
    return int(given)


def _where(found: Heard) -> dict[str, Any]:
    return {"settled": found.settled, "seconds": round(found.seconds, 2)}


async def _closed(socket: WebSocket, code: int, reason: str) -> None:
    with suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, reason.encode()[:120].decode(errors="ignore"))
