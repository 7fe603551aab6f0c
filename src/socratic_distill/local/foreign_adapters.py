"""Reads a PEFT directory that another program saved: a plain LoRA, in safetensors, and nothing else.

peft knows many settings that change what an adapter means. One that this library does not know would be lost without a
word, so all of them are refused by name.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import SafetensorError, safe_open

from socratic_distill.errors import CheckpointNotFound, DamagedWeights, UnsupportedAdapter
from socratic_distill.files.rows import number, read_object, whole
from socratic_distill.local.targets import part_of_path

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
_TENSOR = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<factor>[AB])\.weight")
_MOST = 2**16  # of rank and alpha: a stranger's file must not ask for all memory
# Settings that do not change what finished weights mean, or that are read here.
_PLAIN = frozenset({
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "peft_type", "peft_version", "r",
    "revision", "runtime_config", "target_modules", "task_type", "use_rslora",
})  # fmt: skip
# Values of `init_lora_weights` that leave the base model's weights whole; others move a part of them into the adapter.
_INITIAL = ("gaussian", "orthogonal")


@dataclass(frozen=True)
class ForeignAdapter:
    """A LoRA of another program.

    Attributes:
        directory: where it is.
        base_model: name or path of its base model, as it was when the adapter was saved; None if it is not given.
        rank: r.
        alpha: the product of A and B is scaled by alpha / rank.
        dropout: share of the adapter's inputs that were dropped in training.
        layers: paths of the layers that carry it.
    """

    directory: Path
    base_model: str | None
    rank: int
    alpha: float
    dropout: float
    layers: tuple[str, ...]

    @property
    def config(self) -> LoraConfig:
        """As peft takes it, for a frozen base."""
        fixed: dict[str, Any] = {"lora_dropout": 0.0, "bias": "none", "task_type": "CAUSAL_LM"}
        # peft's own type is a whole number, and it takes any.
        alpha: Any = int(self.alpha) if self.alpha.is_integer() else self.alpha
        return LoraConfig(r=self.rank, lora_alpha=alpha, target_modules=list(self.layers), **fixed)

    @property
    def facts(self) -> dict[str, Any]:
        """What `state.json` says of weights that the local engine saved.

        Of the three train_… a path alone tells most; where it does not, all are None.
        """
        parts = {part_of_path(layer) for layer in self.layers}
        flags = {f"train_{part}": None if None in parts else part in parts for part in ("mlp", "attn", "unembed")}
        saved = os.stat(self.directory / WEIGHTS).st_mtime
        return {
            "base_model": self.base_model or "",
            "rank": self.rank,
            **flags,
            "steps": 0,
            "created_at": saved,
            "expires_at": None,
            "user_metadata": None,
        }


def read_foreign(directory: Path) -> ForeignAdapter:
    """Reads the settings of an adapter, and the names and shapes of its tensors.

    Args:
        directory: with adapter_config.json and adapter_model.safetensors.

    Raises:
        CheckpointNotFound: there are no weights in safetensors.
        DamagedWeights: a file cannot be read, or the tensors do not have the shapes that the settings say.
        UnsupportedAdapter: it is more than a plain LoRA.
    """
    stored = read_object(directory / CONFIG, DamagedWeights, "it says what the adapter's weights mean") or {}
    _refuse_settings(directory, stored)
    rank, alpha, dropout = whole(stored.get("r")), number(stored.get("lora_alpha")), stored.get("lora_dropout", 0.0)
    if rank is None or alpha is None or not 0 < rank < _MOST or not 0 < alpha < _MOST:
        raise DamagedWeights(
            f"{directory / CONFIG} has r={stored.get('r')!r} and lora_alpha={stored.get('lora_alpha')!r}; expected a "
            f"whole and a positive number below {_MOST}"
        )
    base = stored.get("base_model_name_or_path")
    return ForeignAdapter(
        directory,
        base if isinstance(base, str) and base else None,
        rank,
        # peft divides by √rank there.
        alpha * math.sqrt(rank) if stored.get("use_rslora") else alpha,
        number(dropout) or 0.0,
        _layers(directory, rank),
    )


def finite(tensors: dict[str, torch.Tensor], directory: Path) -> dict[str, torch.Tensor]:
    """The tensors of an adapter, if all their values are finite.

    Raises:
        DamagedWeights: they are not; the message names the first tensor.
    """
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() and torch.isfinite(tensor).all()):
            raise DamagedWeights(f"{directory / WEIGHTS}: the tensor {name!r} holds other values than finite numbers")
    return tensors


def _refuse_settings(directory: Path, stored: Mapping[str, Any]) -> None:
    if stored.get("peft_type") != "LORA":
        raise UnsupportedAdapter(
            f"{directory / CONFIG} has peft_type={stored.get('peft_type')!r}; only a plain LoRA can be loaded"
        )
    defaults = LoraConfig()
    changed = {
        name: value
        for name, value in stored.items()
        if name not in _PLAIN and value and value != getattr(defaults, name, None)
    }
    if changed.get("init_lora_weights") in _INITIAL:
        del changed["init_lora_weights"]
    if changed:
        raise UnsupportedAdapter(
            f"{directory / CONFIG} has {', '.join(f'{name}={value!r}' for name, value in sorted(changed.items()))}, so "
            "it is more than a plain LoRA. Merge the adapter into its base model with peft (merge_and_unload), and "
            "give the merged model as tutor_model_name"
        )


def _layers(directory: Path, rank: int) -> tuple[str, ...]:
    """Paths of the layers with a factor A and a factor B of the rank."""
    path = directory / WEIGHTS
    if not path.is_file():
        if os.path.lexists(directory / PICKLE):
            raise CheckpointNotFound(
                f"{directory} holds its weights as {PICKLE}, a pickle, which can run code when it is read, so it is "
                f"left unread. If you trust it, load it with peft and save it again: that writes {WEIGHTS}"
            )
        raise CheckpointNotFound(f"{directory} has no {WEIGHTS}; give a directory that holds the adapter's weights")
    try:
        with safe_open(path, "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DamagedWeights(f"{path} cannot be read: {error}; give another copy of the adapter") from error
    factors: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise UnsupportedAdapter(
                f"{path} holds the tensor {name!r}, which is no factor of a LoRA on a linear layer. Leave out layers "
                "that were trained whole (modules_to_save) and embeddings, or merge the adapter into its base model "
                "and give that as tutor_model_name"
            )
        factors.setdefault(match["layer"], {})[match["factor"]] = shape
    for layer, found in factors.items():
        if found.keys() != {"A", "B"} or {len(shape) for shape in found.values()} != {2}:
            raise DamagedWeights(f"{path} lacks a factor of layer {layer!r}, or has one that is no matrix")
        if found["A"][0] != rank or found["B"][1] != rank:
            raise DamagedWeights(
                f"{path} has factors of rank {found['A'][0]} and {found['B'][1]} on layer {layer!r}, but {CONFIG} says "
                f"r={rank}"
            )
    if not factors:
        raise DamagedWeights(f"{path} holds no tensors; give another copy of the adapter")
    return tuple(factors)
