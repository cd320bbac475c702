"""What a fusion sees of questions: the states of each part by its frozen body, and what is known without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lowrung.core.parts import KINDS, Part, Question, kind_of
from lowrung.models.batch import mean_pool
from lowrung.models.cascade import ear_for
from lowrung.models.fusing import Batch, Seen
from lowrung.models.heads import SCALE
from lowrung.models.recognizer import Recognizer
from lowrung.models.spotting import WEIGHT, spot
from lowrung.models.text import TextBackbone

LONGEST = 128  # states of a part; of longer ones each two that follow each other are averaged
LIMIT = 2 << 30  # bytes of states that are kept

Name = tuple[str, object]  # of a part: its kind, and its key, its text or its id


class Encoder:
    """Bodies that do not move: of text, and of each kind of part that `ears` can hear or read.

    Args:
        keeps: whether states are kept, in float16, for as long as the same parts are asked about again and again.
    """

    def __init__(self, body: TextBackbone, ears: Mapping[str, Recognizer], *, keeps: bool = False) -> None:
        self.body, self.ears, self.keeps, self.used = body, dict(ears), keeps, 0
        self._kept: dict[Name, tuple[Part, Tensor]] = {}  # the part is held too, so that its id stays its own
        self._spotted: dict[tuple[Name, tuple[str, ...]], Tensor] = {}
        self._names: dict[tuple[str, ...], Tensor] = {}

    @property
    def widths(self) -> dict[str, int]:
        """kind → D of its states."""
        wide = {"text": self.body.width} | {kind: ear.head.out.in_features for kind, ear in self.ears.items()}
        return {kind: wide[kind] for kind in KINDS if kind in wide}

    def forget(self) -> None:
        """Keep nothing, from now on."""
        self.keeps, self.used = False, 0
        self._kept.clear()
        self._spotted.clear()

    def batch(
        self, questions: Sequence[Question], words: Sequence[str], kinds: Sequence[str], places: Sequence[int]
    ) -> Batch:
        """Questions with their Heard words, as models of `kinds` see them.

        Args:
            words: for each of the options. places: see models.fusing.Batch.
        """
        given = [[part for part in each.given if kind_of(part) in kinds] for each in questions]
        states = self.states([part for parts in given for part in parts])
        seen: list[Seen] = []
        for parts in given:
            seen.append(tuple((kind_of(part), _shortened(states[_name(part)])) for part in parts))
        priors = {kind: torch.stack([self._prior(kind, parts, states, words) for parts in given]) for kind in kinds}
        return Batch(tuple(seen), priors, torch.tensor(places, dtype=torch.long))

    @torch.no_grad()
    def states(self, parts: Sequence[Part]) -> dict[Name, Tensor]:
        """Name of a part → its states (T, D) in float16."""
        found = {_name(part): self._kept[_name(part)][1] for part in parts if _name(part) in self._kept}
        for kind in KINDS:
            new = {_name(part): part for part in parts if kind_of(part) == kind and _name(part) not in found}
            if not new:
                continue
            for (name, part), states in zip(new.items(), self._encoded(kind, list(new.values())), strict=True):
                found[name] = states.half()
                size = 2 * states.numel()
                if self.keeps and self.used + size <= LIMIT:
                    self._kept[name], self.used = (part, found[name]), self.used + size
        return found

    def _encoded(self, kind: str, parts: Sequence[Part]) -> list[Tensor]:
        if kind != "text":
            ear = self.ears.get(kind) or ear_for(kind)
            return [torch.from_numpy(each) for each in ear.states(parts)]  # type: ignore[arg-type]
        made: list[Tensor] = [torch.empty(0)] * len(parts)
        for places, batch in self.body.batches([Question((part,)) for part in parts]):
            for place, row, mask in zip(places, self.body.hidden(batch), batch.mask, strict=True):
                made[place] = row[mask].float().cpu()
        return made

    @torch.no_grad()
    def _prior(self, kind: str, parts: Sequence[Part], states: Mapping[Name, Tensor], words: Sequence[str]) -> Tensor:
        """Logits of the options before anything is learnt: of text by their names, of others by spotting.  -> (K,)"""
        names = [_name(part) for part in parts if kind_of(part) == kind]
        if not names:
            return torch.zeros(len(words))
        if kind != "text":
            return torch.stack([self._spot(name, states[name], tuple(words)) for name in names]).amax(0)
        whole = torch.cat([states[name] for name in names]).float()
        pooled = whole[0] if self.body.pooling == "first" else mean_pool(whole[None], torch.ones(1, len(whole)))[0]
        return SCALE * self._named(tuple(words)) @ F.normalize(pooled, dim=-1)

    def _spot(self, name: Name, states: Tensor, words: tuple[str, ...]) -> Tensor:
        found = self._spotted.get((name, words))
        if found is None:
            ear = self.ears[name[0]]
            logs = ear.head(states.float()).numpy()
            found = WEIGHT * torch.from_numpy(spot(ear, logs, words)).float()
            if self.keeps:
                self._spotted[name, words] = found
        return found

    def _named(self, words: tuple[str, ...]) -> Tensor:
        if words not in self._names:
            self._names[words] = self.body.embed(words).cpu()
        return self._names[words]


def _name(part: Part) -> Name:
    return kind_of(part), part if isinstance(part, str) else part.key or id(part)


def _shortened(states: Tensor) -> Tensor:
    """(T, D) -> (at most LONGEST, D)"""
    while len(states) > LONGEST:
        even = len(states) - len(states) % 2
        states = torch.cat([states[:even].view(-1, 2, states.shape[1]).mean(1), states[even:]])
    return states
