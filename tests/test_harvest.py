"""The user's own words come out of raw text, and the slips that are made in it do not."""

import json
from dataclasses import fields, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lowrung.cli import main
from lowrung.core.errors import DataError, ModelError
from lowrung.core.parts import Question
from lowrung.data.noise import Noise, noise
from lowrung.models.channel import Channel
from lowrung.models.corrector import Corrector
from lowrung.models.lexicon import Lexicon, Origin
from lowrung.run.harvest import WORDS, gathered, harvest
from lowrung.run.ship import load
from lowrung.tasks import task

KNOWN = """the their there letter received believe because people weather yesterday morning garden water river stone
house through another before little question answer and of to in was is it for on with they he she you that this old
road under over very green small wrote read walked toward village mountain harbour winter summer evening""".split()
OWN = ("Zorbex", "Quillfen", "marnet")
SMALL = Corrector(
    Lexicon({word: 40_000 // (at + 1) for at, word in enumerate(KNOWN)}), Channel(noise("en")), source=Origin("en", "")
)


def lines(number: int, seed: int = 0) -> list[str]:
    random = Random(seed)
    made = []
    for at in range(number):
        words = random.choices(KNOWN, range(len(KNOWN), 0, -1), k=12)
        words[random.randrange(1, 12)] = OWN[at % 3]
        made.append(" ".join(words) + ".")
    return made


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "raw.txt"
    file.write_text("\n".join(lines(1200)) + "\n", "utf-8")
    return file


def found(text: list[str], **more: Any) -> Any:
    return gathered(text, SMALL.lexicon, SMALL.channel, **more)


def test_words_that_the_lexicon_lacks_are_ones_own() -> None:
    assert dict(found(lines(300)).own) == dict.fromkeys(OWN, 100)
    assert found(lines(6)).own == {}
    assert set(found(lines(6), least=2).own) == set(OWN)


def test_slips_that_are_made_often_are_no_words() -> None:
    random, damage = Random(5), noise("en")
    dirty = [damage.damaged(line, random, 0.02)[0] for line in lines(6000)]
    made = found(dirty)
    assert set(OWN) <= set(made.own)
    assert len(made.doubted) > 20
    assert len(set(made.own) - set(OWN)) <= 0.1 * len(made.doubted)


@pytest.mark.parametrize("slip", ["recieved", "beleive", "thier", "ofthe", "wich"])
def test_a_typical_slip_that_is_rarer_than_what_is_meant_is_doubted(slip: str) -> None:
    lexicon = Lexicon({**SMALL.lexicon.counts, "which": 9000})
    meant = {"recieved": "received", "beleive": "believe", "thier": "their", "ofthe": "of the", "wich": "which"}[slip]
    text = [f"they read {meant} and walked on"] * 400 + [f"they read {slip} and walked on"] * 4
    made = gathered(text, lexicon, SMALL.channel)
    assert set(made.doubted) == {slip}


def test_a_name_is_no_slip_of_a_common_word() -> None:
    made = found(["and so to the old house there"] * 500 + ["we met Thera in the garden"] * 10)
    assert "Thera" in made.own


def test_what_is_no_word_is_not_counted() -> None:
    made = found(["the https://zorbex.example/quill and get_marnet(x) or `glonk` at user@flimp.org"] * 9)
    assert made.own == {}


def test_an_ending_that_any_word_takes_is_left_out() -> None:
    tails = {f"{word}'s": 30 for word in KNOWN}
    base = Lexicon({**SMALL.lexicon.counts, **tails})
    made = gathered(["the house is Zorbex's and old"] * 5, base, SMALL.channel)
    assert dict(made.own) == {"Zorbex": 5}


def test_the_corrector_knows_them_and_was_measured_where_it_did_not_learn(text: Path, tmp_path: Path) -> None:
    made = harvest(task("spelling"), [text], base=SMALL, held=40, out=tmp_path / "mine")
    assert set(made.harvest.own) == set(OWN)
    assert made.model.name == "practice"
    assert {"zorbex", "quillfen", "marnet"} <= made.model.lexicon.own
    assert made.mends <= made.mends_before
    assert made.model.curve[0][0] == made.mends
    assert len(made.report.examples) == len(made.untouched.examples) == 40
    shipped = load(tmp_path / "mine")
    asked = [Question(("They recieved the Zorbex in the gardn.",))]
    assert shipped.model.answer(asked)[0].answer == made.model.answer(asked)[0].answer
    assert shipped.facts["practice"]["own"] == 3
    own = Lexicon.load(tmp_path / "mine" / WORDS)
    assert set(own.counts) == set(OWN)
    assert SMALL.with_words(own.counts).lexicon.counts == made.model.lexicon.counts


class Marked(Noise):
    def damaged(self, text: str, *more: Any) -> Any:
        return f"marked {text}", ()


def test_lines_are_damaged_as_in_the_language_of_the_corrector(text: Path) -> None:
    damage = Marked(**{each.name: getattr(noise("en"), each.name) for each in fields(Noise) if each.init})
    made = harvest(task("spelling"), [text], base=replace(SMALL, channel=Channel(damage)), held=5)
    assert [each.question.text[:7] for each in made.report.examples] == ["marked "] * 5


def test_what_is_protected_is_not_harvested(text: Path) -> None:
    made = harvest(task("spelling"), [text], base=replace(SMALL, protect=("Zorbex",)), held=5)
    assert set(made.harvest.own) == {"Quillfen", "marnet"}


def test_too_little_text(tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("one line\n", "utf-8")
    with pytest.raises(DataError, match="too little text"):
        harvest(task("spelling"), [short], base=SMALL)
    with pytest.raises(ModelError, match="language"):
        harvest(task("spelling"), [short], model="xx")


def test_from_the_command_line(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine"
    asked = ["practice", "spelling", "--text", str(text), "--out", str(out)]
    assert main([*asked, "--steps", "5"]) == 2
    assert "takes no --steps" in capsys.readouterr().err
    short = tmp_path / "short.txt"
    short.write_text("\n".join(lines(120)) + "\n", "utf-8")
    asked[3] = str(short)
    assert main([*asked, "--least", "20"]) == 0
    said = capsys.readouterr().out
    assert "3 words of your own" in said
    assert f"{out / WORDS}, also for --lexicon" in said
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["own"] == 3
    assert main(["answer", str(out), "The Zorbex is old."]) == 0
