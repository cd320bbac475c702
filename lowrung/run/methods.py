"""The ways to take a model to a task, each by the same call, so that a study can set them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowrung.core.answers import A, Choice, Spans
from lowrung.core.errors import LowrungError, unknown
from lowrung.core.model import Model
from lowrung.core.task import Example, Task
from lowrung.run.adapt import PROBE, Watch, adapt


@dataclass(frozen=True, slots=True)
class Method:
    """One way.

    Args:
        about: one line for people.
        answers: the shapes of answer it can give.
        learns: whether it needs labels; zero-shot does not.
        candidate: whether a study may ship it; the floor of the table may not.
    """

    name: str
    about: str
    answers: tuple[type[Any], ...] = (Choice, Spans)
    learns: bool = True
    candidate: bool = True


ZERO_SHOT = "zero-shot"
METHODS = {
    each.name: each
    for each in (
        Method(ZERO_SHOT, "the untouched model, from the label names alone", learns=False),
        Method("majority", "always the commonest answer: the floor", candidate=False),
        Method("ngrams", "character n-grams and logistic regression; letters and shapes and a CRF for spans"),
        Method("probe", "a head on the frozen body, starting from the label names"),
        Method(
            "contrastive",
            "the top four layers pull like-labelled texts together (SetFit's idea), then a probe",
            answers=(Choice,),
        ),
        Method("top", "the head and the top two layers"),
        Method("lora", "the head and low-rank updates in every layer"),
        Method("full", "the head and everything below it"),
    )
}


def methods_for(task: Task[Any], asked: Sequence[str] = ()) -> tuple[Method, ...]:
    """The methods that fit `task`, or those `asked` for, zero-shot always first among them.

    Raises:
        LowrungError: an unknown method, or one that cannot answer in the task's shape.
    """
    fitting = {name: each for name, each in METHODS.items() if task.answer in each.answers}
    for name in asked:
        if name not in fitting:
            raise LowrungError(unknown(f"method for {task.name}", name, fitting))
    names = dict.fromkeys((ZERO_SHOT, *(asked or fitting)))
    return tuple(fitting[name] for name in names)


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
) -> Model[Any]:
    """A model made by `method` from `examples`; one that learns needs at least one.

    Args:
        backbone: a models.text.TextBackbone. prefixes: a models.tuning.Prefixes of it, to share states.
    """
    from lowrung.models import baselines

    if method.learns and not examples:
        raise LowrungError(f"method {method.name} needs labels and got none; zero-shot is the one that does without")
    if method.name == "majority":
        return baselines.fit_majority(task, examples)
    if method.name == "ngrams":
        return baselines.fit_ngrams(task, examples, seed=seed)
    how, settings = recipe(method.name)
    model = adapt(
        backbone,
        task,
        examples if method.learns else (),
        how=how,
        dev=dev,
        settings=settings,
        prefixes=prefixes,
        seed=seed,
        checkpoint=checkpoint,
        watch=watch,
    )
    model.name = method.name
    return model


def recipe(name: str) -> tuple[Any, Any]:
    """(how much moves, the training's settings) of a method that adapts a network; (None, None) of the others."""
    from lowrung.models import tuning
    from lowrung.models.training import Settings

    ways: dict[str, tuple[tuning.How, Settings]] = {
        ZERO_SHOT: (tuning.Frozen(), Settings()),
        "probe": (tuning.Frozen(), PROBE),
        "contrastive": (tuning.Top(4), Settings(lr=2e-4, contrast=1.0, batch=32, least=50, most=400)),
        "top": (tuning.Top(2), Settings(lr=2e-4)),
        "lora": (tuning.LoRA(), Settings(lr=5e-4)),
        "full": (tuning.Full(), Settings(lr=1e-4)),
    }
    return ways.get(name, (None, None))
