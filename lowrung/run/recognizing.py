"""practice of speech and reading: raw text → speech that espeak-ng speaks, lines in the fonts of this machine → a
recognizer that has met such text, and expects such words of speech."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from lowrung.core.answers import Text
from lowrung.core.errors import DataError
from lowrung.core.task import Example, Task
from lowrung.data.raw import lines
from lowrung.models.decoding import Settings as Beam
from lowrung.models.hearing import recognizer, taught
from lowrung.models.own_words import counted
from lowrung.models.recognizer import rounded
from lowrung.models.senses import Sense, sense_of
from lowrung.models.tracked import run_of
from lowrung.models.training import Progress, Settings
from lowrung.models.tuned_recognizer import Row, error_rate, movable, rows_of, teach
from lowrung.models.tuning import Frozen, How
from lowrung.run.adapt import Watch
from lowrung.run.evaluate import evaluate
from lowrung.run.practice import (
    Feed,
    Practised,
    curve_of,
    endless,
    job_of,
    kept_rows,
    pace_of,
    ship_practised,
    steps_of,
)
from lowrung.run.ship import training_of

SETTINGS = Settings(lr=1e-4, head_lr=3e-4, batch=12, validations=4, patience=10**6)
STEPS = 200  # where neither steps nor minutes are named
HELD = 60  # rows to validate on, at most
COUNTED = 500_000  # lines whose words are counted, at most
ALPHABET = 5_000  # lines whose letters the head learns, at most


def practise_recognizer(
    task: Task[Text],
    text: Sequence[str | Path],
    *,
    model: str = "",
    how: How,
    steps: int | None = None,
    minutes: float = 0.0,
    column: str = "text",
    seed: int = 0,
    out: str | Path | None = None,
    watch: Watch | None = None,
) -> Practised[Text]:
    """Learn from lines of raw text as espeak-ng speaks them, or as fonts write them. Of speech, count besides which
    words follow which, for the beam to expect. As `run.practice.practise`, which calls it.

    Raises:
        LowrungError: espeak-ng is not installed, or no font is.
    """
    begun, training = time.monotonic(), training_of(out) if out else None
    base = taught(recognizer(model, sense_of(task.media)))
    most = steps_of(steps, minutes) if steps or minutes else STEPS
    chosen, passes = replace(SETTINGS, most=most), [0]
    kept = kept_rows(task, lambda: lines(text, column, held_out=True), seed, HELD)
    feed = Feed(lambda: _rows(task, base.sense, text, column, seed, passes), chosen.batch)
    if not kept:
        told = ", ".join(str(each) for each in text)
        raise DataError(f"{told}: too little text for {task.name}: no rows can be made of it")
    before = evaluate(task, base, kept)
    letters = map(base.sense.written, islice(lines(text, column, held_out=False), ALPHABET))
    made = replace(movable(base, how, letters), name="practice")
    if base.sense.expects:
        own = counted(islice(lines(text, column, held_out=False), COUNTED), base.words)
        made = replace(made, own=own, how=base.how or Beam())
    job = job_of(task, text, base.source, how, chosen, minutes, column, seed)
    progress, ready = Progress(), time.monotonic()
    if not isinstance(how, Frozen):
        with run_of(task.name, "practice", 0, seed):
            progress = teach(
                made,
                feed,
                settings=chosen,
                seed=seed,
                minutes=minutes,
                score=lambda: -error_rate(made, kept),
                checkpoint=training / job if training else None,
                watch=watch,
            )
    trained = time.monotonic()
    after = evaluate(task, rounded(made), kept)
    found = Practised[Text](
        made,
        before,
        after,
        progress.step,
        rows=progress.step * chosen.batch,
        seconds=ready - begun + progress.seconds + time.monotonic() - trained,
        losses=tuple(progress.losses),
        curve=curve_of(progress),
        pace=pace_of(progress, rows=progress.step * chosen.batch),
        passes=max(passes[0], 1),
    )
    if out is not None:
        ship_practised(task, found, Path(out), base, {"seed": seed, "text": [str(each) for each in text], "job": job})
    if training is not None and training.is_dir():
        shutil.rmtree(training)
    return found


def _rows(
    task: Task[Text], sense: Sense, text: Sequence[str | Path], column: str, seed: int, passes: list[int]
) -> Iterator[Row]:
    examples: Iterator[Example[Any]] = endless(task, lambda: lines(text, column, held_out=False), seed, passes)
    return rows_of(examples, sense)
