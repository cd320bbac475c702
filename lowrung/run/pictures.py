"""pictures: what a study shows of sound and of lines: spectrograms under the words that were heard, pictures of lines
over what was read."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from lowrung.core.answers import Prediction, Text
from lowrung.core.errors import DataError
from lowrung.core.parts import Audio, Image, Part
from lowrung.core.task import Example
from lowrung.metrics.recognition import spoken, squeezed
from lowrung.metrics.text import tokens
from lowrung.run.evaluate import Report, report_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Sample: TypeAlias = tuple[Example[Text], Prediction[Text]]
_P = TypeVar("_P", Audio, Image)

SHOWN = {"audio": 6, "image": 8}  # samples, half of them wrong where there are as many
SECONDS = 15.0  # of a sound that are drawn
WIDE, NARROW, LEAST, PAGE = 9.0, 5.5, 12.0, 51.0  # rem for a second, fewer where it is long; of a sound, of the page
LINE = (1000, 120)  # pixels of a line at most
GREYS = 24  # more would only make the page larger


def samples(report: Report[Any]) -> list[Sample]:
    """A few right answers, and a few wrong ones from slightly to badly wrong; none where the task is of text."""
    media = report.task.media
    if not media:
        return []
    rated = sorted(
        (0.0 if right else 1e-9 + _error(report, each, said), at)
        for at, (each, said, right) in enumerate(zip(report.examples, report.predictions, report.right(), strict=True))
        if said.answer is not None
    )
    right, wrong = ([at for error, at in rated if (error > 0) == odd] for odd in (False, True))
    number = SHOWN[media]
    chosen = _spaced(right, max(number // 2, number - len(wrong)))
    chosen += _spaced(wrong, number - len(chosen))
    return [(report.examples[at], report.predictions[at]) for at in chosen]


def _spaced(places: Sequence[int], number: int) -> list[int]:
    if len(places) <= number:
        return list(places)
    return [places[round(at * (len(places) - 1) / max(number - 1, 1))] for at in range(number)]


def _error(report: Report[Text], example: Example[Text], said: Prediction[Text]) -> float:
    return report_of(report.task, report.model, [example], [said]).value(report.task.metrics[0])


def kept(report: Report[Any], chosen: Sequence[Sample]) -> list[dict[str, Any]]:
    """What study.json keeps of samples: of several right texts the nearest one."""
    rows = []
    for example, said in chosen:
        errors = [_error(report, Example(example.question, (gold,)), said) for gold in example.golds]
        rows.append(
            {
                "media": report.task.media,
                "id": example.id,
                "gold": example.golds[errors.index(min(errors))].text,
                "answer": said.answer.text if said.answer is not None else "",
                "confidence": said.confidence,
                "error": min(errors),
                "times": [[word, round(start, 2), round(end, 2)] for word, start, end in said.times],
            }
        )
    return rows


def part_of(example: Example[Any], media: str) -> Audio | Image:
    """The sound, or the picture, that an answer of the task is to."""
    wanted = Audio if media == "audio" else Image
    return next(part for part in example.question.given if isinstance(part, wanted))


def shown(row: Mapping[str, Any], part: Part | None) -> dict[str, Any]:
    """A sample for the page: with a picture where there is something that can be drawn."""
    heard = row["media"] == "audio"
    form: Callable[[str], str] = spoken if heard else squeezed
    cut: Callable[[str], Sequence[tuple[int, int]]] = tokens if heard else _letters
    gold, answer = form(row["gold"]), form(row["answer"])
    missed, odd = _differing([gold[a:b] for a, b in cut(gold)], [answer[a:b] for a, b in cut(answer)])
    made = {**row, "gold": list(_pieces(gold, cut(gold), missed)), "answer": list(_pieces(answer, cut(answer), odd))}
    made |= {"heard": heard, "picture": "", "width": 0.0, "cut": False}
    if isinstance(part, Audio) and (picture := _drawn(_spectrogram, part)):
        seconds = min(part.seconds, SECONDS)
        alike = len(row["times"]) == len(cut(answer))
        made |= {
            "picture": picture,
            "seconds": part.seconds,
            "cut": part.seconds > SECONDS,
            "drawn": f"{SECONDS:g}",
            "width": max(LEAST, NARROW * seconds, min(PAGE, WIDE * seconds)),
            "ticks": [(at, 100 * at / seconds) for at in range(int(seconds) + 1)],
            "words": [
                (word, alike and at in odd, 100 * start / seconds)
                for at, (word, start, _) in enumerate(row["times"])
                if start < seconds
            ],
        }
    elif isinstance(part, Image):
        made["picture"] = _drawn(_line, part)
    return made


def _drawn(draw: Callable[[_P], str], part: _P) -> str:
    """Nothing where the file cannot be read any more: a finished study is not thrown away for want of a picture."""
    try:
        return draw(part)
    except DataError:
        return ""


def _letters(text: str) -> list[tuple[int, int]]:
    return [(at, at + 1) for at in range(len(text))]


def _differing(gold: Sequence[str], answer: Sequence[str]) -> tuple[set[int], set[int]]:
    """Which pieces of either side the other one has not, by the fewest edits."""
    from rapidfuzz.distance import Levenshtein

    missed, odd = set[int](), set[int]()
    for step in Levenshtein.opcodes(gold, answer):
        if step.tag != "equal":
            missed.update(range(step.src_start, step.src_end))
            odd.update(range(step.dest_start, step.dest_end))
    return missed, odd


def _pieces(text: str, spans: Sequence[tuple[int, int]], marked: set[int]) -> Iterator[tuple[str, bool]]:
    """The text in runs, and whether the other one has something else there; blanks between marked pieces are marked."""
    begin = 0
    for at, (_, end) in enumerate(spans):
        last = at + 1 == len(spans)
        if last or (at in marked) != (at + 1 in marked):
            stop = end if last or at in marked else spans[at + 1][0]
            yield text[begin:stop], at in marked
            begin = stop
    if begin < len(text):
        yield text[begin:], False


def _spectrogram(sound: Audio) -> str:
    """Loudness by time and mel bands, dark where it is loud; ten columns of pixels are a tenth of a second."""
    import numpy as np

    from lowrung.models.senses import mel

    samples = sound.samples[: round(SECONDS * sound.rate)]
    bands = mel(Audio(samples, sound.rate)).numpy().T[::-1]  # (M, T), high ones on top
    low, high = np.quantile(bands, (0.1, 0.998))
    return _png(255 * (1 - np.clip((bands - low) / max(high - low, 1e-6), 0, 1)))


def _line(picture: Image) -> str:
    return _png(picture.pixels.mean(axis=2))


def _png(grey: NDArray[np.floating[Any]]) -> str:
    """A picture as an address that holds it.  (H, W) of 0 to 255"""
    import numpy as np
    from PIL import Image as Pillow

    step = 255 / (GREYS - 1)
    page = Pillow.fromarray(grey.astype(np.uint8))
    if page.height > LINE[1] or page.width > max(LINE[0], 100 * SECONDS):
        page.thumbnail(LINE, Pillow.Resampling.LANCZOS)
    page = page.point([round(round(level / step) * step) for level in range(256)])
    made = BytesIO()
    page.save(made, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(made.getvalue()).decode()}"
