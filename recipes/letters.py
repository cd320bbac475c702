"""Practise a letters backbone: MiniLM joined with the letters of words, taught to read damaged text like clean text.

    python -m recipes.letters recipes/letters-en.toml --minutes 60 --out runs/letters-en

A line of raw text is damaged (typos as counted from misspellings, keys, words taken for each other, blanks, case); the
body reads the damaged line and learns three things at once: to have at every word the state that the untouched body
has at the clean one (imitation), how the clean word was written in capitals (case), and, where a corrector sees several
words that may be meant, which of them is (restoration). Stops at --minutes or --steps, whichever is first; cut off, it
goes on from its last checkpoint, on the CPU or on a CUDA card (--device).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from lowrung.core.answers import Span, Spans
from lowrung.core.edits import Edit, apply, undone
from lowrung.core.parts import Question
from lowrung.core.words import words
from lowrung.data.noise import Noise, noise
from lowrung.models import catalog
from lowrung.models.batch import Batch, autocast, mapped, pad, widened
from lowrung.models.characters import Letters, LettersBody, Spelt
from lowrung.models.context import CASES, Coded, Places, Reader, case_of, embedded_means, slot_states, stands
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
HELD = 10  # lessons to measure on
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


@dataclass(frozen=True)
class Asked:
    """S places with K options each, of U texts.

    Shape:
        options, cases, scores: (S, K), of `texts`, `case_of` and the corrector's own · gold: (S,)
    """

    places: Places
    texts: Coded
    options: Tensor
    cases: Tensor
    scores: Tensor
    gold: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], tokenizer: Tokenizer) -> Asked | None:
        choices = [each for row in rows for each in row.choices]
        if not choices:
            return None
        texts = {text: at for at, text in enumerate(dict.fromkeys(text for each in choices for text in each.options))}
        return cls(
            Places.of([[(each.start, each.end) for each in row.choices] for row in rows]),
            Coded.of(tokenizer, list(texts)),
            pad([torch.tensor([texts[text] for text in each.options]) for each in choices]),
            pad([torch.tensor([case_of(text) for text in each.options]) for each in choices]),
            pad([torch.tensor(each.scores) for each in choices], -1e4),
            torch.tensor([each.gold for each in choices]),
        )


@dataclass(frozen=True)
class Lesson:
    """Rows as tensors: all that is asked of them. `ones` and `twos` are M words in both, `cases` (M,) of the former."""

    clean: Batch
    spoilt: Batch
    spelt: Spelt
    ones: Places
    twos: Places
    cases: Tensor
    asked: Asked | None
    tokens: tuple[int, int]  # of clean and of spoilt

    def pin_memory(self) -> Lesson:
        return mapped(self, Tensor.pin_memory)


class Teller:
    """Makes lessons of rows, with the pieces of `tokenizer`, their lengths a multiple."""

    def __init__(self, tokenizer: Tokenizer, *, multiple: int = 1) -> None:
        self.plain, self.multiple = tokenizer, multiple
        self.spelling = Tokenizer(tokenizer.inner, longest=tokenizer.longest, spell=True, mend=self._mended)
        self._mends: dict[str, tuple[Edit, ...]] = {}

    def __call__(self, rows: Sequence[Row]) -> Lesson:
        self._mends = {row.text: row.mends for row in rows}
        clean = self._wide(self.plain.batch([Question((row.clean,)) for row in rows]))
        spoilt = self._wide(self.spelling.batch([Question((row.text,)) for row in rows]))
        said = [row.clean[slice(*span)] for row in rows for span in row.ones]
        return Lesson(
            clean,
            replace(spoilt, spelt=None),
            Spelt.of(spoilt.spelt or (), spoilt.ids.shape[1]),
            Places.of([row.ones for row in rows]),
            Places.of([row.twos for row in rows]),
            torch.tensor([case_of(word) for word in said]),
            Asked.of(rows, self.plain),
            (int(clean.attended.sum()), int(spoilt.attended.sum())),
        )

    def _wide(self, batch: Batch) -> Batch:
        return widened(batch, self.multiple, most=self.plain.longest)

    def _mended(self, texts: Sequence[str]) -> list[tuple[Edit, ...]]:
        return [self._mends[text] for text in texts]


class Rows(IterableDataset[Lesson]):
    """Endless lessons of damaged lines, the same ones however many workers make them.

    Args:
        size: lines a lesson. step, seen: lessons and lines that were had already.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        files: Sequence[Path],
        teller: Teller,
        *,
        seed: int,
        size: int,
        step: int = 0,
        seen: int = 0,
    ) -> None:
        self.settings, self.files, self.teller = settings, files, teller
        self.seed, self.size, self.step, self.seen = seed, size, step, seen

    def __iter__(self) -> Iterator[Lesson]:
        language, (own, workers) = self.settings["language"], training.turn()
        judge, made = replace(corrector(language, context=False), reach=REACH), noise(language)
        source = lines(self.files, Random(self.seed), longest=self.settings["words"])
        source = islice(source, self.seen, None)
        for number in count(self.step):
            block = list(islice(source, self.size))
            if (number - self.step) % workers == own:
                yield self.teller(rows_of(block, made, judge, Random(f"{self.seed} {number}")))


def rows_of(block: Sequence[str], made: Noise, judge: Corrector, random: Random) -> list[Row]:
    rows = [damaged(line, made, random) for line in block]
    slots = judge.slots([row.text for row, _ in rows])
    return [
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
        shared = catalog.backbone(settings["base"])
        self.teacher, base = shared.upto(shared.depth), shared.upto(shared.depth)  # a shared one stays where it is
        self.known = self.teacher.body
        letters = Letters(base.width, size=settings["size"], channels=settings["channels"])
        nn.init.normal_(letters.out.weight, std=1e-3)  # begin as the untouched body
        body = LettersBody(base.body, letters)
        tokenizer = Tokenizer(base.tokenizer.inner, longest=base.tokenizer.longest, spell=True)
        self.pupil = TextBackbone(
            tokenizer,
            body,
            source=Source(settings["name"], ""),
            pooling=base.pooling,
            tagging_layer=shared.tagging_layer,
        )
        self.body = body.requires_grad_(True)
        self.body.table.requires_grad_(False)  # of 22 M parameters, 12 M that typos do not ask to move
        self.depths = (shared.tagging_layer, shared.depth)
        self.reader = Reader(base.width, taps=len(self.depths))
        self.case = nn.Linear(base.width, CASES)  # only there to learn by

    def moving(self) -> dict[str, nn.Parameter]:
        return {name: each for name, each in self.named_parameters() if each.requires_grad}

    def work(self, lesson: Lesson) -> tuple[int, float]:
        """Tokens, and what their layers cost: there and back of the pupil's, there of the teacher's."""
        clean, spoilt = lesson.tokens
        return spoilt, training.products(self.pupil.layers) * (6.0 * spoilt + 2.0 * clean)

    def loss(self, lesson: Lesson) -> tuple[Tensor, dict[str, Tensor]]:
        clean, spoilt = lesson.clean, lesson.spoilt
        with autocast(clean.ids.device):
            with torch.no_grad():
                wanted = self._states(self.teacher, clean)
            states = self._states(self.pupil, replace(spoilt, letters=self.body.letters.placed(lesson.spelt)))
        wanted, states = clean.stitched(wanted.float()), spoilt.stitched(states.float())
        ones = slot_states(wanted, clean.offsets, lesson.ones)  # (M, 2 D)
        twos = slot_states(states, spoilt.offsets, lesson.twos)
        width = self.pupil.width
        alike = [
            1 - F.cosine_similarity(a, b).mean()
            for a, b in zip(ones.split(width, 1), twos.split(width, 1), strict=True)
        ]
        whole = 1 - F.cosine_similarity(
            self.teacher.pool(clean, wanted[..., -width:]), self.pupil.pool(spoilt, states[..., -width:])
        )
        case = F.cross_entropy(self.case(twos[:, :width]), lesson.cases)
        restoration, facts = self.restoration(lesson.asked, states, spoilt.offsets)
        loss = 2 * (alike[0] + alike[1]) + 4 * whole.mean() + 3 * restoration + 0.2 * case
        facts |= {"midway": alike[0], "top": alike[1], "whole": whole.mean(), "case": case, "restoration": restoration}
        return loss, {name: each.detach() for name, each in facts.items()}

    def _states(self, backbone: TextBackbone, batch: Batch) -> Tensor:
        return backbone.taps_of(
            self.depths, **backbone.given(batch) | {"attention_mask": training.mask(batch.attended)}
        )

    def restoration(self, asked: Asked | None, states: Tensor, offsets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Which of its options each place stands for."""
        if asked is None:
            nothing = states.new_zeros(())
            return nothing, dict.fromkeys(("mended", "mended_before", "broken"), nothing)
        seen = slot_states(states, offsets, asked.places)  # (S, 2 D)
        keys = self.reader.key(embedded_means(self.teacher, asked.texts))  # (U, H)
        kept = stands(asked.options.shape[1], states.device)
        together = asked.scores + self.reader(seen, keys[asked.options], asked.cases, kept)
        gold, by = asked.gold, together.detach()
        facts = {
            "mended": _share(by.argmax(1) == gold, gold > 0),
            "mended_before": _share(asked.scores.argmax(1) == gold, gold > 0),
            "broken": _share(by.argmax(1) != 0, gold == 0),
        }
        return F.cross_entropy(together, gold), facts


def _share(hit: Tensor, among: Tensor) -> Tensor:
    return (hit & among).sum() / among.sum().clamp(min=1)


def practise(settings: dict[str, Any], out: Path, *, steps: int, minutes: float, device: torch.device) -> None:
    files, seed, size = [DATA / name for name in settings["text"]], settings["seed"], training.size_of(settings, device)
    school = School(settings)
    teller = Teller(school.teacher.tokenizer, multiple=training.multiple_of(device))
    exam = list(islice(Rows(settings, files, teller, seed=seed + 10**6, size=settings["batch"]), HELD))
    school.to(device)
    training.compiled([*school.teacher.layers, *school.pupil.layers], device)
    moving, groups = school.moving(), dict[float, list[nn.Parameter]]()
    for name, each in moving.items():
        groups.setdefault(settings["lr"] if name.startswith("body.bert") else settings["head_lr"], []).append(each)
    course = training.Course(
        moving, training.adam(groups), school.loss, school.work, size=size, warm=100, every=settings["report_seconds"]
    )
    done = training.resume(out, moving, course.optimizer)
    rows = Rows(settings, files, teller, seed=seed, size=size, step=done.get("step", 0), seen=done.get("seen", 0))
    facts = training.descend(course, training.loader(rows, device), exam, out, done=done, steps=steps, minutes=minutes)
    school.cpu()
    school.pupil.body.eval()
    catalog.save_letters(
        school.pupil,
        out / "body",
        base=settings["base"],
        reader=school.reader,
        language=settings["language"],
        facts={"about": settings["about"], "recipe": settings, **facts},
    )


if __name__ == "__main__":
    training.run(practise, __doc__ or "", minutes=60.0)
