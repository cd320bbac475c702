"""Augmentations of sound: they change what is heard, follow their seed, and leave everything else alone."""

from random import Random

import numpy as np
import pytest

from lowrung.core.answers import Text
from lowrung.core.parts import Audio, Question
from lowrung.core.task import Example
from lowrung.data.sounding import SOUNDINGS, hiss, pitch, speed, telephone

RATE = 16_000
TIMES = np.arange(RATE) / RATE
VOICE = (0.3 * np.sin(2 * np.pi * 220 * TIMES) * (1.5 + np.sin(2 * np.pi * 3 * TIMES)) / 2).astype(np.float32)


def example(samples=VOICE, rate=RATE):
    return Example(Question((Audio(samples, rate), "said so far")), (Text("la la"),), id="1", group="ada")


@pytest.mark.parametrize("name", SOUNDINGS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_augmentation_changes_sound_alone_and_follows_its_seed(name, seed):
    before = example()
    one, two = (SOUNDINGS[name](before, Random(seed)) for _ in range(2))
    heard, again = one.question.given[0].samples, two.question.given[0].samples
    assert np.array_equal(heard, again)
    assert np.array_equal(heard, one.question.given[0].samples)  # read twice
    assert heard.dtype == np.float32
    assert np.abs(heard).max() <= 1.0
    assert not np.array_equal(heard, VOICE)
    assert 0.8 * RATE < len(heard) < 1.25 * RATE
    assert one.question.given[1:] == ("said so far",)
    assert (one.golds, one.id, one.group) == (before.golds, "1", "ada")
    assert one.question.given[0].key == ""
    other = SOUNDINGS[name](before, Random(seed + 100)).question.given[0].samples
    assert not np.array_equal(heard, other) or name == "telephone"


@pytest.mark.parametrize("name", SOUNDINGS)
@pytest.mark.parametrize(("samples", "rate"), [(VOICE[:1], RATE), (np.zeros(800, np.float32), 8000), (VOICE[:0], RATE)])
def test_tiny_and_silent_sounds_come_through(name, samples, rate):
    made = SOUNDINGS[name](example(samples, rate), Random(3)).question.given[0].samples
    assert np.isfinite(made).all()


def test_noise_is_as_loud_as_it_should_be_and_may_be_recorded():
    recorded = [Audio(np.ones(100, np.float32) * 0.5, RATE)]
    for seed in range(10):
        heard = hiss(example(), Random(seed), noises=recorded).question.given[0].samples
        below = 10 * np.log10(np.mean(VOICE**2) / np.mean((heard - VOICE) ** 2))
        assert 2.5 < below < 25.5


def test_a_telephone_lets_little_bass_through_and_speed_changes_length():
    spectrum = [
        np.abs(np.fft.rfft(each))[150:290].sum()
        for each in (VOICE, telephone(example(), Random(0)).question.given[0].samples)
    ]
    assert spectrum[1] < 0.5 * spectrum[0]
    lengths = {len(speed(example(), Random(seed)).question.given[0].samples) for seed in range(8)}
    assert len(lengths) > 4
    assert min(lengths) < RATE < max(lengths)


def test_a_change_of_pitch_moves_the_tone_and_not_the_pace():
    peaks = set()
    for seed in range(6):
        heard = pitch(example(), Random(seed)).question.given[0].samples
        assert len(heard) == RATE
        peak = int(np.abs(np.fft.rfft(heard)).argmax())
        assert 220 / 1.3 < peak < 220 * 1.3
        peaks.add(peak)
        loud = np.convolve(np.abs(heard), np.ones(1600) / 1600, "same")
        before = np.convolve(np.abs(VOICE), np.ones(1600) / 1600, "same")
        assert np.corrcoef(loud, before)[0, 1] > 0.8  # it swells and fades when it did before
    assert min(peaks) < 215 < 225 < max(peaks)
