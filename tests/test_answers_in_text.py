"""answers_in_text: rows and their errors, SQuAD's scores done anew, cloze rows, the Extract head, the way out."""

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bodies import body, wordpiece
from tiny_encoder import write_tiny_encoder

from lowrung import tasks
from lowrung.cli import main
from lowrung.core.answers import Span, Spans
from lowrung.core.errors import DataError, LowrungError
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.core.words import words
from lowrung.data.cloze import BLANK
from lowrung.data.names import sentence_ends
from lowrung.data.phrases import asked_for, phrases
from lowrung.metrics.answers import overlap, said_of
from lowrung.metrics.counting import total
from lowrung.models.baselines import Sentence, load_baseline, save
from lowrung.run.methods import methods_for

TASK = tasks.task("answers_in_text")
TEXT = "Ada Lovelace lived in London. She wrote to Charles Babbage in 1843, and Babbage wrote back."
LINES = (
    "Ada Lovelace met Charles Babbage in London in 1833. Babbage showed her the engine, and Lovelace wrote about the "
    "engine for the paper of Menabrea. In 1843 Lovelace sent 66 pages to Babbage. Babbage was glad of the pages.",
    "Der Müller kam 1912 nach Köln. Dort baute der Müller eine Mühle für die Stadt. Die Stadt gab 300 Mark dafür.",
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _row(**more: Any) -> dict[str, Any]:
    return {"text": TEXT, "question": "Where did Ada live?", **more}


def _said(question: Question, answer: Spans) -> str:
    return said_of(answer, question.text)


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "spans"),
    [
        (["London"], [(22, 28)]),
        (["london"], [(22, 28)]),  # case aside, where it does not stand as it is written
        (["Babbage", "Charles Babbage"], [(51, 58), (43, 58)]),
        (["London", {"start": 22, "end": 28}], [(22, 28)]),
        ([{"text": "Babbage", "start": 72}], [(72, 79)]),
        ([{"text": "Babbage"}], [(51, 58)]),
        ("London", [(22, 28)]),
        ({"text": ["London"], "answer_start": [22]}, [(22, 28)]),
        ({"text": [], "answer_start": []}, [None]),
        ([], [None]),
        (None, [None]),
    ],
)
def test_answers_are_found_in_the_text(answers: Any, spans: list[Any]) -> None:
    golds = TASK.golds(_row(answers=answers))
    assert golds == tuple(Spans((Span(*each),)) if each else Spans() for each in spans)


@pytest.mark.parametrize(
    ("text", "answers", "span"),
    [
        ("Since 1990 she had 9 cats.", [{"text": "9", "answer_start": 19}], (19, 20)),
        ("Since 1990 she had 9 cats.", [{"text": "9", "start": None, "answer_start": 8}], (8, 9)),
        ("Since 1990 she had 9 cats.", "9", (19, 20)),
        ("Because of them the US left us.", "us", (28, 30)),
        ("A carpet for the Car", "car", (17, 20)),  # a word in another case before a piece of one
        ("Since 1990 there were cats.", "9", (7, 8)),  # within words where it stands nowhere else
        ("Londoners left.", "London", (0, 6)),
        ("我在北京大学，不在北京。", "北京", (2, 4)),
        ("กรุงเทพอยู่ในไทย กรุงเทพ", "กรุงเทพ", (0, 7)),
        ("What is ((x)) but (x)?", "(x)", (9, 12)),
    ],
)
def test_an_answer_is_a_word_of_its_own_before_it_is_a_piece_of_one(
    text: str, answers: Any, span: tuple[int, int]
) -> None:
    assert TASK.golds(_row(text=text, answers=answers)) == (Spans((Span(*span),)),)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (_row(answers=["Paris"]), "'Paris' does not stand in the text"),
        (_row(answers=[""]), "is empty"),
        (_row(answers=[7]), "an answer is a text"),
        (_row(answers=7), "a list of answers"),
        (_row(answers=[{"start": 4, "end": 400}]), "does not lie in the text"),
        (_row(answers=[{"start": 4}]), "an answer is a text"),
        (_row(answers=[{"start": True, "end": 3}]), "an answer is a text"),
        (_row(answers=[{"text": "London", "start": 3}]), "reads ' Lovel' at 3"),
        (_row(answers={"text": ["a"], "answer_start": []}), "answer_start"),
        ({"text": TEXT}, "column 'question' is empty"),
        ({"text": TEXT, "question": 3}, "'question' holds text"),
        ({"text": " ", "question": "Who?"}, "column 'text' is empty"),
    ],
)
def test_a_bad_row_says_what_is_wrong(row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=re.escape(says)):
        TASK.example(row)


def test_there_are_no_labels_and_the_answer_column_stays_unseen() -> None:
    assert TASK.fitted_to([_row(answers=["London"])]).options == ()
    assert not TASK.labelled
    assert TASK.golds(_row()) == ()
    assert TASK.question(_row(answers=["London"])).texts == (TEXT, "Where did Ada live?")


# --- scores ----------------------------------------------------------------------------------------------------------


def _squad(said: str, right: str) -> tuple[float, float]:
    """Exact match and F1 as SQuAD 2.0 defines them, written from the paper and by other means than the metric's."""

    def bag(text: str) -> list[str]:
        marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~—"  # the dash as in MLQA's script
        letters = "".join(letter for letter in text.lower() if letter not in marks)
        parts = re.split(r"(\W+)", letters)
        return "".join(" " if part in ("a", "an", "the") else part for part in parts).split()

    one, two = bag(said), bag(right)
    exact = float(one == two)
    if not one or not two:
        return exact, exact
    left, same = list(two), 0
    for each in one:
        if each in left:
            left.remove(each)
            same += 1
    if not same:
        return exact, 0.0
    precision, recall = same / len(one), same / len(two)
    return exact, 2 * precision * recall / (precision + recall)


PARTS = st.lists(
    st.sampled_from(
        ["the", "The", "a", "An", "cat", "Cat's", "dog-house", "dog", "1,000", "(x)", "é", "U.S.", "—", "  "]
    ),
    min_size=1,
    max_size=6,
).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=3), PARTS)
def test_scores_are_those_of_squad(references: list[str], said: str) -> None:
    text = " | ".join([*references, said])
    starts = [0]
    for each in references:
        starts.append(starts[-1] + len(each) + 3)
    golds = tuple(Spans((Span(at, at + len(each)),)) for at, each in zip(starts, references, strict=False))
    example = Example(Question((text, "?")), golds)
    counts = total([TASK.metrics[0].count(example, Spans((Span(starts[-1], len(text)),)))])
    kept = [each for each in references if _squad(each, "")[0] == 0.0] or [""]
    pairs = [_squad(said, each) for each in kept]
    assert counts["exact"] == max(exact for exact, _ in pairs)
    assert counts["f1"] == pytest.approx(max(f1 for _, f1 in pairs))


def test_a_row_without_an_answer_wants_none_and_no_prediction_is_right_about_nothing() -> None:
    empty, full = TASK.example(_row(answers=[])), TASK.example(_row(answers=["London"]))
    scores = {
        name: [
            {each.name: each.finish(total([each.count(row, said)])) for each in TASK.metrics}
            for said in (Spans(), Spans((Span(22, 28),)), None)
        ]
        for name, row in (("empty", empty), ("full", full))
    }
    assert [each["f1"] for each in scores["empty"]] == [1.0, 0.0, 0.0]
    assert [each["no_answer"] for each in scores["empty"]] == [1.0, 0.0, 0.0]
    assert [each["exact"] for each in scores["full"]] == [0.0, 1.0, 0.0]
    assert TASK.metrics[2].tells([empty, full])
    assert not TASK.metrics[2].tells([full])


@pytest.mark.parametrize(
    ("said", "right", "f1"),
    [
        ("Война и мир", "«Война и мир»", 1.0),
        ("《红楼梦》", "红楼梦", 1.0),
        ("“the Nile”", "Nile", 1.0),
        ("¿Qué?", "qué", 1.0),
        ("A", "a", 1.0),
        ("the", "A", 1.0),
        ("группа B", "группа A", 0.5),
        ("", "«»", 1.0),
    ],
)
def test_marks_of_any_script_are_left_out_and_articles_beside_latin_letters(said: str, right: str, f1: float) -> None:
    assert overlap(said, right) == pytest.approx(f1)


def test_letters_of_scripts_without_blanks_count_each() -> None:
    assert overlap("伦敦市", "伦敦") == pytest.approx(0.8)
    assert overlap("住在 London", "London") == pytest.approx(0.5)
    assert overlap("São Paulo", "sao paulo") == pytest.approx(0.5)  # a word with an accent is one word


# --- what may answer, and rows of raw text ---------------------------------------------------------------------------


def test_phrases_have_kinds_and_questions_ask_for_them() -> None:
    found = {TEXT[each.start : each.end]: each.kind for each in phrases(TEXT)}
    assert (found["London"], found["1843"]) == ("name", "time")
    assert {each.kind for each in phrases("It took 3,400 people and 12% of the gold.")} >= {"number", "chunk"}
    assert any(each.kind == "time" for each in phrases("她于1843年写信。"))
    for text in (TEXT, "漢字 and 3 May 2001", "", "👩‍👩‍👧 e\u0301"):
        assert all(left.end <= right.start for left, right in pairwise(phrases(text)))


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("In what year did it end?", "time"),
        ("What did she build?", "chunk"),
        ("How many people came?", "number"),
        ("Where did Ada live?", "place"),
        ("Wer war der Müller?", "name"),
        ("¿Cuándo murió la reina?", "time"),
        ("Où est la gare de la ville ?", "place"),
        ("多少人参加了会议？", "number"),
        ("Ki írta a levelet?", ""),
    ],
)
def test_a_question_says_the_kind_of_its_answer(question: str, kind: str) -> None:
    assert asked_for(question) == kind


def test_practice_hides_a_phrase_that_its_text_holds_unless_it_has_none() -> None:
    rows = list(TASK.practice(LINES * 150, Random(1)))
    assert len(rows) > 100
    none = [row for row in rows if not row["answers"]]
    assert 0 < len(none) < len(rows) / 3
    for row in rows:
        example = TASK.example(row)
        for gold in example.golds:
            assert not gold.spans or _said(example.question, gold) == row["answers"][0]["text"]
        assert row["question"].endswith("?")
    asked = {row["question"].split()[0] for row in rows}
    assert {"Who", "When"} & asked
    assert {"Wann", "Was", "Wer", "Wo"} & asked
    short = {row["text"] for row in rows} - set(LINES)
    assert short, "the sentence asked about is left out now and then"
    assert rows == list(TASK.practice(LINES * 150, Random(1)))


def test_practice_of_other_languages_leaves_a_blank_or_asks_in_their_words() -> None:
    hungarian = [
        "Kovács Béla 1912 telén Szegedre utazott vonattal. Ott Nagy Anna várta őt egy kocsival. Szeged nagy."
    ] * 20
    blank = [row["question"] for row in TASK.practice(hungarian, Random(0))]
    assert blank
    assert all(BLANK in question for question in blank)
    chinese = ["艾达于1843年写信给巴贝奇。巴贝奇在伦敦建造机器。机器用了三百个齿轮。"] * 40
    asked = " ".join(row["question"] for row in TASK.practice(chinese, Random(0)))
    assert "什么时候" in asked
    assert "…" not in asked


# --- the head --------------------------------------------------------------------------------------------------------


@cache
def _backbone() -> Any:
    from lowrung.models.pieces import Tokenizer
    from lowrung.models.text import Source, TextBackbone

    inner = wordpiece()
    return TextBackbone(Tokenizer(inner, longest=40), body("bert", inner), source=Source("tiny", "0"), pooling="mean")


def _shaken() -> Any:
    import torch

    from lowrung.models.extract import Extract

    head = Extract(width=16).eval()
    with torch.no_grad():
        for each in head.parameters():
            each.add_(torch.randn(each.shape, generator=torch.Generator().manual_seed(0)) * 0.3)
    return head


def test_the_best_span_is_the_best_of_all_and_all_share_the_probability() -> None:
    import torch

    from lowrung.models import extract

    head, question = _shaken(), TASK.question(_row())
    batch = _backbone().encode([question])
    with torch.no_grad():
        hidden = _backbone().hidden(batch)
        seen = head.features(batch, hidden)
        each = head.learnt(seen.states)[0] + (seen.cues[0] * (head.prior + head.cues)).sum(-1)
        scores = {(): float(head.none(seen.alone))}
        for first in range(len(each)):
            for last in range(first, min(len(each), first + extract.LONGEST)):
                scores[first, last] = float(each[first, 0] + each[last, 1] + head.lengths[last - first])
        said = head.decode(batch, hidden)[0]
    ranked = sorted(scores, key=lambda key: -scores[key])
    shares = torch.tensor([scores[key] for key in ranked]).softmax(0)
    spots = words(TEXT)
    told = [Spans((Span(spots[key[0]][0], spots[key[1]][1]),)) if key else Spans() for key in ranked]
    assert (said.answer, *(other for other, _ in said.others)) == tuple(told[: extract.OTHERS + 1])
    assert said.confidence == pytest.approx(float(shares[0]), abs=1e-4)
    assert [share for _, share in said.others] == pytest.approx(shares[1 : extract.OTHERS + 1].tolist(), abs=1e-4)


def test_texts_of_any_length_are_answered_alike_alone_and_together() -> None:
    import torch

    texts = (TEXT, f"{'where is my parcel? ' * 30}Ada lives in London.", "x", "👩‍🔬 e\u0301 שלום", "漢字")
    questions = [TASK.question({"text": text, "question": "Where does Ada live?"}) for text in texts]
    head, base = _shaken(), _backbone()
    with torch.no_grad():
        batch = base.encode(questions)
        together = head.decode(batch, base.hidden(batch))
        for asked, said in zip(questions, together, strict=True):
            one = base.encode([asked])
            alone = head.decode(one, base.hidden(one))[0]
            assert alone.answer == said.answer
            assert alone.confidence == pytest.approx(said.confidence, abs=1e-4)
            assert all(each.end <= len(asked.text) for each in said.answer.spans)


def test_each_window_of_a_long_text_holds_the_question() -> None:
    tokenizer = _backbone().tokenizer
    question = TASK.question({"text": "Ada lives in London. " * 30, "question": "where is my parcel?"})
    batch = tokenizer.batch([question])
    (asked, _), (long, _) = tokenizer.pieces([question.texts[1], question.text])
    assert len(batch.ids) > 2
    for ids, attended, kinds in zip(batch.ids, batch.attended, batch.kinds, strict=True):
        row = ids[attended].tolist()
        assert row[-1 - len(asked) : -1] == asked
        assert kinds[attended].tolist() == [0] * (len(row) - len(asked) - 1) + [1] * (len(asked) + 1)
    kept = batch.offsets[0][batch.mask[0]].tolist()
    assert [each for each in kept if each[1]] == [
        list(each) for _, where in [tokenizer.pieces([question.text])[0]] for each in where
    ]
    assert len(long) == sum(each[1] > 0 for each in kept)


@pytest.mark.parametrize(
    ("span", "words_covered"),
    [((22, 28), [(4, 4)]), ((23, 27), [(4, 4)]), ((20, 24), [(3, 4)]), ((51, 58), [(10, 10), (15, 15)])],
)
def test_a_gold_is_the_words_that_it_covers_wherever_they_stand(span: Any, words_covered: Any) -> None:
    from lowrung.models.extract import LONGEST, places

    wanted = [first * LONGEST + last - first for first, last in words_covered]
    assert places(Spans((Span(*span),)), TEXT, 10**6) == wanted
    assert places(Spans(), TEXT, 7) == [7]
    long = "a " * 100
    assert places(Spans((Span(0, 199),)), long, 10**6) == [LONGEST - 1]


def test_before_the_first_label_words_and_kinds_speak() -> None:
    from lowrung.models.tuning import Frozen
    from lowrung.run.adapt import adapt

    network = adapt(_backbone(), TASK, how=Frozen())
    asked = {
        "Where did Ada live?": "London",
        "When did she write to Babbage?": "1843",
        "Who wrote back in 1843?": "Babbage",
        "How did the trains of Peru reach the mines?": "",
    }
    questions = [TASK.question({"text": TEXT, "question": each}) for each in asked]
    said = network.answer(questions)
    assert [_said(question, each.answer) for question, each in zip(questions, said, strict=True)][:2] == [
        "London",
        "1843",
    ]
    assert said[3].answer == Spans()


def _examples(number: int) -> list[Any]:
    """The right answer stands behind «works for», whatever is asked: nothing that is known without labels."""
    rows = []
    for at in range(number):
        name, other = (("Acme", "Paris"), ("London", "Ada"))[at % 2]
        before, after = "where is my parcel? " * (at % 3), "twice " * (at % 4)
        text = f"{before}{other} is not in my account and works for {name} {after}"
        rows.append(TASK.example({"text": text, "question": "was my card charged?", "answers": [name]}))
    return rows


def test_a_probe_and_a_full_tuning_learn() -> None:
    from lowrung.models.training import Settings
    from lowrung.models.tuning import Frozen, Full
    from lowrung.run.adapt import adapt
    from lowrung.run.evaluate import evaluate

    examples = _examples(48)
    value = {
        name: evaluate(TASK, made, examples[32:]).value(TASK.metrics[0])
        for name, made in (
            ("untouched", adapt(_backbone(), TASK, how=Frozen())),
            ("probe", adapt(_backbone(), TASK, examples[:32], how=Frozen())),
            ("full", adapt(_backbone(), TASK, examples[:32], how=Full(), settings=Settings(least=90, most=90))),
        )
    }
    assert value["untouched"] + 0.1 < value["probe"] < value["full"] - 0.1, value


# --- the way through -------------------------------------------------------------------------------------------------


def test_the_floor_is_the_sentence_that_shares_most_words(tmp_path: Path) -> None:
    question = TASK.question(_row(question="Who wrote to Babbage?"))
    said = Sentence().answer([question, TASK.question({"text": "x", "question": "?"})])
    assert _said(question, said[0].answer) == TEXT[30:]
    assert len(sentence_ends(TEXT)) == 1
    save(Sentence(), tmp_path)
    assert load_baseline(tmp_path) == Sentence()
    names = [each.name for each in methods_for(TASK)]
    assert names == ["zero-shot", "sentence", "probe", "top", "lora", "full"]
    assert "sentence" not in [each.name for each in methods_for(tasks.task("entities"))]
    assert {"practice", "practice+probe", "practice+top", "practice+full"} < {
        each.name for each in methods_for(TASK, text=True)
    }
    with pytest.raises(LowrungError, match="ngrams"):
        methods_for(TASK, ["ngrams"])


def test_the_command_line_practises_fits_scores_answers_and_tries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = str(write_tiny_encoder(tmp_path / "tiny"))
    file, raw = tmp_path / "rows.jsonl", tmp_path / "raw.txt"
    rows = [
        {
            "id": f"r{at}",
            "text": f"Ada lives in {'London' if at % 2 else 'Paris'}. My card was charged {at} times.",
            "question": "Where does Ada live?" if at % 5 else "Who ordered the acme?",
            "answers": [["Paris", "London"][at % 2]] if at % 5 else [],
        }
        for at in range(20)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw.write_text("".join(f"{line}\n" for line in LINES * 26))
    practised = ["--text", str(raw), "--practice-steps", "2"]
    study = ["study", "answers_in_text", str(file), "--labels", "all", "--seeds", "1", "--model", tiny]
    assert (
        main([*study, "--methods", "sentence,practice+probe", *practised, "--out", str(tmp_path / "s"), "--json"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert {each["method"] for each in found["summary"]} == {"zero-shot", "practice", "sentence", "practice+probe"}
    assert {each["metric"] for each in found["summary"]} >= {"f1", "exact"}
    model = str(tmp_path / "top")
    assert main(["fit", "answers_in_text", str(file), "--method", "top", "--model", tiny, "--out", model]) == 0
    capsys.readouterr()
    assert main(["score", model, str(file), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["metrics"]) == ["f1", "exact", "no_answer"]
    assert main(["answer", model, str(file), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line, row in zip(lines, rows, strict=True):
        assert line["id"] == row["id"]
        assert line["text"] == "".join(row["text"][each["start"] : each["end"]] for each in line["answer"])
    assert main(["export", model, "--out", str(tmp_path / "plain")]) == 2
    assert "--body-only" in capsys.readouterr().err
    asked = ["try", "answers_in_text", TEXT, "--model", tiny]
    assert main([*asked, "--question", "Where did Ada live?"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("London\t")
    assert main(asked) == 2
    assert "--question" in capsys.readouterr().err
    assert main(["try", "topic", TEXT, "--model", tiny, "--options", "a,b", "--question", "Who?"]) == 2


def test_what_was_saved_answers_the_same(tmp_path: Path) -> None:
    from lowrung.models import network
    from lowrung.models.catalog import backbone
    from lowrung.models.training import Settings
    from lowrung.models.tuning import Full
    from lowrung.run.adapt import adapt

    tiny = backbone(str(write_tiny_encoder(tmp_path / "tiny")))
    examples = _examples(12)
    made = adapt(tiny, TASK, examples, how=Full(), settings=Settings(least=2, most=2))
    attentions = [layer.attention.self.dropout.p for layer in made.backbone.layers]
    assert not any(attentions)  # or long texts take twice as long
    assert all(layer.attention.self.dropout.p for layer in tiny.layers)
    again = network.load(tmp_path, made.save(tmp_path))
    asked = [each.question for each in examples]
    for one, two in zip(made.answer(asked), again.answer(asked), strict=True):
        assert one.answer == two.answer
        assert one.confidence == pytest.approx(two.confidence, abs=1e-5)
