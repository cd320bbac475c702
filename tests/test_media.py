"""Sound and pictures as files hold them, the cache of arrays, and what the data doctor says of rows with media."""

import io
import os
import subprocess
import sys
import threading
import time
import tracemalloc
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import soundfile
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from lowrung.core.errors import DataError, LowrungError
from lowrung.core.parts import Audio, Image
from lowrung.data.cache import Cache, home
from lowrung.data.check import Finding, check
from lowrung.data.files import read_rows
from lowrung.data.media import audio, blocks, picture, picture_of, sound_of
from lowrung.data.splits import folds
from lowrung.tasks import task

Writer = Callable[..., Path]
KINDS: dict[str, dict[str, str]] = {
    "a.wav": {},
    "a.flac": {},
    "a.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
    "a.mp3": {"format": "MP3"},
}
ROUGH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def _tone(seconds: float = 1.0, rate: int = 16_000, pitch: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def sound(tmp_path: Path) -> Writer:
    def write(name: str, samples: np.ndarray, rate: int = 16_000, **how: Any) -> Path:
        soundfile.write(tmp_path / name, samples, rate, **how)
        return tmp_path / name

    return write


@pytest.fixture
def drawn(tmp_path: Path) -> Writer:
    def write(name: str, image: PIL.Image.Image, **how: Any) -> Path:
        image.save(tmp_path / name, **how)
        return tmp_path / name

    return write


def _pitch(samples: np.ndarray) -> float:
    """The loudest frequency, where the rate is 16 kHz."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * 16_000 / len(samples))


# --- sound


@pytest.mark.parametrize("name", KINDS)
def test_each_format_is_heard_as_it_was_recorded(name: str, sound: Writer) -> None:
    path = sound(name, np.stack([_tone(2, 48_000), np.zeros(96_000, np.float32)], 1), 48_000, **KINDS[name])
    heard = audio(path)
    assert (heard.rate, heard.seconds) == (16_000, pytest.approx(2.0, abs=0.05))
    assert heard.samples.dtype == np.float32
    assert len(heard.samples) == pytest.approx(32_000, abs=800)
    assert _pitch(heard.samples) == pytest.approx(440, abs=1)
    assert np.abs(heard.samples[2000:-2000]).max() == pytest.approx(0.25, abs=0.03)  # the mean of the two channels


@pytest.mark.parametrize("name", KINDS)
def test_a_part_is_what_stands_there_in_the_whole(name: str, sound: Writer) -> None:
    rate = 48_000 if name == "a.opus" else 16_000
    chirp = (0.5 * np.sin(2 * np.pi * np.cumsum(np.linspace(200, 2000, 4 * rate)) / rate)).astype(np.float32)
    path = sound(name, chirp, rate, **KINDS[name])
    whole, part = audio(path, rate=rate).samples, audio(path, start=1.25, end=2.5, rate=rate)
    assert (part.seconds, len(part.samples)) == (1.25, round(1.25 * rate))
    there = whole[round(1.25 * rate) : round(2.5 * rate)]
    assert np.abs(part.samples - there).max() < (0.01 if name in ("a.ogg", "a.opus") else 1e-6)
    assert np.array_equal(audio(path, start=3.5, end=99, rate=rate).samples, audio(path, start=3.5, rate=rate).samples)


def test_resampling_is_soxr_at_high_quality(sound: Writer) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (70_001, 2)).astype(np.float32)
    path = sound("a.wav", noise, 44_100, subtype="FLOAT")
    expected = soxr.resample(noise.mean(1), 44_100, 16_000, quality="HQ")
    assert audio(path).samples == pytest.approx(expected, abs=1e-6)


def test_samples_are_decoded_when_they_are_read_and_not_kept(sound: Writer) -> None:
    path = sound("a.wav", _tone())
    heard = audio(path)
    assert heard.samples is not heard.samples
    assert np.array_equal(heard.samples, heard.samples)
    os.remove(path)
    assert heard.seconds == 1.0
    with pytest.raises(DataError, match=r"a\.wav: is broken"):
        _ = heard.samples


def test_a_key_tells_files_parts_and_rates_apart(sound: Writer) -> None:
    path = sound("a.wav", _tone())
    link = path.with_name("link.wav")
    link.symlink_to(path)
    keys = [audio(path).key, audio(path, start=0.5).key, audio(path, end=0.5).key, audio(path, rate=8000).key]
    assert audio(link).key == audio(path, start=0.0, end=1.0).key == keys[0]
    sound("a.wav", _tone(pitch=880.0))
    os.utime(path, (0, 0))
    assert len({*keys, audio(path).key, audio(path.read_bytes()).key}) == 6
    assert Audio(_tone(), 16_000).key == ""


def test_a_part_of_a_recording_of_three_hours_is_read_alone(tmp_path: Path) -> None:
    path, rate, late = tmp_path / "long.wav", 16_000, 3 * 3600 - 10
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(rate), file.setnframes(3 * 3600 * rate)
        file.writeframes(b"")
    with open(path, "r+b") as hole:  # zeros that take no room on the disk
        hole.truncate(44 + 2 * 3 * 3600 * rate)
        hole.seek(44 + 2 * late * rate)
        hole.write((_tone() * 32767).astype("<i2").tobytes())
        hole.seek(4), hole.write((36 + 2 * 3 * 3600 * rate).to_bytes(4, "little"))
        hole.seek(40), hole.write((2 * 3 * 3600 * rate).to_bytes(4, "little"))
    assert audio(path).seconds == 3 * 3600
    tracemalloc.start()
    part = audio(path, start=late, end=late + 1).samples
    assert tracemalloc.get_traced_memory()[1] < 4e6  # the whole is 700 MB
    tracemalloc.stop()
    assert part == pytest.approx(_tone(), abs=1e-4)


def test_silence_is_a_sound(sound: Writer) -> None:
    assert not audio(sound("a.flac", np.zeros(16_000, np.float32))).samples.any()


@pytest.mark.parametrize(
    ("name", "content", "how", "says"),
    [
        ("b.wav", None, {}, "no such file. Did you mean '{folder}/a.wav'?"),
        ("no/b.wav", None, {}, "no such file. There is no folder '{folder}/no'"),
        ("", None, {}, "is a folder; name a sound file"),
        ("e.wav", b"", {}, "is empty (0 bytes); record it or fetch it again"),
        ("x.m4a", b"not a sound", {}, "cannot be read as sound (Format not recognised); convert it to wav"),
        ("x.raw", b"\0" * 64, {}, "cannot be read as sound"),
        ("x.flac", b"fLaC" + bytes(60), {}, "cannot be read as sound"),
        ("a.wav", None, {"start": 1.5}, "start (1.5 s) is past the end of the sound (1.000 s); is it in seconds?"),
        ("a.wav", None, {"start": 0.5, "end": 0.25}, "end (0.25 s) is not after start (0.5 s)"),
        ("a.wav", None, {"end": 0.0}, "end (0 s) is not after start (0 s)"),
        ("a.wav", None, {"start": -1.0}, "start is -1; it counts seconds from the beginning, 0 or more"),
        ("a.wav", None, {"end": float("nan")}, "end is nan"),
        ("a.wav", None, {"start": 0.1, "end": 0.10001}, "holds no samples between start and end"),
    ],
)
def test_a_sound_that_cannot_be_read_says_why(
    name: str, content: bytes | None, how: dict[str, float], says: str, sound: Writer, tmp_path: Path
) -> None:
    sound("a.wav", _tone())
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        audio(tmp_path / name, **how)  # type: ignore[arg-type]
    where = f"{tmp_path / name}: "
    assert str(caught.value).startswith(where + says.format(folder=tmp_path))
    assert "\n" not in str(caught.value)


def test_a_file_without_samples_or_with_half_of_them_says_so(sound: Writer) -> None:
    with pytest.raises(DataError, match="holds no samples; record it"):
        audio(sound("a.wav", np.zeros(0, np.float32)))
    for name in ("b.flac", "b.mp3"):
        path = sound(name, np.random.default_rng(0).uniform(-0.1, 0.1, 64_000))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        cut = audio(path)  # the header is whole
        with pytest.raises(DataError, match=r"is broken \(.*\); record it"):
            _ = cut.samples
    for wrong in (np.nan, 20_000.0):
        path = sound("c.wav", np.array([0.0, wrong, 0.5], np.float32), subtype="FLOAT")
        with pytest.raises(DataError, match="no sound; floats lie in -1 to 1"):
            _ = audio(path).samples


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(DataError, match="is no file; name a sound file"):
        audio(tmp_path / "pipe.wav")


@pytest.mark.parametrize("missing", ["soundfile", "soxr", "PIL.Image"])
def test_without_the_extra_it_is_named(missing: str, sound: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sound("a.wav", _tone())
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(LowrungError, match=r"pip install 'lowrung\[media\]'"):
        picture(path) if missing == "PIL.Image" else audio(path)


@ROUGH
@given(start=st.floats(-1, 3), end=st.none() | st.floats(-1, 3), rate=st.sampled_from([8_000, 16_000, 22_050]))
def test_any_part_has_its_length_or_is_refused(sound: Writer, start: float, end: float | None, rate: int) -> None:
    path = sound("a.wav", _tone(2.0))
    try:
        part = audio(path, start=start, end=end, rate=rate)
    except DataError:
        assert start < 0 or start >= 2 or (end is not None and (end < start + 1e-3))
        return
    assert part.seconds == pytest.approx(min(end or 2.0, 2.0) - start, abs=1e-4)
    assert abs(len(part.samples) - part.seconds * rate) <= 1


def _files() -> list[bytes]:
    found = []
    for how in ({"format": "WAV"}, {"format": "FLAC"}, {"format": "OGG"}, {"format": "MP3"}):
        stream = io.BytesIO()
        soundfile.write(stream, _tone(0.5, 8000), 8000, **how)
        found.append(stream.getvalue())
    for kind in ("PNG", "JPEG", "TIFF"):
        stream = io.BytesIO()
        PIL.Image.linear_gradient("L").resize((20, 10)).save(stream, kind)
        found.append(stream.getvalue())
    return found


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(_files()), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4), st.data())
def test_damaged_files_are_read_or_refused_in_one_line(
    content: bytes, flips: list[tuple[int, int]], data: st.DataObject
) -> None:
    damaged = bytearray(content)
    for at, value in flips:
        damaged[at % len(damaged)] = value
    damaged = damaged[: data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))]
    for read in (lambda: audio(bytes(damaged)).samples, lambda: picture(bytes(damaged)).pixels):
        said = ""
        try:
            found = read()
        except DataError as problem:
            said = str(problem)
        assert "\n" not in said
        assert said or found.size
        assert said or np.abs(found.astype(float)).max() <= (1.0 if found.ndim == 1 else 255.0)


# --- streams


def test_raw_samples_come_in_blocks() -> None:
    content = (_tone(1.2) * 32767).astype("<i2").tobytes() + b"\x07"  # half a sample is none
    found = list(blocks(io.BytesIO(content)))
    assert [len(each) for each in found] == [8000, 8000, 3200]
    assert np.concatenate(found) == pytest.approx(_tone(1.2), abs=1e-4)
    assert sum(map(len, blocks(io.BytesIO(content), 8000, 0.1))) == pytest.approx(9600, abs=1)
    assert list(blocks(io.BytesIO())) == []


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_a_file_as_a_stream_is_what_it_is_as_a_file(name: str, sound: Writer) -> None:
    path = sound(name, np.stack([_tone(1.3, 44_100)] * 2, 1), 44_100, **KINDS[name])
    with open(path, "rb") as stream:
        assert np.array_equal(np.concatenate(list(blocks(stream))), audio(path).samples)


def test_a_wav_through_a_pipe_is_heard_while_it_is_recorded(sound: Writer) -> None:
    content = sound("a.wav", np.stack([_tone(3)] * 2, 1)).read_bytes()
    reading, writing = os.pipe()
    heard = threading.Event()

    def record() -> None:
        with open(writing, "wb") as pipe:
            pipe.write(content[: 44 + 4 * 24_000])
            pipe.flush()
            assert heard.wait(20)
            pipe.write(content[44 + 4 * 24_000 :])

    recorder = threading.Thread(target=record)
    recorder.start()
    with open(reading, "rb") as stream:
        coming = blocks(stream)
        first = next(coming)
        heard.set()
        rest = list(coming)
    recorder.join()
    assert np.concatenate([first, *rest]) == pytest.approx(_tone(3), abs=1e-4)


def test_a_broken_stream_says_so() -> None:
    with pytest.raises(DataError, match="a stream of sound: cannot be read as sound"):
        list(blocks(io.BytesIO(b"fLaC" + bytes(100))))
    reading, writing = os.pipe()
    os.write(writing, b"RIFF" + bytes(100))
    os.close(writing)
    with open(reading, "rb") as stream, pytest.raises(DataError, match="16-bit samples to a pipe"):
        list(blocks(stream))


# --- pictures


def _ramp(kind: str = "L") -> PIL.Image.Image:
    """A picture of 4 x 2: black at the left, white at the right."""
    return PIL.Image.fromarray(np.array([[0, 85, 170, 255]] * 2, np.uint8)).convert(kind)


@pytest.mark.parametrize("suffix", ["png", "tiff", "bmp", "gif", "jpg", "webp"])
def test_each_format_is_seen_as_it_was_drawn(suffix: str, drawn: Writer) -> None:
    pixels = picture(drawn(f"a.{suffix}", _ramp())).pixels
    assert (pixels.shape, pixels.dtype) == ((2, 4, 3), np.uint8)
    far = np.abs(pixels[0, :, 0] - np.array([0.0, 85.0, 170.0, 255.0])).max()
    assert far <= (12 if suffix in ("jpg", "webp") else 0)


@pytest.mark.parametrize("kind", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"])
def test_each_kind_of_pixel_becomes_rgb(kind: str, drawn: Writer) -> None:
    if kind == "I;16":
        path = drawn("a.png", PIL.Image.fromarray(np.asarray(_ramp(), np.uint16) * 257))
    else:
        path = drawn("a.tiff", _ramp(kind))
    expected = [0, 255] if kind == "1" else [0, 85, 170, 255]
    assert picture(path).pixels[0, :: 3 if kind == "1" else 1].tolist() == [[each] * 3 for each in expected]


def test_what_is_transparent_lies_on_white(drawn: Writer) -> None:
    clear = PIL.Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 128]]], np.uint8))
    assert picture(drawn("a.png", clear)).pixels[0].tolist() == [[255] * 3, [0] * 3, [255, 127, 127]]
    palette = _ramp().convert("P")
    assert picture(drawn("b.png", palette, transparency=palette.getpixel((0, 0)))).pixels[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
def test_a_picture_is_turned_as_the_camera_was_held(suffix: str, drawn: Writer) -> None:
    turned = PIL.Image.Exif()
    turned[0x0112] = 6  # the camera stood upright: the top is at the right
    path = drawn(f"a.{suffix}", _ramp().resize((40, 20), 0), exif=turned)
    pixels = picture(path).pixels
    assert pixels.shape == (40, 20, 3)
    assert pixels[2, 2, 0] < 20 < 235 < pixels[-2, 2, 0]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("b.png", None, "no such file. Did you mean"),
        ("e.png", b"", "is empty"),
        ("x.pdf", b"%PDF-1.4", "cannot be read as a picture (cannot identify image file); convert it to one of PNG"),
    ],
)
def test_a_picture_that_cannot_be_read_says_why(
    name: str, content: bytes | None, says: str, drawn: Writer, tmp_path: Path
) -> None:
    drawn("a.png", _ramp())
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        picture(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {says}")


def test_half_a_picture_and_one_of_32_bits_are_broken(drawn: Writer) -> None:
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8))
    path = drawn("a.png", noise)
    path.write_bytes(path.read_bytes()[:800])
    half, deep = picture(path), picture(drawn("b.tiff", PIL.Image.fromarray(np.ones((2, 2), np.float32))))
    assert half.key != deep.key
    for broken in (half, deep):
        with pytest.raises(DataError, match=r"is broken \(.*\); scan it"):
            _ = broken.pixels


# --- rows


def test_a_row_holds_a_path_a_part_bytes_or_the_part_itself(sound: Writer, drawn: Writer) -> None:
    path, picture_path = sound("a.wav", _tone(2)), drawn("a.png", _ramp())
    whole, part = audio(path).samples, audio(path, start=0.5, end=1.5).samples
    content = path.read_bytes()
    for held in (str(path), path, content, {"bytes": content, "path": "a.wav"}, {"bytes": None, "path": str(path)}):
        assert np.array_equal(sound_of({"audio": held, "start": None}).samples, whole)
        assert np.array_equal(sound_of({"audio": held, "start": "0.5", "end": 1.5}).samples, part)
    own = audio(path)
    assert sound_of({"audio": own}) is own
    assert np.array_equal(sound_of({"audio": own, "start": 0.5, "end": 1.5}).samples, part)
    for held in (str(picture_path), picture_path.read_bytes(), {"bytes": picture_path.read_bytes()}):
        assert picture_of({"image": held}).pixels.tolist() == picture(picture_path).pixels.tolist()
    drawing = Image(np.zeros((2, 2, 3), np.uint8))
    assert picture_of({"image": drawing}) is drawing


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, "column 'audio' is empty"),
        ({"audio": " "}, "column 'audio' is empty"),
        ({"audio": {"bytes": None}}, "column 'audio' is empty"),
        ({"audio": 7}, "'audio' names a file, not int 7"),
        ({"audio": "{file}", "start": "soon"}, "'start' counts seconds, like 2.5, not 'soon'"),
        ({"audio": "{file}", "end": True}, "'end' counts seconds, like 2.5, not True"),
        ({"audio": "x\ny.wav"}, r"'x\\ny\.wav': no such file"),
        ({"audio": "x\0y.wav"}, "cannot be opened"),
        ({"audio": "x" * 5000}, "cannot be opened: File name too long"),
    ],
)
def test_a_row_that_cannot_be_read_says_why(row: dict[str, Any], says: str, sound: Writer) -> None:
    path = str(sound("a.wav", _tone()))
    row = {name: path if held == "{file}" else held for name, held in row.items()}
    with pytest.raises(DataError, match=says) as caught:
        task("speech").example(row)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_golds_of_speech_and_reading_are_one_text_or_several(sound: Writer) -> None:
    path = str(sound("a.wav", _tone()))
    for text, golds in ((None, []), ("", [""]), ("a b", ["a b"]), (["a b", "A b", "a b"], ["a b", "A b"])):
        assert [gold.text for gold in task("speech").example({"audio": path, "text": text}).golds] == golds
    for wrong in (7, [], ["a", 7]):
        with pytest.raises(DataError, match="'text' holds the right text, or a list of right texts"):
            task("reading").golds({"text": wrong})


@pytest.mark.parametrize("name", ["speech", "reading"])
def test_the_example_rows_are_valid_ones(name: str) -> None:
    folder = Path(__file__).parent.parent / "examples" / "rows" / name
    assert all(task(name).example(row).golds for row in read_rows(folder, task=task(name)))


# --- the data doctor


def _found(name: str, rows: list[Any], **others: Any) -> dict[str, Finding]:
    return {each.kind: each for each in check(task(name), rows, **others).findings}


def test_the_doctor_tells_how_long_sounds_are_and_which_are_faulty(sound: Writer, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 64_000)
    cut = sound("cut.flac", noise)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    names = ["a.wav", "quiet.wav", "cut.flac", "no.wav", "x.wav", ""]
    sound("a.wav", noise), sound("quiet.wav", np.zeros(8_000)), (tmp_path / "x.wav").write_bytes(b"text")
    rows = [{"audio": str(tmp_path / name) if name else None, "text": "a"} for name in names]
    found, told = _found("speech", rows), check(task("speech"), rows).facts
    assert told == ("train: 3 sounds, 8.5 s in all, the shortest 0.50 s, the longest 4.00 s",)
    assert check(task("speech"), rows[:1]).findings == ()
    assert found["silent"].message == "1 of 6 train rows are silent, of 3 listened to"
    assert found["silent"].places == ("train row 2",)
    assert found["broken-sound"].places[0].startswith("train row 3: ")
    assert found["missing-file"].places[0].startswith(f"train row 4: {tmp_path / 'no.wav'}: no such file.")
    assert found["unreadable"].places[0].startswith("train row 5: ")
    assert found["empty"].places == ("train row 6",)
    assert set(found) == {"silent", "broken-sound", "missing-file", "unreadable", "empty"}


def test_the_doctor_decodes_few_sounds_and_no_long_ones(sound: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    long = Audio.of(lambda: decoded.append("long") or np.zeros(1, np.float32), 16_000, "long", 3600.0)
    short = [
        Audio.of(lambda n=n: decoded.append(n) or np.ones(8, np.float32), 16_000, f"{n}", 1.0) for n in range(1000)
    ]
    found = check(task("speech"), [{"audio": each, "text": "a"} for each in (*short, long)])
    assert len(decoded) == 200
    assert "long" not in decoded
    assert found.facts[0].startswith("train: 1001 sounds, ")


def test_the_doctor_looks_at_pictures(drawn: Writer) -> None:
    path = drawn("a.png", PIL.Image.effect_noise((40, 40), 90))
    whole, half = str(path), path.with_name("half.png")
    half.write_bytes(path.read_bytes()[:800])
    found = _found("reading", [{"image": each, "text": "a"} for each in (whole, str(half), whole + "x")])
    assert found["broken-picture"].message == "1 of 3 train rows cannot be decoded, of 2 looked at"
    assert found["broken-picture"].places[0].startswith(f"train row 2: {half}: is broken (")
    assert found["missing-file"].places[0].endswith(f"Did you mean '{whole}'?")


def test_the_same_part_on_both_sides_is_a_leak_without_decoding(sound: Writer) -> None:
    path = str(sound("a.wav", _tone(2)))
    rows = [{"audio": path, "start": start, "end": start + 1, "text": "a"} for start in (0.0, 0.5, 1.0)]
    assert _found("speech", rows[:2], test=rows[1:])["leak"].places == ("test row 1, like train row 2",)


def test_a_speaker_or_a_document_is_a_group_where_there_is_none() -> None:
    read = task("topic").example
    assert read({"text": "a", "speaker": "s1", "document": "d"}).group == "s1"
    assert read({"text": "a", "speaker": "", "document": 7}).group == "7"
    assert read({"text": "a", "group": "g", "speaker": "s1"}).group == "g"
    assert read({"text": "a", "speaker": None}).group == ""
    examples = [read({"text": str(n), "speaker": f"s{n % 4}", "label": "a"}) for n in range(20)]
    ((one, two),) = folds(examples, k=2)
    for train, test in (one, two):
        assert not {examples[n].group for n in train} & {examples[n].group for n in test}


def test_a_speaker_on_both_sides_is_told_with_its_rows() -> None:
    rows = [{"text": f"text {n}", "label": "ab"[n % 2], "speaker": f"s{n}"} for n in range(4)]
    held = [{"text": f"held {n}", "label": "ab"[n % 2], "speaker": f"s{n % 3 + 2}"} for n in range(9)]
    found = _found("topic", rows, test=held, dev=held[2:3])["group-leak"]
    assert found.message.endswith("; speaker s4 is in dev and in test: 3 rows")
    found = next(each for each in check(task("topic"), rows, test=held).findings if each.kind == "group-leak")
    assert found.message == (
        "6 of 9 test rows share a group with train, and scores flatter; "
        "speaker s2 is in train and in test: 3 rows; speaker s3 is in train and in test: 3 rows"
    )
    assert found.places[0] == "test row 1, speaker s2"


# --- the cache


NUMBERS = arrays_of.arrays(
    dtype=st.sampled_from(["<f4", ">f8", "<f2", "|b1", "|u1", "<i8", "<c8"]), shape=arrays_of.array_shapes(min_dims=0)
)


@ROUGH
@given(array=NUMBERS, key=st.text())
def test_what_is_put_comes_back(array: np.ndarray, key: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kept")
    cache.put(key, array)
    back = cache.get(key)
    assert back is not None
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert back.flags.writeable
    assert cache.get(f"never put: {key}") is None


@ROUGH
@given(at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_counts_as_missing_and_goes(at: int, value: int, cut: bool, tmp_path: Path) -> None:
    cache, array = Cache(tmp_path / "kept"), np.arange(12, dtype=np.float32).reshape(3, 4)
    cache.put("key", array)
    (file,) = (tmp_path / "kept").iterdir()
    content = bytearray(file.read_bytes())
    whole, at = bytes(content), at % len(content)
    content[at] = value
    file.write_bytes(content[:at] if cut else content)
    back = cache.get("key")
    assert back is None or np.array_equal(back, array)
    if back is None:
        assert not file.exists()
    else:
        assert len(content) == len(whole)


def test_the_bound_holds_and_what_was_read_longest_ago_goes(tmp_path: Path) -> None:
    cache, array = Cache(tmp_path / "kept", 20_000), np.zeros(1000, np.uint8)
    for number in range(40):
        cache.put(f"{number}", array)
        assert cache.get("0") is not None
        assert sum(each.stat().st_size for each in (tmp_path / "kept").iterdir()) <= 20_000
        time.sleep(0.001)  # the disk's clock is coarse
    kept = [number for number in range(40) if cache.get(f"{number}") is not None]
    assert kept == [0, *range(41 - len(kept), 40)]
    assert len(kept) >= 15
    cache.put("large", np.zeros(20_000, np.uint8))
    assert cache.get("large") is None
    assert cache.get("39") is not None


def test_other_files_in_the_folder_stay_and_leftovers_of_a_crash_go(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x" * 500)
    (tmp_path / f"folder{'0' * 58}").mkdir()
    left = tmp_path / f".0123abcd.{'0' * 64}"
    left.write_bytes(bytes(10))
    os.utime(left, (0, 0))
    for number in range(20):
        Cache(tmp_path, 300).put(f"{number}", np.zeros(10))
    assert sorted(each.name for each in tmp_path.iterdir())[-2:] == [f"folder{'0' * 58}", "mine.txt"]
    assert not left.exists()


def test_what_is_no_number_is_refused_and_a_disk_that_refuses_is_none(tmp_path: Path) -> None:
    for array in (np.array(["a"]), np.array([None]), np.zeros(2, "i4,i4")):
        with pytest.raises(ValueError, match="arrays of numbers"):
            Cache(tmp_path).put("a", array)
    (tmp_path / "file").write_text("in the way")
    Cache(tmp_path / "file").put("a", np.zeros(1))
    assert Cache(tmp_path / "file").get("a") is None


def test_the_folder_is_the_user_s_unless_named_and_nothing_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWRUNG_CACHE", "/no/where")
    assert (home(), Cache().folder) == (Path("/no/where"), Path("/no/where"))
    monkeypatch.delenv("LOWRUNG_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert home() == Path.home() / ".cache" / "lowrung"
    assert not Path("/no").exists()


BUSY = """
import sys, numpy as np
from lowrung.data.cache import Cache
cache = Cache(sys.argv[1], 40_000)
for turn in range(8):
    for number in range(6):
        array = np.full(1000, number)
        cache.put(f"{number}", array)
        back = cache.get(f"{number}")
        assert back is None or np.array_equal(back, array)
"""


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", BUSY, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [each.communicate(timeout=120)[1] for each in started] == [""] * 3
    assert not [each.name for each in tmp_path.iterdir() if each.name.startswith(".")]
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= 50_000
