"""Language models of transformers, causal or sequence-to-sequence: how likely continuations are, and what they write.

Letters of shapes: models/batch.py, and V pieces of the vocabulary.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from inspect import signature
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lowrung.core.errors import ModelError, unknown
from lowrung.models.batch import pad
from lowrung.models.catalog import OWN, fetched, from_transformers, longest, weights_checksum
from lowrung.models.grammar import Within, matchers
from lowrung.models.text import Source

DEFAULT = "writer-en"
ABOUT = "writer.json"  # in the folder of a writer that this project has trained
BUDGET = 4096  # pieces of prompts at once, padding counted
ROWS = 32  # prompts at once where they are continued
FANNED = 16384  # pieces of prompts and options at once
IGNORED = -100  # the target of a piece that is not learnt


class Continued(NamedTuple):
    """How likely a text is after a prompt: the sum of its pieces' log-probabilities (nats), and their number."""

    log: float
    pieces: int


class Written(NamedTuple):
    """What was written after a prompt, the sum of its log-probabilities, and whether it came to its own end."""

    text: str
    log: float
    whole: bool


class Pair(NamedTuple):
    """A prompt and what follows it, in pieces; the first `known` pieces of the latter are of the prompt, too."""

    prompt: tuple[int, ...]
    rest: tuple[int, ...]
    known: int = 0


class LanguageModel:
    """A language model that continues prompts.

    Args:
        tokenizer, model: of transformers; a sequence-to-sequence model reads the prompt and writes the continuation.
        source: where it came from.
        chats: whether it has a chat template. longest: pieces of a prompt and its continuation together.
    """

    def __init__(self, tokenizer: Any, model: Any, source: Source) -> None:
        self.tokenizer, self.model, self.source = tokenizer, model.eval(), source
        self.twofold = bool(model.config.is_encoder_decoder)
        self.chats = bool(getattr(tokenizer, "chat_template", None))
        self.longest = longest(tokenizer, model.config)
        told = model.generation_config.eos_token_id
        told = tokenizer.eos_token_id if told is None else told
        self.ends: tuple[int, ...] = tuple(told) if isinstance(told, list | tuple) else () if told is None else (told,)
        takes = signature(model.forward).parameters
        self._placed, self._lean = "position_ids" in takes, "logits_to_keep" in takes
        begins = (tokenizer.bos_token_id, *self.ends, tokenizer.pad_token_id, 0)
        self.begin: int = next(each for each in begins if each is not None)  # what stands before an empty prompt
        bare = tokenizer("a", add_special_tokens=True)["input_ids"]
        self._front = [self.begin] if bare and bare[0] == tokenizer.bos_token_id else []
        self._fill: int = next(each for each in (tokenizer.pad_token_id, *self.ends, 0) if each is not None)

    def chat(self, messages: Sequence[tuple[str, str]]) -> str:
        """A prompt by the model's own template, of (role, text) turns that begin with «system».

        A template that knows no such role has its words before those of the first user.
        """
        turns = [{"role": role, "content": text} for role, text in messages]
        first = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
        for each in (turns, [first, *turns[2:]]):
            try:
                made: str = self.tokenizer.apply_chat_template(
                    each, tokenize=False, add_generation_prompt=True, enable_thinking=False
                )
            except Exception as problem:  # of jinja, or whatever a template raises
                told = problem
                continue
            return made
        raise ModelError(f"{self.source.name}: its chat template fails: {str(told).strip().splitlines()[0]}")

    def pieces(self, text: str) -> list[int]:
        """A prompt as the model reads it, with its special pieces."""
        if self.twofold:
            return list(self.tokenizer(text, verbose=False)["input_ids"])  # its length is ours to look after
        front = [] if self.chats else self._front
        return [*front, *self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]

    def pairs(self, prompt: str, continuations: Sequence[str], *, ended: bool) -> list[Pair]:
        """The prompt with each continuation, cut into pieces together, all with the same beginning in common.

        Args:
            ended: whether the piece that ends an answer belongs to each.

        Raises:
            ModelError: a continuation alone is longer than what the model reads.
        """
        if not continuations:
            return []
        end, base = self.ends[:1] if ended else (), tuple(self.pieces(prompt))
        if self.twofold:
            cut = self.tokenizer(text_target=list(continuations), add_special_tokens=False)["input_ids"]
            return [Pair(base[-self.longest :], (*rest, *end)) for rest in cut]
        wholes = [(*self.pieces(prompt + each), *end) for each in continuations]
        known = [_common(whole, base) for whole in wholes]
        shared = min(known)
        room = self.longest - max(len(whole) - shared for whole in wholes)
        if room < 1:
            raise ModelError(f"{self.source.name} reads {self.longest} pieces, and an answer alone has more")
        kept = base[:shared][-room:] or (self.begin,)
        return [Pair(kept, whole[shared:], at - shared) for whole, at in zip(wholes, known, strict=True)]

    def option_scores(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]], *, ended: bool = False
    ) -> list[list[Continued]]:
        """How likely each option is as the continuation of its prompt, as it stands: blanks between them are yours.

        A prompt is read once for all of its options. One that is too long loses its beginning.

        Args:
            prompts: N texts. options: N lists of texts, of any lengths.
            ended: whether an option has to end there.

        Raises:
            ModelError: an option alone is longer than what the model reads.
        """
        groups = [self.pairs(prompt, each, ended=ended) for prompt, each in zip(prompts, options, strict=True)]
        flat = iter(self.logs(groups))
        return [[_sum(pair, next(flat)) for pair in group] for group in groups]

    @torch.inference_mode()
    def logs(self, groups: Sequence[Sequence[Pair]]) -> list[list[float]]:
        """Log-probabilities of the pieces of each rest, in order; the pairs of a group have their prompt in common."""
        found: list[list[list[float]]] = [[] for _ in groups]
        for places in self._batches([group[0].prompt if group else () for group in groups]):
            asked = [(at, pair) for at, place in enumerate(places) for pair in groups[place]]
            if asked:
                prompts = [groups[place][0].prompt if groups[place] else (self._fill,) for place in places]
                owners, rests = [at for at, _ in asked], [pair.rest for _, pair in asked]
                for (at, _), row in zip(asked, self._fanned(prompts, owners, rests), strict=True):
                    found[places[at]].append(row)
        return [row for group in found for row in group]

    def _fanned(
        self, prompts: Sequence[Sequence[int]], owners: Sequence[int], rests: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """Log-probabilities of `rests`, of which each follows the prompt of its owner; each prompt is read once."""
        ids, mask = self._padded(prompts, left=not self.twofold)
        state = self._read(ids, mask)
        if not self.twofold and state.past_key_values is None:  # it keeps no state that could be shared
            joined = [Pair(tuple(prompts[at]), tuple(rest)) for at, rest in zip(owners, rests, strict=True)]
            return [row for pair in joined for row in self._plainly([pair])]
        made, size = list[list[float]](), max(1, FANNED // (ids.shape[1] + max(map(len, rests), default=0)))
        for first in range(0, len(rests), size):
            chosen, part = torch.tensor(owners[first : first + size]), rests[first : first + size]
            last = first + size >= len(rests)
            logits = self._after(state if last else copy.deepcopy(state), mask, chosen, part)
            made += _picked(logits.log_softmax(-1), part)
        return made

    def _read(self, ids: Tensor, mask: Tensor) -> Any:
        """What the model makes of prompts, before anything follows."""
        if self.twofold:
            return self.model.get_encoder()(input_ids=ids, attention_mask=mask)
        lean = {"logits_to_keep": 1} if self._lean else {}
        return self.model(input_ids=ids, attention_mask=mask, use_cache=True, **self._places(mask), **lean)

    def _after(self, state: Any, mask: Tensor, owners: Tensor, rests: Sequence[Sequence[int]]) -> Tensor:
        """Logits of each piece of `rests`, padded.  -> (M, T, V)"""
        ids, own = self._padded(rests, left=False)
        if self.twofold:
            start = torch.full((len(ids), 1), self._start)
            encoded = type(state)(last_hidden_state=state.last_hidden_state[owners])
            given = torch.cat([start, ids[:, :-1]], 1)
            return self.model(  # type: ignore[no-any-return]
                encoder_outputs=encoded, attention_mask=mask[owners], decoder_input_ids=given, use_cache=False
            ).logits
        first = state.logits[owners, -1:]  # what comes first is said by the prompt alone
        if ids.shape[1] < 2:
            return first  # type: ignore[no-any-return]
        state.past_key_values.reorder_cache(owners)
        whole = torch.cat([mask[owners], own[:, :-1]], 1)
        places = {name: each[:, mask.shape[1] :] for name, each in self._places(whole).items()}
        cache = state.past_key_values
        later = self.model(input_ids=ids[:, :-1], attention_mask=whole, past_key_values=cache, use_cache=True, **places)
        return torch.cat([first, later.logits], 1)

    def loss(self, pairs: Sequence[Pair]) -> tuple[Tensor, int]:
        """The mean cross-entropy of the pieces of the rests, each given those before it, and how many were read."""
        logits, targets, read = self._forward(pairs)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()), read

    def _plainly(self, pairs: Sequence[Pair]) -> list[list[float]]:
        """Log-probabilities of the pieces of each rest, by one pass over all."""
        logits, targets, _ = self._forward(pairs)
        logs = logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        return [row[asked].tolist() for row, asked in zip(logs, targets != IGNORED, strict=True)]

    def _forward(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor, int]:
        """(logits (B, T, V), targets (B, T), pieces read); what is not of the rests has IGNORED as its target."""
        if self.twofold:
            ids, mask = self._padded([pair.prompt for pair in pairs], left=False)
            rests, own = self._padded([pair.rest for pair in pairs], left=False)
            given = torch.cat([torch.full((len(pairs), 1), self._start), rests[:, :-1]], 1)
            logits = self.model(input_ids=ids, attention_mask=mask, decoder_input_ids=given, use_cache=False).logits
            return logits, rests.masked_fill(~own.bool(), IGNORED), int(mask.sum() + own.sum())
        ids, mask = self._padded([(*pair.prompt, *pair.rest) for pair in pairs], left=False)
        targets = ids.masked_fill(~mask.bool(), IGNORED)
        for row, pair in zip(targets, pairs, strict=True):
            row[: len(pair.prompt) + pair.known] = IGNORED
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return logits[:, :-1], targets[:, 1:], int(mask.sum())

    @torch.inference_mode()
    def write(
        self,
        prompts: Sequence[str],
        most: Sequence[int],
        grammars: Sequence[str] = (),
        *,
        beams: int = 1,
    ) -> list[Written]:
        """The likeliest continuation of each prompt, by a beam of so many (1: greedily), up to an end piece.

        Args:
            most: pieces of each continuation at most. grammars: of models.grammar, one a prompt, "" for none.

        Raises:
            ModelError: a grammar is none, or llguidance is not installed or cannot read the tokenizer.
        """
        cut = [tuple(self.pieces(each)) or (self.begin,) for each in prompts]
        told = list(grammars) or [""] * len(prompts)
        room = [self.longest if self.twofold else self.longest - len(each) for each in cut]
        bounds = [max(0, min(each)) for each in zip(most, room, strict=True)]
        made = [Written("", 0.0, False)] * len(prompts)
        able = [at for at, bound in enumerate(bounds) if bound > 0 and len(cut[at]) <= self.longest]
        for places in self._batches([cut[at] for at in able], rows=ROWS):
            chosen = [able[place] for place in places]
            rows = self._generated([cut[at] for at in chosen], [bounds[at] for at in chosen], chosen, told, beams)
            logs = self.logs([[Pair(cut[at], row)] for at, row in zip(chosen, rows, strict=True)])
            for at, row, log in zip(chosen, rows, logs, strict=True):
                whole = bool(row) and row[-1] in self.ends
                text = self.tokenizer.decode(
                    [each for each in row if each not in self.ends],
                    skip_special_tokens=True,
                    clean_up_tokenization_spaces=False,
                )
                made[at] = Written(text, sum(log), whole)
        return made

    def _generated(
        self,
        prompts: Sequence[Sequence[int]],
        most: Sequence[int],
        places: Sequence[int],
        grammars: Sequence[str],
        beams: int,
    ) -> list[tuple[int, ...]]:
        from transformers import LogitsProcessorList

        ids, mask = self._padded(prompts, left=not self.twofold)
        told = copy.deepcopy(self.model.generation_config)
        told.update(do_sample=False, num_beams=beams, max_length=None, min_length=0, max_new_tokens=max(most))
        told.update(temperature=1.0, top_p=1.0, top_k=50, use_cache=True, pad_token_id=self._fill)
        told.update(eos_token_id=list(self.ends) or None, return_dict_in_generate=False)
        width = 1 if self.twofold else ids.shape[1]
        processors = LogitsProcessorList()
        if any(grammars[at] for at in places):
            made = matchers(self.tokenizer, [grammars[at] for at in places], self.ends)
            processors.append(Within(made, width=width, beams=beams, ends=self.ends))
        found = self.model.generate(
            input_ids=ids, attention_mask=mask, generation_config=told, logits_processor=processors
        )
        rows = []
        for row, bound in zip(found[:, width:].tolist(), most, strict=True):
            kept = tuple(takewhile(lambda piece: piece not in self.ends, row[:bound]))
            rows.append((*kept, *row[len(kept) : len(kept) + 1]) if len(kept) < bound else kept)
        return rows

    @property
    def _start(self) -> int:
        told = self.model.generation_config.decoder_start_token_id
        found = self.model.config.decoder_start_token_id if told is None else told
        return int(self._fill if found is None else found)

    def _places(self, mask: Tensor) -> dict[str, Tensor]:
        """Positions counted from the first piece that is no padding."""
        return {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)} if self._placed else {}

    def _padded(self, rows: Sequence[Sequence[int]], *, left: bool) -> tuple[Tensor, Tensor]:
        """(ids, mask), both (B, T)"""
        tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
        if left:
            tensors = [each.flip(0) for each in tensors]
        ids, mask = pad(tensors, self._fill), pad([torch.ones_like(each) for each in tensors])
        return (ids.flip(1), mask.flip(1)) if left else (ids, mask)

    def _batches(self, prompts: Sequence[Sequence[int]], *, rows: int = 256) -> Iterator[list[int]]:
        """Places of prompts of like length; of one length where the model cannot be told where padding ends."""
        part: list[int] = []
        for at in sorted(range(len(prompts)), key=lambda each: len(prompts[each])):
            size = max(len(prompts[at]), 1)
            apart = not (self._placed or self.twofold) and part and len(prompts[part[0]]) != len(prompts[at])
            if part and (size * (len(part) + 1) > BUDGET or len(part) >= rows or apart):
                yield part
                part = []
            part.append(at)
        if part:
            yield part


def _common(one: Sequence[int], two: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))


def _sum(pair: Pair, logs: Sequence[float]) -> Continued:
    return Continued(sum(logs[pair.known :]), len(pair.rest) - pair.known)


def _picked(logs: Tensor, rests: Sequence[Sequence[int]]) -> list[list[float]]:
    """(M, T, V) -> of each rest the log-probabilities of its pieces"""
    made = []
    for row, rest in zip(logs, rests, strict=True):
        ids = torch.tensor(rest, dtype=torch.long)
        made.append(row[: len(rest)].gather(1, ids[:, None])[:, 0].tolist())
    return made


def embedded() -> dict[str, str]:
    """Name → one line, of the writers that need no download."""
    folders = sorted(file.parent for file in OWN.glob(f"writer-*/{ABOUT}"))
    return {each.name: str(json.loads((each / ABOUT).read_text("utf-8"))["about"]) for each in folders}


def is_writer(name: str | Path) -> bool:
    """Whether a model's name is that of a language model: an embedded one, or a folder or hub id of one.

    A hub id is fetched to tell, as it would be to be used.
    """
    return bool(name) and (str(name) == DEFAULT or str(name) in embedded() or _kind(_folder(str(name))) != "")


@lru_cache(maxsize=2)
def language_model(name: str = DEFAULT) -> LanguageModel:
    """The language model of that name. Nobody may train what this returns: it is shared.

    Raises:
        ModelError: no such name or folder, or one that holds no language model.
    """
    import transformers

    known = name in embedded()
    if not known and name == DEFAULT:
        raise ModelError(
            f"{DEFAULT}: the embedded writer is not in this installation; python -m recipes.writer_en "
            f"recipes/writer-en.toml --out runs/{DEFAULT} trains it. Or name a folder or a hub id: --model FOLDER"
        )
    folder = OWN / name if known else _folder(name)
    if folder is None:
        raise ModelError(f"{unknown('writer', name, embedded())} A local folder or a hub id would do as well.")
    kind = _kind(folder)
    if not kind:
        raise ModelError(f"{name}: its config.json names no causal or sequence-to-sequence language model")
    loader = transformers.AutoModelForCausalLM if kind == "causal" else transformers.AutoModelForSeq2SeqLM
    tokenizer, model = from_transformers(str(folder), loader)
    source = Source(name if known or folder != Path(name) else str(folder.resolve()), weights_checksum(folder))
    return LanguageModel(tokenizer, model.requires_grad_(False), source)


def _folder(name: str) -> Path | None:
    if Path(name).is_dir():
        return Path(name)
    of_hub = not name.startswith((".", "/", "~")) and name.count("/") == 1 and not Path(name).exists()
    return fetched(name) if of_hub else None


def _kind(folder: Path | None) -> str:
    """«causal» or «twofold» by what config.json says was saved, "" for anything else; a body with a pooling is one."""
    if folder is None or (folder / "1_Pooling").is_dir() or not (folder / "config.json").is_file():
        return ""
    try:
        told = (json.loads((folder / "config.json").read_text("utf-8")).get("architectures") or [""])[0]
    except (ValueError, AttributeError, LookupError):
        return ""
    from transformers.models.auto import modeling_auto

    for kind, table in (
        ("twofold", modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
        ("causal", modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
    ):
        if any(told == each or (isinstance(each, tuple) and told in each) for each in table.values()):
            return kind
    return ""
