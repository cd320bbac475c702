"""A chooser of letters learns: from damaged text without labels, and from labelled rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lowrung.core.answers import Text
from lowrung.core.task import Example
from lowrung.data.noise import alone
from lowrung.models.choosing import PARTS, Chooser, Judge, with_chooser
from lowrung.models.corrector import Corrector
from lowrung.models.evidence import Evidence, Places, Slips
from lowrung.models.sequences import Grams

HIDDEN = 48  # units
EPOCHS = 10
BATCH = 512  # places a step
RATE = 0.01
STILL = 1e-3  # the spread of a fact that never changes
FOLDS = 4  # what is counted in the others is evidence in each
TRUSTED = 50_000  # characters of right text whose n-grams weigh half of the most that rows may
MOST = 0.4  # the share of the n-grams of rows where there are very many
HARM = 0.05  # of the right sentences, those that may be broken
KEEPS = tuple(each / 4 for each in range(-8, 17))  # logits, tried
MANY = 1_000  # rows from which it learns anew: what damaged text has taught is in the way then
FEW = 40  # rows below which the chooser learns nothing but what it counts

Row = tuple[str, str]  # text, right text of the same length
Table = tuple[Tensor, Tensor, Tensor]  # facts (S, K, F), the right option (S,), which options there are (S, K)


@dataclass(frozen=True, eq=False)
class Asked:
    """A row with its places and the right option of each, -1 where it is not among them."""

    text: str
    right: str
    places: Places
    golds: list[int]


def fit(base: Corrector, examples: Sequence[Example[Text]], *, seed: int = 0) -> Corrector:
    """`base`, whose context is a Chooser, taught by labelled rows.

    The slips and the n-grams of the right texts are counted, and the chooser learns, from facts that were counted in
    other rows, on these rows and on their right texts as rows with nothing to mend. How sure it must be is what has
    the best sentence-level F1 on rows held out, among what breaks few right sentences. Rows whose texts differ in
    length are passed over.
    """
    chooser = base.context
    rows = [(each.question.text, each.golds[0].text) for each in examples if each.golds]
    rows = list(dict.fromkeys(row for row in rows if len(row[0]) == len(row[1])))
    if not isinstance(chooser, Chooser) or not rows:
        return base
    return replace(with_chooser(base, learnt(chooser, rows, seed=seed)), name="channel-tuned")


def learnt(chooser: Chooser, rows: Sequence[Row], *, seed: int = 0) -> Chooser:
    """The chooser taught by rows."""
    made = _counting(chooser, rows)
    if len(rows) < FEW:
        return made
    asked, parts = crossed(chooser, rows, seed=seed)
    held = [each for each, part in zip(asked, parts, strict=True) if part == 0]
    rest = [each for each, part in zip(asked, parts, strict=True) if part]
    before = chooser.judge
    start = before if len(rows) < MANY else None
    trial = trained(rest, start, seed=seed)
    keep = surest(trial, held)
    if f1(replace(trial, keep=keep), held) < f1(before, held):
        return replace(made, judge=replace(before, keep=surest(before, asked)))
    return replace(made, judge=replace(trained(asked, start, seed=seed), keep=keep))


def crossed(chooser: Chooser, rows: Sequence[Row], *, seed: int = 0) -> tuple[list[Asked], list[int]]:
    """Rows, and their right texts, with facts that were counted in other rows; and the fold of each."""
    random = np.random.default_rng(seed)
    fold = {right: int(random.integers(FOLDS)) for _, right in rows}
    asked, parts = list[Asked](), list[int]()
    for part in range(FOLDS):
        mine = [row for row in rows if fold[row[1]] == part]
        other = _counting(chooser, [row for row in rows if fold[row[1]] != part])
        mine += [(right, right) for text, right in mine if text != right]
        asked += ask(other, mine)
        parts += [part] * len(mine)
    return asked, parts


def _counting(chooser: Chooser, rows: Sequence[Row]) -> Chooser:
    """With the slips and the right texts of rows as evidence, in numbers as coarse as they are on disk, so that what
    was fitted is what is shipped."""
    before = chooser.evidence
    size = sum(len(right) for _, right in rows)
    share = float(np.float32(MOST * size / (size + TRUSTED)))
    sequences = before.sequences
    if rows:
        more = Grams.count([right for _, right in rows], sequences.alphabet)
        sequences = sequences.with_grams(Grams.unpacked(more.size, more.order, more.packed()), share)
    return replace(chooser, evidence=replace(before, sequences=sequences, slips=Slips.count(rows)), share=share)


def ask(chooser: Chooser, rows: Sequence[Row]) -> list[Asked]:
    """The places of rows with their facts."""
    found, evidence = list[Asked](), chooser.evidence
    texts = [text for text, _ in rows]
    at = [_open(text, evidence) for text in texts]
    offered = [[offers(text[place], evidence) for place in places] for text, places in zip(texts, at, strict=True)]
    for (text, right), places in zip(rows, chooser.places(texts, at, offered), strict=True):
        pairs = zip(places.at, places.options, strict=True)
        golds = [options.index(right[place]) if right[place] in options else -1 for place, options in pairs]
        found.append(Asked(text, right, places, golds))
    return found


def _open(text: str, evidence: Evidence) -> list[int]:
    return [
        at
        for at, letter in enumerate(text)
        if letter in evidence.kinds or (letter in evidence.slips.others and alone(letter))
    ]


def offers(written: str, evidence: Evidence) -> list[str]:
    return [*evidence.kinds.get(written, ()), *filter(alone, evidence.slips.others.get(written, ()))]


# --- learning


def tabled(asked: Iterable[Asked]) -> Table:
    kept = list(asked)
    most = max((each.places.facts.shape[1] for each in kept), default=1)
    size = sum(len(each.golds) for each in kept)
    width = kept[0].places.facts.shape[2] if kept else len(Evidence.NAMES)
    facts = np.zeros((size, most, width), dtype=np.float32)
    there = np.zeros((size, most), dtype=bool)
    row = 0
    for each in kept:
        facts[row : row + len(each.golds), : each.places.facts.shape[1]] = each.places.facts
        for options in each.places.options:
            there[row, : len(options)] = True
            row += 1
    golds = np.array([gold for each in kept for gold in each.golds], dtype=np.int64)
    return torch.from_numpy(facts), torch.from_numpy(golds), torch.from_numpy(there)


class _Net(nn.Module):
    def __init__(self, start: Judge) -> None:
        super().__init__()
        self.means, self.scales = torch.from_numpy(start.means), torch.from_numpy(start.scales)
        self.linear, self.out = (nn.Parameter(torch.from_numpy(each.copy())) for each in (start.linear, start.out))
        self.hidden = nn.Parameter(torch.from_numpy(start.hidden.copy()))
        self.bias = nn.Parameter(torch.from_numpy(start.bias.copy()))

    def forward(self, facts: Tensor) -> Tensor:
        """(S, K, F) -> (S, K)"""
        inputs = (facts - self.means) / self.scales
        return inputs @ self.linear + torch.tanh(inputs @ self.hidden + self.bias) @ self.out

    def judge(self) -> Judge:
        return Judge(**{name: getattr(self, name).detach().numpy().copy() for name in PARTS})


def unlearnt(facts: NDArray[np.float32], seed: int = 0) -> Judge:
    """A judge that has learnt nothing, for facts of others than what stands there, (N, F). Facts that never change say
    nothing as they are, but for the first, which is 1."""
    random = np.random.default_rng(seed)
    size = facts.shape[1]
    spread = facts.std(0)
    still = spread < STILL
    means, scales = facts.mean(0), np.where(still, 1.0, spread)
    means[0] = 0
    hidden = random.normal(0, 1 / np.sqrt(size), (size, HIDDEN))
    hidden[still] = 0
    parts = (means, scales, np.zeros(size), hidden, np.zeros(HIDDEN), random.normal(0, 0.1, HIDDEN))
    return Judge(**{name: each.astype(np.float32) for name, each in zip(PARTS, parts, strict=True)})


def trained(asked: Sequence[Asked], start: Judge | None = None, *, seed: int = 0) -> Judge:
    """A judge of the right options of places, by cross-entropy, that goes on from `start`."""
    facts, golds, there = tabled(asked)
    known = golds >= 0
    facts, golds, there = facts[known], golds[known], there[known]
    if start is None:
        others = there.clone()
        others[:, 0] = False
        start = unlearnt(facts[others].numpy(), seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = _Net(start)
        optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-4)
        steps, step = EPOCHS * -(-len(facts) // BATCH), 0
        for _ in range(EPOCHS):
            order = torch.randperm(len(facts))
            for first in range(0, len(facts), BATCH):
                rows = order[first : first + BATCH]
                for group in optimizer.param_groups:
                    group["lr"] = RATE * (1 - step / steps)
                logits = net(facts[rows]).masked_fill(~there[rows], -1e4)
                logits = torch.cat([torch.zeros(len(rows), 1), logits[:, 1:]], dim=1)
                loss = nn.functional.cross_entropy(logits, golds[rows])
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                step += 1
    return net.judge()


# --- measuring


def said(judge: Judge, asked: Asked) -> str:
    """The text as the judge mends it, each place by itself."""
    made, places = list(asked.text), asked.places
    logits = judge(places.facts)
    for at, options, row in zip(places.at, places.options, logits, strict=True):
        made[at] = options[int(np.argmax(row[: len(options)]))]
    return "".join(made)


def _outcomes(judge: Judge, asked: Sequence[Asked]) -> NDArray[np.int64]:
    """Sentences that were mended rightly, changed, wrong; right ones that were broken, right ones."""
    found = np.zeros(5, dtype=np.int64)
    for each in asked:
        made, wrong = said(judge, each), each.text != each.right
        changed = made != each.text
        found += [wrong and made == each.right, changed, wrong, changed and not wrong, not wrong]
    return found


def f1(judge: Judge, asked: Sequence[Asked]) -> float:
    """Sentence-level F1 of correction."""
    hit, changed, wrong, _, _ = _outcomes(judge, asked).tolist()
    return 2 * hit / (changed + wrong) if changed + wrong else 0.0


def surest(judge: Judge, asked: Sequence[Asked], harm: float = HARM) -> float:
    """The `keep` with the best F1 among those that break at most `harm` of the right sentences."""
    best, found = -1.0, max(KEEPS)
    for keep in KEEPS:
        hit, changed, wrong, broken, right = _outcomes(replace(judge, keep=keep), asked).tolist()
        score = 2 * hit / (changed + wrong) if changed + wrong else 0.0
        if broken <= harm * right and score > best:
            best, found = score, keep
    return found
