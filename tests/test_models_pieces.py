"""Pieces know where they lie, in any script and by any tokenizer; a long text loses none of them."""

import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bodies import byte_bpe, metaspace, wordpiece

from lowrung.core.errors import ModelError
from lowrung.core.parts import Audio, Question
from lowrung.core.words import words

LONGEST = 24
TEXTS = [
    "Ada lives in London.",
    unicodedata.normalize("NFC", "café naïve Größe Ünïcode"),
    unicodedata.normalize("NFD", "café naïve Größe Ünïcode"),
    "東京は日本の首都です",
    "hi 👩‍👩‍👧‍👦 and 🇫🇷 and 👍🏽!",
    "un" * 60,
    "  two blanks first, and last \t\n ",
    "a\u00a0b\u3000c",
    "?",
]


@cache
def _tokenizer(kind: str) -> Any:
    from lowrung.models.pieces import Tokenizer

    made: dict[str, Callable[[], Any]] = {
        "cased": wordpiece,
        "uncased": lambda: wordpiece(lower=True),
        "bytes": byte_bpe,
        "unigram": metaspace,
    }
    return Tokenizer(made[kind](), longest=LONGEST)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """BERTweet's, which is written in Python and knows no offsets."""
    from transformers import BertweetTokenizer

    from lowrung.models.pieces import Tokenizer

    folder: Path = tmp_path_factory.mktemp("slow")
    (folder / "vocab.txt").write_text("A@@ 1\nd@@ 1\na 1\nlives 1\nin 1\n. 1\nL@@ 1\no@@ 1\nn@@ 1\nn 1\n", "utf-8")
    (folder / "bpe.codes").write_text("l i 9\nli v 9\nliv e 9\nlive s</w> 9\ni n</w> 9\n", "utf-8")
    inner = BertweetTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes"))
    assert not inner.is_fast
    return Tokenizer(inner, longest=LONGEST)


def _question(text: str, *more: str) -> Question:
    return Question((text, *more))


def _check(tokenizer: Any, text: str) -> None:
    ((ids, offsets),) = tokenizer.pieces([text])
    assert len(ids) == len(offsets)
    before = 0
    for start, end in offsets:
        assert 0 <= start <= end <= len(text)
        if start < end:
            assert start >= before, "pieces lie in the order of the text"
            assert text[start:end] == text[start:end].strip(), "a piece has no blank at its edge"
            before = start
    covered = {at for start, end in offsets for at in range(start, end)}
    for start, end in words(text):
        assert start in covered or not text[start].isalnum(), f"nothing covers {text[start:end]!r}"


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ["cased", "uncased", "bytes", "unigram"])
def test_offsets_lie_where_the_letters_do(kind: str, text: str) -> None:
    _check(_tokenizer(kind), text)


@pytest.mark.parametrize("kind", ["cased", "uncased", "bytes", "unigram"])
@settings(max_examples=40, deadline=None)
@given(text=st.text(st.sampled_from("aé e\u0301\u0308\u00a0\u200d東👩👧\u0001ﬁßİ.#'_\n"), max_size=30))
def test_offsets_of_wild_texts_stay_inside_and_in_order(kind: str, text: str) -> None:
    ((ids, offsets),) = _tokenizer(kind).pieces([text])
    starts = [start for start, end in offsets if start < end]
    assert len(ids) == len(offsets)
    assert starts == sorted(starts)
    assert all(0 <= start <= end <= len(text) for start, end in offsets)


@pytest.mark.parametrize("text", TEXTS[:1] + TEXTS[3:4] + TEXTS[6:])
def test_a_slow_tokenizer_is_right_by_words(slow: Any, text: str) -> None:
    _check(slow, text)
    ((_, offsets),) = slow.pieces([text])
    assert {each for each in offsets if each[1] > each[0]} == set(words(text))


def test_cased_word_pieces_are_the_letters_at_their_offsets() -> None:
    tokenizer = _tokenizer("cased")
    text = "Ada lives in  London, unbelievably."
    ((ids, offsets),) = tokenizer.pieces([text])
    named = [each.removeprefix("##") for each in tokenizer.inner.convert_ids_to_tokens(ids)]
    assert [text[start:end] for start, end in offsets] == named


def test_accents_count_in_the_text_as_it_was_given() -> None:
    composed, apart = (unicodedata.normalize(form, "é Ada") for form in ("NFC", "NFD"))
    for kind in ("uncased", "bytes", "unigram"):
        for text in (composed, apart):
            ((_, offsets),) = _tokenizer(kind).pieces([text])
            ada = text.index("Ada")
            assert min(start for start, end in offsets if end > ada) == ada, (kind, text)


@pytest.mark.parametrize("kind", ["cased", "bytes", "unigram", "slow"])
@pytest.mark.parametrize("second", ["", "Ada", "where is my parcel? " * 9])
@pytest.mark.parametrize("times", [1, 3, 4, 7, 20])
def test_windows_lose_and_repeat_nothing(kind: str, second: str, times: int, slow: Any) -> None:
    import torch

    tokenizer = slow if kind == "slow" else _tokenizer(kind)
    text = "Ada lives in London. " * times
    questions = [_question(text, *([second] if second else [])), _question("Ada")]
    batch = tokenizer.batch(questions)
    assert batch.ids.shape[1] <= LONGEST
    stitched = batch.stitched(batch.ids[..., None])[..., 0]  # ids as if they were states
    found = stitched[0][batch.mask[0]].tolist()
    offsets = batch.offsets[0][batch.mask[0]].tolist()
    (ids, where), (others, _) = tokenizer.pieces([text, second or "a"])
    frame = tokenizer.frame
    tail = [*frame.between, *others] if second else []
    assert found == [*frame.before, *ids, *tail, *frame.after]
    foreign = len(tail) + len(frame.after)
    assert offsets == [[0, 0]] * len(frame.before) + [list(each) for each in where] + [[0, 0]] * foreign
    alone = tokenizer.batch(questions[1:])
    assert stitched[1][batch.mask[1]].tolist() == alone.ids[0].tolist()
    assert torch.equal(batch.mask.sum(1), torch.tensor([len(found), int(alone.mask.sum())]))


def test_windows_overlap_by_a_quarter_and_the_middle_counts() -> None:
    tokenizer = _tokenizer("cased")
    ((ids, _),) = tokenizer.pieces(["Ada lives in London. " * 12])
    batch = tokenizer.batch([_question("Ada lives in London. " * 12)])
    room = LONGEST - tokenizer.frame.single
    bodies = [row[1:][: int(kept.sum()) - 2].tolist() for row, kept in zip(batch.ids, batch.attended, strict=True)]
    at = 0
    for body in bodies:
        assert body == ids[at : at + room]
        at += room - room // 4
    windows = (batch.stitch[0] // batch.ids.shape[1]).tolist()
    places = (batch.stitch[0] % batch.ids.shape[1]).tolist()
    assert windows == sorted(windows)
    seam = next(at for at in range(1, len(windows)) if windows[at] != windows[at - 1])
    assert places[seam - 1] < LONGEST - 2  # not up to the edge of the one window
    assert places[seam] > 1  # nor from the edge of the next


def test_a_pair_says_which_text_is_which() -> None:
    tokenizer = _tokenizer("cased")
    batch = tokenizer.batch([_question("Ada", "London")])
    first, second = (len(ids) for ids, _ in tokenizer.pieces(["Ada", "London"]))
    assert batch.kinds[0].tolist() == [0] * (first + 2) + [1] * (second + 1)
    assert _tokenizer("bytes").batch([_question("Ada", "London")]).kinds is None


def test_no_piece_of_another_part_lies_in_the_first_text() -> None:
    batch = _tokenizer("bytes").batch([_question("Ada", "London", "Paris")])
    assert int(batch.offsets.max()) == 3


def test_an_empty_text_is_its_special_pieces() -> None:
    batch = _tokenizer("cased").batch([_question("")])
    assert batch.mask.shape == (1, 2)


def test_a_second_text_may_fill_the_room_beside_an_empty_one() -> None:
    tokenizer = _tokenizer("cased")
    one = len(tokenizer.pieces(["a"])[0][0])
    full = (tokenizer.longest - tokenizer.frame.pair) // one
    for times in range(full - 2, full + 3):
        batch = tokenizer.batch([_question(" ", "a " * times)])
        assert int(batch.attended.sum()) >= times * one


def test_what_cannot_be_read_is_said() -> None:
    import numpy as np

    from lowrung.models.pieces import Tokenizer

    with pytest.raises(ModelError, match="without text"):
        _tokenizer("cased").batch([Question((Audio(np.zeros(4, np.float32), 16000),))])
    with pytest.raises(ModelError, match="too short"):
        Tokenizer(wordpiece(), longest=5)
