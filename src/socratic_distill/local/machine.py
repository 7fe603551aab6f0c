"""The device and the precision that the engine computes with."""

import os
from dataclasses import dataclass
from typing import Literal

import torch

from socratic_distill.errors import LocalEngineError

_THREADS = torch.get_num_threads()
_FEW_PARAMETERS = 10**7
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


@dataclass(frozen=True)
class Machine:
    """A device, with the settings that suit it.

    Attributes:
        device: where the model is.
        dtype: of the base weights and the activations; None to derive it from the model's stored precision. Adapters
            and moments are fp32 or wider.
        fast_bf16: whether the device multiplies bf16 natively.
        gradient_checkpointing: whether training recomputes activations instead of keeping them.
        quantized: whether the base weights of linear layers are held in four bits.
        pass_tokens: most padded tokens of one pass; more need more memory and are not faster.
        pass_cost: fixed cost of a pass, in tokens; padding up to this is cheaper than another pass.
    """

    device: torch.device
    dtype: torch.dtype | None
    fast_bf16: bool
    gradient_checkpointing: bool
    quantized: bool
    pass_tokens: int
    pass_cost: int

    @classmethod
    def choose(
        cls,
        device: str = "auto",
        dtype: Literal["auto", "float32", "bfloat16", "float64"] = "auto",
        gradient_checkpointing: bool = False,
        quantization: Literal["nf4"] | None = None,
    ) -> "Machine":
        """Chooses the device and its settings; "auto" takes a GPU if there is one.

        Raises:
            LocalEngineError: the device, the dtype or the quantization is unknown, or the device is not available.
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
        if quantization not in (None, "nf4"):
            raise LocalEngineError(f"quantization={quantization!r} is unknown; give 'nf4' or None")
        on_gpu = chosen.type == "cuda"
        return cls(
            device=chosen,
            dtype=None if dtype == "auto" else _DTYPES[dtype],
            fast_bf16=torch.cuda.is_bf16_supported() if on_gpu else _cpu_multiplies_bf16(),
            gradient_checkpointing=gradient_checkpointing,
            quantized=quantization is not None,
            pass_tokens=16384 if on_gpu else 1024,
            pass_cost=1024 if on_gpu else 64,
        )

    def fit_threads(self, parameters: int) -> None:
        """Computes with one thread if the largest model is small, since threads then cost more than they save.

        To be called on the thread that computes. OMP_NUM_THREADS in the environment is obeyed instead.

        Args:
            parameters: number of parameters of the largest model.
        """
        if self.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1 if parameters < _FEW_PARAMETERS else _THREADS)

    def precision(self, stored: torch.dtype | None) -> torch.dtype:
        """The precision to compute a model in: bf16 if that is fast and the weights are stored in 16 bits, else fp32.

        Args:
            stored: the precision of the stored weights; None is unknown, and counts as fp32.
        """
        if self.dtype is not None:
            return self.dtype
        halved = stored in (torch.bfloat16, torch.float16)
        return torch.bfloat16 if self.fast_bf16 and halved else torch.float32


def _cpu_multiplies_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    # Other CPUs run bf16 too, but by converting to fp32 and back, which is slower than fp32 itself.
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
