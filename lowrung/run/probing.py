"""probing: what a body can do on the lowest rungs: what a small read-out finds of letters in its states of words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lowrung.core.errors import LowrungError, ModelError
from lowrung.data.letter_items import CHANGED, KINDS, Item, Kind, items, sides
from lowrung.run.audit import wilson
from lowrung.run.evaluate import Score

if TYPE_CHECKING:
    from torch import Tensor

    from lowrung.models.text import TextBackbone

LANGUAGE = "en"
COMMON = 40_000  # forms of the lexicon that words are drawn from
LEAST, ROWS, TESTED = 200, 1600, 4  # words to learn from, at least and usually; one in so many more to test on
ASKED = 4  # times that a word is learnt from where more than one question can be put
SIGHT = tuple(sorted(CHANGED - {"distance"}))  # the kinds that say whether single letters are seen
GOOD, BLIND = 0.7, 0.35  # of their mean, from which letters are seen, and below which they are not

Sees: TypeAlias = Callable[[Sequence[str]], "Tensor"]  # N words -> (N, F)
Watch: TypeAlias = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True, slots=True)
class Probed:
    """Of one kind of item, the share that is read right on unseen words.

    Args:
        score: with Wilson's 95 % interval.
        chance: the share that is right by the commonest answer to each question among the items to learn from.
        rows: how many items were tested.
    """

    score: Score
    chance: float
    rows: int


@dataclass(frozen=True)
class Probing:
    """What a body can do, kind by kind; `learnt` words taught the read-out, others tested it."""

    model: str
    learnt: int
    metrics: dict[str, Probed]

    @property
    def sight(self) -> float:
        """The mean share over the kinds that change one letter of a word."""
        return float(np.mean([self.metrics[name].score.value for name in SIGHT]))

    def advice(self) -> str:
        """One line for people: whether it sees letters, and what to take where it does not."""
        weakest = min(SIGHT, key=lambda name: self.metrics[name].score.value)
        told = f"{weakest} {self.metrics[weakest].score.value:.0%}, changed letters {self.sight:.0%}"
        if self.sight >= GOOD:
            return f"letters can be read out of this body ({told})"
        share = "hardly any letters" if self.sight < BLIND else "only some letters"
        return f"{share} can be read out of this body ({told}): {_instead(self.model)}"

    def to_json(self) -> dict[str, Any]:
        metrics = {name: {**asdict(each.score), "chance": each.chance} for name, each in self.metrics.items()}
        rows = {name: each.rows for name, each in self.metrics.items()}
        return {"model": self.model, "metrics": metrics, "rows": rows, "learnt": self.learnt, "advice": self.advice()}


def _instead(model: str) -> str:
    body = "" if model == "letters-en" else " or read it by letters-en, which has a corrector in front"
    return f"mend misspelt text first (lowrung answer spelling){body}"


def probe(model: str, *, rows: int = ROWS, seed: int = 0, watch: Watch = lambda what, done, total: None) -> Probing:
    """Probe an embedded body, a local folder, a hub id, or the body of a shipped model.

    Words are read as they are written, also where a body has a corrector in front.

    Args:
        rows: words to learn from; a quarter as many others are tested on.

    Raises:
        ModelError: there is no such model, or it reads no text.
        DataError, LowrungError: as `probed` does.
    """
    from lowrung.models.lexicon import lexicon
    from lowrung.models.read_out import word_states

    backbone = body_of(model)
    counts = lexicon(LANGUAGE).counts
    words = sorted(counts, key=lambda form: (-counts[form], form))[:COMMON]

    def sees(asked: Sequence[str]) -> Tensor:
        return word_states(backbone, asked, lambda done, total: watch("words read", done - 1, total))

    return probed(model, sees, words, rows=rows, seed=seed, watch=watch)


def body_of(model: str) -> TextBackbone:
    """The body that a name stands for; of a shipped folder, as it was moved.

    Raises:
        ModelError: there is none that reads text.
    """
    from lowrung.models.catalog import backbone
    from lowrung.models.network import Adapted
    from lowrung.run.ship import load, shipped_folder

    if shipped_folder(model) is None:
        return backbone(model)
    found = load(model).model
    if not isinstance(found, Adapted):
        raise ModelError(f"{model}: {found.name} has no single body that reads text; probe one by its name or folder")
    return found.backbone


def probed(
    model: str, sees: Sees, words: Sequence[str], *, rows: int, seed: int, watch: Watch = lambda what, done, total: None
) -> Probing:
    """Probe whatever turns words into features.

    Args:
        sees: N words -> (N, F). words: the list that items are made of.

    Raises:
        DataError: there are too few words for `rows`.
        LowrungError: `rows` is too few to learn from.
    """
    if rows < LEAST:
        raise LowrungError(f"{rows} words are too few for a read-out to learn from; ask for {LEAST} or more")
    random = Random(f"{seed} words")
    learn, test = sides(words, (rows, max(rows // TESTED, 1)), random)
    made = {
        kind: (items(kind, learn * (ASKED if kind.asks > 1 else 1), random), items(kind, test, random))
        for kind in KINDS
    }
    every = list(dict.fromkeys(chain.from_iterable(each.words for both in made.values() for each in chain(*both))))
    states, place = sees(every), {word: at for at, word in enumerate(every)}
    metrics = {}
    for number, (kind, (teaching, testing)) in enumerate(made.items()):
        watch(kind.name, number, len(made))
        metrics[kind.name] = _probed(kind, teaching, testing, partial(_features, states, place), seed)
    return Probing(model, len(learn), metrics)


def _features(states: Tensor, place: dict[str, int], rows: Sequence[Item]) -> Tensor:
    """The state of the word; of two words also the difference to the other, and its size.  -> (N, F) or (N, 3 F)"""
    import torch

    first, last = (states[[place[each.words[at]] for each in rows]] for at in (0, -1))
    if len(rows[0].words) == 1:
        return first
    return torch.cat([first, last - first, (last - first).abs()], -1)


def _probed(
    kind: Kind,
    teaching: Sequence[Item],
    testing: Sequence[Item],
    features: Callable[[Sequence[Item]], Tensor],
    seed: int,
) -> Probed:
    import torch

    from lowrung.models.read_out import fit_read_out

    def asked(rows: Sequence[Item]) -> Tensor:
        return torch.tensor([each.asked for each in rows])

    answers = torch.tensor([each.answer for each in teaching])
    made = fit_read_out(features(teaching), asked(teaching), answers, asks=kind.asks, sizes=kind.sizes, seed=seed)
    said = made.answers(features(testing), asked(testing)).tolist()
    right = [tuple(one) == each.answer for one, each in zip(said, testing, strict=True)]
    return Probed(wilson(right, np.arange(len(right))), _chance(teaching, testing), len(right))


def _chance(teaching: Sequence[Item], testing: Sequence[Item]) -> float:
    """The share of answers that are right by the commonest one to each question, part by part."""
    met: dict[tuple[int, int], Counter[int]] = {}
    for each in teaching:
        for part, answer in enumerate(each.answer):
            met.setdefault((each.asked, part), Counter())[answer] += 1
    common = {key: counted.most_common(1)[0][0] for key, counted in met.items()}
    right = [
        all(common.get((each.asked, part)) == answer for part, answer in enumerate(each.answer)) for each in testing
    ]
    return sum(right) / len(right)
