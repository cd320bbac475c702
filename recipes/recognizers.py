"""What the recipes that train recognizers share: the loop, what a head says by its likeliest letters, error rates."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from lowrung.models import tracked
from lowrung.models.batch import CPU, autocast
from lowrung.models.ctc import CTC
from lowrung.models.decoding import greedy
from lowrung.models.senses import Body
from lowrung.models.sound import batched
from recipes import training

T = TypeVar("T")


def learn(
    school: nn.Module,
    rows: Callable[[int], IterableDataset[Any]],
    exam: Callable[[], dict[str, float]],
    out: Path,
    settings: dict[str, Any],
    *,
    counted: tuple[str, Callable[[Any], float]],
    ahead: int,
    steps: int,
    minutes: float,
) -> dict[str, Any]:
    """Train `school`, whose `loss` takes a batch, until a limit is met; returns the facts that a card keeps of it.

    Each report is told to who listens (lowrung.models.tracked).

    Args:
        rows: a step → endless batches from there on, made by another process, `ahead` by so many.
        exam: what is measured at each report. counted: what a batch adds to a sum, and its name.
    """
    moving = dict(school.named_parameters())
    optimizer = torch.optim.AdamW(moving.values(), lr=settings["lr"], betas=(0.9, 0.98), weight_decay=1e-3)
    done = training.resume(out, moving, optimizer)
    step, spent, seen = done.get("step", 0), done.get("spent", 0.0), done.get("seen", 0)
    curve, (name, count) = list(done.get("curve", ())), counted
    batches = iter(DataLoader(rows(step), batch_size=None, num_workers=1, prefetch_factor=ahead))
    begun = told = time.monotonic() - spent
    met = Counter[str]()
    given = {"lr": settings["lr"], "warm": settings["warm"], "steps": steps, "minutes": minutes}
    with tracked.training(given, step) as tell:
        while step < steps and spent < minutes * 60:
            share = max(step / steps, spent / (minutes * 60))
            for group in optimizer.param_groups:
                group["lr"] = settings["lr"] * min(1.0, (step + 1) / settings["warm"]) * max(0.02, 1 - share)
            school.train()
            batch = next(batches)
            loss, facts = school.loss(batch)  # type: ignore[operator]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(moving.values()), 2.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            met.update({**facts, "steps": 1})
            step, seen, spent = step + 1, seen + count(batch), time.monotonic() - begun
            if time.monotonic() - told > settings["report_seconds"] or step == steps or spent >= minutes * 60:
                told = time.monotonic()
                school.eval()
                curve.append({"step": step, "minutes": round(spent / 60, 2), name: round(seen)})
                curve[-1] |= {each: round(met[each] / met["steps"], 4) for each in facts} | exam()
                met.clear()
                print(json.dumps(curve[-1]), flush=True)
                tell(step, {name: value for name, value in curve[-1].items() if name != "step"})
                training.keep(out, moving, optimizer, {"step": step, "spent": spent, "seen": seen, "curve": curve})
    school.eval()
    return {"steps": step, "minutes": round(spent / 60, 1), name: round(seen), "curve": curve}


def endless(
    one: Callable[[], T], size: Callable[[T], int], random: Random, *, pool: int, budget: int
) -> Iterator[list[T]]:
    """Endless batches of what `one` draws, `pool` at a time: of like size, none above a `budget` when padded."""
    while True:
        parts, part = [], list[T]()
        for each in sorted((one() for _ in range(pool)), key=size):
            if part and size(each) * (len(part) + 1) > budget:
                parts.append(part)
                part = []
            part.append(each)
        parts.append(part)
        random.shuffle(parts)
        yield from parts


@torch.no_grad()
def said(body: Body, head: CTC, frames: Sequence[Tensor], *, together: int) -> list[str]:
    """The likeliest letters of each, so many `together`.  N times (T_i, M) -> N texts"""
    found: list[str] = []
    for at in range(0, len(frames), together):
        with autocast(CPU):
            states, lengths = body(*batched(frames[at : at + together]))
            logs = head(states).numpy()
        found += [greedy(row[:size], head.alphabet).text for row, size in zip(logs, lengths.tolist(), strict=True)]
    return found


def error_rate(said: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> float:
    """Edits over the length of all right ones: of texts CER, of lists of words WER."""
    wrong = sum(Levenshtein.distance(one, two) for one, two in zip(said, right, strict=True))
    return wrong / max(sum(map(len, right)), 1)
