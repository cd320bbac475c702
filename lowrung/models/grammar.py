"""What a language model may write, piece by piece: a text with marks put into it, a regular expression, a JSON schema.

By llguidance, which says at each step which pieces can go on; ours are only the grammar of marked texts and the mask.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lowrung.core.answers import NOTHING, marked_label
from lowrung.core.errors import LowrungError, ModelError
from lowrung.core.parts import Question


def copying(question: Question) -> str:
    """The grammar of what `core.answers.parse` reads as Spans: the question's text with pieces as [piece](LABEL) in it.

    Labels are the question's options, or empty where it has none. A blank may come first, as many tokenizers begin a
    text with one.
    """
    close = " | ".join(_quoted(f"]({marked_label(each)})") for each in question.options or ("",))
    rules = ['start: " "? o0', f"close: {close}"]
    letters = [_quoted("\\" + each if each in "\\[]" else each) for each in question.text]
    rules += [f'o{at}: {each} o{at + 1} | "[" {each} i{at + 1}' for at, each in enumerate(letters)]
    rules += [f"i{at}: {each} i{at + 1} | close o{at}" for at, each in enumerate(letters) if at]
    rules.append(f"i{len(letters)}: close o{len(letters)}")
    return "\n".join((*rules, f'o{len(letters)}: ""'))


def listing(question: Question) -> str:
    """The grammar of what `core.answers.parse` reads as Choices: some of the options, one a line, or `NOTHING`.

    They come in the order in which `core.answers.write` puts them; a tokenizer without line breaks has semicolons.
    """
    options = [_quoted(each) for each in sorted(question.options)]
    rules = [f'start: " "? (l0 | {_quoted(NOTHING)})' if options else f'start: " "? {_quoted(NOTHING)}']
    for at, each in enumerate(options):
        rules.append(f"l{at}: {each}" + (f' (("\\n" | "; ") l{at + 1})? | l{at + 1}' if at + 1 < len(options) else ""))
    return "\n".join(rules)


def of_regex(pattern: str) -> str:
    """The grammar of the texts that match a regular expression (of Rust's crate regex, without look-around)."""
    return str(_llguidance().LLMatcher.grammar_from_regex(pattern))


def of_schema(schema: str | Mapping[str, Any]) -> str:
    """The grammar of JSON that a JSON schema allows, without blanks that mean nothing."""
    told = schema if isinstance(schema, str) else json.dumps(schema)
    return str(_llguidance().LLMatcher.grammar_from_json_schema(told, overrides={"whitespace_flexible": False}))


@lru_cache(maxsize=64)
def of_check(schema: str) -> str:
    """`of_schema`, "" where the schema says what llguidance cannot hold writing to (`not`, `uniqueItems`)."""
    grammar = of_schema(schema)
    return "" if _llguidance().LLMatcher.validate_grammar(grammar) else grammar


def matchers(tokenizer: Any, grammars: Sequence[str], ends: tuple[int, ...]) -> list[Any]:
    """What follows each grammar piece by piece; None for "".

    Raises:
        ModelError: a grammar is none, the tokenizer is of a kind that llguidance cannot read, or it is not installed.
    """
    made: list[Any] = []
    for grammar in grammars:
        if not grammar:
            made.append(None)
            continue
        found = _llguidance().LLMatcher(_readable(tokenizer, ends), grammar, log_level=0)
        if found.is_error():
            raise ModelError(f"no grammar to write by: {' '.join(found.get_error().split())[:200]}")
        made.append(found)
    return made


BLANK = "▁"  # what sentencepiece writes for one


class Within:
    """Leaves at each step only the pieces that go on within a grammar; the end, where none does. Of transformers'
    generate it is a logits processor.

    Args:
        matchers: one a prompt, None for anything. width: pieces before what is written. beams: rows a prompt.
    """

    def __init__(self, matchers: Sequence[Any], *, width: int, beams: int, ends: tuple[int, ...]) -> None:
        self.width, self.beams, self.ends = width, beams, list(ends)
        self.states: list[dict[tuple[int, ...], Any]] = [{} if each is None else {(): each} for each in matchers]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(R, T), (R, V) -> (R, V)"""
        made = scores.clone()
        written = [tuple(row[self.width :].tolist()) for row in input_ids]
        for at, row in enumerate(written):
            states = self.states[at // self.beams]
            if not states:  # anything
                continue
            state = self._state(states, row)
            allowed = torch.zeros(scores.shape[1], dtype=torch.bool)
            if state:
                bits = np.unpackbits(np.frombuffer(state.compute_bitmask(), np.uint8), bitorder="little")
                size = min(len(bits), len(allowed))
                allowed[:size] = torch.from_numpy(bits[:size].astype(bool))
            if not bool(allowed.any()):
                allowed[self.ends] = True
            made[at] = made[at].masked_fill(~allowed, -torch.inf)
        for number, states in enumerate(self.states):  # what no row has written is not gone on from
            held = set(written[number * self.beams : (number + 1) * self.beams])
            self.states[number] = {row: each for row, each in states.items() if row in held}
        return made

    def _state(self, states: dict[tuple[int, ...], Any], row: tuple[int, ...]) -> Any:
        """The matcher after a row of pieces, False where the grammar is at its end."""
        if row not in states:
            before = states[row[:-1]]
            after = before.deep_copy() if before and self.beams > 1 else before
            states[row] = after if after and not after.is_stopped() and after.consume_token(row[-1]) else False
        found = states[row]
        return False if found and found.is_stopped() else found


def _quoted(text: str) -> str:
    """As a string of a grammar, in which no control character stands as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _llguidance() -> Any:
    try:
        import llguidance
        import llguidance.hf
    except ImportError:
        raise LowrungError("writing within a grammar needs llguidance: pip install 'lowrung[writing]'") from None
    return llguidance


class _Pieces:
    """A tokenizer whose pieces begin with `BLANK` where a word does, in the form that llguidance asks for."""

    def __init__(self, tokenizer: Any, end: int) -> None:
        names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.tokens = [(name or "").replace(BLANK, " ").encode() for name in names]
        self.eos_token_id, self.bos_token_id = end, tokenizer.bos_token_id
        self.special_token_ids = list(tokenizer.all_special_ids)
        self._tokenizer = tokenizer

    def __call__(self, text: bytes | str) -> list[int]:
        told = text if isinstance(text, str) else text.decode("utf-8", "replace")
        return list(self._tokenizer(told, add_special_tokens=False)["input_ids"])


@lru_cache(maxsize=4)
def _readable(tokenizer: Any, ends: tuple[int, ...]) -> Any:
    """The tokenizer as llguidance reads it; of sentencepiece's, which it cannot read, the pieces."""
    try:
        return _llguidance().hf.from_tokenizer(tokenizer, eos_token=list(ends) or None)
    except ValueError as problem:
        if ends and any(piece.startswith(BLANK) for piece in tokenizer.get_vocab()):
            wrapped = _llguidance().TokenizerWrapper(_Pieces(tokenizer, ends[0]))
            return _llguidance().LLTokenizer(wrapped, eos_token=list(ends))
        told = " ".join(str(problem).split())
        raise ModelError(f"llguidance cannot read the tokenizer {type(tokenizer).__name__}: {told}") from problem
