"""Training steps on the service, their requests submitted without waiting in between."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from socratic_distill.failures import failure
from socratic_distill.interrupts import take_note
from socratic_distill.objective import TrainingExample
from socratic_distill.saver import PendingSave, Saver


@dataclass
class Update:
    """A training step on its way.

    Attributes:
        batch: the batch that it trains on.
        version: optimizer steps behind the weights that it trains.
        examples: what it trains on, in order.
        sampler: the save of the new weights behind the step; None where no step is taken, or nobody plays with them.
    """

    batch: int
    version: int
    examples: list[TrainingExample] = field(default_factory=list)
    sampler: PendingSave | None = None
    _passes: list[asyncio.Future[Any]] = field(default_factory=list)
    _step: Awaitable[Any] | None = None

    async def answer(self) -> tuple[list[np.ndarray], dict[str, float]]:
        """Waits for the service.

        Returns:
            The trainer's log-probability of each target, nats, one array `[N - 1]` an example; and the service's
            own metrics, such as `loss:sum`, sums over the passes; empty where it gives none.

        Raises:
            ServiceError: the service failed a call; the client is not to be used any more.
        """
        logprobs, metrics = list[np.ndarray](), dict[str, float]()
        try:
            for request in self._passes:
                output = await request
                logprobs += [np.asarray(one["logprobs"].to_numpy()) for one in output.loss_fn_outputs]
                for name, value in output.metrics.items():
                    metrics[name] = metrics.get(name, 0.0) + value
            if self._step is not None:
                await self._step
        except Exception as error:
            raise failure(f"the training step of batch {self.batch}", error) from error
        return logprobs, metrics

    def check(self) -> None:
        """Raises what has befallen a pass by now: nothing may follow it.

        Raises:
            ServiceError: the service failed a call; the client is not to be used any more.
        """
        for request in self._passes:
            if request.done() and (error := request.exception()) is not None:
                assert isinstance(error, Exception)
                raise failure(f"the training step of batch {self.batch}", error) from error


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
        self._unanswered: set[asyncio.Future[Any]] = set()

    def begin(self, batch: int) -> Update:
        """A training step without examples yet."""
        return Update(batch, self.version)

    def add(self, update: Update, examples: Sequence[TrainingExample]) -> None:
        """Submits a pass forward and backward over more examples; its gradient adds to those before.

        Raises:
            ServiceError: the request could not be submitted, or an earlier one failed; the client is not to be used
                any more.
        """
        update.check()
        if not examples:
            return
        update.examples += examples
        try:
            request = self._client.forward_backward([example.datum for example in examples], self._loss_fn)
        except Exception as error:
            raise failure(f"the training step of batch {update.batch}", error) from error
        answer = asyncio.ensure_future(request)
        answer.add_done_callback(take_note)
        answer.add_done_callback(self._unanswered.discard)
        self._unanswered.add(answer)
        update._passes.append(answer)

    def step(self, update: Update, to_play_with: bool = True) -> None:
        """Submits the optimizer step and, behind it, the new weights' save; neither where there are no examples.

        Args:
            update: holds its whole batch.
            to_play_with: whether the weights are saved.

        Raises:
            ServiceError: a request could not be submitted, or a pass failed; the client is not to be used any more.
        """
        from tinker import AdamParams

        update.check()
        if not update.examples:
            return
        try:
            update._step = self._client.optim_step(AdamParams(learning_rate=self._learning_rate))
        except Exception as error:
            raise failure(f"the training step of batch {update.batch}", error) from error
        self.version += 1
        if to_play_with:
            update.sampler = self._saver.submit("sampler", update.batch + 1, self.version)

    def abandon(self) -> None:
        """Gives up the passes that are not answered: behind a lost request they never are."""
        for answer in self._unanswered:
            answer.cancel()
