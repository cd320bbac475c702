"""Networks over parts of several kinds: their frozen states, laid end to end or attended to, make one choice.

The letters of models/batch.py, and: M the kinds of parts · T states of a question · D here the width of the fusion
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from lowrung.models.sound import Block, Shape, batched, through

SHAPE = Shape(width=128, layers=2, heads=4, reach=5)
DROPOUT = 0.2

Seen: TypeAlias = tuple[
    tuple[str, Tensor], ...
]  # of one question in reading order: the kind and the states (T, D_kind)


@dataclass(frozen=True)
class Batch:
    """B questions as a fusion sees them.

    Args:
        seen: the parts of each.
        priors: kind → what is known of the options without labels, (B, K); a question without the kind has zeros.
        places: of each of the K options its place among those that were learnt, -1 for one that was not.
    """

    seen: tuple[Seen, ...]
    priors: Mapping[str, Tensor]
    places: Tensor

    @property
    def present(self) -> dict[str, Tensor]:
        """kind → which questions have it, (B,)"""
        return {
            kind: torch.tensor([any(each == kind for each, _ in parts) for parts in self.seen]) for kind in self.priors
        }


class Enter(nn.Module):
    """States of each kind at one width, and what tells the kinds apart."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({kind: nn.LayerNorm(width) for kind, width in widths.items()})
        self.into = nn.ModuleDict({kind: nn.Linear(width, SHAPE.width) for kind, width in widths.items()})
        self.marks = nn.ParameterDict({kind: nn.Parameter(0.02 * torch.randn(SHAPE.width)) for kind in widths})

    def forward(self, seen: Sequence[Seen]) -> list[list[tuple[str, Tensor]]]:
        """The parts of each question that are of a kind known here, each (T, D)."""
        made: dict[tuple[int, int], Tensor] = {}
        for kind in self.into:
            where = [(row, at) for row, parts in enumerate(seen) for at, (each, _) in enumerate(parts) if each == kind]
            states = [seen[row][at][1] for row, at in where]
            if states:
                whole = self.into[kind](self.norms[kind](torch.cat(states).float())) + self.marks[kind]
                made |= zip(where, whole.split([len(each) for each in states]), strict=True)
        return [
            [(kind, made[row, at]) for at, (kind, _) in enumerate(parts) if (row, at) in made]
            for row, parts in enumerate(seen)
        ]


class Pool(nn.Module):
    """One vector of a sequence, by attention; the mean before training."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = nn.Parameter(torch.zeros(SHAPE.width))

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, D), (B,) -> (B, D)"""
        mask = torch.arange(states.shape[1])[None] < lengths[:, None]
        shares = (states @ self.asked).masked_fill(~mask, -1e9).softmax(-1)
        pooled: Tensor = (shares[:, None] @ states).squeeze(1)
        return pooled


class Early(nn.Module):
    """All parts as one sequence through shared blocks."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.enter, self.pool = Enter(widths), Pool()
        self.layers = nn.ModuleList(Block(SHAPE, DROPOUT) for _ in range(SHAPE.layers))

    def forward(self, seen: Sequence[Seen]) -> Tensor:
        """Questions of one part or more.  -> (B, D)"""
        states, lengths = batched([torch.cat([each for _, each in parts]) for parts in self.enter(seen)])
        pooled: Tensor = self.pool(through(self.layers, states, lengths, heads=SHAPE.heads), lengths)
        return pooled


class Cross(nn.Module):
    """One part is the sequence, of the text where there is one; it attends to the others through a gate, shut at first
    (Alayrac et al. 2022)."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.enter, self.pool = Enter(widths), Pool()
        self.layers = nn.ModuleList(Block(SHAPE, DROPOUT) for _ in range(SHAPE.layers))
        self.gates = nn.ModuleList(Gate() for _ in range(SHAPE.layers))

    def forward(self, seen: Sequence[Seen]) -> Tensor:
        """Questions of one part or more.  -> (B, D)"""
        split = [_led(parts) for parts in self.enter(seen)]
        states, lengths = batched([lead for lead, _ in split])
        others, sizes = batched([other for _, other in split])
        for gate, layer in zip(self.gates, self.layers, strict=True):
            states = through([layer], gate(states, others, sizes), lengths, heads=SHAPE.heads)
        pooled: Tensor = self.pool(states, lengths)
        return pooled


def _led(parts: Sequence[tuple[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """The parts of the leading kind as one, and the others as one; both (T, D), of others at least one row of zeros."""
    kind = "text" if any(each == "text" for each, _ in parts) else parts[0][0]
    lead = torch.cat([states for each, states in parts if each == kind])
    return lead, torch.cat([*(states for each, states in parts if each != kind), lead.new_zeros(1, SHAPE.width)])


class Gate(nn.Module):
    """States with what they attend to in others, as far as the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.others = nn.LayerNorm(SHAPE.width), nn.LayerNorm(SHAPE.width)
        self.attention = nn.MultiheadAttention(SHAPE.width, SHAPE.heads, dropout=DROPOUT, batch_first=True)
        self.open = nn.Parameter(torch.zeros(1))

    def forward(self, states: Tensor, others: Tensor, sizes: Tensor) -> Tensor:
        """(B, T, D), (B, T', D), (B,) how many of the T' each has -> (B, T, D)"""
        hidden = torch.arange(others.shape[1])[None] >= sizes[:, None]
        others = self.others(others)
        found, _ = self.attention(self.norm(states), others, others, key_padding_mask=hidden, need_weights=False)
        opened: Tensor = states + self.open.tanh() * found
        return opened


class Chooser(nn.Module):
    """Logits of options: what is known without labels, as far as it is trusted, and what was learnt (0 at first).

    Args:
        widths: kind → width of its states, of the kinds that it goes by. options: K, those to learn.
    """

    def __init__(self, way: str, widths: Mapping[str, int], options: int) -> None:
        super().__init__()
        self.kinds = tuple(widths)
        self.body: nn.Module = (Cross if way == "cross" else Early)(widths)
        self.trust = nn.ParameterDict({kind: nn.Parameter(torch.ones(())) for kind in widths})
        self.norm, self.dropout, self.out = (
            nn.LayerNorm(SHAPE.width),
            nn.Dropout(DROPOUT),
            nn.Linear(SHAPE.width, options),
        )
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, batch: Batch) -> Tensor:
        """(B, K)"""
        learnt = self.learnt([tuple(each for each in parts if each[0] in self.kinds) for parts in batch.seen])
        beside = torch.cat([learnt, learnt.new_zeros(len(learnt), 1)], 1)[:, batch.places]  # 0 for new options
        for kind in self.kinds:
            beside = beside + self.trust[kind] * batch.priors[kind]
        return beside

    def learnt(self, seen: Sequence[Seen]) -> Tensor:
        """Of each learnt option; zeros for a question with nothing to go by.  -> (B, K)"""
        some = [at for at, parts in enumerate(seen) if parts]
        made = torch.zeros(len(seen), self.out.out_features)
        if some:
            said = self.out(self.dropout(self.norm(self.body([seen[at] for at in some]))))
            made = made.index_put((torch.tensor(some),), said)
        return made


class Vote(nn.Module):
    """Choosers of single kinds, their log-probabilities weighed and summed over the kinds that a question has."""

    def __init__(self, choosers: Mapping[str, Chooser]) -> None:
        super().__init__()
        self.kinds, self.choosers = tuple(choosers), nn.ModuleDict(choosers)
        self.weights: Tensor
        self.register_buffer("weights", torch.ones(len(self.kinds)))

    def forward(self, batch: Batch) -> Tensor:
        """(B, K)"""
        return (self.weights[:, None, None] * self.votes(batch)).sum(0)

    def votes(self, batch: Batch) -> Tensor:
        """log P by each kind, zeros where it has nothing to go by.  -> (M, B, K)"""
        there = batch.present
        return torch.stack([self.choosers[kind](batch).log_softmax(-1) * there[kind][:, None] for kind in self.kinds])


STEPS = 200  # of the descent of weights
ASIDE = 1e-3  # the weight of kinds that a single one does better without: they speak where it is missing


def weighed(votes: Tensor, wanted: Tensor) -> Tensor:
    """The likeliest weights of kinds by votes on rows held out; before these, their logarithms are normal about 0.

    Where one kind alone is right more often on these rows than the vote is, it decides.

    Shape: votes (M, N, K), wanted (N,) -> (M,)
    """
    logs = torch.zeros(len(votes), requires_grad=True)
    optimizer = torch.optim.Adam([logs], lr=0.05)
    with torch.enable_grad():
        for _ in range(STEPS):
            optimizer.zero_grad()
            summed = (logs.exp()[:, None, None] * votes).sum(0)
            loss = nn.functional.cross_entropy(summed, wanted, reduction="sum") + logs.square().sum() / 2
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    alone = torch.eye(len(votes)) + ASIDE * (1 - torch.eye(len(votes)))
    tried = torch.stack([logs.detach().exp(), *alone])  # (1 + M, M)
    right = ((tried[:, :, None, None] * votes).sum(1).argmax(-1) == wanted).float().mean(-1)
    return tried[right.argmax()]  # the first of equal ones
