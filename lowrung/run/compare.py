"""compare: is one model better than another? Paired, over rows and seeds, and careful with few of either."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import ceil, lcm, sqrt
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from lowrung.core.answers import A, Choice
from lowrung.core.task import Counts, Metric
from lowrung.run.evaluate import (
    CHUNK,
    Floats,
    Report,
    Score,
    finished,
    mean_of_seeds,
    percentiles,
    resampled,
    same_examples,
    tabulate,
    units,
)


@dataclass(frozen=True)
class Comparison:
    """Two models on the same examples.

    Args:
        one, two: their names.
        value_one, value_two: the metric, meaned over seeds.
        difference: two - one, turned so that positive says two is better, with its bootstrap interval.
        probability_better: in [0, 1], 0.5 where nothing tells them apart. Shipping two only from `confidence` on
            ships at most 1 - confidence of models that are no better (see `compare`).
        mcnemar_p: two-sided mid-p of McNemar's test; None unless answers are choices of one seed each, ungrouped.
        rows_needed: about how many more rows would bring `probability_better` to `confidence` if the difference
            stayed as it is; None where it is there already, or where two is not ahead.
        differing: the rows that one and two got right differently often.
    """

    metric: str
    one: str
    two: str
    value_one: float
    value_two: float
    difference: Score
    probability_better: float
    mcnemar_p: float | None
    rows: int
    rows_needed: int | None
    differing: tuple[int, ...]
    confidence: float = 0.95

    @property
    def better(self) -> bool:
        """Whether two is shown to be better: the gate for shipping it."""
        return self.probability_better >= self.confidence

    def verdict(self) -> str:
        """One sentence for people."""
        gap = self.difference
        numbers = (
            f"{self.metric} {self.value_two:.3f} against {self.value_one:.3f}, better by {gap.value:+.3f} "
            f"({gap.low:+.3f} to {gap.high:+.3f}), probability {told(self.probability_better)} over {self.rows} rows"
        )
        if self.better:
            return f"{self.two} is better than {self.one}: {numbers}."
        more = f" About {self.rows_needed} more rows would tell." if self.rows_needed else ""
        return f"{self.two} is not shown to be better than {self.one}: {numbers}.{more}"


def told(probability: float) -> str:
    """A probability for people: three digits, and never a certainty."""
    if 0.0005 <= probability <= 0.9995:
        return f"{probability:.3f}"
    return "> 0.999" if probability > 0.5 else "< 0.001"


def compare(
    one: Report[A] | Sequence[Report[A]],
    two: Report[A] | Sequence[Report[A]],
    metric: Metric[A] | None = None,
    *,
    confidence: float = 0.95,
    closer: bool = False,
    draws: int = 5000,
    seed: int = 0,
) -> Comparison:
    """Compare two models, one report a seed, by the task's first metric unless another is given.

    Rows are the unit, whole groups where there are groups; seeds of both are paired by index where there are as many,
    and meet in turn otherwise, so that a single untouched model meets every seed of the tuned one.

    The interval is a paired bootstrap over rows and seeds. The probability is not its share of draws: the bootstrap
    knows nothing of rows it has not seen, and ships a model on three lucky rows. It is the share of paired swaps
    (approximate randomization, Noreen 1989, Yeh 2000) that leave a smaller difference than the observed one, ties
    counting half. For right and wrong answers that is the mid-p of the exact sign test, alike to the posterior
    probability under a flat prior. Equal models pass 0.95 in at most 5 % of comparisons, from 8 rows on
    (tests/test_compare.py); below 30 rows, models of equal F1 that err in opposite ways, one missing spans and the
    other inventing them, pass in 6 to 7 %. Several seeds lower it by how much the seeds disagree (Student's t).

    `closer` looks closer where both sides know the probability that they gave to the right answers. Where two is
    ahead by the metric, `probability_better` comes from the same test on each row's «right, plus twice the probability
    given to the right answer» (`SHARE`). Rows that both got right, or both wrong, then have their say, and more of the
    better models are found from few rows: see benchmarks/gate.py, where the weight was chosen too.

    Raises:
        ValueError: there are no reports, or they differ in their examples.
    """
    ones, twos = _listed(one), _listed(two)
    if not ones or not twos:
        raise ValueError("a comparison needs a report on each side")
    reports = [*ones, *twos]
    same_examples(reports)
    metric = metric or reports[0].task.metrics[0]
    examples = reports[0].examples
    sides = _pairs(ones, twos, metric)
    random = np.random.default_rng(seed)

    value_one, value_two = (float(np.mean([each.value(metric) for each in side])) for side in (ones, twos))
    gap = (value_two - value_one) * sides.sign
    drawn = _bootstrap(sides, draws, random)
    low, high = percentiles(drawn, len(sides.differing), confidence)
    probability = _probability(sides, gap, draws, random)
    if closer and gap > 0 and all(each.shares for each in reports):
        worth = [np.add(each.right(), SHARE * np.array(each.shares)) for each in reports]  # (N,) each
        counts = [[{"worth": value, "rows": 1.0} for value in each] for each in worth]
        ahead = float(np.mean(worth[len(ones) :]) - np.mean(worth[: len(ones)]))
        probability = _probability(_paired(ones, twos, WORTH, counts), ahead, draws, random)

    rights = [np.mean([report.right() for report in side], axis=0) for side in (ones, twos)]
    differing = np.flatnonzero(rights[0] != rights[1])
    simple = len(reports) == 2 and reports[0].task.answer is Choice and not any(each.group for each in examples)
    return Comparison(
        metric=metric.name,
        one=ones[0].model,
        two=twos[0].model,
        value_one=value_one,
        value_two=value_two,
        difference=Score(gap, min(low, gap), max(high, gap)),
        probability_better=probability,
        mcnemar_p=_mcnemar(int((rights[1] > rights[0]).sum()), len(differing)) if simple else None,
        rows=len(examples),
        rows_needed=_rows_needed(len(examples), gap, probability, confidence),
        differing=tuple(int(at) for at in differing),
        confidence=confidence,
    )


SHARE = 2.0  # the weight of a probability beside right and wrong
WORTH: Metric[Any] = Metric("worth", lambda example, answer: {}, lambda counts: counts["worth"] / counts["rows"])


@dataclass(frozen=True)
class _Pairs(Generic[A]):
    """The counts of every report, sparse (E, U), one's seeds before two's, and which seed meets which."""

    metric: Metric[A]
    sign: float  # -1 where lower is better
    events: tuple[Hashable, ...]
    tables: list[Any]
    seeds: tuple[int, int]
    pairs: list[tuple[int, int]]
    differing: NDArray[np.intp]  # units whose counts differ anywhere


def _pairs(ones: Sequence[Report[A]], twos: Sequence[Report[A]], metric: Metric[A]) -> _Pairs[A]:
    return _paired(ones, twos, metric, [each.counts(metric) for each in (*ones, *twos)])


def _paired(
    ones: Sequence[Report[A]], twos: Sequence[Report[A]], metric: Metric[A], counted: Sequence[Sequence[Counts]]
) -> _Pairs[A]:
    events, tables = tabulate(counted, units(ones[0].examples))
    # as many seeds: by index; one against several: that one against each; else in turn, each equally often
    pairs = [(at % len(ones), len(ones) + at % len(twos)) for at in range(lcm(len(ones), len(twos)))]
    changed = sum(abs(tables[b] - tables[a]).sum(axis=0) for a, b in pairs)
    sign = 1.0 if metric.higher_is_better else -1.0
    return _Pairs(metric, sign, events, tables, (len(ones), len(twos)), pairs, np.flatnonzero(changed))


def _bootstrap(sides: _Pairs[A], draws: int, random: np.random.Generator) -> Floats:
    """two - one over rows and seeds drawn with replacement, (draws,)."""
    ones, twos = sides.seeds
    drawn = []
    for weights in resampled(sides.tables[0].shape[1], draws, random):
        scores = [finished(sides.metric, sides.events, table @ weights) for table in sides.tables]
        one, two = np.stack(scores[:ones], axis=1), np.stack(scores[ones:], axis=1)  # (draws, seeds)
        if ones == twos:
            drawn.append(mean_of_seeds(two - one, random))
        else:
            drawn.append(mean_of_seeds(two, random) - mean_of_seeds(one, random))
    return sides.sign * np.concatenate(drawn)


def _swapped(sides: _Pairs[A], draws: int, random: np.random.Generator) -> tuple[Floats, bool]:
    """two - one after the two trade their answers on some of the rows, and whether all ways to trade are in it.

    Every way comes with its opposite, so that compare(two, one) mirrors compare(one, two) and no sign is needed.
    """
    number = len(sides.differing)
    complete = number == 0 or 2**number <= draws
    total = 2 ** max(number - 1, 0) if complete else draws // 2
    parts = []
    for begin in range(0, total, CHUNK):
        width = min(CHUNK, total - begin)
        if complete:
            trade = (np.arange(begin, begin + width) >> np.arange(number)[:, None] & 1).astype(float)  # (U', draws)
        else:
            trade = random.integers(2, size=(number, width)).astype(float)
        gaps = np.zeros(width)
        for a, b in sides.pairs:
            one, two = sides.tables[a], sides.tables[b]
            moved = (two - one)[:, sides.differing] @ trade  # (E, draws)
            new_one = finished(sides.metric, sides.events, one.sum(axis=1)[:, None] + moved)
            gaps += finished(sides.metric, sides.events, two.sum(axis=1)[:, None] - moved) - new_one
        parts.append(gaps / len(sides.pairs))
    half = np.concatenate(parts)
    return np.concatenate([half, -half]), complete


def _probability(sides: _Pairs[A], gap: float, draws: int, random: np.random.Generator) -> float:
    """The mid-p that two is better; several seeds stretch its scale by how much they disagree."""
    from scipy.stats import norm, t

    gaps, complete = _swapped(sides, draws, random)
    if not complete:
        gaps = np.append(gaps, [gap, -gap])  # what was observed is one of the ways to trade (Phipson & Smyth 2010)
    tied = np.abs(gaps - gap) < 1e-9
    probability = float(np.mean((gaps < gap) & ~tied) + np.mean(tied) / 2)
    rows, (seeds, freedom) = float(np.var(gaps)), _seed_variance(sides)
    if not seeds or not rows:
        return probability
    # Welch & Satterthwaite: the rows' share is exact already, the seeds' rests on few of them
    return float(t.cdf(norm.ppf(probability) / sqrt(1 + seeds / rows), (rows + seeds) ** 2 * freedom / seeds**2))


def _seed_variance(sides: _Pairs[A]) -> tuple[float, int]:
    """The variance that seeds bring to the mean difference, and its degrees of freedom; (0, 0) without seeds."""
    values = [float(finished(sides.metric, sides.events, table.sum(axis=1)[:, None])[0]) for table in sides.tables]
    one, two = np.array(values[: sides.seeds[0]]), np.array(values[sides.seeds[0] :])
    parts = [two - one] if len(one) == len(two) else [one, two]
    several = [part for part in parts if len(part) > 1]
    return float(sum(part.var(ddof=1) / len(part) for part in several)), min(
        (len(part) - 1 for part in several), default=0
    )


def _rows_needed(rows: int, gap: float, probability: float, confidence: float) -> int | None:
    """How many more rows, as the distance from even odds, in standard errors, grows with the root of their number."""
    from scipy.stats import norm

    if gap <= 0 or not 0.5 < probability < confidence:  # at even odds no number of rows would tell
        return None
    factor = float(norm.ppf(confidence) / norm.ppf(probability)) ** 2
    return max(1, ceil(rows * factor) - rows)


def _mcnemar(gains: int, differing: int) -> float:
    """Two-sided mid-p (Fagerland, Lydersen & Laake 2013)."""
    from scipy.stats import binom

    fewer = min(gains, differing - gains)
    one_sided = binom.cdf(fewer, differing, 0.5) - binom.pmf(fewer, differing, 0.5) / 2
    return float(min(1.0, 2 * one_sided))


def _listed(reports: Report[A] | Sequence[Report[A]]) -> list[Report[A]]:
    return [reports] if isinstance(reports, Report) else list(reports)
