"""A network on disk answers as before, and only beside the body that it was trained on."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from test_models_training import HOWS, _network, _trained, folder  # noqa: F401 (a fixture)
from tiny_encoder import ROWS

from lowrung.core.errors import ModelError
from lowrung.core.parts import Question

TEXTS = ["was I charged for the card?", "Ada lives in Paris", "?", "where is my parcel " * 20, "Émile in 東京"]


def _asked(*options: str) -> list[Question]:
    return [Question((text,), options=options) for text in TEXTS]


@pytest.fixture
def backbone(folder: str) -> Any:  # noqa: F811
    from lowrung.models import catalog

    return catalog.backbone(folder)


def _told(network: Any, *options: str) -> list[Any]:
    return [(each.answer, each.confidence, each.others) for each in network.answer(_asked(*options))]


@pytest.mark.parametrize("name", list(ROWS))
@pytest.mark.parametrize("how", HOWS)
def test_loaded_it_answers_as_when_it_was_saved(backbone: Any, name: str, how: str, tmp_path: Path) -> None:
    from lowrung.models import network

    made = _network(backbone, name, how)
    _trained(made, name)
    facts = made.save(tmp_path)
    found = network.load(tmp_path, facts)
    assert _told(found) == _told(made)
    assert (found.how, found.depths, found.name) == (made.how, made.depths, made.name)
    assert _told(found, "billing", "LOC", "praise") == _told(made, "billing", "LOC", "praise")
    size = (tmp_path / "model.safetensors").stat().st_size
    body = sum(each.numel() * 4 for each in backbone.body.parameters())
    assert how == "Full" or size < body, "only what moved is written"


def test_answers_keep_the_order_of_the_questions_whatever_their_options(backbone: Any) -> None:
    made = _network(backbone, "topic", "Frozen")
    asked = [Question((text,), options=options) for text in TEXTS for options in ((), ("a", "b"), made.options)]
    told = made.answer(asked)
    for question, said in zip(asked, told, strict=True):
        assert said.answer.option in (question.options or made.options)
        (alone,) = made.answer([question])
        assert alone.answer == said.answer
        assert alone.confidence == pytest.approx(said.confidence, abs=1e-5)
    assert made.answer([]) == []


def test_another_body_is_refused(backbone: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from lowrung.models import network

    own = Path(shutil.copytree(backbone.source.name, tmp_path / "own"))
    made = _network(backbone, "topic", "Top")
    facts = made.save(tmp_path) | {"backbone": str(own)}
    assert _told(network.load(tmp_path, facts)) == _told(made)
    moved = Path(shutil.copytree(own, tmp_path / "moved"))
    weights = load_file(moved / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][0, 0] += 1
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="other weights"):
        network.load(tmp_path, facts | {"backbone": str(moved)})


@pytest.mark.parametrize("how", ["Frozen", "LoRA"])
def test_a_damaged_folder_is_refused(backbone: Any, how: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from lowrung.models import network

    facts = _network(backbone, "entities", how).save(tmp_path)
    file = tmp_path / "model.safetensors"
    whole, tensors = file.read_bytes(), load_file(file)

    def refused(facts: Any = facts) -> None:
        with pytest.raises(ModelError) as caught:
            network.load(tmp_path, facts)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)

    for damaged in (b"", b"junk" * 99, whole[:-40]):
        file.write_bytes(damaged)
        refused()
    for name in tensors:
        save_file({key: each for key, each in tensors.items() if key != name}, file)
        refused()
    file.unlink()
    refused()
    file.write_bytes(whole)
    for key in ("head", "options", "backbone", "checksum", "how", "depths", "name"):
        refused({name: each for name, each in facts.items() if name != key})
    refused(facts | {"how": {"how": "Half"}})
    refused(facts | {"how": {"how": "Top", "rows": 3}})
    refused(facts | {"options": ["only one"]})
    network.load(tmp_path, facts)
