"""Where and how precisely the engine computes."""

from dataclasses import dataclass
from typing import Literal

import torch

from socratic_distill.errors import LocalEngineError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


@dataclass(frozen=True)
class Machine:
    """The device, and what suits it.

    Attributes:
        device: where the model lives.
        dtype: of the base weights and of the activations; adapters and moments are fp32 or wider.
        gradient_checkpointing: whether training computes activations twice instead of keeping them.
        pass_tokens: padded tokens of one pass; more would not be faster, and need more memory.
        pass_cost: what a pass of its own costs, in tokens: padding up to that is cheaper.
    """

    device: torch.device
    dtype: torch.dtype
    gradient_checkpointing: bool
    pass_tokens: int
    pass_cost: int

    @classmethod
    def choose(
        cls,
        device: str = "auto",
        dtype: Literal["auto", "float32", "bfloat16", "float64"] = "auto",
        gradient_checkpointing: bool = False,
    ) -> "Machine":
        """Takes the GPU where there is one, and bf16 where that is fast.

        Raises:
            LocalEngineError: the device or the dtype is unknown, or is not there.
        """
        cuda = torch.cuda.is_available()
        try:
            chosen = torch.device(("cuda" if cuda else "cpu") if device == "auto" else device)
        except RuntimeError as error:
            raise LocalEngineError(f"device={device!r} is unknown; give 'auto', 'cpu' or 'cuda'") from error
        if chosen.type == "cuda" and not cuda:
            raise LocalEngineError(f"device={device!r}, but torch finds no GPU here; give 'auto' or 'cpu'")
        if dtype != "auto" and dtype not in _DTYPES:
            raise LocalEngineError(f"dtype={dtype!r} is unknown; give 'auto' or one of {', '.join(_DTYPES)}")
        fast_bf16 = chosen.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = (torch.bfloat16 if fast_bf16 else torch.float32) if dtype == "auto" else _DTYPES[dtype]
        tokens, cost = (16384, 1024) if chosen.type == "cuda" else (1024, 32)
        return cls(chosen, precision, gradient_checkpointing, tokens, cost)
