"""Abstraction 2: a model is one method."""

from collections.abc import Sequence
from typing import Protocol

from lowrung.core.answers import A_co, Prediction
from lowrung.core.parts import Question


class Model(Protocol[A_co]):
    """Anything that answers questions: a rule, a network, a remote service, a vote, a cascade."""

    @property
    def name(self) -> str: ...

    def answer(self, questions: Sequence[Question]) -> Sequence[Prediction[A_co]]:
        """One prediction a question, in order."""
        ...
