"""Training a head, alone or with the layers under it: AdamW, warm-up, clipping, early stopping, checkpoints."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.models import matching, tracked
from lowrung.models.batch import bfloat16_pays
from lowrung.models.heads import Rank
from lowrung.models.matching import Match
from lowrung.models.network import Adapted
from lowrung.models.tuning import moved


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network is trained.

    Args:
        lr: peak learning rate of the body's layers. head_lr: of the head.
        epochs: passes over the examples, but never fewer steps than `least` nor more than `most`.
        batch: questions a step.
        decay: decoupled weight decay (Loshchilov & Hutter 2019), none on biases, norms and scalars.
        warmup: share of the steps in which the rate rises from 0.
        schedule: "linear" falls to 0 at the last step; "plateau" halves when a validation brings nothing.
        clip: the gradient's norm at most.
        balanced: classes weigh alike whatever their number (Choice).
        contrast: weight of a supervised contrastive loss beside the head's own (Khosla et al. 2020; Choice).
        validations: how often in all the dev rows are scored. patience: how many without gain
            in a row are borne.
        precision: "auto" takes bfloat16 where the processor has it, "float32" never.
    """

    lr: float = 1e-4
    head_lr: float = 2e-3
    epochs: int = 10
    least: int = 60
    most: int = 2000
    batch: int = 16
    decay: float = 0.05
    warmup: float = 0.1
    schedule: str = "linear"
    clip: float = 1.0
    balanced: bool = False
    contrast: float = 0.0
    validations: int = 8
    patience: int = 3
    precision: str = "auto"

    def steps(self, examples: int) -> int:
        return min(self.most, max(self.least, self.epochs * math.ceil(examples / self.batch)))


Score = Callable[[Adapted[Any]], float]
Feed = Callable[[int], Sequence[Example[Any]]]  # step, counted from 0 → its examples; asked in rising order


@dataclass(slots=True)
class Progress:
    """Where a training stands; what a checkpoint holds beside the weights."""

    step: int = 0
    best: float = -math.inf
    stale: int = 0
    factor: float = 1.0  # of the learning rates, under "plateau"
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0  # of all runs together, validations included
    validating: float = 0.0  # seconds of them
    pieces: int = 0  # that were learnt from
    curve: list[dict[str, Any]] = field(default_factory=list)  # of each validation: step, seconds, score, loss since

    def share(self, steps: int, minutes: float) -> float:
        """How far it has come, in [0, 1]: the larger of the shares of steps and, where they are limited, of minutes."""
        return min(1.0, max(self.step / max(steps, 1), self.seconds / (60 * minutes) if minutes else 0.0))


def train(
    network: Adapted[Any],
    examples: Sequence[Example[Any]] | Feed,
    *,
    settings: Settings,
    seed: int,
    minutes: float = 0.0,
    score: Score | None = None,
    checkpoint: Path | None = None,
    watch: Callable[[int, int, float], None] | None = None,
) -> Progress:
    """Train what may move of `network`, in place: `descend` with the loss of the head.

    Args:
        examples: a list that is passed over again and again, or a Feed without an end, of which `settings.most` steps
            are taken; one that is resumed is asked for the step where it was cut.
        score: of the network on dev rows, higher is better.
    """
    if callable(examples):
        feed, steps = examples, settings.most
    elif isinstance(network.head, Match):
        feed, steps = from_groups(examples, settings, seed)
    else:
        feed, steps = _from_list(examples, settings, seed), settings.steps(len(examples))
    weights = _class_weights(network, examples) if settings.balanced and not callable(examples) else None
    progress = descend(
        parameters(network),
        lambda step: _loss(network, feed(step), settings, weights),
        steps=steps,
        settings=settings,
        seed=seed,
        minutes=minutes,
        score=None if score is None else lambda: score(network),
        checkpoint=checkpoint,
        watch=watch,
    )
    network.head.eval()
    network.backbone.body.eval()
    return progress


def descend(
    moving: Mapping[str, Tensor],
    loss_of: Callable[[int], tuple[Tensor, int]],
    *,
    steps: int,
    settings: Settings,
    seed: int,
    minutes: float = 0.0,
    score: Callable[[], float] | None = None,
    checkpoint: Path | None = None,
    watch: Callable[[int, int, float], None] | None = None,
) -> Progress:
    """Train the weights `moving` (name → tensor; those of a body begin with «body.»), in place.

    With `score` (higher is better, on dev rows) the best weights are kept. Everything follows from `seed`, unless
    `minutes` end it: then the rate goes by whichever of steps and minutes is used up further.
    With `checkpoint` (a folder), the state is kept there as training goes on, and a run that was cut off goes on from
    it to the same weights that it would have reached uncut on the same machine; its minutes count on.
    Where somebody listens (models.tracked), each step is told: loss, learning rates, the gradient's norm before it was
    clipped, pieces a second and, where there was a validation, its score.
    `watch(step, steps, loss)` is called after each step; where minutes decide, `steps` is what there will be at this
    pace.

    Args:
        loss_of: a step, counted from 0 → its loss, and from how many pieces.
        minutes: 0 for no limit.
    """
    groups = _groups(moving, settings)
    optimizer = torch.optim.AdamW(groups, fused=False)
    peaks = [group["lr"] for group in groups]
    progress, kept = Progress(), dict[str, Tensor]()
    torch.manual_seed(seed)
    if checkpoint is not None and (checkpoint / "state.json").is_file():
        progress, kept = _resume(checkpoint, moving, optimizer)
    saved = time.monotonic()
    begun = saved - progress.seconds
    facts = {**asdict(settings), "steps": steps, "minutes": minutes, "seed": seed}
    rates = {"body" if name.startswith("body.") else "head": _rate(name, settings) for name in moving}
    with tracked.training(facts, progress.step) as tell:
        if score is not None and not progress.curve:  # training may leave things worse than it found them
            kept = _validate(moving, score, progress, settings, kept, begun)
            tell(progress.step, {"score": progress.curve[-1]["score"]})
        while (done := progress.share(steps, minutes)) < 1.0 and progress.stale <= settings.patience:
            place = (int(done * FINE), FINE) if minutes else (progress.step, steps)
            factor = _factor(*place, settings) * progress.factor
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            started = time.monotonic()
            loss, pieces = loss_of(progress.step)
            loss.backward()  # type: ignore[no-untyped-call]
            told = float(loss.detach())
            every = [each for group in groups for each in group["params"]]
            norm = torch.nn.utils.clip_grad_norm_(every, settings.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            progress.step += 1
            progress.losses.append(told)
            progress.pieces += pieces
            pace = pieces / max(time.monotonic() - started, 1e-9)
            progress.seconds = time.monotonic() - begun
            values = {"loss": told, "gradient_norm": float(norm), "pieces_per_second": pace}
            values |= {f"learning_rate/{name}": rate * factor for name, rate in rates.items()}
            if score is not None and _due(progress, done, steps, minutes, settings):
                kept = _validate(moving, score, progress, settings, kept, begun)
                values["score"] = progress.curve[-1]["score"]
            tell(progress.step, values)
            if watch is not None:
                whole = round(progress.step / progress.share(steps, minutes)) if minutes else steps
                watch(progress.step, max(progress.step, min(whole, steps)), told)
            if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                _save(checkpoint, moving, optimizer, progress, kept)
                saved = time.monotonic()
    if kept:
        _restore(moving, kept)
    return progress


FINE = 1000  # parts of the way in which the rate moves where minutes decide
DEAR = 0.2  # of the minutes, what validations may take


def _due(progress: Progress, before: float, steps: int, minutes: float, settings: Settings) -> bool:
    """Whether it is time to validate: `settings.validations` times on the way, and at its end.

    Where minutes decide, as many as they allow, by what the first one took.
    """
    if not minutes:
        return progress.step % max(1, steps // settings.validations) == 0 or progress.step == steps
    often = min(settings.validations, max(1, int(DEAR * 60 * minutes / max(progress.curve[0]["seconds"], 1e-6))))
    now = progress.share(steps, minutes)
    return now >= 1.0 or int(now * often) > int(before * often)


CHECKPOINT_SECONDS = float(os.environ.get("LOWRUNG_CHECKPOINT_SECONDS", "30"))


def parameters(network: Adapted[Any]) -> dict[str, Tensor]:
    """Name → everything that training may change."""
    body = {f"body.{name}": each for name, each in moved(network.backbone).items()}
    return {**body, **{f"head.{name}": each for name, each in network.head.named_parameters()}}


def _groups(moving: Mapping[str, Tensor], settings: Settings) -> list[dict[str, Any]]:
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, each in moving.items():
        decay = 0.0 if each.ndim < 2 else settings.decay
        groups.setdefault((_rate(name, settings), decay), []).append(each)
    return [{"params": each, "lr": rate, "weight_decay": decay} for (rate, decay), each in groups.items()]


def _rate(name: str, settings: Settings) -> float:
    """The peak learning rate of a weight."""
    return settings.lr if name.startswith("body.") else settings.head_lr


def _factor(step: int, steps: int, settings: Settings) -> float:
    rising = max(1.0, settings.warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 1.0 if settings.schedule == "plateau" else max(0.0, (steps - step) / max(1.0, steps - rising))


def _from_list(examples: Sequence[Example[Any]], settings: Settings, seed: int) -> Feed:
    return lambda step: [examples[at] for at in drawn(step, len(examples), settings, seed)]


def from_groups(examples: Sequence[Example[Any]], settings: Settings, seed: int) -> tuple[Feed, int]:
    """Rows of a group, as of a dialogue, in the same step, about `matching.ROWS` in all, and how many steps to take.

    Their turns are read once, so that a step costs a sixth of what rows from everywhere cost.
    """
    groups: dict[str, list[Example[Any]]] = {}
    for each in examples:
        groups.setdefault(each.group or each.question.texts[0], []).append(each)
    parts = [rows[at : at + matching.ROWS] for rows in groups.values() for at in range(0, len(rows), matching.ROWS)]
    own = replace(settings, batch=max(1, round(matching.ROWS * len(parts) / len(examples))))
    return lambda step: [each for at in drawn(step, len(parts), own, seed) for each in parts[at]], own.steps(len(parts))


def drawn(step: int, number: int, settings: Settings, seed: int) -> list[int]:
    """The places of the examples of one step: a function of step and seed, so that a resumed run needs no memory."""
    size = min(settings.batch, number)
    first, chosen = step * size, list[int]()
    while len(chosen) < size:
        epoch, at = divmod(first + len(chosen), number)
        chosen.append(_shuffled(number, seed, epoch)[at])
    return chosen


_ORDERS: dict[tuple[int, int, int], list[int]] = {}


def _shuffled(number: int, seed: int, epoch: int) -> list[int]:
    key = (number, seed, epoch)
    if key not in _ORDERS:
        if len(_ORDERS) > 4:
            _ORDERS.clear()
        order = list(range(number))
        Random(f"{seed} {epoch}").shuffle(order)
        _ORDERS[key] = order
    return _ORDERS[key]


def _loss(
    network: Adapted[Any], chosen: Sequence[Example[Any]], settings: Settings, weights: Tensor | None
) -> tuple[Tensor, int]:
    network.head.train()
    for number, layer in enumerate(network.backbone.layers):
        # dropout only where something moves: the prefix stays what the cache holds
        layer.train(number >= network.depths[-1])
    cast = settings.precision == "auto" and any(moved(network.backbone)) and bfloat16_pays()
    questions, golds = [each.question for each in chosen], [each.golds[0] for each in chosen]
    if isinstance(network.head, Match):
        draw = Random(repr([(asked.texts, gold) for asked, gold in zip(questions, golds, strict=True)]))
        questions = matching.crowded(questions, golds, draw, own=matching.OFFERED, others=matching.OTHERS)
        read = matching.read(questions)
        batch = network.backbone.encode([Question((text,)) for text in read])
    else:
        batch = network.backbone.encode(questions)
    with torch.autocast("cpu", dtype=torch.bfloat16) if cast else nullcontext():
        hidden = network.hidden(batch)
    if isinstance(network.head, Match):
        pooled = F.normalize(network.backbone.pool(batch, hidden.float()), dim=-1)
        vectors = dict(zip(read, pooled, strict=True))
        return matching.loss(network.head, questions, golds, vectors), int(batch.attended.sum())
    loss = network.head.loss(batch, hidden.float(), golds, weights)
    if settings.contrast and isinstance(network.head, Rank):
        wanted = torch.tensor([network.head.options.index(gold.option) for gold in golds])
        loss = loss + settings.contrast * contrastive(network.head.features(batch, hidden.float()), wanted)
    return loss, int(batch.attended.sum())


def contrastive(features: Tensor, wanted: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, L_out) of unit vectors (B, D), classes (B,); 0 without pairs."""
    near = features @ features.T / temperature
    other = ~torch.eye(len(features), dtype=torch.bool)
    logs = near - torch.logsumexp(near.masked_fill(~other, -1e9), 1, keepdim=True)
    same = (wanted[:, None] == wanted[None, :]) & other
    pairs = same.sum(1)
    if not bool((pairs > 0).any()):
        return features.sum() * 0.0
    return -((logs * same).sum(1)[pairs > 0] / pairs[pairs > 0]).mean()


def _class_weights(network: Adapted[Any], examples: Sequence[Example[Any]]) -> Tensor | None:
    if not isinstance(network.head, Rank):
        return None
    counts = torch.zeros(len(network.options))
    for each in examples:
        counts[network.options.index(each.golds[0].option)] += 1
    return torch.where(counts > 0, len(examples) / (counts.clamp(min=1) * (counts > 0).sum()), 0.0)


def _validate(
    moving: Mapping[str, Tensor],
    score: Callable[[], float],
    progress: Progress,
    settings: Settings,
    kept: dict[str, Tensor],
    begun: float,
) -> dict[str, Tensor]:
    before = time.monotonic()
    value = score()
    progress.seconds = time.monotonic() - begun
    progress.validating += time.monotonic() - before
    new = progress.losses[progress.curve[-1]["step"] if progress.curve else 0 :]
    told = {"step": progress.step, "seconds": round(progress.seconds, 2), "score": value}
    progress.curve.append({**told, "loss": sum(new) / len(new) if new else None})
    if value > progress.best:
        progress.best, progress.stale = value, 0
        return {name: each.detach().clone() for name, each in moving.items()}
    progress.stale += 1
    if settings.schedule == "plateau":
        progress.factor /= 2
    return kept


def _restore(moving: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, each in moving.items():
            each.copy_(kept[name])


def _save(
    folder: Path,
    moving: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    kept: Mapping[str, Tensor],
) -> None:
    """Tensors first, then state.json that names them, each by rename: a cut leaves the older whole checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {id(each): name for name, each in moving.items()}
    tensors = {f"now.{name}": each.detach().contiguous() for name, each in moving.items()}
    tensors |= {f"kept.{name}": each for name, each in kept.items()}
    for each, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"adam.{key}.{names[id(each)]}"] = torch.as_tensor(value).contiguous()
    tensors["random"] = torch.get_rng_state()
    file = f"state-{progress.step}.safetensors"
    save_file(tensors, folder / f"{file}.part")
    os.replace(folder / f"{file}.part", folder / file)
    (folder / "state.json.part").write_text(json.dumps({"file": file, **asdict(progress)}), "utf-8")
    os.replace(folder / "state.json.part", folder / "state.json")
    for old in folder.glob("state-*.safetensors"):
        if old.name != file:
            old.unlink()


def _resume(
    folder: Path, moving: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]]:
    facts = json.loads((folder / "state.json").read_text("utf-8"))
    tensors = load_file(folder / facts.pop("file"))
    now = {name[4:]: each for name, each in tensors.items() if name.startswith("now.")}
    _restore(moving, now)
    for name, each in moving.items():
        found = {key: f"adam.{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq")}
        own = {key: tensors[stored] for key, stored in found.items() if stored in tensors}
        if own:
            optimizer.state[each] = own
    torch.set_rng_state(tensors["random"])
    return Progress(**facts), {name[5:]: each for name, each in tensors.items() if name.startswith("kept.")}
