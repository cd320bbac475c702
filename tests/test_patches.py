"""Bodies of transformers that read: tiny TrOCR, ViT and its kin, from a folder or the hub, taught, shipped."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from tiny_hub import ask, serving
from tiny_lines import written
from tiny_patches import BODY, body_folder, trocr_folder

from lowrung import tasks
from lowrung.core.answers import Text
from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.models import hearing
from lowrung.models.patches import ACROSS, FILL, LESS, WIDEST, Look, PatchBody, PatchShape, TrOCR, pieces, read_look
from lowrung.models.recognizer import Recognizer
from lowrung.models.senses import HEARING, PATCHES, READING
from lowrung.models.sound import batched
from lowrung.models.training import Settings
from lowrung.models.tuned_recognizer import error_rate, fit_recognizer
from lowrung.models.tuning import Frozen, Full, Top
from lowrung.run.ship import FACTS, load, ship
from lowrung.run.study import study

TASK = tasks.task("reading")
QUICK = Settings(lr=1e-3, head_lr=1e-3, least=2, most=2, batch=2)


def examples(texts):
    return [Example(Question((written(text, seed=at),)), (Text(text),)) for at, text in enumerate(texts)]


def shipped(model, folder):
    return ship(TASK, model, folder, report={}, card="", facts={"method": model.name}).folder


@pytest.fixture(scope="module")
def trocr(tmp_path_factory):
    return trocr_folder(tmp_path_factory.mktemp("trocr"))


def test_trocr_writes_what_transformers_writes(trocr):
    import transformers

    found = hearing.recognizer(str(trocr), READING)
    assert isinstance(found, TrOCR)
    lines = [written(text, seed=at) for at, text in enumerate(["low", "rung low", "low rung low rung", "rung"])]
    *said, nothing = found.answer([*(Question((each,)) for each in lines), Question(("text",))])
    assert nothing.answer is None
    assert len({each.answer.text for each in said}) > 1
    model = transformers.VisionEncoderDecoderModel.from_pretrained(trocr).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(trocr)
    processor = transformers.ViTImageProcessorPil.from_pretrained(trocr)
    for line, each in zip(lines, said, strict=True):  # one by one, so that none is padded
        values = processor(Pillow.fromarray(line.pixels), return_tensors="pt").pixel_values
        ids = model.generate(values, max_length=16)
        assert each.answer.text == tokenizer.decode(ids[0], skip_special_tokens=True).strip()
        with torch.no_grad():
            logs = model(pixel_values=values, decoder_input_ids=ids[:, :-1]).logits.log_softmax(-1)
        sure = logs[0].gather(-1, ids[0, 1:, None]).mean().exp()
        assert each.confidence == pytest.approx(float(sure), abs=1e-4)


def test_few_beams_are_an_option(trocr):
    from dataclasses import replace

    found = replace(hearing.recognizer(str(trocr), READING), options={"num_beams": 3})
    one, two = found.answer([each.question for each in examples(["low", "rung low"])])
    assert 0.0 < one.confidence < 1.0
    assert isinstance(two.answer, Text)


def test_what_is_very_wide_is_cut_between_words(trocr):
    line = written(" ".join(["rung"] * 40), size=16, edge=2)
    cut = pieces(line)
    rows, wide = line.pixels.shape[:2]
    assert len(cut) == -(-wide // (WIDEST * rows)) > 1
    assert np.array_equal(np.concatenate(cut, axis=1), line.pixels)
    for each in cut[1:]:
        assert each[:, :2].min() > 200  # paper
    found = hearing.recognizer(str(trocr), READING)
    (whole,) = found.answer([Question((line,))])
    texts, sure = zip(*found._written(cut), strict=True)
    assert whole.answer.text == " ".join(filter(None, texts))
    assert whole.confidence == pytest.approx(min(sure), abs=1e-4)
    assert len(pieces(written("low rung"))) == 1


@pytest.mark.parametrize("kind", ["vit", "deit", "beit", "dinov2"])
def test_a_body_of_patches_is_taught_and_shipped(kind, tmp_path, capsys):
    base = hearing.recognizer(str(body_folder(kind, tmp_path)), READING)
    assert isinstance(base, Recognizer)
    assert "answers nothing before it is taught" in capsys.readouterr().err
    rows = examples(["low", "rung low"])
    assert base.answer([rows[0].question])[0].answer is None
    first, second = (READING.features(each.question.given[0]) for each in rows)
    alone, size = base.body(*batched([first]))
    beside, sizes = base.body(*batched([first, second]))
    assert torch.allclose(alone[0, : int(size)], beside[0, : int(size)], atol=1e-5)  # whoever else is there
    assert sizes.tolist() == [-(-len(each) // LESS) for each in (first, second)]
    for how, moves in ((Frozen(), {"split"}), (Top(1), {"split", "layers.1"})):
        made = fit_recognizer(base, rows, how=how, settings=QUICK)
        before = {name: each.bfloat16().float() for name, each in base.body.named_parameters()}
        moved = {name for name, each in made.body.named_parameters() if not torch.equal(each, before[name])}
        below = {name for name in moved if not name.startswith("split")}
        assert {"split"} <= {name.partition(".")[0] for name in moved}
        assert all("layer" in name and ".1." in name for name in below)
        assert bool(below) == (len(moves) > 1)
    folder = shipped(made, tmp_path / "shipped")
    again = load(folder).model
    assert again.sense is PATCHES
    (ours,), (theirs,) = (each.logs([rows[0].question.given[0]]) for each in (made, again))
    assert np.allclose(ours, theirs, atol=0.1)  # the weights were put in 16 bits


def test_two_letters_are_learnt_from_a_random_body(tmp_path):
    random = Random(0)
    rows = examples(["".join(random.choices("lo", k=random.randint(1, 4))) for _ in range(24)])
    losses = []
    base = hearing.recognizer(str(body_folder("vit", tmp_path)), READING)
    settings = Settings(lr=3e-3, head_lr=6e-3, least=150, most=150, batch=8)
    made = fit_recognizer(base, rows, how=Full(), settings=settings, watch=lambda *told: losses.append(told[2]))
    assert losses[-1] < losses[0] / 4
    assert (
        error_rate(made, examples(["lol", "oo", "loll", "o", "ll"])) < 0.4
    )  # what says the same everywhere is wrong in half


def test_the_encoder_of_trocr_is_taught(trocr, tmp_path):
    base = hearing.taught(hearing.recognizer(str(trocr), READING))
    assert base.sense is PATCHES
    assert base.body.shape.mean == (0.4, 0.5, 0.6)
    again = hearing.taught(hearing.recognizer(str(trocr), READING))
    assert torch.equal(base.body.split.weight, again.body.split.weight)  # it begins the same
    rows = examples(["low", "rung"])
    made = fit_recognizer(base, rows, how=Top(1), settings=QUICK)
    kept = hearing.loaded(shipped(made, tmp_path / "shipped"), str(trocr))
    assert set(kept.head.alphabet) == set("lowrung")
    # what was taught is a copy: TrOCR itself answers as before
    fresh = hearing.read_trocr(str(trocr), base.source)
    asked = [each.question for each in rows]
    assert fresh.answer(asked) == hearing.recognizer(str(trocr), READING).answer(asked)


def test_a_study_ships_the_untouched_trocr_without_its_weights(trocr, tmp_path):
    rows = [
        {"id": str(at), "image": written(text, seed=at), "text": text} for at, text in enumerate(["low", "rung"] * 3)
    ]
    made = study("reading", rows, model=str(trocr), methods=("zero-shot",), test=rows[:2], out=tmp_path / "study")
    assert made.gate.shipped == "zero-shot"
    folder = tmp_path / "study" / "model"
    assert not list(folder.glob("*.safetensors"))
    found = load(tmp_path / "study")
    asked = found.question({"image": rows[0]["image"]})
    assert found.model.answer([asked]) == hearing.recognizer(str(trocr), READING).answer([asked])


def test_other_weights_or_damaged_facts_are_told_in_one_line(tmp_path):
    home = trocr_folder(tmp_path / "trocr")
    folder = shipped(hearing.recognizer(str(home), READING), tmp_path / "shipped")
    hearing.recognizer.cache_clear()
    weights = home / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelError, match="other weights"):
        load(folder)
    weights.unlink()
    hearing.recognizer.cache_clear()
    with pytest.raises(ModelError, match=r"no \.safetensors weights"):
        load(folder)
    facts = json.loads((folder / FACTS).read_text("utf-8"))
    del facts["model"]["checksum"], facts["model"]["body"]
    (folder / FACTS).write_text(json.dumps(facts), "utf-8")
    with pytest.raises(ModelError, match="not a whole model folder") as problem:
        load(folder)
    assert "\n" not in str(problem.value)


def changed(home, file, **told):
    kept = json.loads((home / file).read_text("utf-8"))
    (home / file).write_text(json.dumps({**kept, **told}), "utf-8")


def test_folders_that_cannot_be_read_say_why(trocr, tmp_path):
    import shutil

    def copied(name: str) -> Path:
        return Path(shutil.copytree(trocr, tmp_path / name))

    with pytest.raises(ModelError, match="a body that reads, and the task needs one that hears"):
        hearing.recognizer(str(trocr), HEARING)
    home = copied("unprocessed")
    (home / "processor_config.json").unlink()
    with pytest.raises(ModelError, match="no image processor"):
        hearing.recognizer(str(home), READING)
    home = copied("damaged")
    (home / "processor_config.json").write_text("{", "utf-8")
    with pytest.raises(ModelError, match="not an image processor"):
        hearing.recognizer(str(home), READING)
    home = copied("cutting")
    changed(home, "processor_config.json", image_processor={"size": 32, "do_center_crop": True, "do_normalize": False})
    with pytest.raises(ModelError, match="one height and width"):
        hearing.recognizer(str(home), READING)
    home = copied("short")
    (home / "model.safetensors").write_bytes((home / "model.safetensors").read_bytes()[:100])
    with pytest.raises(ModelError, match="not a transformers model"):
        hearing.recognizer(str(home), READING)
    with pytest.raises(ModelError, match="vit, deit, beit, dinov2, not swin"):
        PatchBody(PatchShape({**BODY, "model_type": "swin"}, (0.5,), (0.5,)))
    with pytest.raises(ModelError, match="square"):
        PatchBody(PatchShape({**BODY, "model_type": "vit", "patch_size": [8, 16]}, (0.5,), (0.5,)))


def test_a_processor_of_its_own_file_is_read(tmp_path):
    told = {"image_mean": [0.1], "image_std": [0.2], "size": {"height": 8, "width": 24}, "resample": 0}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told), "utf-8")
    assert read_look(tmp_path) == Look((0.1,), (0.2,), (8, 24), 0)
    assert read_look(tmp_path / "none") is None


def test_a_line_of_any_width_has_a_state_every_four_columns(tmp_path):
    base = hearing.recognizer(str(body_folder("vit", tmp_path)), READING)
    for wide in (1, ACROSS * FILL, ACROSS * FILL + 1, 999):
        states, sizes = base.body(*batched([torch.rand(wide, 40)]))
        assert states.shape[:2] == (1, -(-wide // LESS))
        assert sizes.tolist() == [-(-wide // LESS)]


ASK = """
import sys
from pathlib import Path
from lowrung import tasks
from lowrung.models.hearing import recognizer
from lowrung.models.senses import READING
from lowrung.run.ship import load, ship
name, folder = sys.argv[1:]
found = recognizer(name, READING)
ship(tasks.task("reading"), found, folder, report={}, card="", facts={})
again = load(folder).model
print(type(again).__name__, again.source.name, again.source.checksum)
"""


@pytest.mark.slow  # a process that imports everything
def test_a_hub_id_is_fetched_and_shipped_by_its_name(trocr, tmp_path):
    from lowrung.models.catalog import weights_checksum

    with serving(trocr) as address:
        told, said = ask(ASK, tmp_path / "home", address, "owner/tiny", str(tmp_path / "shipped"))
    assert told == [f"TrOCR owner/tiny {weights_checksum(trocr)}"]
    assert "fetching owner/tiny" in said
