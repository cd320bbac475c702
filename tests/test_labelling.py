"""Which rows are labelled next: unsure ones that stand for many, and none twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from lowrung.core.answers import Choice, Prediction, Text
from lowrung.core.parts import Image, Question
from lowrung.run import labelling
from lowrung.run.labelling import label_next, unsureness

OPTIONS = ("a", "b")
PLACES = {"left": (1.0, 0.0, 0.0), "right": (0.0, 1.0, 0.0), "odd": (0.0, 0.0, 1.0)}


class Unsure:
    """Says «a», as surely as the last word of a text tells in percent."""

    name = "unsure"

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Choice]]:
        shares = [int(asked.text.split()[-1]) / 100 for asked in questions]
        return [Prediction(Choice("a"), share, ((Choice("b"), 1 - share),)) for share in shares]


@pytest.fixture(autouse=True)
def placed(monkeypatch: pytest.MonkeyPatch) -> None:
    def vectors(model: object, questions: Sequence[Question]) -> np.ndarray:
        found = [PLACES[(asked.text.split() or ["left"])[0]] for asked in questions]
        return np.array(found).reshape(len(questions), 3)

    monkeypatch.setattr(labelling, "vectors_of", vectors)


def asked(*texts: str) -> list[Question]:
    return [Question((text,), options=OPTIONS) for text in texts]


def rows(texts: Sequence[str], n: int, known: Sequence[str] = ()) -> list[str]:
    found = label_next(Unsure(), asked(*texts), n, known=asked(*known))
    return [texts[each.row].split()[0] for each in found]


def test_what_stands_for_many_comes_before_an_odd_row() -> None:
    texts = ["odd 50", "left 60", "left 60", "left 60", "right 60", "right 60"]
    assert rows(texts, 3) == ["left", "right", "odd"]


def test_what_the_model_is_sure_of_waits() -> None:
    assert rows(["left 99", "left 99", "right 60"], 1) == ["right"]


def test_what_is_known_is_passed_over() -> None:
    assert rows(["left 50", "left 50", "right 90"], 1, ["left 50"]) == ["right"]


def test_no_row_comes_twice_and_there_are_no_more_than_there_are() -> None:
    found = label_next(Unsure(), asked("left 50", "left 50", "left 50"), 9)
    assert sorted(each.row for each in found) == [0, 1, 2]
    assert found[0].unsure == pytest.approx(1.0)
    assert found[0].said.answer == Choice("a")


def test_of_very_many_rows_evenly_spaced_ones_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelling, "MOST", 3)
    found = label_next(Unsure(), asked(*["left 50", "right 50", "odd 50"] * 3), 9)
    assert sorted(each.row for each in found) == [0, 4, 8]
    assert label_next(Unsure(), [], 5) == []


class Tells:
    """A text as an answer, as surely as the last word of what is asked tells in percent."""

    name = "tells"

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Text]]:
        return [Prediction(Text("a"), int(asked.text.split()[-1]) / 100) for asked in questions]


def test_of_texts_the_one_with_most_doubt_that_is_like_no_other_comes_next() -> None:
    texts = ["left 50", "left 51", "right 80", "odd so many words 60", "odd 99"]
    found = label_next(Tells(), asked(*texts), 5)
    assert [each.row for each in found][:3] == [3, 0, 2]
    assert sorted(each.row for each in found) == [0, 1, 2, 3, 4]
    assert label_next(Tells(), asked(*texts), 1, known=asked("odd 10"))[0].row == 0


def test_how_unsure_an_answer_is() -> None:
    assert unsureness(Prediction(None, 0.0)) == 1.0
    assert unsureness(Prediction(Choice("a"), 0.7, ((Choice("b"), 0.2),))) == pytest.approx(0.5)
    assert unsureness(Prediction(Text("a"), 0.75)) == 0.25


def test_of_what_has_no_text_the_unsurest_come_first() -> None:
    class Hears(Tells):
        def answer(self, questions: Sequence[Question]) -> list[Prediction[Choice]]:  # type: ignore[override]
            shares = [0.9, 0.6, 0.7]
            return [Prediction(Choice("a"), each, ((Choice("b"), 1 - each),)) for each in shares[: len(questions)]]

    sounds = [Question((Image(np.zeros((2, 2, 3), dtype=np.uint8)),)) for _ in range(3)]
    assert [each.row for each in label_next(Hears(), sounds, 3)] == [1, 2, 0]
