"""The journal of a run's saves, `checkpoints.jsonl`, for users: read, appended to, rebuilt from the service."""

import os
from collections.abc import Sequence

from socratic_distill.errors import CheckpointNotFound
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.journal import Journal
from socratic_distill.run.journal_writer import JournalWriter, warn_of_damage
from socratic_distill.run.layout import JOURNAL, journal_file
from socratic_distill.run.lock import RunLock
from socratic_distill.run.orphans import rebuild_journal
from socratic_distill.run.record import CheckpointRecord
from socratic_distill.service.interface import RestClient
from socratic_distill.service.waiting import run_blocking


def load_checkpoints(log_path: str | os.PathLike[str]) -> list[CheckpointRecord]:
    """The records of a run directory, or of a journal file, oldest first; none where there is no file.

    Lines that are no records are skipped with a warning that names them; the file stays as it is.

    Args:
        log_path: a run directory, or a file that ends in `.jsonl`; either may be in a store.

    Raises:
        CloudExtraMissing: packages are not installed that the store needs.
        JournalError: the file cannot be read.
        StorageError: the store fails.
    """
    path = journal_file(log_path)
    journal = Journal.read(path)
    warn_of_damage(path, journal)
    return journal.records()


def newest_sampler(log_path: str | os.PathLike[str]) -> tuple[str, int | None]:
    """The path of a run's newest sampler weights, and how many batches it had finished.

    Args:
        log_path: the run's directory; it may be in a store.

    Raises:
        CheckpointNotFound: the run has none yet.
        SocraticError: others, as `load_checkpoints`.
    """
    saved = [(record.sampler_path, record.batch) for record in load_checkpoints(log_path) if record.sampler_path]
    if not saved:
        raise CheckpointNotFound(f"{log_path} holds no sampler weights yet; train first")
    return saved[-1]


class CheckpointManager(JournalWriter):
    """The journal of one run, open for appending, and for restoring what it lost.

    Each record is flushed and synced to disk before `append` returns. One writer at a time: a run holds its
    directory's lock.
    """

    def rebuild(self, rest_client: RestClient, server_runs: Sequence[str] | None = None) -> int:
        """Adds what the service holds of this run and the journal lacks; restores a journal that was lost.

        Blocks, and takes the run directory's lock.

        Args:
            rest_client: a Tinker REST client, or an object with its interface.
            server_runs: ids of the run's server runs. None takes those that the run directory names; without
                any, all checkpoints of the user are paged through, and those that carry the run's id taken.

        Returns:
            The number of records added.

        Raises:
            RunLocked: a process writes to the run directory.
            EventLoopRunning: an asyncio loop already runs in this thread.
            ServiceError: the service cannot be asked.
            StartError: without server runs, the run directory must hold `run.json`, which has the run's id.
            StorageError: the journal cannot be written, or the store fails.
        """
        if self._url is not None:
            with RunDirectory(self._url.removesuffix(f"/{JOURNAL}")) as run:
                return run_blocking(lambda: rebuild_journal(run.checkpoints, rest_client, server_runs), "rebuild")
        with RunLock(self.path.parent) as lock:
            self._check = lock.check
            return run_blocking(lambda: rebuild_journal(self, rest_client, server_runs), "rebuild")
