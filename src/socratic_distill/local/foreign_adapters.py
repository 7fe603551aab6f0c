"""Reads a PEFT directory that another program saved: a plain LoRA, in safetensors, and nothing else.

peft knows many settings that change what an adapter means. One that this library does not know would be lost without a
word, so all of them are refused by name. Neither torch nor peft is needed to find that out, and no tensor is read.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socratic_distill.errors import CheckpointNotFound, DamagedWeights, UnsupportedAdapter
from socratic_distill.files.rows import number, read_object, whole
from socratic_distill.files.tensor_headers import Tensor, read_header
from socratic_distill.local.parts import part_of_path

if TYPE_CHECKING:
    from peft import LoraConfig


CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
_TENSOR = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<factor>[AB])\.weight")
_FUSED = re.compile(r"\.experts(\.base_layer)?$")
# As a Tinker service names the projections of all experts of a layer: gate, down and up.
_EXPERTS = re.compile(r"\.experts\.w[123]$")
_MOST = 2**16  # of rank and alpha: a stranger's file must not ask for all memory
# Settings that do not change what finished weights mean, or that are read here.
_PLAIN = frozenset({
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "peft_type", "peft_version", "r",
    "revision", "runtime_config", "target_modules", "task_type", "use_rslora",
})  # fmt: skip
# peft's own defaults that are neither false, 0 nor empty. Other values of `init_lora_weights` move a part of the
# base model's weights into the adapter.
_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, "gaussian", "orthogonal"),
    "megatron_core": ("megatron.core",),
    "qalora_group_size": (16,),
}


@dataclass(frozen=True)
class ForeignAdapter:
    """A LoRA of another program.

    Attributes:
        directory: where it is.
        base_model: name or path of its base model, as it was when the adapter was saved; None if it is not given.
        rank: r.
        alpha: the product of A and B is scaled by alpha / rank.
        dropout: share of the adapter's inputs that were dropped in training.
        is_transposed: whether peft's fan_in_fan_out is set.
        layers: paths of the layers that carry it.
        targets: names or paths by which peft finds them.
    """

    directory: Path
    base_model: str | None
    rank: int
    alpha: float
    dropout: float
    is_transposed: bool
    layers: tuple[str, ...]
    targets: tuple[str, ...]

    @property
    def plain_alpha(self) -> int | float:
        """`alpha`, whole where it can be: the type that peft has for it."""
        return int(self.alpha) if self.alpha.is_integer() else self.alpha

    @property
    def config(self) -> "LoraConfig":
        """As peft takes it, for a frozen base."""
        from peft import LoraConfig

        alpha: Any = self.plain_alpha
        fixed: dict[str, Any] = {"lora_dropout": 0.0, "bias": "none", "task_type": "CAUSAL_LM"}
        return LoraConfig(r=self.rank, lora_alpha=alpha, target_modules=list(self.layers), **fixed)

    @property
    def facts(self) -> dict[str, Any]:
        """What `state.json` says of weights that the local engine saved.

        Mostly a path tells to which part of the model its layer belongs; where one does not, all train_… are None.
        """
        parts = {part_of_path(layer) for layer in self.layers}
        flags = {f"train_{part}": None if None in parts else part in parts for part in ("mlp", "attn", "unembed")}
        return {
            "base_model": self.base_model or "",
            "rank": self.rank,
            **flags,
            "steps": 0,
            "created_at": os.stat(self.directory / WEIGHTS).st_mtime,
            "expires_at": None,
            "user_metadata": None,
        }


def read_foreign(directory: Path, *, with_experts: bool = False) -> ForeignAdapter:
    """Reads the settings of an adapter, and the names and shapes of its tensors.

    Args:
        directory: with adapter_config.json and adapter_model.safetensors.
        with_experts: whether it may have factors for all experts of a layer at once, as a Tinker service saves them.

    Raises:
        CheckpointNotFound: there are no weights in safetensors.
        DamagedWeights: a file cannot be read, or the tensors do not have the shapes that the settings say.
        UnsupportedAdapter: it is more than a plain LoRA.
    """
    stored = read_object(directory / CONFIG, DamagedWeights, "it says what the adapter's weights mean") or {}
    _refuse_settings(directory, stored)
    rank, alpha = whole(stored.get("r")), number(stored.get("lora_alpha"))
    if rank is None or alpha is None or not 0 < rank < _MOST or not 0 < alpha < _MOST:
        raise DamagedWeights(
            f"{directory / CONFIG} has r={stored.get('r')!r} and lora_alpha={stored.get('lora_alpha')!r}; expected a "
            f"whole and a positive number below {_MOST}"
        )
    base = stored.get("base_model_name_or_path")
    layers = tuple(read_factors(directory, rank, with_experts=with_experts))
    return ForeignAdapter(
        directory,
        base if isinstance(base, str) and base else None,
        rank,
        # peft divides by √rank there.
        alpha * math.sqrt(rank) if stored.get("use_rslora") else alpha,
        number(stored.get("lora_dropout")) or 0.0,
        bool(stored.get("fan_in_fan_out")),
        layers,
        _targets(stored.get("target_modules"), layers),
    )


def _refuse_settings(directory: Path, stored: Mapping[str, Any]) -> None:
    if stored.get("peft_type") != "LORA":
        raise UnsupportedAdapter(
            f"{directory / CONFIG} has peft_type={stored.get('peft_type')!r}; only a plain LoRA can be loaded"
        )
    changed = [
        f"{name}={value!r}"
        for name, value in sorted(stored.items())
        if name not in _PLAIN and value and value not in _HARMLESS.get(name, ())
    ]
    if changed:
        raise UnsupportedAdapter(
            f"{directory / CONFIG} has {', '.join(changed)}, so it is more than a plain LoRA. Merge the adapter into "
            "its base model with peft (merge_and_unload), and take the merged model"
        )


def _targets(stored: object, layers: tuple[str, ...]) -> tuple[str, ...]:
    """The names that the adapter's config has, if it lists them and they reach all layers; else the layers' paths."""
    if not isinstance(stored, list) or not all(isinstance(name, str) for name in stored):
        return layers
    reached = all(any(f".{layer}".endswith(f".{name}") for name in stored) for layer in layers)
    return tuple(stored) if reached else layers


def read_factors(
    directory: Path, rank: int, *, with_experts: bool = False
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The layers of an adapter, each with the shapes of its factors A and B, `[rank, in]` and `[out, rank]`.

    Args:
        directory: with adapter_model.safetensors; no tensor in it is read.
        rank: as adapter_config.json says it.
        with_experts: whether a layer may have a factor for each expert, `[E, …]`, or one for all, `[1, …]`.

    Raises:
        CheckpointNotFound, DamagedWeights, UnsupportedAdapter: as `read_foreign`.
    """
    path = directory / WEIGHTS
    if not path.is_file():
        if os.path.lexists(directory / PICKLE):
            raise CheckpointNotFound(
                f"{directory} holds its weights as {PICKLE}, a pickle, which can run code when it is read, so it is "
                f"left unread. If you trust it, load it with peft and save it again: that writes {WEIGHTS}"
            )
        raise CheckpointNotFound(f"{directory} has no {WEIGHTS}; give a directory that holds the adapter's weights")
    try:
        tensors = read_header(path)
    except (OSError, ValueError) as error:
        raise DamagedWeights(f"{path} cannot be read: {error}; give another copy of the adapter") from error
    factors = _by_layer(path, tensors)
    if not factors:
        raise DamagedWeights(f"{path} holds no tensors; give another copy of the adapter")
    for layer, shapes in factors.items():
        _check_factors(path, layer, shapes, rank, with_experts)
    return {layer: (shapes["A"], shapes["B"]) for layer, shapes in factors.items()}


def _by_layer(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, tuple[int, ...]]]:
    """The shapes of the factors of each layer, by the factor's letter."""
    factors: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None or _FUSED.search(match["layer"]):
            raise UnsupportedAdapter(
                f"{path} holds the tensor {name!r}, which is no factor of a LoRA on a linear layer. Leave out fused "
                "experts, embeddings and layers that were trained whole (modules_to_save), or merge the adapter into "
                "its base model and take the merged model"
            )
        factors.setdefault(match["layer"], {})[match["factor"]] = tensor.shape
    return factors


def _check_factors(
    path: Path, layer: str, shapes: Mapping[str, tuple[int, ...]], rank: int, with_experts: bool
) -> None:
    """Refuses a layer whose factors do not make a LoRA of this rank."""
    is_experts = _EXPERTS.search(layer) is not None
    if is_experts and not with_experts:
        raise UnsupportedAdapter(
            f"{path} is on experts ({layer}), which the local engine does not train. Merge the adapter into its "
            "base model, and take the merged model"
        )
    if shapes.keys() != {"A", "B"} or {len(shape) for shape in shapes.values()} != {3 if is_experts else 2}:
        raise DamagedWeights(f"{path} lacks a factor of layer {layer!r}, or has one that is no matrix")
    inner = shapes["A"][-2], shapes["B"][-1]
    if inner[0] != inner[1] or (inner[0] != rank and not is_experts):
        raise DamagedWeights(
            f"{path} has factors of rank {inner[0]} and {inner[1]} on layer {layer!r}, but {CONFIG} says r={rank}"
        )
