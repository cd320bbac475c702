"""topic: which of the labels something belongs to: a text or a pair, a sound, a picture, or several of these."""

from lowrung.core.answers import Choice
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task, label_gold
from lowrung.data.media import given_of
from lowrung.metrics.choice import CHOICE


def ask(row: Row) -> Question:
    return Question(given_of(row))


TASK = Task(
    name="topic",
    about="which of the labels a text, a sound, a picture or several of them belong to",
    answer=Choice,
    columns=("text", "text_pair", "audio", "start", "end", "image", "given"),
    ask=ask,
    golds=label_gold,
    metrics=CHOICE,
    sample={"text": "I was charged twice for the same order.", "label": "billing"},
)
