"""Old rows and corrections → a candidate by the same recipe, set beside the incumbent; it takes over where it is shown
to be better on what was corrected and not shown to be worse on what was known."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lowrung.core.errors import DataError
from lowrung.core.task import Example, Row
from lowrung.data.splits import folds
from lowrung.models.tracked import run_of
from lowrung.run.compare import Comparison, compare
from lowrung.run.evaluate import report_of
from lowrung.run.fit import fit
from lowrung.run.methods import METHODS, usual
from lowrung.run.ship import Shipped, load
from lowrung.serving import versions
from lowrung.serving.hosting import version_of

FOLDS = 4
CONFIDENCE = 0.95
WORSE = 0.05  # of being no worse on old rows, below which the incumbent stays
LEAST = 4  # corrections: fewer cannot be held out from themselves

Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Refit:
    """What came of one.

    Args:
        incumbent, candidate: versions. promoted: whether the candidate took over. reason: why, or why not.
        new, old: candidate against incumbent on corrected rows and on old ones, None where there are none.
        corrections: how many were learnt from.
    """

    incumbent: str
    candidate: str
    promoted: bool
    reason: str
    corrections: int
    new: Comparison
    old: Comparison | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def refit(
    model: str | Path,
    corrections: Sequence[Row],
    *,
    rows: Sequence[Row] = (),
    recent: int = 1,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    dry: bool = False,
    watch: Watch | None = None,
) -> Refit:
    """Learn from `rows` and `corrections` together and let the better one answer.

    Both the incumbent's recipe on the old rows and the candidate's on old rows and corrections answer each row from a
    model that has not seen it (cross-validation), so that neither is measured on what it learnt. The candidate is
    promoted where it is better on the corrections with probability `confidence`, and not worse on old rows with
    probability 1 - `WORSE`. Corrections are rows that somebody found worth correcting: on them the incumbent does
    worse than on all that it is asked.

    Args:
        model: a shipped folder, or a study's.
        corrections: home rows with their right answers.
        rows: what the incumbent learnt from; of another set of rows the candidate would forget what it knew.
        recent: how often each correction is learnt from; an old row counts once.
        dry: promote nothing.

    Raises:
        DataError: too few corrections, or a row that the task cannot read.
        ModelError: `model` is no shipped folder.
    """
    incumbent = load(versions.place(model))
    before = versions.keep(model)
    if len(corrections) < LEAST:
        raise DataError(f"{len(corrections)} corrections are too few to learn from; {LEAST} are the least")
    task = incumbent.task.fitted_to([*rows, *corrections])
    old, new = [[_grouped(task.example(row)) for row in each] for each in (rows, corrections)]
    for number, each in enumerate((*old, *new), 1):
        if not each.golds:
            raise DataError(f"row {each.id or number} has no right answer; a refit needs one of each")
    method = str(incumbent.facts.get("method", ""))
    learns = method in METHODS and METHODS[method].learns
    method = method if learns else usual(task)
    recipe = {
        "method": method,
        "model": str(incumbent.facts.get("source", "")) if METHODS[method].body or task.media else "",
        "seed": seed,
    }
    steps = 2 * FOLDS + 1

    def learnt(chosen: Sequence[Row], what: str, done: int, out: Path | None = None) -> Shipped:
        if watch:
            watch(what, done, steps)
        part = f"refit-{done + 1}-of-{steps}"
        with run_of(task.name, method, len(chosen), seed, part=part):
            return fit(task, chosen, out=out, **recipe)  # type: ignore[arg-type]

    def weighted(chosen: Sequence[Row]) -> list[Row]:
        return [each for each in chosen for _ in range(recent)]

    said: dict[str, list[Any]] = {name: [None] * (len(old) + len(new)) for name in ("incumbent", "candidate")}
    everything: list[Row] = [*rows, *corrections]
    parts = folds((*old, *new), k=FOLDS, seed=seed)[0]
    for number, (kept, held) in enumerate(parts):
        known = [everything[at] for at in kept if at < len(old)]
        more = [everything[at] for at in kept if at >= len(old)]
        asked = [(*old, *new)[at].question for at in held]
        first = learnt(known, "the incumbent's recipe", 2 * number) if known and learns else incumbent
        second = learnt([*known, *weighted(more)], "the candidate", 2 * number + 1)
        for name, made in (("incumbent", first), ("candidate", second)):
            for at, prediction in zip(held, made.model.answer(asked), strict=True):
                said[name][at] = prediction
    compared = [
        _compared(task, part, *_side(said, begin, len(part)), confidence) for part, begin in ((new, len(old)), (old, 0))
    ]
    on_new, on_old = compared
    assert on_new is not None
    worse = on_old is not None and on_old.probability_better < WORSE
    better = on_new.better and not worse
    reason = _reason(on_new, on_old, worse)
    folder = versions.beside(model)
    folder.mkdir(parents=True, exist_ok=True)
    takes = better and not dry
    with tempfile.TemporaryDirectory(dir=folder, prefix=".candidate-") as scratch:
        made = learnt([*rows, *weighted(corrections)], "the candidate on all rows", 2 * FOLDS, Path(scratch) / "model")
        version = version_of(made)
        if takes and (there := versions.current(model)) != before:
            takes, reason = False, f"{reason} But {there} has taken the place of {before} meanwhile, and stays."
        result = Refit(before, version, takes, reason, len(new), on_new, on_old)
        told = json.dumps(result.to_json(), ensure_ascii=False, indent=1)
        (Path(scratch) / "model" / "refit.json").write_text(told + "\n", "utf-8")
        if not (folder / version).exists():
            shutil.move(str(Path(scratch) / "model"), folder / version)
    if takes:
        versions.promote(model, version, reason)
    else:
        versions.tell(model, **{"from": before, "kept": before, "candidate": version, "why": reason})
    return result


def _grouped(example: Example[Any]) -> Example[Any]:
    """With all that is asked alike on one side of each fold: what is held out was not learnt from."""
    text = example.question.whole
    return example if example.group or not text.strip() else replace(example, group=text)


def _side(said: dict[str, list[Any]], begin: int, number: int) -> tuple[list[Any], list[Any]]:
    return said["incumbent"][begin : begin + number], said["candidate"][begin : begin + number]


def _compared(
    task: Any, examples: Sequence[Example[Any]], one: list[Any], two: list[Any], confidence: float
) -> Comparison | None:
    if not examples:
        return None
    incumbent, candidate = report_of(task, "incumbent", examples, one), report_of(task, "candidate", examples, two)
    return compare(incumbent, candidate, confidence=confidence)


def _reason(new: Comparison, old: Comparison | None, worse: bool) -> str:
    told = f"on {new.rows} corrected rows {new.verdict()}"
    if old is not None:
        known = "worse" if worse else "not shown to be worse"
        told += f" On {old.rows} old rows {known}: {old.metric} {old.value_two:.3f} against {old.value_one:.3f}."
    return told
