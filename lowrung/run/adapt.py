"""adapt: a backbone, a task and 0 or more examples → a Model. Zero-shot is the same call with no examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

from lowrung.core.answers import A, Choice, Choices, Spans
from lowrung.core.errors import DataError, ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Example, Task
from lowrung.data.splits import holdout
from lowrung.models import tuning
from lowrung.models.extract import Extract
from lowrung.models.heads import Rank, Tag
from lowrung.models.marking import Mark
from lowrung.models.matching import Match
from lowrung.models.network import Adapted
from lowrung.models.point import Point, places
from lowrung.models.probe import features, fit_mark, fit_match, fit_point, fit_rank, seen
from lowrung.models.relate import Relate, plain
from lowrung.models.text import TextBackbone
from lowrung.models.tracked import part_of_run, run_of
from lowrung.models.training import Score, Settings, train
from lowrung.models.tuning import Frozen, How, Prefixes, Top, moved
from lowrung.models.zero_shot import Wording, chosen_again
from lowrung.run.evaluate import evaluate

Watch = Callable[[int, int, float], None]
PROBE = Settings(head_lr=3e-3, epochs=30, least=200, most=800, clip=5.0, decay=0.5)  # of a Tag head on a frozen body
# rows; a tenth of fewer says too little: with 200 sentences, 20 held out kept untrained weights in one draw of three
ENOUGH_FOR_DEV = 2000
WARM = 1000  # questions that an Extract begins with, before what is below it moves; it has little to learn by itself


def adapt(
    backbone: TextBackbone | Adapted[A],
    task: Task[A],
    examples: Sequence[Example[A]] = (),
    *,
    how: How = Top(2),  # noqa: B008 (frozen value)
    dev: Sequence[Example[A]] = (),
    settings: Settings | None = None,
    prefixes: Prefixes | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
    wording: Wording | None = None,
) -> Adapted[A]:
    """Take `backbone` to `task` with `examples`; without examples the answer comes from the label names.

    A head is fitted on the frozen body first; then, unless `how` is Frozen, what `how` says moves is trained from
    there (linear probing, then fine-tuning: Kumar et al. 2022), so that few labels never start from noise.
    Where `dev` is empty and examples are many, a tenth of them is held out to stop early by.

    Args:
        backbone: or a network that has practised: its body is taken further, and its head is where the new one starts.
        prefixes: states of the untouched body to share with other calls; made when None. The model holds on to them,
            and adds those of what it is asked, until its `prefixes` is set to None.
        checkpoint: a folder to resume from after an interruption.
        wording: how options are worded and what is known without labels, in place of the label names alone.

    Raises:
        DataError: the task has no options, or an example has no gold.
        ModelError: the task's shape of answer has no head here, or less would move than practice has moved.
    """
    practised = backbone if isinstance(backbone, Adapted) else None
    body = backbone.backbone if isinstance(backbone, Adapted) else backbone
    options = task.options or (examples[0].question.options if examples else ())
    if not options and task.labelled:
        raise DataError(f"task {task.name} needs its labels: rows that carry some, or --options a,b,c")
    if any(not each.golds for each in examples):
        raise DataError("an example to learn from has no gold")
    if task.answer not in (Choice, Choices, Spans):
        raise ModelError(f"no head here answers with {task.answer.__name__}")
    words = Question(("",), options=options, meanings=_meanings(task, options)).words_for_options
    prefixes = prefixes or Prefixes(body)
    frozen = isinstance(how, Frozen) or not examples
    network: Adapted[A]
    if practised is not None:
        network = Adapted(body, deepcopy(practised.head), depths=(body.depth,), prefixes=prefixes)
    else:
        network = _start(body if frozen else body_to_move(body, task), task, options, words, prefixes)
    worded = wording if practised is None and type(network.head) is Rank else None
    if worded is not None:
        network.head = worded.head(body.pooling)
    if not examples:
        return network
    learnt = examples
    if not frozen:  # before anything learns from them
        learnt, dev = _with_dev(task, examples, dev, seed)
    warm = examples if frozen else learnt
    if isinstance(network.head, Extract) and not frozen and len(learnt) > WARM:
        warm = Random(seed).sample(list(learnt), WARM)
    if not isinstance(network.head, Match):  # which reads each text by itself
        prefixes.fill([each.question for each in warm], network.depths)
    if worded is not None and isinstance(network.head, Rank):
        golds: list[Any] = [each.golds[0] for each in learnt]
        found = features(network, [each.question for each in learnt])
        network.head = chosen_again(network.head, worded, found, [each.option for each in golds], seed=seed)
    with run_of(task.name, "adapt", len(examples), seed), part_of_run("" if frozen else "head"):
        _probe(network, warm, seed=seed)
    if frozen:
        return network if practised is None else loosen(network, practised.how, seed)
    network = loosen(network, how, seed)
    if practised is not None and moved(practised.backbone).keys() - moved(network.backbone).keys():
        raise ModelError(f"{how} moves less than practice has moved ({practised.how}), which would be lost")
    chosen = settings or Settings()
    with run_of(task.name, "adapt", len(examples), seed):
        train(
            network,
            learnt,
            settings=chosen,
            seed=seed,
            score=_score(task, dev) if dev else None,
            checkpoint=checkpoint,
            watch=watch,
        )
    if isinstance(network.head, Rank) and chosen.contrast:
        _probe(network, examples, seed=seed)  # the space has moved under the head; solve for it anew
    return network


def _start(
    body: TextBackbone, task: Task[A], options: Sequence[str], words: Sequence[str], prefixes: Prefixes
) -> Adapted[A]:
    if task.extracts:
        extract = Extract(width=body.width).eval()
        return Adapted(body, extract, depths=frozen_depths(body, task), prefixes=prefixes)
    if task.points:
        own = Point(width=body.width) if marked(task) else Match(width=body.width)
        return Adapted(body, own.eval(), depths=frozen_depths(body, task), prefixes=prefixes)
    if task.answer is Choice and task.marks:
        relate = Relate(options, body.embed([plain(each) for each in words]), width=body.width).eval()
        return Adapted(body, relate, depths=frozen_depths(body, task), prefixes=prefixes)
    names = body.embed(words)
    if task.answer in (Choice, Choices):
        kind = Rank if task.answer is Choice else Mark
        return Adapted(body, kind(options, names, pooling=body.pooling).eval(), prefixes=prefixes)
    head = Tag(options, names, width=body.width).eval()
    return Adapted(body, head, depths=frozen_depths(body, task), prefixes=prefixes)


def marked(task: Task[A]) -> bool:
    """Whether the options that a question brings are marked in its text; else they are texts of their own."""
    return task.points and task.marks


def frozen_depths(body: TextBackbone, task: Task[A]) -> tuple[int, ...]:
    """The layers whose states a head on the frozen body reads.

    A sentence encoder knows words best midway and names best at the top; a Tag reads both, a Point knows no names.
    """
    if marked(task):
        return (body.tagging_layer,)
    whole = (task.answer in (Choice, Choices) and not task.marks) or task.extracts
    return (body.depth,) if whole else tuple(sorted({body.tagging_layer, body.depth}))


def _probe(network: Adapted[A], examples: Sequence[Example[A]], *, seed: int) -> None:
    """Fit the head on the frozen body."""
    head = network.head
    if isinstance(head, Point):
        golds: list[Any] = [each.golds[0] for each in examples]
        asked = [each.question for each in examples]
        fit_point(head, seen(network, asked), places(asked, golds), seed=seed)
        return
    if isinstance(head, Extract):
        train(network, examples, settings=PROBE, seed=seed)
        return
    if isinstance(head, Tag):
        train(network, examples, settings=PROBE, seed=seed)
        head.lean.fill_(LEAN)
        return
    wanted: list[Any] = [each.golds[0] for each in examples]
    if isinstance(head, Match):
        fit_match(head, network, [each.question for each in examples], wanted, seed=seed)
        return
    if isinstance(head, Mark):
        fit_mark(head, features(network, [each.question for each in examples]), wanted, seed=seed)
        return
    fit_rank(head, features(network, [each.question for each in examples]), [each.option for each in wanted], seed=seed)


LEAN = 1.0  # what 50 to 1000 sentences of three sets' dev rows like best, within half a point


def body_to_move(backbone: TextBackbone, task: Task[A]) -> TextBackbone:
    """The layers that a tuned model has: what is said of single words is read midway, and those above are cut off."""
    if task.answer is Choice and task.marks and not task.points:
        return backbone.upto(backbone.depth)  # which reads its top layer alone
    whole = (task.answer in (Choice, Choices) and not marked(task)) or task.extracts
    return backbone if whole else backbone.upto(backbone.tagging_layer)


def loosen(network: Adapted[A], how: How, seed: int) -> Adapted[A]:
    """The same network with a body of its own, in which what `how` says may move."""
    body = tuning.loosened(network.backbone, how, seed=seed)
    if isinstance(network.head, Extract):  # which reads long texts
        tuning.without_attention_dropout(body.body)
    return Adapted(body, network.head, how=how, prefixes=network.prefixes)


def _with_dev(
    task: Task[A], examples: Sequence[Example[A]], dev: Sequence[Example[A]], seed: int
) -> tuple[Sequence[Example[A]], Sequence[Example[A]]]:
    units = {each.group or at for at, each in enumerate(examples)}
    if dev or len(examples) < ENOUGH_FOR_DEV or len(units) < 2:  # nothing of a single group can be held out
        return examples, dev
    kept, held = holdout(examples, share=0.1, seed=seed)
    return [examples[at] for at in kept], [examples[at] for at in held]


def _score(task: Task[A], dev: Sequence[Example[A]]) -> Score:
    metric = task.metrics[0]
    sign = 1.0 if metric.higher_is_better else -1.0
    return lambda network: sign * evaluate(task, network, dev).value(metric)


def _meanings(task: Task[A], options: Sequence[str]) -> tuple[str, ...]:
    return tuple(task.meanings.get(option, "") for option in options)
