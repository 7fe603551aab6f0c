"""Saves of one training client: named, confirmed, recorded, tried again.

A state and sampler weights are saved independently, and each is recorded once the service has confirmed it. States are
saved in the background. A save that the service answers with an error is tried again at the next step.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from socratic_distill.errors import InvalidAnswer, SaveError
from socratic_distill.run.journal_writer import JournalWriter
from socratic_distill.run.record import CheckpointRecord, Kind, What, deletion
from socratic_distill.service.failures import failure, is_answer
from socratic_distill.service.interface import RestClient, TrainingClient
from socratic_distill.service.waiting import fail_with, silence
from socratic_distill.text import get_logger
from socratic_distill.training.save_plan import SaveSchedule

if TYPE_CHECKING:
    from tinker.types import SaveWeightsForSamplerResponse, SaveWeightsResponse

_log = get_logger(__name__)


@dataclass(frozen=True)
class PendingSave:
    """A save that was submitted.

    Attributes:
        record: the record that it becomes once confirmed, without its path.
        key: the record's key for the path.
        request: the service's future.
    """

    record: CheckpointRecord
    key: What
    request: "Awaitable[SaveWeightsResponse | SaveWeightsForSamplerResponse]"


@dataclass(frozen=True)
class SaveFacts:
    """What every save of a training client says about its run, as `user_metadata` on the service.

    Attributes:
        run_id: the run directory's id.
        config_digest: digest of the config's fingerprint.
        began: batch that the training client began at.
    """

    run_id: str
    config_digest: str
    began: int

    def metadata(self, record: CheckpointRecord) -> dict[str, str]:
        """These facts and the record's own as strings. A lost record can be rebuilt from them."""
        facts = {"run_id": self.run_id, "config_digest": self.config_digest, "began": str(self.began)}
        return {**facts, "batch": str(record.batch), "version": str(record.version), "kind": str(record.kind)}


class Saver:
    """Saves of one training client.

    Attributes:
        trouble: fails with the error of a background save that ends the session: too many failures in a row, or a
            lost client, whose later calls may never be answered. It never has a result.
    """

    def __init__(
        self,
        client: TrainingClient,
        journal: JournalWriter,
        rest: RestClient | None,
        plan: SaveSchedule,
        facts: SaveFacts,
        max_failed: int,
        failed: Counter[What],
        resumed: CheckpointRecord | None = None,
        *,
        is_own: bool = False,
        on_save: Callable[[CheckpointRecord], None] | None = None,
    ) -> None:
        """Takes a client that has saved nothing yet.

        Args:
            client: a Tinker training client.
            journal: where confirmed saves are recorded.
            rest: a Tinker REST client that deletes rolling states; None leaves them to expire.
            plan: which state to save when, and for how long.
            facts: what the saves say about the run.
            max_failed: failures in a row, of one kind of save, after which to stop.
            failed: counts them, over all training clients of a process.
            resumed: the record of the state that the client was opened on.
            is_own: whether this run directory saved it. A rolling state of another's is not deleted.
            on_save: gets each record after it was written.
        """
        self._client = client
        self._journal = journal
        self._rest = rest
        self._plan = plan
        self._facts = facts
        self._max_failed = max_failed
        self._failed = failed
        self._on_save = on_save
        self._newest = resumed
        self._rolling = [resumed] if is_own and resumed is not None and resumed.kind == "rolling" else []
        self._names: Counter[str] = Counter()
        self._outstanding: set[asyncio.Task[None]] = set()
        self.trouble: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.trouble.add_done_callback(silence)
        self._again: Kind | None = None
        self._last_periodic = asyncio.get_running_loop().time()

    @property
    def newest(self) -> CheckpointRecord | None:
        """The newest recorded state."""
        return self._newest

    def submit(self, kind: Kind, batch: int, version: int, key: What | None = None) -> PendingSave:
        """Submits a save, under a name that the training client has not used.

        Args:
            kind: what it is for.
            batch: the next batch to run.
            version: optimizer steps of the weights, once all earlier requests are done.
            key: what to save; needed for the kind "final", which saves both.

        Raises:
            ServiceError: the request could not be submitted; the client is lost.
        """
        key = key or ("sampler_path" if kind == "sampler" else "state_path")
        now = datetime.now(UTC).replace(microsecond=0)
        ttl = self._plan.ttl_seconds[kind]
        record = CheckpointRecord(
            name=self._new_name("final" if kind == "final" else f"{batch:06d}", key),
            batch=batch,
            final=True if kind == "final" else None,
            version=version,
            kind=kind,
            created_at=now,
            expires_at=now + timedelta(seconds=ttl) if ttl is not None and self._plan.is_kept_to else None,
            config_digest=self._facts.config_digest,
        )
        call = self._client.save_state if key == "state_path" else self._client.save_weights_for_sampler
        try:
            request = call(record.name, ttl_seconds=ttl, user_metadata=self._facts.metadata(record))
        except Exception as error:
            raise self._lost(record, key, error) from error
        return PendingSave(record, key, request)

    async def confirm(self, pending: PendingSave) -> str | None:
        """Waits for a save and records it; gives its path, or None where the service answered with an error.

        Raises:
            InvalidAnswer: the service says that it saved, and not where.
            SaveError: too many in a row failed.
            ServiceError: the answer never came; the client is lost.
            StorageError: the record cannot be written.
        """
        record, key = pending.record, pending.key
        try:
            path = (await pending.request).path
        except Exception as error:
            if not is_answer(error):
                raise self._lost(record, key, error) from error
            self._count_failure(record, key, error)
            _log.warning("the save %r (%s) failed: %s; it is tried again at the next step", record.name, key, error)
            return None
        if not isinstance(path, str) or not path:
            raise InvalidAnswer(
                f"the save {record.name!r} ({key}) was answered without a path: {path!r}. Start the same script again "
                "to resume from the last recorded state"
            )
        self._failed[key] = 0  # only failures in a row count
        # Recorded only now: what the journal names exists.
        saved = record.model_copy(update={key: path})
        self._journal.append(saved)
        if self._on_save is not None:
            self._on_save(saved)
        return path

    def due(self, batch: int) -> Kind | None:
        """The kind of state to save before a batch: by the plan, or because the last save failed; None for none."""
        # A periodic state that failed is tried again as such, not replaced by a rolling one.
        kind = self._plan.due(batch, asyncio.get_running_loop().time() - self._last_periodic)
        return "periodic" if "periodic" in (kind, self._again) else kind or self._again

    def save_state_if_due(self, batch: int, version: int) -> None:
        """Saves a state in the background if one is due.

        Raises:
            SaveError, ServiceError, StorageError: an earlier background save ended the session.
        """
        self.check()
        if (kind := self.due(batch)) is None:
            return
        self._again = None  # set again if this try fails too
        if kind == "periodic":
            # From the submission: a slow service must not stretch the interval.
            self._last_periodic = asyncio.get_running_loop().time()
        task = asyncio.ensure_future(self._confirm_in_background(self.submit(kind, batch, version)))
        self._outstanding.add(task)
        task.add_done_callback(self._outstanding.discard)

    def check(self) -> None:
        """Raises the error of a failed background save, if any."""
        if self.trouble.done():
            self.trouble.result()

    async def save_now(self, batch: int, version: int) -> str | None:
        """Waits for the saves under way, and saves a state of `batch` unless there is one.

        Returns:
            The state's path; None if the service answered with an error.
        """
        await self._settle()
        # A rolling state expires within hours, and nobody knows when an interrupted run is started again.
        if self._newest is not None and self._newest.batch == batch and self._newest.kind != "rolling":
            return self._newest.state_path
        return await self._confirm_state(self.submit("interrupted", batch, version))

    async def save_final(
        self, batch: int, version: int, state_path: str | None, sampler_path: str | None
    ) -> tuple[str, str]:
        """Saves the run's last state and sampler weights, without an expiry.

        Args:
            batch: the number of batches done.
            version: optimizer steps that led to the weights.
            state_path: the final state, if it was saved before.
            sampler_path: the final sampler weights, likewise.

        Returns:
            Both paths.
        """
        await self._settle()
        while state_path is None or sampler_path is None:
            # Both are submitted before either is awaited, so that the service works on both at once.
            sampler = None if sampler_path else self.submit("final", batch, version, "sampler_path")
            state = None if state_path else self.submit("final", batch, version, "state_path")
            failed = None
            if sampler is not None:
                try:
                    sampler_path = await self.confirm(sampler)
                except SaveError as error:
                    if not isinstance(error.__cause__, Exception) or not is_answer(error.__cause__):
                        raise  # the client is lost: the state, submitted after it, may never be answered
                    failed = error  # the state may have been saved nevertheless
            if state is not None:
                # The journal's last line then names both, as other readers of the format expect at the end of a run.
                record = state.record.model_copy(update={"sampler_path": sampler_path})
                state_path = await self._confirm_state(replace(state, record=record))
            if failed is not None:
                raise failed
        return state_path, sampler_path

    def abandon(self) -> None:
        """Gives up unconfirmed saves: the training client is lost, or the process stops."""
        for task in self._outstanding:
            task.cancel()

    async def _settle(self) -> None:
        """Waits for all saves under way."""
        await fail_with(asyncio.gather(*self._outstanding), self.trouble)
        self.check()

    async def _confirm_in_background(self, pending: PendingSave) -> None:
        try:
            await self._confirm_state(pending)
        except Exception as error:
            if not self.trouble.done():
                self.trouble.set_exception(error)

    async def _confirm_state(self, pending: PendingSave) -> str | None:
        path = await self.confirm(pending)
        if path is None:
            self._again = pending.record.kind
            return None
        record = pending.record.model_copy(update={"state_path": path})
        # Saves of two steps may be confirmed in either order.
        if self._newest is None or (self._newest.batch or 0) <= (record.batch or 0):
            self._newest = record
        if record.kind == "rolling":
            self._rolling.append(record)
        # Only after the newer state is recorded: a crash here leaves one state too many, never none.
        await self._delete_old_rolling_states()
        return path

    async def _delete_old_rolling_states(self) -> None:
        """Deletes rolling states that a newer, recorded state has replaced."""
        assert self._newest is not None
        newest = self._newest.batch or 0
        old = [record for record in self._rolling if (record.batch or 0) <= newest and record is not self._newest]
        self._rolling = [record for record in self._rolling if record not in old]
        if self._rest is None:
            return
        for record in old:
            assert record.state_path is not None, "a rolling record is of a state"
            try:
                await self._rest.delete_checkpoint_from_tinker_path(record.state_path)
            except Exception as error:  # it expires by itself; training must not stop for it
                _log.warning("the old rolling state %s was not deleted and is left to expire: %s", record.name, error)
            else:
                self._journal.append(deletion(record, record.state_path))

    def _new_name(self, base: str, key: What) -> str:
        # A server may never answer a save under a name that is taken: a second try has a name of its own.
        self._names[f"{key} {base}"] += 1
        number = self._names[f"{key} {base}"]
        return base if number == 1 else f"{base}-{number}"

    def _count_failure(self, record: CheckpointRecord, key: What, error: Exception) -> None:
        self._failed[key] += 1
        if self._failed[key] >= self._max_failed:
            raise SaveError(
                f"the save {record.name!r} ({key}) failed on the service: {type(error).__name__}: {error}. That was "
                f"number {self._failed[key]} in a row, and max_failed_saves={self._max_failed}: the run stops, since "
                "what it trains cannot be kept. Start the same script again to go on"
            ) from error

    def _lost(self, record: CheckpointRecord, key: What, error: Exception) -> Exception:
        try:
            self._count_failure(record, key, error)
        except SaveError as stop:
            return stop
        return failure(f"the save {record.name!r} ({key})", error)
