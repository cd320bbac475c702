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
from lowrung.models import hearing
from lowrung.models.decoding import Settings as Beam
from lowrung.models.recognizer import Recognizer
from lowrung.models.senses import WAVES
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


def folder_of(kind, home):
    import transformers

    folder = home / kind
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(LETTERS), "utf-8")
    tokenizer = transformers.Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"), pad_token="<pad>", unk_token="<unk>", word_delimiter_token="|"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    name = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}[kind]
    config = getattr(transformers, f"{name}Config")(vocab_size=len(LETTERS), pad_token_id=0, **SIZES)
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
        moved = [not torch.equal(a, b) for a, b in zip(base.body.parameters(), made.body.parameters(), strict=True)]
        assert any(moved) == isinstance(how, Top)
        out = tmp_path / f"{kind}-{type(how).__name__}"
        facts = made.save(out)
        again = hearing.loaded(out, facts["body"])
        assert again.sense is WAVES
        assert again.how == made.how
        assert np.allclose(again.logs([sound])[0], made.logs([sound])[0], atol=0.3)  # the weights were put in 16 bits


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
    assert wave(Audio(np.zeros(8, np.float32), 8000)).shape == (16, 1)
