"""Checks of written texts: each kind by hand, bad ones, scores, and a model behind an endpoint that is told of them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_endpoint import Server, serving, words_of

from lowrung.cli import main
from lowrung.core.answers import Prediction, Text
from lowrung.core.errors import DataError
from lowrung.metrics.checks import WRITTEN, all_checks, checks, unmet, words_in
from lowrung.metrics.counting import total
from lowrung.models import endpoint
from lowrung.models.remote import Remote
from lowrung.run.evaluate import evaluate
from lowrung.run.ship import default
from lowrung.tasks import task

WRITE = task("write")
ROWS = Path(__file__).parent.parent / "examples" / "rows" / "write" / "test.jsonl"
PRICE = {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]}


def question(**held):
    return WRITE.question({"text": "Write.", "checks": held})


@pytest.mark.parametrize(
    ("held", "met", "missed"),
    [
        ({"min_words": 3}, "one, two, three", "one - two!"),
        ({"max_words": 3}, "one, two, three.", "a b c d"),
        ({"max_words": 5}, "我们去北京。", "我们去北京吧。"),
        ({"must_have": ["Straße", "tea"]}, "TEA in der STRASSE", "tea in the street"),
        ({"must_not_have": ["sorry", "alas"]}, "No regrets.", "We are SORRY."),
        ({"language": "en"}, "The shop is closed on Monday.", "Der Laden ist am Montag geschlossen."),
        ({"language": "en"}, "Hello", "你好"),
        ({"language": "de"}, "Der Laden ist am Montag geschlossen.", "The shop is closed on Monday."),
        ({"language": "zh"}, "商店星期一不开门。", "The shop is closed on Monday."),
        ({"language": "zh"}, "北京", ""),
        ({"json_schema": PRICE}, ' {"price": 12.5}\n', '{"price": "12.5"}'),
        ({"json_schema": PRICE}, '{"price": 1}', 'Here you are: {"price": 1}'),
        ({"json_schema": {"$ref": "#/$defs/n", "$defs": {"n": {"type": "number"}}}}, "1", '"1"'),
        ({"json_schema": PRICE}, None, "[" * 100_000),
        ({"python": True}, "def double(n):\n    return 2 * n", "def double(n) return 2 * n"),
        ({"python": True}, "raise SystemExit('never run')", ""),
        ({"python": True}, "x = '\\d'", "```python\nx = 1\n```"),
        ({"python": True}, None, "x = 1\0"),
    ],
)
def test_what_meets_a_check_and_what_does_not(held, met, missed):
    if met is not None:
        assert unmet(question(**held), met) == ()
    assert unmet(question(**held), missed) == tuple(held)


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"max_word": 3}, "Did you mean 'max_words'"),
        ({"max_words": "3"}, "takes a whole number"),
        ({"max_words": True}, "takes a whole number"),
        ({"min_words": -1}, "takes a whole number"),
        ({"must_have": "tea"}, "takes a list of texts"),
        ({"must_have": [" "]}, "takes a list of texts"),
        ({"language": "english"}, "ISO 639-1"),
        ({"json_schema": {"type": "strin"}}, "is no JSON schema"),
        ({"json_schema": []}, "takes a JSON schema"),
        ({"json_schema": {"items": {"$ref": "http://127.0.0.1:9/x"}}}, "refers to 'http://127.0.0.1:9/x', which is"),
        ({"python": False}, "takes true"),
        ({"min_words": 5, "max_words": 2}, "at least 5 and at most 2"),
        (["max_words"], "holds an object"),
    ],
)
def test_checks_that_are_none_are_refused_with_the_row(held, says):
    with pytest.raises(DataError, match=says) as caught:
        WRITE.question({"text": "Write.", "checks": held})
    assert "\n" not in str(caught.value)


def test_the_checks_are_told_to_the_model_and_the_answer_is_not():
    row = json.loads(ROWS.read_text("utf-8").splitlines()[0])
    asked = WRITE.question(row)
    assert asked.instruction.splitlines() == [
        "Do what the text asks for.",
        "Write at most 15 words.",
        "The answer must contain: «visit».",
        "The answer must not contain: «sorry».",
        "Write in the language with the code en.",
    ]
    assert [name for name, _ in asked.checks] == ["max_words", "must_have", "must_not_have", "language"]
    assert row["answer"] not in repr(asked)


def test_a_schema_is_told_in_its_own_letters():
    assert "颜色" in question(json_schema={"required": ["颜色"]}).instruction


def test_words_are_counted_without_marks_in_any_script():
    assert [words_in(each) for each in ("", "a - b, don't!", "我们 OK。", "สวัสดี")] == [0, 4, 3, 4]


def test_shares_of_rows_and_of_checks():
    examples = [WRITE.example({"text": "Write.", "checks": {"max_words": 2, "must_have": ["tea"]}}) for _ in range(4)]
    said = [Text("tea"), Text("no tea for me"), Text("milk"), None]
    for metric, value in ((all_checks, 1 / 4), (checks, 4 / 8)):
        counted = [metric.count(example, each) for example, each in zip(examples, said, strict=True)]
        assert metric.finish(total(counted)) == value
    assert [metric.name for metric in WRITTEN if metric.tells(examples)] == ["all_checks", "checks"]
    assert all_checks.count(WRITE.example({"text": "x", "answer": "y"}), Text("y")) == {}


class Saying:
    name = "saying"

    def __init__(self, *texts):
        self.texts = texts

    def answer(self, questions):
        return [Prediction(Text(each), 1.0) for each in self.texts]


def test_a_row_with_checks_alone_is_judged_by_them():
    examples = [WRITE.example({"text": "Write.", "checks": {"max_words": 2}}) for _ in range(2)]
    assert all(each.judged and not each.golds for each in examples)
    assert not WRITE.example({"text": "Write."}).judged
    report = evaluate(WRITE, Saying("one two", "one two three"), examples)
    assert report.right() == (True, False)
    assert report.to_json()["scores"].keys() == {"all_checks", "checks"}
    assert [at for at, _, _ in report.mistakes(5)] == [1]


def test_the_answers_of_the_example_rows_meet_their_checks():
    for line in ROWS.read_text("utf-8").splitlines():
        row = json.loads(line)
        assert unmet(WRITE.question(row), row["answer"]) == (), row["id"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("LOWRUNG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(endpoint, "FIRST", 0.01)
    with serving(say=lambda body: "print(1)" if "Python" in words_of(body) else "A short visit.") as made:
        yield made


def test_there_is_room_for_what_the_checks_ask_for() -> None:
    model = Remote("http://localhost:1/v1", "m", Text)
    rooms = [model.request(question(**held))["max_tokens"] for held in ({}, {"min_words": 300}, {"json_schema": PRICE})]
    assert rooms[1] >= 8 * 300
    assert rooms[2] - rooms[0] >= len(json.dumps(PRICE))
    assert model.request(question(max_words=300))["max_tokens"] == rooms[1]


def test_an_endpoint_writes_and_is_scored(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = [WRITE.example(json.loads(line)) for line in ROWS.read_text("utf-8").splitlines()]
    shipped = default(WRITE, model=f"{server.url}#tiny")
    report = evaluate(WRITE, shipped.model, examples)
    told = {body["messages"][-1]["content"]: body["messages"][0]["content"] for body in server.bodies}
    assert "Write Python code" in told["Write a Python function that doubles a number."]
    right = dict(zip((each.id for each in examples), report.right(), strict=True))
    assert right["write-01"]
    assert not right["write-06"]
    assert main(["score", "write", str(ROWS), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["metrics"]) == {"all_checks", "checks", "chrf"}
