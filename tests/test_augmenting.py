"""Augmentations are tried on the winner, and kept or vetoed by rows held out."""

import json
from dataclasses import replace
from random import Random

import pytest

from lowrung.cli import main
from lowrung.core.answers import Choice
from lowrung.core.errors import LowrungError
from lowrung.data.splits import holdout
from lowrung.run.augmenting import augmentations, augmented, checked, with_augmentations
from lowrung.run.methods import METHODS, fit_method
from lowrung.tasks import task

TOPIC = task("topic")
WORDS = {"money": "invoice charged refund payment card".split(), "parcel": "delivery late lost address box".split()}


def rows(number, seed=0):
    random = Random(seed)
    labels = [random.choice(list(WORDS)) for _ in range(number)]
    return [{"text": " ".join(random.choices(WORDS[label], k=3)), "label": label} for label in labels]


def misspelt(row, random):
    words = row["text"].split()
    return {**row, "text": " ".join(word[:2] + word[3:] if random.random() < 0.9 else word for word in words)}


def test_copies_follow_the_rows_and_keep_their_labels():
    examples = [TOPIC.example(row) for row in rows(6)]
    made = augmented(TOPIC, examples, ("typos", "case"), seed=1)
    assert [replace(each, group="") for each in made[:6]] == examples
    assert 6 < len(made) <= 18
    assert {each.golds[0] for each in made} <= {Choice("money"), Choice("parcel")}
    assert made == augmented(TOPIC, examples, ("typos", "case"), seed=1)
    assert augmented(TOPIC, examples, (), seed=1) == examples


def test_a_copy_is_never_held_out_from_its_row():
    told = [{**row, "group": "g" if at == 9 else ""} for at, row in enumerate([*rows(9), rows(9)[0]])]
    examples = [TOPIC.example(row) for row in told]
    made = augmented(TOPIC, examples, ("typos", "case"), seed=1)
    groups = {each.question.text: each.group for each in made[:10]}
    assert len(set(groups.values())) == len(groups)
    assert groups[told[0]["text"]] == "g"  # what asks the same is of one group
    assert all(each.group == groups[each.question.text.casefold()] for each in made if each.question.text.isupper())
    learnt, held = holdout(made, share=0.3, seed=0)
    assert not {made[at].group for at in learnt} & {made[at].group for at in held}


def test_names_are_those_of_the_task():
    assert "hiss" in augmentations(task("speech"))
    assert "typos" not in augmentations(task("speech"))
    assert checked(TOPIC, ["typos", "typos", "names"]) == ("typos", "names")
    with pytest.raises(LowrungError, match="Did you mean 'typos'"):
        checked(TOPIC, ["typo"])


def test_a_method_learns_from_copies():
    method = with_augmentations(METHODS["ngrams"], ("typos",))
    assert method.name == "ngrams~typos"
    assert method.plain == "ngrams"
    labelled = TOPIC.fitted_to(rows(20))
    examples = [labelled.example(row) for row in rows(20)]
    plain, more = (fit_method(each, labelled, examples, backbone=None) for each in (METHODS["ngrams"], method))
    asked = [labelled.question(misspelt(row, Random(at))) for at, row in enumerate(rows(30, seed=5))]
    assert [each.confidence for each in plain.answer(asked)] != [each.confidence for each in more.answer(asked)]


@pytest.mark.parametrize(("spoilt", "kept"), [(True, True), (False, False)])
def test_held_out_rows_decide(spoilt, kept, tmp_path, capsys):
    """Rows of which half are misspelt need typos; what capitals do to rows in lower case can help nobody."""
    random = Random(3)
    made = [misspelt(row, random) if spoilt and random.random() < 0.5 else row for row in rows(60, seed=7)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made), "utf-8")
    asked = ["study", "topic", str(path), "--methods", "ngrams", "--labels", "0,16", "--seeds", "1", "--json"]
    assert main([*asked, "--augment", "typos,case", "--out", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    found, gate = told["augmentations"], told["gate"]
    assert [each["name"] for each in found] == ["typos", "case"]
    assert all(each["kept"] == (each["probability"] >= 0.8) for each in found)
    assert not any(each["kept"] for each in found) or kept
    winner = "~".join(["ngrams", *(each["name"] for each in found if each["kept"])])
    assert gate["winner"] == winner  # what is measured is what may ship
    assert {each["labels"] for each in told["summary"] if each["method"] == winner} >= {gate["labels"]}
    assert "Augmentations" in (tmp_path / "out" / "report.html").read_text("utf-8")
