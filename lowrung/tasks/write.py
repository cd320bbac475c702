"""write: a text that does what another asks for, and keeps to checks that anybody can repeat."""

from lowrung.core.answers import Text
from lowrung.core.errors import DataError
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task, text_of, texts_of
from lowrung.metrics.checks import WRITTEN, checks_of, told

WHAT = "Do what the text asks for."


def ask(row: Row) -> Question:
    """The checks stand in the instruction in words, and in `checks` for models that can be held to them."""
    text, checks = text_of(row), checks_of(row)
    return Question((text,), instruction=f"{WHAT}\n{told(checks)}".strip(), checks=checks)


def golds(row: Row) -> tuple[Text, ...]:
    several = texts_of(row, "answer")
    if not all(each.strip() for each in several):
        raise DataError("column 'answer' is empty")
    return tuple(map(Text, several))


TASK = Task(
    name="write",
    about="a text that does what another asks for, within checks of length, words, language or form",
    answer=Text,
    columns=("text", "checks"),
    ask=ask,
    golds=golds,
    metrics=WRITTEN,
    sample={
        "text": "Thank a guest for her visit.",
        "checks": {"max_words": 12, "must_have": ["visit"], "must_not_have": ["sorry"]},
        "answer": "Thank you for your visit, and come again soon.",
    },
)
