"""Linear layers that are quick on few rows, alone and with an adapter."""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import nn

# Up to so many rows on a CPU, W xᵀ is faster than x Wᵀ. Blocks of prompts must be above it: they are to have the
# same bits alone and beside others, and the two ways round differently.
FEW_ROWS = 32


class BaseLinear(nn.Linear):
    """A frozen linear layer."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`[..., out]` of `[..., in]`."""
        if not _has_few_rows(input):
            return nn.functional.linear(input, self.weight, self.bias)
        return self.columns(input.reshape(-1, input.shape[-1])).T.reshape(*input.shape[:-1], -1)

    def columns(self, rows: torch.Tensor) -> torch.Tensor:
        """`[out, N]` of `[N, in]`."""
        columns = self.weight @ rows.T
        return columns if self.bias is None else columns.add_(self.bias[:, None])


class AdapterLinear(LoraLinear):
    """The same under LoRA, x Wᵀ + s x Aᵀ Bᵀ, added up in place: peft's own makes four temporary copies."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """`[..., out]` of `[..., in]`."""
        active = [] if self.disable_adapters else [name for name in self.active_adapters if name in self.lora_A]
        if not active:
            return self.base_layer(x)
        (name,) = active
        down, up, scaling = self._weight(self.lora_A[name]), self._weight(self.lora_B[name]), self.scaling[name]
        base: Any = self.base_layer
        rows = x.reshape(-1, x.shape[-1])
        if _has_few_rows(x):
            columns = base.columns(rows)
            columns.addmm_(up.to(x.dtype), down.to(x.dtype) @ rows.T, alpha=scaling)
            return columns.T.reshape(*x.shape[:-1], -1)
        result = base(rows)
        if down.dtype == x.dtype:
            result.addmm_(rows @ down.T, up.T, alpha=scaling)
        else:  # adapters are more precise than what they adapt
            result = torch.add(result, (rows.to(down.dtype) @ down.T @ up.T).to(x.dtype), alpha=scaling)
        return result.reshape(*x.shape[:-1], -1)

    @staticmethod
    def _weight(module: Any) -> torch.Tensor:
        return module.weight


def quicken(model: nn.Module) -> None:
    """Makes a frozen model's linear layers quick on few rows."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = BaseLinear


def _has_few_rows(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and not torch.is_grad_enabled() and x.numel() <= FEW_ROWS * x.shape[-1]
