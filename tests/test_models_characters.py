"""A body that sees letters begins as the body it was made of, tells capitals apart, and comes back from disk."""

import copy
import json

import pytest
import torch
from safetensors import safe_open
from tiny_encoder import NAMES, write_tiny_encoder

from lowrung.core.edits import Edit
from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.models import catalog
from lowrung.models.characters import END, Letters, LettersBody, spelling
from lowrung.models.pieces import Tokenizer
from lowrung.models.text import Source, TextBackbone
from lowrung.models.tuning import Full, Prefixes, Top
from lowrung.run.adapt import adapt
from lowrung.tasks import task

TEXTS = ("Ada lives in London", "ada lives in london", "where is my parcel? 的 é🙂", "")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return catalog.backbone(str(write_tiny_encoder(tmp_path_factory.mktemp("plain"))))


def lettered(plain, *, fresh=False):
    torch.manual_seed(1)
    letters = Letters(plain.width, size=8, channels=16)
    if not fresh:
        torch.nn.init.normal_(letters.out.weight, std=0.5)
    body = LettersBody(plain.upto(plain.depth).body, letters)
    tokenizer = catalog.spelling_tokenizer(plain.tokenizer)
    body.requires_grad_(False)
    return TextBackbone(tokenizer, body, source=plain.source, pooling=plain.pooling, tagging_layer=1)


def states(backbone, *texts):
    batch = backbone.encode([Question((text,)) for text in texts])
    with torch.no_grad():
        return backbone.hidden(batch)


def test_a_fresh_one_reads_nearly_as_its_base(plain):
    gap = (states(plain, *TEXTS) - states(lettered(plain, fresh=True), *TEXTS)).abs().max()
    assert gap < 0.2, "a gate that is nearly shut and no letters"


def test_it_sees_what_the_base_does_not(plain):
    assert torch.equal(states(plain, TEXTS[0]), states(plain, TEXTS[1]))
    one, two = states(lettered(plain), TEXTS[0], TEXTS[1])
    assert (one - two).abs().max() > 0.01


def test_every_piece_knows_its_word(plain):
    tokenizer = catalog.spelling_tokenizer(plain.tokenizer)
    batch = tokenizer.batch([Question(("Londoners met",)), Question(("Ada", "in Paris"))])
    assert batch.spelt is not None
    assert batch.spelt[0][:3] == ("", "Londoners", "Londoners")
    assert batch.spelt[0][-2:] == ("met", "")
    assert [word for word in batch.spelt[1] if word] == ["Ada", "in", "Paris"]
    long = tokenizer.batch([Question(("Ada lives in London. " * 40,))])
    assert len(long.spelt) == len(long.ids) > 1
    for row, attended in zip(long.spelt, long.attended, strict=True):
        assert len(row) == int(attended.sum())
        assert {*row} <= {"", "Ada", "lives", "in", "London", "."}


def test_texts_together_read_as_texts_alone(plain):
    backbone = lettered(plain)
    together = states(backbone, *TEXTS)
    for at, text in enumerate(TEXTS):
        alone = states(backbone, text)[0]
        assert torch.allclose(together[at, : len(alone)], alone, atol=1e-5)


@pytest.mark.parametrize("how", [Top(1), Full()])
def test_it_is_tuned_like_any_other(plain, how):
    backbone, entities = lettered(plain), task("entities").with_options(("PER", "LOC"))
    before = {name: each.clone() for name, each in backbone.body.state_dict().items()}
    examples = [entities.example(row) for row in NAMES]
    made = adapt(backbone, entities, examples, how=how, prefixes=Prefixes(backbone))
    assert all(torch.equal(before[name], each) for name, each in backbone.body.state_dict().items())
    assert len(made.answer([each.question for each in examples])) == len(examples)
    moved = any(
        not torch.equal(each, before[f"letters.{name}"])
        for name, each in made.backbone.body.letters.state_dict().items()
    )
    assert moved == isinstance(how, Full)


def test_what_is_remembered_of_a_word_is_forgotten_when_it_moves(plain):
    letters = lettered(plain).body.letters
    before = letters.beside([["Ada", ""]])
    assert torch.equal(letters.beside([["", "Ada"]])[0, 1], before[0, 0])
    twin = copy.deepcopy(letters)
    letters.train()
    with torch.no_grad():
        letters.out.bias.add_(1.0)
    assert (letters.beside([["Ada"]])[0, 0] - before[0, 0]).abs().min() > 0.5
    assert torch.allclose(twin.beside([["Ada"]])[0, 0], before[0, 0])


def test_long_words_keep_their_ends():
    cut = spelling("a" * 40 + "bcdefghi")
    assert len(cut) == 26
    assert cut[-1] == (END, 0)
    assert cut[-2] == spelling("i")[1]
    assert [capital for _, capital in spelling("aÉß")] == [0, 0, 1, 0, 0]


def test_it_comes_back_from_disk(plain, tmp_path):
    made = lettered(plain)
    with torch.no_grad():
        for each in made.body.letters.parameters():
            each.copy_(each.to(torch.bfloat16))
    catalog.save_letters(made, tmp_path / "l", base=plain.source.name, facts={"steps": 3})
    again = catalog.backbone(str(tmp_path / "l"))
    assert again.tagging_layer == 1
    assert torch.allclose(states(again, *TEXTS), states(made, *TEXTS), atol=1e-6)
    (tmp_path / "l" / "letters.json").write_text(json.dumps({"base": plain.source.name, "base_checksum": "0"}))
    catalog.backbone.cache_clear()
    with pytest.raises(ModelError, match="other weights"):
        catalog.backbone(str(tmp_path / "l"))
    (tmp_path / "l" / "letters.json").write_text("{")
    catalog.backbone.cache_clear()
    with pytest.raises(ModelError, match="not a whole letters backbone"):
        catalog.backbone(str(tmp_path / "l"))
    with pytest.raises(ModelError, match="no body that reads letters"):
        catalog.save_letters(plain, tmp_path / "m", base=plain.source.name, facts={})


def test_codes_lie_on_disk_alone_and_stand_on_the_body_that_they_were_added_to(plain, tmp_path):
    under = lettered(plain)
    with torch.no_grad():
        for each in under.body.letters.parameters():
            each.copy_(each.to(torch.bfloat16))
    catalog.save_letters(under, tmp_path / "under", base=plain.source.name, facts={})
    base, made = catalog.backbone(str(tmp_path / "under")), lettered(plain)
    own = Letters(plain.width, size=8, channels=16, places=True)
    own.load_state_dict(base.body.letters.state_dict(), strict=False)
    torch.nn.init.normal_(own.places.weight)
    own.places.weight.data = own.places.weight.data.to(torch.bfloat16).float()
    made.body = LettersBody(base.body.bert, own.requires_grad_(False))
    before = states(base, *TEXTS)
    catalog.save_letters(made, tmp_path / "codes", base=base.source.name, facts={})
    with safe_open(tmp_path / "codes" / "model.safetensors", "pt") as file:
        assert [*file.keys()] == ["letters.places.weight"]
    again = catalog.backbone(str(tmp_path / "codes"))
    assert torch.allclose(states(again, *TEXTS), states(made, *TEXTS), atol=1e-6)
    assert torch.equal(states(base, *TEXTS), before)
    assert (states(again, *TEXTS) - before).abs().max() > 0.01
    with torch.no_grad():
        own.out.bias.add_(1.0)
    catalog.save_letters(made, tmp_path / "under", base=plain.source.name, facts={})
    catalog.backbone.cache_clear()
    with pytest.raises(ModelError, match="other weights"):
        catalog.backbone(str(tmp_path / "codes"))


def test_the_graph_reads_letters_too(plain):
    pytest.importorskip("onnxruntime")
    entities = task("entities").with_options(("PER", "LOC"))
    made = adapt(lettered(plain), entities, [entities.example(row) for row in NAMES])
    questions = [Question((text,)) for text in TEXTS if text]
    before = made.answer(questions)
    made.quicken("exact")
    assert [each.answer for each in made.answer(questions)] == [each.answer for each in before]


def test_a_source_is_a_name_and_a_checksum(plain):
    assert lettered(plain).source == Source(plain.source.name, plain.source.checksum)


def test_words_are_read_as_they_are_meant_and_lie_where_they_stand(plain):
    mends = {"Ada lvies inn Lon don .": (Edit(4, 9, "lives"), Edit(10, 13, "in"), Edit(14, 21, "London"))}
    tokenizer = Tokenizer(
        plain.tokenizer.inner, longest=64, spell=True, mend=lambda texts: [mends.get(text, ()) for text in texts]
    )
    damaged, clean = "Ada lvies inn Lon don .", "Ada lives in London ."
    (ids, offsets), (others, _) = tokenizer.pieces([damaged, clean])
    assert ids == others
    assert [damaged[start:end] for start, end in offsets] == ["Ada", "lvies", "inn", "Lon don", "."]
    assert offsets == sorted(offsets)
    assert tokenizer.batch([Question((damaged,))]).spelt[0] == ("", "Ada", "lvies", "inn", "Lon", ".", "")


def test_a_word_read_as_two_gives_both_its_place(plain):
    tokenizer = Tokenizer(
        plain.tokenizer.inner, longest=64, mend=lambda texts: [(Edit(0, 6, "Ada in"),) for _ in texts]
    )
    _, offsets = tokenizer.pieces(["Adainn London"])[0]
    assert offsets == [(0, 6), (0, 6), (7, 13)]
