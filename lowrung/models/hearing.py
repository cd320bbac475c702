"""Names → recognizers of sound or of lines: an embedded one, a local folder, a hub id; and what English has that helps.

A body that hears or reads is one of ours, or one of transformers (`FOREIGN`) that a CTC head reads (models/waves.py,
models/patches.py); Whisper and TrOCR write by themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from lowrung.core.errors import ModelError, unknown
from lowrung.models import patches, waves
from lowrung.models.beside import Beside
from lowrung.models.catalog import OWN, fetched, weights_checksum
from lowrung.models.ctc import CTC
from lowrung.models.decoding import NextWord
from lowrung.models.lexicon import HOME
from lowrung.models.patches import TrOCR, headless, read_trocr, read_vit
from lowrung.models.recognizer import Recognizer, read_body
from lowrung.models.senses import HEARING, PATCHES, READING, SENSES, WAVES, Sense, sense_of
from lowrung.models.text import Source
from lowrung.models.waves import Whisper, kind_of, read_ctc, read_whisper

Writer: TypeAlias = Whisper | TrOCR  # they answer untouched
RECIPES = {"sounds-en": "sounds recipes/sounds-en.toml", "lines": "lines recipes/lines.toml"}  # which train defaults


def embedded(sense: Sense = HEARING) -> tuple[str, ...]:
    """The bodies of a sense that need no download."""
    return tuple(sorted(file.parent.name for file in OWN.glob(f"*/{sense.about}")))


@lru_cache(maxsize=2)
def recognizer(name: str = "", sense: Sense = HEARING) -> Recognizer | Writer:
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
    folder = path if path.is_dir() else fetched(name) if _of_hub(name) else None
    if folder is not None and (kind := kind_of(folder)) in FOREIGN:
        own, read = FOREIGN[kind]
        if own.column != sense.column:
            raise ModelError(f"{name}: a body that {own.does}, and the task needs one that {sense.does}")
        return read(str(folder), Source(name if folder != path else str(path.resolve()), weights_checksum(folder)))
    if name in RECIPES:
        raise ModelError(
            f"{name}: the embedded body that {sense.does} is not in this installation; "
            f"python -m recipes.{RECIPES[name]} --out runs/{name} trains it. Or name the folder of one: --model FOLDER"
        )
    raise ModelError(f"{unknown(f'body that {sense.does}', name, known)} Or name the folder of one, or a hub id.")


def taught(found: Recognizer | Writer) -> Recognizer:
    """The same, where it can be taught: of TrOCR the encoder, whose head knows no letter yet.

    Raises:
        ModelError: it is Whisper, which only answers.
    """
    if isinstance(found, Whisper):
        raise ModelError(
            f"{found.source.name}: Whisper answers untouched (--methods zero-shot); "
            f"to learn, a body with a CTC head is needed ({', '.join(waves.KINDS)})"
        )
    if isinstance(found, TrOCR):
        return _still(*headless(found.model.encoder, found.look), found.source, PATCHES)
    return found


def facts_of(found: Writer) -> dict[str, Any]:
    """What a shipped folder keeps of a model that only answers: where it comes from, and none of its weights."""
    settings = {"language": found.language} if isinstance(found, Whisper) else {}
    return {
        "kind": "writer",
        "name": found.name,
        "media": "audio" if isinstance(found, Whisper) else "image",
        "body": found.source.name,
        "checksum": found.source.checksum,
        "settings": {"options": dict(found.options), **settings},
    }


def writer(folder: Path, facts: Mapping[str, Any]) -> Writer:
    """The model of which a shipped folder keeps `facts_of`.

    Raises:
        ModelError: the facts are damaged, or the model is not there or has other weights.
    """
    try:
        found = recognizer(facts["body"], sense_of(facts["media"]))
        if found.source.checksum != facts["checksum"]:
            raise ModelError(f"{folder}: was made on other weights of {facts['body']} than the ones found here")
        return replace(found, name=facts["name"], **facts["settings"])  # type: ignore[return-value]
    except (KeyError, TypeError, StopIteration) as problem:
        raise ModelError(f"{folder}: not a whole model folder ({type(problem).__name__}: {problem})") from problem


def _still(body: Any, head: CTC, source: Source, sense: Sense) -> Recognizer:
    body.requires_grad_(False)
    head.requires_grad_(False)
    return Recognizer(body.eval(), head.eval(), source, words=_words_for(source.name, sense), sense=sense)


def _waves(folder: str, source: Source) -> Recognizer:
    return _still(*read_ctc(folder), source, WAVES)


def _patches(folder: str, source: Source) -> Recognizer:
    print(
        f"{source.name}: has no head for letters; it answers nothing before it is taught (probe, top, full)",
        file=sys.stderr,
    )
    return _still(*read_vit(folder), source, PATCHES)


FOREIGN: dict[str, tuple[Sense, Callable[[str, Source], Recognizer | Writer]]] = {  # by what config.json calls a model
    "whisper": (HEARING, read_whisper),
    "vision-encoder-decoder": (READING, read_trocr),
    **dict.fromkeys(waves.KINDS, (HEARING, _waves)),
    **dict.fromkeys(patches.KINDS, (READING, _patches)),
}


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
