"""Linear layers that are fast on few rows, with and without an adapter."""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import nn

# Up to this many rows on a CPU, W xᵀ is faster than x Wᵀ. The two round differently. A block of a prompt must give the
# same bits read alone and together with others, so blocks must have more rows than this.
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
    """A linear layer with LoRA, x Wᵀ + s x Aᵀ Bᵀ, added up in place; peft's own layer makes four temporary copies.

    A and B are kept in fp32 or wider. The products use them rounded to the base's precision, as under autocast.

    Attributes:
        active: name of the adapter that is on; None for none.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes the arguments of peft's own layer."""
        super().__init__(*args, **kwargs)
        self.active: str | None = None
        self._rounded: tuple[Any, torch.Tensor, torch.Tensor] | None = None

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """`[..., out]` of `[..., in]`."""
        base: Any = self.base_layer
        name = self.active
        if name is None or name not in self.lora_A:  # an adapter may cover only some of the layers
            return base(x)
        rows, scaling = x.reshape(-1, x.shape[-1]), self.scaling[name]  # [N, in]
        factors: list[Any] = [module[name].weight for module in (self.lora_A, self.lora_B)]
        down, up = factors  # A [r, in], B [out, r]
        if not isinstance(base, BaseLinear):  # such as Conv1D, or a class whose forward does more
            inner = x @ down.to(x.dtype).T
            return base(x) + (inner @ up.to(x.dtype).T) * scaling
        if torch.is_grad_enabled():
            result: Any = _Adapted.apply(rows, base.weight, base.bias, down, up, scaling)  # [N, out]
            return result.reshape(*x.shape[:-1], -1)
        # torch counts in-place changes in _version, so an optimizer step makes the rounded copies stale.
        key = (name, x.dtype, down._version, up._version)
        if self._rounded is None or self._rounded[0] != key:
            self._rounded = (key, down.to(x.dtype), up.to(x.dtype))
        down, up = self._rounded[1:]
        if _has_few_rows(x):
            columns = base.columns(rows).addmm_(up, down @ rows.T, alpha=scaling)  # [out, N]
            return columns.T.reshape(*x.shape[:-1], -1)
        return base(rows).addmm_(rows @ down.T, up.T, alpha=scaling).reshape(*x.shape[:-1], -1)


class _Adapted(torch.autograd.Function):
    """The adapted product as one autograd node; from torch's own operations it would be eight, with a copy at each."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, down: Any, up: Any, scaling: float) -> torch.Tensor:
        inner = x @ down.to(x.dtype).T  # [N, r]
        ctx.save_for_backward(x, inner, weight, down, up)
        ctx.scaling = scaling
        return nn.functional.linear(x, weight, bias).addmm_(inner, up.to(x.dtype).T, alpha=scaling)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,), (x, inner, weight, down, up) = gradients, ctx.saved_tensors
        of_inner = (gradient @ up.to(x.dtype)).mul_(ctx.scaling)  # [N, r]
        of_up = (gradient.T @ inner).to(up.dtype).mul_(ctx.scaling)  # [out, r]
        of_down = (of_inner.T @ x).to(down.dtype)  # [r, in]
        # The first adapted layer's input needs no gradient: below it nothing is trained.
        of_x = (gradient @ weight).addmm_(of_inner, down.to(x.dtype)) if ctx.needs_input_grad[0] else None
        return of_x, None, None, of_down, of_up, None


def quicken(model: nn.Module) -> None:
    """Makes a frozen model's linear layers fast on few rows."""
    for module in model.modules():
        if type(module) is nn.Linear:  # not a subclass, whose forward may do more
            module.__class__ = BaseLinear


def _has_few_rows(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and not torch.is_grad_enabled() and x.numel() <= FEW_ROWS * x.shape[-1]
