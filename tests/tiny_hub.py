"""The part of the hub's protocol that fetching a model needs, on this machine, and a process that fetches from it."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a hub that holds the files of `folder` as owner/tiny, and nothing else."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/api/models/owner/tiny/tree/"):
                held = [
                    {"type": "file", "path": each.name, "size": each.stat().st_size, "oid": "0" * 40}
                    for each in folder.iterdir()
                ]
                self.answer(200, json.dumps(held).encode())
            elif path.startswith("/api/models/owner/tiny"):
                files = [
                    {"rfilename": each.name, "size": each.stat().st_size, "blobId": "0" * 40}
                    for each in folder.iterdir()
                ]
                told = {"id": "owner/tiny", "modelId": "owner/tiny", "sha": COMMIT, "private": False, "siblings": files}
                self.answer(200, json.dumps(told | {"tags": [], "downloads": 0, "likes": 0}).encode())
            elif path.startswith("/owner/tiny/resolve/") and (folder / path.rpartition("/")[2]).is_file():
                self.answer(200, (folder / path.rpartition("/")[2]).read_bytes())
            else:
                self.answer(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            tag = hashlib.sha256(body).hexdigest()
            known = {"Content-Length": str(len(body)), "ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}
            for name, value in (known | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def ask(script: str, home: Path, endpoint: str, *names: str) -> tuple[list[str], str]:
    """What a script prints in a process of its own, given `names`: lines of its output, and what it says beside."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    settings = {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }
    command = [sys.executable, "-c", script, *names]
    done = subprocess.run(command, env=kept | settings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr
