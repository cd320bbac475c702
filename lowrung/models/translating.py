"""New texts for given ones, as pairs have shown: a decoder that is learnt on the states of an encoder.

It is a small transformer (transformers' Pegasus: norms before the layers, positions that need no learning) with a few
layers of its own above the body's states, and writes pieces that were counted out of the right texts. Letters of
shapes: models/batch.py, and N pieces of an answer, V pieces in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from lowrung.core.answers import Prediction, Text
from lowrung.core.errors import DataError, ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Example, Metric
from lowrung.data.names import sentence_ends
from lowrung.metrics.counting import total
from lowrung.models import catalog
from lowrung.models.batch import CPU, Batch, autocast, pad
from lowrung.models.target_pieces import END, PAD, coded, learnt_pieces, said
from lowrung.models.text import TextBackbone
from lowrung.models.tracked import part_of_run
from lowrung.models.training import Settings, descend
from lowrung.models.tuning import Frozen, How, Prefixes, describe, described, loosened, moved

WEIGHTS, PIECES = "model.safetensors", "target-pieces.json"
SMOOTHING = 0.1  # of the labels (Szegedy et al. 2016)
IGNORED = -100  # what cross-entropy passes over
PLACES = 1024  # pieces of a text or an answer at most
ALIKE = 50  # batches that are filled from rows of like length
WATCHED = 200  # dev rows that are written on the way, without a beam, to tell when it was best
SETTINGS = Settings(head_lr=1e-3, epochs=100, least=500, most=10000, batch=64, decay=0.01, patience=4, validations=10)
MOVING = Settings(lr=1e-4, head_lr=3e-4, epochs=8, least=200, most=4000, batch=64, decay=0.01, patience=3)

Watch = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a decoder is.

    Args:
        width: of its states. above: its layers above the body. layers: those that write. dropout: while it learns.
    """

    width: int = 256
    heads: int = 4
    above: int = 2
    layers: int = 3
    dropout: float = 0.3


SHAPE = Shape()


class Decoder(nn.Module):
    """What writes an answer, piece by piece, looking at the states of a body.

    Args:
        given: width of these states. pieces: V.
    """

    def __init__(self, shape: Shape, *, given: int, pieces: int) -> None:
        from transformers import GenerationConfig, PegasusConfig, PegasusForConditionalGeneration

        super().__init__()
        ends: Any = {"pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": PAD}
        config = PegasusConfig(
            vocab_size=pieces,
            max_position_embeddings=PLACES,
            encoder_layers=shape.above,
            decoder_layers=shape.layers,
            encoder_attention_heads=shape.heads,
            decoder_attention_heads=shape.heads,
            encoder_ffn_dim=4 * shape.width,
            decoder_ffn_dim=4 * shape.width,
            d_model=shape.width,
            dropout=shape.dropout,
            init_std=shape.width**-0.5,
            scale_embedding=True,
            **ends,
            forced_eos_token_id=None,
        )
        self.shape, self.norm = shape, nn.LayerNorm(given)
        self.lead = nn.Linear(given, shape.width)
        self.writer: Any = PegasusForConditionalGeneration(config)
        self.writer.generation_config = GenerationConfig(**ends)  # type: ignore[no-untyped-call]
        for part in (self.writer.model.encoder, self.writer.model.decoder):
            part.embed_positions.requires_grad_(False)

    def learnt(self) -> dict[str, Tensor]:
        """Name → weights, each once though some are used in several places."""
        return {name: each for name, each in self.named_parameters() if each.requires_grad}

    def forward(self, states: Tensor, mask: Tensor, wanted: Tensor) -> Tensor:
        """Logits of each piece of the answer.  (B, T, D), (B, T), (B, N) -> (B, N, V)"""
        before = F.pad(wanted[:, :-1], (1, 0), value=PAD)
        before = before.masked_fill(before == IGNORED, PAD)
        found: Tensor = self.writer(
            inputs_embeds=self.lead(self.norm(states)),
            attention_mask=mask.long(),
            decoder_input_ids=before,
            use_cache=False,
        ).logits
        return found

    def written(self, states: Tensor, mask: Tensor, *, beams: int, penalty: float, most: int, kept: int) -> Any:
        """The likeliest answers: pieces (B * kept, N), and the mean log-probability of a piece of each (B * kept,)."""
        told = self.writer.generate(
            inputs_embeds=self.lead(self.norm(states)),
            attention_mask=mask.long(),
            num_beams=beams,
            length_penalty=penalty,
            early_stopping=beams > 1,
            do_sample=False,
            max_new_tokens=most,
            num_return_sequences=kept,
            output_scores=True,
            return_dict_in_generate=True,
        )
        logs = self.writer.compute_transition_scores(
            told.sequences, told.scores, getattr(told, "beam_indices", None), normalize_logits=beams == 1
        )
        ids = told.sequences[:, 1:]
        inside = (ids == END).cumsum(1) - (ids == END).long() == 0  # up to the first end and with it
        return ids, logs.masked_fill(~inside, 0.0).sum(1) / inside.sum(1)


class Translator:
    """A Model of Texts: what pairs of a text and its answer have shown, by a body and a decoder above it.

    Args:
        backbone: whose states the decoder looks at.
        depths: after how many of its layers; the states lie side by side.
        pieces: what answers are written in.
        longest: pieces of the longest text that it has learnt from; a longer one is taken sentence by sentence.
        how: how much of the body was moved. prefixes: a cache of the untouched body's states to share, or None.
        beams: answers that are followed at once. penalty: the power of the length that their scores are divided by.
    """

    def __init__(
        self,
        backbone: TextBackbone,
        net: Decoder,
        pieces: Tokenizer,
        *,
        depths: tuple[int, ...],
        longest: int,
        how: How = Frozen(),  # noqa: B008 (frozen value)
        prefixes: Prefixes | None = None,
        name: str = "decoder",
        beams: int = 5,
        penalty: float = 1.0,
    ) -> None:
        self.backbone, self.net, self.pieces, self.depths, self.longest = backbone, net, pieces, depths, longest
        self.how, self.prefixes, self.name, self.beams, self.penalty = how, prefixes, name, beams, penalty

    def states(self, batch: Batch) -> Tensor:
        """(B, T, len(depths) * D)"""
        if isinstance(self.how, Frozen):
            found = self.prefixes.states if self.prefixes else self.backbone.taps
            return batch.stitched(found(batch, self.depths))
        return batch.stitched(self.backbone.taps_of(self.depths, **self.backbone.given(batch)))

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Text]]:
        """One prediction a question, in order; the confidence is the mean probability of a piece (geometric)."""
        self.net.eval()
        self.backbone.body.eval()
        parts = [(at, part) for at, asked in enumerate(questions) for part in self._parts(asked.text)]
        made: list[list[tuple[str, float]]] = [[] for _ in parts]
        for chosen, batch in self.backbone.batches([Question((part,)) for _, part in parts], budget=2048):
            for place, found in zip(chosen, self._written(batch), strict=True):
                made[place] = found
        whole: list[list[list[tuple[str, float]]]] = [[] for _ in questions]
        for (at, _), found in zip(parts, made, strict=True):
            whole[at].append(found)
        return list(map(_predicted, whole))

    @torch.inference_mode()
    def _written(self, batch: Batch) -> Iterator[list[tuple[str, float]]]:
        """Of each question the likeliest answers, the best one first."""
        most = min(PLACES - 2, 20 + 3 * batch.mask.shape[1])
        kept = min(self.beams, 3)
        ids, logs = self.net.written(
            self.states(batch).float(), batch.mask, beams=self.beams, penalty=self.penalty, most=most, kept=kept
        )
        told = [(said(self.pieces, row), each) for row, each in zip(ids.tolist(), logs.exp().tolist(), strict=True)]
        for at in range(0, len(told), kept):
            yield told[at : at + kept]

    def _parts(self, text: str) -> list[str]:
        """The text whole, or where it is longer than what was learnt from, in sentences, and these in words."""
        if len(self.backbone.tokenizer.pieces([text])[0][0]) <= self.longest:
            return [text]
        ends = [0, *sentence_ends(text), len(text)]
        sentences = [part for a, b in pairwise(ends) if (part := text[a:b].strip())]
        if len(sentences) > 1:
            return [part for each in sentences for part in self._parts(each)]
        offsets = self.backbone.tokenizer.pieces([text])[0][1]
        cut = [offsets[at][0] for at in range(0, len(offsets), self.longest)] + [len(text)]
        return [part for a, b in pairwise(cut) if (part := text[a:b].strip())]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the decoder, and what moved of the body, into `folder`; returns what `load_translator` needs."""
        body = {f"body.{name}": each.detach().contiguous() for name, each in moved(self.backbone).items()}
        net = {f"head.{name}": each.detach().contiguous() for name, each in self.net.learnt().items()}
        save_file({**body, **net}, folder / WEIGHTS)
        self.pieces.save(str(folder / PIECES))
        return {
            "kind": "translator",
            "name": self.name,
            "shape": asdict(self.net.shape),
            "depths": list(self.depths),
            "longest": self.longest,
            "how": describe(self.how),
            "backbone": self.backbone.source.name,
            "checksum": self.backbone.source.checksum,
        }


def _predicted(parts: Sequence[Sequence[tuple[str, float]]]) -> Prediction[Text]:
    """The answers to the parts of a text as one; other answers only where the text was taken whole."""
    if not parts:
        return Prediction(None, 0.0)
    likely = min(sure for (_, sure), *_ in parts)
    blank = "" if all(_unspaced(each[0][0]) for each in parts) else " "
    others = dict.fromkeys(parts[0][1:]) if len(parts) == 1 else {}
    told = tuple((Text(text), min(1.0, sure)) for text, sure in others if text != parts[0][0][0])
    return Prediction(Text(blank.join(each[0][0] for each in parts)), min(1.0, likely), told)


def _unspaced(text: str) -> bool:
    return " " not in text and any(ord(letter) >= 0x3000 for letter in text)


def load_translator(folder: Path, facts: dict[str, Any]) -> Translator:
    """What `save` wrote.

    Raises:
        ModelError: a file is missing or damaged, or the backbone's weights are not those it was trained on.
    """
    try:
        found = catalog.backbone(facts["backbone"])
        if found.source.checksum != facts["checksum"]:
            raise ModelError(f"{folder}: was trained on other weights of {facts['backbone']} than the ones found here")
        how = described(facts["how"])
        body = found if isinstance(how, Frozen) else loosened(found, how)
        state, pieces = load_file(folder / WEIGHTS), Tokenizer.from_file(str(folder / PIECES))
        net = _decoder(body, pieces, Shape(**facts["shape"]), facts["depths"])
        made = Translator(
            body, net, pieces, depths=tuple(facts["depths"]), longest=facts["longest"], how=how, name=facts["name"]
        )
        with torch.no_grad():
            for name, each in {**_named("head", made.net.learnt()), **_named("body", moved(body))}.items():
                each.copy_(state[name])
        return made
    except ModelError:
        raise
    except Exception as problem:  # tokenizers raises bare ones of its own
        told = " ".join(str(problem).split())
        raise ModelError(f"{folder}: not a whole model folder ({type(problem).__name__}: {told})") from problem


def _named(kind: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{kind}.{name}": each for name, each in weights.items()}


def _decoder(body: TextBackbone, pieces: Tokenizer, shape: Shape, depths: Sequence[int]) -> Decoder:
    return Decoder(shape, given=len(depths) * body.width, pieces=pieces.get_vocab_size()).eval()


# --- learning


def fit_translator(
    body: TextBackbone,
    examples: Sequence[Example[Text]],
    *,
    metric: Metric[Text],
    how: How = Frozen(),  # noqa: B008 (frozen value)
    start: Translator | None = None,
    dev: Sequence[Example[Text]] = (),
    seed: int = 0,
    prefixes: Prefixes | None = None,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
    shape: Shape | None = None,
    settings: Settings | None = None,
) -> Translator:
    """A translator that has learnt from `examples`: the decoder first, on the frozen body; then what `how` moves, too.

    Args:
        metric: by which the best weights are kept, on the first `WATCHED` rows of `dev`.
        start: a translator with a frozen body that has learnt already, for what moves the body.
        shape: `SHAPE` unless told. settings: `SETTINGS`, then `MOVING` where the body moves, unless told.

    Raises:
        DataError: no example has a text to learn to write, or all are too long; one that is, is left out.
    """
    rows = [(each.question, gold.text) for each in examples for gold in each.golds if gold.text.strip()]
    if not rows:
        raise DataError("no row has a right text to learn to write")
    pieces = start.pieces if start is not None else learnt_pieces([text for _, text in rows])
    lengths = [len(ids) for ids, _ in body.tokenizer.pieces([asked.text for asked, _ in rows])]
    room = PLACES - body.tokenizer.frame.single
    short = [at for at, (_, text) in enumerate(rows) if lengths[at] <= room and len(coded(pieces, text)) <= PLACES]
    if not short:
        raise DataError(f"no row is short enough to learn from: a text and its answer have {PLACES:,} pieces at most")
    rows, longest = [rows[at] for at in short], max(lengths[at] for at in short)
    taught = partial(_taught, rows=rows, metric=metric, dev=dev, seed=seed, watch=watch)
    if start is None:
        depths = tuple(sorted({body.tagging_layer, body.depth}))
        torch.manual_seed(seed)
        start = Translator(body, _decoder(body, pieces, shape or SHAPE, depths), pieces, depths=depths, longest=longest)
        start.prefixes = prefixes or Prefixes(body)
        start.prefixes.fill([asked for asked, _ in rows], depths)
        with part_of_run("" if isinstance(how, Frozen) else "decoder"):
            taught(start, settings=settings or SETTINGS, checkpoint=checkpoint and checkpoint / "decoder")
    if isinstance(how, Frozen):
        return start
    made = Translator(
        loosened(body, how, seed=seed), start.net, start.pieces, depths=start.depths, longest=start.longest, how=how
    )
    taught(made, settings=settings or MOVING, checkpoint=checkpoint and checkpoint / "body")
    return made


def _taught(
    made: Translator,
    *,
    rows: Sequence[tuple[Question, str]],
    metric: Metric[Text],
    dev: Sequence[Example[Text]],
    settings: Settings,
    seed: int,
    checkpoint: Path | None,
    watch: Watch | None,
) -> None:
    wanted = [coded(made.pieces, text) for _, text in rows]
    lengths = tuple(map(len, wanted))

    def loss_of(step: int) -> tuple[Tensor, int]:
        made.net.train()
        for layer in made.backbone.layers:
            layer.train(any(each.requires_grad for each in layer.parameters()))
        chosen = drawn_alike(step, lengths, settings.batch, seed)
        batch = made.backbone.encode([rows[at][0] for at in chosen])
        target = pad([torch.tensor(wanted[at]) for at in chosen], IGNORED)
        with autocast(CPU):
            logits = made.net(made.states(batch), batch.mask, target)
        loss = F.cross_entropy(
            logits.float().flatten(0, 1), target.flatten(), ignore_index=IGNORED, label_smoothing=SMOOTHING
        )
        return loss, int((target != IGNORED).sum())

    def score() -> float:
        beams, made.beams = made.beams, 1
        told = made.answer([each.question for each in dev[:WATCHED]])
        made.beams = beams
        counted = [metric.count(each, one.answer) for each, one in zip(dev, told, strict=False)]
        return float(metric.finish(total(counted))) * (1 if metric.higher_is_better else -1)

    moving = {**_named("body", moved(made.backbone)), **_named("head", made.net.learnt())}
    descend(
        moving,
        loss_of,
        steps=settings.steps(len(rows)),
        settings=settings,
        seed=seed,
        score=score if dev else None,
        checkpoint=checkpoint,
        watch=watch,
    )
    made.net.eval()
    made.backbone.body.eval()


def drawn_alike(step: int, lengths: tuple[int, ...], size: int, seed: int) -> Sequence[int]:
    """The places of the rows of one step, which are of like length: a function of step and seed, as training.drawn."""
    epoch, at = divmod(step, -(-len(lengths) // size))
    return _epoch(lengths, size, seed, epoch)[at]


@lru_cache(maxsize=2)
def _epoch(lengths: tuple[int, ...], size: int, seed: int, epoch: int) -> list[list[int]]:
    random = Random(f"{seed} {epoch}")
    order = list(range(len(lengths)))
    random.shuffle(order)
    batches = []
    for at in range(0, len(order), ALIKE * size):
        near = sorted(order[at : at + ALIKE * size], key=lengths.__getitem__)
        batches += [near[begin : begin + size] for begin in range(0, len(near), size)]
    random.shuffle(batches)
    return batches
