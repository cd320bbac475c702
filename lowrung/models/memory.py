"""A translation memory: the answer to a text is that of the most similar text that rows have shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lowrung.core.answers import Prediction, Text
from lowrung.core.errors import DataError, ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.models import catalog
from lowrung.models.text import TextBackbone

WEIGHTS, ANSWERS = "model.safetensors", "answers.json"
OTHERS = 2  # next best answers that are told


class Memory:
    """A Model of Texts; the confidence is the likeness of the texts (cosine of their vectors, 0 at least).

    Args:
        known: the vectors of the texts, of length one. answers: theirs, in the same order.

    Shape:
        known: (K, D)
    """

    def __init__(self, backbone: TextBackbone, known: Tensor, answers: Sequence[str], *, name: str = "memory") -> None:
        self.backbone, self.known, self.answers, self.name = backbone, known, list(answers), name

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Text]]:
        """One prediction a question, in order."""
        near, at = (vectors(self.backbone, questions) @ self.known.T).topk(min(1 + OTHERS, len(self.answers)))
        made = []
        for row, places in zip(near.clamp(0.0, 1.0).tolist(), at.tolist(), strict=True):
            first, *others = [(Text(self.answers[place]), each) for place, each in zip(places, row, strict=True)]
            made.append(Prediction(*first, tuple((said, each) for said, each in others if said != first[0])))
        return made

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the vectors and the answers into `folder`; returns what `load_memory` needs besides."""
        save_file({"known": self.known.contiguous()}, folder / WEIGHTS)
        (folder / ANSWERS).write_text(json.dumps(self.answers, ensure_ascii=False), "utf-8")
        source = self.backbone.source
        return {"kind": "memory", "name": self.name, "backbone": source.name, "checksum": source.checksum}


@torch.inference_mode()
def vectors(body: TextBackbone, questions: Sequence[Question]) -> Tensor:
    """Of length one.  -> (B, D)"""
    found = torch.empty(len(questions), body.width)
    for places, batch in body.batches(questions):
        found[places] = torch.nn.functional.normalize(body.pool(batch, body.hidden(batch)), dim=-1)
    return found


def fit_memory(body: TextBackbone, examples: Sequence[Example[Text]]) -> Memory:
    """What `examples` have shown; of several right answers the first.

    Raises:
        DataError: no example has a right answer.
    """
    rows = [each for each in examples if each.golds]
    if not rows:
        raise DataError("no row has a right text to remember")
    return Memory(body, vectors(body, [each.question for each in rows]), [each.golds[0].text for each in rows])


def load_memory(folder: Path, facts: dict[str, Any]) -> Memory:
    """What `save` wrote.

    Raises:
        ModelError: a file is missing or damaged, or the backbone's weights are not those whose vectors are kept.
    """
    try:
        found = catalog.backbone(facts["backbone"])
        if found.source.checksum != facts["checksum"]:
            raise ModelError(f"{folder}: was made with other weights of {facts['backbone']} than the ones found here")
        known, answers = load_file(folder / WEIGHTS)["known"], json.loads((folder / ANSWERS).read_text("utf-8"))
        if known.shape != (len(answers), found.width) or not all(isinstance(each, str) for each in answers):
            raise ValueError(f"{tuple(known.shape)} vectors of {len(answers)} answers")
        return Memory(found, known, answers, name=facts["name"])
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as problem:
        raise ModelError(f"{folder}: not a whole model folder ({type(problem).__name__}: {problem})") from problem
