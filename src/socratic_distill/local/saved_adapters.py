"""Reads a saved `adapter_config.json`: only the adapter's rank, scaling and layers.

peft would obey far more of that file: modules to import (`megatron_core`), patterns to match, weights to decompose. The
local engine writes none of these, and saved weights may come from strangers, so they are ignored.
"""

from pathlib import Path
from typing import Any

from peft import LoraConfig

from socratic_distill.errors import DamagedWeights
from socratic_distill.files.rows import number, read_object, whole

FILE = "adapter_config.json"


def read_adapter_config(directory: Path) -> LoraConfig:
    """The LoRA of saved weights, for a frozen base.

    Args:
        directory: of the weights.

    Raises:
        DamagedWeights: the file cannot be read, or does not describe a LoRA that the local engine saves.
    """
    path = directory / FILE
    stored = read_object(path, DamagedWeights, "it says which layers the weights are for; load another state")
    rank, alpha = whole((stored or {}).get("r")), (stored or {}).get("lora_alpha")
    modules, experts = ((stored or {}).get(name) for name in ("target_modules", "target_parameters"))
    if (
        not _is_size(rank)
        or not _is_size(alpha)
        or not _names(modules)
        or not (experts in (None, []) or _names(experts))
    ):
        raise DamagedWeights(
            f"{path} does not describe a LoRA that the local engine saves; expected r, lora_alpha and target_modules, "
            "a list of names. Load another state"
        )
    read: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "target_modules": modules}
    fixed: dict[str, Any] = {"lora_dropout": 0.0, "bias": "none", "task_type": "CAUSAL_LM"}
    return LoraConfig(**read, target_parameters=experts or None, **fixed)


def _is_size(value: object) -> bool:
    # The bound keeps a stranger's file from asking for all memory.
    return (size := number(value)) is not None and 0 < size < 2**16


def _names(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)
