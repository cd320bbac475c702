"""What a user asks of a corrector besides: words and patterns to leave alone, words of one's own, a budget of harm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrung.core.errors import LowrungError

if TYPE_CHECKING:
    from lowrung.models.corrector import Corrector


@dataclass(frozen=True, slots=True)
class Wishes:
    """Nothing by default.

    Args:
        protect: plain words (whole, case aside) and regular expressions that are left alone.
        lexicon: a file of words, one a line, with or without a count behind a tab: never touched, gladly offered.
        budget: the share of right words that may be mended, in [0, 1].
    """

    protect: tuple[str, ...] = ()
    lexicon: str | Path = ""
    budget: float | None = None

    def __bool__(self) -> bool:
        return bool(self.protect or self.lexicon or self.budget is not None)


def asked(model: Any, wishes: Wishes) -> Corrector:
    """The corrector with what is protected and with the words, the budget aside.

    Raises:
        LowrungError: the model is no corrector, or a pattern is no regular expression.
        DataError: the file of words cannot be read.
    """
    from lowrung.models.corrector import Corrector
    from lowrung.models.lexicon import Lexicon
    from lowrung.models.protection import Protection

    if not isinstance(model, Corrector):
        name = getattr(model, "name", type(model).__name__)
        raise LowrungError(f"{name} is no corrector that can be told to protect words or to keep to a budget")
    patterns = (*model.protect, *wishes.protect)
    Protection(patterns)
    made = replace(model, protect=patterns)
    return made.with_words(Lexicon.load(wishes.lexicon).counts) if wishes.lexicon else made


def granted(model: Any, wishes: Wishes) -> tuple[Any, str]:
    """The model as it is wished for, and a line that says what the budget comes to, "" without one.

    Raises:
        LowrungError: as `asked` does, or the corrector was never measured on clean text.
        DataError: as `asked` does.
    """
    if not wishes:
        return model, ""
    made = asked(model, wishes)
    if wishes.budget is None:
        return made, ""
    if not made.curve:
        raise LowrungError("this corrector was never measured on clean text, which a budget needs; fit it again")
    made, share = made.within(wishes.budget)
    return made, f"budget {wishes.budget:.3%}: mends {share:.3%} of the words of the clean text it was measured on"
