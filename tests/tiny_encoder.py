"""A BERT of width 32 with random weights, and rows in its few words: all of MiniLM but the quality."""

import string
from pathlib import Path

WORDS = """the a i was my is it to of in and you not for where when can me please money card parcel charged refund order
arrived broken login password met lives works ada london paris acme""".split()


def write_tiny_encoder(folder: Path) -> Path:
    import torch
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = list(string.ascii_lowercase + string.digits + string.punctuation)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "的", *WORDS, *letters, *(f"##{each}" for each in letters)]
    vocabulary = {piece: at for at, piece in enumerate(dict.fromkeys(pieces))}
    inner = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=64, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


TOPICS = [
    {"id": f"r{at}", "text": text, "label": label}
    for at, (text, label) in enumerate(
        [
            ("I was charged twice for my order", "billing"),
            ("where is my parcel", "delivery"),
            ("the money is not in my account", "billing"),
            ("my parcel arrived broken", "delivery"),
            ("charged me for a card I do not have", "billing"),
            ("when was it to be here, the parcel?", "delivery"),
            ("can you refund the money please", "billing"),
            ("the parcel is not for me", "delivery"),
            ("refund my card", "billing"),
            ("it was to arrive in Paris", "delivery"),
        ]
    )
]
NAMES = [
    {"id": "n1", "text": "Ada lives in London", "spans": [(0, 3, "PER"), (13, 19, "LOC")]},
    {"id": "n2", "text": "I met Ada in Paris", "spans": [(6, 9, "PER"), (13, 18, "LOC")]},
    {"id": "n3", "text": "it works", "spans": []},
    {"id": "n4", "text": "Grace works for me in Rome", "spans": [(0, 5, "PER"), (22, 26, "LOC")]},
    {"id": "n5", "text": "where is Paris", "spans": [(9, 14, "LOC")]},
    {"id": "n6", "text": "Ada met Grace", "spans": [(0, 3, "PER"), (8, 13, "PER")]},
]
for _row in NAMES:
    _row["spans"] = [{"start": start, "end": end, "label": label} for start, end, label in _row["spans"]]
ROWS = {"topic": TOPICS, "entities": NAMES}
