"""Practise a letters backbone: MiniLM joined with the letters of words, taught to read damaged text like clean text.

    python -m recipes.letters recipes/letters-en.toml --minutes 60 --out runs/letters-en

A line of raw text is damaged (typos as counted from misspellings, keys, words taken for each other, blanks, case); the
body reads the damaged line and learns three things at once: to have at every word the state that the untouched body
has at the clean one (imitation), how the clean word was written in capitals (case), and, where a corrector sees several
words that may be meant, which of them is (restoration). Stops at --minutes or --steps, whichever is first; cut off, it
goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from lowrung.core.answers import Span, Spans
from lowrung.core.edits import Edit, apply, undone
from lowrung.core.parts import Question
from lowrung.core.words import words
from lowrung.data.noise import Noise, noise
from lowrung.models import catalog
from lowrung.models.batch import bfloat16_pays, pad
from lowrung.models.characters import Letters, LettersBody
from lowrung.models.context import CASES, Reader, case_of, embedded_means, slot_states
from lowrung.models.correcting import corrector, right_in
from lowrung.models.corrector import Corrector, Slot
from lowrung.models.pieces import Tokenizer
from lowrung.models.text import Source, TextBackbone
from recipes import training
from recipes.beside_en import lines_of
from recipes.lexicon_en import DATA

SHARES = (0.0, 0.0, 0.03, 0.06, 0.12, 0.3)  # of the words that are damaged, drawn a line
LOWER, UPPER = 0.1, 0.02  # lines that lose all their capitals, or are nothing but
LOST = 0.25  # of the damaged words with a capital, those that lose it
REACH = 10.0  # logits around the corrector's own decision within which the body is asked


def lines(files: Sequence[Path], random: Random, *, longest: int) -> Iterator[str]:
    """Endless lines of at most `longest` words, from blocks of all files in turn; long lines are cut at words.

    They are those that its n-grams were not counted on, which would know them by heart.
    """
    streams: list[Iterator[str]] = []
    while True:
        streams = streams or [lines_of(file, held=True) for file in files]
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


@dataclass(frozen=True)
class Choice:
    """A place in the damaged line, what may stand there with the corrector's own scores, and which of it is right."""

    start: int
    end: int
    options: tuple[str, ...]
    scores: tuple[float, ...]
    gold: int


@dataclass(frozen=True)
class Row:
    """A line, damaged, and what can be asked of it; `ones` and `twos` are the words that are one word in both.

    `mends` is what a corrector that reads no sentences does to the damaged line: the body reads that.
    """

    clean: str
    text: str
    ones: list[tuple[int, int]]
    twos: list[tuple[int, int]]
    choices: list[Choice]
    mends: tuple[Edit, ...] = ()


def damaged(line: str, made: Noise, random: Random) -> tuple[Row, tuple[Edit, ...]]:
    """The row without its choices, and the edits that mend it."""
    _, edits = made.damaged(line, random, random.choice(SHARES))
    edits = tuple(_smaller(edit) if random.random() < LOST else edit for edit in edits)
    spans = words(line)
    marks = Spans(tuple(Span(start, end, str(at)) for at, (start, end) in enumerate(spans)))
    text, moved = apply(line, edits, marks)
    found = set(words(text))
    pairs = [(spans[int(span.label)], (span.start, span.end)) for span in moved.spans]
    pairs = [(one, two) for one, two in pairs if two in found]
    chance = random.random()
    cased = str.lower if chance < LOWER else str.upper if chance < LOWER + UPPER else str
    back = undone(line, edits)
    if len(cased(text)) == len(text):  # ß and its like have longer capitals
        text = cased(text)
        back = tuple(Edit(edit.start, edit.end, cased(edit.text)) for edit in back)
    return Row(line, text, [one for one, _ in pairs], [two for _, two in pairs], []), back


def _smaller(edit: Edit) -> Edit:
    return Edit(edit.start, edit.end, edit.text[:1].lower() + edit.text[1:])


def _choices(text: str, slots: Sequence[Slot], back: Sequence[Edit], judge: Corrector) -> list[Choice]:
    found = []
    for slot in slots:
        right = right_in(text, slot, back)
        options = tuple(each.text for each in slot.options)
        if right not in options:  # or only its capitals went wrong, which the options do not say
            right = options[0] if right is not None and right.lower() == options[0].lower() else None
        if right is not None:
            scores = tuple(judge.scores(slot))
            found.append(Choice(slot.start, slot.end, options, scores, options.index(right)))
    return found


class Rows(IterableDataset[list[Row]]):
    """Endless batches of damaged lines; those of the first `done` steps are passed over."""

    def __init__(self, settings: dict[str, Any], files: Sequence[Path], *, seed: int, done: int = 0) -> None:
        self.settings, self.files, self.seed, self.done = settings, files, seed, done

    def __iter__(self) -> Iterator[list[Row]]:
        torch.set_num_threads(1)
        random, size = Random(self.seed + self.done), self.settings["batch"]
        language = self.settings["language"]
        judge, made = replace(corrector(language, context=False), reach=REACH), noise(language)
        source = lines(self.files, Random(self.seed), longest=self.settings["words"])
        for _ in range(self.done * size):
            next(source)
        while True:
            rows = [damaged(next(source), made, random) for _ in range(size)]
            slots = judge.slots([row.text for row, _ in rows])
            yield [
                replace(
                    row,
                    choices=_choices(row.text, asked, back, judge),
                    mends=tuple(Edit(slot.start, slot.end, text) for slot, text in judge.chosen(asked)),
                )
                for (row, back), asked in zip(rows, slots, strict=True)
            ]


class School(nn.Module):
    """The untouched body, the one that learns, and what they are compared by."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(settings["seed"])
        self.teacher = catalog.backbone(settings["base"])
        base = self.teacher.upto(self.teacher.depth)
        letters = Letters(base.width, size=settings["size"], channels=settings["channels"])
        nn.init.normal_(letters.out.weight, std=1e-3)  # begin as the untouched body
        tokenizer = Tokenizer(base.tokenizer.inner, longest=base.tokenizer.longest, spell=True)
        self.pupil = TextBackbone(
            tokenizer,
            LettersBody(base.body, letters),
            source=Source(settings["name"], ""),
            pooling=base.pooling,
            tagging_layer=self.teacher.tagging_layer,
        )
        self.body = self.pupil.body.requires_grad_(True)
        self.body.table.requires_grad_(False)  # of 22 M parameters, 12 M that typos do not ask to move
        self.depths = (self.teacher.tagging_layer, self.teacher.depth)
        self.reader = Reader(base.width, taps=len(self.depths))
        self.case = nn.Linear(base.width, CASES)  # only there to learn by

    def moving(self) -> dict[str, nn.Parameter]:
        return {name: each for name, each in self.named_parameters() if each.requires_grad}

    def loss(self, rows: Sequence[Row]) -> tuple[Tensor, dict[str, float]]:
        with torch.autocast("cpu", dtype=torch.bfloat16) if bfloat16_pays() else nullcontext():
            clean = self.teacher.encode([Question((row.clean,)) for row in rows])
            told = {row.text: row.mends for row in rows}
            self.pupil.tokenizer.mend = lambda texts: [told[text] for text in texts]
            spoilt = self.pupil.encode([Question((row.text,)) for row in rows])
            wanted = self.teacher.taps(clean, self.depths)
            states = self.pupil.taps_of(self.depths, **self.pupil.given(spoilt))
        wanted, states = clean.stitched(wanted.float()), spoilt.stitched(states.float())
        ones = slot_states(wanted, clean.offsets, [row.ones for row in rows])  # (M, 2 D)
        twos = slot_states(states, spoilt.offsets, [row.twos for row in rows])
        width = self.pupil.width
        alike = [
            1 - F.cosine_similarity(a, b).mean()
            for a, b in zip(ones.split(width, 1), twos.split(width, 1), strict=True)
        ]
        whole = 1 - F.cosine_similarity(
            self.teacher.pool(clean, wanted[..., -width:]), self.pupil.pool(spoilt, states[..., -width:])
        )
        said = [row.clean[slice(*span)] for row in rows for span in row.ones]
        case = F.cross_entropy(self.case(twos[:, :width]), torch.tensor([case_of(word) for word in said]))
        restoration, facts = self.restoration(rows, states, spoilt.offsets)
        loss = 2 * sum(alike) + 4 * whole.mean() + 3 * restoration + 0.2 * case
        facts |= {"midway": alike[0], "top": alike[1], "whole": whole.mean(), "case": case, "restoration": restoration}
        return loss, {name: float(torch.as_tensor(each).detach()) for name, each in facts.items()}

    def restoration(self, rows: Sequence[Row], states: Tensor, offsets: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Which of its options each place stands for."""
        choices = [each for row in rows for each in row.choices]
        if not choices:
            return torch.zeros(()), {}
        places = [[(each.start, each.end) for each in row.choices] for row in rows]
        seen = slot_states(states, offsets, places)  # (S, 2 D)
        texts = {text: at for at, text in enumerate(dict.fromkeys(text for each in choices for text in each.options))}
        keys = self.reader.key(embedded_means(self.teacher, list(texts)))  # (U, H)
        options = pad([torch.tensor([texts[text] for text in each.options]) for each in choices])  # (S, K)
        cases = pad([torch.tensor([case_of(text) for text in each.options]) for each in choices])
        scores = pad([torch.tensor(each.scores) for each in choices], -1e4)
        kept = (torch.arange(options.shape[1]) == 0).float()
        gold = torch.tensor([each.gold for each in choices])
        together = scores + self.reader(seen, keys[options], cases, kept)
        wrong, by = gold > 0, together.detach()
        facts = {
            "mended": (by.argmax(1) == gold)[wrong].float().mean() if wrong.any() else 0.0,
            "mended_before": (scores.argmax(1) == gold)[wrong].float().mean() if wrong.any() else 0.0,
            "broken": (by.argmax(1) != 0)[~wrong].float().mean(),
        }
        return F.cross_entropy(together, gold), facts


def practise(settings: dict[str, Any], out: Path, *, steps: int, minutes: float) -> None:
    files = [DATA / name for name in settings["text"]]
    school = School(settings)
    held = [batch for batch, _ in zip(Rows(settings, files, seed=settings["seed"] + 10**6), range(10), strict=False)]
    groups: dict[float, list[Tensor]] = {}
    for name, each in school.moving().items():
        groups.setdefault(settings["lr"] if name.startswith("body.bert") else settings["head_lr"], []).append(each)
    optimizer = torch.optim.AdamW(
        [{"params": each, "lr": lr, "peak": lr} for lr, each in groups.items()], weight_decay=0.01
    )
    done = training.resume(out, school.moving(), optimizer) or {"step": 0, "spent": 0.0, "curve": []}
    step, spent, curve = done["step"], done["spent"], done["curve"]
    rows = iter(DataLoader(Rows(settings, files, seed=settings["seed"], done=step), batch_size=None, num_workers=1))
    begun = told = time.monotonic() - spent
    while step < steps and spent < minutes * 60:
        share = max(step / steps, spent / (minutes * 60))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min(1.0, (step + 1) / 100) * max(0.02, 1 - share)
        loss, _ = school.loss(next(rows))
        loss.backward()
        torch.nn.utils.clip_grad_norm_([each for group in groups.values() for each in group], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, spent = step + 1, time.monotonic() - begun
        if time.monotonic() - told > settings["report_seconds"]:
            told = time.monotonic()
            with torch.no_grad():
                found = [school.loss(batch)[1] for batch in held]
            curve.append(
                {"step": step, "minutes": round(spent / 60, 2)}
                | {name: round(sum(each[name] for each in found) / len(found), 4) for name in found[0]}
            )
            print(json.dumps(curve[-1]), flush=True)
            training.keep(out, school.moving(), optimizer, {"step": step, "spent": spent, "curve": curve})
    school.pupil.body.eval()
    catalog.save_letters(
        school.pupil,
        out / "body",
        base=settings["base"],
        reader=school.reader,
        language=settings["language"],
        facts={
            "about": settings["about"],
            "recipe": settings,
            "steps": step,
            "minutes": round(spent / 60, 1),
            "curve": curve,
        },
    )


if __name__ == "__main__":
    training.run(practise, __doc__ or "", minutes=60.0)
