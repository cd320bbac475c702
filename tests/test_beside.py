"""What stands beside a word: counted n-grams are probabilities, come back from disk and turn a corrector's mind."""

from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
from test_corrector import SMALL, mended
from test_models_characters import lettered, plain  # noqa: F401 (a fixture)

from lowrung.core.errors import DataError, ModelError
from lowrung.models import catalog, correcting
from lowrung.models.beside import EDGE, FIRST, SILENT, Beside
from lowrung.models.context import SURE, InContext, Reader, case_of

LINES = ["They lost their parcel, and their lot.", "There was a lot in there.", "It was there and it was a parcel."] * 9
WORDS = ("there", "their", "was", "a", "lot", "it", "parcel", "and", "in", "they", "lost")
COUNTED = Beside.count(LINES, WORDS)
KNOWS = replace(SMALL, lexicon=replace(SMALL.lexicon, counts={**SMALL.lexicon.counts, "they": 900, "lost": 300}))


@pytest.mark.parametrize("before", [("it", "was"), ("lost", "their"), ("parcel", "lot"), ("in", "a")])
def test_what_may_follow_shares_one_probability(before):
    at = {word: FIRST + place for place, word in enumerate(WORDS)}
    rows = np.array([[at[before[0]], at[before[1]], last] for last in range(len(COUNTED.single))])
    total = float(np.exp(COUNTED.logs(rows)).sum())
    assert total == pytest.approx(1.0, abs=0.02), "0.5 for a kind that was never met"


def test_what_was_pruned_backs_off_and_does_not_vanish():
    few = Beside.count(LINES, WORDS, least=(10, 100))
    assert len(few.several[1][0]) == 0
    rows = np.array([[FIRST + 5, FIRST + 2, FIRST], [FIRST + 5, FIRST + 2, FIRST + 4]])
    likely, unlikely = few.logs(rows)
    assert -5 < unlikely < likely < 0


def test_it_comes_back_from_disk(tmp_path):
    COUNTED.save(tmp_path / "b.xz")
    again = Beside.load(tmp_path / "b.xz")
    rows = np.random.default_rng(0).integers(0, len(COUNTED.single), (50, 3))
    assert np.array_equal(again.logs(rows), COUNTED.logs(rows))
    (tmp_path / "b.xz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"b\.xz: no counted n-grams"):
        Beside.load(tmp_path / "b.xz")
    with pytest.raises(ValueError, match="too many"):
        Beside.count(LINES, [str(at) for at in range(70_000)], least=(1, 1, 1))


def test_neighbours_turn_a_word_that_is_one():
    told = replace(KNOWS, beside=COUNTED, reach=8.0, weights=replace(SMALL.weights, beside=3.0))
    assert mended("They lost there parcel.", KNOWS) == "They lost there parcel."
    assert mended("They lost there parcel.", told) == "They lost their parcel."
    assert mended("It was there and it was a parcel.", told) == "It was there and it was a parcel."
    assert mended("They lost thier parcel", told) == "They lost their parcel"


def test_a_body_reads_the_sentence_and_the_whole_comes_back(plain, tmp_path):  # noqa: F811
    body = lettered(plain)
    reader = Reader(body.width, size=8)
    catalog.save_letters(body, tmp_path / "l", base=plain.source.name, facts={}, reader=reader)
    read = catalog.context(str(tmp_path / "l"))
    assert isinstance(read, InContext)
    made = replace(SMALL, beside=COUNTED, context=read, reach=8.0)
    texts = ["They lost thier parcel.", "", "It was there. 👩🏽\u200d🚀"]
    for slots, alone in zip(made.slots(texts), [made.slots([text])[0] for text in texts], strict=True):
        assert [(each.start, each.best) for each in slots] == [(each.start, each.best) for each in alone]
        for one, two in zip(slots, alone, strict=True):
            assert [o.context for o in one.options] == pytest.approx([o.context for o in two.options], abs=0.05)
    asked, without = made.slots(texts)[0], replace(made, context=None).slots(texts)[0]
    for slot, before in zip(asked, without, strict=True):  # what is sure already is not asked
        assert (slot.options == before.options) == (before.ahead >= SURE)
    for keep in range(40):  # until there is a slot that is not sure
        torn = replace(made, weights=replace(made.weights, keep=keep))
        asked, without = torn.slots(texts)[0], replace(torn, context=None).slots(texts)[0]
        if without[-1].ahead < SURE:
            break
    assert without[-1].ahead < SURE
    assert asked[-1].options != without[-1].options
    (tmp_path / "made").mkdir()
    correcting.save(made, tmp_path / "made")
    again = correcting.load_corrector(tmp_path / "made")
    assert again.slots(texts) == made.slots(texts)
    catalog.save_letters(body, tmp_path / "bare", base=plain.source.name, facts={})
    with pytest.raises(ModelError, match="never learnt to choose"):
        catalog.context(str(tmp_path / "bare"))


def test_threads_that_share_a_body_keep_their_texts_apart(plain, monkeypatch):  # noqa: F811
    body = lettered(plain)
    read = InContext(body, Reader(body.width, size=8), body, (body.tagging_layer, body.depth))
    made = replace(SMALL, context=read, reach=8.0, weights=replace(SMALL.weights, keep=10.0))
    texts = ["They lost thier parcel.", "It was beleive thier lot."]
    alone = [made.slots([text]) for text in texts]
    found, batches, others = dict[int, object](), read.backbone.batches, list[Thread]()

    def slow(questions, **kwargs):  # in the midst of one text, another one is asked
        if not others:
            others.append(Thread(target=lambda: found.update({1: made.slots([texts[1]])})))
            others[0].start()
            others[0].join(0.5)
        return batches(questions, **kwargs)

    monkeypatch.setattr(read.backbone, "batches", slow)
    found[0] = made.slots([texts[0]])
    others[0].join()
    assert [found[0], found[1]] == alone


def test_capitals_fall_into_four_kinds():
    assert [case_of(word) for word in ("word", "Word", "NASA", "iPod", "I", "don't", "漢")] == [0, 1, 2, 3, 2, 0, 3]


def test_an_unknown_word_says_nothing_of_another():
    known = COUNTED._id("parcel")
    rows = np.array([[known, SILENT, known], [EDGE, known, SILENT]])
    alone = np.log(COUNTED.single[known] / COUNTED.single.sum())
    assert COUNTED.logs(rows).tolist() == pytest.approx([alone, 0.0], abs=1e-5)
