"""Attention on a CPU: for few scores, plain matrix products are faster than torch's fused kernel, above all in bf16."""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from socratic_distill.local.machine import Machine

# Queries x keys up to which products are faster; this also bounds the scores that training keeps. Rows and heads do not
# count, so that a prompt is read in the same way, and to the same bits, alone and together with others.
_FEW_SCORES = 2**17
_NAME = "socratic_distill"


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with the signature that transformers' models call.

    Args:
        module: the attention layer that calls.
        query: `[B, heads, n, size]`.
        key: `[B, shared heads, width, size]`; each shared head serves heads / shared heads neighbouring heads.
        value: of the same shape as `key`; the last size may differ.
        attention_mask: is added to the scores, `[B or 1, 1, n, width]`; None is causal, with n = width.
        scaling: factor of the scores; None is 1 / sqrt(size).
        options: further arguments of torch's fused kernel.

    Returns:
        Outputs `[B, n, heads, size]`, and None for the weights of attention, which are not kept.
    """
    rows, heads, count, size = query.shape
    shared, width = key.shape[1:3]
    unusual = options.get("softcap") is not None or options.get("position_bias") is not None
    if unusual or count * width > _FEW_SCORES:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    # Grouped-query attention: heads that share a key go into one product, so keys and values need not be repeated.
    together = (rows * shared, heads // shared * count)
    query = (query * (size**-0.5 if scaling is None else scaling)).reshape(*together, size)
    keys = key.reshape(-1, width, size).transpose(1, 2)  # [B·shared, size, width]
    scores = torch.bmm(query, keys).view(rows, heads, count, width)
    if attention_mask is None:
        hidden = torch.ones(count, width, dtype=torch.bool).triu(1)  # [n, n]
        scores = scores.masked_fill_(hidden, float("-inf"))
    else:
        scores = scores.add_(attention_mask)
    chances = torch.softmax(scores, dim=-1).view(*together, width)  # [B·shared, heads/shared·n, width]
    outputs = torch.bmm(chances, value.reshape(-1, width, value.shape[-1]))
    return outputs.view(rows, heads, count, -1).transpose(1, 2), None


def quicken_attention(model: Any, machine: Machine) -> None:
    """Switches a model on a CPU to `attend`, if it would use torch's fused kernel."""
    if machine.device.type != "cpu" or model.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(_NAME, attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    model.set_attn_implementation(_NAME)


def restore_attention(model: Any) -> None:
    """Undoes `quicken_attention`."""
    if model.config._attn_implementation == _NAME:
        model.set_attn_implementation("sdpa")
