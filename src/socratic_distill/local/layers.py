"""Linear layers that are fast on few rows, with and without an adapter, and that share a product with their siblings.

A query, key and value projection read the same input, and so do the gate and the up projection of an MLP. Their weights
lie in one buffer, one below the other, so that one product serves all of them. The first sibling that is called
computes it, and the others take their part of it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import nn

# Up to this many rows on a CPU, W xᵀ is faster than x Wᵀ. The two round differently. A block of a prompt must give the
# same bits read alone and together with others, so blocks must have more rows than this.
FEW_ROWS = 32
# Names of layers that read one input.
_SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class BaseLinear(nn.Linear):
    """A frozen linear layer.

    Attributes:
        siblings: the layers that share a product with this one.
        place: its number among them.
    """

    siblings: "Siblings"
    place: int

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`[..., out]` of `[..., in]`."""
        return self.siblings.output(self.place, input, None)


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
        base: Any = self.base_layer
        if isinstance(base, BaseLinear):
            base.siblings.adapted[base.place] = self

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """`[..., out]` of `[..., in]`."""
        base: Any = self.base_layer
        if not self.covers(self.active):
            return base(x)
        if isinstance(base, BaseLinear):
            return base.siblings.output(base.place, x, self.active)
        down, up, scaling = self.factors(self.active)  # such as Conv1D, or a class whose forward does more
        inner = x @ down.to(x.dtype).T
        return base(x) + (inner @ up.to(x.dtype).T) * scaling

    def covers(self, name: str | None) -> bool:
        """Whether the layer has an adapter of this name; an adapter may cover only some of the layers."""
        return name is not None and name in self.lora_A

    def factors(self, name: str | None) -> tuple[torch.Tensor, torch.Tensor, float]:
        """A `[r, in]`, B `[out, r]` and s of an adapter."""
        down, up = (module[name].weight for module in (self.lora_A, self.lora_B))  # pyright: ignore
        return down, up, self.scaling[name]  # pyright: ignore


class Siblings:
    """Linear layers that read one input, as one layer.

    Attributes:
        adapted: the adapter layers around them; None where there is none.
    """

    def __init__(self, layers: Sequence[BaseLinear]) -> None:
        """Joins layers.

        Args:
            layers: of one input size, all with a bias or all without. Their weights move into one buffer, of which
                they keep views.
        """
        self.adapted: list[AdapterLinear | None] = [None] * len(layers)
        self._sizes = [layer.out_features for layer in layers]
        self._weight, self._bias = layers[0].weight, layers[0].bias
        if len(layers) > 1:
            self._weight, self._bias = _joined(layers, "weight"), _joined(layers, "bias")
        for index, layer in enumerate(layers):
            layer.siblings, layer.place = self, index
        self._rounded: tuple[Any, torch.Tensor, torch.Tensor, float] | None = None
        # What was computed last: the input, the adapter and the mode; and the outputs that are not taken yet.
        self._key: tuple[Any, ...] = ()
        self._pending: dict[int, torch.Tensor] = {}

    def output(self, index: int, x: torch.Tensor, adapter: str | None) -> torch.Tensor:
        """The output of one of the layers, `[..., out]` of `[..., in]`.

        Args:
            index: number of the layer.
            x: the input.
            adapter: name of the adapter that is on; None for none.
        """
        key = (x, adapter, torch.is_grad_enabled())
        if index not in self._pending or any(a is not b for a, b in zip(key, self._key, strict=True)):
            # The product first: torch may stop it when it recomputes, and then nothing may be held.
            self._pending = dict(enumerate(self._product(x, adapter)))
            self._key = key
        output = self._pending.pop(index)
        if not self._pending:
            self._key = ()  # the input's memory is needed again
        return output

    def _product(self, x: torch.Tensor, adapter: str | None) -> Sequence[torch.Tensor]:
        """The outputs of all layers."""
        rows = x.reshape(-1, x.shape[-1])  # [N, in]
        if adapter is None:
            if _has_few_rows(x):
                return self._across(self._columns(rows), x)
            return self._along(nn.functional.linear(rows, self._weight, self._bias), x)
        if torch.is_grad_enabled():
            factors, scaling = self._factors(adapter)
            result: Any = _Adapted.apply(rows, self._weight, self._bias, scaling, self._sizes, *factors)
            return self._along(result, x)
        down, up, scaling = self._rounded_factors(adapter, x.dtype)
        if _has_few_rows(x):
            return self._across(self._columns(rows).addmm_(up, down @ rows.T, alpha=scaling), x)
        result = nn.functional.linear(rows, self._weight, self._bias)
        return self._along(result.addmm_(rows @ down.T, up.T, alpha=scaling), x)

    def _columns(self, rows: torch.Tensor) -> torch.Tensor:
        """`[out of all, N]` of `[N, in]`."""
        columns = self._weight @ rows.T
        return columns if self._bias is None else columns.add_(self._bias[:, None])

    def _along(self, outputs: torch.Tensor, x: torch.Tensor) -> Sequence[torch.Tensor]:
        """Divides outputs `[N, out of all]`."""
        return outputs.view(*x.shape[:-1], -1).split(self._sizes, dim=-1)

    def _across(self, columns: torch.Tensor, x: torch.Tensor) -> Sequence[torch.Tensor]:
        """Divides outputs `[out of all, N]`."""
        return [part.T.reshape(*x.shape[:-1], -1) for part in columns.split(self._sizes)]

    def _factors(self, adapter: str) -> tuple[list[torch.Tensor | None], float]:
        """A and B of each layer, None where the adapter is not, and s, which is one for all layers of an adapter."""
        factors: list[torch.Tensor | None] = []
        scaling = 1.0
        for layer in self.adapted:
            down, up = None, None
            if layer is not None and layer.covers(adapter):
                down, up, scaling = layer.factors(adapter)
            factors += [down, up]
        return factors, scaling

    def _rounded_factors(self, adapter: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, float]:
        """All A and B joined, rounded to a precision; kept until another adapter is on or an optimizer steps."""
        factors, scaling = self._factors(adapter)
        # torch counts in-place changes in _version, so an optimizer step makes the rounded copies stale.
        key = (adapter, dtype, *(factor._version for factor in factors if factor is not None))
        if self._rounded is None or self._rounded[0] != key:
            self._rounded = (key, *_join(factors, self._sizes, dtype), scaling)
        return self._rounded[1:]


class _Adapted(torch.autograd.Function):
    """The adapted product as one autograd node; from torch's own operations it would be eight, with a copy at each."""

    @staticmethod
    def forward(
        ctx: Any, x: Any, weight: Any, bias: Any, scaling: float, sizes: Sequence[int], *factors: Any
    ) -> torch.Tensor:
        down, up = _join(factors, sizes, x.dtype)
        inner = x @ down.T  # [N, r of all]
        ctx.save_for_backward(x, inner, weight, *factors)
        ctx.scaling, ctx.sizes = scaling, sizes
        return nn.functional.linear(x, weight, bias).addmm_(inner, up.T, alpha=scaling)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,), (x, inner, weight, *factors) = gradients, ctx.saved_tensors
        down, up = _join(factors, ctx.sizes, x.dtype)
        of_inner = (gradient @ up).mul_(ctx.scaling)  # [N, r of all]
        # Most of it belongs to no B: it pairs the output of one layer with the rank of another.
        of_up = gradient.T @ inner  # [out of all, r of all]
        of_down = of_inner.T @ x  # [r of all, in]
        # The first adapted layer's input needs no gradient: below it nothing is trained.
        of_x = (gradient @ weight).addmm_(of_inner, down) if ctx.needs_input_grad[0] else None
        of_factors: list[torch.Tensor | None] = []
        low, rank = 0, 0
        for size, own in zip(ctx.sizes, factors[::2], strict=True):
            if own is None:
                of_factors += [None, None]
            else:
                part = of_up[low : low + size, rank : rank + len(own)]
                of_factors += [of_down[rank : rank + len(own)].to(own.dtype), part.to(own.dtype).mul_(ctx.scaling)]
                rank += len(own)
            low += size
        return of_x, None, None, None, None, *of_factors


def _join(
    factors: Sequence[torch.Tensor | None], sizes: Sequence[int], dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """All A one below the other, `[r of all, in]`, and B in blocks along the diagonal, `[out of all, r of all]`."""
    downs, ups = factors[::2], factors[1::2]
    if len(downs) == 1 and downs[0] is not None and ups[0] is not None:
        return downs[0].to(dtype), ups[0].to(dtype)
    down = torch.cat([own.to(dtype) for own in downs if own is not None])
    up = down.new_zeros(sum(sizes), len(down))
    low, rank = 0, 0
    for size, own in zip(sizes, ups, strict=True):
        if own is not None:
            up[low : low + size, rank : rank + own.shape[1]] = own
            rank += own.shape[1]
        low += size
    return down, up


def quicken(model: nn.Module) -> None:
    """Makes a frozen model's linear layers fast on few rows, and joins those that read one input."""
    for parent in model.modules():
        plain = {name: child for name, child in parent.named_children() if type(child) is nn.Linear}
        for child in plain.values():  # not of a subclass, whose forward may do more
            child.__class__ = BaseLinear
        layers: dict[str, Any] = dict(plain)
        for names in _SIBLINGS:
            if all(name in layers for name in names) and _are_alike([layers[name] for name in names]):
                Siblings([layers.pop(name) for name in names])
        for layer in layers.values():
            Siblings([layer])


def _are_alike(layers: Sequence[nn.Linear]) -> bool:
    return len({(layer.in_features, layer.bias is None, layer.weight.dtype) for layer in layers}) == 1


def _joined(layers: Sequence[nn.Linear], name: str) -> Any:
    """The layers' weights or biases in one buffer, of which each layer gets a view."""
    own = [getattr(layer, name) for layer in layers]
    if own[0] is None:
        return None
    joined = torch.cat([parameter.detach() for parameter in own])
    for layer, part in zip(layers, joined.split([len(parameter) for parameter in own]), strict=True):
        setattr(layer, name, nn.Parameter(part, requires_grad=False))
    return joined


def _has_few_rows(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and not torch.is_grad_enabled() and x.numel() <= FEW_ROWS * x.shape[-1]
