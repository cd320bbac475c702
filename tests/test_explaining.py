"""explain: what decides is told, shares add up to the score, small changes change the answer, similar rows are near."""

import json
import math
import re
import sys

import pytest
import torch
from test_models_characters import lettered
from tiny_encoder import NAMES, TOPICS, write_tiny_encoder

from lowrung import explain
from lowrung.cli import main
from lowrung.core.answers import Choice, Choices, Prediction, Spans, Text
from lowrung.core.edits import Mend
from lowrung.core.errors import LowrungError
from lowrung.models import catalog, gradients
from lowrung.models.heads import Rank, Tag
from lowrung.models.network import Adapted
from lowrung.models.point import Point
from lowrung.models.tuning import Full
from lowrung.run.explaining import HIDDEN, Explanation
from lowrung.run.explaining_page import html
from lowrung.run.fit import fit
from lowrung.run.ship import Shipped, load
from lowrung.tasks import task

TOPIC = task("topic").with_options(["billing", "delivery"])
PRONOUN = {"text": "Ada met Alan because she liked him.", "pronoun": [21, 24], "candidates": [[0, 3], [8, 12]]}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def shipped(encoder, tmp_path_factory):
    """topic: a probe, names: the same for spans, ngrams and crf: floors, all in folders."""
    folder = tmp_path_factory.mktemp("shipped")
    fit("topic", TOPICS, method="probe", model=encoder, out=folder / "topic")
    fit("entities", NAMES, method="probe", model=encoder, out=folder / "names")
    fit("topic", TOPICS, method="ngrams", out=folder / "ngrams")
    fit("entities", NAMES, method="ngrams", out=folder / "crf")
    return folder


class Says:
    """A model of what a function makes of a question."""

    name = "says"

    def __init__(self, say):
        self.say, self.asked = say, 0

    def answer(self, questions):
        self.asked += len(questions)
        return [self.say(each) for each in questions]


def billing(*needed):
    """billing where all of the words stand in the text, with a share for each of them"""

    def say(question):
        share = sum(word in question.text.lower().split() for word in needed) / len(needed)
        ranked = [(Choice("billing"), 0.1 + 0.8 * share), (Choice("delivery"), 0.9 - 0.8 * share)]
        best, other = ranked if share == 1 else ranked[::-1]
        return Prediction(*best, (other,)) if share == 1 else Prediction(best[0], max(best[1], 0.5), (other,))

    return Shipped(TOPIC, Says(say), {})


def weights(found: Explanation, cause=0, of="words"):
    shares = getattr(found.causes[cause], of)
    return [(found.text[start:end], share) for start, end, share in shares]


def gap_is_small(found):
    for cause in found.causes:
        assert sum(share for *_, share in cause.words) == pytest.approx(cause.value - cause.baseline - cause.gap)
        assert abs(cause.gap) <= max(0.02 * abs(cause.value - cause.baseline), 1e-4)
    return True


# --- integrated gradients


def only(encoder, word, head):
    """A network for which all pieces are the same but those of `word`."""
    backbone = catalog.backbone(encoder).upto(2)
    table = backbone.body.get_input_embeddings().weight
    at = backbone.tokenizer.inner.convert_tokens_to_ids(word)
    with torch.no_grad():
        table[:] = table[1]  # the unknown piece, which stands for nothing here
        table[at] = torch.linspace(-1, 1, table.shape[1])
        for layer in backbone.layers:  # each piece is read by itself
            layer.attention.output.dense.weight.zero_()
    return Adapted(backbone, head(backbone), how=Full(), name="only")


def test_the_word_that_decides_is_the_only_one_that_speaks(encoder):
    pytest.importorskip("captum")
    names = torch.nn.functional.normalize(torch.randn(2, 32, generator=torch.Generator().manual_seed(0)), dim=-1)
    network = only(encoder, "refund", lambda _: Rank(TOPIC.options, names))
    found = explain(Shipped(TOPIC, network, {}), "can you refund the card?", counterfactuals=0)
    assert found.by == "ig"
    told = dict(weights(found))
    assert abs(told.pop("refund")) > 0.01
    assert max(map(abs, told.values())) < 1e-4
    assert gap_is_small(found)


@pytest.mark.parametrize("text", ["I was charged for my card", "my parcel is in Paris. " * 30])
def test_shares_add_up_from_the_text_that_says_nothing(text, shipped):
    pytest.importorskip("captum")
    model = load(shipped / "topic")
    found = explain(model, text, counterfactuals=0)
    (cause,) = found.causes
    assert cause.value == pytest.approx(math.log(found.said.confidence / (1 - found.said.confidence)), abs=1e-3)
    pieces = model.model.backbone.tokenizer.pieces([text])[0][0]
    nothing = model.answer(" ".join("☃" * len(pieces)))  # as many unknown pieces
    ranked = ((nothing.answer, nothing.confidence), *nothing.others)
    share = next(share for each, share in ranked if each == found.said.answer)
    assert cause.baseline == pytest.approx(math.log(share / (1 - share)), abs=1e-3)
    assert gap_is_small(found)
    assert [word for word, _ in weights(found)][:2] == text.split()[:2]


def test_the_other_option_is_explained_by_the_opposite(shipped):
    pytest.importorskip("captum")
    model = load(shipped / "topic")
    one, two = (explain(model, "refund my card", target=each, counterfactuals=0) for each in model.task.options)
    assert (one.causes[0].what, two.causes[0].what) == model.task.options
    assert [share for _, share in weights(one)] == pytest.approx([-share for _, share in weights(two)], abs=1e-3)


def test_each_span_is_explained_by_its_own_odds(shipped):
    pytest.importorskip("captum")
    model = load(shipped / "names")
    found = explain(model, "Ada lives in London", by="ig", counterfactuals=0)
    assert [each.what for each in found.causes] == [f"[{x}]({y})" for x, y in (("Ada", "PER"), ("London", "LOC"))]
    assert gap_is_small(found)
    head, batch = model.model.head, model.model.backbone.encode([found.question])
    with torch.no_grad():
        hidden = model.model.hidden(batch)
        for cause in found.causes:
            rest = [each for each in found.said.answer.spans if each.start != cause.start]
            losses = [head.loss(batch, hidden, [each]) for each in (found.said.answer, Spans(tuple(rest)))]
            lean = float(head.lean)  # of one word
            assert cause.value == pytest.approx(float(losses[1] - losses[0]) + lean, abs=1e-3)
    assert isinstance(head, Tag)
    per = explain(model, "Ada lives in London", target="PER", counterfactuals=0)
    assert [each.what for each in per.causes] == ["[Ada](PER)"]


def test_a_pronoun_by_gradients_says_that_places_count(encoder):
    pytest.importorskip("captum")
    backbone = catalog.backbone(encoder).upto(2)
    torch.manual_seed(0)
    head = Point(width=32)
    torch.nn.init.normal_(head.learnt.weight)
    model = Shipped(task("pronoun"), Adapted(backbone, head, how=Full()), {})
    found = explain(model, PRONOUN, by="ig", counterfactuals=0)
    assert gap_is_small(found)
    assert any("marks" in each for each in found.notes)
    assert found.causes[0].value == pytest.approx(
        math.log(found.said.confidence / (1 - found.said.confidence)), abs=1e-3
    )
    assert explain(model, PRONOUN, counterfactuals=0).by == "occlusion"


def test_a_body_that_reads_letters_says_which(encoder):
    pytest.importorskip("captum")
    body = lettered(catalog.backbone(encoder))
    model = Shipped(TOPIC, Adapted(body, Rank(TOPIC.options, body.embed(["billing", "delivery"])), how=Full()), {})
    found = explain(model, "card, Card and " + "x" * 30, counterfactuals=0)
    assert gap_is_small(found)
    letters = weights(found, of="letters")
    assert "".join(each for each, _ in letters) == "card,Cardand" + "x" * 24  # of a long word its two ends
    assert any(abs(share) > 1e-3 for _, share in letters)
    assert letters[0] != letters[5]
    own = gradients.attributed(model.model, found.question, found.said.answer, found.said.answer)
    assert sum(share for *_, share in own.letters) + sum(share for *_, share in own.pieces) == pytest.approx(
        sum(share for _, share in weights(found)), abs=1e-4
    )


@pytest.mark.parametrize("kind", ["topic", "entities"])
def test_a_plain_classifier_has_gradients_as_well(kind, encoder, tmp_path):
    pytest.importorskip("captum")
    import transformers

    made = {
        "topic": (transformers.AutoModelForSequenceClassification, {0: "billing", 1: "delivery"}),
        "entities": (transformers.AutoModelForTokenClassification, {0: "O", 1: "B-PER", 2: "I-PER"}),
    }[kind]
    torch.manual_seed(3)
    network = made[0].from_pretrained(encoder, num_labels=len(made[1]), id2label=made[1])
    torch.nn.init.normal_(network.classifier.weight, std=0.5)
    network.classifier.bias.data[1] = 9.0 * (kind == "entities")
    network.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(encoder).save_pretrained(tmp_path)
    found = explain(load(tmp_path), "Ada works in London", counterfactuals=0)
    assert found.by == "ig"
    assert found.causes
    assert gap_is_small(found)
    if kind == "topic":
        sure = found.said.confidence
        assert found.causes[0].value == pytest.approx(math.log(sure / (1 - sure)), abs=1e-3)


# --- occlusion


def test_a_word_that_a_rule_looks_for_is_what_it_answers_by():
    found = explain(billing("charged"), "I was charged twice", counterfactuals=0)
    assert found.by == "occlusion"
    assert dict(weights(found)) == pytest.approx({"I": 0.0, "was": 0.0, "charged": 0.8, "twice": 0.0})
    assert found.asked == 5


def test_a_long_text_is_left_out_in_groups():
    found = explain(billing("charged"), "a " * 300 + "charged " + "b " * 300, counterfactuals=0)
    assert found.asked < 300
    (best,) = [word for word, share in weights(found) if share > 0]
    assert "charged" in best
    assert "3 at a time" in found.notes[0]


def test_marked_words_are_hidden_not_left_out(encoder):
    seen = []

    def say(question):
        seen.append(question)
        return Prediction(Choice(question.options[0]), 0.9)

    found = explain(Shipped(task("pronoun"), Says(say), {}), PRONOUN, counterfactuals=0)
    assert [word for word, _ in weights(found)] == "Ada met Alan because she liked him .".split()
    hidden = {question.text for question in seen if HIDDEN in question.text}
    assert hidden == {PRONOUN["text"].replace(each, HIDDEN, 1) for each in ("Ada", "Alan", "she")}
    assert all(len(question.marks) == 3 for question in seen)


def test_spans_of_a_model_without_gradients(shipped):
    found = explain(load(shipped / "crf"), "Ada lives in London", counterfactuals=0)
    assert found.by == "occlusion"
    for cause in found.causes:
        own = found.text[cause.start : cause.end]
        assert {found.text[start:end]: share for start, end, share in cause.words}[own] > 0


def test_of_several_choices_each_is_explained_by_its_own_probability():
    def say(question):
        shares = {option: 0.9 if option in question.text else 0.2 for option in TOPIC.options}
        chosen = tuple(option for option, share in shares.items() if share > 0.5)
        return Prediction(Choices(chosen), 0.7, tuple((Choices((each,)), share) for each, share in shares.items()))

    found = explain(Shipped(TOPIC, Says(say), {}), "billing and delivery", counterfactuals=2)
    assert [each.what for each in found.causes] == ["billing", "delivery"]
    assert dict(weights(found)) == pytest.approx({"billing": 0.7, "and": 0.0, "delivery": 0.0})
    assert {len(each.answer.options) for each in found.counterfactuals} == {1}


def test_a_model_that_ranks_no_choices_is_explained_by_how_sure_it_is():
    def say(question):
        chosen = tuple(option for option in TOPIC.options if option in question.text)
        return Prediction(Choices(chosen), 0.7)

    found = explain(Shipped(TOPIC, Says(say), {}), "billing and delivery", counterfactuals=0)
    assert [each.value for each in found.causes] == [0.7, 0.7]
    assert dict(weights(found)) == pytest.approx({"billing": 0.7, "and": 0.0, "delivery": 0.0})


def test_letters_and_neighbours_of_a_mend():
    def say(question):
        at = question.text.find("teh")
        if at < 0:
            return Prediction(Text(question.text), 1.0)
        sure = 0.9 if "cat" in question.text else 0.6
        mended = question.text.replace("teh", "the")
        return Prediction(Text(mended), sure, mends=(Mend(at, at + 3, "the", sure),))

    found = explain(Shipped(task("spelling"), Says(say), {}), "see teh cat", counterfactuals=0)
    assert found.causes[0].what == "teh → the"
    assert dict(weights(found)) == pytest.approx({"see": 0.0, "cat": 0.3})
    assert [letter for letter, _ in weights(found, of="letters")] == list("teh")
    assert all(share == pytest.approx(0.9) for _, share in weights(found, of="letters"))
    right = explain(Shipped(task("spelling"), Says(say), {}), "see the cat")
    assert (right.causes, right.counterfactuals) == ((), ())
    assert "no mend" in right.notes[0]


# --- what would have changed it


def test_one_change_of_the_word_that_decides():
    found = explain(billing("charged"), "I was charged twice")
    assert found.counterfactuals
    for each in found.counterfactuals:
        assert len(each.edits) == 1
        assert each.changes[0][0] == "charged"
        assert each.answer == Choice("delivery")
        assert "charged" not in each.text.split()


def test_two_changes_where_one_will_not_do_within_the_questions():
    model = Shipped(TOPIC, Says(either("charged", "refund")), {})
    found = explain(model, "I was charged and want a refund", counterfactuals=1)
    assert [len(each.edits) for each in found.counterfactuals] == [2]
    assert {old for old, _ in found.counterfactuals[0].changes} == {"charged", "refund"}
    before = model.model.asked
    few = explain(model, "I was charged and want a refund", most=10)
    assert not few.counterfactuals
    assert model.model.asked - before == few.asked <= 7 + 1 + 10
    assert "No small change" in few.notes[0]


def either(*words):
    def say(question):
        number = sum(word in question.text.split() for word in words)
        best, other = (Choice("billing"), Choice("delivery")) if number else (Choice("delivery"), Choice("billing"))
        sure = 0.5 + 0.2 * number if number else 0.9
        return Prediction(best, sure, ((other, 1 - sure),))

    return say


def test_a_target_that_is_not_answered_is_what_changes_lead_to():
    def say(question):
        option = "billing" if "parcel" not in question.text.split() else "delivery"
        others = tuple((Choice(each), 0.1) for each in TOPIC.options if each != option)
        return Prediction(Choice(option), 0.9, others)

    rows = [{"text": "the parcel, my parcel", "label": "delivery"}, {"text": "my card", "label": "billing"}]
    found = explain(Shipped(TOPIC, Says(say), {}), "where is my card", target="delivery", rows=rows, counterfactuals=1)
    assert found.causes[0].what == "delivery"
    assert found.counterfactuals[0].answer == Choice("delivery")
    assert found.counterfactuals[0].changes[0][1].casefold() == "parcel"


def test_people_and_genders_are_swapped_together():
    def say(question):
        option = "billing" if "she" in question.text.casefold().split() else "delivery"
        return Prediction(Choice(option), 0.9)

    found = explain(Shipped(TOPIC, Says(say), {}), "She says she paid", counterfactuals=9)
    assert [("She", "He"), ("she", "he")] in [list(each.changes) for each in found.counterfactuals]


# --- similar rows


@pytest.mark.parametrize("name", ["topic", "ngrams"])
def test_a_row_is_most_like_itself(name, shipped):
    found = explain(load(shipped / name), TOPICS[3]["text"], rows=TOPICS, nearest=3, by="occlusion", counterfactuals=0)
    assert len(found.nearest) == 3
    assert (found.nearest[0].id, found.nearest[0].golds) == ("r3", (Choice("delivery"),))
    assert found.nearest[0].cosine == pytest.approx(1.0, abs=1e-4)
    assert found.nearest[0].cosine > found.nearest[1].cosine >= found.nearest[2].cosine
    assert not found.notes
    others = explain(load(shipped / name), "card", rows=TOPICS[1:], by="occlusion", counterfactuals=0)
    assert others.notes == ("These are other rows than those the model learnt from.",)


# --- the command line


def told(arguments, capsys):
    capsys.readouterr()
    status = main(["explain", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_json_text_and_page_say_the_same(shipped, tmp_path, capsys):
    page, given = tmp_path / "out" / "why.html", "<b>refund</b> my card"
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(each) + "\n" for each in TOPICS))
    arguments = [shipped / "ngrams", given, "--rows", rows, "--nearest", "2", "--html", page]
    status, out, _ = told([*arguments, "--json"], capsys)
    assert status == 0
    found = json.loads(out)
    words = {each["text"]: each["weight"] for each in found["causes"][0]["words"]}
    assert {"refund", "my", "card"} <= words.keys()
    assert len(found["nearest"]) == 2
    status, out, _ = told(arguments, capsys)
    assert status == 0
    assert "\x1b" not in out
    assert f"{max(words.values()):+.3f}" in out
    assert "{+10}" in out
    shown = page.read_text()
    assert all(f'title="{weight:+.4f}"' in shown for weight in words.values())
    assert "&lt;" in shown
    assert "<b>" not in shown
    assert "http" not in shown
    assert "prefers-color-scheme: dark" in shown


def test_colours_are_for_terminals_that_want_them(shipped, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    arguments = [shipped / "ngrams", "refund my card", "--counterfactuals", "0"]
    _, coloured, _ = told(arguments, capsys)
    monkeypatch.setenv("NO_COLOR", "1")
    _, bare, _ = told(arguments, capsys)
    assert "\x1b[" in coloured
    assert "speaks for it" in coloured
    assert "\x1b" not in bare


def test_a_page_of_spans_and_of_none(shipped):
    model = load(shipped / "crf")
    page = html(explain(model, "Ada lives in London").to_json())
    assert "[Ada](PER)" in page
    assert "(none)" in html(explain(model, "it works", counterfactuals=0).to_json()) or "no span" in html(
        explain(model, "it works", counterfactuals=0).to_json()
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere", "text"], "model 'nowhere' is not one of"),
        (["{ngrams}", ""], "'text' is empty"),
        (["{ngrams}", "  "], "'text' is empty"),
        (["{ngrams}", '{"text": 1}'], "'text' .*not 1"),
        (["{ngrams}", "{no json"], "the row is no JSON object"),
        (["{ngrams}", "card", "--target", "biling"], "target 'biling' is not one of .* Did you mean 'billing'"),
        (["{ngrams}", "card", "--by", "lime"], "by 'lime' is not one of ig, occlusion"),
        (["{ngrams}", "card", "--by", "ig"], "ngrams has no gradients to integrate; explain it by occlusion"),
        (["{crf}", "Ada lives in London", "--target", "ORG"], "target 'ORG' is not one of LOC, PER"),
        (["{crf}", "Ada works", "--target", "LOC"], "no LOC was found in this text"),
        (["spelling", "a text", "--target", "x"], "answers with a text, not with 'x'"),
        (["speech", "a.wav"], "explain reads texts; speech is asked about sound"),
        (["{ngrams}", "card", "--rows", "{ngrams}/none.jsonl"], "none.jsonl"),
        (["{ngrams}", "card", "--counterfactuals", "many"], "counterfactuals"),
        (["{ngrams}", "card", "--max-cost", "1"], "--max-cost is for an endpoint"),
    ],
)
def test_what_cannot_be_explained_is_said_in_one_line(arguments, line, shipped, capsys):
    folders = {name: shipped / name for name in ("ngrams", "crf")}
    status, _, told_in = told(
        [each if each.startswith("{no") or '"' in each else each.format(**folders) for each in arguments], capsys
    )
    assert status == 2
    assert re.search(line, told_in)
    assert "Traceback" not in told_in


def test_without_captum_the_install_is_named(shipped, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(LowrungError, match=r"pip install 'lowrung\[explain\]', or explain by occlusion"):
        explain(load(shipped / "topic"), "refund my card")


def test_a_model_without_an_answer_has_none_to_explain():
    with pytest.raises(LowrungError, match="says has no answer to this text"):
        explain(Shipped(TOPIC, Says(lambda _: Prediction(None, 0.0)), {}), "card")
    translated = Shipped(task("spelling"), Says(lambda _: Prediction(Text("Karte"), 0.9)), {})
    with pytest.raises(LowrungError, match="no edits that make it"):
        explain(translated, "card")
