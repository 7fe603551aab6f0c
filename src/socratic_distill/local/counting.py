"""Counts the bytes of tensors on torch's `meta` device, which has shapes and no memory."""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Counter(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, but for those that were there before.

    Attributes:
        peak: the most so far.
    """

    def __init__(self, known: Sequence[torch.Tensor]) -> None:
        """Counts from now on.

        Args:
            known: what was there before.
        """
        super().__init__()
        self.peak = self._alive = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet(tensor.untyped_storage() for tensor in known)
        self._known = list(known)  # a storage that nobody holds is forgotten

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carries out an operation, and counts what it returns."""
        if func is torch.ops.aten._local_scalar_dense.default:
            # A model that looks at values asks whether a mask masks nothing, or positions are the usual ones: yes.
            return True if args[0].dtype == torch.bool else 1
        if func is torch.ops.aten._grouped_mm.default:
            # Products of experts, [N, in] by [experts, in, out]; on `meta` torch has them in bf16 only.
            outputs = args[0].new_empty((*args[0].shape[:-1], args[1].shape[-1]))
        else:
            outputs = func(*args, **(kwargs or {}))
        for tensor in tree_iter(outputs):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
                self._count(tensor.untyped_storage())
        return outputs

    def _count(self, storage: Any) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        self._alive += storage.nbytes()
        self.peak = max(self.peak, self._alive)
        weakref.finalize(storage, self._freed, storage.nbytes()).atexit = False

    def _freed(self, size: int) -> None:
        self._alive -= size


class Fused(TorchFunctionMode):
    """Takes torch's fused attention for what it is on a CPU or GPU: on `meta` it would be spelled out, with scores."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carries out a function, attention as the fused kernel."""
        if func is torch.nn.functional.scaled_dot_product_attention:
            outputs: Any = _FusedAttention.apply(*args[:3])
            return outputs
        return func(*args, **(kwargs or {}))


class _FusedAttention(torch.autograd.Function):
    """Keeps queries, keys, values, outputs, and one number a row, as flash attention (Dao et al., 2022) does."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        outputs = query.new_empty((*query.shape[:-1], value.shape[-1]))
        sums = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
        ctx.save_for_backward(query, key, value, outputs, sums)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, *_ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
