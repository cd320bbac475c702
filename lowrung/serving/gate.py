"""Who may ask, from where, and how much at once: looked at before anything else is."""

from __future__ import annotations

import ipaddress
import json
import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lowrung.serving import keys as known
from lowrung.serving.batching import Busy
from lowrung.serving.meters import Meters

LOCAL = ("localhost", "127.0.0.1", "::1")
ANY = ("0.0.0.0", "::")  # to listen at is to listen at all addresses of this machine
READING = ("GET", "HEAD", "OPTIONS")  # methods that change nothing
ANSWER = "/v1/answer"  # what most questions are asked by
STREAM = "lowrung"  # the subprotocol of streams
KEY = "key."  # before a key among subprotocols, where a browser cannot send Authorization


class Told(JSONResponse):
    """JSON that any text can be told in, lone surrogates too."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def problem(status: int, said: str, of: Exception | None = None) -> Response:
    """What went wrong, in one line."""
    headers = {"Retry-After": str(max(1, math.ceil(of.seconds)))} if isinstance(of, Busy) else {}
    headers |= {"Retry-After": "5"} if status == 503 else {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Told({"error": said}, status_code=status, headers=headers)


class Doors:
    """Whom the service answers.

    Without keys a browser on this machine could be made to ask in the name of any page that it shows. So the Host
    header must be one of `hosts` (a page's own name that was turned to this machine is none, which is DNS rebinding),
    and what changes something must not come from another page.

    Args:
        keys: hash → name of who may ask; with keys nothing else is looked at, since no page knows one.
        hosts: names and addresses, without ports; one of `ANY` stands for every address, as numbers.
    """

    def __init__(self, keys: Mapping[str, str] | None, hosts: Collection[str] = LOCAL) -> None:
        self.keys, self.hosts = None if keys is None else dict(keys), {_plain(each) for each in hosts}

    def who(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str | None:
        """Whose key a request brings; "" where none is needed, None where it is nobody's."""
        if self.keys is None:
            return ""
        kind, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scope["type"] == "websocket" and not kind:
            offered = [each for each in scope.get("subprotocols", ()) if each.startswith(KEY)]
            kind, key = "bearer", offered[0].removeprefix(KEY) if offered else ""
        return known.owner(self.keys, key.strip()) if kind.lower() == "bearer" else None

    def refused(self, scope: Scope, headers: Mapping[bytes, bytes]) -> tuple[int, str] | None:
        """(status, why) where a request comes in another's name or brings what no page would have to ask for."""
        host = headers.get(b"host", b"").decode("latin-1")
        if self.keys is None:
            if not self._known(_plain(_without_port(host))):
                return 421, f"this service does not answer to {host[:100]!r}; --allow-host NAME lets it"
            origin = headers.get(b"origin", b"").decode("latin-1")
            if origin and scope.get("method", "") not in READING and not self._ours(origin, host):
                return 403, f"pages of {origin[:100]!r} may not ask here"
        if scope.get("method") == "POST" and not _asked_for(headers):
            return 415, "a body is application/json, or multipart/form-data for files: say so in Content-Type"
        return None

    def _known(self, host: str) -> bool:
        return host in self.hosts or (not self.hosts.isdisjoint(ANY) and (host == "localhost" or _is_address(host)))

    def _ours(self, origin: str, host: str) -> bool:
        """Of the same host and port, or of a name that was allowed (as behind a proxy that changes Host)."""
        try:
            found = urlsplit(origin)
            name = _plain(found.hostname or "")
        except ValueError:
            return False
        return found.netloc.lower() == host.lower() or name in self.hosts.difference(LOCAL, ANY)


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _without_port(host: str) -> str:
    return host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _asked_for(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body is of a kind that a form or a simple request of another page is not, or there is none."""
    kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if not kind:
        return headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
    return kind in ("application/json", "multipart/form-data") or (
        kind.startswith("application/") and kind.endswith("+json")
    )


class Gate:
    """Counts requests, looks at whose they are, and cuts off a body that is larger than it may be.

    Args:
        most: bytes of a body. open_: paths that ask for no key.
        busy: (model, why) where a question would find no place, which costs less to say before it is read.
    """

    def __init__(
        self,
        app: ASGIApp,
        doors: Doors,
        meters: Meters,
        most: int,
        open_: Collection[str],
        busy: Callable[[], tuple[str, Busy] | None],
    ) -> None:
        self.app, self.doors, self.meters, self.most, self.open, self.busy = app, doors, meters, most, open_, busy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        begun, path, status, asked = time.perf_counter(), scope["path"], 500, ""
        headers = {name.lower(): value for name, value in scope["headers"]}
        length, most, taken = headers.get(b"content-length", b""), self.most, 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise HTTPException(413, f"the body is larger than {most:,} bytes")
            return message

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        who = "" if path in self.open else self.doors.who(scope, headers)
        scope.setdefault("state", {})["who"] = who or ""
        try:
            if who is None:
                await problem(401, "a key is needed: Authorization: Bearer …")(scope, receive, told)
            elif length.isdigit() and int(length) > most:
                await problem(413, f"the body is larger than {most:,} bytes")(scope, receive, told)
            elif why := self.doors.refused(scope, headers):
                await problem(*why)(scope, receive, told)
            elif path == ANSWER and scope.get("method") == "POST" and (full := self.busy()):
                self.meters.refused.labels(full[0]).inc()
                await problem(429, str(full[1]), full[1])(scope, receive, told)
                asked = ANSWER
            else:
                await self.app(scope, counted if scope["type"] == "http" else receive, told)
        finally:
            route = asked or getattr(scope.get("route"), "path", "other")
            self.meters.requests.labels(route, str(status)).inc()
            self.meters.seconds.labels(route).observe(time.perf_counter() - begun)
