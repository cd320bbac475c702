"""The probe of a Choice: how far to trust the label names, and how far to move from them, by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lowrung.core.parts import Question
from lowrung.models.heads import SCALE, Rank
from lowrung.models.network import Adapted

# (trust in the names, pull towards them): the first wins a tie, so that few labels stay near the names
GRID = ((1.0, 1.0), (1.0, 0.1), (1.0, 0.01), (1.0, 0.001), (0.0, 0.1), (0.0, 0.01))
BIAS_PULL = 1e-3
REPEATED = 64  # below so many rows one partition into folds is luck: three are averaged


@torch.no_grad()
def features(network: Adapted[Any], questions: Sequence[Question]) -> Tensor:
    """What the Rank head of `network` sees of each question.  -> (N, D), of length one"""
    head = network.head
    assert isinstance(head, Rank)
    made = torch.zeros(len(questions), network.backbone.width)
    for chosen, batch in network.backbone.batches(questions):
        made[chosen] = head.features(batch, network.hidden(batch))
    return made


def fit_rank(head: Rank, features: Tensor, options: Sequence[str], *, seed: int) -> None:
    """Fit `head` in place to features (N, D) of length one and N gold options.

    Softmax regression with a quadratic pull towards the label names (a maximum a posteriori estimate whose prior
    mean they are). Its strength, and whether to trust the names at all, come from stratified cross-validation on
    accuracy, then log-loss; the temperature of the confidences from the same held-out rows (Guo et al. 2017).
    """
    wanted = torch.tensor([head.options.index(option) for option in options])
    repeats = 3 if len(wanted) < REPEATED else 1
    held_out = [part for repeat in range(repeats) for part in _folds(wanted.tolist(), 4, f"{seed} {repeat}")]
    chosen = GRID[1]
    if held_out:
        learning = torch.ones(len(held_out), len(wanted))
        for number, places in enumerate(held_out):
            learning[number, places] = 0
        truth = torch.cat([wanted[places] for places in held_out])
        held: dict[tuple[float, float], Tensor] = {}
        for setting in GRID:
            shift, bias = _solve(head.names, features, wanted, setting, learning, iterations=25)
            logits = _logits(head.names, features, setting[0], shift, bias)  # (folds, N, K)
            held[setting] = torch.cat([logits[number, places] for number, places in enumerate(held_out)])
        # log-loss only breaks near ties: half a row's worth of accuracy at most
        quality = {
            setting: float((logits.argmax(1) == truth).sum()) - float(F.cross_entropy(logits, truth).clamp(max=10)) / 20
            for setting, logits in held.items()
        }
        chosen = max(GRID, key=lambda setting: quality[setting])
        head.temperature.fill_(temperature_of(held[chosen], truth))
    shift, bias = _solve(head.names, features, wanted, chosen, torch.ones(1, len(wanted)), iterations=60)
    with torch.no_grad():
        head.trust.fill_(chosen[0])
        head.shift.copy_(shift[0])
        head.bias.copy_(bias[0])


def temperature_of(logits: Tensor, wanted: Tensor) -> float:
    """The temperature with the least log-loss, (N, K), (N,) -> in [0.1, 10]."""
    tried = torch.logspace(-1, 1, 41)
    losses = torch.stack([F.cross_entropy(logits / each, wanted) for each in tried])
    return float(tried[losses.argmin()])


def _logits(names: Tensor, features: Tensor, trust: float, shift: Tensor, bias: Tensor) -> Tensor:
    """(K, D), (N, D), shift (P, K, D), bias (P, K) -> (P, N, K)"""
    return SCALE * (features @ (trust * names + shift).transpose(1, 2)) + bias[:, None]


def _solve(
    names: Tensor,
    features: Tensor,
    wanted: Tensor,
    setting: tuple[float, float],
    learning: Tensor,
    *,
    iterations: int,
) -> tuple[Tensor, Tensor]:
    """P problems at once, which differ in the rows they learn from: `learning` (P, N) -> (P, K, D), (P, K)"""
    trust, pull = setting
    shift = torch.zeros(len(learning), *names.shape, requires_grad=True)
    bias = torch.zeros(len(learning), len(names), requires_grad=True)
    share = learning / learning.sum(1, keepdim=True)
    optimizer = torch.optim.LBFGS([shift, bias], max_iter=iterations, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = _logits(names, features, trust, shift, bias)
        each = F.cross_entropy(logits.flatten(0, 1), wanted.repeat(len(learning)), reduction="none")
        value = (each.view_as(share) * share).sum()
        value = value + pull * shift.square().sum() + BIAS_PULL * bias.square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return shift.detach(), bias.detach()


def _folds(wanted: list[int], number: int, seed: str) -> list[Tensor]:
    """Stratified places to hold out, fold by fold; a class with one row is never held out, [] where nothing can be."""
    members: dict[int, list[int]] = {}
    for at, label in enumerate(wanted):
        members.setdefault(label, []).append(at)
    random, fold_of, turn = Random(seed), {}, 0
    for label in sorted(members):
        places = members[label]
        random.shuffle(places)
        for at in places if len(places) > 1 else ():
            fold_of[at] = turn % number
            turn += 1
    parts = [[at for at, each in fold_of.items() if each == fold] for fold in range(number)]
    return [torch.tensor(places) for places in parts if 0 < len(places) < len(wanted)]
