"""Which texts a CTC network may have heard: a beam of what they begin with, frame by frame. Knows no language.

Shapes and symbols are those of models/decoding.py, which is what others call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import exp, inf, log
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lowrung.core.errors import DataError
from lowrung.models.lexicon import fold

GAP = " "
QUIET = 0.999  # from this probability of the blank on nothing else is tried
SETTLE = 1000  # frames with letters after which what all texts of a beam begin with is settled
REMEMBERED = 100_000  # unfinished words
FAINT = 1e-100  # probabilities below are scaled up, long before they vanish

Logs: TypeAlias = NDArray[np.floating[Any]]
Words: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """How a beam is searched.

    Args:
        width: texts that are followed.
        power: what the logarithms of a word model count, beside those of the network.
        bonus: for each word, against the shortness that a word model prefers.
        unknown: what a word that the model does not know costs; less finds more names, and more words run together.
        hot: words or phrases that are likely here, and what each is worth; 2 to 6 is usual. Case aside.
    """

    width: int = 16
    power: float = 0.35
    bonus: float = 1.5
    unknown: float = 7.0
    hot: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"a beam is at least 1 wide, not {self.width}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Settings:
        """Raises DataError where `stored` is not what `to_json` gives."""
        try:
            hot = {str(word): float(worth) for word, worth in stored["hot"].items()}
            rates = {each.name: float(stored[each.name]) for each in fields(cls) if each.name not in ("width", "hot")}
            return cls(width=int(stored["width"]), hot=hot, **rates)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise DataError(f"no settings of a beam ({type(problem).__name__}: {problem})") from problem


class Parts(NamedTuple):
    """What the score of a text is made of: logarithms of the network and of the word model, words that the model was
    asked for, those that it does not know, and what hot words are worth."""

    sound: float = 0.0
    language: float = 0.0
    words: int = 0
    unknown: int = 0
    hot: float = 0.0

    def score(self, how: Settings) -> float:
        said = how.power * self.language + how.bonus * self.words - how.unknown * self.unknown
        return self.sound + said + self.hot

    def swapped(self, old: Parts, new: Parts) -> Parts:
        """With `new` in the place of `old`."""
        sound, language, hot = (self[at] + new[at] - old[at] for at in (0, 1, 4))
        return Parts(sound, language, self.words + new.words - old.words, self.unknown + new.unknown - old.unknown, hot)


class WordModel(Protocol):
    """What a beam asks; of an alphabet without " ", the words are letters. "" stands for the edge of what is said."""

    @property
    def reach(self) -> int:
        """How many words before are looked at."""

    def log(self, word: str, before: Words) -> float:
        """log P(word | `reach` words before)."""

    def ahead(self, letters: str) -> float | None:
        """log P of the likeliest known word that begins so, whatever stands before; None where none does."""

    def known(self, word: str) -> bool: ...


class Hot:
    """Where in hot words a text is, letter by letter (Aho & Corasick 1975); each letter is a part of what they are
    worth, which a text that goes on differently loses again, as in pyctcdecode."""

    ASTRAY = "\n"  # inside of a word that no hot one begins with

    def __init__(self, hot: Mapping[str, float], *, gapped: bool) -> None:
        self.gapped, self.whole, self.part = gapped, dict[str, float](), {"": 0.0, self.ASTRAY: 0.0}
        self.words, self.beginnings = set[str](), set[str]()
        for said, worth in hot.items():
            words = fold(said).split() if gapped else list(fold(said).replace(GAP, ""))
            letters = GAP.join(words) + GAP if gapped else "".join(words)
            self.whole[letters] = worth
            for size in range(1, len(letters)):
                begun = letters[:size]
                self.part[begun] = max(self.part.get(begun, 0.0), worth * size / len(letters))
            self.words.update(words)
            self.beginnings.update(word[:size] for word in words for size in range(1, len(word) + 1))
        self._steps: dict[tuple[str, str], tuple[str, float]] = {}

    def step(self, state: str, letter: str) -> tuple[str, float]:
        """What of the text may go on to be a hot word, and what those are worth that are complete now."""
        key = state, letter
        found = self._steps.get(key)
        if found is None:
            rest, earned, kept = state + fold(letter), 0.0, None
            while rest not in ("", self.ASTRAY):
                earned += self.whole.get(rest, 0.0)
                kept = rest if kept is None and rest in self.part else kept
                rest = self._shorter(rest)
            found = self._steps[key] = rest if kept is None else kept, earned
        return found

    def _shorter(self, letters: str) -> str:
        if self.gapped:  # a hot word begins where a word does
            return letters.partition(GAP)[2] if GAP in letters else self.ASTRAY
        return letters[1:]


class Prefix:
    """What the texts of a beam begin with: a node of their trie, and all that depends on nothing but its letters."""

    __slots__ = ("before", "children", "fused", "hot", "parent", "parts", "rivals", "symbol", "word")

    def __init__(self, parent: Prefix | None, symbol: int, before: Words, word: str, hot: str, parts: Parts) -> None:
        self.parent, self.symbol, self.before, self.word, self.hot = parent, symbol, before, word, hot
        self.parts, self.fused, self.children = parts, 0.0, dict[int, Prefix]()
        self.rivals: dict[
            Prefix, float
        ] = {}  # worse ones that could only go on alike, and how far their sound is behind


Follows: TypeAlias = tuple[float, Prefix, float, float]  # score, and P of paths that end in the blank and in its letter


class Found(NamedTuple):
    text: str
    symbols: list[int]
    parts: Parts
    score: float


class Search:
    """CTC prefix beam search (Graves 2012; Hannun et al. 2014) with a word model that is asked at the ends of words,
    and of unfinished ones by the likeliest that they may become (Ortmanns & Ney 2000)."""

    def __init__(self, alphabet: Words, how: Settings, words: WordModel | None, prune: float) -> None:
        self.alphabet, self.how, self.words, self.prune = alphabet, how, words, prune
        self.gap = alphabet.index(GAP) + 1 if GAP in alphabet else 0
        self.hot = Hot(how.hot, gapped=self.gap > 0)
        self.scale, self.steps, self.settled = 0.0, 0, list[int]()
        self._aheads: dict[str, float] = {}
        self.root = Prefix(None, self.gap, ("",) * (words.reach if words else 0), "", "", Parts())
        self.beam: list[Follows] = [(0.0, self.root, 1.0, 0.0)]

    def feed(self, logs: Logs) -> None:
        """Go on with more frames.  (T, V)"""
        quiet = (checked(logs, self.alphabet)[:, 0] > log(QUIET)) & (self.prune > -inf)
        for frame, still in zip(logs, quiet.tolist(), strict=True):
            if still:
                self.scale += float(frame[0])
                self.beam = [(score, prefix, blank + letter, 0.0) for score, prefix, blank, letter in self.beam]
                continue
            symbols = np.flatnonzero(frame[1:] >= self.prune) + 1
            symbols = symbols[np.argsort(-frame[symbols], kind="stable")]
            tried = zip(symbols.tolist(), frame[symbols].tolist(), strict=True)
            self._step(frame, [(symbol, logarithm, exp(logarithm)) for symbol, logarithm in tried])
            self.steps += 1
            if self.steps % SETTLE == 0:
                self.settle()

    def _step(self, frame: Logs, tried: list[tuple[int, float, float]]) -> None:
        silence, best, gap = exp(frame[0]), self.beam[0][0], self.gap or -1
        blanks: dict[Prefix, float] = {}
        letters: dict[Prefix, float] = {}
        for score, prefix, blank, letter in self.beam:
            both, last, children = blank + letter, prefix.symbol, prefix.children
            blanks[prefix] = both * silence
            letters[prefix] = letters.get(prefix, 0.0) + (letter * exp(frame[last]) if letter else 0.0)
            least = 2 * self.prune + best - score
            for symbol, logarithm, rate in tried:
                if logarithm < least:
                    break
                come = (blank if symbol == last else both) * rate
                if come > 0.0:
                    # a gap at the start, or a second one, says nothing
                    child = prefix if symbol == gap and not prefix.word else children.get(symbol)
                    if child is None:
                        child = children[symbol] = self._longer(prefix, symbol)
                    letters[child] = letters.get(child, 0.0) + come
        ranked = []
        for prefix, letter in letters.items():
            blank = blanks.get(prefix, 0.0)
            if blank + letter > 0.0:
                ranked.append((log(blank + letter) + prefix.fused, prefix, blank, letter))
        if not ranked:
            return  # nothing that was followed can be here: a frame that says nothing
        ranked.sort(key=itemgetter(0), reverse=True)
        ranked = ranked[: self.how.width] if self.words is None else self._recombined(ranked)
        while len(ranked) > 1 and ranked[-1][0] < ranked[0][0] + 2 * self.prune:
            ranked.pop()
        whole = max(blank + letter for _, _, blank, letter in ranked)
        if whole < FAINT:
            lost = log(whole)
            ranked = [(score - lost, prefix, blank / whole, last) for score, prefix, blank, last in ranked]
            ranked = [(score, prefix, blank, last / whole) for score, prefix, blank, last in ranked]
            self.scale += lost
        self.beam = ranked

    def _recombined(self, ranked: list[Follows]) -> list[Follows]:
        """The best ones, of those that can only go on alike the best one alone, which remembers the others."""
        kept: list[Follows] = []
        seen: dict[tuple[Words, str, str, int], tuple[Prefix, float]] = {}
        for each in ranked:
            _, prefix, blank, letter = each
            sound = log(blank + letter)
            best, ours = seen.setdefault((prefix.before, prefix.word, prefix.hot, prefix.symbol), (prefix, sound))
            if best is prefix:
                kept.append(each)
                if len(kept) == self.how.width:
                    break
            else:
                best.rivals[prefix] = max(best.rivals.get(prefix, -inf), sound - ours)
        return kept

    def _longer(self, prefix: Prefix, symbol: int) -> Prefix:
        letter = self.alphabet[symbol - 1]
        hot, earned = self.hot.step(prefix.hot, letter)
        parts = prefix.parts._replace(hot=prefix.parts.hot + earned) if earned else prefix.parts
        word = prefix.word if symbol == self.gap else prefix.word + letter
        made = Prefix(prefix, symbol, prefix.before, word, hot, parts)
        if symbol == self.gap or not self.gap:
            made.parts, made.word = self._said(word, prefix.before, parts), ""
            made.before = (*prefix.before, word)[1:]
        made.fused = made.parts.score(self.how) + self.hot.part[made.hot] + self._ahead(made.word)
        return made

    def _said(self, word: str, before: Words, parts: Parts) -> Parts:
        if self.words is None:
            return parts
        strange = not self.words.known(word) and fold(word) not in self.hot.words
        language = parts.language + self.words.log(word, before)
        return parts._replace(language=language, words=parts.words + 1, unknown=parts.unknown + strange)

    def _ahead(self, letters: str) -> float:
        """What a word that begins so will bring at best."""
        if self.words is None or not letters:
            return 0.0
        found = self._aheads.get(letters)
        if found is None:
            likely, how = self.words.ahead(letters), self.how
            found = how.bonus + how.power * (likely or 0.0)
            found -= how.unknown if likely is None and fold(letters) not in self.hot.beginnings else 0.0
            self._aheads[letters] = found
        return found

    def found(self, *, others: bool = True) -> list[Found]:
        """The texts of the beam as if all were said, best first; those that differ from the best in one place, too."""
        ways: dict[str, Found] = {}
        ends: dict[str, tuple[Prefix, float]] = {}  # of each text the likeliest prefix, and P of all
        for _, prefix, blank, letter in sorted(self.beam, key=lambda each: -each[2] - each[3]):
            text = written(self._path(prefix)[1], self.alphabet)
            way, sound = ends.get(text, (prefix, 0.0))
            ends[text] = way, sound + blank + letter
        for text, (prefix, sound) in ends.items():
            parts = self._ended(prefix)._replace(sound=log(sound) + self.scale)
            ways[text] = Found(text, self._path(prefix)[1], parts, parts.score(self.how))
        best = max(ways.values(), key=lambda each: each.score)
        for each in self._others(ends[best.text][0], best) if others else ():
            if each.text not in ways or each.score > ways[each.text].score:
                ways[each.text] = each
        return sorted(ways.values(), key=lambda each: -each.score)

    def _others(self, prefix: Prefix, best: Found) -> Iterator[Found]:
        """What stood in the place of the beginnings of the best text."""
        at: Prefix | None = prefix
        tail: list[int] = []
        while at is not None:
            for rival, behind in at.rivals.items():
                start, begun = self._path(rival)
                if start is self.root:  # and not from what is settled
                    parts = best.parts.swapped(at.parts, rival.parts._replace(sound=behind))
                    symbols = begun + tail[::-1]
                    yield Found(written(symbols, self.alphabet), symbols, parts, parts.score(self.how))
            tail.append(at.symbol)
            at = at.parent

    def _ended(self, prefix: Prefix) -> Parts:
        parts, before = prefix.parts, prefix.before
        if prefix.word:
            earned = self.hot.step(prefix.hot, GAP)[1]
            parts = self._said(prefix.word, before, parts._replace(hot=parts.hot + earned))
            before = (*before, prefix.word)[1:]
        if self.words is None or not parts.words:
            return parts
        return parts._replace(language=parts.language + self.words.log("", before))

    def settle(self) -> None:
        """Forget what no text of the beam begins with, so that hours of frames need no more room than minutes."""
        alive = set[Prefix]()
        ends = {prefix for _, prefix, _, _ in self.beam}
        for each in ends:
            at: Prefix | None = each
            while at is not None and at not in alive:
                alive.add(at)
                at = at.parent
        for each in alive:
            each.children = {symbol: child for symbol, child in each.children.items() if child in alive}
        if len(self._aheads) > REMEMBERED:
            self._aheads.clear()
        while self.root not in ends and len(self.root.children) == 1:
            self.root = next(iter(self.root.children.values()))
            self.root.parent, self.root.rivals = None, {}
            self.settled.append(self.root.symbol)

    def _path(self, prefix: Prefix) -> tuple[Prefix, list[int]]:
        """Where the prefix comes from, and its symbols since the first frame, if that is the root."""
        tail: list[int] = []
        while prefix.parent is not None:
            tail.append(prefix.symbol)
            prefix = prefix.parent
        return prefix, self.settled + tail[::-1]


def checked(logs: Logs, alphabet: Words) -> Logs:
    if logs.ndim != 2 or logs.shape[1] != len(alphabet) + 1:
        raise ValueError(f"logs of shape (T, {len(alphabet) + 1}) are wanted, not {logs.shape}")
    return logs


def written(symbols: Sequence[int], alphabet: Words) -> str:
    text = "".join(alphabet[each - 1] for each in symbols)
    return GAP.join(text.split()) if GAP in alphabet else text
