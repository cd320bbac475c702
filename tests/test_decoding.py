"""CTC decoding: the beam is the sum over all paths, a word model and hot words turn it, and streams equal wholes."""

import json
from itertools import groupby, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrung.core.errors import DataError
from lowrung.models import decoding, prefixes
from lowrung.models.beside import Beside
from lowrung.models.decoding import (
    NextWord,
    Partial,
    Settings,
    Timed,
    aligned,
    beam,
    decode,
    greedy,
    stitched,
    tune,
)

LETTERS = (*"abcdefghijklmnopqrstuvwxyz'", " ")
HAN = tuple("北京上海")
LINES = [
    "They lost their parcel, and their lot.",
    "There was a lot in there.",
    "It was there, and it was a parcel.",
] * 9
WORDS = ("there", "their", "was", "a", "lot", "it", "parcel", "and", "in", "they", "lost")
MODEL = NextWord(Beside.count(LINES, WORDS))
EDGES = ("", "")
TINY = st.tuples(
    st.sampled_from([("a", "b", " "), tuple("北京上"), ("a", " "), ("a",)]),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)


def logs_of(rows, alphabet=LETTERS, rest=1e-6):
    """(T, V) from a dict of probabilities a frame, or a letter for a sure one; "" is the blank."""
    made = np.full((len(rows), len(alphabet) + 1), rest)
    for at, row in enumerate(rows):
        for letter, share in (row if isinstance(row, dict) else {row: 0.99}).items():
            made[at, ("", *alphabet).index(letter)] = share
    return np.log(made / made.sum(axis=1, keepdims=True)).astype(np.float32)


def spoken(text, alphabet=LETTERS, **doubts):
    """A frame a letter and a blank behind it; doubts: letters that may be others, for the first of each."""
    rows = []
    for letter in text:
        rows += [doubts.pop(letter, letter), ""]
    return logs_of(rows, alphabet)


def noisy(size, alphabet=LETTERS, seed=0, sharp=2.0):
    logits = np.random.default_rng(seed).normal(0, sharp, (size, len(alphabet) + 1))
    logits[:, 0] += sharp
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def said_by(path, alphabet):
    text = "".join(alphabet[symbol - 1] for symbol, _ in groupby(path) if symbol)
    return " ".join(text.split()) if " " in alphabet else text


@settings(max_examples=60, deadline=None)
@given(TINY)
def test_a_wide_beam_is_the_sum_over_all_paths(drawn):
    alphabet, size, random = drawn
    shares = np.array([[random.choice([0, 0.1, 1, 2, 50]) for _ in range(len(alphabet) + 1)] for _ in range(size)])
    shares = (shares.reshape(size, -1) + 1e-9 * (shares.sum(axis=-1, keepdims=True) == 0)) if size else shares
    shares = shares / shares.sum(axis=1, keepdims=True) if size else np.zeros((0, len(alphabet) + 1))
    sums = {}
    for path in product(range(len(alphabet) + 1), repeat=size):
        text = said_by(path, alphabet)
        sums[text] = sums.get(text, 0.0) + float(np.prod([shares[at, symbol] for at, symbol in enumerate(path)]))
    with np.errstate(divide="ignore"):
        found = beam(np.log(shares), alphabet, width=10_000, prune=-np.inf)
    exact = {text: share for text, share in sums.items() if share > 0}
    assert {text: np.exp(parts.sound) for text, _, parts in found} == pytest.approx(exact, rel=1e-9)
    assert [score for _, score, _ in found] == sorted((score for _, score, _ in found), reverse=True)


def test_greedy_leaves_repeats_out_and_says_when():
    logs = logs_of([" ", "a", "a", "", "a", "b", " ", " ", "", "b", ""])
    found = greedy(logs, LETTERS)
    assert (found.text, found.words) == ("aab b", (Timed("aab", 1, 5), Timed("b", 9, 9)))
    assert found.score == pytest.approx(0.99, abs=0.01)
    assert greedy(noisy(40), LETTERS).score < 0.6


@pytest.mark.parametrize("alphabet", [LETTERS, HAN, ()])
def test_of_no_frames_nothing_is_said(alphabet):
    logs = np.zeros((0, len(alphabet) + 1), dtype=np.float32)
    assert greedy(logs, alphabet) == decoding.Decoded("", 1.0)
    assert decode(logs, alphabet, words=MODEL) == decoding.Decoded("", 1.0)
    assert [text for text, _, _ in beam(logs, alphabet)] == [""]
    partial = Partial(alphabet, Settings())
    partial.feed(logs)
    assert partial.text == partial.stable == ""


def test_a_beam_tells_times_and_what_else_it_may_be():
    found = decode(spoken("ab b", a={"a": 0.6, "o": 0.4}), LETTERS)
    assert (found.text, found.words) == ("ab b", (Timed("ab", 0, 2), Timed("b", 6, 6)))
    assert found.others[0][0] == "ob b"
    assert found.score == pytest.approx(0.6, abs=0.02)
    assert found.score + sum(share for _, share in found.others) <= 1 + 1e-9


def test_the_likelier_of_two_that_sound_alike_is_taken():
    rows = [*"they lost the", {"i": 0.45, "r": 0.55}, {"r": 0.45, "e": 0.55}]
    logs = logs_of([each for row in rows for each in (row, "")])
    assert greedy(logs, LETTERS).text == "they lost there"
    found = beam(logs, LETTERS, words=MODEL)
    assert found[0][0] == "they lost their"
    assert found[0][1] == pytest.approx(found[0][2].score(Settings()))
    assert beam(logs, LETTERS, words=MODEL, power=0.0)[0][0] == "they lost there"


def test_what_could_only_go_on_alike_is_still_among_the_others():
    logs = spoken("there was a lot in there and it was a parcel", w={"w": 0.7, "h": 0.3}, l={"l": 0.8, "d": 0.2})
    for width in (4, 64):
        texts = [text for text, _, _ in beam(logs, LETTERS, words=MODEL, width=width)]
        assert texts[0] == "there was a lot in there and it was a parcel"
        assert "there has a lot in there and it was a parcel" in texts
        assert "there was a dot in there and it was a parcel" in texts
    for _, score, parts in beam(logs, LETTERS, words=MODEL, width=4):
        assert score == pytest.approx(parts.score(Settings()))


def test_what_another_text_is_made_of_is_what_it_costs_by_itself():
    logs = spoken("there was a lot in there", w={"w": 0.7, "h": 0.3})
    told = {text: parts for text, _, parts in beam(logs, LETTERS, words=MODEL, width=3)}["there has a lot in there"]
    alone = beam(spoken("there has a lot in there"), LETTERS, words=MODEL)[0][2]
    assert told[1:] == pytest.approx(alone[1:])
    exact = {text: parts for text, _, parts in beam(logs, LETTERS, width=64)}["there has a lot in there"]
    assert told.sound == pytest.approx(exact.sound, abs=0.01)


@pytest.mark.parametrize("name", ["zworykin", "o'xqzt", "'", "tn"])
def test_unknown_words_survive(name):
    logs = spoken(f"they lost {name} and there")
    found = beam(logs, LETTERS, words=MODEL)
    assert found[0][0] == f"they lost {name} and there"
    assert found[0][2].unknown == 1
    assert found[0][2].words == 5


def test_hot_words_change_what_is_heard_and_cost_nothing_elsewhere():
    doubtful = spoken("in weksford", k={"k": 0.9, "x": 0.1}, s={"s": 0.7, "": 0.3})
    assert beam(doubtful, LETTERS, words=MODEL)[0][0] == "in weksford"
    found = beam(doubtful, LETTERS, words=MODEL, hot={"Wexford": 6.0})
    assert found[0][0] == "in wexford"
    assert (found[0][2].hot, found[0][2].unknown) == (6.0, 0)
    other = beam(spoken("a lot was in"), LETTERS, words=MODEL, hot={"Wexford": 6.0, "lots": 9.0, "lot was it": 9.0})
    assert other[0] == beam(spoken("a lot was in"), LETTERS, words=MODEL)[0]


def test_a_part_of_a_hot_word_keeps_it_in_a_narrow_beam():
    rows = [{"q": 0.25, "k": 0.75}, {"o": 0.25, "u": 0.75}, {"p": 0.25, "b": 0.75}, {"h": 0.999}]
    logs = logs_of([each for row in rows for each in (row, "")])
    assert beam(logs, LETTERS, width=1)[0][0] == "kubh"
    assert beam(logs, LETTERS, width=1, hot={"qoph": 8.0})[0][0] == "qoph"


def test_phrases_and_words_of_scripts_without_gaps_are_hot_too():
    doubtful = spoken("smart mirrow", w={"w": 0.9, "r": 0.1})
    assert beam(doubtful, LETTERS, hot={"mirr": 9.0})[0][0] == "smart mirrow"
    assert (
        beam(logs_of([*"smart mirro", {"w": 0.9, "r": 0.1}]), LETTERS, hot={"smart mirror": 5.0})[0][0] == "smart mirow"
    )
    city = logs_of(["北", {"海": 0.6, "京": 0.4}, "上"], HAN)
    assert beam(city, HAN)[0][0] == "北海上"
    assert beam(city, HAN, hot={"北京": 3.0})[0][0] == "北京上"


@settings(max_examples=200, deadline=None)
@given(
    st.text("ab ", max_size=12),
    st.dictionaries(st.sampled_from(["a", "ab", "aba", "b a", "ba b", "ab ab"]), st.sampled_from([1.0, 2.0, 5.0])),
)
def test_hot_words_are_worth_what_a_plain_search_finds(text, hot):
    said = " ".join(text.split())
    state, earned = "", 0.0
    whole = prefixes.Hot(hot, gapped=True)
    for letter in f"{said} " if said else "":
        state, more = whole.step(state, letter)
        earned += more
        assert whole.part[state] <= 5.0
    places = [at for at in range(len(said)) if at == 0 or said[at - 1] == " "]
    assert earned == sum(worth for word, worth in hot.items() for at in places if f"{said} ".startswith(word + " ", at))
    joined, state, earned = said.replace(" ", ""), "", 0.0
    letters = prefixes.Hot({word: worth for word, worth in hot.items() if " " not in word}, gapped=False)
    for letter in joined:
        state, more = letters.step(state, letter)
        earned += more
    places = range(len(joined))
    assert earned == sum(worth for word, worth in hot.items() for at in places if joined.startswith(word, at))


def test_letters_are_asked_for_where_there_are_no_gaps():
    model = NextWord(Beside.count(["北 京 上 海", "上 海 北 京"] * 9, HAN))
    city = logs_of(["上", {"海": 0.45, "京": 0.55}], HAN)
    assert beam(city, HAN)[0][0] == "上京"
    found = beam(city, HAN, words=model)
    assert found[0][0] == "上海"
    assert found[0][2].words == 2
    assert decode(city, HAN, words=model).words == (Timed("上", 0, 0), Timed("海", 1, 1))
    assert greedy(city, HAN).words == (Timed("上", 0, 0), Timed("京", 1, 1))


def test_the_next_word_is_likely_by_those_before_and_by_what_nobody_hears():
    assert MODEL.log("parcel", ("lost", "their")) > MODEL.log("there", ("lost", "their"))
    assert np.exp(MODEL.log("and", ("their", "parcel"))) > 0.3, "a comma stands between them"
    assert MODEL.log("they", EDGES) > MODEL.log("parcel", EDGES)
    assert MODEL.log("", ("in", "there")) > MODEL.log("", ("was", "a"))
    assert [MODEL.known(word) for word in ("there", "There", "zworykin", "'", "")] == [True, True, False, False, False]
    assert MODEL.ahead("the") == pytest.approx(max(MODEL.ahead(word) for word in ("there", "their", "they")))
    assert MODEL.ahead("zw") is None
    alone = NextWord(Beside.count(LINES, WORDS, least=()))
    assert beam(spoken("they lost it"), LETTERS, words=alone)[0][0] == "they lost it"


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=5), st.integers(0, 5))
def test_a_stream_says_what_the_whole_says(cuts, seed):
    logs = noisy(40, seed=seed)
    places = [0, *sorted(cuts), 40]
    for how in (None, Settings(width=4)):
        partial, stable = Partial(LETTERS, how, words=MODEL), ""
        for start, end in pairwise(places):
            partial.feed(logs[start:end])
            assert partial.stable.startswith(stable)
            stable = partial.stable
            assert partial.text.startswith(stable)
        whole = greedy(logs, LETTERS).text if how is None else beam(logs, LETTERS, width=4, words=MODEL)[0][0]
        assert partial.text == whole


def test_hours_are_forgotten_without_a_change(monkeypatch):
    logs = np.concatenate([spoken("there was a lot in there "), noisy(60, seed=3), spoken("it was a parcel ")])
    whole = beam(logs, LETTERS, words=MODEL)[0]
    monkeypatch.setattr(prefixes, "SETTLE", 2)
    monkeypatch.setattr(prefixes, "REMEMBERED", 2)
    assert beam(logs, LETTERS, words=MODEL)[0] == whole
    partial = Partial(LETTERS, Settings(), words=MODEL)
    partial.feed(logs[:40])
    assert partial.stable.startswith("there was")


def test_a_long_silence_and_a_frame_that_says_nothing_change_nothing():
    quiet = logs_of([{"": 0.9999}] * 400, rest=1e-12)
    logs = np.concatenate([spoken("a lot"), quiet, spoken("t")])
    assert beam(logs, LETTERS)[0][0] == "a lott"
    nothing = np.full((1, logs.shape[1]), -np.inf, dtype=np.float32)
    assert decode(np.concatenate([spoken("a lo"), nothing, spoken("t")]), LETTERS).text == "a lot"
    many = np.concatenate([noisy(300, seed=seed, sharp=0.1) for seed in range(3)])
    assert -1e4 < beam(many, LETTERS, width=2)[0][2].sound < -1e3, "far below the smallest number that there is"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.lists(st.integers(1, 2), max_size=4), st.integers(0, 99))
def test_an_alignment_is_the_best_path_of_all(size, symbols, seed):
    logs = noisy(size, ("a", "b"), seed=seed)
    paths = [each for each in product(range(3), repeat=size) if [s for s, _ in groupby(each) if s] == symbols]
    if not paths:
        with pytest.raises(ValueError, match="not enough"):
            aligned(logs, symbols)
        return
    best = max(paths, key=lambda path: sum(logs[at, symbol] for at, symbol in enumerate(path)))
    runs = [(symbol, [at for at, _ in run]) for symbol, run in groupby(enumerate(best), key=lambda each: each[1])]
    assert aligned(logs, symbols) == [(run[0], run[-1]) for symbol, run in runs if symbol]


def test_a_band_is_as_good_as_all_states(monkeypatch):
    text = "they lost their parcel and there was a lot in there " * 4
    logs = np.concatenate([spoken(text), noisy(20, sharp=0.5)])
    symbols = [LETTERS.index(letter) + 1 for letter in text]
    whole = aligned(logs, symbols)
    monkeypatch.setattr(decoding, "BAND", 24)
    assert aligned(logs, symbols) == whole
    assert len(aligned(noisy(500), symbols)) == len(symbols)


def test_windows_that_overlap_become_one_again():
    logs = noisy(100)
    windows = [(logs[start : start + 40], start) for start in (60, 0, 30, 35)]
    assert np.array_equal(stitched(windows), logs)
    assert np.array_equal(stitched([(logs[:50], 7), (logs[50:], 57), (logs[20:30], 27)]), logs)
    assert np.array_equal(stitched([(logs, 3)]), logs)
    one, two = noisy(60, seed=1), noisy(60, seed=2)
    joined = stitched([(one, 0), (two, 40)])
    assert joined.shape == (100, logs.shape[1])
    assert np.array_equal(joined[:45], one[:45])
    assert np.array_equal(joined[55:], two[15:])
    with pytest.raises(ValueError, match="frames 40-60"):
        stitched([(logs[:40], 0), (logs[60:], 60)])
    with pytest.raises(ValueError, match="no windows"):
        stitched([])


def test_tuning_finds_that_a_word_model_helps_and_that_it_does_not():
    rows = [*"they lost the", {"i": 0.3, "r": 0.7}, {"r": 0.3, "e": 0.7}, *" parcel"]
    doubtful = logs_of([each for row in rows for each in (row, "")])
    start = Settings(width=4, power=0.2, hot={"lot": 1.0})
    helped = tune([(doubtful, "they lost their parcel")], LETTERS, words=MODEL, start=start)
    assert (helped.width, helped.hot) == (4, {"lot": 1.0})
    assert decode(doubtful, LETTERS, helped, words=MODEL).text == "they lost their parcel"
    harmed = tune([(doubtful, "they lost there parcel")], LETTERS, words=MODEL, start=Settings(power=0.9))
    assert decode(doubtful, LETTERS, harmed, words=MODEL).text == "they lost there parcel"
    assert tune([], LETTERS, words=MODEL) == Settings(), "nothing speaks against what is usual"


def test_settings_come_back_from_json():
    how = Settings(8, 0.3, 0.0, 2.5, {"Wexford": 4.0})
    assert Settings.from_json(json.loads(json.dumps(how.to_json()))) == how
    for stored in ({}, {"width": 8}, {**how.to_json(), "hot": 3}, {**how.to_json(), "width": 0}):
        with pytest.raises(DataError, match="no settings of a beam"):
            Settings.from_json(stored)


def test_logs_of_another_alphabet_are_refused():
    for ask in (greedy, beam, decode, lambda logs, letters: Partial(letters).feed(logs)):
        with pytest.raises(ValueError, match=r"\(T, 29\) are wanted, not \(3, 5\)"):
            ask(np.zeros((3, 5)), LETTERS)
