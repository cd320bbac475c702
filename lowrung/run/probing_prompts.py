"""probing_prompts: what a language model or an endpoint can do on the lowest rungs, asked in words.

Each question follows examples of its kind that are answered (CUTE's way, Edman et al. 2024); right is the exact answer,
letter case, quotes and a full stop aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from lowrung.core.answers import Text
from lowrung.core.errors import LowrungError
from lowrung.core.model import Model
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.data.letter_items import KINDS, items, sides
from lowrung.data.text_items import ROWS, in_words, language, prompted, row_in_words, sources, text_kinds
from lowrung.run.audit import wilson
from lowrung.run.probing_found import Probed, Probing

if TYPE_CHECKING:
    from lowrung.models.endpoint import Terms

ASKED = 100  # questions a kind
SHOTS = 4
SPARE, LEAST = 3, 200  # words in hand for each one asked, and at least: not every word allows every kind

Pair = tuple[str, str]  # a question and its answer


def asks_in_words(model: str) -> bool:
    """Whether a model's name is that of an endpoint or of a language model."""
    from lowrung.models.language_model import is_writer
    from lowrung.models.remote import is_remote
    from lowrung.run.ship import shipped_folder

    return is_remote(model) or (shipped_folder(model) is None and is_writer(model))


def told_model(model: str, terms: Terms | None = None) -> Model[Text]:
    """The endpoint or language model of that name, which answers in free words.

    Raises:
        ModelError: the address is none, or the model cannot be loaded.
    """
    from lowrung.models.endpoint import Terms
    from lowrung.models.language_model import language_model
    from lowrung.models.remote import Remote, address, is_remote
    from lowrung.models.writer import TextWriter

    if is_remote(model):
        return Remote(*address(model), Text, terms=terms or Terms())
    return TextWriter(language_model(model), Text, name=model)


def probe_in_words(
    name: str,
    model: Model[Text],
    words: Sequence[str],
    *,
    tongue: str,
    rows: int,
    seed: int,
    watch: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Probing:
    """Every kind of item, `rows` questions each.

    Args:
        words: the list that items are made of. tongue: of the prompts.

    Raises:
        DataError: there are too few words for `rows`, or no prompts in this language.
        LowrungError: what asking raises.
    """
    told, random = language(tongue), Random(f"{seed} words")
    numbers = (LEAST, max(SPARE * rows, LEAST))
    shown, tested = sides(words, numbers, random)
    made: dict[str, tuple[list[Pair], list[Pair]]] = {}
    for kind in KINDS:
        made[kind.name] = tuple(  # type: ignore[assignment]
            [in_words(kind.name, each, told) for each in items(kind, side, random)] for side in (shown, tested)
        )
    for kind in text_kinds(tongue):
        lists = sources(kind.name, tongue, numbers, random)
        made[kind.name] = tuple(  # type: ignore[assignment]
            [in_words(kind.name, each, told) for each in items(kind, side, random)] for side in lists
        )
    for row in ROWS:
        made[row] = tuple(  # type: ignore[assignment]
            [row_in_words(row, side, random, told) for _ in range(number)]
            for side, number in ((shown, LEAST), (tested, rows))
        )
    metrics = {}
    for number, (kind_name, (shots, asked)) in enumerate(made.items()):
        watch(kind_name, number, len(made))
        metrics[kind_name] = asked_of(model, shots, asked[:rows], tongue, random)
    return Probing(name, 0, metrics, SHOTS, getattr(model, "bill", None))


def asked_of(
    model: Model[Text], shots: Sequence[Pair], asked: Sequence[Pair], tongue: str, random: Random | None = None
) -> Probed:
    """The share of exact answers; each question follows `SHOTS` of the answered ones, drawn anew, or all in order."""
    told, questions = language(tongue), [one for one, _ in asked]
    before = [random.sample(list(shots), SHOTS) if random else list(shots) for _ in asked]
    said = (_written if hasattr(model, "fitting") else _told)(model, before, questions, told)
    right = [plainly(one, told) == plainly(answer, told) for one, (_, answer) in zip(said, asked, strict=True)]
    return Probed(wilson(right, np.arange(len(right))), commonest(answer for _, answer in asked), len(right), "prompt")


def _told(model: Model[Text], shots: Sequence[Sequence[Pair]], asked: Sequence[str], told: Any) -> list[str]:
    """What an endpoint says, of answered questions and the one that is asked in one text."""
    texts = [prompted(before, one, told) for before, one in zip(shots, asked, strict=True)]
    said = model.answer([Question((text,), instruction=told["instruction"]) for text in texts])
    return [each.answer.text if each.answer else "" for each in said]


def _written(model: Any, shots: Sequence[Sequence[Pair]], asked: Sequence[str], told: Any) -> list[str]:
    """What a TextWriter writes after answered questions in its own form, as many of them as fit.

    In one text they would seem to ask for an answer as long as all of them, for which a small model has no room.
    """
    from lowrung.models.writer import ROOM

    questions = [Question((one,), instruction=told["instruction"]) for one in asked]
    prompts = []
    for before, question in zip(shots, questions, strict=True):
        shown = tuple(Example(replace(question, given=(one,)), (Text(answer),)) for one, answer in before)
        prompts.append(replace(model, shots=shown).fitting(question))
    most = [2 * len(model.base.pieces(one)) + ROOM if prompt else 0 for one, prompt in zip(asked, prompts, strict=True)]
    return [each.text for each in model.write(prompts, most)]


def plainly(said: str, told: Any) -> str:
    """The first line that says something, without quotes, a full stop, or the word «answer» before it; lower case."""
    lines = [line for line in said.strip().splitlines() if line.strip()]
    first = lines[0].strip().removeprefix(told["answer"].strip()).strip() if lines else ""
    return " ".join(first.strip("\"'“”«»`").rstrip(".").strip("\"'“”«»`").casefold().split())


def commonest(answers: Iterable[str]) -> float:
    """The share of the commonest answer.

    Raises:
        LowrungError: there is none.
    """
    counts = Counter(answers)
    if not counts:
        raise LowrungError("no question could be made; ask for more rows")
    return counts.most_common(1)[0][1] / counts.total()
