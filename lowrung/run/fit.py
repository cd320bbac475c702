"""fit: rows → a shipped model, by one method, with no question asked whether it is better. A study asks."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrung import __version__
from lowrung.core.answers import Choice, Text
from lowrung.core.errors import DataError, LowrungError, unknown
from lowrung.core.task import Example, Row, Task
from lowrung.models.tracked import run_of
from lowrung.run.adapt import Watch
from lowrung.run.describing import described_for, described_task
from lowrung.run.evaluate import evaluate
from lowrung.run.mending import Wishes, asked, granted
from lowrung.run.methods import (
    REMOTE,
    WITH_SILVER,
    WRITER,
    Method,
    fit_method,
    foundation,
    hears_words,
    kinds_of,
    methods_for,
    settled,
    untouched,
    usual,
)
from lowrung.run.named import Named, named
from lowrung.run.reference import reference_of
from lowrung.run.ship import Shipped, fingerprint, now, ship, training_of, vacant, versions
from lowrung.run.silver import gold_only, silver_examples
from lowrung.run.start import Rehearsal, started, unpractised

if TYPE_CHECKING:
    from lowrung.data.describing import Description
    from lowrung.models.endpoint import Terms

STOPS_BY_DEV = (
    "contrastive",
    "top",
    "lora",
    "full",
    "practice+top",
    "practice+full",
    "top+silver",
    "early",
    "cross",
    "late",
    "decoder",
    "decoder+full",
    "writer+lora",
    "writer+full",
)  # their dev rows choose when training ends


def fit(
    task: Task[Any] | str,
    rows: Sequence[Row],
    *,
    method: str = "",
    model: str = "",
    seed: int = 0,
    dev: Sequence[Row] = (),
    out: str | Path | None = None,
    meanings: Mapping[str, str] | None = None,
    watch: Watch | None = None,
    wishes: Wishes = Wishes(),  # noqa: B008 (frozen)
    words: str | Path = "",
    rehearsal: Rehearsal | None = None,
    silver: Sequence[Row] = (),
    terms: Terms | None = None,
    description: Description | None = None,
) -> Shipped:
    """Learn from `rows` and, with `out`, ship the folder.

    Args:
        task: a task, or its name.
        rows: home rows; those without a gold are left out.
        method: a name of run.methods.METHODS, "" for the usual one of the task.
        model: a backbone's name (of Texts, a language), "" for the embedded one; an endpoint's address for
            `remote`; a language model for `writer` and its kin.
        dev: rows to stop early by, and to report a score on.
        out: a folder. An interrupted fit with `out` goes on from `<out>.training` when it is called again.
        meanings: label → what it means in words.
        watch: called with (step, steps, loss).
        wishes: what is asked of a corrector besides.
        words: a file of words and phrases that a model of speech is to expect; see models.hot_words.
        rehearsal: raw text, for a method that practises.
        silver: rows that a model has labelled, for a method that learns from such.
        terms: how an endpoint is asked.
        description: the task in words; how they are put is chosen on `rows` without a look at their golds.

    Raises:
        DataError: no labelled rows, only one label to choose from, or dev rows with a label that `rows` lack.
        LowrungError: an unknown task or method, or a meaning for a label that no row has.
        ModelError: no such backbone, or `out` holds something else than a shipped model.
    """
    from lowrung.tasks import task as of_name

    if out:
        vacant(out)
    fitted = described_task(of_name(task) if isinstance(task, str) else task, description).fitted_to(rows)
    if meanings:
        for label in meanings:
            if label not in fitted.options:
                raise LowrungError(unknown("label", label, fitted.options))
        fitted = fitted.with_options(fitted.options, meanings)
    gold_only(rows, "rows to learn from")
    gold_only(dev, "dev rows")
    found = named(fitted, model, terms)
    remote, writer = found.remote, found.writer
    method = method or usual_with(fitted, found, silver=bool(silver))
    if rehearsal is not None and fitted.practice is None:
        raise LowrungError(unpractised(fitted))
    kinds = kinds_of(map(fitted.example, rows))
    asked_for = {
        "text": rehearsal is not None,
        "remote": remote is not None,
        "writer": writer is not None,
        "silver": bool(silver),
        "described": description is not None,
    }
    ways = methods_for(fitted, (method,), kinds=kinds, **asked_for)
    chosen = next(each for each in ways if each.name == method)
    if rehearsal is not None and not chosen.practised:
        able = ", ".join(each.name for each in methods_for(fitted, text=True) if each.practised)
        raise LowrungError(f"method {method} does not practise on raw text; these do: {able}")
    examples, held = _labelled(fitted, rows), _labelled(fitted, dev)
    labels = len(examples) if chosen.learns else 0
    if silver and not chosen.silver:
        able = ", ".join(each.name for each in methods_for(fitted, silver=True) if each.silver)
        raise LowrungError(f"method {method} does not learn from silver rows; these do: {able}")
    if not examples and chosen.learns:
        raise DataError(f"none of the {len(rows)} rows has a label; {untouched(fitted)} is the method that needs none")
    if fitted.answer is Choice and len(fitted.options) == 1:
        raise DataError(f"all rows have the label {fitted.options[0]!r}; there is nothing to choose")
    if dev and not held:
        raise DataError("none of the dev rows has a label")
    stands = chosen.body or ((fitted.mends or fitted.media) and not (chosen.remote or chosen.writer))
    body = foundation(fitted, model) if stands else writer if chosen.writer else remote
    if wishes:
        body = asked(body, wishes)
    golds = [each.golds[0].text for each in examples if chosen.learns and isinstance(each.golds[0], Text)]
    expected = ""
    if silver:
        more, facts_of_silver = silver_examples(fitted, silver, (*examples, *held))
        examples = (*examples, *more)
    if words:
        from lowrung.models.hot_words import expecting

        body, expected = expecting(body, words, texts=golds)
    learnt = () if chosen.practised and not chosen.learns else examples
    facts: dict[str, Any] = {
        "method": method,
        "seed": seed,
        "fingerprint": fingerprint(learnt),
        "rows": len(learnt),
        "source": body.source.name if body else method,
    }
    if silver:
        facts["silver"] = facts_of_silver
    training = training_of(out) if out else None
    start = None
    if rehearsal is not None:
        start = started(fitted, rehearsal, base=body, out=training, watch=watch)
        facts["practice"] = {"text": [str(each) for each in rehearsal.text], **start.facts}
    if words:
        facts["words"] = expected
        start = replace(start, model=expecting(start.model, words, texts=golds)[0]) if start else None
    job = repr((__version__, facts, wishes, fitted.name, fitted.options, dict(fitted.meanings), fingerprint(held)))
    job += (body.source.checksum if body else "") + (start.checksum if start else "")
    if hears_words(fitted, kinds):
        from lowrung.models.cascade import ears_for, examples_with_words

        examples, held = examples_with_words(examples), examples_with_words(held)
        job += "".join(ear.source.checksum for ear in ears_for(kinds).values())
    asked_rows = [fitted.question(row) for row in rows] if description else []
    described = described_for(fitted, found, body if chosen.body else None, description, asked_rows)
    if description:
        facts["formats"] = described.to_json()
        job += described.key
    with run_of(fitted.name, method, labels, seed):
        made = fit_method(
            chosen,
            fitted,
            examples,
            backbone=body,
            seed=seed,
            dev=held if method in STOPS_BY_DEV else (),
            checkpoint=training / hashlib.sha256(job.encode()).hexdigest()[:24] if training else None,
            watch=watch,
            start=start.model if start else None,
            kinds=kinds,
            remote=remote,
            writer=described.writer if chosen.name == WRITER and described.writer else writer,
            wording=described.wording,
        )
    made = settled(made)  # a reference is made of what is shipped
    once = {each.id or str(at): each.question for at, each in enumerate(examples)}  # a row that counts twice
    reference = reference_of(made, list(once.values())) if out else None
    if wishes.budget is not None:
        made, facts["budget"] = granted(made, Wishes(budget=wishes.budget))
    score = evaluate(fitted, made, held).to_json() if held else None
    report = {"task": fitted.name, "options": list(fitted.options), **facts, "dev": score}
    if out is None:
        named_task = {"name": fitted.name, "options": list(fitted.options), "meanings": dict(fitted.meanings)}
        return Shipped(fitted, made, {"task": named_task, "versions": versions(), "date": now(), **facts})
    card = _card(fitted, chosen, report, Path(out))
    shipped = ship(fitted, made, out, report=report, card=card, facts=facts, reference=reference)
    if training is not None and training.is_dir():
        shutil.rmtree(training)
    return shipped


def usual_with(task: Task[Any], found: Named, *, silver: bool) -> str:
    """The method that `fit` takes where these models were named, and nobody names a method."""
    if found.foreign and not found.body:
        return f"{WRITER}+lora" if found.writer else REMOTE
    return usual(task) + (WITH_SILVER if silver else "")


def _labelled(task: Task[Any], rows: Sequence[Row]) -> tuple[Example[Any], ...]:
    return tuple(each for each in map(task.example, rows) if each.golds)


def _card(task: Task[Any], method: Method, report: Mapping[str, Any], out: Path) -> str:
    """A model card that claims no score that was not measured."""
    if report["dev"]:
        lines = [
            f"- {name}: {score['value']:.3f} (95 % interval {score['low']:.3f} to {score['high']:.3f})"
            for name, score in report["dev"]["scores"].items()
        ]
        leans = (
            " These rows also chose when training ended, so the numbers lean high."
            if method.name in STOPS_BY_DEV
            else ""
        )
        measured = (
            f"On {report['dev']['rows']} dev rows:\n\n" + "\n".join(lines) + (f"\n\n{leans.strip()}" if leans else "")
        )
    else:
        measured = "Nothing was measured: no score is claimed. `lowrung score` measures it on rows of yours."
    learnt = f"learnt from: {report['rows']} labelled rows" if method.learns else "learnt from: no labelled row"
    practised = report.get("practice")
    text = f"\n- practised on: {', '.join(practised['text'])}" if practised else ""
    labels = f"\n- labels: {', '.join(task.options) or 'those that each row brings'}"
    labels = "" if task.answer is Text else labels
    body = "" if not (method.body or method.writer) else f" on `{report['source']}`"
    return f"""# {task.name}: {method.name}

{task.about[:1].upper()}{task.about[1:]}.

- method: {method.name}{body} ({method.about}){labels}
- {learnt}, seed {report["seed"]} (fingerprint `{report["fingerprint"][:16]}`){text}

## How good it is

{measured}

It was not compared with the untouched model; `lowrung study` does that and ships only what is shown to be better.

## Use

    lowrung answer {out.name} {'"a text"' if task.labelled and not task.marks else "rows.jsonl"}
"""
