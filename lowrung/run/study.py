"""study, the main job: the ways to do a task at several numbers of labels, on the same draws, with intervals;
where to switch; whether the winner may ship."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from lowrung.core.answers import A, Choice, Text
from lowrung.core.errors import DataError, LowrungError
from lowrung.core.model import Model
from lowrung.core.parts import Part
from lowrung.core.task import Example, Row, Task
from lowrung.data.describing import Description
from lowrung.data.files import atomic
from lowrung.data.splits import folds, keys
from lowrung.run.augmenting import Tried, checked, rows_of, vetted
from lowrung.run.cells import Bench, Cell, Plan, Store, Watch, answer_json
from lowrung.run.compare import Comparison, compare, told
from lowrung.run.describing import described_for, described_task
from lowrung.run.evaluate import Report, Score, interval
from lowrung.run.methods import Method, foundation, hears_words, kinds_of, methods_for, settled
from lowrung.run.named import Named, named
from lowrung.run.pictures import kept, part_of, samples
from lowrung.run.reference import Reference, reference_of
from lowrung.run.ship import fingerprint, now, ship, vacant, versions
from lowrung.run.silver import gold_only, silver_examples
from lowrung.run.start import Rehearsal, started, unpractised
from lowrung.run.switching import Reports, sentence, switch_points

if TYPE_CHECKING:
    from lowrung.models.endpoint import Terms

ALL = "all"


@dataclass(frozen=True, slots=True)
class Line:
    """One method at one number of labels over all seeds: a metric with its 95 % interval."""

    method: str
    labels: int
    metric: str
    value: float
    low: float
    high: float
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the winner ships.

    Args:
        shipped: the method that ships; `original` where the winner is not shown to be better.
        rows_needed: about how many more test rows would tell, where they would.
    """

    shipped: str
    original: str
    winner: str
    labels: int
    probability_better: float
    reason: str
    rows_needed: int | None = None


@dataclass(frozen=True)
class Study(Generic[A]):
    """What a study found.

    Args:
        task: with its labels.
        cells, summary: one a run, one a method and number of labels.
        switch_points: `{"method", "from", "to"}` in rising order; `to` is None at the end.
        gate: the decision.
        model: what ships, fitted to all rows.
        facts: everything else that study.json says.
    """

    task: Task[A]
    cells: tuple[Cell, ...]
    summary: tuple[Line, ...]
    switch_points: tuple[Mapping[str, Any], ...]
    gate: Gate
    model: Model[A]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task.name,
            "cells": [asdict(each) for each in self.cells],
            "summary": [asdict(each) for each in self.summary],
            "switch_points": [dict(each) for each in self.switch_points],
            "gate": asdict(self.gate),
            **self.facts,
        }

    @property
    def sentence(self) -> str:
        return str(self.facts["sentence"])


def study(
    task: Task[A] | str,
    rows: Sequence[Row],
    *,
    test: Sequence[Row] = (),
    methods: Sequence[str] = (),
    labels: Sequence[int | str] = (0, 8, 32, 128, ALL),
    seeds: int = 3,
    model: str | Sequence[str] = "",
    out: str | Path | None = None,
    confidence: float = 0.95,
    balanced: bool = False,
    rehearsal: Rehearsal | None = None,
    augment: Sequence[str] = (),
    words: str | Path = "",
    silver: Sequence[Row] = (),
    terms: Terms | None = None,
    description: Description | None = None,
    watch: Watch | None = None,
) -> Study[A]:
    """Set `methods` side by side at each number of `labels`, pick the best, and decide whether it may ship.

    All methods learn from the same draws, and a smaller draw lies inside the larger ones of its seed. With `test`
    rows, every cell is scored on them, and the winner is picked by cross-validation within `rows`, never by the
    test. Without, all scores come from cross-validation repeated once a seed.

    Args:
        task: a task, or its name.
        rows: home rows with golds; rows without are left out.
        labels: numbers of labelled rows; "all" is as many as there are to learn from. 0, the untouched model, is
            always in.
        seeds: how many draws (and initialisations), at least 1.
        model: a backbone's name, "" for the embedded one; the address of an endpoint, http://host:port/v1#name, or a
            language model (models.writer), which are then rows of their own beside it; or one of each.
        out: a folder for study.json, report.html, the cells (an interrupted study goes on from them) and `model/`.
        confidence: the probability of being better than the untouched model from which the winner ships.
        balanced: draw equally many rows a class instead of in proportion.
        rehearsal: raw text to practise on once; the model that has is a row of its own and a start for others.
        augment: augmentations to try on the winner; it learns from those that help it on rows held out.
        words: a file of words and phrases that every model of speech in the table expects; see models.hot_words.
        silver: rows that a model has labelled; methods that learn from them as well are rows of their own.
        terms: how an endpoint is asked.
        description: the task in words; how they are put is chosen on `rows` without a look at their golds.
        watch: called with (what, done, of how many) before each cell.

    Raises:
        DataError: too few rows, without `test` all of one group, only one label to choose from, or a label that only
            `test` has; text that cannot be read or is too little; silver rows among those that are measured on.
        LowrungError: an unknown task or method, no seed, `labels` that are no numbers, or text for a task that cannot
            be practised.
        ModelError: no such backbone, one that cannot learn, or `out`/model holds something else than a shipped model.
    """
    from lowrung.models.hearing import taught
    from lowrung.models.tuning import Prefixes
    from lowrung.tasks import task as of_name

    folder = Path(out) if out else None
    if folder is not None:
        vacant(folder / "model")
    task = described_task(of_name(task) if isinstance(task, str) else task, description)
    found = named(task, model, terms)
    writer, remote = found.writer, found.remote
    body = foundation(task, found.body)
    plan, of_silver = _plan(task, rows, test, methods, labels, seeds, balanced, rehearsal, silver, found, description)
    if task.media and any(each.learns for each in plan.methods):
        taught(body)  # or says at once why it cannot be
    names = checked(task, augment)
    start = started(plan.task, rehearsal, base=body, out=folder, watch=_practising(watch)) if rehearsal else None
    encoder, checksum, expected = None, body.source.checksum, ""
    if words:
        from lowrung.models.hot_words import expecting

        golds = [each.golds[0].text for each in plan.train if isinstance(each.golds[0], Text)]
        body, expected = expecting(body, words, texts=golds)
        start = replace(start, model=expecting(start.model, words, texts=golds)[0]) if start else None
        checksum += f" {body.how}"
    if hears_words(plan.task, kinds_of((*plan.train, *plan.test))):
        plan, encoder = _heard(plan, body)
        checksum += "".join(f" {kind} {ear.source.checksum}" for kind, ear in encoder.ears.items())
    described = described_for(plan.task, found, body, description, [each.question for each in plan.train])
    checksum += described.key
    store = Store(folder, plan, checksum, start.checksum if start else "")
    prefixes = Prefixes(body) if any(each.body for each in plan.methods) and not (task.mends or task.media) else None
    bench = Bench(plan, body, prefixes, store, watch, start, encoder, described)
    cells, reports = bench.run()
    original = reports[plan.untouched.name, 0]
    winner, at = _winner(plan, bench, reports)
    tried = tuple[Tried, ...]()
    if names and winner.learns:
        better, tried = vetted(bench, winner, names)
        if better != winner:  # it is what may ship, so that it is what is measured
            cells += bench.at(better, at, reports)
            winner = better
    compared = compare(original, reports[winner.name, at], confidence=confidence, closer=True)
    gate = _gate(plan, winner, at, compared)
    chosen = winner if gate.shipped == winner.name else plan.method(gate.shipped)
    shipped = bench.final(chosen)
    summary = tuple(_summary(plan, reports))
    switch = tuple(switch_points(plan, reports))
    best = reports[gate.shipped, at if gate.shipped == winner.name else 0]
    named_body = found.body or body.source.name
    facts = _facts(plan, named_body, body.source.checksum, switch, best, compared, confidence)
    if start is not None and rehearsal is not None:
        facts["practice"] = {"text": [str(each) for each in rehearsal.text], **start.facts}
    if description is not None:
        facts["formats"] = described.to_json()
    if tried:
        facts["augmentations"] = rows_of(tried)
    if writer is not None:
        facts["writer"] = writer.source.name
    if remote is not None:
        facts["remote"] = {"source": remote.source.name, **bench.bill, "priced": remote.terms.price is not None}
    if of_silver:
        facts["silver"] = of_silver
    picked = samples(best[0])
    if expected:
        facts["words"] = expected
    if picked:
        facts["samples"] = kept(best[0], picked)
    made = Study(plan.task, tuple(cells), summary, switch, gate, shipped, facts)
    if out:
        asked = [each.question for each in plan.train]
        sure = [each.confidence for each in best[0].predictions if each.answer is not None]
        reference = reference_of(settled(shipped), asked, confidence=sure)
        _write(made, Path(out), chosen, body, [part_of(each, task.media) for each, _ in picked], reference)
    return made


def _practising(watch: Watch | None) -> Callable[[int, int, float], None] | None:
    """The watch of a study, told of the practice before its cells every few seconds."""
    last = 0.0

    def told(step: int, steps: int, loss: float) -> None:
        nonlocal last
        if watch is not None and (step == steps or time.monotonic() - last > EVERY):
            last = time.monotonic()
            watch(f"practice on raw text, loss {loss:.3f}", step - 1, steps)

    return told if watch else None


EVERY = 5.0  # seconds


def _plan(
    task: Task[A],
    rows: Sequence[Row],
    test: Sequence[Row],
    methods: Sequence[str],
    labels: Sequence[int | str],
    seeds: int,
    balanced: bool,
    rehearsal: Rehearsal | None,
    silver: Sequence[Row],
    found: Named,
    description: Description | None,
) -> tuple[Plan[A], Mapping[str, Any]]:
    """The plan, and what is told of the silver rows in it."""
    if rehearsal is not None and task.practice is None:
        raise LowrungError(unpractised(task))
    gold_only(rows, "rows to learn from, which cross-validation measures on")
    gold_only(test, "test rows")
    task = task.fitted_to(rows)
    train = tuple(each for each in map(task.example, rows) if each.golds)
    held = tuple(each for each in _examples_of_test(task, test) if each.judged)
    if len(train) < 4:
        raise DataError(f"a study needs at least 4 rows with labels, and got {len(train)}; `answer` needs none")
    if len(task.options) == 1 and task.answer is Choice:
        raise DataError(f"all rows have the label {task.options[0]!r}; there is nothing to choose")
    if seeds < 1:
        raise LowrungError(f"a study needs at least 1 seed, not {seeds}")
    if test and not held:
        raise DataError("none of the test rows has a label")
    if held and len({each.group or at for at, each in enumerate(train)}) == 1:  # the test decides; rows pick the winner
        train = tuple(replace(each, group="") for each in train)
    number = 0 if held else min(5 if len(train) < 400 else 3, len(train))
    if number:
        folds(train, k=number)  # or says at once why they cannot be held out
    most = len(train) if held else len(train) - -(-len(train) // number)
    wanted = {0}
    for each in labels:
        if each != ALL and not str(each).isdecimal():
            raise LowrungError(f"--labels takes numbers and 'all', as in 0,8,32,all; not {each!r}")
        wanted.add(most if each == ALL else min(int(each), most))
    if wanted == {0}:
        raise LowrungError("--labels names no number above 0; `score` measures the untouched model")
    kinds = kinds_of((*train, *held))
    models = {"remote": found.remote is not None, "writer": found.writer is not None}
    models["described"] = description is not None
    ways = methods_for(task, methods, text=rehearsal is not None, kinds=kinds, silver=bool(silver), **models)
    more, told = silver_examples(task, silver, (*train, *held)) if silver else ((), {})
    at = tuple(sorted(wanted))
    return Plan(task, train, held, ways, at, seeds, balanced, number, more, found.remote, found.writer), told


def _heard(plan: Plan[A], body: Any) -> tuple[Plan[A], Any]:
    """The plan with what is said in sounds and written in pictures after them, and a models.encoder.Encoder of all."""
    from lowrung.models.cascade import ears_for, examples_with_words
    from lowrung.models.encoder import Encoder

    ears = ears_for(kinds_of((*plan.train, *plan.test)))
    train, test, silver = (examples_with_words(each, ears) for each in (plan.train, plan.test, plan.silver))
    return replace(plan, train=train, test=test, silver=silver), Encoder(body, ears, keeps=True)


def _examples_of_test(task: Task[A], test: Sequence[Row]) -> Iterator[Example[A]]:
    for row in test:
        try:
            yield task.example(row)
        except DataError as problem:
            raise DataError(
                f"test row {row.get('id', '')}: {problem} The rows to learn from do not have it."
            ) from problem


def _winner(plan: Plan[A], bench: Bench[A], reports: Reports[A]) -> tuple[Method, int]:
    """The best candidate at the largest number of labels, by cross-validation on the rows to learn from.

    One that has practised and learns nothing from labels answers them all.
    """
    most, metric = plan.labels[-1], plan.task.metrics[0]
    sign = 1.0 if metric.higher_is_better else -1.0
    scores: dict[str, float] = {}
    for method in plan.methods:
        if not method.candidate or method.untouched:
            continue
        if not method.learns:
            found = [bench.unlearnt(method)] if plan.test else list(reports[method.name, 0])
        elif plan.test:
            bench.tell(method, most, "cross-validation")
            found = [bench.validated(method, most, 0, 3)[0]]
        else:
            found = list(reports[method.name, most])
        scores[method.name] = sign * sum(each.value(metric) for each in found) / len(found)
    if not scores:
        return plan.untouched, 0
    best = plan.method(max(scores, key=lambda name: scores[name]))
    return best, most if best.learns else 0


def _gate(plan: Plan[A], winner: Method, at: int, compared: Comparison) -> Gate:
    original = plan.untouched.name
    if winner.name == original:
        reason = "no method that learns was asked for: the untouched model ships."
        return Gate(original, original, original, at, compared.probability_better, reason)
    numbers = (
        f"{compared.metric} {compared.value_two:.3f} against {compared.value_one:.3f} of the untouched model, "
        f"probability {told(compared.probability_better)} of being better over {compared.rows} rows"
    )
    if compared.better:
        whole = "" if at == len(plan.train) or not winner.learns else f", fitted to all {len(plan.train)} rows"
        reason = f"{winner.name} with {at} labels ships{whole}: {numbers}."
        return Gate(winner.name, original, winner.name, at, compared.probability_better, reason)
    ahead = compared.difference.value > 0
    more = f" About {compared.rows_needed} more test rows would tell." if ahead and compared.rows_needed else ""
    asked = f"{compared.confidence:g} is asked for"
    reason = f"the untouched model ships: {winner.name} with {at} labels has {numbers}; {asked}.{more}"
    return Gate(original, original, winner.name, at, compared.probability_better, reason, compared.rows_needed)


def _summary(plan: Plan[A], reports: Reports[A]) -> Iterator[Line]:
    for (method, number), found in reports.items():
        for metric in plan.task.metrics:
            if not metric.tells(found[0].examples):
                continue
            score: Score = interval(found, metric)
            yield Line(method, number, metric.name, score.value, score.low, score.high, metric.higher_is_better)


def _facts(
    plan: Plan[A],
    model: str,
    checksum: str,
    switch: Sequence[Mapping[str, Any]],
    best: Sequence[Report[A]],
    compared: Comparison,
    confidence: float,
) -> dict[str, Any]:
    report = best[0]
    mistakes = [
        {
            "id": each.id,
            "text": " | ".join(each.question.texts),
            "gold": answer_json(each.golds[0]) if each.golds else None,
            "answer": answer_json(said.answer),
            "confidence": said.confidence,
        }
        for _, each, said in report.mistakes(20)
    ]
    return {
        "sentence": sentence(switch),
        "metric": plan.task.metrics[0].name,
        "higher_is_better": plan.task.metrics[0].higher_is_better,
        "model": model,
        "checksum": checksum,
        "options": list(plan.task.options),
        "rows": {"learn": len(plan.train), "test": len(plan.test), "folds": plan.folds},
        "seeds": plan.seeds,
        "confidence": confidence,
        "comparison": asdict(compared),
        "per_label": report.per_label(),
        "mistakes": mistakes,
        "classes": _class_counts(plan),
        "fingerprint": fingerprint(plan.train),
        "versions": versions(),
        "date": now(),
    }


def _class_counts(plan: Plan[A]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for key in keys(plan.train):
        counts[key] = counts.get(key, 0) + 1
    return counts


def _write(
    made: Study[A], out: Path, chosen: Method, body: Any, parts: Sequence[Part], reference: Reference | None
) -> None:
    from lowrung.run.report import card, html

    out.mkdir(parents=True, exist_ok=True)
    found = made.to_json()
    sources = {"writer": made.facts.get("writer", ""), "remote": made.facts.get("remote", {}).get("source", "")}
    source = sources["writer" if chosen.writer else "remote"] if chosen.writer or chosen.remote else body.source.name
    learnt = (found["fingerprint"], found["rows"]["learn"]) if chosen.learns else (fingerprint(()), 0)  # as fit says
    facts = {"method": chosen.name, "seed": 0, "fingerprint": learnt[0], "rows": learnt[1], "source": source}
    facts |= {"formats": found["formats"]} if "formats" in found else {}
    ship(made.task, made.model, out / "model", report=found, card=card(found), facts=facts, reference=reference)
    found["sizes"] = {chosen.name: sum(each.stat().st_size for each in (out / "model").iterdir())}
    with atomic(out / "study.json") as new:
        new.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    try:
        page = html(found, parts)
    except LowrungError:  # without the extra `report`: a finished study is not thrown away for want of its page
        (out / "report.html").unlink(missing_ok=True)
        return
    with atomic(out / "report.html") as new:
        new.write_text(page, "utf-8")
