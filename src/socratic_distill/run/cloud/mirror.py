"""The directory that a run in a store works in, uploaded in the background."""

import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from socratic_distill.config.log_path import last_folder
from socratic_distill.errors import ForeignDirectory, LeaseLost, SocraticError, StorageError
from socratic_distill.run.cloud.commits import DATA, Commit, add_commit, newest_commit, read_commit
from socratic_distill.run.cloud.fetching import fetch
from socratic_distill.run.cloud.lease import BEATS, Heart, Timing, take_over
from socratic_distill.run.cloud.packing import Changed, Packer, Seen, look
from socratic_distill.run.cloud.patience import Patience
from socratic_distill.run.cloud.stores import FsspecStore, ObjectStore, check_store
from socratic_distill.run.layout import CONFIG, JOURNAL
from socratic_distill.text import get_logger

_log = get_logger(__name__)


TIMING = Timing()
# For people and other tools to look at, as objects of their own; what counts is the commit.
_IN_PLAIN = (JOURNAL, CONFIG, "metrics.jsonl", "report.html")
_LARGEST_PLAIN_BYTES = 8 << 20


class Mirror:
    """A local directory that holds a run of a store, and is held by one writer.

    Attributes:
        url: of the run.
        path: the directory; there from `open` to `close`.
    """

    def __init__(self, url: str, store: ObjectStore | None = None, timing: Timing | None = None) -> None:
        """Names the directory; the store is not asked yet.

        Args:
            url: of the run.
            store: the objects under it; None opens them through fsspec.
            timing: None: the usual one.
        """
        self.url = url.rstrip("/")
        self.path = Path(tempfile.gettempdir()) / f"socratic-distill-{uuid.uuid4().hex[:12]}" / last_folder(self.url)
        self._given = store
        self._timing = timing or TIMING
        self._hurry = threading.Event()
        self._changed = threading.Condition()
        self._wanted: tuple[dict[str, Seen], int, int] | None = None  # files, ticket, generation
        self._asked = self._done = self._generation = 0
        self._trusted = -1  # what a crashed writer left, and a rollback that follows, are compared once
        self._asked_at = 0.0
        self._is_closing = False
        self._trouble: SocraticError | None = None
        self._objects = 0
        self._garbage: set[str] = set()

    def open(self) -> None:
        """Becomes the run's writer, and fetches its files. Blocks.

        Raises:
            CloudExtraMissing: what the URL needs is not installed.
            ForeignDirectory: the URL holds another tool's files.
            RunLocked: another process writes the run.
            StorageError: the store cannot be used, or fails.
        """
        self._store = self._given or FsspecStore(self.url)
        opening = Patience(self._timing.opening, self._hurry)
        _refuse_foreign(self._store, opening)
        check_store(self._store, opening)
        self._last = take_over(self._store, self._timing, opening, self._hurry)
        self._heart = Heart(self._store, self._last, self._timing, lambda: self._last.number)
        self._heart.start()
        try:
            fetch(self._store, self._last, self.path, Patience(self._timing.patience, self._hurry))
        except BaseException as error:
            self._heart.stop()
            self._release(opening)
            shutil.rmtree(self.path.parent, ignore_errors=True)
            if isinstance(error, FileNotFoundError):
                raise StorageError(f"{self.url}: an object that its newest commit names is gone: {error}") from error
            raise
        self._packer = Packer(self.path, self._last.files, self._upload)
        self._courier = threading.Thread(target=self._carry, name="cloud-courier", daemon=True)
        self._courier.start()
        _log.info("%s is worked on in %s", self.url, self.path)

    def interrupt(self) -> None:
        """Nothing is waited for any more: what the store fails from here on is not tried again."""
        self._hurry.set()

    def request(self) -> None:
        """Has the directory as it stands uploaded, in the background; waits for nothing.

        To be called between two writes to the directory, in the thread that writes.
        """
        seen = look(self.path)
        with self._changed:
            self._asked += 1
            self._asked_at = time.monotonic()
            self._wanted = (seen, self._asked, self._generation)
            self._changed.notify_all()

    def request_if_late(self) -> None:
        """Requests where the last request is a while ago."""
        if time.monotonic() - self._asked_at >= self._timing.commit:
            self.request()

    def rewind(self) -> None:
        """To be called before files that otherwise grow are cut: what was requested before is not committed any more.

        A request is to follow.
        """
        with self._changed:
            self._generation += 1

    def check(self) -> None:
        """Raises the error of the uploads, if any.

        Raises:
            LeaseLost: another process has taken the run over.
            StorageError: the store has failed for too long.
        """
        if self._trouble is not None:
            raise self._trouble
        if self._heart.usurper is not None:
            raise self._lost(self._heart.usurper)

    def wait(self) -> None:
        """Returns once all that was requested is durable. Blocks.

        Raises:
            LeaseLost: another process has taken the run over.
            StorageError: it is not durable.
        """
        with self._changed:
            asked = self._asked
            self._changed.wait_for(lambda: self._done >= asked or self._trouble is not None or self._is_closing)
            if self._done < asked:
                raise self._trouble or StorageError(f"{self.url} is closed before all of it was uploaded")

    def close(self) -> None:
        """Commits the directory as it stands, gives the run free, and takes the directory away. Blocks.

        Raises:
            LeaseLost: another process has taken the run over; the directory stays.
            StorageError: the store failed; the directory stays.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._courier.join()
        try:
            self._end()
        except SocraticError as error:
            raise type(error)(f"{error}. What it lacks is in {self.path}, which is kept") from error
        finally:
            self._heart.stop()
        shutil.rmtree(self.path.parent, ignore_errors=True)

    def _end(self) -> None:
        if isinstance(self._trouble, LeaseLost) or self._heart.usurper is not None:
            self.check()
        self._patience = Patience(self._timing.opening, self._hurry)
        self._commit(look(self.path), self._generation, released=True)

    def _carry(self) -> None:
        """Uploads what is requested, the newest request first, until the mirror is closed or the store fails."""
        self._patience = Patience(self._timing.patience, self._hurry)
        try:
            self._sweep()
            while (wanted := self._next()) is not None:
                seen, ticket, generation = wanted
                try:
                    self._commit(seen, generation)
                except Changed:  # the request that follows a rollback has it all
                    continue
                with self._changed:
                    self._done = ticket
                    self._changed.notify_all()
        except Exception as error:
            is_ours = isinstance(error, SocraticError)
            with self._changed:
                self._trouble = error if is_ours else StorageError(f"uploading {self.url} failed: {error!r}")
                self._changed.notify_all()

    def _next(self) -> tuple[dict[str, Seen], int, int] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._wanted is not None or self._is_closing)
            wanted, self._wanted = self._wanted, None
            return None if self._is_closing else wanted

    def _commit(self, seen: Mapping[str, Seen], generation: int, released: bool = False) -> None:
        """Uploads what changed, and commits it all at once."""
        packed = self._packer.pack(seen, doubted=generation != self._trusted)
        if generation != self._generation:
            raise Changed
        before = self._last
        if packed != before.files or released:
            self._last = self._add(replace(before, files=packed, released=released))
        self._packer.keep(seen, packed)
        self._trusted = generation
        self._show(before)
        # Not before another commit: whoever reads the one before has until then.
        for name in self._garbage - self._last.objects:
            self._patience.call(f"deleting {self.url}/{name}", self._store.delete, f"{DATA}/{name}")
        self._garbage = before.objects - self._last.objects

    def _add(self, commit: Commit) -> Commit:
        """Makes a commit of the number that comes next."""
        while True:
            commit = replace(commit, number=self._last.number + 1)
            if add_commit(self._store, commit, self._patience):
                return commit
            taken = read_commit(self._store, commit.number, self._patience)
            if taken is None or taken.writer != commit.writer:
                raise self._lost({} if taken is None else taken.holder)
            self._last = taken  # one of ours, whose answer was lost for longer than there was patience

    def _upload(self, data: bytes) -> str:
        self._objects += 1
        name = f"{self._last.fence:010d}-{self._objects:08d}"
        self._patience.call(f"writing {self.url}/{DATA}/{name}", self._store.write, f"{DATA}/{name}", data)
        return name

    def _show(self, before: Commit) -> None:
        """Writes the files that are looked at as objects of their own."""
        for path in _IN_PLAIN:
            pieces = self._last.files.get(path, ())
            size = sum(piece.size for piece in pieces)
            if pieces and pieces != before.files.get(path) and size <= _LARGEST_PLAIN_BYTES:
                with (self.path / path).open("rb") as file:
                    data = file.read(size)
                self._patience.call(f"writing {self.url}/{path}", self._store.write, path, data)

    def _sweep(self) -> None:
        """Deletes what writers before this one left: they cannot commit it any more."""
        objects, fence = self._last.objects, f"{self._last.fence:010d}"
        for folder in (DATA, BEATS):
            for name in self._patience.call(f"listing {self.url}/{folder}", self._store.names, folder):
                if name[: len(fence)] < fence and name not in objects:
                    self._patience.call(f"deleting {self.url}/{folder}/{name}", self._store.delete, f"{folder}/{name}")

    def _release(self, patience: Patience) -> None:
        try:
            add_commit(self._store, replace(self._last, number=self._last.number + 1, released=True), patience)
        except StorageError as error:
            _log.warning("%s: its lease was not given back and has to run out: %s", self.url, error)

    def _lost(self, holder: Mapping[str, Any]) -> LeaseLost:
        return LeaseLost(
            f"{self.url} was taken over by process {holder.get('pid')} on {holder.get('host')}, since this one did not "
            "show for longer than its lease that it lives. Nothing of it is written there any more. Let the other one "
            "go on, or stop it and start this script again"
        )


def _refuse_foreign(store: ObjectStore, patience: Patience) -> None:
    """Refuses a URL under which another tool keeps files with the names of a run's; a run there has commits.

    Raises:
        ForeignDirectory: it holds such files.
    """
    if newest_commit(store, patience) is not None:
        return
    for name in (JOURNAL, CONFIG):
        try:
            patience.call(f"reading {store.url}/{name}", store.read, name)
        except FileNotFoundError:
            continue
        raise ForeignDirectory(
            f"log_path={store.url!r} holds {name}, and no run of this library. Expected a URL without files, or that "
            "of a run. Take another log_path"
        )
