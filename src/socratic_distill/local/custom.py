"""Losses that the caller writes: any differentiable function of the targets' log-probabilities, in torch.

As the SDK does it: a forward pass, the caller's function on its log-probabilities, and a backward pass of
cross_entropy with weights -dL/dlogprob, whose gradient is that of the function.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tinker
import torch

from socratic_distill.local.training import AdapterTrainer

# Takes the data and the log-probabilities of their targets, `[N]` or `[N, K]` each, nats; gives the loss and metrics.
CustomLoss = Callable[[list[tinker.Datum], list[Any]], tuple[Any, dict[str, float]]]


def run_custom(
    trainer: AdapterTrainer, data: Sequence[tinker.Datum], loss_fn: CustomLoss
) -> tinker.ForwardBackwardOutput:
    """Adds the gradient of the caller's loss to what is there.

    Raises:
        ValueError: the loss does not depend on the log-probabilities of every datum.
        tinker.BadRequestError: data that cross_entropy does not take.
    """
    forward = trainer.run([_with_weights(datum, None) for datum in data], "cross_entropy", {}, False)
    found = [torch.from_numpy(one["logprobs"].to_numpy().copy()) for one in forward.loss_fn_outputs]
    logprobs = [one.requires_grad_() for one in found]
    with torch.enable_grad():
        loss, metrics = loss_fn(list(data), list(logprobs))
        loss.backward()
    weights = []
    for place, one in enumerate(logprobs):
        if one.grad is None:
            raise ValueError(f"the loss does not depend on the log-probabilities of datum {place}")
        weights.append(-one.grad.numpy())
    passed = [_with_weights(datum, weight) for datum, weight in zip(data, weights, strict=True)]
    backward = trainer.run(passed, "cross_entropy", {}, True)
    surrogate = {"loss:sum": float(loss.detach().sum()), "surrogate_loss:sum": backward.metrics["loss:sum"]}
    return tinker.ForwardBackwardOutput(
        loss_fn_output_type=forward.loss_fn_output_type,
        loss_fn_outputs=forward.loss_fn_outputs,
        metrics={**metrics, **surrogate},
    )


def _with_weights(datum: tinker.Datum, weights: np.ndarray | None) -> tinker.Datum:
    """The datum for cross_entropy; other inputs are the caller's own. Without weights, with the caller's, or 0."""
    targets = datum.loss_fn_inputs["target_tokens"]
    if weights is not None:
        kept = tinker.TensorData.from_numpy(weights)
    else:
        kept = datum.loss_fn_inputs.get("weights")
        kept = kept or tinker.TensorData.from_numpy(np.zeros(targets.to_numpy().shape, np.float32))
    inputs = {"target_tokens": targets, "weights": kept}
    return tinker.Datum(model_input=datum.model_input, loss_fn_inputs=inputs)
