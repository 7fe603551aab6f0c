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
    """The same under LoRA, x Wᵀ + s x Aᵀ Bᵀ, added up in place: peft's own makes four temporary copies.

    A and B are kept in fp32 or wider; the products round them to the base's precision, as under autocast.

    Attributes:
        active: the adapter that is on, if any.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what peft's own layer takes."""
        super().__init__(*args, **kwargs)
        self.active: str | None = None
        self._rounded: tuple[Any, torch.Tensor, torch.Tensor] | None = None

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """`[..., out]` of `[..., in]`."""
        base: Any = self.base_layer
        name = self.active
        if name is None or name not in self.lora_A:  # an adapter may be on some of the layers alone
            return base(x)
        rows, scaling = x.reshape(-1, x.shape[-1]), self.scaling[name]
        factors: list[Any] = [module[name].weight for module in (self.lora_A, self.lora_B)]
        down, up = factors
        if not isinstance(base, BaseLinear):  # of another class, whose own forward may do more
            inner = x @ down.to(x.dtype).T
            return base(x) + (inner @ up.to(x.dtype).T) * scaling
        if torch.is_grad_enabled():
            result: Any = _Adapted.apply(rows, base.weight, base.bias, down, up, scaling)
            return result.reshape(*x.shape[:-1], -1)
        key = (name, x.dtype, down._version, up._version)
        if self._rounded is None or self._rounded[0] != key:  # once for many passes
            self._rounded = (key, down.to(x.dtype), up.to(x.dtype))
        down, up = self._rounded[1:]
        if _has_few_rows(x):
            columns = base.columns(rows).addmm_(up, down @ rows.T, alpha=scaling)
            return columns.T.reshape(*x.shape[:-1], -1)
        return base(rows).addmm_(rows @ down.T, up.T, alpha=scaling).reshape(*x.shape[:-1], -1)


class _Adapted(torch.autograd.Function):
    """The product with its gradient in one node: autograd's own would be eight, with a copy at each."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, down: Any, up: Any, scaling: float) -> torch.Tensor:
        inner = x @ down.to(x.dtype).T
        ctx.save_for_backward(x, inner, weight, down, up)
        ctx.scaling = scaling
        return nn.functional.linear(x, weight, bias).addmm_(inner, up.to(x.dtype).T, alpha=scaling)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,), (x, inner, weight, down, up) = gradients, ctx.saved_tensors
        of_inner = (gradient @ up.to(x.dtype)).mul_(ctx.scaling)
        of_up = (gradient.T @ inner).to(up.dtype).mul_(ctx.scaling)
        of_down = (of_inner.T @ x).to(down.dtype)
        of_x = (gradient @ weight).addmm_(of_inner, down.to(x.dtype)) if ctx.needs_input_grad[0] else None
        return of_x, None, None, of_down, of_up, None


def quicken(model: nn.Module) -> None:
    """Makes a frozen model's linear layers quick on few rows."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = BaseLinear


def _has_few_rows(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and not torch.is_grad_enabled() and x.numel() <= FEW_ROWS * x.shape[-1]
