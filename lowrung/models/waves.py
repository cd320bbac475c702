"""Bodies that hear waves, from transformers: wav2vec 2.0, HuBERT and WavLM with a CTC head, and Whisper, which writes.

The letters of models/batch.py, and: S samples at 16 kHz · T' states of 20 ms
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrung.core.answers import Prediction, Text
from lowrung.core.errors import ModelError
from lowrung.core.parts import Audio, Question
from lowrung.models.catalog import from_transformers
from lowrung.models.ctc import CTC
from lowrung.models.sound import RATE
from lowrung.models.text import Source

KINDS = ("wav2vec2", "hubert", "wavlm")  # as config.json calls the bodies that a CTC head can read
LESS = 320  # samples in a state
LEAST = 400  # samples that a state hears
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "[PAD]", "[UNK]")
GAP = "|"  # what stands for a blank between words in their vocabularies
WINDOW = 30.0  # seconds that Whisper hears at once


@dataclass(frozen=True, eq=False)
class WaveShape:
    """A transformers configuration, as a body's shape."""

    config: Mapping[str, Any]

    @property
    def width(self) -> int:
        return int(self.config["hidden_size"])

    def to_json(self) -> dict[str, Any]:
        return dict(self.config)


class WaveBody(nn.Module):
    """A transformers encoder of waves, called as models.sound.SoundBody is.

    Raises:
        ModelError: its configuration is of none of `KINDS`.
    """

    def __init__(self, shape: WaveShape, inner: nn.Module | None = None) -> None:
        super().__init__()
        kind = shape.config.get("model_type")
        if kind not in KINDS:
            raise ModelError(f"a body that hears waves is one of {', '.join(KINDS)}, not {kind}")
        if inner is None:
            from transformers import AutoConfig, AutoModel

            settings = {name: each for name, each in shape.config.items() if name != "model_type"}
            inner = AutoModel.from_config(AutoConfig.for_model(kind, **settings))  # type: ignore[no-untyped-call]
        self.shape, self.inner = shape, inner
        self.layers: nn.ModuleList = inner.encoder.layers  # type: ignore[union-attr,assignment]

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, 1), (B,) -> (B, T', D), (B,)"""
        sizes: Tensor = self.inner._get_feat_extract_output_lengths(lengths).to(lengths.device)  # type: ignore[operator]
        if self.shape.config.get("feat_extract_norm") == "layer":
            mask = torch.arange(frames.shape[1], device=frames.device)[None] < lengths[:, None]
            return self._states(frames[..., 0], int(sizes.max()), mask), sizes
        states = frames.new_zeros(len(frames), int(sizes.max()), self.shape.width)
        for length in set(lengths.tolist()):  # without padding, over which a group norm would run
            rows = (lengths == length).nonzero()[:, 0]
            size = int(sizes[rows[0]])
            states[rows, :size] = self._states(frames[rows, :length, 0], size).to(states.dtype)
        return states, sizes

    def _states(self, sound: Tensor, size: int, mask: Tensor | None = None) -> Tensor:
        """(B, S), T', (B, S) -> (B, T', D)"""
        config, kept = self.inner.config, None
        if self.training and config.mask_time_prob > 0 and size < config.mask_time_length:  # type: ignore[union-attr,operator]
            kept = torch.zeros(len(sound), size, dtype=torch.bool, device=sound.device)  # too short to be struck out of
        states: Tensor = self.inner(sound, attention_mask=mask, mask_time_indices=kept).last_hidden_state
        return states


def wave(given: Audio) -> Tensor:
    """Samples at 16 kHz, with zeros behind them where they are too few for a state.  -> (S, 1)"""
    samples = given.samples
    if given.rate != RATE:
        import soxr

        samples = soxr.resample(samples, given.rate, RATE)
    sound = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    return F.pad(sound, (0, max(0, LEAST - len(sound))))[:, None]


def levelled(frames: Tensor) -> Tensor:
    """With mean 0 and spread 1."""
    return (frames - frames.mean()) / frames.std().clamp(min=1e-5) if len(frames) > 1 else frames * 0


def read_ctc(folder: str) -> tuple[WaveBody, CTC]:
    """The body and the head of a folder that transformers' AutoModelForCTC reads.

    Raises:
        ModelError: it cannot be read there, or its vocabulary has no letters.
    """
    import transformers

    tokenizer, whole = from_transformers(folder, transformers.AutoModelForCTC)
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    letters = {
        symbol: at for symbol, at in vocabulary.items() if symbol not in SPECIAL and at < whole.config.vocab_size
    }
    if not letters:
        raise ModelError(f"{folder}: its vocabulary has no letters")
    lower = len({symbol.lower() for symbol in letters}) == len(letters)  # else they are told apart by their case
    told = {" " if symbol == GAP else symbol.lower() if lower else symbol: at for symbol, at in letters.items()}
    body = WaveBody(WaveShape(whole.config.to_dict()), getattr(whole, whole.base_model_prefix))
    head = CTC(tuple(told), body.shape.width)
    with torch.no_grad():
        places = [whole.config.pad_token_id, *told.values()]
        head.out.weight.copy_(whole.lm_head.weight[places])
        head.out.bias.copy_(whole.lm_head.bias[places])
    return body, head


@dataclass(frozen=True, eq=False)
class Whisper:
    """A Model[Text] that writes what it hears: transformers' Whisper, in windows of 30 seconds, untouched.

    Args:
        model, processor: as transformers loads them. language: what it is told to write, "" where it may find out.
    """

    model: Any
    processor: Any
    source: Source
    language: str = ""
    name: str = "zero-shot"
    options: Mapping[str, Any] = field(default_factory=dict)  # of transformers' generate

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Text]]:
        """What is said in each question's first sound; no answer without one."""
        found = []
        for question in questions:
            sound = next((part for part in question.given if isinstance(part, Audio)), None)
            found.append(Prediction(None, 0.0) if sound is None else self._answered(sound))
        return found

    @torch.no_grad()
    def _answered(self, sound: Audio) -> Prediction[Text]:
        samples = wave(sound)[:, 0].numpy()
        size = int(WINDOW * RATE)
        windows = [samples[at : at + size] for at in range(0, max(len(samples), 1), size)]
        told = {"language": self.language, "task": "transcribe"} if self.language else {}
        texts, sure = [], []
        for each in windows:
            heard = self.processor(each, sampling_rate=RATE, return_tensors="pt")
            made = self.model.generate(
                heard.input_features, return_dict_in_generate=True, output_scores=True, **told, **self.options
            )
            texts.append(self.processor.batch_decode(made.sequences, skip_special_tokens=True)[0].strip())
            best = [float(scores.log_softmax(-1).max()) for scores in made.scores]
            sure.append(float(np.exp(np.mean(best))) if best else 0.0)
        return Prediction(Text(" ".join(filter(None, texts))), min(max(min(sure), 0.0), 1.0))


def read_whisper(folder: str, source: Source) -> Whisper:
    """Raises ModelError where transformers reads no Whisper there."""
    import transformers

    _, model = from_transformers(folder, transformers.WhisperForConditionalGeneration)
    try:
        processor = transformers.WhisperProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as problem:
        raise ModelError(f"{folder}: Whisper's processor is missing there") from problem
    return Whisper(model.eval(), processor, source)


def kind_of(folder: Path) -> str:
    """What config.json calls a model, "" where there is none."""
    try:
        return str(json.loads((folder / "config.json").read_text("utf-8")).get("model_type", ""))
    except (OSError, ValueError):
        return ""
