"""A language model as a Model: a question in words; an answer scored, written, or marked in a copy of the text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from lowrung.core.answers import Answer, Choice, Choices, Prediction, Span, Spans, Text, parse, write
from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Example, Task
from lowrung.data.names import sentence_ends
from lowrung.models.grammar import copying, listing, of_check
from lowrung.models.language_model import Continued, LanguageModel, Pair, Written, language_model
from lowrung.models.text import Source
from lowrung.models.tuning import How, describe, described
from lowrung.models.wording import SCHEMA, WORDING, given, instructed, plain, room

SHAPES: Mapping[str, type[Any]] = {each.__name__: each for each in (Text, Choice, Choices, Spans)}
KIND, WEIGHTS = "text-writer", "model.safetensors"
ROOM = 32  # pieces that an answer may have beside its words
MARK = 8  # pieces a word of the text that marks may take, at most
ASKED, ANSWERED = "Text: ", "Answer:"  # around a text, for models that know no turns


@dataclass(frozen=True)
class TextWriter:
    """A Model. A Choice is the option that is likeliest as the answer, of all that the question has; Choices are some
    of these, one a line; Spans are marks in a copy of the text, and nothing else can be written; a Text is written, the
    likeliest piece first, and where it is to fit a JSON schema that a grammar can hold, nothing else can be. What
    cannot be read, or came to no end, is no answer. The confidence is the probability of the answer's words; of a
    Choice, its share among all options.

    Args:
        base: the language model. about: what is to be done, for questions without an instruction.
        shots: examples that are shown in the prompt, as many of the first ones as fit.
        how: how much of the model was moved, None where it is untouched.
        beams: of what is written.
    """

    base: LanguageModel
    answer_shape: type[Any] = Choice
    about: str = ""
    shots: tuple[Example[Any], ...] = ()
    how: How | None = None
    beams: int = 1
    name: str = "writer"

    @property
    def source(self) -> Source:
        return self.base.source

    @property
    def ends(self) -> bool:
        """Whether an answer is expected to come to an end of its own, as models do that were taught to answer."""
        return bool(self.base.ends) and (self.base.chats or self.base.twofold or self.how is not None)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        """One prediction a question, in order.

        Raises:
            ModelError: a question gives no text, or spans are asked for and llguidance is not installed.
        """
        for each in questions:
            if not each.texts:
                raise ModelError(f"{self.source.name} is asked about texts, and a question gives none")
        if self.answer_shape is Choice:
            return [_chosen(each, row, self.ends) for each, row in zip(questions, self.scores(questions), strict=True)]
        if self.answer_shape is Choices:
            return self._listed(questions)
        return self._marked(questions) if self.answer_shape is Spans else self._written(questions)

    def scores(self, questions: Sequence[Question]) -> list[list[Continued]]:
        """How likely each option is as the answer, as the sum of its pieces' log-probabilities, and their number.

        -> B times K; none where the prompt cannot be made to fit.
        """
        prompts = [self.fitting(each) for each in questions]
        options = [
            [self.said(option) for option in each.options] if prompt else []
            for each, prompt in zip(questions, prompts, strict=True)
        ]
        return self.option_scores(prompts, options, ended=self.ends)

    def option_scores(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]], *, ended: bool = False
    ) -> list[list[Continued]]:
        """As models.language_model.LanguageModel.option_scores, for prompts of one's own."""
        return self.base.option_scores(prompts, options, ended=ended)

    def write(
        self, prompts: Sequence[str], most: int | Sequence[int] = 64, grammars: Sequence[str] = ()
    ) -> list[Written]:
        """As models.language_model.LanguageModel.write, for prompts of one's own; `most` may be one number for all."""
        each = [most] * len(prompts) if isinstance(most, int) else most
        return self.base.write(prompts, each, grammars, beams=self.beams)

    def prompt(self, question: Question, shots: int | None = None) -> str:
        """The question in words, after so many of the examples (None: all)."""
        told = plain(instructed(question, self.answer_shape, self.about))
        shown = self.shots if shots is None else self.shots[:shots]
        turns = []
        for each in shown:
            asked, right = each.question, plain(write(each.golds[0], each.question))
            own = plain(instructed(asked, self.answer_shape, self.about))
            turns.append((plain(given(asked)) if own == told else f"{own}\n\n{plain(given(asked))}", right))
        if self.base.chats:
            talk = [("system", told)]
            for asked_text, right in turns:
                talk += [("user", asked_text), ("assistant", right)]
            return self.base.chat([*talk, ("user", plain(given(question)))])
        shown_texts = [f"{ASKED}{asked_text}\n{ANSWERED} {right}" for asked_text, right in turns]
        return "\n\n".join([told, *shown_texts, f"{ASKED}{plain(given(question))}\n{ANSWERED}"])

    def said(self, text: str) -> str:
        """An answer as it follows the prompt."""
        return plain(text) if self.base.chats or self.base.twofold else f" {plain(text)}"

    def fitting(self, question: Question) -> str:
        """The prompt with as many examples as fit; of a Choice the end of the text goes where it alone does not.

        -> "" where it cannot be made to fit.
        """
        if not self.base.twofold:
            answers = question.options if self.answer_shape is Choice else (given(question),)
            longest = max((len(self.base.pieces(self.said(each))) for each in answers), default=0)
            room = longest * (1 if self.answer_shape is Choice else 2) + ROOM
        else:
            room = 0
        for shots in range(len(self.shots), -1, -1):
            prompt = self.prompt(question, shots)
            over = len(self.base.pieces(prompt)) + room - self.base.longest
            if over <= 0:
                return prompt
        text = question.text
        while self.answer_shape is Choice and not question.marks and len(text) > 1:
            share = over / max(1, len(self.base.pieces(text)))
            text = text[: max(1, min(len(text) - 1, int(len(text) * (1 - min(share, 0.9)))))]
            parts = tuple(text if part is question.text else part for part in question.given)
            prompt = self.prompt(replace(question, given=parts), 0)
            over = len(self.base.pieces(prompt)) + room - self.base.longest
            if over <= 0:
                return prompt
        return ""

    def pair(self, example: Example[Any]) -> Pair | None:
        """An example to learn from, in pieces: its prompt and its answer with its end; None where it does not fit."""
        prompt = self.fitting(example.question)
        answer = self.said(write(example.golds[0], example.question))
        return self.base.pairs(prompt, [answer], ended=True)[0] if prompt else None

    def _written(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        """A question with a check of a JSON schema is answered by nothing but JSON that fits it, if a grammar can."""
        prompts = [self.fitting(each) for each in questions]
        schemas = [dict(each.checks).get(SCHEMA, "") for each in questions]
        most = [
            room(each, lambda text: len(self.base.pieces(text))) + ROOM if prompt else 0
            for each, prompt in zip(questions, prompts, strict=True)
        ]
        grammars = [
            of_check(schema) if schema and prompt else "" for schema, prompt in zip(schemas, prompts, strict=True)
        ]
        written = self.write(prompts, most, grammars if any(grammars) else ())
        made = []
        for question, grammar, found in zip(questions, grammars, written, strict=True):
            text, whole = found.text, found.whole
            if (
                not self.ends and not grammar and "\n" not in question.text.strip()
            ):  # it goes on with a text of its own making
                text, broken, _ = text.lstrip("\n").partition("\n")
                whole = whole or bool(broken)
            made.append(self._read(text if whole else "", question, found))
        return made

    def _listed(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        prompts = [self.fitting(each) for each in questions]
        most = [
            sum(len(self.base.pieces(f"{option}\n")) for option in each.options) + ROOM if prompt else 0
            for each, prompt in zip(questions, prompts, strict=True)
        ]
        grammars = [listing(each) if prompt else "" for each, prompt in zip(questions, prompts, strict=True)]
        written = zip(questions, self.write(prompts, most, grammars), strict=True)
        return [self._read(found.text if found.whole else "", asked, found) for asked, found in written]

    def _marked(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        """Long texts are marked in parts, cut behind sentences."""
        parts = [self._parts(each) for each in questions]
        flat = [part for group in parts for _, part in group]
        prompts = [self.fitting(each) for each in flat]
        pieces = [len(self.base.pieces(each.text)) for each in flat]
        most = [
            MARK * len(each.text.split()) + 4 * number + ROOM if prompt else 0
            for each, number, prompt in zip(flat, pieces, prompts, strict=True)
        ]
        grammars = [copying(each) if prompt else "" for each, prompt in zip(flat, prompts, strict=True)]
        written = self.write(prompts, most, grammars)
        found = iter(
            self._read(each.text if each.whole else "", asked, each) for each, asked in zip(written, flat, strict=True)
        )
        return [_joined([(start, next(found)) for start, _ in group]) for group in parts]

    def _parts(self, question: Question) -> list[tuple[int, Question]]:
        """(where it begins, the question about that part of the text); one where the text fits, or cannot be cut."""
        alone = replace(self, shots=())
        text, ends = question.text, [*sentence_ends(question.text), len(question.text)]
        if question.marks or len(question.given) > 1 or len(ends) == 1 or alone.fitting(question):
            return [(0, question)]
        found, start = list[tuple[int, Question]](), 0
        for at, end in enumerate(ends):
            after = ends[min(at + 1, len(ends) - 1)]
            if end == len(text) or not alone.fitting(replace(question, given=(text[start:after],))):
                found.append((start, replace(question, given=(text[start:end],))))
                start = end
        return found

    def _read(self, said: str, question: Question, found: Written) -> Prediction[Any]:
        whole = question.text == question.text.strip()
        forms = dict.fromkeys((said.strip(),) if whole else (said, said.removeprefix(" ")))
        answers = (parse(self.answer_shape, each, question) for each in forms if each)
        answer: Answer | None = next((each for each in answers if each is not None), None)
        return Prediction(None, 0.0) if answer is None else Prediction(answer, min(1.0, math.exp(found.log)))

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what moved into `folder`; returns the facts that `load_writer` needs besides."""
        if self.how is not None:
            moved = {name: each.detach().contiguous() for name, each in moving(self.base).items()}
            save_file(moved, folder / WEIGHTS)
        return {
            "kind": KIND,
            "name": self.name,
            "body": self.source.name,
            "checksum": self.source.checksum,
            "answer": self.answer_shape.__name__,
            "about": self.about,
            "how": None if self.how is None else describe(self.how),
            "beams": self.beams,
            "wording": WORDING,
            "shots": [_told(each) for each in self.shots],
        }


def writer_for(task: Task[Any], model: str) -> TextWriter:
    """The language model of that name, asked in the words of `task`.

    Raises:
        ModelError: it cannot be loaded, or the task's questions are sounds or pictures.
    """
    if task.media:
        raise ModelError(f"{task.name}: a writer is asked about texts, and this task's rows are {task.media}")
    return TextWriter(language_model(model), task.answer, task.about)


def load_writer(folder: Path, facts: Mapping[str, Any]) -> TextWriter:
    """What `TextWriter.save` wrote.

    Raises:
        ModelError: something is missing or damaged, or the language model's weights are not those it was made on.
    """
    from lowrung.models.tuned_writer import loosened_model

    try:
        base, shape = language_model(facts["body"]), SHAPES[facts["answer"]]
        if base.source.checksum != facts["checksum"]:
            raise ModelError(f"{folder}: was made on other weights of {facts['body']} than the ones found here")
        how = None if facts["how"] is None else described(facts["how"])
        if how is not None:
            base = loosened_model(base, how)
            stored, moved = load_file(folder / WEIGHTS), moving(base)
            if stored.keys() != moved.keys():
                raise ModelError(f"{folder}: {WEIGHTS} does not hold what {how} moves")
            for name, each in moved.items():
                each.data.copy_(stored[name])
            base.model.requires_grad_(False)
            for each in moved.values():
                each.requires_grad_(True)
        shots = tuple(_shown(each, shape) for each in facts["shots"])
        return TextWriter(base, shape, facts["about"], shots, how, facts["beams"], facts["name"])
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as problem:
        told = " ".join(str(problem).split())
        raise ModelError(f"{folder}: not a whole model folder ({type(problem).__name__}: {told})") from problem


def moving(base: LanguageModel) -> dict[str, Tensor]:
    """Name → the weights of a model of one's own that may move."""
    return {name: each for name, each in base.model.named_parameters() if each.requires_grad}


def _chosen(question: Question, scores: Sequence[Continued], ends: bool) -> Prediction[Any]:
    """The likeliest option; by the mean of its pieces where answers have no end, or short options would win."""
    if not scores:
        return Prediction(None, 0.0)
    logs = np.array([each.log if ends else each.log / max(1, each.pieces) for each in scores])
    shares = np.exp(logs - logs.max())
    shares /= shares.sum()
    order = np.argsort(-shares, kind="stable")
    ranked = [(Choice(question.options[at]), min(1.0, float(shares[at]))) for at in order]
    return Prediction(*ranked[0], others=tuple(ranked[1:]))


def _joined(parts: Sequence[tuple[int, Prediction[Any]]]) -> Prediction[Any]:
    """Spans of the parts of a text, where they lie in the whole; no answer where a part has none."""
    spans = list[Span]()
    for start, each in parts:
        if each.answer is None:
            return Prediction(None, 0.0)
        spans += [Span(start + span.start, start + span.end, span.label) for span in each.answer.spans]
    return Prediction(Spans(tuple(spans)), math.prod(each.confidence for _, each in parts))


def _told(example: Example[Any]) -> dict[str, Any]:
    """An example as JSON; `_shown` reads it back."""
    asked = example.question
    return {
        "given": list(asked.texts),
        "instruction": asked.instruction,
        "options": list(asked.options),
        "meanings": list(asked.meanings),
        "marks": [[each.start, each.end, each.label] for each in asked.marks],
        "answer": write(example.golds[0], asked),
    }


def _shown(told: Mapping[str, Any], shape: type[Any]) -> Example[Any]:
    marks = tuple(Span(*each) for each in told["marks"])
    options, meanings = tuple(told["options"]), tuple(told["meanings"])
    asked = Question(tuple(told["given"]), told["instruction"], options, meanings, marks)
    answer = parse(shape, told["answer"], asked)
    if answer is None:
        raise ValueError(f"an example's answer cannot be read: {told['answer']!r:.80}")
    return Example(asked, (answer,))
