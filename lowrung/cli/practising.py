"""The verb practice: raw text → a model of a task, a corrector that knows the user's words, or a better body."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrung import tasks
from lowrung.cli.showing import LINES, aligned, printed, progress
from lowrung.core.answers import Choice, Text
from lowrung.core.errors import LowrungError
from lowrung.core.task import Task

if TYPE_CHECKING:
    from lowrung.run.start import Rehearsal

SHOWN = 8  # words
OFTEN = 3  # passes over a text after which it says little new
SMOOTH = 3.0  # seconds over which a pace is taken


def practice(asked: argparse.Namespace) -> None:
    if asked.masked and asked.task:
        raise LowrungError(f"--masked practises no task; leave out --masked or {asked.task!r}")
    if not asked.masked and not asked.task:
        raise LowrungError(f"name a task to practise ({', '.join(_able())}), or --masked to practise a body alone")
    if asked.masked:
        _masked(asked)
        return
    task = tasks.task(asked.task)
    if asked.least is not None and (task.answer is not Text or task.media):
        raise LowrungError(f"--least is for tasks that harvest words, not for {task.name}")
    if task.answer is Text and task.practice is not None and not task.media:
        _harvested(asked, task)
    else:
        _rehearsed(asked, task)


def _able() -> list[str]:
    return [name for name in tasks.names() if tasks.task(name).practice is not None]


def _rehearsed(asked: argparse.Namespace, task: Task[Any]) -> None:
    from lowrung.run.practice import SETTINGS, practise

    out = Path(asked.out or f"runs/{asked.task}-practice")
    with paced(SETTINGS.batch, "rows") as watch:
        made = practise(
            task,
            asked.text,
            model=asked.model,
            steps=asked.steps,
            minutes=asked.minutes,
            column=asked.column,
            seed=asked.seed,
            out=out,
            watch=watch,
        )
    metric = task.metrics[0]
    before, after = (each.value(metric) for each in (made.untouched, made.report))
    number = len(made.report.examples)
    if asked.json:
        scores = {"metric": metric.name, "untouched": before, "practised": after, "held_out_rows": number}
        printed({"task": task.name, "out": str(out), **made.to_json(), **scores})
        return
    _curve(made.curve, "P(right)" if task.answer is Choice and not task.media else "score")
    print(
        f"{out}: practised on {made.rows} rows in {made.seconds:.0f} s{_pace(made.pace)}; {metric.name} {after:.3f} "
        f"against {before:.3f} of the untouched model, on {number} rows of documents that it did not learn from"
    )
    if made.passes > OFTEN:
        print(
            f"the text was read {made.passes} times: more text would teach more. Rows of people may say otherwise than"
        )
        print(f"rows made of text; lowrung compare {task.name} {out} ROWS tells")


def _harvested(asked: argparse.Namespace, task: Task[Any]) -> None:
    from lowrung.run.harvest import LEAST, WORDS, harvest

    if asked.steps is not None or asked.minutes:
        raise LowrungError(f"{task.name} counts words, and takes no --steps or --minutes; --least says how often")
    out = Path(asked.out or f"runs/{asked.task}-practice")
    made = harvest(
        task,
        asked.text,
        model=asked.model,
        least=asked.least or LEAST,
        column=asked.column,
        seed=asked.seed,
        out=out,
        watch=_counting(),
    )
    metrics = {each.name: (made.untouched.value(each), made.report.value(each)) for each in task.metrics}
    number = len(made.report.examples)
    if asked.json:
        scores = {name: {"untouched": before, "practised": after} for name, (before, after) in metrics.items()}
        printed({"task": task.name, "out": str(out), **made.to_json(), "metrics": scores, "held_out_rows": number})
        return
    own, doubted = made.harvest.own, made.harvest.doubted
    print(
        f"{out}: {len(own)} words of your own in {made.harvest.words} words of text, in {made.seconds:.0f} s{_few(own)}"
    )
    if doubted:
        print(f"{len(doubted)} more may be slips and are left out{_few(doubted)}")
    print(
        f"of the words of documents that it did not learn from it mends {made.mends:.3%}, "
        f"against {made.mends_before:.3%} of the untouched corrector"
    )
    print(f"on {number} of their lines with misspellings put in:")
    lines = [(name, f"{before:.3f}", f"{after:.3f}") for name, (before, after) in metrics.items()]
    print(aligned([("metric", "untouched", "practised"), *lines]))
    if own:
        print(f"the words: {out / WORDS}, also for --lexicon")


def _counting() -> Callable[[int], None]:
    """Says every few seconds how many lines have been counted."""
    begun = last = time.monotonic()

    def told(number: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > LINES:
            last = now
            print(f"{number:,} lines counted, {number / (now - begun):,.0f} a second", file=sys.stderr, flush=True)

    return told


def _few(words: Mapping[str, int]) -> str:
    """The commonest of them, after a colon."""
    ranked = sorted(words, key=lambda word: (-words[word], word))[:SHOWN]
    return f": {', '.join(ranked)}{', …' if len(words) > SHOWN else ''}" if ranked else ""


def _masked(asked: argparse.Namespace) -> None:
    from lowrung.run.masked import SETTINGS, practise_masked

    if asked.least is not None:
        raise LowrungError("--least is for tasks that harvest words, not for --masked")
    out = Path(asked.out or "runs/masked")
    with paced(SETTINGS.batch, "windows") as watch:
        made = practise_masked(
            asked.text,
            model=asked.model,
            steps=asked.steps,
            minutes=asked.minutes,
            column=asked.column,
            seed=asked.seed,
            out=out,
            watch=watch,
        )
    if asked.json:
        printed({"out": str(out), **made.to_json()})
        return
    _curve(made.curve, "held-out loss")
    print(
        f"{out}: practised on {made.rows} windows in {made.seconds:.0f} s{_pace(made.pace)}; of the pieces hidden in "
        f"{made.held} windows of documents that it did not learn from it guesses {made.accuracy:.1%}"
    )
    print(f"--model {out} takes it from here; whether it helps, a study of your task says")


def rehearsal(asked: argparse.Namespace) -> Rehearsal | None:
    """What --text and its companions ask for; None without them."""
    from lowrung.run.start import Rehearsal

    if not asked.text:
        if asked.practice_steps is not None or asked.practice_minutes:
            raise LowrungError(
                "--practice-steps and --practice-minutes say how long to practise on --text, which is missing"
            )
        return None
    return Rehearsal(tuple(asked.text), asked.column, asked.practice_steps, asked.practice_minutes)


@contextmanager
def paced(batch: int, what: str) -> Iterator[Callable[[int, int, float], None]]:
    """A watch of a training that shows its loss, smoothed, and its pace."""
    seen: list[tuple[float, int]] = []
    losses: list[float] = []
    with progress(every=LINES) as watch:

        def told(step: int, steps: int, loss: float) -> None:
            seen.append((time.monotonic(), step))
            losses.append(loss)
            del losses[:-20]
            while len(seen) > 2 and seen[-1][0] - seen[1][0] > SMOOTH:
                seen.pop(0)
            (before, first), (now, last) = seen[0], seen[-1]
            pace = {what: (last - first) * batch / (now - before)} if now > before else {}
            watch(f"loss {sum(losses) / len(losses):.3f}{_pace(pace)}", step - 1, steps)

        yield told


def _curve(curve: Sequence[Mapping[str, float | None]], score: str) -> None:
    lines = [("step", "minutes", score, "loss")]
    for each in curve:
        loss = each["loss"]
        cells = f"{each['step']:,.0f}", f"{each['minutes']:.1f}", f"{each['score']:.3f}"
        lines.append((*cells, "" if loss is None else f"{loss:.3f}"))
    if len(lines) > 1:
        print(aligned(lines))


def _pace(pace: Mapping[str, float]) -> str:
    told = [f"{each:,.0f} {name}/s" if each >= 10 else f"{each:.1f} {name}/s" for name, each in pace.items()]
    return f" ({', '.join(told)})" if told else ""
