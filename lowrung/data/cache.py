"""Arrays kept on disk under a key: bounded, checksummed, for several processes at once, and never needed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrung.data.files import atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_BYTES = 2 << 30
_KINDS = "biufc"  # bools and numbers: their bytes say all of them
_OURS = re.compile(r"(\.[0-9a-f]{8}\.)?[0-9a-f]{64}")  # names of arrays, and of those that are being written
_HEADER = 4096  # bytes that the first line has at most
_AFTER = 0.9  # of the bound: what is left when files are removed, so that not every `put` has to look at all of them
_OTHERS = 0.05  # of the bound: own bytes after which others' are counted anew
_STALE = 3600.0  # seconds after which a half-written file belongs to nobody


def home() -> Path:
    """The folder of lowrung's caches: $LOWRUNG_CACHE, else lowrung in the user's cache folder."""
    named = os.environ.get("LOWRUNG_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lowrung"


@dataclass(frozen=True, slots=True)
class Cache:
    """Arrays by key in `folder`, of `most_bytes` together; the ones that were read longest ago go first.

    A file that is damaged counts as missing and is removed. Several processes may share a folder: the bound then holds
    to within a twentieth a process. A disk that refuses is no error; the array is not there, as in any cache.
    """

    folder: Path = field(default_factory=home)
    most_bytes: int = MOST_BYTES
    _held: list[int] = field(default_factory=list, init=False, repr=False, compare=False)  # bytes as counted, own since

    def get(self, key: str) -> NDArray[Any] | None:
        """The array that was put under `key`, None where there is none (any more)."""
        path = self._path(key)
        try:
            array = _read(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with suppress(OSError):
            os.utime(path)  # used now
        return array

    def put(self, key: str, array: NDArray[Any]) -> None:
        """Keep `array` under `key`, unless it is larger than the bound by itself.

        Raises:
            ValueError: the array holds something else than numbers.
        """
        content = _written(array)
        if len(content) > self.most_bytes:
            return
        path = self._path(key)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path) as temporary:
                temporary.write_bytes(content)
            self._make_room(len(content))

    def _path(self, key: str) -> Path:
        return Path(self.folder) / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()

    def _make_room(self, added: int) -> None:
        counted, own = self._held or (self.most_bytes, 0)
        counted, own = counted + added, own + added
        if counted > self.most_bytes or own > _OTHERS * self.most_bytes:
            counted, own = self._swept(), 0
        self._held[:] = counted, own

    def _swept(self) -> int:
        """Remove what is over the bound; the bytes that are left."""
        files, now = [], time.time()
        with os.scandir(self.folder) as found:
            for each in filter(lambda each: _OURS.fullmatch(each.name), found):
                with suppress(OSError):  # another process may have removed it
                    used, size = each.stat().st_mtime, each.stat().st_size
                    stale = each.name.startswith(".") and now - used > _STALE
                    files.append((0.0 if stale else used, size, each.path))
        held, most = sum(size for _, size, _ in files), self.most_bytes
        for used, size, path in sorted(files):
            if used > 0.0:
                if held <= most:
                    break
                most = int(_AFTER * self.most_bytes)
            with suppress(OSError):
                os.unlink(path)
                held -= size
        return held


def _written(array: NDArray[Any]) -> bytes:
    """A line of JSON that says what follows, then the numbers."""
    if array.dtype.kind not in _KINDS:
        raise ValueError(f"a cache keeps arrays of numbers, not of {array.dtype}")
    content = array.tobytes()
    told = {"dtype": array.dtype.str, "shape": array.shape, "sha256": hashlib.sha256(content).hexdigest()}
    return json.dumps(told).encode() + b"\n" + content


def _read(path: Path) -> NDArray[Any]:
    import numpy as np

    with open(path, "rb") as file:
        told = json.loads(file.readline(_HEADER))
        content = bytearray(file.read())  # may be written to, unlike bytes
    if not re.fullmatch(rf"[<>|][{_KINDS}]\d+", told["dtype"]):
        raise ValueError("no array of numbers")
    dtype, shape = np.dtype(told["dtype"]), tuple(told["shape"])
    if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError("other bytes than its first line says")
    if hashlib.sha256(content).hexdigest() != told["sha256"]:
        raise ValueError("its checksum is another")
    array: NDArray[np.generic] = np.frombuffer(content, dtype).reshape(shape)
    return array
