"""Training steps and saves on the service, submitted without waiting in between."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from socratic_distill.checkpoints import CheckpointManager, CheckpointRecord
from socratic_distill.errors import TrainingError
from socratic_distill.objective import TrainingExample

T = TypeVar("T")


@dataclass(frozen=True)
class Update:
    """What one training step answered.

    Attributes:
        logprobs: the trainer's log-probability of each target, nats, one array `[N - 1]` an example.
        metrics: the service's own metrics, such as `loss:sum`; empty where it gives none.
        sampler_path: the new sampler weights.
    """

    logprobs: list[np.ndarray]
    metrics: dict[str, float]
    sampler_path: str


class Learner:
    """Trains the tutor through one training client and records what the service confirmed.

    Args:
        client: a Tinker training client.
        journal: where confirmed saves are recorded.
        learning_rate: Adam's.
        loss_fn: the service's loss on (log-probabilities, advantages).
        version: optimizer steps behind the client's weights.
    """

    def __init__(
        self, client: Any, journal: CheckpointManager, learning_rate: float, loss_fn: str, version: int
    ) -> None:
        self._client = client
        self._journal = journal
        self._learning_rate = learning_rate
        self._loss_fn = loss_fn
        self.version = version

    async def update(self, examples: Sequence[TrainingExample], batch: int, save_state: bool) -> Update:
        """One forward and backward pass, one optimizer step, and the saves behind it.

        All requests are submitted before any is awaited, so that they share the service's cycle. A save
        is recorded once it is confirmed, and only if the step that it stands behind succeeded.

        Args:
            examples: the batch; at least one.
            batch: the next batch to run, under which the saves are named and recorded.
            save_state: whether to save the training state too.

        Raises:
            TrainingError: the service failed a call; the client is not to be used any more.
        """
        from tinker import AdamParams

        name = f"{batch:06d}"
        try:
            trained = self._client.forward_backward([example.datum for example in examples], self._loss_fn)
            stepped = self._client.optim_step(AdamParams(learning_rate=self._learning_rate))
            sampler = self._client.save_weights_for_sampler(name)
            state = self._client.save_state(name) if save_state else None
            output = await _confirmed(trained)
            await _confirmed(stepped)
        except Exception as error:
            raise _failure(f"the training step of batch {batch - 1}", error) from error
        self.version += 1
        sampler_path, _ = await asyncio.gather(
            self._record(sampler, "sampler_path", name, batch), self._record(state, "state_path", name, batch)
        )
        assert sampler_path is not None
        logprobs = [np.asarray(one["logprobs"].to_numpy()) for one in output.loss_fn_outputs]
        return Update(logprobs, dict(output.metrics), sampler_path)

    async def save_sampler(self, batch: int) -> str:
        """Saves and records sampler weights of the client as it is; gives their path."""
        name = f"{batch:06d}"
        path = await self._record(self._submit("save_weights_for_sampler", name), "sampler_path", name, batch)
        assert path is not None
        return path

    async def save_state(self, batch: int) -> str:
        """Saves and records the training state of the client as it is; gives its path."""
        name = f"{batch:06d}"
        path = await self._record(self._submit("save_state", name), "state_path", name, batch)
        assert path is not None
        return path

    async def save_final(self, batch: int) -> tuple[str, str]:
        """Saves the run's last state and sampler weights, without an expiry, in one record."""
        state = self._submit("save_state", "final")
        sampler = self._submit("save_weights_for_sampler", "final")
        try:
            state_path, sampler_path = (await _confirmed(state)).path, (await _confirmed(sampler)).path
        except Exception as error:
            raise _failure("the final save", error) from error
        self._journal.append(
            CheckpointRecord(
                name="final",
                batch=batch,
                state_path=state_path,
                sampler_path=sampler_path,
                final=True,
                version=self.version,
            )
        )
        return state_path, sampler_path

    def _submit(self, call: str, name: str) -> Any:
        try:
            return getattr(self._client, call)(name)
        except Exception as error:
            raise _failure(f"{call}({name!r})", error) from error

    async def _record(self, save: Any, key: str, name: str, batch: int) -> str | None:
        """Waits for a save and records it; None for no save."""
        if save is None:
            return None
        try:
            path = (await _confirmed(save)).path
        except Exception as error:
            raise _failure(f"the save {name!r} ({key})", error) from error
        paths = {key: path}
        self._journal.append(CheckpointRecord(name=name, batch=batch, version=self.version, **paths))
        return path


async def _confirmed(request: Awaitable[T]) -> T:
    """The answer; a cancelled caller leaves the request running, as a queued training call must."""
    return await asyncio.shield(asyncio.ensure_future(request))


def _failure(what: str, error: Exception) -> TrainingError:
    return TrainingError(
        f"{what} failed on the service: {type(error).__name__}: {error}. Nothing behind it was recorded; start "
        "the same script again to resume from the last recorded state"
    )
