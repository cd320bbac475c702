"""Recognizer: sound or pictures of lines → text. A body, a CTC head, a beam that may know words: a Model of Texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lowrung.core.answers import Prediction, Text
from lowrung.core.errors import ModelError
from lowrung.core.parts import Audio, Image, Question
from lowrung.data.cache import Cache
from lowrung.models.batch import CPU, autocast
from lowrung.models.beside import Beside
from lowrung.models.ctc import CTC
from lowrung.models.decoding import Decoded, Settings, WordModel, decode, greedy, stitched
from lowrung.models.own_words import Counted
from lowrung.models.pieces import bucketed
from lowrung.models.senses import HEARING, SENSES, Body, Sense
from lowrung.models.sound import batched
from lowrung.models.text import Source

WEIGHTS, OWN_WORDS = "model.safetensors", "words.xz"
MOST = 32  # windows a batch

Logs = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Recognizer:
    """A Model[Text] of sound, or of pictures of lines.

    Args:
        how: how the beam is searched; None takes the likeliest letter at each state.
        words: what the beam knows of words: of a language, mixed with `own` where somebody's text was counted.
        cache: where features are kept, for what is heard or read again and again; None keeps none.
        sense: which part of a question it takes, and how.
    """

    body: Body
    head: CTC
    source: Source
    how: Settings | None = None
    words: WordModel | None = None
    own: Counted | None = None
    cache: Cache | None = None
    name: str = "zero-shot"
    sense: Sense = HEARING

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Text]]:
        """What is said in each question's first sound, or written in its first picture; no answer without one, nor
        before the head was taught a letter."""
        found: list[Prediction[Text]] = [Prediction(None, 0.0) for _ in questions]
        if not self.head.alphabet:
            return found
        given = [(at, part) for at, asked in enumerate(questions) if (part := self.sense.found(asked)) is not None]
        for places, logs in self._windowed([part for _, part in given], self.head):
            for place, row in zip(places, logs, strict=True):
                found[given[place][0]] = predicted(self.decoded(row), self.sense.seconds)
        return found

    def decoded(self, logs: Logs) -> Decoded:
        """The text of log-probabilities.  (T', V)"""
        if self.how is None:
            return greedy(logs, self.head.alphabet)
        return decode(logs, self.head.alphabet, self.how, words=self.expected)

    @cached_property
    def expected(self) -> WordModel | None:
        """What the beam asks of words."""
        return self.own.with_general(self.words) if self.own else self.words

    def logs(self, parts: Sequence[Audio | Image]) -> list[Logs]:
        """log P of each symbol at each state, of what is long in windows.  -> of each part (T', V)"""
        return self._whole(parts, self.head)

    def states(self, parts: Sequence[Audio | Image]) -> list[Logs]:
        """The body's states, of what is long in windows.  -> of each part (T', D)"""
        return self._whole(parts, lambda states: states.float())

    def _whole(self, parts: Sequence[Audio | Image], told: Callable[[Tensor], Tensor]) -> list[Logs]:
        found: list[Logs] = [np.zeros((0, 0), dtype=np.float32)] * len(parts)
        for places, rows in self._windowed(parts, told):
            for place, row in zip(places, rows, strict=True):
                found[place] = row
        return found

    @torch.no_grad()
    def _windowed(
        self, given: Sequence[Audio | Image], told: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[list[int], list[Logs]]]:
        """What `told` makes of states, of some parts at a time: their places, and (T', V) of each."""
        sense = self.sense
        self.body.eval()
        for first in range(0, len(given), 4 * MOST):
            whole = sense.features_of(given[first : first + 4 * MOST], self.cache)
            cut = [(at, start, part) for at, frames in enumerate(whole) for start, part in windows(frames, sense)]
            parts: dict[int, list[tuple[Logs, int]]] = {at: [] for at in range(len(whole))}
            for chosen in bucketed([len(part) for _, _, part in cut], budget=sense.budget, most=MOST):
                frames, lengths = batched([sense.normalised(cut[each][2]) for each in chosen])
                with autocast(CPU):
                    states, lengths = self.body(frames, lengths)
                    logs = told(states)
                for each, row, size in zip(chosen, logs.numpy(), lengths.tolist(), strict=True):
                    at, start, _ = cut[each]
                    parts[at].append((row[:size], start // sense.less))
            yield [first + at for at in parts], [stitched(each) for each in parts.values()]

    def save(self, folder: str | Path) -> dict[str, Any]:
        """Write the model into `folder`; returns the facts that a shipped folder keeps of it."""
        folder = Path(folder)
        facts: dict[str, Any] = {"how": self.how.to_json() if self.how else None}
        if self.own is not None:
            self.own.beside.save(folder / OWN_WORDS)
            facts["own"] = {"share": self.own.share, "lines": self.own.lines}
        write_body(folder, self.body, self.head, facts)
        return {"kind": "recognizer", "name": self.name, "body": self.source.name}


def predicted(found: Decoded, seconds: float) -> Prediction[Text]:
    """What was decoded as an answer; with the times of its words, where a state has some `seconds`."""
    others = tuple((Text(text), min(max(share, 0.0), 1.0)) for text, share in found.others)
    words = found.words if seconds else ()
    times = tuple((word, seconds * first, seconds * (last + 1)) for word, first, last in words)
    return Prediction(Text(found.text), min(max(found.score, 0.0), 1.0), others, times=times)


def windows(frames: Tensor, sense: Sense) -> Iterator[tuple[int, Tensor]]:
    """(first frame, frames) of windows that overlap; a single one where there are few frames."""
    for start in range(0, max(len(frames) - sense.overlap, 1), sense.longest - sense.overlap):
        yield start, frames[start : start + sense.longest]


# --- on disk


def rounded(model: Recognizer) -> Recognizer:
    """`model`, with its weights rounded in place to what `write_body` keeps: what is measured is what ships."""
    for module in (model.body, model.head):
        module.load_state_dict({name: each.to(torch.bfloat16).float() for name, each in module.state_dict().items()})
    return model


def write_body(folder: Path, body: Body, head: CTC, facts: dict[str, Any]) -> None:
    """Weights in bfloat16, and beside them what they are of, in a file whose name tells the sense."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"body.{name}": each for name, each in body.state_dict().items()}
    state |= {f"head.{name}": each for name, each in head.state_dict().items()}
    save_file({name: each.to(torch.bfloat16).contiguous() for name, each in state.items()}, folder / WEIGHTS)
    about = {"shape": body.shape.to_json(), "alphabet": list(head.alphabet)}
    sense = next(each for each in SENSES if isinstance(body, each.body))
    (folder / sense.about).write_text(json.dumps(about | facts, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read_body(folder: Path, source: Source, *, words: WordModel | None = None) -> Recognizer:
    """What `write_body` wrote.

    Raises:
        ModelError: a file is missing or damaged.
    """
    sense = next((each for each in SENSES if (folder / each.about).is_file()), HEARING)
    try:
        facts = json.loads((folder / sense.about).read_text("utf-8"))
        body = sense.built(facts["shape"])
        head = CTC(facts["alphabet"], body.shape.width)
        state = {name: each.float() for name, each in load_file(folder / WEIGHTS).items()}
        for module, prefix in ((body, "body."), (head, "head.")):
            part = {name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)}
            module.load_state_dict(part)
        how = Settings.from_json(facts["how"]) if facts.get("how") else None
        own = Counted(Beside.load(folder / OWN_WORDS), **facts["own"]) if facts.get("own") else None
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as problem:
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise ModelError(f"{folder}: no body that {sense.does} can be loaded from there ({reason})") from problem
    body.requires_grad_(False)
    head.requires_grad_(False)
    return Recognizer(body.eval(), head.eval(), source, how, words, own, sense=sense)
