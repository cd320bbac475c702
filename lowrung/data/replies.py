"""Replies that cost money or time, kept on disk: one that is stored is never paid for again, also after a kill."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lowrung.core.errors import LowrungError
from lowrung.data.cache import home

FILE = "replies.sqlite"
MOST_BYTES = 1 << 30
_AFTER = 0.9  # of the bound: what is left when replies are removed
_SWEPT = 256  # replies between two looks at the size
_WAITS = 30.0  # seconds for another process that is writing


class Replies:
    """JSON objects by key in one SQLite file, `most_bytes` at most; the ones that were written first go first.

    Each is there whole or not at all, from the moment that `put` returns, for all processes. A file that is no such
    store is put aside as `<name>.damaged`.

    Args:
        file: None for `replies.sqlite` in the folder of lowrung's caches.

    Raises:
        LowrungError: the disk refuses; what is paid for should not be lost in silence.
    """

    def __init__(self, file: str | Path | None = None, *, most_bytes: int = MOST_BYTES) -> None:
        self.file, self.most_bytes, self._put = Path(file or home() / FILE), most_bytes, 0
        try:
            self._store = self._opened()
        except sqlite3.OperationalError as problem:
            raise self._refused(problem) from problem
        except sqlite3.DatabaseError:
            self.close()
            for name in (self.file.name, f"{self.file.name}-wal", f"{self.file.name}-shm"):
                with suppress(FileNotFoundError):
                    self.file.with_name(name).replace(self.file.with_name(f"{name}.damaged"))
            self._store = self._opened()

    def get(self, key: str) -> dict[str, Any] | None:
        """What was put under `key`, None where there is nothing (any more)."""
        with self._told():
            found = self._store.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        try:
            held = json.loads(found[0]) if found else None
        except ValueError:
            return None
        return held if isinstance(held, dict) else None

    def put(self, key: str, reply: Mapping[str, Any]) -> None:
        """Keep `reply`; on disk when this returns."""
        row = (key, json.dumps(dict(reply), ensure_ascii=True), time.time())
        with self._told():
            self._store.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", row)
            self._put += 1
            if self._put % _SWEPT == 0 or self._bytes() > self.most_bytes:
                self._make_room()

    def close(self) -> None:
        store = getattr(self, "_store", None)
        if store is not None:
            store.close()

    def _opened(self) -> sqlite3.Connection:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise self._refused(problem) from problem
        self._store = sqlite3.connect(self.file, timeout=_WAITS, isolation_level=None, check_same_thread=False)
        self._store.execute("PRAGMA journal_mode = WAL")
        self._store.execute("PRAGMA synchronous = NORMAL")  # outlives a kill; a power cut may take the last few
        self._store.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT, written REAL)")
        return self._store

    def _bytes(self) -> int:
        """What is held; pages that are free again are used before the file grows."""
        told = (self._store.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
        pages, free = told
        return int((pages - free) * self._store.execute("PRAGMA page_size").fetchone()[0])

    def _make_room(self) -> None:
        most = self.most_bytes
        while self._bytes() > most:
            most = int(_AFTER * self.most_bytes)
            number = self._store.execute("SELECT count(*) FROM replies").fetchone()[0]
            if number < 2:
                return
            oldest = "SELECT key FROM replies ORDER BY written LIMIT ?"
            self._store.execute(f"DELETE FROM replies WHERE key IN ({oldest})", (max(1, number // 20),))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as problem:
            raise self._refused(problem) from problem

    def _refused(self, problem: Exception) -> LowrungError:
        return LowrungError(
            f"{self.file}: answers cannot be kept there ({problem}); LOWRUNG_CACHE names another folder"
        )
