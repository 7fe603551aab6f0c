"""Training steps on the service, their requests submitted without waiting in between."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from socratic_distill.failures import failure
from socratic_distill.objective import TrainingExample
from socratic_distill.saver import PendingSave, Saver


@dataclass(frozen=True)
class Update:
    """What one training step answered.

    Attributes:
        logprobs: the trainer's log-probability of each target, nats, one array `[N - 1]` an example.
        metrics: the service's own metrics, such as `loss:sum`; empty where it gives none.
        sampler: the save of the new weights behind the step, on its way; None where no step was taken.
    """

    logprobs: list[np.ndarray]
    metrics: dict[str, float]
    sampler: PendingSave | None


class Learner:
    """Trains the tutor through one training client.

    Args:
        client: a Tinker training client.
        saver: submits the save of the sampler weights behind each step.
        learning_rate: Adam's.
        loss_fn: the service's loss on (log-probabilities, advantages).
        version: optimizer steps behind the client's weights.
    """

    def __init__(self, client: Any, saver: Saver, learning_rate: float, loss_fn: str, version: int) -> None:
        self._client = client
        self._saver = saver
        self._learning_rate = learning_rate
        self._loss_fn = loss_fn
        self.version = version

    async def update(self, examples: Sequence[TrainingExample], batch: int) -> Update:
        """One forward and backward pass and one optimizer step, and behind them the new weights' save.

        All requests are submitted before any is awaited, so that they share the service's cycle.

        Args:
            examples: the batch; an empty one takes no step.
            batch: the next batch to run, for which the weights are saved.

        Raises:
            ServiceError: the service failed a call; the client is not to be used any more.
        """
        from tinker import AdamParams

        if not examples:
            return Update([], {}, None)
        try:
            passed = self._client.forward_backward([example.datum for example in examples], self._loss_fn)
            stepped = self._client.optim_step(AdamParams(learning_rate=self._learning_rate))
            sampler = self._saver.submit("sampler", batch, self.version + 1)
            output, _ = await passed, await stepped
        except Exception as error:
            raise failure(f"the training step of batch {batch - 1}", error) from error
        self.version += 1
        logprobs = [np.asarray(one["logprobs"].to_numpy()) for one in output.loss_fn_outputs]
        return Update(logprobs, dict(output.metrics), sampler)
