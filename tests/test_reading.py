"""Pictures of lines: columns of ink, a body that learns two words, folders and the command line."""

import json
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_lines import SHAPE, texts, untaught, written

from lowrung.cli import main
from lowrung.core.answers import Text
from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.core.parts import Image, Question
from lowrung.core.task import Example
from lowrung.data import rendering
from lowrung.data.cache import Cache
from lowrung.models import catalog, hearing, picture, tuned_recognizer
from lowrung.models.picture import GAP, HEIGHT, LESS, PictureBody, columns, lines_of
from lowrung.models.recognizer import read_body
from lowrung.models.senses import HEARING, READING, sense_of
from lowrung.models.sound import batched
from lowrung.models.text import Source
from lowrung.models.training import Settings
from lowrung.models.tuned_recognizer import error_rate, fit_recognizer, struck_out
from lowrung.models.tuning import Frozen, Top
from lowrung.run.methods import foundation, methods_for, untouched, usual
from lowrung.run.recognizing import practise_recognizer
from lowrung.run.ship import load
from lowrung.tasks import task

TASK = task("reading")
QUICK = Settings(lr=4e-3, head_lr=8e-3, epochs=1, least=110, most=110, batch=16, decay=0.0)


def example(text, seed=0):
    return Example(Question((written(text, seed=seed),)), (Text(text),))


def examples(number, seed):
    return [example(text, seed=seed + at) for at, text in enumerate(texts(number, seed))]


def fonts():
    try:
        return bool(rendering.families())
    except LowrungError:
        return False


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    base = replace(untaught(), cache=Cache(tmp_path_factory.mktemp("features")))
    return fit_recognizer(base, examples(40, 1), settings=QUICK)


@pytest.fixture
def body(taught, tmp_path):
    taught.save(tmp_path / "body")
    return tmp_path / "body"


def test_columns_hold_the_line_wherever_and_however_it_is_written():
    plain = columns(written("low rung"))
    assert plain.shape[1] == HEIGHT
    assert 0 <= plain.min() < 0.01
    assert 0.99 < plain.max() <= 1
    framed = np.full((70, 400, 3), 255, np.uint8)
    small = written("low rung").pixels
    framed[16 : 16 + small.shape[0], 200 : 200 + small.shape[1]] = small
    shade = np.linspace(0.6, 1, small.shape[1])[None, :, None]
    others = {
        "far away": Image(framed),
        "light on dark": Image(255 - small),
        "grey on grey": Image((small // 3 + 90).astype(np.uint8)),
        "in a shadow": Image((small * shade).astype(np.uint8)),
    }
    for how, each in others.items():
        found = columns(each)
        assert abs(len(found) - len(plain)) <= 6, how
        alike = [F.interpolate(ink.T[None], 80, mode="linear").flatten() for ink in (plain, found)]
        assert torch.corrcoef(torch.stack(alike))[0, 1] > 0.65, how
    ((_, first, last),) = lines_of(others["far away"])
    assert first == pytest.approx(0.51, abs=0.02)
    assert last == pytest.approx((200 + small.shape[1]) / 400, abs=0.03)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (700, 2), (3, 50_000), (0, 5), (500, 400)])
def test_any_picture_becomes_columns(size):
    for grey in (0, 255):
        found = columns(Image(np.full((*size, 3), grey, np.uint8)))
        assert found.shape[1] == HEIGHT
        assert 1 <= len(found) <= 8000
        assert torch.isfinite(found).all()
        assert found.max() < 1e-4


def test_lines_below_each_other_are_laid_behind_each_other(monkeypatch):
    page = np.full((90, 240, 3), 255, np.uint8)
    for top, text in ((6, "low rung"), (48, "rung low rung")):
        pixels = written(text).pixels
        page[top : top + pixels.shape[0], 10 : 10 + pixels.shape[1]] = pixels
    one, two = lines_of(Image(page))
    assert abs(len(one.ink) - len(columns(written("low rung")))) <= 6
    assert abs(len(two.ink) - len(columns(written("rung low rung")))) <= 6
    whole = len(one.ink) + GAP + len(two.ink)
    assert len(columns(Image(page))) == whole
    monkeypatch.setattr(picture, "MOST", whole - 1)  # of a line, not of all together
    assert len(columns(Image(page))) == whole
    for mark in ("=", ":", "i", "low"):
        assert len(lines_of(written(mark))) == 1, mark


def test_a_full_stop_does_not_fill_the_height():
    dot = np.full((40, 60, 3), 255, np.uint8)
    dot[28:33, 20:25] = 0
    found = columns(Image(dot))
    assert 0.05 < (found > 0.5).float().mean() < 0.4


def test_padding_changes_nothing():
    torch.manual_seed(1)
    net = PictureBody(SHAPE, dropout=0.0).eval()
    short, long = columns(written("low")), columns(written("low rung low rung"))
    with torch.no_grad():
        alone, size = net(*batched([short]))
        together, sizes = net(*batched([short, long]))
    assert sizes.tolist()[0] == size.item() == -(-len(short) // LESS)
    assert torch.allclose(alone[0, : int(size)], together[0, : int(size)], atol=1e-4)


def test_it_learns_two_words(taught):
    fresh = examples(12, 900)
    assert error_rate(untaught(), fresh) > 0.6
    assert error_rate(taught, fresh) < 0.1
    found = taught.answer([Question((written("rung low low"),)), Question(("no picture",))])
    assert found[0].answer == Text("rung low low")
    assert found[0].times == ()
    assert 0.0 <= found[0].confidence <= 1.0
    assert found[1].answer is None
    assert taught.how is None, "what few labels hold is not all that there is to read"


def test_a_long_line_is_read_in_windows(taught):
    line = written(" ".join(texts(9, 5)))
    short = replace(taught, sense=replace(READING, longest=240, overlap=96, budget=500))
    whole, parts = taught.logs([line])[0], short.logs([line])[0]
    assert len(whole) == len(parts) == -(-len(columns(line)) // LESS)
    begin = taught.head(taught.body(*batched([columns(line)[:240]]))[0])[0]
    size = (240 - 96) // LESS
    assert np.allclose(np.exp(parts[:size]), begin.exp()[:size], atol=0.05)


def test_it_goes_to_a_folder_and_back(taught, body):
    again = hearing.loaded(body, "tiny")
    asked = [each.question for each in examples(4, 30)]
    assert [each.answer for each in again.answer(asked)] == [each.answer for each in taught.answer(asked)]
    assert again.sense is READING
    assert again.words is None
    with pytest.raises(ModelError, match="a body that reads, and the task needs one that hears"):
        hearing.recognizer(str(body), HEARING)
    (body / "lines.json").write_text("{", "utf-8")
    with pytest.raises(ModelError, match="no body that reads can be loaded"):
        read_body(body, Source("x", ""))


def test_without_the_embedded_body_the_recipe_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(catalog, "OWN", tmp_path)
    monkeypatch.setattr(hearing, "OWN", tmp_path)
    hearing.recognizer.cache_clear()
    with pytest.raises(ModelError, match=r"python -m recipes.lines recipes/lines.toml --out runs/lines"):
        foundation(TASK)
    with pytest.raises(ModelError, match="'linse'"):
        foundation(TASK, "linse")
    assert hearing.embedded(READING) == ()


def test_an_embedded_body_answers_by_its_name(monkeypatch, tmp_path, taught):
    taught.save(tmp_path / "lines")
    monkeypatch.setattr(hearing, "OWN", tmp_path)
    hearing.recognizer.cache_clear()
    try:
        assert hearing.embedded(READING) == ("lines",)
        assert hearing.embedded() == ()
        found = load("reading")
        assert found.model.answer([example("low").question])[0].answer == Text("low")
    finally:
        hearing.recognizer.cache_clear()


def test_what_is_struck_out_is_less_than_a_letter():
    ink = torch.rand(300, HEIGHT) + 1
    gone = struck_out(ink, Random(1), READING.struck) == 0
    assert 0 < gone.float().mean() < 0.3
    assert gone.all(1).sum() <= 5 * (300 // 60 + 1)
    assert sense_of("image") is READING


def test_what_cannot_be_learnt_from_is_told(taught):
    quick = replace(QUICK, least=2, most=2)
    with pytest.raises(DataError, match="no picture of a line"):
        fit_recognizer(taught, [Example(Question(("text",)), (Text("text"),))], settings=quick)
    made = fit_recognizer(taught, examples(4, 3), how=Frozen(), settings=quick)
    assert all(torch.equal(one, two) for one, two in zip(taught.body.parameters(), made.body.parameters(), strict=True))


@pytest.mark.skipif(not fonts(), reason="no fonts are installed")
def test_the_recipe_knows_where_letters_stand_and_learns():
    from recipes import lines, recognizers

    settings = {"alphabet": "ILTilt ", "receipts": 0.0, "columns": 2000, "longest": 900, "seed": 0, "midway": 1}
    settings |= {"width": 24, "layers": 2, "heads": 2, "reach": 5, "channels": 8, "dropout": 0.0}
    rows = lines.Lines(settings, ["till it ill", "lit"], seed=0)
    seen = [rows.one(random) for random in map(Random, range(24))]
    for each in seen:
        places = each.letters[each.letters > 0].tolist()
        assert each.letters.shape == (-(-len(each.columns) // LESS),)
        assert "".join(settings["alphabet"][at - 1] for at in places) == each.text
    school = lines.School(settings)
    optimizer, losses = torch.optim.AdamW(school.parameters(), lr=5e-3), []
    for _ in range(25):
        loss, _ = school.loss(seen)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    said = recognizers.said(school.body, school.head, [each.columns for each in seen], together=8)
    assert len(said) == len(seen)


# --- the command line


def files(folder, number, seed):
    from PIL import Image as Pillow

    rows = []
    for at, text in enumerate(texts(number, seed)):
        Pillow.fromarray(written(text, seed=seed + at).pixels).save(folder / f"{seed}-{at}.png")
        rows.append({"image": f"{seed}-{at}.png", "text": text, "document": f"d{at % 3}"})
    path = folder / f"rows-{seed}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_methods_of_reading_are_those_that_read():
    assert [each.name for each in methods_for(TASK)] == ["zero-shot", "probe", "top", "full"]
    assert untouched(TASK) == "zero-shot"
    assert usual(TASK) == "full"
    assert "practice" in [each.name for each in methods_for(TASK, text=True)]


@pytest.fixture
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("LOWRUNG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tuned_recognizer, "SETTINGS", replace(QUICK, least=4, most=4, lr=1e-4, head_lr=1e-4))


@pytest.mark.usefixtures("quick")
def test_fit_score_answer_and_try(body, tmp_path, capsys):
    rows, model = files(tmp_path, 8, 40), str(tmp_path / "made")
    assert main(["fit", "reading", str(rows), "--model", str(body), "--out", model]) == 0
    capsys.readouterr()
    assert main(["score", model, str(rows), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["metrics"]
    assert set(scores) == {"cer", "cer_folded", "line_accuracy", "wer"}
    assert scores["cer"]["value"] < 0.2
    page = str(tmp_path / "40-0.png")
    assert main(["answer", model, page, str(rows), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 9
    assert lines[0]["answer"] == lines[1]["answer"]
    assert "words" not in lines[0]
    assert "edits" not in lines[0]
    assert main(["try", "reading", page, "--model", str(body)]) == 0
    assert capsys.readouterr().out.split("\t")[0] == texts(8, 40)[0]
    assert main(["answer", model, str(tmp_path / "none.png")]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_a_study_of_reading_keeps_documents_apart(body, tmp_path, capsys):
    rows, out = files(tmp_path, 9, 60), tmp_path / "study"
    asked = "study reading --methods probe --labels 0,4 --seeds 1".split()
    assert main([*asked, str(rows), "--model", str(body), "--out", str(out)]) == 0
    assert "zero-shot" in capsys.readouterr().out
    assert (out / "report.html").is_file()


@pytest.mark.skipif(not fonts(), reason="no fonts are installed")
@pytest.mark.usefixtures("quick")
def test_practice_writes_text_and_ships(body, tmp_path, capsys):
    text = tmp_path / "orders.txt"
    text.write_text("".join(f"low rung number {at % 7}, please\n" for at in range(1200)), "utf-8")
    model = str(tmp_path / "made")
    assert main(["practice", "reading", "--text", str(text), "--steps", "2", "--model", str(body), "--out", model]) == 0
    assert "cer" in capsys.readouterr().out
    made = practise_recognizer(TASK, [text], model=str(body), how=Top(1), steps=2)
    assert made.steps == 2
    weights = made.model.body.state_dict() | made.model.head.state_dict()
    assert all(torch.equal(each, each.bfloat16().float()) for each in weights.values())  # what was measured ships
    assert made.model.own is None
    assert {"p", ","} <= set(made.model.head.alphabet)
    assert load(model).model.answer([example("low").question])[0].answer is not None
