"""The files of a PEFT adapter, written by hand."""

import json
import random
from typing import Any

CONFIG: dict[str, Any] = {
    "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none",
    "task_type": "CAUSAL_LM", "base_model_name_or_path": None,
}  # fmt: skip
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


def adapter_config(**changes: Any) -> bytes:
    """An adapter_config.json."""
    return json.dumps(CONFIG | changes).encode()


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]], **more: Any) -> bytes:
    """A safetensors file of tensors, each with dtype, shape and bytes; `more` goes into the header."""
    header, data = dict[str, Any](more), b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def lora_weights(width: int = 1000, seed: int = 0, layer: str = LAYER) -> bytes:
    """The weights of a LoRA of rank 2 on one layer of some width: 16 bytes for each unit of width."""
    content = random.Random(seed).randbytes(16 * width)
    half = len(content) // 2
    return safetensors(
        {
            f"{layer}.lora_A.weight": ("F32", [2, width], content[:half]),
            f"{layer}.lora_B.weight": ("F32", [width, 2], content[half:]),
        },
        __metadata__={"format": "pt"},
    )


def adapter_files(**changes: Any) -> dict[str, bytes]:
    """What a service gives out of a run; keyword arguments change the config."""
    return {
        "README.md": b"# An adapter\n",
        "adapter_config.json": adapter_config(**changes),
        "adapter_model.safetensors": lora_weights(),
        "checkpoint_complete": b"",
    }
