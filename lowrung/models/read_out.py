"""What a small network can read out of the states of words by a frozen body, on words that it did not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrung.core.parts import Question
from lowrung.models.heads import states_at
from lowrung.models.pieces import Tokenizer
from lowrung.models.text import TextBackbone

HIDDEN = 128  # units of the one hidden layer
PASSES, PATIENCE, BATCH = 40, 5, 64
HELD = 8  # one item in so many is not learnt from and says when to stop
RATE, DECAY = 2e-3, 0.5
FLOOR = 0.1  # of the mean spread of features: what hardly varies is not blown up


@torch.no_grad()
def word_states(
    backbone: TextBackbone, words: Sequence[str], watch: Callable[[int, int], None] = lambda done, total: None
) -> Tensor:
    """The mean state of each word's pieces, the word alone: as they enter the body, and where words are tagged.

    Words are read as they are written, whatever corrector the body has in front.

    Args:
        watch: told how many words are done, of how many.

    Returns: (N, 2 D) on the processor.
    """
    depths = (0, backbone.tagging_layer)
    unmended, pieces = copy(backbone), backbone.tokenizer
    unmended.tokenizer = Tokenizer(pieces.inner, longest=pieces.longest, spell=pieces.spell)
    made = torch.zeros(len(words), len(depths) * backbone.width)
    done = 0
    for chosen, batch in unmended.batches([Question((word,)) for word in words]):
        spans = torch.tensor([[(0, len(words[at]))] for at in chosen], device=batch.offsets.device)
        made[chosen] = states_at(batch.stitched(backbone.taps(batch, depths)), batch.offsets, spans)[:, 0].cpu()
        done += len(chosen)
        watch(done, len(words))
    return made


class ReadOut(nn.Module):
    """Softmax regression, or one hidden layer, over standardised features.

    Shape:
        forward: (N, F), (N,) which question is asked -> one (N, K) a part of the answer

    Args:
        features: (N, F) to standardise by. asks: how many questions share it. sizes: K of each part of the answer.
        hidden: units of the layer; 0 for none.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Tensor, asks: int, sizes: Sequence[int], *, hidden: int) -> None:
        super().__init__()
        self.asks, self.sizes, width = asks, list(sizes), features.shape[1]
        spread = features.std(0)
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("scale", spread.clamp(min=FLOOR * float(spread.mean()) + 1e-6))
        self.inner = nn.Sequential(nn.Linear(width, hidden), nn.GELU()) if hidden else nn.Identity()
        self.out = nn.Linear(hidden or width, asks * sum(sizes))

    def forward(self, features: Tensor, asked: Tensor) -> tuple[Tensor, ...]:
        scores = self.out(self.inner((features - self.mean) / self.scale))
        chosen = scores.view(len(scores), self.asks, -1)[torch.arange(len(scores)), asked]
        return torch.split(chosen, self.sizes, -1)

    def loss(self, features: Tensor, asked: Tensor, answers: Tensor) -> Tensor:
        """The mean log-loss, summed over the parts of the answer."""
        parts = zip(self(features, asked), answers.T, strict=True)
        return torch.stack([F.cross_entropy(each, wanted) for each, wanted in parts]).sum()

    @torch.no_grad()
    def answers(self, features: Tensor, asked: Tensor) -> Tensor:
        """The likeliest answer, part by part.  -> (N, parts)"""
        return torch.stack([each.argmax(-1) for each in self(features, asked)], -1)


def fit_read_out(
    features: Tensor, asked: Tensor, answers: Tensor, *, asks: int, sizes: Sequence[int], seed: int
) -> ReadOut:
    """The better of a read-out with a hidden layer and one without, by the log-loss on items held out of those given.

    Args:
        features: (N, F). asked: (N,). answers: (N, parts).
    """
    held = torch.arange(len(features)) % HELD == 0
    learnt, kept = ([each[side] for each in (features, asked, answers)] for side in (~held, held))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = [_fitted(ReadOut(learnt[0], asks, sizes, hidden=hidden), learnt, kept) for hidden in (0, HIDDEN)]
    return min(made, key=lambda each: each[0])[1]


def _fitted(made: ReadOut, learnt: Sequence[Tensor], kept: Sequence[Tensor]) -> tuple[float, ReadOut]:
    """Fitted by AdamW and stopped by its loss on what was kept aside; that loss first."""
    optimizer = torch.optim.AdamW(made.parameters(), lr=RATE, weight_decay=DECAY)
    best, state, since = float("inf"), made.state_dict(), 0
    for _ in range(PASSES):
        for places in torch.split(torch.randperm(len(learnt[0])), BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(made.loss(*(each[places] for each in learnt)))
            optimizer.step()
        with torch.no_grad():
            now = float(made.loss(*kept))
        since += 1
        if now < best:
            best, since = now, 0
            state = {name: each.clone() for name, each in made.state_dict().items()}
        if since == PATIENCE:
            break
    made.load_state_dict(state)
    return best, made.eval()
