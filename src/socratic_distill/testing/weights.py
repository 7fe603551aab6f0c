"""A training client's weights in the toy model: gradients, Adam, and what a checkpoint keeps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tinker
from numpy.typing import NDArray

from socratic_distill.testing.losses import evaluate
from socratic_distill.testing.toy_model import Floats, ToyModel

Arrays = dict[str, NDArray[Any]]


class Weights:
    """Trained weights over a base model, with the gradients gathered and Adam's moments.

    Attributes:
        steps: optimizer steps since the moments were last reset.
    """

    def __init__(self, model: ToyModel) -> None:
        """Begins at the base model, with moments of zero."""
        self.model = model
        self.steps = 0
        self._weights: Floats = np.zeros_like(model.base)  # [R, D]
        self._first: Floats = np.zeros_like(model.base)
        self._second: Floats = np.zeros_like(model.base)
        self._gradient: Floats = np.zeros_like(model.base)
        self._table: Floats = model.base

    @property
    def table(self) -> Floats:
        """Base table plus trained weights, `[R, D]`; never changed in place, so a reader may keep it."""
        return self._table

    def forward(
        self,
        tokens: Sequence[int],
        targets: NDArray[np.int64],
        inputs: Mapping[str, Floats],
        loss_fn: str,
        config: Mapping[str, Any] | None,
        backward: bool,
        share: float = 1.0,
    ) -> tuple[float, Floats]:
        """One datum's loss and the log-probabilities of its targets, nats, in their shape.

        Args:
            tokens: the model's input, `[N]`.
            targets: after `tokens[:i + 1]` comes `targets[i]`, `[N]` or `[N, K]`.
            inputs: the other inputs of the loss, in the shape of the targets.
            loss_fn: the loss.
            config: its config.
            backward: adds the loss's gradient to the gathered one.
            share: factor on loss and gradient.
        """
        contexts = self.model.contexts(tokens)
        rows = self.model.rows(contexts)
        every = self.model.log_probabilities(contexts, self._table, rows)  # [N, V]
        columns = targets.reshape(len(tokens), -1)  # [N, K]
        logprobs = np.take_along_axis(every, columns, axis=1).reshape(targets.shape)
        loss, slope = evaluate(loss_fn, logprobs, inputs, config)
        if backward:
            self._add_gradient(rows, every, columns, share * slope.reshape(columns.shape))
        return share * loss, logprobs

    def _add_gradient(self, rows: NDArray[np.int64], every: Floats, columns: NDArray[np.int64], slope: Floats) -> None:
        """D loss / d logits is slope times (one-hot of the target less the probabilities)."""
        used = np.flatnonzero(slope.any(axis=1))
        if not len(used):
            return
        by_logit = -slope[used].sum(axis=1, keepdims=True) * np.exp(every[used])  # [U, V]
        np.add.at(by_logit, (np.arange(len(used))[:, None], columns[used]), slope[used])
        self._gradient += self.model.gradient(rows[used], by_logit)

    def scale_gradient(self, share: float) -> None:
        """Multiplies the gathered gradient."""
        self._gradient = share * self._gradient

    def step(self, params: tinker.AdamParams) -> None:
        """One step of AdamW with the gathered gradient, zero where none was gathered."""
        gradient = self._gradient
        norm = float(np.sqrt((gradient * gradient).sum()))
        if params.grad_clip_norm > 0 and norm > params.grad_clip_norm:
            gradient = gradient * (params.grad_clip_norm / norm)
        self.steps += 1
        self._first = params.beta1 * self._first + (1 - params.beta1) * gradient
        self._second = params.beta2 * self._second + (1 - params.beta2) * gradient**2
        first = self._first / (1 - params.beta1**self.steps)
        second = self._second / (1 - params.beta2**self.steps)
        self._weights = self._weights * (1 - params.learning_rate * params.weight_decay)
        self._weights -= params.learning_rate * first / (np.sqrt(second) + params.eps)
        self._gradient = np.zeros_like(self._gradient)
        self._table = self.model.base + self._weights

    def sampler_arrays(self) -> Arrays:
        """The rows that training has changed, enough to sample from."""
        rows = np.flatnonzero(self._weights.any(axis=1))
        return {"rows": rows, "weights": self._weights[rows]}

    def state_arrays(self) -> Arrays:
        """Weights and optimizer, enough to train on as if nothing had happened."""
        touched = self._weights.any(axis=1) | self._first.any(axis=1) | self._second.any(axis=1)
        rows = np.flatnonzero(touched)
        return {
            "rows": rows,
            "weights": self._weights[rows],
            "first": self._first[rows],
            "second": self._second[rows],
            "steps": np.asarray(self.steps),
        }

    def replace(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Takes over a sampler's weights in place of its own; moments, steps and gradient stay."""
        self._weights = np.zeros_like(self._weights)
        self.load(arrays, with_optimizer=False)

    def load(self, arrays: Mapping[str, NDArray[Any]], with_optimizer: bool) -> None:
        """Takes over a checkpoint's weights, and its moments and step count if asked for."""
        rows = arrays["rows"]
        self._weights[rows] = arrays["weights"]
        self._table = self.model.base + self._weights
        if with_optimizer:
            self._first[rows] = arrays["first"]
            self._second[rows] = arrays["second"]
            self.steps = int(arrays["steps"])
