"""A model behind an endpoint: real servers on the loopback that answer, fail, dawdle and lie."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from tiny_encoder import write_tiny_encoder
from tiny_endpoint import Fault, Server, serving, words_of

from lowrung.cli import main
from lowrung.core.answers import Choice, Prediction, Span, Spans, Text
from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.core.parts import Question
from lowrung.data.replies import Replies
from lowrung.models import endpoint
from lowrung.models.endpoint import Spent, Terms
from lowrung.models.remote import UNKNOWN, Remote, address, remote_for
from lowrung.run.fit import fit
from lowrung.run.ship import default, load
from lowrung.run.silver import silver_row
from lowrung.run.study import study
from lowrung.tasks import names, task

KEY = "sk-a-key-that-nobody-may-see"
OPTIONS = ("billing", "delivery")
TOPIC = task("topic").with_options(OPTIONS, {"billing": "money and invoices"})


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, a key, no proxy, and short back-offs."""
    monkeypatch.setenv("LOWRUNG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LOWRUNG_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(endpoint, "FIRST", 0.01)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def asked(number: int) -> list[Question]:
    return [TOPIC.question({"text": f"{'charge' if at % 3 else 'parcel'} {at}"}) for at in range(number)]


def right(number: int) -> list[Choice]:
    return [Choice("billing" if at % 3 else "delivery") for at in range(number)]


def remote(url: str, **terms: Any) -> Remote:
    return Remote(url, "tiny", Choice, "which of the labels a text belongs to", terms=Terms(**terms))


def answers(model: Remote, number: int) -> list[Any]:
    return [each.answer for each in model.answer(asked(number))]


def test_choices_spans_and_texts_are_read(server: Server) -> None:
    found = remote(server.url).answer(asked(6))
    assert [each.answer for each in found] == right(6)
    assert {each.confidence for each in found} == {UNKNOWN}
    prompt = server.bodies[0]["messages"][0]["content"]
    assert "- billing: money and invoices\n- delivery" in prompt
    assert server.bodies[0]["model"] == "tiny"
    assert server.bodies[0]["messages"][1]["content"] in {each.text for each in asked(6)}

    text = r"Ada [sic] met \ Grace."
    with serving(say=lambda body: r"[Ada](PER) \[sic\] met \\ [Grace](PER)." + "\n") as marking:
        (said,) = Remote(marking.url, "tiny", Spans).answer([Question((text,), options=("PER", "LOC"))])
    assert said.answer == Spans((Span(0, 3, "PER"), Span(16, 21, "PER")))

    with serving(say=lambda body: f" {words_of(body).upper()}\n", logs=(-0.5, -0.25)) as shouting:
        (said,) = Remote(shouting.url, "tiny", Text).answer([Question(("teh cat",), instruction="Mend the text.")])
    assert said.answer == Text("TEH CAT")
    assert said.confidence == pytest.approx(math.exp(-0.75))
    assert shouting.bodies[0]["messages"][0]["content"].startswith("Mend the text.\n")


def test_what_is_marked_stands_marked_in_the_prompt(server: Server) -> None:
    pronoun = task("pronoun")
    server.say = lambda body: "Grace"
    question = pronoun.question(pronoun.sample)
    assert remote(server.url).answer([question])[0].answer == Choice("Grace")
    assert "[Ada](candidate)" in server.asked[0]
    assert "[she](pronoun)" in server.asked[0]


@pytest.mark.parametrize("said", ["refund", "billing or delivery", "", "I think it is billing."])
def test_words_that_are_no_answer_are_no_answer(server: Server, said: str) -> None:
    server.say = lambda body: said
    model = remote(server.url)
    assert model.answer(asked(2)) == [Prediction(None, 0.0)] * 2
    assert model.bill.unanswered == 2


def test_a_placeholder_for_a_key_is_no_secret(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWRUNG_API_KEY", "bill")
    assert answers(remote(server.url), 3) == right(3)


def test_a_key_loses_its_line_break_and_one_that_no_header_can_hold_is_not_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOWRUNG_API_KEY", f"{KEY}\n")
    assert answers(remote(server.url), 1) == right(1)
    assert server.keys == [f"Bearer {KEY}"]
    for odd in (f"{KEY}\nand more", f"{KEY}\x07", f"{KEY}é"):
        monkeypatch.setenv("LOWRUNG_API_KEY", odd)
        with pytest.raises(ModelError, match="holds odd characters") as problem:
            remote(server.url).answer(asked(2))
        assert KEY not in str(problem.value)
    assert len(server.asked) == 1


def test_an_answer_that_was_cut_is_no_answer(server: Server) -> None:
    server.finish = "length"
    assert answers(remote(server.url), 1) == [None]


FAULTS = {
    "429 with seconds": Fault(429, headers={"Retry-After": "0"}),
    "429 with a date": Fault(429, headers={"Retry-After": format_datetime(datetime.now(UTC))}),
    "429 with nonsense": Fault(429, headers={"Retry-After": "soon"}),
    "500": Fault(500, b"<h1>oh</h1>", {"Content-Type": "text/html"}),
    "503": Fault(503, b"{}"),
    "slow": Fault(slow=1.0),
    "cut": Fault(cut=True),
    "garbage": Fault(body=b'{"choices": ['),
    "no completion": Fault(body=b'{"choices": []}'),
    "an error with 200": Fault(body=b'{"error": {"message": "overloaded"}}'),
    "another type": Fault(body=b"<html>log in</html>", headers={"Content-Type": "text/html"}),
    "deep": Fault(body=b"[" * 200_000),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_may_pass_is_asked_again(name: str) -> None:
    failed: set[str] = set()

    def fault(number: int, body: dict[str, Any]) -> Fault | None:
        """Each row fails once."""
        new = words_of(body) not in failed
        failed.add(words_of(body))
        return FAULTS[name] if new else None

    with serving(fault=fault) as server:
        assert answers(remote(server.url, timeout=0.5), 5) == right(5)
    assert Counter(server.asked) == dict.fromkeys(Counter(server.asked), 2)


@pytest.mark.parametrize("terms", [{"concurrency": 1}, {"concurrency": 3, "per_minute": 150}])
def test_retry_after_holds_back_every_request(terms: dict[str, Any]) -> None:
    """Also those that wait for their turn already."""
    times: list[float] = []

    def fault(number: int, body: dict[str, Any]) -> Fault | None:
        times.append(time.monotonic())
        return Fault(429, headers={"Retry-After": "1"}) if number == 0 else None

    with serving(fault=fault) as server:
        assert answers(remote(server.url, **terms), 3) == right(3)
    assert times[1] - times[0] >= 1.0


def test_a_long_retry_after_is_told_and_not_waited_for(server: Server) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(hours=5))
    server.fault = lambda number, body: Fault(429, headers={"Retry-After": when})
    with pytest.raises(ModelError, match=r"answered 429; it asks to wait 1[78],\d{3} s"):
        remote(server.url).answer(asked(1))


def test_a_queue_is_no_failure() -> None:
    """A server that takes one at a time: many rows meet 429 more often than is tried, and none is lost."""

    def fault(number: int, body: dict[str, Any]) -> Fault | None:
        return Fault(429) if server.now > 1 else None

    with serving(fault=fault, delay=0.01) as server:
        assert answers(remote(server.url, concurrency=8, tries=6), 40) == right(40)


def test_a_row_that_always_fails_ends_the_run_and_keeps_the_others() -> None:
    with serving(fault=lambda number, body: Fault(500) if "charge 4" in words_of(body) else None) as server:
        with pytest.raises(ModelError, match="answered 500, 3 times for one row; what was answered is kept"):
            remote(server.url, tries=3, concurrency=2).answer(asked(5))
        assert server.asked.count("charge 4") == 3
        server.fault = lambda number, body: None
        before = Counter(server.answered)
        assert answers(remote(server.url), 5) == right(5)
    assert max(Counter(server.answered).values()) == 1
    assert len(before) == 4


def test_concurrency_overlaps_and_keeps_to_its_number(server: Server) -> None:
    server.delay = 0.05
    assert answers(remote(server.url, concurrency=7), 40) == right(40)
    assert server.most == 7


def test_one_at_a_time(server: Server) -> None:
    answers(remote(server.url, concurrency=1), 5)
    assert server.most == 1


def test_a_pace_is_kept(server: Server) -> None:
    begun = time.monotonic()
    answers(remote(server.url, per_minute=600), 6)
    assert time.monotonic() - begun >= 0.5


def test_a_pace_is_kept_from_one_call_to_the_next(server: Server) -> None:
    begun, model = time.monotonic(), remote(server.url, per_minute=120)
    for number in range(1, 4):
        answers(model, number)
    assert len(server.asked) == 3
    assert time.monotonic() - begun >= 1.0


def test_nothing_is_asked_twice(server: Server) -> None:
    twice = [*asked(5), *asked(5)]
    first = remote(server.url)
    assert [each.answer for each in first.answer(twice)] == right(5) * 2
    assert (len(server.asked), first.bill.rows, first.bill.asked) == (5, 10, 5)
    again = remote(server.url, concurrency=2, timeout=9)
    assert answers(again, 8) == right(8)
    assert (len(server.asked), again.bill.asked) == (8, 3)
    assert again.bill.seconds > 0
    answers(replace(again, name="other"), 1)
    answers(remote(server.url, most_tokens=9), 1)
    answers(replace(again, about="something else"), 1)
    assert len(server.asked) == 11


def test_answers_outlive_a_kill(server: Server, tmp_path: Path) -> None:
    """A process is killed in the middle; the next one asks only for the rest."""
    server.delay = 0.02
    code = f"""
from test_remote import asked, remote
remote({server.url!r}, concurrency=2).answer(asked(200))
"""
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
    try:
        until = time.monotonic() + 30
        while len(server.answered) < 20 and child.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    before = len(server.answered)
    assert 20 <= before < 200
    time.sleep(0.1)
    model = remote(server.url)
    assert answers(model, 200) == right(200)
    assert model.bill.asked <= 200 - (before - 2)  # the two on their way may not have come home


def test_a_store_is_bounded_and_survives_damage(tmp_path: Path) -> None:
    store = Replies(tmp_path / "r.sqlite", most_bytes=200_000)
    for at in range(400):
        store.put(str(at), {"said": "x" * 1000})
    assert store.get("399") == {"said": "x" * 1000}
    assert store.get("0") is None
    assert (tmp_path / "r.sqlite").stat().st_size <= 400_000
    store.close()
    for each in tmp_path.glob("r.sqlite-*"):
        each.unlink()
    (tmp_path / "r.sqlite").write_bytes(b"this is no database at all" * 99)
    fresh = Replies(tmp_path / "r.sqlite")
    assert fresh.get("399") is None
    fresh.put("1", {"said": "y"})
    assert fresh.get("1") == {"said": "y"}
    assert (tmp_path / "r.sqlite.damaged").exists()
    fresh.close()
    with pytest.raises(LowrungError, match="answers cannot be kept there"):
        Replies(tmp_path / "r.sqlite" / "below" / "r.sqlite")


def test_cost_stops_before_the_limit(server: Server) -> None:
    """100 tokens read at 10, 10 written at 20 a million: 0.0012 a row."""
    price = {"price": (10.0, 20.0), "concurrency": 4}
    model = remote(server.url, most_cost=0.04, **price)
    with pytest.raises(Spent, match=r"--max-cost 0.04: .* of 80 rows are answered .* kept") as ended:
        model.answer(asked(80))
    paid = 0.0012 * len(server.answered)
    assert 0.02 < paid <= 0.04
    assert model.bill.paid == pytest.approx(paid)
    said = ended.value.predictions
    assert sum(each is not None for each in said) == len(server.answered) < 80
    assert all(each is None or each.answer == gold for each, gold in zip(said, right(80), strict=True))
    more = remote(server.url, most_cost=1.0, **price)
    assert answers(more, 80) == right(80)
    assert more.bill.paid == pytest.approx(0.0012 * 80 - paid)
    assert more.bill.cost == pytest.approx(0.0012 * 80)
    assert len(server.asked) == 80


def test_tries_that_may_have_been_paid_count(server: Server) -> None:
    server.fault = lambda number, body: Fault(cut=True)
    with pytest.raises(Spent):
        remote(server.url, price=(10.0, 10.0), most_cost=0.02, tries=1000, concurrency=2).answer(asked(4))
    assert 2 <= len(server.asked) <= 8


def test_tokens_are_counted_at_most_where_the_server_does_not_count(server: Server) -> None:
    server.usage = False
    model = remote(server.url)
    answers(model, 1)
    assert model.bill.read > len(server.asked[0])
    assert model.bill.written >= len("billing")


def test_numbers_that_are_null_are_not_told(server: Server) -> None:
    told = server.completion({"messages": [{"content": "charge"}]})
    told["choices"][0]["logprobs"] = {"content": [{"token": "bill", "logprob": None}, {"logprob": -0.5}]}
    told["usage"] = {"prompt_tokens": 100, "completion_tokens": None}
    server.fault = lambda number, body: Fault(body=json.dumps(told).encode())
    model = remote(server.url)
    assert model.answer(asked(2)[1:]) == [Prediction(Choice("billing"), UNKNOWN)]
    assert len(server.asked) == 1
    assert model.bill.written >= len("billing")


def test_a_server_without_log_probabilities_is_asked_without() -> None:
    def fault(number: int, body: dict[str, Any]) -> Fault | None:
        named = next((name for name in ("logprobs", "max_tokens") if name in body), None)
        return Fault(400, json.dumps({"error": {"message": f"{named} is not supported"}}).encode()) if named else None

    with serving(fault=fault) as server:
        assert answers(remote(server.url), 20) == right(20)
    assert server.bodies[-1]["max_completion_tokens"] > 0


def test_a_refused_row_that_names_settings_changes_nothing_for_the_others(server: Server) -> None:
    long = Fault(400, b'{"error": {"message": "too long: 9,000 and max_tokens; temperature 0"}}')
    server.fault = lambda number, body: long if words_of(body) == "charge 1" else None
    model = remote(server.url, concurrency=1)
    assert answers(model, 5) == [*right(1), None, *right(5)[2:]]
    assert (model.bill.refused, len(server.asked)) == (1, 6)
    for body in server.bodies:
        if words_of(body) != "charge 1":
            assert body["temperature"] == 0
            assert body["max_tokens"] > 0


def test_a_row_that_the_server_refuses_has_no_answer_and_one_that_refuses_all_is_told(server: Server) -> None:
    refusal = Fault(400, b'{"error": {"message": "this is too long"}}')
    server.fault = lambda number, body: refusal if words_of(body) == "charge 4" else None
    model = remote(server.url)
    assert answers(model, 6) == [*right(4), None, *right(6)[5:]]
    assert (model.bill.refused, model.bill.said) == (1, "answered 400: this is too long")
    server.fault = lambda number, body: refusal
    with pytest.raises(ModelError, match="answered 400: this is too long"):
        remote(f"{server.url}/other", concurrency=2).answer(asked(50))


@pytest.mark.parametrize(("status", "told"), [(401, "LOWRUNG_API_KEY or"), (404, "name of a model"), (307, "followed")])
def test_what_will_not_pass_is_told_at_once(server: Server, status: int, told: str) -> None:
    with serving() as elsewhere:
        where = {"Location": f"{elsewhere.url}/chat/completions"}
        server.fault = lambda number, body: Fault(status, f'{{"error": "no {KEY}"}}'.encode(), where)
        with pytest.raises(ModelError, match=told) as problem:
            remote(server.url, concurrency=3).answer(asked(9))
    assert len(server.asked) <= 3
    assert elsewhere.asked == []  # nor did the key go there
    assert KEY not in str(problem.value)


@pytest.mark.parametrize(
    "name",
    [
        "http://host/v1",
        "ftp://host/v1#m",
        "http://me:secret@host/v1#m",
        "http://host/v1?key=secret#m",
        "http://a:b/v1#m",
    ],
)
def test_an_address_without_a_name_or_with_a_secret_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="endpoint") as problem:
        address(name)
    assert "secret" not in str(problem.value)


def test_a_question_without_text_and_a_task_of_sounds_are_refused(server: Server) -> None:
    with pytest.raises(ModelError, match="rows are audio"):
        remote_for(task("speech"), f"{server.url}#tiny")
    with pytest.raises(LowrungError, match="needs prices"):
        Terms(most_cost=1.0)


def test_it_answers_inside_a_running_loop(server: Server) -> None:
    async def notebook() -> list[Any]:
        return answers(remote(server.url), 3)

    assert asyncio.run(notebook()) == right(3)


def test_without_the_extra_its_install_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ModelError, match=r"pip install 'lowrung\[remote\]'"):
        remote(server.url).answer(asked(1))


# --- by the command line ---------------------------------------------------------------------------------------------


def _write(path: Path, rows: Sequence[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def _rows(number: int, begin: int = 0, **more: Any) -> list[dict[str, Any]]:
    golds = right(begin + number)
    return [
        {"id": f"r{at}", "text": asked(at + 1)[at].text, "label": golds[at].option, **more}
        for at in range(begin, begin + number)
    ]


def _raw(number: int, begin: int = 0) -> list[dict[str, Any]]:
    return [{"id": each["id"], "text": each["text"], "of": "mine"} for each in _rows(number, begin)]


def _nowhere(folder: Path, word: str) -> None:
    for each in folder.rglob("*"):
        assert not each.is_file() or word.encode() not in each.read_bytes(), each


def test_try_answer_and_score(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", f"{server.url}#tiny"]
    assert main(["try", "topic", "a charge", "--options", "billing,delivery", *model]) == 0
    assert capsys.readouterr().out == "billing\t0.50\ta charge\n"
    rows = _write(tmp_path / "rows.jsonl", _rows(7))
    out = tmp_path / "out.jsonl"
    asked_for = ["answer", "topic", rows, "--options", "billing,delivery", "--json", "--out", str(out), *model]
    assert main([*asked_for, "--price", "10,20", "--concurrency", "2"]) == 0
    assert [json.loads(line)["answer"] for line in out.read_text().splitlines()] == [each.option for each in right(7)]
    assert "7 asked now: 700 tokens read and 70 written, cost 0.0084" in capsys.readouterr().err
    assert server.most <= 2
    assert main(["score", "topic", rows, *model]) == 0
    told = capsys.readouterr()
    assert "accuracy 1.000" in " ".join(told.out.split())
    assert set(server.keys) == {f"Bearer {KEY}"}
    _nowhere(tmp_path, KEY)


def test_an_unreachable_server_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as gone:
        url = gone.url
    assert main(["try", "topic", "a", "--options", "x,y", "--model", f"{url}#tiny"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"lowrung: {url} cannot be reached")
    assert told.count("\n") == 1


def test_terms_without_an_endpoint_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit("topic", _rows(4), method="majority", out=tmp_path / "m")
    assert main(["answer", str(tmp_path / "m"), "a text", "--price", "1,2"]) == 2
    assert "--price is for an endpoint" in capsys.readouterr().err


def test_a_shipped_folder_holds_facts_alone_and_asks_again(server: Server, tmp_path: Path) -> None:
    made = fit("topic", _rows(8), model=f"{server.url}#tiny", out=tmp_path / "m", terms=Terms(most_tokens=99))
    assert {each.name for each in (tmp_path / "m").iterdir()} == {"lowrung.json", "report.json", "README.md"}
    facts = json.loads((tmp_path / "m" / "lowrung.json").read_text())
    known = {"kind": "remote", "url": server.url, "name": "tiny", "answer": "Choice", "most_tokens": 99}
    assert facts["model"] == known | {"about": task("topic").about}
    found = load(tmp_path / "m")
    assert found.answer("a charge") == made.answer("a charge") == Prediction(Choice("billing"), UNKNOWN)
    assert server.asked == ["a charge"]
    assert server.bodies[0]["max_tokens"] == 99
    _nowhere(tmp_path, KEY)
    with pytest.raises(ModelError, match="method remote asks it as it is"):
        fit("topic", _rows(8), model=f"{server.url}#tiny", method="probe")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture
def embedded(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny encoder in the place of the embedded one."""
    from lowrung.models import catalog, probe

    real = catalog.backbone
    monkeypatch.setattr(catalog, "backbone", lambda name=catalog.DEFAULT: real(encoder))
    monkeypatch.setattr(probe, "GRID", probe.GRID[:2])
    monkeypatch.setattr(probe, "REPEATED", 0)


@pytest.mark.usefixtures("embedded")
def test_a_study_has_a_row_of_it_beside_the_untouched_model(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, test = _write(tmp_path / "rows.jsonl", _rows(24)), _write(tmp_path / "test.jsonl", _rows(20, 24))
    asked_for = ["study", "topic", rows, "--test", test, "--labels", "0,8", "--methods", "majority", "--seeds", "1"]
    asked_for += ["--out", str(tmp_path / "s"), "--model", f"{server.url}#tiny", "--price", "10,20"]
    assert main(asked_for) == 0
    told = capsys.readouterr()
    made = json.loads((tmp_path / "s" / "study.json").read_text())
    by = {(each["method"], each["labels"]): each["value"] for each in made["summary"] if each["metric"] == "accuracy"}
    assert by["remote", 0] == 1.0
    assert ("zero-shot", 0) in by
    assert (made["remote"]["rows"], made["remote"]["cost"]) == (20, pytest.approx(0.024))
    assert "1,000 answers" in told.out
    assert "cost 1.2" in " ".join(told.out.split())
    assert made["gate"]["shipped"] == "remote"
    assert load(tmp_path / "s").answer("a charge").answer == Choice("billing")
    assert "**Endpoint**" in (tmp_path / "s" / "model" / "README.md").read_text()
    number = len(server.asked)
    assert main(asked_for) == 0
    assert len(server.asked) == number
    _nowhere(tmp_path, KEY)


@pytest.mark.usefixtures("embedded")
def test_silver_rows_are_a_row_of_the_table_and_in_no_test(server: Server, tmp_path: Path) -> None:
    gold, test = _rows(12), _rows(9, 12)
    silver = _rows(20, 21, silver=True, model="tiny")
    made = study(
        "topic",
        gold,
        test=test,
        silver=[*silver, {**test[0], "silver": True}],
        methods=("probe",),
        labels=(0, 6),
        seeds=1,
    )
    points = {(each.method, each.labels) for each in made.summary}
    assert points == {("zero-shot", 0), ("probe", 6), ("probe+silver", 0), ("probe+silver", 6)}
    assert made.facts["silver"] == {"rows": 20, "left_out": 1, "models": ["tiny"]}
    for where in ({"rows": [*gold, *silver], "test": test}, {"rows": gold, "test": silver}):
        with pytest.raises(DataError, match="silver, labelled by tiny"):
            study("topic", where["rows"], test=where["test"], methods=("probe",))
    with pytest.raises(DataError, match="silver row r0: label 'praise'"):
        study("topic", gold, test=test, silver=[{**gold[0], "label": "praise"}], methods=("probe",))
    fitted = fit("topic", gold, silver=silver)
    assert (fitted.facts["method"], fitted.facts["silver"]["rows"]) == ("probe+silver", 20)
    with pytest.raises(LowrungError, match="method ngrams does not learn from silver rows; these do: probe"):
        fit("topic", gold, silver=silver, method="ngrams")


# --- label -----------------------------------------------------------------------------------------------------------


def test_label_writes_silver_rows(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.say = lambda body: "nonsense" if "charge 4" in words_of(body) else "billing"
    rows = _write(tmp_path / "rows.jsonl", [*_raw(6), {"id": "gold", "text": "known", "label": "delivery"}])
    name, out = f"{server.url}#tiny", tmp_path / "silver.jsonl"
    asked_for = ["label", "topic", rows, "--options", "billing,delivery", "--model", name, "--out", str(out)]
    assert main(asked_for) == 0
    assert f"{out}: 5 of 7 rows, labelled by {name}" in capsys.readouterr().out
    made = [json.loads(line) for line in out.read_text().splitlines()]
    assert [each["id"] for each in made] == ["r0", "r1", "r2", "r3", "r5"]
    expected = {"of": "mine", "label": "billing", "confidence": 0.5, "silver": True, "model": name}
    assert made[0] == {"id": "r0", "text": "parcel 0", **expected}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cache", "rows.jsonl", "silver.jsonl"]
    assert main(["score", "topic", str(out), "--model", name]) == 2
    assert "silver" in capsys.readouterr().err


def test_label_takes_dates_and_refuses_what_json_cannot_hold_before_it_asks(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow
    import pyarrow.parquet

    def labelled(**column: Any) -> int:
        rows = [{**each, **column} for each in _raw(2)]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
        asked_for = ["label", "topic", str(tmp_path / "rows.parquet"), "--options", "billing,delivery"]
        return main([*asked_for, "--model", f"{server.url}#tiny", "--out", str(tmp_path / "silver.jsonl")])

    for column in ({"scan": b"\xff"}, {"scores": [math.nan]}):
        assert labelled(**column) == 2
        assert "rows.parquet:row 1 cannot be written as JSON" in capsys.readouterr().err
    assert server.asked == []
    assert labelled(when=date(2024, 2, 29), price=Decimal("1.50")) == 0
    made = [json.loads(line) for line in (tmp_path / "silver.jsonl").read_text().splitlines()]
    assert [(each["when"], each["price"]) for each in made] == [("2024-02-29", "1.50")] * 2


def test_label_ends_at_its_limit_and_goes_on(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, out = _write(tmp_path / "rows.jsonl", _raw(60)), tmp_path / "silver.jsonl"
    asked_for = ["label", "topic", rows, "--options", "billing,delivery", "--model", f"{server.url}#tiny"]
    asked_for += ["--out", str(out), "--price", "10,20", "--concurrency", "2"]
    assert main([*asked_for, "--max-cost", "0.03"]) == 0
    told = capsys.readouterr().err
    assert "--max-cost 0.03" in told
    some = len(out.read_text().splitlines())
    assert 10 < some < 60
    assert 0.0012 * len(server.answered) <= 0.03
    assert main(asked_for) == 0
    assert len(out.read_text().splitlines()) == 60
    assert len(server.asked) == 60
    _nowhere(tmp_path, KEY)


def test_label_by_a_shipped_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit("topic", _rows(12), method="majority", out=tmp_path / "m")
    rows, out = _write(tmp_path / "rows.jsonl", _raw(5)), tmp_path / "silver.jsonl"
    assert main(["label", "topic", rows, "--model", str(tmp_path / "m"), "--out", str(out)]) == 0
    assert [json.loads(line)["label"] for line in out.read_text().splitlines()] == ["billing"] * 5
    assert main(["label", "spelling", rows, "--model", str(tmp_path / "m"), "--out", str(out)]) == 2
    assert "answers topic, not spelling" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in names() if not task(name).media])
def test_each_task_reads_its_silver_rows(name: str) -> None:
    of = task(name)
    (gold,) = of.golds(of.sample)[:1]
    raw = {column: of.sample[column] for column in of.columns if column in of.sample}
    made = silver_row(of, raw, Prediction(gold, 0.75), "tiny")
    assert made is not None
    assert of.golds(made) == (gold,)
    assert (made["confidence"], made["silver"], made["model"]) == (0.75, True, "tiny")


def test_an_untouched_endpoint_needs_labels(server: Server) -> None:
    with pytest.raises(DataError, match="needs its labels"):
        default(task("topic"), model=f"{server.url}#tiny")
