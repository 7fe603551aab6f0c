"""Merges an adapter and its base model into a plain transformers model, in their files."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig

from socratic_distill.config.grant import Grant
from socratic_distill.config.paths import GivenPath
from socratic_distill.errors import ConfigError, DamagedWeights, LocalEngineError, UnsupportedAdapter
from socratic_distill.local.base_files import (
    CONFIG,
    INDEX,
    BaseFiles,
    check_plain,
    copy_along,
    find_files,
    merged_config,
    read_files,
)
from socratic_distill.local.foreign_adapters import WEIGHTS, read_factors, read_foreign
from socratic_distill.local.gguf_files import mark_dequantised
from socratic_distill.local.machine import Machine
from socratic_distill.local.merge_plan import Adapter, MergePlan, plan_merge
from socratic_distill.local.merging_loaded import merge_loaded
from socratic_distill.local.model_files import base_of
from socratic_distill.local.models import GGUF_PRECISION, load_base_model
from socratic_distill.local.saved_adapters import read_adapter_config
from socratic_distill.local.saved_paths import is_foreign, read_facts
from socratic_distill.local.tensor_files import DTYPES, TensorFile, Written, write_tensors

WeightType = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class _Source:
    """An adapter on disk, and its base model."""

    directory: Path
    base: GivenPath
    adapter: Adapter
    config: LoraConfig | None  # for peft; None if it has factors that peft does not take
    wanted: tuple[str, ...]  # names of layers that must be complete


def merge(
    directory: Path,
    out: Path,
    dtype: WeightType,
    grant: Grant,
    models: Mapping[str, str] | None = None,
) -> str:
    """Merges a LoRA into its base model, and writes the model with its tokenizer.

    The base model's files are read and written one block of a tensor at a time, so a model of any size needs little
    memory. Sums are computed in fp32. If the output layer is tied to the embedding, an adapter on the output layer is
    merged into a copy: the embedding stays unchanged, and the written model is no longer tied.

    Args:
        directory: of weights that the local engine saved, or a PEFT directory that names its base model.
        out: an empty directory to write into.
        dtype: of the written weights; "auto" keeps that of each tensor of the base model, and writes a changed one in
            the dtype that its config.json names if that is wider. In bf16, changes below 1/256 of a weight are lost by
            rounding.
        grant: which base models may be loaded, and whether their code may run.
        models: paths of the run's models, by name.

    Returns:
        Name or path of the base model.

    Raises:
        CheckpointNotFound: the adapter's weights are missing, or are a pickle.
        ConfigError: the adapter names no base model.
        DamagedWeights: the weights do not fit their base model.
        LocalEngineError: the base model cannot be read, or is quantised.
        OSError: a file cannot be written.
        UnsupportedAdapter: it is more than a plain LoRA.
    """
    source = _read_source(directory, models or {}, grant)
    _merge(source, out, None if dtype == "auto" else getattr(torch, dtype), grant)
    return str(source.base)


def _merge(source: _Source, out: Path, dtype: torch.dtype | None, grant: Grant) -> None:
    name, loaded = source.base.resolved, None
    if name.endswith(".gguf"):
        dtype = dtype or GGUF_PRECISION
    if (files := find_files(name)) is None:
        loaded = load_base_model(name, grant.allow_code, Machine.choose("cpu", "float32"))
        files = find_files(name)  # loading a GGUF file leaves a dequantised copy
    if files is not None:
        loaded = None  # frees it
        if _merge_files(source, files, out, dtype, grant):
            return
    if source.config is None:
        raise UnsupportedAdapter(
            f"the adapter in {source.directory} is on experts, and the weights of {str(source.base)!r} are rearranged "
            "when they are loaded. Train with lora_targets=['attention'], or merge it with the tools of the service"
        )
    model, tokenizer = loaded or load_base_model(name, grant.allow_code, Machine.choose("cpu", "float32"))
    if name.endswith(".gguf"):
        mark_dequantised(model)
    check_plain(source.base, model.config.to_dict())
    merge_loaded(model, tokenizer, source.config, source.directory, name, out, dtype, grant.allow_code)


def _merge_files(source: _Source, files: Path, out: Path, dtype: torch.dtype | None, grant: Grant) -> bool:
    """Merges tensor by tensor; False if these files cannot be merged so, and nothing was written."""
    base = read_files(files)
    check_plain(source.base, base.config)
    tensors = {name: tensor for shard in base.shards for name, tensor in shard.tensors.items()}
    model = _skeleton(files, grant.allow_code)
    try:
        _check_complete(source, model)
        plan = plan_merge(source.adapter, model, tensors)
    except DamagedWeights as error:
        raise DamagedWeights(
            f"the weights in {source.directory} cannot be put on {str(source.base)!r}: {error.args[0]}"
        ) from error
    if plan is None:
        return False
    _write(base, plan, out, dtype, with_code=grant.allow_code)
    return True


def _read_source(directory: Path, models: Mapping[str, str], grant: Grant) -> _Source:
    if is_foreign(directory):
        foreign = read_foreign(directory, with_experts=True)
        if foreign.base_model is None:
            raise ConfigError(
                f"{directory / 'adapter_config.json'} names no base model; fill in base_model_name_or_path"
            )
        name = foreign.base_model
        shapes, scale = read_factors(directory, foreign.rank, with_experts=True), foreign.alpha / foreign.rank
        config = foreign.config if all(len(a) == 2 for a, _ in shapes.values()) else None
        wanted = ()
    else:
        name = base_of(read_facts(directory), models, grant.may_load)
        config = read_adapter_config(directory)
        if not (directory / WEIGHTS).is_file():
            raise DamagedWeights(f"the weights in {directory} are damaged: {WEIGHTS} is missing; give other weights")
        shapes, scale = read_factors(directory, config.r), config.lora_alpha / config.r
        wanted = tuple(config.target_modules or ())
    base = GivenPath(name, models.get(name, name))
    grant.check_model(base)
    return _Source(directory, base, Adapter(shapes, _reader(directory), scale), config, wanted)


def _reader(directory: Path) -> Callable[[str, int | None], tuple[torch.Tensor, torch.Tensor]]:
    weights = TensorFile(directory / WEIGHTS)

    def read(layer: str, expert: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        factors = []
        for factor in "AB":
            name = f"base_model.model.{layer}.lora_{factor}.weight"
            # One factor may be shared by all experts.
            number = None if expert is None else min(expert, weights.tensors[name].shape[0] - 1)
            values = weights.read(name, number)
            if not torch.isfinite(values).all():
                raise DamagedWeights(f"{weights.path} holds other values than finite numbers, in {name!r}")
            factors.append(values)
        return factors[0], factors[1]

    return read


def _skeleton(files: Path, allow_code: bool) -> Any:
    """The model on the meta device: its layers and their shapes, without any weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(files, trust_remote_code=allow_code)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=allow_code)
    except Exception as error:  # transformers raises many kinds of errors
        raise LocalEngineError(
            f"the model in {files} cannot be loaded as a causal language model: {error}. Give another base model, or "
            "--allow-code if it brings its own code"
        ) from error


def _check_complete(source: _Source, model: Any) -> None:
    """Refuses weights that lack a layer which their config names; peft would leave that layer as it was.

    Raises:
        DamagedWeights: a layer is missing.
    """
    names = tuple(f".{name}" for name in source.wanted)
    for path, module in model.named_modules():
        if f".{path}".endswith(names) and hasattr(module, "weight") and path not in source.adapter.shapes:
            raise DamagedWeights(f"they lack layer {path!r}, which their adapter_config.json names")


def _write(base: BaseFiles, plan: MergePlan, out: Path, dtype: torch.dtype | None, *, with_code: bool) -> None:
    places: dict[str, str] = {}
    total = added = 0
    for shard in base.shards:
        pairs = [(name, name) for name in sorted(shard.tensors, key=lambda name: shard.tensors[name].begin)]
        if plan.output is not None and plan.embedding is not None and plan.embedding in shard.tensors:
            pairs.append((plan.output, plan.embedding))
            added = math.prod(shard.tensors[plan.embedding].shape)
        wanted = []
        for name, stored in pairs:
            changes = plan.changes.get(name, ())
            final = dtype or (_wider(shard.tensors[stored].dtype, base.config) if changes else None)
            wanted.append(Written(name, stored, changes, final))
        write_tensors(shard, out / shard.path.name, wanted)
        places |= {entry.name: shard.path.name for entry in wanted}
        total += sum(entry.size_of(shard.tensors[entry.source]) for entry in wanted)
    if base.index is not None:
        metadata = base.index.get("metadata")
        metadata = {**(metadata if isinstance(metadata, dict) else {}), "total_size": total}
        if isinstance(metadata.get("total_parameters"), int):
            metadata["total_parameters"] += added
        index = {"metadata": metadata, "weight_map": dict(sorted(places.items()))}
        (out / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    is_untied = plan.output is not None
    config = merged_config(base.config, dtype, is_untied=is_untied, with_code=with_code)
    (out / CONFIG).write_text(config, encoding="utf-8")
    copy_along(base.directory, out, with_code=with_code)


def _wider(stored: str, config: Mapping[str, Any]) -> torch.dtype | None:
    """The dtype of a changed tensor: the one that the model is computed in, if it holds more than the stored one."""
    named: Any = getattr(torch, str(config.get("dtype") or config.get("torch_dtype")), None)
    if stored not in DTYPES or named not in DTYPES.values():
        return None
    return torch.promote_types(DTYPES[stored], named)
