"""A service that answers on a port of this machine."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import uvicorn


@contextmanager
def answering(server: uvicorn.Server) -> Iterator[httpx2.Client]:
    """A client of `server`, which runs on a thread until the end; port 0 is any that is free."""
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()
