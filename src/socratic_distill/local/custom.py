"""Losses that the caller writes: any differentiable function of the targets' log-probabilities, in torch.

This works as in the SDK. A forward pass gives the log-probabilities, the caller's function is applied to them, and a
backward pass of cross_entropy with weights -dL/dlogprob has the same gradient as the function.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tinker
import torch

from socratic_distill.local.training import AdapterTrainer

# Takes the data and the log-probabilities of their targets, `[N]` or `[N, K]` each, nats; returns the loss and metrics.
CustomLoss = Callable[[list[tinker.Datum], list[Any]], tuple[Any, dict[str, float]]]


def run_custom(
    trainer: AdapterTrainer, data: Sequence[tinker.Datum], loss_fn: CustomLoss
) -> tinker.ForwardBackwardOutput:
    """Computes the caller's loss, and adds its gradient to the adapter's gradients.

    Raises:
        ValueError: the loss does not depend on the log-probabilities of every datum.
        tinker.BadRequestError: the data do not fit cross_entropy or the model.
    """
    forward = trainer.run([_with_weights(datum, None) for datum in data], "cross_entropy", {}, False)
    # Copies: the caller may change them in place, and the answer below must keep the model's own numbers.
    values = [torch.from_numpy(output["logprobs"].to_numpy().copy()) for output in forward.loss_fn_outputs]
    logprobs = [datum_logprobs.requires_grad_() for datum_logprobs in values]  # leaves, [N] or [N, K] each
    with torch.enable_grad():
        loss, metrics = loss_fn(list(data), list(logprobs))
        loss.backward()
    weights = []
    for index, datum_logprobs in enumerate(logprobs):
        if datum_logprobs.grad is None:
            raise ValueError(f"the loss does not depend on the log-probabilities of datum {index}")
        weights.append(-datum_logprobs.grad.numpy())
    passed = [_with_weights(datum, weight) for datum, weight in zip(data, weights, strict=True)]
    backward = trainer.run(passed, "cross_entropy", {}, True)
    surrogate = {"loss:sum": float(loss.detach().sum()), "surrogate_loss:sum": backward.metrics["loss:sum"]}
    return tinker.ForwardBackwardOutput(
        loss_fn_output_type=forward.loss_fn_output_type,
        loss_fn_outputs=forward.loss_fn_outputs,
        metrics={**metrics, **surrogate},
    )


def _with_weights(datum: tinker.Datum, weights: np.ndarray | None) -> tinker.Datum:
    """The datum for cross_entropy, without the caller's other inputs; weights None keeps the caller's, or gives 0."""
    targets = datum.loss_fn_inputs["target_tokens"]
    if weights is not None:
        values = tinker.TensorData.from_numpy(weights)
    else:
        values = datum.loss_fn_inputs.get("weights")
        values = values or tinker.TensorData.from_numpy(np.zeros(targets.to_numpy().shape, np.float32))
    inputs = {"target_tokens": targets, "weights": values}
    return tinker.Datum(model_input=datum.model_input, loss_fn_inputs=inputs)
