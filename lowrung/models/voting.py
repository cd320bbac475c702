"""Late fusion of texts: a vote between what a recognizer hears or reads, what somebody else made of it, and mixtures.

Each candidate is told by numbers: how well it suits the sound or picture, how far it is from the given text, what its
words are worth, who proposed it. Few weights join them (a log-linear model); they are those with the least expected
error over the candidates of rows that the recognizer has not learnt from (minimum risk; Smith & Eisner 2006).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lowrung.core.alignment import aligned as steps
from lowrung.core.answers import Prediction, Text
from lowrung.core.errors import DataError, ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.data.files import atomic
from lowrung.data.splits import folds
from lowrung.models.decoding import Decoded, aligned, beam, timed
from lowrung.models.laying import Manner, answered, given_text, laid
from lowrung.models.prefixes import Logs, Settings
from lowrung.models.recognizer import Recognizer, predicted
from lowrung.models.tuned_recognizer import fit_recognizer
from lowrung.models.tuning import Top

ABOUT = "vote.json"
SHARES = (0.15, 0.4, 0.7)  # of the given letters, in mixtures with what the network says at their states
BEST = 8  # texts of a beam that stand for election
FEW, SWAPS = 4, 24  # places of two texts that are swapped in all ways; places that are swapped one by one, at most
OTHERS = 5  # next best texts that are told
FEATURES = (
    "sound", "strange", "replaced", "left out", "put in", "words", "language", "unknown", "letters",
    "blanks",
    "heard", "given", "mended",
)  # fmt: skip
# What the squares of weights cost, against the share of errors: more where a number says little of a text by itself.
TIES, LOOSE = 1e-4, {"heard": 0.05, "given": 0.05, "mended": 0.05, "words": 0.01, "blanks": 0.01}
ROUNDS = 200  # of descent, from each start
STILL = 1e-6  # the spread of a number that never varies

Watch = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class Poll:
    """The candidates of a question, and what is known of each.

    Shape: features (C, len(FEATURES))
    """

    texts: tuple[str, ...]
    features: Tensor
    logs: Logs = field(repr=False)


@dataclass(frozen=True, eq=False)
class Vote:
    """A Model[Text] of questions that give a recording (or picture) and a text of it; it does without either.

    Args:
        weights: of `FEATURES`.
        manner: how the given text is taken; where that has a corrector, it proposes a text, too.
    """

    base: Recognizer
    weights: Mapping[str, float]
    manner: Manner = Manner()  # noqa: RUF009 (frozen)
    name: str = field(default="late", init=False)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Text]]:
        """The candidate that the vote is for; where no text is given, what the recognizer says."""
        return answered(questions, self.base.sense, self.manner, self._said)

    def _said(self, questions: Sequence[Question]) -> Iterator[Prediction[Text]]:
        silent = iter(self.base.answer([each for each in questions if not each.texts]))
        polls = iter(self.polls([each for each in questions if each.texts]))
        for each in questions:
            yield self._elected(next(polls)) if each.texts else next(silent)

    def _elected(self, poll: Poll) -> Prediction[Text]:
        weights = torch.tensor([self.weights[name] for name in FEATURES])
        shares = (poll.features @ weights).softmax(0)
        order = shares.argsort(descending=True, stable=True).tolist()
        ranked = [(poll.texts[at], float(shares[at])) for at in order]
        alphabet, symbols = self.base.head.alphabet, self.base.head.ids(ranked[0][0])
        try:
            words = timed(symbols, aligned(poll.logs, symbols), alphabet)
        except ValueError:  # more letters than states: nobody can tell when they were said
            words = ()
        found = Decoded(*ranked[0], words, tuple(ranked[1 : 1 + OTHERS]))
        return predicted(found, self.base.sense.seconds)

    def polls(self, questions: Sequence[Question]) -> Iterator[Poll]:
        """Candidates of questions that give both."""
        sense = self.base.sense
        parts = [part for each in questions if (part := sense.found(each)) is not None]
        texts = [given_text(each) or "" for each in questions]
        given = [sense.written(self.manner.cased(each)) for each in texts]
        better = map(sense.written, self.manner.mended(texts))
        for logs, text, mend in zip(self.base.logs(parts), given, better, strict=True):
            yield self._poll(logs, text, mend)

    def _poll(self, logs: Logs, given: str, mend: str) -> Poll:
        heard = self._beamed(logs)
        proposed = dict.fromkeys([heard[0], given, mend, *heard])
        for share in SHARES:
            proposed.update(dict.fromkeys(self._beamed(self._mixed(logs, given, share))[:2]))
        proposed.update(dict.fromkeys(swapped(heard[0], given)))
        texts = tuple(proposed)
        return Poll(texts, self._features(texts, logs, heard[0], given, mend), logs)

    def _beamed(self, logs: Logs) -> list[str]:
        how = self.base.how or Settings()
        words = self.base.expected
        found = beam(
            logs, self.base.head.alphabet, width=how.width, words=words, power=how.power, bonus=how.bonus,
            unknown=how.unknown, hot=how.hot,
        )  # fmt: skip
        return [text for text, _, _ in found[:BEST]]

    def _mixed(self, logs: Logs, given: str, share: float) -> Logs:
        """What the network says, with a share of the given letters at their states."""
        symbols = self.base.head.ids(given)
        mixed = logs + log(1.0 - share)
        for symbol, at in zip(symbols, laid(logs, symbols), strict=True):
            mixed[at, symbol] = np.logaddexp(mixed[at, symbol], log(share))
        return mixed

    def _features(self, texts: Sequence[str], logs: Logs, heard: str, given: str, mend: str) -> Tensor:
        from rapidfuzz.distance import Levenshtein

        known = set(self.base.head.alphabet)
        sounds = likelihoods(logs, [self.base.head.ids(text) for text in texts])
        rows = []
        for text, sound in zip(texts, sounds, strict=True):
            edits = [each.tag for each in Levenshtein.editops(given.lower(), text.lower())]
            strange = sum(letter not in known for letter in text)
            language, unknown = self._worth(text)
            words = Levenshtein.distance(given.lower().split(), text.lower().split())
            rows.append([
                sound, strange, *(edits.count(tag) for tag in ("replace", "delete", "insert")), words, language,
                unknown, len(text), text.count(" "), text == heard, text == given, text == mend != given,
            ])  # fmt: skip
        return torch.tensor(rows, dtype=torch.float32)

    def _worth(self, text: str) -> tuple[float, int]:
        """log P of the words of a text, and how many of them are unknown; (0, 0) where nobody knows words."""
        model = self.base.expected
        if model is None:
            return 0.0, 0
        words = text.split()
        before, worth = ("",) * model.reach, 0.0
        for word in [*words, ""]:
            worth += model.log(word, before)
            before = (*before, word)[1:]
        return worth, sum(not model.known(word) for word in words)

    def save(self, folder: str | Path) -> dict[str, Any]:
        """Write the model into `folder`; returns the facts that a shipped folder keeps of it."""
        folder = Path(folder)
        self.base.save(folder)
        with atomic(folder / ABOUT) as new:
            about = {"weights": dict(self.weights), "manner": asdict(self.manner)}
            new.write_text(json.dumps(about, ensure_ascii=False, indent=1) + "\n", "utf-8")
        return {"kind": "fused-text", "name": self.name, "body": self.base.source.name}


def load_vote(folder: Path, base: Recognizer) -> Vote:
    """What `Vote.save` wrote beside `base`. Raises ModelError where the file is missing or damaged."""
    try:
        about = json.loads((folder / ABOUT).read_text("utf-8"))
        return Vote(base, {name: float(about["weights"][name]) for name in FEATURES}, Manner(**about["manner"]))
    except (OSError, KeyError, TypeError, ValueError) as problem:
        raise ModelError(f"{folder / ABOUT}: is missing or damaged ({problem}); fit and save it again") from problem


def swapped(one: str, two: str) -> Iterator[str]:
    """Texts that have some places of one and some of the other, cut at words (as in ROVER; Fiscus 1997) and at letters.

    Where they differ in few places, all such texts; else those that are one of the two but for one place.
    """
    from rapidfuzz.distance import Levenshtein

    ours, theirs = one.split(), two.split()
    yield from _swapped([(ours[start:end], theirs[first:last]) for start, end, first, last in steps(ours, theirs)], " ")
    letters = list[tuple[list[str], list[str]]]()
    for each in Levenshtein.opcodes(one, two):
        old, new = list(one[each.src_start : each.src_end]), list(two[each.dest_start : each.dest_end])
        letters += [([a], [b]) for a, b in zip(old, new, strict=True)] if each.tag == "replace" else [(old, new)]
    yield from _swapped(letters, "")


def _swapped(places: Sequence[tuple[list[str], list[str]]], gap: str) -> Iterator[str]:
    differ = [at for at, (ours, theirs) in enumerate(places) if ours != theirs]
    if len(differ) <= FEW:
        sides = [dict(zip(differ, each, strict=True)) for each in product((0, 1), repeat=len(differ))]
    else:
        sides = [{at: side if at == one else 1 - side for at in differ} for one in differ[:SWAPS] for side in (0, 1)]
    for side in sides:
        yield gap.join(piece for at, pair in enumerate(places) for piece in pair[side.get(at, 0)])


def likelihoods(logs: Logs, symbols: Sequence[Sequence[int]]) -> list[float]:
    """log P of each text over all paths of a CTC network; NEVER of a text that is too long.  logs: (T', V)"""
    if not len(logs):
        return [0.0 if not each else NEVER for each in symbols]
    sizes = torch.tensor([len(each) for each in symbols])
    flat = torch.tensor([symbol for each in symbols for symbol in each], dtype=torch.long)
    whole = torch.from_numpy(np.ascontiguousarray(logs)).float()[:, None].expand(-1, len(symbols), -1)
    lengths = torch.full((len(symbols),), len(logs))
    lost = F.ctc_loss(whole, flat, lengths, sizes, reduction="none")
    return torch.nan_to_num(-lost, neginf=NEVER).clamp(min=NEVER).tolist()


NEVER = -1e4

# --- learning


def fit_vote(
    base: Recognizer,
    examples: Sequence[Example[Text]],
    *,
    manner: Manner = Manner(),  # noqa: B008 (frozen)
    dev: Sequence[Example[Text]] = (),
    seed: int = 0,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> Vote:
    """A vote with a recognizer that has learnt from `examples`, weighed by `dev`; without, by a third of the examples,
    which a recognizer that has learnt from the others answers.

    Raises:
        DataError: there is only one row, or none has a text of its recording or picture.
    """
    judges = [
        each for each in dev if each.golds and base.sense.found(each.question) is not None and each.question.texts
    ]
    learn: Sequence[Example[Text]] = examples
    if not judges:
        if len(examples) < 2:
            raise DataError("a vote is weighed by rows held out, and needs at least 2 rows to learn from")
        kept, held = folds(list(examples), k=min(3, len(examples)), seed=seed)[0][0]
        learn, judges = [examples[at] for at in kept], [examples[at] for at in held if examples[at].question.texts]

    def taught(rows: Sequence[Example[Text]], part: str) -> Recognizer:
        kept = checkpoint and checkpoint / part
        return fit_recognizer(base, rows, how=Top(), dev=dev, seed=seed, checkpoint=kept, watch=watch)

    made = Vote(taught(learn, "part"), _START, manner)
    weights = weighed(list(made.polls([each.question for each in judges])), judges, base.sense.metrics[0].count)
    if len(learn) < len(examples):
        made = replace(made, base=taught(examples, "whole"))
    return replace(made, weights=weights)


_START = {name: float(name == "sound") for name in FEATURES}


def weighed(
    polls: Sequence[Poll],
    examples: Sequence[Example[Text]],
    count: Callable[[Example[Text], Text], Mapping[Any, Any]],
) -> dict[str, float]:
    """The weights with the least expected error over the candidates of rows, found from several starts.

    Args:
        count: as a metric's; the events "edits" and "length" of a row and an answer.
    """
    most = max((len(each.texts) for each in polls), default=1)
    features = torch.zeros(len(polls), most, len(FEATURES))
    errors, mask = torch.zeros(len(polls), most), torch.zeros(len(polls), most, dtype=torch.bool)
    length = 1.0
    for at, (poll, example) in enumerate(zip(polls, examples, strict=True)):
        counts = [count(example, Text(text)) for text in poll.texts]
        size = len(poll.texts)
        features[at, :size], mask[at, :size] = poll.features, True
        errors[at, :size] = torch.tensor([float(each["edits"]) for each in counts])
        length += float(counts[0]["length"])
    centred = torch.where(mask[..., None], features - features[:, :1], 0.0)  # only differences within a row tell
    spread = centred.square().sum((0, 1)).div(mask.sum().clamp(min=1)).sqrt()
    spread = spread.masked_fill(spread < STILL, torch.inf)  # what never varies says nothing, and weighs nothing
    scaled = centred / spread
    found = [_descended(scaled, errors, mask, length, start) for start in _starts(scaled)]
    best = min(found, key=lambda each: each[0])[1] / spread
    return {name: float(each) for name, each in zip(FEATURES, best.tolist(), strict=True)}


def _starts(scaled: Tensor) -> Iterable[Tensor]:
    """Nothing; the sound alone; the given text alone; both."""
    sound, near = torch.zeros(len(FEATURES)), torch.zeros(len(FEATURES))
    sound[FEATURES.index("sound")] = 1.0
    for name in ("replaced", "left out", "put in"):
        near[FEATURES.index(name)] = -1.0
    return torch.zeros_like(sound), sound, near, sound + near


def _descended(features: Tensor, errors: Tensor, mask: Tensor, length: float, start: Tensor) -> tuple[float, Tensor]:
    """The expected share of errors with what the weights cost, and the weights."""
    weights = start.clone().requires_grad_(True)
    optimizer, ties = torch.optim.Adam([weights], lr=0.05), torch.tensor([LOOSE.get(name, TIES) for name in FEATURES])

    def risk() -> Tensor:
        shares = (features @ weights).masked_fill(~mask, -torch.inf).softmax(1)
        return (shares * errors).sum() / length + (ties * weights.square()).sum()

    for _ in range(ROUNDS):
        optimizer.zero_grad()
        risk().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(risk().detach()), weights.detach()
