"""speech: what is said in a recording, or in a part of it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from lowrung.core.answers import Text
from lowrung.core.parts import Audio, Question
from lowrung.core.task import Row, Task, text_given, texts_of
from lowrung.data.media import sound_of
from lowrung.data.speaking import RATE, Voice, speak
from lowrung.metrics.recognition import HEARD

LONGEST = 250  # letters of a line that is practised on, about twenty seconds


def ask(row: Row) -> Question:
    heard = text_given(row, "heard")
    return Question(heard) if heard and not row.get("audio") else Question((sound_of(row), *heard))


def golds(row: Row) -> tuple[Text, ...]:
    return tuple(map(Text, texts_of(row, "text")))


def practice(lines: Iterable[str], random: Random) -> Iterator[Row]:
    """Lines as espeak-ng speaks them, each in another voice, at another rate and pitch."""
    for line in lines:
        text = line.strip()
        if 0 < len(text) <= LONGEST and len(sound := speak(text, Voice.drawn(random)).samples):
            yield {"audio": Audio(sound, RATE), "text": text}


TASK = Task(
    name="speech",
    about="what is said in a recording, or in a part of it",
    answer=Text,
    columns=("audio", "start", "end", "heard"),
    ask=ask,
    golds=golds,
    metrics=HEARD,
    practice=practice,
    sample={"audio": str(Path(__file__).with_name("speech-sample.wav")), "text": "ding dong"},  # of a doorbell
)
