"""Root-mean-square norms of a frozen model, in fewer and smaller steps than transformers' own."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

# Values of a step: so many in fp32 stay in a core's cache.
_VALUES = 2**17
# Names that families give to the constant that is added to the mean square.
_CONSTANTS = ("variance_epsilon", "eps", "epsilon")


class QuickNorm:
    """Mixed into the class of a norm: computes it row by row, in fp32 or wider.

    transformers' own norm makes seven passes over memory, of which four are in fp32, and training keeps three copies of
    the input in fp32. This one keeps the input and one number a row.
    """

    weight: torch.Tensor
    constant: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`[..., H]` of `[..., H]`."""
        shape = hidden_states.shape
        rows = hidden_states.reshape(-1, shape[-1])  # [N, H]
        if hidden_states.requires_grad and torch.is_grad_enabled():
            result: Any = _Norm.apply(rows, self.weight, self.constant)
            return result.view(shape)
        return _normed(rows, self.weight, self.constant, None).view(shape)


class _Norm(torch.autograd.Function):
    """w x / rms(x), for a constant w."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, constant: float) -> torch.Tensor:
        inverse = x.new_empty(len(x), 1, dtype=_wide(x))  # 1 / rms, [N, 1]
        ctx.save_for_backward(x, inverse, weight)
        return _normed(x, weight, constant, inverse)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,), (x, inverse, weight) = gradients, ctx.saved_tensors
        of_x, weight = torch.empty_like(x), weight.to(inverse.dtype)
        for rows in _steps(x):
            # With y = x r and h = w g: r (h - y mean(h y)).
            normed = x[rows].to(inverse.dtype, copy=True).mul_(inverse[rows])
            change = gradient[rows] * weight
            mean = torch.linalg.vecdot(change, normed).div_(x.shape[1])[:, None]
            of_x[rows] = change.sub_(normed.mul_(mean)).mul_(inverse[rows])
        return of_x, None, None


def quicken_norms(model: nn.Module) -> None:
    """Switches a frozen model's norms to `QuickNorm`, where a trial shows that they compute the same."""
    quick: dict[type, type] = {}
    for module in model.modules():
        kind = type(module)
        if kind in quick or _is_plain(module):
            quick.setdefault(kind, type(kind.__name__, (QuickNorm, kind), {}))
            module.__class__ = quick[kind]
            module.constant = _constant(module)  # once, since a norm is called at each token


def _is_plain(module: nn.Module) -> bool:
    """Whether a module computes w x / rms(x)."""
    parameters = dict(module.named_parameters())
    weight = parameters.get("weight")
    if len(parameters) != 1 or weight is None or weight.ndim != 1 or _constant(module) is None or _children(module):
        return False
    if weight.device.type == "meta":  # a model without its weights: any will do
        module = copy.deepcopy(module).to_empty(device="cpu")
        (weight,) = module.parameters()
        nn.init.normal_(weight)
    x = torch.randn(2, 3, len(weight), generator=torch.Generator().manual_seed(0)).to(weight.device, weight.dtype)
    ours = _normed(x.view(6, -1), weight, _constant(module), None).view(x.shape)
    try:
        with torch.no_grad():
            theirs = module(x)
    except Exception:  # it takes other arguments
        return False
    close = 1e-5 if weight.dtype.itemsize > 2 else 2e-2
    return torch.is_tensor(theirs) and theirs.dtype == ours.dtype and torch.allclose(theirs, ours, close, close)


def _children(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _constant(module: Any) -> Any:
    values = (getattr(module, name, None) for name in _CONSTANTS)
    return next((value for value in values if isinstance(value, float)), None)


def _normed(x: torch.Tensor, weight: torch.Tensor, constant: float, inverse: torch.Tensor | None) -> torch.Tensor:
    """Rows `[N, H]` times w / rms; writes 1 / rms into `inverse`, `[N, 1]`, if given."""
    if x.numel() <= _VALUES and inverse is None:
        return nn.functional.rms_norm(x, (x.shape[1],), weight, constant)  # one call
    result = torch.empty_like(x)
    for rows in _steps(x):
        wide = x[rows].to(_wide(x), copy=True)
        own = torch.linalg.vecdot(wide, wide).div_(x.shape[1]).add_(constant).rsqrt_()[:, None]  # [n, 1]
        if inverse is not None:
            inverse[rows] = own
        torch.mul(wide.mul_(own).to(x.dtype), weight, out=result[rows])
    return result


def _steps(x: torch.Tensor) -> Iterator[slice]:
    """The rows of x in parts."""
    count = max(1, _VALUES // x.shape[1])
    return (slice(start, start + count) for start in range(0, len(x), count))


def _wide(x: torch.Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
