"""Practise letters-zh from scratch: a small BERT over characters that says, where text is misspelt, what was meant.

    pip install opencc-python-reimplemented
    .venv/bin/python -m recipes.letters_zh recipes/letters-zh.toml --minutes 45 --out runs/letters-zh

A line of raw text is damaged by the confusions of noise-zh.json, masks and chance; the body reads it and predicts the
character that was there, over the whole vocabulary, at the damaged places and at some others. Stops at --minutes or
--steps, whichever is first; cut off, it goes on from its last checkpoint. What ships is the folder `body` in --out.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lowrung.data.noise import noise
from lowrung.models.batch import bfloat16_pays
from lowrung.models.saying import Saying
from recipes import chinese, training

PAD, UNK, CLS, SEP, MASK = range(5)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LATIN = "0123456789abcdefghijklmnopqrstuvwxyz"
WINDOW = 2  # characters around one that say what it is like, before anything is learnt
FLUSH = 64  # batches of lines that are drawn at once
HELD_ROWS = 10  # batches

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


def batches(
    texts: dict[str, list[str]], coder: Coder, damage: Damage, settings: dict[str, Any], seed: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless (damaged, clean, asked), (B, T) each, of lines of like length."""
    random, chance = Random(seed), np.random.default_rng(seed)
    size = settings["batch"]
    while True:
        rows = []
        for _ in range(size * FLUSH):
            kind = chinese.SPOKEN if random.random() < settings["spoken"] else chinese.WRITTEN
            ids = coder(_part(random.choice(texts[kind]), random, settings["longest"]))
            if len(ids) > 3:
                rows.append([CLS, *ids[: settings["longest"]], SEP])
        rows.sort(key=len)
        parts = [rows[at : at + size] for at in range(0, len(rows), size)]
        random.shuffle(parts)
        for part in parts:
            clean = np.zeros((len(part), max(map(len, part))), dtype=np.int64)
            for at, row in enumerate(part):
                clean[at, : len(row)] = row
            spoilt, asked = damage(clean, chance)
            yield torch.from_numpy(spoilt), torch.from_numpy(clean), torch.from_numpy(asked)


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


def practise(settings: dict[str, Any], out: Path, *, steps: int, minutes: float) -> None:
    from transformers import BertConfig, BertModel

    torch.manual_seed(settings["seed"])
    texts = {
        kind: [each for each in chinese.lines(kind) if not chinese.held(each)]
        for kind in (chinese.SPOKEN, chinese.WRITTEN)
    }
    held = {kind: [each for each in chinese.lines(kind) if chinese.held(each)] for kind in texts}
    pieces = vocabulary(texts, settings["letters"])
    coder, damage = Coder(pieces), Damage(pieces, settings["language"], settings)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=settings["width"],
        num_hidden_layers=settings["layers"],
        num_attention_heads=settings["heads"],
        intermediate_size=4 * settings["width"],
        max_position_embeddings=settings["positions"],
        type_vocab_size=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    body = BertModel(config, add_pooling_layer=False)
    saying = Saying(settings["width"], len(pieces))
    learner = nn.ModuleDict({"body": body, "saying": saying})
    optimizer = torch.optim.AdamW(learner.parameters(), lr=settings["lr"], betas=(0.9, 0.98), weight_decay=0.01)
    moving = dict(learner.named_parameters())
    done = training.resume(out, moving, optimizer)
    if not done:
        done = {"step": 0, "spent": 0.0, "curve": []}
        with torch.no_grad():
            first = first_vectors(texts, coder, len(pieces), settings["width"])
            body.embeddings.word_embeddings.weight[MASK + 1 :] = first[MASK + 1 :]
    step, spent, curve = done["step"], done["spent"], done["curve"]
    shown = batches(held, coder, damage, settings, settings["seed"] + 1)
    exam = [batch for batch, _ in zip(shown, range(HELD_ROWS), strict=False)]
    rows = batches(texts, coder, damage, settings, settings["seed"] + 10 + step)
    begun = told = time.monotonic() - spent
    while step < steps and spent < minutes * 60:
        share = max(step / steps, spent / (minutes * 60))
        for group in optimizer.param_groups:
            group["lr"] = settings["lr"] * min(1.0, (step + 1) / settings["warm"]) * max(0.02, 1 - share)
        loss, _ = _loss(learner, *next(rows))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, spent = step + 1, time.monotonic() - begun
        if time.monotonic() - told > settings["report_seconds"] or step == steps:
            told = time.monotonic()
            with torch.no_grad():
                found = [_loss(learner, *batch)[1] for batch in exam]
            curve.append({"step": step, "minutes": round(spent / 60, 2)})
            curve[-1] |= {name: round(sum(each[name] for each in found) / len(found), 4) for name in found[0]}
            print(json.dumps(curve[-1]), flush=True)
            training.keep(out, moving, optimizer, {"step": step, "spent": spent, "curve": curve})
    facts = {"recipe": settings, "steps": step, "minutes": round(spent / 60, 1), "curve": curve}
    _ship(out / "body", body.eval(), saying, pieces, {"about": settings["about"], **facts})


def _loss(learner: nn.ModuleDict, spoilt: Tensor, clean: Tensor, asked: Tensor) -> tuple[Tensor, dict[str, float]]:
    with torch.autocast("cpu", dtype=torch.bfloat16) if bfloat16_pays() else nullcontext():
        states = learner["body"](input_ids=spoilt, attention_mask=(clean > PAD).long()).last_hidden_state[asked]
        said = learner["saying"](states, learner["body"].embeddings.word_embeddings.weight)  # (M, V)
    said, gold = said.float(), clean[asked]
    each = F.cross_entropy(said, gold, reduction="none")
    wrong = (spoilt != clean)[asked]
    right = (said.detach().argmax(1) == gold).float()
    facts = {"loss": each, "wrong_loss": each[wrong], "restored": right[wrong], "kept": right[~wrong]}
    return each.mean(), {name: float(value.detach().mean()) if len(value) else 0.0 for name, value in facts.items()}


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
