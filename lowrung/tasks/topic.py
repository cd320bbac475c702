"""topic: which of the labels a text (or a pair of texts) belongs to."""

from lowrung.core.answers import Choice
from lowrung.core.errors import DataError
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task
from lowrung.metrics.choice import CHOICE


def ask(row: Row) -> Question:
    given = tuple(row[name] for name in ("text", "text_pair") if row.get(name) not in (None, ""))
    for part in given:
        if not isinstance(part, str):
            raise DataError(f"'text' and 'text_pair' hold text, not {part!r}")
    if not given or not any(part.strip() for part in given):
        raise DataError("column 'text' is empty")
    return Question(given)


def golds(row: Row) -> tuple[Choice, ...]:
    label = row.get("label")
    if label is None:
        return ()
    if isinstance(label, bool) or not isinstance(label, str | int) or str(label).strip() == "":
        raise DataError(f"'label' holds the name of a label, not {label!r}")
    return (Choice(str(label)),)


TASK = Task(
    name="topic",
    about="which of the labels a text (or a pair of texts) belongs to",
    answer=Choice,
    columns=("text", "text_pair"),
    ask=ask,
    golds=golds,
    metrics=CHOICE,
    sample={"text": "I was charged twice for the same order.", "label": "billing"},
)
