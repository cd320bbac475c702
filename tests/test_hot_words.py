"""Words that a user expects: read from a list, looked for by the beam, kept in what ships, and heard in streams."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from test_speech import shipped, written
from tiny_lines import untaught as reader
from tiny_sounds import said, texts, untaught

import lowrung
from lowrung.cli import main
from lowrung.core.errors import DataError, LowrungError
from lowrung.models import hot_words, tuned_recognizer
from lowrung.models.decoding import Settings
from lowrung.models.hot_words import WORTH, expecting, read
from lowrung.models.recognizer import Recognizer
from lowrung.models.training import Settings as Training


def listed(folder, text):
    path = folder / "words.txt"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def body(tmp_path):
    untaught().save(tmp_path / "body")
    return tmp_path / "body"


def test_a_list_has_words_phrases_weights_and_comments(tmp_path):
    path = listed(tmp_path, "\ufeff# names\n\n  Ding \nding  Dong\t3.5\nC#\r\n")
    assert read(path) == {"Ding": WORTH, "ding Dong": 3.5, "C#": WORTH}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "lists no word"),
        (b"# only this\n", "lists no word"),
        (b"ding\tmuch\n", ":1: behind a tab stands a weight above 0 and up to 20, as in 3.5, not 'much'"),
        (b"x\nding\t-1\n", ":2: behind a tab"),
        (b"ding\tnan\n", ":1: behind a tab"),
        (b"ding\t\n", ":1: behind a tab"),
        (b"M\xfcller\n", "is no text in UTF-8"),
        (None, "no such file"),
    ],
)
def test_a_bad_list_is_one_line(tmp_path, body, capsys, content, said):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as found:
        read(path)
    assert str(found.value).startswith(str(path))
    assert said in str(found.value)
    assert main(["answer", str(shipped(body)), "--words", str(path), str(tmp_path / "no.wav")]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_words_with_letters_that_are_not_heard_are_passed_over_and_named(tmp_path):
    path = listed(tmp_path, "Ding-Dong\nMüller\nding, Dong\t4\n…\n")
    made, told = expecting(replace(untaught(), how=Settings(hot={"dog": 1.0})), path)
    assert made.how.hot == {"dog": 1.0, "dingdong": WORTH, "ding": 4.0, "dong": 4.0, "ding dong": 4.0}
    assert told.endswith("2 words or phrases are expected; passed over, with letters that tiny has not: Müller, …")
    learnt, told = expecting(untaught(), path, texts=["Müller said so"])
    assert "müller" in learnt.how.hot
    assert told.endswith("passed over, with letters that tiny has not: …")
    with pytest.raises(DataError, match="no word has only letters that tiny hears"):
        expecting(untaught(), listed(tmp_path, "Müller\n"))


def test_short_words_that_the_language_has_are_expected_in_their_phrase_alone():
    class Known:
        reach = 1

        def log(self, word, before):
            return -5.0

        def ahead(self, letters):
            return None

        def known(self, word):
            return word in ("do", "dong")

    model = replace(untaught(), words=Known())
    assert hot_words.hot({"gid do dong": 2.0}, model) == {"gid": 2.0, "dong": 2.0, "gid do dong": 2.0}


def test_a_beam_finds_what_is_listed(tmp_path):
    model = untaught()
    logs = np.full((8, len(model.head.alphabet) + 1), -12.0, dtype=np.float32)
    for at, letter in enumerate("d i n g ".replace(" ", "_")):
        logs[at, 0 if letter == "_" else model.head.alphabet.index(letter) + 1] = 0.0
    logs[6, [model.head.alphabet.index("g") + 1, model.head.alphabet.index("o") + 1]] = -1.2, -0.4
    assert replace(model, how=Settings()).decoded(logs).text == "dino"
    made, _ = expecting(model, listed(tmp_path, "Ding\n"))
    assert made.decoded(logs).text == "ding"


@pytest.mark.parametrize("model", [reader(), object()])
def test_other_models_take_no_words(tmp_path, model):
    with pytest.raises(LowrungError, match="words to expect are for speech"):
        expecting(model, listed(tmp_path, "Ada\n"))


def test_fit_keeps_the_words_and_answers_streams_and_scores_take_them(body, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LOWRUNG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tuned_recognizer, "SETTINGS", Training(least=1, most=1))
    monkeypatch.setattr(tuned_recognizer, "FEW", 0)
    rows, path = str(written(tmp_path, 6, 40)), str(listed(tmp_path, "Dong\t15\nMüller\n"))
    out = str(tmp_path / "made")
    assert main(["fit", "speech", rows, "--method", "probe", "--model", str(body), "--words", path, "--out", out]) == 0
    assert "passed over, with letters that" in capsys.readouterr().err
    assert lowrung.load(out).model.how.hot == {"dong": 15.0}
    model = str(shipped(body))
    assert lowrung.load(model).model.how is None
    loaded = lowrung.load(model, words=path)
    assert isinstance(loaded.model, Recognizer)
    assert loaded.model.how.hot == {"dong": 15.0}
    assert "Müller" in loaded.facts["words"]
    heard = []
    decoded = Recognizer.decoded
    monkeypatch.setattr(Recognizer, "decoded", lambda self, logs: heard.append(self.how) or decoded(self, logs))
    pcm = (said(texts(1, 8)[0]).samples * 32767).astype("<i2").tobytes()
    for verb in (
        ["score", model, rows],
        ["answer", model, str(tmp_path / "40-0.wav")],
        ["answer", model, "-", "--json"],
    ):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(pcm)))
        assert main([*verb, "--words", path]) == 0
    assert main(["try", "speech", str(tmp_path / "40-0.wav"), "--model", str(body), "--words", path]) == 0
    assert len(heard) > 8
    assert all(how is not None and how.hot == {"dong": 15.0} for how in heard)
    out = tmp_path / "study"
    asked = ["study", "speech", rows, "--methods", "zero-shot", "--labels", "0,4", "--model", str(body)]
    capsys.readouterr()
    assert main([*asked, "--words", path, "--out", str(out)]) == 0
    assert json.loads((out / "study.json").read_text("utf-8"))["words"] in capsys.readouterr().err
    assert lowrung.load(out).model.how.hot == {"dong": 15.0}
