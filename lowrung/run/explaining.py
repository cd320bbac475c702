"""explain: which words and letters moved an answer, what would have changed it, and which rows are most like it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from lowrung.core.answers import Answer, Choice, Choices, Prediction, Span, Spans, Text
from lowrung.core.edits import Edit, Mend, apply
from lowrung.core.errors import DataError, LowrungError, ModelError, unknown
from lowrung.core.model import Model
from lowrung.core.parts import Heard, Question
from lowrung.core.task import Example, Row, labels_of
from lowrung.core.words import words
from lowrung.data.swaps import edited
from lowrung.run.cells import answer_json
from lowrung.run.counterfactuals import MOST, Counterfactual, Flips, Held, counterfactuals_of
from lowrung.run.nearest import Near, nearest_of
from lowrung.run.ship import Shipped, fingerprint

BY = ("ig", "occlusion")  # integrated gradients; each word left out in turn
GROUPS = 256  # of words, that are left out in turn; a longer text is left out several words at a time
HIDDEN = "…"  # stands for a word that the question or the answer marks, which cannot be left out

Share: TypeAlias = tuple[int, int, float]  # characters start..end, and what they add


@dataclass(frozen=True, slots=True)
class Cause:
    """What moved one answer: a Choice, one span, or one mend. Places count in the question's texts, a line each.

    Args:
        what: an option, «[Ada](PER)», «recieve → receive».
        start, end: where the span or the mend lies; 0, 0 of a Choice.
        value: its score, by ig the logarithm of its odds, by occlusion the model's confidence in it.
        baseline: by ig the score of a text that says nothing; None by occlusion.
        words: what each word adds: by ig the sum over its pieces and letters, by occlusion the confidence that is lost
            where it is left out; of a mend, of the words around it.
        letters: the same of letters: of bodies that read letters by ig, and of the words that are mended.
        gap: by ig what the words miss of value - baseline; 0 by occlusion.
    """

    what: str
    start: int
    end: int
    value: float
    baseline: float | None
    words: tuple[Share, ...]
    letters: tuple[Share, ...] = ()
    gap: float = 0.0


@dataclass(frozen=True)
class Explanation:
    """What `explain` found; `text` is all texts of the question, a line each.

    Args:
        said: the model's answer to the question as it stands.
        causes: one for a Choice, one a span or mend.
        asked: how many questions the model was asked for it.
        notes: what the reader should know, a sentence each.
    """

    task: str
    model: str
    by: str
    text: str
    question: Question
    said: Prediction[Any]
    causes: tuple[Cause, ...]
    counterfactuals: tuple[Counterfactual, ...] = ()
    nearest: tuple[Near, ...] = ()
    asked: int = 0
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON; rows are counted from 1."""
        return {
            "task": self.task,
            "model": self.model,
            "by": self.by,
            "unit": "logits" if self.by == "ig" else "confidence",
            "text": self.text,
            "answer": answer_json(self.said.answer),
            "confidence": self.said.confidence,
            "causes": [
                {
                    "what": each.what,
                    "start": each.start,
                    "end": each.end,
                    "value": each.value,
                    "baseline": each.baseline,
                    "gap": each.gap,
                    "words": [self._share(share) for share in each.words],
                    "letters": [self._share(share) for share in each.letters],
                }
                for each in self.causes
            ],
            "counterfactuals": [each.to_json() for each in self.counterfactuals],
            "nearest": [each.to_json() for each in self.nearest],
            "asked": self.asked,
            "notes": list(self.notes),
        }

    def _share(self, share: Share) -> dict[str, Any]:
        start, end, weight = share
        return {"text": self.text[start:end], "start": start, "end": end, "weight": weight}


class Target(NamedTuple):
    """What is explained: its name, its place, and how sure an answer is of it after some edits, in [0, 1]."""

    what: str
    span: Span | None
    held: Held


@dataclass
class Asked:
    """A model, asked about a question with edits; counts how often."""

    model: Model[Any]
    example: Example[Any]
    number: int = 0

    def __call__(self, edits: Sequence[Sequence[Edit]]) -> list[tuple[Example[Any], Prediction[Any]]]:
        """The edited example and the answer to it, for each set of edits; all are asked together."""
        made = [edited(self.example, each) for each in edits]
        self.number += len(made)
        said = self.model.answer([each.question for each in made]) if made else ()
        return list(zip(made, said, strict=True))


def explain(
    shipped: Shipped,
    given: str | Row,
    *,
    by: str = "",
    target: str = "",
    rows: Sequence[Row] = (),
    nearest: int = 5,
    counterfactuals: int = 3,
    most: int = MOST,
    seed: int = 0,
) -> Explanation:
    """Say what in `given` moved the model's answer.

    Args:
        given: a text, or a row of the task.
        by: "ig" (integrated gradients, networks only) or "occlusion"; "" for ig where the model has gradients and the
            question no marks.
        target: another option to explain than the one that is answered; of spans, the label of those that are.
        rows: rows to find the most similar ones in, and words to try; those that the model learnt from say most.
        nearest: how many similar rows are told.
        counterfactuals: how many small changes that change the answer are looked for; 0 for none.
        most: questions that this search may ask.
        seed: of the names that it draws.

    Raises:
        LowrungError: an unknown `by` or `target`, or captum is not installed.
        DataError: the row cannot be read, or has no text.
        ModelError: the task is of sound or pictures alone, or the model gives no answer, none that can be explained,
            or has no gradients.
    """
    if by and by not in BY:
        raise LowrungError(unknown("by", by, BY))
    task = shipped.task
    if task.media:
        told = {"audio": "sound", "image": "pictures"}[task.media]
        raise ModelError(f"explain reads texts; {task.name} is asked about {told}, which it does not explain")
    model, question, notes = _read(shipped.model, shipped.question(given))
    if not any(text.strip() for text in question.texts):
        raise DataError("there is no text to explain an answer by")
    (said,) = model.answer([question])
    if said.answer is None:
        raise ModelError(f"{model.name} has no answer to this text, so that there is none to explain")
    text = question.whole
    targets, answer = _targets(question, text, said, target)
    if isinstance(said.answer, Text) and not targets:
        if said.answer.text != question.text:
            raise ModelError(f"{model.name} says a text and no edits that make it, which cannot be explained")
        notes.append("Nothing is mended, so that there is no mend to explain.")
    if isinstance(said.answer, Spans | Choices) and not targets:
        notes.append("The answer is that there is none, which no word by itself speaks for.")
    asked = Asked(model, Example(question, () if isinstance(answer, Text) else (answer,)), 1)
    able = isinstance(said.answer, Choice | Spans) and _has_gradients(model)
    # what is marked is judged by where it stands as well, which only leaving words out changes
    way = by or ("ig" if able and not question.marks else "occlusion")
    if way == "ig" and not able:
        raise ModelError(f"{model.name} has no gradients to integrate; explain it by occlusion")
    if way == "ig":
        causes = tuple(_by_gradients(model, question, text, said.answer, each) for each in targets)
        notes += _left_alone(question, said.answer) if causes else ()
    else:
        causes = tuple(_by_occlusion(asked, text, said, targets, notes))
    found: tuple[Counterfactual, ...] = ()
    if counterfactuals and (targets or not isinstance(said.answer, Text)):
        found = counterfactuals_of(
            asked,
            text,
            said,
            sure=lambda edits, after, then: min(
                (each.held(edits, after, then) for each in targets), default=then.confidence
            ),
            flips=_flips(said, answer, targets),
            toward=isinstance(answer, Choice) and answer != said.answer,
            order=_order(causes, text),
            fixed=[each.span for each in targets if each.span] if isinstance(said.answer, Text) else [],
            rows=[task.example(row) for row in rows] if rows else (),
            wanted=counterfactuals,
            most=most,
            seed=seed,
        )
        if not found:
            notes.append(f"No small change that changes the answer was found in {asked.number:,} questions.")
    near: tuple[Near, ...] = ()
    if rows and nearest:
        examples = [task.example(row) for row in rows]
        near = nearest_of(model, question, examples, nearest)
        notes += _whose(shipped, examples)
    return Explanation(
        task.name, model.name, way, text, question, said, causes, found, near, asked.number, tuple(notes)
    )


def _read(model: Any, question: Question) -> tuple[Any, Question, list[str]]:
    """The model that reads the words of a cascade, and the question with what was heard in place."""
    from lowrung.models.cascade import Cascade, with_words

    notes = list[str]()
    if question.kinds - {"text"}:
        notes.append("Sounds and pictures are left as they are; only words are explained.")
    if not isinstance(model, Cascade):
        return model, question, notes
    (heard,) = with_words([question], model.ears)
    if any(isinstance(part, Heard) for part in heard.given):
        notes.append("Words that were heard or read are explained like those that the row gives.")
    return model.inner, heard, notes


def _has_gradients(model: Model[Any]) -> bool:
    from lowrung.models.gradients import able

    return able(model)


def _whose(shipped: Shipped, examples: Sequence[Example[Any]]) -> Iterable[str]:
    """Whether the rows are those that the model learnt from."""
    learnt = shipped.facts.get("fingerprint")
    labelled = [each for each in examples if each.golds]
    if not learnt or not shipped.facts.get("rows"):
        yield "The model learnt from no rows; the similar ones are only similar."
    elif learnt != fingerprint(labelled):
        yield "These are other rows than those the model learnt from."


# --- what is explained


def _targets(question: Question, text: str, said: Prediction[Any], target: str) -> tuple[list[Target], Answer]:
    """What to explain, and the answer that goes along with edits."""
    answer: Answer = said.answer  # type: ignore[assignment]
    if isinstance(answer, Choice | Choices):
        options = question.options or tuple(option for each, _ in said.others for option in labels_of(each))
        if target and target not in (*options, *labels_of(answer)):
            raise LowrungError(unknown("target", target, options or labels_of(answer)))
    if isinstance(answer, Choices):
        several = (target,) if target else answer.options
        return [Target(option, None, _share_of_choices(option)) for option in several], answer
    if isinstance(answer, Choice):
        chosen = Choice(target or answer.option)
        return [Target(chosen.option, None, _share_of_choice)], chosen
    if isinstance(answer, Spans):
        labels = tuple(dict.fromkeys(span.label for span in answer.spans))
        if target and target not in (*question.options, *labels):
            raise LowrungError(unknown("target", target, question.options or labels))
        if target and target not in labels:
            raise ModelError(f"no {target} was found in this text, so that there is none to explain")
        chosen_spans = [(at, each) for at, each in enumerate(answer.spans) if target in ("", each.label)]
        return [Target(_marked(text, each), each, _share_of_span(at)) for at, each in chosen_spans], answer
    if target:
        raise LowrungError(f"--target names an option or a label; this model answers with a text, not with {target!r}")
    mends = [each for each in said.mends if each.end > each.start]
    return [
        Target(f"{text[each.start : each.end]} → {each.text}", Span(each.start, each.end), _share_of_mend(text, each))
        for each in mends
    ], answer


def _marked(text: str, span: Span) -> str:
    return f"[{text[span.start : span.end]}]" + (f"({span.label})" if span.label else "")


def _share_of_choice(edits: Sequence[Edit], after: Example[Any], said: Prediction[Any]) -> float:
    ranked = ((said.answer, said.confidence), *said.others)
    return next((share for each, share in ranked if each == after.golds[0]), 0.0)


def _share_of_choices(option: str) -> Held:
    """Of a model that ranks no options, how sure it is of an answer that has this one."""

    def held(edits: Sequence[Edit], after: Example[Any], said: Prediction[Any]) -> float:
        if not said.others:
            return said.confidence if said.answer and option in labels_of(said.answer) else 0.0
        return next((share for each, share in said.others if labels_of(each) == (option,)), 0.0)

    return held


def _share_of_span(at: int) -> Held:
    """The confidence of an answer that still has the span, 0 of one that has it not."""

    def held(edits: Sequence[Edit], after: Example[Any], said: Prediction[Any]) -> float:
        return said.confidence if said.answer and after.golds[0].spans[at] in said.answer.spans else 0.0

    return held


def _share_of_mend(text: str, mend: Mend) -> Held:
    """How sure it is that the mended text stands where the mend lies: 1 where it does without being mended."""

    def held(edits: Sequence[Edit], after: Example[Any], said: Prediction[Any]) -> float:
        spans = apply(text, edits, Spans((Span(mend.start, mend.end),)))[1].spans
        if not spans:
            return 0.0
        start, end = spans[0].start, spans[0].end
        made = next((each for each in said.mends if each.start < end and start < each.end), None)
        if made is None:
            return float(after.question.text[start:end] == mend.text)
        if (made.start, made.end) != (start, end):
            return 0.0
        return next((share for each, share in ((made.text, made.confidence), *made.others) if each == mend.text), 0.0)

    return held


def _flips(said: Prediction[Any], answer: Answer, targets: Sequence[Target]) -> Flips:
    """Whether an answer is another: of a Choice that is not what the model says, whether it is that one at last."""
    if isinstance(answer, Text):
        return lambda edits, after, then: any(each.held(edits, after, then) < 0.5 for each in targets)
    if isinstance(answer, Choice) and answer != said.answer:
        return lambda edits, after, then: then.answer == after.golds[0]
    return lambda edits, after, then: then.answer != after.golds[0]


# --- what moved it


def _by_gradients(model: Model[Any], question: Question, text: str, answer: Answer, target: Target) -> Cause:
    from lowrung.models.gradients import attributed

    found = attributed(model, question, answer, target.span or Choice(target.what))
    spots = words(text)
    starts, sums = [start for start, _ in spots], defaultdict[int, float](float)
    for start, _, share in (*found.pieces, *found.letters):
        sums[max(0, bisect_right(starts, start) - 1)] += share
    shares = tuple((*spot, sums[at]) for at, spot in enumerate(spots))
    start, end = (target.span.start, target.span.end) if target.span else (0, 0)
    return Cause(target.what, start, end, found.value, found.baseline, shares, found.letters, found.gap)


def _by_occlusion(
    asked: Asked, text: str, said: Prediction[Any], targets: Sequence[Target], notes: list[str]
) -> Iterable[Cause]:
    """Each word left out in turn, or hidden where it is marked; each letter of a word that is mended."""
    spots = words(text)
    size = -(-len(spots) // GROUPS)
    groups = [spots[at : at + size] for at in range(0, len(spots), size or 1)]
    if size > 1:
        notes.append(f"The text is long: words are left out {size} at a time.")
    spans = [span for gold in asked.example.golds if isinstance(gold, Spans) for span in gold.spans]
    fixed = [*asked.example.question.marks, *spans]
    sets: list[list[Edit]] = [[_without(text, spot, fixed, alone=len(spots) == 1) for spot in each] for each in groups]
    places = [(group[0][0], group[-1][1]) for group in groups]
    mended = [each.span for each in targets if each.span] if isinstance(said.answer, Text) else []
    letters = [at for span in mended for at in range(span.start, span.end)]
    sets += [[Edit(at, at + 1, "")] for at in letters]
    answers = asked(sets) if targets else []
    for target in targets:
        value = target.held((), asked.example, said)
        lost = [value - target.held(each, *answer) for each, answer in zip(sets, answers, strict=True)]
        own = target.span if mended else None
        shares = [
            (*place, share)
            for place, share in zip(places, lost, strict=False)
            if own is None or place[1] <= own.start or own.end <= place[0]
        ]
        inner = [
            (at, at + 1, share)
            for at, share in zip(letters, lost[len(places) :], strict=True)
            if own and own.start <= at < own.end
        ]
        start, end = (target.span.start, target.span.end) if target.span else (0, 0)
        yield Cause(target.what, start, end, value, None, tuple(shares), tuple(inner))


def _without(text: str, spot: tuple[int, int], fixed: Iterable[Span], *, alone: bool = False) -> Edit:
    start, end = spot
    if alone or any(each.start < end and start < each.end for each in fixed):
        return Edit(start, end, HIDDEN)
    return Edit(start, end + 1 if text[end : end + 1] == " " else end, "")


def _left_alone(question: Question, answer: Answer) -> Iterable[str]:
    """What counts besides and is no part of what integrated gradients explain."""
    if question.marks:
        yield "Where the marks stand counts besides; it is a part of the baseline, and occlusion changes it."
    if isinstance(answer, Spans):
        yield "Capitals, digits and signs may count besides; they are a part of the baseline."


def _order(causes: Sequence[Cause], text: str) -> list[tuple[int, int]]:
    """The words of the text, those first that speak most for what is explained."""
    most = defaultdict[int, float](float)
    for cause in causes:
        for start, _, share in cause.words:
            most[start] = max(most[start], share)
    return sorted(words(text), key=lambda spot: -most[spot[0]])
