"""Practise a letters backbone: MiniLM joined with the letters of words, taught to read damaged text like clean text.

    python -m recipes.letters recipes/letters-en.toml --minutes 60 --out runs/letters-en

A line of raw text is damaged (typos as counted from misspellings, keys, words taken for each other, blanks, case); the
body reads the damaged line and learns three things of every word at once: to have the state that the untouched body has
at the clean word (imitation), to say which clean word it was (restoration), and how the clean word was written in
capitals (case). Stops at --minutes or --steps, whichever is first; cut off, it goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lowrung.core.answers import Span, Spans
from lowrung.core.edits import apply
from lowrung.core.parts import Question
from lowrung.core.words import words
from lowrung.data.noise import Noise, noise
from lowrung.models import catalog
from lowrung.models.batch import Batch, pad
from lowrung.models.characters import Letters, LettersBody
from lowrung.models.heads import states_at
from lowrung.models.network import bfloat16_pays
from lowrung.models.text import Source, TextBackbone

SHARES = (0.0, 0.0, 0.05, 0.15, 0.3, 0.5)  # of the words that are damaged, drawn a line
LOWER, UPPER = 0.12, 0.03  # lines that lose all their capitals, or are nothing but
CASES = 4  # lower, Capital, UPPER, mIxed
TEMPERATURE = 0.07


def lines(files: Sequence[Path], random: Random, *, longest: int) -> Iterator[str]:
    """Endless lines of at most `longest` words, from blocks of all files in turn; long lines are cut at words."""
    streams: list[Iterator[str]] = []
    while True:
        streams = streams or [_lines(file) for file in files]
        for stream in list(streams):
            block = [line for line, _ in zip(stream, range(64), strict=False)]
            if not block:
                streams.remove(stream)
            for line in random.sample(block, len(block)):
                spans = words(line)
                for first in range(0, len(spans), longest):
                    part = spans[first : first + longest]
                    if len(part) >= 4:
                        yield line[part[0][0] : part[-1][1]]


def _lines(file: Path) -> Iterator[str]:
    with lzma.open(file, "rt", encoding="utf-8") if file.suffix == ".xz" else file.open(encoding="utf-8") as stream:
        yield from (line.strip() for line in stream)


Pair = tuple[str, str, list[tuple[int, int]], list[tuple[int, int]]]


def damaged(line: str, made: Noise, random: Random) -> Pair:
    """Clean, damaged, and the spans in both of the words that are one word in both."""
    text, edits = made.damaged(line, random, random.choice(SHARES))
    spans = words(line)
    moved = apply(line, edits, Spans(tuple(Span(start, end, str(at)) for at, (start, end) in enumerate(spans))))[1]
    found = set(words(text))
    pairs = [(spans[int(span.label)], (span.start, span.end)) for span in moved.spans]
    pairs = [(one, two) for one, two in pairs if two in found]
    chance = random.random()
    other = text.lower() if chance < LOWER else text.upper() if chance < LOWER + UPPER else text
    text = other if len(other) == len(text) else text  # ß and its like have longer capitals
    return line, text, [one for one, _ in pairs], [two for _, two in pairs]


def case_of(word: str) -> int:
    return 0 if word.islower() else 1 if word[:1].isupper() and word[1:].islower() else 2 if word.isupper() else 3


class Teaching(nn.Module):
    """What is only there to learn by: from a state to the clean word's vector, and to its case."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.say, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.case = nn.Linear(width, CASES)


class School:
    """The untouched body, the one that learns, and what they are compared by."""

    def __init__(self, settings: dict[str, Any]) -> None:
        torch.manual_seed(settings["seed"])
        self.teacher = catalog.backbone(settings["base"])
        base = self.teacher.upto(self.teacher.depth)
        letters = Letters(base.width, size=settings["size"], channels=settings["channels"])
        nn.init.normal_(letters.out.weight, std=1e-3)  # begin as the untouched body
        tokenizer = catalog.spelling_tokenizer(base.tokenizer)
        self.pupil = TextBackbone(
            tokenizer,
            LettersBody(base.body, letters),
            source=Source(settings["name"], ""),
            pooling=base.pooling,
            tagging_layer=base.tagging_layer,
        )
        self.pupil.body.requires_grad_(True)
        self.pupil.body.table.requires_grad_(False)  # of 22 M parameters, 12 M that typos do not ask to move
        self.teaching = Teaching(base.width)
        self.depths = (base.tagging_layer, base.depth)

    def parameters(self) -> dict[str, Tensor]:
        body = {f"body.{name}": each for name, each in self.pupil.body.named_parameters() if each.requires_grad}
        return body | {f"teaching.{name}": each for name, each in self.teaching.named_parameters()}

    def loss(self, pairs: Sequence[Pair]) -> tuple[Tensor, dict[str, float]]:
        clean = self.teacher.encode([Question((line,)) for line, *_ in pairs])
        spoilt = self.pupil.encode([Question((text,)) for _, text, *_ in pairs])
        with torch.autocast("cpu", dtype=torch.bfloat16) if bfloat16_pays() else nullcontext():
            wanted = self.teacher.taps(clean, self.depths)
            states = self.pupil.taps_of(self.depths, **self.pupil._given(spoilt))
        wanted, states = wanted.float(), states.float()
        ones = states_of(clean, clean.stitched(wanted), [each[2] for each in pairs])  # (M, 2 D)
        twos = states_of(spoilt, spoilt.stitched(states), [each[3] for each in pairs])
        width = self.pupil.width
        alike = [
            1 - F.cosine_similarity(a, b).mean()
            for a, b in zip(ones.split(width, 1), twos.split(width, 1), strict=True)
        ]
        pooled = [
            backbone.pool(batch, batch.stitched(each)[..., width:])
            for backbone, batch, each in ((self.teacher, clean, wanted), (self.pupil, spoilt, states))
        ]
        whole = 1 - F.cosine_similarity(*pooled).mean()
        said = [pair[0][slice(*span)] for pair in pairs for span in pair[2]]
        restoration, right = self.restoration(twos[:, width:], said)
        case = F.cross_entropy(self.teaching.case(twos[:, :width]), torch.tensor([case_of(word) for word in said]))
        loss = 2 * sum(alike) + 4 * whole + 0.3 * restoration + 0.2 * case
        facts = {
            "midway": alike[0],
            "top": alike[1],
            "whole": whole,
            "restoration": restoration,
            "right": right,
            "case": case,
        }
        return loss, {name: float(each.detach()) for name, each in facts.items()}

    def restoration(self, states: Tensor, said: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Which of the batch's clean words each state stands for: (M, D) -> (), ()"""
        folded = [word.casefold() for word in said]
        kinds = {word: at for at, word in enumerate(dict.fromkeys(folded))}
        with torch.no_grad():
            coded = self.teacher.tokenizer.pieces(list(kinds))
            ids = pad([torch.tensor(ids or [0]) for ids, _ in coded])
            real = pad([torch.ones(max(1, len(ids)), dtype=torch.bool) for ids, _ in coded])
            table = self.teacher.body.embeddings.word_embeddings(ids) * real[..., None]
            keys = table.sum(1) / real.sum(1, keepdim=True)  # (K, D)
        scores = F.normalize(self.teaching.say(states), dim=-1) @ F.normalize(self.teaching.key(keys), dim=-1).T
        gold = torch.tensor([kinds[word] for word in folded])
        return F.cross_entropy(scores / TEMPERATURE, gold), (scores.argmax(1) == gold).float().mean()


def states_of(batch: Batch, hidden: Tensor, spans: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
    """The mean state of the pieces of each word, of all questions one after the other.  (B, T, D) -> (M, D)"""
    places = pad([torch.tensor(each or [(0, 1)]) for each in spans])  # (B, N, 2)
    means = states_at(hidden, batch.offsets, places)
    return torch.cat([means[at, : len(each)] for at, each in enumerate(spans)])


def practise(settings: dict[str, Any], out: Path, *, steps: int, minutes: float) -> None:
    home = Path(os.environ.get("LOWRUNG_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    files = [home / "corpus" / name for name in settings["text"]]
    random, made = Random(settings["seed"]), noise(settings["language"])
    school = School(settings)
    source = lines(files, random, longest=settings["words"])
    held = [damaged(next(source), made, random) for _ in range(256)]
    groups: dict[float, list[Tensor]] = {}
    for name, each in school.parameters().items():
        groups.setdefault(settings["lr"] if name.startswith("body.bert") else settings["head_lr"], []).append(each)
    optimizer = torch.optim.AdamW(
        [{"params": each, "lr": lr, "peak": lr} for lr, each in groups.items()], weight_decay=0.01
    )
    step, spent, curve = 0, 0.0, list[dict[str, float]]()
    state = out / "state.safetensors"
    if state.is_file():
        step, spent, curve = _resume(out, school, optimizer)
        for _ in range(step * settings["batch"]):
            next(source)
    begun = told = time.monotonic() - spent
    while step < steps and spent < minutes * 60:
        share = max(step / steps, spent / (minutes * 60))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min(1.0, (step + 1) / 100) * max(0.02, 1 - share)
        pairs = [damaged(next(source), made, random) for _ in range(settings["batch"])]
        loss, _ = school.loss(pairs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([each for group in groups.values() for each in group], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, spent = step + 1, time.monotonic() - begun
        if time.monotonic() - told > settings["report_seconds"]:
            told = time.monotonic()
            with torch.no_grad():
                found = [school.loss(held[at : at + 32])[1] for at in range(0, len(held), 32)]
            curve.append(
                {"step": step, "minutes": round(spent / 60, 2)}
                | {name: round(sum(each[name] for each in found) / len(found), 4) for name in found[0]}
            )
            print(json.dumps(curve[-1]), flush=True)
            _keep(out, school, optimizer, step, spent, curve)
    school.pupil.body.eval()
    catalog.save_letters(
        school.pupil,
        out / "body",
        base=settings["base"],
        facts={"recipe": settings, "steps": step, "minutes": round(spent / 60, 1), "curve": curve},
    )


def _keep(
    out: Path, school: School, optimizer: torch.optim.Optimizer, step: int, spent: float, curve: list[dict[str, float]]
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tensors = {f"now.{name}": each.detach().contiguous() for name, each in school.parameters().items()}
    names = {id(each): name for name, each in school.parameters().items()}
    for each, moments in optimizer.state.items():
        tensors |= {
            f"adam.{key}.{names[id(each)]}": torch.as_tensor(value).contiguous() for key, value in moments.items()
        }
    facts = json.dumps({"step": step, "spent": spent, "curve": curve})
    save_file(tensors, out / "state.part", {"facts": facts})
    os.replace(out / "state.part", out / "state.safetensors")


def _resume(out: Path, school: School, optimizer: torch.optim.Optimizer) -> tuple[int, float, list[dict[str, float]]]:
    from safetensors import safe_open

    tensors = load_file(out / "state.safetensors")
    with safe_open(out / "state.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["facts"])
    with torch.no_grad():
        for name, each in school.parameters().items():
            each.copy_(tensors[f"now.{name}"])
            optimizer.state[each] = {key: tensors[f"adam.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
    return facts["step"], facts["spent"], facts["curve"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--minutes", type=float, default=60.0)
    asked = parser.parse_args()
    practise(tomllib.loads(asked.recipe.read_text("utf-8")), asked.out, steps=asked.steps, minutes=asked.minutes)


if __name__ == "__main__":
    main()
