"""pronoun: rows and their errors, metrics as GAP counts, practice, swaps, the Point head, the way through a study."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
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
from lowrung.core.answers import Choice
from lowrung.core.errors import DataError, LowrungError
from lowrung.core.task import Example
from lowrung.data.names import candidates, distinct, named, sentence_ends
from lowrung.data.splits import keys
from lowrung.data.swaps import SWAPS, swap_gender, swap_names
from lowrung.metrics.counting import total
from lowrung.run.evaluate import report_of
from lowrung.run.methods import methods_for
from lowrung.run.ship import fingerprint
from lowrung.tasks.pronoun import NONE, row_of

TASK = tasks.task("pronoun")
MANY = settings(max_examples=60, deadline=None)
FEW = settings(max_examples=12, deadline=None)
TEXT = "Ada wrote to Grace because she admired the engine."
WILD = "aé 👩‍👩‍👧e\u0301 שלום漢字.\u200d"
LINES = (
    "Ada Lovelace met Charles Babbage in London. Babbage was proud of the engine. Lovelace wrote about it.",
    "Grace told Mary that Grace would come on Monday with her brother. Mary was glad.",
    "Jean Dupont saw Anna Weber. Weber said that Dupont's plan was good, and Dupont left.",
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads that wait for each other over tiny matrices take a hundred times as long on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _row(**changes: Any) -> dict[str, Any]:
    row = {"text": TEXT, "pronoun": [27, 30], "candidates": [[0, 3], [13, 18]], "referent": 0}
    return {name: value for name, value in {**row, **changes}.items() if value is not ...}


def _examples(number: int, **more: Any) -> list[Example[Choice]]:
    """Sentences of few words in which the first candidate is right unless the verb is «charged»."""
    made = []
    for at in range(number):
        verb = "charged" if at % 3 == 0 else "met"
        row = row_of(f"Ada {verb} London and it works for me {'please ' * (at % 4)}", "it")
        made.append(TASK.example({**row, "referent": int(at % 3 == 0), "id": f"r{at}", **more}))
    return made


# --- rows ------------------------------------------------------------------------------------------------------------


def test_a_row_becomes_marks_and_options() -> None:
    example = TASK.example(_row(gender="feminine"))
    asked = example.question
    assert asked.options == ("Ada", "Grace", NONE)
    assert [(each.label, asked.text[each.start : each.end]) for each in asked.marks] == [
        ("pronoun", "she"),
        ("candidate", "Ada"),
        ("candidate", "Grace"),
    ]
    assert example.golds == (Choice("Ada"),)
    assert example.facets == (("gender", "feminine"),)


def test_null_says_none_of_them_and_a_missing_referent_says_nothing() -> None:
    assert TASK.golds(_row(referent=None)) == (Choice(NONE),)
    assert TASK.golds(_row(referent=...)) == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"text": ""}, "'text' is empty"),
        ({"text": " \n"}, "'text' is empty"),
        ({"text": 7}, "holds text, not 7"),
        ({"pronoun": ...}, r"a pronoun is \[start, end\]"),
        ({"pronoun": [1]}, "two whole numbers"),
        ({"pronoun": [27.0, 30]}, "two whole numbers"),
        ({"pronoun": [True, 30]}, "two whole numbers"),
        ({"pronoun": "she"}, "two whole numbers"),
        ({"pronoun": [30, 27]}, "0 <= start < end, not 30-27"),
        ({"pronoun": [-3, 2]}, "0 <= start < end"),
        ({"pronoun": [48, 51]}, "pronoun 48-51 ends after the text does"),
        ({"candidates": ...}, "at least one, not None"),
        ({"candidates": []}, "at least one"),
        ({"candidates": "Ada"}, "holds a list"),
        ({"candidates": [[0, 3], [13, 99]]}, "candidate 13-99 ends after"),
        ({"candidates": [[3, 4]]}, "holds only blanks"),
        ({"candidates": [[0, 3], [26, 28]]}, "candidate 26-28 and pronoun 27-30 overlap"),
        ({"candidates": [[0, 3], [0, 3]]}, "candidate 0-3 and candidate 0-3 overlap"),
    ],
)
def test_a_bad_row_is_a_data_error_of_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        TASK.question(_row(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("referent", [2, -1, True, "2", "x", "", 0.0, [0]])
def test_a_referent_is_the_place_of_a_candidate(referent: Any) -> None:
    with pytest.raises(DataError, match="'referent'"):
        TASK.golds(_row(referent=referent))


@MANY
@given(st.data())
def test_offsets_count_characters_in_any_script(data: st.DataObject) -> None:
    text = data.draw(st.text(alphabet=WILD, min_size=1, max_size=30))
    cuts = data.draw(st.lists(st.integers(0, len(text)), min_size=4, max_size=8))
    pairs = [[start, end] for start, end in zip(cuts[::2], cuts[1::2], strict=False)]
    row = {"text": text, "pronoun": pairs[0], "candidates": pairs[1:], "referent": 0}
    try:
        example = TASK.example(row)
    except DataError:
        return  # cuts may overlap or hold blanks; what is read must be read right
    assert [[each.start, each.end] for each in example.question.marks] == pairs
    assert example.golds == (Choice(example.question.options[0]),)
    assert len(set(example.question.options)) == len(pairs)


@MANY
@given(st.lists(st.sampled_from(["Ada", "Ada (2)", " Ada", NONE, "b"]), max_size=6))
def test_options_differ_whatever_the_names(names: list[str]) -> None:
    options = distinct(names, NONE)
    assert len(set(options)) == len(options) == len(names) + 1
    assert options[-1] == NONE


# --- metrics ---------------------------------------------------------------------------------------------------------


def _score(rows: Sequence[tuple[int | None, str, str | None]]) -> dict[str, float]:
    """(referent, gender, the option said) → every metric."""
    pairs = [
        (TASK.example(_row(referent=right, gender=gender)), Choice(said) if said else None)
        for right, gender, said in rows
    ]
    return {
        metric.name: metric.finish(total(metric.count(each, said) for each, said in pairs)) for metric in TASK.metrics
    }


def test_f1_counts_candidates_as_gap_does() -> None:
    found = _score(
        [
            (0, "feminine", "Ada"),  # tp
            (0, "feminine", "Grace"),  # fp and fn
            (1, "masculine", NONE),  # fn
            (None, "masculine", "Ada"),  # fp
            (None, "masculine", NONE),  # right, and no candidate counts
            (1, "M", "Grace"),  # tp
            (1, "m", None),  # fn
        ]
    )
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 3))
    assert found["accuracy"] == pytest.approx(3 / 7)
    assert found["f1_feminine"] == pytest.approx(2 / (2 + 1 + 1))
    assert found["f1_masculine"] == pytest.approx(2 / (2 + 1 + 2))
    assert found["ratio"] == pytest.approx(0.5 / 0.4)


def test_scores_of_a_gender_are_told_only_where_rows_have_one() -> None:
    class Said:
        answer, confidence, lacking = Choice("Ada"), 1.0, ()

    for gender, number in ((..., 2), ("feminine", 5)):
        report = report_of(TASK, "x", [TASK.example(_row(gender=gender))], [Said()])  # type: ignore[list-item]
        assert len(report.to_json()["scores"]) == number


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (LINES[0], [["Ada Lovelace", "Lovelace"], ["Charles Babbage", "Babbage"], ["London"]]),
        ("When J. K. Rowling met Jean-Luc O'Brien, I left.", [["J. K. Rowling"], ["Jean-Luc O'Brien"]]),
        ("Vincent van Gogh painted. Stars shone; stars fell.", [["Vincent van Gogh"]]),
        ("Анна видела Ивана. Потом Анна ушла, потом Иван.", [["Анна", "Анна"], ["Ивана"], ["Иван"]]),
        ("花子は太郎に本を見せた。", []),
        ("", []),
    ],
)
def test_names_are_runs_of_capitals_and_found_again(text: str, found: list[list[str]]) -> None:
    assert [[text[start:end] for start, end in mentions] for mentions in named(text)] == found


def test_a_candidate_is_the_last_mention_before_the_pronoun() -> None:
    text = "Ada met Grace. Ada said that she was with Mary."
    at = text.index("she")
    assert [text[start:end] for start, end in candidates(text, (at, at + 3))] == ["Grace", "Ada", "Mary"]
    assert candidates(text, (at, at + 3))[1] == (15, 18)


@MANY
@given(st.text(alphabet=WILD + "AB'-\n", max_size=40))
def test_rules_survive_any_text(text: str) -> None:
    for mentions in named(text):
        assert all(0 <= start < end <= len(text) for start, end in mentions)
    assert all(0 < at < len(text) for at in sentence_ends(text))


def test_a_row_from_a_text_and_a_word() -> None:
    row = row_of("She left. Ada wrote to Grace because she knew.", "she")
    assert row["pronoun"] == [37, 40]
    assert row["candidates"] == [[10, 13], [23, 28]]
    row = row_of("👩‍🔬 花子は太郎に彼女の本を見せた", "彼女", ["太郎", "花子"])
    assert TASK.question(row).options == ("花子", "太郎", NONE)
    for text, word, names, says in (
        (TEXT, "he", (), "'he' does not stand"),
        (TEXT, "she", ("Ida",), "'Ida' does not stand"),
        ("it rains and she knows", "she", (), "--options"),
    ):
        with pytest.raises(DataError, match=says):
            row_of(text, word, names)


# --- practice and swaps ----------------------------------------------------------------------------------------------


def test_practice_hides_a_name_that_is_told_twice() -> None:
    rows = list(TASK.practice(LINES * 60, Random(1)))  # type: ignore[misc]
    assert len(rows) > 30
    nobody = 0
    words = Counter(row["text"][slice(*row["pronoun"])].casefold() for row in rows)
    for row in rows:
        example = TASK.example(row)
        nobody += example.golds == (Choice(NONE),)
    assert 0 < nobody < len(rows) / 3
    assert {"she", "he"} <= set(words)
    assert max(words["she"], words["he"]) < 2 * min(words["she"], words["he"])


@pytest.mark.parametrize("name", SWAPS)
@FEW
@given(st.integers(0, 1000))
def test_a_swap_carries_marks_and_golds_along(name: str, seed: int) -> None:
    for row in TASK.practice(LINES * 4, Random(seed)):  # type: ignore[misc]
        before = TASK.example({**row, "gender": "feminine"})
        after = SWAPS[name](before, Random(seed))
        assert len(after.question.marks) == len(before.question.marks)
        assert [each.label for each in after.question.marks] == [each.label for each in before.question.marks]
        words = [after.question.text[each.start : each.end] for each in after.question.marks]
        assert after.question.options == distinct(words[1:], NONE)
        place = before.question.options.index(before.golds[0].option)
        assert after.golds == (Choice(after.question.options[place]),)
        assert after == SWAPS[name](before, Random(seed))


def test_names_and_genders_swap_consistently() -> None:
    text = "Ada Lovelace gave her sister Grace her book. Lovelace saw her there."
    example = TASK.example(
        {"text": text, "pronoun": [62, 65], "candidates": [[29, 34], [0, 12]], "referent": 1, "gender": "feminine"}
    )
    other = swap_gender(example, Random(0))
    first = other.question.text.split()[0]
    assert other.question.text.endswith("Lovelace saw him there.")
    assert " gave his brother " in other.question.text
    assert " his book." in other.question.text
    assert other.golds == (Choice(f"{first} Lovelace"),)
    assert other.facets == (("gender", "masculine"),)
    renamed = swap_names(example, Random(0)).question.text
    assert not {"Ada", "Grace", "Lovelace"} & set(renamed.replace(".", "").split())
    assert renamed.split()[1] == renamed.split(". ")[1].split()[0]


# --- the head --------------------------------------------------------------------------------------------------------


@cache
def _backbone() -> Any:
    from lowrung.models.pieces import Tokenizer
    from lowrung.models.text import Source, TextBackbone

    inner = wordpiece()
    return TextBackbone(Tokenizer(inner, longest=40), body("bert", inner), source=Source("tiny", "0"), pooling="mean")


def test_before_the_first_label_the_place_speaks() -> None:
    from lowrung.models.tuning import Frozen
    from lowrung.run.adapt import adapt

    network = adapt(_backbone(), TASK, how=Frozen())
    texts = (
        "Ada met Grace in London (near Paris). Ada said that she works.",
        "Grace was twice charged. My parcel is where Ada is, and she works.",
    )
    said = network.answer([TASK.question(row_of(text, "she")) for text in texts])
    assert [each.answer for each in said] == [Choice("Ada"), Choice("Ada")]
    for each, text in zip(said, texts, strict=True):
        options = TASK.question(row_of(text, "she")).options
        told = [each.answer, *(other for other, _ in each.others)]
        assert sorted(choice.option for choice in told) == sorted(options)
        assert each.confidence + sum(share for _, share in each.others) == pytest.approx(1.0, abs=1e-4)


def test_a_long_text_and_any_number_of_candidates_in_one_batch() -> None:
    from lowrung.models.point import Point

    torch = pytest.importorskip("torch")
    text = "where is my parcel? " * 20 + "Ada met Grace and she works. " + "money " * 30 + "London"
    rows = [row_of(text, "she"), row_of(text, "she", ["Grace"]), _row(), row_of("👩‍🔬 e\u0301 Ada שלום she", "she")]
    questions = [TASK.question(row) for row in rows]
    head = Point(width=16).eval()
    with torch.no_grad():
        for each in head.parameters():
            each.add_(torch.randn(each.shape, generator=torch.Generator().manual_seed(0)) * 0.3)
        batch = _backbone().encode(questions)
        together = head.decode(batch, _backbone().hidden(batch))
        for asked, said in zip(questions, together, strict=True):
            one = _backbone().encode([asked])
            alone = head.decode(one, _backbone().hidden(one))[0]
            assert alone.answer == said.answer
            assert alone.confidence == pytest.approx(said.confidence, abs=1e-4)
            assert len(said.others) == len(asked.options) - 1


def test_a_probe_learns_and_never_forgets_where_candidates_stand_for_few_rows() -> None:
    from lowrung.models.tuning import Frozen
    from lowrung.run.adapt import adapt
    from lowrung.run.evaluate import evaluate

    examples = _examples(60)
    untouched = evaluate(TASK, adapt(_backbone(), TASK, how=Frozen()), examples).value(TASK.metrics[0])
    learnt = evaluate(TASK, adapt(_backbone(), TASK, examples[:40], how=Frozen()), examples[40:])
    assert learnt.value(TASK.metrics[0]) > untouched
    two = adapt(_backbone(), TASK, examples[1:3], how=Frozen())  # nothing can be held out
    assert evaluate(TASK, two, examples).value(TASK.metrics[0]) >= untouched - 0.1


# --- the way through -------------------------------------------------------------------------------------------------


def test_splits_go_by_which_candidate_and_labels_by_none() -> None:
    examples = [TASK.example(_row(text=f"{TEXT} {at}", referent=at)) for at in (0, 1, None)]
    other = TASK.example(_row(candidates=[[0, 3]], referent=None))
    assert keys([*examples, other]) == ["option 1", "option 2", "last option", "last option"]
    assert TASK.fitted_to([_row()]).options == ()
    assert [each.name for each in methods_for(TASK)] == ["zero-shot", "probe", "top", "lora", "full"]
    with pytest.raises(LowrungError, match="ngrams"):
        methods_for(TASK, ["ngrams"])


def test_a_fingerprint_knows_marks() -> None:
    one, two = TASK.example(_row(referent=0)), TASK.example(_row(candidates=[[0, 3], [4, 9]], referent=0))
    assert one.golds == two.golds
    assert fingerprint([one]) != fingerprint([two])


def test_a_fingerprint_knows_checks_and_is_what_it_was_without() -> None:
    write = tasks.task("write")
    bare, few, many = (
        fingerprint([write.example({"text": "Thank a guest.", "answer": "Thank you.", **held})])
        for held in ({}, {"checks": {"max_words": 5}}, {"checks": {"max_words": 50}})
    )
    assert len({bare, few, many}) == 3
    assert bare == "752a136bc326d173860b1682cf3574c8489e757c729535697acb7f20f4d3b5a8"


def test_the_command_line_studies_fits_scores_answers_and_tries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = str(write_tiny_encoder(tmp_path / "tiny"))
    file = tmp_path / "rows.jsonl"
    rows = [
        {
            **row_of(f"Ada {'charged' if at % 2 else 'met'} London and it works for me {'please ' * (at % 4)}", "it"),
            "referent": at % 2,
            "id": f"r{at}",
            "gender": "feminine" if at % 3 else "masculine",
        }
        for at in range(24)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = ["study", "pronoun", str(file), "--labels", "all", "--seeds", "1", "--methods", "probe"]
    assert main([*study, "--model", tiny, "--out", str(tmp_path / "study"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["method"] for each in found["summary"]} == {"zero-shot", "probe"}
    assert {each["metric"] for each in found["summary"]} == {metric.name for metric in TASK.metrics}
    assert found["options"] == []

    models = {}
    for method in ("probe", "top"):
        models[method] = str(tmp_path / method)
        fit = ["fit", "pronoun", str(file), "--method", method, "--model", tiny, "--out", models[method]]
        assert main(fit) == 0
    capsys.readouterr()
    for model in models.values():
        assert main(["score", model, str(file), "--json"]) == 0
        scores = json.loads(capsys.readouterr().out)["metrics"]
        assert list(scores) == ["f1", "accuracy", "f1_feminine", "f1_masculine", "ratio"]
    assert main(["compare", models["probe"], models["top"], str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 24
    assert main(["answer", models["top"], str(file), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["id"] for each in lines] == [row["id"] for row in rows]
    assert {each["answer"] for each in lines} <= {"Ada", "London", NONE}

    asked = ["try", "pronoun", TEXT, "--model", tiny]
    assert main([*asked, "--pronoun", "she", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {said["answer"], *(option for option, _ in said["others"])} == {"Ada", "Grace", NONE}
    assert main(asked) == 2
    assert "--pronoun" in capsys.readouterr().err
    assert main(["try", "topic", TEXT, "--model", tiny, "--options", "a,b", "--pronoun", "she"]) == 2


def test_what_was_saved_answers_the_same(tmp_path: Path) -> None:
    from lowrung.models import network
    from lowrung.models.catalog import backbone
    from lowrung.models.training import Settings
    from lowrung.models.tuning import Full
    from lowrung.run.adapt import adapt

    tiny = backbone(str(write_tiny_encoder(tmp_path / "tiny")))
    examples = _examples(12)
    made = adapt(tiny, TASK, examples, how=Full(), settings=Settings(least=2, most=2))
    again = network.load(tmp_path, made.save(tmp_path))
    asked = [each.question for each in examples]
    for one, two in zip(made.answer(asked), again.answer(asked), strict=True):
        assert one.answer == two.answer
        assert one.confidence == pytest.approx(two.confidence, abs=1e-5)
