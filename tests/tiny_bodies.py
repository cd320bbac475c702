"""Encoders of width 16 with random weights, one of each family, each with the kind of tokenizer that its family has."""

from pathlib import Path
from typing import Any

FAMILIES = ("bert", "roberta", "deberta", "modernbert", "xlmr")
CORPUS = """the money is not in my account · where is my parcel? · Ada lives in London and works for Acme · café naïve
unbelievably, long. tokenization · Größe and Straße · my card was charged twice · 東京 は 日本 の 首都""".split("·")
DEPTH, LONGEST = 3, 40


def wordpiece(*, lower: bool = False) -> Any:
    """Its vocabulary is written down and not trained: of pieces that are equally common a trainer takes any."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    normalizer, cut = normalizers.BertNormalizer(lowercase=lower), pre_tokenizers.BertPreTokenizer()
    words = [word for line in CORPUS for word, _ in cut.pre_tokenize_str(normalizer.normalize_str(line))]
    letters = sorted({letter for word in words for letter in word})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), *sorted(set(words))]
    vocabulary = {piece: at for at, piece in enumerate(dict.fromkeys(pieces))}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizer, cut
    return _framed(inner, ("[CLS]", "[SEP]"), pad="[PAD]", unk="[UNK]", kinds=True)


def byte_bpe() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    inner.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    )
    return _framed(inner, ("<s>", "</s>"), pad="<pad>", unk="<unk>", kinds=False)


def metaspace() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    inner = Tokenizer(models.Unigram())
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    inner.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    return _framed(inner, ("<s>", "</s>"), pad="<pad>", unk="<unk>", kinds=False)


def _framed(inner: Any, ends: tuple[str, str], *, pad: str, unk: str, kinds: bool) -> Any:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    first, last = ends
    between = f"{last}" if kinds else f"{last} {last}"
    second = ":1" if kinds else ""
    inner.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {between} $B{second} {last}{second}",
        special_tokens=[(each, inner.token_to_id(each)) for each in ends],
    )
    names = ["input_ids", *(["token_type_ids"] if kinds else []), "attention_mask"]
    marks = {"cls_token": first, "sep_token": last, "pad_token": pad, "unk_token": unk}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=LONGEST, model_input_names=names, **marks)


def body(family: str, tokenizer: Any) -> Any:
    import torch
    import transformers

    torch.manual_seed(0)
    size: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": LONGEST + 2,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.3,  # states that differ from each other, so that a wrong one is seen
    }
    ends = {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    if family == "bert":
        return transformers.BertModel(transformers.BertConfig(**size), add_pooling_layer=False)
    if family == "roberta":
        config: Any = transformers.RobertaConfig(**size, **ends, type_vocab_size=1)
        return transformers.RobertaModel(config, add_pooling_layer=False)
    if family == "xlmr":
        config = transformers.XLMRobertaConfig(**size, **ends, type_vocab_size=1)
        return transformers.XLMRobertaModel(config, add_pooling_layer=False)
    if family == "deberta":
        near = {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "share_att_key": True,
        }
        config = transformers.DebertaV2Config(**size, **near, norm_rel_ebd="layer_norm", type_vocab_size=0)
        return transformers.DebertaV2Model(config)
    own = {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    config = transformers.ModernBertConfig(**size, **ends, **own, local_attention=8, global_attn_every_n_layers=2)
    return transformers.ModernBertModel(config)


def tokenizer_of(family: str) -> Any:
    made = {"bert": wordpiece, "roberta": byte_bpe, "modernbert": byte_bpe, "xlmr": metaspace, "deberta": metaspace}
    return made[family]()


def write_body(folder: Path, family: str) -> Path:
    """A folder as `save_pretrained` leaves it."""
    tokenizer = tokenizer_of(family)
    tokenizer.save_pretrained(folder)
    body(family, tokenizer).save_pretrained(folder)
    return folder
