"""reading: what is written in a picture of a line."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from lowrung.core.answers import Text
from lowrung.core.errors import LowrungError
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task, text_given, texts_of
from lowrung.data.media import picture_of
from lowrung.data.receipts import line
from lowrung.data.rendering import render
from lowrung.metrics.recognition import READ

ENOUGH = 50  # lines that no font can write, after which one knows


def ask(row: Row) -> Question:
    read = text_given(row, "read")
    return Question(read) if read and not row.get("image") else Question((picture_of(row), *read))


def golds(row: Row) -> tuple[Text, ...]:
    return tuple(map(Text, texts_of(row, "text")))


def practice(lines: Iterable[str], random: Random) -> Iterator[Row]:
    """Of each line some words that follow each other, or such a line as receipts have, in a font of this machine.

    Raises:
        LowrungError: there are no fonts, or none that has the letters of most lines.
    """
    written, unwritten = 0, list[str]()
    for each in lines:
        text = " ".join(line(each, random).split())
        image = render(text, random)
        if image is not None:
            written += 1
            yield {"image": image, "text": text}
        elif text:
            unwritten.append(text)
            if len(unwritten) == ENOUGH and written < ENOUGH:
                break
    if len(unwritten) > written:
        raise LowrungError(f"no font of this machine has all letters of {unwritten[-1]!r}: apt install fonts-noto")


TASK = Task(
    name="reading",
    about="what is written in a picture of a line",
    answer=Text,
    columns=("image", "read"),
    ask=ask,
    golds=golds,
    metrics=READ,
    practice=practice,
    sample={"image": str(Path(__file__).with_name("reading-sample.png")), "text": "Low rung"},
)
