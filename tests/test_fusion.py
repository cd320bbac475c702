"""Text, sound and pictures of one question: rows, spotting, cascades, and the three ways to fuse them."""

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from lowrung import cli
from lowrung.core.answers import Choice
from lowrung.core.errors import DataError, ModelError
from lowrung.core.parts import Audio, Heard, Image, Question, kind_of
from lowrung.core.task import Example
from lowrung.data.check import check
from lowrung.data.files import read_rows, write_rows
from lowrung.models import cascade, catalog, fusing, fusion
from lowrung.models.cascade import Cascade, with_words
from lowrung.models.encoder import LONGEST, Encoder, _shortened
from lowrung.models.fusing import Chooser, weighed
from lowrung.models.fusion import Fused, fit_fused, load
from lowrung.models.recognizer import Recognizer
from lowrung.models.sound import Shape
from lowrung.models.spotting import WORST, spotted
from lowrung.models.text import TextBackbone
from lowrung.models.training import Settings
from lowrung.run.fit import fit
from lowrung.run.ship import fingerprint
from lowrung.run.ship import load as shipped_from
from lowrung.run.study import study
from lowrung.tasks import task
from tests import tiny_lines, tiny_sounds
from tests.tiny_encoder import write_tiny_encoder

TOPIC = task("topic")
QUICK = Settings(head_lr=5e-3, least=80, most=80, batch=16)
TEXTS = {"money": "please refund my money", "parcel": "where is my parcel"}
OPTIONS = ("ding money", "ding parcel", "dong money", "dong parcel")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def body(folder: Path) -> TextBackbone:
    return catalog.backbone(str(folder))


def deaf(model: Recognizer) -> Recognizer:
    """Its states tell sounds apart, but it hears no letter, so that no word gives a sound away."""
    with torch.no_grad():
        model.head.out.weight.zero_()
        model.head.out.bias.zero_()
        model.head.out.bias[0] = 9.0
    return model


@pytest.fixture(scope="module")
def ears() -> dict[str, Recognizer]:
    return {"audio": deaf(tiny_sounds.untaught()), "image": deaf(tiny_lines.untaught())}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusing, "SHAPE", Shape(width=32, layers=1, heads=2, reach=3))


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch, ears: dict[str, Recognizer]) -> None:
    """The tiny bodies in place of the embedded ones."""
    monkeypatch.setattr(cascade, "recognizer", lambda name, sense: ears[sense.column])


def made_up(number: int, seed: int = 0) -> list[Example[Choice]]:
    """The sound says one half of the label and the text the other."""
    random, made = Random(seed), []
    for at in range(number):
        tone, word = random.choice(("ding", "dong")), random.choice(tuple(TEXTS))
        given = (TEXTS[word], tiny_sounds.said(tone, seed=1000 * seed + at))
        made.append(Example(Question(given, options=OPTIONS), (Choice(f"{tone} {word}"),), str(at)))
    return made


def share_right(model: Any, examples: list[Example[Choice]]) -> float:
    said = model.answer([each.question for each in examples])
    return float(np.mean([one.answer in each.golds for one, each in zip(said, examples, strict=True)]))


# --- rows


def test_a_row_lists_its_parts_in_reading_order(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(16_000) / 9).astype(np.float32), 16_000)
    from PIL import Image as Pillow

    Pillow.new("RGB", (8, 6)).save(tmp_path / "b.png")
    parts = [{"text": "see"}, {"image": "b.png"}, {"text": "and hear"}, {"audio": "a.wav", "start": 0.25, "end": 0.5}]
    rows = [
        {"given": parts, "label": "x"},
        {"text": "one", "text_pair": "two", "audio": "a.wav", "image": "b.png"},
        {"audio": "a.wav", "end": 0.5},
    ]
    write_rows(tmp_path / "rows.jsonl", rows)
    first, second, third = (TOPIC.question(row) for row in read_rows(tmp_path / "rows.jsonl", task=TOPIC))
    assert [kind_of(part) for part in first.given] == ["text", "image", "text", "audio"]
    assert first.texts == ("see", "and hear")
    (sound,) = (part for part in first.given if isinstance(part, Audio))
    assert sound.seconds == 0.25
    assert [kind_of(part) for part in second.given] == ["text", "text", "audio", "image"]
    assert third.kinds == {"audio"}
    table = tmp_path / "rows.csv"
    table.write_text('given,label\n"[{""text"": ""see""}, {""image"": ""b.png""}]",x\n', "utf-8")
    (row,) = read_rows(table, task=TOPIC)
    assert TOPIC.question(row).kinds == {"text", "image"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"label": "x", "audio": None, "text": " "}, "column 'text' is empty, and there is no 'audio'"),
        ({"given": []}, "column 'text' is empty"),
        ({"given": "a.wav"}, "'given' holds a list of parts"),
        ({"given": [{"text": "a"}, {"sound": "b"}]}, "part 2 of 'given' is one of"),
        ({"given": [{"text": "a", "audio": "b"}]}, "part 1 of 'given' is one of"),
        ({"given": [{"text": "a"}], "image": "b.png"}, "'given' or 'image', not both"),
        ({"given": [{"text": "a"}, {"audio": "gone.wav"}]}, "part 2 of 'given': gone.wav: no such file"),
        ({"text": "a", "image": "gone.png"}, "gone.png: no such file"),
        ({"given": [{"text": 7}]}, "part 1 of 'given': 'text' and 'text_pair' hold text, not 7"),
    ],
)
def test_a_row_that_is_none_says_so_in_one_line(row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as found:
        TOPIC.question(row)
    assert said in str(found.value)
    assert "\n" not in str(found.value)


def test_check_finds_missing_files_in_lists() -> None:
    rows = [{"given": [{"text": "a"}, {"audio": "gone.wav"}], "label": "x"}, {"text": "b", "label": "y"}]
    found = {each.kind: each for each in check(TOPIC, rows).findings}
    assert found["missing-file"].places == ("train row 1: part 2 of 'given': gone.wav: no such file.",)


# --- spotting


def _logs(path: str, alphabet: str = "-ab ", sure: float = 0.9) -> np.ndarray:
    """Log-probabilities whose likeliest symbols are those of `path`."""
    rest = (1 - sure) / (len(alphabet) - 1)
    rows = [[sure if symbol == letter else rest for symbol in alphabet] for letter in path]
    return np.log(np.array(rows, dtype=np.float32))


def test_a_word_scores_nothing_less_where_the_likeliest_letters_hold_it() -> None:
    logs = _logs("--aa-ab-b -")
    there, absent = [[1], [1, 1], [1, 2], [1, 1, 2, 2]], [[2, 1], [1, 2, 1], [2, 2, 2]]
    assert spotted(logs, there).tolist() == [0.0] * len(there)
    scores = spotted(logs, absent)
    assert (scores < -0.5).all()
    assert (scores >= WORST).all()
    wanted = float(np.log(0.9) - np.log(0.1 / 3))  # of the one letter in two that has to be put in
    assert scores[0] == pytest.approx(-wanted / 2, rel=1e-5)
    assert np.isnan(spotted(logs, [[]])).all()
    assert spotted(_logs("a"), [[1, 2, 1]]).tolist() == [WORST]  # no room for it


def test_spotting_is_the_search_over_all_paths() -> None:
    from itertools import product

    random = np.random.default_rng(0)
    for word in ([1], [1, 2], [1, 1], [2, 1, 2]):
        logs = np.log(random.dirichlet(np.ones(3), 5)).astype(np.float32)
        lost = logs - logs.max(1, keepdims=True)
        best = -np.inf
        for first in range(5):
            for path in product(range(3), repeat=5 - first):
                for size in range(1, len(path) + 1):
                    part = path[:size]
                    heard = [s for at, s in enumerate(part) if s and (at == 0 or s != part[at - 1])]
                    if heard == word:
                        best = max(best, float(sum(lost[first + at, s] for at, s in enumerate(part))))
        assert spotted(logs, [word])[0] == pytest.approx(best / len(word), abs=1e-5)


# --- heard, then understood


class Echo:
    """Answers the option that the texts name, and remembers what it was asked."""

    name = "echo"

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def answer(self, questions: Any) -> Any:
        from lowrung.core.answers import Prediction

        self.asked += questions
        return [Prediction(Choice(" ".join(each.texts).split()[-1]), 0.5) for each in questions]


def _hearing(text: str) -> Recognizer:
    """A recognizer that always hears `text`, one letter a state."""

    class Fixed(Recognizer):
        def answer(self, questions: Any) -> Any:
            from lowrung.core.answers import Prediction, Text

            heard.append(len(questions))
            return [Prediction(Text(text), 1.0) for _ in questions]

    heard.clear()
    base = tiny_sounds.untaught()
    return Fixed(base.body, base.head, base.source)


heard: list[int] = []


def test_words_stand_after_the_part_that_they_are_of(ears: dict[str, Recognizer]) -> None:
    sound, picture = tiny_sounds.said("ding"), tiny_lines.written("low")
    given = {"audio": _hearing("dong"), "image": ears["image"]}
    (asked,) = with_words([Question((sound, "own", picture), options=("a",))], given)
    assert [part if isinstance(part, str) else kind_of(part) for part in asked.given] == [
        "audio", "dong", "own", "image", "",
    ]  # fmt: skip
    assert [isinstance(part, Heard) for part in asked.given] == [False, True, False, False, True]
    assert asked.kinds == {"audio", "image", "text"}
    assert with_words([asked], given) == [asked]
    assert with_words([Question(("only text",))], given) == [Question(("only text",))]
    example = Example(Question((sound,)), (Choice("a"),))
    assert fingerprint([example]) == fingerprint(cascade.examples_with_words([example], given))


def test_a_sound_with_a_key_is_heard_once() -> None:
    samples = tiny_sounds.said("ding").samples
    sound, ear = Audio.of(lambda: samples, 16_000, f"a sound {id(samples)}"), {"audio": _hearing("ding dong")}
    model = Cascade(Echo(), ear)
    for _ in range(2):
        (said,) = model.answer([Question((sound,))])
        assert said.answer == Choice("dong")
    assert heard == [1, 0]
    assert model.name == "echo"


def test_spotting_speaks_for_options_that_are_heard(ears: dict[str, Recognizer]) -> None:
    class Undecided:
        name = "undecided"

        def answer(self, questions: Any) -> Any:
            from lowrung.core.answers import Prediction

            return [Prediction(Choice("ding"), 0.5, ((Choice("dong"), 0.5),)) for _ in questions]

    class Clear(Recognizer):
        def logs(self, parts: Any) -> Any:
            return [_logs("-dd-o-n-g", "-" + "".join(self.head.alphabet)) for _ in parts]

    base = deaf(tiny_sounds.untaught())
    ear = Clear(base.body, base.head, base.source)
    asked = Question((tiny_sounds.said("dong"),), options=("ding", "dong"))
    (said,) = Cascade(Undecided(), {"audio": ear}, spots=True).answer([asked])
    assert said.answer == Choice("dong")
    assert said.confidence > 0.6
    (plain,) = Cascade(Undecided(), {"audio": ear}).answer([asked])
    assert plain.answer == Choice("ding")


def test_without_a_recognizer_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, sense: Any) -> Any:
        raise ModelError("lines: the embedded body that reads is not in this installation")

    monkeypatch.setattr(cascade, "recognizer", absent)
    with pytest.raises(ModelError, match=r"^questions with image need a body that reads them: lines: .*$"):
        Cascade(Echo()).answer([Question((tiny_lines.written("low"),))])


# --- fused


def test_long_parts_are_averaged() -> None:
    states = torch.arange(300.0)[:, None]
    short = _shortened(states)
    assert len(short) == 75
    assert short[0, 0] == 1.5
    assert len(_shortened(torch.ones(257, 2))) <= LONGEST
    assert _shortened(states[:128]) is not None
    assert len(_shortened(states[:128])) == 128


def test_the_gate_of_cross_starts_shut() -> None:
    torch.manual_seed(0)
    network = Chooser("cross", {"text": 6, "audio": 4}, 2).eval()
    torch.nn.init.normal_(network.out.weight)
    text, sound = ("text", torch.randn(5, 6)), ("audio", torch.randn(9, 4))
    alone = network.learnt([(text,)])
    assert torch.allclose(network.learnt([(text, sound)]), alone, atol=1e-6)
    assert torch.allclose(network.learnt([(sound, text), (text,)])[:1], alone, atol=1e-5)
    for gate in network.body.gates:  # type: ignore[union-attr]
        torch.nn.init.constant_(gate.open, 1.0)
    assert not torch.allclose(network.learnt([(text, sound)]), alone, atol=1e-2)
    assert network.learnt([()]).tolist() == [[0.0, 0.0]]


def test_a_vote_trusts_the_kind_that_is_right() -> None:
    random = np.random.default_rng(0)
    wanted = torch.from_numpy(random.integers(0, 3, 60))
    told = torch.where(torch.from_numpy(random.random(60)) < 0.8, wanted, (wanted + 1) % 3)
    good = torch.nn.functional.one_hot(told, 3).float().mul(2).log_softmax(-1)
    bad = torch.from_numpy(random.normal(size=(60, 3))).float().mul(2).log_softmax(-1)
    weights = weighed(torch.stack([good, bad]), wanted)
    assert weights[0] > 1.0 > weights[1] + 0.4


@pytest.mark.parametrize("way", ["early", "cross", "late"])
def test_fusion_learns_what_no_kind_tells_alone(way: str, body: TextBackbone, ears: dict[str, Recognizer]) -> None:
    train, test = made_up(48), made_up(32, seed=1)
    own = {"audio": ears["audio"]}
    encoder = Encoder(body, own, keeps=True)
    told: list[int] = []
    model = fit_fused(
        way, TOPIC.with_options(OPTIONS), train, body=body, settings=QUICK, encoder=encoder,
        watch=lambda step, steps, loss: told.append(step),
    )  # fmt: skip
    wrapped = Cascade(model, own, learnt=("text", "audio"))
    assert share_right(wrapped, test) >= 0.9
    assert told[0] == 1
    assert told[-1] == 80
    for kind in ("text", "audio") if way == "early" else ():
        alone = fit_fused(kind, TOPIC.with_options(OPTIONS), train, body=body, settings=QUICK, encoder=encoder)
        assert share_right(Cascade(alone, own), test) < 0.75
        assert alone.kinds == (kind,)
    assert set(model.weights) == ({"text", "audio"} if way == "late" else set())
    if way == "late":
        assert sum(model.weights.values()) == pytest.approx(1.0)
        assert model.temperature > 0

    whole = [each.question for each in test[:12]]
    silent = [Question(each.given[:1], options=OPTIONS) for each in whole]
    mute = [Question(each.given[1:], options=OPTIONS) for each in whole]
    for asked, lacks, part in ((whole, (), None), (silent, ("audio",), 1), (mute, ("text",), 0)):
        said = wrapped.answer(asked)
        assert {one.lacking for one in said} == {lacks}
        if part is not None:  # what is left still tells its half
            right = [str(one.answer.option).split()[part] == gold.golds[0].option.split()[part]
                     for one, gold in zip(said, test, strict=False)]  # fmt: skip
            assert np.mean(right) >= 0.75


def test_what_is_loaded_answers_alike(
    body: TextBackbone, ears: dict[str, Recognizer], tmp_path: Path, at_home: None
) -> None:
    train, asked = made_up(24), [each.question for each in made_up(6, seed=1)]
    task_of = TOPIC.with_options(OPTIONS)
    few = Settings(head_lr=2e-3, least=6, most=6)
    for way in ("early", "cross", "late"):
        model = fit_fused(way, task_of, train, body=body, settings=few)
        again = fit_fused(way, task_of, train, body=body, settings=few)
        home = tmp_path / way
        home.mkdir()
        facts = json.loads(json.dumps(model.save(home)))
        assert facts["kind"] == "fused"
        assert facts["way"] == way
        assert ("weights" in facts) == (way == "late")
        back = load(home, facts, ears)
        said = [
            [round(one.confidence, 5) for one in each.answer(with_words(asked, ears))] for each in (model, back, again)
        ]
        assert said[0] == said[1] == said[2]
    (home / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="not a whole model folder"):
        load(home, facts, ears)
    with pytest.raises(ModelError, match="trained on other weights"):
        load(home, facts | {"checksum": "0"}, ears)
    with pytest.raises(ModelError, match="way to fuse 'middle' is not one of"):
        fit_fused("middle", task_of, train, body=body)
    with pytest.raises(DataError, match="no row to learn from has image"):
        fit_fused("image", task_of, train, body=body)


def test_other_options_are_answered_by_what_is_known_without_labels(
    body: TextBackbone, ears: dict[str, Recognizer]
) -> None:
    encoder = Encoder(body, {"audio": ears["audio"]}, keeps=True)
    few = Settings(head_lr=1e-2, least=20, most=20)
    model = fit_fused("early", TOPIC.with_options(OPTIONS), made_up(24), body=body, encoder=encoder, settings=few)
    given = with_words([made_up(1, seed=2)[0].question], encoder.ears)[0].given
    new = ("refund my money", OPTIONS[0])
    batch = encoder.batch([Question(given, options=new)], new, model.network.kinds, [-1, 0])
    logits = model.network(batch)[0]
    trusted = sum(model.network.trust[kind] * batch.priors[kind][0, 0] for kind in model.network.kinds)  # type: ignore[index, operator]
    assert logits[0] == pytest.approx(float(trusted), abs=1e-4)
    (said,) = model.answer([Question(given, options=new)])
    assert {said.answer.option, said.others[0][0].option} == set(new)
    (own,) = model.answer([Question(given)])
    assert {own.answer.option, *(each.option for each, _ in own.others)} == set(OPTIONS)
    assert isinstance(model, Fused)
    assert encoder.used > 0
    model.forget()
    assert encoder.used == 0


def test_an_untrained_fusion_says_what_the_names_say(body: TextBackbone, ears: dict[str, Recognizer]) -> None:
    from lowrung.run.adapt import adapt

    options = ("money", "parcel")
    asked = [Question((text,), options=options) for text in TEXTS.values()]
    network = Chooser("early", {"text": body.width}, 2).eval()
    model = Fused("early", network, Encoder(body, {}), options=options, words=options, kinds=("text",))
    names = adapt(body, TOPIC.with_options(options))
    for one, two in zip(model.answer(asked), names.answer(asked), strict=True):
        assert one.answer == two.answer
        assert one.confidence == pytest.approx(two.confidence, abs=2e-3)
    (none,) = model.answer([Question((tiny_sounds.said("ding"),), options=options)])
    assert none.answer is None


# --- by the verbs


def _rows(folder: Path, number: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for at, each in enumerate(made_up(number)):
        text, sound = each.question.given
        assert isinstance(sound, Audio)
        soundfile.write(folder / f"{at}.wav", sound.samples, sound.rate)
        listed = [{"text": text}, {"audio": f"{at}.wav"}]
        own: dict[str, Any] = {"given": listed} if at % 2 else {"text": text, "audio": f"{at}.wav"}
        rows.append({"id": f"r{at}", **own, "label": each.golds[0].option})
    write_rows(folder / "rows.jsonl", rows)
    return rows


def test_study_of_rows_with_sounds_ships_a_cascade(
    folder: Path, tmp_path: Path, at_home: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fusion, "SETTINGS", QUICK)
    _rows(tmp_path, 40)
    rows = read_rows(tmp_path / "rows.jsonl", task=TOPIC)
    out = tmp_path / "out"
    made = study(
        "topic", rows, methods=("ngrams", "early"), labels=("all",), seeds=1, model=str(folder), out=out,
        confidence=0.9,
    )  # fmt: skip
    assert made.gate.shipped == "early"
    assert isinstance(made.model, Cascade)
    facts = json.loads((out / "model" / "lowrung.json").read_text("utf-8"))
    assert facts["model"]["kind"] == "cascade"
    assert facts["model"]["inner"]["way"] == "early"
    assert facts["model"]["learnt"] == ["text", "audio"]
    assert facts["model"]["ears"] == {"audio": {"name": "tiny", "checksum": "0"}}
    shipped = shipped_from(out)
    whole, text = shipped.answer([rows[0], {"text": rows[0]["text"]}])
    assert whole.answer == Choice(rows[0]["label"])
    assert whole.lacking == ()
    assert text.lacking == ("audio",)
    assert facts["fingerprint"] == fingerprint([made.task.example(row) for row in rows])

    write_rows(tmp_path / "asked.jsonl", [{"text": TEXTS["money"], "label": OPTIONS[0]}, rows[0]])
    cli.main(["answer", str(out), str(tmp_path / "asked.jsonl"), "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("lacking") for line in lines] == [["audio"], None]
    cli.main(["answer", str(out), str(tmp_path / "asked.jsonl")])
    assert " (without audio)\t" in capsys.readouterr().out.splitlines()[0]
    cli.main(["score", str(out), str(tmp_path / "asked.jsonl")])
    assert "of the kinds of parts that the model learnt from, 1 lack audio" in capsys.readouterr().out


def test_fit_and_zero_labels_take_rows_of_sounds(
    folder: Path, tmp_path: Path, at_home: None, monkeypatch: pytest.MonkeyPatch, ears: dict[str, Recognizer]
) -> None:
    _rows(tmp_path, 16)
    rows = read_rows(tmp_path / "rows.jsonl", task=TOPIC)
    made = fit("topic", rows, method="probe", model=str(folder), out=tmp_path / "probe")
    assert isinstance(made.model, Cascade)
    assert made.facts["rows"] == 16
    again = shipped_from(tmp_path / "probe")
    said = [[round(one.confidence, 5) for one in each.answer(rows)] for each in (made, again)]
    assert said[0] == said[1]
    monkeypatch.setattr(catalog, "DEFAULT", str(folder))
    none = shipped_from("topic", options=OPTIONS)
    assert none.answer({"audio": rows[0].get("audio")}).answer is not None
    facts = json.loads((tmp_path / "probe" / "lowrung.json").read_text("utf-8"))
    facts["model"]["ears"]["audio"]["checksum"] = "1"
    (tmp_path / "probe" / "lowrung.json").write_text(json.dumps(facts), "utf-8")
    with pytest.raises(ModelError, match="was made with other weights of tiny"):
        shipped_from(tmp_path / "probe")


def test_pictures_are_fused_likewise(body: TextBackbone, ears: dict[str, Recognizer]) -> None:
    random, rows = Random(0), []
    for at in range(40):
        word, tone = random.choice(tiny_lines.WORDS), random.choice(("ding", "dong"))
        given = (tiny_lines.written(word, seed=at), tiny_sounds.said(tone, seed=at))
        options = tuple(f"{one} {two}" for one in tiny_lines.WORDS for two in ("ding", "dong"))
        rows.append(Example(Question(given, options=options), (Choice(f"{word} {tone}"),)))
    model = fit_fused("early", TOPIC.with_options(options), rows, body=body, ears=ears, settings=QUICK)
    assert model.kinds == ("audio", "image")
    assert share_right(Cascade(model, ears), rows) >= 0.9
    assert all(isinstance(each.question.given[0], Image) for each in rows)
