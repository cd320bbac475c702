"""What a study shows of sound and of lines: which rows, what study.json keeps of them, and how the page draws them."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import tiny_lines
import tiny_sounds
from PIL import Image as Pillow
from test_report import Page, made

from lowrung.core.answers import Prediction, Text
from lowrung.core.errors import DataError
from lowrung.core.parts import Audio
from lowrung.run.cells import from_json, to_json
from lowrung.run.evaluate import report_of
from lowrung.run.pictures import SECONDS, SHOWN, kept, part_of, samples, shown
from lowrung.run.report import html
from lowrung.tasks import task

SPEECH, READING = task("speech"), task("reading")
TIMES = (("ding", 0.1, 0.34), ("ding", 0.46, 0.7))


def heard(number, right):
    """A report on «ding dong» said `number` times, of which the first `right` were heard so."""
    sound = tiny_sounds.said("ding dong")
    rows = [SPEECH.example({"audio": sound, "text": "DING, dong!", "id": f"r{at}"}) for at in range(number)]
    said = ["ding dong"] * right + ["ding ding", "a b c d", ""] * number
    return report_of(SPEECH, "probe", rows, [Prediction(Text(text), 0.9, times=TIMES) for text in said[:number]])


def read(answer):
    row = {"image": tiny_lines.written("low rung"), "text": ["Rung", "Low rung"], "id": "p1"}
    return report_of(READING, "probe", [READING.example(row)], [Prediction(Text(answer), 0.5)])


def page_of(report, *, parts=True):
    chosen = samples(report)
    study = {**made(), "task": report.task.name, "metric": report.task.metrics[0].name, "samples": kept(report, chosen)}
    study["summary"] = [each | {"metric": study["metric"]} for each in study["summary"] if each["metric"] == "accuracy"]
    return html(study, [part_of(each, report.task.media) for each, _ in chosen] if parts else ())


def decoded(address):
    head, _, content = address.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(content))))


@pytest.mark.parametrize(("number", "right", "shows"), [(40, 20, 3), (40, 39, 5), (40, 1, 1), (4, 2, 2), (40, 0, 0)])
def test_samples_are_half_wrong_where_there_are_as_many(number, right, shows):
    chosen = samples(heard(number, right))
    assert len(chosen) == min(number, SHOWN["audio"])
    assert [said.answer.text == "ding dong" for _, said in chosen] == [True] * shows + [False] * (len(chosen) - shows)
    assert len({example.id for example, _ in chosen}) == len(chosen)


def test_rows_without_an_answer_and_tasks_of_text_have_no_samples():
    report = heard(1, 1)
    assert samples(replace(report, predictions=(Prediction(None, 0.0),))) == []
    topic = task("topic")
    example = topic.example({"text": "a", "label": "x"})
    assert samples(report_of(topic, "probe", [example], [Prediction(example.golds[0], 1.0)])) == []


def test_study_json_keeps_texts_and_times_of_the_nearest_gold():
    (row,) = kept(read("Low rnug"), samples(read("Low rnug")))
    assert row == {
        "media": "image",
        "id": "p1",
        "gold": "Low rung",
        "answer": "Low rnug",
        "confidence": 0.5,
        "error": 0.25,
        "times": [],
    }
    report = heard(1, 0)
    assert kept(report, samples(report))[0]["times"] == [list(each) for each in TIMES]


def test_a_cell_keeps_times_and_an_older_one_is_read():
    said = Prediction(Text("ding ding"), 0.5, times=TIMES)
    assert from_json(to_json(said), Text) == said
    assert from_json(["ding", 0.5], Text) == Prediction(Text("ding"), 0.5)


def test_letters_and_words_that_differ_are_marked_on_either_side():
    (row,) = kept(read("Low rvvng"), samples(read("Low rvvng")))
    found = shown(row, None)
    assert "".join(text for text, _ in found["gold"]) == "Low rung"
    assert "".join(text for text, _ in found["answer"]) == "Low rvvng"
    assert [text for text, odd in found["answer"] if odd] == ["vv"]
    words = shown({**row, "media": "audio", "gold": "We had a long day!", "answer": "we have a monday a"}, None)
    assert words["gold"] == [("we ", False), ("had", True), (" a ", False), ("long day", True)]
    assert words["answer"] == [("we ", False), ("have", True), (" a ", False), ("monday a", True)]
    assert shown({**row, "gold": "", "answer": "x"}, None)["gold"] == []


def test_the_page_draws_sound_under_its_words():
    page = Page(page_of(heard(2, 0)))
    assert page.open == []
    first, _ = page.all("img")
    picture = decoded(first["src"])
    assert picture.shape == (80, 80)
    assert picture.std() > 20
    assert first["alt"] == "spectrogram of 0.8 s of sound, row r0"
    odd = [each for each in page.all("span") if each.get("class") == "odd"]
    assert [each["style"] for each in odd[:1]] == ["left:56.1%"]
    assert "What was heard" in page.words
    assert "wer 0.500" in page.words


def test_a_long_sound_is_drawn_in_part_and_a_page_stays_small():
    noise = np.random.default_rng(0).normal(0, 0.1, 40 * 16_000).astype(np.float32)
    report = heard(9, 4)
    rows = [SPEECH.example({"audio": Audio(noise, 16_000), "text": "ding dong"}) for _ in report.examples]
    page = page_of(replace(report, examples=tuple(rows)))
    assert f"the first {SECONDS:g} s of 40 s are drawn" in page
    assert len(page) < 1_500_000


def test_the_page_shows_lines_over_what_was_read():
    page = Page(page_of(read("Low rvng")))
    assert page.open == []
    (image,) = page.all("img")
    line = tiny_lines.written("low rung").pixels
    assert np.abs(decoded(image["src"]).astype(float) - line.mean(axis=2)).max() < 12
    assert image["alt"] == "picture of a line, row p1"
    assert "What was read" in page.words
    assert "cer 0.125" in page.words


@pytest.mark.parametrize("gone", [True, False])
def test_texts_are_shown_where_nothing_can_be_drawn(gone):
    def fail():
        raise DataError("x.wav: no such file")

    report = heard(1, 0)
    if gone:
        asked = replace(report.examples[0].question, given=(Audio.of(fail, 16_000, "x", 1.0),))
        report = replace(report, examples=(replace(report.examples[0], question=asked),))
    page = Page(page_of(report, parts=gone))
    assert page.all("img") == []
    assert "What was heard" in page.words
    assert "ding ding" in page.words
