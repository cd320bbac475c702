"""The recipes that train a body, on tiny bodies: they learn, go on where they were cut, and run off the CPU."""

import json
import lzma
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoder import write_tiny_encoder

from lowrung.data.noise import Mixture, Noise
from lowrung.models import catalog
from lowrung.models.batch import autocast, mapped
from lowrung.models.channel import Channel
from lowrung.models.characters import Letters
from lowrung.models.corrector import Corrector
from lowrung.models.language_model import language_model
from lowrung.models.lexicon import Lexicon
from recipes import chinese, letters, letters_zh, training, writer_en

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
LINES = [
    "where is my parcel please",
    "the money is not in my account",
    "refund my order when it arrived broken",
    "Ada lives in London and works for me",
]
KINDS = {"where": ("were",), "parcel": ("parcels",), "money": ("many",), "order": ("older",), "in": ("inn",)}
NOISE = Noise(confusions=KINDS, mixture=Mixture(letters=0.2, confusions=0.8, spaces=0.0, case=0.0))
COUNTS = {word: 100 for line in LINES for word in line.split()} | {other: 50 for (other,) in KINDS.values()}
JUDGE = Corrector(Lexicon(COUNTS), Channel(NOISE), reach=10.0)
TINY = {"name": "tiny", "about": "tiny", "seed": 0, "lr": 3e-3, "report_seconds": 60, "batch": 4}
FORKS = "ignore:.*fork:DeprecationWarning"  # of a process with threads, which newer Pythons do not like


def english(folder: Path) -> dict[str, Any]:
    """Settings on a tiny body, and a text of which the first 64 lines are learnt from."""
    with lzma.open(folder / "text.xz", "wt", encoding="utf-8") as file:
        file.write("\n".join(LINES * 16) + "\n")
    own = {"language": "en", "size": 8, "channels": 16, "words": 40, "head_lr": 3e-3, "text": [str(folder / "text.xz")]}
    return {**TINY, **own, "base": str(write_tiny_encoder(folder / "base"))}


def spoken() -> dict[str, Any]:
    shape = {"language": "zh", "letters": 60, "layers": 2, "width": 16, "heads": 2, "positions": 64, "longest": 20}
    shares = {"spoken": 0.5, "shares": [0.2], "mistaken": 0.8, "masked": 0.1, "asked": 0.2, "warm": 1}
    return {**TINY, **shape, **shares}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return english(tmp_path_factory.mktemp("letters"))


def lesson(school: letters.School, *, multiple: int = 1) -> letters.Lesson:
    rows = letters.rows_of(LINES * 6, NOISE, JUDGE, Random(4))
    return letters.Teller(school.teacher.tokenizer, multiple=multiple)(rows)


def chinese_lesson(school: letters_zh.School) -> letters_zh.Lesson:
    chance = np.random.default_rng(0)
    clean = chance.integers(5, 60, (4, 16))
    clean[:, 12:] = letters_zh.PAD
    spoilt = np.where((chance.random(clean.shape) < 0.3) & (clean > 0), letters_zh.MASK, clean)
    return letters_zh.Lesson.of(spoilt, clean, (spoilt != clean) | (clean == clean[0, 0]))


def learnt(school: Any, one: Any, steps: int) -> list[float]:
    moving = [each for each in school.parameters() if each.requires_grad]
    optimizer, found = training.adam({3e-3: moving}), []
    for _ in range(steps):
        loss, facts = school.loss(one)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert all(bool(torch.isfinite(each)) for each in facts.values())
        found.append(float(loss.detach()))
    return found


def test_a_step_of_letters_learns(settings: dict[str, Any]) -> None:
    school = letters.School(settings)
    still = {name: each.clone() for name, each in school.known.state_dict().items()}
    one = lesson(school)
    assert one.asked is not None
    assert int((one.asked.gold > 0).sum()) > 0, "something to mend is among them"
    losses = learnt(school, one, 12)
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(each, still[name]) for name, each in school.known.state_dict().items())
    assert catalog.backbone(settings["base"]).body is not school.known, "others share it, who stay where they are"


def test_a_step_of_chinese_letters_learns() -> None:
    school = letters_zh.School(spoken(), 60)
    losses = learnt(school, chinese_lesson(school), 30)
    assert losses[-1] < 0.8 * losses[0]


def test_what_is_filled_up_changes_nothing(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "autocast", lambda device: autocast(torch.device("meta")))
    school = letters.School(settings)
    short, long = lesson(school), lesson(school, multiple=16)
    assert long.spoilt.ids.shape[1] % 16 == 0 != short.spoilt.ids.shape[1] % 16
    assert long.tokens == short.tokens
    loss = school.loss(short)[0]
    assert torch.allclose(school.loss(long)[0], loss, rtol=1e-5)
    monkeypatch.setattr(training, "mask", lambda attended: attended.long())
    assert torch.allclose(school.loss(long)[0], loss, rtol=1e-5), "the mask that any body takes says the same"


def test_lessons_are_the_same_however_many_make_them(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "corrector", lambda *_, **__: JUDGE)
    monkeypatch.setattr(letters, "noise", lambda _: NOISE)
    teller = letters.Teller(catalog.backbone(settings["base"]).tokenizer)
    files = [Path(each) for each in settings["text"]]

    def made(step: int, own: int, workers: int, number: int) -> list[letters.Lesson]:
        monkeypatch.setattr(training, "turn", lambda: (own, workers))
        rows = letters.Rows(settings, files, teller, seed=1, size=4, step=step, seen=4 * step)
        return list(islice(rows, number))

    alone = made(0, 0, 1, 6)
    assert [each.spoilt.questions for each in made(2, 0, 1, 4)] == [each.spoilt.questions for each in alone[2:]]
    three = [made(0, own, 3, 2) for own in range(3)]
    for at, each in enumerate(alone):
        other = three[at % 3][at // 3]
        assert other.spoilt.questions == each.spoilt.questions
        assert torch.equal(other.spelt.letters, each.spelt.letters)


@pytest.mark.filterwarnings(FORKS)
def test_letters_are_practised_cut_off_and_shipped(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "corrector", lambda *_, **__: JUDGE)
    monkeypatch.setattr(letters, "noise", lambda _: NOISE)
    for steps in (2, 5):
        letters.practise(settings, tmp_path, steps=steps, minutes=1.0, device=CPU)
    facts = json.loads((tmp_path / "body" / "letters.json").read_text("utf-8"))
    assert [each["step"] for each in facts["curve"]] == [2, 5]
    assert facts["curve"][-1]["tokens_a_second"] > 0
    assert (facts["lines"], facts["device"]) == (20, "cpu")
    assert catalog.backbone(str(tmp_path / "body")).embed(["where is my parcel"]).isfinite().all()


@pytest.mark.filterwarnings(FORKS)
def test_chinese_letters_are_practised_cut_off_and_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{one}{two}。" for one in "我们 你们 老师".split() for two in "喜欢吃饭 在公园散步 看电影".split()]
    monkeypatch.setattr(chinese, "lines", lambda kind: iter(lines * 40))
    monkeypatch.setattr(chinese, "held", lambda line: line == lines[0])
    for steps in (2, 5):
        letters_zh.practise(spoken(), tmp_path, steps=steps, minutes=1.0, device=CPU)
    facts = json.loads((tmp_path / "body" / "letters.json").read_text("utf-8"))
    assert [each["step"] for each in facts["curve"]] == [2, 5]
    assert facts["curve"][-1]["loss"] < facts["curve"][0]["loss"]
    assert catalog.backbone(str(tmp_path / "body")).width == 16
    pieces = (tmp_path / "body" / "vocab.txt").read_text("utf-8").split("\n")[:-1]
    assert letters_zh.Saying.load(tmp_path / "body").bias.shape == (len(pieces),)


def test_chinese_rows_are_full_and_ask_for_what_stood_there() -> None:
    lines = letters_zh.Lines(["我们喜欢吃饭。", "你们看电影", "老师在公园散步。"])
    assert [*lines] == ["我们喜欢吃饭。", "你们看电影", "老师在公园散步。"]
    pieces = letters_zh.vocabulary({kind: [*lines] for kind in (chinese.SPOKEN, chinese.WRITTEN)}, 60)
    coder, damage = letters_zh.Coder(pieces), letters_zh.Damage(pieces, "zh", spoken())
    texts = dict.fromkeys((chinese.SPOKEN, chinese.WRITTEN), lines)
    rows = letters_zh.Rows(texts, coder, damage, seed=(1,), size=8, multiple=16)
    clean = {(letters_zh.CLS, *coder(line), letters_zh.SEP) for line in lines}
    for each in islice(rows, 5):
        assert each.spoilt.shape == (8, 16)
        mended = each.spoilt.flatten().clone()
        assert torch.equal(mended[each.places] != each.gold, each.wrong)
        mended[each.places] = each.gold
        found = [tuple(row[row > 0].tolist()) for row in mended.view(8, 16)]
        assert {*found} <= clean
        assert each.tokens == sum(map(len, found))


def test_moments_lie_where_their_parameters_do(tmp_path: Path) -> None:
    one = torch.nn.Linear(3, 2)
    optimizer = training.adam({1e-3: list(one.parameters())})
    one(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    training.keep(tmp_path, dict(one.named_parameters()), optimizer, {"step": 1})
    other = torch.nn.Linear(3, 2, device="meta")
    optimizer = training.adam({1e-3: list(other.parameters())})
    assert training.resume(tmp_path, dict(other.named_parameters()), optimizer) == {"step": 1}
    assert {each.device.type for state in optimizer.state.values() for each in state.values()} == {"meta"}


def test_what_is_remembered_of_words_does_not_outlive_a_move() -> None:
    made = Letters(4, size=8, channels=8).requires_grad_(False)
    assert made.beside([["Ada"]]).device == CPU
    assert made.to("meta").beside([["Ada"]]).device.type == "meta"


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own, while it looks at what it is given
def test_layers_are_compiled_once_for_all_lengths_and_say_the_same(settings: dict[str, Any]) -> None:
    graphs = list[Any]()

    def counted(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    school = letters.School(settings)
    lessons = [lesson(school, multiple=multiple) for multiple in (1, 16, 24)]
    before = [float(school.loss(each)[0].detach()) for each in lessons]
    layers = [*school.teacher.layers, *school.pupil.layers]
    training.compiled(layers, CPU, backend=counted)
    assert not any("forward" in vars(each) for each in layers)
    training.compiled(layers, torch.device("cuda"), backend=counted)
    after = [float(school.loss(each)[0].detach()) for each in lessons]
    assert after == pytest.approx(before, rel=1e-5)
    assert len(graphs) == 2, "one that gradients go through, and one that they do not"


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA L40", None),
        ("cpu", None),
    ],
)
def test_cards_are_known_by_their_whole_names(card: str, peak: float | None) -> None:
    assert training.peak_of(card) == peak


def test_work_counts_what_is_multiplied(settings: dict[str, Any]) -> None:
    school = letters.School(settings)
    one = replace(lesson(school), tokens=(10, 20))
    weights = 2 * (4 * 32 * 32 + 2 * 32 * 64)  # of two layers: attention, and what comes after
    assert school.work(one) == (20, weights * (6 * 20 + 2 * 10))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_a_device_that_is_not_there_is_refused() -> None:
    assert training.device_of("auto") == training.device_of("cpu") == CPU
    with pytest.raises(ValueError, match="no CUDA card"):
        training.device_of("cuda")


def test_a_recipe_is_told_its_device_where_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.toml").write_text("seed = 1\n")
    heard = list[Any]()

    def anywhere(settings: Any, out: Path, *, steps: int, minutes: float, device: torch.device) -> None:
        heard.append((settings, steps, device))

    def here(settings: Any, out: Path, *, steps: int, minutes: float) -> None:
        heard.append((settings, steps))

    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "r.toml"), "--out", str(tmp_path), "--steps", "3"])
    training.run(here, "", minutes=1.0)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--device", "cpu"])
    training.run(anywhere, "", minutes=1.0)
    assert heard == [({"seed": 1}, 3), ({"seed": 1}, 3, CPU)]


def step_elsewhere(folder: Path) -> None:
    """A whole step of each recipe on a device that holds no numbers and is not the CPU; run in a process of its own.

    torch refuses there to mix devices, and to tell what stands in a tensor, for which a card would be waited for.
    """
    from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend("card")
    school, other = letters.School(english(folder)), letters_zh.School(spoken(), 60)
    lessons = [lesson(school, multiple=16), chinese_lesson(other)]
    with FakeTensorMode() as mode:
        for each, one in zip((school, other), lessons, strict=True):
            each._apply(lambda tensor: mode.from_tensor(tensor).to("card"))
            here: Any = mapped(one, mode.from_tensor)
            there = mapped(here, lambda tensor: tensor.to("card"))
            moving = [each for each in each.parameters() if each.requires_grad]
            optimizer = training.adam({1e-3: moving})
            loss, facts = each.loss(there)
            assert {loss.device.type, *(fact.device.type for fact in facts.values())} == {"card"}
            loss.backward()
            assert all(parameter.grad is not None for parameter in moving)
            torch.nn.utils.clip_grad_norm_(moving, 1.0)
            optimizer.step()
            with pytest.raises(RuntimeError, match=r"[Dd]evice"):
                each.loss(here)
            with pytest.raises(DataDependentOutputException):
                loss.item()
    print("stepped")


def test_a_step_keeps_to_its_device_and_never_waits_for_it(tmp_path: Path) -> None:
    from torch.utils import backend_registration

    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch has no devices made in Python")
    code = f"import test_recipes, pathlib; test_recipes.step_elsewhere(pathlib.Path({str(tmp_path)!r}))"
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=paths, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.endswith("stepped\n"), done.stderr[-2000:]


@pytest.mark.filterwarnings(FORKS)
def test_a_writer_learns_goes_on_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random, words = (
        Random(0),
        "parcel money order letter where Ada Grace London arrived broken please account 1912".split(),
    )
    lines = [" ".join(random.choices(words, k=14)) + "." for _ in range(300)]
    with lzma.open(tmp_path / "text.txt.xz", "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    for name in ("COUNTED", "MEASURED", "ASKED", "EACH"):
        monkeypatch.setattr(writer_en, name, 2)
    shape = {"pieces": 320, "layers": 1, "width": 16, "heads": 2, "inner": 32, "positions": 128, "raw": 0.5}
    asked = {"language": "en", "longest": 40, "damage": [0.2], "warm": 1, "text": {str(tmp_path / "text"): 1}}
    told, out = {**TINY, **shape, **asked}, tmp_path / "out"
    writer_en.practise(told, out, steps=2, minutes=9, device=CPU)
    first = json.loads((out / "body/writer.json").read_text("utf-8"))
    assert (first["steps"], len(first["curve"])) == (2, 1)
    assert 0 < first["measured"]["bits_a_byte"] < 12
    assert sum(each["rows"] for each in first["measured"]["rows"].values()) > 1
    writer_en.practise(told, out, steps=3, minutes=9, device=CPU)
    assert json.loads((out / "body/writer.json").read_text("utf-8"))["steps"] == 3
    assert language_model(str(out / "body")).chats
    (lesson,) = islice(writer_en.Rows(told, writer_en.tokenizer_of(told, out), size=4, held_out=False), 1)
    learnt = lesson.targets != writer_en.UNASKED
    assert learnt[:2].all()  # raw text
    assert 0 < learnt[2:].float().mean() < 0.6  # the answers alone
