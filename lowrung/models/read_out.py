"""What a small network can read out of the states of words by a frozen body, on words that it did not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from string import ascii_lowercase

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrung.core.parts import Question
from lowrung.models.heads import states_at
from lowrung.models.pieces import Tokenizer
from lowrung.models.text import TextBackbone

HIDDEN = 128  # units of the one hidden layer
PASSES, PATIENCE, BATCH = 40, 5, 64
RATE, DECAY = 2e-3, 0.5
DEPTHS = 2  # that word_states looks at
END = len(ascii_lowercase)  # what a Speller reads behind a word
SHRUNK = (1e-4, 1e-3, 1e-2, 0.1)  # shares of a covariance that are as if directions varied alike
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
    def logs(self, features: Tensor) -> Tensor:
        """Log-probabilities of the answers to the one question there is, of parts of one size.  -> (N, parts, K)"""
        return torch.stack(
            [each.log_softmax(-1) for each in self(features, features.new_zeros(len(features)).long())], 1
        )

    @torch.no_grad()
    def answers(self, features: Tensor, asked: Tensor) -> Tensor:
        """The likeliest answer, part by part.  -> (N, parts)"""
        return torch.stack([each.argmax(-1) for each in self(features, asked)], -1)


def fit_read_out(
    features: Tensor, asked: Tensor, answers: Tensor, held: Tensor, *, asks: int, sizes: Sequence[int], seed: int
) -> ReadOut:
    """The better of a read-out with a hidden layer and one without, by the log-loss on items that are held out.

    Args:
        features: (N, F). asked: (N,). answers: (N, parts). held: (N,) which are not learnt from: they say when to stop.
    """
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


class Speller:
    """Reads words of a-z letter by letter out of their states; what is behind a word's end is read as nothing.

    Of each place, linear discriminants of the letters there (Fisher 1936), their common covariance shrunk; by how much,
    and whether all depths are looked at or one, is chosen by the log-loss on words that are held out.

    Args:
        words: N words to learn from. states: (N, F), of `depths` one after the other. held: (N,) as `fit_read_out`
            takes it. places: letters that are read of a word; of longer ones the first so many.
    """

    def __init__(self, words: Sequence[str], states: Tensor, held: Tensor, *, places: int, depths: int = 1) -> None:
        letters = torch.full((len(words), places), END)
        for row, word in enumerate(words):
            letters[row, : len(word)] = torch.tensor([ascii_lowercase.index(each) for each in word[:places]])
        width = states.shape[1] // depths
        looks = [slice(0, None), *(slice(at * width, (at + 1) * width) for at in range(depths))]
        learnt, kept = letters[~held], letters[held].T  # (places, N')
        losses: list[tuple[float, int, slice, tuple[Tensor, Tensor]]] = []
        for columns in looks[: None if depths > 1 else 1]:
            for shrunk in SHRUNK:
                made = _discriminants(states[~held, columns], learnt, shrunk)
                logs = _said(states[held, columns], *made).log_softmax(-1).unbind(1)
                losses.append((float(sum(map(F.nll_loss, logs, kept))), len(losses), columns, made))
        _, _, self.columns, self.made = min(losses)

    def logs(self, states: Tensor) -> Tensor:
        """Log-probabilities of each letter, and of nothing, at each place.  (N, F) -> (N, places, 27)"""
        return _said(states[:, self.columns], *self.made).log_softmax(-1)

    def words(self, states: Tensor) -> list[str]:
        """The likeliest letters up to the first place where nothing is; one at least."""
        logs = self.logs(states)
        logs[:, 0, END] = -torch.inf
        ends = [*ascii_lowercase, ""]
        rows = [[ends[each] for each in row] for row in logs.argmax(-1).tolist()]
        return ["".join(row[: row.index("")] if "" in row else row) for row in rows]


def _discriminants(states: Tensor, letters: Tensor, shrunk: float) -> tuple[Tensor, Tensor]:
    """(N, F), (N, places) -> weights (places, F, 27) and offsets (places, 27)"""
    weights, offsets = [], []
    whole = states.mean(0)
    for each in letters.T:
        counts = torch.bincount(each, minlength=END + 1)
        means = torch.zeros(END + 1, states.shape[1]).index_add_(0, each, states) + whole  # as if met once more
        means /= (counts + 1)[:, None]
        inside = states - means[each]
        covariance = inside.T @ inside / len(states)
        size = covariance.diagonal().mean().clamp(min=1e-12)
        covariance = (1 - shrunk) * covariance + shrunk * size * torch.eye(len(covariance))
        made = torch.linalg.solve(covariance, means.T)
        weights.append(made)
        offsets.append(torch.log((counts + 0.1) / len(each)) - (means.T * made).sum(0) / 2)
    return torch.stack(weights), torch.stack(offsets)


def _said(states: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """(N, F) -> (N, places, 27)"""
    return torch.einsum("nf,pfk->npk", states, weights) + offsets
