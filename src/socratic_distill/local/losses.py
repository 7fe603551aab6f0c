"""Tinker's losses in torch. All are sums over tokens, as on Tinker.

With r = exp(current logprob - sampled logprob) and A the advantage:

    cross_entropy        -sum weight * logprob
    importance_sampling  -sum r * A
    ppo                  -sum min(r * A, clip(r, low, high) * A)        (Schulman et al., 2017)
    cispo                -sum stopgrad(clip(r, low, high)) * logprob * A  (MiniMax-M1, 2025)
    gspo                 -sum min(s_t * A, clip(s_t, low, high) * A)    (GSPO-token; Zheng et al., 2025)
    dro                  -sum (logprob * A - beta / 2 * (logprob - sampled logprob)^2)

In gspo s_t = stopgrad(s) * exp(logprob - stopgrad(logprob)), and s = exp(mean(logprob - sampled logprob)) over the
datum's tokens with an advantage: all s_t have the value s, and each has the gradient of its own token. If all
advantages are equal, the gradient is that of -s times their sum. The quadratic term of dro counts all tokens, those
without an advantage too.
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
    "gspo": _POLICY,
    "dro": _POLICY,
}
# Tinker's defaults; TuFT's for dro.
_CLIP = {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2}
_OPTIONS = {"ppo": _CLIP, "cispo": _CLIP, "gspo": _CLIP, "dro": {"beta": 0.01}}


def loss_sum(
    loss_fn: str,
    logprobs: torch.Tensor,
    inputs: Mapping[str, torch.Tensor],
    options: Mapping[str, Any],
    change: torch.Tensor | None = None,
) -> torch.Tensor:
    """A loss, summed over the tokens of one datum, or over some of them.

    Args:
        loss_fn: name of the loss, already checked.
        logprobs: the model's log-probability of each target, nats, `[N]` or `[N, K]`.
        inputs: the other loss inputs, of the same shape.
        options: settings of the loss.
        change: of gspo, the `mean_change` of the whole datum; None if these are all its tokens.

    Returns:
        The loss, a scalar tensor.
    """
    if loss_fn == "cross_entropy":
        return -(inputs["weights"] * logprobs).sum()
    advantages, settings = inputs["advantages"], {**_OPTIONS.get(loss_fn, {}), **options}
    if loss_fn == "dro":
        penalty = settings["beta"] / 2 * (logprobs - inputs["logprobs"]) ** 2
        return -(logprobs * advantages - penalty).sum()
    if loss_fn == "gspo":
        constant = logprobs.detach()
        change = mean_change(constant, inputs) if change is None else change
        # The two log-probabilities are subtracted first: the difference is exactly 0, and s_t is exactly s.
        ratio = torch.exp((logprobs - constant) + change)
    else:
        ratio = torch.exp(logprobs - inputs["logprobs"])
    if loss_fn == "importance_sampling":
        return -(ratio * advantages).sum()
    clipped = ratio.clamp(settings["clip_low_threshold"], settings["clip_high_threshold"])
    if loss_fn in ("ppo", "gspo"):
        return -torch.minimum(ratio * advantages, clipped * advantages).sum()
    # CISPO: the clipped ratio is a constant weight, so clipped tokens keep a gradient, unlike PPO's.
    return -(clipped.detach() * logprobs * advantages).sum()


def needs_change(loss_fn: str) -> bool:
    """Whether each token's loss depends on the log-probabilities of the datum's other tokens, by `mean_change`."""
    return loss_fn == "gspo"


def mean_change(logprobs: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The mean of logprob - sampled logprob over the tokens of a datum that have an advantage, nats; 0 without any."""
    trained = inputs["advantages"] != 0
    change = (logprobs - inputs["logprobs"])[trained]
    return change.mean() if len(change) else torch.zeros((), device=logprobs.device)


def loss_mask(loss_fn: str, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """True where the loss needs the model's log-probability, `[N]`: weights, or advantage or logprob, are not 0."""
    if loss_fn == "cross_entropy":
        marks = inputs["weights"] != 0
        return marks.any(dim=1) if marks.ndim == 2 else marks
    if loss_fn == "dro":
        return torch.ones_like(inputs["advantages"], dtype=torch.bool)
    # With advantage 0 a sampled token has no gradient, but its log-probability is returned to measure drift.
    return (inputs["advantages"] != 0) | (inputs["logprobs"] != 0)


def check_request(
    data: Sequence[tinker.Datum], loss_fn: str, options: Mapping[str, Any], max_context: int, vocabulary: int
) -> None:
    """Refuses requests that Tinker's service would refuse.

    Raises:
        tinker.BadRequestError: the loss or an option is unknown, the inputs are not those of the loss, their length
            differs from that of model_input, or a token is outside the model's vocabulary.
    """
    if loss_fn not in _INPUTS:
        raise status_error(400, f"loss_fn {loss_fn!r} is unknown; known are {', '.join(_INPUTS)}")
    if unknown := options.keys() - _OPTIONS.get(loss_fn, {}).keys():
        raise status_error(400, f"loss_fn {loss_fn!r} takes no option {', '.join(sorted(unknown))}")
    for index, datum in enumerate(data):
        if datum.loss_fn_inputs.keys() != _INPUTS[loss_fn]:
            raise status_error(
                400,
                f"datum {index}: {loss_fn} takes the inputs {sorted(_INPUTS[loss_fn])}; given: "
                f"{sorted(datum.loss_fn_inputs)}",
            )
        shapes = {name: tuple(value.to_numpy().shape) for name, value in datum.loss_fn_inputs.items()}
        if len(set(shapes.values())) != 1 or shapes["target_tokens"][:1] != (datum.model_input.length,):
            raise status_error(
                400,
                f"datum {index}: model_input has {datum.model_input.length} tokens, the loss inputs {shapes}",
            )
        size, tokens = datum.model_input.length, [*datum.model_input.to_ints()]
        if not 1 <= size <= max_context:
            raise status_error(400, f"datum {index}: {size} tokens; the model takes 1 to {max_context}")
        tokens += datum.loss_fn_inputs["target_tokens"].to_numpy().ravel().tolist()
        if not 0 <= min(tokens) <= max(tokens) < vocabulary:
            raise status_error(400, f"datum {index}: token ids outside [0, {vocabulary})")
