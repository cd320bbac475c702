"""topics: which of the labels a text or a pair belongs to: several, one or none."""

from collections.abc import Sequence

from lowrung.core.answers import NOTHING, Choices
from lowrung.core.errors import DataError
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task, text_given, text_of
from lowrung.metrics.choices import CHOICES


def ask(row: Row) -> Question:
    return Question((text_of(row), *text_given(row, "text_pair")))


def golds(row: Row) -> tuple[Choices, ...]:
    """`labels` is a list, [] for none of them; in formats without lists, a text of labels parted by semicolons,
    or `NOTHING`."""
    held = row.get("labels")
    if held is None:
        return ()
    several = held
    if isinstance(held, str):
        if held.lstrip().startswith("["):
            raise DataError(f"'labels' holds a list that is not JSON: {held!r:.60}")
        several = [] if held.strip() == NOTHING else [each for each in held.split(";") if each.strip()]
    if not isinstance(several, Sequence) or not all(_named(each) for each in several):
        raise DataError(f"'labels' holds a list of names of labels, [] for none, not {held!r:.60}")
    names = [str(each).strip() for each in several]
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise DataError(f"'labels' names {twice!r} twice")
    return (Choices(tuple(names)),)


def _named(label: object) -> bool:
    return isinstance(label, str | int) and not isinstance(label, bool) and bool(str(label).strip())


TASK = Task(
    name="topics",
    about="which of the labels a text belongs to: several, one or none",
    answer=Choices,
    columns=("text", "text_pair"),
    ask=ask,
    golds=golds,
    metrics=CHOICES,
    sample={"text": "I was charged twice, and the parcel never came.", "labels": ["billing", "delivery"]},
)
