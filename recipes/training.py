"""What the recipes that train a body share: their command line, and checkpoints that a cut run goes on from."""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

STATE = "state.safetensors"


def keep(out: Path, moving: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, facts: Mapping[str, Any]) -> None:
    """Write what moves, the optimizer's moments of it, and `facts`, whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    names = {id(each): name for name, each in moving.items()}
    tensors = {f"now.{name}": each.detach().contiguous() for name, each in moving.items()}
    for each, moments in optimizer.state.items():
        tensors |= {
            f"adam.{key}.{names[id(each)]}": torch.as_tensor(value).contiguous() for key, value in moments.items()
        }
    save_file(tensors, out / "state.part", {"facts": json.dumps(facts)})
    os.replace(out / "state.part", out / STATE)


def resume(out: Path, moving: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Read back what `keep` wrote, in place; returns the facts, {} where there is no checkpoint."""
    if not (out / STATE).is_file():
        return {}
    with safe_open(out / STATE, "pt") as file:
        for name, each in moving.items():
            with torch.no_grad():
                each.copy_(file.get_tensor(f"now.{name}"))
            moments = ("step", "exp_avg", "exp_avg_sq")
            optimizer.state[each] = {key: file.get_tensor(f"adam.{key}.{name}") for key in moments}
        facts: dict[str, Any] = json.loads(file.metadata()["facts"])
    return facts


def run(practise: Callable[..., None], about: str, *, minutes: float) -> None:
    """The command line of a recipe: RECIPE --out DIR [--steps N] [--minutes N]."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--minutes", type=float, default=minutes)
    asked = parser.parse_args()
    practise(tomllib.loads(asked.recipe.read_text("utf-8")), asked.out, steps=asked.steps, minutes=asked.minutes)
