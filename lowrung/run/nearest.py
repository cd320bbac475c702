"""The rows that are most like a question: by the vectors of a network's body, else by character n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowrung.core.answers import Answer
from lowrung.core.errors import DataError
from lowrung.core.model import Model
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.run.cells import answer_json

HASHED = 1 << 9  # places that character n-grams are hashed into


@dataclass(frozen=True, slots=True)
class Near:
    """A row, its place among the rows from 0, and the cosine of its vector with that of the question."""

    row: int
    id: str
    text: str
    golds: tuple[Answer, ...]
    cosine: float

    def to_json(self) -> dict[str, Any]:
        golds = [answer_json(each) for each in self.golds]
        return {"row": self.row + 1, "id": self.id, "text": self.text, "golds": golds, "cosine": self.cosine}


def nearest_of(model: Model[Any], question: Question, examples: Sequence[Example[Any]], k: int) -> tuple[Near, ...]:
    """The `k` examples most like `question`, the most similar first.

    Raises:
        DataError: no example has a text.
    """
    held = [(at, each) for at, each in enumerate(examples) if any(map(str.strip, each.question.texts))]
    if not held:
        raise DataError("no row has a text that could be similar")
    near = _cosines(model, question, [each.question for _, each in held])
    best = np.argsort(-near, kind="stable")[:k]
    return tuple(_near(*held[int(at)], float(near[at])) for at in best)


def _near(at: int, example: Example[Any], cosine: float) -> Near:
    return Near(at, example.id, example.question.whole, example.golds, cosine)


def _cosines(model: Model[Any], question: Question, others: Sequence[Question]) -> NDArray[np.float64]:
    """-> (N,)"""
    from lowrung.models.network import Adapted

    if isinstance(model, Adapted):
        made = vectors_of(model, [question, *others])
        return np.asarray(made[1:] @ made[0], dtype=float)
    from lowrung.models.baselines import vectorizer

    vectors = vectorizer().fit([each.texts for each in others])
    counted = vectors.transform([each.texts for each in (question, *others)])  # (1 + N, F), sparse, of length one
    return np.asarray((counted[1:] @ counted[0].T).toarray()[:, 0])


def vectors_of(model: Model[Any], questions: Sequence[Question]) -> NDArray[np.float32]:
    """Vectors of length one: of the body of a network, else of hashed character n-grams.  -> (N, D)"""
    from lowrung.models.network import Adapted

    texts = [each.whole for each in questions]
    inner = getattr(model, "inner", model)  # of a cascade
    if isinstance(inner, Adapted):
        import torch

        with torch.no_grad():
            found = inner.vectors(list(dict.fromkeys(texts)))
        return np.asarray(torch.stack([found[text] for text in texts]).float().cpu().numpy())
    from sklearn.feature_extraction.text import HashingVectorizer

    hashed = HashingVectorizer(analyzer="char_wb", ngram_range=(1, 4), n_features=HASHED, alternate_sign=False)
    return np.asarray(hashed.transform(texts).toarray(), dtype=np.float32)
