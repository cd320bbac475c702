"""Sound to text: the front end, the body, learning from recordings, long recordings, a folder and back."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from tiny_sounds import SHAPE, said, texts, untaught

from lowrung.core.answers import Text
from lowrung.core.errors import DataError, ModelError
from lowrung.core.parts import Audio, Question
from lowrung.core.task import Example
from lowrung.data.cache import Cache
from lowrung.models import hearing
from lowrung.models.ctc import CTC
from lowrung.models.decoding import Settings as Beam
from lowrung.models.recognizer import Recognizer, read_body
from lowrung.models.senses import HEARING
from lowrung.models.sound import BANDS, LESS, RATE, SoundBody, batched, log_mel, normalised
from lowrung.models.text import Source
from lowrung.models.training import Settings
from lowrung.models.tuned_recognizer import error_rate, fit_recognizer, struck_out
from lowrung.models.tuning import Frozen, LoRA, Top

QUICK = Settings(lr=4e-3, head_lr=8e-3, epochs=1, least=140, most=140, batch=16, decay=0.0)


def example(text, seed=0):
    return Example(Question((said(text, seed=seed),)), (Text(text),))


def examples(number, seed):
    return [example(text, seed=seed + at) for at, text in enumerate(texts(number, seed))]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    base = replace(untaught(), cache=Cache(tmp_path_factory.mktemp("features")))
    return fit_recognizer(base, examples(40, 1), settings=QUICK)


def test_the_front_end_hears_where_a_tone_is_and_nothing_ahead():
    times = np.arange(RATE) / RATE
    low, high = (log_mel(np.sin(2 * np.pi * hertz * times).astype(np.float32)) for hertz in (300, 3000))
    assert low.shape == (98, BANDS)
    assert low.mean(0).argmax() < high.mean(0).argmax()
    whole = log_mel(np.sin(times * 2000).astype(np.float32))
    assert torch.equal(whole[:40], log_mel(np.sin(times[: 40 * 160 + 240] * 2000).astype(np.float32))[:40])
    for short in (np.zeros(0, np.float32), np.zeros(7, np.float32)):
        assert log_mel(short).shape == (1, BANDS)
    assert torch.isfinite(normalised(log_mel(np.zeros(8000, np.float32)))).all()


def test_padding_changes_nothing():
    torch.manual_seed(1)
    body = SoundBody(SHAPE).eval()
    short, long = (normalised(log_mel(said(text).samples)) for text in ("ding", "dong ding dong dong"))
    with torch.no_grad():
        alone, size = body(*batched([short]))
        together, sizes = body(*batched([short, long]))
    assert sizes.tolist()[0] == size.item() == -(-len(short) // LESS)
    inside = int(size) - 1  # the last state also hears the padding, as it hears silence
    assert torch.allclose(alone[0, :inside], together[0, :inside], atol=2e-2)


def test_it_learns_a_language_of_two_words_and_tells_when_they_were_said(taught):
    fresh = examples(12, 900)
    assert error_rate(untaught(), fresh) > 0.6
    assert error_rate(taught, fresh) < 0.1
    found = taught.answer([Question((said("dong ding"),))])[0]
    assert found.answer == Text("dong ding")
    assert [word for word, _, _ in found.times] == ["dong", "ding"]
    (_, begin, _), (_, second, end) = found.times
    assert begin == pytest.approx(0.1, abs=0.15)
    assert second == pytest.approx(0.46, abs=0.15)
    assert begin < second < end
    assert 0.0 <= found.confidence <= 1.0


def test_a_long_recording_is_heard_in_windows(taught):
    text = " ".join(texts(8, 5))
    short = replace(taught, sense=replace(HEARING, longest=240, overlap=80, budget=500))
    said_ = short.answer([Question((said(text),)), Question(("no sound",)), Question((said("ding"),))])
    assert said_[1].answer is None
    assert said_[2].answer == Text("ding")
    right, found = text.split(), said_[0].answer.text.split()
    assert abs(len(found) - len(right)) <= 1
    assert sum(one == two for one, two in zip(right, found, strict=False)) >= len(right) - 2


def test_it_goes_to_a_folder_and_back(taught, tmp_path):
    facts = taught.save(tmp_path)
    again = hearing.loaded(tmp_path, facts["body"])
    asked = [each.question for each in examples(4, 30)]
    assert [each.answer for each in again.answer(asked)] == [each.answer for each in taught.answer(asked)]
    assert again.how == taught.how
    (tmp_path / "sounds.json").write_text("{", "utf-8")
    with pytest.raises(ModelError, match="no body that hears"):
        read_body(tmp_path, Source("x", ""))
    with pytest.raises(ModelError, match="sounds-xx"):
        hearing.recognizer("sounds-xx")


def test_new_letters_join_the_head_and_old_ones_stay():
    head = CTC("ab ", 8)
    more = head.with_letters(["abc", "cd", "ça"])
    assert more.alphabet[:3] == ("a", "b", " ")
    assert set(more.alphabet[3:]) == {"c", "d", "ç"}
    states = torch.randn(1, 5, 8)
    before, after = head(states), more(states)
    assert torch.allclose((before[..., 1:3] - before[..., :1]), (after[..., 1:3] - after[..., :1]), atol=1e-5)
    assert head.with_letters(["ab"]).alphabet == head.alphabet
    assert head.ids("a-b") == [1, 2]


def test_what_moves_is_what_was_asked(taught):
    rows, quick = examples(6, 3), replace(QUICK, least=2, most=2)
    for how, layers in ((Frozen(), ()), (Top(1), (1,))):
        made = fit_recognizer(taught, rows, how=how, settings=quick)
        changed = {
            name.partition(".")[2].partition(".")[0]
            for (name, one), two in zip(
                taught.body.named_parameters(), dict(made.body.named_parameters()).values(), strict=True
            )
            if not torch.equal(one, two)
        }
        assert changed == set(map(str, layers))
        assert not torch.equal(taught.head.out.weight, made.head.out.weight)
    with pytest.raises(DataError, match="cannot be moved"):
        fit_recognizer(taught, rows, how=LoRA(), settings=quick)
    with pytest.raises(DataError, match="no recording"):
        fit_recognizer(taught, [Example(Question(("text",)), (Text("text"),))], settings=quick)


def test_few_words_are_expected_by_the_beam_and_many_are_not(taught):
    assert taught.how is not None
    assert set(taught.how.hot) == {"ding", "dong"}
    plain: Recognizer = replace(taught, how=None)
    assert plain.answer([Question((said("ding"),))])[0].answer == Text("ding")
    assert replace(taught, how=Beam(width=4)).answer([Question((said("ding"),))])[0].answer == Text("ding")


def test_features_are_kept_by_what_the_sound_is(tmp_path):
    cache, reads = Cache(tmp_path), []
    sound = Audio.of(lambda: (reads.append(1), said("ding").samples)[1], RATE, key="a file")
    one, two = HEARING.features(sound, cache), HEARING.features(sound, cache)
    assert len(reads) == 1
    assert torch.equal(one, two)
    unnamed = said("dong")
    HEARING.features(unnamed, cache)
    assert len(list(tmp_path.iterdir())) == 1
    other = Audio(np.repeat(said("ding").samples, 2), 2 * RATE)
    assert abs(len(HEARING.features(other)) - len(one)) <= 1


def test_parts_are_struck_out_and_the_rest_stays():
    mel = torch.randn(400, BANDS) + 5
    struck = struck_out(mel, Random(3))
    gone = struck == 0
    assert 0 < gone.float().mean() < 0.7
    assert torch.equal(struck[~gone], mel[~gone])
    assert struck_out(mel[:3], Random(0)).shape == (3, BANDS)
