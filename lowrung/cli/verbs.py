"""What each verb does: read, call the room that knows, print."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrung import tasks
from lowrung.cli import keeping
from lowrung.cli.answering import Entry, answer, expecting, in_words, wishes_of
from lowrung.cli.asking import asking, terms_of
from lowrung.cli.auditing import audit
from lowrung.cli.describing import for_task_only, optioned, questions_of, tell
from lowrung.cli.explaining import explain
from lowrung.cli.labelling import label, silver, silver_told
from lowrung.cli.next_rows import next_rows
from lowrung.cli.practising import paced, practice, rehearsal
from lowrung.cli.probing import probe
from lowrung.cli.serving import serve
from lowrung.cli.showing import aligned, printed, progress, score_lines
from lowrung.cli.sources import folder_or_task, meant, parts_of, warn_of_learnt
from lowrung.cli.trying import try_
from lowrung.core.errors import DataError, ModelError
from lowrung.core.task import Example, Row, Task
from lowrung.data.files import accept, needed, read_rows

if TYPE_CHECKING:
    from lowrung.data.describing import Description
    from lowrung.run.ship import Shipped

SHOWN = 10  # rows that differ


def study(asked: argparse.Namespace) -> None:
    from lowrung.models.remote import is_remote
    from lowrung.run.study import study as run

    task, rows, description = _learning(asked)
    test: list[Row] = []
    if asked.test or "test" in parts_of(asked.rows):
        test = read_rows(asked.test or asked.rows, rename=dict(asked.rename), task=task, split="test")
    out = Path(asked.out or _default_out(asked))
    with progress() as watch:
        made = run(
            task,
            rows,
            test=test,
            methods=asked.methods,
            labels=asked.labels,
            seeds=asked.seeds,
            model=asked.model,
            out=out,
            confidence=asked.confidence,
            balanced=asked.balanced,
            rehearsal=rehearsal(asked),
            augment=asked.augment,
            words=asked.words,
            silver=silver(asked, task),
            terms=terms_of(asked, remote=any(map(is_remote, asked.model))),
            description=description,
            watch=watch,
        )
    if asked.words:
        print(f"lowrung: {made.facts['words']}", file=sys.stderr)
    if asked.json:
        printed(made.to_json())
        return
    from rich.console import Console

    from lowrung.run.report import table

    Console().print(table(made.to_json()))
    tell(made.facts)
    print_tried(made.facts.get("augmentations", ()))
    for line in silver_told(made.facts.get("silver")):
        print(line)
    print(f"best: {made.sentence}")
    print(made.gate.reason)
    print(f"files: {out / 'report.html'}  {out / 'study.json'}  {out / 'model'}")


def print_tried(tried: Sequence[Mapping[str, Any]]) -> None:
    """What each augmentation did to the winner, on rows held out."""
    lines = [("augmentation", "with it", "without", "gain", "P(helps)", "")]
    for each in tried:
        gain = "{:+.3f} ({:+.3f} to {:+.3f})".format(*each["gain"])
        scores = (f"{each['value']:.3f}", f"{each['without']:.3f}")
        lines.append((each["name"], *scores, gain, f"{each['probability']:.2f}", "kept" if each["kept"] else "vetoed"))
    if tried:
        print(aligned(lines))


def fit(asked: argparse.Namespace) -> None:
    from lowrung.run.fit import fit as run
    from lowrung.run.fit import usual_with
    from lowrung.run.methods import METHODS, PRACTICE, ZERO_SHOT
    from lowrung.run.named import named
    from lowrung.run.practice import SETTINGS

    task, rows, description = _learning(asked)
    dev = read_rows(asked.dev, rename=dict(asked.rename), task=task, split="dev") if asked.dev else []
    found = named(task, asked.model)
    usual_here = usual_with(task, found, silver=bool(asked.silver))
    bare = ZERO_SHOT if description and not any(map(task.golds, rows)) and not found.foreign else ""
    method = asked.method or bare or (PRACTICE if asked.text and not found.foreign else usual_here)
    out = Path(asked.out or f"{_default_out(asked)}-{method}")
    with paced(SETTINGS.batch, "rows") as watch:
        shipped = run(
            task,
            rows,
            method=method,
            model=asked.model,
            seed=asked.seed,
            dev=dev,
            out=out,
            wishes=wishes_of(asked),
            words=asked.words,
            rehearsal=rehearsal(asked),
            silver=silver(asked, task),
            terms=terms_of(asked, remote=found.remote is not None),
            description=description,
            watch=watch,
        )
    tell(shipped.facts)
    labels = f", labels {', '.join(shipped.task.options)}" if shipped.task.options else ""
    if shipped.facts.get("budget"):
        print(f"lowrung: {shipped.facts['budget']}", file=sys.stderr)
    if asked.words:
        print(f"lowrung: {shipped.facts['words']}", file=sys.stderr)
    learnt = f"fitted to {shipped.facts['rows']} rows" if METHODS[method].learns else "learnt from no labelled row"
    print(f"{out}: {method}, {learnt}{labels}")
    if dev:
        report = json.loads((out / "report.json").read_text("utf-8"))["dev"]
        print(aligned([("metric", "value", "low", "high"), *score_lines(report["scores"])]))


def score(asked: argparse.Namespace) -> None:
    from lowrung.run.evaluate import evaluate

    shipped, examples = _measured(asked, folder_or_task(asked.model, asked.body))
    shipped = expecting(shipped, asked)
    with asking(shipped, asked) as shipped:
        report = evaluate(shipped.task, shipped.model, examples).to_json()
    found = {
        "task": report["task"],
        "model": asked.model,
        "rows": report["rows"],
        "metrics": report["scores"],
        "labels": report["labels"],
        "unanswered": report["unanswered"],
        "lacking": report["lacking"],
    }
    if "formats" in shipped.facts:
        found["formats"] = shipped.facts["formats"]
    if asked.json:
        printed(found)
        return
    print(
        f"{asked.model} ({shipped.facts.get('method', shipped.model.name)}) on {found['rows']} rows of {asked.rows}\n"
    )
    print(aligned([("metric", "value", "low", "high"), *score_lines(found["metrics"])]))
    tell(shipped.facts)
    if found["lacking"]:
        lacks = ", ".join(f"{number} lack {kind}" for kind, number in found["lacking"].items())
        print(f"\nof the kinds of parts that the model learnt from, {lacks}")
    if report["labels"]:
        head = ("label", "precision", "recall", "f1", "support")
        lines = [
            (label, *(f"{each[name]:.3f}" for name in head[1:4]), f"{each['support']:.0f}")
            for label, each in report["labels"].items()
        ]
        print("\n" + aligned([head, *lines]))


def compare(asked: argparse.Namespace) -> None:
    from lowrung.run.cells import answer_json
    from lowrung.run.compare import compare as run
    from lowrung.run.evaluate import evaluate

    found_one, found_two = folder_or_task(asked.one), folder_or_task(asked.two)
    names = [each.name if isinstance(each, Task) else each.task.name for each in (found_one, found_two)]
    if names[0] != names[1]:
        raise ModelError(f"{asked.one} answers {names[0]} and {asked.two} answers {names[1]}; compare like with like")
    rows = _to_measure_on(asked, found_one if isinstance(found_one, Task) else found_one.task)
    one, examples = _measured(asked, found_one, beside=found_two, rows=rows)
    two, others = _measured(asked, found_two, beside=found_one, rows=rows)
    reports = [
        replace(evaluate(each.task, each.model, given), model=name)
        for each, given, name in ((one, examples, asked.one), (two, others, asked.two))
    ]
    found = run(reports[0], reports[1])
    differing = [
        {
            "id": examples[at].id,
            "text": " | ".join(examples[at].question.texts),
            "gold": answer_json(examples[at].golds[0]) if examples[at].golds else None,
            "one": answer_json(reports[0].predictions[at].answer),
            "two": answer_json(reports[1].predictions[at].answer),
        }
        for at in found.differing
    ]
    if asked.json:
        printed({**asdict(found), "better": found.better, "verdict": found.verdict(), "differing": differing})
        return
    print(found.verdict())
    if found.mcnemar_p is not None:
        print(f"McNemar's test: p = {found.mcnemar_p:.4f} (two-sided, mid-p)")
    print(f"{len(differing)} of {found.rows} rows were got right by one of them only.")
    for at in found.differing[:SHOWN]:
        print(f"\n{examples[at].id or f'row {at + 1}'}")
        for name, report in zip((asked.one, asked.two), reports, strict=True):
            right = "right" if report.right()[at] else "wrong"
            print(f"  {right}  {name}: {in_words(Entry(at + 1, {}, examples[at].question), report.predictions[at])}")
    if len(differing) > SHOWN:
        print(f"\n… and {len(differing) - SHOWN} more; --json has them all")


def check(asked: argparse.Namespace) -> None:
    from lowrung.data.check import check as run

    task = tasks.task(asked.task)
    parts = parts_of(asked.rows)
    sides = {name: read_rows(parts[name], rename=dict(asked.rename)) for name in ("dev", "test") if name in parts}
    if asked.test:
        sides["test"] = read_rows(asked.test, rename=dict(asked.rename), split="test")
    rows = read_rows(asked.rows, rename=dict(asked.rename))
    if not any(column in row for row in rows for column in task.columns):
        needed(task, rows[0], asked.rows)  # a name to mend, once; not an oddity of every row
    found = run(task, rows, **sides, **_lengths(asked.model))  # type: ignore[arg-type]
    if asked.json:
        printed(found.to_json())
        return
    for side, number in found.rows.items():
        labels = ", ".join(f"{label} {often}" for label, often in found.labels[side].items())
        print(f"{side}: {number} rows, {found.labelled[side]} with labels" + (f" ({labels})" if labels else ""))
    for fact in found.facts:
        print(fact)
    for each in found.findings:
        print(f"- {each.message}")
        for place in each.places:
            print(f"    {place}")
    number = len(found.findings)
    print(f"{number} finding{'s' if number > 1 else ''}" if number else "nothing odd found")


def list_tasks(asked: argparse.Namespace) -> None:
    known = [tasks.task(name) for name in tasks.names()]
    found = [
        {
            "name": task.name,
            "about": task.about,
            "answer": task.answer.__name__,
            "columns": list(task.columns),
            "metrics": [metric.name for metric in task.metrics],
            "sample": dict(task.sample),
        }
        for task in known
    ]
    if asked.json:
        printed(found)
        return
    for task in known:
        print(f"{task.name}: {task.about}")
        print(f"    a row: {json.dumps(dict(task.sample), ensure_ascii=False)}")
        print(f"    metrics: {', '.join(metric.name for metric in task.metrics)}")


def list_models(asked: argparse.Namespace) -> None:
    from lowrung.models import catalog, language_model

    own = {**catalog.embedded(), **language_model.embedded()}
    ways = {
        "a folder": "any transformers encoder or language model with .safetensors weights, as in --model ./my-bert",
        "a hub id": "owner/name, fetched once and kept by the hub's client, as in --model intfloat/e5-small-v2",
        "an endpoint": "OpenAI-compatible, asked in words, as in --model http://127.0.0.1:8000/v1#name",
        "a shipped model": "the folder that study or fit wrote, for answer, score, compare and export",
    }
    if asked.json:
        printed({"embedded": own, "others": ways})
        return
    print(aligned(list({**own, **ways}.items())))


def list_methods(asked: argparse.Namespace) -> None:
    from lowrung.run.methods import METHODS

    if asked.json:
        printed(
            [
                {
                    "name": each.name,
                    "about": each.about,
                    "answers": [shape.__name__ for shape in each.answers],
                    "learns": each.learns,
                    "candidate": each.candidate,
                }
                for each in METHODS.values()
            ]
        )
        return
    print(aligned([(each.name, each.about) for each in METHODS.values()]))


def export(asked: argparse.Namespace) -> None:
    from lowrung.run.export import export as run
    from lowrung.run.ship import load

    folder = run(load(asked.model, options=asked.options), asked.transformers, body_only=asked.body_only)
    print(f"{folder}: loads with transformers' AutoModel and AutoTokenizer; {folder / 'README.md'} shows how")


HANDLERS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "study": study,
    "fit": fit,
    "practice": practice,
    "answer": answer,
    "score": score,
    "label": label,
    "compare": compare,
    "audit": audit,
    "probe": probe,
    "explain": explain,
    "next": next_rows,
    "serve": serve,
    **keeping.HANDLERS,
    "try": try_,
    "check": check,
    "tasks": list_tasks,
    "models": list_models,
    "methods": list_methods,
    "export": export,
}


def _learning(asked: argparse.Namespace) -> tuple[Task[Any], list[Row], Description | None]:
    """The task with the labels of the rows to learn from, those rows, and the task in words where it is told."""
    task, description = optioned(tasks.task(asked.task), asked)
    rows = read_rows(asked.rows, rename=dict(asked.rename), task=task, split="train")
    if not (description and task.options):  # which can be chosen among without one label
        _labelled(task, rows, asked.rows)
    return meant(task.fitted_to(rows), asked), rows, description


def _labelled(task: Task[Any], rows: Sequence[Row], source: str) -> list[Row]:
    """The rows that carry a right answer, or checks of one; at least one."""
    found = [row for row in rows if task.golds(row) or task.question(row).checks]
    if not found:
        column = next(name for name in task.sample if name not in task.columns)
        theirs = ", ".join(map(str, dict.fromkeys(name for row in rows[:100] for name in row)))
        mend = f"--rename {column}=<theirs> reads another column as {column!r}"
        raise DataError(f"{source}: no row has a {column!r} (found: {theirs}); {mend}")
    return found


def _to_measure_on(asked: argparse.Namespace, task: Task[Any]) -> list[Row]:
    """The rows of a file, or of a folder's test part."""
    from lowrung.run.silver import gold_only

    rows = read_rows(_source(asked), rename=dict(asked.rename), task=task, split="test")
    gold_only(rows, str(_source(asked)))
    return rows


def _source(asked: argparse.Namespace) -> str | Path:
    parts = parts_of(asked.rows)
    return next((parts[each] for each in ("test", "dev", "train") if each in parts), asked.rows)


def _measured(
    asked: argparse.Namespace,
    found: Shipped | Task[Any],
    *,
    beside: Shipped | Task[Any] | None = None,
    rows: Sequence[Row] = (),
) -> tuple[Shipped, list[Example[Any]]]:
    """A model and the labelled rows as its examples.

    An untouched model takes its labels from the model `beside` it, and those that the rows add. `rows` are those that
    have been read: the standard input can be read once.
    """
    from lowrung.run.ship import default

    source, task = _source(asked), found if isinstance(found, Task) else found.task
    for number, row in enumerate(rows, 1):  # that another model's task has read
        accept(task, row, f"{source}: row {number}")
    rows = rows or _to_measure_on(asked, task)
    if isinstance(found, Task):
        known = () if beside is None or isinstance(beside, Task) else beside.task.options
        body = getattr(asked, "body", "")
        described, description = optioned(found.with_options(known), asked)
        task = meant(described.fitted_to(rows), asked)
        questions = questions_of(task, rows) if description else ()
        shipped = default(task, model=body, description=description, questions=questions)
    else:
        for_task_only(asked, getattr(asked, "model", task.name))
        shipped = found
    examples = [shipped.task.example(row) for row in _labelled(shipped.task, rows, str(source))]
    if len(examples) < len(rows):
        print(f"lowrung: {len(rows) - len(examples)} rows without a label are left out", file=sys.stderr)
    warn_of_learnt(shipped, examples, str(source))
    return shipped, examples


def _default_out(asked: argparse.Namespace) -> str:
    stem = Path(asked.rows.removeprefix("hub:").rstrip("/")).name.partition(".")[0] or "rows"
    return f"runs/{asked.task}" if stem == asked.task else f"runs/{asked.task}-{stem}"


def _lengths(model: str) -> dict[str, Any]:
    """How the model counts and how much it reads, where it is there to ask."""
    from lowrung.models.catalog import DEFAULT, backbone

    try:
        tokenizer = backbone(model or DEFAULT).tokenizer
    except ModelError:
        if model:
            raise
        return {}  # the embedded model is an extra; the rest of the check does without
    return {"count_pieces": lambda text: len(tokenizer.pieces([text])[0][0]), "longest": tokenizer.longest}
