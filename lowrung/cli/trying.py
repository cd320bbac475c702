"""The verb try: an answer from the untouched model, to a text on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

from lowrung import tasks
from lowrung.cli.answering import Entry, expecting, granted_to, in_words
from lowrung.cli.asking import asking
from lowrung.cli.describing import description_of, questions_of, tell
from lowrung.core.errors import LowrungError
from lowrung.core.task import Row


def try_(asked: argparse.Namespace) -> None:
    from lowrung.cli.answering import as_object
    from lowrung.run.ship import default

    task, row = tasks.task(asked.task), _tried(asked)
    options, description = asked.options if task.labelled else (), description_of(asked)
    told: dict[str, Any] = {"options": options, "meanings": dict(asked.meaning), "description": description}
    questions = questions_of(task.with_options(options, {}), [row]) if description else ()
    shipped = default(task, model=asked.model, questions=questions, **told)
    if task.writes and shipped.facts["method"] == "do-nothing":
        print(
            f"lowrung: nothing that answers {task.name} untouched is embedded; this is the text as it stands. "
            "--model names a language model or an endpoint, and fit learns from rows",
            file=sys.stderr,
        )
    entry = Entry(1, row, shipped.question(row))
    with asking(expecting(granted_to(shipped, asked), asked), asked, bar=False) as shipped:
        said = shipped.answer(row)
    if asked.json:
        formats = {key: shipped.facts[key] for key in ("formats",) if key in shipped.facts}
        print(json.dumps(json.loads(as_object(entry, said)) | formats, ensure_ascii=False))
        return
    print(in_words(entry, said))
    for each, share in said.others:
        print(in_words(entry, replace(said, answer=each, confidence=share)))
    tell(shipped.facts)


def _tried(asked: argparse.Namespace) -> Row:
    if asked.task == "pronoun":
        from lowrung.tasks.pronoun import row_of

        if not asked.pronoun:
            raise LowrungError("pronoun: --pronoun names the word in the text that is meant, as in --pronoun she")
        return row_of(asked.text, asked.pronoun, asked.options)
    if asked.task == "choice":
        if len(asked.options) < 2:
            raise LowrungError("choice: --options names what to choose from, as in --options 'a key,a spoon'")
        text, question = (asked.text, asked.question) if asked.question else ("", asked.text)
        return {"text": text, "question": question, "options": list(asked.options)}
    if asked.task == "dialogue":
        if len(asked.options) < 2:
            raise LowrungError("dialogue: the text is the turns, a line each, and --options A,B names the candidates")
        return {"turns": [line for line in asked.text.splitlines() if line.strip()], "candidates": list(asked.options)}
    if asked.question or asked.task == "answers_in_text":
        if asked.task != "answers_in_text":
            raise LowrungError(f"--question is for the tasks answers_in_text and choice, not for {asked.task}")
        if not asked.question:
            raise LowrungError('answers_in_text: --question says what is asked, as in --question "Who was it?"')
        return {"text": asked.text, "question": asked.question}
    if asked.pronoun:
        raise LowrungError(f"--pronoun is for the task pronoun, not for {asked.task}")
    return {tasks.task(asked.task).media or "text": asked.text}
