"""Names → recognizers of sound or of lines: an embedded one, a local folder; and what English has that helps them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

from lowrung.core.errors import ModelError, unknown
from lowrung.models.beside import Beside
from lowrung.models.catalog import OWN, fetched, weights_checksum
from lowrung.models.decoding import NextWord
from lowrung.models.lexicon import HOME
from lowrung.models.recognizer import Recognizer, read_body
from lowrung.models.senses import HEARING, SENSES, WAVES, Sense
from lowrung.models.text import Source
from lowrung.models.waves import KINDS, Whisper, kind_of, read_ctc, read_whisper

RECIPES = {"sounds-en": "sounds recipes/sounds-en.toml", "lines": "lines recipes/lines.toml"}  # which train defaults


def embedded(sense: Sense = HEARING) -> tuple[str, ...]:
    """The bodies of a sense that need no download."""
    return tuple(sorted(file.parent.name for file in OWN.glob(f"*/{sense.about}")))


@lru_cache(maxsize=2)
def recognizer(name: str = "", sense: Sense = HEARING) -> Recognizer | Whisper:
    """The recognizer of that name, "" for the default of the sense. Nobody may train what this returns: it is shared.

    Raises:
        ModelError: no such name or folder, one of another sense, or one whose files are damaged.
    """
    name, known = name or sense.default, embedded(sense)
    path = OWN / name if name in known else Path(name)
    if (path / sense.about).is_file():
        source = Source(name if name in known else str(path.resolve()), weights_checksum(path))
        return read_body(path, source, words=_words_for(name, sense))
    for other in SENSES:
        if (path / other.about).is_file():
            if other.column != sense.column:
                raise ModelError(f"{name}: a body that {other.does}, and the task needs one that {sense.does}")
            return read_body(path, Source(str(path.resolve()), weights_checksum(path)), words=_words_for(name, sense))
    if sense is HEARING and (folder := path if path.is_dir() else fetched(name) if _of_hub(name) else None):
        source = Source(name if folder != path else str(path.resolve()), weights_checksum(folder))
        if kind_of(folder) == "whisper":
            return read_whisper(str(folder), source)
        if kind_of(folder) in KINDS:
            body, head = read_ctc(str(folder))
            body.requires_grad_(False)
            head.requires_grad_(False)
            return Recognizer(body.eval(), head.eval(), source, words=_words_for(name, sense), sense=WAVES)
    if name in RECIPES:
        raise ModelError(
            f"{name}: the embedded body that {sense.does} is not in this installation; "
            f"python -m recipes.{RECIPES[name]} --out runs/{name} trains it. Or name the folder of one: --model FOLDER"
        )
    raise ModelError(f"{unknown(f'body that {sense.does}', name, known)} Or name the folder of one.")


def taught(found: Recognizer | Whisper) -> Recognizer:
    """The same, where it can be taught. Raises ModelError where it writes, which only answers."""
    if isinstance(found, Whisper):
        raise ModelError(f"{found.source.name}: Whisper answers untouched; to learn, a body with a CTC head is needed")
    return found


def _of_hub(name: str) -> bool:
    return not name.startswith((".", "/", "~")) and name.count("/") == 1


def loaded(folder: Path, base: str) -> Recognizer:
    """A recognizer that was shipped, made from the body `base`."""
    found = read_body(folder, Source(base, weights_checksum(folder)))
    return replace(found, name="recognizer", words=_words_for(base, found.sense))


def _words_for(name: str, sense: Sense) -> NextWord | None:
    """What a beam knows of words: of the language that an embedded name ends in, English of folders; none for lines."""
    if not sense.expects:
        return None
    return words(name.rpartition("-")[2] if name in embedded(sense) else "en")


@cache
def words(language: str) -> NextWord | None:
    """What is known of which word follows which, None where nothing was counted for the language."""
    file = HOME / f"beside-{language}.xz"
    return NextWord(Beside.load(file)) if file.is_file() else None
