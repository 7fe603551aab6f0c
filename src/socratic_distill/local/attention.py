"""Attention on a CPU: for few scores, plain products are faster than torch's fused kernel, most of all in bf16."""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from socratic_distill.local.machine import Machine

# Queries x keys up to which products are faster; it also bounds what training keeps of the scores. Neither rows nor
# heads count: a prompt is to be read in one way, alone and beside others.
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
    """What transformers' models call: outputs `[B, n, heads, size]`.

    Args:
        module: the attention layer that calls.
        query: `[B, heads, n, size]`.
        key: `[B, shared heads, width, size]`; every shared head serves as many heads as its neighbours.
        value: likewise.
        attention_mask: what is added to the scores, `[B or 1, 1, n, width]`; None is causal, with n = width.
        scaling: of the scores; None is 1 / sqrt(size).
        options: others that torch's fused kernel takes.
    """
    rows, heads, count, size = query.shape
    shared, width = key.shape[1:3]
    unusual = options.get("softcap") is not None or options.get("position_bias") is not None
    if unusual or count * width > _FEW_SCORES:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    # The heads that share keys and values go through one product, and nothing is repeated.
    together = (rows * shared, heads // shared * count)
    query = (query * (size**-0.5 if scaling is None else scaling)).reshape(*together, size)
    scores = torch.bmm(query, key.reshape(-1, width, size).transpose(1, 2)).view(rows, heads, count, width)
    if attention_mask is None:
        hidden = torch.ones(count, width, dtype=torch.bool).triu(1)
        scores = scores.masked_fill_(hidden, float("-inf"))
    else:
        scores = scores.add_(attention_mask)
    chances = torch.softmax(scores, dim=-1).view(*together, width)
    outputs = torch.bmm(chances, value.reshape(-1, width, value.shape[-1]))
    return outputs.view(rows, heads, count, -1).transpose(1, 2), None


def quicken_attention(model: Any, machine: Machine) -> None:
    """Lets a model on a CPU attend as above, if it is one that torch's fused kernel would do for."""
    if machine.device.type != "cpu" or model.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(_NAME, attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    model.set_attn_implementation(_NAME)
