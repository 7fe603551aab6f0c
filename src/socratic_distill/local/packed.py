"""Linear layers with weights in four bits, which are unpacked for each product."""

from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn.modules import Linear4bit
from torch import nn


class PackedLinear(Linear4bit):
    """A frozen linear layer in four bits.

    bitsandbytes' own product packs the weights anew on some CPUs, after which they can be neither unpacked nor trained
    through. This one is a plain product, so a row's result does not depend on the number of rows beyond what any
    product's does.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., out]` of `[..., in]`."""
        result: Any = _Product.apply(x, self.weight)
        return result if self.bias is None else result + self.bias


class _Product(torch.autograd.Function):
    """x Wᵀ. The unpacked weights are not kept for the gradient, but unpacked again."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: Any) -> torch.Tensor:
        ctx.weight = weight
        return nn.functional.linear(x, _unpacked(weight, x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        return gradient @ _unpacked(ctx.weight, gradient.dtype), None


def _unpacked(weight: Any, dtype: torch.dtype) -> torch.Tensor:
    return dequantize_4bit(weight.data, weight.quant_state).to(dtype)


def use_plain_products(model: nn.Module) -> None:
    """Has all layers in four bits of a model computed as `PackedLinear` does."""
    for module in model.modules():
        if type(module) is Linear4bit:
            module.__class__ = PackedLinear
