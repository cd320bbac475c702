"""The floor of every table: the commonest label, character n-grams (Choice, Choices), a CRF on letters (Spans),
and the sentence most like a question (Spans that are extracted).

What a pretrained model adds is what it scores above these; they learn in a second and know no language.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lowrung.core.answers import A, Choice, Choices, Prediction, Span, Spans
from lowrung.core.errors import ModelError, unknown
from lowrung.core.parts import Question
from lowrung.core.task import Example, Task, labels_of
from lowrung.core.words import words
from lowrung.data.files import atomic
from lowrung.data.names import sentence_ends

Place: TypeAlias = tuple[int, int]  # start and end of a word, in characters
Floats: TypeAlias = NDArray[np.float32]

ABOUT, NUMBERS, TAGGER = "baseline.json", "baseline.safetensors", "baseline.crfsuite"


@dataclass(frozen=True)
class Majority:
    """The same answer to every question: the commonest label, the labels that most rows have, or no spans.

    Args:
        shares: label → its share of the examples learned from, commonest first; () where answers are Spans.
        empty: the share of the examples without a span; None where answers are no Spans.
        several: whether answers are Choices.
    """

    shares: tuple[tuple[str, float], ...] = ()
    empty: float | None = None
    several: bool = False
    name: str = field(default="majority", init=False)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        """The commonest of the question's options, those that more than half had, or Spans(); None where no option was
        ever seen."""
        if self.empty is not None:
            return [Prediction(Spans(), self.empty)] * len(questions)
        ranked = _marked if self.several else _ranked
        return [ranked(dict(self.shares), question) for question in questions]


@dataclass(frozen=True)
class Longest:
    """The longest of the options that a question brings, the first of several; each is as likely as another."""

    name: str = field(default="longest", init=False)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Choice]]:
        made = []
        for asked in questions:
            best, *others = (Choice(each) for each in sorted(asked.options, key=len, reverse=True))
            share = 1 / len(asked.options)
            made.append(Prediction(best, share, tuple((each, share) for each in others)))
        return made


@dataclass(frozen=True, eq=False)
class Ngrams:
    """TF-IDF of character n-grams and logistic regression: multinomial, or one a label where there may be several;
    classes weigh alike.

    Args:
        labels: (K,) in the order of the rows of `weights`.
        grams: (F,) n-grams, each after "1" for the first text of a question or "2" for the others.
        idf: (F,) inverse document frequencies.
        weights: (K, F).
        bias: (K,).
        several: whether answers are Choices.

    Raises:
        ValueError: the shapes do not agree.
    """

    labels: tuple[str, ...]
    grams: tuple[str, ...]
    idf: Floats
    weights: Floats
    bias: Floats
    several: bool = False
    name: str = field(default="ngrams", init=False)

    def __post_init__(self) -> None:
        shape = (len(self.labels), len(self.grams))
        if self.weights.shape != shape or self.idf.shape != shape[1:] or self.bias.shape != shape[:1]:
            raise ValueError(f"{shape[0]} labels and {shape[1]} n-grams do not go with {self.weights.shape} weights")

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Any]]:
        """One Choice a question among its options (all labels where it has none), None where no option was learned.

        The confidence is the regression's probability, shared out among the question's options.
        """
        if not questions:
            return []
        counted = self._vectors.transform([question.texts for question in questions])  # (N, F), sparse
        logits = np.asarray(counted @ self.weights.T + self.bias, dtype=np.float64)  # (N, K)
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely = 1 / (1 + np.exp(-logits)) if self.several else raised / raised.sum(axis=1, keepdims=True)
        pairs = zip(likely.tolist(), questions, strict=True)
        ranked: Callable[..., Prediction[Any]] = _marked if self.several else _ranked
        return [ranked(dict(zip(self.labels, row, strict=True)), question) for row, question in pairs]

    @cached_property
    def _vectors(self) -> Any:
        vectors = vectorizer({gram: column for column, gram in enumerate(self.grams)})
        vectors.idf_ = self.idf
        return vectors


@dataclass(frozen=True)
class Crf:
    """A linear-chain CRF (Lafferty et al. 2001) over the words of the first text, in IOB2 tags.

    Args:
        labels: the tags are O, and B or I with a number that counts in here.
        body: the file that CRFsuite wrote.
    """

    labels: tuple[str, ...]
    body: bytes
    name: str = field(default="crf", init=False)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Spans]]:
        """The likeliest tags as Spans; labels that are not among a question's options are left out.

        The confidence is the probability of the whole sequence of tags, that is, of the answer being right as a whole.
        """
        import pycrfsuite

        tagger = pycrfsuite.Tagger()  # it keeps a state between calls: one for each call is safe in threads
        tagger.open_inmemory(self.body)
        predictions = []
        for question in questions:
            places = words(question.text)
            if not places:
                predictions.append(Prediction(Spans(), 1.0))
                continue
            tags = tagger.tag(_features(question.text, places))
            likely = min(max(tagger.probability(tags), 0.0), 1.0)
            allowed = question.options or self.labels
            spans = tuple(span for span in _spans(tags, places, self.labels) if span.label in allowed)
            predictions.append(Prediction(Spans(spans), likely))
        return predictions


@dataclass(frozen=True)
class Sentence:
    """The sentence of the first text that has most of the words of the further ones, of several the first."""

    name: str = field(default="sentence", init=False)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Spans]]:
        """One span a question; the confidence is the share of the question's words that the sentence has."""
        return [self._answer(question.text, "\n".join(question.texts[1:])) for question in questions]

    def _answer(self, text: str, asked: str) -> Prediction[Spans]:
        wanted, ends = _forms(asked), [0, *sentence_ends(text), len(text)]
        shares = [len(wanted & _forms(text[start:end])) / max(1, len(wanted)) for start, end in pairwise(ends)]
        at = shares.index(max(shares))
        inside = text[ends[at] : ends[at + 1]]
        start, end = ends[at] + len(inside) - len(inside.lstrip()), ends[at] + len(inside.rstrip())
        return Prediction(Spans((Span(start, end),)) if start < end else Spans(), shares[at])


def _forms(text: str) -> set[str]:
    return {text[start:end].casefold() for start, end in words(text) if text[start].isalnum()}


Baseline: TypeAlias = Longest | Majority | Ngrams | Crf | Sentence


def fit_majority(task: Task[A], examples: Sequence[Example[A]]) -> Majority:
    """Of examples with several golds, the first counts.

    Raises:
        ModelError: the task's answers are Texts, or no example has a gold.
    """
    labelled = _labelled(task, examples, "majority")
    if task.answer is Spans:
        return Majority(empty=sum(not gold.spans for _, gold in labelled) / len(labelled))
    counts = Counter(label for _, gold in labelled for label in labels_of(gold))
    ordered = sorted(counts, key=lambda label: (-counts[label], label))
    shares = tuple((label, counts[label] / len(labelled)) for label in ordered)
    return Majority(shares, several=task.answer is Choices)


def fit_ngrams(task: Task[A], examples: Sequence[Example[A]], *, seed: int) -> Baseline:
    """`Crf` where answers are Spans, else `Ngrams`; `Majority` where there is nothing to tell apart.

    The last is so where all golds are alike, none has a span, or the texts hold no character. Of several golds
    the first counts. Both learners seek the one optimum of a convex loss and draw nothing by chance: `seed` is there
    for a call like any other's and changes no answer.

    Raises:
        ModelError: the task's answers are Texts, or no example has a gold.
    """
    labelled = _labelled(task, examples, "ngrams")
    if task.answer is Spans:
        labels = tuple(sorted({span.label for _, gold in labelled for span in gold.spans}))
        seen = any(words(question.text) for question, gold in labelled if gold.spans)
        return _fit_crf(labelled, labels) if seen else fit_majority(task, examples)
    unlike = len({gold for _, gold in labelled}) > 1
    seen = any(text.strip() for question, _ in labelled for text in question.texts)
    return _fit_regression(labelled, seed) if unlike and seen else fit_majority(task, examples)


def save(model: Baseline, folder: str | Path) -> None:
    """Write the model into `folder` (made where there is none) as JSON, safetensors and CRFsuite's own file."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"kind": model.name}
    if isinstance(model, Majority):
        about |= {"shares": model.shares, "empty": model.empty, "several": model.several}
    elif isinstance(model, Ngrams):
        about |= {"labels": model.labels, "grams": model.grams, "several": model.several}
        with atomic(folder / NUMBERS) as temporary:
            save_file({"idf": model.idf, "weights": model.weights, "bias": model.bias}, temporary)
    elif isinstance(model, Crf):
        about |= {"labels": model.labels, "sha256": hashlib.sha256(model.body).hexdigest()}
        with atomic(folder / TAGGER) as temporary:
            temporary.write_bytes(model.body)
    with atomic(folder / ABOUT) as temporary:
        temporary.write_text(json.dumps(about), encoding="utf-8")


def load_baseline(folder: str | Path) -> Baseline:
    """The model that `save` wrote into `folder`; its answers are the same to the last digit.

    Raises:
        ModelError: a file is missing, damaged or of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        kind = about["kind"]
        if kind == "longest":
            return Longest()
        if kind == "majority":
            shares = tuple((str(label), float(share)) for label, share in about["shares"])
            return Majority(shares, about["empty"], about.get("several", False))
        if kind == "sentence":
            return Sentence()
        if kind == "ngrams":
            numbers: dict[str, Any] = load_file(folder / NUMBERS)
            several = about.get("several", False)
            return Ngrams(tuple(about["labels"]), tuple(about["grams"]), **numbers, several=several)
        if kind == "crf":
            body = (folder / TAGGER).read_bytes()
            # CRFsuite follows the offsets in its file without a look: only what `save` wrote may reach it
            if hashlib.sha256(body).hexdigest() != about["sha256"]:
                raise ValueError(f"{TAGGER} is not the file that was saved")
            return Crf(tuple(about["labels"]), body)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as problem:
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise ModelError(f"{folder}: no baseline can be read there ({reason}). Fit and save it again") from problem
    raise ModelError(f"{folder}: {unknown('baseline', kind, ('majority', 'ngrams', 'crf', 'sentence'))}")


def _labelled(task: Task[A], examples: Sequence[Example[A]], name: str) -> list[tuple[Question, Any]]:
    if task.answer not in (Choice, Choices, Spans):
        raise ModelError(
            f"{name}: task {task.name!r} answers with {task.answer.__name__}; this baseline is for tasks that answer"
            " with Choice, Choices or Spans. Leave it out of the table"
        )
    labelled = [(example.question, example.golds[0]) for example in examples if example.golds]
    if not labelled:
        raise ModelError(
            f"{name}: none of {len(examples)} examples has a right answer to learn from. Give at least 1 with its label"
        )
    return labelled


def _ranked(likely: dict[str, float], question: Question) -> Prediction[Choice]:
    """The options of the question (all labels where it has none) by likelihood, which sums to 1 among them."""
    allowed = {label: likely[label] for label in question.options or likely if label in likely}
    whole = sum(allowed.values())
    if not whole:
        return Prediction(None, 0.0)
    ordered = sorted(allowed, key=lambda label: (-allowed[label], label))
    best, *others = [(Choice(label), min(allowed[label] / whole, 1.0)) for label in ordered]
    return Prediction(*best, tuple(others))


def _marked(likely: dict[str, float], question: Question) -> Prediction[Choices]:
    """Those of the question's options (of all labels where it has none) that are likelier than not."""
    allowed = {label: likely.get(label, 0.0) for label in question.options or likely}
    ordered = sorted(allowed, key=lambda label: (-allowed[label], label))
    sure = np.exp(np.mean([np.log(max(share, 1 - share)) for share in allowed.values()])) if allowed else 1.0
    found = Choices(tuple(label for label in ordered if allowed[label] > 0.5))
    return Prediction(found, min(1.0, float(sure)), tuple((Choices((label,)), allowed[label]) for label in ordered))


def vectorizer(vocabulary: dict[str, int] | None = None) -> Any:
    """TF-IDF vectors of the texts of a question. Of 24 settings of this and of the regression none had a better mean
    accuracy in 5-fold cross-validation on the training rows of TREC and SST-2, with 8, 32 and 128 rows a label."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    grams = TfidfVectorizer(analyzer="char", ngram_range=(1, 5)).build_analyzer()

    def marked(texts: tuple[str, ...]) -> list[str]:
        return [mark + gram for mark, text in zip("12", _two(texts), strict=True) for gram in grams(text)]

    return TfidfVectorizer(analyzer=marked, vocabulary=vocabulary, sublinear_tf=True)


def _two(texts: tuple[str, ...]) -> tuple[str, str]:
    return (texts[0], "\n".join(texts[1:])) if texts else ("", "")


def _fit_regression(labelled: list[tuple[Question, Choice | Choices]], seed: int) -> Ngrams:
    from sklearn.linear_model import LogisticRegression

    vectors = vectorizer()
    counted = vectors.fit_transform([question.texts for question, _ in labelled])  # (N, F), sparse
    regression = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000, random_state=seed)
    labels = tuple(sorted({label for _, gold in labelled for label in labels_of(gold)}))
    several = isinstance(labelled[0][1], Choices)
    if several:
        weights, bias = _one_a_label(regression, counted, [labels_of(gold) for _, gold in labelled], labels)
    else:
        regression.fit(counted, [labels.index(labels_of(gold)[0]) for _, gold in labelled])
        weights, bias = regression.coef_, regression.intercept_
    if (
        len(weights) == 1 and not several
    ):  # two labels: the sigmoid of one row is the softmax of that row and one of zeros
        weights, bias = np.concatenate([0 * weights, weights]), np.concatenate([0 * bias, bias])
    idf, weights, bias = (np.ascontiguousarray(each, dtype=np.float32) for each in (vectors.idf_, weights, bias))
    grams = sorted(vectors.vocabulary_, key=vectors.vocabulary_.__getitem__)
    return Ngrams(labels, tuple(grams), idf, weights, bias, several)


def _one_a_label(
    regression: Any, counted: Any, golds: Sequence[Sequence[str]], labels: Sequence[str]
) -> tuple[Any, Any]:
    """Weights (K, F) and bias (K,); a label that all rows have is always there."""
    weights, bias = np.zeros((len(labels), counted.shape[1])), np.full(len(labels), 10.0)
    for number, label in enumerate(labels):
        having = [label in gold for gold in golds]
        if not all(having):
            regression.fit(counted, having)
            weights[number], bias[number] = regression.coef_[0], regression.intercept_[0]
    return weights, bias


def _fit_crf(labelled: list[tuple[Question, Spans]], labels: tuple[str, ...]) -> Crf:
    import pycrfsuite

    trainer = pycrfsuite.Trainer("lbfgs", verbose=False)
    # the best mean F1 of seven pairs with 50 to 1,000 sentences, held out from the training rows of UNER English-EWT
    trainer.set_params({"c1": 0.1, "c2": 0.01, "max_iterations": 100, "feature.possible_transitions": True})
    numbers = {label: number for number, label in enumerate(labels)}
    for question, gold in labelled:
        places = words(question.text)
        if places:
            trainer.append(_features(question.text, places), _tags(gold.spans, places, numbers))
    with tempfile.TemporaryDirectory() as folder:  # CRFsuite writes to files only
        path = Path(folder) / TAGGER
        trainer.train(str(path))
        return Crf(labels, path.read_bytes())


def _tags(spans: Sequence[Span], places: Sequence[Place], numbers: dict[str, int]) -> list[str]:
    """IOB2 tags of the words: a word that a span covers, wholly or in part, is that span's (the first one's)."""
    tags, rest, begun = [], list(spans), False
    for start, end in places:
        while rest and rest[0].end <= start:
            rest, begun = rest[1:], False
        inside = bool(rest) and rest[0].start < end
        tags.append(f"{'I' if begun else 'B'}{numbers[rest[0].label]}" if inside else "O")
        begun = inside
    return tags


def _spans(tags: Sequence[str], places: Sequence[Place], labels: Sequence[str]) -> list[Span]:
    """The spans of IOB2 tags; an I that continues nothing starts a span, as conlleval reads it."""
    found: list[Span] = []
    before = "O"
    for tag, (start, end) in zip(tags, places, strict=True):
        if tag[0] == "I" and before[1:] == tag[1:]:
            found[-1] = Span(found[-1].start, end, found[-1].label)
        elif tag != "O":
            found.append(Span(start, end, labels[int(tag[1:])]))
        before = tag
    return found


def _features(text: str, places: Sequence[Place]) -> list[list[str]]:
    """What the CRF sees of each word: itself, its ends and shape, its neighbours two to either side."""
    text = text.encode("utf-8", "replace").decode()  # CRFsuite takes no lone surrogates; "?" keeps the offsets
    forms = [text[start:end] for start, end in places]
    lowers, shapes = [form.lower() for form in forms], [_shape(form) for form in forms]
    rows = []
    for at, (form, lower, shape) in enumerate(zip(forms, lowers, shapes, strict=True)):
        around = "|".join(["", *shapes, ""][at : at + 3])
        row = ["bias", f"form={form}", f"lower={lower}", f"shape={shape}", f"shapes={around}"]
        for size in range(1, min(4, len(lower)) + 1):
            row += [f"start={lower[:size]}", f"end={lower[-size:]}"]
        for step in (-2, -1, 1, 2):
            if 0 <= at + step < len(forms):
                row += [f"{step}:lower={lowers[at + step]}", f"{step}:shape={shapes[at + step]}"]
            else:
                row.append(f"{step}:none")
        if at and places[at - 1][1] == places[at][0]:
            row.append("glued")
        rows.append(row)
    return rows


def _shape(form: str) -> str:
    """«McDonald2000» → «XxXxd»: upper, lower, digit and other letters, each run written once."""
    kinds = [
        "X" if c.isupper() else "x" if c.islower() else "d" if c.isdigit() else "a" if c.isalpha() else c for c in form
    ]
    return "".join(kind for kind, before in zip(kinds, ["", *kinds], strict=False) if kind != before)
