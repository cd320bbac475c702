"""Train writer-en from scratch: a small Llama that writes, by raw text and by instructions that it answers itself.

    python -m recipes.writer_en recipes/writer-en.toml --steps 2000 --out runs/writer-en

Half of what it reads is raw text; the other half are questions in the product's own wording (models/wording.py), made
without labels (recipes/writer_rows.py): copying, mending damaged words, going on, the word that stood in a gap, marking
names found by rules, letters of words. It learns the answers of the latter. Stops at --minutes or --steps, whichever is
first; cut off, it goes on from its last checkpoint, on the CPU or on a CUDA card (--device). What ships is the folder
`body` in --out; the same command with no step left writes it anew, and one with more steps goes on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from lowrung.core.answers import Choice, Spans, Text, write
from lowrung.data.noise import noise
from lowrung.data.raw import documents
from lowrung.models.batch import autocast, mapped
from lowrung.models.language_model import ABOUT, language_model
from lowrung.models.wording import given, instructed, plain
from lowrung.models.writer import TextWriter
from recipes import training
from recipes.lexicon_en import DATA
from recipes.writer_rows import Row, Source, makers, row

SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
PAD, END = 0, 1
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
UNASKED = -100  # the target of a piece that is not learnt
EXAM = 4  # batches to measure on
MEASURED = 20  # lessons that the card's numbers are of
ASKED, EACH = 40, 10  # rounds of documents, and rows of each, likewise
COUNTED = 400  # rounds of documents that pieces are counted on
BYTES = 4  # a piece, at most on average: of a document so much is cut into pieces


class Documents:
    """Rounds of one document a place, endless; a file that ends begins anew."""

    def __init__(self, shares: Mapping[str, int], *, held_out: bool) -> None:
        self.shares, self.held_out = shares, held_out

    def __iter__(self) -> Iterator[list[Source]]:
        streams = [self._of(name) for name, often in self.shares.items() for _ in range(often)]
        while True:
            yield [next(stream) for stream in streams]

    def _of(self, name: str) -> Iterator[Source]:
        while True:
            for lines in documents([DATA / f"{name}.txt.xz"], held_out=self.held_out):
                yield Source.of(lines, name)


def tokenizer_of(settings: Mapping[str, Any], out: Path) -> Any:
    """The pieces, counted on raw text and on instructions, or as they were counted before."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    file = out / "pieces.json"
    if not file.is_file():
        random, kinds = Random(settings["seed"]), makers(noise(settings["language"]), settings["damage"])
        texts = list[str]()
        for sources in islice(Documents(settings["text"], held_out=False), COUNTED):
            texts += ["\n".join(source.lines)[:3000] for source in sources]
            rows = [row(sources, kinds, random, settings["longest"]) for _ in range(len(sources))]
            texts += ["\n".join(part for _, part in parts(each)) for each in rows]
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=settings["pieces"],
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
        out.mkdir(parents=True, exist_ok=True)
        inner.save(str(file))
    made = PreTrainedTokenizerFast(
        tokenizer_file=str(file),
        pad_token=SPECIAL[PAD],
        eos_token=SPECIAL[END],
        additional_special_tokens=list(SPECIAL[2:]),
        model_max_length=settings["positions"],
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = TEMPLATE
    return made


def parts(each: Row) -> list[tuple[str, str]]:
    """(role, text) of a row's three turns, the answer last."""
    question, shape = each.question, type(each.answer)
    turns = (instructed(question, shape), given(question), write(each.answer, question))
    return [(role, plain(text)) for role, text in zip(("system", "user", "assistant"), turns, strict=True)]


@dataclass(frozen=True)
class Lesson:
    """Windows of pieces.  ids, targets: (B, T), targets UNASKED where nothing is learnt · raw: (B,) · size: () bytes

    Args:
        targets: the piece that follows each. raw: which windows are raw text. size: of the raw text's targets.
    """

    ids: Tensor
    targets: Tensor
    raw: Tensor
    size: Tensor

    def pin_memory(self) -> Lesson:
        return mapped(self, Tensor.pin_memory)


class Rows(IterableDataset[Lesson]):
    """Endless lessons, one of each round of documents, the same ones however many workers make them."""

    def __init__(
        self, settings: Mapping[str, Any], tokenizer: Any, *, size: int, held_out: bool, step: int = 0
    ) -> None:
        self.settings, self.tokenizer, self.size = settings, tokenizer, size
        self.held_out, self.step = held_out, step
        self.kinds = makers(noise(settings["language"]), settings["damage"])

    def __iter__(self) -> Iterator[Lesson]:
        own, workers = training.turn()
        rounds = islice(Documents(self.settings["text"], held_out=self.held_out), self.step, None)
        for number, sources in zip(count(self.step), rounds, strict=False):
            if (number - self.step) % workers == own:
                yield self.lesson(sources, Random(f"{self.settings['seed']} {self.held_out} {number}"))

    def lesson(self, sources: Sequence[Source], random: Random) -> Lesson:
        length = self.settings["positions"] + 1
        plainly = round(self.settings["raw"] * self.size)
        windows = [(ids, ids) for ids in (self._raw(sources, random, length) for _ in range(plainly))]
        windows += [self._asked(sources, random, length) for _ in range(self.size - plainly)]
        ids = torch.tensor([each[:-1] for each, _ in windows])
        targets = torch.tensor([each[1:] for _, each in windows])
        raw = torch.arange(self.size) < plainly
        size = sum(len(self.tokenizer.decode(each[1:]).encode()) for each, _ in windows[:plainly])
        return Lesson(ids, targets, raw, torch.tensor(float(size)))

    def _raw(self, sources: Sequence[Source], random: Random, length: int) -> list[int]:
        """Text from the start of a line on, of as many documents as fill a window."""
        found = list[int]()
        while len(found) < length:
            lines = random.choice(sources).lines
            if lines:
                text = "\n".join(lines[random.randrange(len(lines)) :])[: BYTES * length]
                found += [*self.tokenizer.encode(text, verbose=False), END]
        return found[:length]

    def _asked(self, sources: Sequence[Source], random: Random, length: int) -> tuple[list[int], list[int]]:
        """Rows one behind the other; only their answers are learnt."""
        ids, targets = list[int](), list[int]()
        while len(ids) < length:
            turns = parts(row(sources, self.kinds, random, self.settings["longest"]))
            asked = self.tokenizer.encode("".join(f"<|{role}|>{text}" for role, text in turns[:-1]) + "<|assistant|>")
            answer = [*self.tokenizer.encode(turns[-1][1]), END]
            ids += asked + answer
            targets += [UNASKED] * len(asked) + answer
        return ids[:length], targets[:length]


class School(nn.Module):
    def __init__(self, settings: Mapping[str, Any], size: int) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        super().__init__()
        torch.manual_seed(settings["seed"])
        config = LlamaConfig(
            vocab_size=size,
            hidden_size=settings["width"],
            intermediate_size=settings["inner"],
            num_hidden_layers=settings["layers"],
            num_attention_heads=settings["heads"],
            num_key_value_heads=settings["heads"],
            max_position_embeddings=settings["positions"],
            tie_word_embeddings=True,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=END,
        )
        self.model: Any = LlamaForCausalLM(config)

    def work(self, lesson: Lesson) -> tuple[int, float]:
        tokens = lesson.ids.numel()
        return tokens, 6.0 * tokens * (training.products([self.model]))

    def loss(self, lesson: Lesson) -> tuple[Tensor, dict[str, Tensor]]:
        with autocast(lesson.ids.device):
            said = self.model(input_ids=lesson.ids, use_cache=False).logits
        asked = lesson.targets != UNASKED
        said, targets = said[asked].float(), lesson.targets[asked]
        each = F.cross_entropy(said, targets, reduction="none")
        raw = lesson.raw[:, None].expand_as(asked)[asked]
        right = (said.detach().argmax(1) == targets).float()
        facts = {
            "bits_a_byte": (each * raw).sum() / math.log(2) / lesson.size,
            "answers": _mean(each, ~raw),
            "answers_right": _mean(right, ~raw),
        }
        loss = _mean(each, raw) + _mean(each, ~raw)  # answers are few, and count as much as all that is raw
        return loss, {name: value.detach() for name, value in facts.items()}


def _mean(values: Tensor, among: Tensor) -> Tensor:
    return (values * among).sum() / among.sum().clamp(min=1)


def practise(settings: dict[str, Any], out: Path, *, steps: int, minutes: float, device: torch.device) -> None:
    tokenizer, size = tokenizer_of(settings, out), training.size_of(settings, device)
    school = School(settings, len(tokenizer)).to(device)
    training.compiled(school.model.model.layers, device)
    moving = dict(school.named_parameters())
    course = training.Course(
        moving,
        training.adam({settings["lr"]: list(moving.values())}, betas=(0.9, 0.98)),
        school.loss,
        school.work,
        size=size,
        warm=settings["warm"],
        every=settings["report_seconds"],
    )
    done = training.resume(out, moving, course.optimizer)
    exam = list(islice(Rows(settings, tokenizer, size=settings["batch"], held_out=True), EXAM))
    rows = Rows(settings, tokenizer, size=size, held_out=False, step=done.get("step", 0))
    batches = training.loader(rows, device)
    facts = training.descend(course, batches, exam, out, done=done, steps=steps, minutes=minutes)
    school.cpu().eval()
    folder = out / "body"
    school.model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    told = {"about": settings["about"], "recipe": settings, **facts, "measured": measured(folder, settings)}
    (folder / ABOUT).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")


def measured(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """On documents that are held out: bits a byte of raw text, and of each kind of rows (those right, all).

    Right is the whole answer, as models.writer gives it; of choices, `chance` is what guessing would get.
    """
    base, random = language_model(str(folder)), Random(settings["seed"])
    lessons = list(islice(Rows(settings, base.tokenizer, size=settings["batch"], held_out=True), MEASURED))
    school = School(settings, len(base.tokenizer))
    school.model = base.model
    with torch.no_grad():
        bits = sum(float(school.loss(each)[1]["bits_a_byte"]) for each in lessons) / len(lessons)
    kinds = makers(noise(settings["language"]), settings["damage"])
    rounds = islice(Documents(settings["text"], held_out=True), ASKED)
    rows = [row(sources, kinds, random, settings["longest"]) for sources in rounds for _ in range(EACH)]
    rows = [each for each in rows if each.kind != "continue"]  # which has more than one right answer
    found: dict[str, list[float]] = {}
    for shape in (Choice, Spans, Text):
        asked = [each for each in rows if isinstance(each.answer, shape)]
        said = TextWriter(base, shape).answer([each.question for each in asked])
        for each, one in zip(asked, said, strict=True):
            kind = f"{each.kind}, {shape.__name__}"
            right, number, chance = found.get(kind, (0.0, 0.0, 0.0))
            guess = 1 / len(each.question.options) if shape is Choice else 0.0
            found[kind] = [right + (one.answer == each.answer), number + 1, chance + guess]
    told = {
        kind: {"right": int(right), "rows": int(number), "chance": round(chance / number, 3)}
        for kind, (right, number, chance) in sorted(found.items())
    }
    return {"bits_a_byte": round(bits, 4), "rows": told}


if __name__ == "__main__":
    training.run(practise, __doc__ or "", minutes=1e6)
