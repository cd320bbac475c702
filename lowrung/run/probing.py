"""probing: what a body can do on the lowest rungs: what a small read-out finds of letters in its states of words.

An answer is read directly, or follows from the letters that a read-out finds at each place: the way that does better on
words held out of those to learn from is the one that is tested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from math import inf
from random import Random
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lowrung.core.errors import LowrungError, ModelError
from lowrung.data.letter_items import KINDS, PLACES, Item, Kind, items, sides
from lowrung.data.noise import noise
from lowrung.data.text_items import sources, text_kinds
from lowrung.run.audit import wilson
from lowrung.run.evaluate import Floats, Score
from lowrung.run.probing_found import Probed, Probing

if TYPE_CHECKING:
    from torch import Tensor

    from lowrung.models.endpoint import Terms
    from lowrung.models.text import TextBackbone

LANGUAGE = "en"
COMMON = 40_000  # forms of the lexicon that words are drawn from
LEAST, ROWS, TESTED = 200, 1600, 4  # words to learn from, at least and usually; one in so many more to test on
HELD = 8  # one word in so many is not learnt from: it says when to stop, and which way to read is the better
ASKED = 4  # times that a word is learnt from where more than one question can be put
NOISY, NOISY_OF, LONG, DAMAGED = 200, 5000, 8, 0.3  # texts, common words they are of, words of each, share damaged

Sees: TypeAlias = Callable[[Sequence[str]], "Tensor"]  # N words -> (N, F)
Says: TypeAlias = Callable[[Sequence[Item]], list[tuple[int, ...]]]
Watch: TypeAlias = Callable[[str, int, int], None]  # what, done, of how many


def probe(
    model: str,
    *,
    rows: int | None = None,
    seed: int = 0,
    watch: Watch = lambda what, done, total: None,
    terms: Terms | None = None,
) -> Probing:
    """Probe an embedded body, a local folder, a hub id, the body of a shipped model, a language model or an endpoint.

    Words are read as they are written, also where a body has a corrector in front.

    Args:
        rows: for a body, words to learn from, a quarter as many others are tested on (None: `ROWS`); for a model
            that is asked in words, questions a kind (None: probing_prompts.ASKED).
        terms: how an endpoint is asked.

    Raises:
        ModelError: there is no such model, or it reads no text.
        DataError, LowrungError: as `probed` and `probe_in_words` do.
    """
    from lowrung.models.lexicon import lexicon
    from lowrung.run.probing_prompts import ASKED, asks_in_words, probe_in_words, told_model

    counts = lexicon(LANGUAGE).counts
    words = sorted(counts, key=lambda form: (-counts[form], form))[:COMMON]
    if asks_in_words(model):
        asked = told_model(model, terms)
        return probe_in_words(model, asked, words, tongue=LANGUAGE, rows=rows or ASKED, seed=seed, watch=watch)
    return _of_body(model, words, ROWS if rows is None else rows, seed, watch)


def _of_body(model: str, words: Sequence[str], rows: int, seed: int, watch: Watch) -> Probing:
    from lowrung.models.read_out import DEPTHS, word_states

    backbone = body_of(model)

    def sees(asked: Sequence[str]) -> Tensor:
        return word_states(backbone, asked, lambda done, total: watch("texts read", done - 1, total))

    kinds = (*KINDS, *text_kinds(LANGUAGE))
    found = probed(model, sees, words, rows=rows, seed=seed, watch=watch, depths=DEPTHS, kinds=kinds)
    noisy = steady(lambda texts: backbone.embed(texts).cpu().numpy(), words, number=min(NOISY, rows), seed=seed)
    return replace(found, metrics={**found.metrics, "noise": noisy})


def steady(embeds: Callable[[Sequence[str]], Floats], words: Sequence[str], *, number: int, seed: int) -> Probed:
    """How much of a text's vector stays when `DAMAGED` of its words are misspelt: 1 the whole of it, 0 no more of it
    than is in the vector of another text. The interval is normal, of the mean over `number` texts.

    Args:
        embeds: N texts -> (N, D), of length one.
    """
    random, made = Random(f"{seed} noise"), noise(LANGUAGE)
    clean = [" ".join(random.sample(list(words[:NOISY_OF]), LONG)) for _ in range(number)]
    spoilt = [
        " ".join(made.damage(w, random) if random.random() < DAMAGED else w for w in text.split()) for text in clean
    ]
    one, two = embeds(clean), embeds(spoilt)
    moved = 1 - (one * two).sum(1)
    apart = 1 - (one * np.roll(one, 1, 0)).sum(1).mean()
    stays = 1 - moved / apart
    value, reach = float(stays.mean()), 1.96 * float(stays.std(ddof=1)) / number**0.5
    return Probed(Score(value, value - reach, value + reach), 0.0, number, "vectors")


def body_of(model: str) -> TextBackbone:
    """The body that a name stands for; of a shipped folder, as it was moved.

    Raises:
        ModelError: there is none that reads text.
    """
    from lowrung.models.catalog import backbone
    from lowrung.models.network import Adapted
    from lowrung.run.ship import load, shipped_folder

    if shipped_folder(model) is None:
        return backbone(model)
    found = load(model).model
    if not isinstance(found, Adapted):
        raise ModelError(f"{model}: {found.name} has no single body that reads text; probe one by its name or folder")
    return found.backbone


def probed(
    model: str,
    sees: Sees,
    words: Sequence[str],
    *,
    rows: int,
    seed: int,
    watch: Watch = lambda what, done, total: None,
    depths: int = 1,
    kinds: Sequence[Kind] = KINDS,
) -> Probing:
    """Probe whatever turns words into features.

    Args:
        sees: N words -> (N, F), of `depths` one after the other. words: the list that items are made of.

    Raises:
        DataError: there are too few words for `rows`.
        LowrungError: `rows` is too few to learn from.
    """
    if rows < LEAST:
        raise LowrungError(f"{rows} words are too few for a read-out to learn from; ask for {LEAST} or more")
    random = Random(f"{seed} words")
    numbers = (rows, max(rows // TESTED, 1))
    learn, test = sides(words, numbers, random)
    made: dict[Kind, tuple[list[Item], list[Item]]] = {}
    for kind in kinds:
        lists = (learn, test) if _of_words(kind) else sources(kind.name, LANGUAGE, numbers, random)
        often = ASKED if kind.asks > 1 else 1
        made[kind] = items(kind, lists[0] * often, random), items(kind, lists[1], random)
    kept = frozenset(learn[::HELD])
    more = {  # of each word to learn from one more with each change, for letters to be met at all places
        each.words[-1]: each.words[0] in kept for kind in made if kind.edits for each in items(kind, learn, random)
    }
    met = (word for both in made.values() for each in chain(*both) for word in each.words)
    every = list(dict.fromkeys(chain(met, more)))
    states, place = sees(every), {word: at for at, word in enumerate(every)}
    spelt = _spelt(made, more, kept, states, place, depths)
    metrics = {}
    for number, (kind, (teaching, testing)) in enumerate(made.items()):
        watch(kind.name, number, len(made))
        held = np.array(
            [each.words[0] in kept or (not _of_words(kind) and at % HELD == 0) for at, each in enumerate(teaching)]
        )
        direct = _directly(kind, teaching, held, partial(_features, states, place), seed)
        ways: dict[str, Says] = {"states": direct}
        if _of_words(kind):
            ways["letters"] = partial(_by_letters, kind, spelt)
        asked = [each for each, aside in zip(teaching, held, strict=True) if aside]
        way = max(ways, key=lambda name: sum(_right(ways[name](asked), asked)))
        right = _right(ways[way](testing), testing)
        score = wilson(right, np.arange(len(right)))
        metrics[kind.name] = Probed(score, _chance(teaching, testing), len(right), way)
    return Probing(model, len(learn), metrics)


def _of_words(kind: Kind) -> bool:
    """Whether its answers follow from the letters of words."""
    return kind.follows is not None or kind.edits is not None


def _right(said: Sequence[tuple[int, ...]], rows: Sequence[Item]) -> list[bool]:
    return [one == each.answer for one, each in zip(said, rows, strict=True)]


def _features(states: Tensor, place: dict[str, int], rows: Sequence[Item]) -> Tensor:
    """The state of the word; of two words also the difference to the other, and its size.  -> (N, F) or (N, 3 F)"""
    import torch

    first, last = (states[[place[each.words[at]] for each in rows]] for at in (0, -1))
    if len(rows[0].words) == 1:
        return first
    return torch.cat([first, last - first, (last - first).abs()], -1)


def _directly(
    kind: Kind, teaching: Sequence[Item], held: Any, features: Callable[[Sequence[Item]], Tensor], seed: int
) -> Says:
    """Answers by a read-out of the kind's own."""
    import torch

    from lowrung.models.read_out import fit_read_out

    def asked(rows: Sequence[Item]) -> Tensor:
        return torch.tensor([each.asked for each in rows])

    answers = torch.tensor([each.answer for each in teaching])
    aside = torch.from_numpy(held)
    made = fit_read_out(
        features(teaching), asked(teaching), answers, aside, asks=kind.asks, sizes=kind.sizes, seed=seed
    )
    return lambda rows: [tuple(each) for each in made.answers(features(rows), asked(rows)).tolist()]


def _spelt(
    made: dict[Kind, tuple[list[Item], list[Item]]],
    more: dict[str, bool],
    kept: frozenset[str],
    states: Tensor,
    place: dict[str, int],
    depths: int,
) -> dict[str, tuple[str, Any]]:
    """Of every word the letters that are read out of its state, and the log-probabilities of each at each place."""
    import torch

    from lowrung.models.read_out import Speller

    aside, tested = dict(more), set[str]()
    for kind, (teaching, testing) in made.items():
        tested |= {word for each in testing if _of_words(kind) for word in each.words}
        for each in teaching if _of_words(kind) else ():
            for word in each.words:
                aside[word] = aside.get(word, False) or each.words[0] in kept
    aside = {word: side for word, side in aside.items() if word not in tested}
    taught = states[[place[word] for word in aside]]
    speller = Speller([*aside], taught, torch.tensor([*aside.values()]), places=PLACES, depths=depths)
    wanted = list(tested.union(aside))
    seen = states[[place[word] for word in wanted]]
    return dict(zip(wanted, zip(speller.words(seen), speller.logs(seen).numpy(), strict=True), strict=True))


def _by_letters(kind: Kind, spelt: dict[str, tuple[str, Any]], rows: Sequence[Item]) -> list[tuple[int, ...]]:
    """Answers as they follow from the letters; of a change, the one that makes the other word the likeliest."""
    found = []
    for each in rows:
        words, logs = [spelt[word][0] for word in each.words], spelt[each.words[-1]][1]
        if kind.follows:
            found.append(kind.follows(words, each.asked))
            continue
        best, answer = -inf, (0,) * len(kind.sizes)
        for one, changed in kind.edits(words[0]) if kind.edits else ():
            told = [ascii_lowercase.index(letter) for letter in changed[:PLACES]]
            told += [len(ascii_lowercase)] * (PLACES - len(told))
            if (sure := float(logs[range(PLACES), told].sum())) > best:
                best, answer = sure, one
        found.append(answer)
    return found


def _chance(teaching: Sequence[Item], testing: Sequence[Item]) -> float:
    """The share of answers that are right by the commonest one to each question, part by part."""
    met: dict[tuple[int, int], Counter[int]] = {}
    for each in teaching:
        for part, answer in enumerate(each.answer):
            met.setdefault((each.asked, part), Counter())[answer] += 1
    common = {key: counted.most_common(1)[0][0] for key, counted in met.items()}
    right = [
        all(common.get((each.asked, part)) == answer for part, answer in enumerate(each.answer)) for each in testing
    ]
    return sum(right) / len(right)
