"""How much moves by a method of a network, and how long and how fast it is trained."""

from __future__ import annotations

from typing import Any

from lowrung.run.adapt import PROBE


def recipe(name: str) -> tuple[Any, Any]:
    """(how much moves, the training's settings) of a method that adapts a network; (None, None) of the others."""
    from lowrung.models import translating, tuning
    from lowrung.models.training import Settings

    ways: dict[str, tuple[tuning.How, Settings]] = {
        "zero-shot": (tuning.Frozen(), Settings()),
        "probe": (tuning.Frozen(), PROBE),
        "contrastive": (tuning.Top(4), Settings(lr=2e-4, contrast=1.0, batch=32, least=50, most=400)),
        "top": (tuning.Top(2), Settings(lr=2e-4, least=200)),
        "lora": (tuning.LoRA(), Settings(lr=5e-4, least=200)),
        "full": (tuning.Full(), Settings(lr=1e-4, least=200)),
        "writer+lora": (tuning.LoRA(), Settings(lr=5e-4, least=100, most=1000, batch=8)),
        "writer+full": (tuning.Full(), Settings(lr=2e-4, least=100, most=1000, batch=8)),
        "decoder": (tuning.Frozen(), translating.SETTINGS),
        "decoder+full": (tuning.Full(), translating.MOVING),
    }
    return ways.get(name.removeprefix("practice+").removesuffix("+silver"), (None, None))
