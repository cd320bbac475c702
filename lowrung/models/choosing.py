"""Which of the letters that may stand in a place does, by all evidence: a small network over facts, as a Context.

For scripts without blanks. The network learns from damaged text, and further from labelled rows (tuned_letters.py).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lowrung.core.errors import DataError
from lowrung.data.noise import alone
from lowrung.models.corrector import Corrector, Slot, Weights
from lowrung.models.evidence import Evidence, Places, Reading, Slips, evidence
from lowrung.models.lexicon import HOME, Lexicon
from lowrung.models.sequences import Sequences

NEVER = -1e3  # logits of what is not looked at
REACH = 200.0  # logits, within which all that a corrector offers is offered
AROUND = 3  # letters on either side that n-grams see
SAID = ("said", "said_other", "said_own")  # what a body adds to the facts
PARTS = ("means", "scales", "linear", "hidden", "bias", "out")  # of a judge

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Judge:
    """From facts to logits against what stands there: a linear part and a hidden layer.

    Args:
        means, scales: (F,) of the facts. linear: (F,). hidden: (F, H). bias: (H,). out: (H,). keep: logits that a
            mend must be better by.
    """

    means: Array
    scales: Array
    linear: Array
    hidden: Array
    bias: Array
    out: Array
    keep: float = 0.0

    def __call__(self, facts: Array) -> Array:
        """(S, K, F) -> (S, K); 0 at the first option, which is what stands there."""
        inputs = (facts - self.means) / self.scales
        found = inputs @ self.linear + np.tanh(inputs @ self.hidden + self.bias) @ self.out - np.float32(self.keep)
        found[:, 0] = 0
        return found.astype(np.float32)

    def to_arrays(self) -> dict[str, Array]:
        found = {name: np.ascontiguousarray(getattr(self, name), dtype=np.float32) for name in PARTS}
        return found | {"keep": np.array([self.keep], dtype=np.float32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Judge:
        return cls(**{name: arrays[name] for name in PARTS}, keep=float(arrays["keep"][0]))


@dataclass(frozen=True, eq=False)
class Chooser:
    """A Context of correctors.

    Args:
        language: whose embedded counts it stands on. reading: what a body says; None without one.
        rows: the right texts of labelled rows, counted in `evidence` beside the embedded n-grams, and their share.
    """

    language: str
    evidence: Evidence
    judge: Judge
    reading: Reading | None = None
    share: float = 0.0

    def __call__(self, texts: Sequence[str], slots: Sequence[Sequence[Slot]]) -> list[list[list[float]]]:
        """For each text, slot and option what its logarithm gains; the option's own channel is taken back."""
        single = [[slot for slot in row if slot.end - slot.start == 1] for row in slots]
        at = [[slot.start for slot in row] for row in single]
        offered = [[[option.text for option in slot.options[1:]] for slot in row] for row in single]
        known = [dict(zip(places.at, self._scored(places), strict=True)) for places in self.places(texts, at, offered)]
        mended = [_mended(text, scores) for text, scores in zip(texts, known, strict=True)]
        again = [row for row, (text, other) in enumerate(zip(texts, mended, strict=True)) if text != other]
        for row in again:
            known[row] |= self._beside(texts[row], mended[row], at[row], offered[row])
        return [
            [_gains(slot, scores.get(slot.start, {})) for slot in row] for row, scores in zip(slots, known, strict=True)
        ]

    def places(
        self, texts: Sequence[str], at: Sequence[Sequence[int]], offered: Sequence[Sequence[Sequence[str]]]
    ) -> list[Places]:
        """The places of each text with all facts."""
        found = [self.evidence.places(*each) for each in zip(texts, at, offered, strict=True)]
        if self.reading is None:
            return found
        said = self.reading(texts, at, [places.options for places in found])
        return [_with_said(places, row) for places, row in zip(found, said, strict=True)]

    def _scored(self, places: Places) -> list[dict[str, float]]:
        """What each option of each place comes to."""
        logits = self.judge(places.facts).tolist()
        return [dict(zip(options, row, strict=False)) for options, row in zip(places.options, logits, strict=True)]

    def _beside(
        self, text: str, mended: str, at: Sequence[int], offered: Sequence[Sequence[str]]
    ) -> dict[int, dict[str, float]]:
        """Scores of the places beside mends, seen in the mended text."""
        changed = [place for place in at if text[place] != mended[place]]
        near = [
            row
            for row, place in enumerate(at)
            if place not in changed and any(abs(place - each) <= AROUND for each in changed)
        ]
        if not near:
            return {}
        places = self.places([mended], [[at[row] for row in near]], [[offered[row] for row in near]])[0]
        return dict(zip(places.at, self._scored(places), strict=True))

    def save(self, path: Path) -> None:
        """What rows have taught; the embedded counts and the body stay where they are."""
        slips = self.evidence.slips
        arrays: dict[str, NDArray[np.generic]] = dict(self.judge.to_arrays())
        if slips.pairs or slips.right:
            told = [[*pair, times] for pair, times in slips.pairs.items()], list(slips.right.items())
            packed = json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogatepass")
            arrays["slips"] = np.frombuffer(packed, dtype=np.uint8)
        arrays["share"] = np.array([self.share], dtype=np.float32)
        if self.share:
            rows = Sequences(self.evidence.sequences.alphabet, self.evidence.sequences.grams[-1:], (1.0,))
            arrays["rows"] = np.frombuffer(rows.packed(), dtype=np.uint8)
        save_file(arrays, path, {"language": self.language, "reads": str(int(self.reading is not None))})

    @classmethod
    def load(cls, path: Path, language: str, reading: Reading | None = None) -> Chooser:
        """What `save` wrote.

        Args:
            reading: the body, where it read when it was saved.

        Raises:
            DataError: it cannot be read.
        """
        try:
            arrays = load_file(path)
            judge = Judge.from_arrays(arrays)
            found = evidence(language)
            if "slips" in arrays:
                pairs, right = json.loads(arrays["slips"].tobytes().decode("utf-8", "surrogatepass"))
                met = {(written, meant): times for written, meant, times in pairs}
                found = replace(found, slips=Slips(Counter(met), Counter(dict(right))))
            share = float(arrays["share"][0])
            if share:
                (rows,) = Sequences.unpacked(arrays["rows"].tobytes()).grams
                found = replace(found, sequences=found.sequences.with_grams(rows, share))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as problem:
            raise DataError(f"{path}: nothing there chooses letters ({problem})") from problem
        if reading is None and len(judge.means) > len(Evidence.NAMES):
            raise DataError(f"{path}: it learnt with a body that reads letters, which is not there")
        return cls(language, found, judge, reading, share)


def _with_said(places: Places, said: Sequence[Array]) -> Places:
    more = np.zeros((*places.facts.shape[:2], len(SAID)), dtype=np.float32)
    for row, logs in enumerate(said):
        number = len(logs)
        more[row, 1:number, 0] = np.clip(logs[1:] - logs[0], -15, 15)
        more[row, 1:number, 1] = logs[0]
        more[row, 1:number, 2] = logs[1:]
    return replace(places, facts=np.concatenate([places.facts, more], axis=2))


def _mended(text: str, scores: Mapping[int, Mapping[str, float]]) -> str:
    made = list(text)
    for place, options in scores.items():
        made[place] = max(options, key=lambda each: options[each])
    return "".join(made)


def _gains(slot: Slot, scores: Mapping[str, float]) -> list[float]:
    if not scores:
        return [0.0, *([NEVER] * (len(slot.options) - 1))]
    return [scores.get(option.text, NEVER) - option.channel for option in slot.options]


@cache
def _judged(language: str, reads: bool) -> Chooser | None:
    path = HOME / f"chooser-{language}{'-letters' if reads else ''}.safetensors"
    return Chooser.load(path, language, reading_of(language) if reads else None) if path.is_file() else None


@cache
def reading_of(language: str) -> Reading:
    from lowrung.models import catalog
    from lowrung.models.saying import Restoring, Saying

    return Restoring(catalog.backbone(f"letters-{language}"), Saying.load(HOME / f"letters-{language}"))


def equipped(base: Corrector, language: str, *, reads: bool = True) -> Corrector:
    """`base` with the embedded chooser of its language as what decides; as it is where there is none.

    Args:
        reads: whether the letters backbone of the language reads the sentence, where there is one.
    """
    found = (_judged(language, True) if reads else None) or _judged(language, False)
    return base if found is None else with_chooser(base, found)


def with_chooser(base: Corrector, chooser: Chooser) -> Corrector:
    """`base` with a chooser as what decides, and with the slips that it has met among what is offered."""
    weights = Weights(misspelt=0.0, frequency=0.0, known=0.0)
    return replace(base, lexicon=offering(base.lexicon, chooser), context=chooser, weights=weights, reach=REACH)


def offering(words: Lexicon, chooser: Chooser) -> Lexicon:
    """`words` with the slips that a chooser has met among its confusions."""
    confusions = {letter: tuple(others) for letter, others in words.confusions.items()}
    for written, meant in chooser.evidence.slips.others.items():
        if alone(written):
            confusions[written] = tuple(dict.fromkeys((*confusions.get(written, ()), *filter(alone, meant))))
    return replace(words, confusions=confusions)
