"""probing_found: what a probe found, kind by kind, and what to make of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lowrung.data.letter_items import CHANGED
from lowrung.run.evaluate import Score

if TYPE_CHECKING:
    from lowrung.models.endpoint import Bill

SIGHT = tuple(sorted(CHANGED - {"distance"}))  # the kinds that say whether single letters are seen
GOOD, BLIND = 0.7, 0.35  # of their mean, from which letters are seen, and below which they are not
SHOWN = "letters-en-places"  # the embedded body that sees letters


@dataclass(frozen=True, slots=True)
class Probed:
    """Of one kind of item, the share that is right.

    Args:
        score: with its 95 % interval.
        chance: the share that is right by the commonest answer to each question; of a body, among the items to learn
            from.
        rows: how many items were tested.
        way: how the answer was read: "states", directly; "letters", as it follows from them; "prompt", in words;
            "vectors", as they lie to each other; "scores", by how likely the texts are.
    """

    score: Score
    chance: float
    rows: int
    way: str = "states"


@dataclass(frozen=True)
class Probing:
    """What a model can do, kind by kind; `learnt` words taught a body's read-out, or each question followed `shots`.

    `bill` is what asking an endpoint took, None of other models.
    """

    model: str
    learnt: int
    metrics: dict[str, Probed]
    shots: int = 0
    bill: Bill | None = None

    @property
    def sight(self) -> float | None:
        """The mean share over the kinds that change one letter of a word; None where they were not asked."""
        found = [self.metrics[name].score.value for name in SIGHT if name in self.metrics]
        return float(np.mean(found)) if len(found) == len(SIGHT) else None

    def advice(self) -> str:
        """One line for people: whether it sees letters, and what to take where it does not."""
        sight = self.sight
        if sight is None:
            return ""
        weakest = min(SIGHT, key=lambda name: self.metrics[name].score.value)
        told = f"{weakest} {self.metrics[weakest].score.value:.0%}, changed letters {sight:.0%}"
        what = "model" if self.shots else "body"
        if sight >= GOOD:
            return f"this {what} sees letters ({told})"
        share = "cannot see letters" if sight < BLIND else "sees only some letters"
        other = "" if self.model == SHOWN else f": use {SHOWN} for spelling, or"
        return f"this {what} {share} ({told}){other or ':'} mend misspelt text first (lowrung answer spelling)"

    def to_json(self) -> dict[str, Any]:
        metrics = {name: {**asdict(each.score), "chance": each.chance} for name, each in self.metrics.items()}
        rows, ways = ({name: getattr(each, key) for name, each in self.metrics.items()} for key in ("rows", "way"))
        told = {"model": self.model, "metrics": metrics, "rows": rows, "ways": ways, "learnt": self.learnt}
        return told | {"shots": self.shots, "advice": self.advice()}
