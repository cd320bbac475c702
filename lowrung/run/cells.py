"""The cells of a study: one method, one number of labels, one seed; run once, kept, never run again."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic

from lowrung import __version__
from lowrung.core.answers import A, Choice, Choices, Prediction, Span, Spans
from lowrung.core.model import Model
from lowrung.core.parts import Question
from lowrung.core.task import Example, Task
from lowrung.data.files import atomic
from lowrung.data.splits import draw, folds
from lowrung.models.matching import read
from lowrung.models.tracked import run_of
from lowrung.models.wording import WORDING
from lowrung.run.adapt import PROBE, frozen_depths
from lowrung.run.describing import Described
from lowrung.run.evaluate import Report, report_of
from lowrung.run.methods import (
    METHODS,
    PRACTICE,
    REMOTE,
    WRITER,
    Method,
    fit_method,
    kinds_of,
    recipe,
    settled,
    untouched,
)
from lowrung.run.shares import shares
from lowrung.run.ship import fingerprint, versions
from lowrung.run.start import Start, practised_states

EVERY = 5.0  # seconds between two words of an endpoint's progress
Watch = Callable[[str, int, int], None]  # what is done next, how many cells are done, of how many


@dataclass(frozen=True, slots=True)
class Cell:
    """One method at one number of labels with one seed."""

    method: str
    labels: int
    seed: int
    metrics: Mapping[str, float]
    fit_seconds: float
    answer_seconds: float


@dataclass(frozen=True)
class Plan(Generic[A]):
    """What a study sets out to do."""

    task: Task[A]
    train: tuple[Example[A], ...]
    test: tuple[Example[A], ...]
    methods: tuple[Method, ...]
    labels: tuple[int, ...]  # rising, 0 first
    seeds: int
    balanced: bool
    folds: int  # 0: there is a test part
    silver: tuple[Example[A], ...] = ()  # learnt from by the methods that say so, and never asked about
    remote: Any = None  # a models.remote.Remote, where there is an endpoint
    writer: Any = None  # a models.writer.TextWriter, where there is a language model

    @property
    def untouched(self) -> Method:
        return self.method(untouched(self.task))

    def method(self, name: str) -> Method:
        return next(each for each in self.methods if each.name == name)

    def points(self) -> Iterator[tuple[Method, int]]:
        for method in self.methods:
            for number in self.labels:
                if method.learns == (number > 0) or method.silver:
                    yield method, number


class Store:
    """Cells on disk: predictions by a key of everything that they depend on, so that nothing is computed twice."""

    def __init__(self, out: Path | None, plan: Plan[Any], checksum: str, start: str = "") -> None:
        self.folder, self.start = out / "cells" if out else None, start
        self.silver = fingerprint(plan.silver) if plan.silver else ""
        self.remote = plan.remote.source.checksum if plan.remote else ""
        self.writer = f"{plan.writer.source.checksum} {plan.writer.about} {WORDING}" if plan.writer else ""
        rows = f"{fingerprint(plan.train)} {fingerprint(plan.test)}"
        meant = f"{plan.task.name} {plan.task.options} {dict(plan.task.meanings)}"
        made_with = {
            name: each for name, each in versions().items() if name in ("torch", "transformers", "scikit-learn")
        }
        self.base = f"{__version__} 2 {made_with} {rows} {meant} {checksum} {plan.balanced} {PROBE}"
        groups = [each.group for each in plan.train]
        if any(groups):  # they decide on the folds
            self.base += f" {groups}"

    def path(self, *key: object) -> Path | None:
        recipes = [recipe(str(each)) for each in key[:1]]  # the method's name comes first
        method = METHODS[str(key[0]).partition("~")[0]] if key[:1] else None
        start = f" {self.start}" if method and method.practised else ""
        start += f" {self.silver}" if method and method.silver else ""
        start += f" {self.remote}" if method and method.remote else ""
        start += f" {self.writer}" if method and method.writer else ""
        name = hashlib.sha256(f"{self.base} {recipes} {key}{start}".encode()).hexdigest()[:24]
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


class Bench(Generic[A]):
    """Runs the cells of a plan."""

    def __init__(
        self,
        plan: Plan[A],
        body: Any,
        prefixes: Any,
        store: Store,
        watch: Watch | None,
        start: Start | None = None,
        encoder: Any = None,
        described: Described | None = None,
    ) -> None:
        self.plan, self.body, self.prefixes, self.store, self.watch = plan, body, prefixes, store, watch
        self.described = described or Described()
        self.encoder, self.kinds = encoder, kinds_of((*plan.train, *plan.test))
        self.start, self.practised = start, None if start is None or prefixes is None else practised_states(start.model)
        self.done, self.total, self.warm = 0, 0, False
        self.bill: Mapping[str, Any] = {}  # of the endpoint's answers to the rows that all are measured on
        self.told = 0.0

    def run(self) -> tuple[list[Cell], dict[tuple[str, int], list[Report[A]]]]:
        """All cells, and for each method and number of labels one report a seed."""
        cells, reports = [], dict[tuple[str, int], list[Report[A]]]()
        points = list(self.plan.points())
        self.total = sum(self.plan.seeds if method.learns else 1 for method, _ in points)
        self.total += sum(each.candidate and each.learns for each in self.plan.methods) if self.plan.test else 0
        for method, number in points:
            cells += self.at(method, number, reports)
        return cells, reports

    def at(self, method: Method, number: int, reports: dict[tuple[str, int], list[Report[A]]]) -> list[Cell]:
        """The cells of one method at one number of labels, one a seed; what was answered goes into `reports`."""
        cells = []
        for seed in range(self.plan.seeds if method.learns else 1):
            report, fit_seconds = self.cell(method, number, seed)
            reports.setdefault((method.name, number), []).append(report)
            told = (metric for metric in self.plan.task.metrics if metric.tells(report.examples))
            metrics = {metric.name: report.value(metric) for metric in told}
            cells.append(Cell(method.name, number, seed, metrics, fit_seconds, report.seconds))
        return cells

    def cell(self, method: Method, number: int, seed: int) -> tuple[Report[A], float]:
        self.tell(method, number, f"seed {seed}")
        plan = self.plan
        if plan.test or not method.learns:
            asked = plan.test or plan.train
            chosen = draw(plan.train, number, seed=seed, balanced=plan.balanced)
            return self._answered(method, [plan.train[at] for at in chosen], asked, (number, seed))
        return self.validated(method, number, seed, plan.folds)

    def unlearnt(self, method: Method) -> Report[A]:
        """What a method that needs no labels answers to the rows to learn from."""
        return self._answered(method, [], self.plan.train, (0, 0, -2))[0]

    def validated(self, method: Method, number: int, seed: int, parts: int) -> tuple[Report[A], float]:
        """One repeat of cross-validation: every row answered by a model that did not see it."""
        plan = self.plan
        said: list[Prediction[A] | None] = [None] * len(plan.train)
        given: list[float | None] = [None] * len(plan.train)
        fit_seconds = answer_seconds = 0.0
        for fold, (learn, held) in enumerate(folds(plan.train, k=parts, seed=seed)[0]):
            pool = [plan.train[at] for at in learn]
            chosen = [pool[at] for at in draw(pool, min(number, len(pool)), seed=seed, balanced=plan.balanced)]
            asked = [plan.train[at] for at in held]
            report, seconds = self._answered(method, chosen, asked, (number, seed, parts, fold))
            fit_seconds, answer_seconds = fit_seconds + seconds, answer_seconds + report.seconds
            for at, prediction in zip(held, report.predictions, strict=True):
                said[at] = prediction
            for at, share in zip(held, report.shares, strict=False):
                given[at] = share
        whole: Any = said
        found = tuple(share for share in given if share is not None)
        report = report_of(plan.task, method.name, plan.train, whole, answer_seconds)
        return replace(report, shares=found if len(found) == len(given) else ()), fit_seconds

    def _answered(
        self, method: Method, learn: Sequence[Example[A]], asked: Sequence[Example[A]], key: tuple[int, ...]
    ) -> tuple[Report[A], float]:
        kept = self.store.get(method.name, *key)
        if kept is None:
            model, fit_seconds = self.fitted(method, learn, seed=key[1], key=key)
            if method.remote:
                self.plan.remote.bill, self.plan.remote.watch = type(self.plan.remote.bill)(), self._asking
            begun = time.perf_counter()
            said = model.answer([each.question for each in asked])
            seconds = time.perf_counter() - begun
            found = shares(asked, said, temper=not method.learns)
            kept = {"fit": fit_seconds, "answer": seconds, "said": [to_json(each) for each in said], "shares": found}
            if any(metric.ranks for metric in self.plan.task.metrics):
                kept["ranked"] = [_ranked(each.question, one) for each, one in zip(asked, said, strict=True)]
            if method.remote:
                kept["bill"] = asdict(self.plan.remote.bill)
                kept["answer"] = kept["bill"]["seconds"]
            self.store.put(kept, method.name, *key)
        predictions: list[Any] = [from_json(each, self.plan.task.answer) for each in kept["said"]]
        if "ranked" in kept:
            rows = zip(asked, predictions, kept["ranked"], strict=True)
            predictions = [replace(one, others=_others(each.question, places)) for each, one, places in rows]
        self.bill = self.bill or kept.get("bill", {})
        report = report_of(self.plan.task, method.name, asked, predictions, kept["answer"])
        return replace(report, shares=tuple(kept["shares"])), kept["fit"]

    def fitted(
        self, method: Method, learn: Sequence[Example[A]], *, seed: int, key: tuple[int, ...]
    ) -> tuple[Model[A], float]:
        if (
            not self.warm and self.prefixes is not None
        ):  # or the first method to ask would pay in the table for the states that all share
            everything = [each.question for each in (*self.plan.train, *self.plan.test)]
            for states, depths in ((self.prefixes, frozen_depths(self.body, self.plan.task)), (self.practised, ())):
                if states is not None and self.plan.task.points and not self.plan.task.marks:
                    states.vectors(read(everything))
                elif states is not None:
                    states.fill(everything, depths or (states.backbone.depth,))
            self.warm = True
        begun = time.perf_counter()
        checkpoint = self.store.checkpoint(method.name, *key)
        with run_of(self.plan.task.name, method.name, key[0], seed, part=_part_of(key)):
            model = fit_method(
                method,
                self.plan.task,
                [*learn, *self.plan.silver] if method.silver else learn,
                backbone=self.body,
                prefixes=self.encoder if method.fuses else self.practised if method.practised else self.prefixes,
                seed=seed,
                checkpoint=checkpoint,
                start=self.start.model if self.start else None,
                kinds=self.kinds,
                remote=self.plan.remote,
                writer=self.described.writer if method.name == WRITER and self.described.writer else self.plan.writer,
                wording=self.described.wording,
            )
        if method.name == PRACTICE and self.start is not None:
            return model, self.start.seconds
        if checkpoint is not None and checkpoint.is_dir():
            shutil.rmtree(checkpoint)  # the cell is done; its training need not be resumed
        return model, time.perf_counter() - begun

    def final(self, method: Method) -> Model[A]:
        """What ships: fitted to all rows, with the first seed."""
        if self.watch:
            self.watch(f"{method.name} on all rows, to ship", self.total, self.total)
        model, _ = self.fitted(method, self.plan.train, seed=0, key=(len(self.plan.train), 0, -1))
        return settled(model)

    def _asking(self, done: int, rows: int) -> None:
        """Says every few seconds how many rows the endpoint has answered."""
        if self.watch and time.monotonic() - self.told > EVERY:
            self.told = time.monotonic()
            self.watch(f"{REMOTE}, {done:,} of {rows:,} rows", self.done - 1, self.total)

    def tell(self, method: Method, number: int, what: str) -> None:
        if self.watch:
            self.watch(f"{method.name}, {number} labels, {what}", self.done, self.total)
        self.done += 1


def _part_of(key: tuple[int, ...]) -> str:
    """What tells trainings of one method, number of labels and seed apart: folds, and what ships."""
    return f"fold-{key[3] + 1}-of-{key[2]}" if len(key) > 3 else "to-ship" if key[2:] == (-1,) else ""


def answer_json(answer: Any) -> Any:
    """An answer as JSON: an option, a list of options or of spans, a text; None for none."""
    if isinstance(answer, Choice):
        return answer.option
    if isinstance(answer, Choices):
        return list(answer.options)
    if isinstance(answer, Spans):
        return [{"start": each.start, "end": each.end, "label": each.label} for each in answer.spans]
    return None if answer is None else answer.text


def answer_of(value: Any, kind: Any) -> Any:
    """What `answer_json` wrote, as an answer of that kind."""
    if value is None:
        return None
    if kind is Spans:
        return kind(tuple(Span(each["start"], each["end"], each["label"]) for each in value))
    return kind(tuple(value) if kind is Choices else value)


def to_json(said: Prediction[Any]) -> list[Any]:
    return [answer_json(said.answer), round(said.confidence, 6), *([said.times] if said.times else [])]


def _ranked(question: Question, said: Prediction[Any]) -> list[tuple[int, float]]:
    """The other options by their places, with their confidences."""
    return [(question.options.index(answer.option), round(share, 6)) for answer, share in said.others]


def _others(question: Question, places: Iterable[tuple[int, float]]) -> tuple[tuple[Choice, float], ...]:
    return tuple((Choice(question.options[at]), share) for at, share in places)


def from_json(kept: Sequence[Any], kind: type[A]) -> Prediction[A]:
    times = tuple((word, start, end) for word, start, end in (kept[2] if len(kept) > 2 else ()))
    return Prediction(answer_of(kept[0], kind), kept[1], times=times)
