"""Silver rows: what a model has labelled, to learn from beside gold rows, and never to be measured on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lowrung.core.answers import Prediction
from lowrung.core.errors import DataError
from lowrung.core.parts import Heard, Question
from lowrung.core.task import Example, Row, Task
from lowrung.run.cells import answer_json

SILVER = "silver"  # the column that says so


def gold_column(task: Task[Any]) -> str:
    """The column of a row that holds its right answer."""
    return next(name for name in task.sample if name not in task.columns)


def gold_value(task: Task[Any], row: Row, answer: Any) -> Any:
    """An answer as JSON in the form in which that column holds it: of candidates its place, null for none of them."""
    if not (task.points and task.marks):
        return answer
    options = task.question(row).options
    at = options.index(answer) if answer in options else -1
    return answer if at < 0 else at if at < len(options) - 1 else None


def silver_row(task: Task[Any], row: Row, said: Prediction[Any], name: str) -> dict[str, Any] | None:
    """`row` with what model `name` said as its right answer, as the task reads it; None where it said nothing.

    Raises:
        DataError: the task does not read that answer back.
    """
    if said.answer is None:
        return None
    made = {**row, gold_column(task): gold_value(task, row, answer_json(said.answer))}
    if task.golds(made) != (said.answer,):
        raise DataError(f"a row of {task.name} cannot hold {said.answer} in its column {gold_column(task)!r}")
    return {**made, "confidence": round(said.confidence, 6), SILVER: True, "model": name}


def is_silver(row: Row) -> bool:
    return str(row.get(SILVER, "")).lower() in ("true", "1")


def gold_only(rows: Iterable[Row], what: str) -> None:
    """Raises DataError where one of `rows`, which something is measured on, is silver."""
    for number, row in enumerate(rows, 1):
        if is_silver(row):
            raise DataError(
                f"{what}: row {row.get('id') or number} is silver, labelled by {row.get('model', 'a model')}; silver "
                "rows are learnt from (--silver FILE), never measured on"
            )


def silver_examples(
    task: Task[Any], rows: Sequence[Row], measured: Iterable[Example[Any]]
) -> tuple[tuple[Example[Any], ...], Mapping[str, Any]]:
    """The examples to learn from, without those that repeat a question of `measured`; what a report says of them.

    Each counts as one row, as a gold row does.

    Raises:
        DataError: a row cannot be read or has a label that the task lacks, or none is left.
    """
    known = {_asked(each.question) for each in measured}
    made = []
    for number, row in enumerate(rows, 1):
        try:
            made.append(task.example(row))
        except DataError as problem:
            raise DataError(f"silver row {row.get('id') or number}: {problem}") from problem
    kept = tuple(each for each in made if each.golds and _asked(each.question) not in known)
    if not kept:
        raise DataError(f"none of the {len(made)} silver rows has an answer and a question that no gold row asks")
    models = sorted({str(row["model"]) for row in rows if row.get("model")})
    return kept, {"rows": len(kept), "left_out": len(made) - len(kept), "models": models}


def _asked(question: Question) -> tuple[Any, ...]:
    given = (part if isinstance(part, str) else part.key for part in question.given if not isinstance(part, Heard))
    return (*given, question.marks, question.options)
