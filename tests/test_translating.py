"""New texts: pieces that lose nothing, a decoder that learns, is kept and goes on, a memory, scores as sacrebleu's."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
import sacrebleu
import torch
from tiny_encoder import write_tiny_encoder
from tokenizers import Tokenizer

from lowrung.cli import main
from lowrung.core.answers import Text
from lowrung.core.errors import DataError, LowrungError, ModelError
from lowrung.core.parts import Question
from lowrung.metrics.counting import total
from lowrung.metrics.translation import bleu, chrf, cut_for
from lowrung.models import translating
from lowrung.models.catalog import backbone
from lowrung.models.memory import fit_memory, load_memory
from lowrung.models.target_pieces import coded, learnt_pieces, said
from lowrung.models.training import Settings
from lowrung.models.translating import Shape, Translator, drawn_alike, fit_translator, load_translator
from lowrung.models.tuning import Full
from lowrung.run.methods import methods_for, untouched, usual
from lowrung.run.ship import load
from lowrung.tasks import task

TRANSLATION = task("translation")
MEANT = {"the": "der", "parcel": "Paket", "card": "Karte", "money": "Geld", "arrived": "kam", "broken": "kaputt"}


def rows(number: int, seed: int = 0) -> list[dict[str, str]]:
    random = Random(seed)
    texts = [random.sample(list(MEANT), random.randint(1, 3)) for _ in range(number)]
    return [{"text": " ".join(each), "translation": " ".join(map(MEANT.get, each))} for each in texts]


def examples(number: int, seed: int = 0) -> list:
    return [TRANSLATION.example(each) for each in rows(number, seed)]


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory):
    return backbone(str(write_tiny_encoder(tmp_path_factory.mktemp("tiny"))))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        translating, "SETTINGS", Settings(head_lr=5e-3, least=150, most=150, batch=16, validations=2, patience=9)
    )
    monkeypatch.setattr(translating, "SHAPE", Shape(width=32, heads=2, above=1, layers=1, dropout=0.0))
    monkeypatch.setattr(translating, "MOVING", Settings(head_lr=1e-3, least=4, most=4, batch=16, validations=1))


# --- scores ----------------------------------------------------------------------------------------------------------


def sentences(words: list[str], blank: str, random: Random) -> list[tuple[str, list[str]]]:
    def one() -> str:
        return blank.join(random.choices(words, k=random.randint(1, 12)))

    return [
        (random.choice([gold, one(), gold[: len(gold) // 2]]), [gold, one()]) for gold in (one() for _ in range(40))
    ]


@pytest.mark.parametrize(
    ("words", "blank", "cut"),
    [
        ("the cat sat on a mat . A dog, 3,000 big-dogs don't".split(), " ", "13a"),
        (list("我们去北京看看吧。你好，世界"), "", "zh"),
    ],
)
def test_scores_are_those_of_sacrebleu_over_all_rows(words, blank, cut):
    rows = sentences(words, blank, Random(0))
    written, golds = [each for each, _ in rows], [[gold[at] for _, gold in rows] for at in (0, 1)]
    given = [TRANSLATION.example({"text": "x", "translation": gold}) for _, gold in rows]
    assert {cut_for(gold) for gold in golds[0] if len(gold) > 3} == {cut}
    theirs = {chrf: sacrebleu.corpus_chrf(written, golds), bleu: sacrebleu.corpus_bleu(written, golds, tokenize=cut)}
    for metric, score in theirs.items():
        counted = [metric.count(example, Text(each)) for example, each in zip(given, written, strict=True)]
        assert metric.finish(total(counted)) == pytest.approx(score.score / 100, abs=1e-12)
        assert 0.2 < score.score / 100 < 0.95
        draws = {event: np.array([number, 2 * number, 0.0]) for event, number in total(counted).items()}
        assert metric.finish(draws) == pytest.approx([score.score / 100, score.score / 100, 0.0])


def test_a_row_without_a_gold_counts_nothing_and_no_answer_is_an_empty_one():
    bare, asked = TRANSLATION.example({"text": "x"}), TRANSLATION.example({"text": "x", "translation": "ein Haus"})
    for metric in (chrf, bleu):
        assert metric.count(bare, Text("x")) == {}
        assert metric.finish(total([metric.count(asked, None)])) == 0.0
        assert metric.finish(total([metric.count(asked, Text("ein Haus"))])) > 0.99 or metric is bleu


# --- pieces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["Wie viel kostet das Brot, bitte?", "他说：「我们去北京。」", "Où est-il  allé ?", "今日は3,000円です"]
)
def test_pieces_lose_nothing_of_what_they_were_counted_from(text):
    for several in ([text], [text] * 400):
        pieces = learnt_pieces(several)
        assert said(pieces, coded(pieces, text)) == text
    assert len(coded(pieces, text)) < len(coded(learnt_pieces([text]), text))  # with many texts, longer ones


@pytest.mark.parametrize("text", ["A</s>B", "<pad> </s> x", "<unk>"])
def test_names_of_special_pieces_in_a_text_are_letters(text, tmp_path):
    pieces = learnt_pieces([text, "A B x"])
    assert said(pieces, coded(pieces, text)) == text
    pieces.save(str(tmp_path / "pieces.json"))
    again = Tokenizer.from_file(str(tmp_path / "pieces.json"))
    assert said(again, coded(again, text)) == text


def test_letters_that_were_never_met_are_left_out():
    pieces = learnt_pieces(["ein Haus"])
    assert said(pieces, coded(pieces, "ein Haus!")) == "ein Haus"


# --- the decoder -----------------------------------------------------------------------------------------------------


def test_each_row_is_drawn_once_an_epoch_with_others_of_like_length():
    lengths = tuple(Random(1).choices(range(3, 60), k=1001))
    steps = -(-len(lengths) // 32)
    drawn = [drawn_alike(step, lengths, 32, 0) for step in range(2 * steps)]
    for epoch in (drawn[:steps], drawn[steps:]):
        assert sorted(at for batch in epoch for at in batch) == list(range(len(lengths)))
    assert drawn[:steps] != drawn[steps:]
    assert max(max(lengths[at] for at in each) - min(lengths[at] for at in each) for each in drawn) < 10


def test_a_decoder_learns_what_pairs_show_and_is_kept_whole(body, quick, tmp_path):
    made = fit_translator(body, examples(120), metric=chrf, dev=examples(20, 7))
    asked = [each.question for each in examples(30, 9)]
    told = made.answer(asked)
    right = sum(each.answer == gold.golds[0] for each, gold in zip(told, examples(30, 9), strict=True))
    assert right >= 20
    assert all(0.0 <= each.confidence <= 1.0 for each in told)
    assert all(each.answer not in [other for other, _ in each.others] for each in told)
    again = load_translator(tmp_path, made.save(tmp_path))
    assert [each.answer for each in again.answer(asked)] == [each.answer for each in told]
    one = made.answer(asked[:1])[0]
    assert (one.answer, one.confidence) == (told[0].answer, pytest.approx(told[0].confidence, abs=1e-4))


def test_what_moves_the_body_starts_from_the_decoder_and_is_kept_with_it(body, quick, tmp_path):
    start = fit_translator(body, examples(40), metric=chrf)
    made = fit_translator(body, examples(40), metric=chrf, how=Full(), start=start)
    assert not torch.equal(made.backbone.layers[0].output.dense.weight, body.layers[0].output.dense.weight)
    asked = [each.question for each in examples(5, 3)]
    facts = made.save(tmp_path)
    assert [each.answer for each in load_translator(tmp_path, facts).answer(asked)] == [
        each.answer for each in made.answer(asked)
    ]
    with pytest.raises(ModelError, match="was trained on other weights"):
        load_translator(tmp_path, facts | {"checksum": "0"})
    (tmp_path / translating.PIECES).write_text("{")
    with pytest.raises(ModelError, match="not a whole model folder"):
        load_translator(tmp_path, facts)


def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(body, quick, tmp_path, monkeypatch):
    monkeypatch.setattr("lowrung.models.training.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(translating, "SETTINGS", Settings(head_lr=5e-3, least=12, most=12, batch=16))

    def fitted(checkpoint: Path | None, cut: int) -> Translator:
        def watch(step: int, steps: int, loss: float) -> None:
            if step == cut:
                raise KeyboardInterrupt

        return fit_translator(body, examples(40), metric=chrf, checkpoint=checkpoint, watch=watch)

    whole = fitted(None, 0)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path, 7)
    resumed = fitted(tmp_path, 0)
    for name, each in whole.net.learnt().items():
        assert torch.equal(each, resumed.net.learnt()[name]), name


def test_a_text_longer_than_those_learnt_from_is_taken_in_sentences_then_in_words(body, quick):
    made = fit_translator(body, examples(40), metric=chrf)
    assert made.longest == 3
    assert made._parts("the card arrived") == ["the card arrived"]
    assert made._parts("Card arrived. The money. The card arrived broken") == [
        "Card arrived.", "The money.", "The card arrived", "broken",
    ]  # fmt: skip
    (said,) = made.answer([Question(("the card arrived broken " * 40,))])
    assert len(said.answer.text.split()) >= 30
    assert said.others == ()


def test_pairs_longer_than_there_are_places_teach_nothing(body, quick):
    long = "card " * (translating.PLACES + 1)
    odd = [
        TRANSLATION.example({"text": text, "translation": right}) for text, right in ((long, "Karte"), ("card", long))
    ]
    made = fit_translator(body, [*examples(4), *odd], metric=chrf, settings=Settings(least=2, most=2, batch=8))
    assert 1 <= made.longest <= 3
    with pytest.raises(DataError, match=r"no row is short enough to learn from: .* 1,024 pieces at most"):
        fit_translator(body, odd, metric=chrf)


def test_nothing_to_write_is_a_data_error(body):
    with pytest.raises(DataError, match="no row has a right text"):
        fit_translator(body, [TRANSLATION.example({"text": "card"})], metric=chrf)
    with pytest.raises(DataError, match="no row has a right text"):
        fit_memory(body, [])


# --- the memory ------------------------------------------------------------------------------------------------------


def test_a_memory_answers_with_what_belongs_to_the_nearest_text(body, tmp_path):
    made = fit_memory(body, examples(12))
    for each, found in zip(examples(12), made.answer([each.question for each in examples(12)]), strict=True):
        assert found.answer == each.golds[0]
        assert found.confidence == pytest.approx(1.0, abs=1e-4)
    facts = made.save(tmp_path)
    asked = [each.question for each in examples(5, 3)]
    assert load_memory(tmp_path, facts).answer(asked) == made.answer(asked)
    (tmp_path / "answers.json").write_text(json.dumps(["one"]))
    with pytest.raises(ModelError, match="not a whole model folder"):
        load_memory(tmp_path, facts)


# --- as methods ------------------------------------------------------------------------------------------------------


def test_methods_that_mend_and_methods_that_write_do_not_meet():
    writing, mending = ({each.name for each in methods_for(task(name))} for name in ("translation", "spelling"))
    assert {"do-nothing", "memory", "decoder", "decoder+full"} <= writing
    assert {"do-nothing", "dictionary", "channel", "channel-tuned"} <= mending
    assert writing & mending == {"do-nothing"}
    assert (untouched(TRANSLATION), usual(TRANSLATION)) == ("do-nothing", "decoder")
    assert (untouched(task("spelling")), usual(task("spelling"))) == ("channel", "channel-tuned")
    with pytest.raises(LowrungError, match="method for spelling 'decoder' is not one of"):
        methods_for(task("spelling"), ("decoder",))


@pytest.mark.parametrize("method", ["memory", "decoder", "do-nothing"])
def test_fitted_by_the_command_line_and_asked(method, body, quick, tmp_path, capsys):
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows(30))) + "\n")
    out, known = tmp_path / "model", rows(30)[0]
    given = ["--model", body.source.name] if method != "do-nothing" else []
    learnt = ["fit", "translation", str(tmp_path / "train.jsonl"), "--method", method, "--out", str(out), *given]
    assert main(learnt) == 0
    capsys.readouterr()
    assert main(["score", str(out), str(tmp_path / "train.jsonl"), "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert 0.0 <= score["metrics"]["chrf"]["value"] <= 1.0
    shipped = load(out)
    said = shipped.answer(known["text"])
    assert said.answer.text == (known["text"] if method == "do-nothing" else known["translation"])


def test_an_encoder_without_labels_is_told_to_learn(body, capsys):
    assert main(["try", "translation", "Where is it?", "--model", body.source.name]) != 0
    assert "lowrung fit" in capsys.readouterr().err
    assert main(["try", "translation", "Where is it?"]) == 0
    assert "Where is it?" in capsys.readouterr().out
