"""audit: do a model's answers change where only a gender, a name or a dialect does, and does it serve groups alike?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from lowrung.core.answers import A, Prediction
from lowrung.core.edits import Edit
from lowrung.core.errors import DataError, LowrungError, unknown
from lowrung.core.model import Model
from lowrung.core.task import Counts, Example, Metric, Row, Task
from lowrung.data.dialects import DIALECT_EDITS
from lowrung.data.swaps import (
    Find,
    edited,
    first_names,
    gender_edits,
    gender_of_names,
    gender_reaches_all,
    name_edits,
    outside_mends,
)
from lowrung.metrics.pronoun import GENDER, WORDS
from lowrung.run.cells import answer_json
from lowrung.run.evaluate import Report, Score, finished, interval, percentiles, report_of, resampled, tabulate, units

SWAPS: Mapping[str, Find] = {
    "gender": lambda example, random: gender_edits(example, random, first_names()),
    "names": lambda example, random: name_edits(example, random, first_names()),
    **DIALECT_EDITS,
}
KINDS = ("gender", "names", "dialect")  # what a user names; «dialect» stands for all kinds of it
NAMES = "first names"  # the facet that is read off the text where rows say no gender
ORDER = {"stereotype": ("pro", "anti")}  # of a difference; otherwise two groups stand as they sort
LEAST = 8  # rows on either side; the bootstrap of fewer says much too often that there is a difference
FEW = 10  # rows of either side, for a facet that nobody asked for
MOST = 30  # groups of one facet; more are no groups, but ids


@dataclass(frozen=True, slots=True)
class Flip(Generic[A]):
    """A row whose answer is not the same after a swap.

    Args:
        row: its place among the rows, from 0.
        before, after: the example as it was, and swapped.
        changes: (old words, new words), in reading order.
        said, then: the answers to the two.
        due: what `then` would be, had it not flipped: `said`, moved along; None where the model had changed, or marked
            a part of, what the swap changes.
    """

    row: int
    before: Example[A]
    after: Example[A]
    changes: tuple[tuple[str, str], ...]
    said: Prediction[A]
    then: Prediction[A]
    due: A | None


@dataclass(frozen=True, slots=True)
class Effect(Generic[A]):
    """What one swap does.

    Args:
        rows: how many rows it changes.
        left_out: rows that a swap of genders would change by half only: they name people whose gender is not known.
        share: of the answers that flip, with Wilson's interval; None where `rows` is 0.
        before, after: the score of those rows that have a right answer, as they are and swapped.
        difference: after - before, with a paired bootstrap interval; these three are None without right answers.
    """

    swap: str
    rows: int
    left_out: int
    flips: tuple[Flip[A], ...]
    share: Score | None
    before: float | None = None
    after: float | None = None
    difference: Score | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one group and their score."""

    name: str
    rows: int
    score: Score


@dataclass(frozen=True, slots=True)
class Gap:
    """The groups that a facet tells apart, and the difference between `one` and `two`: the two groups there are, or of
    several the best and the worst, which makes it large by choice."""

    facet: str
    groups: tuple[Group, ...]
    one: str
    two: str
    difference: Score


@dataclass(frozen=True)
class Audit(Generic[A]):
    """What `audit` found; `score` is that of the rows that have a right answer, as they are, None where none has."""

    task: Task[A]
    model: str
    metric: Metric[A]
    rows: int
    labelled: int
    score: Score | None
    effects: tuple[Effect[A], ...]
    gaps: tuple[Gap, ...]

    def findings(self) -> list[str]:
        """A sentence for people on each difference of scores whose interval leaves out 0, of `LEAST` rows or more."""
        found, name = [], self.metric.name
        for effect in self.effects:
            if effect.difference and effect.rows >= LEAST and _off_zero(effect.difference):
                worse = (effect.difference.value < 0) == self.metric.higher_is_better
                side = "worse" if worse else "better"
                found.append(f"{effect.swap}: {name} is {side} where it is swapped, by {_told(effect.difference)}.")
        for gap in self.gaps:
            least = min(each.rows for each in gap.groups if each.name in (gap.one, gap.two))
            if least >= LEAST and _off_zero(gap.difference):
                sign = (gap.difference.value > 0) == self.metric.higher_is_better
                ahead, behind = (gap.one, gap.two) if sign else (gap.two, gap.one)
                found.append(f"{gap.facet}: {ahead} rows are served better than {behind}, by {_told(gap.difference)}.")
        return found

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON; a row is counted from 1, as an answer's number is."""
        return {
            "task": self.task.name,
            "model": self.model,
            "metric": self.metric.name,
            "rows": self.rows,
            "labelled": self.labelled,
            "score": _json(self.score),
            "swaps": [
                {
                    "swap": effect.swap,
                    "rows": effect.rows,
                    "left_out": effect.left_out,
                    "flips": len(effect.flips),
                    "share": _json(effect.share),
                    "before": effect.before,
                    "after": effect.after,
                    "difference": _json(effect.difference),
                    "flipped": [_flip_json(each) for each in effect.flips],
                }
                for effect in self.effects
            ],
            "gaps": [
                {
                    "facet": gap.facet,
                    "groups": [
                        {"name": group.name, "rows": group.rows, "score": _json(group.score)} for group in gap.groups
                    ],
                    "difference": {"of": gap.one, "minus": gap.two, **_json(gap.difference)},
                }
                for gap in self.gaps
            ],
            "findings": self.findings(),
        }


def audit(
    model: Model[A],
    task: Task[A],
    rows: Sequence[Row],
    *,
    swaps: Sequence[str] = KINDS,
    groups: Sequence[str] = (),
    seed: int = 0,
) -> Audit[A]:
    """Ask `model` about the rows as they are and with each of the swaps, and score each group of them.

    An answer flips where the answer to the swapped row is another than the one before, after that has been carried
    along: a candidate that was renamed is the same candidate, a span lies where its words lie now, a mended text is
    swapped too. The swaps change what the right answer should not depend on; where it does depend on it, a flip is no
    fault. Rows need no right answer for that. Scores, by the task's first metric, are of the rows that have one.

    Args:
        swaps: of `KINDS`, or one of its kinds by its own name in `SWAPS`.
        groups: columns of the rows that say which group a row belongs to, beside the task's own facets. Where no row
            says a gender, rows are told apart by their first names.
        seed: of the names that are drawn and of the bootstrap.

    Raises:
        LowrungError: an unknown swap. DataError: no rows, none with text, a column that no row has, or a row that
            `task` cannot read.
    """
    chosen = _chosen(swaps)
    for column in groups:
        if not any(row.get(column) is not None for row in rows):
            raise DataError(unknown("column", column, sorted({str(name) for row in rows for name in row})))
    facets = tuple(dict.fromkeys((*task.facets, *groups)))
    examples = [replace(task, facets=facets).example(row) for row in rows]
    if not any(each.question.text.strip() for each in examples):
        raise DataError(f"no row has a text to audit {task.name} on")
    labelled = [at for at, each in enumerate(examples) if each.golds]
    groups_of = _groups([examples[at] for at in labelled])
    said = model.answer([each.question for each in examples])
    report = _report(task, model, examples, said, labelled) if labelled else None
    effects = [_effect(model, task, examples, said, name, seed) for name in chosen]
    return Audit(
        task,
        model.name,
        task.metrics[0],
        len(rows),
        len(labelled),
        interval([report], task.metrics[0]) if report else None,
        tuple(effects),
        tuple(_gaps(report, groups_of, seed)) if report else (),
    )


def _chosen(swaps: Sequence[str]) -> list[str]:
    found = list[str]()
    for name in swaps:
        kinds = [each for each in SWAPS if each == name or each.startswith(f"{name}-")]
        if not kinds:
            raise LowrungError(unknown("swap", name, (*KINDS, *(each for each in SWAPS if each not in KINDS))))
        found += kinds
    return list(dict.fromkeys(found))


def _report(
    task: Task[A], model: Model[A], examples: Sequence[Example[A]], said: Sequence[Prediction[A]], at: Sequence[int]
) -> Report[A]:
    return report_of(task, model.name, [examples[each] for each in at], [said[each] for each in at])


def _effect(
    model: Model[A],
    task: Task[A],
    examples: Sequence[Example[A]],
    said: Sequence[Prediction[A]],
    name: str,
    seed: int,
) -> Effect[A]:
    found, left_out = list[tuple[int, list[Edit], Example[A]]](), 0
    for at, example in enumerate(examples):
        edits = outside_mends(example, SWAPS[name](example, Random(f"{seed} {name} {at}")))
        after = edited(example, edits)
        if after.question.given == example.question.given:
            continue
        if name == "gender" and not gender_reaches_all(example, first_names()):
            left_out += 1
            continue
        found.append((at, edits, after))
    if not found:
        return Effect(name, 0, left_out, (), None)
    answers = model.answer([after.question for _, _, after in found])
    flips, flipped = list[Flip[A]](), list[bool]()
    for (at, edits, after), then in zip(found, answers, strict=True):
        due = _moved(examples[at], edits, after, said[at])
        same = then.answer is None if said[at].answer is None else then.answer is not None and then.answer == due
        flipped.append(not same)
        if not same:
            flips.append(Flip(at, examples[at], after, _changes(examples[at], edits), said[at], then, due))
    share = wilson(flipped, units([examples[at] for at, _, _ in found]))
    scored = [number for number, (at, _, _) in enumerate(found) if examples[at].golds]
    if not scored:
        return Effect(name, len(found), left_out, tuple(flips), share)
    before = _report(task, model, examples, said, [found[number][0] for number in scored])
    after_all = _report(task, model, [each for _, _, each in found], answers, scored)
    metric = task.metrics[0]
    counts = after_all.counts(metric), before.counts(metric)
    gap = difference(metric, *counts, units(before.examples), seed=seed)
    values = before.value(metric), after_all.value(metric)
    return Effect(name, len(found), left_out, tuple(flips), share, *values, gap)


def _moved(example: Example[A], edits: Sequence[Edit], after: Example[A], said: Prediction[A]) -> A | None:
    """What was said of a row, as it reads in the swapped one; None where the swap changes what was marked or mended."""
    if said.answer is None:
        return None
    carried = edited(replace(example, golds=(*example.golds, said.answer)), edits)
    return carried.golds[-1] if carried.question.given == after.question.given else None


def _changes(example: Example[A], edits: Sequence[Edit]) -> tuple[tuple[str, str], ...]:
    text = example.question.whole
    found = ((text[each.start : each.end], each.text) for each in sorted(edits))
    return tuple((old, new) for old, new in found if old != new)


def _groups(examples: Sequence[Example[A]]) -> dict[str, list[str]]:
    """Facet → the group of each example, "" for none; DataError where a facet has too many."""
    facets = dict.fromkeys(name for each in examples for name, _ in each.facets)
    told: dict[str, list[str]] = {
        name: [_value(name, dict(each.facets).get(name, "")) for each in examples] for name in facets
    }
    if GENDER not in told:
        named = [gender_of_names(each, first_names()) for each in examples]
        if min(named.count(gender) for gender in ("feminine", "masculine")) >= FEW:
            told[NAMES] = named
    for facet, values in told.items():
        number = len(set(values) - {""})
        if number > MOST:
            raise DataError(f"column {facet!r} has {number} values; groups are at most {MOST}")
    return told


def _gaps(report: Report[A], groups: Mapping[str, Sequence[str]], seed: int) -> list[Gap]:
    found = []
    for facet, values in groups.items():
        names = sorted(set(values) - {""})
        if len(names) > 1:
            found.append(_gap(report, facet, {name: [value == name for value in values] for name in names}, seed))
    return found


def _value(facet: str, value: str) -> str:
    value = value.strip()
    return WORDS.get(value.casefold(), value) if facet == GENDER else value


def _gap(report: Report[A], facet: str, members: Mapping[str, Sequence[bool]], seed: int) -> Gap:
    metric, groups = report.task.metrics[0], []
    for name, mine in members.items():
        at = [number for number, inside in enumerate(mine) if inside]
        only = report_of(
            report.task, report.model, [report.examples[i] for i in at], [report.predictions[i] for i in at]
        )
        groups.append(Group(name, len(at), interval([only], metric)))
    sign = 1 if metric.higher_is_better else -1
    ranked = sorted(groups, key=lambda group: -sign * group.score.value)
    one, two = (groups[0].name, groups[1].name) if len(groups) == 2 else (ranked[0].name, ranked[-1].name)
    if {one, two} == set(ORDER.get(facet, ())):
        one, two = ORDER[facet]
    sides = [
        [counts if inside else None for counts, inside in zip(report.counts(metric), members[name], strict=True)]
        for name in (one, two)
    ]
    gap = difference(metric, sides[0], sides[1], units(report.examples), seed=seed)
    return Gap(facet, tuple(groups), one, two, gap)


def difference(
    metric: Metric[A],
    one: Sequence[Counts | None],
    two: Sequence[Counts | None],
    unit: NDArray[np.int64],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Score:
    """one - two, with a 95 % bootstrap interval that is paired as far as the two share units.

    Args:
        one, two: (N,) the events of each row on either side, None where a row is not on that side.
        unit: (N,) what is drawn together, as `units` numbers it. Units that lie on both sides are drawn for both at
            once, those of one side for themselves, so that no draw is without one of the sides.

    Where all draws say the same, as they do of two groups without a mistake, the interval is as wide as the share of
    rows that so many units may have missed (Clopper & Pearson 1934) can make it, for a score from 0 to 1.
    """
    events, tables = tabulate([[each or {} for each in side] for side in (one, two)], unit)  # (E, U) each
    random = np.random.default_rng(seed)
    on = np.stack([np.bincount(unit, [each is not None for each in side]) > 0 for side in (one, two)])  # (2, U)
    kinds = [np.flatnonzero((on[0] == left) & (on[1] == right)) for left, right in ((1, 1), (1, 0), (0, 1))]
    kinds = [each for each in kinds if len(each)]
    drawn = []
    for weights in zip(*(resampled(len(each), draws, random) for each in kinds), strict=True):
        sums = [
            sum(table[:, each] @ weight for each, weight in zip(kinds, weights, strict=True)) for table in tables
        ]  # (E, draws) each
        scores = [finished(metric, events, each) for each in sums]
        drawn.append(scores[0] - scores[1])
    totals = [finished(metric, events, np.asarray(table.sum(axis=1)).reshape(-1, 1))[0] for table in tables]
    value = float(totals[0] - totals[1])
    if not drawn:
        return Score(value, value, value)
    low, high = percentiles(np.concatenate(drawn), max(1, int(on.sum(axis=1).min())), 0.95)
    if low == high:
        unseen = [1 - 0.025 ** (1 / number) for number in on.sum(axis=1)]
        shift, reach = (value * unseen[0], unseen[0]) if on.all() else (0.0, float(np.hypot(*unseen)))
        low, high = max(-1.0, value - shift - reach), min(1.0, value - shift + reach)
    return Score(value, float(min(low, value)), float(max(high, value)))


def wilson(hits: Sequence[bool], unit: NDArray[np.int64], *, confidence: float = 0.95) -> Score:
    """The share of `hits` (N,) with Wilson's interval (1927).

    Rows of one unit are alike: N is divided by how much more the units vary than rows on their own would (Kish's
    design effect); where all rows agree, as if each unit were of equal rows.
    """
    from scipy.stats import norm

    total, share = len(hits), float(np.mean(hits))
    sizes, counts = np.bincount(unit), np.bincount(unit, weights=np.asarray(hits, dtype=float))
    effect = float((sizes**2).sum()) / total
    if 0 < share < 1 and 1 < len(sizes) < total:
        spread = len(sizes) / (len(sizes) - 1) * float(((counts - share * sizes) ** 2).sum()) / total**2
        effect = max(1.0, spread / (share * (1 - share) / total))
    rows, z = total / effect, float(norm.ppf(0.5 + confidence / 2))
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * float(np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2)))
    return Score(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def _off_zero(score: Score) -> bool:
    return score.low > 0 or score.high < 0


def _told(score: Score) -> str:
    low, high = sorted((abs(score.low), abs(score.high)))
    return f"{abs(score.value):.3f} ({low:.3f} to {high:.3f})"


def _json(score: Score | None) -> Any:
    return {"value": score.value, "low": score.low, "high": score.high} if score else None


def _flip_json(flip: Flip[Any]) -> dict[str, Any]:
    return {
        "row": flip.row + 1,
        "id": flip.before.id,
        "changes": [list(each) for each in flip.changes],
        "text": flip.before.question.whole,
        "swapped": flip.after.question.whole,
        "before": answer_json(flip.said.answer),
        "after": answer_json(flip.then.answer),
        "due": answer_json(flip.due),
    }
