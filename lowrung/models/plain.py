"""Plain transformers classifiers as Models: what somebody already fine-tuned, to be studied, served and beaten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic

import torch
from torch import Tensor, nn

from lowrung.core.answers import A, Choice, Prediction, Span, Spans
from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.models import catalog, fast
from lowrung.models.batch import Batch
from lowrung.models.pieces import Tokenizer
from lowrung.models.text import in_slices


class Plain(Generic[A]):
    """A sequence classifier (a Choice) or a token classifier with IOB2 tags (Spans).

    Args:
        network: an AutoModelForSequenceClassification or AutoModelForTokenClassification.
        tokenizer: its own.
        kind: Choice or Spans.
        name: as in tables.
    """

    def __init__(self, network: nn.Module, tokenizer: Tokenizer, *, kind: type[A], name: str) -> None:
        self.network, self.tokenizer, self.kind, self.name = network.eval(), tokenizer, kind, name
        named: dict[int, str] = network.config.id2label  # type: ignore[union-attr,assignment]
        self.labels = [named[at] for at in range(len(named))]
        self._graph: fast.Graph | None = None

    @property
    def options(self) -> tuple[str, ...]:
        labels = self.labels if self.kind is Choice else [tag.partition("-")[2] for tag in self.labels]
        return tuple(dict.fromkeys(label for label in labels if label))

    def quicken(self, precision: str = "exact") -> None:
        """Answer by onnxruntime from now on; see models.fast."""
        self._graph = fast.Graph(
            self.logits, self.network, kinds=self.tokenizer.frame.kinds is not None, precision=precision
        )

    def answer(self, questions: Sequence[Question]) -> list[Prediction[A]]:
        made: list[Any] = [None] * len(questions)
        for chosen, batch in self.tokenizer.batches(questions, budget=fast.BUDGET):
            with torch.inference_mode():
                shares = self._run(batch).softmax(-1)
            for at, prediction in zip(chosen, self._decode(batch, shares), strict=True):
                made[at] = prediction
        return made

    def logits(self, **given: Tensor) -> Tensor:
        """(W, K) for a Choice, (W, T, K) for Spans, by the body's own arguments"""
        logits: Tensor = self.network(**given).logits
        return logits

    def _run(self, batch: Batch) -> Tensor:
        """(W, K) for a Choice; (B, T', K) for Spans"""
        if self._graph is not None:
            logits = self._graph(batch)
        else:
            kinds = {} if batch.kinds is None else {"token_type_ids": batch.kinds}
            given = {"input_ids": batch.ids, "attention_mask": batch.attended.long(), **kinds}
            logits = in_slices(self.logits, given)
        return batch.stitched(logits) if self.kind is Spans else logits

    def _decode(self, batch: Batch, shares: Tensor) -> list[Any]:
        if self.kind is Spans:
            best = shares.max(-1)
            rows = zip(best.values.tolist(), best.indices.tolist(), batch.offsets.tolist(), strict=True)
            return [self._spans(each.text, *row) for each, row in zip(batch.questions, rows, strict=True)]
        made = []
        for number in range(len(batch.questions)):  # a text in several windows: the mean of their shares
            own = [window for window, owner in enumerate(batch.owners) if owner == number]
            ranked = sorted(zip(shares[own].mean(0).tolist(), self.labels, strict=True), reverse=True)
            choices = [(Choice(label), min(1.0, share)) for share, label in ranked]
            made.append(Prediction(choices[0][0], choices[0][1], tuple(choices[1:])))
        return made

    def _spans(
        self, text: str, shares: list[float], tags: list[int], offsets: list[tuple[int, int]]
    ) -> Prediction[Spans]:
        """A word takes the tag of its first piece; pieces without a blank or a sign between them are one word."""
        found: list[Span] = []
        told, before, last = [1.0], "", -1
        for share, tag, (start, end) in zip(shares, tags, offsets, strict=True):
            if end == start:
                continue
            if start == last and text[start - 1].isalnum() and text[start].isalnum():  # goes on within the word
                if before and found[-1].end == last:
                    found[-1] = Span(found[-1].start, end, found[-1].label)
                last = end
                continue
            told.append(share)
            kind, _, label = self.labels[tag].partition("-")
            if kind == "O" or not label:
                before = ""
            elif kind == "I" and before == label:
                found[-1] = Span(found[-1].start, end, label)
            else:
                found.append(Span(start, end, label))
                before = label
            last = end
        mean = sum(told) / len(told)
        return Prediction(Spans(tuple(found)), min(1.0, mean))


def load(folder: str | Path, kind: type[A]) -> Plain[A]:
    """A fine-tuned classifier from a local folder.

    Raises:
        ModelError: no such folder, or no classifier with labels in it.
    """
    import transformers

    if kind not in (Choice, Spans):
        raise ModelError(f"a plain classifier gives choices or spans, not {kind.__name__}")
    if not Path(folder).is_dir():
        raise ModelError(f"{folder}: no such folder")
    tags, whole = transformers.AutoModelForTokenClassification, transformers.AutoModelForSequenceClassification
    inner, network = catalog.from_transformers(str(folder), tags if kind is Spans else whole)
    return Plain(network, Tokenizer(inner, longest=catalog.longest(inner, network.config)), kind=kind, name=str(folder))
