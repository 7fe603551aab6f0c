"""The service's losses on torch. All are sums over tokens, as on Tinker.

With r = exp(logprob now - logprob sampled) and A the advantage:

    cross_entropy        -sum weight * logprob
    importance_sampling  -sum r * A
    ppo                  -sum min(r * A, clip(r, low, high) * A)        (Schulman et al., 2017)
    cispo                -sum stopgrad(clip(r, low, high)) * logprob * A  (MiniMax-M1, 2025)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tinker
import torch

from socratic_distill.in_process import status_error

_POLICY = frozenset({"target_tokens", "logprobs", "advantages"})
_INPUTS = {
    "cross_entropy": frozenset({"target_tokens", "weights"}),
    "importance_sampling": _POLICY,
    "ppo": _POLICY,
    "cispo": _POLICY,
}
_CLIP = {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2}
_OPTIONS = {"ppo": _CLIP, "cispo": _CLIP}


def loss_sum(
    loss_fn: str, logprobs: torch.Tensor, inputs: Mapping[str, torch.Tensor], options: Mapping[str, Any]
) -> torch.Tensor:
    """A loss, summed over the tokens of one datum.

    Args:
        loss_fn: name of the loss, checked.
        logprobs: the model's log-probability of each target, nats, `[N]` or `[N, K]`.
        inputs: the other loss inputs, of the same shape.
        options: the loss's own settings.
    """
    if loss_fn == "cross_entropy":
        return -(inputs["weights"] * logprobs).sum()
    ratio, advantages = torch.exp(logprobs - inputs["logprobs"]), inputs["advantages"]
    if loss_fn == "importance_sampling":
        return -(ratio * advantages).sum()
    limits = {**_CLIP, **options}
    clipped = ratio.clamp(limits["clip_low_threshold"], limits["clip_high_threshold"])
    if loss_fn == "ppo":
        return -torch.minimum(ratio * advantages, clipped * advantages).sum()
    return -(clipped.detach() * logprobs * advantages).sum()


def looked_at(loss_fn: str, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Positions at which the loss looks at the model, `[N]`: elsewhere weights, or advantage and logprob, are 0."""
    if loss_fn == "cross_entropy":
        marks = inputs["weights"] != 0
        return marks.any(dim=1) if marks.ndim == 2 else marks
    return (inputs["advantages"] != 0) | (inputs["logprobs"] != 0)


def check_request(
    data: Sequence[tinker.Datum], loss_fn: str, options: Mapping[str, Any], max_context: int, vocabulary: int
) -> None:
    """Refuses what the service would refuse.

    Raises:
        tinker.BadRequestError: an unknown loss or option, other inputs than the loss takes, inputs that are
            not of the length of model_input, or tokens that the model does not take.
    """
    if loss_fn not in _INPUTS:
        raise status_error(400, f"loss_fn {loss_fn!r} is unknown; known are {', '.join(_INPUTS)}")
    if unknown := options.keys() - _OPTIONS.get(loss_fn, {}).keys():
        raise status_error(400, f"loss_fn {loss_fn!r} takes no option {', '.join(sorted(unknown))}")
    for place, datum in enumerate(data):
        if datum.loss_fn_inputs.keys() != _INPUTS[loss_fn]:
            raise status_error(
                400,
                f"datum {place}: {loss_fn} takes the inputs {sorted(_INPUTS[loss_fn])}, found "
                f"{sorted(datum.loss_fn_inputs)}",
            )
        shapes = {name: tuple(value.to_numpy().shape) for name, value in datum.loss_fn_inputs.items()}
        if len(set(shapes.values())) != 1 or shapes["target_tokens"][:1] != (datum.model_input.length,):
            raise status_error(
                400,
                f"datum {place}: model_input has {datum.model_input.length} tokens, the loss inputs {shapes}",
            )
        size, tokens = datum.model_input.length, [*datum.model_input.to_ints()]
        if not 1 <= size <= max_context:
            raise status_error(400, f"datum {place}: {size} tokens; the model takes 1 to {max_context}")
        tokens += datum.loss_fn_inputs["target_tokens"].to_numpy().ravel().tolist()
        if not 0 <= min(tokens) <= max(tokens) < vocabulary:
            raise status_error(400, f"datum {place}: token ids outside [0, {vocabulary})")
