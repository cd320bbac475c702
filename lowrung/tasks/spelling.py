"""spelling: a text with its misspelt words mended, and nothing else changed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from random import Random

from lowrung.core.answers import Text
from lowrung.core.errors import DataError
from lowrung.core.parts import Question
from lowrung.core.task import Row, Task, text_of, texts_of
from lowrung.data.noise import Noise, noise
from lowrung.metrics.sentences import SENTENCES, unspaced
from lowrung.metrics.text import MENDING

CLEAN = 0.15  # of the rows to practise on: without right texts a model learns to mend at any price
LEAST, MOST = 0.05, 0.35  # shares of damaged words; from few slips to a learner's letter


def ask(row: Row) -> Question:
    return Question((text_of(row),))


def golds(row: Row) -> tuple[Text, ...]:
    several = texts_of(row, "correct")
    if not all(each.strip() for each in several):
        raise DataError("column 'correct' is empty")
    return tuple(map(Text, several))


def practising(made: Callable[[], Noise]) -> Callable[[Iterable[str], Random], Iterator[Row]]:
    """Practice with the noise that `made` gives: rows of damaged lines, with the line as it was as the right text."""

    def practice(lines: Iterable[str], random: Random) -> Iterator[Row]:
        damage = made()
        for line in lines:
            clean = line.rstrip("\r\n")
            share = random.uniform(LEAST, MOST) if random.random() >= CLEAN else 0.0
            text = damage.damaged(clean, random, share)[0]
            if clean.strip() and text.strip():
                yield {"text": text, "correct": clean}

    return practice


TASK = Task(
    name="spelling",
    about="the text with its misspelt words mended, and nothing else changed",
    answer=Text,
    mends=True,
    columns=("text",),
    ask=ask,
    golds=golds,
    metrics=(*MENDING, *(replace(each, of=unspaced) for each in SENTENCES)),
    sample={"text": "I beleive thier dog ran a way.", "correct": "I believe their dog ran away."},
    practice=practising(lambda: noise("en")),  # of another language: replace(TASK, practice=practising(…))
)
