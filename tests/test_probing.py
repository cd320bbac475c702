"""Items about letters are right by a second way of telling; a probe tells who sees letters from who is blind."""

import json
import re
from collections import Counter
from random import Random
from string import ascii_lowercase

import pytest
import torch
from tiny_encoder import TOPICS, write_tiny_encoder

from lowrung.cli import main
from lowrung.core.errors import DataError
from lowrung.data.letter_items import CHANGED, ENDING, KINDS, LONGEST, OPENING, SHORTEST, items, sides
from lowrung.models import read_out
from lowrung.models.lexicon import lexicon
from lowrung.run import probing
from lowrung.run.fit import fit
from lowrung.run.probing import SIGHT, probed
from lowrung.tasks import task

KIND = {kind.name: kind for kind in KINDS}


@pytest.fixture(autouse=True)
def _few_passes(monkeypatch):
    monkeypatch.setattr(read_out, "PASSES", 12)


@pytest.fixture(scope="module")
def words():
    counts = lexicon("en").counts
    return sorted(counts, key=lambda form: (-counts[form], form))[:12_000]


@pytest.fixture(scope="module")
def some(words):
    return sides(words, (300,), Random(5))[0]


def made(name, words, seed=0):
    found = items(KIND[name], words, Random(seed))
    assert len(found) > len(words) / 3
    return found


def fewest_edits(one, two):
    """Levenshtein's distance, by its definition."""
    if not one or not two:
        return len(one) + len(two)
    row = list(range(len(two) + 1))
    for at, letter in enumerate(one, 1):
        before, row = row, [at]
        for place, other in enumerate(two, 1):
            row.append(min(before[place] + 1, row[-1] + 1, before[place - 1] + (letter != other)))
    return row[-1]


def edits_that_make(word, changed, name):
    """Every answer that turns one into the other, by trying all of them."""
    found = []
    for at in range(len(word) + 1):
        head, tail = word[:at], word[at:]
        if name == "swap" and len(tail) > 1 and head + tail[1] + tail[0] + tail[2:] == changed:
            found.append((at,))
        if name == "delete" and tail and head + tail[1:] == changed:
            found.append((ord(tail[0]) - ord("a"), at))
        for number, letter in enumerate(ascii_lowercase):
            if name == "insert" and head + letter + tail == changed:
                found.append((number, at))
            if name == "substitute" and tail and head + letter + tail[1:] == changed:
                found.append((number, at))
    return found


@pytest.mark.parametrize("name", ["insert", "delete", "swap", "substitute"])
def test_the_answer_to_a_change_is_the_only_one(name, some):
    for each in made(name, some):
        assert edits_that_make(*each.words, name) == [each.answer]


@pytest.mark.parametrize("name", [*KIND])
def test_items_are_right_and_within_what_the_kind_promises(name, some):
    right = {
        "spell": lambda word, asked: ord(list(word)[asked]) - 97,
        "first": lambda word, _: ord(word[0]) - 97,
        "last": lambda word, _: ord(word[::-1][0]) - 97,
        "contains": lambda word, asked: int(chr(97 + asked) in Counter(word)),
        "count": lambda word, asked: min(Counter(word)[chr(97 + asked)], 2),
        "length": lambda word, _: sum(1 for _ in word) - SHORTEST,
        "rhyme": lambda one, two: int(one[::-1][:ENDING] == two[::-1][:ENDING]),
        "order": lambda one, two: int(sorted([two, one])[0] == one),
        "distance": fewest_edits,
    }.get(name)
    kind, found = KIND[name], made(name, some)
    assert found == made(name, some) != made(name, some, seed=1) or name in ("first", "last", "length")
    for each in found:
        assert 0 <= each.asked < kind.asks
        assert len(each.answer) == len(kind.sizes)
        assert all(0 <= answer < size for answer, size in zip(each.answer, kind.sizes, strict=True))
        if right:
            assert each.answer == (right(*each.words, *([each.asked] if len(each.words) == 1 else [])),)
    if name in CHANGED:
        assert not {each.words[1] for each in found if len(set(each.words)) == 2} & set(some)
    if name in ("contains", "rhyme", "order", "count", "distance"):
        met = Counter(each.answer for each in found)
        assert len(met) == kind.sizes[0]
        assert min(met.values()) > len(found) / (3 * kind.sizes[0])


def test_no_word_to_test_on_opens_like_one_to_learn_from(words):
    learn, test = sides(words, (500, 200), Random(0))
    assert (len(learn), len(test)) == (500, 200)
    assert not {word[:OPENING] for word in learn} & {word[:OPENING] for word in test}
    assert (learn, test) != tuple(sides(words, (500, 200), Random(1)))
    with pytest.raises(DataError, match=r"1,000,000 words are too many: the list has .* that fit; ask for fewer"):
        sides(words, (1_000_000,), Random(0))


def seeing(words):
    """Each letter at its place, and how often each is there."""
    made = torch.zeros(len(words), LONGEST + 4, 27)
    for row, word in enumerate(words):
        for at, letter in enumerate(word):
            made[row, at, ord(letter) - 96] = 1
            made[row, -1, ord(letter) - 96] += 1
        made[row, -1, 0] = len(word)
    return made.flatten(1)


def blind(words):
    return torch.randn(len(words), 32, generator=torch.Generator().manual_seed(0))


def test_a_body_that_sees_letters_reads_them(words, monkeypatch):
    monkeypatch.setattr(probing, "KINDS", [KIND[name] for name in ("first", "length", *SIGHT)])
    monkeypatch.setattr(read_out, "PASSES", 40)
    found = probed("seeing", seeing, words, rows=600, seed=0)
    shares = {name: each.score.value for name, each in found.metrics.items()}
    assert min(shares[name] for name in ("first", "length", "swap", "substitute")) > 0.8, shares
    assert all(each.score.low > each.chance for each in found.metrics.values()), shares
    assert found.sight > 0.5, shares


def test_a_body_that_sees_nothing_scores_about_chance(words):
    found = probed("blind", blind, words, rows=400, seed=0)
    near = {"distance"}  # that a word is the same as the other shows in any states
    for name, each in found.metrics.items():
        assert name in near or each.score.low <= each.chance + 0.02, (name, each)
        assert each.score.low <= each.score.value <= each.score.high
    assert found.metrics["distance"].score.value < 0.6
    assert found.advice().startswith("hardly any letters")
    assert "letters-en" in found.advice()


def test_a_probe_says_the_same_again_and_another_seed_asks_something_else(words, monkeypatch):
    monkeypatch.setattr(probing, "KINDS", [KIND[name] for name in ("spell", *SIGHT)])
    one, two, other = (probed("x", blind, words, rows=200, seed=seed).to_json() for seed in (3, 3, 4))
    assert one == two != other


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("body"))


def test_json_and_files_of_a_folder(body, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["probe", str(body), "--rows", "200", "--json", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["model"], found["learnt"]) == (str(body), 200)
    assert list(found["metrics"]) == list(KIND)
    assert all(set(each) == {"value", "low", "high", "chance"} for each in found["metrics"].values())
    assert json.loads((tmp_path / "out" / "probe.json").read_text()) == found
    assert (tmp_path / "out" / "probe.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "probe.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert all(f"<th>{name}</th>" in page for name in KIND)
    assert "words read" in printed.err


def test_the_table_of_a_shipped_model_is_of_its_body(body, tmp_path, capsys):
    topic = task("topic").fitted_to(TOPICS)
    fit(topic, TOPICS, method="probe", model=str(body), out=tmp_path / "shipped")
    tables = []
    for model in (body, tmp_path / "shipped"):
        capsys.readouterr()
        assert main(["probe", str(model), "--rows", "200"]) == 0
        tables.append(capsys.readouterr().out.replace(str(model), "").split("\n\n")[1])
    assert tables[0] == tables[1]
    assert all(f"\n{name} " in f"\n{tables[0]}" for name in KIND)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["minilmm"], "model 'minilmm' is not one of .* Did you mean 'minilm'"),
        (["{ngrams}"], "has no single body that reads text"),
        (["{body}", "--rows", "8"], "8 words are too few for a read-out to learn from; ask for 200 or more"),
        (["{body}", "--rows", "900000"], "words are too many: the list has .* that fit; ask for fewer"),
    ],
)
def test_what_cannot_be_probed_is_said_in_one_line(arguments, line, body, tmp_path, capsys):
    fit(task("topic").fitted_to(TOPICS), TOPICS, method="ngrams", out=tmp_path / "ngrams")
    capsys.readouterr()
    assert main(["probe", *(each.format(body=body, ngrams=tmp_path / "ngrams") for each in arguments)]) == 2
    told = capsys.readouterr().err
    assert re.search(line, told)
    assert told.count("\n") == 1


def test_the_kinds_that_decide_are_those_that_change_a_letter():
    assert SIGHT == ("delete", "insert", "substitute", "swap")
