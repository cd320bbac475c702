"""Choices without labels from a task in words: several formats tried, chosen and calibrated on unlabelled rows.

A body that makes vectors holds a text against each option, worded by the format; a model that writes says how probable
the option is after the text. What follows is the same for both: scores (N, K) of N rows and K options a format, made
probabilities by `clusters` or `mixture`, and told apart by `criteria`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lowrung.core.answers import Choice, Prediction
from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.data.describing import Description, Format, wordings
from lowrung.models.batch import mean_pool
from lowrung.models.heads import SCALE, Rank
from lowrung.models.probe import fit_rank

# Chosen on train rows of trec, sst2, sms_spam, banking77, tnews and dialogue openings.
LEAST = 32  # rows; fewer say too little of the whole to calibrate by, as do fewer than 3 an option
MOST = 300  # rows; more change little
PULL = 0.5  # of the names, in rows: this share of N / K
SHARPNESS, ROUNDS = 20.0, 10
TOP = 3  # formats, by what they do untaught, that cross-validation chooses among
TEMPERATURE = 4.0  # of what comes out, whose confidences are too high by so much
SMOOTHING = 0.02  # of the shares of the options: so many rows as all are, spread over the options
CONTENT_FREE = ("", "N/A", "[MASK]")  # Zhao et al. 2021


@dataclass(frozen=True, slots=True)
class Tried:
    """One format on the unlabelled rows.

    Args:
        agreement: the share of rows where its answer is the one of all formats together.
        information: between format and answer, in nats (Sorensen et al. 2022).
        probability: the mean log-probability of its answers.
        shares: of rows that get each option.
        chosen: whether it answers, alone or with the others that are.
    """

    kind: str
    text: str
    option: str
    language: str
    agreement: float
    information: float
    probability: float
    shares: tuple[float, ...]
    chosen: bool


@dataclass(frozen=True)
class Wording:
    """What unlabelled rows say of how to word a task for a body that makes vectors.

    Shape:
        names: (K, D), of length one; each: (M, K, D), likewise, one a format · weight: (K, D) · bias: (K,)

    Args:
        names: of the options, worded by the formats that are chosen.
        each: of the options by each format, for labels to choose among.
        weight, bias: of the logits from a text's vector; None where rows were too few to calibrate by.
        rows: how many there were.
        text: the template that texts stand in.
    """

    description: Description
    options: tuple[str, ...]
    names: Tensor
    each: Tensor
    tried: tuple[Tried, ...]
    rows: int
    weight: Tensor | None = None
    bias: Tensor | None = None
    text: str = "{text}"

    def head(self, pooling: str) -> Rank:
        """The head that answers without labels."""
        head = Rank(self.options, self.names, pooling=pooling)
        if self.weight is not None and self.bias is not None:
            with torch.no_grad():
                head.shift.copy_(self.weight / SCALE - self.names)
                head.bias.copy_(self.bias)
                head.temperature.fill_(TEMPERATURE)
        return head.eval()

    def to_json(self) -> dict[str, Any]:
        """As folders and reports keep it."""
        return _told(self)


@torch.no_grad()
def worded(
    body: Any,
    options: Sequence[str],
    meanings: Sequence[str],
    description: Description,
    formats: Sequence[Format],
    questions: Sequence[Question],
) -> Wording:
    """How to word a task for `body`, a models.text.TextBackbone.

    The vectors of an option by all formats, its name and its meaning are averaged: on train rows of seven sets no
    single format chosen by a criterion did better than all together.

    Args:
        meanings: as many as options, "" where none is told. questions: N unlabelled ones, of which `MOST` are read.
    """
    called = [wordings(option, meaning) for option, meaning in zip(options, meanings, strict=True)]
    each = torch.stack([_vectors(body, called, description.task, found) for found in formats])  # (M, K, D)
    names = F.normalize(each.sum(0), dim=-1)
    asked = [at_format(question, formats[0].text, description.task) for question in spread(questions, MOST)]
    features = vectors(body, asked)
    enough = len(asked) >= max(LEAST, 3 * len(options))
    fits = [clusters(features, own) if enough else (SCALE * own, torch.zeros(len(own))) for own in (*each, names)]
    cooled = TEMPERATURE if enough else 1.0
    shares = [((features @ weight.T + bias) / cooled).softmax(-1) for weight, bias in fits]
    tried = told(formats, shares[:-1], shares[-1], range(len(formats)))
    weight, bias = fits[-1] if enough else (None, None)
    text = formats[0].text
    return Wording(description, tuple(options), names, each, tried, len(asked), weight, bias, text)


def vectors(body: Any, questions: Sequence[Question]) -> Tensor:
    """What a Rank head on the whole body sees of each question.  -> (N, D), of length one"""
    made = torch.zeros(len(questions), body.width)
    for places, batch in body.batches(questions):
        hidden = batch.stitched(body.taps(batch, (body.depth,)))
        pooled = hidden[:, 0] if body.pooling == "first" else mean_pool(hidden, batch.mask)
        made[places] = F.normalize(pooled.float(), dim=-1)
    return made


def _vectors(body: Any, called: Sequence[Sequence[str]], task: str, found: Format) -> Tensor:
    """The vectors of options that each have one wording or several.  -> (K, D), of length one"""
    flat = body.embed([found.said(words, task) for own in called for words in own]).split([len(own) for own in called])
    return F.normalize(torch.stack([own.mean(0) for own in flat]).float(), dim=-1)


def at_format(question: Question, template: str, task: str) -> Question:
    """The question with its first text in the template."""
    if template == "{text}":
        return question
    made = Format("", template, "").asked(question.text, task, question.options)
    places = [at for at, part in enumerate(question.given) if isinstance(part, str)][:1]
    given = tuple(made if at in places else part for at, part in enumerate(question.given))
    return Question(given, question.instruction, question.options, question.meanings)


def spread(questions: Sequence[Question], most: int) -> list[Question]:
    """At most `most` of them, evenly over the whole."""
    step = max(1.0, len(questions) / most)
    return [questions[int(at * step)] for at in range(min(most, len(questions)))]


def clusters(features: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of options for rows like these, (N, D) and names (K, D) -> weight (K, D), bias (K,).

    Rows are shared out among the options by expectation and maximisation, from the names on: the vector of an option
    is the mean of its rows, pulled to its name, and what all options have in common is taken off, which is batch
    calibration (Zhou et al. 2023) by options instead of rows, so that a rare option does not move the middle. Then
    `mixture` says where one option ends and the next begins.
    """
    number, options = len(features), len(names)
    words = F.normalize(names - names.mean(0), dim=-1)
    pull = PULL * number / options
    middle, weight, bias = features.mean(0), words, torch.zeros(options)
    for round_ in range(ROUNDS + 1):
        moved = features - middle
        scale = SHARPNESS / moved.norm(dim=1).mean().clamp(min=1e-6)
        scores = scale * moved @ weight.T + bias
        if round_ == ROUNDS:
            break
        share = scores.softmax(-1)
        rows = share.sum(0)
        middle = ((pull * middle + share.T @ features) / (pull + rows)[:, None]).mean(0)
        moved = features - middle
        moved = moved / moved.norm(dim=1).mean().clamp(min=1e-6)
        weight = F.normalize(pull * words + share.T @ moved, dim=-1)
        bias = ((rows + number / options) / (2 * number)).log()
    turn, offset = mixture(scores)
    return turn @ (scale * weight), turn @ (bias - scale * weight @ middle) + offset


def mixture(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Calibration without labels, (N, K) -> turn (K, K), offset (K,): scores @ turn.T + offset are logits.

    A mixture of Gaussians in the space of scores, one an option, with one variance and shares of their own
    (prototypical calibration: Han et al. 2023), so that options need not be equally common.
    """
    number, options = scores.shape
    middle = scores.mean(0)
    seen = scores - middle
    seen = seen - seen.mean(1, keepdim=True)
    share = (2 * seen / seen.std().clamp(min=1e-6)).softmax(-1)
    for _ in range(4 * ROUNDS):
        rows = share.sum(0) + 1e-9
        means = share.T @ seen / rows[:, None]
        apart = torch.cdist(seen, means).square()
        variance = ((share * apart).sum() / number / max(options - 1, 1)).clamp(min=1e-9)
        prior = ((rows + SMOOTHING * number / options) / (number * (1 + SMOOTHING))).log()
        share = (prior - apart / (2 * variance)).softmax(-1)
    turn = means / variance
    return turn, prior - means.square().sum(1) / (2 * variance) - turn @ middle


def chosen_again(head: Rank, wording: Wording, features: Tensor, golds: Sequence[str], *, seed: int) -> Rank:
    """The head to start from where there are labels: of all formats together and the best single ones, that whose head
    cross-validation likes best.

    Args:
        features: (N, D) of N rows with `golds`.
    """
    options = head.options
    places = torch.tensor([options.index(gold) for gold in golds])
    right = [float(((features @ names.T).argmax(1) == places).float().mean()) for names in wording.each]
    best = sorted(range(len(right)), key=lambda at: -right[at])[: TOP if len(right) > 1 else 0]
    tried = []
    for names in (wording.names, *(wording.each[at] for at in best)):
        made = Rank(options, names, pooling=head.pooling)
        tried.append((fit_rank(made, features, golds, seed=seed), names))
    names = max(tried, key=lambda pair: pair[0])[1]  # the first of equals: all together
    return Rank(options, names, pooling=head.pooling).eval()


def told(
    formats: Sequence[Format], shares: Sequence[Tensor], whole: Tensor, chosen: Sequence[int]
) -> tuple[Tried, ...]:
    """Each format by the criteria that need no label; `shares` (N, K) one a format, `whole` of all together."""
    found = []
    for at, (each, share) in enumerate(zip(formats, shares, strict=True)):
        agreement, information, probability = criteria(share, whole)
        often = share.argmax(1).bincount(minlength=share.shape[1]) / max(1, len(share))
        named = (each.kind, each.text, each.option, each.language)
        rounded = tuple(round(value, 4) for value in often.tolist())
        found.append(Tried(*named, agreement, information, probability, rounded, at in chosen))
    return tuple(found)


def criteria(share: Tensor, whole: Tensor) -> tuple[float, float, float]:
    """(agreement with the answers of all formats, mutual information in nats, mean log-probability); 0 of no rows."""
    if not len(share):
        return 0.0, 0.0, 0.0
    agreement = float((share.argmax(1) == whole.argmax(1)).float().mean())
    information = float(_entropy(share.mean(0)) - _entropy(share).mean())
    return round(agreement, 4), round(information, 4), round(float(share.max(1).values.log().mean()), 4)


def _entropy(share: Tensor) -> Tensor:
    return -(share * share.clamp(min=1e-12).log()).sum(-1)


class OptionScorer(Protocol):
    """A model that writes, as far as choices need it: models.writer.TextWriter is one."""

    def option_scores(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]]
    ) -> Sequence[Sequence[tuple[float, int]]]:
        """For each prompt and each of its options, the log-probability and the number of pieces."""
        ...

    def save(self, folder: Path) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Scored:
    """A Model of Choices by a model that writes: how probable each option is after the text in a format.

    Options are told apart by their log-probability a piece, less what it is after prompts without content (contextual
    calibration: Zhao et al. 2021), and where there were rows enough by `mixture`.

    Args:
        words: what each option is called. empty: (K,) scores after prompts without content. turn, offset: of `mixture`.
        rows: that it was calibrated on. tried: the formats there were.
    """

    scorer: OptionScorer
    options: tuple[str, ...]
    words: tuple[str, ...]
    task: str
    format: Format
    empty: Tensor
    turn: Tensor
    offset: Tensor
    rows: int = 0
    calibrated: bool = False
    tried: tuple[Tried, ...] = ()
    name: str = "zero-shot"

    @property
    def source(self) -> Any:
        return getattr(self.scorer, "source", None)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Choice]]:
        """One prediction a question, with all options, best first."""
        made = []
        for share in self.shares([question.whole for question in questions]).tolist():
            ranked = sorted(zip(map(Choice, self.options), share, strict=True), key=lambda pair: -pair[1])
            made.append(Prediction(ranked[0][0], min(1.0, ranked[0][1]), tuple(ranked[1:])))
        return made

    def shares(self, texts: Sequence[str]) -> Tensor:
        """-> (N, K)"""
        return ((self.raw(texts) - self.empty) @ self.turn.T + self.offset).softmax(-1)

    def raw(self, texts: Sequence[str]) -> Tensor:
        """Log-probability a piece.  -> (N, K)"""
        before, _, after = self.format.option.partition("{option}")
        left = Format("", f"{self.format.text}\n{before}".rstrip(), "")
        gap = " " if before[-1:].isspace() or not before else ""
        ending = Format("", "", f"{{option}}{after}")
        said = [f"{gap}{ending.said(words, self.task)}" for words in self.words]
        prompts = [left.asked(text, self.task, self.words) for text in texts]
        found = self.scorer.option_scores(prompts, [said] * len(prompts)) if prompts else []
        scores = [[log / max(1, pieces) for log, pieces in row] for row in found]
        return torch.tensor(scores, dtype=torch.float32).view(-1, len(self.options))

    def to_json(self) -> dict[str, Any]:
        """As folders and reports keep it."""
        return _told(self)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the scorer's files; returns the facts that `described_again` needs besides."""
        numbers = {name: getattr(self, name).tolist() for name in ("empty", "turn", "offset")}
        words = {"options": list(self.options), "words": list(self.words), "task": self.task}
        inner = self.scorer.save(folder)
        return {"kind": KIND, "name": self.name, **words, **numbers, "format": asdict(self.format), "inner": inner}


KIND, FRAMED = "scored", "framed"


def described_again(facts: Mapping[str, Any], inner: Any) -> Scored | Framed:
    """What `Scored.save` and `Framed.facts` told of, around the inner model that was loaded.

    Raises:
        ModelError: something is missing or damaged.
    """
    try:
        if facts["kind"] == FRAMED:
            return Framed(inner, facts["text"], facts["task"])
        empty, turn, offset = (torch.tensor(facts[name]) for name in ("empty", "turn", "offset"))
        named = tuple(facts["options"]), tuple(facts["words"]), facts["task"], Format(**facts["format"])
        return Scored(inner, *named, empty, turn, offset, name=facts["name"])
    except (KeyError, TypeError, ValueError) as problem:
        raise ModelError(f"what is said of a format is damaged: {problem!r}") from problem


def scored(
    scorer: OptionScorer,
    options: Sequence[str],
    meanings: Sequence[str],
    description: Description,
    formats: Sequence[Format],
    questions: Sequence[Question] = (),
) -> Scored:
    """A task for a model that writes, in that of the formats whose answers tell most of the row (mutual information);
    the arguments are those of `worded`."""
    words = tuple(wordings(option, meaning)[-1] for option, meaning in zip(options, meanings, strict=True))
    texts = [each.whole for each in spread(questions, MOST)]
    enough = len(texts) >= max(LEAST, 3 * len(options))
    fits, shares = [], []
    for each in formats:
        nothing, turn = torch.zeros(len(options)), torch.eye(len(options))
        made = Scored(scorer, tuple(options), words, description.task, each, nothing, turn, nothing)
        made = replace(made, empty=made.raw(CONTENT_FREE).mean(0))
        scores = made.raw(texts) - made.empty
        if enough:
            turn, offset = mixture(scores)
            made = replace(made, turn=turn / TEMPERATURE, offset=offset / TEMPERATURE)
        fits.append(made)
        shares.append((scores @ made.turn.T + made.offset).softmax(-1))
    mean = torch.stack(shares).mean(0)
    best = max(range(len(fits)), key=lambda at: criteria(shares[at], mean)[1])
    tried = told(formats, shares, mean, (best,))
    return replace(fits[best], rows=len(texts), calibrated=enough, tried=tried)


def _told(made: Wording | Scored) -> dict[str, Any]:
    task = made.description.task if isinstance(made, Wording) else made.task
    calibrated = made.weight is not None if isinstance(made, Wording) else made.calibrated
    head = {"task": task, "rows": made.rows, "calibrated": calibrated, "options": list(made.options)}
    return {**head, "tried": [asdict(each) for each in made.tried]}


@dataclass(frozen=True)
class Framed:
    """A Model whose questions stand in a template before the inner one is asked."""

    inner: Any
    text: str
    task: str

    @property
    def name(self) -> str:
        return str(self.inner.name)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        found: list[Prediction[Any]] = self.inner.answer([at_format(each, self.text, self.task) for each in questions])
        return found

    def quicken(self, precision: str = "exact") -> None:
        self.inner.quicken(precision)

    def facts(self, inner: dict[str, Any]) -> dict[str, Any]:
        """What a folder says of it beside its inner model."""
        return {"kind": FRAMED, "text": self.text, "task": self.task, "inner": inner}
