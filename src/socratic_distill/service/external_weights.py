"""Weights that a service holds for download, for a limited time.

Sampler weights cannot be downloaded. A training client is opened on a training state, saves its weights in a format for
other programs, and the service signs a URL for each file.
"""

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from socratic_distill.errors import CheckpointNotFound, DownloadError, ServiceError, UnsupportedServer
from socratic_distill.service.failures import failure, is_missing, status_of
from socratic_distill.service.interface import ServiceClient, TrainingClient
from socratic_distill.service.signed_urls import keep_secret
from socratic_distill.text import get_logger

_log = get_logger(__name__)

TTL_SECONDS = 3600
"""How long the service keeps the weights; the shortest time that it allows."""
_RENEW_SECONDS = 900.0
_EXPIRY_MARGIN = timedelta(minutes=5)
_NAME = "socratic-distill-export-"
_PATH = re.compile(rf"tinker://[\w:.-]+/external_weights/{_NAME}[0-9a-f]{{16}}", re.ASCII)
# How servers answer a call that they do not have.
_NO_SUCH_CALL = (404, 405, 501)


class ExternalRest(Protocol):
    """What a REST client must offer in addition, for downloads; the SDK's does."""

    def get_external_weights_urls(self, tinker_path: str) -> Awaitable[Any]:
        """Signed URLs of the files of external weights, by name, and when they expire."""
        ...

    def set_checkpoint_ttl_from_tinker_path(self, tinker_path: str, ttl_seconds: int) -> Awaitable[object]:
        """Lets weights expire so many seconds from now."""
        ...

    def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> Awaitable[object]:
        """Deletes saved weights."""
        ...


def is_external_path(path: str) -> bool:
    """Whether a path is one of weights that this module saved; no others are ever deleted."""
    return _PATH.fullmatch(path) is not None


async def save_external(client: ServiceClient, state_path: str, server: str) -> tuple[str, str | None]:
    """Has the service write the weights of a training state for download; opens a training client on it.

    Args:
        client: a Tinker service client.
        state_path: the training state.
        server: the service's name, for messages.

    Returns:
        The path of the weights, and the name of their base model; None if the service does not say it.

    Raises:
        CheckpointNotFound: the service lacks the state.
        UnsupportedServer: the server gives no trained weights out.
        ServiceError: the service failed a call.
    """
    try:
        training = await client.create_training_client_from_state(state_path)
    except Exception as error:
        if is_missing(error):
            raise CheckpointNotFound(f"the training state {state_path} is gone from the service") from error
        raise failure(f"opening {state_path}", error) from error
    save = getattr(training, "save_weights_external", None)
    if save is None:
        raise _unsupported(server)
    try:
        path = (await save(f"{_NAME}{secrets.token_hex(8)}", ttl_seconds=TTL_SECONDS)).path
    except Exception as error:
        if status_of(error) in _NO_SUCH_CALL:
            raise _unsupported(server) from error
        raise failure(f"saving the weights of {state_path} for download", error) from error
    if not isinstance(path, str) or not is_external_path(path):
        raise ServiceError(f"the service saved the weights at {path!r}; expected tinker://…/external_weights/{_NAME}…")
    return path, _model_of(training)


def _model_of(training: TrainingClient) -> str | None:
    info = training.get_info()
    return info.model_data.model_name or info.model_name


def _unsupported(server: str) -> UnsupportedServer:
    return UnsupportedServer(
        f"{server} does not give trained weights out: it lacks the call save_weights_external, which Tinker's hosted "
        "service has. Copy the adapter from the storage of the server itself"
    )


class ExternalWeights:
    """Weights to download: their files, with URLs that are signed again in time, and their time limit.

    Attributes:
        path: at the service.
    """

    def __init__(self, rest: ExternalRest, path: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Asks for nothing yet.

        Args:
            rest: a REST client of the service.
            path: as `save_external` gives it.
            now: the time of day.
        """
        self.path = path
        self._rest, self._now = rest, now
        self._urls: dict[str, str] = {}
        self._expires = datetime.min.replace(tzinfo=UTC)
        self._renewed = -float("inf")

    async def names(self) -> list[str]:
        """The names of the files, as the service gives them.

        Raises:
            CheckpointNotFound: the weights expired at the service, or were deleted.
            ServiceError: the service failed the call.
        """
        await self._sign()
        return list(self._urls)

    async def url(self, name: str, fresh: bool) -> str:
        """The URL of a file, valid for some minutes.

        Args:
            name: the file.
            fresh: sign it again in any case.

        Raises:
            CheckpointNotFound: the weights expired at the service, or were deleted.
            DownloadError: the service no longer has the file.
            ServiceError: the service failed the call.
        """
        if fresh or self._now() + _EXPIRY_MARGIN >= self._expires:
            await self._sign()
        if name not in self._urls:
            raise DownloadError(f"the service no longer has the file {name!r} of {self.path}")
        return self._urls[name]

    async def keep_alive(self) -> None:
        """Renews the time limit of the weights, every quarter of an hour; a failure is logged and tried again."""
        if time.monotonic() - self._renewed < _RENEW_SECONDS:
            return
        self._renewed = time.monotonic()
        try:
            await self._rest.set_checkpoint_ttl_from_tinker_path(self.path, ttl_seconds=TTL_SECONDS)
        except Exception as error:
            _log.warning("%s", failure(f"keeping {self.path} for another hour", error))

    async def delete(self) -> None:
        """Deletes the weights at the service; a failure is logged."""
        try:
            await self._rest.delete_checkpoint_from_tinker_path(self.path)
        except Exception as error:
            if not is_missing(error):
                reason = failure("deleting it", error)
                _log.warning(
                    "%s is still on the service, which deletes it by itself within an hour: %s", self.path, reason
                )

    async def _sign(self) -> None:
        try:
            answer = await self._rest.get_external_weights_urls(self.path)
        except Exception as error:
            if is_missing(error):
                raise CheckpointNotFound(f"{self.path} is gone from the service") from error
            raise failure(f"signing the URLs of {self.path}", error) from error
        urls, expires = answer.urls, answer.expires  # other clients than the SDK's may not check what a server sends
        if not isinstance(urls, dict) or not all(isinstance(text, str) for pair in urls.items() for text in pair):
            raise DownloadError(f"the service names no files of {self.path}; expected a URL for each")
        for url in urls.values():
            keep_secret(url)
        self._urls = dict(urls)
        # Without a time each request is signed anew.
        self._expires = expires if isinstance(expires, datetime) else self._now()
        if self._expires.tzinfo is None:
            self._expires = self._expires.replace(tzinfo=UTC)
        await self.keep_alive()
