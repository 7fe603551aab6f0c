"""Base weights in four bits, by bitsandbytes: NF4, as in QLoRA (arXiv 2305.14314). Adapters on them stay as they are.

Eight bits are not offered: bitsandbytes' product in eight bits treats outliers by column of the whole batch, so a
position's result depends on the other positions that are read with it.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from socratic_distill.errors import LocalEngineError, LocalExtraMissing
from socratic_distill.files.extras import how_to_install
from socratic_distill.local.machine import Machine

# A weight takes half a byte, and each block of 64 weights has a scale in fp32.
_BYTES = 0.5 + 4 / 64


def loading_options(config: Any, machine: Machine, dtype: torch.dtype) -> dict[str, Any]:
    """Options of `from_pretrained` that quantise a model's linear layers, its output layer excepted.

    Args:
        config: the model's.
        machine: the device.
        dtype: of the products, and of all other weights.

    Raises:
        LocalExtraMissing: bitsandbytes is not installed.
        LocalEngineError: the stored weights are quantised already.
    """
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise LocalExtraMissing(
            f"quantization='nf4' needs bitsandbytes, not installed here. {how_to_install('quantized')}"
        )
    if getattr(config, "quantization_config", None) is not None:
        raise LocalEngineError("its weights are stored quantised; leave quantization out, or give the full weights")
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return {"quantization_config": settings, "device_map": {"": machine.device}}


def count(weight: torch.Tensor) -> int:
    """Number of weights in a parameter; a quantised one holds two in a byte."""
    state = getattr(weight, "quant_state", None)
    return weight.numel() if state is None else torch.Size(state.shape).numel()


def saved_bytes(model: Any) -> int:
    """Bytes that quantising saves, less those of the largest layer, which each product unpacks.

    Args:
        model: as it is stored, on any device.
    """
    head = model.get_output_embeddings()
    packed = [module.weight for module in model.modules() if type(module) is nn.Linear and module is not head]
    saved = sum(weight.nbytes for weight in packed) - round(_BYTES * sum(weight.numel() for weight in packed))
    return saved - max((weight.nbytes for weight in packed), default=0)
