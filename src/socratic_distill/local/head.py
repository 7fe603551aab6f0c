"""Logits as the model's own forward computes them: with its scales, soft caps and whatever follows the output layer."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast


@dataclass
class _Given(BaseModelOutputWithPast):
    """Outputs of a decoder, of which only the last layer's are there."""

    def __getattr__(self, name: str) -> None:
        # Forward methods also hand on what their decoder may return, such as the logits of routers.
        if name.startswith("__"):
            raise AttributeError(name)


def own_logits(model: Any, outputs: torch.Tensor) -> torch.Tensor:
    """Logits `[N, V]` of the decoder's outputs `[N, H]`, differentiable.

    The model's forward method runs with the decoder's outputs given instead of computed. So the logits of a few
    positions at a time can be computed, whatever the class does after its decoder.

    Args:
        model: a causal language model.
        outputs: of the last layer, `[N, H]`.
    """
    decoder = model.get_decoder()
    given = _Given(last_hidden_state=outputs[None])  # pyright: ignore[reportArgumentType]
    tokens = torch.zeros((1, len(outputs)), dtype=torch.long, device=outputs.device)
    # An attribute of the instance hides the method of its class, and gives it back when it is deleted.
    decoder.forward = lambda *_, **__: given
    try:
        return model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits[0]
    finally:
        del decoder.forward
