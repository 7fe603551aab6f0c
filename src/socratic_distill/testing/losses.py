"""The service's losses in numpy: value and gradient. All are sums over tokens."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tinker
from numpy.typing import NDArray

from socratic_distill.in_process import status_error

Floats = NDArray[np.floating[Any]]

_POLICY_KEYS = frozenset({"target_tokens", "logprobs", "advantages"})
LOSS_KEYS: dict[str, frozenset[str]] = {
    "cross_entropy": frozenset({"target_tokens", "weights"}),
    "importance_sampling": _POLICY_KEYS,
    "ppo": _POLICY_KEYS,
    "cispo": _POLICY_KEYS,
    "gspo": _POLICY_KEYS,
    "dro": _POLICY_KEYS,
}
_CLIP = {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2}
_DEFAULTS: dict[str, dict[str, float]] = {"ppo": _CLIP, "cispo": _CLIP, "gspo": _CLIP, "dro": {"beta": 0.01}}


def evaluate(
    loss_fn: str, logprobs: Floats, inputs: Mapping[str, Floats], config: Mapping[str, Any] | None
) -> tuple[float, Floats]:
    """A loss and its derivative by each log-probability.

    With r = exp(logprob - logprob of the sampler): cross_entropy is -sum(weight * logprob),
    importance_sampling -sum(r * advantage), ppo -sum(min(r * advantage, clip(r) * advantage)), cispo
    -sum(constant(clip(r)) * logprob * advantage) and dro
    -sum(logprob * advantage - beta / 2 * (logprob - logprob of the sampler)**2), over all N tokens.

    gspo is ppo's sum with s_t for r, GSPO-token of Zheng et al., "Group Sequence Policy Optimization", 2025:
    s_t = constant(s) * exp(logprob - constant(logprob)) with s = exp(mean(logprob - logprob of the sampler)) over the
    datum's tokens with an advantage. All s_t have the value s, and each has the gradient of its own token.

    Args:
        loss_fn: one of `LOSS_KEYS`.
        logprobs: the model's log-probability of each target now, nats, `[N]` or `[N, K]`; of a whole datum.
        inputs: the other loss inputs, of the same shape.
        config: `clip_low_threshold` and `clip_high_threshold` of ppo, cispo and gspo, 0.8 and 1.2 by default; `beta`
            of dro, 0.01 by default.

    Returns:
        The sum, and its derivative in the shape of `logprobs`.
    """
    if loss_fn == "cross_entropy":
        return float(-(inputs["weights"] * logprobs).sum()), -inputs["weights"]
    advantages = inputs["advantages"]
    change = logprobs - inputs["logprobs"]
    options = {**_DEFAULTS.get(loss_fn, {}), **(config or {})}
    if loss_fn == "dro":
        beta = options["beta"]
        return float(-(logprobs * advantages - beta / 2 * change**2).sum()), beta * change - advantages
    if loss_fn == "gspo":
        trained = advantages != 0
        change = np.full_like(change, change[trained].mean() if trained.any() else 0.0)
    ratio = np.exp(change)
    if loss_fn == "importance_sampling":
        return float(-(ratio * advantages).sum()), -ratio * advantages
    clipped = np.clip(ratio, options["clip_low_threshold"], options["clip_high_threshold"])
    if loss_fn == "cispo":
        return float(-(clipped * logprobs * advantages).sum()), -clipped * advantages
    free, bound = ratio * advantages, clipped * advantages
    return float(-np.minimum(free, bound).sum()), np.where(free <= bound, -free, 0.0)


def share_of(data: Sequence[Mapping[str, Floats]], loss_fn: str) -> float:
    """What a server whose losses are means multiplies those of a request by: 1 / weights, or 1 / positions.

    Args:
        data: the loss inputs of each datum.
        loss_fn: cross_entropy is divided by the sum of its weights, 1 at least; others by their positions.
    """
    if loss_fn == "cross_entropy":
        return 1 / max(1.0, float(sum(inputs["weights"].sum() for inputs in data)))
    return 1 / sum(len(inputs["advantages"]) for inputs in data)


def check_request(loss_fn: str, config: Mapping[str, Any] | None, losses: Collection[str] | None = None) -> None:
    """Refuses a loss that the service does not have, or a config that the loss does not take.

    Args:
        loss_fn: name of the loss.
        config: its options.
        losses: those that the service has; None: all.

    Raises:
        tinker.BadRequestError: naming what was given and what there is.
    """
    known = LOSS_KEYS if losses is None else [name for name in LOSS_KEYS if name in losses]
    if loss_fn not in known:
        raise status_error(400, f"unknown loss_fn {loss_fn!r}; there are {', '.join(sorted(known))}")
    options = _DEFAULTS.get(loss_fn, {})
    unknown = sorted(set(config or {}) - set(options))
    if unknown:
        raise status_error(400, f"{loss_fn} takes {sorted(options)} in loss_fn_config, not {unknown}")


def loss_inputs(datum: tinker.Datum, loss_fn: str) -> tuple[NDArray[np.int64], dict[str, Floats]]:
    """A datum's targets, `[N]` or `[N, K]`, and the loss's other inputs in the same shape.

    Raises:
        tinker.BadRequestError: keys that the loss does not take or misses, or lengths that differ from
            the input's.
    """
    keys = set(datum.loss_fn_inputs)
    if keys != LOSS_KEYS[loss_fn]:
        raise status_error(
            400, f"{loss_fn} takes the loss_fn_inputs {sorted(LOSS_KEYS[loss_fn])}, given were {sorted(keys)}"
        )
    arrays = {key: dense(value) for key, value in datum.loss_fn_inputs.items()}
    targets = arrays.pop("target_tokens")
    soft = loss_fn == "cross_entropy" and targets.ndim == 2
    if targets.shape[:1] != (datum.model_input.length,) or not (targets.ndim == 1 or soft):
        raise status_error(
            400, f"target_tokens has shape {targets.shape}, the model_input {datum.model_input.length} tokens"
        )
    for key, array in arrays.items():
        if array.shape != targets.shape:
            raise status_error(400, f"{key} has shape {array.shape}, target_tokens {targets.shape}")
    return targets.astype(np.int64), {key: array.astype(np.float64) for key, array in arrays.items()}


def dense(tensor: tinker.TensorData) -> NDArray[Any]:
    """The tensor as an array; sparse ones are filled with zeros, without torch."""
    if tensor.sparse_crow_indices is None or tensor.sparse_col_indices is None or tensor.shape is None:
        array = tensor.to_numpy()
        return array if tensor.shape is None else array.reshape(tensor.shape)
    full = np.zeros(tensor.shape, np.int64 if tensor.dtype == "int64" else np.float32)
    counts = np.diff(tensor.sparse_crow_indices)
    full[np.repeat(np.arange(len(counts)), counts), tensor.sparse_col_indices] = tensor.data
    return full
