"""evaluate: what a model did on examples, as a report, and how sure its scores are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lowrung.core.answers import A, Prediction
from lowrung.core.model import Model
from lowrung.core.task import Counts, Example, Metric, Task
from lowrung.metrics import counting

Floats: TypeAlias = NDArray[np.float64]
CHUNK = 500  # draws at once: 3,000 rows x 500 draws are 12 MB of weights


@dataclass(frozen=True, slots=True)
class Score:
    """A value and its interval, low <= high, at 95 % unless another confidence was asked for."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Report(Generic[A]):
    """What a model did on examples; `report_of` and `evaluate` make one.

    Args:
        examples: (N,), each with a gold, or with checks.
        predictions: (N,), in the same order.
        seconds: how long answering took.
        shares: (N,) the probability given to the right answers, or () where that is not known; see run.shares.
    """

    task: Task[A]
    model: str
    examples: tuple[Example[A], ...]
    predictions: tuple[Prediction[A], ...]
    seconds: float = 0.0
    shares: tuple[float, ...] = ()
    _counted: dict[Callable[..., Counts], list[Counts]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def counts(self, metric: Metric[A]) -> list[Counts]:
        """The events of each example (N,); metrics that count alike share one pass over the examples."""
        if metric.count not in self._counted:
            rows = zip(self.examples, self.predictions, strict=True)
            self._counted[metric.count] = [
                metric.count(each, said if metric.ranks else said.answer) for each, said in rows
            ]
        return self._counted[metric.count]

    def value(self, metric: Metric[A]) -> float:
        return float(metric.finish(counting.total(self.counts(metric))))

    def right(self) -> tuple[bool, ...]:
        """Whether each answer counts as a gold of its example does, or without one has a full score.

        No answer is never right.
        """
        count, finish = self.task.metrics[0].count, self.task.metrics[0].finish
        found = zip(self.examples, self.predictions, self.counts(self.task.metrics[0]), strict=True)
        return tuple(
            said.answer is not None
            and (
                any(said.answer == gold or got == count(each, gold) for gold in each.golds)
                if each.golds
                else finish(got) == 1.0
            )
            for each, said, got in found
        )

    def per_label(self) -> dict[str, dict[str, float]]:
        """label → precision, recall, f1, support; empty where answers have no labels."""
        return counting.per_label(counting.total(self.counts(self.task.metrics[0])))

    def mistakes(self, n: int) -> list[tuple[int, Example[A], Prediction[A]]]:
        """The `n` wrong answers given with most confidence, as (index, example, prediction)."""
        rows = zip(self.examples, self.predictions, self.right(), strict=True)
        wrong = [
            (at, each, said) for at, (each, said, right) in enumerate(rows) if not right and said.answer is not None
        ]
        return sorted(wrong, key=lambda row: (-row[2].confidence, row[0]))[:n]

    @property
    def unanswered(self) -> int:
        return sum(said.answer is None for said in self.predictions)

    @property
    def lacking(self) -> dict[str, int]:
        """kind of part that the model learnt from → how many of the questions lack it."""
        return dict(Counter(kind for said in self.predictions for kind in said.lacking))

    def to_json(self) -> dict[str, Any]:
        """Task, model, number of rows, every metric with its 95 % interval, and the table of labels."""
        told = (metric for metric in self.task.metrics if metric.tells(self.examples))
        scores = {metric.name: interval([self], metric) for metric in told}
        return {
            "task": self.task.name,
            "model": self.model,
            "rows": len(self.examples),
            "unanswered": self.unanswered,
            "lacking": self.lacking,
            "seconds": round(self.seconds, 3),
            "scores": {name: {"value": s.value, "low": s.low, "high": s.high} for name, s in scores.items()},
            "labels": self.per_label(),
        }


def report_of(
    task: Task[A],
    name: str,
    examples: Sequence[Example[A]],
    predictions: Sequence[Prediction[A]],
    seconds: float = 0.0,
) -> Report[A]:
    """The report of predictions that are already there.

    Raises:
        ValueError: there are no examples, not as many predictions, or an example has no gold.
    """
    if not examples:
        raise ValueError(f"{name}: no examples to evaluate on")
    if len(predictions) != len(examples):
        raise ValueError(f"{name}: {len(predictions)} predictions for {len(examples)} examples")
    bare = next((at for at, each in enumerate(examples) if not each.judged), None)
    if bare is not None:
        raise ValueError(f"{name}: example {bare} has no right answer to compare with")
    return Report(task, name, tuple(examples), tuple(predictions), seconds)


def evaluate(task: Task[A], model: Model[A], examples: Sequence[Example[A]]) -> Report[A]:
    """Ask `model` all the questions and report; raises ValueError as `report_of` does."""
    begun = time.perf_counter()
    predictions = model.answer([each.question for each in examples])
    return report_of(task, model.name, examples, predictions, time.perf_counter() - begun)


def interval(
    reports: Sequence[Report[A]], metric: Metric[A], *, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> Score:
    """The mean of a metric over seeds (one report each), with a bootstrap interval.

    A draw takes rows with replacement, the same for all seeds, and seeds with replacement. Examples of one group are
    drawn together. The percentiles are widened for few rows (Hesterberg 2015, «expanded percentile»); where every
    draw says 0 or every draw says 1, the open end is the exact binomial bound. Two or three seeds understate how
    much seeds vary.

    Raises:
        ValueError: there are no reports, or they differ in their examples.
    """
    same_examples(reports)
    unit = units(reports[0].examples)
    number = int(unit.max()) + 1
    events, tables = tabulate([each.counts(metric) for each in reports], unit)
    random = np.random.default_rng(seed)
    drawn = []
    for weights in resampled(number, draws, random):
        per_seed = np.stack([finished(metric, events, table @ weights) for table in tables], axis=1)  # (draws, S)
        drawn.append(mean_of_seeds(per_seed, random))
    value = float(np.mean([report.value(metric) for report in reports]))
    low, high = percentiles(np.concatenate(drawn), number, confidence)
    if low == high == value and value in (0.0, 1.0):
        unseen = 1 - ((1 - confidence) / 2) ** (1 / number)  # Clopper & Pearson (1934) for 0 of `number`
        low, high = (0.0, unseen) if value == 0.0 else (1 - unseen, 1.0)
    return Score(value, min(low, value), max(high, value))


def same_examples(reports: Sequence[Report[A]]) -> None:
    """Raises ValueError unless there is a report and all are about the same examples in the same order."""
    if not reports:
        raise ValueError("no reports to work on")
    first = reports[0].examples
    for report in reports[1:]:
        # sounds and pictures have no equality, so that examples are told by what names them, their texts and golds
        if len(report.examples) != len(first) or any(
            one is not two and _told_apart_by(one) != _told_apart_by(two)
            for one, two in zip(first, report.examples, strict=True)
        ):
            raise ValueError(f"{reports[0].model} and {report.model} were evaluated on different examples")


def _told_apart_by(example: Example[Any]) -> tuple[object, ...]:
    asked = example.question
    named = tuple(part if isinstance(part, str) else part.key for part in asked.given)
    return named, asked.marks, example.golds, example.id, example.group


def units(examples: Sequence[Example[A]]) -> NDArray[np.int64]:
    """What is drawn together: the number of each example's group, (N,); an example without group stands alone."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(each.group or at, len(numbers)) for at, each in enumerate(examples)])


def tabulate(counted: Sequence[Sequence[Counts]], unit: NDArray[np.int64]) -> tuple[tuple[Hashable, ...], list[Any]]:
    """The events of all reports (E,), and for each report how often each happened in each unit, sparse (E, U)."""
    from scipy.sparse import csr_array

    columns: dict[Hashable, int] = {}
    found = []
    for report in counted:
        triples = [
            (number, columns.setdefault(event, len(columns)), at)
            for at, counts in zip(unit, report, strict=True)
            for event, number in counts.items()
        ]
        found.append(np.array(triples, dtype=float).reshape(-1, 3))
    shape = (len(columns), int(unit.max()) + 1)
    tables = [csr_array((each[:, 0], (each[:, 1].astype(int), each[:, 2].astype(int))), shape=shape) for each in found]
    return tuple(columns), tables


def finished(metric: Metric[A], events: Sequence[Hashable], sums: Floats) -> Floats:
    """The score of each draw (draws,) from the sums of events (E, draws)."""
    scores = metric.finish(dict(zip(events, sums, strict=True)))
    return np.broadcast_to(np.asarray(scores, dtype=float), sums.shape[1:])


def resampled(number: int, draws: int, random: np.random.Generator) -> Iterator[Floats]:
    """How often each of `number` units is drawn with replacement, (number, draws), a chunk of draws at a time."""
    for begin in range(0, draws, CHUNK):
        width = min(CHUNK, draws - begin)
        picked = random.integers(number, size=(number, width)) * width + np.arange(width)
        yield np.bincount(picked.ravel(), minlength=number * width).reshape(number, width).astype(float)


def mean_of_seeds(scores: Floats, random: np.random.Generator) -> Floats:
    """The mean over seeds drawn with replacement: (draws, S) -> (draws,)."""
    picked = random.integers(scores.shape[1], size=scores.shape)
    return np.asarray(np.take_along_axis(scores, picked, axis=1).mean(axis=1), dtype=float)


def percentiles(drawn: Floats, number: int, confidence: float) -> tuple[float, float]:
    """The interval that holds `confidence` of the draws, widened as Student's t asks for `number` units."""
    from scipy.stats import norm, t

    tail = (1 - confidence) / 2
    if number > 1:
        tail = float(norm.cdf(t.ppf(tail, number - 1) * np.sqrt(number / (number - 1))))
    else:
        tail = 0.0
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
