"""A study: the same draws for every method, nothing computed twice, and no harm done."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tiny_encoder import TOPICS, write_tiny_encoder

from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.run import cells
from lowrung.run.study import study

METHODS = ("majority", "ngrams", "probe")
ROWS = [
    {**row, "id": f"{row['id']}-{copy}", "text": f"{row['text']} {mark}"}
    for copy, mark in enumerate("!?")
    for row in TOPICS
]
TEST = [{**row, "id": f"t{at}", "text": f"please, {row['text']}"} for at, row in enumerate(TOPICS)]
Fit = tuple[str, tuple[str, ...], int]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Fit]:
    """What every fit of a study was given: method, ids of the rows, seed."""
    from lowrung.models import probe

    seen: list[Fit] = []
    real = cells.fit_method

    def watched(method: Any, task: Any, examples: Any, **more: Any) -> Any:
        seen.append((method.name, tuple(each.id for each in examples), more["seed"]))
        return real(method, task, examples, **more)

    monkeypatch.setattr(cells, "fit_method", watched)
    monkeypatch.setattr(probe, "GRID", probe.GRID[:2])
    monkeypatch.setattr(probe, "REPEATED", 0)
    return seen


def _study(encoder: str, rows: Any = ROWS, **more: Any) -> Any:
    asked = {"test": TEST, "methods": METHODS, "labels": (0, 4, "all"), "seeds": 2} | more
    return study("topic", rows, model=encoder, **asked)


def test_all_methods_learn_from_the_same_nested_draws(encoder: str, fits: list[Fit]) -> None:
    made = _study(encoder, labels=(0, 4, 8, "all"))
    drawn: dict[tuple[int, int], list[tuple[str, ...]]] = {}
    for name, ids, seed in fits:
        if name == "majority":
            drawn.setdefault((len(ids), seed), []).append(ids)
    for (number, seed), (ids, *_) in drawn.items():
        for name in ("ngrams", "probe"):
            assert (name, ids, seed) in fits, f"{name} at {number} labels"
    for seed in (0, 1):
        four, eight, every = (set(drawn[number, seed][0]) for number in (4, 8, 20))
        assert four < eight < every
    assert set(drawn[4, 0][0]) != set(drawn[4, 1][0])
    assert fits[0] == ("zero-shot", (), 0)
    assert {(each.method, each.labels, each.seed) for each in made.cells} == {("zero-shot", 0, 0)} | {
        (name, number, seed) for name in METHODS for number in (4, 8, 20) for seed in (0, 1)
    }


def test_no_row_is_judged_by_a_model_that_saw_it(
    encoder: str, monkeypatch: pytest.MonkeyPatch, fits: list[Fit]
) -> None:
    answered = cells.Bench._answered

    def watched(self: Any, method: Any, learn: Any, asked: Any, key: Any) -> Any:
        assert not {each.id for each in learn} & {each.id for each in asked}
        return answered(self, method, learn, asked, key)

    monkeypatch.setattr(cells.Bench, "_answered", watched)
    made = _study(encoder, test=(), labels=(4,), methods=("majority", "ngrams"))
    assert made.facts["rows"]["test"] == 0
    assert {each.method for each in made.cells} == {"zero-shot", "majority", "ngrams"}


def test_what_is_computed_is_kept(encoder: str, fits: list[Fit], tmp_path: Path) -> None:
    cheap = ("majority", "probe")
    first = _study(encoder, out=tmp_path, methods=cheap)
    done = len(fits)
    fits.clear()
    again = _study(encoder, out=tmp_path, methods=cheap)
    assert len(fits) <= 1, "only what ships is fitted anew"
    assert [(each.method, each.metrics) for each in again.cells] == [
        (each.method, each.metrics) for each in first.cells
    ]
    assert again.gate == first.gate
    fits.clear()
    kept = sorted((tmp_path / "cells").glob("*.json"))
    kept[0].unlink()
    kept[1].write_text('{"fit": 0.1, "ans', "utf-8")
    third = _study(encoder, out=tmp_path, methods=cheap)
    assert 2 <= len(fits) <= 3, "what is missing and what is damaged"
    assert third.gate == first.gate
    fits.clear()
    changed = [{**ROWS[0], "text": "something else"}, *ROWS[1:]]
    _study(encoder, changed, out=tmp_path, methods=cheap)
    assert len(fits) == done, "other rows, other cells"
    fits.clear()
    _study(encoder, out=tmp_path, methods=cheap, seeds=3)
    assert {seed for name, ids, seed in fits[:-1]} == {2}, "a further seed costs itself"


def test_one_study_twice_says_the_same(encoder: str, fits: list[Fit]) -> None:
    one, two = (_study(encoder, labels=(4,), seeds=1) for _ in range(2))
    assert one.summary == two.summary
    assert one.gate == two.gate
    assert [each.metrics for each in one.cells] == [each.metrics for each in two.cells]


def _at_random(seed: int) -> list[dict[str, Any]]:
    labels = [row["label"] for row in ROWS]
    Random(seed).shuffle(labels)
    return [{**row, "label": label} for row, label in zip(ROWS, labels, strict=True)]


def test_labels_at_random_ship_the_original(encoder: str, fits: list[Fit], tmp_path: Path) -> None:
    made = _study(encoder, _at_random(0), out=tmp_path)
    assert made.gate.shipped == made.gate.original == "zero-shot"
    assert made.gate.probability_better < 0.95
    assert made.gate.reason
    assert made.model.name == "zero-shot"
    shipped = json.loads((tmp_path / "model" / "lowrung.json").read_text("utf-8"))
    assert shipped["method"] == "zero-shot"


def test_of_twelve_labellings_at_random_one_at_most_ships(encoder: str, fits: list[Fit]) -> None:
    gates = [_study(encoder, _at_random(seed), methods=("ngrams",), labels=("all",)).gate for seed in range(12)]
    assert sum(each.shipped != "zero-shot" for each in gates) <= 1


def test_labels_that_teach_ship_the_winner(encoder: str, fits: list[Fit], tmp_path: Path) -> None:
    from lowrung.run.ship import load

    rows = [
        {"text": f"{word} {at}", "label": label} for at in range(12) for word, label in (("parcel", "x"), ("card", "y"))
    ]
    test = [{"text": f"the {row['text']}!", "label": row["label"]} for row in rows]
    made = _study(encoder, rows, test=test, methods=("ngrams",), labels=("all",), seeds=1, out=tmp_path)
    assert made.gate.shipped == "ngrams"
    assert load(tmp_path).answer("a card").answer.option == "y"
    assert load(tmp_path).facts["rows"] == made.facts["rows"]["learn"] == 24
    assert load(tmp_path).facts["fingerprint"] == made.facts["fingerprint"]


def test_what_ships_untouched_says_that_it_learnt_from_no_rows(encoder: str, fits: list[Fit], tmp_path: Path) -> None:
    from lowrung.run.ship import fingerprint, load

    made = _study(encoder, methods=("majority",), labels=("all",), seeds=1, out=tmp_path)
    assert made.gate.shipped == "zero-shot"
    assert (load(tmp_path).facts["rows"], load(tmp_path).facts["fingerprint"]) == (0, fingerprint(()))


def test_rows_of_one_group_are_studied_with_a_test_and_refused_without(encoder: str, fits: list[Fit]) -> None:
    rows = [{**row, "group": "talk"} for row in ROWS]
    made = _study(encoder, rows, methods=("ngrams",), labels=(4,), seeds=1)
    assert made.gate.winner == "ngrams"
    fits.clear()
    told = _refused(DataError, encoder, rows, test=(), methods=("ngrams",))
    assert "all rows are of one group" in told
    assert not fits


def test_a_folder_of_something_else_ends_a_study_before_it_begins(
    encoder: str, fits: list[Fit], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("years of work")
    assert "something else" in _refused(ModelError, encoder, out=tmp_path)
    assert not fits


def test_study_json_says_everything(encoder: str, fits: list[Fit], tmp_path: Path) -> None:
    made = _study(encoder, out=tmp_path)
    found = json.loads((tmp_path / "study.json").read_text("utf-8"))
    wanted = """task cells summary switch_points gate sentence metric higher_is_better model checksum options rows seeds
    confidence comparison per_label mistakes classes fingerprint versions date sizes""".split()
    assert set(wanted) <= set(found)
    assert set(found["cells"][0]) >= {"method", "labels", "seed", "metrics", "fit_seconds", "answer_seconds"}
    assert set(found["summary"][0]) >= {"method", "labels", "metric", "value", "low", "high", "higher_is_better"}
    gate = {"shipped", "original", "winner", "labels", "probability_better", "reason", "rows_needed"}
    assert set(found["gate"]) >= gate
    assert found["switch_points"][-1]["to"] is None
    assert found["sentence"] == made.sentence
    for line in found["summary"]:
        assert line["low"] <= line["value"] <= line["high"]
    assert found["rows"]["learn"] == len(ROWS)
    assert found["rows"]["test"] == len(TEST)
    assert found["classes"] == {"billing": 10, "delivery": 10}
    assert {each["gold"] for each in found["mistakes"]} <= {"billing", "delivery"}


def _refused(kind: type[LowrungError], encoder: str, rows: Any = ROWS, **more: Any) -> str:
    with pytest.raises(kind) as caught:
        _study(encoder, rows, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_studied_is_said_before_anything_runs(encoder: str, fits: list[Fit]) -> None:
    odd = [*TEST, {"id": "t99", "text": "where is it", "label": "deliveries"}]
    told = _refused(DataError, encoder, test=odd)
    assert "t99" in told
    assert "Did you mean 'delivery'?" in told
    assert "at least 4 rows" in _refused(DataError, encoder, ROWS[:3])
    assert "nothing to choose" in _refused(
        DataError, encoder, [row for row in ROWS if row["label"] == "billing"], test=()
    )
    assert "none of the test rows" in _refused(DataError, encoder, test=[{"text": "a"}])
    assert "at least 1 seed" in _refused(LowrungError, encoder, seeds=0)
    assert "'many'" in _refused(LowrungError, encoder, labels=("many",))
    assert "above 0" in _refused(LowrungError, encoder, labels=(0,))
    assert "Did you mean 'probe'?" in _refused(LowrungError, encoder, methods=("prob",))
    assert not fits
