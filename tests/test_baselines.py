"""The floor of every table: right where rows are easy, silent where it knows nothing, the same after a round trip."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lowrung.core.answers import Choice, Prediction, Span, Spans, Text
from lowrung.core.errors import ModelError
from lowrung.core.parts import Question
from lowrung.core.task import Example
from lowrung.data.files import read_rows
from lowrung.metrics.choice import accuracy
from lowrung.metrics.counting import total
from lowrung.metrics.spans import micro_f1
from lowrung.models.baselines import Crf, Majority, Ngrams, fit_majority, fit_ngrams, load_baseline, save
from lowrung.tasks import task

ROWS = Path(__file__).parent.parent / "examples" / "rows"
TOPIC, ENTITIES = task("topic"), task("entities")


def topics(*pairs):
    return [Example(Question((text,) if isinstance(text, str) else text), (Choice(label),)) for text, label in pairs]


def names(*pairs):
    return [Example(Question((text,)), (Spans(tuple(Span(*span) for span in spans)),)) for text, spans in pairs]


def rows(name, part):
    chosen = task(name)
    return [chosen.example(row) for row in read_rows(ROWS / name / f"{part}.jsonl")]


def value(metric, model, examples):
    said = model.answer([each.question for each in examples])
    pairs = zip(examples, said, strict=True)
    return metric.finish(total(metric.count(each, prediction.answer) for each, prediction in pairs))


COLOURS = topics(
    ("red roses", "warm"), ("orange fire", "warm"), ("blue ice", "cold"), ("blue sea", "cold"), ("?", "none")
)
PLACES = names(
    ("Ada lives in Paris.", [(0, 3, "PER"), (13, 18, "LOC")]),
    ("Bob lives in London.", [(0, 3, "PER"), (13, 19, "LOC")]),
    ("nobody lives here.", []),
)
MODELS = {
    "majority of labels": fit_majority(TOPIC, COLOURS),
    "majority of spans": fit_majority(ENTITIES, PLACES),
    "ngrams of two": fit_ngrams(TOPIC, COLOURS[:4], seed=0),
    "ngrams of three": fit_ngrams(TOPIC, COLOURS, seed=0),
    "crf": fit_ngrams(ENTITIES, PLACES, seed=0),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
ODD = ["", " ", "\ud800 red", "東京 Ada", "👩\u200d👧 lives in Rome\x00", "x" * 5000, "Ada lives in London."]
QUESTIONS = [Question((text,)) for text in ODD] + [Question(("Ada", "blue"), options=("cold", "warm", "PER"))]


def test_the_majority_answers_with_the_commonest_label_and_lists_the_others():
    model = fit_majority(TOPIC, topics(("a", "x"), ("b", "y"), ("c", "y"), ("d", "z")))
    expected = Prediction(Choice("y"), 0.5, ((Choice("x"), 0.25), (Choice("z"), 0.25)))
    assert model.answer([Question(("anything",))] * 2) == [expected, expected]


def test_the_majority_of_spans_is_none_as_often_as_the_rows_had_none():
    assert fit_majority(ENTITIES, PLACES).answer([Question(("Ada",))]) == [Prediction(Spans(), 1 / 3)]


@pytest.mark.parametrize("model", [MODELS["majority of labels"], MODELS["ngrams of three"]], ids=lambda m: m.name)
def test_an_answer_is_one_of_the_options_of_its_question(model):
    one, none = model.answer([Question(("red",), options=("cold", "new")), Question(("red",), options=("new",))])
    assert one == Prediction(Choice("cold"), 1.0)
    assert none == Prediction(None, 0.0)


def test_a_span_label_outside_the_options_of_a_question_is_left_out():
    (said,) = MODELS["crf"].answer([Question(("Ada lives in Paris.",), options=("LOC",))])
    assert said.answer == Spans((Span(13, 18, "LOC"),))


def test_ngrams_learn_the_bundled_topics_from_letters():
    train, test = rows("topic", "train"), rows("topic", "test")
    floor, model = fit_majority(TOPIC, train), fit_ngrams(TOPIC, train, seed=0)
    assert isinstance(model, Ngrams)
    assert value(accuracy, model, test) > value(accuracy, floor, test) + 0.3


def test_a_crf_learns_the_bundled_entities_from_letters():
    train, test = rows("entities", "train"), rows("entities", "test")
    model = fit_ngrams(ENTITIES, train, seed=0)
    assert isinstance(model, Crf)
    assert value(micro_f1, model, test) > 0.4
    assert value(micro_f1, fit_majority(ENTITIES, train), test) == 0.0


def test_both_texts_of_a_pair_are_read_and_told_apart():
    pairs = topics(
        (("tea", "ice"), "first"), (("ice", "tea"), "second"), (("tea", "sun"), "first"), (("sun", "tea"), "second")
    )
    said = fit_ngrams(TOPIC, pairs, seed=0).answer([each.question for each in pairs])
    assert [prediction.answer for prediction in said] == [each.golds[0] for each in pairs]


def test_classes_weigh_alike_however_many_rows_they_have():
    many = topics(*[(f"warm red {n}", "warm") for n in range(30)], ("cold blue", "cold"))
    (said,) = fit_ngrams(TOPIC, many, seed=0).answer([Question(("a blue one, cold",))])
    assert said.answer == Choice("cold")


@pytest.mark.parametrize(
    ("text", "gold", "learned"),
    [
        ("New York is big", (0, 8), (0, 8)),
        ("unNewYork is big", (2, 9), (0, 9)),
        ("New York is big", (2, 6), (0, 8)),
        ("東京は大きい", (0, 2), (0, 2)),
        ("(NATO)", (1, 5), (1, 5)),
    ],
)
def test_a_span_is_learned_by_the_words_it_covers_or_touches(text, gold, learned):
    model = fit_ngrams(ENTITIES, names((text, [(*gold, "X")]), ("and not here", [])), seed=0)
    assert model.answer([Question((text,))])[0].answer == Spans((Span(*learned, "X"),))


def test_spans_that_touch_stay_two():
    text, spans = "Ada Bob came", [(0, 3, "PER"), (4, 7, "PER")]
    model = fit_ngrams(ENTITIES, names((text, spans), ("they came", [])), seed=0)
    assert model.answer([Question((text,))])[0].answer == Spans(tuple(Span(*span) for span in spans))


@each_model
def test_any_text_gets_one_valid_answer(model):
    said = model.answer(QUESTIONS)
    assert len(said) == len(QUESTIONS)
    assert model.answer([]) == []
    for question, prediction in zip(QUESTIONS, said, strict=True):
        assert sum(share for _, share in prediction.others) + prediction.confidence <= 1 + 1e-9
        if isinstance(prediction.answer, Spans):
            assert all(span.end <= len(question.text) for span in prediction.answer.spans)


@each_model
def test_an_answer_does_not_depend_on_the_questions_beside_it(model):
    assert model.answer(QUESTIONS) == [model.answer([question])[0] for question in QUESTIONS]


@each_model
def test_a_loaded_model_answers_the_same(model, tmp_path):
    save(MODELS["majority of labels"], tmp_path)  # what lay there before does not matter
    save(model, tmp_path)
    loaded = load_baseline(tmp_path)
    assert (type(loaded), loaded.name) == (type(model), model.name)
    assert loaded.answer(QUESTIONS) == model.answer(QUESTIONS)


@pytest.mark.parametrize(
    ("chosen", "examples"), [(TOPIC, COLOURS), (ENTITIES, PLACES)], ids=lambda x: getattr(x, "name", "")
)
def test_fitting_twice_gives_the_same_answers(chosen, examples):
    one, two = (fit_ngrams(chosen, examples, seed=3) for _ in range(2))
    assert one.answer(QUESTIONS) == two.answer(QUESTIONS)


@pytest.mark.parametrize(
    ("chosen", "examples"),
    [
        (TOPIC, topics(("a", "x"), ("b", "x"))),
        (TOPIC, topics((" ", "x"), ("", "y"))),
        (ENTITIES, names(("no names", []), ("none here", []))),
    ],
)
def test_where_nothing_can_be_told_apart_the_majority_answers(chosen, examples):
    assert fit_ngrams(chosen, examples, seed=0) == fit_majority(chosen, examples)


@pytest.mark.parametrize("fit", [fit_majority, lambda *given: fit_ngrams(*given, seed=0)], ids=["majority", "ngrams"])
def test_what_cannot_be_learned_is_said_in_one_line(fit):
    with pytest.raises(ModelError, match=r"^\w+: none of 0 examples has a right answer"):
        fit(TOPIC, [])
    with pytest.raises(ModelError, match=r"^\w+: none of 1 examples has a right answer"):
        fit(ENTITIES, [Example(Question(("Ada",)))])
    with pytest.raises(ModelError, match="'spelling' answers with Text; this baseline is for tasks that answer"):
        fit(replace(TOPIC, name="spelling", answer=Text), [Example(Question(("teh",)), (Text("the"),))])


def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path):
    def refused(reason):
        with pytest.raises(ModelError, match=reason) as caught:
            load_baseline(tmp_path)
        assert "\n" not in str(caught.value)

    refused("FileNotFoundError")
    save(MODELS["crf"], tmp_path)
    body = (tmp_path / "baseline.crfsuite").read_bytes()
    (tmp_path / "baseline.crfsuite").write_bytes(body[:-8] + bytes(8))
    refused("not the file that was saved")
    save(MODELS["ngrams of two"], tmp_path)
    about = json.loads((tmp_path / "baseline.json").read_text())
    (tmp_path / "baseline.json").write_text(json.dumps(about | {"labels": ["warm"]}))
    refused("1 labels and .* do not go with")
    (tmp_path / "baseline.safetensors").write_bytes(b"torn")
    refused("SafetensorError")
    (tmp_path / "baseline.json").write_text('{"kind": "ngram"}')
    refused("Did you mean 'ngrams'")
    (tmp_path / "baseline.json").write_text("[]")
    refused("TypeError")


def test_majority_is_imported_as_a_value():
    assert Majority((("x", 1.0),)) == fit_majority(TOPIC, topics(("a", "x")))
