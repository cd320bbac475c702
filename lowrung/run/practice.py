"""practice: raw text → rows of a task, made on the fly → a model that never saw a label."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Generic, TypeVar

from lowrung import __version__
from lowrung.core.answers import A, Text
from lowrung.core.errors import DataError, LowrungError
from lowrung.core.model import Model
from lowrung.core.task import Example, Task
from lowrung.data.raw import identity, lines
from lowrung.models.network import Adapted
from lowrung.models.tracked import part_of_run, run_of
from lowrung.models.training import Progress, Settings, train
from lowrung.models.tuning import Frozen, Full, How, Top
from lowrung.run.adapt import Watch, adapt, body_to_move, loosen
from lowrung.run.evaluate import Report, evaluate
from lowrung.run.shares import shares
from lowrung.run.ship import ship, training_of, vacant
from lowrung.run.start import unpractised

R = TypeVar("R")
STEPS = 1000  # where neither steps nor minutes are named
ENDLESS = 10**9  # steps, where only minutes are
PASSES = 8  # over the documents held out, where they are few
FIRST = 600  # rows that the head alone learns from, before the body moves


@dataclass(frozen=True)
class Practised(Generic[A]):
    """What practice made.

    Args:
        untouched, report: before and after, on practice rows of documents that were not learnt from.
        steps, rows, seconds: how much was practised, in all runs together.
        curve: of each validation `step`, `minutes`, `score` (the mean probability of the right answers of those rows,
            which the best weights have most of), and the mean `loss` since the one before.
        pace: rows and pieces learnt from in a second, validations aside.
        passes: how often the text was read for rows to learn from; many tell that there is too little of it.
    """

    model: Model[A]
    untouched: Report[A]
    report: Report[A]
    steps: int
    rows: int
    seconds: float
    losses: tuple[float, ...] = field(default=(), repr=False)
    curve: tuple[Mapping[str, float | None], ...] = field(default=(), repr=False)
    pace: Mapping[str, float] = field(default_factory=dict)
    passes: int = 1

    def to_json(self) -> dict[str, Any]:
        """What lowrung.json says of it."""
        pace = {f"{name}_per_second": each for name, each in self.pace.items()}
        told = {"steps": self.steps, "rows": self.rows, "passes": self.passes, "seconds": round(self.seconds, 1)}
        return {**told, **pace, "curve": self.curve}


def practise(
    task: Task[A],
    text: Sequence[str | Path],
    *,
    model: str = "",
    how: How | None = None,
    steps: int | None = None,
    minutes: float = 0.0,
    held: int = 400,
    settings: Settings | None = None,
    column: str = "text",
    seed: int = 0,
    out: str | Path | None = None,
    watch: Watch | None = None,
) -> Practised[A]:
    """Rehearse `task` on raw text: rows without labels are made as it goes, from files of any size.

    The head first learns from some hundred rows on the frozen body, then what `how` says moves until `steps` or
    `minutes` are over, whichever comes first; the rate of learning goes by the one that is used up further.
    Every 20th block of 50 lines is kept out of that, and rows made of it say how well it went.

    Args:
        text: files of raw text (.txt, a line a paragraph) or rows with `column`, also .gz and .xz; read again from
            their beginning when they end.
        model: a backbone's name, "" for the embedded one.
        how: None for Top(2), and Full() where answers are extracted, which takes every layer to compare two texts.
        steps: None for 1000, or for as many as `minutes` allow.
        minutes: of training with its validations, those before an interruption counted; 0 for no limit.
        held: at most so many rows to validate on.
        out: a folder to ship to. An interrupted practice goes on from `<out>.training` when it is called again.

    Raises:
        LowrungError: the task cannot be practised, or no step is asked for.
        DataError: a file cannot be read, or no rows can be made of the text.
        ModelError: no such backbone, or `out` holds something else than a shipped model.
    """
    from lowrung.models.catalog import DEFAULT, backbone

    if task.practice is None:
        raise LowrungError(unpractised(task))
    if out is not None:
        vacant(out)
    if task.media:
        from lowrung.run.recognizing import practise_recognizer

        given: dict[str, Any] = {
            "model": model,
            "how": how or Top(2),
            "steps": steps,
            "minutes": minutes,
            "column": column,
        }
        return practise_recognizer(task, text, seed=seed, out=out, watch=watch, **given)  # type: ignore[arg-type,return-value]
    if task.answer is Text:
        raise LowrungError(f"practice moves a network, and none answers {task.name}; its words are harvested instead")
    how = how or (Full() if task.extracts else Top(2))
    usual = replace(SETTINGS, lr=1e-4) if isinstance(how, Full) else SETTINGS
    begun, chosen = time.monotonic(), replace(settings or usual, most=steps_of(steps, minutes))
    training = training_of(out) if out else None
    kept = kept_rows(task, lambda: lines(text, column, held_out=True), seed, held)
    passes = [0]
    feed = Feed(lambda: endless(task, lambda: lines(text, column, held_out=False), seed, passes), chosen.batch)
    first = feed.rows(FIRST)
    if not kept or not first:
        told = ", ".join(str(each) for each in text)
        raise DataError(f"{told}: too little text for {task.name}: no rows can be made of it")
    found = backbone(model or DEFAULT)
    job = job_of(task, text, found.source, how, chosen, minutes, column, seed, held)
    before = evaluate(task, adapt(found, task), kept)
    body = found if isinstance(how, Frozen) else body_to_move(found, task)
    with run_of(task.name, "practice", 0, seed), part_of_run("" if isinstance(how, Frozen) else "head"):
        network = adapt(body, task, first, how=Frozen(), seed=seed)
    progress = Progress()
    ready = trained = time.monotonic()
    if not isinstance(how, Frozen):
        network = loosen(network, how, seed)
        network.prefixes = None
        with run_of(task.name, "practice", 0, seed):
            progress = train(
                network,
                feed,
                settings=chosen,
                seed=seed,
                minutes=minutes,
                score=lambda made: _score(task, made, kept),
                checkpoint=training / job if training else None,
                watch=watch,
            )
        trained = time.monotonic()
    network.prefixes = None  # states of rows that never come back
    network.name = "practice"
    after = evaluate(task, network, kept)
    seconds = ready - begun + progress.seconds + time.monotonic() - trained
    made = Practised(
        network,
        before,
        after,
        progress.step,
        rows=progress.step * chosen.batch + len(first),
        seconds=seconds,
        losses=tuple(progress.losses),
        curve=curve_of(progress),
        pace=pace_of(progress, rows=progress.step * chosen.batch, pieces=progress.pieces),
        passes=passes[0],
    )
    if out is not None:
        ship_practised(task, made, Path(out), found, {"seed": seed, "text": [str(each) for each in text], "job": job})
    if training is not None and training.is_dir():
        shutil.rmtree(training)
    return made


SETTINGS = Settings(lr=2e-4, patience=10**6)


def steps_of(steps: int | None, minutes: float) -> int:
    """How many steps there are at most.

    Raises:
        LowrungError: none, or less than no minutes.
    """
    if minutes < 0 or (steps is not None and steps < 1):
        raise LowrungError(f"practice needs at least 1 step, not {steps}" if minutes >= 0 else "less than no minutes")
    return steps or (ENDLESS if minutes else STEPS)


def curve_of(progress: Progress) -> tuple[dict[str, float | None], ...]:
    """The validations of a training, with minutes."""
    return tuple(
        {
            "step": each["step"],
            "minutes": round(each["seconds"] / 60, 3),
            "score": round(each["score"], 5),
            "loss": None if each["loss"] is None else round(each["loss"], 5),
        }
        for each in progress.curve
    )


def pace_of(progress: Progress, **counts: int) -> dict[str, float]:
    """Each of `counts` a second of training, validations aside; {} where there was none."""
    seconds = progress.seconds - progress.validating
    return {name: round(each / seconds, 1) for name, each in counts.items()} if seconds > 0 else {}


def kept_rows(task: Task[A], text: Callable[[], Iterator[str]], seed: int, most: int) -> list[Example[A]]:
    """Up to `most` rows of the documents held out. Where one pass makes few, others make more of the same ones."""
    found: dict[str, Example[A]] = {}
    for turn in range(PASSES):
        for example in _examples(task, text, seed + turn):
            found.setdefault(repr((example.question.texts, example.question.marks, example.golds)), example)
            if len(found) == most:
                break
        if not found or len(found) == most:
            break
    return list(found.values())


def _score(task: Task[A], made: Adapted[A], kept: Sequence[Example[A]]) -> float:
    """What the best weights have most of: the probability of right answers, which tells more than right and wrong."""
    report = evaluate(task, made, kept)
    given = shares(kept, report.predictions)
    metric = task.metrics[0]
    return sum(given) / len(given) if given else report.value(metric) * (1.0 if metric.higher_is_better else -1.0)


def job_of(task: Task[Any] | str, text: Sequence[str | Path], *more: object) -> str:
    """A name for what would end in the same model, so that another practice does not go on from this one."""
    named = task if isinstance(task, str) else task.name
    asked = repr((__version__, named, identity(text), more))
    return hashlib.sha256(asked.encode()).hexdigest()[:24]


def ship_practised(task: Task[A], made: Practised[A], out: Path, body: Any, more: Mapping[str, Any]) -> None:
    """Write what practice made into the folder `out`; `body` is what it began with."""
    told = made.report.to_json()["scores"]  # without what these rows cannot tell
    pairs = [
        (each.name, made.report.value(each), made.untouched.value(each)) for each in task.metrics if each.name in told
    ]
    listed = [f"- {name}: {after:.3f} (untouched: {before:.3f})" for name, after, before in pairs]
    facts = {"method": "practice", "rows": made.rows, "source": body.source.name, **more}
    card = f"""# {task.name}: practice

{task.about[:1].upper()}{task.about[1:]}.

- practised on {made.rows} rows made of raw text, without a label; {made.steps} steps, seed {more["seed"]}
- body: `{body.source.name}`

## How good it is

On {len(made.report.examples)} such rows of documents that it did not learn from:

{chr(10).join(listed)}

Rows made of raw text are not rows of people. `lowrung score` measures it on yours.

## Use

    lowrung answer {out.name} rows.jsonl
"""
    report = {"task": task.name, "options": list(task.options), **facts, "practice": made.report.to_json()}
    facts["practice"] = made.to_json()
    ship(task, made.model, out, report=report | {"untouched": made.untouched.to_json()}, card=card, facts=facts)


class Feed(Generic[R]):
    """A step's rows, from a stream; a resumed run passes over those that it has seen."""

    def __init__(self, stream: Callable[[], Iterator[R]], batch: int) -> None:
        self.stream, self.batch, self.step = stream(), batch, 0

    def rows(self, number: int) -> list[R]:
        return list(islice(self.stream, number))

    def __call__(self, step: int) -> list[R]:
        while self.step < step:
            self.rows(self.batch)
            self.step += 1
        self.step += 1
        return self.rows(self.batch)


def endless(task: Task[A], lines: Callable[[], Iterator[str]], seed: int, passes: list[int]) -> Iterator[Example[A]]:
    """Over the text again and again, other rows each time; ends where the text gives none. Counts in `passes`."""
    for epoch in range(10**9):
        number, passes[0] = -1, epoch + 1
        for number, example in enumerate(_examples(task, lines, seed + epoch)):  # noqa: B007 (told below)
            yield example
        if number < 0:
            return


def _examples(task: Task[A], lines: Callable[[], Iterator[str]], seed: int) -> Iterator[Example[A]]:
    assert task.practice is not None
    for row in task.practice(lines(), Random(seed)):
        example = task.example(row)
        if example.golds:
            yield example
