"""choice: rows and their errors, practice, the floor, the way through the command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tiny_encoder import write_tiny_encoder

from lowrung import tasks
from lowrung.cli import main
from lowrung.core.answers import Choice, Prediction
from lowrung.core.errors import DataError
from lowrung.run.methods import methods_for
from lowrung.run.silver import silver_row

TASK = tasks.task("choice")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _row(**changes: Any) -> dict[str, Any]:
    row = {"text": "It rained.", "question": "What is wet?", "options": ["the street", "the sun"], "answer": 0}
    return {name: value for name, value in {**row, **changes}.items() if value is not ...}


def test_a_row_brings_its_options_and_may_do_without_a_text() -> None:
    example = TASK.example(_row())
    assert example.question.given == ("It rained.", "What is wet?")
    assert example.question.options == ("the street", "the sun")
    assert example.golds == (Choice("the street"),)
    for bare in (_row(text=...), _row(text=None), _row(text=" ")):
        assert TASK.question(bare).given == ("What is wet?",)
    assert TASK.golds(_row(answer="the sun")) == (Choice("the sun"),)
    assert TASK.golds(_row(answer=...)) == TASK.golds(_row(answer=None)) == ()
    assert TASK.fitted_to([_row()]).options == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"question": ...}, "'question' is empty"),
        ({"question": 3}, "holds what is asked, not 3"),
        ({"text": 3}, "'text' holds text, not 3"),
        ({"options": ...}, "a list of texts, none of them empty, not None"),
        ({"options": "a,b"}, "a list of texts"),
        ({"options": ["a", " "]}, "none of them empty"),
        ({"options": ["a"]}, "holds 1 texts"),
        ({"options": ["a", "b", "a"]}, "holds 'a' twice"),
    ],
)
def test_a_bad_row_is_a_data_error_of_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        TASK.question(_row(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("answer", [2, -1, True, 0.0, "the moon", [0]])
def test_an_answer_is_an_option_or_the_place_of_one(answer: Any) -> None:
    with pytest.raises(DataError, match="options"):
        TASK.golds(_row(answer=answer))


def test_practice_asks_for_the_sentence_that_follows_and_offers_none_that_stands_before() -> None:
    story = [f"This is sentence number {at} of the story." for at in range(9)]
    other = [f"Here is another text with line {at} in it." for at in range(9)]
    rows = list(TASK.practice([*story, "", *other], Random(0)))
    assert len(rows) == 2 * 7
    for row in rows:
        right = row["options"][row["answer"]]
        document = story if right in story else other
        at = document.index(right)
        assert row["question"] == " ".join(document[at - 2 : at])
        assert len(set(row["options"])) == 4
        assert set(row["options"]) <= set(document) - set(document[at - 2 : at])


def test_the_floor_is_the_longest_option_and_is_for_options_that_rows_bring() -> None:
    names = [each.name for each in methods_for(TASK)]
    assert "longest" in names
    assert not {"majority", "ngrams"} & set(names)
    for other in ("topic", "pronoun", "entities", "relation"):
        assert "longest" not in [each.name for each in methods_for(tasks.task(other))]
    from lowrung.models.baselines import Longest

    said = Longest().answer([TASK.question(_row()), TASK.question(_row(options=["a", "b", "ccc", "dd"]))])
    assert [(each.answer, each.confidence) for each in said] == [(Choice("the street"), 0.5), (Choice("ccc"), 0.25)]


def test_a_silver_row_holds_the_place_of_any_option() -> None:
    for option in _row()["options"]:
        made = silver_row(TASK, _row(), Prediction(Choice(option), 0.5), "m")
        assert made is not None
        assert TASK.golds(made) == (Choice(option),)


def test_the_command_line_studies_fits_scores_answers_and_tries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = str(write_tiny_encoder(tmp_path / "tiny"))
    file = tmp_path / "rows.jsonl"
    rows = [
        _row(question=f"Where is my parcel{'?' * (1 + at % 3)}", options=[*"ab", f"London {at}"], answer=2, id=f"r{at}")
        for at in range(24)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = ["study", "choice", str(file), "--labels", "all", "--seeds", "1", "--methods", "probe,longest"]
    assert main([*study, "--model", tiny, "--out", str(tmp_path / "study"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["method"] for each in found["summary"]} == {"zero-shot", "probe", "longest"}
    for method in ("probe", "longest"):
        model = str(tmp_path / method)
        assert main(["fit", "choice", str(file), "--method", method, "--model", tiny, "--out", model]) == 0
        capsys.readouterr()
        assert main(["score", model, str(file), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"]["value"] == 1.0
    assert main(["answer", model, str(file), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["answer"] for each in lines] == [f"London {at}" for at in range(24)]

    tried = ["try", "choice", "It rained.", "--question", "What is wet?", "--model", tiny, "--json"]
    assert main([*tried, "--options", "the street,the sun"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] in ("the street", "the sun")
    assert main(tried) == 2
    assert "--options" in capsys.readouterr().err
