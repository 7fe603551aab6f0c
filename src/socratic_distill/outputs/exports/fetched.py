"""Fetches the tutor of a run from its service: a temporary export there, downloaded, checked and deleted again."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

from socratic_distill.config.config import SocraticConfig
from socratic_distill.errors import CheckpointNotFound, ConfigError, DownloadError, SocraticError, UnsupportedServer
from socratic_distill.outputs.exports.adapter_files import (
    ADAPTER_WEIGHTS,
    MOST_TEXT_BYTES,
    check_adapter,
    choose_files,
)
from socratic_distill.outputs.exports.tutors import SavedTutor
from socratic_distill.outputs.exports.unfinished import Unfinished, unfinished
from socratic_distill.service import connect
from socratic_distill.service.connect import Service, begin_session, is_gone
from socratic_distill.service.downloads import Download, Patience, StoredFile, store_client
from socratic_distill.service.external_weights import ExternalRest, ExternalWeights, save_external
from socratic_distill.service.interface import RestClient, ServiceClient
from socratic_distill.service.waiting import in_thread, shielded
from socratic_distill.service.watched import Watch
from socratic_distill.text import get_logger, shortened

_log = get_logger(__name__)
_CLOSING_SECONDS = 10.0
PATIENCE = Patience()


class DownloadProgress(Protocol):
    """Shows how far an export is."""

    def say(self, line: str) -> None:
        """Shows a line.

        Args:
            line: what happens next.
        """
        ...

    def downloaded(self, name: str, done: int, total: int | None) -> None:
        """So much of a file is there.

        Args:
            name: the file.
            done: bytes.
            total: bytes of the whole file; None where the store does not say.
        """
        ...


class LoggedProgress:
    """Writes the lines to the log, and no figures."""

    def say(self, line: str) -> None:
        """Logs a line."""
        _log.info("%s", line)

    def downloaded(self, name: str, done: int, total: int | None) -> None:
        """Shows nothing."""


@dataclass
class Fetch:
    """Fetches a tutor.

    Attributes:
        config: of the run; its base_url says which service.
        out: directory to write.
        progress: is called as the download goes on.
        clients: of the service; None: opened, and closed, here.
    """

    config: SocraticConfig
    out: Path
    progress: DownloadProgress
    clients: Service | None = None

    async def run(self, tutors: Sequence[SavedTutor]) -> tuple[SavedTutor, str]:
        """Writes the first of some tutors that the service still has.

        Args:
            tutors: training states, the best first.

        Returns:
            The tutor, and the name of its base model.

        Raises:
            SocraticError: as `export_adapter`.
        """
        service = self.clients or await in_thread(connect.open_service, self.config)
        async with Watch(self.config.answer_timeout_seconds, self.progress.say) as watch:
            watched = Service(watch.watched(service.client), watch.watched(service.rest))
            tutor = await self._first_held(tutors, watched.rest)
            with unfinished(self.out, tutor.path) as left:
                await self._fetch(tutor, left, service, watched)
                return tutor, self._base_model(left)

    async def _first_held(self, tutors: Sequence[SavedTutor], rest: RestClient | None) -> SavedTutor:
        for tutor in tutors:
            if not await is_gone(rest, tutor.path):
                return tutor
            _log.warning("%s (%s) is gone from the service", tutor.path, tutor.when)
        raise CheckpointNotFound(f"{_named(tutors)} gone from the service; nothing is left to export")

    async def _fetch(self, tutor: SavedTutor, left: Unfinished, service: Service, watched: Service) -> None:
        external = None
        try:
            external, is_same = await self._external(tutor, left, service, watched)
            await self._download(external, left, is_same)
            check_adapter(left.files, self._base_model(left), DownloadError)
            left.finish()
        except asyncio.CancelledError:
            message = self._how_to_go_on(left)
            left.discard_if_empty()
            raise asyncio.CancelledError(message) from None
        except SocraticError as error:
            if isinstance(error, UnsupportedServer) or (isinstance(error, DownloadError) and not error.can_resume):
                left.discard()
                if external is not None:
                    await external.delete()
            elif left.external_path is not None:
                _log.warning("%s", self._how_to_go_on(left))
            else:
                left.discard_if_empty()
            raise
        try:
            await shielded(external.delete())
        except asyncio.CancelledError:
            raise asyncio.CancelledError(f"stopped; {self.out} is complete") from None

    async def _external(
        self, tutor: SavedTutor, left: Unfinished, service: Service, watched: Service
    ) -> tuple[ExternalWeights, bool]:
        """The weights to download, and whether they are those of which parts are there already."""
        rest = cast(ExternalRest, watched.rest)
        if left.external_path is not None:
            external = ExternalWeights(rest, left.external_path)
            try:
                await external.names()
            except CheckpointNotFound:
                left.external_path = None
            else:
                self.progress.say(f"going on with the download of the tutor {tutor.when} ({_title(tutor)})")
                return external, True
        self.progress.say(
            f"exporting the tutor {tutor.when} ({_title(tutor)}); this starts a training session of the service on "
            f"{self.config.tutor_model_name}"
        )
        left.external_path, left.base_model = await self._save(tutor, service, watched)
        left.save()
        return ExternalWeights(rest, left.external_path), False

    async def _save(self, tutor: SavedTutor, service: Service, watched: Service) -> tuple[str, str | None]:
        await in_thread(begin_session, service.client, self.config)
        status: Literal["success", "errored"] = "errored"
        try:
            saved = await save_external(watched.client, tutor.path, self._server)
            status = "success"
            return saved
        finally:
            if self.clients is None:
                await _close(service.client, status)

    async def _download(self, external: ExternalWeights, left: Unfinished, is_same: bool) -> None:
        names = await external.names()
        try:
            chosen = choose_files(names)
        except ValueError as error:
            raise DownloadError(f"what the service gives for {external.path} is not taken: {error}") from error
        if others := sorted(set(names) - set(chosen)):
            self.progress.say(f"not taken, no part of an adapter: {shortened(', '.join(others), 200)}")
        left.keep_only(chosen)
        async with store_client(PATIENCE) as client:
            for name in chosen:
                await self._one(name, external, left, is_same).run(client)

    def _one(self, name: str, external: ExternalWeights, left: Unfinished, is_same: bool) -> Download:
        def note(stored: StoredFile) -> None:
            left.stored[name] = stored
            left.save()

        return Download(
            name,
            left.files / name,
            sign=lambda fresh: external.url(name, fresh),
            keep_alive=external.keep_alive,
            note=note,
            progress=lambda done, total: self.progress.downloaded(name, done, total),
            stored=left.stored.get(name, StoredFile()),
            is_same=is_same,
            most=None if name == ADAPTER_WEIGHTS else MOST_TEXT_BYTES,
            patience=PATIENCE,
        )

    def _base_model(self, left: Unfinished) -> str:
        return left.base_model or self.config.tutor_model_name

    def _how_to_go_on(self, left: Unfinished) -> str:
        if left.external_path is None:
            return f"stopped; nothing of {self.out} was downloaded"
        return (
            f"stopped; what was downloaded is in {left.path}. Give the same command again to go on: the service keeps "
            f"the weights for an hour, as {left.external_path}"
        )

    @property
    def _server(self) -> str:
        url = self.config.base_url
        return "the service" if url is None else f"the server base_url={url!r}"


def given_service(service_client: ServiceClient | None, rest_client: RestClient | None) -> Service | None:
    """The clients that a user gave; None without any.

    Raises:
        ConfigError: one of the two is missing.
    """
    if service_client is None and rest_client is None:
        return None
    if service_client is None or rest_client is None:
        raise ConfigError("an export needs both clients; give service_client and rest_client, or neither")
    return Service(service_client, rest_client)


def _title(tutor: SavedTutor) -> str:
    return f"checkpoint {tutor.record.name!r}, {tutor.path}"


def _named(tutors: Sequence[SavedTutor]) -> str:
    return f"{tutors[0].path} is" if len(tutors) == 1 else f"all {len(tutors)} training states are"


async def _close(client: ServiceClient, status: str) -> None:
    """Ends the session of a client that was opened here; one that does not end is left to the service."""
    if (close := getattr(client, "close", None)) is not None:
        with suppress(Exception):
            await asyncio.wait_for(close(status), _CLOSING_SECONDS)
