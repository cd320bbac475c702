"""A task in words: descriptions and formats are read, chosen and calibrated without a label, shipped and loaded."""

import json
import math
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_endpoint import Fault, serving

from lowrung.cli import main
from lowrung.cli.describing import can_be_read_twice, questions_of
from lowrung.core.answers import Choice, Prediction, Text
from lowrung.core.errors import DataError, LowrungError
from lowrung.core.parts import Question
from lowrung.core.task import Row
from lowrung.data.describing import Description, Format, described, formats, language_of, proposals, read_format
from lowrung.models import catalog
from lowrung.models.endpoint import Spent, Terms
from lowrung.models.heads import Rank
from lowrung.models.remote import Remote
from lowrung.models.text import TextBackbone
from lowrung.models.zero_shot import LEAST, MOST, chosen_again, clusters, criteria, mixture, scored, spread, worded
from lowrung.run.describing import described_for, proposed
from lowrung.run.fit import fit
from lowrung.run.named import Named
from lowrung.run.ship import default, load
from lowrung.run.study import study
from lowrung.tasks import task
from tests.tiny_bodies import write_body

MAILS = Description("sort mails by urgency", ("low", "high"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_body(tmp_path_factory.mktemp("body") / "bert", "bert")


@pytest.fixture(scope="module")
def body(folder: Path) -> TextBackbone:
    return catalog.backbone(str(folder))


def rows(number: int, labels: Sequence[str] = ()) -> list[Row]:
    words = "money account parcel card charged London Acme café twice Größe".split()
    made: list[Row] = []
    for at in range(number):
        row = {"text": f"{words[at % 10]} {words[at // 10 % 10]} {'urgent' if at % 2 else 'later'} {at}"}
        made.append(row | ({"label": labels[at % len(labels)]} if labels else {}))
    return made


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("sort mails by urgency: low, normal, urgent", ("low", "normal", "urgent")),
        ("how urgent a mail is: low or high", ("low", "high")),
        ("urgency: low, normal, or very urgent.", ("low", "normal", "very urgent")),
        ("按紧急程度给邮件分类：低、普通或紧急", ("低", "普通", "紧急")),
        ("新闻主题：体育，财经，娱乐。", ("体育", "财经", "娱乐")),
        ("Ordne nach Dringlichkeit: niedrig oder hoch", ("niedrig", "hoch")),
        ("music: jazz, rock and roll", ("jazz", "rock and roll")),
        ("urgency: low, normal, and very urgent", ("low", "normal", "very urgent")),
        ("Musik: Pop, Blasmusik und Chor", ("Pop", "Blasmusik und Chor")),
        ("党派：民主党、共和党", ("民主党", "共和党")),
        ("主题：战争、和平", ("战争", "和平")),
        ("صنف الرسائل: منخفض، عادي، عاجل", ("منخفض", "عادي", "عاجل")),
        ("is it spam?", ()),
        ("note: only mails count", ()),
    ],
)
def test_options_are_read_behind_the_colon_of_a_description(text: str, options: tuple[str, ...]) -> None:
    found = described(text)
    assert found.options == options
    assert found.task == (text[: max(text.rfind(":"), text.rfind("："))].strip() if options else text)


@pytest.mark.parametrize("text", ["", "  ", "urgency: low, Low"])
def test_a_description_that_says_nothing_or_an_option_twice_is_refused(text: str) -> None:
    with pytest.raises(LowrungError, match="--describe"):
        described(text)


def test_a_format_of_ones_own_has_each_placeholder_once() -> None:
    assert read_format("This mail is {option}.") == Format("own", "{text}", "This mail is {option}.")
    assert read_format("Mail: {text} => It is {option}.").text == "Mail: {text}"
    for bad in ("This mail is.", "x => {option}", "{text} {option} => {option}", "{text} => {option}{option}"):
        with pytest.raises(LowrungError, match=r"--format: .*side"):
            read_format(bad)
    with pytest.raises(LowrungError, match=r"\{what\} is not known"):
        read_format("{text} => {what} {option}")


def test_braces_in_a_text_are_not_placeholders() -> None:
    each = Format("own", "Mail: {text}", "{option}")
    assert each.asked("look at {option} and {text}", "sort") == "Mail: look at {option} and {text}"


def test_formats_are_those_of_the_language_and_names_alone_work_in_any() -> None:
    kinds = {each.kind for each in formats("sort mails by urgency")}
    assert kinds >= {"label-name", "label-description", "instruction", "question", "cloze", "entailment"}
    assert "这是{option}。" in {each.option for each in formats("按主题给新闻分类")}
    assert "Das ist {option}." in {each.option for each in formats("ordne die Mails nach der Dringlichkeit")}
    for each in formats("ταξινόμησε τα μηνύματα"):
        assert each.language == ""
        assert each.option.replace("{option}", "").replace("{task}", "").strip(" :?") == ""
    assert all("{task}" not in each.option for each in formats(""))  # where only the rows tell the language


def test_what_a_model_proposes_without_placeholders_is_dropped() -> None:
    reply = "Sure!\n1. Mail: {text} => Urgency: {option}\n- {text} => nothing\n* `{text} => Is it {option}?`\n"
    assert [str(each) for each in proposals(reply)] == [
        "Mail: {text} => Urgency: {option}",
        "{text} => Is it {option}?",
    ]


class Writer:
    """Prefers an option by the words of the prompt, and one of them always too much."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.options: list[Sequence[str]] = []

    def option_scores(self, prompts: Sequence[str], options: Sequence[Sequence[str]]) -> list[list[tuple[float, int]]]:
        self.prompts += prompts
        self.options += [[each.strip() for each in own] for own in options]
        return [[self._score(prompt, option) for option in own] for prompt, own in zip(prompts, options, strict=True)]

    def _score(self, prompt: str, option: str) -> tuple[float, int]:
        says = {"urgent": "high", "later": "low"}  # a prompt without either says nothing
        heard = 4.0 * any(word in prompt and meant in option for word, meant in says.items())
        told = 0.0 if "Urgency" in prompt else 1.0  # in one format it hears nothing
        return (told * heard + (6.0 if "low" in option else 0.0) - 9.0) * 2, 2

    def save(self, folder: Path) -> dict[str, Any]:
        return {"kind": "double"}

    def write(self, prompts: Sequence[str], most: int) -> list[Any]:
        return [type("Written", (), {"text": "Mail: {text} => Urgency: {option}\nno placeholders"})() for _ in prompts]


def test_a_writer_that_favours_an_option_is_calibrated_so_that_both_are_answered() -> None:
    asked = [Question((str(row["text"]),)) for row in rows(40)]
    writer = Writer()
    known = (Format("proposed", "{text}", "Urgency: {option}"), Format("cloze", "{text}", "It is {option}."))
    alone = scored(writer, ("low", "high"), ("", ""), MAILS, known[1:])
    made = scored(writer, ("low", "high"), ("", ""), MAILS, known, asked)
    raw = made.raw([question.text for question in asked])
    assert set(raw.argmax(1).tolist()) == {0}  # untouched, it says low to everything
    for model in (alone, made):
        said = [each.answer for each in model.answer(asked)]
        assert said == [Choice("high" if at % 2 else "low") for at in range(40)]
    assert made.calibrated
    assert not alone.calibrated
    assert made.format == known[1]  # whose answers tell more of the row
    assert [each.chosen for each in made.tried] == [False, True]
    assert proposed(writer, MAILS, ("low", "high")) == (Format("proposed", "Mail: {text}", "Urgency: {option}", "en"),)


def test_a_writer_is_told_all_texts_and_the_task_behind_an_option_too() -> None:
    writer = Writer()
    made = scored(writer, ("low", "high"), ("", ""), MAILS, [Format("own", "{text}", "Is it {option} to {task}?")])
    assert [each.answer for each in made.answer([Question(("first", "urgent second"))])] == [Choice("high")]
    assert writer.prompts[-1] == "first\nurgent second\nIs it"
    assert writer.options[-1] == ["low to sort mails by urgency?", "high to sort mails by urgency?"]
    both = [Question(("first", str(row["text"]))) for row in rows(40)]
    known = (Format("own", "{text}", "Urgency: {option}"), Format("own", "{text}", "It is {option}."))
    assert scored(writer, ("low", "high"), ("", ""), MAILS, known, both).format == known[1]  # by the second texts


def test_an_endpoint_proposes_formats_too() -> None:
    class Told(Remote):
        def answer(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
            assert "{option} once" in questions[0].text
            assert self.answer_shape is Text
            return [Prediction(Text("{text} => Its urgency is {option}."), 1.0)]

    assert [each.option for each in proposed(Told("http://localhost:1/v1", "m"), MAILS, ("low", "high"))] == [
        "Its urgency is {option}."
    ]


def test_what_an_endpoint_proposes_is_on_its_bill_and_within_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOWRUNG_CACHE", str(tmp_path))
    with serving(say=lambda body: "{text} => Its urgency is {option}.") as server:
        costly = server.completion({}) | {"usage": {"prompt_tokens": 2000, "completion_tokens": 0}}
        server.fault = lambda number, body: None if number else Fault(body=json.dumps(costly).encode())
        terms = Terms(price=(10.0, 20.0), most_cost=0.05, concurrency=1)
        model = Remote(server.url, "m", Choice, terms=terms)
        assert len(proposed(model, MAILS, ("low", "high"))) == 1
        assert (model.bill.asked, model.bill.paid) == (1, pytest.approx(0.02))
        with pytest.raises(Spent):
            model.answer([Question((str(row["text"]),), options=("low", "high")) for row in rows(60)])
    assert 0.02 + 0.0012 * (len(server.asked) - 1) <= 0.05


def crowd(*, common: int, rare: int, lean: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vectors of rows of two kinds, names that lie near them, and which is which; all lean to the first name."""
    torch.manual_seed(0)
    middle, away = F.one_hot(torch.tensor([0, 1]), 16).float()
    golds = torch.tensor([0] * common + [1] * rare)
    sign = 1.0 - 2.0 * golds[:, None]
    features = F.normalize(middle + (0.5 * sign + lean) * away + 0.12 * torch.randn(len(golds), 16), dim=-1)
    names = F.normalize(torch.stack([0.7 * away, -0.7 * away]) + 0.2 * torch.randn(2, 16), dim=-1)
    return features, names, golds


@pytest.mark.parametrize(("common", "rare"), [(60, 60), (160, 30)])
def test_no_option_swallows_the_others_and_a_rare_one_stays_rare(common: int, rare: int) -> None:
    features, names, golds = crowd(common=common, rare=rare, lean=1.2)
    assert set((features @ names.T).argmax(1).tolist()) == {0}  # the names alone say one thing to all
    weight, bias = clusters(features, names)
    right = ((features @ weight.T + bias).argmax(1) == golds).float().mean()
    assert right > 0.95


def test_clusters_of_rows_that_are_all_alike_are_numbers() -> None:
    names = F.normalize(torch.randn(3, 8), dim=-1)
    weight, bias = clusters(F.normalize(torch.ones(40, 8), dim=-1), names)
    assert bool(weight.isfinite().all())
    assert bool(bias.isfinite().all())


def test_a_mixture_undoes_a_lean() -> None:
    torch.manual_seed(1)
    golds = torch.arange(90) % 3
    scores = 2.0 * F.one_hot(golds, 3) + torch.tensor([5.0, 0.0, 0.0]) + 0.2 * torch.randn(90, 3)
    turn, offset = mixture(scores)
    assert set(scores.argmax(1).tolist()) == {0}
    assert (scores @ turn.T + offset).argmax(1).tolist() == golds.tolist()


def test_criteria_are_what_their_names_say() -> None:
    sure = F.one_hot(torch.arange(4) % 2, 2).float()
    flat = torch.full((4, 2), 0.5)
    assert criteria(sure, sure) == (1.0, round(math.log(2), 4), 0.0)
    assert criteria(flat, sure) == (0.5, 0.0, round(math.log(0.5), 4))


def test_rows_are_taken_from_the_whole() -> None:
    asked = [Question((str(at),)) for at in range(10)]
    assert [each.text for each in spread(asked, 4)] == ["0", "2", "5", "7"]
    assert spread(asked, 50) == asked


def test_a_file_is_worded_by_rows_from_the_whole_of_it_and_a_stream_by_none(tmp_path: Path) -> None:
    for number in (40, 2 * MOST - 1, 2 * MOST, 5 * MOST + 7):
        lines = [("", row, "") for row in rows(number)]
        for given in (iter(lines), [row for _, row, _ in lines]):
            places = [int(str(each.text).rsplit(" ", 1)[1]) for each in questions_of(task("topic"), given)]
            steps = {after - before for before, after in pairwise(places)}
            assert min(number, MOST) <= len(places) < 2 * MOST
            assert len(steps) == 1
            assert number - places[-1] <= max(steps)
    for name, whole in (("file.jsonl", True), ("pipe.jsonl", False)):
        (os.mkfifo if not whole else Path.touch)(tmp_path / name)
        assert can_be_read_twice([str(tmp_path / name), "a text"]) == whole
    assert not can_be_read_twice(["-"])


def test_a_wording_is_chosen_without_golds_and_needs_rows_enough(body: TextBackbone) -> None:
    asked = [Question((str(row["text"]),)) for row in rows(LEAST)]
    known = formats(MAILS.task)
    made = worded(body, ("low", "high"), ("not urgent", ""), MAILS, known, asked)
    assert made.weight is not None
    assert made.rows == LEAST
    assert len(made.tried) == len(made.each) == len(known)
    head = made.head(body.pooling)
    seen = torch.randn(5, body.width)
    expected = seen @ made.weight.T + (made.bias if made.bias is not None else 0.0)
    assert torch.allclose(head.logits(seen), expected, atol=1e-3)
    few = worded(body, ("low", "high"), ("", ""), MAILS, known, asked[: LEAST - 1])
    assert few.weight is None
    assert torch.equal(few.head(body.pooling).shift, torch.zeros_like(few.names))
    assert not few.to_json()["calibrated"]


def test_a_described_model_is_shipped_and_answers_alike(body: TextBackbone, folder: Path, tmp_path: Path) -> None:
    asked = rows(40)
    description = Description(MAILS.task, MAILS.options, read_format("Mail: {text} => It is {option}."))
    made = fit("topic", asked, method="zero-shot", model=str(folder), description=description, out=tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.answer(asked) == made.answer(asked)
    assert {each.answer.option for each in again.answer(asked)} == {"low", "high"}
    told = json.loads((tmp_path / "m" / "lowrung.json").read_text())["formats"]
    assert told["calibrated"]
    assert [each["option"] for each in told["tried"]] == ["It is {option}."]
    bare = replace_text(made.model, "{text}").answer([made.question("card charged later 7")])[0]
    assert bare.confidence != made.answer("card charged later 7").confidence  # the template is read


def replace_text(model: Any, text: str) -> Any:
    from dataclasses import replace

    return replace(model, text=text)


def test_labels_choose_the_format_again(body: TextBackbone) -> None:
    torch.manual_seed(2)
    made = worded(body, ("low", "high"), ("", ""), MAILS, formats(MAILS.task), [])
    golds = ["low", "high"] * 20
    best = made.each[3]
    places = torch.tensor([("low", "high").index(gold) for gold in golds])
    features = F.normalize(best[places] - best.mean(0) + 0.02 * torch.randn(40, body.width), dim=-1)
    start = Rank(("low", "high"), made.names)
    found = chosen_again(start, made, features, golds, seed=0)
    tried = [made.names, *made.each]
    assert any(torch.equal(found.names, names) for names in tried)
    assert float(((features @ found.names.T).argmax(1) == places).float().mean()) > 0.9


def test_a_study_has_the_described_model_and_plain_label_names(folder: Path, tmp_path: Path) -> None:
    made = study(
        "topic", rows(60, ("low", "high")), methods=["probe"], labels=[8], seeds=1, model=str(folder), out=tmp_path,
        description=MAILS,
    )  # fmt: skip
    names = {cell.method for cell in made.cells}
    assert {"zero-shot", "label-names", "probe"} <= names
    told = json.loads((tmp_path / "study.json").read_text())["formats"]
    assert told["task"] == MAILS.task
    assert told["calibrated"]
    assert len(told["tried"]) == len(formats(MAILS.task))
    assert "It is {option}." in (tmp_path / "report.html").read_text()
    without = study("topic", rows(60, ("low", "high")), methods=["probe"], labels=[8], seeds=1, model=str(folder))
    assert {cell.method for cell in without.cells} == {"zero-shot", "probe"}
    plain = {cell.method: cell.metrics for cell in without.cells}["zero-shot"]
    assert {cell.method: cell.metrics for cell in made.cells}["label-names"] == plain


def test_japanese_is_no_chinese() -> None:
    assert language_of(["肯定的か否定的か"]) == ""
    assert language_of(["这和那，按主题把新闻分类"]) == "zh"
    assert language_of(["我喝了優の良品的茶，这个对我是好的，因为我在家没有别的可以喝的"]) == "zh"  # a name in it
    assert {each.language for each in formats("肯定的か否定的か")} == {""}


def test_what_cannot_be_described_says_so(body: TextBackbone) -> None:
    with pytest.raises(DataError, match="--options a,b,c, or behind a colon"):
        described_for(task("topic"), Named(), body, Description("sort"), ())
    with pytest.raises(LowrungError, match="choose among labels"):
        default(task("entities"), description=MAILS)


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mails.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(40, ("low", "high"))))
    told = ["--describe", "sort mails by urgency: low, high", "--model", str(folder)]
    assert main(["try", "topic", "card charged", *told, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answer"] in ("low", "high")
    assert len(found["formats"]["tried"]) == 9
    assert main(["answer", "topic", str(file), *told]) == 0
    out = capsys.readouterr()
    assert len(out.out.splitlines()) == 40
    assert "calibrated on 40" in out.err
    assert main(["score", "topic", str(file), "--format", "It is {option}.", "--model", str(folder), "--json"]) == 0
    assert [each["kind"] for each in json.loads(capsys.readouterr().out)["formats"]["tried"]] == ["own"]
    for bad, message in (
        (["try", "topic", "x", "--describe", "sort mails"], "needs its labels"),
        (["try", "topic", "x", "--describe", "a: b, c", "--format", "no place"], "holds {option} once"),
        (["try", "entities", "x", "--describe", "a: b, c"], "choose among labels"),
        (["answer", str(tmp_path), "x", "--describe", "a: b, c"], "for a task's name"),
        (["fit", "topic", str(file), "--options", "low,high"], "goes with --describe"),
    ):
        assert main(bad) == 2
        assert message in capsys.readouterr().err
