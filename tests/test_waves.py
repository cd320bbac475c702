"""Bodies of transformers that hear: tiny wav2vec 2.0, HuBERT, WavLM and Whisper, from a folder, taught, shipped."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_sounds import said

from lowrung import tasks
from lowrung.core.answers import Text
from lowrung.core.errors import ModelError
from lowrung.core.parts import Audio, Question
from lowrung.core.task import Example
from lowrung.models import hearing, listening
from lowrung.models.ctc import CTC
from lowrung.models.decoding import Settings as Beam
from lowrung.models.recognizer import Recognizer
from lowrung.models.senses import WAVES
from lowrung.models.sound import RATE, batched
from lowrung.models.text import Source
from lowrung.models.training import Settings
from lowrung.models.tuned_recognizer import fit_recognizer
from lowrung.models.tuning import Frozen, Top
from lowrung.models.waves import WaveBody, WaveShape, Whisper, levelled, wave
from lowrung.run.ship import load, ship
from lowrung.run.study import study

LETTERS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, **{each: at for at, each in enumerate("DGINO", 5)}}
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def folder_of(kind, home, letters=LETTERS):
    import transformers

    folder = home / kind
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(letters), "utf-8")
    tokenizer = transformers.Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"), pad_token="<pad>", unk_token="<unk>", word_delimiter_token="|"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    name = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}[kind]
    config = getattr(transformers, f"{name}Config")(vocab_size=len(letters), pad_token_id=0, **SIZES)
    getattr(transformers, f"{name}ForCTC")(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_a_folder_is_heard_by_taught_and_shipped(kind, tmp_path):
    import transformers

    folder = folder_of(kind, tmp_path)
    base = hearing.recognizer(str(folder))
    assert isinstance(base, Recognizer)
    assert base.sense is WAVES
    assert set(base.head.alphabet) == set("dgino ")
    sound = said("ding dong")
    (logs,) = base.logs([sound])
    whole = transformers.AutoModelForCTC.from_pretrained(folder).eval()
    with torch.no_grad():
        theirs = whole(levelled(wave(sound))[None, :, 0]).logits[0].float()
    places = [0, *(LETTERS["|" if each == " " else each.upper()] for each in base.head.alphabet)]
    assert np.allclose(theirs[:, places].log_softmax(-1).numpy(), logs, atol=0.1)  # ours in 16 bits
    rows = [Example(Question((said(text),)), (Text(text),)) for text in ("ding", "dong ding")]
    quick = Settings(lr=1e-3, head_lr=1e-3, least=2, most=2, batch=2)
    for how in (Frozen(), Top(1)):
        made = replace(fit_recognizer(base, rows, how=how, settings=quick), how=Beam(width=4))
        kept = [each.bfloat16().float() for each in base.body.parameters()]
        moved = [not torch.equal(a, b) for a, b in zip(kept, made.body.parameters(), strict=True)]
        assert any(moved) == isinstance(how, Top)
        out = tmp_path / f"{kind}-{type(how).__name__}"
        facts = made.save(out)
        again = hearing.loaded(out, facts["body"])
        assert again.sense is WAVES
        assert again.how == made.how
        assert np.allclose(again.logs([sound])[0], made.logs([sound])[0], atol=1e-5)  # what was taught is what ships


def test_times_are_in_seconds_of_states_of_20_ms(tmp_path):
    base = hearing.recognizer(str(folder_of("wav2vec2", tmp_path)))
    sound = said("ding dong ding")
    (found,) = base.answer([Question((sound,))])
    assert all(0 <= start < end <= sound.seconds + 0.05 for _, start, end in found.times)
    assert len(base.logs([sound])[0]) == pytest.approx(sound.seconds / 0.02, abs=2)


def whisper_folder(home):
    import transformers

    folder = home / "whisper"
    folder.mkdir()
    letters = ["<|endoftext|>", "<|startoftranscript|>", *"dgino", "Ġ"]
    (folder / "vocab.json").write_text(json.dumps({each: at for at, each in enumerate(letters)}), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    tokenizer = transformers.WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    features = transformers.WhisperFeatureExtractor(feature_size=80)
    transformers.WhisperProcessor(features, tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_target_positions=24,
        decoder_start_token_id=1, eos_token_id=0, pad_token_id=0, bos_token_id=0, suppress_tokens=None,
        begin_suppress_tokens=None,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config.update(max_length=8, suppress_tokens=None, begin_suppress_tokens=None)
    model.save_pretrained(folder)
    return folder


def test_whisper_writes_and_cannot_be_taught(tmp_path):
    found = hearing.recognizer(str(whisper_folder(tmp_path)))
    assert isinstance(found, Whisper)
    said_, nothing = found.answer([Question((said("ding"),)), Question(("text",))])
    assert isinstance(said_.answer, Text)
    assert 0.0 <= said_.confidence <= 1.0
    assert nothing.answer is None
    with pytest.raises(ModelError, match="CTC head"):
        hearing.taught(found)


def test_a_study_ships_the_untouched_whisper_without_its_weights(tmp_path):
    name = str(whisper_folder(tmp_path))
    rows = [{"id": str(at), "audio": said(text, seed=at), "text": text} for at, text in enumerate(["ding", "dong"] * 2)]
    study("speech", rows, model=name, methods=("zero-shot",), test=rows[:2], out=tmp_path / "study")
    folder = tmp_path / "study" / "model"
    assert not list(folder.glob("*.safetensors"))
    asked = [Question((rows[0]["audio"],))]
    again, whisper = load(folder).model, hearing.recognizer(name)
    assert again.answer(asked) == whisper.answer(asked)
    german = replace(whisper, language="de", options={"num_beams": 2})
    ship(tasks.task("speech"), german, tmp_path / "german", report={}, card="", facts={})
    kept = load(tmp_path / "german").model
    assert (kept.language, kept.options) == ("de", {"num_beams": 2})
    watched = []
    with pytest.raises(ModelError, match="--methods zero-shot"):
        study("speech", rows, model=name, methods=("probe",), test=rows[:2], watch=watched.append)
    assert not watched  # before anything was answered


def test_what_hears_nothing_is_refused(tmp_path):
    with pytest.raises(ModelError, match="wav2vec2, hubert, wavlm"):
        WaveBody(WaveShape({"model_type": "bert", "hidden_size": 16}))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', "utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        hearing.recognizer(str(tmp_path))
    assert wave(Audio(np.ones(400, np.float32), 8000)).shape == (800, 1)


def test_what_is_shorter_than_a_state_is_filled_up(tmp_path):
    base = hearing.recognizer(str(folder_of("wav2vec2", tmp_path)))
    whole, short, empty = (
        said("ding"),
        Audio(said("dong").samples[2000:2300], RATE),
        Audio(np.zeros(0, np.float32), RATE),
    )
    assert [len(each) for each in base.logs([short, empty])] == [1, 1]
    together = base.logs([whole, short, empty])
    for one, two in zip(together, [base.logs([each])[0] for each in (whole, short, empty)], strict=True):
        assert np.allclose(one, two, atol=0.05)
    rows = [Example(Question((short,)), (Text("d"),))]  # what a body strikes out itself is longer
    fit_recognizer(base, rows, how=Top(1), settings=Settings(least=1, most=1, batch=1))


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_what_else_is_there_is_not_heard(norm):
    torch.manual_seed(0)
    body = WaveBody(WaveShape({"model_type": "wav2vec2", "feat_extract_norm": norm, **SIZES})).eval()
    one, two = (levelled(wave(said(text))) for text in ("ding", "dong ding dong"))
    with torch.no_grad():
        alone, size = body(one[None], torch.tensor([len(one)]))
        both, sizes = body(*batched([two, one]))
    assert sizes[1] == size[0] == alone.shape[1]
    assert both.shape[1] == sizes[0]
    assert torch.allclose(both[1, : int(size[0])], alone[0], atol=1e-4)


def test_letters_that_only_their_case_tells_apart_keep_it(tmp_path):
    letters = {"<pad>": 0, "|": 1, "D": 2, "d": 3, "O": 4}
    folder = folder_of("wav2vec2", tmp_path, letters)
    head = hearing.recognizer(str(folder)).head
    assert sorted(head.alphabet) == sorted(" DdO")
    assert len(head.out.weight) == len(letters)


def test_a_stream_is_cut_and_timed_in_states_of_20_ms(monkeypatch):
    monkeypatch.setattr(listening, "LONGEST", 2.0)
    taken, sound = [], np.zeros(6 * RATE, np.float32)
    for at in range(RATE // 2, len(sound), RATE):  # a letter, and the next word after a second
        sound[at : at + 320] = 1.0

    class Ears(Recognizer):
        def logs(self, parts):
            taken.append(len(parts[0].samples))
            states = [each.max() for each in np.split(parts[0].samples, range(320, taken[-1], 320))]
            logs = np.full((len(states), 3), -9.0, np.float32)
            heard = np.array(states) > 0
            logs[~heard, 0], logs[heard, 1] = 0.0, 0.0
            logs[1:, 2][heard[:-1]] = 1.0  # a blank behind it
            return [logs]

    model = Ears(torch.nn.Identity(), CTC("d ", 4), Source("tiny", "0"), sense=WAVES)
    last = list(listening.listen(model, np.split(sound, 12)))[-1]
    assert last.seconds == 6.0
    assert last.text == " ".join("d" * 6)
    assert [first for _, first, _ in last.words] == pytest.approx([at + 0.5 for at in range(6)], abs=0.021)
