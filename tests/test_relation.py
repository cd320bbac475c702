"""relation: rows and their errors, the metric against the field's scorer written anew, the head, the way through."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tiny_bodies import body, wordpiece
from tiny_encoder import write_tiny_encoder

from lowrung import tasks
from lowrung.cli import main
from lowrung.core.answers import Choice
from lowrung.core.errors import DataError
from lowrung.core.task import Example
from lowrung.data.augment import typos
from lowrung.metrics.counting import total

TASK = tasks.task("relation")
TEXT = "The flood was caused by days of rain."
NAMES = ("Cause-Effect", "Part-Whole")
LABELS = (*(f"{name}({way})" for name in NAMES for way in ("e1,e2", "e2,e1")), "Other")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _row(**changes: Any) -> dict[str, Any]:
    row = {"text": TEXT, "first": [4, 9], "second": [32, 36], "label": "Cause-Effect(e2,e1)"}
    return {name: value for name, value in {**row, **changes}.items() if value is not ...}


def _rows(number: int) -> list[dict[str, Any]]:
    """The word between the two marked ones tells the relation, and nothing else does."""
    made = []
    for at in range(number):
        verb, label = (("charged", LABELS[0]), ("lives in", LABELS[2]), ("and", LABELS[4]))[at % 3]
        text = f"{'please ' * (at % 4)}Ada {verb} London with money"
        first = text.index("Ada")
        second = text.index("London")
        made.append(_row(text=text, first=[first, first + 3], second=[second, second + 6], label=label, id=f"r{at}"))
    return made


# --- rows ------------------------------------------------------------------------------------------------------------


def test_tags_in_the_text_say_the_same_as_columns() -> None:
    tagged = "The <e1>flood</e1> was caused by days of <e2>rain</e2>."
    assert TASK.question({"text": tagged}) == TASK.question(_row())
    turned = TASK.question({"text": "The <e2>flood</e2> was caused by days of <e1>rain</e1>."})
    assert [(each.label, TEXT[each.start : each.end]) for each in turned.marks] == [
        ("first", "rain"),
        ("second", "flood"),
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"text": ""}, "'text' is empty"),
        ({"first": ...}, r"a first is \[start, end\]"),
        ({"second": [4]}, "two whole numbers"),
        ({"second": [32, 99]}, "second 32-99 ends after the text does"),
        ({"second": [3, 4]}, "holds only blanks"),
        ({"second": [8, 12]}, "first 4-9 and second 8-12 overlap"),
        ({"first": ..., "second": ...}, "the text has no tags; mark the two pieces"),
        ({"text": "<e1>a</e1> b", "first": ..., "second": ...}, "the text has <e1> </e1>; mark"),
        ({"text": "<e1>a</e1> <e2>b</e2> <e2>c</e2>", "first": ..., "second": ...}, "the text has <e1>"),
        ({"text": "</e1>a<e1> <e2>b</e2>", "first": ..., "second": ...}, "0 <= start < end"),
        ({"text": "<e1></e1> <e2>b</e2>", "first": ..., "second": ...}, "0 <= start < end"),
        ({"text": "<e1>a<e2>b</e2></e1>", "first": ..., "second": ...}, "overlap"),
    ],
)
def test_a_bad_row_is_a_data_error_of_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        TASK.question(_row(**changes))
    assert "\n" not in str(caught.value)


def test_damage_carries_the_marks_along() -> None:
    example = TASK.fitted_to([_row()]).example(_row())
    for seed in range(20):
        asked = typos(example, Random(seed), share=0.5).question
        first, second = asked.marks
        assert (first.label, second.label) == ("first", "second")
        assert asked.text[first.start - 1] == asked.text[first.end] == asked.text[second.start - 1] == " "
        assert asked.text[second.end :] == "."


# --- the metric ------------------------------------------------------------------------------------------------------


def _official(golds: list[str], said: list[str]) -> float:
    """SemEval-2010 task 8's «(9+1)-way, taking directionality into account», from its description: of each relation
    but Other, P = right / all said to be it, R = right / all that are it, whichever way round either is."""

    def name(label: str) -> str:
        return label[: label.index("(")] if label.endswith(")") else label

    scores = []
    for each in sorted({name(label) for label in (*golds, *said)} - {"Other"}):
        right = sum(gold == told and name(gold) == each for gold, told in zip(golds, said, strict=True))
        proposed = sum(name(told) == each for told in said)
        actual = sum(name(gold) == each for gold in golds)
        precision = right / proposed if proposed else 0.0
        recall = right / actual if actual else 0.0
        scores.append(2 * precision * recall / (precision + recall) if right else 0.0)
    return sum(scores) / len(scores)


def _scored(golds: list[str], said: list[str], **more: Any) -> dict[str, float]:
    task = TASK.with_options(LABELS, **more)
    examples = [task.example(_row(label=label)) for label in golds]
    pairs = list(zip(examples, map(Choice, said), strict=True))
    return {each.name: each.finish(total(each.count(*pair) for pair in pairs)) for each in task.metrics}


def test_it_counts_as_the_field_s_scorer_does() -> None:
    random = Random(0)
    for number in (1, 5, 40, 200):
        golds, said = (random.choices(LABELS, k=number) for _ in range(2))
        said = [gold if random.random() < 0.5 else told for gold, told in zip(golds, said, strict=True)]
        if set(golds + said) != {"Other"}:
            assert _scored(golds, said)["macro_f1"] == pytest.approx(_official(golds, said))


def test_the_wrong_way_round_is_a_mistake_of_the_relation_and_no_answer_is_missed() -> None:
    assert _scored([LABELS[0], LABELS[0]], [LABELS[0], LABELS[1]])["macro_f1"] == pytest.approx(0.5)
    example = TASK.with_options(LABELS).example(_row())
    assert dict(TASK.metrics[0].count(example, None)) == {("fn", "Cause-Effect"): 1.0}


def test_a_label_that_means_no_relation_is_left_out_whatever_its_name() -> None:
    golds, said = [LABELS[0], LABELS[2], LABELS[4]], [LABELS[0], LABELS[4], LABELS[0]]
    assert _scored(golds, said)["macro_f1"] == pytest.approx(1 / 3)
    meant = {LABELS[2]: "no relation"}
    assert _scored(golds, said, meanings=meant)["macro_f1"] == pytest.approx(2 / 3)


def test_a_label_named_so_is_left_out_whatever_it_means() -> None:
    golds, said = [LABELS[0], LABELS[4]], [LABELS[2], LABELS[4]]
    assert _scored(golds, said, meanings={"Other": "none of the other relations"})["macro_f1"] == 0.0
    example = TASK.with_options(("no_relation", "part of"), {"no_relation": "they have nothing in common"}).example(
        _row(label="no_relation")
    )
    assert TASK.metrics[0].count(example, Choice("no_relation")) == {}


# --- the head --------------------------------------------------------------------------------------------------------


@cache
def _backbone() -> Any:
    from tiny_bodies import LONGEST

    from lowrung.models.pieces import Tokenizer
    from lowrung.models.text import Source, TextBackbone

    tokenizer = wordpiece()
    inner = Tokenizer(tokenizer, longest=LONGEST)
    source = Source("tiny", "0")
    return TextBackbone(inner, body("bert", tokenizer), source=source, pooling="mean", tagging_layer=2)


def _examples(number: int) -> tuple[Any, list[Example[Choice]]]:
    rows = _rows(number)
    task = TASK.fitted_to(rows)
    return task, [task.example(row) for row in rows]


def test_both_directions_start_from_one_name_and_what_is_between_is_read() -> None:
    from lowrung.models.relate import _places, plain

    assert plain("Cause Effect(e2,e1)") == "Cause Effect"
    assert plain("born in (e1)") == "born in (e1)"
    asked = TASK.question(_row(first=[32, 36], second=[4, 9]))
    assert _places(asked) == [(32, 36), (4, 9), (9, 32)]
    near = TASK.question(_row(first=[4, 9], second=[10, 13]))
    assert _places(near)[2] == (4, 13)


@pytest.mark.parametrize("how", ["probe", "top", "full"])
def test_it_learns_what_stands_between(how: str, tmp_path: Path) -> None:
    from dataclasses import replace

    from lowrung.models import catalog, network
    from lowrung.run.adapt import adapt
    from lowrung.run.evaluate import evaluate
    from lowrung.run.methods import recipe

    task, examples = _examples(60)
    moves, settings = recipe(how)
    made = adapt(_backbone(), task, examples[:45], how=moves, settings=replace(settings, least=20, most=20), seed=1)
    assert evaluate(task, made, examples[45:]).value(task.metrics[0]) > 0.7  # chance is 0.33
    facts = made.save(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "backbone", lambda name: _backbone())
        again = network.load(tmp_path, facts)
        questions = [each.question for each in examples]
        assert [each.answer for each in again.answer(questions)] == [each.answer for each in made.answer(questions)]
        wider = task.with_options((*task.options, "Maker-Product(e1,e2)"))
        said = made.answer([wider.question(_rows(1)[0])])[0]
        assert len(said.others) == len(task.options)
        assert said.answer == Choice(LABELS[0])


def test_a_long_text_is_read_in_windows_alike_in_any_batch() -> None:
    from lowrung.run.adapt import adapt

    task, examples = _examples(9)
    made = adapt(_backbone(), task, examples)
    text = "please " * 60 + "Ada charged London " + "money " * 60
    at = text.index("Ada")
    asked = task.question({"text": text, "first": [at, at + 3], "second": [at + 12, at + 18]})
    alone = made.answer([asked])[0]
    together = made.answer([examples[0].question, asked, examples[1].question])[1]
    assert alone.answer == together.answer
    assert alone.confidence == pytest.approx(together.confidence, abs=1e-4)


# --- the way through -------------------------------------------------------------------------------------------------


def test_the_command_line_studies_fits_scores_answers_and_tries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = str(write_tiny_encoder(tmp_path / "tiny"))
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in _rows(30)))
    study = ["study", "relation", str(file), "--labels", "all", "--seeds", "1", "--methods", "probe"]
    assert main([*study, "--model", tiny, "--out", str(tmp_path / "study"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["metric"] for each in found["summary"]} == {"macro_f1", "accuracy", "mcc"}
    model = str(tmp_path / "model")
    assert main(["fit", "relation", str(file), "--method", "probe", "--model", tiny, "--out", model]) == 0
    capsys.readouterr()
    assert main(["score", model, str(file), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["metrics"]) == ["macro_f1", "accuracy", "mcc"]
    tagged = "<e1>Ada</e1> charged <e2>London</e2>"
    assert main(["answer", model, tagged]) == 0
    assert capsys.readouterr().out.split("\t")[0] in LABELS
    tried = ["try", "relation", tagged, "--model", tiny, "--options", "charged,lives in", "--json"]
    assert main(tried) == 0
    assert json.loads(capsys.readouterr().out)["answer"] in ("charged", "lives in")
    assert main(["try", "relation", "Ada charged London", "--model", tiny, "--options", "a,b"]) == 2
    assert "<e1>" in capsys.readouterr().err
