"""Bodies that see patches, from transformers: ViT and its kin, which a CTC head can read, and TrOCR, which writes.

The letters of models/batch.py, and: T columns of ink of H rows (models/picture.py) · T' states of four columns ·
N columns of patches of a line · P pixels of a patch's side
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lowrung.core.answers import Prediction, Text
from lowrung.core.errors import ModelError
from lowrung.core.parts import Image, Question
from lowrung.models.catalog import from_transformers
from lowrung.models.ctc import CTC
from lowrung.models.picture import HEIGHT, LESS, lines_of
from lowrung.models.text import Source

KINDS = ("vit", "deit", "beit", "dinov2")  # as config.json calls the bodies whose states are those of patches
ROWS = 3  # patches that a line is high
SPLIT = 3  # states of a column of patches, which may hold as many letters
ACROSS = SPLIT * LESS  # columns of ink that a patch is wide
FILL = 4  # columns of patches: a line is filled up with paper to a multiple of them, so that many are equally wide
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
WIDEST = 20  # times as wide as high; TrOCR reads what is wider in pieces
BLANK = HEIGHT // 4 + 1  # columns of ink, about as many as part two words
LONGEST = 256  # pieces of words that TrOCR writes of a picture at most
MOST = 16  # pictures a batch

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Look:
    """How a model is given pictures.

    Args:
        mean, std: what is taken off their values in 0 to 1, and by what these are then divided.
        size: the height and width that they are scaled to, None where they are scaled or cut in another way.
        resample: by which of Pillow's filters.
    """

    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    size: tuple[int, int] | None = None
    resample: int = 2  # bilinear

    def tensor(self, pixels: Pixels) -> Tensor:
        """The whole picture, however wide, in `size`.  (rows, columns, 3) -> (3, *size)"""
        from PIL import Image as Pillow

        height, width = self.size or pixels.shape[:2]
        scaled = Pillow.fromarray(pixels).resize((width, height), self.resample)
        values = torch.from_numpy(np.asarray(scaled, dtype=np.float32) / 255)
        return ((values - torch.tensor(self.mean)) / torch.tensor(self.std)).permute(2, 0, 1)


def read_look(folder: Path) -> Look | None:
    """What the image processor of a transformers folder says, None where there is none.

    Raises:
        ModelError: it cannot be read.
    """
    file = next((folder / name for name in PROCESSORS if (folder / name).is_file()), None)
    if file is None:
        return None
    try:
        told = json.loads(file.read_text("utf-8"))
        told = told.get("image_processor", told)
        mean, std = (told["image_mean"], told["image_std"]) if told.get("do_normalize", True) else ((0.0,), (1.0,))
        size, filter_ = told.get("size"), told.get("resample")
        size = (size, size) if isinstance(size, int) else (size["height"], size["width"]) if "height" in size else None
        size = None if told.get("do_center_crop") else size
        return Look(tuple(mean), tuple(std), size, Look().resample if filter_ is None else int(filter_))
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as problem:
        reason = f"{type(problem).__name__}: {problem}"
        raise ModelError(f"{file}: not an image processor with size, image_mean and image_std ({reason})") from problem


@dataclass(frozen=True, eq=False)
class PatchShape:
    """A transformers configuration, as a body's shape, and what its pixels are normalised by."""

    config: Mapping[str, Any]
    mean: Sequence[float]
    std: Sequence[float]

    @property
    def width(self) -> int:
        return int(self.config["hidden_size"])

    def to_json(self) -> dict[str, Any]:
        return {"config": dict(self.config), "mean": list(self.mean), "std": list(self.std)}


class PatchBody(nn.Module):
    """A transformers encoder of patches, called as models.picture.PictureBody is.

    A line is scaled to `ROWS` patches in height, whatever its width; the places of patches, which were learnt for a
    square, are interpolated to it. The states of patches above each other are averaged, and `split`, which is learnt,
    makes `SPLIT` states of each column, from left to right.

    Raises:
        ModelError: its configuration is of none of `KINDS`, or its patches are no squares.
    """

    def __init__(self, shape: PatchShape, inner: nn.Module | None = None) -> None:
        super().__init__()
        kind, patch = shape.config.get("model_type"), shape.config.get("patch_size")
        if kind not in KINDS:
            raise ModelError(f"a body that sees patches is one of {', '.join(KINDS)}, not {kind}")
        if not isinstance(patch, int):
            raise ModelError(f"a body that sees patches has square ones, not {patch}")
        if inner is None:
            from transformers import AutoConfig, AutoModel

            settings = {name: each for name, each in shape.config.items() if name != "model_type"}
            inner = AutoModel.from_config(AutoConfig.for_model(kind, **settings))  # type: ignore[no-untyped-call]
        if getattr(inner, "pooler", None) is not None:
            inner.pooler = None  # read by nobody here
        self.shape, self.inner, self.patch = shape, inner, patch
        depth = shape.config["num_hidden_layers"]
        self.layers = next(each for each in inner.modules() if isinstance(each, nn.ModuleList) and len(each) == depth)
        self.split = nn.Linear(shape.width, SPLIT * shape.width)
        with torch.no_grad():  # begins as copies that differ a little
            self.split.weight.normal_(std=0.02).add_(torch.eye(shape.width).repeat(SPLIT, 1))
            self.split.bias.zero_()
        channels = int(shape.config.get("num_channels", 3))
        for name, values in (("mean", shape.mean), ("std", shape.std)):
            told = torch.tensor(values, dtype=torch.float32).expand(channels)[:, None, None]
            self.register_buffer(name, told.clone(), persistent=False)

    def forward(self, columns: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States and how many of them each row has.  (B, T, H), (B,) -> (B, T', D), (B,)"""
        wide = (lengths + ACROSS * FILL - 1).div(ACROSS * FILL, rounding_mode="floor").clamp(min=1) * FILL  # N of each
        columns = F.pad(columns, (0, 0, 0, int(wide.max() + 1) * ACROSS - columns.shape[1]))
        states = columns.new_zeros(len(columns), int(wide.max()) * SPLIT, self.shape.width)
        for number in set(wide.tolist()):  # without padding, so that it is not seen which others are there
            rows = (wide == number).nonzero()[:, 0]
            made = self._states(columns[rows, : (number + 1) * ACROSS], number)
            states[rows, : number * SPLIT] = made.to(states.dtype)
        lengths = (lengths + LESS - 1) // LESS
        return states[:, : int(lengths.max())], lengths

    def _states(self, ink: Tensor, number: int) -> Tensor:
        """Of lines of N columns of patches, and one of paper behind them.  (B, (N + 1) * ACROSS, H) -> (B, 3 N, D)"""
        paper = 1 - ink.float().transpose(1, 2)[:, None]
        size = (ROWS * self.patch, (number + 1) * self.patch)
        seen = F.interpolate(paper, size, mode="bilinear", antialias=True)[..., : number * self.patch]
        pixels = (seen - self.get_buffer("mean")) / self.get_buffer("std")
        found = self.inner(pixels, interpolate_pos_encoding=True).last_hidden_state[:, -ROWS * number :]
        states = self.split(found.unflatten(1, (ROWS, number)).mean(1))
        return states.unflatten(-1, (SPLIT, -1)).flatten(1, 2)  # type: ignore[no-any-return]


def headless(inner: nn.Module, look: Look | None) -> tuple[PatchBody, CTC]:
    """A body around a transformers encoder, and a head that knows no letter yet; the same at each call."""
    look = look or Look()
    shape = PatchShape(inner.config.to_dict(), look.mean, look.std)  # type: ignore[union-attr,operator]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PatchBody(shape, inner), CTC((), shape.width)


def read_vit(folder: str) -> tuple[PatchBody, CTC]:
    """`headless`, of a folder that transformers' AutoModel reads. Raises ModelError where it does not."""
    import transformers

    _, inner = from_transformers(folder, transformers.AutoModel, worded=False)
    return headless(inner, read_look(Path(folder)))


@dataclass(frozen=True, eq=False)
class TrOCR:
    """A Model[Text] that writes what it reads: transformers' TrOCR, untouched (Li et al. 2021).

    A picture is squeezed into the square that the model was trained on, as transformers does it. One that is more than
    `WIDEST` times as wide as high is cut where least is written, and its pieces are read one by one.

    Args:
        model, tokenizer: as transformers loads them. options: of transformers' generate.
    """

    model: Any
    tokenizer: Any
    look: Look
    source: Source
    name: str = "zero-shot"
    options: Mapping[str, Any] = field(default_factory=dict)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Text]]:
        """What is written in each question's first picture; no answer without one. The confidence is the mean
        probability of the pieces of words (geometric), of the least sure piece of a picture that was cut."""
        found: list[Prediction[Text]] = [Prediction(None, 0.0) for _ in questions]
        pictures = [(at, part) for at, asked in enumerate(questions) if (part := _picture(asked)) is not None]
        for first in range(0, len(pictures), MOST):
            cut = [(at, each) for at, part in pictures[first : first + MOST] for each in pieces(part)]
            texts, sure = dict[int, list[str]](), dict[int, float]()
            for begin in range(0, len(cut), MOST):
                some = cut[begin : begin + MOST]
                for (at, _), (text, share) in zip(some, self._written([each for _, each in some]), strict=True):
                    texts.setdefault(at, []).append(text)
                    sure[at] = min(share, sure.get(at, 1.0))
            for at, said in texts.items():
                found[at] = Prediction(Text(" ".join(filter(None, said))), sure[at])
        return found

    @torch.no_grad()
    def _written(self, pictures: Sequence[Pixels]) -> Iterator[tuple[str, float]]:
        """Text and confidence of each."""
        limit = min(LONGEST, getattr(self.model.config.decoder, "max_position_embeddings", LONGEST))
        told = {"max_length": limit, "do_sample": False, **self.options}
        values = torch.stack([self.look.tensor(each) for each in pictures])
        made = self.model.generate(values, return_dict_in_generate=True, output_scores=True, **told)
        beams = getattr(made, "beam_indices", None)
        logs = self.model.compute_transition_scores(made.sequences, made.scores, beams, normalize_logits=True)
        ends = self.model.generation_config.eos_token_id
        new = made.sequences[:, 1:][:, : logs.shape[1]]  # the first one is where the decoder starts
        ended = torch.isin(new, torch.tensor([] if ends is None else ends))
        for pieces_, row, last in zip(new, logs, ended, strict=True):
            size = int(last.nonzero()[0]) + 1 if last.any() else len(pieces_)
            share = float(row[:size].mean().exp()) if size else 0.0
            yield self.tokenizer.decode(pieces_[:size], skip_special_tokens=True).strip(), min(max(share, 0.0), 1.0)


def _picture(question: Question) -> Image | None:
    return next((part for part in question.given if isinstance(part, Image)), None)


def pieces(image: Image) -> list[Pixels]:
    """A picture from left to right, in as few equal pieces as are `WIDEST` times as wide as high; each cut is moved by
    up to a quarter of a piece to where least is written."""
    pixels = image.pixels
    rows, wide = pixels.shape[:2]
    number = -(-wide // max(WIDEST * rows, 1))
    if number < 2:
        return [pixels]
    line = lines_of(image)[0]
    written = F.avg_pool1d(line.ink.sum(1)[None], BLANK, 1, BLANK // 2, count_include_pad=False)[0]
    places = wide * (line.first + (line.last - line.first) * (torch.arange(len(written)) + 0.5) / len(written))
    cuts = [0]
    for middle in (at * wide / number for at in range(1, number)):
        near = (places - middle).abs() <= wide / number / 4
        least = written.masked_fill(~near, torch.inf)
        cuts.append(round(float(places[least.argmin()]) if near.any() else middle))
    return [pixels[:, begin:end] for begin, end in zip(cuts, [*cuts[1:], wide], strict=True)]


def read_trocr(folder: str, source: Source) -> TrOCR:
    """Raises ModelError where transformers reads no TrOCR there."""
    import transformers

    tokenizer, model = from_transformers(folder, transformers.VisionEncoderDecoderModel)
    if (kind := model.config.encoder.model_type) not in KINDS:
        raise ModelError(f"{folder}: its encoder is {kind}; a model that reads lines has one of {', '.join(KINDS)}")
    look = read_look(Path(folder))
    if look is None or look.size is None:
        raise ModelError(f"{folder}: there is no image processor that scales to one height and width ({PROCESSORS[0]})")
    return TrOCR(model.eval(), tokenizer, look, source)
