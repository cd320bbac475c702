"""Correctors made: the embedded ones by language, from labelled rows, from a folder; and the floor of their table."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

from lowrung.core.answers import Prediction, Text
from lowrung.core.edits import Edit, Mend, apply, between
from lowrung.core.errors import ModelError, unknown
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.data.files import atomic
from lowrung.data.noise import Noise, noise
from lowrung.data.splits import folds
from lowrung.metrics.counting import total
from lowrung.metrics.text import f05
from lowrung.models import catalog, choosing, tuned_letters
from lowrung.models.beside import Beside
from lowrung.models.channel import Channel
from lowrung.models.choosing import Chooser
from lowrung.models.context import InContext
from lowrung.models.corrector import Corrector, Slot, Weights
from lowrung.models.lexicon import HOME, SUFFIX, Lexicon, Origin, fold, languages, lexicon
from lowrung.models.protection import Protection

ABOUT, WORDS, NOISE = "corrector.json", "corrector-words.tsv.xz", "corrector-noise.json"
BESIDE, CHOOSER = "corrector-beside.xz", "corrector-chooser.safetensors"
KEEPS = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0)  # logits, of what stands there
POWERS = (0.6, 0.8, 1.0, 1.25)  # of the usual weight of frequency
REACH = 8.0  # logits that what stands around a word may say against the word by itself
OPEN = 12.0  # logits around the usual decision that rows may move it by
MEASURED = 20_000  # characters of right text from which it says more of a budget than other clean text does
SURER = 0.15  # of F0.5, what other settings must gain to be taken, times the root of the number of misspelt words


@dataclass(frozen=True)
class DoNothing:
    """Every text as it stands: what a corrector must beat."""

    name: str = field(default="do-nothing", init=False)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Text]]:
        return [Prediction(Text(question.text), 1.0) for question in questions]


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Unknown words become the closest known one, the commonest of those, as SymSpell does."""

    lexicon: Lexicon
    name: str = field(default="dictionary", init=False)

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Text]]:
        return [self._answered(question.text) for question in questions]

    def _answered(self, text: str) -> Prediction[Text]:
        mends = []
        for start, end, _ in Protection().words(text):
            written = text[start:end]
            base, tail = self.lexicon.parted(written)
            if base in self.lexicon or written in self.lexicon or end - start < 2:
                continue
            found = [each for each in self.lexicon.candidates(base, 50, reach=2)[1:] if each.kind == "word"]
            if found:
                best = min(found, key=lambda each: (each.distance, -each.count))
                mends.append(Mend(start, end, self.lexicon.cased(best.text, base) + tail, 0.5))
        made = apply(text, [mend.edit for mend in mends])[0]
        return Prediction(Text(made), 0.5 if mends else 1.0, mends=tuple(mends))


Mending: TypeAlias = DoNothing | Dictionary | Corrector


@cache
def corrector(language: str = "en", *, context: bool = True) -> Corrector:
    """The embedded corrector of a language, which has seen no labels.

    Args:
        context: whether the letters backbone of the language reads the sentence, where there is one.

    Raises:
        ModelError: there is none; the message names those that there are.
    """
    if language not in languages():
        raise ModelError(unknown("language", language, languages()))
    words = HOME / f"lexicon-{language}{SUFFIX}"
    source = Origin(language, hashlib.sha256(words.read_bytes()).hexdigest())
    made = Corrector(lexicon(language), Channel(noise(language)), source=source)
    beside = HOME / f"beside-{language}.xz"
    if beside.is_file():
        made = replace(made, beside=Beside.load(beside), reach=REACH)
    about = HOME / f"corrector-{language}.json"
    stages = json.loads(about.read_text("utf-8")) if about.is_file() else {}
    if (HOME / f"chooser-{language}.safetensors").is_file():
        made = choosing.equipped(made, language, reads=context)
        stage = stages.get("context" if context else "chooser", {})
        return _weighed(made, asdict(made.weights), stage.get("curve", ()))
    if context and catalog.installed() and (reader := f"letters-{language}") in catalog.embedded():
        made = replace(made, context=catalog.context(reader))
    told = stages.get("words" if made.beside is None else "beside" if made.context is None else "context")
    return _weighed(made, **told) if told else made


def _weighed(made: Corrector, weights: Mapping[str, float], curve: Iterable[Sequence[float]]) -> Corrector:
    return replace(made, weights=Weights(**weights), curve=tuple((share, logits) for share, logits in curve))


# --- learning


def fit_corrector(base: Corrector, examples: Sequence[Example[Text]], *, seed: int = 0) -> Corrector:
    """`base` tuned to labelled rows: words that stay in the right texts join the lexicon, and how sure it must be to
    mend, and how much a word's frequency says, are those with the best F0.5 on rows held out.

    Where nothing gains, the weights stay; where all of it makes these very rows worse, so does `base`. What a budget
    goes by is measured on the right texts, before their words join, where the weights move or the texts are long.
    """
    if isinstance(base.context, Chooser):
        return tuned_letters.fit(base, examples, seed=seed)
    examples = [example for example in examples if example.golds]
    wide = replace(base, reach=OPEN)
    seen = _Seen.of(wide, examples)
    best = base.weights
    if len(seen) > 1:
        held = [(learn, asked) for learn, asked in folds(examples, k=min(5, len(seen)), seed=seed)[0]]
        words = [_kept(seen[at] for at in learn) for learn, _ in held]
        usual = _f05(wide, seen, held, words)
        surer = SURER / max(sum(each.wrong for each in seen), 1) ** 0.5
        for keep, power in product(KEEPS, POWERS):
            weights = replace(base.weights, keep=base.weights.keep + keep, frequency=base.weights.frequency * power)
            score = _f05(replace(wide, weights=weights), seen, held, words)
            if score > usual + surer:
                best, usual = weights, score
    tuned = replace(base, weights=best, name="channel-tuned")
    right = [example.golds[0].text for example in examples]
    if best != base.weights or sum(map(len, right)) > MEASURED:
        tuned = tuned.with_curve(right)
    made = tuned.with_words(_kept(seen))
    return made if _scored(made, examples) >= _scored(base, examples) else replace(base, name="channel-tuned")


def _scored(made: Corrector, examples: Sequence[Example[Text]]) -> float:
    """F0.5 on the rows themselves."""
    said = made.answer([example.question for example in examples])
    counts = total([f05.count(example, each.answer) for example, each in zip(examples, said, strict=True)])
    return float(f05.finish(counts))


@dataclass(frozen=True)
class _Seen:
    """An example as the tuning sees it: its slots, what is right in each, and how many places are wrong in all."""

    slots: tuple[Slot, ...]
    right: tuple[str | None, ...]
    words: tuple[str, ...]  # those that are the same in both texts
    wrong: int

    @classmethod
    def of(cls, wide: Corrector, examples: Sequence[Example[Text]]) -> list[_Seen]:
        made = []
        sources = [example.question.text for example in examples]
        for example, source, slots in zip(examples, sources, wide.slots(sources), strict=True):
            edits = between(source, example.golds[0].text)
            right = tuple(right_in(source, slot, edits) for slot in slots)
            places = Protection().words(source)
            words = [
                source[w.start : w.end] for w in places if all(e.end <= w.start or w.end <= e.start for e in edits)
            ]
            made.append(cls(tuple(slots), right, tuple(words), len(edits)))
        return made


def right_in(source: str, slot: Slot, edits: Iterable[Edit]) -> str | None:
    """What the gold has in the place of a slot; None where an edit reaches beyond it."""
    inside = [edit for edit in edits if edit.start < slot.end and slot.start < edit.end]
    if any(edit.start < slot.start or slot.end < edit.end for edit in inside):
        return None
    moved = [Edit(edit.start - slot.start, edit.end - slot.start, edit.text) for edit in inside]
    return apply(source[slot.start : slot.end], moved)[0]


def _kept(seen: Iterable[_Seen]) -> Counter[str]:
    return Counter(word for each in seen for word in each.words)


def _f05(made: Corrector, seen: Sequence[_Seen], held: Sequence[Any], words: Sequence[Counter[str]]) -> float:
    """F0.5 over places, each row decided with the words of the other folds."""
    hit = said = 0
    for (_, asked), known in zip(held, words, strict=True):
        own = {fold(word) for word in known}
        for at in asked:
            slots = seen[at].slots
            free = [slot for slot in slots if fold(slot.options[0].text) not in own]
            golds = dict(zip(slots, seen[at].right, strict=True))
            for slot, mend in made.chosen(free):
                said += 1
                hit += mend == golds[slot]
    due = sum(each.wrong for each in seen)
    return 1.25 * hit / (said + 0.25 * due) if said + due else 0.0


# --- on disk


def save(model: Mending, folder: str | Path) -> dict[str, Any]:
    """Write the model into `folder`; returns the facts that a shipped folder keeps of it."""
    folder = Path(folder)
    about: dict[str, Any] = {"kind": model.name}
    if isinstance(model, Dictionary):
        model.lexicon.save(folder / WORDS)
    elif isinstance(model, Corrector):
        model.lexicon.save(folder / WORDS)
        if isinstance(model.beside, Beside):
            model.beside.save(folder / BESIDE)
        if isinstance(model.context, InContext):
            about["context"] = asdict(model.context.backbone.source)
        if isinstance(model.context, Chooser):
            model.context.save(folder / CHOOSER)
            about["reads"] = model.context.reading is not None
        if any(each and not isinstance(each, Beside | Chooser | InContext) for each in (model.beside, model.context)):
            raise ModelError("a corrector with a context of its own has no form on disk")
        about |= {"weights": asdict(model.weights), "protect": model.protect, "curve": model.curve}
        about |= {"source": model.source, "reach": model.reach}
        with atomic(folder / NOISE) as new:
            new.write_text(json.dumps(model.channel.noise.to_json(), ensure_ascii=False), "utf-8")
    files = [each for each in (WORDS, NOISE, BESIDE, CHOOSER) if (folder / each).is_file()]
    about["sha256"] = {each: hashlib.sha256((folder / each).read_bytes()).hexdigest() for each in files}
    with atomic(folder / ABOUT) as new:
        new.write_text(json.dumps(about, ensure_ascii=False), "utf-8")
    return {"kind": "corrector", "name": model.name}


def load_corrector(folder: str | Path) -> Mending:
    """The model that `save` wrote into `folder`.

    Raises:
        ModelError: a file is missing, damaged or of another kind.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / ABOUT).read_text("utf-8"))
        for name, sum_ in about["sha256"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sum_:
                raise ValueError(f"{name} is not the file that was saved")
        kind = about["kind"]
        if kind == "do-nothing":
            return DoNothing()
        words = Lexicon.load(folder / WORDS)
        if kind == "dictionary":
            return Dictionary(words)
        damage, context = Noise.from_json(json.loads((folder / NOISE).read_text("utf-8"))), _context(folder, about)
        words = replace(words, confusions=damage.confusions)
        return Corrector(
            choosing.offering(words, context) if isinstance(context, Chooser) else words,
            Channel(damage),
            Weights(**about["weights"]),
            tuple(about["protect"]),
            curve=tuple((share, logits) for share, logits in about["curve"]),
            beside=Beside.load(folder / BESIDE) if (folder / BESIDE).is_file() else None,
            context=context,
            reach=about["reach"],
            source=Origin(*about["source"]),
            name=kind,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise ModelError(f"{folder}: no corrector can be read there ({reason}). Fit and save it again") from problem


def _context(folder: Path, about: Mapping[str, Any]) -> InContext | Chooser | None:
    if (folder / CHOOSER).is_file():
        language = about["source"][0]
        return Chooser.load(folder / CHOOSER, language, choosing.reading_of(language) if about["reads"] else None)
    if "context" not in about:
        return None
    name, checksum = about["context"]["name"], about["context"]["checksum"]
    found = catalog.context(name)
    if found.backbone.source.checksum != checksum:
        raise ValueError(f"it was made with other weights of {name} than the ones found here")
    return found
