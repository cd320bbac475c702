"""The probe of a Choice: how far to move from the label names, or from what places say, by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lowrung.core.answers import Choice, Choices
from lowrung.core.parts import Question
from lowrung.models import matching
from lowrung.models.batch import pad
from lowrung.models.heads import FORBIDDEN, SCALE, Rank
from lowrung.models.marking import Mark, indicators
from lowrung.models.matching import OTHERS, Match, Pairs
from lowrung.models.network import Adapted
from lowrung.models.point import Point, Seen

# (trust in the names, pull towards them): the first wins a tie, so that few labels stay near the names
GRID = ((1.0, 1.0), (1.0, 0.1), (1.0, 0.01), (1.0, 0.001), (0.0, 0.1), (0.0, 0.01))
BIAS_PULL = 1e-3
REPEATED = 64  # below so many rows one partition into folds is luck: three are averaged


@torch.no_grad()
def features(network: Adapted[Any], questions: Sequence[Question]) -> Tensor:
    """What the Rank head of `network` sees of each question.  -> (N, D), of length one"""
    head = network.head
    assert isinstance(head, Rank)
    made = torch.zeros(len(questions), head.names.shape[1])
    for chosen, batch in network.backbone.batches(questions):
        made[chosen] = head.features(batch, network.hidden(batch))
    return made


@torch.no_grad()
def seen(network: Adapted[Any], questions: Sequence[Question]) -> Seen:
    """What the Point head of `network` sees of N questions."""
    head = network.head
    assert isinstance(head, Point)
    found: list[Any] = [None] * len(questions)
    for chosen, batch in network.backbone.batches(questions):
        for at, each in zip(chosen, zip(*head.features(batch, network.hidden(batch)), strict=True), strict=True):
            found[at] = each
    return Seen(*(pad(each) for each in zip(*found, strict=True)))


def fit_rank(head: Rank, features: Tensor, options: Sequence[str], *, seed: int) -> float:
    """Fit `head` in place to features (N, D) of length one and N gold options; how good it is on rows held out.

    Softmax regression with a quadratic pull towards the label names (a maximum a posteriori estimate whose prior
    mean they are). Its strength, and whether to trust the names at all, come from stratified cross-validation on
    accuracy, then log-loss; the temperature of the confidences from the same held-out rows (Guo et al. 2017).
    """
    wanted = torch.tensor([head.options.index(option) for option in options])
    held_out, learning = _held_out(wanted, seed)
    chosen, reached = GRID[1], 0.0
    if held_out:
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
        reached = quality[chosen]
        head.temperature.fill_(temperature_of(held[chosen], truth))
    shift, bias = _solve(head.names, features, wanted, chosen, torch.ones(1, len(wanted)), iterations=60)
    with torch.no_grad():
        head.trust.fill_(chosen[0])
        head.shift.copy_(shift[0])
        head.bias.copy_(bias[0])
    return reached


def fit_mark(head: Mark, features: Tensor, golds: Sequence[Choices], *, seed: int) -> None:
    """Fit `head` in place to features (N, D) of length one and N sets of options.

    As `fit_rank`, by logistic regression of each option. The threshold that all options share is the one with the best
    micro-F1 on the held-out rows, which are stratified by the rarest option of each.
    """
    wanted = indicators(head.options, golds)  # (N, K)
    often = wanted.sum(0)
    rarest = torch.where(wanted > 0, often, len(wanted) + 1.0).argmin(1)
    rarest = torch.where(wanted.sum(1) > 0, rarest, len(often))
    held_out, learning = _held_out(rarest, seed)
    chosen, threshold = GRID[1], 0.0
    if held_out:
        truth = torch.cat([wanted[places] for places in held_out])
        held: dict[tuple[float, float], Tensor] = {}
        for setting in GRID:
            shift, bias = _solve(head.names, features, wanted, setting, learning, iterations=25)
            logits = _logits(head.names, features, setting[0], shift, bias)  # (folds, N, K)
            held[setting] = torch.cat([logits[number, places] for number, places in enumerate(held_out)])
        best = {setting: _threshold(logits, truth) for setting, logits in held.items()}
        chosen = max(GRID, key=lambda setting: best[setting][0])
        threshold = best[chosen][1]
        head.temperature.fill_(_temperature_of_each(held[chosen] - threshold, truth))
    shift, bias = _solve(head.names, features, wanted, chosen, torch.ones(1, len(wanted)), iterations=60)
    with torch.no_grad():
        head.trust.fill_(chosen[0])
        head.shift.copy_(shift[0])
        head.bias.copy_(bias[0] - threshold)
        head.learnt.fill_(1.0)


def _threshold(logits: Tensor, wanted: Tensor) -> tuple[float, float]:
    """The best micro-F1 that one threshold of all logits brings, and that threshold.  (N, K), (N, K) -> F1, logit"""
    order = logits.flatten().argsort(descending=True)
    right, ordered = wanted.flatten()[order].cumsum(0), logits.flatten()[order]
    f1 = 2 * right / (torch.arange(1, len(order) + 1) + wanted.sum())
    at = int(f1.argmax())
    return float(f1[at]), float(ordered[at : at + 2].mean())  # between the last that passes and the next


def _temperature_of_each(logits: Tensor, wanted: Tensor) -> float:
    """As `temperature_of`, where each logit is a decision of its own.  (N, K), (N, K) -> in [0.1, 10]"""
    tried = torch.logspace(-1, 1, 41)
    losses = torch.stack([F.binary_cross_entropy_with_logits(logits / each, wanted) for each in tried])
    return float(tried[losses.argmin()])


# how strongly (what is learnt from states, what is learnt of places) is pulled to where a Point starts
POINT_GRID = ((0.1, 0.1), (0.03, 0.03), (0.01, 0.01), (0.003, 0.003), (0.001, 0.003), (0.0003, 0.003))


def fit_point(head: Point, seen: Seen, wanted: Tensor, *, seed: int) -> None:
    """Fit `head` in place to what it sees of N questions and the places of their golds (N,).

    Softmax regression with a quadratic pull towards what places say before the first label. Its strength comes from
    cross-validation on log-loss, and the temperature of the confidences from the same held-out rows.
    """
    held_out, learning = _held_out(wanted, seed)
    chosen = POINT_GRID[0]
    if held_out:
        truth = torch.cat([wanted[places] for places in held_out])
        held: dict[tuple[float, float], Tensor] = {}
        for setting in POINT_GRID:
            logits = _pointed(head, seen, _solve_point(head, seen, wanted, setting, learning, iterations=30))
            held[setting] = torch.cat([logits[number, places] for number, places in enumerate(held_out)])
        chosen = min(POINT_GRID, key=lambda setting: float(F.cross_entropy(held[setting], truth)))
        head.temperature.fill_(temperature_of(held[chosen], truth))
    moves = _solve_point(head, seen, wanted, chosen, torch.ones(1, len(wanted)), iterations=80)
    with torch.no_grad():
        for weight, move in zip(_weights(head), moves, strict=True):
            weight.add_(move[:, 0].view_as(weight))


def _weights(head: Point) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return head.learnt.weight, head.cues.weight, head.nobody.weight, head.nobody.bias


def _pointed(head: Point, seen: Seen, moves: Sequence[Tensor]) -> Tensor:
    """Scores after P sets of moves, each (its weights, P).  -> (P, N, 1 + C)"""
    states, cues, alone, bias = (
        weight.detach().view(-1, 1) + move for weight, move in zip(_weights(head), moves, strict=True)
    )
    each = (seen.states @ states + seen.cues @ cues).masked_fill(~seen.mask[..., None], FORBIDDEN)  # (N, C, P)
    return torch.cat([(seen.alone @ alone + bias)[:, None], each], 1).permute(2, 0, 1)


def _solve_point(
    head: Point, seen: Seen, wanted: Tensor, setting: tuple[float, float], learning: Tensor, *, iterations: int
) -> list[Tensor]:
    """As `_solve`: P problems at once that differ in the rows they learn from, `learning` (P, N)."""
    moves = [torch.zeros(each.numel(), len(learning), requires_grad=True) for each in _weights(head)]
    pulls = (setting[0], setting[1], setting[0], BIAS_PULL)
    share = learning / learning.sum(1, keepdim=True)
    optimizer = torch.optim.LBFGS(moves, max_iter=iterations, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = _pointed(head, seen, moves)
        each = F.cross_entropy(logits.flatten(0, 1), wanted.repeat(len(learning)), reduction="none")
        value = (each.view_as(share) * share).sum()
        for pull, move in zip(pulls, moves, strict=True):
            value = value + pull * move.square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return [move.detach() for move in moves]


# how strongly what is learnt of vectors is pulled to where a Match starts; and of cues
MATCH_GRID, CUE_PULL = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001), 1e-3
SOLVED = 6000  # rows; of more a draw is solved for, which saves memory


def fit_match(
    head: Match, network: Adapted[Any], questions: Sequence[Question], golds: Sequence[Choice], *, seed: int
) -> None:
    """Fit `head` in place to the questions and their golds, N each, on the frozen body of `network`.

    Each row is also told apart from golds of other rows. Softmax regression with a quadratic pull to where the head
    stands; its strength and the temperature come from a quarter held out, on log-loss among the rows' own options.
    Rows that begin with the same text, as those of one dialogue do, are held out together.
    """
    random = Random(seed)
    drawn = random.sample(range(len(golds)), min(SOLVED, len(golds)))
    asked, right = [questions[at] for at in drawn], [golds[at] for at in drawn]
    vectors = network.vectors(matching.read(asked))
    most = max(len(each.options) for each in asked)

    def seen(places: Sequence[int], *, others: int) -> tuple[Pairs, Tensor]:
        own, wanted = [asked[at] for at in places], [right[at] for at in places]
        crowd = matching.crowded(own, wanted, Random(seed), own=most, others=others)
        return matching.pairs(crowd, vectors), matching.places(crowd, wanted)

    begins = sorted({each.texts[0] for each in asked})
    apart = set(random.sample(begins, len(begins) // 4))
    held = [at for at, each in enumerate(asked) if each.texts[0] in apart]
    chosen = MATCH_GRID[0]
    if held:
        inner = seen([at for at, each in enumerate(asked) if each.texts[0] not in apart], others=OTHERS)
        asking, truth = seen(held, others=0)
        with torch.no_grad():
            tried = {pull: _solved_match(head, *inner, pull, iterations=30).scores(asking) for pull in MATCH_GRID}
        chosen = min(MATCH_GRID, key=lambda pull: float(F.cross_entropy(tried[pull], truth)))
        head.temperature.fill_(temperature_of(tried[chosen], truth))
    made = _solved_match(head, *seen(range(len(asked)), others=OTHERS), chosen, iterations=60)
    with torch.no_grad():
        for weight, each in zip(head.parameters(), made.parameters(), strict=True):
            weight.copy_(each)


@torch.enable_grad()
def _solved_match(head: Match, seen: Pairs, wanted: Tensor, pull: float, *, iterations: int) -> Match:
    """A copy of `head`, fitted."""
    made = deepcopy(head)
    moving = dict(made.named_parameters())
    start = {name: each.detach().clone() for name, each in moving.items()}
    pulls = {"maps": pull, "lean": pull, "slots": CUE_PULL, "cues": CUE_PULL}
    optimizer = torch.optim.LBFGS(list(moving.values()), max_iter=iterations, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(made.scores(seen), wanted)
        for name, each in moving.items():
            value = value + pulls[name] * (each - start[name]).square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return made


def _held_out(wanted: Tensor, seed: int) -> tuple[list[Tensor], Tensor]:
    """The places held out in each fold of repeated stratified cross-validation; what is learnt from, (folds, N)."""
    repeats = 3 if len(wanted) < REPEATED else 1
    parts = [part for repeat in range(repeats) for part in _folds(wanted.tolist(), 4, f"{seed} {repeat}")]
    learning = torch.ones(len(parts), len(wanted))
    for number, places in enumerate(parts):
        learning[number, places] = 0
    return parts, learning


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
    """P problems at once, which differ in the rows they learn from: `learning` (P, N) -> (P, K, D), (P, K)

    `wanted` holds places (N,), of which one is right, or indicators (N, K), of which any may be.
    """
    trust, pull = setting
    shift = torch.zeros(len(learning), *names.shape, requires_grad=True)
    bias = torch.zeros(len(learning), len(names), requires_grad=True)
    share = learning / learning.sum(1, keepdim=True)
    optimizer = torch.optim.LBFGS([shift, bias], max_iter=iterations, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = _logits(names, features, trust, shift, bias)
        if wanted.dim() == 2:
            right = wanted.expand_as(logits)
            each = F.binary_cross_entropy_with_logits(logits, right, reduction="none").sum(-1)
        else:
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
