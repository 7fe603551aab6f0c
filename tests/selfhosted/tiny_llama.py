"""A tiny random Llama with a chat template, for the server: weights from a seed, the packaged model's tokenizer."""

import shutil
from pathlib import Path

from socratic_distill.local.tiny import MODEL_DIR


def make_tiny_llama(directory: Path) -> str:
    """Writes the model; gives its path, which is its name on the server."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    directory.mkdir(parents=True)
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODEL_DIR / name, directory)
    packaged = LlamaConfig.from_pretrained(MODEL_DIR)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=packaged.vocab_size,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            initializer_range=0.1,  # the usual one leaves all words about equally likely, whatever came before
            eos_token_id=packaged.eos_token_id,
            pad_token_id=packaged.pad_token_id,
            tie_word_embeddings=True,
        )
    )
    model.save_pretrained(directory)
    return str(directory)
