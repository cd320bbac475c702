"""Who may ask: bearer tokens, of which only hashes are on disk."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from lowrung.core.errors import LowrungError
from lowrung.data.files import atomic

PREFIX = "lr_"
LETTERS = 32  # bytes of chance in a key: nobody guesses one, so that a fast hash is enough


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def made(file: str | Path, name: str) -> str:
    """A new key for `name`, whose hash is added to `file`, which only its owner may read. It is shown this once.

    Raises:
        LowrungError: the name is empty or of more than one line, or the file cannot be written.
    """
    if not name.strip() or len(name.splitlines()) != 1:
        raise LowrungError(f"a key is for somebody, named in one line, not {name!r}")
    key, path = PREFIX + secrets.token_urlsafe(LETTERS), Path(file)
    try:
        held = path.read_text("utf-8") if path.exists() else ""
        held += "\n" if held and not held.endswith("\n") else ""
        with atomic(path) as new:
            new.touch(mode=0o600)
            new.write_text(f"{held}{hashed(key)} {name.strip()}\n", "utf-8")
            new.chmod(0o600)
    except OSError as problem:
        raise LowrungError(f"{path}: could not be written ({problem.strerror or problem})") from problem
    return key


def read(file: str | Path) -> dict[str, str]:
    """hash → name of everybody with a key.

    Raises:
        LowrungError: there is no such file, or a line is none of a key.
    """
    found, path = dict[str, str](), Path(file)
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise LowrungError(
            f"{path}: no file of keys; lowrung serve --new-key NAME --keys {path} makes one"
        ) from problem
    for number, line in enumerate(lines, 1):
        digest, _, name = line.strip().partition(" ")
        if not line.strip():
            continue
        if len(digest) != 64 or set(digest) - set("0123456789abcdef") or not name:
            raise LowrungError(f"{path}:{number}: a line is the sha256 of a key, a blank and a name")
        found[digest] = name
    if not found:
        raise LowrungError(f"{path}: holds no key, so that nobody could ask; lowrung serve --new-key NAME makes one")
    return found


def owner(keys: dict[str, str], given: str) -> str | None:
    """Whose key it is, None where it is nobody's; in a time that does not tell how much of a key is right."""
    digest, found = hashed(given), None
    for each, name in keys.items():  # all of them, always
        if hmac.compare_digest(each, digest):
            found = name
    return found
