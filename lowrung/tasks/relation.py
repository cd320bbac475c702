"""relation: how two marked pieces of a text stand to each other."""

import re

from lowrung.core.answers import Choice, Span
from lowrung.core.errors import DataError
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task, apart, label_gold, mark_of, text_of
from lowrung.metrics.relation import RELATION

HOW = "How does the first marked piece stand to the second?"
TAGS = (("first", "e1"), ("second", "e2"))  # label of the mark, name of the tag


def ask(row: Row) -> Question:
    """The marks are the first piece, then the second, wherever they stand in the text."""
    text, marks = text_of(row), list[Span]()
    if row.get("first") is None and row.get("second") is None:
        text, marks = untagged(text)
    else:
        marks = [mark_of(text, row.get(label), label) for label, _ in TAGS]
    apart(marks)
    return Question((text,), instruction=HOW, marks=tuple(marks))


def untagged(text: str) -> tuple[str, list[Span]]:
    """`<e1>…</e1>` and `<e2>…</e2>` out of a text, and where the pieces between them lie then.

    Raises:
        DataError: one of the four tags is missing or stands twice, or one closes what is not open.
    """
    told = "mark the two pieces by columns 'first' and 'second', each [start, end], or as <e1>…</e1> and <e2>…</e2>"
    found = list(re.finditer(r"</?e[12]>", text))
    if sorted(each[0] for each in found) != ["</e1>", "</e2>", "<e1>", "<e2>"]:
        raise DataError(f"the text has {' '.join(each[0] for each in found) or 'no tags'}; {told}")
    places = {each[0]: each.start() - sum(len(other[0]) for other in found[:at]) for at, each in enumerate(found)}
    plain = re.sub(r"</?e[12]>", "", text)
    return plain, [mark_of(plain, (places[f"<{tag}>"], places[f"</{tag}>"]), label) for label, tag in TAGS]


TASK = Task(
    name="relation",
    about="which of the labels says how two marked pieces of a text stand to each other",
    answer=Choice,
    columns=("text", "first", "second"),
    ask=ask,
    golds=label_gold,
    metrics=RELATION,
    sample={
        "text": "The flood was caused by days of rain.",
        "first": [4, 9],
        "second": [32, 36],
        "label": "Cause-Effect(e2,e1)",
    },
)
