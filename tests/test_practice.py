"""Practice: rows made of raw text teach without a label, and what is validated on was never learnt from."""

import re

import pytest
from tiny_encoder import write_tiny_encoder

from lowrung.cli import main
from lowrung.core.errors import DataError, LowrungError
from lowrung.models import training
from lowrung.models.training import Settings
from lowrung.models.tuning import Frozen, Top
from lowrung.run import practice
from lowrung.run.practice import practise
from lowrung.run.ship import load
from lowrung.tasks import task

PEOPLE = "Ada Grace Alan Edith Barbara Donald Frances Hedy Katherine Linus".split()
PLACES = "London Paris Rome Vienna Madrid".split()


def passage(at: int) -> str:
    one, two = PEOPLE[at % 10], PEOPLE[(at // 10 + at + 1) % 10]
    place = PLACES[at % 5]
    return (
        f"Yesterday {one} met {two} near {place} in room{at}. They talked for hours in room{at}. "
        f"Then {one} wrote a letter in room{at}, and later {two} read it twice. In the end {one} left room{at}."
    )


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "raw.txt"
    file.write_text("\n".join(passage(at) for at in range(1200)) + "\n", "utf-8")
    return file


SETTINGS = Settings(lr=1e-3, batch=4, validations=2, patience=10**6)


def test_rows_are_made_learnt_from_and_held_out(body, text):
    seen = []
    made = practise(
        task("pronoun"),
        [text],
        model=body,
        how=Top(1),
        steps=6,
        held=30,
        settings=SETTINGS,
        watch=lambda step, steps, loss: seen.append((step, steps)),
    )
    assert seen == [(step, 6) for step in range(1, 7)]
    assert made.steps == len(made.losses) == 6
    assert made.rows > 6 * 4
    assert made.report.examples == made.untouched.examples
    numbers = {int(re.search(r"room(\d+)", each.question.text)[1]) for each in made.report.examples}
    assert {at // practice.DOCUMENT % practice.HELD_OUT for at in numbers} == {practice.HELD_OUT - 1}
    metric = task("pronoun").metrics[0]
    assert made.report.value(metric) >= made.untouched.value(metric) - 0.2
    assert made.model.name == "practice"


def test_learning_rows_are_never_of_held_out_documents(text):
    lines = list(practice._lines([text], "text", held_out=False))
    held = list(practice._lines([text], "text", held_out=True))
    assert not {*lines} & {*held}
    assert len(lines) + len(held) == 1200
    assert len(held) == 50


def test_a_feed_that_is_resumed_goes_on_where_it_was():
    def numbers():
        yield from range(100)

    whole, cut = practice._Feed(numbers, 3), practice._Feed(numbers, 3)
    expected = [whole(step) for step in range(5)]
    assert cut(3) == expected[3]
    assert cut(4) == expected[4]


def test_text_is_read_again_when_it_ends(body, text, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("\n".join(passage(at) for at in range(60)) + "\n", "utf-8")
    made = practise(task("pronoun"), [short], model=body, how=Top(1), steps=60, held=5, settings=SETTINGS)
    assert made.steps == 60


def test_the_same_seed_gives_the_same_model(body, text):
    runs = [
        practise(task("pronoun"), [text], model=body, how=Top(1), steps=4, held=10, settings=SETTINGS) for _ in range(2)
    ]
    assert runs[0].losses == runs[1].losses
    assert [each.answer for each in runs[0].report.predictions] == [each.answer for each in runs[1].report.predictions]


def test_the_head_alone_can_be_practised(body, text):
    made = practise(task("pronoun"), [text], model=body, how=Frozen(), held=10)
    assert (made.steps, made.losses) == (0, ())


def test_what_cannot_be_practised_is_said_in_one_line(body, text, tmp_path):
    with pytest.raises(LowrungError, match="topic cannot be practised"):
        practise(task("topic"), [text], model=body)
    with pytest.raises(LowrungError, match="none answers spelling yet"):
        practise(task("spelling"), [text], model=body)
    with pytest.raises(LowrungError, match="at least 1 step"):
        practise(task("pronoun"), [text], model=body, steps=0)
    empty = tmp_path / "empty.txt"
    empty.write_text("nobody is named here\n", "utf-8")
    with pytest.raises(DataError, match="too little text for pronoun"):
        practise(task("pronoun"), [empty], model=body)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"body": "Ada met Grace."}\n', "utf-8")
    with pytest.raises(DataError, match="no text in column 'text'"):
        practise(task("pronoun"), [rows], model=body)


def test_it_ships_from_the_command_line(body, text, tmp_path, capsys):
    out = tmp_path / "practised"
    assert main(["practice", "pronoun", "--text", str(text), "--steps", "2", "--model", body, "--out", str(out)]) == 0
    assert "practised on" in capsys.readouterr().out
    assert "Rows made of raw text are not rows of people" in (out / "README.md").read_text("utf-8")
    row = {"text": "Ada met Grace because she was late.", "pronoun": [22, 25], "candidates": [[0, 3], [8, 13]]}
    shipped = load(out)
    assert shipped.model.name == "practice"
    assert shipped.answer(row).answer.option in ("Ada", "Grace", "none of them")
    assert not out.with_name("practised.training").exists()


def test_practice_that_was_cut_goes_on(body, text, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    asked = {"model": body, "how": Top(1), "steps": 6, "held": 10, "settings": SETTINGS}
    whole = practise(task("pronoun"), [text], **asked)

    class Cut(Exception):
        pass

    def cut(step, steps, loss):
        if step == 4:
            raise Cut

    with pytest.raises(Cut):
        practise(task("pronoun"), [text], out=tmp_path / "cut", watch=cut, **asked)
    steps = []
    again = practise(task("pronoun"), [text], out=tmp_path / "cut", watch=lambda step, *_: steps.append(step), **asked)
    assert steps == [4, 5, 6]
    assert again.losses == whole.losses
