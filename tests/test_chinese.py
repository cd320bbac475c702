"""Spelling in a script without blanks: n-grams, slips, the chooser, sentence-level counts, the embedded corrector."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrung.core.answers import Text
from lowrung.core.edits import apply
from lowrung.core.errors import DataError
from lowrung.core.parts import Question
from lowrung.data.noise import Noise
from lowrung.metrics.counting import total
from lowrung.metrics.sentences import SENTENCES, count, unspaced
from lowrung.models import choosing, correcting
from lowrung.models.channel import Channel
from lowrung.models.choosing import Chooser, equipped, with_chooser
from lowrung.models.correcting import corrector
from lowrung.models.corrector import Corrector
from lowrung.models.evidence import Evidence, Slips
from lowrung.models.lexicon import Lexicon
from lowrung.models.sequences import BORDER, DIGIT, FIRST, LATIN, STEP, UNKNOWN, Alphabet, Grams, Sequences
from lowrung.models.tuned_letters import ask, crossed, f1, fit, learnt, trained
from lowrung.tasks import task

SUBJECTS, VERBS = "我们 你们 老师 朋友 妈妈".split(), "喜欢 已经 正在 应该 可以".split()
THINGS = "学校吃饭 公园散步 看电影了 听音乐的 坐公共汽车".split()
LINES = [f"{one}{two}{three}。" for one in SUBJECTS for two in VERBS for three in THINGS]
KINDS = {
    "校": "效",
    "效": "校",
    "经": "京",
    "京": "经",
    "园": "圆",
    "圆": "园",
    "汽": "气",
    "气": "汽",
    "以": "已",
    "已": "以",
}
CONFUSIONS = {written: (meant,) for written, meant in KINDS.items()}
TASK = task("spelling")
HOME = Path(__file__).parents[1]


def alphabet():
    return Alphabet.count([*LINES, "".join(KINDS)], 200)


def sequences():
    letters = alphabet()
    return Sequences(letters, (Grams.count(LINES, letters),), (1.0,))


def evidence():
    counts = {letter: 1 + sum(line.count(letter) for line in LINES) for letter in {*"".join(LINES), *KINDS}}
    return Evidence(sequences(), {written: {meant: "t"} for written, meant in KINDS.items()}, counts)


def misspelt(line, random):
    at = [at for at, letter in enumerate(line) if letter in KINDS]
    if not at or random.random() < 0.3:
        return line
    place = random.choice(at)
    return line[:place] + KINDS[line[place]] + line[place + 1 :]


@pytest.fixture(scope="module")
def small():
    """A corrector whose chooser has learnt on damaged lines."""
    random, found = Random(1), evidence()
    rows = [(misspelt(line, random), line) for line in LINES * 3]
    blank = Chooser("zh", found, None)
    chooser = replace(blank, judge=trained(ask(blank, rows)))
    base = Corrector(Lexicon(found.counts, confusions=CONFUSIONS), Channel(Noise(confusions=CONFUSIONS)))
    return with_chooser(base, chooser)


def said(model, text):
    return model.answer([Question((text,))])[0]


# --- n-grams


def test_probabilities_of_what_may_follow_add_up_to_one():
    letters = alphabet()
    whole = np.arange(len(letters))
    for least in ((0, 0, 0, 0), (0, 0.5, 1.0, 2.0)):
        made = Grams.count(LINES, letters, least=least)
        for before in ("我们喜", "公共汽", "圆圆圆", "。\n我"):
            rows = np.column_stack([np.tile(letters.ids(before), (len(letters), 1)), whole])
            assert np.exp(made.log(rows)).sum() == pytest.approx(1.0, abs=1e-3)
    assert len(made.keys[3]) < len(Grams.count(LINES, letters).keys[3])


def test_n_grams_know_what_they_have_met(tmp_path):
    made = sequences()
    right, wrong = (made.alphabet.ids(each)[None] for each in ("公共汽车", "公共汽校"))
    assert made.log(right)[0] > -0.2
    assert made.log(wrong)[0] < -3
    made.save(tmp_path / "few.xz")
    again = Sequences.load(tmp_path / "few.xz")
    rows = np.random.default_rng(0).integers(0, len(made.alphabet), (500, 4))
    assert np.abs(again.log(rows) - made.log(rows)).max() < 4 * STEP
    assert made.pairs[tuple(made.alphabet.ids("汽车"))] == pytest.approx(
        float(made.log(made.alphabet.ids("汽车")[None])[0]), abs=0.02
    )
    (tmp_path / "few.xz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no n-grams"):
        Sequences.load(tmp_path / "few.xz")


def test_letters_that_are_alike_share_a_number():
    letters = alphabet()
    assert letters.ids("7x\n龘").tolist() == [DIGIT, LATIN, BORDER, UNKNOWN]
    assert letters["９"] == DIGIT
    assert letters["我"] >= FIRST


# --- choosing


def test_a_chooser_mends_what_it_was_taught_and_leaves_right_text(small):
    assert said(small, "我们正在学效吃饭。").answer == Text("我们正在学校吃饭。")
    for line in LINES[::7]:
        assert said(small, line).answer == Text(line)


def test_mends_lie_where_the_text_differs(small):
    for text in ("OK，老师可以公圆散步。👍🏽 abc", "妈妈应该坐公共气车。\n你们可已看电影了。", "𠀀老师正在学效吃饭"):
        found = said(small, text)
        assert apply(text, [mend.edit for mend in found.mends])[0] == found.answer.text
        assert found.answer.text != text
        assert all(mend.end - mend.start == 1 for mend in found.mends)


@settings(max_examples=40, deadline=None)
@given(
    text=st.lists(
        st.sampled_from([*"校效经京园圆。，7a\n \t👍\u200d\ud800\u0301か", "http://学效.cn"]), max_size=12
    ).map("".join)
)
def test_any_text_is_answered(small, text):
    found = said(small, text)
    assert len(found.answer.text) == len(text)
    assert 0.0 <= found.confidence <= 1.0


def test_rows_teach_slips_that_nobody_listed(small):
    rows = [{"text": line.replace("朋友", "月友"), "correct": line} for line in LINES if line.startswith("朋友")] + [
        {"text": line, "correct": line} for line in LINES
    ]
    assert said(small, "月友喜欢看电影了。").answer == Text("月友喜欢看电影了。")
    tuned = fit(small, [TASK.example(row) for row in rows])
    assert said(tuned, "月友喜欢看电影了。").answer == Text("朋友喜欢看电影了。")
    assert said(tuned, "老师喜欢看电影了。").answer == Text("老师喜欢看电影了。")
    slips = Slips.count([("月友", "朋友"), ("月亮", "月亮")])
    assert slips.pairs["月", "朋"] == 1
    assert slips.right["月"] == 1
    assert slips.others == {"月": ["朋"]}


def test_what_rows_taught_comes_back_from_its_folder(small, tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "evidence", lambda language: replace(small.context.evidence, slips=Slips()))
    rows = [{"text": line.replace("朋友", "月友"), "correct": line} for line in LINES]
    tuned = fit(small, [TASK.example(row) for row in rows])
    correcting.save(tuned, tmp_path)
    again = correcting.load_corrector(tmp_path)
    assert said(again, "月友喜欢看电影了。").answer == Text("朋友喜欢看电影了。")
    assert again.lexicon.confusions == tuned.lexicon.confusions
    for row in rows:  # to the last digit: what was fitted is what is shipped
        assert said(again, row["text"]) == said(tuned, row["text"])


def test_letters_of_any_kind_come_back_from_disk(small, tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "evidence", lambda language: replace(small.context.evidence, slips=Slips()))
    odd = [("月友\t喜\0欢", "朋友\t喜\0欢"), ("月\0\n\t", "\t\0\ud800朋"), ("\ud83d\ude00学", "\ud83d\ude00校")]
    for rows in (odd, odd[1:2], [("猫狗", "桌椅")]):  # the last two have no letter that is right
        chooser = learnt(small.context, rows)
        chooser.save(tmp_path / "c.safetensors")
        ours, theirs = chooser.evidence.slips, Chooser.load(tmp_path / "c.safetensors", "zh").evidence.slips
        assert (list(theirs.pairs.items()), theirs.right) == (list(ours.pairs.items()), ours.right)


def test_evidence_of_a_row_is_counted_in_others_only(small):
    rows = [(line.replace("朋友", "月友"), line) for line in LINES if line.startswith("朋友")][:1]
    (asked, _), _ = crossed(small.context, rows)
    assert 0 not in asked.places.at  # the slip was met nowhere else


def test_a_judge_counts_sentences(small):
    judge, found = (
        small.context.judge,
        ask(small.context, [("我们正在学效吃饭。", "我们正在学校吃饭。"), (LINES[0],) * 2]),
    )
    assert f1(judge, found) == 1.0


# --- counting


def test_sentences_are_counted_as_the_field_does():
    rows = [
        ("我门好", "我们好", "我们好"),
        ("我门好", "我们好", "我闷好"),
        ("我门好", "我们好", "我们号"),
        ("我门好", "我们好", None),
    ]
    rows += [("你好吗", "你好吗", "你好妈"), ("你好吗", "你好吗", "你好吗")]
    examples = [TASK.example({"text": text, "correct": gold}) for text, gold, _ in rows]
    answers = [None if each is None else Text(each) for _, _, each in rows]
    counts = total(count(example, answer) for example, answer in zip(examples, answers, strict=True))
    found = {metric.name: metric.finish(counts) for metric in SENTENCES}
    assert found["detection_precision"] == pytest.approx(2 / 4)
    assert found["detection_recall"] == pytest.approx(2 / 4)
    assert found["correction_precision"] == found["correction_recall"] == found["correction_f1"] == pytest.approx(1 / 4)
    assert found["detection_f1"] == pytest.approx(2 / 4)
    assert found["false_alarm"] == pytest.approx(1 / 2)
    assert all(unspaced(example) for example in examples)
    assert not unspaced(TASK.example({"text": "I beleive it.", "correct": "I believe it."}))


# --- the embedded one


@pytest.fixture(scope="module")
def chinese():
    return equipped(corrector("zh", context=False), "zh", reads=False)


def test_the_embedded_corrector_mends_sentences_in_context(chinese):
    assert said(chinese, "请你在学效门口等我。").answer == Text("请你在学校门口等我。")
    assert said(chinese, "我们坐公共气车去上班。").answer == Text("我们坐公共汽车去上班。")


def test_the_embedded_corrector_leaves_right_example_rows(chinese):
    rows = [
        json.loads(line) for line in (HOME / "examples/rows/spelling/chinese.jsonl").read_text("utf-8").splitlines()
    ]
    examples = [TASK.example(row) for row in rows]
    answers = [prediction.answer for prediction in chinese.answer([each.question for each in examples])]
    counts = total(count(example, answer) for example, answer in zip(examples, answers, strict=True))
    assert counts["broken"] <= 1
    assert counts["mended"] >= 0.4 * counts["wrong"]
    assert min(counts["wrong"], counts["right"]) >= 10
