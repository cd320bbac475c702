"""Answering quickly: the body as an onnxruntime graph, in float32 (the same labels) or with 8-bit matrix products."""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lowrung.core.errors import ModelError, unknown
from lowrung.models.batch import Batch
from lowrung.models.text import SLICE

PRECISIONS = ("exact", "fast")
BUDGET = 512  # pieces a batch: small batches stay in the processor's cache; 2048 took 1.5 times as long
OPSET = 17


def available() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))


class Graph:
    """A module (ids, attended, kinds, letters) -> states, compiled once.

    Args:
        states: called with `input_ids`, `attention_mask` and, where they are wanted, `token_type_ids` and `letters`.
        body: the module whose weights it uses.
        kinds: whether it wants token types.
        letters: the columns of what the letters say, D + 1, or 0 for a body that does not read them.
        precision: "exact" keeps float32; "fast" multiplies matrices in 8 bits, weights scaled per channel
            (dynamic quantization of the activations).

    Raises:
        ModelError: onnxruntime is missing, the precision is unknown, or the module has no such graph.
    """

    def __init__(
        self,
        states: Callable[..., Tensor],
        body: nn.Module,
        *,
        kinds: bool,
        letters: int = 0,
        precision: str = "exact",
    ) -> None:
        if precision not in PRECISIONS:
            raise ModelError(unknown("precision", precision, PRECISIONS))
        if not available():
            raise ModelError("answering by onnxruntime is an extra: pip install 'lowrung[fast]'")
        import onnxruntime

        self.kinds = kinds
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        settings.log_severity_level = 3
        with tempfile.TemporaryDirectory(prefix="lowrung-") as place:
            file = Path(place) / "body.onnx"
            # the export puts a module that is not in eval mode back to train mode, and the body below with it
            _export(_Positional(states, body, kinds).eval(), kinds, letters, file)
            if precision == "fast":
                from onnxruntime.quantization import QuantType, quantize_dynamic

                small = file.with_name("small.onnx")
                logging.disable(logging.WARNING)  # it recommends a step that changes nothing here
                try:
                    quantize_dynamic(
                        file, small, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8
                    )
                finally:
                    logging.disable(logging.NOTSET)
                file = small
            self._session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])

    def __call__(self, batch: Batch) -> Tensor:
        """-> what the module gives, (W, T, …)"""
        given = {"ids": batch.ids.numpy(), "attended": batch.attended.long().numpy()}
        if self.kinds and batch.kinds is not None:
            given["kinds"] = batch.kinds.numpy()
        if batch.letters is not None:
            given["letters"] = batch.letters.numpy()
        starts = range(0, len(batch.ids), SLICE)
        found = [
            self._session.run(None, {name: each[at : at + SLICE] for name, each in given.items()})[0] for at in starts
        ]
        return torch.from_numpy(found[0]) if len(found) == 1 else torch.cat([torch.from_numpy(each) for each in found])


class _Positional(nn.Module):
    def __init__(self, states: Callable[..., Tensor], body: nn.Module, kinds: bool) -> None:
        super().__init__()
        self.states, self.kinds = states, kinds
        self.body = body  # so that the graph holds weights, which can be quantized, and not constants

    def forward(self, ids: Tensor, attended: Tensor, *more: Tensor) -> Tensor:
        names = ["token_type_ids"] if self.kinds else []
        return self.states(input_ids=ids, attention_mask=attended, **dict(zip([*names, "letters"], more, strict=False)))


def _export(module: nn.Module, kinds: bool, letters: int, file: Path) -> None:
    names = ["ids", "attended", *(["kinds"] if kinds else []), *(["letters"] if letters else [])]
    # two rows of unlike length, so that no shape is taken for a constant and padding is traced
    ids = torch.full((2, 7), 5)
    attended = torch.ones_like(ids)
    attended[1, 4:] = 0
    given: tuple[Any, ...] = (ids, attended, *((torch.zeros_like(ids),) if kinds else ()))
    given += (torch.zeros(2, 7, letters),) if letters else ()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's, about Python values that are the same for every text
        try:
            torch.onnx.export(
                module,
                given,
                str(file),
                input_names=names,
                output_names=["states"],
                dynamic_axes={name: {0: "W", 1: "T"} for name in (*names, "states")},
                opset_version=OPSET,
                dynamo=False,
            )
        except Exception as problem:  # whatever an exotic body breaks on, the caller goes on without a graph
            raise ModelError(f"this body has no onnx graph: {type(problem).__name__}: {problem}") from problem
