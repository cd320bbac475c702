"""A recording or a picture and somebody's text of it: laid along states, fused in three ways, shipped, studied."""

import json
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import soundfile
import tiny_lines
import tiny_sounds
import torch

from lowrung.cli import main
from lowrung.core.answers import Prediction, Text
from lowrung.core.errors import DataError, ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.data.cache import Cache
from lowrung.metrics.counting import total
from lowrung.models import catalog, hearing, laying, voting
from lowrung.models.fused_texts import LACKING, NONE, FusedText, Letters, _begun, fit_fused_text, together
from lowrung.models.laying import Manner, laid, manner_of
from lowrung.models.senses import HEARING, READING
from lowrung.models.training import Settings
from lowrung.models.tuned_recognizer import fit_recognizer
from lowrung.models.tuning import Full
from lowrung.models.voting import FEATURES, Poll, Vote, likelihoods, swapped, weighed
from lowrung.models.waves import WaveBody
from lowrung.run.methods import METHODS, fit_method, methods_for
from lowrung.run.ship import load, ship
from lowrung.tasks import task

SPEECH, READ = task("speech"), task("reading")
BASE = Settings(lr=4e-3, head_lr=8e-3, epochs=1, least=120, most=120, batch=16, decay=0.0)
QUICK = Settings(lr=2e-3, head_lr=8e-3, epochs=1, least=70, most=70, batch=16, decay=0.0)
WAYS = ("early", "cross", "late")


def examples(number, seed):
    """The tone tells the vowel and the text the consonant: «ting» sounds like «ding», and may be written «tong»."""
    random, made = Random(seed), []
    for at, said in enumerate(tiny_sounds.texts(number, seed)):
        right = " ".join(random.choice("dt") + word[1:] for word in said.split())
        text = " ".join(word[0] + random.choice("io") + word[2:] for word in right.split())
        made.append(Example(Question((tiny_sounds.said(said, seed=seed + at), text)), (Text(right),)))
    return made


def wrong(model, asked):
    said = model.answer([each.question for each in asked])
    counts = [HEARING.metrics[1].count(each, one.answer) for each, one in zip(asked, said, strict=True)]
    return float(HEARING.metrics[1].finish(total(counts)))


@pytest.fixture(autouse=True)
def no_language(monkeypatch):
    monkeypatch.setattr(laying, "languages", lambda: ())


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    fresh = replace(tiny_sounds.untaught("dgnotiz "), cache=Cache(tmp_path_factory.mktemp("features")))
    return replace(fit_recognizer(fresh, examples(40, 1), settings=BASE), how=None)


@pytest.fixture(scope="module")
def fused(base):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(laying, "languages", lambda: ())
        patched.setattr(voting, "fit_recognizer", lambda base, *_, **__: base)  # it knows all that sound can tell
        return {way: fit_fused_text(way, examples(40, 500), base=base, settings=QUICK) for way in WAYS}


# --- a text along states


def logs_of(path, symbols):
    """Log-probabilities that are sure of a path."""
    logs = np.full((len(path), symbols), np.log(0.02), dtype=np.float32)
    logs[np.arange(len(path)), path] = np.log(0.9)
    return logs


def test_letters_lie_where_they_are_said():
    logs = logs_of([0, 1, 1, 0, 2, 0, 2, 0, 0, 3], 4)
    assert laid(logs, [1, 2, 2, 3]) == [1, 4, 6, 9]
    assert laid(logs, []) == []
    assert laid(logs, [1, 3, 2, 3])[0] == 1  # a letter that is not said is squeezed between the others
    assert laid(logs, [1, 3, 2, 3])[-1] == 9


def test_a_text_that_is_too_long_shares_states_and_keeps_its_order():
    logs = logs_of([1, 0, 2], 3)
    places = laid(logs, [1, 1, 1, 2, 2, 2, 2])
    assert places == sorted(places)
    assert set(places) <= {0, 1, 2}
    assert places[0] == 0
    assert places[-1] == 2
    assert len(laid(logs[:1], [1, 2, 1])) == 3


def test_letters_that_the_network_lacks_lie_where_some_letter_does():
    logs = logs_of([0, 1, 0, 2, 0, 1], 3)
    assert laid(logs, [1, 7, 1]) == [1, 3, 5]


def test_texts_become_letters_of_states():
    ids = torch.tensor([[NONE, 5, 4], [LACKING, 0, 0]])
    text = Letters(ids, torch.tensor([[0, 2, 3], [0, 0, 0]]), torch.tensor([[True, True, True], [True, False, False]]))
    assert text.along(5).tolist() == [[0, 0, 5, 4, 0], [LACKING] * 5]


# --- inside of the body


@pytest.mark.parametrize(("way", "told"), [("early", False), ("cross", False), ("cross", True)])
def test_before_it_learns_it_answers_as_the_recognizer_does(way, told, base):
    asked = [each.question for each in examples(6, 40)]
    asked = asked if told else [Question(each.given[:1]) for each in asked]
    made = _begun(way, base, ["ding"], Manner())
    with torch.no_grad():
        for windows, want in zip(made.windows(asked), base.logs([each.given[0] for each in asked]), strict=True):
            got = made.net(*together(windows))[0].numpy()
            assert np.allclose(np.exp(got), np.exp(want), atol=0.03)  # products of 16 bits, in batches of other sizes
    ours, theirs = ([each.answer for each in model.answer(asked)] for model in (made, base))
    assert ours == theirs


def test_a_long_recording_is_fused_in_windows(fused, base):
    asked = examples(1, 77)[0].question
    right = "ding tong dong ting tong ding ding tong ting dong"
    sound = tiny_sounds.said(right.replace("t", "d"))
    asked = Question((sound, right.replace("i", "o")))
    for way in ("early", "cross"):
        short = replace(base, sense=replace(HEARING, longest=180, overlap=60))
        made = FusedText(short, fused[way].net, name=way)
        (windows,) = made.windows([asked])
        assert len(windows) > 2
        assert all(0 <= at < len(each.states) for each in windows for at in each.places)
        assert made.answer([asked])[0].answer == Text(right)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_learns_what_neither_part_tells_alone(way, fused, base):
    test = examples(14, 900)
    alone = [replace(each, question=Question(each.question.given[:1])) for each in test]
    given = [replace(each, question=Question(each.question.given[1:])) for each in test]
    assert wrong(base, alone) > 0.05
    assert wrong(fused[way], given) > 0.05
    assert wrong(fused[way], test) < 0.02
    said = fused[way].answer([test[0].question])[0]
    assert said.lacking == ()
    assert [word for word, _, _ in said.times] == said.answer.text.split()
    assert all(begin < end for _, begin, end in said.times)
    assert wrong(fused[way], alone) < 0.3  # without the text about as the recognizer


@pytest.mark.parametrize("way", WAYS)
def test_what_a_question_lacks_is_named(way, fused):
    sound = tiny_sounds.said("ding dong")
    heard, text, neither, silent = fused[way].answer(
        [Question((sound,)), Question(("tong tong",)), Question((tiny_lines.written("low"),)), Question((sound, ""))]
    )
    assert heard.lacking == ("text",)
    assert len(heard.answer.text.split()) == 2
    assert (text.answer, text.lacking) == (Text("tong tong"), ("audio",))
    assert (neither.answer, neither.lacking) == (None, ("audio", "text"))
    assert silent.lacking == ()
    assert silent.answer is not None
    assert fused[way].answer([]) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_gives_the_same_answers(way, fused, base, tmp_path, monkeypatch):
    monkeypatch.setattr(hearing, "_words_for", lambda name, sense: None)
    model = fused[way]
    ship(SPEECH, model, tmp_path / "model", report={}, card="", facts={})
    found = load(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "lowrung.json").read_text("utf-8"))["model"]["kind"] == "fused-text"
    asked = [each.question for each in examples(8, 60)] + [Question((tiny_sounds.said("dong"),)), Question(("ting",))]
    for one, two in zip(model.answer(asked), found.model.answer(asked), strict=True):
        assert (one.answer, one.lacking) == (two.answer, two.lacking)
        assert one.confidence == pytest.approx(two.confidence, abs=0.1)
    assert found.model.name == way
    (tmp_path / "model" / ("vote.json" if way == "late" else "fused.json")).write_text("{}", "utf-8")
    with pytest.raises(ModelError, match=r"vote\.json|no fused model"):
        load(tmp_path / "model")


def test_the_same_seed_gives_the_same_weights_and_a_cut_training_goes_on(base, tmp_path, monkeypatch):
    rows, few = examples(8, 30), replace(QUICK, least=4, most=4)
    whole = fit_fused_text("cross", rows, base=base, settings=few, seed=3)
    again = fit_fused_text("cross", rows, base=base, settings=few, seed=3, checkpoint=tmp_path / "c")
    for one, two in zip(whole.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(one, two)
    assert any(
        not torch.equal(one, two)
        for one, two in zip(
            whole.net.parameters(),
            fit_fused_text("cross", rows, base=base, settings=few, seed=4).net.parameters(),
            strict=True,
        )
    )

    class Cut(Exception):
        pass

    def cut(step, steps, loss):
        if step == 2:
            raise Cut

    monkeypatch.setattr("lowrung.models.training.CHECKPOINT_SECONDS", -1.0)
    with pytest.raises(Cut):
        fit_fused_text("cross", rows, base=base, settings=few, seed=3, checkpoint=tmp_path / "cut", watch=cut)
    resumed = fit_fused_text("cross", rows, base=base, settings=few, seed=3, checkpoint=tmp_path / "cut")
    for one, two in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        assert torch.equal(one, two)


# --- a vote


def polls_where(right, number, seed):
    """Two candidates a row, one of the sound and one that is the given text; `right` tells which is right how often."""
    random = Random(seed)
    polls, rows = [], []
    for _ in range(number):
        heard_right = random.random() < right
        features = torch.zeros(2, len(FEATURES))
        features[0, FEATURES.index("heard")] = features[1, FEATURES.index("given")] = 1
        features[0, FEATURES.index("replaced")] = random.randint(1, 3)
        features[1, FEATURES.index("sound")] = -random.uniform(0.5, 4)
        polls.append(Poll(("heard", "given"), features, np.zeros((0, 0), np.float32)))
        rows.append(Example(Question(("",)), (Text("heard" if heard_right else "given"),)))
    return polls, rows


@pytest.mark.parametrize(("right", "index"), [(0.95, 0), (0.05, 1)])
def test_weights_prefer_the_party_that_is_right_more_often(right, index):
    weights = weighed(*polls_where(right, 60, 1), HEARING.metrics[0].count)
    values = torch.tensor([weights[name] for name in FEATURES])
    fresh, _ = polls_where(right, 40, 2)
    elected = [int((poll.features @ values).argmax()) for poll in fresh]
    assert np.mean([each == index for each in elected]) > 0.9


def test_what_never_varies_weighs_nothing():
    polls, rows = polls_where(0.05, 20, 1)
    for poll in polls:
        poll.features[:, FEATURES.index("sound")] = -3.0
    weights = weighed(polls, rows, HEARING.metrics[0].count)
    assert weights["sound"] == weights["left out"] == 0.0
    assert weights["replaced"] != 0.0


def test_texts_are_swapped_place_by_place():
    found = set(swapped("the cat sat down", "the hat sat up"))
    assert {"the hat sat down", "the cat sat up"} <= found
    assert {"", "a", "b", "a b"} == set(swapped("", "a b"))
    assert set(swapped("same", "same")) == {"same"}
    assert {"l0w", "1ow"} <= set(swapped("low", "10w"))
    one, two = "a b c d e f", "u v w x y z"
    assert {"a v c d e f", "u b w x y z"} <= set(swapped(one, two))
    assert len(set(swapped(one, two))) < 40


def test_likelihoods_are_of_all_paths_and_those_of_long_texts_are_small():
    logs = np.log(np.full((2, 3), 1 / 3, dtype=np.float32))
    one, empty, long = likelihoods(logs, [[1], [], [1, 1, 1]])
    assert one == pytest.approx(np.log(3 / 9), abs=1e-4)
    assert empty == pytest.approx(np.log(1 / 9), abs=1e-4)
    assert long < -1000


def test_a_vote_without_dev_rows_is_weighed_by_rows_held_out(base, monkeypatch):
    learnt = []
    monkeypatch.setattr(voting, "fit_recognizer", lambda base, rows, **_: (learnt.append(len(rows)), base)[1])
    assert isinstance(fit_fused_text("late", examples(9, 5), base=base), Vote)
    assert learnt == [6, 9]
    learnt.clear()
    fit_fused_text("late", examples(6, 5), base=base, dev=examples(4, 50))
    assert learnt == [6]
    with pytest.raises(DataError, match="at least 2 rows"):
        fit_fused_text("late", examples(1, 5), base=base)


def test_what_a_vote_stands_on_has_learnt_and_is_as_a_folder_holds_it(base):
    few = examples(4, 9)
    made = fit_fused_text("late", few, base=base, dev=few).base
    state = made.body.state_dict()
    assert all(torch.equal(each, each.to(torch.bfloat16).float()) for each in state.values())
    assert any(not torch.equal(each, state[name]) for name, each in base.body.state_dict().items())


# --- a text alone


def test_a_corrector_mends_texts_where_it_helps(monkeypatch):
    class Upper:
        def answer(self, questions):
            return [Prediction(Text(each.text.upper()), 0.5) for each in questions]

    monkeypatch.setattr(laying, "languages", lambda: ("xx",))
    monkeypatch.setattr(laying, "corrector", lambda language: Upper())
    assert Manner().mended(["ab"]) == ["ab"]
    assert Manner("xx").mended(["ab"]) == ["AB"]
    rows = [Example(Question((tiny_lines.written("low"), "lowed")), (Text("LOWed"),))]
    assert manner_of([*rows, replace(rows[0], golds=(Text("LOWED"),))], READING) == Manner("xx")
    assert manner_of([replace(rows[0], golds=(Text("Lowed"),))], READING) == Manner()
    assert manner_of([], READING) == Manner()


def test_a_given_text_is_taken_in_the_case_that_all_right_ones_have(base):
    rows = [Example(Question((tiny_lines.written("low"), "Low")), (Text(each),)) for each in ("LOW", "12")]
    assert manner_of(rows, READING) == Manner("", "upper")
    assert manner_of(rows[1:], READING) == Manner()
    assert Manner("", "upper").cased("straße") == "STRAßE"
    made = _begun("early", base, ["DING ding"], Manner("", "upper"))
    asked = Question((tiny_sounds.said("ding"), "ding"))
    (given,) = made.windows([asked])[0]
    (cased,) = replace(made, manner=Manner()).windows([asked])[0]
    assert given.places == cased.places
    assert [made.net.head.alphabet[at - 3] for at in given.ids] == list("DING")
    assert [made.net.head.alphabet[at - 3] for at in cased.ids] == list("ding")


def test_what_cannot_be_fused_says_so(base):
    alone = [Example(Question((tiny_sounds.said("ding"),)), (Text("ding"),))]
    with pytest.raises(DataError, match="both a text of it and the right one"):
        fit_fused_text("early", alone, base=base)
    waves = replace(base, body=WaveBody.__new__(WaveBody))
    with pytest.raises(ModelError, match="fused late only"):
        _begun("early", waves, ["ding"], Manner())


# --- rows, and the command line


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """Rows of pictures with a text that has one wrong letter, and a recognizer that has learnt the script."""
    base = fit_recognizer(
        replace(tiny_lines.untaught(), cache=Cache(tmp_path / "features")),
        [
            Example(Question((tiny_lines.written(text, seed=at),)), (Text(text),))
            for at, text in enumerate(tiny_lines.texts(24, 1))
        ],
        how=Full(),
        settings=replace(BASE, least=60, most=60),
    )
    monkeypatch.setenv("LOWRUNG_CACHE", str(tmp_path / "cache"))
    base.save(tmp_path / "body")
    rows = []
    for at, text in enumerate(tiny_lines.texts(10, 7)):
        from PIL import Image

        Image.fromarray(tiny_lines.written(text, seed=at).pixels).save(tmp_path / f"{at}.png")
        rows.append({"id": str(at), "image": f"{at}.png", "read": text.replace("w", "v", 1), "text": text})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    return tmp_path


def test_a_column_holds_what_another_made_of_it(tmp_path):
    path = tmp_path / "ding.wav"
    soundfile.write(path, tiny_sounds.said("ding").samples, 16_000)
    row = {"audio": str(path), "text": "ding"}
    sound, heard = SPEECH.question({**row, "heard": "dinck"}).given
    assert (heard, sound.rate) == ("dinck", 16_000)
    assert SPEECH.question({**row, "heard": ""}).given[1] == ""
    assert len(SPEECH.question({**row, "heard": None}).given) == 1
    assert SPEECH.question({"audio": "", "heard": "dinck"}).given == ("dinck",)
    assert READ.question({"read": "1ow"}).given == ("1ow",)
    with pytest.raises(DataError, match="'heard' holds text, not 3"):
        SPEECH.question({**row, "heard": 3})
    with pytest.raises(DataError, match="column 'audio' is empty"):
        SPEECH.question({"audio": ""})


def test_methods_for_rows_with_a_text_are_the_fused_ones_and_the_floor():
    both = [each.name for each in methods_for(READ, kinds=("image", "text"))]
    assert {*WAYS, "do-nothing"} <= set(both)
    assert both[0] == "zero-shot"
    assert not {*WAYS, "do-nothing"} & {each.name for each in methods_for(READ, kinds=("image",))}
    made = fit_method(METHODS["do-nothing"], READ, (), backbone=None)
    assert made.answer([Question((tiny_lines.written("low"), "1ow"))])[0].answer == Text("1ow")


def test_a_study_lists_what_is_fused_and_what_is_given(lines, capsys, monkeypatch):
    monkeypatch.setattr(catalog, "OWN", lines)
    few = replace(QUICK, least=3, most=3)
    monkeypatch.setattr("lowrung.models.fused_texts.SETTINGS", few)
    monkeypatch.setattr("lowrung.models.tuned_recognizer.SETTINGS", few)
    out, rows, body = (str(lines / name) for name in ("out", "rows.jsonl", "body"))
    methods = "do-nothing,early,cross,late"
    command = ["study", "reading", rows, "--model", body, "--methods", methods, "--labels", "0,all", "--seeds", "1"]
    assert main([*command, "--out", out, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {each["method"] for each in told["cells"]} == {"zero-shot", *methods.split(",")}
    floor = next(each for each in told["cells"] if each["method"] == "do-nothing")
    assert 0 < floor["metrics"]["cer"] < 0.3
    assert main(["check", "reading", rows]) == 0
    for way in WAYS:
        folder = str(lines / way)
        assert main(["fit", "reading", rows, "--model", body, "--method", way, "--out", folder]) == 0
        capsys.readouterr()
        assert main(["score", folder, rows, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["rows"] == 10
    assert main(["answer", folder, rows]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10
