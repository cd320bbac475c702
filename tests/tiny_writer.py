"""Language models of width 32 with random weights that read bytes: Llama, GPT-2 and T5, with a chat template or not."""

from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SYSTEMLESS = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE


def write_tiny_writer(folder: Path, kind: str = "llama", *, template: str = TEMPLATE, positions: int = 1024) -> Path:
    """Args: kind: llama, gpt2 or t5. template: "" for none."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        T5Config,
        T5ForConditionalGeneration,
    )

    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    pieces = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt", "he", "Ġthe", "ll", "il", "ill"]
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    inner = Tokenizer(
        models.BPE(vocabulary, [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("l", "l"), ("i", "l"), ("i", "ll")])
    )
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if kind == "t5":
        inner.post_processor = processors.TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=special[2:],
        model_max_length=positions,
    )
    made.chat_template = template or None
    made.save_pretrained(folder)
    torch.manual_seed(0)
    size, ends = len(vocabulary), {"pad_token_id": 0, "eos_token_id": 1}
    if kind == "llama":
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 2}
        shape = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "max_position_embeddings": positions,
            "initializer_range": 0.2,
        }
        config = LlamaConfig(vocab_size=size, tie_word_embeddings=True, bos_token_id=None, **shape, **heads, **ends)
        model = LlamaForCausalLM(config)
    elif kind == "gpt2":
        shape = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": positions, "initializer_range": 0.2}
        model = GPT2LMHeadModel(GPT2Config(vocab_size=size, bos_token_id=1, **shape, **ends))
    else:
        shape = {"d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 2, "num_heads": 2}
        model = T5ForConditionalGeneration(T5Config(vocab_size=size, decoder_start_token_id=0, **shape, **ends))
    model.save_pretrained(folder)
    return folder
