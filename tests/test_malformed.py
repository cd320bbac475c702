"""What nobody should send is refused with a reason, and what is announced to go wrong goes wrong as announced."""

import base64
import json
import os
import struct
import zlib

import pytest

pytest.importorskip("fastapi")
from test_serving import folder, running  # noqa: F401

ROW = {"row": {"text": "the invoice"}}


@pytest.fixture(scope="module")
def client(folder, tmp_path_factory):  # noqa: F811
    with running({"mails": str(folder)}, tmp_path_factory.mktemp("store")) as made:
        yield made


def refused(found, *statuses):
    assert found.status_code in (statuses or (422,)), found.text
    assert found.json()["error"]
    return found.json()["error"]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(wide, high, *, more=b"", data=None):
    held = zlib.compress(b"\0" * ((wide + 1) * high)) if data is None else data
    head = struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + chunk(b"IDAT", held) + chunk(b"IEND", b"")


BOMB = zlib.compress(b"\0" * (32 << 20), 9)
PICTURES = {
    "garbage": b"garbage" * 9,
    "cut off": png(64, 64)[:50],
    "without data": png(8, 8, data=b""),
    "giant": png(100_000, 100_000, data=zlib.compress(b"\0")),
    "of 4 billion": png(2**31 - 1, 2**31 - 1, data=b"x"),
    "zTXt": png(8, 8, more=chunk(b"zTXt", b"Comment\0\0" + BOMB)),
    "iTXt": png(8, 8, more=chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB)),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b";",
    "webp": b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\x7f",
}
WAVE = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", 0)
SOUNDS = {
    "garbage": b"garbage" * 9,
    "cut off": WAVE[:20],
    "without samples": WAVE,
    "of no rate": WAVE[:24] + bytes(4) + WAVE[28:] + bytes(100),
    "of an unknown code": WAVE[:20] + b"\xab\xcd" + WAVE[22:] + bytes(100),
    "flac": b"fLaC\x00\x00\x00\x22" + b"\x10" * 30,
    "ogg": b"OggS" + b"\0" * 60,
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_broken_picture_or_a_bomb_is_refused(client, name):
    pytest.importorskip("PIL")
    held = base64.b64encode(PICTURES[name]).decode()
    for row in ({"image": held}, {"given": [{"text": "x"}, {"image": f"data:image/png;base64,{held}"}]}):
        assert "picture" in refused(client.post("/v1/answer", json={"row": row}))
        correction = {"key": "k", "row": row, "correction": "praise"}
        assert "picture" in refused(client.post("/v1/corrections", json=correction))


@pytest.mark.parametrize("name", SOUNDS)
def test_a_broken_sound_is_refused(client, name):
    pytest.importorskip("soundfile")
    held = base64.b64encode(SOUNDS[name]).decode()
    for row in ({"audio": held}, {"given": [{"text": "x"}, {"audio": held}]}):
        assert "sound" in refused(client.post("/v1/answer", json={"row": row}))


@pytest.mark.parametrize("column", ["image", "audio"])
def test_no_name_of_a_file_is_followed(client, tmp_path, column):
    """A pipe that nobody writes to would be waited for, were it opened."""
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    for path in (pipe, f"file://{pipe}", "/etc/passwd", "../../etc/passwd", "etc/host", "/dev/zero"):
        for row in ({column: path}, {"given": [{column: path}]}, {column: {"path": path}}):
            refused(client.post("/v1/answer", json={"row": row}))


@pytest.mark.parametrize("where", ["/v1/answer", "/v1/corrections"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"row": {"text": "\xff\xfe"}}',
        b'{"row": {"text": "x", "n": NaN}}',
        b'{"row": {"text": "x", "n": -Infinity}}',
        b'{"row": {"text": "x", "n": 1e999}}',
        b'{"row": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 100_000,
        b'{"row": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"row": {"text": "x"}, "odd": ' + b"9" * 100_000 + b"}",
        b'{"model": "\\ud800", "row": {"text": "x"}}',
        b'{"row": {"text": "x", "\\udfff": 1}}',
        b'{"row": {"text": "' + b"x" * (20 << 20) + b'"}}',
    ],
    ids=lambda each: each[:24].decode("latin-1") if isinstance(each, bytes) else each,
)
def test_a_body_that_is_none_is_refused(client, where, body):
    refused(client.post(where, content=body, headers={"Content-Type": "application/json"}), 400, 404, 413, 422)


@pytest.mark.parametrize(
    ("name", "value"),
    [("key", "\ud800"), ("key", "\0"), ("who", "\ud800"), ("who", 3), ("version", "\ud800"), ("answer", float("nan"))],
)
def test_a_correction_of_wrong_kinds_is_refused(client, name, value):
    given = {"key": "k", "row": {"text": "x"}, "correction": {"label": "billing"}, name: value}
    refused(client.post("/v1/corrections", content=json.dumps(given), headers={"Content-Type": "application/json"}))


def test_it_answers_as_ever_afterwards(client):
    assert client.post("/v1/answer", json=ROW).status_code == 200
    assert client.get("/v1/corrections").json() == {"corrections": []}


def test_answers_are_of_the_shape_that_is_announced(client):
    told = client.get("/openapi.json").json()["paths"]
    schema = told["/v1/corrections"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema["type"] == "object"
    assert set(told["/v1/audio/transcriptions"]["post"]["responses"]["200"]["content"]) == {
        "application/json",
        "text/plain",
        "text/event-stream",
    }


def test_a_store_that_cannot_be_reached_is_told(folder, tmp_path):  # noqa: F811
    import sqlite3

    with running({"mails": str(folder)}, tmp_path) as client:
        opened = sqlite3.connect(tmp_path / "store.db")
        opened.execute("DROP TABLE lowrung_corrections")
        opened.commit()
        opened.close()
        one = {"key": "k", **ROW, "correction": {"label": "billing"}}
        for found in (client.get("/v1/corrections"), client.post("/v1/corrections", json=one)):
            assert "store" in refused(found, 503)
            assert found.headers["Retry-After"] == "5"
        assert client.post("/v1/answer", json=ROW).status_code == 200
