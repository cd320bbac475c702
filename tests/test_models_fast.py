"""Answering by onnxruntime says what torch says; classifiers of other people answer as their own pipeline."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from test_models_training import _network, _trained, folder  # noqa: F401 (a fixture)
from tiny_bodies import FAMILIES, LONGEST, body, tokenizer_of, wordpiece

from lowrung.core.answers import Choice, Span, Spans
from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.core.words import words

TEXTS = ["was I charged for the card?", "Ada lives in Paris.", "?", "where is my parcel " * 20, "Émile in 東京, café"]
QUESTIONS = [Question((text,)) for text in TEXTS]


@pytest.fixture(autouse=True)
def _runtime() -> None:
    from lowrung.models import fast

    if not fast.available():
        pytest.skip("the extra `fast` is not installed")


@pytest.mark.parametrize(
    ("name", "how"), [("entities", "Frozen"), ("entities", "Full"), ("topic", "LoRA"), ("topic", "Top")]
)
def test_the_graph_answers_as_torch_does(folder: str, name: str, how: str) -> None:  # noqa: F811
    import torch

    from lowrung.models import catalog

    backbone = catalog.backbone(folder)
    made = _network(backbone, name, how)
    _trained(made, name, most=12, least=12)
    if how == "Frozen":
        made.depths = (1, 2)
        made.head = _wide(made, backbone)
    batch = backbone.encode(QUESTIONS)
    with torch.no_grad():
        wanted, said = made.hidden(batch)[batch.mask], made.answer(QUESTIONS)
        made.quicken("exact")
        assert (made.hidden(batch)[batch.mask] - wanted).abs().max() < 1e-4
        again = made.answer(QUESTIONS)
        assert [each.answer for each in again] == [each.answer for each in said]
        assert [each.confidence for each in again] == pytest.approx([each.confidence for each in said], abs=1e-4)
        made.quicken("fast")
        near = made.hidden(batch)[batch.mask]
        likeness = torch.nn.functional.cosine_similarity(near, wanted, dim=-1)
        assert float(likeness.min()) > 0.98
        assert not torch.equal(near, wanted), "8 bits are not 32"


def _wide(made: Any, backbone: Any) -> Any:
    """A Tag that reads two layers at once, as on a sentence encoder."""
    from lowrung.models.heads import Tag

    return Tag(made.options, made.head.names, width=backbone.width).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_graph(family: str) -> None:
    import torch

    from lowrung.models.fast import Graph
    from lowrung.models.pieces import Tokenizer
    from lowrung.models.text import Source, TextBackbone

    inner = tokenizer_of(family)
    made = TextBackbone(Tokenizer(inner, longest=LONGEST), body(family, inner), source=Source("", ""), pooling="mean")
    kinds = made.tokenizer.frame.kinds is not None
    graph = Graph(made.states, made.body, kinds=kinds)
    assert not any(each.training for each in made.body.modules()), "the body is left as it was"
    batch = made.encode(QUESTIONS)
    with torch.no_grad():
        assert (graph(batch) - made.states(**made.given(batch)))[batch.attended].abs().max() < 1e-4


def test_unknown_precisions_are_told() -> None:
    from lowrung.models.fast import Graph

    with pytest.raises(ModelError, match="Did you mean 'exact'"):
        Graph(lambda **given: None, body("bert", wordpiece()), kinds=True, precision="exat")  # type: ignore[arg-type,return-value]


TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A token and a text classifier as `save_pretrained` leaves them."""
    import torch
    from transformers import BertForSequenceClassification, BertForTokenClassification

    inner = wordpiece()
    folders = []
    for kind, labels in ((BertForTokenClassification, TAGS), (BertForSequenceClassification, ("good", "bad", "so so"))):
        torch.manual_seed(4)
        config = body("bert", inner).config
        config.id2label, config.label2id = dict(enumerate(labels)), {each: at for at, each in enumerate(labels)}
        network = kind(config)
        torch.nn.init.normal_(network.classifier.weight, std=2.0)
        with torch.no_grad():  # no label may win everywhere
            coded = inner(" ".join(TEXTS)[:90], return_tensors="pt")
            network.classifier.bias.sub_(network.eval()(**coded).logits.flatten(0, -2).mean(0))
        place = tmp_path_factory.mktemp("classifier")
        network.save_pretrained(place)
        inner.save_pretrained(place)
        folders.append(place)
    return folders[0], folders[1]


def _pipeline(job: str, place: Path, **more: Any) -> Any:
    from transformers import pipeline

    return pipeline(job, model=str(place), device="cpu", **more)


def test_a_token_classifier_gives_each_piece_the_tag_of_its_pipeline(classifiers: tuple[Path, Path]) -> None:
    import torch

    from lowrung.models import plain

    made, own = plain.load(classifiers[0], Spans), _pipeline("token-classification", classifiers[0], ignore_labels=[])
    short = [text for text in TEXTS if len(text) < 60]
    seen = set()
    for text in short:
        batch = made.tokenizer.batch([Question((text,))])
        with torch.no_grad():
            tags = [made.labels[tag] for tag in made._run(batch)[0].argmax(-1).tolist()]
        told = {tuple(where): tag for where, tag in zip(batch.offsets[0].tolist(), tags, strict=True) if where[1]}
        assert told == {(each["start"], each["end"]): each["entity"] for each in own(text)}
        seen |= set(tags)
    assert len(seen) > 2, "a classifier that says one thing shows nothing"


def test_spans_of_a_token_classifier_are_words(classifiers: tuple[Path, Path]) -> None:
    from lowrung.models import plain

    made = plain.load(classifiers[0], Spans)
    assert made.options == ("PER", "LOC")
    said = made.answer(QUESTIONS)
    assert any(each.answer.spans for each in said)
    for question, each in zip(QUESTIONS, said, strict=True):
        (alone,) = made.answer([question])
        assert alone.answer == each.answer
        borders = words(question.text)
        for span in each.answer.spans:
            assert span.label in made.options
            assert span.start in {start for start, _ in borders}
            assert span.end in {end for _, end in borders}
            assert 0 < each.confidence <= 1


def test_tags_become_spans_by_the_first_piece_of_a_word(classifiers: tuple[Path, Path]) -> None:
    from lowrung.models import plain

    made = plain.load(classifiers[0], Spans)
    text = "Adalove met Bob, Bob and Anna-Lena"
    pieces = [
        (0, 0),
        (0, 3),
        (3, 7),
        (8, 11),
        (12, 15),
        (15, 16),
        (17, 20),
        (21, 24),
        (25, 29),
        (29, 30),
        (30, 34),
        (0, 0),
    ]
    tags = "O B-PER O O B-PER O I-PER O B-PER I-PER I-PER O".split()
    found = made._spans(text, [1.0] * 12, [TAGS.index(tag) for tag in tags], pieces)
    assert [text[each.start : each.end] for each in found.answer.spans] == ["Adalove", "Bob", "Bob", "Anna-Lena"]
    nothing = made._spans("", [], [], [])
    assert nothing.answer == Spans()
    (one,) = made._spans("Bob", [0.9], [TAGS.index("I-LOC")], [(0, 3)]).answer.spans
    assert one == Span(0, 3, "LOC")


def test_a_text_classifier_answers_as_its_pipeline(classifiers: tuple[Path, Path]) -> None:
    from lowrung.models import plain

    made, own = plain.load(classifiers[1], Choice), _pipeline("text-classification", classifiers[1], top_k=None)
    short = [question for question in QUESTIONS if len(question.text) < 60]
    for question, said in zip(short, made.answer(short), strict=True):
        told = {said.answer.option: said.confidence, **{each.option: share for each, share in said.others}}
        assert told == pytest.approx({each["label"]: each["score"] for each in own([question.text])[0]}, abs=1e-5)
    long = made.answer(QUESTIONS)[3]
    assert sum([long.confidence, *(share for _, share in long.others)]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", [Choice, Spans])
def test_a_classifier_answers_alike_by_its_graph(classifiers: tuple[Path, Path], kind: Any) -> None:
    from lowrung.models import plain

    made = plain.load(classifiers[kind is Choice], kind)
    said = made.answer(QUESTIONS)
    made.quicken()
    again = made.answer(QUESTIONS)
    assert [each.answer for each in again] == [each.answer for each in said]
    assert [each.confidence for each in again] == pytest.approx([each.confidence for each in said], abs=1e-4)


def test_what_is_no_classifier_is_refused(classifiers: tuple[Path, Path], folder: str, tmp_path: Path) -> None:  # noqa: F811
    from lowrung.core.answers import Text
    from lowrung.models import plain

    with warnings.catch_warnings(), pytest.raises(ModelError, match=r"classifier\.weight|classifier\.bias"):
        plain.load(folder, Spans)  # a body alone: its head would be random
    with pytest.raises(ModelError, match="no such folder"):
        plain.load(tmp_path / "nowhere", Choice)
    with pytest.raises(ModelError, match="not a transformers model"):
        plain.load(tmp_path, Choice)
    with pytest.raises(ModelError, match="choices or spans, not Text"):
        plain.load(classifiers[0], Text)
