"""The pieces that answers are written in, counted out of right texts of any script: byte-pair encoding."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PAD, END, UNKNOWN = 0, 1, 2
SPECIAL = ["<pad>", "</s>", "<unk>"]
MOST = 8000  # merges; with few texts there are fewer, down to letters alone
LETTERS_A_MERGE = 25  # a piece that was seen a few times in all teaches nothing


def learnt_pieces(texts: Sequence[str]) -> Tokenizer:
    """A tokenizer whose pieces never cross a blank or a mark; scripts without blanks are merged within their clauses.

    Blanks belong to the piece after them (Kudo & Richardson 2018), so that what is said is what was written.
    """
    made = Tokenizer(models.BPE(unk_token=SPECIAL[UNKNOWN]))
    made.normalizer = normalizers.NFC()
    blank = pre_tokenizers.Metaspace()
    made.pre_tokenizer = pre_tokenizers.Sequence([blank, pre_tokenizers.Punctuation()])
    made.decoder = decoders.Metaspace()
    letters = {letter for text in texts for letter in text}
    merges = min(MOST, sum(map(len, texts)) // LETTERS_A_MERGE)
    trainer = trainers.BpeTrainer(
        vocab_size=len(SPECIAL) + len(letters) + merges, special_tokens=SPECIAL, show_progress=False, min_frequency=2
    )
    made.train_from_iterator(texts, trainer)
    return made


def coded(pieces: Tokenizer, text: str) -> list[int]:
    """Its pieces, and the end; «</s>» in a text is letters as any others."""
    pieces.encode_special_tokens = True  # no file keeps this
    return [*pieces.encode(text, add_special_tokens=False).ids, END]


def said(pieces: Tokenizer, ids: Sequence[int]) -> str:
    """The text of pieces up to the end; letters that were never met are left out."""
    ids = list(ids)
    ids = ids[: ids.index(END)] if END in ids else ids
    return str(pieces.decode([each for each in ids if each > UNKNOWN], skip_special_tokens=False))
