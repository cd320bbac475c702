"""The service, asked over a real socket."""

import base64
import io
import json
import threading
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi")
import uvicorn
from loopback import answering

from lowrung.cli import main
from lowrung.core.errors import LowrungError, ModelError
from lowrung.run.ship import load
from lowrung.serving import keys
from lowrung.serving.app import application
from lowrung.serving.batching import Batcher, Busy
from lowrung.serving.hosting import Host, names_of
from lowrung.serving.meters import Meters
from lowrung.serving.store import Store
from lowrung.serving.wire import Limits


@contextmanager
def running(models, tmp_path, **given):
    host = Host(models, load, Meters())
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    server = uvicorn.Server(uvicorn.Config(application(host, store=store, **given), port=0, log_level="error"))
    with answering(server) as client:
        yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that needs no body: it answers by letters, and is there in a second."""
    path = tmp_path_factory.mktemp("models") / "mails"
    rows = [{"text": f"{word} {number}", "label": label} for number in range(6) for word, label in WORDS.items()]
    (path.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert main(["fit", "topic", str(path.parent / "rows.jsonl"), "--method", "ngrams", "--out", str(path)]) == 0
    return path


WORDS = {"invoice charged money": "billing", "parcel courier late": "delivery", "thank you great": "praise"}


@pytest.fixture(scope="module")
def client(folder, tmp_path_factory):
    with running({"mails": str(folder)}, tmp_path_factory.mktemp("store")) as made:
        yield made


def test_it_answers_as_the_model_does(client, folder):
    texts = ["the invoice was charged twice", "the courier came late"]
    found = client.post("/v1/answer", json={"rows": [{"text": text} for text in texts]}).json()
    assert [each["answer"] for each in found["answers"]] == [each.answer.option for each in load(folder).answer(texts)]
    assert found["model"] == "mails"
    assert len(found["version"]) == 12
    assert client.post("/v1/answer", json={"row": {"text": texts[0]}}).json()["answers"] == found["answers"][:1]


def test_it_says_what_it_serves(client):
    (about,) = client.get("/v1/models").json()["models"]
    assert about["task"] == "topic"
    assert about["options"] == ["billing", "delivery", "praise"]
    assert client.get("/healthz").text == "ok"
    assert client.get("/readyz").json() == {"ready": True}


def test_what_is_measured_is_told(client):
    client.post("/v1/answer", json={"row": {"text": "thank you"}})
    told = client.get("/metrics").text
    assert 'lowrung_requests_total{path="/v1/answer",status="200"}' in told
    assert 'lowrung_confidence_count{model="mails"}' in told
    assert "lowrung_queue_questions" in told


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "JSON"),
        (b"[]", 422, ""),
        (b'{"row": {"text": ""}}', 422, "column 'text' is empty"),
        (b'{"rows": [{"text": "fine"}, {"text": 3}]}', 422, "rows[1]"),
        (b'{"row": {"text": NaN}}', 422, "NaN"),
        (b'{"row": {"text": "\\ud800"}}', 422, "half"),
        (b'{"row": {"image": "/etc/passwd"}}', 422, "names of files are not taken"),
        (b'{"row": {"given": [{"audio": "../x.wav"}]}}', 422, "names of files are not taken"),
        (b'{"row": {"image": {"path": "/etc/passwd"}}}', 422, "base64"),
        (b'{"row": {"text": "x"}, "model": "other"}', 404, "mails"),
        (b'{"row": {"text": "x"}, "rows": [{"text": "y"}]}', 422, "either"),
        (b'{"rows": []}', 422, "either"),
        (b'{"row": {"text": "x"}, "odd": 1}', 422, "odd"),
        (b'{"row": ' + b"[" * 60_000 + b"]" * 60_000 + b"}", 400, ""),
        (b'{"row": {"text": ' + b"[" * 50 + b"]" * 50 + b"}}", 422, "deeply"),
        (json.dumps({"rows": [{"text": "x"}] * 300}).encode(), 413, "at most 256"),
        (json.dumps({"row": {"text": "word " * 50_000}}).encode(), 413, "tokens"),
        (b" " * (11 << 20), 413, "larger"),
    ],
)
def test_what_cannot_be_read_is_told(client, body, status, said):
    found = client.post("/v1/answer", content=body, headers={"Content-Type": "application/json"})
    assert found.status_code == status, found.text
    assert said in found.json()["error"]


def test_a_body_without_a_length_is_cut_off(client):
    parts = (b" " * (1 << 20) for _ in range(12))
    found = client.post("/v1/answer", content=parts, headers={"Content-Type": "application/json"})
    assert found.status_code == 413


def test_a_picture_is_looked_at_before_it_is_decoded(client):
    pillow = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    pillow.new("1", (20_000, 20_000)).save(file, "PNG")  # 50 kB that would be 1.2 GB
    assert len(file.getvalue()) < 100_000
    found = client.post("/v1/answer", json={"row": {"image": base64.b64encode(file.getvalue()).decode()}})
    assert found.status_code == 422
    assert "pixels" in found.json()["error"]


def test_corrections_are_kept_once_and_told(client):
    one = {"key": "c1", "row": {"text": "my card was debited"}, "correction": {"label": "billing"}, "who": "ada"}
    first = client.post("/v1/corrections", json=one)
    again = client.post("/v1/corrections", json={**one, "correction": "billing"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert client.post("/v1/corrections", json={**one, "correction": "praise"}).status_code == 409
    told = client.get("/v1/corrections", params={"limit": 5}).json()["corrections"]
    assert [each["key"] for each in told] == ["c1"]
    assert client.get("/v1/corrections", params={"after": told[0]["number"]}).json() == {"corrections": []}
    assert client.delete("/v1/corrections", params={"who": "ada"}).json() == {"erased": 1}
    assert client.get("/v1/corrections").json() == {"corrections": []}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"correction": {"label": "odd"}}, "odd"),
        ({"correction": {"text": "another question"}}, "not 'text'"),
        ({"correction": {"label": "praise", "image": "AAAA"}}, "not 'image'"),
        ({"correction": {}}, "label"),
        ({"row": {}}, "column 'text' is empty"),
        ({"key": "two words"}, "key"),
        ({"who": "a\nb"}, "who"),
        ({"correction": {"label": float("inf")}}, ""),
    ],
)
def test_a_correction_that_is_none_is_refused(client, wrong, said):
    given = {"key": "c9", "row": {"text": "x"}, "correction": {"label": "praise"}, **wrong}
    found = client.post(
        "/v1/corrections", content=json.dumps(given).encode(), headers={"Content-Type": "application/json"}
    )
    assert found.status_code == 422, found.text
    assert said in found.json()["error"]
    assert client.get("/v1/corrections").json() == {"corrections": []}


def test_the_hugging_face_shape(client):
    ((first, *_),) = client.post("/models/mails", json={"inputs": "the invoice"}).json()
    assert set(first) == {"label", "score"}
    assert len(client.post("/models/mails", json={"inputs": ["one", "two"]}).json()) == 2


def test_a_key_is_needed_where_keys_are_set(folder, tmp_path):
    path = tmp_path / "keys.txt"
    key = keys.made(path, "ada")
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    row = {"row": {"text": "x"}}
    with running({"mails": str(folder)}, tmp_path, keys=keys.read(path)) as client:
        for wrong in ({}, *({"Authorization": each} for each in (f"Bearer {key}x", key, f"Basic {key}", "Bearer"))):
            for method, where in (("POST", "/v1/answer"), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/x")):
                assert client.request(method, where, headers=wrong, json=row).status_code == 401
        right = {"Authorization": f"Bearer {key}"}
        assert client.post("/v1/answer", json=row, headers=right).status_code == 200
        correction = {"key": "k", **row, "correction": "praise", "who": "somebody else"}
        assert client.post("/v1/corrections", json=correction, headers=right).json()["who"] == "ada"
        assert client.get("/healthz").status_code == 200


def test_another_version_takes_over_without_a_request_lost(folder, tmp_path):
    import shutil

    own = tmp_path / "own"
    shutil.copytree(folder, own)
    with running({"own": str(own)}, tmp_path) as client:
        before = client.get("/v1/models").json()["models"][0]["version"]
        rows, ended, failed = {"row": {"text": "the invoice"}}, threading.Event(), []

        def ask():
            while not ended.is_set():
                found = client.post("/v1/answer", json=rows)
                if found.status_code != 200:
                    failed.append(found.text)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for each in threads:
            each.start()
        assert main(["fit", "topic", str(folder.parent / "rows.jsonl"), "--method", "majority", "--out", str(own)]) == 0
        for _ in range(100):
            time.sleep(0.1)
            after = client.get("/v1/models").json()["models"][0]
            if after["version"] != before:
                break
        ended.set()
        for each in threads:
            each.join()
        assert after["method"] == "majority"
        assert failed == []


def test_more_than_can_be_answered_is_told_to_come_back(folder, tmp_path):
    class Slow:
        name = "slow"

        def answer(self, questions):
            time.sleep(0.05 * len(questions))
            return inner.answer(questions)

    shipped = load(folder)
    inner = shipped.model
    host = Host({"slow": str(folder)}, lambda _: type(shipped)(shipped.task, Slow(), shipped.facts), Meters(), 0.1)
    codes = []
    with answering(uvicorn.Server(uvicorn.Config(application(host), port=0, log_level="error"))) as client:

        def ask():
            found = client.post("/v1/answer", json={"row": {"text": "the invoice"}})
            codes.append((found.status_code, found.headers.get("retry-after")))

        ask()
        threads = [threading.Thread(target=ask) for _ in range(30)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert set(codes) == {(200, None), (429, "1")}
        assert client.post("/v1/corrections", json={"key": "k", "row": {}, "correction": 1}).status_code == 404


def test_a_full_service_says_so_before_it_reads(folder, tmp_path, monkeypatch):
    with running({"mails": str(folder)}, tmp_path) as client:
        with monkeypatch.context() as patched:
            patched.setattr(Batcher, "busy", lambda _: Busy(1.5))
            found = client.post("/v1/answer", content="{", headers={"Content-Type": "application/json"})
            assert (found.status_code, found.headers["retry-after"]) == (429, "2")
            assert found.json() == {"error": str(Busy(1.5))}
            assert client.post("/v1/answer", json={}, headers={"Origin": "http://else.where"}).status_code == 403
            assert client.get("/v1/models").status_code == 200
        told = client.get("/metrics").text
        assert 'lowrung_requests_total{path="/v1/answer",status="429"} 1.0' in told
        assert 'lowrung_refused_total{model="mails"} 1.0' in told
        assert client.post("/v1/answer", json={"row": {"text": "the invoice"}}).status_code == 200


def test_names(tmp_path):
    assert names_of(["a=runs/topic", "runs/topic/model", "spelling"]) == {
        "a": "runs/topic",
        "topic": "runs/topic/model",
        "spelling": "spelling",
    }
    with pytest.raises(LowrungError, match="two models"):
        names_of(["x/mails", "y/mails"])
    with pytest.raises(LowrungError, match="letters, digits"):
        Host({"a b": "topic"}, load, Meters())


@pytest.mark.parametrize("lines", ["", "nonsense", f"{'g' * 64} ada", f"{'a' * 64}"])
def test_a_damaged_file_of_keys_lets_nobody_in(tmp_path, lines):
    (tmp_path / "keys.txt").write_text(lines)
    with pytest.raises(LowrungError, match=r"keys\.txt"):
        keys.read(tmp_path / "keys.txt")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["serve"], "name a model"),
        (["serve", "no/such/folder"], "no/such/folder"),
        (["serve", "--new-key", "ada"], "--keys FILE"),
        (["serve", "topic", "--store", "nonsense"], "labels"),
        (["serve", "spelling", "--keys", "no-such-file"], "no file of keys"),
        (["serve", "spelling", "--raw", "rows.jsonl"], "--store URL"),
    ],
)
def test_the_verb_says_what_is_wrong(asked, said, capsys):
    assert main(asked) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "0000080000000000"])
def test_a_port_is_one(port, capsys):
    assert main(["serve", "spelling", f"--port={port}"]) == 2
    assert "a port from 1 to 65535" in capsys.readouterr().err


def test_limits_are_ones_to_change(folder, tmp_path):
    with running({"mails": str(folder)}, tmp_path, limits=Limits(rows=1)) as client:
        assert client.post("/v1/answer", json={"rows": [{"text": "x"}] * 2}).status_code == 413


def test_who_asks_the_old_version_at_a_takeover_is_answered(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "own")
    host = Host({"own": str(tmp_path / "own")}, load, Meters())
    old = host.of("own")
    rows = str(folder.parent / "rows.jsonl")
    assert main(["fit", "topic", rows, "--method", "majority", "--out", str(tmp_path / "own")]) == 0
    end = time.monotonic() + 20
    while host.of("own") is old and time.monotonic() < end:
        host.refresh("own")
        time.sleep(0.05)
    assert host.of("own").version != old.version
    asked = old.shipped.task.question({"text": "the invoice"})
    assert old.batcher.put([asked]).result(10)[0].answer
    host.close()


def test_a_version_that_cannot_be_loaded_is_told_once_and_the_next_one_takes_over(folder, tmp_path, capsys):
    import shutil

    from lowrung.serving import hosting, versions

    def loads(source):
        found = load(source)
        if found.facts["method"] == "majority":
            raise KeyError("ears")
        return found

    own = tmp_path / "own"
    shutil.copytree(folder, own)
    host = Host({"own": str(own)}, loads, Meters())
    before = host.of("own").version
    versions.keep(own)
    rows = str(folder.parent / "rows.jsonl")
    assert main(["fit", "topic", rows, "--method", "majority", "--out", str(own)]) == 0
    time.sleep(2.5 * hosting.LOOKS)
    assert host.of("own").version == before
    assert capsys.readouterr().err.count("goes on answering") == 1
    assert main(["fit", "topic", rows, "--method", "ngrams", "--seed", "1", "--out", str(own)]) == 0
    end = time.monotonic() + 20
    while host.of("own").version == before and time.monotonic() < end:
        time.sleep(0.1)
    assert host.of("own").version == versions.current(own) != before
    host.close()


def test_a_key_is_added_behind_a_line_without_an_end(tmp_path):
    ada = keys.made(tmp_path / "keys.txt", "ada")
    (tmp_path / "keys.txt").write_text((tmp_path / "keys.txt").read_text().rstrip("\n"))
    bob = keys.made(tmp_path / "keys.txt", "bob")
    known = keys.read(tmp_path / "keys.txt")
    assert [keys.owner(known, each) for each in (ada, bob)] == ["ada", "bob"]


def test_fast_that_cannot_be_is_told(folder, tmp_path, capsys):
    class Slow:
        name = "slow"

        def quicken(self, precision):
            raise ModelError("no such graph")

        def answer(self, questions):
            return inner.answer(questions)

    shipped = load(folder)
    inner = shipped.model
    made = type(shipped)(shipped.task, Slow(), shipped.facts)
    for precision in ("exact", "fast"):
        Host({"slow": "slow"}, lambda _: made, Meters(), precision=precision).close()
    assert capsys.readouterr().err == "lowrung: slow is not served fast: no such graph\n"
