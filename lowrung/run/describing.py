"""A task in words → how it is worded for a model, chosen on unlabelled rows; labels choose again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lowrung.core.answers import A, Choice, Text
from lowrung.core.errors import DataError, LowrungError
from lowrung.core.model import Model
from lowrung.core.parts import Question
from lowrung.core.task import Example, Task
from lowrung.data.describing import Description, Format, formats, language_of, proposals, request
from lowrung.models.zero_shot import Framed, Scored, Wording, at_format, scored, spread, worded

if TYPE_CHECKING:
    from lowrung.run.named import Named

PLAIN = "{text}"
TOLD = 20  # rows that help to tell the language


def described_task(task: Task[Any], description: Description | None) -> Task[Any]:
    """The task in the words of the description, with its options where it has none of its own.

    Raises:
        LowrungError: the task does not choose among labels.
    """
    if description is None:
        return task
    if task.answer is not Choice or not task.labelled or task.marks:
        raise LowrungError(
            f"{task.name}: --describe and --format are for tasks that choose among labels, as topic does"
        )
    return replace(task, about=description.task or task.about).with_options(task.options or description.options)


@dataclass(frozen=True)
class Described:
    """How a described task is worded for a body and for a language model; neither where nothing describes it."""

    wording: Wording | None = None
    writer: Scored | None = None

    @property
    def key(self) -> str:
        """What models depend on that are made with it, "" for nothing."""
        return f" {self.to_json()}" if self.wording or self.writer else ""

    def to_json(self) -> dict[str, Any]:
        """What study.json, lowrung.json and `try --json` say under `formats`."""
        told = self.wording or self.writer
        found = {} if told is None else told.to_json()
        return found | ({"writer": self.writer.to_json()} if self.wording and self.writer else {})


def described_for(
    task: Task[Any], named: Named, body: Any, description: Description | None, questions: Sequence[Question]
) -> Described:
    """How to word `task` for `body` (None: for no body) and for the language model that is named.

    Args:
        questions: unlabelled; golds are never looked at.

    Raises:
        DataError: the task has no options.
        ModelError: an endpoint that is to propose formats cannot be asked.
    """
    if description is None:
        return Described()
    wording = None if body is None else wording_for(task, body, description, questions, named.foreign)
    writer = None if named.writer is None else scored_for(task, named.writer, description, questions)
    return Described(wording, writer)


def wording_for(
    task: Task[Any], body: Any, description: Description, questions: Sequence[Question], foreign: Any = None
) -> Wording:
    """How to word `task` for a body that makes vectors.

    Args:
        questions: unlabelled ones, all of which lowrung may look at; golds are never looked at.
        foreign: a language model or an endpoint, which proposes formats as well.

    Raises:
        DataError: the task has no options.
        ModelError: the endpoint cannot be asked.
    """
    options, meanings, known = _asked(task, description, questions)
    if foreign is not None and description.format is None:
        more = [replace(each, text=PLAIN) for each in proposed(foreign, description, options)]
        known = tuple(dict.fromkeys((*known, *more)))
    one = {each.option: replace(each, text=known[0].text) for each in known}  # a body compares by the right side alone
    return worded(body, options, meanings, description, tuple(one.values()), questions)


def scored_for(task: Task[Any], writer: Any, description: Description, questions: Sequence[Question]) -> Scored:
    """The same for a language model, which proposes formats itself."""
    options, meanings, known = _asked(task, description, questions)
    more = () if description.format else proposed(writer, description, options)
    return scored(writer, options, meanings, description, tuple(dict.fromkeys((*known, *more))), questions)


def proposed(foreign: Any, description: Description, options: Sequence[str]) -> tuple[Format, ...]:
    """The formats that a language model (models.writer) or an endpoint (models.remote) proposes, () for none."""
    told = request(description.task or ", ".join(options), options)
    if hasattr(foreign, "write"):
        reply = foreign.write([told], 200)[0].text
    else:
        answer = foreign.asked_for(Text).answer([Question((told,))])[0].answer
        reply = "" if answer is None else answer.text
    return proposals(reply, language_of([description.task]))


def framed(examples: Sequence[Example[A]], wording: Wording | None) -> Sequence[Example[A]]:
    """The examples with their texts in the wording's template."""
    if wording is None or wording.text == PLAIN:
        return examples
    task = wording.description.task
    return [replace(each, question=at_format(each.question, wording.text, task)) for each in examples]


def in_frame(model: Model[Any], wording: Wording | None) -> Model[Any]:
    """The model, which puts texts in the wording's template first."""
    if wording is None or wording.text == PLAIN:
        return model
    return Framed(model, wording.text, wording.description.task)


def _asked(
    task: Task[Any], description: Description, questions: Sequence[Question]
) -> tuple[tuple[str, ...], list[str], tuple[Format, ...]]:
    if not task.options:
        raise DataError(
            f"task {task.name} needs its labels: --options a,b,c, or behind a colon in --describe, as in "
            '--describe "sort mails by urgency: low, normal, urgent"'
        )
    told = [each.text for each in spread(questions, TOLD)]
    known = (description.format,) if description.format else formats(description.task, told)
    return task.options, [task.meanings.get(option, "") for option in task.options], known
