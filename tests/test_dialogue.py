"""dialogue: rows and their errors, rows out of raw text, the head, the ranking in a study, the way through."""

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
from lowrung.core.parts import Question
from lowrung.metrics.counting import total
from lowrung.metrics.ranking import mrr, recall_at_1

TASK = tasks.task("dialogue")
OFFERED = ("yes please", "the money is here", "where is London")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _row(**changes: Any) -> dict[str, Any]:
    row = {"turns": ["Hello", "Is Ada there?"], "candidates": list(OFFERED), "next": 0}
    return {name: value for name, value in {**row, **changes}.items() if value is not ...}


def _rows(number: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """The right candidate repeats the odd word of the last turn."""
    random, words = Random(seed), "money parcel account London card Ada".split()
    made = []
    for at in range(number):
        offered = random.sample(words, 4)
        right = random.randrange(4)
        turns = ["where is it", f"my {offered[right]} is here"]
        made.append(
            {"id": f"r{at}", "turns": turns, "candidates": [f"the {each} please" for each in offered], "next": right}
        )
    return made


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


# --- rows ------------------------------------------------------------------------------------------------------------


def test_the_next_turn_is_named_by_its_place_or_by_its_words() -> None:
    assert TASK.example(_row()) == TASK.example(_row(next=OFFERED[0]))
    assert TASK.question(_row()).texts == ("Hello", "Is Ada there?")
    assert TASK.golds(_row(next=None)) == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"turns": ...}, "'turns' holds a list of texts"),
        ({"turns": []}, "'turns' holds 0 texts and needs 1"),
        ({"turns": "Hello"}, "'turns' holds a list of texts"),
        ({"turns": ["Hello", " "]}, "an empty text in place 1"),
        ({"candidates": ["yes"]}, "'candidates' holds 1 texts and needs 2"),
        ({"candidates": ["yes", "no", "yes"]}, "candidates 0 and 2, counted from 0, are the same: 'yes'"),
        ({"next": 3}, "'next' 3 is not one of the 3 candidates"),
        ({"next": "perhaps"}, "'next' is none of the 3 candidates: 'perhaps'"),
        ({"next": True}, "'next' holds the place"),
    ],
)
def test_odd_rows_are_refused_in_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        TASK.example(_row(**changes))
    assert "\n" not in str(caught.value)


def test_practice_asks_for_the_real_next_turn_and_says_nothing_by_who_speaks() -> None:
    assert TASK.practice is not None
    dialogues = [[f"{speaker} {number} {turn}" for turn, speaker in enumerate("ababab")] for number in range(30)]
    lines = [line for turns in dialogues for line in (*turns, "")]
    rows = list(TASK.practice(lines, Random(1)))
    assert len(rows) > 100
    near = 0
    for row in rows:
        speaker, number, turn = row["candidates"][row["next"]].split()
        last = row["turns"][-1].split()
        assert (last[1], int(last[2]) + 1) == (number, int(turn))
        assert {each[0] for each in row["candidates"]} == {speaker}
        near += sum(each.split()[1] == number for each in row["candidates"]) - 1
    assert 0 < near < len(rows) * 3  # few of the wrong ones are of the same dialogue


def test_empty_lines_of_raw_text_part_dialogues(tmp_path: Path) -> None:
    from lowrung.data.raw import lines

    file = tmp_path / "raw.txt"
    file.write_text("\none\ntwo\n\n\nthree\n", "utf-8")
    assert list(lines([file], held_out=False)) == ["one", "two", "", "three"]


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_ranks_are_counted_as_the_field_does() -> None:
    example = TASK.example(_row(next=1))
    places = []
    for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        first, *others = (Choice(OFFERED[at]) for at in order)
        said = Prediction(first, 0.5, tuple((each, 0.25) for each in others))
        places.append((recall_at_1.count(example, said.answer), mrr.count(example, said)))
    assert recall_at_1.finish(total(first for first, _ in places)) == pytest.approx(1 / 3)
    assert mrr.finish(total(rank for _, rank in places)) == pytest.approx((1 / 2 + 1 + 1 / 3) / 3)
    assert mrr.finish(mrr.count(example, Prediction(None, 0.0))) == 0.0


# --- the head --------------------------------------------------------------------------------------------------------


def test_before_the_first_label_the_cosine_alone_decides(encoder: str) -> None:
    import torch

    from lowrung.models.catalog import backbone
    from lowrung.run.adapt import adapt

    network = adapt(backbone(encoder), TASK)
    asked = TASK.question(_row(turns=["where is London", "the money is here"]))
    vectors = network.vectors([*asked.texts, *OFFERED])
    given = vectors["the money is here"] + 0.5 * vectors["where is London"]
    cosines = torch.stack([vectors[each] for each in OFFERED]) @ given
    (said,) = network.answer([asked])
    assert [each.option for each in (said.answer, *(other for other, _ in said.others)) if each] == [
        OFFERED[at] for at in cosines.argsort(descending=True)
    ]


def test_of_a_long_dialogue_the_last_turns_are_read() -> None:
    from lowrung.models.matching import RECENT, given

    turns = tuple(f"turn {at}" for at in range(40))
    assert given(Question(turns, options=OFFERED)) == turns[-RECENT:]


def test_golds_of_other_rows_are_offered_as_well_and_the_own_one_once() -> None:
    from lowrung.models.matching import crowded

    examples = [TASK.example(row) for row in _rows(12)]
    questions, golds = [each.question for each in examples], [each.golds[0] for each in examples]
    for asked, gold, made in zip(questions, golds, crowded(questions, golds, Random(0), own=3, others=5), strict=True):
        assert made.options.count(gold.option) == 1
        own = [each for each in made.options if each in asked.options]
        foreign = [each for each in made.options if each not in asked.options]
        assert len(own) == 3
        assert foreign
        assert set(foreign) <= {each.option for each in golds}


def test_cues_tell_what_the_words_do() -> None:
    from lowrung.models.matching import CUES, cues

    asked = Question(("Does it leave at 9?",), options=("it leaves at 9", "at 10", "Does it leave at 9?"))
    found = {name: column.tolist() for name, column in zip(CUES, cues(asked).T, strict=True)}
    assert found["repeats"] == [0.0, 0.0, 1.0]
    assert found["asks back"] == [0.0, 0.0, 1.0]
    assert [each > 0 for each in found["numbers"]] == [True, False, True]
    assert [each > 0 for each in found["new numbers"]] == [False, True, False]


@pytest.mark.parametrize("method", ["probe", "top"])
def test_a_fit_learns_from_rows_and_is_the_same_after_a_folder(method: str, encoder: str, tmp_path: Path) -> None:
    from lowrung.run.fit import fit
    from lowrung.run.ship import load

    shipped = fit("dialogue", _rows(80), method=method, model=encoder, out=tmp_path / "model")
    asked = [TASK.question(row) for row in _rows(60, seed=9)]
    said = shipped.model.answer(asked)
    right = sum(each.answer == TASK.golds(row)[0] for each, row in zip(said, _rows(60, seed=9), strict=True))
    assert right > 45
    again = load(tmp_path / "model").model.answer(asked)
    assert [each.answer for each in again] == [each.answer for each in said]
    assert [each.confidence for each in again] == pytest.approx([each.confidence for each in said], abs=1e-4)


def test_a_study_keeps_the_ranking(encoder: str, tmp_path: Path) -> None:
    from lowrung.run.study import study

    def values() -> dict[str, float]:
        made = study(
            "dialogue",
            _rows(12),
            test=_rows(20, seed=3),
            model=encoder,
            methods=("zero-shot", "probe"),
            labels=(0, 4),
            out=tmp_path,
        )
        return dict(made.cells[0].metrics)

    first = values()
    assert first["mrr"] > first["recall_at_1"]
    assert values() == pytest.approx(first, abs=1e-5)  # from the cells on disk


def test_the_way_through_on_the_command_line(encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(each) + "\n" for each in _rows(30)), "utf-8")
    folder = tmp_path / "model"
    for arguments in (
        ["check", "dialogue", str(rows)],
        ["fit", "dialogue", str(rows), "--model", encoder, "--out", str(folder)],
        ["score", str(folder), str(rows)],
        ["label", "dialogue", str(rows), "--model", str(folder), "--out", str(tmp_path / "silver.jsonl")],
        ["try", "dialogue", "Hello\nIs Ada there?", "--options", "yes please,where is London", "--model", encoder],
    ):
        assert main(arguments) == 0, arguments
    assert "recall_at_1" in capsys.readouterr().out
    assert main(["try", "dialogue", "Hello", "--model", encoder]) == 2
    assert "--options" in capsys.readouterr().err
