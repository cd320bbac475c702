"""Items about letters are right by a second way of telling; a probe tells who sees letters from who is blind."""

import json
import re
from collections import Counter
from random import Random
from string import ascii_lowercase

import pytest
import torch
from tiny_encoder import TOPICS, write_tiny_encoder
from tiny_endpoint import serving, words_of
from tiny_writer import write_tiny_writer

from lowrung.cli import main
from lowrung.core.answers import Text
from lowrung.core.errors import DataError
from lowrung.data.letter_items import CHANGED, ENDING, KINDS, LONGEST, OPENING, SHORTEST, items, sides
from lowrung.data.text_items import ROWS, about, in_words, language, row_in_words, sources, text_kinds
from lowrung.models import read_out
from lowrung.models.characters import Letters
from lowrung.models.language_model import Continued, Written, language_model
from lowrung.models.lexicon import lexicon
from lowrung.models.writer import TextWriter
from lowrung.run import probing_sets
from lowrung.run.fit import fit
from lowrung.run.probing import probed
from lowrung.run.probing_found import SIGHT
from lowrung.run.probing_prompts import asked_of
from lowrung.run.probing_sets import LETTERS, probe_set
from lowrung.tasks import task
from recipes import letter_places
from recipes.letter_places import coded

KIND = {kind.name: kind for kind in KINDS}


@pytest.fixture(autouse=True)
def _few_passes(monkeypatch):
    monkeypatch.setattr(read_out, "PASSES", 3)


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
    with pytest.raises(DataError, match=r"10,000 numbers are too many: there are 9,990; ask for fewer"):
        sources("larger", "en", (9_000, 1_000), Random(0))


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


def test_a_body_that_sees_letters_reads_them(words):
    found = probed("seeing", seeing, words, rows=300, seed=0)
    shares = {name: each.score.value for name, each in found.metrics.items()}
    assert min(shares.values()) > 0.9, shares
    assert {found.metrics[name].way for name in SIGHT} == {"letters"}
    assert found.sight > 0.95
    assert found.advice().startswith("this body sees letters")


def test_a_body_that_sees_nothing_scores_about_chance(words):
    found = probed("blind", blind, words, rows=400, seed=0)
    near = {"distance"}  # that a word is the same as the other shows in any states
    for name, each in found.metrics.items():
        assert name in near or each.score.low <= each.chance + 0.02, (name, each)
        assert each.score.low <= each.score.value <= each.score.high
    assert found.metrics["distance"].score.value < 0.6
    assert found.advice().startswith("this body cannot see letters")
    assert "letters-en" in found.advice()


def test_a_probe_says_the_same_again_and_another_seed_asks_something_else(words):
    kinds = [KIND[name] for name in ("spell", *SIGHT)]
    one, two, other = (probed("x", blind, words, rows=200, seed=seed, kinds=kinds).to_json() for seed in (3, 3, 4))
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
    assert list(found["metrics"]) == [*KIND, "larger", "grammar", "noise"]
    assert found["ways"]["noise"] == "vectors"
    assert all(set(each) == {"value", "low", "high", "chance"} for each in found["metrics"].values())
    assert json.loads((tmp_path / "out" / "probe.json").read_text()) == found
    assert (tmp_path / "out" / "probe.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "probe.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert all(f"<th>{name}</th>" in page for name in KIND)
    assert "texts read" in printed.err


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


@pytest.mark.parametrize("name", [*KIND])
def test_answers_that_follow_from_letters_are_those_of_the_items(name, some):
    kind = KIND[name]
    for each in made(name, some):
        if kind.follows:
            assert kind.follows(each.words, each.asked) == each.answer
        else:
            assert [answer for answer, word in kind.edits(each.words[0]) if word == each.words[1]] == [each.answer]


def test_sentences_to_test_on_have_nouns_that_were_not_learnt_from():
    larger, grammar = text_kinds("en")
    for kind in (larger, grammar):
        learn, test = sources(kind.name, "en", (300, 75), Random(1))
        assert (len(learn), len(test)) == (300, 75)
        assert not set(learn) & set(test)
        answers = Counter(each.answer for each in items(kind, learn, Random(1)))
        assert min(answers[(0,)], answers[(1,)]) > 0.35 * answers.total()
    for each in items(larger, learn and sources("larger", "en", (50, 50), Random(2))[0], Random(2)):
        assert each.answer == (int(int(each.words[0]) > int(each.words[1])),)
    found = items(grammar, ["cat|cats"] * 200, Random(0))
    for right, wrong in (each.words[:: 1 if each.answer == (1,) else -1] for each in found):
        if "near the" in right:
            assert right in ("The cat near the cats is old.", "The cats near the cat are old.") != wrong


def test_a_change_is_asked_for_by_its_new_spelling(some):
    told = language("en")
    asked, answer = in_words("swap", items(KIND["swap"], ["table"], Random(0))[0], told)
    at = int(re.search(r"number (\d)", asked)[1])
    assert answer == "table"[: at - 1] + "table"[at] + "table"[at - 1] + "table"[at + 1 :]
    assert in_words("spell", items(KIND["spell"], ["table"], Random(0))[0], told)[1] == "t a b l e"
    assert set(told["prompts"]) | {"noise"} == set(about("en"))
    for kind in ROWS:
        assert row_in_words(kind, some, Random(3), told) == row_in_words(kind, some, Random(3), told)


def solved(body):
    """What a server says that can copy, add and spell, and nothing else."""
    asked = body["messages"][-1]["content"].rsplit("Question: ", 1)[1].removesuffix("\nAnswer:")
    if copied := re.match("Copy this letter by letter: (.*)", asked):
        return f'"{copied[1]}".'
    if added := re.match(r"What is (\d+) \+ (\d+)", asked):
        return f"Answer: {int(added[1]) + int(added[2])}\n\nQuestion: more"
    spelt = re.match('Spell out the word "(.*?)"', asked)
    return " ".join(spelt[1]) if spelt else "no idea"


def test_an_endpoint_is_asked_the_same_items_in_words(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LOWRUNG_CACHE", str(tmp_path))
    with serving(say=solved) as server:
        assert main(["probe", f"{server.url}#tiny", "--rows", "4", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    rows = sum(found["rows"].values())
    assert f"lowrung: {rows:,} rows in " in said.err
    assert f"{100 * rows:,} tokens read" in said.err
    assert set(found["metrics"]) == set(about("en")) - {"noise"}
    assert set(found["ways"].values()) == {"prompt"}
    right = {name for name, each in found["metrics"].items() if each["value"] == 1}
    assert right == {"copy", "add", "spell"}
    assert sum(each["value"] for each in found["metrics"].values()) == 3
    assert found["advice"].startswith("this model cannot see letters")
    assert all(asked.count("Answer: ") == 4 for asked in server.asked)


@pytest.fixture
def sets(tmp_path):
    cute = [
        {"task": "spell", "inputs": ["the"], "label": "t h e"},
        {"task": "ins_char_rand", "inputs": ["f", "m", "vkm"], "label": "vkmf"},
        {"task": "swap_word", "inputs": ["sun", "was", "The sun was."], "label": "The was sun."},
    ]
    blimp = [
        {"uid": "agreement", "good": f"The {each} sleeps.", "bad": f"The {each} sleep."} for each in ("cat", "dog")
    ]
    for name, rows in (("cute", cute), ("blimp", blimp)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_what_follows_from_letters_is_what_the_set_says():
    assert LETTERS["contains_char"]("h", "hnk") == "yes"
    assert LETTERS["ins_char"]("a", "b", "bob") == "baoba"
    assert LETTERS["del_char"]("l", "llama") == "ama"
    assert LETTERS["sub_char"]("b", "c", "fbx") == "fcx"
    assert LETTERS["swap_char"]("e", "h", "the") == "teh"


def test_a_published_set(body, sets, capsys, monkeypatch):
    monkeypatch.setattr(probing_sets, "TAUGHT", 200)
    assert main(["probe", str(body), "--set", "cute", "--data", str(sets / "cute"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["metrics"]) == ["ins_char_rand", "spell"]  # the others are not about letters
    with serving(say=lambda asked: "The was sun." if "The sun was" in words_of(asked) else "x") as server:
        where = ["--set", "cute", "--data", str(sets / "cute")]
        assert main(["probe", f"{server.url}#a", *where]) == 0
        assert re.search(r"\nswap_word +1\.000", capsys.readouterr().out)
    for arguments, line in (
        (["--set", "blimp", "--data", str(sets / "blimp")], "tells no probabilities of words"),
        (["--set", "blimp", "--data", str(sets)], "needs a folder with test.jsonl or"),
        (["--set", "cute", "--data", str(sets / "blimp")], "no rows of cute, which have task, inputs, label"),
        (["--set", "cute"], "belong together"),
    ):
        assert main(["probe", str(body), *arguments]) == 2
        assert line in capsys.readouterr().err


class Short:
    """A writer to which a text is the likelier the longer it is."""

    name = "short"

    def option_scores(self, prompts, options):
        return [[Continued(float(len(each)), 1) for each in pair] for pair in options]


def test_a_small_writer_reads_all_answered_questions(tmp_path, monkeypatch):
    model = TextWriter(language_model(str(write_tiny_writer(tmp_path / "w", positions=700))), Text)
    shots = [(f'Spell out the word "{word}".', " ".join(word)) for word in ("moon", "sun", "star", "sky")]
    seen = []

    def write(self, prompts, most):
        seen.extend(zip(prompts, most, strict=True))
        return [Written(" s e a\nmore", 0.0, False)] * len(prompts)

    monkeypatch.setattr(TextWriter, "write", write)
    found = asked_of(model, shots, [('Spell out the word "sea".', "s e a"), ("Which is it?", "no")], "en")
    assert found.score.value == 0.5
    for prompt, most in seen:
        assert all(answer in prompt for _, answer in shots)
        assert 0 < most < 120


def test_the_likelier_sentence_of_a_pair_counts(sets, monkeypatch):
    monkeypatch.setattr(probing_sets, "asks_in_words", lambda name: True)
    monkeypatch.setattr(probing_sets, "told_model", lambda name, terms: Short())
    found = probe_set("short", "blimp", sets / "blimp")
    assert {name: (each.score.value, each.rows, each.way) for name, each in found.metrics.items()} == {
        "all": (1.0, 2, "scores"),
        "agreement": (1.0, 2, "scores"),
    }


def test_an_endpoint_is_asked_which_of_the_two_is_right(sets, tmp_path, monkeypatch):
    monkeypatch.setenv("LOWRUNG_CACHE", str(tmp_path))

    def better(body):
        last = body["messages"][-1]["content"].rsplit("Question: ", 1)[1]
        return re.search(r"(\d): The \w+ sleeps", last)[1]

    with serving(say=better) as server:
        assert probe_set(f"{server.url}#b", "blimp", sets / "blimp").metrics["all"].score.value == 1


def test_codes_of_letters_stand_in_the_directions_that_are_given():
    was, room = Letters(64, size=40, channels=8), torch.linalg.qr(torch.randn(64, 36))[0]
    monkey = pytest.MonkeyPatch()
    monkey.setattr(letter_places, "SIZE", 3)
    codes = torch.randn(26, 3)
    made = coded(was, room, ascii_lowercase, codes)
    monkey.undo()
    both = [letters(["cab", "CAB"])[:, :-1] for letters in (made, was.eval())]
    told = (both[0] - both[1]) @ room
    for place, letter in enumerate("cab"):
        for row in told:
            assert torch.allclose(row[place::12], codes[ord(letter) - 97], atol=1e-3)
    assert told[:, 3::12].abs().max() < 1e-3
