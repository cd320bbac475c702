"""A hub id is fetched once, announced before it is, and found on this machine from then on."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny_encoder import write_tiny_encoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ASK = """
import sys
from lowrung.core.errors import ModelError
from lowrung.models import catalog
for name in sys.argv[1:]:
    try:
        found = catalog.backbone(name)
        print(found.source.name, found.source.checksum, found.depth)
    except ModelError as problem:
        print("refused:", problem)
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def hub(encoder: Path) -> Iterator[str]:
    """The part of the hub's protocol that fetching a model needs: what it holds, and the files."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/api/models/owner/tiny/tree/"):
                held = [
                    {"type": "file", "path": each.name, "size": each.stat().st_size, "oid": "0" * 40}
                    for each in encoder.iterdir()
                ]
                self.answer(200, json.dumps(held).encode())
            elif path.startswith("/api/models/owner/tiny"):
                files = [
                    {"rfilename": each.name, "size": each.stat().st_size, "blobId": "0" * 40}
                    for each in encoder.iterdir()
                ]
                told = {"id": "owner/tiny", "modelId": "owner/tiny", "sha": COMMIT, "private": False, "siblings": files}
                self.answer(200, json.dumps(told | {"tags": [], "downloads": 0, "likes": 0}).encode())
            elif path.startswith("/owner/tiny/resolve/") and (encoder / path.rpartition("/")[2]).is_file():
                self.answer(200, (encoder / path.rpartition("/")[2]).read_bytes())
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


def _ask(home: Path, endpoint: str, *names: str) -> tuple[list[str], str]:
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
    command = [sys.executable, "-c", ASK, *names]
    done = subprocess.run(command, env=kept | settings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


@pytest.mark.slow  # two processes that import everything
def test_a_model_is_fetched_once_and_said_so_before(hub: str, encoder: Path, tmp_path: Path) -> None:
    from lowrung.models.catalog import weights_checksum

    told, said = _ask(tmp_path, hub, "owner/tiny", "owner/none")
    assert told[0] == f"owner/tiny {weights_checksum(encoder)} 2"
    size = (encoder / "model.safetensors").stat().st_size
    assert f"fetching owner/tiny from the hub ({size / 1e6:,.0f} MB of weights)" in said
    assert told[1].startswith("refused: model 'owner/none' could not be fetched: ")
    assert len(told) == 2
    # from now on the hub is not asked; where it would be and does not answer, that is one line
    again, quiet = _ask(tmp_path, "http://127.0.0.1:9", "owner/tiny", "owner/none")
    assert again[0] == told[0]
    assert again[1].startswith("refused: model 'owner/none' could not be fetched: ")
    assert len(again) == 2
    assert "fetching" not in quiet
