"""Heads: the field's algorithms against brute force, and what a label's name is worth before the first label."""

import itertools
import math
from functools import cache
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bodies import body, wordpiece

from lowrung.core.answers import Choice, Span, Spans
from lowrung.core.parts import Question
from lowrung.core.words import words

LABELS = ("PER", "LOC")
TEXTS = ["Ada lives in London", "?", "東京 Ada", "", "where is my parcel? not in London!"]


@cache
def _backbone() -> Any:
    from lowrung.models.pieces import Tokenizer
    from lowrung.models.text import Source, TextBackbone

    inner = wordpiece()
    return TextBackbone(Tokenizer(inner, longest=40), body("bert", inner), source=Source("tiny", "0"), pooling="mean")


def _tag(seed: int = 0, labels: tuple[str, ...] = LABELS) -> Any:
    """A Tag head whose every weight says something."""
    import torch

    from lowrung.models.heads import Tag

    torch.manual_seed(seed)
    head = Tag(labels, torch.randn(len(labels), 16), width=16).eval()
    with torch.no_grad():
        for each in head.parameters():
            each.add_(torch.randn_like(each) * 0.5)
        head.nearness.fill_(3.0)
    return head


def _allowed(tags: tuple[int, ...]) -> bool:
    """IOB2: an I- follows the B- or I- of its own label."""
    before = (0, *tags)
    return all(tag % 2 or tag == 0 or was in (tag, tag - 1) for was, tag in zip(before, tags, strict=False))


def _score(head: Any, scores: Any, tags: tuple[int, ...]) -> float:
    made = float(head.first[tags[0]]) + sum(float(scores[at, tag]) for at, tag in enumerate(tags))
    return made + sum(float(head.follow[one, two]) for one, two in itertools.pairwise(tags))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length", [1, 2, 4])
def test_partition_and_best_path_are_those_of_all_taggings(seed: int, length: int) -> None:
    import torch

    head = _tag(seed)
    scores = torch.randn(1, length, 5) * 2
    mask = torch.ones(1, length, dtype=torch.bool)
    paths = [path for path in itertools.product(range(5), repeat=length) if _allowed(path)]
    with torch.no_grad():
        known = {path: _score(head, scores[0], path) for path in paths}
        total = math.log(math.fsum(math.exp(each) for each in known.values()))
        assert float(head._total(scores, mask)) == pytest.approx(total, abs=1e-4)
        best = tuple(head._best(scores, mask)[0].tolist())
        assert known[best] == pytest.approx(max(known.values()), abs=1e-5)
        for path in paths[:: max(1, len(paths) // 9)]:
            loss = head.likelihood(scores, mask, torch.tensor([path]))
            assert float(loss) == pytest.approx(total - known[path], abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_no_impossible_tagging_comes_out(seed: int) -> None:
    import torch

    head = _tag(seed)
    torch.manual_seed(seed)
    scores = torch.randn(16, 9, 5)
    scores[..., 2::2] += 20  # everything pulls towards I-
    mask = torch.arange(9)[None] < torch.arange(16)[:, None].clamp(min=1)
    with torch.no_grad():
        paths = head._best(scores, mask)
    for path, length in zip(paths.tolist(), mask.sum(1).tolist(), strict=True):
        assert _allowed(tuple(path[:length]))


def test_padding_and_batch_mates_change_no_loss_and_no_answer() -> None:
    import torch

    head, backbone = _tag(), _backbone()
    questions = [Question((text,)) for text in TEXTS]
    golds = [Spans((Span(0, 3, "PER"), Span(13, 19, "LOC"))), Spans(), Spans((Span(3, 6, "PER"),)), Spans(), Spans()]
    with torch.no_grad():
        batch = backbone.encode(questions)
        hidden = backbone.hidden(batch)
        together, said = float(head.loss(batch, hidden, golds)), head.decode(batch, hidden)
        alone = []
        for question, gold, other in zip(questions, golds, said, strict=True):
            one = backbone.encode([question])
            state = backbone.hidden(one)
            alone.append(float(head.loss(one, state, [gold])))
            (found,) = head.decode(one, state)
            assert found.answer == other.answer
            assert found.confidence == pytest.approx(other.confidence, abs=1e-5)
        assert together == pytest.approx(sum(alone) / len(alone), rel=1e-5)
        hidden[~batch.mask] = 1e4  # what stands at padding is nobody's business
        assert float(head.loss(batch, hidden, golds)) == pytest.approx(together, rel=1e-5)


def test_the_state_of_a_word_is_the_mean_of_its_pieces() -> None:
    import torch

    head, backbone = _tag(), _backbone()
    texts = [*TEXTS, "unbelievably long tokenizationunbelievably " * 4]
    batch = backbone.encode([Question((text, "Ada")) for text in texts])
    hidden = torch.randn(*batch.mask.shape, 16)
    states, _, mask = head.features(batch, hidden)
    for at, text in enumerate(texts):
        found = words(text)
        assert int(mask[at].sum()) == len(found)
        for number, (start, end) in enumerate(found):
            own = [
                place
                for place, (low, high) in enumerate(batch.offsets[at].tolist())
                if low < high and low < end and high > start
            ]
            assert own
            assert torch.allclose(states[at, number], hidden[at, own].mean(0), atol=1e-4), text[start:end]


@pytest.mark.parametrize("text", ["caf \ufffd", "\ufffd caf", "a \ufffd b", "\ufffd"])
def test_a_word_that_the_tokenizer_drops_takes_the_piece_before_it(text: str) -> None:
    import torch

    head, backbone = _tag(), _backbone()
    assert len(words(text)) == len(text.split())
    at = text.split().index("\ufffd")
    batch = backbone.encode([Question((text,)), Question(("where is my parcel " * 3,))])
    assert (0, 0) not in backbone.tokenizer.pieces([text])[0][1]
    hidden = torch.randn(*batch.mask.shape, 16)
    states, _, _ = head.features(batch, hidden)
    before = max(
        [place for place, each in enumerate(batch.offsets[0].tolist()) if 0 < each[1] <= text.index("\ufffd")] or [0]
    )
    assert torch.allclose(states[0, at], hidden[0, before], atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_gold_spans_survive_the_way_through_tags(seed: int) -> None:
    random = Random(seed)
    text = " ".join(
        random.choice(["Ada", "don't", "東京", "3.5", "(x)", "a-b", "👍🏽"]) for _ in range(random.randint(1, 9))
    )
    found, at, spans = words(text), 0, []
    while at < len(found):
        length = random.randint(1, 3)
        if random.random() < 0.5 and at + length <= len(found):
            spans.append(Span(found[at][0], found[at + length - 1][1], random.choice(LABELS)))
            at += length
        else:
            at += 1
    gold = Spans(tuple(spans))
    head = _tag()
    batch = _backbone().encode([Question((text,))])
    tags = head.tags(batch, [gold])[0].tolist()
    assert _allowed(tuple(tags))
    assert head._spans(tags, [list(each) for each in found]) == gold


def test_a_word_partly_covered_belongs_to_the_span() -> None:
    head = _tag()
    batch = _backbone().encode([Question(("Londoners met Ada",))])
    assert head.tags(batch, [Spans((Span(0, 6, "LOC"),))])[0].tolist() == [3, 0, 0]


def test_a_tag_head_takes_new_labels_and_keeps_the_old() -> None:
    import torch

    head, backbone = _tag(), _backbone()
    batch = backbone.encode([Question((TEXTS[0],)), Question((TEXTS[4],))])
    with torch.no_grad():
        hidden = backbone.hidden(batch)
        states, seen, _ = head.features(batch, hidden)
        same = head.over(LABELS, head.names)
        assert torch.allclose(same.scores(states, seen), head.scores(states, seen), atol=1e-5)
        assert [each.answer for each in same.decode(batch, hidden)] == [
            each.answer for each in head.decode(batch, hidden)
        ]
        turned = head.over(("MISC", "LOC", "PER"), torch.cat([torch.randn(1, 16), head.names[[1, 0]]]))
        assert turned.options == ("MISC", "LOC", "PER")
        # compare without the names' part, whose mean over labels a new label moves
        for each in (head, turned):
            each.nearness.fill_(0.0)
        old, new = head.scores(states, seen), turned.scores(states, seen)
        assert torch.allclose(new[..., [0, 5, 6, 3, 4]], old, atol=1e-5)
        assert torch.allclose(turned.follow[5, 6], head.follow[1, 2])
        fresh = type(head)(("MISC",), torch.randn(1, 16), width=16)
        assert turned.follow[1, 2] == fresh.follow[1, 2]  # a new label starts as every label did


def test_lean_finds_more() -> None:
    import torch

    head = _tag()
    batch = _backbone().encode([Question((" ".join(["ada"] * 8),))])
    scores = torch.zeros(1, 8, 5)
    scores[..., 0], scores[..., 1] = 1.0, 0.5
    for each in head.parameters():
        each.data.zero_()
    mask = torch.ones(1, 8, dtype=torch.bool)
    with torch.no_grad():
        assert head.choose(batch, scores, mask)[0].answer == Spans()
        head.lean.fill_(1.0)
        assert len(head.choose(batch, scores, mask)[0].answer.spans) == 8


def test_before_the_first_label_a_choice_is_the_nearest_name() -> None:
    import torch

    from lowrung.models.heads import SCALE, Rank

    backbone = _backbone()
    options = ("money", "parcel", "city")
    names = backbone.embed(options)
    head = Rank(options, names)
    texts = ["my card was charged", "where is my parcel?", "London"]
    batch = backbone.encode([Question((text,)) for text in texts])
    with torch.no_grad():
        said = head.decode(batch, backbone.hidden(batch))
    cosines = backbone.embed(texts) @ names.T
    for one, row in zip(said, cosines, strict=True):
        assert one.answer == Choice(options[int(row.argmax())])
        shares = (SCALE * row).softmax(0)
        told = {one.answer.option: one.confidence, **{each.option: share for each, share in one.others}}
        assert told == pytest.approx(dict(zip(options, shares.tolist(), strict=True)), abs=1e-5)
        assert [share for _, share in one.others] == sorted((share for _, share in one.others), reverse=True)


def test_a_choice_takes_new_options_and_keeps_what_it_learnt() -> None:
    import torch

    from lowrung.models.heads import Rank

    torch.manual_seed(0)
    unit = torch.nn.functional.normalize
    names, features = unit(torch.randn(2, 16), dim=-1), unit(torch.randn(5, 16), dim=-1)
    head = Rank(("a", "b"), names)
    with torch.no_grad():
        head.shift.normal_()
        head.bias.normal_()
        head.trust.fill_(0.0)  # it found the names to mislead
        new = unit(torch.randn(1, 16), dim=-1)
        wider = head.over(("new", "b", "a"), torch.cat([new, names[[1, 0]]]))
        old, now = head.logits(features), wider.logits(features)
        assert torch.allclose(now[:, [2, 1]], old, atol=1e-5)
        fresh = Rank(("new",), new).logits(features)
        assert torch.allclose(now[:, :1], fresh, atol=1e-5)  # the new one still speaks by its name


def test_weights_balance_the_classes_of_a_choice() -> None:
    import torch

    from lowrung.models.heads import Rank

    backbone = _backbone()
    head = Rank(("a", "b"), backbone.embed(["money", "parcel"]))
    batch = backbone.encode([Question((text,)) for text in TEXTS[:3]])
    with torch.no_grad():
        hidden = backbone.hidden(batch)
        golds = [Choice("a"), Choice("a"), Choice("b")]
        only_b = float(head.loss(batch, hidden, golds, torch.tensor([0.0, 1.0])))
        logits = head.logits(head.features(batch, hidden))
    assert only_b == pytest.approx(float(-logits[2].log_softmax(0)[1]), rel=1e-5)
