"""harvest: raw text → the user's own words, and a corrector that knows them. A slip that is made often is no word."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import exp
from pathlib import Path
from random import Random
from typing import Any

from lowrung.core.answers import Text
from lowrung.core.errors import DataError
from lowrung.core.task import Task
from lowrung.data.noise import alone
from lowrung.data.raw import lines
from lowrung.models.channel import Channel
from lowrung.models.corrector import Corrector
from lowrung.models.lexicon import Lexicon, fold
from lowrung.models.protection import Protection
from lowrung.run.evaluate import Report, evaluate
from lowrung.run.methods import foundation
from lowrung.run.practice import job_of
from lowrung.run.ship import ship, vacant
from lowrung.tasks.spelling import practising

LEAST = 3  # times that a word must be met
SHORTEST = 3  # letters of a word of one's own
TOGETHER = 0.25  # of the rarer of two words, how often the other one may stand beside it
NEAR = 50  # words that may have been meant
CAPITAL, SMALL = 0.02, 0.1  # of a word that is never met with a capital, or without, how often it may be for a slip
WORDS = "words.tsv"  # in the shipped folder


@dataclass(frozen=True)
class Harvest:
    """What a text says of its words.

    Args:
        own: words as written that the lexicon lacks, with counts. doubted: those that may be slips, likewise.
        words: how many were read, repeated ones too.
    """

    own: Mapping[str, int]
    doubted: Mapping[str, int]
    words: int


@dataclass(frozen=True)
class Harvested:
    """A corrector that knows the user's words, and what that changes on documents that it did not learn from.

    Args:
        mends_before, mends: the share of the words of those documents that it mends, which are taken to be right.
        untouched, report: before and after, on lines of those documents with misspellings put in.
    """

    model: Corrector
    harvest: Harvest
    mends_before: float
    mends: float
    untouched: Report[Text]
    report: Report[Text]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """What lowrung.json says of it."""
        told = {"words": self.harvest.words, "own": len(self.harvest.own), "doubted": len(self.harvest.doubted)}
        shares = {"mends_before": round(self.mends_before, 6), "mends": round(self.mends, 6)}
        return {**told, **shares, "seconds": round(self.seconds, 1)}


def harvest(
    task: Task[Text],
    text: Sequence[str | Path],
    *,
    base: Corrector | None = None,
    model: str = "",
    least: int = LEAST,
    column: str = "text",
    held: int = 1000,
    seed: int = 0,
    out: str | Path | None = None,
    watch: Callable[[int], None] | None = None,
) -> Harvested:
    """Count the words of raw text, and make those that no lexicon has, and that are no slips, words of one's own.

    Of every 20 documents (of 50 lines) one is kept out of that. What a budget goes by is measured on their lines.

    Args:
        text: files of raw text (.txt, a line a paragraph) or rows with `column`, also .gz and .xz.
        base: the corrector that learns them; None for that of the language `model`, "" for English.
        least: how often a word must be met.
        held: at most so many lines to measure on.
        out: a folder to ship to, with the words in words.tsv.
        watch: called with the number of lines that have been read, after each.

    Raises:
        DataError: a file cannot be read, or there is too little text.
        ModelError: no such language, or `out` holds something else than a shipped model.
    """
    begun = time.monotonic()
    if out is not None:
        vacant(out)
    corrector: Corrector = base or foundation(task, model)
    job = job_of(task, text, corrector.source, corrector.protect, least, column, seed)
    kept = list(islice((line for line in lines(text, column, held_out=True) if line.strip()), held))
    found = gathered(
        _watched(lines(text, column, held_out=False), watch),
        corrector.lexicon,
        corrector.channel,
        least=least,
        protect=corrector.protect,
    )
    if not found.words or not kept:
        told = ", ".join(str(each) for each in text)
        raise DataError(f"{told}: too little text: two documents of 50 lines are needed, one of them to measure on")
    made = replace(corrector.with_words(found.own), name="practice").with_curve(kept)
    before = corrector.with_curve(kept).curve[0][0]
    damaged = practising(lambda: corrector.channel.noise)  # of its language
    rows = [task.example(row) for row in damaged(iter(kept), Random(seed))]
    reports = [evaluate(task, each, rows) for each in (corrector, made)]
    whole = Harvested(made, found, before, made.curve[0][0], reports[0], reports[1], time.monotonic() - begun)
    if out is not None:
        _ship(task, whole, Path(out), {"seed": seed, "text": [str(each) for each in text], "job": job, "least": least})
    return whole


def _ship(task: Task[Text], made: Harvested, out: Path, more: Mapping[str, Any]) -> None:
    pairs = [(each.name, made.report.value(each), made.untouched.value(each)) for each in task.metrics]
    listed = [f"- {name}: {after:.3f} (untouched: {before:.3f})" for name, after, before in pairs]
    facts = {"method": "practice", "rows": 0, "source": made.model.source.name, **more, "practice": made.to_json()}
    card = f"""# {task.name}: practice

{task.about[:1].upper()}{task.about[1:]}.

- {len(made.harvest.own)} words of its own, from {made.harvest.words} words of raw text, without a label: `{WORDS}`
- {len(made.harvest.doubted)} more were met {more["least"]} times or more, and may be slips: they are not in it
- language: `{made.model.source.name}`

## How good it is

Of the words of documents that it did not learn from, it mends {made.mends:.3%} (untouched: {made.mends_before:.3%}).
Most of these are mended wrongly where the text is right; `--budget` sets how many there may be.

On {len(made.report.examples)} of their lines, with misspellings put in:

{chr(10).join(listed)}

Slips that were put in are not slips of people. `lowrung score` measures it on yours.

## Use

    lowrung answer {out.name} "a text"
    lowrung answer spelling --lexicon {out.name}/{WORDS} "a text"
"""
    report = {"task": task.name, "options": [], **facts, "untouched": made.untouched.to_json()}
    words = "".join(f"{form}\t{number}\n" for form, number in sorted(made.harvest.own.items()))
    ship(
        task,
        made.model,
        out,
        report=report | {"practice": made.report.to_json()},
        card=card,
        facts=facts,
        beside={WORDS: words},
    )


def gathered(
    text: Iterable[str], lexicon: Lexicon, channel: Channel, *, least: int = LEAST, protect: Sequence[str] = ()
) -> Harvest:
    """The words of `text` that `lexicon` lacks, those that may be slips set apart.

    A word is doubted where it is met no more often than it would be if all that else may be meant by it had come out
    misspelt: the words near it that are commoner, by the channel; two words run together; a part of one.

    Args:
        least: how often a word must be met. protect: what the corrector leaves alone anyway.
    """
    met = _parted(Lexicon.count(_bare(text, Protection(tuple(protect)))), lexicon)
    new = [word for word in dict.fromkeys(map(fold, met.counts)) if _may_be_own(word, met.times(word), lexicon, least)]
    new.sort(key=lambda word: (-met.times(word), word))
    known = Lexicon({form: number for form, number in met.counts.items() if number >= least or form in lexicon})
    pieces, doubted = _pieces(met, lexicon, new), set[str]()
    for word in new:
        if met.times(word) <= _slips(word, known, channel, doubted) + pieces.get(word, 0.0):
            doubted.add(word)
    sides: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for word in new:
        form = next(iter(met.forms(word)))
        sides[word in doubted][form] = met.times(word)
    return Harvest(*sides, met.total)


def _watched(text: Iterable[str], watch: Callable[[int], None] | None) -> Iterator[str]:
    for number, line in enumerate(text, 1):
        yield line
        if watch is not None:
            watch(number)


def _may_be_own(word: str, number: int, lexicon: Lexicon, least: int) -> bool:
    long = len(word) >= SHORTEST and not any(map(alone, word))
    return long and number >= least and word not in lexicon


def _bare(text: Iterable[str], protection: Protection) -> Iterator[str]:
    """Lines with nothing left of what is no word: addresses, code, names of variables."""
    for line in text:
        made, at = list[str](), 0
        for word in protection.words(line):
            made += [_LETTERS.sub(" ", line[at : word.start]), line[word.start : word.end]]
            at = word.end
        yield "".join([*made, _LETTERS.sub(" ", line[at:])])


_LETTERS = re.compile(r"\w")


def _parted(met: Lexicon, lexicon: Lexicon) -> Lexicon:
    """Counts with the endings that any word may take left out: «Frodo's» is «Frodo»."""
    counts = Counter[str]()
    for form, number in met.counts.items():
        counts[lexicon.parted(form)[0]] += number
    return Lexicon(dict(counts))


def _slips(word: str, known: Lexicon, channel: Channel, doubted: set[str]) -> float:
    """How often `word` would be met if each time that something commoner near it is meant were a slip."""
    number, found = known.times(word), 0.0
    large = _capital(word, known)
    for each in known.candidates(word, NEAR)[1:]:
        if each.kind == "split":
            one, two = each.text.split(" ")
            found += TOGETHER * min(known.times(one), known.times(two)) * exp(channel.log(word, fold(each.text)))
            continue
        meant = fold(each.text)
        times = known.times(meant)
        if times <= number or meant in doubted:
            continue
        share = _capital(meant, known)
        alike = large * max(share, CAPITAL) + (1 - large) * max(1 - share, SMALL)
        found += times * exp(channel.log(word, meant)) * alike
    return found


def _capital(word: str, known: Lexicon) -> float:
    """How much of a word is met with a capital, where nothing else asks for one."""
    return sum(n for form, n in known.forms(word).items() if form[:1].isupper()) / max(known.times(word), 1)


def _pieces(met: Lexicon, lexicon: Lexicon, new: Iterable[str]) -> dict[str, float]:
    """How often each of the new words would be met if each known word that begins or ends so were split there."""
    wanted, found = set(new), dict[str, float]()
    for word in dict.fromkeys(map(fold, met.counts)):
        if word not in lexicon:
            continue
        each = met.times(word) / max(len(word), 1)
        for at in range(1, len(word)):
            for part in (word[:at], word[at:]):
                if part in wanted:
                    found[part] = found.get(part, 0.0) + each
    return found
