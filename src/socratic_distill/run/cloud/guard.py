"""A REST client that deletes nothing which the run in the store still counts on."""

import asyncio
from typing import Any

from socratic_distill.run.cloud.mirror import Mirror
from socratic_distill.service.interface import RestClient


class CarefulRestClient:
    """A Tinker REST client whose deletions wait until the records that do without what is deleted are durable.

    Else a machine that is lost between the two would leave a journal whose newest state is gone.
    """

    def __init__(self, rest: RestClient, mirror: Mirror) -> None:
        """Takes the client that carries the calls out."""
        self._rest = rest
        self._mirror = mirror

    def __getattr__(self, name: str) -> Any:
        """Every other call."""
        return getattr(self._rest, name)

    async def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> object:
        """Deletes a checkpoint.

        Args:
            tinker_path: its path on the service.

        Raises:
            StorageError: what replaces it could not be made durable; it is not deleted.
        """
        await asyncio.to_thread(self._mirror.wait)
        return await self._rest.delete_checkpoint_from_tinker_path(tinker_path)
