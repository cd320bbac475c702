"""`lowrung audit`: the rows, from wherever they are named, and what an audit of them found, as tables or as JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrung.cli.showing import aligned, printed
from lowrung.cli.sources import folder_or_task, meant, parts_of, warn_of_learnt
from lowrung.core.answers import Choice, Choices, Prediction, Spans, write
from lowrung.core.edits import between
from lowrung.core.errors import DataError
from lowrung.core.task import Example, Row, Task
from lowrung.data.files import accept, places
from lowrung.data.winobias import is_marked, row_of

if TYPE_CHECKING:
    from lowrung.run.audit import Audit, Flip
    from lowrung.run.evaluate import Score
    from lowrung.run.ship import Shipped

SHOWN = 3  # flips of each swap
LONG = 150  # letters of an answer that are shown
EXAMPLES = Path(__file__).parents[2] / "examples" / "rows"  # beside the package where it was not installed from a wheel


def audit(asked: argparse.Namespace) -> None:
    from lowrung.run.audit import audit as run

    found = folder_or_task(asked.model)
    task = found if isinstance(found, Task) else found.task
    sources = asked.rows or [_example_rows(task, asked.model)]
    rows = _rows(asked, task, sources)
    shipped = _untouched(found, rows, asked) if isinstance(found, Task) else found
    warn_of_learnt(shipped, [shipped.task.example(row) for row in rows], " ".join(sources))
    result = run(shipped.model, shipped.task, rows, swaps=asked.swaps, groups=asked.groups, seed=asked.seed)
    if asked.json:
        printed({**result.to_json(), "model": asked.model})
        return
    name = f"{asked.model} ({shipped.facts.get('method', shipped.model.name)})"
    print("\n".join(_lines(result, f"{name} on {_rows_told(result, sources)}")))


def _example_rows(task: Task[Any], model: str) -> str:
    folder = EXAMPLES / task.name
    if not folder.is_dir():
        raise DataError(f"{task.name} comes with no example rows; name some, as in lowrung audit {model} rows.jsonl")
    return str(folder)


def _rows(asked: argparse.Namespace, task: Task[Any], sources: list[str]) -> list[Row]:
    """All rows that are named, none of them silver; those marked as WinoBias marks them, as rows of the task."""
    from lowrung.run.silver import gold_only

    rows, passed = list[Row](), 0
    marked = task.points and task.marks
    for where, row in _placed(sources, dict(asked.rename)):
        if marked and "candidates" not in row and is_marked(row):
            made = row_of(row)
            if made is None:
                passed += 1
                continue
            row = made
        accept(task, row, where)
        rows.append(row)
    if passed:
        told = f"{passed} rows do not mark one pronoun and one of two occupations that WinoBias has"
        print(f"lowrung: {told}; they are left out", file=sys.stderr)
    if not rows:
        raise DataError(f"{' '.join(sources)}: no rows to audit")
    gold_only(rows, " ".join(sources))
    return rows


def _placed(sources: list[str], rename: dict[str, str]) -> Iterator[tuple[str, Row]]:
    for source in sources:
        parts = parts_of(source)
        yield from places(next((parts[each] for each in ("test", "dev") if each in parts), source), rename, "test")


def _untouched(task: Task[Any], rows: list[Row], asked: argparse.Namespace) -> Shipped:
    from lowrung.run.ship import default

    return default(meant(task.with_options(asked.options).fitted_to(rows), asked))


def _rows_told(result: Audit[Any], sources: list[str]) -> str:
    told = f"{result.rows} rows of {sources[0] if len(sources) == 1 else f'{len(sources)} files'}"
    return told if result.labelled == result.rows else f"{told}, {result.labelled} of them with a right answer"


def _lines(result: Audit[Any], title: str) -> Iterator[str]:
    metric = result.metric.name
    yield title + (f": {metric} {_told(result.score)}" if result.score else "")
    head = ["swap", "rows", "flips", "share that flips"]
    scored = any(effect.difference for effect in result.effects)
    table = [[*head, metric, "swapped", "difference"] if scored else head]
    for effect in result.effects:
        cells = [effect.swap, str(effect.rows), str(len(effect.flips)) if effect.rows else "", _told(effect.share)]
        if scored:
            cells += [_number(effect.before), _number(effect.after), _told(effect.difference, sign="+")]
        table.append(cells)
    yield f"\n{aligned(table)}"
    for effect in result.effects:
        if effect.left_out:
            told = f"{effect.left_out} more rows are not swapped: they name people whose first name is in no list"
            yield f"{effect.swap}: {told}."
    if result.gaps:
        groups = [("group", "rows", metric)]
        for gap in result.gaps:
            groups += [(f"{gap.facet}: {each.name}", str(each.rows), _told(each.score)) for each in gap.groups]
            groups.append((f"{gap.facet}: {gap.one} - {gap.two}", "", _told(gap.difference, sign="+")))
        yield f"\n{aligned(groups)}"
    if scored or result.gaps:
        yield "\n" + ("\n".join(result.findings()) or "No difference of scores is shown: every interval holds 0.")
    for effect in result.effects:
        if effect.flips:
            yield f"\n{effect.swap}: {min(SHOWN, len(effect.flips))} of {len(effect.flips)} flips (--json has all)"
        for flip in effect.flips[:SHOWN]:
            yield from _flip_lines(flip)


def _flip_lines(flip: Flip[Any]) -> Iterator[str]:
    changes = ", ".join(f"{old} → {new}" for old, new in dict.fromkeys(flip.changes))
    yield f"{flip.before.id or f'row {flip.row + 1}'}: {_cut(changes)}"
    yield f"  {_cut(' | '.join(flip.before.question.texts))}"
    before, after = (_said(each, said) for each, said in ((flip.before, flip.said), (flip.after, flip.then)))
    due = flip.due.option if isinstance(flip.due, Choice) and flip.due != flip.said.answer else ""
    yield f"  before: {before}; after: {after}{f', where {due} was due' if due else ''}"


def _said(example: Example[Any], said: Prediction[Any]) -> str:
    """An answer without the text around it: what was chosen, the spans, or what was changed."""
    text, answer = example.question.text, said.answer
    if isinstance(answer, Choice | Choices):
        return f"{write(answer, example.question)} {said.confidence:.2f}"
    if isinstance(answer, Spans):
        return _cut(", ".join(f"[{text[each.start : each.end]}]({each.label})" for each in answer.spans)) or "no span"
    if answer is None:
        return "no answer"
    changes = between(text, answer.text)
    return _cut(", ".join(f"{text[each.start : each.end]} → {each.text}" for each in changes)) or "nothing changed"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONG else f"{text[:LONG]}…"


def _told(score: Score | None, *, sign: str = "") -> str:
    return f"{score.value:{sign}.3f} ({score.low:{sign}.3f} to {score.high:{sign}.3f})" if score else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
