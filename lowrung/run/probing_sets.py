"""probing_sets: published sets of the lowest rungs, CUTE (Edman et al. 2024) and BLiMP (Warstadt et al. 2020).

CUTE's questions are put in words, after answered ones; a body is asked for letters by what its read-out spells of the
word, to which the rule of the question is applied. Of BLiMP's pairs the likelier sentence counts; an endpoint, which
says nothing of likelihoods, is asked which of the two is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.data.files import read_rows
from lowrung.data.letter_items import KINDS, LONGEST, SHORTEST, items
from lowrung.data.text_items import in_words, language, sources, text_kinds
from lowrung.models.endpoint import Terms
from lowrung.run.audit import wilson
from lowrung.run.probing_found import Probed, Probing
from lowrung.run.probing_prompts import ASKED, SHOTS, Pair, asked_of, asks_in_words, commonest, told_model

SETS = ("cute", "blimp")
FILES = ("test.jsonl", "test.jsonl.gz")
PLACES = 12  # letters that are read of a word
TAUGHT = 3000  # words that the read-out learns from, none of them in the set
TONGUE = "en"

Watch = Callable[[str, int, int], None]

LETTERS: Mapping[str, Callable[..., str]] = {  # what follows from the letters of the last input
    "spell": " ".join,
    "contains_char": lambda letter, word: language(TONGUE)["yes" if letter in word else "no"],
    "ins_char": lambda new, after, word: word.replace(after, after + new),
    "del_char": lambda letter, word: word.replace(letter, ""),
    "sub_char": lambda old, new, word: word.replace(old, new),
    "swap_char": lambda one, two, word: word.translate(str.maketrans(one + two, two + one)),
}


def probe_set(
    model: str,
    name: str,
    folder: str | Path,
    *,
    rows: int | None = None,
    seed: int = 0,
    watch: Watch = lambda what, done, total: None,
    terms: Terms | None = None,
) -> Probing:
    """A published set, kind by kind.

    Args:
        name: of `SETS`. folder: where its test.jsonl lies, also as .gz.
        rows: of each kind at most, drawn by `seed`; None for 100.

    Raises:
        DataError: there are no such rows.
        ModelError: there is no such model, or it can say nothing of the set.
    """
    kinds = _kinds(name, Path(folder), rows or ASKED, seed)
    if asks_in_words(model):
        asked = told_model(model, terms)
        metrics = (_cute if name == "cute" else _blimp)(asked, kinds, watch)
        return Probing(model, 0, metrics, SHOTS, getattr(asked, "bill", None))
    if name == "blimp":
        raise ModelError(
            f"{model}: a body tells no probabilities of words, as it has no head for them; "
            "--set blimp is for language models and endpoints"
        )
    return _cute_of_body(model, kinds, seed, watch)


def _kinds(name: str, folder: Path, most: int, seed: int) -> dict[str, list[Mapping[str, Any]]]:
    file = next((folder / each for each in FILES if (folder / each).is_file()), None)
    if name not in SETS or file is None:
        raise DataError(
            f"{folder}: --set {name} needs a folder with {' or '.join(FILES)}; the sets are {', '.join(SETS)}"
        )
    key, needed = ("task", ("inputs", "label")) if name == "cute" else ("uid", ("good", "bad"))
    rows = list(read_rows(file))
    if not rows or any(each not in rows[0] for each in (key, *needed)):
        raise DataError(f"{file}: no rows of {name}, which have {', '.join((key, *needed))}")
    found = {
        kind: list(each) for kind, each in groupby(sorted(rows, key=lambda row: str(row[key])), lambda row: row[key])
    }
    return {kind: Random(f"{seed} {kind}").sample(each, min(most, len(each))) for kind, each in found.items()}


def _cute(model: Any, kinds: Mapping[str, Sequence[Mapping[str, Any]]], watch: Watch) -> dict[str, Probed]:
    told, metrics = language(TONGUE)["cute"], {}
    for number, (kind, rows) in enumerate(kinds.items()):
        watch(kind, number, len(kinds))
        base = kind.removesuffix("_rand")
        if base not in told:
            raise DataError(f"{kind}: no such kind of CUTE is known here; those are {', '.join(told)}")
        ask = told[base]["ask"]
        shots = [(ask.format(*each[:-1]), each[-1]) for each in told[base]["shots"]]
        asked = [(ask.format(*row["inputs"]), row["label"]) for row in rows]
        metrics[kind] = asked_of(model, shots, asked, TONGUE)
    return metrics


def _cute_of_body(model: str, kinds: Mapping[str, Sequence[Mapping[str, Any]]], seed: int, watch: Watch) -> Probing:
    import torch

    from lowrung.models.lexicon import lexicon
    from lowrung.models.read_out import DEPTHS, Speller, word_states
    from lowrung.run.probing import COMMON, HELD, body_of

    backbone, random = body_of(model), Random(f"{seed} cute")
    asked = {kind: rows for kind, rows in kinds.items() if kind.removesuffix("_rand") in LETTERS}
    tested = {row["inputs"][-1] for rows in asked.values() for row in rows}
    counts = lexicon(TONGUE).counts
    common = sorted(counts, key=lambda form: (-counts[form], form))[:COMMON]
    known = [word for word in common if word.isascii() and word.isalpha() and 1 < len(word) <= PLACES]
    known = random.sample([word for word in known if word.islower() and word not in tested], TAUGHT)
    taught = {word: at % HELD == 0 for at, word in enumerate(known)}
    usual = [word for word in known if SHORTEST <= len(word) <= LONGEST]
    for made in KINDS:
        for each in items(made, usual, random) if made.edits else ():
            if each.words[1] not in tested:
                taught.setdefault(each.words[1], taught[each.words[0]])
    every = list(dict.fromkeys([*taught, *tested]))
    states = word_states(backbone, every, lambda done, total: watch("texts read", done - 1, total))
    place = {word: at for at, word in enumerate(every)}
    held = torch.tensor([*taught.values()])
    speller = Speller([*taught], states[[place[word] for word in taught]], held, places=PLACES, depths=DEPTHS)
    spelt = dict(zip(every, speller.words(states), strict=True))
    metrics = {}
    for kind, rows in asked.items():
        rule = LETTERS[kind.removesuffix("_rand")]
        said = [rule(*row["inputs"][:-1], spelt[row["inputs"][-1]]) for row in rows]
        right = [one.casefold() == row["label"].casefold() for one, row in zip(said, rows, strict=True)]
        chance = commonest(row["label"] for row in rows)
        metrics[kind] = Probed(wilson(right, np.arange(len(right))), chance, len(right), "letters")
    return Probing(model, len(known), metrics)


def _blimp(model: Any, kinds: Mapping[str, Sequence[Mapping[str, Any]]], watch: Watch) -> dict[str, Probed]:
    metrics, every = {}, list[bool]()
    for number, (kind, rows) in enumerate(kinds.items()):
        watch(kind, number, len(kinds))
        pairs = [(str(row["good"]), str(row["bad"])) for row in rows]
        right = _likelier(model, pairs) if hasattr(model, "option_scores") else _chosen(model, pairs)
        every += right
        way = "scores" if hasattr(model, "option_scores") else "prompt"
        metrics[kind] = Probed(wilson(right, np.arange(len(right))), 0.5, len(right), way)
    if not every:
        raise LowrungError("no pairs to ask")
    whole = Probed(wilson(every, np.arange(len(every))), 0.5, len(every), way)
    return {"all": whole, **metrics}


def _likelier(model: Any, pairs: Sequence[Pair]) -> list[bool]:
    """Whether the good sentence is the likelier one of each pair, as a whole."""
    scores = model.option_scores([""] * len(pairs), pairs)
    return [good.log > bad.log for good, bad in scores]


def _chosen(model: Any, pairs: Sequence[Pair]) -> list[bool]:
    """Whether the good sentence is chosen, after answered pairs of our own; it stands first in every other pair."""
    told, random = language(TONGUE), Random(0)
    kind = next(each for each in text_kinds(TONGUE) if each.name == "grammar")
    nouns = sources(kind.name, TONGUE, (SHOTS,), random)[0]
    shots = [in_words(kind.name, each, told) for each in items(kind, nouns, random)]
    ask = told["prompts"]["grammar"][0]
    asked = [(ask.format(word=pair[at % 2], other=pair[1 - at % 2]), str(at % 2 + 1)) for at, pair in enumerate(pairs)]
    found = asked_of(model, shots, asked, TONGUE)
    right = round(found.score.value * len(pairs))
    return [True] * right + [False] * (len(pairs) - right)
