"""The ways to take a model to a task, each by the same call, so that a study can set them side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from lowrung.core.answers import A, Choice, Choices, Spans, Text
from lowrung.core.errors import LowrungError, ModelError, unknown
from lowrung.core.model import Model
from lowrung.core.task import Example, Task
from lowrung.models.remote import is_remote
from lowrung.models.zero_shot import Wording
from lowrung.run.adapt import Watch, adapt
from lowrung.run.describing import framed, in_frame
from lowrung.run.method import Method as Method
from lowrung.run.recipe import recipe as recipe
from lowrung.run.texts import fit_language_model, fit_listener, fit_mender, fit_writer

ZERO_SHOT, PRACTICE, REMOTE, WRITER, WITH_SILVER = "zero-shot", "practice", "remote", "writer", "+silver"
LABEL_NAMES = "label-names"
WRITES = (Choice, Choices, Spans, Text)
DO_NOTHING = "do-nothing"
LONGEST = "always the longest of the options that a row brings: the floor"
METHODS = {
    each.name: each
    for each in (
        Method(ZERO_SHOT, "the untouched model, from the label names alone", learns=False, hears=True),
        Method(LABEL_NAMES, "zero-shot as it is where no words describe the task", (Choice,), False, described=True),
        Method("majority", "always the commonest answer: the floor", candidate=False, points=False, body=False),
        Method(
            "ngrams",
            "character n-grams and logistic regression; letters and shapes and a CRF for spans",
            points=False,
            body=False,
        ),
        Method(
            "sentence",
            "the sentence with most words of the question: the floor",
            (Spans,),
            learns=False,
            candidate=False,
            body=False,
            extracts=True,
        ),
        Method("probe", "a head on the frozen body, starting from the label names", hears=True),
        Method(
            "contrastive",
            "the top four layers pull like-labelled texts together (SetFit's idea), then a probe",
            answers=(Choice,),
            points=False,
        ),
        Method("top", "the head and the top two layers", hears=True),
        Method("lora", "the head and low-rank updates in every layer"),
        Method("full", "the head and everything below it", hears=True),
        Method(DO_NOTHING, "every text as it stands: the floor", (Text,), learns=False, candidate=False, body=False),
        Method(
            "dictionary",
            "unknown words become the closest known one, the commonest of those",
            (Text,),
            learns=False,
            candidate=False,
            body=False,
            mends=True,
        ),
        Method(
            "channel",
            "the untouched corrector: slips as people make them, and how common words are",
            (Text,),
            learns=False,
            body=False,
            mends=True,
        ),
        Method(
            "channel-tuned",
            "how sure it must be, and the words that right texts have, from the labels",
            (Text,),
            body=False,
            mends=True,
        ),
        Method("memory", "the answer that rows show for the most similar text", (Text,), writes=True),
        Method("decoder", "a decoder learnt on the states of the frozen body", (Text,), writes=True),
        Method("decoder+full", "that decoder, and then it and everything below it", (Text,), writes=True),
        Method(
            PRACTICE,
            "rehearsed on raw text, without a label",
            (Choice, Spans, Text),
            learns=False,
            practised=True,
            hears=True,
        ),
        Method(
            "practice+probe", "a head on the practised body, starting from its own", (Choice, Spans), practised=True
        ),
        Method(
            "practice+top",
            "the head and the top two layers, from the practised ones",
            (Choice, Spans),
            practised=True,
            hears=True,
        ),
        Method("practice+full", "the head and everything below it, from the practised ones", (Spans,), practised=True),
        Method(
            "practice+channel-tuned", "the practised corrector, tuned", (Text,), body=False, mends=True, practised=True
        ),
        Method(
            REMOTE,
            "an endpoint, asked in words (--model http://host:port/v1#name)",
            (Choice, Choices, Spans, Text),
            learns=False,
            body=False,
            remote=True,
        ),
        Method(WRITER, "a language model, asked in words (--model FOLDER)", WRITES, False, body=False, writer=True),
        Method(f"{WRITER}+shots", "the same, shown examples in its prompt", WRITES, body=False, writer=True),
        Method(f"{WRITER}+lora", "low-rank updates of it, to write the right answers", WRITES, body=False, writer=True),
        Method(f"{WRITER}+full", "all of it, to write the right answers", WRITES, body=False, writer=True, named=True),
        Method(f"probe{WITH_SILVER}", "a probe that learns from silver rows, too (--silver)", silver=True),
        Method(f"top{WITH_SILVER}", "top that learns from silver rows, too", silver=True),
        Method(
            f"channel-tuned{WITH_SILVER}",
            "channel-tuned that learns from silver rows, too",
            (Text,),
            body=False,
            mends=True,
            silver=True,
        ),
        Method(
            "early",
            "all parts as one sequence through shared layers",
            (Choice, Text),
            points=False,
            fuses=True,
            hears=True,
        ),
        Method(
            "cross",
            "one part attends to the others, through a gate",
            (Choice, Text),
            points=False,
            fuses=True,
            hears=True,
        ),
        Method(
            "late",
            "a vote of models of single parts, weighed by rows held out",
            (Choice, Text),
            points=False,
            fuses=True,
            hears=True,
        ),
        Method("longest", LONGEST, (Choice,), learns=False, candidate=False, body=False, brings=True),
    )
}


def methods_for(
    task: Task[Any],
    asked: Sequence[str] = (),
    *,
    text: bool = False,
    kinds: Collection[str] = ("text",),
    remote: bool = False,
    writer: bool = False,
    silver: bool = False,
    described: bool = False,
) -> tuple[Method, ...]:
    """The methods that fit `task`, or those `asked` for, the untouched model always first among them.

    Args:
        text: whether there is raw text to practise on; the model that has practised is always among them then.
        kinds: those of core.parts.KINDS that rows give; where there are several, they can be fused, as a sound or
            picture can with its words.
        remote, writer: whether there is an endpoint, or a language model; it is always among them then.
        described: whether words describe the task.
        silver: whether there are silver rows; each method that can learn from them is there with them and without.

    Raises:
        LowrungError: an unknown method, one that cannot answer in the task's shape, or one that needs raw text, an
            endpoint or silver rows.
    """
    fitting = {
        name: each
        for name, each in METHODS.items()
        if (_hears(each, kinds) if task.media else task.answer in each.answers)
        and (each.points or task.labelled)
        and (not each.brings or (task.points and not task.marks))
        and each.extracts <= task.extracts
        and each.mends <= task.mends
        and each.writes <= task.writes
        and (not each.practised or task.practice is not None)
        and (not each.fuses or len(kinds) > 1 or hears_words(task, kinds))
    }
    for name in asked:
        if name not in fitting:
            raise LowrungError(unknown(f"method for {task.name}", name, fitting))
        if fitting[name].practised and not text:
            raise LowrungError(f"method {name} practises on raw text and needs some: --text FILE")
        if fitting[name].remote and not remote:
            raise LowrungError(f"method {name} asks an endpoint and needs one: --model http://host:port/v1#name")
        if fitting[name].writer and not writer:
            raise LowrungError(f"method {name} stands on a language model and needs one: --model writer-en")
        if fitting[name].described and not described:
            raise LowrungError(f"method {name} is zero-shot where no words describe the task; --describe does")
        if fitting[name].silver and not silver:
            raise LowrungError(f"method {name} learns from silver rows and needs some: --silver FILE")
    usual = [
        name
        for name, each in fitting.items()
        if (text or not each.practised) and (remote or not each.remote) and (silver or not each.silver)
        if (writer or not each.writer) and (described or not each.described) and not each.named
    ]
    always = [(PRACTICE, text), (REMOTE, remote), (WRITER, writer), (LABEL_NAMES, described)]
    always += [(f"{name}{WITH_SILVER}", silver) for name in asked]
    more = [name for name, given in always if given and name in fitting]
    names = dict.fromkeys((untouched(task), *more, *asked) if asked else (untouched(task), *usual))
    return tuple(fitting[name] for name in names)


def _hears(method: Method, kinds: Collection[str]) -> bool:
    """Whether it is for sound or pictures; the floor of texts is where a text of them is given as well."""
    return method.hears or (method.name == DO_NOTHING and "text" in kinds and len(kinds) > 1)


def kinds_of(examples: Iterable[Example[Any]]) -> frozenset[str]:
    """The kinds of parts that questions give."""
    return frozenset().union(*(each.question.kinds for each in examples))


def hears_words(task: Task[Any], kinds: Collection[str]) -> bool:
    """Whether what is said or written in rows of these kinds is heard and read first, for models of texts to go by."""
    return task.answer is Choice and not task.points and bool(set(kinds) - {"text"})


def untouched(task: Task[Any]) -> str:
    """The name of the method that stands for 0 labels in `task`."""
    if task.media:
        return ZERO_SHOT
    if task.writes:
        return DO_NOTHING
    return next(each.name for each in METHODS.values() if each.untouched and task.answer in each.answers)


def usual(task: Task[Any]) -> str:
    """The name of the method that `fit` takes where nobody names one."""
    if task.media:
        return "full"
    return "channel-tuned" if task.mends else "decoder" if task.writes else "probe"


def foundation(task: Task[Any], model: str = "") -> Any:
    """What the methods of `task` stand on: the backbone of that name; of sound or pictures, a recognizer; where texts
    are mended, a language's corrector.

    Either says where it comes from in `source`.

    Raises:
        ModelError: no such backbone, or no such language.
    """
    if is_remote(model):
        raise ModelError(f"{model}: an endpoint has no body to learn with; method {REMOTE} asks it as it is")
    if task.media:
        from lowrung.models.hearing import recognizer
        from lowrung.models.senses import sense_of

        return recognizer(model, sense_of(task.media))
    if task.mends:
        from lowrung.models.correcting import corrector

        return corrector(model or "en")
    from lowrung.models.catalog import DEFAULT, backbone

    return backbone(model or DEFAULT)


def fit_method(
    method: Method,
    task: Task[A],
    examples: Sequence[Example[A]],
    *,
    backbone: Any,
    prefixes: Any = None,
    seed: int = 0,
    dev: Sequence[Example[A]] = (),
    checkpoint: Path | None = None,
    watch: Watch | None = None,
    start: Model[Any] | None = None,
    kinds: Collection[str] = (),
    remote: Model[Any] | None = None,
    writer: Any = None,
    wording: Wording | None = None,
) -> Model[Any]:
    """A model made by `method` from `examples`; one that learns needs at least one.

    Args:
        backbone: what `foundation` gives.
        prefixes: a models.tuning.Prefixes of it, or of the body of `start`, to share states; for a method that fuses,
            a models.encoder.Encoder.
        start: the model that has practised, where the method is practised.
        kinds: those of parts that questions will have; where sounds or pictures are among them, their words stand in
            the examples (models.cascade.examples_with_words), and the model is one that hears them itself.
        remote: the endpoint, where the method asks one. writer: the models.writer.TextWriter, where it stands on one.
        wording: how the task is worded for the body, where words describe it.
    """
    if hears_words(task, kinds):
        from lowrung.models.cascade import Cascade, ears_for

        inner = fit_method(
            method, task, examples, backbone=backbone, prefixes=prefixes, seed=seed, dev=dev, checkpoint=checkpoint,
            watch=watch, start=start, remote=remote, writer=writer, wording=wording,
        )  # fmt: skip
        learnt = kinds_of(examples) if method.learns else ()
        return Cascade(inner, ears_for(kinds), spots=method.plain == ZERO_SHOT, learnt=learnt)
    from lowrung.models import baselines

    if method.augment:
        from lowrung.run.augmenting import augmented

        examples = augmented(task, examples, method.augment, seed=seed)
    if method.learns and not examples:
        raise LowrungError(
            f"method {method.name} needs labels and got none; {untouched(task)} is the one that does without"
        )
    if method.plain == "longest":
        return baselines.Longest()
    if method.plain == "majority":
        return baselines.fit_majority(task, examples)
    if method.plain == "ngrams":
        return baselines.fit_ngrams(task, examples, seed=seed)
    if method.plain == "sentence":
        return baselines.Sentence()
    if method.practised and start is None:
        raise LowrungError(f"method {method.name} practises on raw text and needs some: --text FILE")
    if method.name == PRACTICE and start is not None:
        return start
    if method.remote:
        if remote is None:
            raise LowrungError(f"method {method.name} asks an endpoint and needs one: --model http://host:port/v1#name")
        return remote
    if method.fuses and task.answer is Text:
        from lowrung.models.fused_texts import fit_fused_text

        return fit_fused_text(
            method.plain, examples, base=backbone, dev=dev, seed=seed, checkpoint=checkpoint, watch=watch
        )
    if method.fuses:
        from lowrung.models.fusion import fit_fused

        return fit_fused(
            method.plain,
            task,
            examples,
            body=backbone,
            dev=dev,
            seed=seed,
            encoder=prefixes,
            checkpoint=checkpoint,
            watch=watch,
        )
    how, settings = recipe(method.plain)
    ground: Any = start if method.practised else backbone
    learning: dict[str, Any] = {"dev": dev, "seed": seed, "checkpoint": checkpoint, "watch": watch}
    if method.writer:
        if writer is None:
            raise LowrungError(f"method {method.name} stands on a language model and needs one: --model writer-en")
        return fit_language_model(method, examples, writer, how=how, settings=settings, **learning)
    if task.media and method.hears:
        return fit_listener(method, examples, ground, how=how, **learning)
    if method.writes:
        return fit_writer(method, task, examples, ground, how=how, prefixes=prefixes, **learning)
    if task.answer is Text:
        return fit_mender(method, examples, ground, seed=seed)
    wording = None if method.described else wording
    model = adapt(
        ground,
        task,
        framed(examples, wording) if method.learns else (),
        how=how,
        settings=settings,
        prefixes=prefixes,
        wording=wording,
        **learning,
    )
    model.name = method.name
    return in_frame(model, wording)


def settled(model: Model[A]) -> Model[A]:
    """The same model, which has let go of the states of rows that it met: new ones have no use for them."""
    made: Any = getattr(model, "inner", model)
    if hasattr(made, "prefixes"):
        made.prefixes = None
    if hasattr(made, "forget"):
        made.forget()
    return model
