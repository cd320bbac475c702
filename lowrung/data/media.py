"""Sound and pictures: a file's header is looked at when a part is made of it, the rest when the part is read."""

from __future__ import annotations

import io
import math
import os
import re
import stat
import wave
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lowrung.core.errors import DataError, LowrungError
from lowrung.core.parts import KINDS, Audio, Image, Part
from lowrung.core.task import Row
from lowrung.data.files import MEDIA, nearby
from lowrung.data.formats import first_line

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    import soundfile
    from numpy.typing import NDArray

RATE = 16_000  # samples a second: what bodies that listen were trained on
SOUNDS = "wav, flac, ogg, opus or mp3"
COLUMNS = ("text", "text_pair", *MEDIA)  # of a row's parts, in reading order
PICTURES = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")
AGAIN = "record it or fetch it again"
PIPED = "write 16-bit samples to a pipe, as ffmpeg … -c:a pcm_s16le -f wav - does"
_BLOCK = 1 << 16  # frames decoded at a time: many channels at a high rate stay small in memory
_SLOW = 1000  # samples a second: a damaged header that says less would become a giant of sound
_SHORT = 0.1  # seconds that a decoder may fall short of the header, which only estimates in some mp3 files
_LOUD = 8.0  # floats may overshoot 1 a little; beyond this they are integers that were never scaled


@dataclass(frozen=True, slots=True)
class _File:
    name: str  # for errors
    identity: str  # path, size and time of change, or a digest of the bytes
    path: str = ""
    content: bytes = field(default=b"", repr=False)

    def opened(self) -> str | BinaryIO:
        return self.path or io.BytesIO(self.content)


def audio(
    source: str | Path | bytes, *, start: float | None = None, end: float | None = None, rate: int = RATE
) -> Audio:
    """The sound of a file (or of a file's bytes), or its part from `start` to `end`: mono, at `rate`.

    Channels are averaged, other rates are resampled by soxr (HQ). Only the part is read. Reading `samples` raises
    DataError where the file turns out to be broken.

    Args:
        start: in seconds; the beginning by default.
        end: in seconds, the end of the file where it is later or by default.

    Raises:
        DataError: no such file, none that can be read, one without samples, or no such part of it.
        LowrungError: soundfile or soxr is not installed.
        ValueError: the rate is not positive.
    """
    if rate <= 0:
        raise ValueError(f"an audio rate is positive, not {rate}")
    file = _found(source, "sound")
    frames, given = _header_of_path(file) if file.path else _header(file)
    first, last = _part(file.name, start, end, frames, given)
    if (last - first) * rate < given:
        where = " between start and end" if frames > last - first else f"; {AGAIN}"
        raise DataError(f"{file.name}: holds no samples{where}")
    load = partial(_samples, file, first, last, rate)
    return Audio.of(load, rate, f"{file.identity}|{first}-{last}/{given}|{rate}", (last - first) / given)


def _part(name: str, start: float | None, end: float | None, frames: int, given: int) -> tuple[int, int]:
    """(first, last) frame of the part, the last one excluded."""
    length = frames / given
    for what, at in (("start", start), ("end", end)):
        if at is not None and not (math.isfinite(at) and at >= 0):
            raise DataError(f"{name}: {what} is {at:g}; it counts seconds from the beginning, 0 or more")
    if end is not None and end <= (start or 0):
        raise DataError(f"{name}: end ({end:g} s) is not after start ({start or 0:g} s)")
    if start is not None and frames and start * given >= frames:
        raise DataError(f"{name}: start ({start:g} s) is past the end of the sound ({length:.3f} s); is it in seconds?")
    return round((start or 0) * given), frames if end is None else min(frames, round(end * given))


def picture(source: str | Path | bytes) -> Image:
    """The picture in a file (or in a file's bytes), upright and on white; of several pages the first.

    Raises:
        DataError: no such file, or none that can be read; reading `pixels` raises it where the file is broken.
        LowrungError: pillow is not installed.
    """
    file = _found(source, "picture")
    with _failing(file, "cannot be read as a picture", f"convert it to one of {', '.join(PICTURES)}"), _picture(file):
        pass
    return Image.of(partial(_pixels, file), file.identity)


def sound_of(row: Row) -> Audio:
    """The sound of a row: `audio` (a path, a file's bytes, or an Audio), and its part from `start` to `end` (seconds).

    Raises:
        DataError: there is none, or it cannot be read.
    """
    start, end = _seconds(row, "start"), _seconds(row, "end")
    held = _held(row, "audio")
    if not isinstance(held, Audio):
        return audio(held, start=start, end=end)
    if start is None and end is None:
        return held
    first, last = _part("audio", start, end, len(held.samples), held.rate)
    return Audio(held.samples[first:last], held.rate)


def picture_of(row: Row) -> Image:
    """The picture of a row: `image` (a path, a file's bytes, or an Image).

    Raises:
        DataError: there is none, or it cannot be read.
    """
    held = _held(row, "image")
    return held if isinstance(held, Image) else picture(held)


def given_of(row: Row) -> tuple[Part, ...]:
    """The parts of a row in reading order: those of its list `given`, or its `text`, `text_pair`, `audio` and `image`.

    Raises:
        DataError: there is none, one cannot be read, or the row has both a list and such a column.
    """
    listed, columns = row.get("given"), [name for name in COLUMNS if row.get(name) not in (None, "")]
    if listed in (None, ""):
        given = tuple(_part_of(row, name) for name in columns)
    elif columns:
        raise DataError(f"a row holds 'given' or {columns[0]!r}, not both")
    elif not isinstance(listed, Sequence) or isinstance(listed, str | bytes):
        raise DataError(f'\'given\' holds a list of parts, like [{{"text": …}}, {{"audio": …}}], not {listed!r:.60}')
    else:
        given = tuple(_listed(number, part) for number, part in enumerate(listed, 1))
    if not any(part.strip() if isinstance(part, str) else part for part in given):
        raise DataError("column 'text' is empty, and there is no 'audio', 'image' or 'given'")
    return given


def _listed(number: int, held: Any) -> Part:
    names = [name for name in KINDS if name in held] if isinstance(held, Mapping) else []
    if len(names) != 1 or not held.keys() <= {*KINDS, "start", "end"}:
        raise DataError(
            f'part {number} of \'given\' is one of {{"text": …}}, {{"audio": …}} and {{"image": …}}, not {held!r:.60}'
        )
    try:
        return _part_of(held, names[0])
    except DataError as problem:
        raise DataError(f"part {number} of 'given': {problem}") from problem


def _part_of(row: Row, column: str) -> Part:
    if column in MEDIA:
        return sound_of(row) if column == "audio" else picture_of(row)
    if not isinstance(row[column], str):
        raise DataError(f"'text' and 'text_pair' hold text, not {row[column]!r:.60}")
    return str(row[column])


def _held(row: Row, column: str) -> Any:
    held = row.get(column)
    if isinstance(held, Mapping):  # as data sets of the hub and parquet files hold media
        held = held.get("bytes") or held.get("path")
    if held is None or (isinstance(held, str | bytes) and not held.strip()):
        raise DataError(f"column {column!r} is empty")
    if not isinstance(held, str | bytes | Path | (Audio if column == "audio" else Image)):
        raise DataError(f"{column!r} names a file, not {type(held).__name__} {held!r:.60}")
    return held


def _seconds(row: Row, column: str) -> float | None:
    held = row.get(column)
    if held is None or held == "":
        return None
    try:
        if isinstance(held, bool):
            raise TypeError
        return float(held)  # a table holds text
    except (TypeError, ValueError, OverflowError) as problem:
        raise DataError(f"{column!r} counts seconds, like 2.5, not {held!r:.60}") from problem


# --- files


def _found(source: str | Path | bytes, kind: str) -> _File:
    if isinstance(source, bytes):
        if not source:
            raise DataError(f"the bytes of a {kind} are empty")
        return _File(f"{kind} of {len(source)} bytes", blake2b(source, digest_size=16).hexdigest(), content=source)
    path = Path(source)
    name = str(path) if str(path).isprintable() and len(str(path)) < 1000 else f"{str(path)!r:.200}"
    try:
        known = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise DataError(f"{name}: no such file.{nearby(path) if name == str(path) else ''}") from problem
    except (OSError, ValueError) as problem:
        raise DataError(f"{name}: cannot be opened: {getattr(problem, 'strerror', None) or problem}") from problem
    if not stat.S_ISREG(known.st_mode):  # opening a pipe would wait for ever
        raise DataError(f"{name}: is {'a folder' if path.is_dir() else 'no file'}; name a {kind} file")
    if not os.access(path, os.R_OK):
        raise DataError(f"{name}: cannot be opened: Permission denied")
    if not known.st_size:
        raise DataError(f"{name}: is empty (0 bytes); {AGAIN}")
    return _File(name, f"{os.path.realpath(path)}|{known.st_size}|{known.st_mtime_ns}", path=str(path))


@contextmanager
def _extra(name: str) -> Iterator[None]:
    try:
        yield
    except (ImportError, OSError) as problem:  # OSError: soundfile found no libsndfile
        raise LowrungError(f"{name}: needs the media extra; run pip install 'lowrung[media]'") from problem


@contextmanager
def _failing(file: _File, what: str, mend: str) -> Iterator[None]:
    """What decoders say of a file as a DataError: each format fails in exceptions of its own."""
    try:
        yield
    except (LowrungError, MemoryError):
        raise
    except Exception as problem:
        said = re.sub(r"^Error opening (<.*?>|'.*?'|\".*?\"): | (<_io.*?>|'.*')", "", first_line(problem)).rstrip(".")
        raise DataError(f"{file.name}: {what} ({said}); {mend}") from problem


# --- sound


@lru_cache(maxsize=1024)  # many rows are parts of one long recording
def _header_of_path(file: _File) -> tuple[int, int]:
    return _header(file)


def _header(file: _File) -> tuple[int, int]:
    """(frames, rate) as the header has them."""
    with _extra(file.name):
        import soundfile
        import soxr  # noqa: F401  # missing, it is to be told now, not when the sound is decoded
    with _failing(file, "cannot be read as sound", f"convert it to {SOUNDS}, as ffmpeg does"):
        known = soundfile.info(file.opened())
        if known.samplerate < _SLOW:
            raise ValueError(f"{known.samplerate} samples a second are no sound")
    return known.frames, known.samplerate


def _samples(file: _File, first: int, last: int, rate: int) -> NDArray[np.float32]:
    """Frames first..last (excluded) of `file` as samples (n,) at `rate`."""
    import numpy as np
    import soundfile

    with _failing(file, "is broken", AGAIN):
        with soundfile.SoundFile(file.opened()) as opened:
            parts = list(_resampled(_mono(opened, first, last), opened.samplerate, rate))
            missing = (last - opened.tell()) / opened.samplerate
        samples = np.concatenate(parts)
        if missing > _SHORT or not len(samples):
            raise ValueError(f"it breaks off {missing:.2f} s early")
        return samples


def _mono(opened: soundfile.SoundFile, first: int, last: int) -> Iterator[NDArray[np.float32]]:
    """Frames first..last (excluded) in blocks (n,), the mean of the channels; fewer where the file breaks off."""
    import numpy as np

    # What an mp3 frame says builds on the frames before it, so a seek is followed by up to half a second of garbage:
    # a second more is read, and soundfile is kept from seeking after each block.
    early = min(first, opened.samplerate) if opened.format == "MP3" else 0
    opened.seek(first - early)
    opened.seekable = lambda: False
    opened.read(early, dtype="float32")
    left = last - first
    while left > 0:
        block = opened.read(min(left, _BLOCK), dtype="float32", always_2d=True)  # (n, channels)
        if not len(block):
            return
        left -= len(block)
        if not np.abs(block).max() <= _LOUD:  # so worded, it catches NaN too
            raise ValueError("its numbers are no sound; floats lie in -1 to 1")
        yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)


def _resampled(parts: Iterable[NDArray[np.float32]], given: int, rate: int) -> Iterator[NDArray[np.float32]]:
    """The parts (n,) at another rate, in [-1, 1]; there is one at least."""
    import numpy as np
    import soxr

    none = np.zeros(0, np.float32)
    if given == rate:
        yield from (np.clip(part, -1.0, 1.0) for part in parts)
        yield none
        return
    stream = soxr.ResampleStream(given, rate, 1, dtype="float32", quality="HQ")
    for part in parts:
        yield np.clip(stream.resample_chunk(np.ascontiguousarray(part)), -1.0, 1.0)
    yield np.clip(stream.resample_chunk(none, last=True), -1.0, 1.0)


# --- streams


def blocks(stream: BinaryIO, rate: int = RATE, seconds: float = 0.5) -> Iterator[NDArray[np.float32]]:
    """The sound of a stream in blocks (rate · seconds,), mono at `rate`, as soon as each is there; the last is shorter.

    A stream that begins like a wav, flac or ogg file is read as one. A wav of 16-bit samples may come through a pipe as
    it is recorded; other files are read to their end first. All else is raw: 16-bit little-endian mono at 16 kHz.

    Raises:
        DataError: the stream begins like a file and is broken, or is a wav of other samples on a pipe.
        LowrungError: soundfile or soxr is not installed.
    """
    import numpy as np

    size = round(rate * seconds)
    if size < 1:
        raise ValueError(f"a block holds 1 sample or more, not {seconds} s at {rate}")
    kept = np.zeros(0, np.float32)
    for part in _streamed(stream, rate, seconds):
        kept = np.concatenate([kept, part])
        while len(kept) >= size:
            yield kept[:size]
            kept = kept[size:]
    if len(kept):
        yield kept


def live(chunks: Iterable[bytes], rate: int) -> Iterator[NDArray[np.float32]]:
    """Raw sound (16-bit little-endian, mono, `rate` samples a second) as samples (n,) at 16 kHz, as it comes.

    Raises:
        LowrungError: soundfile or soxr is not installed.
    """
    with _extra("a stream of sound"):
        import soxr  # noqa: F401
    return (part for part in _resampled((_pcm(each, 1) for each in chunks), rate, RATE) if len(part))


def _streamed(stream: BinaryIO, rate: int, seconds: float) -> Iterator[NDArray[np.float32]]:
    with _extra("a stream of sound"):
        import soundfile
        import soxr  # noqa: F401
    head = b""
    while len(head) < 4 and (more := stream.read(4 - len(head))):
        head += more
    rest, file = io.BufferedReader(_Joined(head, stream)), _File("a stream of sound", "")
    if head == b"RIFF" and not stream.seekable():
        with _failing(file, "is a wav that cannot be read", PIPED):
            opened = wave.Wave_read(rest)
            given, channels = opened.getframerate(), opened.getnchannels()
            if opened.getsampwidth() != 2:
                raise ValueError(f"{8 * opened.getsampwidth()} bits a sample")
        frames = iter(partial(opened.readframes, max(1, round(given * seconds))), b"")
        yield from _resampled((_pcm(each, channels) for each in frames), given, rate)
    elif head in (b"RIFF", b"fLaC", b"OggS"):
        known: BinaryIO = io.BytesIO(rest.read())
        with _failing(file, "cannot be read as sound", AGAIN), soundfile.SoundFile(known) as whole:
            yield from _resampled(_mono(whole, 0, whole.frames), whole.samplerate, rate)
    else:
        chunks = iter(partial(rest.read, 2 * max(1, round(RATE * seconds))), b"")
        yield from _resampled((_pcm(each, 1) for each in chunks), RATE, rate)


def _pcm(content: bytes, channels: int) -> NDArray[np.float32]:
    """16-bit little-endian frames as samples (n,), the mean of the channels; what is no whole frame is left out."""
    import numpy as np

    whole = len(content) // (2 * channels) * 2 * channels
    samples: NDArray[np.float32] = np.frombuffer(content[:whole], "<i2").reshape(-1, channels).mean(1, np.float32)
    return samples / np.float32(32768)


class _Joined(io.RawIOBase):
    """A stream with its first bytes, which have been looked at, before it again."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head, self._stream = head, stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # read1 hands out what is there, where read would wait for more of a recording than was asked for
        some = self._head or getattr(self._stream, "read1", self._stream.read)(len(buffer))
        self._head = b""
        buffer[: len(some)] = some
        return len(some)


# --- pictures


@contextmanager
def _picture(file: _File) -> Iterator[PIL.Image.Image]:
    with _extra(file.name):
        import PIL.Image
    # by name, pillow maps a tiff into memory and does not turn it as it should
    stream = open(file.path, "rb") if file.path else io.BytesIO(file.content)  # noqa: SIM115
    with stream, PIL.Image.open(stream, formats=PICTURES) as image:
        yield image


def _pixels(file: _File) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import ImageOps

    with _failing(file, "is broken", "scan it or fetch it again"), _picture(file) as opened:
        return np.array(_coloured(ImageOps.exif_transpose(opened)))  # (H, W, 3)


def _coloured(image: PIL.Image.Image) -> PIL.Image.Image:
    """`image` in RGB with 8 bits, on white where it is transparent."""
    import numpy as np
    import PIL.Image

    if image.mode.startswith("I") or image.mode == "F":  # pillow cuts these off at 255
        grey = np.asarray(image, dtype=float)
        if image.mode == "F" or grey.min() < 0 or grey.max() > 65535:
            raise ValueError("it has 32 bits a pixel; save it with 8 or 16")
        image = PIL.Image.fromarray((grey / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
