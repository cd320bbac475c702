"""A chat-completion server on the loopback: what it answers, and what goes wrong, is a function of the test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What is sent instead of an answer: a status with headers and body, after `slow` seconds; or a cut connection."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    slow: float = 0.0
    cut: bool = False


def words_of(body: dict[str, Any]) -> str:
    """What the user's message says."""
    return str(body["messages"][-1]["content"])


def topic(body: dict[str, Any]) -> str:
    return "billing" if "charge" in words_of(body) else "delivery"


@dataclass
class Server:
    """Counts what it is asked.

    Args:
        say: a request's body → the words of the answer.
        fault: (number of the request from 0, its body) → what goes wrong, None for nothing.
        logs: log-probabilities of the answer's tokens, where it tells them.
    """

    say: Callable[[dict[str, Any]], str] = topic
    fault: Callable[[int, dict[str, Any]], Fault | None] = lambda number, body: None
    logs: tuple[float, ...] = ()
    usage: bool = True
    finish: str = "stop"
    delay: float = 0.0
    gate: threading.Event | None = None  # answers wait for it
    url: str = ""
    asked: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        said = self.say(body)
        logs = {"content": [{"token": "x", "logprob": each} for each in self.logs]} if self.logs else None
        first = {"message": {"role": "assistant", "content": said}, "finish_reason": self.finish, "logprobs": logs}
        usage = {"usage": {"prompt_tokens": 100, "completion_tokens": 10}} if self.usage else {}
        return {"object": "chat.completion", "choices": [first], **usage}


@contextmanager
def serving(**settings: Any) -> Iterator[Server]:
    server = Server(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                number = len(server.asked)
                server.asked.append(words_of(body))
                server.bodies.append(body)
                server.keys.append(self.headers.get("Authorization", ""))
                server.now += 1
                server.most = max(server.most, server.now)
            try:
                self._answer(number, body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                with server.lock:
                    server.now -= 1

        def _answer(self, number: int, body: dict[str, Any]) -> None:
            fault = server.fault(number, body)
            if server.gate:
                server.gate.wait(10)
            time.sleep(fault.slow if fault else server.delay)
            if fault and fault.cut:
                self.close_connection = True
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
                return
            content = fault.body if fault else json.dumps(server.completion(body)).encode()
            self.send_response(fault.status if fault else 200)
            for name, value in {"Content-Type": "application/json", **(fault.headers if fault else {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            if not fault:
                with server.lock:
                    server.answered.append(words_of(body))

        def log_message(self, *_: Any) -> None: ...

    class Threads(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None: ...  # of a client that left

    made = Threads(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{made.server_port}/v1"
    try:
        yield server
    finally:
        if server.gate:
            server.gate.set()
        made.shutdown()
        made.server_close()
        thread.join()
