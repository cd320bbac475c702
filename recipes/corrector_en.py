"""Weighs what the English corrector goes by, and measures how often it then mends right words.

    .venv/bin/python -m recipes.corrector_en

Once for a corrector that goes by a word and its neighbours, and once for one whose body reads the sentence: writes
corrector-en.json, which has the weights of each and the curve that budgets go by, and the reader's three weights into
letters-en.

Reads, in the folder `LOWRUNG_DATA`, sentences of spelling/jfleg_spelling and of the dev set of
spelling/wikidump_realistic, and the lines of corpus/ that recipes.lexicon_en held out. The numbers are found by
random search; what is written holds weights and shares, no text.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from benchmarks import datasets
from lowrung.core.edits import between
from lowrung.data.files import atomic
from lowrung.models import catalog
from lowrung.models.context import InContext
from lowrung.models.correcting import corrector, right_in
from lowrung.models.corrector import Corrector, Slot
from lowrung.models.lexicon import HOME
from lowrung.models.protection import Protection
from recipes.lexicon_en import lines

ROWS = 500  # sentences of each kind
OPTIONS = 24  # of a slot that are looked at
WIDE = 11.0  # logits around the decision within which options are looked at
POWERS = ("product", "capitals", "other")  # of models.context.Reader
NAMES = ("misspelt", "channel", "frequency", "known", "beside", *POWERS)
STEPS = np.array([1.5, 0.15, 0.2, 0.2, 0.25, 0.3, 0.4, 0.3])  # of the search
BROKEN = {"jfleg_spelling": 0.0015, "wikidump_realistic": 0.008, "clean": 0.002}  # shares of right words
STRICT = {"jfleg_spelling": 80.0, "wikidump_realistic": 20.0, "clean": 80.0}  # what is lost for each share above

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """Slots of a set with all that is known of their options.

    Args:
        given: (S, OPTIONS, 6) channel, prior, beside, and the reader's three; NaN where there is no option.
        gold: (S,) the right option, -1 where it is not among them, -2 where that cannot be said.
    """

    given: Floats
    gold: NDArray[np.int64]
    words: int
    wrong: int

    @classmethod
    def of(cls, made: Corrector, texts: Sequence[str], right: Sequence[str]) -> Seen:
        assert made.beside is not None
        slots = replace(made, context=None).slots(texts)
        beside = made.beside(texts, slots)
        if isinstance(made.context, InContext):
            read = made.context.parts(texts, slots)
        else:
            read = [[[[0.0] * 3 for _ in slot.options] for slot in each] for each in slots]
        rows, gold, wrong = [], [], 0
        for text, meant, *columns in zip(texts, right, slots, beside, read, strict=True):
            edits = between(text, meant)
            wrong += len(edits)
            for slot, near, parts in zip(*columns, strict=True):
                rows.append(_row(slot, near, parts))
                gold.append(_gold(slot, right_in(text, slot, edits)))
        words = sum(len(Protection().words(text)) for text in texts)
        return cls(np.stack(rows), np.array(gold), words, wrong)

    def scored(self, weights: Floats) -> tuple[float, float, float, float]:
        """Mended, broken, precision and F0.5."""
        misspelt, channel, frequency, known, beside, *powers = weights
        more = beside * self.given[..., 2] + self.given[..., 3:] @ np.array(powers)
        scores = misspelt + channel * self.given[..., 0] + frequency * self.given[..., 1] + more
        scores[:, 0] = known * self.given[:, 0, 1] + more[:, 0]
        chosen = np.where(np.isnan(scores), -np.inf, scores).argmax(1)
        hit, said = int(((chosen == self.gold) & (self.gold > 0)).sum()), int((chosen > 0).sum())
        mended, precision = hit / max(self.wrong, 1), hit / max(said, 1)
        broken = int(((chosen > 0) & (self.gold == 0)).sum()) / self.words
        return mended, broken, precision, 1.25 * hit / max(said + 0.25 * self.wrong, 1)


def _row(slot: Slot, near: Sequence[float], parts: Sequence[Sequence[float]]) -> Floats:
    row = np.full((OPTIONS, 6), np.nan)
    for at, (option, one, more) in enumerate(zip(slot.options[:OPTIONS], near, parts, strict=False)):
        row[at] = (option.channel, option.prior, one, *more)
    return row


def _gold(slot: Slot, right: str | None) -> int:
    texts = [each.text for each in slot.options[:OPTIONS]]
    return -2 if right is None else texts.index(right) if right in texts else -1


def worth(seen: dict[str, Seen], weights: Floats) -> float:
    """F0.5 of both sets and a part of what is mended, less what right words suffer."""
    found = {name: each.scored(weights) for name, each in seen.items()}
    gain = sum(f05 + 0.5 * mended for name, (mended, _, _, f05) in found.items() if name != "clean")
    return gain - sum(STRICT[name] * max(0.0, broken - BROKEN[name]) for name, (_, broken, _, _) in found.items())


def search(made: Corrector, steps: int, *, seed: int) -> Floats:
    """What NAMES says, from the weights that `made` has."""
    made, now = replace(made, reach=WIDE), made.weights
    seen = {}
    for name, split in (("jfleg_spelling", "test"), ("wikidump_realistic", "dev")):
        _, examples = datasets.spelling(name, split, ROWS)
        golds = [each.golds[0].text for each in examples]
        seen[name] = Seen.of(made, [each.question.text for each in examples], golds)
    clean = [line.strip() for line in islice(lines(held=True), 0, None, 3)][:ROWS]
    seen["clean"] = Seen.of(made, clean, clean)
    powers = made.context.reader.powers.tolist() if isinstance(made.context, InContext) else [0.0] * 3
    best = np.array([now.misspelt, now.channel, now.frequency, now.known, now.beside, *powers])
    most, random = worth(seen, best), np.random.default_rng(seed)
    for _ in range(steps):
        moved = best + random.normal(size=len(best)) * STEPS * (random.random(len(best)) < 0.5) * random.random()
        if (found := worth(seen, moved)) > most:
            best, most = moved, found
    for name, each in seen.items():
        print(name, " ".join(f"{100 * number:.2f}" for number in each.scored(best)))
    print(", ".join(f"{name}={number:.3f}" for name, number in zip(NAMES, best, strict=True)), flush=True)
    return best


def store(powers: Sequence[float]) -> None:
    """Write the reader's powers into the embedded body."""
    path = catalog.OWN / "letters-en" / "model.safetensors"
    with safe_open(path, "pt") as file:
        about = file.metadata()
    state = load_file(path) | {"reader.powers": torch.tensor(powers, dtype=torch.float32)}
    with atomic(path) as new:
        save_file(state, new, about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=900, help="of the search; 0 keeps the weights and measures curves")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    path, told = HOME / "corrector-en.json", dict[str, Any]()
    for stage in ("beside", "context"):
        made = corrector("en", context=stage == "context")
        if asked.steps:
            found = [round(float(each), 3) for each in search(made, asked.steps, seed=asked.seed)]
            weights = dict(zip(NAMES, found[: -len(POWERS)], strict=False))
            made = replace(made, weights=replace(made.weights, **weights))
            if isinstance(made.context, InContext):
                store(found[-len(POWERS) :])
                made.context.reader.powers[:] = torch.tensor(found[-len(POWERS) :])
        made = made.with_curve(line.strip() for line in lines(held=True))
        print(f"{stage}: mends {100 * made.curve[0][0]:.3f} % of the words of clean text", flush=True)
        curve = [[round(share, 7), logits] for share, logits in made.curve]
        told[stage] = {"weights": asdict(made.weights), "curve": curve}
    path.write_text(json.dumps(told) + "\n", "utf-8")


if __name__ == "__main__":
    main()
