"""Merges an adapter through transformers and peft, with the whole model in memory.

For models whose files cannot be merged tensor by tensor: pickles, GGUF that cannot be cached, and architectures whose
weights transformers rearranges when it loads them.
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from socratic_distill.errors import DamagedWeights
from socratic_distill.local.adapters import bare, peft_quiet
from socratic_distill.local.base_files import drop_code
from socratic_distill.local.foreign_adapters import WEIGHTS
from socratic_distill.local.models import stored_precision
from socratic_distill.local.targets import find_targets


def merge_loaded(
    model: Any,
    tokenizer: Any,
    config: LoraConfig,
    directory: Path,
    name: str,
    out: Path,
    dtype: torch.dtype | None,
    allow_code: bool,
) -> None:
    """Merges and writes.

    Args:
        model: the base model, fp32, on the CPU; it is changed.
        tokenizer: of the model; it is written with it.
        config: of the adapter.
        directory: with the adapter's weights.
        name: of the base model.
        out: directory to write into.
        dtype: of the written weights. None: as the base model is stored.
        allow_code: whether code among the model's files may run.

    Raises:
        DamagedWeights: the adapter does not fit the model.
        OSError: a file cannot be written.
    """
    try:
        tensors = load_file(directory / WEIGHTS)
        # Merged into tied weights, the output layer's adapter would change the embedding too.
        if any(f".{find_targets(model).output}.lora_" in tensor for tensor in tensors):
            _untie(model)
        with peft_quiet():
            _merge(model, config, tensors)
    except Exception as error:  # peft and safetensors raise many kinds
        raise DamagedWeights(f"the weights in {directory} cannot be put on {name!r}: {error}") from error
    try:
        model.to(stored_precision(name, allow_code) if dtype is None else dtype).save_pretrained(out)
    except SafetensorError as error:  # a full disk, for one
        raise OSError(str(error)) from error
    tokenizer.save_pretrained(out)
    if not allow_code:
        for file in out.glob("*.json"):
            drop_code(file)


def _merge(model: Any, config: LoraConfig, tensors: dict[str, torch.Tensor]) -> None:
    """Adds an adapter to its model's weights, in place.

    Raises:
        ValueError: the adapter's tensors do not fit the model.
    """
    adapted = PeftModel(bare(model), config)  # pyright: ignore[reportArgumentType]
    own = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    if {name: tensor.shape for name, tensor in own.items()} != {name: t.shape for name, t in tensors.items()}:
        raise ValueError("its tensors belong to other layers or have other shapes")
    set_peft_model_state_dict(adapted, tensors)
    merged: Any = adapted.base_model
    merged.merge_and_unload()


def _untie(model: Any) -> None:
    """Gives the output layer its own copy of the weights if it shares the embedding's."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head.weight is embedding.weight:
        head.weight = torch.nn.Parameter(embedding.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False
