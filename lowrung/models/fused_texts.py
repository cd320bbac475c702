"""A recording or a picture of a line, and what somebody else made of it, joined inside of a recognizer's body.

The text is laid along the states (models/laying.py). Early fusion adds its letters to the states that enter the body's
top layers; cross-attention lets the states of these layers look at them. What lies below does not move. The third way,
a vote of whole texts, is models/voting.py. Shapes are those of models/sound.py, and: N letters of a text.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lowrung.core.answers import Prediction, Text
from lowrung.core.errors import DataError, ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.data.cache import Cache
from lowrung.metrics.counting import total
from lowrung.models.batch import CPU, autocast, pad
from lowrung.models.ctc import CTC
from lowrung.models.decoding import stitched
from lowrung.models.hearing import loaded, taught
from lowrung.models.laying import Manner, answered, given_text, laid, manner_of
from lowrung.models.picture import PictureBody
from lowrung.models.pieces import bucketed
from lowrung.models.recognizer import MOST, Logs, Recognizer, predicted, windows
from lowrung.models.sound import Block, SoundBody, batched, through, turned, turns
from lowrung.models.training import Settings, descend, drawn
from lowrung.models.voting import Vote, fit_vote, load_vote

NET, ABOUT = "fused.safetensors", "fused.json"
NONE, LACKING, FIRST = 0, 1, 2  # no letter here; no text at all; from here on the symbols of the head
LEFT_OUT = 0.3  # of the rows of a step: their text, so that it can be done without (Neverova et al. 2016)
NEAR = 2.0  # how much letters that lie near a state are looked at to begin with
QUICK = 10.0  # gates move so many times as fast as other weights
FAINT = 0.3  # spread of the letters that are added to states, to begin with
SETTINGS = Settings(lr=1e-3, head_lr=5e-3, epochs=20, least=200, most=3000, batch=16, decay=0.01)

Watch = Callable[[int, int, float], None]


class Letters(NamedTuple):
    """Texts along states; the first letter stands for the whole text: `NONE`, or `LACKING` where there is none.

    Shape: (B, N) each
    """

    ids: Tensor
    places: Tensor
    mask: Tensor

    def along(self, time: int) -> Tensor:
        """The letter that begins at each state.  -> (B, T')"""
        at = torch.zeros(len(self.ids), time, dtype=torch.long)
        at.scatter_reduce_(1, self.places, self.ids * self.mask, "amax")
        return torch.where(self.ids[:, :1] == LACKING, LACKING, at)


class Early(nn.Module):
    """The letters of the text are added to the states; both go through the same layers."""

    def __init__(self, layers: nn.ModuleList, head: CTC, shape: Any) -> None:
        super().__init__()
        self.heads, self.layers, self.head = shape.heads, layers, head
        self.letters = nn.Embedding(len(head.alphabet) + 1 + FIRST, shape.width)
        nn.init.normal_(self.letters.weight, std=FAINT)
        with torch.no_grad():  # without a text it begins as the body does
            self.letters.weight[LACKING] = 0.0

    def forward(self, states: Tensor, lengths: Tensor, text: Letters) -> Tensor:
        """(B, T', D), (B,) -> log P (B, T', V)"""
        states = states + self.letters(text.along(states.shape[1]))
        logs: Tensor = self.head(through(self.layers, states, lengths, heads=self.heads))
        return logs


class Cross(nn.Module):
    """The text has an encoder of its own; before each layer the states look at its letters, through a gate that begins
    closed (Alayrac et al. 2022). Letters stand at the times of their states: both are turned by the same ones."""

    def __init__(self, layers: nn.ModuleList, head: CTC, shape: Any, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads, self.layers, self.head = shape.heads, layers, head
        self.letters = nn.Embedding(len(head.alphabet) + 1 + FIRST, shape.width)
        self.encoder = Block(shape, dropout)
        self.looks = nn.ModuleList(Look(shape.width, shape.heads) for _ in layers)

    def forward(self, states: Tensor, lengths: Tensor, text: Letters) -> Tensor:
        """(B, T', D), (B,) -> log P (B, T', V)"""
        time, width = states.shape[1], states.shape[2] // self.heads
        mask = torch.arange(time)[None] < lengths[:, None]
        turn, theirs = turns(torch.arange(time), width), turns(text.places[:, None], width)
        letters = self.encoder(self.letters(text.ids), text.mask, theirs)
        for look, layer in zip(self.looks, self.layers, strict=True):
            states = layer(look(states, letters, text.mask, turn, theirs), mask, turn)
        logs: Tensor = self.head(states)
        return logs


class Look(nn.Module):
    """Cross-attention of states to letters, those nearby first, and the gates before what it finds, one a value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.query, self.pair = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out, self.gate = nn.Linear(width, width), nn.Parameter(torch.zeros(width))
        with torch.no_grad():  # the product of what is alike and only turned falls with the distance
            self.query.bias.fill_(NEAR)
            self.pair.bias[:width].fill_(NEAR)

    def forward(self, states: Tensor, letters: Tensor, mask: Tensor, turn: Tensor, theirs: Tensor) -> Tensor:
        """(B, T', D), (B, N, D), (B, N), turns of both -> (B, T', D)"""
        size, width = len(states), states.shape[2] // self.heads
        query = self.query(self.norm(states)).view(size, -1, self.heads, width).transpose(1, 2)
        key, value = self.pair(letters).view(size, -1, 2, self.heads, width).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(
            turned(query, turn), turned(key, theirs), value, attn_mask=mask[:, None, None]
        )
        looked: Tensor = states + torch.tanh(QUICK * self.gate) * self.out(found.transpose(1, 2).flatten(2))
        return looked


WAYS = {"early": Early, "cross": Cross}


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a recording or picture below the layers that are shared: states (T', D) from `start` on, the letters
    whose places lie in it, and whether a text is given at all."""

    start: int
    states: Tensor
    ids: tuple[int, ...]
    places: tuple[int, ...]
    told: bool


@dataclass(frozen=True, eq=False)
class FusedText:
    """A Model[Text] of questions that give a recording (or picture) and a text of it; it does without either.

    Args:
        base: lays the text along its states, and hands over the states below the layers of `net`.
        manner: how the given text is taken; its corrector, if any, mends a text that comes alone.
    """

    base: Recognizer
    net: Early | Cross
    manner: Manner = Manner()  # noqa: RUF009 (frozen)
    name: str = "early"

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Text]]:
        """The text of each question's first recording or picture, as that and the given text say together."""
        return answered(questions, self.base.sense, self.manner, lambda asked: self.said(self.windows(asked)))

    @cached_property
    def _below(self) -> nn.Module:
        """The base's body without its top layers."""
        body = copy.deepcopy(self.base.body)
        body.layers = body.layers[: len(body.layers) - len(self.net.layers)]
        return body.eval()

    @cached_property
    def _cased(self) -> list[int]:
        """Symbol → the one in the case of right texts."""
        alphabet = self.net.head.alphabet
        places = {letter: at for at, letter in enumerate(alphabet, 1)}
        return [0, *(places.get(self.manner.cased(letter), at) for at, letter in enumerate(alphabet, 1))]

    @torch.no_grad()
    def windows(self, questions: Sequence[Question]) -> list[list[Window]]:
        """What the shared layers take of questions that all have a part to hear or read."""
        base, sense, head = self.base, self.base.sense, self.net.head
        top = base.body.layers[len(self._below.layers) :]  # type: ignore[arg-type]
        found = [sense.found(each) for each in questions]
        whole = [sense.features(each, base.cache) for each in found if each is not None]
        cut = [(at, start, part) for at, frames in enumerate(whole) for start, part in windows(frames, sense)]
        states: list[list[tuple[int, Tensor]]] = [[] for _ in questions]
        logs: list[list[tuple[Logs, int]]] = [[] for _ in questions]
        for chosen in bucketed([len(part) for _, _, part in cut], budget=sense.budget, most=MOST):
            frames, lengths = batched([sense.normalised(cut[each][2]) for each in chosen])
            with autocast(CPU):
                below, lengths = self._below(frames, lengths)
                said = base.head(through(top, below, lengths, heads=self.net.heads))
            for each, row, log, size in zip(chosen, below.float(), said.numpy(), lengths.tolist(), strict=True):
                at, start, _ = cut[each]
                states[at].append((start // sense.less, row[:size]))
                logs[at].append((log[:size], start // sense.less))
        made, cased = list[list[Window]](), self._cased
        for asked, parts, heard in zip(questions, states, logs, strict=True):
            text = given_text(asked)
            symbols = head.ids(sense.written(text or ""))  # laid as it was given, told in the case of right texts
            lies = list(zip(map(cased.__getitem__, symbols), laid(stitched(heard), symbols), strict=True))
            made.append([])
            for start, row in sorted(parts, key=lambda part: part[0]):
                inside = [(each + FIRST, at - start) for each, at in lies if start <= at < start + len(row)]
                ids, places = tuple(each for each, _ in inside), tuple(at for _, at in inside)
                made[-1].append(Window(start, row, ids, places, text is not None))
        return made

    @torch.no_grad()
    def said(self, rows: Sequence[Sequence[Window]]) -> Iterator[Prediction[Text]]:
        """The answers of what `windows` makes of questions."""
        self.net.eval()
        flat = [(at, each) for at, row in enumerate(rows) for each in row]
        logs: list[list[tuple[Logs, int]]] = [[] for _ in rows]
        for chosen in bucketed([len(each.states) for _, each in flat], budget=self.base.sense.budget, most=MOST):
            with autocast(CPU):
                found = self.net(*together([flat[each][1] for each in chosen]))
            for each, log in zip(chosen, found.float().numpy(), strict=True):
                at, window = flat[each]
                logs[at].append((log[: len(window.states)], window.start))
        reader = replace(self.base, head=self.net.head)
        for parts in logs:
            yield predicted(reader.decoded(stitched(parts)), self.base.sense.seconds)

    def save(self, folder: str | Path) -> dict[str, Any]:
        """Write the model into `folder`; returns the facts that a shipped folder keeps of it."""
        folder = Path(folder)
        self.base.save(folder)
        save_file({name: each.contiguous() for name, each in self.net.state_dict().items()}, folder / NET)
        about = {"way": self.name, "layers": len(self.net.layers), "alphabet": self.net.head.alphabet}
        (folder / ABOUT).write_text(
            json.dumps(about | {"manner": asdict(self.manner)}, ensure_ascii=False) + "\n", "utf-8"
        )
        return {"kind": "fused-text", "name": self.name, "body": self.base.source.name}


def together(rows: Sequence[Window], told: Sequence[bool] | None = None) -> tuple[Tensor, Tensor, Letters]:
    """Windows as a network takes them; the texts of those that are not `told` are left out."""
    told = (
        [each.told for each in rows] if told is None else [a and each.told for a, each in zip(told, rows, strict=True)]
    )
    states, lengths = batched([each.states for each in rows])
    ids = [(NONE, *each.ids) if kept else (LACKING,) for kept, each in zip(told, rows, strict=True)]
    places = [(0, *each.places) if kept else (0,) for kept, each in zip(told, rows, strict=True)]
    mask = pad([torch.ones(len(each), dtype=torch.bool) for each in ids])
    return (
        states,
        lengths,
        Letters(pad([torch.tensor(each) for each in ids]), pad([torch.tensor(each) for each in places]), mask),
    )


# --- learning


def fit_fused_text(
    way: str,
    examples: Sequence[Example[Any]],
    *,
    base: Any,
    dev: Sequence[Example[Any]] = (),
    seed: int = 0,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
    settings: Settings | None = None,
) -> FusedText | Vote:
    """A model of recordings or pictures with somebody's text of each, fused in one of the ways early, cross and late.

    Rows may lack the text; those that lack the recording or picture only tell which corrector helps a text alone.

    Args:
        base: the recognizer that it starts from.
        dev: rows by whose error rate the best weights are kept; of "late", that weigh the vote.

    Raises:
        DataError: no row has a recording or picture, a text of it and the right one.
        ModelError: `base` cannot be taught, or is of transformers and to be fused within its layers.
    """
    base = taught(base)
    base = replace(base, cache=base.cache or Cache())
    rows = [each for each in examples if each.golds and base.sense.found(each.question) is not None]
    if not any(each.question.texts for each in rows):
        raise DataError(f"there is no {base.sense.lacking} with both a text of it and the right one to learn from")
    manner = manner_of(examples, base.sense)
    if way == "late":
        return fit_vote(base, rows, manner=manner, dev=dev, seed=seed, checkpoint=checkpoint, watch=watch)
    torch.manual_seed(seed)
    made = _begun(way, base, [base.sense.written(each.golds[0].text) for each in rows], manner)
    return _taught(made, rows, dev, settings or SETTINGS, seed, checkpoint, watch)


def _begun(way: str, base: Recognizer, texts: Sequence[str], manner: Manner) -> FusedText:
    """The model before it has learnt: without a text it answers as `base`."""
    if not isinstance(base.body, SoundBody | PictureBody):
        raise ModelError(f"{base.source.name}: a body of transformers can be fused late only; take the method late")
    layers = copy.deepcopy(base.body.layers[len(base.body.layers) // 2 :])
    net = WAYS[way](layers, base.head.with_letters(texts), base.body.shape)
    return FusedText(base, net, manner, way)


def _taught(
    made: FusedText,
    examples: Sequence[Example[Text]],
    dev: Sequence[Example[Text]],
    settings: Settings,
    seed: int,
    checkpoint: Path | None,
    watch: Watch | None,
) -> FusedText:
    sense, net = made.base.sense, made.net
    rows = list[tuple[Window, str]]()
    for each, found in zip(examples, made.windows([each.question for each in examples]), strict=True):
        text = sense.written(each.golds[0].text)
        if text and len(found) == 1:
            rows.append((found[0], text))
    if not rows:
        raise DataError(f"there is no {sense.lacking} with a text to learn from")
    asked = [each for each in dev if each.golds and sense.found(each.question) is not None]
    held = made.windows([each.question for each in asked])

    def score() -> float:
        counts = [sense.metrics[0].count(each, one.answer) for each, one in zip(asked, made.said(held), strict=True)]
        return -float(sense.metrics[0].finish(total(counts)))

    def loss(step: int) -> tuple[Tensor, int]:
        random, chosen = Random(seed + step), [rows[at] for at in drawn(step, len(rows), settings, seed)]
        net.train()
        told = [random.random() >= LEFT_OUT for _ in chosen]
        states, lengths, text = together([window for window, _ in chosen], told)
        with autocast(CPU):
            logs = net(states, lengths, text)
        return net.head.loss(logs.float(), lengths, [right for _, right in chosen]), int(lengths.sum())

    net.requires_grad_(True)
    named = dict(net.named_parameters())
    descend(
        {f"body.{name}" if name.startswith("layers.") else f"head.{name}": each for name, each in named.items()},
        loss,
        steps=settings.steps(len(rows)),
        settings=settings,
        seed=seed,
        score=score if asked else None,
        checkpoint=checkpoint,
        watch=watch,
    )
    net.eval().requires_grad_(False)
    return made


def load_fused_text(folder: Path, facts: Any) -> FusedText | Vote:
    """What `save` wrote. Raises ModelError where a file is missing or damaged."""
    base = loaded(folder, facts["body"])
    if facts["name"] == "late":
        return load_vote(folder, base)
    try:
        about = json.loads((folder / ABOUT).read_text("utf-8"))
        layers = copy.deepcopy(base.body.layers[len(base.body.layers) - about["layers"] :])
        net = WAYS[about["way"]](layers, CTC(about["alphabet"], base.body.shape.width), base.body.shape)
        net.load_state_dict(load_file(folder / NET))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as problem:
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise ModelError(f"{folder}: no fused model can be loaded from there ({reason})") from problem
    return FusedText(base, net.eval().requires_grad_(False), Manner(**about["manner"]), about["way"])
