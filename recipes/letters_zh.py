"""Practise letters-zh from scratch: a small BERT over characters that says, where text is misspelt, what was meant.

    pip install opencc-python-reimplemented
    .venv/bin/python -m recipes.letters_zh recipes/letters-zh.toml --minutes 45 --out runs/letters-zh

A line of raw text is damaged by the confusions of noise-zh.json, masks and chance; the body reads it and predicts the
character that was there, over the whole vocabulary, at the damaged places and at some others. Stops at --minutes or
--steps, whichever is first; cut off, it goes on from its last checkpoint, on the CPU or on a CUDA card (--device).
What ships is the folder `body` in --out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from lowrung.data.noise import noise
from lowrung.models.batch import autocast, mapped
from lowrung.models.saying import Saying
from recipes import chinese, training

PAD, UNK, CLS, SEP, MASK = range(5)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LATIN = "0123456789abcdefghijklmnopqrstuvwxyz"
WINDOW = 2  # characters around one that say what it is like, before anything is learnt
POOL = 8192  # lines that are drawn at once, and laid together by length
HELD_ROWS = 10  # batches
AHEAD = 4  # batches that a worker has made before they are asked for: nobody waits while it draws a pool

Ids = NDArray[np.int64]


def vocabulary(texts: dict[str, list[str]], most: int) -> list[str]:
    """The special pieces, digits and Latin letters as first and as later ones of a word, then the commonest others."""
    met = Counter[str]()
    for kind, times in ((chinese.SPOKEN, 6), (chinese.WRITTEN, 1)):
        found = Counter[str]()
        for line in texts[kind]:
            found.update(line.lower())
        met.update({each: times * n for each, n in found.items()})
    kept = [
        each for each, _ in met.most_common(most) if each not in LATIN and not each.isspace() and each.isprintable()
    ]
    return [*SPECIAL, *LATIN, *(f"##{each}" for each in LATIN), *kept]


class Coder:
    """Characters to numbers of the vocabulary, as the saved tokenizer does it."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.places = {piece: at for at, piece in enumerate(pieces)}

    def __call__(self, line: str) -> list[int]:
        found, inside = list[int](), False
        for letter in line.lower():
            if letter.isspace():
                inside = False
                continue
            later = inside and letter in LATIN
            found.append(self.places.get(f"##{letter}" if later else letter, UNK))
            inside = letter in LATIN
        return found


class Damage:
    """Confusions as rows of numbers. others: (V, K), 0 where there are no more. sums: (V, K) of their weights."""

    def __init__(self, pieces: Sequence[str], language: str, settings: dict[str, Any]) -> None:
        places = {piece: at for at, piece in enumerate(pieces)}
        table = noise(language).confusions
        self.others = np.zeros((len(pieces), max(map(len, table.values()))), dtype=np.int64)
        for letter, others in table.items():
            if letter in places:
                known = [places[other] for other in others if other in places]
                self.others[places[letter], : len(known)] = known
        weights = (self.others > 0) / (1.0 + np.arange(self.others.shape[1]))
        self.sums = weights.cumsum(1)
        self.settings, self.first = settings, len(SPECIAL) + 2 * len(LATIN)

    def __call__(self, clean: Ids, chance: np.random.Generator) -> tuple[Ids, NDArray[np.bool_]]:
        """The damaged numbers, and which of them are asked for.  (B, T) -> (B, T) twice"""
        settings = self.settings
        share = chance.choice(settings["shares"], len(clean))[:, None]
        hit = (chance.random(clean.shape) < share) & (clean >= self.first)
        kind = chance.random(clean.shape)
        sums = self.sums[clean]  # (B, T, K)
        drawn = (sums < (chance.random(clean.shape) * sums[..., -1])[..., None]).sum(-1)
        mistaken = np.take_along_axis(self.others[clean], np.minimum(drawn, sums.shape[-1] - 1)[..., None], -1)[..., 0]
        anything = chance.integers(self.first, len(self.others), clean.shape)
        put = np.where(kind < settings["mistaken"], mistaken, anything)
        put = np.where(kind > 1 - settings["masked"], MASK, put)
        hit &= put > 0
        asked = hit | ((chance.random(clean.shape) < settings["asked"]) & (clean > MASK))
        return np.where(hit, put, clean), asked


@dataclass(frozen=True)
class Lesson:
    """Damaged lines, and what stood in the places of them that are asked for.

    Shape:
        spoilt: (B, T) · places: (M,) in its B * T · gold: (M,) · wrong: (M,) which of them were damaged
    """

    spoilt: Tensor
    places: Tensor
    gold: Tensor
    wrong: Tensor
    tokens: int

    @classmethod
    def of(cls, spoilt: Ids, clean: Ids, asked: NDArray[np.bool_]) -> Lesson:
        places = np.flatnonzero(asked)
        gold = clean.reshape(-1)[places]
        wrong = spoilt.reshape(-1)[places] != gold
        tensor = torch.from_numpy
        return cls(tensor(spoilt), tensor(places), tensor(gold), tensor(wrong), int((clean > PAD).sum()))

    def pin_memory(self) -> Lesson:
        return mapped(self, Tensor.pin_memory)


class Lines(Sequence[str]):
    """Many lines in one text, which processes share; of a list each would come to have its own."""

    def __init__(self, lines: Iterable[str]) -> None:
        kept = list(lines)
        self.text, self.ends = "".join(kept), np.cumsum([0, *map(len, kept)])

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, at: int) -> str:  # type: ignore[override]
        return self.text[self.ends[at] : self.ends[at + 1]]


class Rows(IterableDataset[Lesson]):
    """Endless lessons of lines of like length.

    Args:
        size: lines a lesson. multiple: of which its length is one.
    """

    def __init__(
        self,
        texts: Mapping[str, Sequence[str]],
        coder: Coder,
        damage: Damage,
        *,
        seed: tuple[int, ...],
        size: int,
        multiple: int = 1,
    ) -> None:
        self.texts, self.coder, self.damage = texts, coder, damage
        self.seed, self.size, self.multiple = seed, size, multiple

    def __iter__(self) -> Iterator[Lesson]:
        seed = (*self.seed, training.turn()[0])
        random, chance = Random(str(seed)), np.random.default_rng(seed)
        number = max(POOL // self.size, 1) * self.size
        while True:
            rows = sorted(islice(self._coded(random), number), key=len)
            parts = [rows[at : at + self.size] for at in range(0, number, self.size)]
            random.shuffle(parts)
            for part in parts:
                longest = -(-max(map(len, part)) // self.multiple) * self.multiple
                clean = np.zeros((len(part), longest), dtype=np.int64)
                for at, row in enumerate(part):
                    clean[at, : len(row)] = row
                spoilt, asked = self.damage(clean, chance)
                yield Lesson.of(spoilt, clean, asked)

    def _coded(self, random: Random) -> Iterator[list[int]]:
        settings = self.damage.settings
        while True:
            kind = chinese.SPOKEN if random.random() < settings["spoken"] else chinese.WRITTEN
            ids = self.coder(_part(random.choice(self.texts[kind]), random, settings["longest"]))
            if len(ids) > 3:
                yield [CLS, *ids[: settings["longest"]], SEP]


def _part(line: str, random: Random, longest: int) -> str:
    """A stretch of a line, from a sentence's start."""
    if len(line) <= longest:
        return line
    starts = [0, *(at + 1 for at, letter in enumerate(line[: -longest // 2]) if letter in "。！？；，")]
    at = random.choice(starts)
    return line[at : at + longest]


def first_vectors(texts: dict[str, list[str]], coder: Coder, size: int, width: int) -> Tensor:
    """Vectors by which letters stand beside which: positive pointwise mutual information, its largest directions."""
    whole = np.zeros(size * size, dtype=np.float32)
    for kind in (chinese.SPOKEN, chinese.WRITTEN):
        for first in range(0, len(texts[kind]), 20_000):
            row = np.array([each for line in texts[kind][first : first + 20_000] for each in (*coder(line), SEP)])
            for apart in range(1, WINDOW + 1):
                met = np.bincount(row[:-apart] * size + row[apart:], minlength=size * size)
                whole += met.astype(np.float32)
    table = torch.from_numpy(whole).view(size, size)
    table = table + table.T
    table[: MASK + 1], table[:, : MASK + 1] = 0, 0
    chance = table.sum(0, keepdim=True) ** 0.75
    told = table * chance.sum() / (table.sum(1, keepdim=True).clamp(min=1) * chance.clamp(min=1))
    left, values, _ = torch.svd_lowrank(torch.log(told.clamp(min=1)), q=width, niter=2)
    vectors = left * values**0.5
    return vectors * 0.04 / vectors.std().clamp(min=1e-6)


class School(nn.Module):
    """The body, and what says characters by its states."""

    def __init__(self, settings: dict[str, Any], size: int) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        torch.manual_seed(settings["seed"])
        config = BertConfig(
            vocab_size=size,
            hidden_size=settings["width"],
            num_hidden_layers=settings["layers"],
            num_attention_heads=settings["heads"],
            intermediate_size=4 * settings["width"],
            max_position_embeddings=settings["positions"],
            type_vocab_size=2,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.body: Any = BertModel(config, add_pooling_layer=False)
        self.saying = Saying(settings["width"], size)

    @property
    def table(self) -> nn.Parameter:
        found: nn.Parameter = self.body.embeddings.word_embeddings.weight
        return found

    def work(self, lesson: Lesson) -> tuple[int, float]:
        """Tokens, and what their layers cost there and back, with what is said of the places that are asked for."""
        said = (self.saying.turn.weight.numel() + self.table.numel()) * len(lesson.places)
        return lesson.tokens, 6.0 * (training.products(self.body.encoder.layer) * lesson.tokens + said)

    def loss(self, lesson: Lesson) -> tuple[Tensor, dict[str, Tensor]]:
        spoilt, gold, wrong = lesson.spoilt, lesson.gold, lesson.wrong
        with autocast(spoilt.device):
            states = self.body(input_ids=spoilt, attention_mask=training.mask(spoilt > PAD)).last_hidden_state
            said = self.saying(states.flatten(0, 1)[lesson.places], self.table)  # (M, V)
        said = said.float()
        each, right = F.cross_entropy(said, gold, reduction="none"), said.detach().argmax(1) == gold
        facts = {
            "loss": each.mean(),
            "wrong_loss": _mean(each, wrong),
            "restored": _mean(right.float(), wrong),
            "kept": _mean(right.float(), ~wrong),
        }
        return facts["loss"], {name: value.detach() for name, value in facts.items()}


def _mean(values: Tensor, among: Tensor) -> Tensor:
    return (values * among).sum() / among.sum().clamp(min=1)


def _parted() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The lines to learn from, and those to measure on, of each kind."""
    texts, held = dict[str, list[str]](), dict[str, list[str]]()
    for kind in (chinese.SPOKEN, chinese.WRITTEN):
        lines = list(chinese.lines(kind))
        texts[kind] = [each for each in lines if not chinese.held(each)]
        held[kind] = [each for each in lines if chinese.held(each)]
    return texts, held


def practise(settings: dict[str, Any], out: Path, *, steps: int, minutes: float, device: torch.device) -> None:
    texts, held = _parted()
    pieces, seed, size = vocabulary(texts, settings["letters"]), settings["seed"], training.size_of(settings, device)
    coder, damage = Coder(pieces), Damage(pieces, settings["language"], settings)
    school = School(settings, len(pieces)).to(device)
    training.compiled([*school.body.encoder.layer, school.saying], device)
    moving = dict(school.named_parameters())
    course = training.Course(
        moving,
        training.adam({settings["lr"]: list(moving.values())}, betas=(0.9, 0.98)),
        school.loss,
        school.work,
        size=size,
        warm=settings["warm"],
        every=settings["report_seconds"],
    )
    done = training.resume(out, moving, course.optimizer)
    if not done:
        with torch.no_grad():
            school.table[MASK + 1 :] = first_vectors(texts, coder, len(pieces), settings["width"])[MASK + 1 :].to(
                device
            )
    exam = list(islice(Rows(held, coder, damage, seed=(seed + 1,), size=settings["batch"]), HELD_ROWS))
    rows = Rows(
        {kind: Lines(each) for kind, each in texts.items()},
        coder,
        damage,
        seed=(seed + 10, done.get("step", 0)),
        size=size,
        multiple=training.multiple_of(device),
    )
    del texts, held
    batches = training.loader(rows, device, ahead=AHEAD)
    facts = training.descend(course, batches, exam, out, done=done, steps=steps, minutes=minutes)
    school.cpu().eval()
    _ship(out / "body", school.body, school.saying, pieces, {"about": settings["about"], "recipe": settings, **facts})


def _ship(folder: Path, body: Any, saying: Saying, pieces: Sequence[str], facts: dict[str, Any]) -> None:
    """A plain transformers folder, with what says characters and the card beside."""
    from transformers import BertTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    body.to(torch.bfloat16).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", "utf-8")
    tokenizer = BertTokenizer(
        str(folder / "vocab.txt"), do_lower_case=True, model_max_length=body.config.max_position_embeddings
    )
    tokenizer.save_pretrained(folder)
    saying.save(folder)
    (folder / "letters.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    training.run(practise, __doc__ or "", minutes=45.0)
