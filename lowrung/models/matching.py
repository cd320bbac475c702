"""Match: a Choice among the options that a question brings, each a text of its own, for the texts that are given.

A bi-encoder: each text is read once, by itself, and its vector serves wherever it is given or offered. What is given
may be the turns of a dialogue, the last of which counts most.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from random import Random
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrung.core.answers import Choice, Prediction
from lowrung.core.parts import Question
from lowrung.core.words import words
from lowrung.models.batch import pad
from lowrung.models.heads import FORBIDDEN, SCALE

RECENT = 8  # of what is given, the last so many texts are read
SLOTS = (1.0, 0.5, 0.5)  # weights of the last text given, of the one before it, and of the mean of those before
ROWS = 64  # of a step of training, about
OFFERED = 2  # of a row's own options, the most that such a step looks at: each has to be read
OTHERS = 10  # golds of other rows that a row is told apart from
# What can be seen of an option beside the texts without a body; in each the weight before the first label is 0.
CUES = (
    "last",  # share of the option's words that stand in the last text
    "earlier",  # and of those that stand in an earlier one
    "own last",  # how many words that no other option has stand in the last text, log
    "own earlier",
    "own new",  # and how many stand nowhere
    "numbers",  # words with a digit that stand in a text given, log
    "new numbers",
    "repeats",  # the option was said before
    "asks",
    "asks back",  # and the last text asks as well
    "length",  # log of its words
    "longer",  # log of its words less that of the last text's
)
_ASKING = "?？؟\u037e\u055e"  # also the Arabic, Greek and Armenian ones


class Pairs(NamedTuple):
    """What a Match sees of B questions with at most C options; an option's place in `mask` says that it is there.

    Shape:
        given: (B, 3, D), of the last text, of the one before, of the mean of those before; 0 where there is none ·
        offered: (B, C, D) · cues: (B, C, S) · mask: (B, C)
    """

    given: Tensor
    offered: Tensor
    cues: Tensor
    mask: Tensor


class Match(nn.Module):
    """An option's score = its cosine with what is given + what is learnt of both vectors and of `CUES`.

    At 0 labels only the cosine speaks. It is bilinear in the vectors: few labels can be solved for, and many may move
    the body.

    Shape:
        maps: (3, D, D) · lean: (D,) · scores: (B, C)

    Args:
        width: D.
    """

    options: tuple[str, ...] = ()  # none of its own

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.tensor(SLOTS))
        self.maps = nn.Parameter(torch.zeros(len(SLOTS), width, width))
        self.lean = nn.Parameter(torch.zeros(width))
        self.cues = nn.Parameter(torch.zeros(len(CUES)))
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(()))

    def scores(self, pairs: Pairs) -> Tensor:
        """-> (B, C)"""
        wanted = (self.slots[:, None] * pairs.given).sum(1) + torch.einsum("bsd,sde->be", pairs.given, self.maps)
        made = SCALE * torch.einsum("bd,bcd->bc", wanted + self.lean, pairs.offered) + pairs.cues @ self.cues
        return made.masked_fill(~pairs.mask, FORBIDDEN)

    def choose(self, questions: Sequence[Question], pairs: Pairs) -> list[Prediction[Choice]]:
        """B predictions with all options, best first."""
        shares = (self.scores(pairs) / self.temperature).softmax(-1)
        made = []
        for asked, row in zip(questions, shares.tolist(), strict=True):
            order = sorted(range(len(asked.options)), key=lambda at: -row[at])
            ranked = [(Choice(asked.options[at]), min(1.0, row[at])) for at in order]
            made.append(Prediction(*ranked[0], tuple(ranked[1:])))
        return made


def given(question: Question) -> tuple[str, ...]:
    """The texts of it that are read: of many the last ones."""
    return question.texts[-RECENT:]


def offered(question: Question) -> tuple[str, ...]:
    """What is read for each option: what it means, else itself, as it stands."""
    meanings = question.meanings or question.options
    return tuple(meaning or option for meaning, option in zip(meanings, question.options, strict=True))


def read(questions: Sequence[Question]) -> list[str]:
    """All texts that a body has to read for `questions`, each once."""
    return list(dict.fromkeys(text for asked in questions for text in (*given(asked), *offered(asked))))


def pairs(questions: Sequence[Question], vectors: Mapping[str, Tensor]) -> Pairs:
    """What a Match sees of `questions`, from the vector (D,) of each text of `read`."""
    slots, several = [], []
    for asked in questions:
        *before, last = (vectors[text] for text in given(asked))
        nothing = torch.zeros_like(last)
        earlier = torch.stack(before[:-1]).mean(0) if before[:-1] else nothing
        slots.append(torch.stack([last, before[-1] if before else nothing, earlier]))
        several.append(torch.stack([vectors[text] for text in offered(asked)]))
    mask = pad([torch.ones(len(asked.options), dtype=torch.bool) for asked in questions])
    return Pairs(torch.stack(slots), pad(several), pad([cues(asked) for asked in questions]), mask)


def places(questions: Sequence[Question], golds: Sequence[Choice]) -> Tensor:
    """Where each gold stands among the options.  -> (B,)"""
    return torch.tensor([asked.options.index(gold.option) for asked, gold in zip(questions, golds, strict=True)])


def crowded(
    questions: Sequence[Question], golds: Sequence[Choice], random: Random, *, own: int, others: int
) -> list[Question]:
    """The same questions with at most `own` of their options, the gold among them, and `others` golds of other rows.

    What is right in one row is wrong in nearly every other (in-batch negatives, Henderson et al. 2017).
    """
    made = []
    for asked, gold in zip(questions, golds, strict=True):
        wrong = [each for each in asked.options if each != gold.option]
        kept = random.sample(wrong, min(len(wrong), own - 1))
        foreign = random.sample(range(len(golds)), min(len(golds), others + 1))
        words_for = dict(zip(asked.options, offered(asked), strict=True))
        for at in foreign:
            option = golds[at].option
            if len(words_for) < len(asked.options) + others and option not in asked.options:
                words_for.setdefault(option, offered(questions[at])[questions[at].options.index(option)])
        options = (gold.option, *kept, *(each for each in words_for if each not in asked.options))
        made.append(replace(asked, options=options, meanings=tuple(words_for[each] for each in options)))
    return made


def loss(head: Match, questions: Sequence[Question], golds: Sequence[Choice], vectors: Mapping[str, Tensor]) -> Tensor:
    """Mean cross-entropy over the options."""
    return F.cross_entropy(head.scores(pairs(questions, vectors)), places(questions, golds))


@lru_cache(maxsize=1 << 15)
def cues(question: Question) -> Tensor:
    """What words, digits, question marks and lengths say of each option.  -> (C, S)"""
    before = [_bag(text) for text in given(question)]
    last, earlier = before[-1], set().union(*before[:-1])
    bags = [_bag(text) for text in offered(question)]
    having = Counter(word for bag in bags for word in bag)
    said = {_folded(text) for text in given(question)}
    asked = _asks(given(question)[-1])
    rows = []
    for text, bag in zip(offered(question), bags, strict=True):
        own = {word for word in bag if having[word] == 1}
        numbers = {word for word in bag if any(letter.isdigit() for letter in word)}
        asks, size = _asks(text), max(1, len(bag))
        row = {
            "last": len(bag & last) / size,
            "earlier": len(bag & earlier) / size,
            "own last": math.log1p(len(own & last)),
            "own earlier": math.log1p(len(own & earlier - last)),
            "own new": math.log1p(len(own - last - earlier)),
            "numbers": math.log1p(len(numbers & (last | earlier))),
            "new numbers": math.log1p(len(numbers - last - earlier)),
            "repeats": _folded(text) in said,
            "asks": asks,
            "asks back": asks and asked,
            "length": math.log1p(len(bag)),
            "longer": math.log1p(len(bag)) - math.log1p(len(last)),
        }
        rows.append([float(row[name]) for name in CUES])
    return torch.tensor(rows)


def _asks(text: str) -> bool:
    return text.rstrip("\"'”’»)）」』 ")[-1:] in (*_ASKING,)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


@lru_cache(maxsize=1 << 15)
def _bag(text: str) -> frozenset[str]:
    """The words of a text, case aside; punctuation is none."""
    found = (text[start:end].casefold() for start, end in words(text))
    return frozenset(word for word in found if any(letter.isalnum() for letter in word))
