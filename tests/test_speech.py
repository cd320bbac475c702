"""Speech from the command line: rows of files, fitting, answers with times, practice by espeak-ng, one's own words."""

import ctypes.util
import io
import json
from dataclasses import replace
from itertools import pairwise
from math import log
from types import SimpleNamespace

import pytest
from test_recognizer import QUICK, examples, taught  # noqa: F401 (a fixture)
from tiny_sounds import said, texts

from lowrung.cli import main
from lowrung.core.answers import Text
from lowrung.data.media import audio
from lowrung.data.speaking import RATE, Voice, speak
from lowrung.models import listening, tuned_recognizer
from lowrung.models.own_words import counted
from lowrung.models.tuning import Frozen, Top
from lowrung.run.methods import methods_for, untouched
from lowrung.run.recognizing import practise_recognizer
from lowrung.tasks import task

SPEECH = task("speech")
speaks = pytest.mark.skipif(ctypes.util.find_library("espeak-ng") is None, reason="espeak-ng is not installed")


def written(folder, number, seed):
    import soundfile

    rows = []
    for at, text in enumerate(texts(number, seed)):
        sound = said(text, seed=seed + at)
        soundfile.write(folder / f"{seed}-{at}.wav", sound.samples, sound.rate)
        rows.append({"audio": f"{seed}-{at}.wav", "text": text, "speaker": f"s{at % 3}"})
    path = folder / f"rows-{seed}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def body(taught, tmp_path):  # noqa: F811
    taught.save(tmp_path / "body")
    return tmp_path / "body"


def test_methods_of_speech_are_those_that_hear():
    assert [each.name for each in methods_for(SPEECH)] == ["zero-shot", "probe", "top", "full"]
    assert untouched(SPEECH) == "zero-shot"
    assert "practice" in [each.name for each in methods_for(SPEECH, text=True)]


def test_fit_score_answer_and_try(body, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LOWRUNG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tuned_recognizer, "SETTINGS", replace(QUICK, least=4, most=4, lr=1e-4, head_lr=1e-4))
    rows = written(tmp_path, 8, 40)
    model = str(tmp_path / "made")
    assert main(["fit", "speech", str(rows), "--model", str(body), "--out", model]) == 0
    capsys.readouterr()
    assert main(["score", model, str(rows), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["metrics"]
    assert set(scores) == {"wer", "cer", "exact"}
    assert scores["wer"]["value"] < 0.3
    clip = str(tmp_path / "40-0.wav")
    assert main(["answer", model, clip, str(rows), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 9
    assert lines[0]["answer"] == lines[1]["answer"]
    assert "edits" not in lines[0]
    assert [each["word"] for each in lines[0]["words"]] == lines[0]["answer"].split()
    assert all(0 <= each["start"] < each["end"] <= audio(clip).seconds + 0.1 for each in lines[0]["words"])
    assert main(["try", "speech", clip, "--model", str(body)]) == 0
    assert capsys.readouterr().out.split("\t")[0] == texts(8, 40)[0]
    assert main(["answer", model, str(tmp_path / "none.wav")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_study_of_speech_keeps_speakers_apart(body, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LOWRUNG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tuned_recognizer, "SETTINGS", replace(QUICK, least=4, most=4, lr=1e-4, head_lr=1e-4))
    rows, out = written(tmp_path, 9, 60), tmp_path / "study"
    asked = [
        "study",
        "speech",
        str(rows),
        "--model",
        str(body),
        "--methods",
        "probe",
        "--labels",
        "0,4",
        "--seeds",
        "1",
    ]
    assert main([*asked, "--out", str(out)]) == 0
    assert "zero-shot" in capsys.readouterr().out
    assert (out / "report.html").is_file()


def test_words_of_ones_own_are_weighed_against_those_of_the_language():
    lines = ["the parcel is lost", "where is the parcel", "a parcel for ada"] * 10
    own = counted(lines, None)
    assert own is not None
    general = counted(["the weather is fine today", "it rains"] * 20, None)
    assert general is not None
    mixed = counted(lines, general.own).with_general(general.own)
    assert 0.5 < mixed.share <= 0.95
    assert mixed.log("parcel", ("", "the")) > general.own.log("parcel", ("", "the")) + 1
    assert mixed.known("parcel")
    assert mixed.known("weather")
    assert not mixed.known("zebra")
    assert mixed.ahead("par") is not None
    assert mixed.ahead("zeb") is None
    assert mixed.log("parcel", ("", "the")) <= log(1.0)
    assert counted(["", "…"], None) is None


@speaks
def test_espeak_speaks_and_tells_when_each_sound_begins():
    found = speak("She saw it.", Voice(rate=160))
    assert 0.4 < len(found.samples) / RATE < 3
    assert abs(found.samples).max() > 0.05
    starts = [start for start, _ in found.phonemes]
    assert starts == sorted(starts)
    assert "ʃ" in [name for _, name in found.phonemes]
    assert len(speak("", Voice()).samples) == 0
    assert len(speak("She saw it.", Voice(rate=110)).samples) > len(speak("She saw it.", Voice(rate=230)).samples)
    with pytest.raises(Exception, match="no voice 'zz-none'"):
        speak("hello", Voice("zz-none"))


@speaks
def test_practice_speaks_text_and_ships(body, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LOWRUNG_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "orders.txt"
    text.write_text("".join(f"ding dong number {at % 7}, please\n" for at in range(1200)), "utf-8")
    made = practise_recognizer(SPEECH, [text], model=str(body), how=Frozen(), out=tmp_path / "frozen")
    assert made.steps == 0
    assert made.model.own is not None
    assert made.model.own.share > 0.5
    model = str(tmp_path / "made")
    assert main(["practice", "speech", "--text", str(text), "--steps", "2", "--model", str(body), "--out", model]) == 0
    assert "wer" in capsys.readouterr().out
    assert main(["answer", model, str(tmp_path / "body" / "..") + "/clip.wav"]) == 2
    capsys.readouterr()
    moved = practise_recognizer(SPEECH, [text], model=str(body), how=Top(1), steps=2)
    assert moved.steps == 2
    assert isinstance(moved.model.answer([examples(1, 3)[0].question])[0].answer, Text)


def test_a_stream_is_answered_while_it_is_said(taught, body, capsys, monkeypatch):  # noqa: F811
    text = " ".join(texts(12, 8))
    sound = said(text).samples
    blocks = [sound[at : at + RATE // 2] for at in range(0, len(sound), RATE // 2)]
    monkeypatch.setattr(listening, "LONGEST", 3.0)
    found = list(listening.listen(taught, blocks))
    assert len(found) == len(blocks) + 1
    for one, two in pairwise(found):
        assert two.settled.startswith(one.settled)
        assert two.text.startswith(two.settled)
        assert two.seconds >= one.seconds
    last = found[-1]
    assert last.text == last.settled
    assert [word for word, _, _ in last.words] == last.text.split()
    assert abs(len(last.text.split()) - len(text.split())) <= 0.25 * len(text.split())
    assert list(listening.listen(taught, []))[-1].text == ""
    pcm = (sound * 32767).astype("<i2").tobytes()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(pcm)))
    assert main(["answer", str(shipped(body)), "-", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "partial" in lines[0]
    assert lines[-1]["answer"].split() == [each["word"] for each in lines[-1]["words"]]


def shipped(body):
    from lowrung.models.hearing import recognizer
    from lowrung.run.ship import ship

    facts = {"method": "zero-shot", "rows": 0}
    return ship(SPEECH, recognizer(str(body)), body.parent / "shipped", report={}, card="", facts=facts).folder
