"""Language models as Models: tiny ones with random weights, by themselves, in a study and on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tiny_encoder import TOPICS, write_tiny_encoder
from tiny_writer import SYSTEMLESS, TEMPLATE, write_tiny_writer

from lowrung.cli import main
from lowrung.core.answers import Choice, Choices, Prediction, Span, Spans, Text, parse, write
from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.models import grammar, tuned_writer
from lowrung.models.language_model import Continued, LanguageModel, Written, is_writer, language_model
from lowrung.models.training import Settings
from lowrung.models.tuned_writer import fit_shots, fit_writer, loosened_model
from lowrung.models.tuning import Full, LoRA, Top
from lowrung.models.writer import TextWriter, _joined, load_writer, moving, writer_for
from lowrung.run.fit import fit
from lowrung.run.ship import load
from lowrung.run.study import study
from lowrung.tasks import task

KINDS = ("llama", "gpt2", "t5")
ODD = "Ada [sic] met “Grace” in\nLöndon \\ 東京 \x07."
TOPIC = task("topic").with_options(("billing", "delivery"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("writers")
    made = {kind: write_tiny_writer(home / kind, kind) for kind in KINDS}
    made |= {f"{kind} plain": write_tiny_writer(home / f"{kind}-plain", kind, template="") for kind in KINDS}
    made["systemless"] = write_tiny_writer(home / "systemless", template=SYSTEMLESS)
    return made | {"short": write_tiny_writer(home / "short", positions=160)}


@pytest.fixture
def model(folders: dict[str, Path], request: pytest.FixtureRequest) -> LanguageModel:
    return language_model(str(folders[request.param]))


def asked(text: str, *options: str, instruction: str = "mark the names") -> Question:
    return Question((text,), instruction, options)


def unmarked(question: Question) -> str:
    """The grammar of the text alone."""
    return f'start: " "? {json.dumps(question.text)}'


# --- how likely a continuation is


@pytest.mark.parametrize("model", KINDS, indirect=True)
def test_scores_are_those_of_a_plain_pass(model: LanguageModel) -> None:
    prompt, option = "The cat sat on", " the mat"
    (found,) = model.option_scores([prompt], [[option]])[0:1][0]
    ids = model.tokenizer(prompt + option, add_special_tokens=False)["input_ids"]
    size = len(model.tokenizer(option, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        if model.twofold:
            rest = torch.tensor([ids[-size:]])
            given = {"decoder_input_ids": torch.cat([torch.tensor([[0]]), rest[:, :-1]], 1)}
            logs = model.model(input_ids=torch.tensor([[*ids[:-size], 1]]), **given).logits[0].log_softmax(-1)
        else:
            logs = model.model(input_ids=torch.tensor([ids])).logits[0, -size - 1 : -1].log_softmax(-1)
    assert found.pieces == size
    assert found.log == pytest.approx(float(logs.gather(1, torch.tensor(ids[-size:])[:, None]).sum()), abs=1e-3)


@pytest.mark.parametrize("model", [*KINDS, "gpt2 plain"], indirect=True)
@pytest.mark.parametrize("placed", [True, False])
def test_a_prompt_read_once_says_what_single_passes_say(
    model: LanguageModel, placed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of several lengths in one batch, options of several lengths, an option that merges with its prompt."""
    monkeypatch.setattr(model, "_placed", placed and model._placed)
    monkeypatch.setattr("lowrung.models.language_model.FANNED", 90)  # several rounds
    prompts = ["The cat t", "A much longer prompt than that of the others", "", "The cat t"]
    options = [["he mat", "", "x"], [" sat", " on a mat, and then some more"], ["a", "bb"], []]
    found = model.option_scores(prompts, options, ended=True)
    pairs = [model.pairs(*each, ended=True) for each in zip(prompts, options, strict=True)]
    alone = [[sum(model._plainly([pair])[0]) for pair in group] for group in pairs]
    assert [[each.log for each in row] for row in found] == [pytest.approx(row, abs=1e-3) for row in alone]
    assert [len(row) for row in found] == [3, 2, 2, 0]
    assert all(each.pieces >= 1 for row in found for each in row)


@pytest.mark.parametrize("model", ["short"], indirect=True)
def test_a_prompt_that_is_too_long_loses_its_beginning(model: LanguageModel) -> None:
    end = "so it ends here"
    found = model.option_scores(["x " * 400 + end, "y " * 400 + "x " * 100 + end], [[" now"]] * 2)
    assert found[0][0].log == pytest.approx(found[1][0].log, abs=1e-4)
    with pytest.raises(ModelError, match="reads 160 pieces, and an answer alone has more"):
        model.option_scores(["a"], [["long " * 200]])


@pytest.mark.parametrize("model", ["llama"], indirect=True)
def test_options_have_room_in_any_script(model: LanguageModel) -> None:
    writer = TextWriter(model, Choice)
    question = asked("word " * model.longest, "北京市" * 9, "no", instruction="?")
    prompt = writer.fitting(question)
    assert prompt
    for option in question.options:
        assert len(model.pieces(prompt)) + len(model.pieces(writer.said(option))) <= model.longest


# --- prompts


@pytest.mark.parametrize(
    ("model", "begins"),
    [
        ("llama", "<|system|>Mark the names.\nCopy"),
        ("systemless", "<|user|>Mark the names.\nCopy"),
        ("llama plain", "Mark the names.\nCopy"),
    ],
    indirect=["model"],
)
def test_a_prompt_follows_the_template(model: LanguageModel, begins: str) -> None:
    shot = Example(asked("Bob ran", "PER"), (Spans((Span(0, 3, "PER"),)),))
    prompt = TextWriter(model, Spans, shots=(shot,)).prompt(asked("Ada met Bob", "PER"))
    assert prompt.startswith(begins)
    assert prompt.index("[Bob](PER)") < prompt.index("Ada met Bob")
    assert prompt.endswith("<|user|>Ada met Bob<|assistant|>" if model.chats else "Text: Ada met Bob\nAnswer:")


def test_a_template_that_fails_says_so_in_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    bad = write_tiny_writer(tmp_path / "bad", template="{{ raise_exception('never') }}" + TEMPLATE)
    with pytest.raises(ModelError, match=r"its chat template fails: never$"):
        TextWriter(language_model(str(bad))).answer([asked("a", "b", "c")])


@pytest.mark.parametrize("model", ["short"], indirect=True)
def test_what_does_not_fit_is_cut_or_left_unanswered(model: LanguageModel) -> None:
    short, long = asked("a", "yes", "no", instruction="?"), asked("word " * 90, "yes", "no", instruction="?")
    writer = TextWriter(model, Choice)
    shots = tuple(Example(replace(short, given=(letter * 9,)), (Choice("yes"),)) for letter in "abcdefgh")
    prompt = replace(writer, shots=shots).fitting(short)
    assert "aaaaaaaaa" in prompt
    assert "hhhhhhhhh" not in prompt  # the first ones stay
    assert len(model.pieces(writer.fitting(long))) < 160
    assert writer.answer([long])[0].answer is not None
    assert TextWriter(model, Text).answer([long])[0].answer is None
    assert TextWriter(model, Choice).answer([asked("a", "no " * 70, "yes")])[0].answer is None


# --- answers


@pytest.mark.parametrize("model", ["llama", "gpt2 plain", "t5"], indirect=True)
def test_marked_copies_can_always_be_read(model: LanguageModel) -> None:
    writer = TextWriter(model, Spans)
    texts, labels = (ODD, "a", " blanks ", "del\x7fete\x80\u2028"), ("PER", "LOC (city)", ":)")
    found = writer.answer([asked(text, *labels) for text in texts])
    assert all(isinstance(each.answer, Spans) for each in found)
    assert {span.label for each in found for span in each.answer.spans} <= {*labels}
    beamed = replace(writer, beams=2).answer([asked("Ada [x]", "PER", "LOC"), asked("Ada", "PER")])
    assert all(isinstance(each.answer, Spans) for each in beamed)


@pytest.mark.parametrize("model", ["short"], indirect=True)
def test_a_long_text_is_marked_in_parts(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lowrung.models.writer.instructed", lambda *_: "mark")
    question = asked("Ada met Bob there. " * 20, "P")
    writer = TextWriter(model, Spans)
    parts = writer._parts(question)
    assert len(parts) > 3
    assert "".join(part.text for _, part in parts) == question.text
    assert all(question.text[start:].startswith(part.text) for start, part in parts)
    monkeypatch.setattr("lowrung.models.writer.copying", unmarked)
    assert writer.answer([question])[0].answer == Spans()
    cut = [(0, Prediction(Spans((Span(0, 3, "P"),)), 0.5)), (20, Prediction(Spans((Span(8, 11, "P"),)), 0.5))]
    assert _joined(cut) == Prediction(Spans((Span(0, 3, "P"), Span(28, 31, "P"))), 0.25)
    assert _joined([*cut, (40, Prediction(None, 0.0))]).answer is None


def test_grammars_take_what_write_writes(folders: dict[str, Path]) -> None:
    tokenizer = language_model(str(folders["llama"])).tokenizer
    question = asked(ODD, "PER", "LOC", "LOC (city)", ":)")
    random = Random(0)
    for at in range(20):
        cuts, label = sorted(random.sample(range(len(ODD) + 1), 4)), question.options[at % 4]
        told = write(Spans((Span(*cuts[:2], "PER"), Span(*cuts[2:], label))), question)
        (matcher,) = grammar.matchers(tokenizer, [grammar.copying(question)], (1,))
        assert matcher.consume_tokens(tokenizer(told, add_special_tokens=False)["input_ids"])
        assert matcher.is_accepting()
    (matcher,) = grammar.matchers(tokenizer, [grammar.copying(question)], (1,))
    wrong = tokenizer("Ada [sic] met", add_special_tokens=False)["input_ids"]
    assert not matcher.is_error()
    assert matcher.validate_tokens(wrong) < len(wrong)  # its bracket is not escaped


def test_pieces_of_sentencepiece_can_be_bound(folders: dict[str, Path]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = {each: at for at, each in enumerate(["<unk>", "<end>", "▁", "▁Ada", "▁met", *"Adametbo[]()PER"])}
    inner = Tokenizer(models.BPE({**pieces}, [], unk_token="<unk>"))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", unk_token="<unk>")
    (matcher,) = grammar.matchers(made, [grammar.copying(asked("Ada met", "PER"))], (1,))
    for good in (["▁Ada", "▁met"], ["▁Ada", "▁", "[", "m", "e", "t", "]", "(", "P", "E", "R", ")"]):
        (matcher,) = grammar.matchers(made, [grammar.copying(asked("Ada met", "PER"))], (1,))
        assert matcher.consume_tokens([*made.convert_tokens_to_ids(good), 1])
    assert not matcher.is_error()
    assert matcher.reset()
    assert matcher.validate_tokens(made.convert_tokens_to_ids(["▁met"])) == 0


@pytest.mark.parametrize("model", ["llama"], indirect=True)
def test_a_schema_and_a_regex_bind_what_is_written(model: LanguageModel) -> None:
    schema = {"enum": [{"n": 1}, {"n": 2}]}
    writer = TextWriter(model)
    found = writer.write(["a", "b"], 60, [grammar.of_schema(schema), grammar.of_regex("[ab]{3}c")])
    assert json.loads(found[0].text) in schema["enum"]
    assert found[1].text[3:] == "c"
    with pytest.raises(ModelError, match="no grammar to write by"):
        writer.write(["a"], 5, ["start: ("])


@pytest.mark.parametrize("model", ["llama", "t5 plain"], indirect=True)
def test_a_text_that_is_to_fit_a_schema_does(model: LanguageModel) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    question = task("write").question({"text": "Count.", "checks": {"json_schema": schema, "max_words": 9}})
    free = task("write").question({"text": "Count."})
    found = TextWriter(model, Text).answer([question, free])[0]
    assert found.answer is not None
    assert json.loads(found.answer.text)["n"] in (1, 2)


@pytest.mark.parametrize("model", ["llama"], indirect=True)
@pytest.mark.parametrize(
    "schema",
    [{"type": "array", "uniqueItems": True}, {"not": {"type": "string"}}, {"type": "string", "pattern": "^(?=a)b"}],
)
def test_a_schema_that_no_grammar_holds_is_written_to_freely(model: LanguageModel, schema: dict[str, Any]) -> None:
    bound = {"enum": ["a", "b"]}
    asked_for = [
        task("write").question({"text": "Write.", "checks": {"json_schema": each}}) for each in (schema, bound)
    ]
    free, held = TextWriter(model, Text).answer(asked_for)
    assert isinstance(free, Prediction)
    assert held.answer in (Text('"a"'), Text('"b"'))


@pytest.mark.parametrize("model", ["llama"], indirect=True)
def test_a_text_has_room_for_the_words_that_are_asked_for(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    room: list[int] = []

    def write(self: TextWriter, prompts: Sequence[str], most: Sequence[int], grammars: Sequence[str] = ()) -> Any:
        room.extend(most)
        return [Written("", 0.0, False)] * len(prompts)

    monkeypatch.setattr(TextWriter, "write", write)
    rows = ({"text": "a"}, {"text": "a", "checks": {"min_words": 30}}, {"text": "a" * 200, "checks": {"max_words": 9}})
    TextWriter(model, Text).answer([task("write").question(row) for row in rows])
    assert room[0] < 8 * 30 <= room[1]
    assert room[2] >= 2 * len(model.pieces("a" * 200))


@pytest.mark.parametrize("model", KINDS, indirect=True)
def test_what_comes_to_no_end_is_no_answer(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, question = TextWriter(model, Text), asked("mend me", instruction="mend")
    texts = [found.text for found in writer.write([writer.fitting(question)], 8)]
    monkeypatch.setattr(model, "ends", ())
    assert not writer.write([writer.fitting(question)], 8)[0].whole
    monkeypatch.undo()
    said = model.write([writer.fitting(question)], [8])[0]
    assert said.text == texts[0]
    found = writer.answer([question])[0]
    assert (found.answer is None) == (found.confidence == 0.0)


@pytest.mark.parametrize("model", ["llama", "t5 plain"], indirect=True)
def test_choices_are_lines_of_the_options(model: LanguageModel) -> None:
    options = ("a cat", "a dog")
    found = TextWriter(model, Choices).answer([asked("both", *options)] * 2)
    assert all(isinstance(each.answer, Choices) and set(each.answer.options) <= set(options) for each in found)


@pytest.mark.parametrize("model", ["llama"], indirect=True)
def test_a_choice_is_the_likeliest_option(model: LanguageModel) -> None:
    writer, question = TextWriter(model, Choice), asked("a parcel", "billing", "delivery", "yes")
    scores = writer.scores([question])[0]
    found = writer.answer([question])[0]
    assert found.answer == Choice(question.options[max(range(3), key=lambda at: scores[at].log)])
    assert found.confidence + sum(share for _, share in found.others) == pytest.approx(1.0)
    assert all(isinstance(each, Continued) for each in scores)
    assert writer.answer([asked("a")])[0].answer is None  # there is nothing to choose
    with pytest.raises(ModelError, match="asked about texts, and a question gives none"):
        writer.answer([Question((_sound(),), options=("a", "b"))])


def _sound():  # type: ignore[no-untyped-def]
    import numpy as np

    from lowrung.core.parts import Audio

    return Audio(np.zeros(1600, dtype=np.float32), 16000)


def test_without_llguidance_only_grammars_are_missing(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    base = language_model(str(folders["llama"]))
    assert TextWriter(base, Choice).answer([asked("a", "b", "c")])[0].answer is not None
    with pytest.raises(LowrungError, match=r"pip install 'lowrung\[writing\]'"):
        TextWriter(base, Spans).answer([asked("a", "PER")])


# --- learning

MAPPING = [Example(asked(f"{word} {at}", "yes", "no", instruction="?"), (Choice(label),))
           for at in range(6) for word, label in (("cat", "yes"), ("dog", "no"))]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "how"),
    [("llama", LoRA(4)), ("gpt2 plain", LoRA(4)), ("t5", LoRA(4)), ("gpt2 plain", Top(1)), ("llama", Full())],
    indirect=["model"],
)
def test_each_way_learns_a_mapping_and_comes_back_from_disk(
    model: LanguageModel, how: LoRA | Top | Full, tmp_path: Path
) -> None:
    before = {name: each.clone() for name, each in model.model.named_parameters()}
    settings = Settings(lr=2e-2, least=25, most=25, batch=12, precision="float32")
    base = TextWriter(model, Choice)
    made = fit_writer(base, MAPPING, how=how, settings=settings)
    pairs = [[pair] for each in MAPPING if (pair := made.pair(each))]
    gain = sum(map(sum, made.base.logs(pairs))) - sum(map(sum, model.logs(pairs)))
    assert gain > 2.0 * sum(len(pair.rest) for (pair,) in pairs)  # nats a piece
    questions = [each.question for each in MAPPING]
    said = made.answer(questions)
    if isinstance(how, Full):
        assert [each.answer for each in said] == [each.golds[0] for each in MAPPING]
    assert all(torch.equal(each, before[name]) for name, each in model.model.named_parameters())  # the shared one
    facts = made.save(tmp_path)
    again = load_writer(tmp_path, facts)
    assert [(each.answer, pytest.approx(each.confidence, abs=1e-5)) for each in said] == [
        (each.answer, each.confidence) for each in again.answer(questions)
    ]
    stored = sum(each.stat().st_size for each in tmp_path.glob("*.safetensors"))
    assert stored < 4 * sum(each.numel() for each in moving(made.base).values()) + 8000
    with pytest.raises(ModelError, match="other weights"):
        load_writer(tmp_path, {**facts, "checksum": "0"})
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="not a whole model folder"):
        load_writer(tmp_path, facts)


def test_a_cut_training_goes_on_to_the_same_weights(folders: dict[str, Path], tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("lowrung.models.training.CHECKPOINT_SECONDS", 0.0)
    base = TextWriter(language_model(str(folders["llama"])), Choice)
    settings = Settings(lr=1e-2, least=6, most=6, batch=4)
    learn = partial(fit_writer, base, MAPPING, how=LoRA(2), settings=settings, dev=MAPPING[:2])
    whole = learn()

    def cut(step: int, *_: object) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(checkpoint=tmp_path, watch=cut)
    resumed = learn(checkpoint=tmp_path)
    assert all(torch.equal(each, moving(resumed.base)[name]) for name, each in moving(whole.base).items())


@pytest.mark.parametrize("model", ["llama", "t5"], indirect=True)
def test_shots_are_chosen_shown_and_kept(model: LanguageModel, tmp_path: Path) -> None:
    made = fit_shots(TextWriter(model, Choice), MAPPING, seed=1)
    assert 1 <= len(made.shots) <= 8
    assert len({each.golds[0] for each in made.shots}) == min(2, len(made.shots))  # labels in turn
    assert write(made.shots[0].golds[0], made.shots[0].question) in made.prompt(MAPPING[0].question)
    again = load_writer(tmp_path, json.loads(json.dumps(made.save(tmp_path))))
    assert (again.shots, again.prompt(MAPPING[0].question)) == (made.shots, made.prompt(MAPPING[0].question))
    names = [Example(asked("Ada ran", "PER"), (Spans((Span(0, 3, "PER"),)),)),
             Example(asked("it ran", "PER"), (Spans(),))]  # fmt: skip
    assert len(fit_shots(TextWriter(model, Spans), names).shots) == 1
    cities = [Example(asked("Rome fell", "LOC (city)", ":)"), (Spans((Span(0, 4, label),)),))
              for label in ("LOC (city)", ":)")]  # fmt: skip
    shown = replace(TextWriter(model, Spans), shots=tuple(cities))
    assert load_writer(tmp_path, shown.save(tmp_path)).shots == shown.shots


def test_what_all_examples_have_in_common_is_asked_once_a_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, shared = list[int](), tuned_writer._shared
    monkeypatch.setattr(tuned_writer, "_shared", lambda examples: looked.append(len(examples)) or shared(examples))
    drawn = tuned_writer._drawn(MAPPING, 4, "0")
    assert [each.golds[0].option for each in drawn] in (["yes", "no"] * 2, ["no", "yes"] * 2)
    assert looked == [len(MAPPING)]


def test_what_is_to_move(folders: dict[str, Path]) -> None:
    base = language_model(str(folders["t5"]))
    top = set(moving(loosened_model(base, Top(1))))
    assert top
    assert all(name.startswith("decoder.block.1.") for name in top)
    assert all("lora" in name for name in moving(loosened_model(base, LoRA())))
    long = [Example(asked("x " * 2000, "yes", "no"), (Choice("yes"),)) for _ in range(2)]
    with pytest.raises(DataError, match="no example fits"):
        fit_writer(TextWriter(base, Text), [Example(each.question, (Text("a"),)) for each in long], how=LoRA(),
                   settings=Settings(most=1))  # fmt: skip


# --- by name


def test_what_a_language_model_is(folders: dict[str, Path], tmp_path: Path) -> None:
    assert all(is_writer(str(each)) for each in folders.values())
    assert not is_writer(str(write_tiny_encoder(tmp_path / "encoder")))
    assert not any(map(is_writer, ("", "minilm", "http://127.0.0.1:1/v1#a/b", "./nowhere", str(tmp_path))))
    (tmp_path / "config.json").write_text("{", "utf-8")
    assert not is_writer(str(tmp_path))
    with pytest.raises(ModelError, match=r"names no causal or sequence-to-sequence language model$"):
        language_model(str(tmp_path))


def test_a_broken_folder_gives_one_line(folders: dict[str, Path], tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    broken = write_tiny_writer(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x00" * 99)
    capsys.readouterr()
    assert main(["try", "topic", "a", "--options", "a,b", "--model", str(broken)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert str(broken) in told


def test_fit_and_answer_by_the_command_line(folders: dict[str, Path], tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps(row) for row in TOPICS), "utf-8")
    out = tmp_path / "out"
    asked_for = ["--model", str(folders["llama"]), "--out", str(out)]
    assert main(["fit", "topic", str(rows), *asked_for, "--method", "writer+shots"]) == 0
    found = load(out)
    assert found.facts["source"] == str(folders["llama"].resolve())
    assert found.answer("refund my card").answer in (Choice("billing"), Choice("delivery"))
    assert main(["score", str(out), str(rows)]) == 0
    assert main(["fit", "topic", str(rows), "--out", str(out), "--method", "writer"]) == 2
    assert "stands on a language model and needs one" in capsys.readouterr().err


def test_a_study_sets_writers_beside_a_body(folders: dict[str, Path], tmp_path: Path) -> None:
    body = str(write_tiny_encoder(tmp_path / "body"))
    plan = {"labels": (4,), "seeds": 1, "methods": ("probe", "writer+shots")}
    made = study("topic", TOPICS, model=(body, str(folders["llama"])), out=tmp_path / "study", **plan)  # type: ignore[arg-type]
    rows = {(line.method, line.labels) for line in made.summary if line.metric == "accuracy"}
    assert rows == {("zero-shot", 0), ("writer", 0), ("probe", 4), ("writer+shots", 4)}
    facts = json.loads((tmp_path / "study/study.json").read_text("utf-8"))
    assert (facts["model"], facts["writer"]) == (body, str(folders["llama"].resolve()))
    with pytest.raises(ModelError, match="takes one language model at most"):
        study("topic", TOPICS, model=(str(folders["llama"]), str(folders["t5"])))


def test_fit_takes_low_rank_updates_where_nobody_says(folders: dict[str, Path], monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(Settings, "steps", lambda *_: 1)
    found = fit("topic", TOPICS, model=str(folders["gpt2"]))
    assert found.facts["method"] == "writer+lora"
    with pytest.raises(ModelError, match="asked about texts, and this task's rows are audio"):
        writer_for(task("speech"), str(folders["gpt2"]))


def test_parse_reads_what_the_prompt_asks_for() -> None:
    question = asked("Ada met Bob", "PER")
    assert parse(Spans, "[Ada](PER) met Bob", question) == Spans((Span(0, 3, "PER"),))
