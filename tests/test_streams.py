"""Sound heard while it comes in: over a WebSocket, and as events of a whole recording."""

import io
import json
import shutil
import subprocess
import time
import wave
from contextlib import contextmanager, suppress
from itertools import pairwise

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("websockets")
pytest.importorskip("soundfile")
import numpy as np
import uvicorn
from loopback import answering
from tiny_sounds import TONES, said, texts, untaught
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import lowrung
from lowrung.core.answers import Choice, Prediction
from lowrung.models.recognizer import Recognizer
from lowrung.models.sound import LESS, RATE
from lowrung.run.ship import Shipped, load
from lowrung.serving import keys, streams
from lowrung.serving.app import application
from lowrung.serving.hosting import Host
from lowrung.serving.meters import Meters
from lowrung.serving.wire import Limits

SPEECH = lowrung.task("speech")


@contextmanager
def hearing(model, **given):
    """(client, server) of a service with a recognizer, and a model of text that hears nothing."""
    topic = Shipped(lowrung.task("topic").with_options(["a", "b"]), First(), {})
    host = Host({"ears": "", "eyes": "."}, lambda source: topic if source else Shipped(SPEECH, model, {}), Meters())
    app = application(host, **given)
    config = uvicorn.Config(app, port=0, log_level="error", ws_max_size=streams.LARGEST)
    server = streams.Server(config, app.state.lowrung.streams)
    with answering(server) as client:
        yield client, server


class Ears(Recognizer):
    """Knows the words of two tones without having been taught: each letter stands in a state, where its tone begins."""

    def logs(self, parts):
        return [self.one(part.samples) for part in parts]

    def one(self, samples):
        size = RATE // 100 * LESS
        states = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size)
        logs, tone, at = np.full((len(states), len(self.head.alphabet) + 1), -9.0, np.float32), "", 0
        for state, sound in enumerate(states):
            loud = np.abs(np.fft.rfft(sound, RATE)) if np.abs(sound).max() > 0.1 else None
            heard = "" if loud is None else max(TONES, key=lambda word: loud[int(TONES[word]) - 40 :][:80].max())
            tone, at = heard, at + 1 if heard == tone else 0
            letters = f" {tone}" if tone else ""
            logs[state, self.head.alphabet.index(letters[at]) + 1 if at < len(letters) else 0] = 0.0
        return logs


@pytest.fixture(scope="module")
def taught():
    tiny = untaught()
    return Ears(tiny.body, tiny.head, tiny.source)


class First:
    """The first option."""

    name = "first"

    def answer(self, questions):
        return [Prediction(Choice(question.options[0]), 0.6) for question in questions]


@pytest.fixture(scope="module")
def service(taught):
    with hearing(taught, limits=Limits(streams=2, patience=20.0)) as made:
        yield made


def open_at(client, asked="model=ears", **given):
    return connect(f"ws://127.0.0.1:{client.base_url.port}/v1/audio/stream?{asked}", **given)


def pcm(text, rate=RATE):
    """16-bit samples of a text at a rate."""
    samples = said(text).samples
    at = np.arange(0, len(samples) - 1, RATE / rate)
    return (np.interp(at, np.arange(len(samples)), samples) * 32767).astype("<i2").tobytes()


def wave_of(text):
    file = io.BytesIO()
    with wave.open(file, "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(RATE)
        opened.writeframes(pcm(text))
    return file.getvalue()


def rest_of(socket):
    """What is told until the end, and how it ended."""
    found = []
    with suppress(ConnectionClosed):
        while True:
            found.append(json.loads(socket.recv(timeout=30)))
    return found, socket.close_code, socket.close_reason


def ended(socket, sound=b"", piece=RATE):
    for at in range(0, len(sound), piece):
        socket.send(sound[at : at + piece])
    socket.send("{}")
    return rest_of(socket)


def test_sound_is_answered_while_it_comes(service, taught):
    text = "ding dong dong ding ding dong"
    with open_at(service[0]) as socket:
        socket.send(pcm(text)[: 2 * RATE])
        first = json.loads(socket.recv(timeout=30))
        found, code, _ = ended(socket, pcm(text)[2 * RATE :])
    assert first["final"] is False
    assert text.startswith(first["text"])
    *partial, last = found
    assert code == 1000
    assert [each["final"] for each in found] == [False] * len(partial) + [True]
    assert last["text"] == last["settled"] == text
    assert last["seconds"] == pytest.approx(len(pcm(text)) / 2 / RATE, abs=0.01)
    assert [each["word"] for each in last["words"]] == text.split()
    assert all(one["end"] <= two["end"] for one, two in pairwise(last["words"]))


@pytest.mark.parametrize(("rate", "piece"), [(8000, 801), (16000, 1), (44100, 9999)])
def test_any_rate_and_pieces_of_any_size(service, rate, piece):
    with open_at(service[0], f"model=ears&rate={rate}") as socket:
        found, code, _ = ended(socket, pcm("dong ding", rate)[: 40_000 if piece > 1 else 3000], piece)
    assert code == 1000
    if piece > 1:
        assert found[-1]["text"].split()[:1] == ["dong"]


def test_nothing_said_is_nothing_heard(service):
    with open_at(service[0]) as socket:
        found, code, _ = ended(socket)
    assert (found, code) == ([{"text": "", "final": True, "settled": "", "seconds": 0.0, "words": []}], 1000)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("model=eyes", "eyes hears no streams"),
        ("model=nose", "nose"),
        ("", "model"),
        ("model=ears&rate=7", "8000 to 48000"),
        ("model=ears&rate=-16000", "8000 to 48000"),
        ("model=ears&rate=x", "8000 to 48000"),
        ("model=ears&rate=0000080009999999999", "8000 to 48000"),
        (f"model=ears&rate={'9' * 5000}", "8000 to 48000"),
    ],
)
def test_what_is_wrong_is_the_reason_of_the_end(service, asked, reason):
    with open_at(service[0], asked) as socket:
        found, code, said_ = rest_of(socket)
    assert (found, code) == ([], 1008)
    assert reason in said_


def test_no_more_streams_than_are_heard_at_once(service):
    client, _ = service
    with open_at(client) as one, open_at(client) as two:
        for each in (one, two):
            each.send(pcm("ding dong"))
            json.loads(each.recv(timeout=30))
        with open_at(client) as three:
            assert rest_of(three)[:2] == ([], 1013)
        asked = {"model": "ears", "stream": "true"}
        busy = client.post("/v1/audio/transcriptions", data=asked, files={"file": wave_of("ding")})
        assert (busy.status_code, busy.headers["Retry-After"]) == (429, "5")
        whole = client.post("/v1/audio/transcriptions", data={"model": "ears"}, files={"file": wave_of("ding")})
        assert whole.status_code == 200  # what is no stream is answered as ever
        assert "lowrung_streams 2.0" in client.get("/metrics").text
    for _ in range(100):  # who hangs up gives the place back
        if "lowrung_streams 0.0" in client.get("/metrics").text:
            break
        time.sleep(0.1)
    with open_at(client) as again:
        assert ended(again)[1] == 1000


def test_a_stream_ends_where_it_may_be_no_longer(taught):
    with hearing(taught, limits=Limits(listened=1.0, patience=20.0)) as (client, _), open_at(client) as socket:
        socket.send(pcm("ding dong ding dong ding dong ding"))
        found, code, reason = rest_of(socket)
    assert (found[-1]["final"], found[-1]["seconds"], code) == (True, 1.0, 1000)
    assert "at most" in reason


def test_a_stream_in_which_nothing_comes_is_ended(taught):
    with hearing(taught, limits=Limits(patience=0.3)) as (client, _), open_at(client) as socket:
        socket.send(pcm("ding"))
        found, code, reason = rest_of(socket)
    assert (found[-1]["text"], code) == ("ding", 1000)
    assert "no sound came" in reason


def test_a_message_that_is_too_large_ends_it(service):
    with open_at(service[0]) as socket:
        socket.send(bytes(streams.LARGEST + 2))
        assert rest_of(socket)[1] == 1009


def test_when_the_service_ends_streams_end_with_what_was_heard(taught):
    with hearing(taught) as (client, server), open_at(client) as socket:
        socket.send(pcm("ding dong"))
        json.loads(socket.recv(timeout=30))
        server.should_exit = True
        found, code, reason = rest_of(socket)
        assert (found[-1]["final"], found[-1]["text"], code) == (True, "ding dong", 1012)
        assert "shutting down" in reason


def test_a_model_that_fails_closes_its_stream_alone(taught):
    class Failing(Ears):
        def one(self, samples):
            raise RuntimeError("boom")

    broken = Failing(taught.body, taught.head, taught.source)
    with hearing(broken) as (client, _):
        with open_at(client) as socket:
            assert ended(socket, pcm("ding"))[:2] == ([], 1011)
        assert client.get("/healthz").text == "ok"
        assert "lowrung_streams 0.0" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.example"}, 421), ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403)],
)
def test_another_page_hears_nothing(service, headers, status):
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    found = service[0].get("/v1/audio/stream?model=ears", headers={**upgrade, **headers})
    assert found.status_code == status
    assert found.json()["error"]


def test_a_key_is_asked_for_here_too(taught, tmp_path):
    key = keys.made(tmp_path / "keys.txt", "ada")
    with hearing(taught, keys=keys.read(tmp_path / "keys.txt")) as (client, _):
        for wrong in ({}, {"additional_headers": {"Authorization": f"Bearer {key}x"}}, {"subprotocols": ["key.x"]}):
            with pytest.raises(InvalidStatus) as told, open_at(client, **wrong):
                pass
            assert told.value.response.status_code == 401
        for right in (
            {"additional_headers": {"Authorization": f"Bearer {key}"}},
            {"subprotocols": ["lowrung", f"key.{key}"]},  # what a browser can send
        ):
            with open_at(client, **right) as socket:
                assert ended(socket, pcm("ding"))[0][-1]["text"] == "ding"
        assert socket.subprotocol == "lowrung"


def test_who_asks_without_a_websocket_is_told(service):
    found = service[0].get("/v1/audio/stream")
    assert (found.status_code, found.headers["Upgrade"]) == (426, "websocket")


def test_a_recording_is_told_as_events(service, monkeypatch):
    from lowrung.models import listening

    monkeypatch.setattr(listening, "LONGEST", 3.0)
    monkeypatch.setattr(streams, "WHOLE", 2.0)
    text, asked = " ".join(texts(12, 8)), {"model": "ears", "stream": "true"}
    found = service[0].post("/v1/audio/transcriptions", data=asked, files={"file": wave_of(text)})
    assert found.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(each.removeprefix("data: ")) for each in found.text.split("\n\n") if each]
    *deltas, done = events
    assert {each["type"] for each in deltas} == {"transcript.text.delta"}
    assert len(deltas) > 1
    assert done["type"] == "transcript.text.done"
    assert done["text"] == "".join(each["delta"] for each in deltas)
    assert abs(len(done["text"].split()) - len(text.split())) <= 0.25 * len(text.split())


def test_what_is_no_recording_is_refused_before_events(service):
    asked = {"model": "ears", "stream": "true"}
    assert service[0].post("/v1/audio/transcriptions", data=asked, files={"file": b"garbage"}).status_code == 422
    other = service[0].post(
        "/v1/audio/transcriptions", data={**asked, "model": "eyes"}, files={"file": wave_of("ding")}
    )
    assert other.status_code == 422
    assert "hears nothing" in other.json()["error"]


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
def test_the_embedded_recognizer_hears_a_stream(tmp_path):
    subprocess.run(["espeak-ng", "-w", str(tmp_path / "said.wav"), "where is my parcel"], check=True, timeout=60)
    with wave.open(str(tmp_path / "said.wav")) as opened:
        rate, sound = opened.getframerate(), opened.readframes(opened.getnframes())
    with hearing(load("speech").model) as (client, _), open_at(client, f"model=ears&rate={rate}") as socket:
        found, code, _ = ended(socket, sound)
    assert code == 1000
    assert {"where", "is", "my"} & set(found[-1]["text"].split())
