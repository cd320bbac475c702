"""Fused, a Model of Choices: text, sound and pictures of a question taken together; fitted, saved and loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lowrung.core.answers import Choice, Prediction
from lowrung.core.errors import DataError, ModelError, unknown
from lowrung.core.parts import KINDS, Heard, Question, kind_of
from lowrung.core.task import Example, Task
from lowrung.data.splits import folds
from lowrung.models import catalog
from lowrung.models.cascade import NONE, Ears, ears_for, examples_with_words
from lowrung.models.encoder import Encoder
from lowrung.models.fusing import Batch, Chooser, Vote, weighed
from lowrung.models.network import WEIGHTS
from lowrung.models.text import TextBackbone
from lowrung.models.tracked import part_of_run
from lowrung.models.training import Settings, descend, drawn

WAYS = ("early", "cross", "late")  # or one of KINDS, alone
SETTINGS = Settings(head_lr=1e-3, epochs=12, least=150, most=400, batch=16, decay=0.05)
LEFT_OUT = 0.3  # how often one of a question's kinds is left out when a fusion learns
FOLDS, ENOUGH = 3, 9  # of the rows that a vote is weighed by; with fewer rows all kinds weigh alike
CHUNK = 64  # questions a batch

Watch = Callable[[int, int, float], None]


class Fused:
    """A Model[Choice] of questions whose sounds and pictures are followed by their Heard words.

    A question that lacks a kind is answered from the others; one that brings other options is answered by what is
    known of the new ones without labels.

    Args:
        way: one of WAYS or of KINDS. options, words: those to learn, and what they mean in words.
        kinds: those that learning rows gave.
    """

    def __init__(
        self,
        way: str,
        network: Chooser | Vote,
        encoder: Encoder,
        *,
        options: Sequence[str],
        words: Sequence[str],
        kinds: Sequence[str],
        name: str = "",
    ) -> None:
        self.way, self.network, self.encoder = way, network.eval(), encoder
        self.options, self.words, self.kinds, self.name = tuple(options), tuple(words), tuple(kinds), name or way

    @property
    def weights(self) -> dict[str, float]:
        """kind → its weight in a vote, in sum 1; nothing where there is no vote."""
        if not isinstance(self.network, Vote):
            return {}
        whole = float(self.network.weights.sum())
        return {kind: float(each) / whole for kind, each in zip(self.network.kinds, self.network.weights, strict=True)}

    @property
    def temperature(self) -> float:
        """Of a vote: what the weighed sum of log-probabilities is divided by."""
        return 1 / float(self.network.weights.sum()) if isinstance(self.network, Vote) else 1.0

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Choice]]:
        """One prediction a question, in order; no answer where it has no part of a kind that the model goes by."""
        found: list[Prediction[Choice]] = [Prediction(None, 0.0)] * len(questions)
        groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = {}
        for place, asked in enumerate(questions):
            own = not asked.options or asked.options == self.options
            key = (self.options, self.words) if own else (asked.options, asked.words_for_options)
            groups.setdefault(key, []).append(place)
        for (options, words), places in groups.items():
            for begin in range(0, len(places), CHUNK):
                chosen = places[begin : begin + CHUNK]
                said = self._said([questions[place] for place in chosen], options, words)
                for place, one in zip(chosen, said, strict=True):
                    found[place] = one
        return found

    @torch.no_grad()
    def _said(
        self, questions: Sequence[Question], options: Sequence[str], words: Sequence[str]
    ) -> list[Prediction[Choice]]:
        self.network.eval()
        places = [self.options.index(option) if option in self.options else -1 for option in options]
        batch = self.encoder.batch(questions, words, self.network.kinds, places)
        shares, order = self.network(batch).softmax(-1).sort(-1, descending=True)
        made = []
        for asked, parts, share, ranks in zip(questions, batch.seen, shares.tolist(), order.tolist(), strict=True):
            ranked = [(Choice(options[at]), min(1.0, each)) for at, each in zip(ranks, share, strict=True)]
            lacking = tuple(kind for kind in KINDS if kind in self.kinds and kind not in asked.kinds)
            first, sure = ranked[0] if parts else (None, 0.0)
            made.append(Prediction(first, sure, tuple(ranked[1:]) if parts else (), lacking=lacking))
        return made

    def forget(self) -> None:
        """Let go of the states of the questions that it has met."""
        self.encoder.forget()

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the network into `folder`; returns the facts that `load` needs to put it together again."""
        state = {name: each.detach().contiguous() for name, each in self.network.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        source = self.encoder.body.source
        facts = {
            "kind": "fused",
            "way": self.way,
            "options": list(self.options),
            "words": list(self.words),
            "kinds": list(self.kinds),
            "goes_by": list(self.network.kinds),
            "backbone": source.name,
            "checksum": source.checksum,
            "name": self.name,
        }
        weighed = {"weights": self.weights, "temperature": self.temperature} if self.weights else {}
        return facts | weighed


def load(folder: Path, facts: Mapping[str, Any], ears: Ears) -> Fused:
    """What `Fused.save` wrote.

    Raises:
        ModelError: a file is missing or damaged, or the backbone's weights are not those it was trained on.
    """
    body = catalog.backbone(facts["backbone"])
    if body.source.checksum != facts["checksum"]:
        raise ModelError(f"{folder}: was trained on other weights of {facts['backbone']} than the ones found here")
    try:
        encoder = Encoder(body, ears)
        network = _network(facts["way"], encoder, facts["goes_by"], len(facts["options"]))
        network.load_state_dict(load_file(folder / WEIGHTS))
        return Fused(
            facts["way"],
            network.requires_grad_(False),
            encoder,
            options=facts["options"],
            words=facts["words"],
            kinds=facts["kinds"],
            name=facts["name"],
        )
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as problem:
        told = " ".join(str(problem).split())
        raise ModelError(f"{folder}: not a whole model folder ({type(problem).__name__}: {told})") from problem


def _network(way: str, encoder: Encoder, kinds: Sequence[str], options: int) -> Chooser | Vote:
    widths = {kind: encoder.widths[kind] for kind in kinds}
    if way != "late":
        return Chooser(way, widths, options)
    return Vote({kind: Chooser(kind, {kind: width}, options) for kind, width in widths.items()})


# --- fitted


def fit_fused(
    way: str,
    task: Task[Any],
    examples: Sequence[Example[Any]],
    *,
    body: TextBackbone,
    ears: Ears = NONE,
    dev: Sequence[Example[Any]] = (),
    settings: Settings | None = None,
    seed: int = 0,
    encoder: Encoder | None = None,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> Fused:
    """Learn a choice from questions of several kinds of parts.

    Args:
        way: "early", "cross" or "late"; or "text", "audio" or "image", the same network on that kind alone.
        ears: recognizers; the embedded one of a kind that is not among them.
        dev: rows to stop early by and to weigh votes by; without, votes are weighed by cross-validation.
        encoder: one that keeps states, to share with other calls; `body` and `ears` are its own then.
        checkpoint: a folder to resume from after an interruption.

    Raises:
        DataError: there are no examples, one has no gold, or none has a part of the kind asked for.
        ModelError: no such way, or no recognizer for a kind.
    """
    if way not in (*WAYS, *KINDS):
        raise ModelError(unknown("way to fuse", way, (*WAYS, *KINDS)))
    if not examples or any(not each.golds for each in examples):
        raise DataError("an example to learn from has no gold" if examples else "there is no example to learn from")
    given = frozenset().union(*(each.question.kinds for each in examples))
    encoder = encoder or Encoder(body, ears_for(given, ears), keeps=True)
    examples, dev = (examples_with_words(each, encoder.ears) for each in (examples, dev))
    there = {kind_of(part) for each in examples for part in each.question.given}
    kinds = [kind for kind in KINDS if kind in (there if way in WAYS else there & {way})]
    if not kinds:
        raise DataError(f"no row to learn from has {way}")
    first = examples[0].question
    options = task.options or first.options
    words = replace(first, options=options, meanings=_meanings(task, options)).words_for_options
    learner = _Learner(encoder, options, words, settings or SETTINGS, seed, checkpoint, watch)
    encoder.states([part for each in (*examples, *dev) for part in each.question.given if kind_of(part) in kinds])
    network = learner.vote(kinds, examples, dev) if way == "late" else learner.chooser(way, kinds, examples, dev)
    learnt = [kind for kind in KINDS if kind in given and (way in WAYS or kind in kinds)]
    network.requires_grad_(False)
    return Fused(way, network, encoder, options=options, words=words, kinds=learnt)


def _meanings(task: Task[Any], options: Sequence[str]) -> tuple[str, ...]:
    return tuple(task.meanings.get(option, "") for option in options)


class _Learner:
    """Networks of one encoder and one set of options, trained one after the other."""

    def __init__(
        self,
        encoder: Encoder,
        options: Sequence[str],
        words: Sequence[str],
        settings: Settings,
        seed: int,
        checkpoint: Path | None,
        watch: Watch | None,
    ) -> None:
        self.encoder, self.options, self.words, self.settings = encoder, tuple(options), tuple(words), settings
        self.seed, self.checkpoint, self.watch = seed, checkpoint, watch

    def chooser(
        self,
        way: str,
        kinds: Sequence[str],
        examples: Sequence[Example[Any]],
        dev: Sequence[Example[Any]],
        part: str = "",
    ) -> Chooser:
        """One network, trained. `part` names its checkpoint, and what it is told as, among several."""
        torch.manual_seed(self.seed)
        network = _network(way, self.encoder, kinds, len(self.options))
        assert isinstance(network, Chooser)
        examples = [each for each in examples if self._goes(each.question, kinds)]
        if not examples:
            return network.eval()
        with part_of_run(part):
            descend(
                {f"head.{name}": each for name, each in network.named_parameters()},
                lambda step: self._loss(network, kinds, examples, step),
                steps=self.settings.steps(len(examples)),
                settings=self.settings,
                seed=self.seed,
                score=(lambda: self._score(network, kinds, dev)) if dev else None,
                checkpoint=self.checkpoint / part if self.checkpoint else None,
                watch=self.watch,
            )
        return network.eval()

    def vote(self, kinds: Sequence[str], examples: Sequence[Example[Any]], dev: Sequence[Example[Any]]) -> Vote:
        """Networks of single kinds, weighed by `dev` or by rows that each fold's networks have not seen."""
        made = Vote({kind: self.chooser(kind, [kind], examples, dev, kind) for kind in kinds})
        if dev:
            votes, wanted = [self._votes(made, kinds, dev)], self._wanted(dev)
        elif len(examples) < ENOUGH:
            return made
        else:
            votes, order = [], list[int]()
            for number, (learn, held) in enumerate(folds(examples, k=FOLDS, seed=self.seed)[0]):
                pool, name = [examples[at] for at in learn], f"fold-{number}"
                fold = Vote({kind: self.chooser(kind, [kind], pool, (), f"{name}-{kind}") for kind in kinds})
                votes.append(self._votes(fold, kinds, [examples[at] for at in held]))
                order += held
            wanted = self._wanted([examples[at] for at in order])
        made.weights.copy_(weighed(torch.cat(votes, 1), wanted))
        return made

    def _goes(self, question: Question, kinds: Sequence[str]) -> bool:
        return any(kind_of(part) in kinds for part in question.given)

    def _wanted(self, examples: Sequence[Example[Any]]) -> Tensor:
        return torch.tensor([self.options.index(each.golds[0].option) for each in examples])

    def _batch(self, examples: Sequence[Example[Any]], kinds: Sequence[str]) -> Batch:
        questions = [each.question for each in examples]
        return self.encoder.batch(questions, self.words, kinds, range(len(self.options)))

    @torch.no_grad()
    def _votes(self, vote: Vote, kinds: Sequence[str], examples: Sequence[Example[Any]]) -> Tensor:
        vote.eval()
        chunks = [examples[at : at + CHUNK] for at in range(0, len(examples), CHUNK)]
        return torch.cat([vote.votes(self._batch(chunk, kinds)) for chunk in chunks], 1)

    @torch.no_grad()
    def _score(self, network: nn.Module, kinds: Sequence[str], dev: Sequence[Example[Any]]) -> float:
        """Accuracy; of equal ones the surest."""
        network.eval()
        chunks = [dev[at : at + CHUNK] for at in range(0, len(dev), CHUNK)]
        logs = torch.cat([network(self._batch(chunk, kinds)).log_softmax(-1) for chunk in chunks])
        wanted = self._wanted(dev)
        right = (logs.argmax(-1) == wanted).float().mean()
        return float(right + 1e-3 * logs.gather(1, wanted[:, None]).mean())

    def _loss(
        self, network: nn.Module, kinds: Sequence[str], examples: Sequence[Example[Any]], step: int
    ) -> tuple[Tensor, int]:
        network.train()
        random = Random(f"{self.seed} {step}")
        chosen = [examples[at] for at in drawn(step, len(examples), self.settings, self.seed)]
        batch = self._batch([replace(each, question=_left(each.question, random)) for each in chosen], kinds)
        loss = nn.functional.cross_entropy(network(batch), self._wanted(chosen))
        return loss, sum(len(states) for parts in batch.seen for _, states in parts)


def _left(question: Question, random: Random) -> Question:
    """The question, in some without one of its kinds of parts (Neverova et al. 2016), nor what was heard of it where
    that is not all there is."""
    kinds = sorted({kind_of(part) for part in question.given})
    if len(kinds) < 2 or random.random() >= LEFT_OUT:
        return question
    gone = random.choice(kinds)
    left = [(part, before) for part, before in zip(question.given, ("", *question.given), strict=False)]
    left = [(part, before) for part, before in left if kind_of(part) != gone]
    own = [part for part, before in left if not (isinstance(part, Heard) and kind_of(before) == gone)]
    return replace(question, given=tuple(own or [part for part, _ in left]))
