"""topics: several labels a row: rows, metrics against scikit-learn, the head, the floor, an endpoint's words."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tiny_encoder import write_tiny_encoder

from lowrung import tasks
from lowrung.cli import main
from lowrung.core.answers import Choices
from lowrung.core.errors import DataError
from lowrung.core.task import Example
from lowrung.data.splits import folds, keys
from lowrung.metrics.counting import total

TASK = tasks.task("topics")
WORDS = {"pay": "money", "post": "parcel", "place": "London"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _rows(number: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """A label belongs where its word stands."""
    random = Random(seed)
    made = []
    for at in range(number):
        labels = [label for label in WORDS if random.random() < 0.4]
        text = " ".join(["where is my", *(WORDS[label] for label in labels), random.choice(("please", "card", "and"))])
        made.append({"id": f"r{at}", "text": text, "labels": labels})
    return made


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


def test_labels_are_a_list_or_parted_by_semicolons() -> None:
    listed, told = (TASK.golds({"text": "x", "labels": each}) for each in (["b", "a"], "a; b"))
    assert listed == told == (Choices(("a", "b")),)
    assert TASK.golds({"text": "x", "labels": []}) == TASK.golds({"text": "x", "labels": "(none)"}) == (Choices(),)
    assert TASK.golds({"text": "x"}) == ()


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"a": 1}, "holds a list of names"),
        (["a", ""], "holds a list of names"),
        (["a", "a"], "names 'a' twice"),
        (3, "list"),
    ],
)
def test_odd_labels_are_refused(labels: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        TASK.golds({"text": "x", "labels": labels})


def test_metrics_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    random, labels = Random(3), list("abcd")
    golds, said = ([tuple(each for each in labels if random.random() < 0.4) for _ in range(60)] for _ in range(2))
    examples = [Example(TASK.question({"text": "x"}), (Choices(gold),)) for gold in golds]
    counts = total(TASK.metrics[0].count(example, Choices(each)) for example, each in zip(examples, said, strict=True))
    found = {metric.name: metric.finish(counts) for metric in TASK.metrics}
    table = MultiLabelBinarizer(classes=labels)
    truth, guess = table.fit_transform(golds), table.fit_transform(said)
    assert found["f1"] == pytest.approx(f1_score(truth, guess, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, guess, average="macro"))
    assert found["exact_match"] == pytest.approx(accuracy_score(truth, guess))


def test_a_split_spreads_the_rarest_label_of_each_row() -> None:
    rows = [{"text": f"{at}", "labels": ["often", *(["rare"] if at % 10 == 0 else [])]} for at in range(50)]
    task = TASK.fitted_to(rows)
    examples = [task.example(row) for row in rows]
    assert keys(examples).count("rare") == 5
    for _, held in folds(examples, k=5, seed=1)[0]:
        assert sum("rare" in rows[at]["labels"] for at in held) == 1


def test_before_the_first_label_the_nearest_names_belong(encoder: str) -> None:
    from lowrung.models.catalog import backbone
    from lowrung.run.adapt import adapt

    body = backbone(encoder)
    task = TASK.with_options(WORDS, WORDS)
    network = adapt(body, task)
    asked = task.question({"text": "my money is in London"})
    cosines = body.embed(list(WORDS.values())) @ body.embed([asked.text])[0]
    near = cosines > (cosines.max() + cosines.mean()) / 2
    (said,) = network.answer([asked])
    assert said.answer == Choices(tuple(label for label, each in zip(WORDS, near, strict=True) if each))
    assert len(said.others) == len(WORDS)


@pytest.mark.parametrize("method", ["majority", "ngrams", "probe", "top"])
def test_a_fit_learns_and_is_the_same_after_a_folder(method: str, encoder: str, tmp_path: Path) -> None:
    from lowrung.run.evaluate import evaluate
    from lowrung.run.fit import fit
    from lowrung.run.ship import load

    shipped = fit("topics", _rows(60), method=method, model=encoder, out=tmp_path / "model")
    examples = [shipped.task.example(row) for row in _rows(40, seed=5)]
    report = evaluate(shipped.task, shipped.model, examples)
    assert report.value(TASK.metrics[0]) > 0.9 or method == "majority"
    again = load(tmp_path / "model").model.answer([each.question for each in examples])
    assert [each.answer for each in again] == [each.answer for each in report.predictions]


def test_a_label_that_was_never_learnt_can_be_asked_for(encoder: str) -> None:
    from lowrung.models.catalog import backbone
    from lowrung.models.tuning import Frozen
    from lowrung.run.adapt import adapt

    task = TASK.fitted_to(_rows(40))
    network = adapt(backbone(encoder), task, [task.example(row) for row in _rows(40)], how=Frozen())
    wider = task.with_options((*task.options, "card"))
    (said,) = network.answer([wider.question({"text": "where is my money please"})])
    (known,) = network.answer([task.question({"text": "where is my money please"})])
    assert {each.options[0] for each, _ in said.others} == set(wider.options)
    shares = {each.options[0]: share for each, share in said.others}
    assert {name: shares[name] for name in task.options} == pytest.approx(
        {each.options[0]: share for each, share in known.others}, abs=1e-5
    )


def test_an_endpoint_is_told_that_several_may_fit() -> None:
    from lowrung.models.wording import instructed

    words = instructed(TASK.with_options(["a", "b"]).question({"text": "x"}), Choices, TASK.about)
    assert "each of these options that fits" in words
    assert "(none)" in words


def test_the_way_through_on_the_command_line(encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(each) + "\n" for each in _rows(30)), "utf-8")
    there = ["--model", encoder, "--out", str(tmp_path / "study")]
    for arguments in (
        ["check", "topics", str(rows)],
        ["study", "topics", str(rows), "--methods", "majority,probe", "--labels", "0,8", "--seeds", "1", *there],
        ["score", str(tmp_path / "study" / "model"), str(rows)],
        ["answer", str(tmp_path / "study" / "model"), str(rows), "--json"],
        [
            "label",
            "topics",
            str(rows),
            "--model",
            str(tmp_path / "study" / "model"),
            "--out",
            str(tmp_path / "silver.jsonl"),
        ],
    ):
        assert main(arguments) == 0, arguments
    out = capsys.readouterr().out
    assert "exact_match" in out
    silver = [json.loads(line) for line in (tmp_path / "silver.jsonl").read_text("utf-8").splitlines()]
    assert all(isinstance(each["labels"], list) for each in silver)
