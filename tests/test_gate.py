"""Who may ask, and from where: no page but the service's own asks in the name of who sees it."""

import json

import pytest

pytest.importorskip("fastapi")
from test_serving import folder, running  # noqa: F401

from lowrung.serving import keys
from lowrung.serving.gate import LOCAL, Doors

ROW = {"row": {"text": "the invoice"}}
CORRECTION = {"key": "c1", "row": {"text": "my card was debited"}, "correction": {"label": "billing"}, "who": "ada"}


@pytest.fixture(scope="module")
def client(folder, tmp_path_factory):  # noqa: F811
    with running({"mails": str(folder)}, tmp_path_factory.mktemp("store")) as made:
        yield made


def port(client):
    return client.base_url.port


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "[::1]"])
def test_this_machine_is_asked_by_its_own_names(client, name):
    for host in (name, f"{name}:{port(client)}", f"{name}:1"):
        assert client.post("/v1/answer", json=ROW, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "name", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.0.7", ""]
)
def test_a_name_that_was_turned_to_this_machine_is_refused(client, name):
    for method, where in (("GET", "/"), ("GET", "/v1/models"), ("POST", "/v1/answer"), ("DELETE", "/v1/corrections")):
        found = client.request(method, where, headers={"Host": name}, json=ROW)
        assert found.status_code == 421
        assert "--allow-host" in found.json()["error"]


def test_other_names_are_allowed_by_name(folder, tmp_path):  # noqa: F811
    with running({"mails": str(folder)}, tmp_path, hosts=(*LOCAL, "mails.example")) as client:
        for host, status in (("mails.example", 200), ("Mails.Example:8000", 200), ("other.example", 421)):
            assert client.get("/v1/models", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("listened", "host", "status"),
    [
        ("0.0.0.0", "10.1.2.3:8000", None),
        ("::", "[fe80::1]:8000", None),
        ("0.0.0.0", "localhost", None),
        ("0.0.0.0", "evil.example", 421),
        ("0.0.0.0", "1.2.3.4.evil.example", 421),
        ("10.1.2.3", "10.1.2.3:8000", None),
        ("10.1.2.3", "10.1.2.4:8000", 421),
    ],
)
def test_all_addresses_are_asked_by_numbers(listened, host, status):
    found = Doors(None, [listened]).refused({"type": "http", "method": "GET"}, {b"host": host.encode()})
    assert (found and found[0]) == status


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://[", "file://"])
def test_another_page_changes_nothing(client, origin):
    for method, where, body in (
        ("POST", "/v1/corrections", CORRECTION),
        ("POST", "/v1/answer", ROW),
        ("POST", "/v1/rollback", {}),
        ("DELETE", "/v1/corrections?who=ada", None),
    ):
        found = client.request(method, where, headers={"Origin": origin}, json=body)
        assert found.status_code == 403, found.text
        assert origin in found.json()["error"]
    assert client.get("/v1/corrections").json() == {"corrections": []}


def test_the_own_page_may_ask(client):
    own = {"Origin": f"http://127.0.0.1:{port(client)}"}
    assert client.post("/v1/answer", json=ROW, headers=own).status_code == 200
    assert client.get("/v1/models", headers={"Origin": "https://evil.example"}).status_code == 200  # reads, unread


def test_a_proxy_that_changes_the_host_is_allowed_by_name(folder, tmp_path):  # noqa: F811
    with running({"mails": str(folder)}, tmp_path, hosts=(*LOCAL, "mails.example")) as client:
        for origin, status in (("https://mails.example", 200), ("https://other.example", 403)):
            assert client.post("/v1/answer", json=ROW, headers={"Origin": origin}).status_code == status


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "text/plain; charset=utf-8", "", "x"]
)
def test_what_a_page_may_send_unasked_corrects_nothing(client, kind):
    for where in ("/v1/corrections", "/v1/answer", "/v1/rollback", "/models/mails"):
        found = client.post(where, content=json.dumps(CORRECTION).encode(), headers={"Content-Type": kind})
        assert found.status_code == 415, found.text
        assert "application/json" in found.json()["error"]
    nothing = client.post("/v1/corrections", content=json.dumps(CORRECTION).encode())  # says nothing of its kind
    assert nothing.status_code == 415
    parts = client.post("/v1/corrections", files={"file": ("x", json.dumps(CORRECTION).encode())}, data={"key": "c1"})
    assert parts.status_code == 422
    assert client.get("/v1/corrections").json() == {"corrections": []}


def test_where_keys_are_set_a_page_knows_none(folder, tmp_path):  # noqa: F811
    key = keys.made(tmp_path / "keys.txt", "ada")
    asked = {"Authorization": f"Bearer {key}", "Host": "mails.example", "Origin": "https://other.example"}
    with running({"mails": str(folder)}, tmp_path, keys=keys.read(tmp_path / "keys.txt")) as client:
        assert client.post("/v1/answer", json=ROW, headers=asked).status_code == 200
        del asked["Authorization"]
        assert client.post("/v1/answer", json=ROW, headers=asked).status_code == 401


def test_a_method_that_is_none_names_those_that_are(client):
    found = client.put("/v1/models")
    assert (found.status_code, found.headers["Allow"]) == (405, "GET")
