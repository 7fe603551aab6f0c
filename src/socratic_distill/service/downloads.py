"""Downloads one file by signed URL, going on where an earlier attempt stopped.

A signed URL is a secret: it appears in no message and no log. Nothing but the request for the file goes to the store,
and no key of the service.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from socratic_distill.errors import DownloadError, StorageError
from socratic_distill.files.durable import open_regular
from socratic_distill.service.digests import digests_of, mismatch
from socratic_distill.service.failures import describe
from socratic_distill.service.signed_urls import check_url, redirected
from socratic_distill.service.waiting import in_thread
from socratic_distill.text import clean_logs_of

if TYPE_CHECKING:
    import httpx

_MOST_REDIRECTS = 3
_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18}|\*)", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
# A signature that expired, or that the store does not accept; some stores answer 403 for a file that is gone.
_REFUSED = (400, 401, 403, 404, 410)
_BUSY = (408, 425, 429)


@dataclass(frozen=True)
class Patience:
    """How often and how long a download is tried again.

    Attributes:
        failures: attempts in a row that bring no byte before the download stops.
        refusals: attempts in a row that the store refuses, each with a fresh signature.
        restarts: how often the file may turn out to be another one than the part that is there.
        first_pause: seconds before the second attempt; it doubles with each failure.
        longest_pause: seconds.
        read_seconds: time limit for connecting, and for each block.
    """

    failures: int = 6
    refusals: int = 3
    restarts: int = 3
    first_pause: float = 1.0
    longest_pause: float = 30.0
    read_seconds: float = 60.0


@dataclass(frozen=True)
class StoredFile:
    """What a store said of a file, kept so that a later attempt can tell whether the file is still the same.

    Attributes:
        size: bytes; None: not said.
        etag: its strong entity tag; None: it has none.
        digests: hashes in hexadecimal, by algorithm.
    """

    size: int | None = None
    etag: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Download:
    """A file to download.

    Attributes:
        name: for messages.
        path: file to write; what it holds already is the beginning.
        sign: gives a URL, a fresh one if asked for.
        keep_alive: is awaited between blocks, and keeps what is downloaded from expiring.
        note: is called with what the store says of the file, before any of it is written.
        progress: is called with the bytes so far, and all of them, if that is known.
        stored: what an earlier attempt knew of the file.
        is_same: whether the part that is there is certainly of this file, so that a store without entity tags may go
            on from it.
        most: bytes that the file may have; None: any number.
        patience: how often it is tried.
    """

    name: str
    path: Path
    sign: Callable[[bool], Awaitable[str]]
    keep_alive: Callable[[], Awaitable[None]]
    note: Callable[[StoredFile], None]
    progress: Callable[[int, int | None], None]
    stored: StoredFile = StoredFile()
    is_same: bool = False
    most: int | None = None
    patience: Patience = Patience()

    def __post_init__(self) -> None:
        """Begins with no failure."""
        self._failures = self._refusals = self._restarts = 0

    async def run(self, client: "httpx.AsyncClient") -> None:
        """Downloads the file and checks its length and its hashes.

        Args:
            client: as `store_client` makes it.

        Raises:
            DownloadError: the store fails, refuses, or sends something else.
            StorageError: the file cannot be written; what was downloaded is kept.
        """
        await self._complete(client)
        if await self._wrong_digest() is None:
            return
        # A part of another file may have been gone on from, in a store without entity tags: once more from the start.
        self.path.unlink()
        self.stored = StoredFile()
        await self._complete(client)
        if (wrong := await self._wrong_digest()) is not None:
            self.path.unlink()
            raise DownloadError(
                f"{self.name} does not have the hash ({wrong}) that its store gives, twice; it is damaged there or on "
                "its way. Give the same command again"
            )

    async def _complete(self, client: "httpx.AsyncClient") -> None:
        fresh = False
        while not self._is_complete():
            before = self._done()
            try:
                await self._attempt(client, await self.sign(fresh))
                fresh = False
            except _Refusal as refusal:
                fresh = True
                self._refusals += 1
                if self._refusals > self.patience.refusals:
                    raise DownloadError(
                        f"the store refused {self.name} {self._refusals} times, though its URL was signed again: "
                        f"{refusal}. Give the same command again later",
                        can_resume=True,
                    ) from None
                await asyncio.sleep(self.patience.first_pause)
            except _Failure as failure:
                await self._wait(failure, self._done() > before)
            if self._done() > before:
                self._refusals = 0

    def _done(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    def _is_complete(self) -> bool:
        return self.stored.size is not None and self.path.exists() and self._done() == self.stored.size

    async def _wait(self, failure: "_Failure", has_grown: bool) -> None:
        """Waits before the next attempt.

        Raises:
            DownloadError: there were too many.
        """
        self._failures = 0 if has_grown else self._failures + 1
        if self._failures >= self.patience.failures:
            raise DownloadError(
                f"the download of {self.name} stopped at {self._done()} bytes, {self._failures} attempts in a row "
                f"brought nothing: {failure}. Check the network and give the same command again; it goes on from there",
                can_resume=True,
            ) from None
        pause = min(self.patience.first_pause * 2.0**self._failures, self.patience.longest_pause)
        await asyncio.sleep(max(pause, min(failure.wait, self.patience.longest_pause)))

    async def _attempt(self, client: "httpx.AsyncClient", url: str) -> None:
        """One request, and its redirects."""
        import httpx

        offset = self._done()
        headers = self._range_headers(offset)
        before = None
        for _ in range(_MOST_REDIRECTS + 1):
            check_url(url, before, self.name)
            try:
                async with client.stream("GET", url, headers=headers) as response:
                    if not response.has_redirect_location:
                        await self._take(response, offset if "Range" in headers else 0)
                        return
                    before, url = url, redirected(url, response.headers["location"])
            except httpx.HTTPError as error:
                raise _Failure(describe(error)) from None  # the error itself holds the URL
            except httpx.InvalidURL:
                raise DownloadError(f"the URL of {self.name} is none") from None
        raise DownloadError(f"the store redirects {self.name} more than {_MOST_REDIRECTS} times")

    def _range_headers(self, offset: int) -> dict[str, str]:
        """Asks for the rest of a file, if what is there is known to belong to it."""
        if not offset or (self.stored.etag is None and not self.is_same):
            return {}
        condition = {} if self.stored.etag is None else {"If-Range": self.stored.etag}
        return {"Range": f"bytes={offset}-", **condition}

    async def _take(self, response: "httpx.Response", offset: int) -> None:
        """Writes what an answer holds."""
        status = response.status_code
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            self._take_end(response, offset)
        elif status == HTTPStatus.OK:
            if offset:  # the file is another one by now, or the store gives no parts
                self._restart()
            self._learn(_described(response))
            self.is_same = True
            await self._write(response, "wb")
        elif status == HTTPStatus.PARTIAL_CONTENT and offset:
            if (whole_file := self._continued(response, offset)) is None:
                self._restart()
                self.path.unlink()
                return
            self._learn(whole_file)
            await self._write(response, "ab")
        elif status in _REFUSED:
            raise _Refusal(_said(response))
        elif status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = response.headers.get("retry-after", "")
            raise _Failure(_said(response), float(wait) if _LENGTH.fullmatch(wait) else 0.0)
        else:
            raise DownloadError(f"the store answers the request for {self.name} with {status}; expected the file")

    def _take_end(self, response: "httpx.Response", offset: int) -> None:
        """There is nothing after what is there: it is the whole file, or not a part of it."""
        match = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if match is not None and match[2] == str(offset) and self.stored.size in (None, offset):
            self._learn(replace(self.stored, size=offset))
            return
        self._restart()
        self.path.unlink()

    def _continued(self, response: "httpx.Response", offset: int) -> StoredFile | None:
        """The file that an answer goes on with; None if it is another one, or another part of it."""
        match, stored = _RANGE.fullmatch(response.headers.get("content-range", "")), self.stored
        if match is None or match[1] != str(offset):
            return None
        size = None if match[2] == "*" else int(match[2])
        etag = _strong(response.headers.get("etag"))
        if (size is not None and stored.size not in (None, size)) or (stored.etag is not None and etag != stored.etag):
            return None
        digests = {**stored.digests, **digests_of(response.headers, is_part=True)}
        return StoredFile(stored.size if size is None else size, stored.etag or etag, digests)

    def _restart(self) -> None:
        """Begins anew.

        Raises:
            DownloadError: that happens again and again.
        """
        self._restarts += 1
        if self._restarts > self.patience.restarts:
            raise DownloadError(f"the store sends another {self.name} each time; expected one file")
        self.stored = StoredFile()

    def _learn(self, stored: StoredFile) -> None:
        """Notes what the store says of the file.

        Raises:
            DownloadError: the file is too large.
            StorageError: the disk has no room for it.
        """
        if self.most is not None and stored.size is not None and stored.size > self.most:
            raise DownloadError(f"{self.name} has {stored.size} bytes; expected at most {self.most}")
        if stored.size is not None and (missing := stored.size - self._done()) > 0:
            free = shutil.disk_usage(self.path.parent).free
            if missing > free:
                raise self._no_room(f"{missing} bytes are to come, and the disk has {free} left")
        self.stored = stored
        self.note(stored)

    async def _write(self, response: "httpx.Response", mode: str) -> None:
        if (encoding := response.headers.get("content-encoding", "identity")) != "identity":
            raise DownloadError(f"the store sends {self.name} in the encoding {encoding!r}; expected none")
        try:
            if mode == "wb":
                self.path.unlink(missing_ok=True)
            with open_regular(self.path, "xb" if mode == "wb" else "ab") as file:
                await self._write_blocks(response, file, 0 if mode == "wb" else self._done())
        except OSError as error:
            raise self._no_room(f"{error.strerror or error}") from error
        if self.stored.size is None:  # the answer has no length, and came to its end
            self._learn(replace(self.stored, size=self._done()))
        elif self._done() < self.stored.size:
            raise _Failure(f"it ended at {self._done()} of {self.stored.size} bytes")

    async def _write_blocks(self, response: "httpx.Response", file: BinaryIO, done: int) -> None:
        limit = self.stored.size if self.stored.size is not None else self.most
        self.progress(done, self.stored.size)
        try:
            async for block in response.aiter_raw():  # with a block size, the last block before a cut would be lost
                done += len(block)
                if limit is not None and done > limit:
                    raise DownloadError(f"the store sends more of {self.name} than {limit} bytes")
                file.write(block)
                self.progress(done, self.stored.size)
                await self.keep_alive()
        finally:  # what came before the connection was cut is kept
            file.flush()
        os.fsync(file.fileno())

    async def _wrong_digest(self) -> str | None:
        """The algorithm whose hash the file does not have; None if it has all that the store sent."""
        try:
            return await in_thread(mismatch, self.path, self.stored.digests)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {error.strerror or error}") from error

    def _no_room(self, reason: str) -> StorageError:
        return StorageError(
            f"{self.path} cannot be written: {reason}. What was downloaded is kept: make room, then give the same "
            "command again"
        )


def store_client(patience: Patience) -> "httpx.AsyncClient":
    """A client for stores: without keys, and redirects are not followed by themselves."""
    import httpx

    clean_logs_of("httpx")  # it logs URLs
    clean_logs_of("httpcore")
    return httpx.AsyncClient(
        headers={"Accept-Encoding": "identity"},
        timeout=httpx.Timeout(patience.read_seconds),
        follow_redirects=False,
    )


class _Refusal(Exception):
    """The store does not accept the URL."""


class _Failure(Exception):
    """An attempt that may succeed later."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def _said(response: "httpx.Response") -> str:
    return f"{response.status_code} {response.reason_phrase}".strip()


def _described(response: "httpx.Response") -> StoredFile:
    headers = response.headers
    length = headers.get("content-length", "")
    size = int(length) if _LENGTH.fullmatch(length) else None
    return StoredFile(size, _strong(headers.get("etag")), digests_of(headers, is_part=False))


def _strong(etag: str | None) -> str | None:
    """An entity tag that stands for the very bytes; weak ones do not."""
    return etag if etag is not None and re.fullmatch(r'"[!#-~]{1,200}"', etag, re.ASCII) else None
