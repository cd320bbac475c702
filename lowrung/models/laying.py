"""A text laid along the states of a recognizer, and questions that give both a recording or picture and such a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from lowrung.core.answers import Prediction, Text
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.metrics.counting import total
from lowrung.models.correcting import corrector
from lowrung.models.decoding import aligned
from lowrung.models.lexicon import languages
from lowrung.models.prefixes import Logs
from lowrung.models.senses import Sense

AT_ONCE = 64  # questions
ALONE = 0.5  # the confidence in a text that nobody could check
TRIED = 200  # texts on which a language's corrector shows whether it helps


def laid(logs: Logs, symbols: Sequence[int]) -> list[int]:
    """The state at which each symbol of a text begins, on the likeliest path that says them all (forced alignment).

    Where a text is too long for its states, each state is taken for several. Symbols from V on, which the network does
    not have, lie where some letter or other does.

    Shape: logs (T', V), T' > 0 -> N places
    """
    if not symbols:
        return []
    lacking = max(symbols) + 1 - logs.shape[1]
    if lacking > 0:
        logs = np.concatenate([logs, np.repeat(logs[:, 1:].max(axis=1, keepdims=True), lacking, axis=1)], axis=1)
    needed = len(symbols) + sum(one == two for one, two in pairwise(symbols))
    times = -(-needed // len(logs))
    return [first // times for first, _ in aligned(np.repeat(logs, times, axis=0), symbols)]


def given_text(question: Question) -> str | None:
    """What somebody else made of the recording or picture; None where the question gives no text."""
    return next(iter(question.texts), None)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a given text is taken.

    Args:
        language: whose corrector mends it; "" for none.
        case: "upper" or "lower" where all right texts are written so; "" where they are not.
    """

    language: str = ""
    case: str = ""

    def cased(self, text: str) -> str:
        """In the case of right texts, letter for letter."""
        changed = {"upper": str.upper, "lower": str.lower}.get(self.case, str)
        return "".join(new if len(new := changed(letter)) == 1 else letter for letter in text)

    def mended(self, texts: Sequence[str]) -> list[str]:
        """The texts by the corrector, as they stand where there is none; in the case of right ones."""
        if not self.language:
            return list(map(self.cased, texts))
        said = corrector(self.language).answer([Question((text,)) for text in texts])
        better = [text if each.answer is None else each.answer.text for text, each in zip(texts, said, strict=True)]
        return list(map(self.cased, better))


def manner_of(examples: Iterable[Example[Text]], sense: Sense) -> Manner:
    """The case of the right texts, and the language whose corrector brings the given ones nearest to them, if any."""
    labelled = [each for each in examples if each.golds]
    right = [each.golds[0].text for each in labelled]
    cases = [case for case in ("upper", "lower") if any(right) and all(Manner("", case).cased(r) == r for r in right)]
    plain = Manner("", cases[0] if len(cases) == 1 else "")  # digits are in both
    told = [each for each in labelled if given_text(each.question)][:TRIED]
    metric, rates = sense.metrics[0], dict[Manner, float]()
    for manner in (plain, *(replace(plain, language=each) for each in languages())) if told else ():
        texts = manner.mended([given_text(each.question) or "" for each in told])
        counts = [metric.count(each, Text(text)) for each, text in zip(told, texts, strict=True)]
        rates[manner] = float(metric.finish(total(counts)))
    return min(rates, key=lambda manner: rates[manner], default=plain)  # of equals the first, without a corrector


def answered(
    questions: Sequence[Question],
    sense: Sense,
    manner: Manner,
    told: Callable[[Sequence[Question]], Iterable[Prediction[Text]]],
) -> list[Prediction[Text]]:
    """What `told` says of questions with a recording or picture; of others the given text, mended; never both lacking.

    Each prediction names what its question lacks.
    """
    found: list[Prediction[Text]] = [Prediction(None, 0.0, lacking=(sense.column, "text"))] * len(questions)
    with_part = [at for at, each in enumerate(questions) if sense.found(each) is not None]
    alone = [at for at, each in enumerate(questions) if sense.found(each) is None and each.texts]
    for first in range(0, len(with_part), AT_ONCE):
        places = with_part[first : first + AT_ONCE]
        for at, said in zip(places, told([questions[at] for at in places]), strict=True):
            found[at] = said if questions[at].texts else replace(said, lacking=("text",))
    for at, text in zip(alone, manner.mended([questions[at].texts[0] for at in alone]), strict=True):
        found[at] = Prediction(Text(text), ALONE, lacking=(sense.column,))
    return found
