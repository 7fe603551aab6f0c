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
        saves: the saves behind the step, not yet confirmed, by the record's key; for `Learner.record`.
        batch: the next batch to run.
    """

    logprobs: list[np.ndarray]
    metrics: dict[str, float]
    saves: dict[str, Any]
    batch: int


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
        """One forward and backward pass and one optimizer step; the saves are on their way behind them.

        All requests are submitted before any is awaited, so that they share the service's cycle.

        Args:
            examples: the batch; an empty one takes no step, and its state is still saved when that is due.
            batch: the next batch to run, under which the saves are named and recorded.
            save_state: whether to save the training state too.

        Raises:
            TrainingError: the service failed a call; the client is not to be used any more.
        """
        from tinker import AdamParams

        name = _name(batch)
        requests, saves = [], {}
        try:
            if examples:
                requests.append(self._client.forward_backward([example.datum for example in examples], self._loss_fn))
                requests.append(self._client.optim_step(AdamParams(learning_rate=self._learning_rate)))
                saves["sampler_path"] = self._client.save_weights_for_sampler(name)
            if save_state:
                saves["state_path"] = self._client.save_state(name)
            answers = [await _confirmed(request) for request in requests]
        except Exception as error:
            raise _failure(f"the training step of batch {batch - 1}", error) from error
        if not answers:
            return Update([], {}, saves, batch)
        self.version += 1
        output = answers[0]
        logprobs = [np.asarray(one["logprobs"].to_numpy()) for one in output.loss_fn_outputs]
        return Update(logprobs, dict(output.metrics), saves, batch)

    async def record(self, update: Update) -> str | None:
        """Waits for a step's saves and records each once it is confirmed, whatever becomes of the other.

        The step's rows must be on disk before: a state that is recorded is one that a run resumes behind.

        Returns:
            The path of the new sampler weights; None where no step was taken.
        """
        paths = await asyncio.gather(
            *(self._record(save, key, update.batch) for key, save in update.saves.items()), return_exceptions=True
        )
        for path in paths:
            if isinstance(path, BaseException):
                raise path
        return dict(zip(update.saves, map(str, paths), strict=True)).get("sampler_path")

    async def save_sampler(self, batch: int) -> str:
        """Saves and records sampler weights of the client as it is; gives their path."""
        return await self._record(self._submit("save_weights_for_sampler", _name(batch)), "sampler_path", batch)

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

    async def _record(self, save: Any, key: str, batch: int) -> str:
        """Waits for a save, records it, and gives its path."""
        name = _name(batch)
        try:
            path = (await _confirmed(save)).path
        except Exception as error:
            raise _failure(f"the save {name!r} ({key})", error) from error
        paths = {key: path}
        self._journal.append(CheckpointRecord(name=name, batch=batch, version=self.version, **paths))
        return path


def _name(batch: int) -> str:
    """Name of the saves before a batch; no batch comes twice in the life of a training client."""
    return f"{batch:06d}"


async def _confirmed(request: Awaitable[T]) -> T:
    """The answer; a cancelled caller leaves the request running, as a queued training call must."""
    return await asyncio.shield(asyncio.ensure_future(request))


def _failure(what: str, error: Exception) -> TrainingError:
    return TrainingError(
        f"{what} failed on the service: {type(error).__name__}: {error}. Nothing behind it was recorded; start "
        "the same script again to resume from the last recorded state"
    )
