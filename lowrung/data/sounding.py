"""Augmentations of sound: an example and a random generator → the same example, harder to hear. Other parts stay.

All is drawn from the generator, so that a seed gives the same sound; it is made when its samples are read.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from lowrung.core.answers import A
from lowrung.core.parts import Audio, Part
from lowrung.core.task import Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples: TypeAlias = NDArray[np.float32]

QUIETER = (3.0, 25.0)  # decibels that noise is below speech
ROOMS = (0.1, 0.7)  # seconds in which an echo falls by 60 decibels
DIRECT = (0.3, 3.0)  # how much stronger the direct sound is than all of the echo
SPEEDS = (0.85, 1.15)
PITCHES = (-4.0, 4.0)  # semitones
FRAME = 1 / 32  # seconds of the spectra that a change of pitch moves
GAINS = (-18.0, 6.0)  # decibels
TELEPHONE = (300.0, 3400.0)  # hertz
CODECS = (("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"))
LOSSY = (0.6, 1.0)  # of the compression that a codec has
LOST, PACKET = 0.08, 0.04  # the share of the time that is lost at most, seconds of a packet

Change: TypeAlias = Callable[[Any, int, Random], Any]  # (samples (n,) float32, rate, random) → samples


def hiss(example: Example[A], random: Random, *, noises: Sequence[Audio] = ()) -> Example[A]:
    """Noise, 3 to 25 decibels below what is said: recordings of the same rate, or of a colour from white to brown."""
    return _changed(example, random, partial(_with_noise, noises=tuple(noises)))


def room(example: Example[A], random: Random) -> Example[A]:
    """The echo of a room: noise that dies away (Polack 1988) behind the direct sound."""
    return _changed(example, random, _in_room)


def speed(example: Example[A], random: Random) -> Example[A]:
    """Faster and higher, or slower and lower (Ko et al. 2015)."""
    return _changed(example, random, _at_speed)


def pitch(example: Example[A], random: Random) -> Example[A]:
    """A higher or deeper voice at the same pace: a phase vocoder (Flanagan & Golden 1966) and another speed."""
    return _changed(example, random, _at_pitch)


def gain(example: Example[A], random: Random) -> Example[A]:
    """Quieter or louder, cut off where it is too loud."""
    return _changed(example, random, lambda samples, _, chance: samples * 10 ** (chance.uniform(*GAINS) / 20))


def telephone(example: Example[A], random: Random) -> Example[A]:
    """Only what a telephone lets through."""
    return _changed(example, random, _over_telephone)


def codec(example: Example[A], random: Random) -> Example[A]:
    """Packed by a codec that loses much, and unpacked."""
    return _changed(example, random, _through_codec)


def gaps(example: Example[A], random: Random) -> Example[A]:
    """Some of the time is silent, as where packets are lost."""
    return _changed(example, random, _with_gaps)


SOUNDINGS: Mapping[str, Callable[..., Example[Any]]] = MappingProxyType(
    {each.__name__: each for each in (hiss, room, speed, pitch, gain, telephone, codec, gaps)}
)


def _changed(example: Example[A], random: Random, change: Change) -> Example[A]:
    given: list[Part] = []
    for part in example.question.given:
        if isinstance(part, Audio):  # without a key: it is another sound
            part = Audio.of(partial(_made, part, change, random.getrandbits(32)), part.rate)
        given.append(part)
    return replace(example, question=replace(example.question, given=tuple(given)))


def _made(sound: Audio, change: Change, seed: int) -> Samples:
    import numpy as np

    samples = sound.samples
    made = change(samples, sound.rate, Random(seed)) if len(samples) else samples
    return np.clip(made, -1.0, 1.0).astype(np.float32)


def _generator(random: Random) -> np.random.Generator:
    import numpy as np

    return np.random.default_rng(random.getrandbits(32))


def _with_noise(samples: Samples, rate: int, random: Random, *, noises: Sequence[Audio]) -> Samples:
    import numpy as np

    noise: Any
    if noises:
        noise = random.choice(noises).samples
        begin = random.randrange(max(len(noise), 1))
        noise = np.take(noise, np.arange(begin, begin + len(samples)), mode="wrap")
    else:
        spectrum = np.fft.rfft(_generator(random).normal(size=len(samples)))
        noise = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** random.uniform(0, 1), len(samples))
    loud, soft = (float(np.sqrt(np.mean(np.square(each)))) for each in (samples, noise))
    made: Samples = samples + noise * (loud / max(soft, 1e-9)) * 10 ** (-random.uniform(*QUIETER) / 20)
    return made


def _in_room(samples: Samples, rate: int, random: Random) -> Samples:
    import numpy as np
    from scipy.signal import fftconvolve

    seconds = random.uniform(*ROOMS)
    times = np.arange(max(int(seconds * rate), 2)) / rate
    echo = _generator(random).normal(size=len(times)) * 10 ** (-3 * times / seconds)
    echo[: int(0.002 * rate)] = 0
    echo /= max(float(np.sqrt(np.sum(np.square(echo)))), 1e-9) * random.uniform(*DIRECT)
    echo[0] = 1.0
    heard: Any = fftconvolve(samples, echo)[: len(samples)]
    most = float(np.abs(samples).max()) / max(float(np.abs(heard).max()), 1e-9)
    return np.asarray(heard * min(most, 1.0))


def _at_speed(samples: Samples, rate: int, random: Random) -> Samples:
    import soxr

    made: Samples = soxr.resample(samples, rate * random.uniform(*SPEEDS), rate)
    return made


def _at_pitch(samples: Samples, rate: int, random: Random) -> Samples:
    import numpy as np
    import soxr

    factor, frame = 2 ** (random.uniform(*PITCHES) / 12), int(FRAME * rate) // 4 * 4
    if len(samples) < frame:
        return samples
    made = soxr.resample(_stretched(samples, factor, frame), rate * factor, rate)
    return np.resize(np.pad(made, (0, max(0, len(samples) - len(made)))), len(samples))


def _stretched(samples: Samples, factor: float, frame: int) -> Samples:
    """`factor` times as long at the same pitch: spectra are read at another pace, phases go on as they went."""
    import numpy as np
    from scipy.signal import istft, stft

    hop = frame // 4
    spectra = stft(samples, nperseg=frame, noverlap=frame - hop)[2]  # (frequencies, frames)
    places = np.arange(0, spectra.shape[1] - 1, 1 / factor)
    low, share = places.astype(int), places % 1
    steps = np.angle(spectra[:, 1:] * spectra[:, :-1].conj())  # of phase, from frame to frame
    phases = np.cumsum(np.concatenate([np.angle(spectra[:, :1]), steps[:, low[1:]]], 1), 1)
    sizes = np.abs(spectra)
    made = ((1 - share) * sizes[:, low] + share * sizes[:, low + 1]) * np.exp(1j * phases)
    return istft(made, nperseg=frame, noverlap=frame - hop)[1].astype(np.float32)  # type: ignore[no-any-return]


def _over_telephone(samples: Samples, rate: int, random: Random) -> Samples:
    from scipy.signal import butter, sosfilt

    low, high = TELEPHONE
    if rate <= 2 * high:
        return samples
    made: Samples = sosfilt(butter(4, (low, high), "bandpass", fs=rate, output="sos"), samples)
    return made


def _through_codec(samples: Samples, rate: int, random: Random) -> Samples:
    import numpy as np
    import soundfile

    kind, subtype = random.choice(CODECS)
    packed = io.BytesIO()
    level = random.uniform(*LOSSY)
    soundfile.write(packed, samples, rate, format=kind, subtype=subtype, compression_level=level)
    packed.seek(0)
    made = soundfile.read(packed, dtype="float32")[0][: len(samples)]
    return np.pad(made, (0, len(samples) - len(made)))


def _with_gaps(samples: Samples, rate: int, random: Random) -> Samples:
    made, size = samples.copy(), max(1, int(PACKET * rate))
    for _ in range(int(random.uniform(0, LOST) * len(samples) / size) + 1):
        begin = random.randrange(len(samples))
        made[begin : begin + size] = 0
    return made
