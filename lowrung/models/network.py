"""Adapted = backbone + head: a Model that answers, is saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lowrung.core.answers import A, Prediction
from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.models import catalog, fast, matching
from lowrung.models.batch import Batch
from lowrung.models.extract import Extract
from lowrung.models.heads import Rank, Tag
from lowrung.models.marking import Mark
from lowrung.models.matching import Match
from lowrung.models.point import Point
from lowrung.models.relate import Relate, plain
from lowrung.models.text import TextBackbone
from lowrung.models.tuning import Frozen, How, Prefixes, describe, described, frozen_depth, loosened, moved

WEIGHTS = "model.safetensors"
Head = Rank | Tag | Point | Match | Extract
MATCHED = 1000  # questions of a Match whose vectors are held at once


class Adapted(Generic[A]):
    """A backbone with a head that answers one shape of question.

    Args:
        backbone: whose states the head reads; ends at the head's layer.
        head: Rank (or Mark, which is one), Tag, Point, Match or Extract.
        how: how much of the backbone was moved.
        depths: where the body is frozen, the layers whose states the head reads side by side.
        prefixes: a cache of the untouched body's states to share, or None to compute them.
        name: as in tables.
    """

    def __init__(
        self,
        backbone: TextBackbone,
        head: Head,
        *,
        how: How = Frozen(),  # noqa: B008 (frozen value)
        depths: tuple[int, ...] = (),
        prefixes: Prefixes | None = None,
        name: str = "",
    ) -> None:
        self.backbone, self.head, self.how, self.prefixes = backbone, head, how, prefixes
        self.depths = depths or (frozen_depth(backbone, how),)
        self.name = name or f"{backbone.source.name}, {how}"
        self._graph: fast.Graph | None = None
        self._names: dict[tuple[str, ...], Tensor] = {}

    @property
    def options(self) -> tuple[str, ...]:
        return self.head.options

    def hidden(self, batch: Batch) -> Tensor:
        """The states that the head reads: (B, T, D), or (B, T, 2 D) for a frozen Tag."""
        if self._graph is not None:
            return batch.stitched(self._graph(batch))
        if isinstance(self.how, Frozen):
            found = self.prefixes.states if self.prefixes else self.backbone.taps
            return batch.stitched(found(batch, self.depths))
        if self.prefixes and self.depths[0] > 0:
            return self.backbone.suffix(batch, self.prefixes.states(batch, self.depths), self.depths[0])
        return self.backbone.hidden(batch)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[A]]:
        """One prediction a question, in order; batched by length inside."""
        made: list[Any] = [None] * len(questions)
        self.head.eval()
        self.backbone.body.eval()
        if isinstance(self.head, Match):
            for begin in range(0, len(questions), MATCHED):
                part = questions[begin : begin + MATCHED]
                with torch.inference_mode():
                    seen = matching.pairs(part, self.vectors(matching.read(part)))
                    made[begin : begin + MATCHED] = self.head.choose(part, seen)
            return made
        head: Any
        for head, places in self._heads(questions):
            for chosen, batch in self.backbone.batches([questions[place] for place in places], budget=fast.BUDGET):
                with torch.inference_mode():
                    found: list[Any] = head.decode(batch, self.hidden(batch))
                for at, prediction in zip(chosen, found, strict=True):
                    made[places[at]] = prediction
        return made

    def vectors(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The vector of length one of each text, (D,), as a Match reads them."""
        if isinstance(self.how, Frozen) and self.prefixes and self._graph is None:
            return self.prefixes.vectors(texts)
        found: dict[str, Tensor] = {}
        for places, batch in self.backbone.batches([Question((text,)) for text in texts], budget=fast.BUDGET):
            pooled = F.normalize(self.backbone.pool(batch, self.hidden(batch)).float(), dim=-1)
            found |= {texts[place]: each for place, each in zip(places, pooled, strict=True)}
        return found

    def quicken(self, precision: str = "exact") -> None:
        """Answer by onnxruntime from now on: "exact" in float32, "fast" with 8-bit matrix products.

        Raises:
            ModelError: onnxruntime is not installed, or the body has no such graph.
        """
        kinds = self.backbone.tokenizer.frame.kinds is not None
        letters = self.backbone.width + 1 if self.backbone.tokenizer.spell else 0
        self._graph = fast.Graph(self.states, self.backbone.body, kinds=kinds, letters=letters, precision=precision)

    def states(self, **given: Tensor) -> Tensor:
        """What the head reads of each window, by the body's own arguments.  -> (W, T, D or 2 D)"""
        if isinstance(self.how, Frozen):
            return self.backbone.taps_of(self.depths, **given)
        return self.backbone.states(**given)

    def head_for(self, question: Question) -> Head:
        """The head over the options that `question` brings."""
        return next(self._heads([question]))[0]

    def _heads(self, questions: Sequence[Question]) -> Iterator[tuple[Head, list[int]]]:
        """Questions by the options they bring; those with none, or the head's own, share the head."""
        if isinstance(self.head, Point | Match | Extract):  # they take each question's options as they come
            yield self.head, list(range(len(questions)))
            return
        groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = {}
        for place, question in enumerate(questions):
            own = not question.options or question.options == self.options
            key = ((), ()) if own else (question.options, question.words_for_options)
            groups.setdefault(key, []).append(place)
        for (options, words), places in groups.items():
            if isinstance(self.head, Relate):
                words = tuple(map(plain, words))
            yield (self.head.over(options, self.names(words)) if options else self.head), places

    def names(self, words: Sequence[str]) -> Tensor:
        """The vectors of label names, from the layer that the head holds them against.  -> (K, D)"""
        key = tuple(words)
        if key not in self._names:
            self._names[key] = catalog.backbone(self.backbone.source.name).upto(self.backbone.depth).embed(words)
        return self._names[key]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what moved into `folder`; returns the facts that `load` needs to put it together again."""
        body = {f"body.{name}": each.detach().contiguous() for name, each in moved(self.backbone).items()}
        head = {f"head.{name}": each.detach().contiguous() for name, each in self.head.state_dict().items()}
        save_file({**body, **head}, folder / WEIGHTS)
        return {
            "kind": "network",
            "head": type(self.head).__name__,
            "options": list(self.options),
            "backbone": self.backbone.source.name,
            "checksum": self.backbone.source.checksum,
            "layers": self.backbone.depth,
            "depths": list(self.depths),
            "name": self.name,
            "how": describe(self.how),
        }


def load(folder: Path, facts: dict[str, Any]) -> Adapted[Any]:
    """What `save` wrote.

    Raises:
        ModelError: a file is missing or damaged, or the backbone's weights are not those it was trained on.
    """
    try:
        state = load_file(folder / WEIGHTS)
        found = catalog.backbone(facts["backbone"])
        if found.source.checksum != facts["checksum"]:
            raise ModelError(f"{folder}: was trained on other weights of {facts['backbone']} than the ones found here")
        how = described(facts["how"])
        backbone = found if isinstance(how, Frozen) else loosened(found.upto(facts["layers"]), how)
        head = _head(facts, state, found)
        head.load_state_dict({name[5:]: each for name, each in state.items() if name.startswith("head.")})
        with torch.no_grad():
            for name, each in moved(backbone).items():
                each.copy_(state[f"body.{name}"])
        return Adapted(backbone, head.eval(), how=how, depths=tuple(facts["depths"]), name=facts["name"])
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as problem:
        told = " ".join(str(problem).split())  # of torch, in several lines
        raise ModelError(f"{folder}: not a whole model folder ({type(problem).__name__}: {told})") from problem


def _head(facts: dict[str, Any], state: dict[str, Tensor], backbone: TextBackbone) -> Head:
    if facts["head"] in ("Point", "Extract"):
        return (Point if facts["head"] == "Point" else Extract)(width=backbone.width)
    if facts["head"] == "Match":
        return Match(width=backbone.width)
    names, options = state["head.names"], facts["options"]
    if facts["head"] in ("Rank", "Mark"):
        return (Rank if facts["head"] == "Rank" else Mark)(options, names, pooling=backbone.pooling)
    if facts["head"] == "Relate":
        return Relate(options, names, width=backbone.width)
    return Tag(options, names, width=backbone.width)
