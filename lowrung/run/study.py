"""study, the main job: the ways to do a task at several numbers of labels, on the same draws, with intervals;
where to switch; whether the winner may ship."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic

from lowrung import __version__
from lowrung.core.answers import A, Choice, Prediction, Span, Spans
from lowrung.core.errors import DataError, LowrungError
from lowrung.core.model import Model
from lowrung.core.task import Example, Row, Task
from lowrung.data.files import atomic
from lowrung.data.splits import draw, folds, keys
from lowrung.run.compare import Comparison, compare
from lowrung.run.evaluate import Report, Score, interval, report_of
from lowrung.run.methods import ZERO_SHOT, Method, fit_method, methods_for
from lowrung.run.ship import fingerprint, now, ship, versions

ALL = "all"


@dataclass(frozen=True, slots=True)
class Cell:
    """One method at one number of labels with one seed."""

    method: str
    labels: int
    seed: int
    metrics: Mapping[str, float]
    fit_seconds: float
    answer_seconds: float


@dataclass(frozen=True, slots=True)
class Line:
    """One method at one number of labels over all seeds: a metric with its 95 % interval."""

    method: str
    labels: int
    metric: str
    value: float
    low: float
    high: float


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


Watch = Callable[[str, int, int], None]


def study(
    task: Task[A] | str,
    rows: Sequence[Row],
    *,
    test: Sequence[Row] = (),
    methods: Sequence[str] = (),
    labels: Sequence[int | str] = (0, 8, 32, 128, ALL),
    seeds: int = 3,
    model: str = "",
    out: str | Path | None = None,
    confidence: float = 0.95,
    balanced: bool = False,
    watch: Watch | None = None,
) -> Study[A]:
    """Set `methods` side by side at each number of `labels`, pick the best, and decide whether it may ship.

    All methods learn from the same draws, and a smaller draw lies inside the larger ones of its seed. With `test`
    rows, every cell is scored on them, and the winner is picked by cross-validation within `rows`, never by the
    test. Without, all scores come from cross-validation repeated once a seed.

    Args:
        task: a task, or its name.
        rows: home rows with golds; rows without are left out.
        labels: numbers of labelled rows; "all" is as many as there are to learn from. 0 (the untouched model) is always in.
        seeds: how many draws (and initialisations), at least 1.
        model: a backbone's name, "" for the embedded one.
        out: a folder for study.json, report.html, the cells (an interrupted study goes on from them) and `model/`.
        confidence: the probability of being better than the untouched model from which the winner ships.
        balanced: draw equally many rows a class instead of in proportion.
        watch: called with (what, done, of how many) before each cell.

    Raises:
        DataError: too few rows, or labels that differ between `rows` and `test`.
    """
    from lowrung.models.catalog import DEFAULT, backbone
    from lowrung.models.tuning import Prefixes
    from lowrung.tasks import task as named

    body = backbone(model or DEFAULT)
    plan = _plan(named(task) if isinstance(task, str) else task, rows, test, methods, labels, seeds, balanced)
    store = _Store(Path(out) if out else None, plan, body.source.checksum)
    bench = _Bench(plan, body, Prefixes(body), store, watch)
    cells, reports = bench.run()
    original = reports[ZERO_SHOT, 0]
    winner, at = _winner(plan, bench, reports)
    compared = compare(original, reports[winner.name, at], confidence=confidence)
    gate = _gate(plan, winner, at, compared)
    chosen = plan.method(gate.shipped)
    shipped = bench.final(chosen)
    summary = tuple(_summary(plan, reports))
    switch = tuple(_switch_points(plan, summary))
    best = reports[gate.shipped, at if gate.shipped == winner.name else 0]
    facts = _facts(plan, model or DEFAULT, body.source.checksum, switch, best, compared, confidence)
    made = Study(plan.task, tuple(cells), summary, switch, gate, shipped, facts)
    if out:
        _write(made, Path(out), chosen, body)
    return made


@dataclass(frozen=True)
class _Plan(Generic[A]):
    task: Task[A]
    train: tuple[Example[A], ...]
    test: tuple[Example[A], ...]
    methods: tuple[Method, ...]
    labels: tuple[int, ...]  # rising, 0 first
    seeds: int
    balanced: bool
    folds: int  # 0: there is a test part

    def method(self, name: str) -> Method:
        return next(each for each in self.methods if each.name == name)

    def points(self) -> Iterator[tuple[Method, int]]:
        for method in self.methods:
            for number in self.labels:
                if method.learns == (number > 0):
                    yield method, number


def _plan(
    task: Task[A],
    rows: Sequence[Row],
    test: Sequence[Row],
    methods: Sequence[str],
    labels: Sequence[int | str],
    seeds: int,
    balanced: bool,
) -> _Plan[A]:
    task = task.fitted_to(rows)
    train = tuple(each for each in map(task.example, rows) if each.golds)
    held = tuple(each for each in _examples_of_test(task, test) if each.golds)
    if len(train) < 4:
        raise DataError(f"a study needs at least 4 rows with labels, and got {len(train)}; `answer` needs none")
    if len(task.options) < 2 and task.answer is Choice:
        raise DataError(f"all rows have the label {task.options[0]!r}; there is nothing to choose")
    if seeds < 1:
        raise LowrungError(f"a study needs at least 1 seed, not {seeds}")
    if test and not held:
        raise DataError("none of the test rows has a label")
    number = 0 if held else min(5 if len(train) < 400 else 3, len(train))
    most = len(train) if held else len(train) - -(-len(train) // number)
    wanted = {0}
    for each in labels:
        if each != ALL and not (isinstance(each, int) or str(each).isdigit()):
            raise LowrungError(f"--labels takes numbers and 'all', as in 0,8,32,all; not {each!r}")
        wanted.add(most if each == ALL else min(int(each), most))
    if wanted == {0}:
        raise LowrungError("--labels names no number above 0; `score` measures the untouched model")
    return _Plan(task, train, held, methods_for(task, methods), tuple(sorted(wanted)), seeds, balanced, number)


def _examples_of_test(task: Task[A], test: Sequence[Row]) -> Iterator[Example[A]]:
    for row in test:
        try:
            yield task.example(row)
        except DataError as problem:
            raise DataError(f"test row {row.get('id', '')}: {problem} The rows to learn from do not have it.") from problem


class _Store:
    """Cells on disk: predictions by a key of everything that they depend on, so that nothing is computed twice."""

    def __init__(self, out: Path | None, plan: _Plan[Any], checksum: str) -> None:
        self.folder = out / "cells" if out else None
        rows = f"{fingerprint(plan.train)} {fingerprint(plan.test)}"
        meant = f"{plan.task.name} {plan.task.options} {dict(plan.task.meanings)}"
        self.base = f"{__version__} {rows} {meant} {checksum} {plan.balanced}"

    def path(self, *key: object) -> Path | None:
        name = hashlib.sha256(f"{self.base} {key}".encode()).hexdigest()[:24]
        return self.folder / f"{name}.json" if self.folder else None

    def get(self, *key: object) -> dict[str, Any] | None:
        path = self.path(*key)
        if path is None or not path.is_file():
            return None
        try:
            found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except ValueError:
            return None  # a damaged cell is computed anew
        return found

    def put(self, value: Mapping[str, Any], *key: object) -> None:
        path = self.path(*key)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path) as new:
                new.write_text(json.dumps(value, ensure_ascii=False), "utf-8")

    def checkpoint(self, *key: object) -> Path | None:
        path = self.path(*key)
        return path.with_suffix("") if path else None


class _Bench(Generic[A]):
    """Runs the cells of a plan."""

    def __init__(self, plan: _Plan[A], body: Any, prefixes: Any, store: _Store, watch: Watch | None) -> None:
        self.plan, self.body, self.prefixes, self.store, self.watch = plan, body, prefixes, store, watch
        self.done, self.total = 0, 0

    def run(self) -> tuple[list[Cell], dict[tuple[str, int], list[Report[A]]]]:
        """All cells, and for each method and number of labels one report a seed."""
        cells, reports = [], dict[tuple[str, int], list[Report[A]]]()
        points = list(self.plan.points())
        self.total = sum(self.plan.seeds if method.learns else 1 for method, _ in points)
        self.total += len([each for each in self.plan.methods if each.candidate]) if self.plan.test else 0
        for method, number in points:
            for seed in range(self.plan.seeds if method.learns else 1):
                report, fit_seconds = self.cell(method, number, seed)
                reports.setdefault((method.name, number), []).append(report)
                metrics = {metric.name: report.value(metric) for metric in self.plan.task.metrics}
                cells.append(Cell(method.name, number, seed, metrics, fit_seconds, report.seconds))
        return cells, reports

    def cell(self, method: Method, number: int, seed: int) -> tuple[Report[A], float]:
        self._tell(method, number, seed)
        plan = self.plan
        if plan.test or not method.learns:
            asked = plan.test or plan.train
            chosen = draw(plan.train, number, seed=seed, balanced=plan.balanced)
            return self._answered(method, [plan.train[at] for at in chosen], asked, (number, seed))
        return self.validated(method, number, seed, plan.folds)

    def validated(self, method: Method, number: int, seed: int, parts: int) -> tuple[Report[A], float]:
        """One repeat of cross-validation: every row answered by a model that did not see it."""
        plan = self.plan
        said: list[Prediction[A] | None] = [None] * len(plan.train)
        fit_seconds = answer_seconds = 0.0
        for fold, (learn, held) in enumerate(folds(plan.train, k=parts, seed=seed)[0]):
            pool = [plan.train[at] for at in learn]
            chosen = [pool[at] for at in draw(pool, min(number, len(pool)), seed=seed, balanced=plan.balanced)]
            asked = [plan.train[at] for at in held]
            report, seconds = self._answered(method, chosen, asked, (number, seed, parts, fold))
            fit_seconds, answer_seconds = fit_seconds + seconds, answer_seconds + report.seconds
            for at, prediction in zip(held, report.predictions, strict=True):
                said[at] = prediction
        whole: Any = said
        return report_of(plan.task, method.name, plan.train, whole, answer_seconds), fit_seconds

    def _answered(
        self, method: Method, learn: Sequence[Example[A]], asked: Sequence[Example[A]], key: tuple[int, ...]
    ) -> tuple[Report[A], float]:
        kept = self.store.get(method.name, *key)
        if kept is None:
            model, fit_seconds = self.fitted(method, learn, seed=key[1], key=key)
            begun = time.perf_counter()
            said = model.answer([each.question for each in asked])
            seconds = time.perf_counter() - begun
            kept = {"fit": fit_seconds, "answer": seconds, "said": [to_json(each) for each in said]}
            self.store.put(kept, method.name, *key)
        predictions: list[Any] = [from_json(each, self.plan.task.answer) for each in kept["said"]]
        return report_of(self.plan.task, method.name, asked, predictions, kept["answer"]), kept["fit"]

    def fitted(
        self, method: Method, learn: Sequence[Example[A]], *, seed: int, key: tuple[int, ...]
    ) -> tuple[Model[A], float]:
        begun = time.perf_counter()
        checkpoint = self.store.checkpoint(method.name, *key)
        model = fit_method(
            method, self.plan.task, learn, backbone=self.body, prefixes=self.prefixes, seed=seed, checkpoint=checkpoint
        )
        if checkpoint is not None and checkpoint.is_dir():
            shutil.rmtree(checkpoint)  # the cell is done; its training need not be resumed
        return model, time.perf_counter() - begun

    def final(self, method: Method) -> Model[A]:
        """What ships: fitted to all rows, with the first seed."""
        if self.watch:
            self.watch(f"{method.name} on all rows, to ship", self.total, self.total)
        model, _ = self.fitted(method, self.plan.train, seed=0, key=(len(self.plan.train), 0, -1))
        return model

    def _tell(self, method: Method, number: int, seed: int) -> None:
        if self.watch:
            self.watch(f"{method.name}, {number} labels, seed {seed}", self.done, self.total)
        self.done += 1


def _winner(
    plan: _Plan[A], bench: _Bench[A], reports: Mapping[tuple[str, int], Sequence[Report[A]]]
) -> tuple[Method, int]:
    """The best candidate at the largest number of labels, by cross-validation on the rows to learn from."""
    most, metric = plan.labels[-1], plan.task.metrics[0]
    sign = 1.0 if metric.higher_is_better else -1.0
    scores: dict[str, float] = {}
    for method in plan.methods:
        if not method.candidate or not method.learns:
            continue
        if plan.test:
            bench._tell(method, most, 0)
            found = [bench.validated(method, most, 0, 3)[0]]
        else:
            found = list(reports[method.name, most])
        scores[method.name] = sign * sum(each.value(metric) for each in found) / len(found)
    if not scores:
        return plan.method(ZERO_SHOT), 0
    return plan.method(max(scores, key=lambda name: scores[name])), most


def _gate(plan: _Plan[A], winner: Method, at: int, compared: Comparison) -> Gate:
    if winner.name == ZERO_SHOT:
        reason = "no method that learns was asked for: the untouched model ships."
        return Gate(ZERO_SHOT, ZERO_SHOT, ZERO_SHOT, at, compared.probability_better, reason)
    numbers = (
        f"{compared.metric} {compared.value_two:.3f} against {compared.value_one:.3f} of the untouched model, "
        f"probability {compared.probability_better:.3f} of being better over {compared.rows} rows"
    )
    if compared.better:
        reason = f"{winner.name} with {at} labels ships: {numbers}."
        return Gate(winner.name, ZERO_SHOT, winner.name, at, compared.probability_better, reason)
    ahead = compared.difference.value > 0
    more = f" About {compared.rows_needed} more test rows would tell." if ahead and compared.rows_needed else ""
    reason = f"the untouched model ships: {winner.name} with {at} labels has {numbers}; {compared.confidence:g} is asked for.{more}"
    return Gate(ZERO_SHOT, ZERO_SHOT, winner.name, at, compared.probability_better, reason, compared.rows_needed)


def _summary(plan: _Plan[A], reports: Mapping[tuple[str, int], Sequence[Report[A]]]) -> Iterator[Line]:
    for (method, number), found in reports.items():
        for metric in plan.task.metrics:
            score: Score = interval(found, metric)
            yield Line(method, number, metric.name, score.value, score.low, score.high)


def _switch_points(plan: _Plan[A], summary: Sequence[Line]) -> Iterator[dict[str, Any]]:
    """Which method is best from how many labels on; between two measured numbers where their curves cross.

    Curves are taken as straight over log2(1 + labels), and every method starts from the untouched model at 0.
    """
    from math import log2

    metric = plan.task.metrics[0]
    sign = 1.0 if metric.higher_is_better else -1.0
    candidates = {method.name for method in plan.methods if method.candidate}
    value = {(each.method, each.labels): sign * each.value for each in summary if each.metric == metric.name}
    start = value[ZERO_SHOT, 0]

    def at(name: str, number: int) -> float:
        return start if name == ZERO_SHOT or number == 0 else value[name, number]

    best, begins, before = ZERO_SHOT, 0, 0
    for number in plan.labels[1:]:
        leader = max(candidates, key=lambda name: (at(name, number), name == best))
        if leader != best:
            low, high = at(leader, before) - at(best, before), at(leader, number) - at(best, number)
            share = -low / (high - low) if high > low else 1.0
            crossing = 2 ** (log2(1 + before) + share * (log2(1 + number) - log2(1 + before))) - 1
            crossing = max(begins + 1, round(crossing))
            yield {"method": best, "from": begins, "to": crossing}
            best, begins = leader, crossing
        before = number
    yield {"method": best, "from": begins, "to": None}


def _sentence(points: Sequence[Mapping[str, Any]]) -> str:
    """«zero-shot up to about 12 labels, probe to about 90, top from there»"""
    if len(points) == 1:
        return f"{points[0]['method']} throughout"
    told = [f"{points[0]['method']} up to about {points[0]['to']} label{'s' if points[0]['to'] != 1 else ''}"]
    told += [f"{each['method']} to about {each['to']}" for each in points[1:-1]]
    return ", ".join([*told, f"{points[-1]['method']} from there"])


def _facts(
    plan: _Plan[A],
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
            "gold": answer_json(each.golds[0]),
            "answer": answer_json(said.answer),
            "confidence": said.confidence,
        }
        for _, each, said in report.mistakes(20)
    ]
    return {
        "sentence": _sentence(switch),
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


def _class_counts(plan: _Plan[A]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for key in keys(plan.train):
        counts[key] = counts.get(key, 0) + 1
    return counts


def _write(made: Study[A], out: Path, chosen: Method, body: Any) -> None:
    from lowrung.run.report import card, html

    out.mkdir(parents=True, exist_ok=True)
    found = made.to_json()
    facts = {"method": chosen.name, "seed": 0, "fingerprint": found["fingerprint"], "source": body.source.name}
    ship(made.task, made.model, out / "model", report=found, card=card(found), facts=facts)
    found["sizes"] = {chosen.name: sum(each.stat().st_size for each in (out / "model").iterdir())}
    with atomic(out / "study.json") as new:
        new.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    try:
        page = html(found)
    except LowrungError:  # without the extra `report`: a finished study is not thrown away for want of its page
        (out / "report.html").unlink(missing_ok=True)
        return
    with atomic(out / "report.html") as new:
        new.write_text(page, "utf-8")


def answer_json(answer: Any) -> Any:
    """An answer as JSON: an option, a list of spans, a text; None for none."""
    if isinstance(answer, Choice):
        return answer.option
    if isinstance(answer, Spans):
        return [{"start": each.start, "end": each.end, "label": each.label} for each in answer.spans]
    return None if answer is None else answer.text


def answer_of(value: Any, kind: type[A]) -> A | None:
    if value is None:
        return None
    if kind is Spans:
        return kind(tuple(Span(each["start"], each["end"], each["label"]) for each in value))  # type: ignore[return-value,arg-type]
    return kind(value)  # type: ignore[return-value,arg-type]


def to_json(said: Prediction[Any]) -> list[Any]:
    return [answer_json(said.answer), round(said.confidence, 6)]


def from_json(kept: Sequence[Any], kind: type[A]) -> Prediction[A]:
    return Prediction(answer_of(kept[0], kind), kept[1])
