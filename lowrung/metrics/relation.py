"""Relations as the scorer of SemEval-2010 task 8 counts them (Hendrickx et al. 2010): F1 of each relation, one that is
right but the wrong way round counting as a mistake of it, and their mean without the label that says «no relation»."""

import re
from typing import Any

from lowrung.core.answers import Choice
from lowrung.core.parts import name_as_words
from lowrung.core.task import Counts, Example, Metric
from lowrung.metrics import choice
from lowrung.metrics.counting import f1, ratio

# what the names, or the meanings, of labels that say «no relation» are, case aside
NOTHING = frozenset({"other", "no relation", "none", "na", "unrelated"})
DIRECTION = re.compile(r"\((e1,e2|e2,e1)\)$")


def count(example: Example[Choice], answer: Choice | None) -> Counts:
    """("tp"|"fp"|"fn", relation) events, direction aside in the name; none of the label for «no relation»."""
    if not example.golds:
        return {}
    gold, said = example.golds[0].option, answer.option if answer else None
    events: dict[tuple[str, str], float] = {}
    if not _nothing(example, gold):
        events["tp" if said == gold else "fn", relation(gold)] = 1.0
    if said is not None and said != gold and not _nothing(example, said):
        events["fp", relation(said)] = 1.0
    return events


def relation(label: str) -> str:
    """`Cause-Effect(e1,e2)` → `Cause-Effect`; a label without a direction is its own."""
    return DIRECTION.sub("", label)


def _nothing(example: Example[Any], label: str) -> bool:
    asked = example.question
    meaning = dict(zip(asked.options, asked.words_for_options, strict=True)).get(label, label)
    return not NOTHING.isdisjoint(each.casefold() for each in (name_as_words(label), meaning))


def _macro_f1(counts: Counts) -> Any:
    """The mean F1 of the relations that occur as gold or as answer."""
    scores, present = 0.0, 0.0
    for name in sorted({event[1] for event in counts}):
        hit, wrong, missed = (counts.get((kind, name), 0.0) for kind in ("tp", "fp", "fn"))
        scores = scores + f1(hit, wrong, missed)
        present = present + (hit + wrong + missed > 0)
    return ratio(scores, present)


RELATION = (Metric("macro_f1", count, _macro_f1), choice.accuracy, choice.mcc)
