"""A recognizer learns from recordings or pictures with their texts: CTC, with parts of them struck out."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

from torch import Tensor

from lowrung.core.answers import Text
from lowrung.core.errors import DataError
from lowrung.core.task import Example
from lowrung.data.cache import Cache
from lowrung.metrics.counting import total
from lowrung.models.batch import CPU, autocast
from lowrung.models.decoding import Settings as Beam
from lowrung.models.patches import PatchBody
from lowrung.models.recognizer import Recognizer, rounded
from lowrung.models.senses import HEARING, THREADS, Sense
from lowrung.models.sound import batched
from lowrung.models.training import Progress, Settings, descend, drawn
from lowrung.models.tuning import Frozen, Full, How, Top

STRUCK = 2  # how often values of all frames are struck out
FEW = 200  # different words: where rows have no more, the beam expects them
EXPECTED = 4.0  # what an expected word is worth to the beam
SETTINGS = Settings(lr=3e-4, head_lr=1e-3, epochs=20, least=150, most=3000, batch=16, decay=0.01)

Watch = Callable[[int, int, float], None]


def struck_out(frames: Tensor, random: Random, sizes: tuple[int, int, int] = HEARING.struck) -> Tensor:
    """Without some values of all frames and some stretches of frames (SpecAugment; Park et al. 2019).

    Args:
        sizes: values and frames that are struck out together at most, and of how many frames once.

    Shape: (T, M) -> (T, M)
    """
    values, stretch, every = sizes
    frames = frames.clone()
    for _ in range(STRUCK):
        size = random.randint(0, values)
        begin = random.randint(0, frames.shape[1] - size)
        frames[:, begin : begin + size] = 0
    for _ in range(len(frames) // every + 1):
        size = random.randint(0, min(stretch, len(frames) // 8))
        begin = random.randint(0, len(frames) - size)
        frames[begin : begin + size] = 0
    return frames


Row = tuple[Tensor, str]  # frames, what is said or written there


def fit_recognizer(
    base: Recognizer,
    examples: Sequence[Example[Text]],
    *,
    how: How = Full(),  # noqa: B008 (frozen value)
    settings: Settings | None = None,
    dev: Sequence[Example[Text]] = (),
    seed: int = 0,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> Recognizer:
    """`base` taught by recordings of at most 20 seconds with what is said in them, or by pictures of lines.

    The head learns the letters that it lacked. Where the rows of speech have few different words, the beam expects
    these. Weights are those that a folder keeps, in 16 bits.

    Args:
        how: Frozen moves the head (of patches, what parts their states, too), Top the last layers besides, Full all.
        dev: rows by whose error rate the best weights are kept.

    Raises:
        DataError: no row has a sound or picture with a text, or all are too long to learn from.
    """
    base = replace(base, cache=base.cache or Cache())
    rows = list(rows_of(examples, base.sense, base.cache))
    if not rows:
        raise DataError(f"there is no {base.sense.lacking} with a text to learn from")
    made, chosen = movable(base, how, [text for _, text in rows]), settings or SETTINGS
    teach(
        made,
        lambda step: _batch(rows, drawn(step, len(rows), chosen, seed), base.sense.budget),
        settings=replace(chosen, most=chosen.steps(len(rows))),
        seed=seed,
        score=None if not dev else lambda: -error_rate(made, dev),
        checkpoint=checkpoint,
        watch=watch,
    )
    return replace(rounded(made), how=_expecting(base, [text for _, text in rows]))


def rows_of(examples: Iterable[Example[Text]], sense: Sense, cache: Cache | None = None) -> Iterator[Row]:
    """What there is to learn from examples that have a sound or picture, not too long, and a text.

    Some are decoded at once, so that examples without end may be given.
    """
    told = ((sense.found(each.question), sense.written(each.golds[0].text) if each.golds else "") for each in examples)
    given = ((part, text) for part, text in told if part is not None and text)
    while block := list(islice(given, THREADS)):
        frames = sense.features_of([part for part, _ in block], cache)
        yield from ((each, text) for each, (_, text) in zip(frames, block, strict=True) if len(each) <= sense.longest)


def movable(base: Recognizer, how: How, texts: Iterable[str]) -> Recognizer:
    """A copy of `base` whose head knows the letters of `texts`, and of which what `how` says may move."""
    head = base.head.with_letters(texts).requires_grad_(True)
    body = copy.deepcopy(base.body).requires_grad_(isinstance(how, Full))
    if isinstance(how, Top):
        body.layers[len(body.layers) - how.layers :].requires_grad_(True)
    elif not isinstance(how, Full | Frozen):
        raise DataError(f"a body that {base.sense.does} cannot be moved by {how}; it takes probe, top and full")
    if isinstance(body, PatchBody):
        body.split.requires_grad_(True)  # as new as the head is
    return replace(base, body=body, head=head)


def teach(
    made: Recognizer,
    rows: Callable[[int], Sequence[Row]],
    *,
    settings: Settings,
    seed: int = 0,
    minutes: float = 0.0,
    score: Callable[[], float] | None = None,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> Progress:
    """Train what may move of `made`, in place, for `settings.most` steps or `minutes`.

    Args:
        rows: step, counted from 0 → what is learnt from.
    """
    moving = {f"body.{name}": each for name, each in made.body.named_parameters() if each.requires_grad}
    moving |= {f"head.{name}": each for name, each in made.head.named_parameters()}
    progress = descend(
        moving,
        lambda step: _loss(made, rows(step), seed + step),
        steps=settings.most,
        settings=settings,
        seed=seed,
        minutes=minutes,
        score=score,
        checkpoint=checkpoint,
        watch=watch,
    )
    made.body.eval().requires_grad_(False)
    made.head.eval().requires_grad_(False)
    return progress


def error_rate(model: Recognizer, examples: Sequence[Example[Text]]) -> float:
    """The first metric of heard or read texts, over rows."""
    metric, said = model.sense.metrics[0], model.answer([each.question for each in examples])
    counts = [metric.count(each, one.answer) for each, one in zip(examples, said, strict=True)]
    return float(metric.finish(total(counts)))


def _expecting(base: Recognizer, texts: Sequence[str]) -> Beam | None:
    met = Counter(word for text in texts for word in text.split())
    if len(met) > FEW or not base.sense.expects:
        return base.how
    return replace(base.how or Beam(), hot={**dict.fromkeys(met, EXPECTED), **(base.how.hot if base.how else {})})


def _batch(rows: Sequence[Row], places: Sequence[int], budget: int) -> list[Row]:
    """Rows of a step, all once before any again, as many as a `budget` of frames holds."""
    found, longest = list[Row](), 0
    for at in places:
        row = rows[at]
        longest = max(longest, len(row[0]))
        if found and longest * (len(found) + 1) > budget:
            break
        found.append(row)
    return found


def _loss(model: Recognizer, rows: Sequence[Row], seed: int) -> tuple[Tensor, int]:
    random, sense = Random(seed), model.sense
    model.body.train()
    model.head.train()
    frames, lengths = batched([struck_out(sense.normalised(each), random, sense.struck) for each, _ in rows])
    with autocast(CPU):
        states, sizes = model.body(frames, lengths)
        logs = model.head(states)
    return model.head.loss(logs, sizes, [text for _, text in rows]), int(lengths.sum())
