"""Merges an adapter and its base model into a plain transformers model."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file

from socratic_distill.config.grant import Grant
from socratic_distill.config.paths import GivenPath
from socratic_distill.errors import ConfigError, DamagedWeights
from socratic_distill.local.adapters import bare, peft_quiet
from socratic_distill.local.machine import Machine
from socratic_distill.local.model_files import base_of
from socratic_distill.local.models import load_base_model, stored_precision
from socratic_distill.local.saved_adapters import read_adapter_config
from socratic_distill.local.saved_paths import read_facts
from socratic_distill.local.targets import find_targets

_WEIGHTS = "adapter_model.safetensors"
WeightType = Literal["auto", "float32", "bfloat16"]


def merge(directory: Path, out: Path, dtype: WeightType, grant: Grant, models: Mapping[str, str] | None = None) -> None:
    """Merges saved weights into their base model, and writes the model with its tokenizer.

    The sum is computed in fp32. If the output layer is tied to the embedding, an adapter on the output layer is merged
    into a copy. The embedding stays unchanged, and the written model is no longer tied.

    Args:
        directory: of weights that the local engine saved.
        out: directory to write; it must not exist yet.
        dtype: of the written weights; "auto" is that of the stored base model. In bf16, changes below 1/256 of a weight
            are lost by rounding.
        grant: which base models may be loaded, and whether their code may run.
        models: paths of the run's models, by name.

    Raises:
        ConfigError: `out` exists.
        DamagedWeights: the weights do not fit their base model.
        LocalEngineError: the base model cannot be loaded.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; give a directory that does not exist")
    models = models or {}
    base = base_of(read_facts(directory), models, grant.may_load)
    name = models.get(base, base)
    grant.check_model(GivenPath(base, name))
    model, tokenizer = load_base_model(name, grant.allow_code, Machine.choose("cpu", "float32"))
    config = read_adapter_config(directory)
    if not (directory / _WEIGHTS).is_file():  # else peft would look for pickles, and on the model hub
        raise DamagedWeights(f"the weights in {directory} are damaged: {_WEIGHTS} is missing; give other weights")
    try:
        tensors = load_file(directory / _WEIGHTS)
        # Merged into tied weights, the output layer's adapter would change the embedding too.
        if any(f".{find_targets(model).output}.lora_" in tensor for tensor in tensors):
            _untie(model)
        with peft_quiet():
            _merge(model, config, tensors)
    except Exception as error:  # peft and safetensors raise many kinds
        raise DamagedWeights(f"the weights in {directory} cannot be put on {name!r}: {error}") from error
    out_dtype = stored_precision(name, grant.allow_code) if dtype == "auto" else getattr(torch, dtype)
    # Written under another name and renamed, so that a half-written model never stands at `out`.
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.to(out_dtype).save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    os.rename(partial, out)


def _merge(model: Any, config: Any, tensors: dict[str, torch.Tensor]) -> None:
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
