"""A shipped model: a folder that says what it is, what it was made from and why it was chosen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lowrung import __version__, tasks
from lowrung.core.answers import Choice, Text
from lowrung.core.errors import DataError, ModelError, unknown
from lowrung.core.model import Model
from lowrung.core.parts import Audio, Heard, Image, Question
from lowrung.core.task import Example, Row, Task
from lowrung.data.files import MEDIA, atomic_folder

if TYPE_CHECKING:
    from lowrung.data.describing import Description
    from lowrung.models.endpoint import Terms
    from lowrung.models.remote import Remote
    from lowrung.run.reference import Reference

FACTS, REPORT, CARD = "lowrung.json", "report.json", "README.md"
VERSIONED = ("torch", "transformers", "tokenizers", "safetensors", "peft", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Shipped:
    """A task with a model for it, ready to answer.

    Args:
        task: with the labels that the model knows.
        model: answers the task's questions.
        facts: what lowrung.json says.
        folder: where it lies, None for a task's embedded default.
    """

    task: Task[Any]
    model: Model[Any]
    facts: Mapping[str, Any]
    folder: Path | None = None

    def answer(self, given: str | Row | Sequence[str | Row]) -> Any:
        """The prediction for a text or row, or the list of predictions for several."""
        one = isinstance(given, str | Mapping)
        rows = [given] if one else list(given)
        found = self.model.answer([self.question(each) for each in rows])  # type: ignore[arg-type]
        return found[0] if one else list(found)

    def question(self, given: str | Row) -> Question:
        return self.task.question({self.task.media or "text": given} if isinstance(given, str) else given)


def ship(
    task: Task[Any],
    model: Model[Any],
    folder: str | Path,
    *,
    report: Mapping[str, Any],
    card: str,
    facts: Mapping[str, Any],
    beside: Mapping[str, str] = MappingProxyType({}),
    reference: Reference | None = None,
) -> Shipped:
    """Write the folder, whole or not at all; what stood there before stays until the new one is complete.

    Args:
        beside: name → content of files for people that lie beside the model's own.
        reference: what the questions looked like that it was made for.

    Raises:
        ModelError: the folder holds something else than a shipped model, the model cannot be saved, or the disk
            refuses; an old model there is intact.
    """
    folder = vacant(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as new:
            made = _saved(model, new)
            if reference is not None:
                reference.save(new)
            named = {"name": task.name, "options": list(task.options), "meanings": dict(task.meanings)}
            whole = {"task": named, "model": made, "versions": versions(), "date": now(), **facts}
            for name, content in ((FACTS, whole), (REPORT, report)):
                (new / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
            for name, told in {**beside, CARD: card}.items():
                (new / name).write_text(told, "utf-8")
    except OSError as problem:
        raise ModelError(
            f"{folder}: could not be written ({problem.strerror or problem}); nothing was changed"
        ) from problem
    return Shipped(task, model, whole, folder)


def vacant(folder: str | Path) -> Path:
    """The folder, which holds nothing or a shipped model that another may replace. To be asked before long work, too.

    Raises:
        ModelError: it holds something else, or is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder}: is a file; a folder is to be written there. Choose another name")
    if folder.exists() and any(folder.iterdir()) and not (folder / FACTS).is_file():
        raise ModelError(f"{folder}: holds something else than a shipped model; name another folder")
    return folder


def training_of(out: str | Path) -> Path:
    """The folder beside `out`, never in it, where a training that is under way is kept."""
    return Path(f"{Path(out)}.training")


def _saved(model: Model[Any], folder: Path) -> dict[str, Any]:
    """Write the model's own files; what lowrung.json says of it."""
    from lowrung.models import baselines, correcting

    if isinstance(model, baselines.Baseline):
        baselines.save(model, folder)
        return {"kind": "baseline", "name": model.name}
    if isinstance(model, correcting.Mending):
        return correcting.save(model, folder)
    from lowrung.models.cascade import Cascade
    from lowrung.models.fused_texts import FusedText
    from lowrung.models.fusion import Fused
    from lowrung.models.hearing import Writer, facts_of
    from lowrung.models.memory import Memory
    from lowrung.models.network import Adapted
    from lowrung.models.recognizer import Recognizer
    from lowrung.models.remote import Remote
    from lowrung.models.translating import Translator
    from lowrung.models.voting import Vote
    from lowrung.models.writer import TextWriter
    from lowrung.models.zero_shot import Framed, Scored

    if isinstance(model, Cascade):
        return model.save(folder, _saved(model.inner, folder))
    if isinstance(model, Writer):
        return facts_of(model)
    if isinstance(model, Framed):
        return model.facts(_saved(model.inner, folder))
    if isinstance(model, Memory | Scored | TextWriter | Translator):
        return model.save(folder)
    if isinstance(model, Remote):
        return model.facts()
    if isinstance(model, Adapted | Recognizer | Fused | FusedText | Vote):
        return model.save(folder)
    raise ModelError(f"a {type(model).__name__} has no form on disk")


def load(
    name: str | Path,
    *,
    options: Sequence[str] = (),
    meanings: Mapping[str, str] | None = None,
    words: str | Path = "",
    model: str = "",
    terms: Terms | None = None,
) -> Shipped:
    """A shipped folder, a study's folder (its winner), a plain transformers classifier's folder, or a task's name
    for its embedded default.

    Args:
        options: labels for an embedded default, which has none of its own. meanings: label → what it means in words,
            likewise.
        words: a file of words and phrases that a model of speech is to expect, one a line; see models.hot_words.
        model: what a task's name stands for instead of its embedded default, as `default` takes it.
        terms: how an endpoint is asked.

    Raises:
        ModelError: neither a folder nor a task of that name, or the folder is damaged.
        DataError, LowrungError: as `expecting` does.
    """
    if words:
        return expecting(load(name, options=options, meanings=meanings, model=model, terms=terms), words)
    folder = shipped_folder(name)
    if folder is None and str(name) in tasks.names():
        return default(tasks.task(str(name)), model=model, options=options, meanings=meanings, terms=terms)
    if model:
        raise ModelError(f"{name}: --model {model} is for a task's name, and this is none")
    if folder is None:
        if (Path(name) / "config.json").is_file():
            return _plain(Path(name))
        if Path(name).is_dir():
            raise ModelError(f"{name}: not a shipped model (there is no {FACTS})")
        raise ModelError(f"{unknown('model', str(name), tasks.names())} Or name the folder of a shipped model.")
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        named, made = facts["task"], facts["model"]
        task = tasks.task(named["name"]).with_options(named["options"], named["meanings"])
        made["kind"]
    except (OSError, KeyError, TypeError, ValueError) as problem:
        raise ModelError(f"{folder}: not a shipped model ({FACTS} is missing or damaged)") from problem
    found = Shipped(task, _loaded(folder, made), facts, folder)
    return found if terms is None else on_terms(found, terms)


def _loaded(folder: Path, made: dict[str, Any], ears: Mapping[str, Any] = MappingProxyType({})) -> Model[Any]:
    """The model of which `_saved` said what it is."""
    kind = made["kind"]
    if kind == "baseline":
        from lowrung.models.baselines import load_baseline

        return load_baseline(folder)
    if kind == "corrector":
        from lowrung.models.correcting import load_corrector

        return load_corrector(folder)
    if kind == "fused-text":
        from lowrung.models.fused_texts import load_fused_text

        return load_fused_text(folder, made)
    if kind == "recognizer":
        from lowrung.models.hearing import loaded

        return replace(loaded(folder, made["body"]), name=made["name"])
    if kind == "writer":
        from lowrung.models.hearing import writer

        return writer(folder, made)
    if kind == "cascade":
        from lowrung.models.cascade import Cascade, loaded_ears

        ears = loaded_ears(made, folder)
        return Cascade(_loaded(folder, made["inner"], ears), ears, spots=made["spots"], learnt=made["learnt"])
    if kind == "fused":
        from lowrung.models import fusion

        return fusion.load(folder, made, ears)
    if kind in ("framed", "scored"):
        from lowrung.models.zero_shot import described_again

        return described_again(made, _loaded(folder, made["inner"], ears))
    if kind == "memory":
        from lowrung.models.memory import load_memory

        return load_memory(folder, made)
    if kind == "translator":
        from lowrung.models.translating import load_translator

        return load_translator(folder, made)
    if kind == "text-writer":
        from lowrung.models.writer import load_writer

        return load_writer(folder, made)
    if kind == "remote":
        from lowrung.models.remote import of_facts

        return of_facts(made)
    from lowrung.models import network

    return network.load(folder, made)


def _plain(folder: Path) -> Shipped:
    """A classifier fine-tuned with plain transformers: token classifiers tag entities, others choose a topic."""
    from lowrung.models import plain

    try:
        made = json.loads((folder / "config.json").read_text("utf-8")).get("architectures") or [""]
    except ValueError as problem:
        raise ModelError(f"{folder}: config.json is damaged: {problem}") from problem
    task = tasks.task("entities" if "ForTokenClassification" in made[0] else "topic")
    if not made[0].endswith(("ForTokenClassification", "ForSequenceClassification")):
        raise ModelError(f"{folder}: holds a {made[0] or 'model'} without a classifier; name it with --model instead")
    model = plain.load(folder, task.answer)
    task = task.with_options(model.options)
    return Shipped(task, model, {"task": {"name": task.name, "options": list(task.options)}, "method": "plain"}, folder)


def with_labels(shipped: Shipped, options: Sequence[str], meanings: Mapping[str, str] | None = None) -> Shipped:
    """The same model asked about these labels: known ones as learnt, new ones from their names."""
    return replace(shipped, task=shipped.task.with_options(options or shipped.task.options, meanings))


def expecting(shipped: Shipped, words: str | Path) -> Shipped:
    """The same model of speech, which looks for the words of a file; its facts say of `words` which are passed over.

    Raises:
        DataError, LowrungError: as `models.hot_words.expecting` does.
    """
    from lowrung.models import hot_words

    model, told = hot_words.expecting(shipped.model, words)
    return replace(shipped, model=model, facts={**shipped.facts, "words": told})


def shipped_folder(name: str | Path) -> Path | None:
    """The folder of the shipped model that `name` stands for: itself, or the winner of a study's folder."""
    return next((each for each in (Path(name), Path(name) / "model") if (each / FACTS).is_file()), None)


DEFAULT_OPTIONS = {"entities": ("PER", "ORG", "LOC")}  # what an embedded default looks for when nobody says


def default(
    task: Task[Any],
    *,
    model: str = "",
    options: Sequence[str] = (),
    meanings: Mapping[str, str] | None = None,
    terms: Terms | None = None,
    description: Description | None = None,
    questions: Sequence[Question] = (),
) -> Shipped:
    """The untouched backbone on `task`: zero-shot, from the label names; of Texts, a recognizer or a corrector.

    An endpoint where `model` is the address of one, asked on `terms`; a language model where it names one. With a
    `description`, worded as unlabelled `questions` say is best.
    """
    from lowrung.run.describing import described_for, described_task, in_frame
    from lowrung.run.named import named

    task = described_task(task.with_options(options or task.options, meanings), description)
    found = named(task, model, terms)
    if found.foreign:
        task = task.with_options(options or task.options or DEFAULT_OPTIONS.get(task.name, ()), meanings)
        if task.answer is Choice and not task.options and not task.points:
            raise DataError(f"task {task.name} needs its labels: rows that carry some, or --options a,b,c")
        told = {"name": task.name, "options": list(task.options)}
        facts = {"task": told, "method": "remote" if found.remote else "writer", "source": found.foreign.source.name}
        described = described_for(task, found, None, description, questions)
        if described.writer:
            facts["formats"] = described.to_json()
        return Shipped(task, _hearing(task, described.writer or found.foreign), facts)
    if task.writes:
        if model:
            raise ModelError(
                f"{model}: what has no words of its own answers {task.name} once it has learnt: lowrung fit"
            )
        from lowrung.models.correcting import DoNothing

        return Shipped(task, DoNothing(), {"task": {"name": task.name, "options": []}, "method": DoNothing.name})
    if task.answer is Text:
        from lowrung.run.methods import foundation

        base = foundation(task, model)
        return Shipped(task, base, {"task": {"name": task.name, "options": []}, "method": base.name})
    from lowrung.models.catalog import DEFAULT, backbone
    from lowrung.models.tuning import Frozen
    from lowrung.run.adapt import adapt

    task = task.with_options(options or task.options or DEFAULT_OPTIONS.get(task.name, ()), meanings)
    body = backbone(model or DEFAULT)
    described = described_for(task, found, body, description, questions)
    network = adapt(body, task, how=Frozen(), wording=described.wording)
    network.prefixes = None  # one answer needs no cache
    network.name = "zero-shot"
    made = _hearing(task, in_frame(network, described.wording), spots=True)
    facts = {"task": {"name": task.name, "options": list(task.options)}, "method": "zero-shot"}
    return Shipped(task, made, facts | ({"formats": described.to_json()} if description else {}))


def _hearing(task: Task[Any], model: Model[Any], *, spots: bool = False) -> Model[Any]:
    """`model`, which hears and reads first where the task's questions may give sounds and pictures."""
    if task.answer is not Choice or not set(MEDIA) & set(task.columns):
        return model
    from lowrung.models.cascade import Cascade

    return Cascade(model, spots=spots)


def endpoint_of(model: Model[Any]) -> Remote | None:
    """The endpoint that a model asks, None where it asks none."""
    from lowrung.models.remote import Remote

    inner = getattr(model, "inner", model)
    return inner if isinstance(inner, Remote) else None


def on_terms(shipped: Shipped, terms: Terms, watch: Callable[[int, int], None] | None = None) -> Shipped:
    """The same model, whose endpoint is asked on these terms; unchanged where it asks none."""
    remote = endpoint_of(shipped.model)
    if remote is None:
        return shipped
    asked = remote.on(terms, watch)
    if remote is shipped.model:
        return replace(shipped, model=asked)
    from lowrung.models.cascade import Cascade

    outer: Any = shipped.model
    return replace(shipped, model=Cascade(asked, outer.ears, spots=outer.spots, learnt=outer.learnt))


def fingerprint(examples: Sequence[Example[Any]]) -> str:
    """sha256 of questions and golds, in order: the same rows give the same fingerprint on any machine."""
    digest = hashlib.sha256()
    own = len({each.question.options for each in examples}) > 1
    for each in examples:
        asked = each.question
        marked = (asked.options, asked.marks) if asked.marks or own else ()  # rows may differ in nothing else
        checks = (asked.checks,) if asked.checks else ()
        media = tuple(_identity(part) for part in asked.given if not isinstance(part, str))
        texts = tuple(part for part in asked.given if isinstance(part, str) and not isinstance(part, Heard))
        digest.update(repr((texts, each.golds, *marked, *checks, *media)).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _identity(part: Audio | Image) -> str:
    """What tells a sound or picture from others: its content, wherever it lies."""
    content = part.samples if isinstance(part, Audio) else part.pixels
    return hashlib.sha256(content.tobytes()).hexdigest()


def versions() -> dict[str, str]:
    found = {"lowrung": __version__}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
