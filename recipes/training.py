"""What the recipes that train a body share: their command line, the device, the loop, checkpoints to go on from."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from lowrung.cli import tracking
from lowrung.models import tracked
from lowrung.models.batch import moved

STATE = "state.safetensors"
WORKERS = 16  # at most, the process that trains among them
MULTIPLE = 8  # of which lengths are on a card: attention wants its masks so
PEAKS = {  # products in bfloat16 a second, dense, of the cards that call themselves so
    r"H100( 80GB)? HBM3|H100 SXM5.*": 989e12,
    r"H100 PCIe": 756e12,
    r"H200": 989e12,
    r"A100([- ][\w-]+)*": 312e12,
    r"L40S": 362e12,
    r"L4": 121e12,
    r"GeForce RTX 4090": 165e12,
}

T = TypeVar("T")


# --- the device


def device_of(name: str) -> torch.device:
    """A device by its name; "auto" is a card where there is one.

    Raises:
        ValueError: there is no card.
    """
    if name != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    if name == "cuda":
        raise ValueError("torch finds no CUDA card here; --device cpu goes without")
    return torch.device("cpu")


def size_of(settings: Mapping[str, Any], device: torch.device) -> int:
    """Lines a step."""
    return int(settings["gpu_batch" if device.type == "cuda" else "batch"])


def multiple_of(device: torch.device) -> int:
    """What lengths are a multiple of."""
    return MULTIPLE if device.type == "cuda" else 1


def compiled(
    modules: Iterable[nn.Module], device: torch.device, *, backend: str | Callable[..., Any] = "inductor"
) -> None:
    """On a card, let `modules` run compiled, by one graph for all lengths. Their hooks stay outside of it."""
    if device.type == "cuda":
        for each in modules:
            each.forward = torch.compile(each.forward, dynamic=True, backend=backend)


def mask(attended: Tensor) -> Tensor:
    """As layers take it; one of two dimensions is looked through first, which waits for a card.

    (W, T) -> (W, 1, 1, T)
    """
    return attended[:, None, None]


def adam(groups: Mapping[float, Sequence[nn.Parameter]], **more: Any) -> torch.optim.AdamW:
    """AdamW of parameters by their highest rate, in one kernel on a card."""
    given = [{"params": list(each), "lr": rate, "peak": rate} for rate, each in groups.items()]
    card = any(each.is_cuda for group in groups.values() for each in group)
    return torch.optim.AdamW(given, weight_decay=0.01, fused=True if card else None, **more)


def turn() -> tuple[int, int]:
    """Which of how many workers this one is."""
    told = get_worker_info()
    return (told.id, told.num_workers) if told else (0, 1)


def loader(rows: IterableDataset[T], device: torch.device, *, ahead: int = 2) -> Iterator[T]:
    """The batches of `rows` on the device, made by other processes, each `ahead` by so many."""
    card = device.type == "cuda"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = max(1, min(WORKERS, cores) - 1) if card else 1
    made = DataLoader(rows, batch_size=None, num_workers=workers, prefetch_factor=ahead, pin_memory=card)
    for each in made:
        yield moved(each, device)


def card_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def peak_of(card: str) -> float | None:
    """What a card of this name can do, None where nobody has looked."""
    found = (peak for pattern, peak in PEAKS.items() if re.fullmatch(f"(NVIDIA )?({pattern})", card))
    return next(found, None)


def products(modules: Iterable[nn.Module]) -> int:
    """The weights that every token is multiplied with."""
    return sum(each.weight.numel() for module in modules for each in module.modules() if isinstance(each, nn.Linear))


@dataclass
class Pace:
    """Tokens and products since it was told last."""

    device: torch.device
    tokens: int = 0
    flops: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    def add(self, tokens: int, flops: float) -> None:
        self.tokens, self.flops = self.tokens + tokens, self.flops + flops

    def told(self) -> dict[str, float]:
        """Tokens a second and, of a card that is known, the share of what it can do; nothing where none was met."""
        if not self.tokens:
            return {}
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = time.monotonic() - self.begun
        found: dict[str, float] = {"tokens_a_second": round(self.tokens / seconds)}
        peak = peak_of(card_of(self.device))
        return found | ({"of_peak": round(self.flops / seconds / peak, 4)} if peak else {})


# --- the loop


@dataclass(frozen=True)
class Course:
    """What is learnt, and how.

    Args:
        moving: parameters by name; `optimizer` is theirs.
        loss: of a batch, and facts of it, all on the device: to read one there would wait for it at every step.
        work: of a batch, how many tokens it has, padding left out, and what they cost in products.
        size: lines a batch. warm: steps until the rate is at its highest. every: seconds from report to report.
    """

    moving: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    loss: Callable[[Any], tuple[Tensor, dict[str, Tensor]]]
    work: Callable[[Any], tuple[int, float]]
    size: int
    warm: int
    every: float


def descend(
    course: Course,
    batches: Iterator[Any],
    exam: Sequence[Any],
    out: Path,
    *,
    done: Mapping[str, Any],
    steps: int,
    minutes: float,
) -> dict[str, Any]:
    """Learn from `batches` until a limit is met; returns the facts that a card keeps of it.

    Each report is told to who listens (lowrung.models.tracked).

    Args:
        exam: batches that are measured on.
        done: what `resume` gave.
    """
    parameters, optimizer = list(course.moving.values()), course.optimizer
    device = parameters[0].device
    step, spent, seen = done.get("step", 0), done.get("spent", 0.0), done.get("seen", 0)
    curve, exam = list(done.get("curve", ())), [moved(each, device) for each in exam]
    begun, told = time.monotonic() - spent, time.monotonic()
    pace: Pace | None = None  # the first step waits for rows, and on a card for what is compiled
    facts = {"lines": course.size, "warm": course.warm, "steps": steps, "minutes": minutes}
    with tracked.training(facts, step) as tell:
        while step < steps and spent < minutes * 60:
            share = max(step / steps, spent / (minutes * 60))
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * min(1.0, (step + 1) / course.warm) * max(0.02, 1 - share)
            batch = next(batches)
            course.loss(batch)[0].backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if pace is None:
                pace = Pace(device)
            else:
                pace.add(*course.work(batch))
            step, seen, spent = step + 1, seen + course.size, time.monotonic() - begun
            if time.monotonic() - told > course.every or step >= steps or spent >= minutes * 60:
                curve.append({"step": step, "minutes": round(spent / 60, 2)} | pace.told() | _measured(course, exam))
                print(json.dumps(curve[-1]), flush=True)
                tell(step, {name: value for name, value in curve[-1].items() if name != "step"})
                keep(out, course.moving, optimizer, {"step": step, "spent": spent, "seen": seen, "curve": curve})
                told, pace = time.monotonic(), Pace(device)
    return {"steps": step, "minutes": round(spent / 60, 1), "lines": seen, "device": card_of(device), "curve": curve}


@torch.no_grad()
def _measured(course: Course, exam: Sequence[Any]) -> dict[str, float]:
    found = [course.loss(each)[1] for each in exam]
    return {name: round(float(sum(each[name] for each in found)) / len(found), 4) for name in found[0]}


# --- checkpoints


def keep(out: Path, moving: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, facts: Mapping[str, Any]) -> None:
    """Write what moves, the optimizer's moments of it, and `facts`, whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    names = {id(each): name for name, each in moving.items()}
    tensors = {f"now.{name}": each.detach() for name, each in moving.items()}
    for each, moments in optimizer.state.items():
        tensors |= {f"adam.{key}.{names[id(each)]}": torch.as_tensor(value) for key, value in moments.items()}
    tensors = {name: each.cpu().contiguous() for name, each in tensors.items()}
    save_file(tensors, out / "state.part", {"facts": json.dumps(facts)})
    os.replace(out / "state.part", out / STATE)


def resume(out: Path, moving: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Read back what `keep` wrote, in place, on whatever device; returns the facts, {} where there is no checkpoint."""
    if not (out / STATE).is_file():
        return {}
    with safe_open(out / STATE, "pt") as file:
        stored = set(file.keys())
        for name, each in moving.items():
            with torch.no_grad():
                each.copy_(file.get_tensor(f"now.{name}"))
            places = {key: f"adam.{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq")}
            moments = {key: file.get_tensor(place).to(each.device) for key, place in places.items() if place in stored}
            if moments:  # what never had a gradient has none
                optimizer.state[each] = moments
        facts: dict[str, Any] = json.loads(file.metadata()["facts"])
    return facts


def run(practise: Callable[..., None], about: str, *, minutes: float) -> None:
    """The command line of a recipe: RECIPE --out DIR [--steps N] [--minutes N] [--track WHERE] [--device NAME].

    A recipe that takes no `device` runs on the CPU.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--minutes", type=float, default=minutes)
    tracking.add_options(parser)
    anywhere = "device" in inspect.signature(practise).parameters
    if anywhere:
        parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    asked = parser.parse_args()
    more: dict[str, Any] = {}
    if anywhere:
        try:
            more["device"] = device_of(asked.device)
        except ValueError as problem:
            parser.error(str(problem))
        if more["device"].type == "cuda":
            torch.set_float32_matmul_precision("high")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # texts are cut in processes of their own
    settings = tomllib.loads(asked.recipe.read_text("utf-8"))
    with tracking.tracked(asked), tracked.run_of(asked.recipe.stem, "recipe", 0, settings.get("seed", 0)):
        practise(settings, asked.out, steps=asked.steps, minutes=asked.minutes, **more)
