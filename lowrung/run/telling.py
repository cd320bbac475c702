"""A prediction as JSON, for programs: what `lowrung answer --json` prints and the service answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lowrung.core.answers import Prediction, Spans, Text
from lowrung.core.edits import Mend
from lowrung.core.parts import Question
from lowrung.metrics.answers import said_of
from lowrung.run.cells import answer_json


def prediction_json(said: Prediction[Any], question: Question) -> dict[str, Any]:
    """`answer` (None for none), `confidence` and `others`; of a mended text its `edits`, of a heard one its `words`
    with seconds, of an extracted one its `text`, and the kinds of parts that it was `lacking`."""
    found: dict[str, Any] = {
        "answer": answer_json(said.answer),
        "confidence": round(said.confidence, 6),
        "others": [[answer_json(each), round(share, 6)] for each, share in said.others],
    }
    if isinstance(said.answer, Spans) and not question.options:
        found["text"] = said_of(said.answer, question.text)
    if isinstance(said.answer, Text) and (said.mends or question.texts[:1] == (said.answer.text,)):
        found["edits"] = [_edit(each) for each in said.mends]
    if said.times:
        found["words"] = words_json(said.times)
    if said.lacking:
        found["lacking"] = list(said.lacking)
    return found


def words_json(times: Iterable[tuple[str, float, float]]) -> list[dict[str, Any]]:
    """Words that were heard, with the seconds where they begin and end."""
    return [{"word": word, "start": round(start, 3), "end": round(end, 3)} for word, start, end in times]


def _edit(mend: Mend) -> dict[str, Any]:
    return {
        "start": mend.start,
        "end": mend.end,
        "replacement": mend.text,
        "confidence": round(mend.confidence, 6),
        "others": [[text, round(share, 6)] for text, share in mend.others],
    }
