"""translation: a text said in another language, as the labelled rows show."""

from lowrung.core.answers import Text
from lowrung.core.errors import DataError
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task, text_of, texts_of
from lowrung.metrics.translation import TRANSLATED


def ask(row: Row) -> Question:
    return Question((text_of(row),))


def golds(row: Row) -> tuple[Text, ...]:
    several = texts_of(row, "translation")
    if not all(each.strip() for each in several):
        raise DataError("column 'translation' is empty")
    return tuple(map(Text, several))


TASK = Task(
    name="translation",
    about="a text said in another language, as the labelled rows show",
    answer=Text,
    columns=("text",),
    ask=ask,
    golds=golds,
    metrics=TRANSLATED,
    sample={"text": "Where is the station?", "translation": ["Wo ist der Bahnhof?", "Wo befindet sich der Bahnhof?"]},
)
