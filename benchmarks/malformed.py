"""What nobody should send: broken files, bombs, paths, JSON that is none. `fuzzing` asks the service all of it."""

import base64
import io
import json
import struct
import wave
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
HUGE = 200 << 20  # bytes that a bomb becomes
DEEP = 100_000
UNHEARD = ("a WAV of NaN", "a WAV of giant floats")  # whose numbers a model that hears nothing does not look at


class Sent(NamedTuple):
    name: str
    body: bytes
    path: str = "/v1/answer"
    headers: dict[str, str] = JSON
    method: str = "POST"


def everything(existing: str) -> Iterator[Sent]:
    """All of it; `existing` names a picture on the service's machine, which it must not open."""
    for kind, files in (("image", pictures()), ("audio", sounds())):
        for name, content in files:
            held = base64.b64encode(content).decode()
            model = "heard" if kind == "audio" else "mails"
            yield Sent(f"{kind}: {name}", _row({kind: held}, model))
            if name not in UNHEARD:
                yield Sent(f"{kind} among parts: {name}", _row({"given": [{"text": "x"}, {kind: held}]}))
            if kind == "audio":
                yield Sent(f"uploaded: {name}", _form(content), "/v1/audio/transcriptions", FORM)
                streamed = _form(content, stream="true")
                yield Sent(f"uploaded, as events: {name}", streamed, "/v1/audio/transcriptions", FORM)
    for path in (
        existing,
        f"file://{existing}",
        "/etc/passwd",
        "../../etc/passwd",
        "etc/host",
        "/dev/zero",
        "C:\\x",
        "~",
    ):
        for kind in ("audio", "image"):
            yield Sent(f"path: {kind} {path}", _row({kind: path}))
            yield Sent(f"path in parts: {kind} {path}", _row({"given": [{kind: path}]}))
            yield Sent(f"path in an object: {kind} {path}", _row({kind: {"path": path}}))
    yield from no_json()
    yield from wrong()


def _row(row: Any, model: str = "mails") -> bytes:
    return json.dumps({"model": model, "row": row}).encode()


def _form(content: bytes, **more: str) -> bytes:
    fields = {"model": "heard", **more}
    parts = [f'--x\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    return b"".join(parts) + head + content + b"\r\n--x--\r\n"


# --- files


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(wide: int = 8, high: int = 8, *, more: bytes = b"", data: bytes | None = None) -> bytes:
    """A grey picture, with chunks between its header and its data."""
    held = zlib.compress(b"\0" * ((wide + 1) * high)) if data is None else data
    head = struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + chunk(b"IDAT", held) + chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    """So many zeros, compressed."""
    made, block = zlib.compressobj(9), b"\0" * (1 << 20)
    return b"".join(made.compress(block) for _ in range(size >> 20)) + made.flush()


def pictures() -> Iterator[tuple[str, bytes]]:
    bomb, whole = zeros(HUGE), png(64, 64, data=zlib.compress(bytes(range(65)) * 64))
    yield "garbage", b"garbage" * 9
    yield "the first bytes of a PNG", whole[:20]
    yield "a PNG cut off in its data", whole[:90]
    yield "a PNG without data", png(data=b"")
    yield "a PNG with garbage for data", png(data=b"garbage")
    yield "a PNG that says 100,000 x 100,000", png(100_000, 100_000, data=zlib.compress(b"\0"))
    yield "a PNG of 4 billion wide", png(2**31 - 1, 2**31 - 1, data=b"x")
    yield "a PNG of nothing", png(0, 0, data=zlib.compress(b""))
    yield "a PNG with a zTXt of 200 MB", png(more=chunk(b"zTXt", b"Comment\0\0" + bomb))
    yield "a PNG with an iTXt of 200 MB", png(more=chunk(b"iTXt", b"Comment\0\1\0\0\0" + bomb))
    yield "a PNG with an iCCP of 200 MB", png(more=chunk(b"iCCP", b"icc\0\0" + bomb))[:60] + b"\0"
    many = b"".join(chunk(b"zTXt", b"k%d\0\0" % at + zeros(1 << 20)) for at in range(100))
    yield "a PNG with 100 zTXt of 1 MB", png(more=many)
    tiff = struct.pack("<2sHIH", b"II", 42, 8, 3)
    tiff += b"".join(struct.pack("<HHII", *tag) for tag in ((256, 4, 1, 2**31), (257, 4, 1, 2**31), (273, 4, 2**30, 8)))
    yield "a TIFF of 2 billion wide", tiff + bytes(4)
    yield (
        "a BMP of 2 billion wide",
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 60, 0, 54, 40, 2**31 - 1, 9, 1, 24, *[0] * 6),
    )
    yield "a GIF without a picture", b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b";"
    yield "a JPEG cut off", bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffdb0043")
    yield "a WebP cut off", b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\x7f"
    yield "an SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


def wav(samples: bytes = b"\0" * 3200, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(rate)
        opened.writeframes(samples)
    return file.getvalue()


def sounds() -> Iterator[tuple[str, bytes]]:
    whole = wav()
    floats = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 76, b"WAVE", b"fmt ", 16, 3, 1, 16000, 64000, 4, 32, b"data", 40
    )
    yield "garbage", b"garbage" * 9
    yield "the first bytes of a WAV", whole[:20]
    yield "a WAV without samples", wav(b"")
    yield "a WAV of no rate", whole[:24] + bytes(4) + whole[28:]
    yield "a WAV of one sample a second", wav(rate=1)
    yield "a WAV without channels", whole[:22] + bytes(2) + whole[24:]
    yield "a WAV of an unknown code", whole[:20] + b"\xab\xcd" + whole[22:]
    yield "a WAV of NaN", floats + struct.pack("<10f", *[float("nan")] * 10)
    yield "a WAV of giant floats", floats + struct.pack("<10f", *[1e30] * 10)
    yield "a FLAC cut off", b"fLaC\x00\x00\x00\x22" + b"\x10" * 30
    yield "an Ogg of garbage", b"OggS" + b"\0" * 60
    yield "an MP3 of garbage", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + b"\xff\xfb\x90\x00" * 3
    yield "an hour", _hour()


def _hour() -> bytes:
    """An hour of silence, which is small as FLAC."""
    import numpy as np
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.zeros(3600 * 8000, np.int16), 8000, format="FLAC")
    return file.getvalue()


# --- bodies


def no_json() -> Iterator[Sent]:
    for name, body in {
        "nothing": b"",
        "half of an object": b'{"row": {"text": "x"',
        "bytes of no text": b'{"row": {"text": "\xff\xfe"}}',
        "NaN": b'{"row": {"text": NaN}}',
        "NaN beside a text": b'{"row": {"text": "x", "weight": NaN}}',
        "Infinity": b'{"row": {"text": "x", "weight": -Infinity}}',
        "a number beyond floats": b'{"row": {"text": "x", "weight": 1e999}}',
        "lists in lists": b'{"row": ' + b"[" * DEEP + b"]" * DEEP + b"}",
        "lists that are not closed": b"[" * DEEP,
        "objects in objects": b'{"row": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
        "13 lists": b'{"row": {"text": "x", "more": ' + b"[" * 13 + b"]" * 13 + b"}}",
        "20 MB": b'{"row": {"text": "' + b"x" * (20 << 20) + b'"}}',
        "half a letter": b'{"row": {"text": "\\ud800"}}',
        "half a letter in a name": b'{"row": {"text": "x", "\\udfff": 1}}',
        "half a letter in a model's name": b'{"model": "\\ud800", "row": {"text": "x"}}',
        "a number of 100,000 digits": b'{"row": {"text": "x"}, "odd": ' + b"9" * 100_000 + b"}",
        "two values": b'{"row": {"text": "x"}}{}',
        "a form": b"row=x",
    }.items():
        named = body.replace(b'{"row": ', b'{"model": "mails", "row": ', 1)
        yield Sent(f"JSON: {name}", named)
        yield Sent(f"correction: {name}", named, "/v1/corrections")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "text/json", "", "application/xml", "nonsense"):
        yield Sent(f"kind: {kind!r}", _row({"text": "x"}), headers={"Content-Type": kind})
    yield Sent("kind: multipart without a boundary", _form(wav()), headers={"Content-Type": "multipart/form-data"})
    packed = {**JSON, "Content-Encoding": "gzip"}
    yield Sent("kind: packed", zlib.compress(_row({"text": "x"}), wbits=31), headers=packed)


def wrong() -> Iterator[Sent]:
    for value in (None, 3, True, "x", [], [1], {"text": 3}, {"text": None}, {"text": []}, {"text": ""}, {"txt": "x"}):
        yield Sent(f"row: {value!r}", _row(value))
        yield Sent(f"rows: {value!r}", json.dumps({"model": "mails", "rows": value or [value]}).encode())
    for part in ({}, {"text": "x", "audio": "x"}, {"audio": 3}, {"image": []}, {"video": "x"}, 3, None, [], "x"):
        yield Sent(f"part: {part!r}", _row({"given": [part]}))
    for start, end in ((-1, 1), (1, 0), (9, 10), ("x", 1), (1e300, 1e301), (True, 1)):
        row = {"audio": base64.b64encode(wav()).decode(), "start": start, "end": end}
        yield Sent(f"sound from {start} to {end}", _row(row, "heard"))
    good: dict[str, Any] = {"key": "k", "model": "mails", "row": {"text": "x"}, "correction": {"label": "billing"}}
    for name, value in (
        *(("key", each) for each in ("", "two words", "k" * 201, "\0", "é", "\ud800", 3, None)),
        *(("who", each) for each in ("a\nb", "\0", "w" * 201, "\ud800", 3)),
        *(("source", each) for each in ("é", "\0", "s" * 201)),
        *(("version", each) for each in ("é", "\ud800", [])),
        *(("correction", each) for each in ({}, {"label": "odd"}, {"text": "x"}, None, [], 3, {"label": "\ud800"})),
        *(("answer", each) for each in ("\ud800", float("nan"))),
        *(("row", each) for each in ({}, [], {"text": "\ud800"}, {"text": "x", "n": float("inf")})),
        ("model", "none"),
        ("odd", 1),
    ):
        yield Sent(f"correction: {name} {value!r:.30}", json.dumps({**good, name: value}).encode(), "/v1/corrections")
    for query in ("limit=0", "limit=x", "limit=1" + "0" * 40, "after=-1", "after=1" + "0" * 30, "newest=odd"):
        yield Sent(f"page: {query:.30}", b"", f"/v1/corrections?{query}", {}, "GET")
    for path in ("/v1/corrections", "/v1/corrections?who=", "/v1/corrections?who=" + "x" * 300):
        yield Sent(f"erase: {path:.40}", b"", path, {}, "DELETE")
    for path in ("/models/none", "/models/..%2f..%2fetc%2fpasswd", "/models/%00", "/page/..%2fapp.py", "/nothing"):
        yield Sent(f"path: {path}", b'{"inputs": "x"}', path)
    for body in (
        b'{"inputs": []}',
        b'{"inputs": 3}',
        b'{"inputs": [3]}',
        b'{"inputs": ""}',
        b'{"inputs": "\\ud800"}',
        b"{}",
    ):
        yield Sent(f"inputs: {body.decode()}", body, "/models/mails")
    for version in ("none", "../../../etc", "", "\0", "\ud800"):
        body = json.dumps({"model": "mails", "version": version}).encode()
        yield Sent(f"promote: {version!r}", body, "/v1/promote")
    for text in ("", "word " * 50_000, "\ud800"):
        yield Sent(f"explain: {text!r:.20}", _row({"text": text}), "/v1/explain")
    yield Sent("too many rows", json.dumps({"model": "mails", "rows": [{"text": "x"}] * 300}).encode())
    yield Sent("too many words", _row({"text": "word " * 50_000}))
    parts = b"".join(b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n\r\n' % at for at in range(5000))
    yield Sent("upload: 5,000 fields", parts + b"--x--\r\n", "/v1/audio/transcriptions", FORM)
    yield Sent("upload: no file", b"--x--\r\n", "/v1/audio/transcriptions", FORM)
    yield Sent("upload: cut off", _form(wav())[:-20], "/v1/audio/transcriptions", FORM)
    yield Sent("upload: JSON", _row({"text": "x"}), "/v1/audio/transcriptions")
    yield Sent("upload: no such form", _form(wav(), response_format="srt"), "/v1/audio/transcriptions", FORM)
