"""`lowrung next`: which rows to label next."""

from __future__ import annotations

import argparse
from typing import Any

from lowrung.cli import values
from lowrung.cli.showing import aligned, printed
from lowrung.core.errors import DataError
from lowrung.core.task import Row
from lowrung.data.files import read_rows, takes_rows, write_rows

VERB = (  # as in help.VERBS
    "say which of many raw rows to label next: those that would teach the model most",
    """
  lowrung next runs/topic mails.jsonl --n 20
  lowrung next runs/topic mails.jsonl --n 50 --known train.jsonl --out to-label.jsonl
  lowrung next topic mails.jsonl --options refund,delivery,praise""",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a shipped folder, a study's, or a task")
    parser.add_argument("rows", metavar="ROWS", help="raw rows; those that have their right answer are passed over")
    parser.add_argument("--n", type=values.at_least_one, default=20, metavar="N", help="how many; default 20")
    parser.add_argument(
        "--known", default="", metavar="ROWS", help="rows that are labelled, to choose others than these"
    )
    parser.add_argument("--out", default="", metavar="FILE", help="write the rows there, to be labelled")
    parser.add_argument(
        "--options", type=values.names, default=[], metavar="A,B", help="labels for a task's embedded default"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def next_rows(asked: argparse.Namespace) -> None:
    from lowrung.run.labelling import label_next
    from lowrung.run.ship import load, shipped_folder
    from lowrung.run.telling import prediction_json

    if asked.out:
        takes_rows(asked.out)
    shipped = load(asked.model, options=() if shipped_folder(asked.model) else asked.options)
    task = shipped.task
    rows: list[Row] = [row for row in read_rows(asked.rows, task=task) if not task.golds(row)]
    if not rows:
        raise DataError(f"{asked.rows}: all rows have their right answer; there is none to label")
    known = [task.question(row) for row in read_rows(asked.known, task=task)] if asked.known else []
    questions = [task.question(row) for row in rows]
    found = label_next(shipped.model, questions, asked.n, known=known)
    told: list[dict[str, Any]] = [
        {
            **rows[each.row],
            "unsure": round(each.unsure, 4),
            "said": prediction_json(each.said, questions[each.row])["answer"],
        }
        for each in found
    ]
    if asked.out:
        write_rows(asked.out, ({name: value for name, value in each.items() if name != "said"} for each in told))
    if asked.json:
        printed(told)
        return
    lines = [("unsure", "would say", "row")]
    for each, row in zip(found, told, strict=True):
        text = " ".join(questions[each.row].text.split()) or str(next(iter(rows[each.row].values())))
        lines.append((f"{each.unsure:.2f}", f"{row['said']}"[:30], text[:80]))
    print(aligned(lines))
    if asked.out:
        print(f"{asked.out}: {len(found)} rows to be labelled")
