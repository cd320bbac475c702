"""A corrector of spelling: a noisy channel over a lexicon, word by word; a context may join in by one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, log, prod
from typing import TypeAlias

from lowrung.core.answers import Prediction, Text
from lowrung.core.edits import Edit, Mend, apply
from lowrung.core.parts import Question
from lowrung.data.noise import alone
from lowrung.models.channel import Channel
from lowrung.models.lexicon import WITHOUT, Candidate, Lexicon, Origin, fold
from lowrung.models.protection import Protection, Word

OFFERED = 20  # candidates of a word that are weighed
SHOWN = 5  # others that a mend names
OTHER_CASE = 0.05  # of a word's count in the other case (mark, Mark), what still counts
LIKELY, TWICE = -0.8, -5.0  # log P(written | meant) that few single slips exceed; what each further slip takes off
JOINED = 20  # times that a word must be met for two to be merged into it
OPENING = 0.5  # of what a capital inside a sentence says for a name, what one that opens it says
REMEMBERED = 50_000  # words
KNOWN_APART = 2  # slips that may have made one word of another, where a context can tell
LOST_CAPITAL = -2.5  # log P that a misspelt word has lost its capital as well
ROUNDS = 2  # of asking what stands beside, where that may be mended itself
FINE = 40  # points of a curve, of the highest margins and of all
NEVER = 1e3  # logits that nothing exceeds


@dataclass(frozen=True, slots=True)
class Weights:
    """How evidence is weighed; the numbers are those that two sets of sentences and clean text like best together.

    Args:
        misspelt: what a slip costs at all, in logits.
        channel: the power of P(written | meant).
        frequency: the power of the frequency of what may be meant; `known` that of the word as it stands.
        unknown: log of the probability of meeting a word that the lexicon lacks.
        letter: the logarithm that each of its letters adds to that.
        name: what a capital inside a sentence adds to it, and in part one that opens a sentence.
        derived: what it adds that a word is made of a known one by a usual ending.
        beside: the power of what stands beside a word; `context` that of what the whole sentence says.
        keep: logits that a mend must be better by than leaving the word; rows and a budget move them.
    """

    misspelt: float = -8.4
    channel: float = 1.0
    frequency: float = 1.2
    known: float = 1.43
    unknown: float = -22.6
    letter: float = -0.1
    name: float = 6.7
    derived: float = 2.4
    beside: float = 0.7
    context: float = 1.0
    keep: float = 0.0


@dataclass(frozen=True, slots=True)
class Option:
    """What may stand in a slot. `channel` is log P(written | it), `prior` log P(it), `context` what a context adds."""

    text: str
    channel: float
    prior: float
    context: float = 0.0


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a text with what may stand there; the first option is what stands there.

    `best` is the likeliest so far, by `ahead` logits.
    """

    start: int
    end: int
    options: tuple[Option, ...]
    best: str = ""
    ahead: float = 0.0


Options: TypeAlias = tuple[Option, ...]
# texts, and the slots of each → for each text, slot and option what the context adds to its logarithm
Curve: TypeAlias = tuple[tuple[float, float], ...]
Context: TypeAlias = Callable[[Sequence[str], Sequence[Sequence[Slot]]], Sequence[Sequence[Sequence[float]]]]


@dataclass(frozen=True, eq=False)
class Corrector:
    """A Model[Text]. Every character that is not mended stays.

    Args:
        protect: plain words (whole, case aside) and regular expressions that are left alone.
        beside: scores options by the words beside them; None weighs words by themselves.
        context: scores options by all of their sentence, after that.
        reach: logits by which a context may turn a decision; options further behind than that are not offered to it.
        curve: (share, logits): the share of right words that are mended where `keep` is raised by so much; falling.
    """

    lexicon: Lexicon
    channel: Channel
    weights: Weights = Weights()
    protect: tuple[str, ...] = ()
    beside: Context | None = None
    context: Context | None = None
    reach: float = 0.0
    curve: Curve = ()
    source: Origin = Origin("", "")  # noqa: RUF009 (frozen)
    name: str = "channel"

    def answer(self, questions: Sequence[Question]) -> list[Prediction[Text]]:
        """The mended text of each question's first text; the confidence is that of all its slots together."""
        texts = [question.text for question in questions]
        return [self._answered(text, slots) for text, slots in zip(texts, self.slots(texts), strict=True)]

    def edits(self, texts: Sequence[str]) -> list[tuple[Edit, ...]]:
        """What it would mend in each text."""
        return [
            tuple(Edit(slot.start, slot.end, text) for slot, text in self.chosen(slots)) for slots in self.slots(texts)
        ]

    def _answered(self, text: str, slots: Sequence[Slot]) -> Prediction[Text]:
        mends, kept = self._mends(slots), prod(1.0 - self._doubt(slot) for slot in slots)
        sure = prod((mend.confidence for mend in mends), start=kept)
        return Prediction(Text(apply(text, [mend.edit for mend in mends])[0]), min(max(sure, 0.0), 1.0), mends=mends)

    def slots(self, texts: Sequence[str]) -> list[list[Slot]]:
        """The places of each text where something else may stand, in reading order; merged words overlap others."""
        found = [[self._best(slot) for slot in self._slots(text)] for text in texts]
        if self.beside is not None:
            for _ in range(ROUNDS):
                found = self._with(found, self.beside(texts, found), self.weights.beside)
        if self.context is not None:
            earlier = found if self.beside is not None else None
            found = self._with(found, self.context(texts, found), self.weights.context, earlier)
        return found

    def _with(
        self,
        slots: Sequence[Sequence[Slot]],
        added: Sequence[Sequence[Sequence[float]]],
        power: float,
        earlier: Sequence[Sequence[Slot]] | None = None,
    ) -> list[list[Slot]]:
        """The slots with what a context adds, to what was added `earlier`, or in its place."""
        made: list[list[Slot]] = []
        for row, more in zip(slots, added, strict=True):
            made.append([])
            for slot, extra in zip(row, more, strict=True):
                before = [each.context if earlier else 0.0 for each in slot.options]
                gains = [old + power * new for old, new in zip(before, extra, strict=True)]
                options = tuple(replace(each, context=gain) for each, gain in zip(slot.options, gains, strict=True))
                made[-1].append(self._best(replace(slot, options=options)))
        return made

    def _best(self, slot: Slot) -> Slot:
        scores = self.scores(slot)
        second, most = sorted(scores)[-2:]
        return replace(slot, best=slot.options[scores.index(most)].text, ahead=most - second)

    def _slots(self, text: str) -> Iterable[Slot]:
        words = self._protection.words(text)
        loud = bool(words) and all(text[word.start : word.end].isupper() for word in words)
        for at, word in enumerate(words):
            options = self._options(text[word.start : word.end], word.opens, loud)
            if len(options) > 1:
                yield Slot(word.start, word.end, options)
            after = words[at + 1] if at + 1 < len(words) else None
            if after is not None and text[word.end : after.start] == " ":
                merged = self._merged(text, word, after)
                if merged:
                    yield Slot(word.start, after.end, merged)

    @cached_property
    def _protection(self) -> Protection:
        return Protection(self.protect)

    @cached_property
    def _remembered(self) -> dict[tuple[str, bool, bool], Options]:
        return {}

    def _options(self, written: str, opens: bool, loud: bool = False) -> Options:
        """The word itself and what else may be meant, unless that is out of the question.

        Args:
            loud: the whole text is in capitals, so that they make no abbreviation.
        """
        key = written, opens, loud
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            base, tail = self.lexicon.parted(written)
            found = self._weighed(base.lower() if loud else base, opens or loud)
            if tail:
                found = tuple(replace(each, text=each.text + tail) for each in found)
            if loud:
                found = tuple(replace(each, text=each.text.upper()) for each in found)
            kept = tuple(replace(each, text=written) for each in found[:1])
            found = (*kept, *(each for each in found[1:] if each.text != written))  # Straße is STRASSE in capitals
            self._remembered[key] = found
        return found

    def _weighed(self, written: str, opens: bool) -> Options:
        lexicon, weights = self.lexicon, self.weights
        folded = fold(written)
        if folded in lexicon.own:
            return ()
        keep = Option(written, 0.0, self._prior(written, opens))
        known = folded in lexicon
        bar = weights.known * keep.prior + weights.keep - self.reach - weights.misspelt
        if bar - LIKELY > weights.frequency * self._log(max(self._commonest, 1)):
            return (keep,)
        found = []
        near = (KNOWN_APART if self.reach else 1) if known else None
        offered = max(OFFERED, 1 + len(lexicon.confusions.get(written, ())))
        for each in lexicon.candidates(written, offered, reach=near)[1:]:
            for option in self._forms(written, opens, each, bar - self._room):
                if weights.channel * option.channel + weights.frequency * option.prior > bar - self._room:
                    found.append(option)
        found.sort(key=lambda each: -(weights.channel * each.channel + weights.frequency * each.prior))
        return (keep, *found)

    _room = 3.0  # logits below the bar that options still have, to be named as others and to be tuned among

    def _forms(self, written: str, opens: bool, each: Candidate, bar: float) -> Iterable[Option]:
        """The option, and where a context can tell them apart, it with the capital that it may have lost."""
        option = self._option(written, opens, each, bar)
        if option is None:
            return
        yield option
        large = option.text[:1].upper() + option.text[1:]
        if self.reach and large != option.text and written[:1].islower():
            count = self._count(each.text, large, opens)
            if opens or count >= WITHOUT * self.lexicon.times(each.text):
                yield Option(large, option.channel + LOST_CAPITAL, self._log(count))

    def _option(self, written: str, opens: bool, each: Candidate, bar: float) -> Option | None:
        """None where no slip could be likely enough to lift it over the bar."""
        count = each.count if each.kind == "split" else self._count(each.text, written, opens)
        likely = self.weights.channel * (LIKELY + TWICE * max(0, each.distance - 1))
        if likely + self.weights.frequency * self._log(count) <= bar:
            return None
        meant = " ".join(self.lexicon.cased(part, written if at == 0 else part) for at, part in _parts(each.text))
        if written.isupper() and len(written) > 1:
            meant = meant.upper()
        meant = meant.replace("'", "’") if "’" in written else meant
        return Option(meant, self.channel.log(written, each.text), self._log(count))

    def _count(self, word: str, written: str, opens: bool) -> float:
        """How often `word` is met where there are capitals as in what is `written`."""
        forms = self.lexicon.forms(word)
        if opens or (written.isupper() and len(written) > 1) or alone(written):
            return sum(forms.values())
        capital = written[:1].isupper()
        return sum(n if form[:1].isupper() == capital else OTHER_CASE * n for form, n in forms.items())

    def _prior(self, written: str, opens: bool) -> float:
        """log P of a word as it stands, known or not."""
        count = self._count(written, written, opens)
        if count:
            return self._log(count)
        if written.isupper() and len(written) > 1:
            return self._log(self.lexicon.total)  # an abbreviation
        weights = self.weights
        name = weights.name * written[:1].isupper() * (OPENING if opens else 1.0)
        derived = weights.derived * self.lexicon.derived(written)
        return weights.unknown + weights.letter * len(written) + name + derived

    def _log(self, count: float) -> float:
        return log(max(count, 1e-3) / self.lexicon.total)

    @cached_property
    def _commonest(self) -> int:
        return max(self.lexicon.counts.values(), default=0)

    def _merged(self, text: str, one: Word, two: Word) -> Options:
        """Two words as they stand, and as one; () where that is no word, or both are words."""
        parts = text[one.start : one.end], text[two.start : two.end]
        whole = "".join(parts)
        lexicon = self.lexicon
        both = all(part in lexicon for part in parts)
        if both or any(fold(part) in lexicon.own for part in parts):
            return ()
        if two.opens or any(alone(part) for part in parts) or lexicon.times(whole) < JOINED:
            return ()
        priors = [self._prior(part, opens) for part, opens in zip(parts, (one.opens, False), strict=True)]
        merged = lexicon.cased(whole.lower(), parts[0])
        channel = self.channel.log(" ".join(parts), whole)
        return (
            Option(" ".join(parts), 0.0, sum(priors)),
            Option(merged, channel, self._log(self._count(whole, parts[0], one.opens))),
        )

    # --- choosing

    def scores(self, slot: Slot) -> list[float]:
        """The logarithm of the probability of each option, up to a constant."""
        weights, (kept, *others) = self.weights, slot.options
        found = [weights.keep + weights.known * kept.prior + kept.context]
        for each in others:
            found.append(
                weights.misspelt + weights.channel * each.channel + weights.frequency * each.prior + each.context
            )
        return found

    def _shares(self, slot: Slot) -> list[float]:
        """The probability of each option, as far as they are the only ones."""
        scores = self.scores(slot)
        most = max(scores)
        raised = [exp(each - most) for each in scores]
        return [each / sum(raised) for each in raised]

    def _doubt(self, slot: Slot) -> float:
        """That a slot which is left alone is wrong; 0 where it is mended."""
        shares = self._shares(slot)
        return 0.0 if self.margin(slot) > 0 else 1.0 - shares[0]

    def margin(self, slot: Slot) -> float:
        """Logits by which the best option is better than leaving what stands there; a mend has more than 0."""
        kept, *others = self.scores(slot)
        return max(others, default=kept - 1e9) - kept

    def chosen(self, slots: Sequence[Slot]) -> list[tuple[Slot, str]]:
        """The slots that are mended, and with what; in reading order and apart."""
        return [(slot, self._mend(slot).text) for slot in self._open(slots)]

    def _open(self, slots: Sequence[Slot]) -> list[Slot]:
        found: list[tuple[Slot, float]] = []
        for slot in sorted(slots, key=lambda each: (each.start, each.end)):
            margin = self.margin(slot)
            if margin <= 0:
                continue
            # two words as one, or each of them by itself: what has more behind it
            while found and slot.start < found[-1][0].end and margin > found[-1][1]:
                found.pop()
            if not found or found[-1][0].end <= slot.start:
                found.append((slot, margin))
        return [slot for slot, _ in found]

    def _mends(self, slots: Sequence[Slot]) -> tuple[Mend, ...]:
        return tuple(map(self._mend, self._open(slots)))

    def _mend(self, slot: Slot) -> Mend:
        ranked = sorted(zip(self._shares(slot), (each.text for each in slot.options), strict=True), reverse=True)
        (share, text), *others = [each for each in ranked if each[1] != slot.options[0].text]
        others += [each for each in ranked if each[1] == slot.options[0].text]
        others.sort(reverse=True)
        return Mend(slot.start, slot.end, text, share, tuple((each, other) for other, each in others[:SHOWN]))

    # --- made from another

    def with_curve(self, clean: Iterable[str]) -> Corrector:
        """The same corrector with its curve measured on texts that have no misspelling."""
        texts = list(clean)
        words = max(sum(len(self._protection.words(text)) for text in texts), 1)
        margins = sorted((self.margin(slot) for slots in self.slots(texts) for slot in slots), reverse=True)
        open_ = [margin for margin in margins if margin > 0]
        places = sorted({*range(min(FINE, len(open_))), *range(0, len(open_), max(1, len(open_) // FINE))})
        curve = [(at / words, round(open_[at] + 1e-3, 3)) for at in places]  # so many are mended at these logits
        return replace(self, curve=((len(open_) / words, 0.0), *reversed(curve)))

    def within(self, budget: float) -> tuple[Corrector, float]:
        """The same corrector, as strict as its curve says that the budget needs, and the share that it then mends.

        Raises:
            ValueError: the budget is not in [0, 1], or no curve was measured.
        """
        if not 0.0 <= budget <= 1.0 or not self.curve:
            raise ValueError(f"a budget lies in [0, 1], not {budget}, and needs a curve")
        share, over = next((each for each in self.curve if each[0] <= budget), (0.0, NEVER))
        curve = tuple((each, logits - over) for each, logits in self.curve if logits >= over)
        weights = replace(self.weights, keep=self.weights.keep + over)
        return replace(self, weights=weights, curve=curve or ((0.0, 0.0),)), share

    def calibrated(self, clean: Iterable[str], budget: float) -> tuple[Corrector, float]:
        """The same corrector, stricter where it must be so that it mends at most `budget` of the words of `clean`,
        and the share that it does mend there."""
        return self.with_curve(clean).within(budget)

    def with_words(self, more: Iterable[str] | Mapping[str, int]) -> Corrector:
        """The same corrector with words of the user's own."""
        return replace(self, lexicon=self.lexicon.with_words(more))


def _parts(text: str) -> list[tuple[int, str]]:
    return list(enumerate(text.split(" ")))
