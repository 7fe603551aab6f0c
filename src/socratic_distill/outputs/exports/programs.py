"""Fits an exported adapter for the program that is to serve it, or says why that program does not load it.

What each program loads was read from its source, of the release in programs.json: vLLM's list of architectures that
take adapters and the ranks that it offers, the layers for which SGLang has room, and models whose layers peft mistakes.
"""

import json
import os
import shlex
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from socratic_distill.config.grant import Grant
from socratic_distill.config.paths import resolved
from socratic_distill.errors import UnsupportedAdapter
from socratic_distill.files.durable import write_atomically
from socratic_distill.files.rows import parse, read_part
from socratic_distill.local.foreign_adapters import CONFIG, ForeignAdapter, read_foreign
from socratic_distill.local.model_files import model_folder
from socratic_distill.local.parts import part_of_path

_MOST_BYTES = 1 << 24
Program = Literal["vllm", "sglang", "transformers"]
_MERGE = "merge the adapter into its base model (--merge OUT), which every program loads"
_NO_OUTPUT = f"train with lora_targets=['attention', 'mlp'], or {_MERGE}"


def fit_adapter(directory: str | os.PathLike[str], program: Program, *, allow_files: bool = False) -> str:
    """Writes an adapter's config in the plainest form, if a program loads the adapter.

    Args:
        directory: of the adapter; only its adapter_config.json is written.
        program: that is to load it: "vllm", "sglang" or "transformers" (with peft).
        allow_files: whether config.json of the base model may be read wherever the adapter says it is. Without it a
            hub's cache on this machine is looked at.

    Returns:
        How to load it.

    Raises:
        CheckpointNotFound, DamagedWeights: the adapter cannot be read.
        StorageError: its config cannot be written.
        UnsupportedAdapter: the program does not load it; the message says what to change.
    """
    path = Path(resolved(directory))
    adapter = read_foreign(path)
    base = _base_config(adapter.base_model or "", Grant(os.fspath(directory), path, allow_files=allow_files))
    if (problem := _CHECKS[program](adapter, base or {})) is not None:
        raise UnsupportedAdapter(f"{path} is an adapter, but {problem}")
    plain = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": adapter.base_model,
        "r": adapter.rank,
        "lora_alpha": adapter.plain_alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": adapter.is_transposed,
        "target_modules": list(adapter.targets),
        "inference_mode": True,
    }
    write_atomically(path / CONFIG, json.dumps(plain, indent=2) + "\n")
    unknown = ". The base model's config.json is not on this machine, so its architecture was not checked"
    return _HOW[program](path, adapter) + ("" if base else unknown)


def _base_config(name: str, grant: Grant) -> Mapping[str, Any] | None:
    """config.json of a base model, if it is on this machine; nothing is asked of a hub."""
    folder = model_folder(name) if grant.may_load(name) else _cached(name)
    if folder is None or not folder.is_dir():
        return None
    try:
        # A cache holds links.
        read = parse(read_part(folder / "config.json", _MOST_BYTES, Path(folder.anchor)))
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None


def _cached(name: str) -> Path | None:
    """The folder of a hub's model in the cache of this machine."""
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return None
    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # a path is no name of the hub
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def _vllm(adapter: ForeignAdapter, base: Mapping[str, Any]) -> str | None:
    table = _table()["vllm"]
    version, names = f"vLLM {table['version']}", base.get("architectures") or ()
    if adapter.rank > max(table["ranks"]):
        return (
            f"its rank is {adapter.rank} and {version} loads ranks up to {max(table['ranks'])}; train with a smaller "
            f"lora_rank, or {_MERGE}"
        )
    if (experts := _experts(adapter)) is not None:
        return f"it is on experts ({experts}), which were not tried with {version}; {_MERGE}"
    if names and not set(names) & set(table["architectures"]):
        return f"{version} takes no adapters for {names[0]}; {_MERGE}"
    if output := _output(adapter):
        if not set(names) & set(table["with_output_layer"]):
            which = names[0] if names else "most architectures"
            return f"it is on the output layer ({output}), which {version} does not adapt for {which}; {_NO_OUTPUT}"
        if (_vocabulary(base) or 0) > table["most_tokens"]:
            return (
                f"it is on the output layer of {_vocabulary(base)} tokens, and {version} adapts at most "
                f"{table['most_tokens']}; {_NO_OUTPUT}"
            )
    return None


def _sglang(adapter: ForeignAdapter, base: Mapping[str, Any]) -> str | None:
    table = _table()["sglang"]
    if (experts := _experts(adapter)) is not None:
        return f"it is on experts ({experts}), which were not tried with SGLang {table['version']}; {_MERGE}"
    names = {layer.rpartition(".")[2] for layer in adapter.layers}
    if others := sorted(names - set(table["layers"])):
        return f"SGLang {table['version']} has no room for an adapter on {', '.join(others)}; {_MERGE}"
    return None


def _transformers(adapter: ForeignAdapter, base: Mapping[str, Any]) -> str | None:
    kind = base.get("model_type")
    if kind in _table()["peft"]["takes_dense_layers_for_experts"] and any(_is_dense(layer) for layer in adapter.layers):
        return f"peft takes the dense MLP layers of {kind} for experts, and computes something else; {_MERGE}"
    return None


def _experts(adapter: ForeignAdapter) -> str | None:
    """The first layer that is an expert."""
    return next((layer for layer in adapter.layers if ".experts." in layer), None)


def _output(adapter: ForeignAdapter) -> str | None:
    return next((layer for layer in adapter.layers if part_of_path(layer) == "unembed"), None)


def _is_dense(layer: str) -> bool:
    return part_of_path(layer) == "mlp" and "expert" not in layer


def _vocabulary(base: Mapping[str, Any]) -> int | None:
    inner = base.get("text_config")
    return (inner if isinstance(inner, Mapping) else base).get("vocab_size")


def _serve_vllm(directory: Path, adapter: ForeignAdapter) -> str:
    rank = min(rank for rank in _table()["vllm"]["ranks"] if rank >= adapter.rank)
    return (
        f"vllm serve {_base(adapter)} --enable-lora --max-lora-rank {rank} "
        f"--lora-modules tutor={shlex.quote(str(directory))}"
    )


def _serve_sglang(directory: Path, adapter: ForeignAdapter) -> str:
    return (
        f"python -m sglang.launch_server --model-path {_base(adapter)} --enable-lora "
        f"--max-lora-rank {adapter.rank} --lora-paths tutor={shlex.quote(str(directory))}"
    )


def _open_peft(directory: Path, adapter: ForeignAdapter) -> str:
    base = f"AutoModelForCausalLM.from_pretrained({adapter.base_model!r})"
    return f"PeftModel.from_pretrained({base}, {str(directory)!r})"


def _base(adapter: ForeignAdapter) -> str:
    return shlex.quote(adapter.base_model or "BASE_MODEL")


@cache
def _table() -> dict[str, Any]:
    return json.loads((files("socratic_distill.outputs.exports") / "programs.json").read_text(encoding="utf-8"))


_CHECKS: Mapping[Program, Callable[[ForeignAdapter, Mapping[str, Any]], str | None]] = {
    "vllm": _vllm,
    "sglang": _sglang,
    "transformers": _transformers,
}
_HOW: Mapping[Program, Callable[[Path, ForeignAdapter], str]] = {
    "vllm": _serve_vllm,
    "sglang": _serve_sglang,
    "transformers": _open_peft,
}
