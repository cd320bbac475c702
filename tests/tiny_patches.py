"""A TrOCR and bodies of patches, tiny and with random weights, in folders as transformers writes them."""

from pathlib import Path

BODY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
NAMES = {"vit": "ViT", "deit": "DeiT", "beit": "Beit", "dinov2": "Dinov2"}
LETTERS = "lowrung "


def body_folder(kind: str, home: Path) -> Path:
    import torch
    import transformers

    folder = home / kind
    torch.manual_seed(0)
    config = getattr(transformers, f"{NAMES[kind]}Config")(**BODY)
    getattr(transformers, f"{NAMES[kind]}Model")(config).save_pretrained(folder)
    return folder


def trocr_folder(folder: Path) -> Path:
    """One that writes other letters for other pictures: its weights are large."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import WordLevel

    vocabulary = {each: at for at, each in enumerate(["<pad>", "<s>", "</s>", *LETTERS])}
    inner = Tokenizer(WordLevel(vocabulary, unk_token="<pad>"))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **special)
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    torch.manual_seed(0)
    encoder = transformers.ViTConfig(**BODY, initializer_range=0.3)
    decoder = transformers.TrOCRConfig(
        vocab_size=len(vocabulary), d_model=32, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64,
        max_position_embeddings=16, cross_attention_hidden_size=32, init_std=0.4, **ids,
    )  # fmt: skip
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model = transformers.VisionEncoderDecoderModel(config=config)
    model.generation_config.update(**ids)
    model.save_pretrained(folder)
    look = transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6], resample=3)
    transformers.TrOCRProcessor(look, tokenizer).save_pretrained(folder)
    return folder
