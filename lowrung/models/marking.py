"""Mark: Choices, a decision of its own for each option, which start from the options' names as those of a Rank do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lowrung.core.answers import Choices, Prediction
from lowrung.models.batch import Batch
from lowrung.models.heads import Rank


class Mark(Rank):
    """An option belongs where its logit, as a Rank has it, passes a threshold.

    Before the first label nothing tells how near a name a text has to be. The options then pass that lie nearer to the
    best one than to the mean of all, so that there is always one. `learnt` says that a threshold was fitted: it is
    in `bias`, which is 0 for an option that was never learnt.
    """

    def __init__(self, options: Sequence[str], names: Tensor, *, pooling: str = "mean") -> None:
        super().__init__(options, names, pooling=pooling)
        self.learnt: Tensor
        self.register_buffer("learnt", torch.zeros(()))

    def loss(self, batch: Batch, hidden: Tensor, golds: Sequence[Choices], weights: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Binary cross-entropy, summed over options, a mean over questions."""
        logits = self.logits(self.features(batch, hidden))
        return F.binary_cross_entropy_with_logits(logits, indicators(self.options, golds), reduction="sum") / len(golds)

    def _fresh(self, options: Sequence[str], names: Tensor) -> Mark:
        made = Mark(options, names, pooling=self.pooling)
        made.learnt.copy_(self.learnt)
        with torch.no_grad():  # of what is new, the threshold that the others have
            made.bias.fill_(float(self.bias.mean()))
        return made

    def decode(self, batch: Batch, hidden: Tensor) -> list[Prediction[Choices]]:  # type: ignore[override]
        return self.choose(self.logits(self.features(batch, hidden)))

    def choose(self, logits: Tensor) -> list[Prediction[Choices]]:  # type: ignore[override]
        """(B, K) -> B predictions; the others are all options, each by itself, best first.

        The confidence is the geometric mean of how sure each option's decision is.
        """
        if not self.learnt:
            logits = logits - (logits.max(-1, keepdim=True).values + logits.mean(-1, keepdim=True)) / 2
        made = []
        for row in (logits / self.temperature).sigmoid().tolist():
            order = sorted(range(len(row)), key=lambda at: -row[at])
            found = Choices(tuple(self.options[at] for at in order if row[at] > 0.5))
            sure = math.exp(sum(math.log(max(share, 1 - share)) for share in row) / len(row))
            made.append(Prediction(found, sure, tuple((Choices((self.options[at],)), row[at]) for at in order)))
        return made


def indicators(options: Sequence[str], golds: Sequence[Choices]) -> Tensor:
    """1.0 where an option is among a gold's.  -> (B, K)"""
    return torch.tensor([[float(option in gold.options) for option in options] for gold in golds])
