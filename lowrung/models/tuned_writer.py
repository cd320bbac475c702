"""A writer taught by examples: shown them in its prompt, or trained to write their answers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import nn

from lowrung.core.answers import Choice, write
from lowrung.core.errors import DataError, ModelError
from lowrung.core.task import Example, labels_of
from lowrung.data.splits import folds, holdout
from lowrung.models.language_model import LanguageModel, Pair
from lowrung.models.training import Settings, descend, drawn
from lowrung.models.tuning import Frozen, Full, How, LoRA, Top, with_lora
from lowrung.models.writer import TextWriter, moving

NUMBERS = (1, 2, 4, 8, 16)  # of examples that are tried
ORDERS = 2  # draws of them, each in an order of its own, that are tried
ASKED = 24  # examples that each of these is tried on
ENOUGH_FOR_DEV = 2000  # rows; a tenth of fewer says too little
JUDGED = 256  # dev rows at most
Watch = Callable[[int, int, float], None]


def loosened_model(base: LanguageModel, how: How, *, seed: int = 0) -> LanguageModel:
    """A copy in which what `how` says may move requires gradients; LoRA's updates start from `seed`.

    Raises:
        ModelError: LoRA finds no projection that it knows, or the model has no list of layers.
    """
    made = LanguageModel(base.tokenizer, copy.deepcopy(base.model), base.source)
    made.model.requires_grad_(isinstance(how, Full))
    if isinstance(how, LoRA):
        with_lora(made.model, how, seed)
    elif isinstance(how, Top):
        lists = (each for each in made.model.get_decoder().children() if isinstance(each, nn.ModuleList))
        layers = next(lists, None)
        if layers is None:
            raise ModelError(f"{type(made.model).__name__} has no list of layers; use lora or full")
        layers[-how.layers :].requires_grad_(True)
    made.model.eval()  # what was put in comes ready to learn
    return made


def fit_writer(
    base: TextWriter,
    examples: Sequence[Example[Any]],
    *,
    how: How,
    settings: Settings,
    dev: Sequence[Example[Any]] = (),
    seed: int = 0,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> TextWriter:
    """Train a copy to write the examples' answers after their prompts: cross-entropy of the pieces of an answer.

    `dev` rows say by the same measure which weights are kept; without any, a tenth of many examples does.

    Args:
        how: Top, LoRA or Full.
        checkpoint: a folder to resume from after an interruption.

    Raises:
        DataError: no example fits into what the model reads.
        ModelError: as `loosened_model` does, or nothing is to move.
    """
    if isinstance(how, Frozen):
        raise ModelError("a writer learns by LoRA, Top or Full; Frozen moves nothing")
    if not dev and len(examples) >= ENOUGH_FOR_DEV:
        kept, held = holdout(examples, share=0.1, seed=seed)
        examples, dev = [examples[at] for at in kept], [examples[at] for at in held]
    made = replace(base, base=loosened_model(base.base, how, seed=seed), shots=(), how=how)
    pairs = [pair for each in examples if (pair := made.pair(each))]
    if not pairs:
        raise DataError(f"no example fits into the {base.base.longest} pieces that {base.source.name} reads")
    held_pairs = [pair for each in dev[:JUDGED] if (pair := made.pair(each))]
    model = made.base

    def loss_of(step: int) -> tuple[torch.Tensor, int]:
        model.model.train()
        return model.loss([pairs[at] for at in drawn(step, len(pairs), settings, seed)])

    def score() -> float:
        model.model.eval()
        return _mean_log(model, held_pairs)

    descend(
        {f"body.{name}": each for name, each in moving(model).items()},
        loss_of,
        steps=settings.steps(len(pairs)),
        settings=settings,
        seed=seed,
        score=score if held_pairs else None,
        checkpoint=checkpoint,
        watch=watch,
    )
    model.model.eval()
    return made


def fit_shots(base: TextWriter, examples: Sequence[Example[Any]], *, seed: int = 0) -> TextWriter:
    """Show examples in the prompt: how many, and which in which order, is what answers held-out ones best.

    Each number of `NUMBERS` is tried with `ORDERS` draws, by the probability that right answers get in
    cross-validation; a Choice's draws take the labels in turn.
    """
    numbers = [each for each in NUMBERS if each < len(examples)] or [len(examples)]
    tried = [(number, order) for number in numbers for order in range(ORDERS)]
    if len(examples) < 2:
        return replace(base, shots=tuple(examples))
    parts = folds(examples, k=min(3, len(examples)), seed=seed)[0]
    scores = []
    for number, order in tried:
        found = list[float]()
        for learn, held in parts:
            shown = replace(base, shots=_drawn([examples[at] for at in learn], number, f"{seed} {order}"))
            asked = [examples[at] for at in held[: max(1, ASKED // len(parts))]]
            found += _shares(shown, asked)
        scores.append(float(np.mean(found)))
    number, order = tried[int(np.argmax(scores))]
    return replace(base, shots=_drawn(examples, number, f"{seed} {order}"))


def _drawn(examples: Sequence[Example[Any]], number: int, seed: str) -> tuple[Example[Any], ...]:
    """So many examples in an order of their own; of labels one of each in turn."""
    random, shared = Random(seed), _shared(examples)
    groups: dict[tuple[str, ...], list[Example[Any]]] = {}
    for each in random.sample(list(examples), len(examples)):
        label = labels_of(each.golds[0]) if isinstance(each.golds[0], Choice) else ()
        groups.setdefault(label if label and label[0] in shared else (), []).append(each)
    return tuple(_in_turn(list(groups.values())))[:number]


def _shared(examples: Sequence[Example[Any]]) -> frozenset[str]:
    """The options that all examples have in common; questions that bring their own have none."""
    return frozenset.intersection(*(frozenset(each.question.options) for each in examples))


def _in_turn(groups: Sequence[Sequence[Example[Any]]]) -> Iterator[Example[Any]]:
    for at in range(max(map(len, groups))):
        yield from (group[at] for group in groups if at < len(group))


def _shares(writer: TextWriter, examples: Sequence[Example[Any]]) -> list[float]:
    """How well a writer would say the right answers: of a Choice the logarithm of its share, else a piece's mean."""
    if writer.answer_shape is Choice:
        said = writer.answer([each.question for each in examples])
        shares = []
        for each, found in zip(examples, said, strict=True):
            given = dict(((found.answer, found.confidence), *found.others)) if found.answer else {}
            shares.append(float(np.log(max(1e-9, sum(given.get(gold, 0.0) for gold in each.golds)))))
        return shares
    prompts = [writer.fitting(each.question) for each in examples]
    fits = [at for at, prompt in enumerate(prompts) if prompt]
    options = [[writer.said(write(examples[at].golds[0], examples[at].question))] for at in fits]
    scores = writer.option_scores([prompts[at] for at in fits], options, ended=writer.ends)
    return [row[0].log / max(1, row[0].pieces) for row in scores] + [float(np.log(1e-9))] * (len(prompts) - len(fits))


def _mean_log(model: LanguageModel, pairs: Sequence[Pair]) -> float:
    """The mean log-probability of a piece of the answers."""
    logs = model.logs([[pair] for pair in pairs])
    kept = [row[pair.known :] for row, pair in zip(logs, pairs, strict=True)]
    return sum(map(sum, kept)) / max(1, sum(map(len, kept)))
