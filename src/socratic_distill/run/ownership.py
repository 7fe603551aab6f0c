"""Which saves a run directory made itself. Nothing else is ever deleted."""

from pathlib import Path

from socratic_distill.errors import DamagedWeights
from socratic_distill.local.saved_paths import STORE, own_weights, read_facts
from socratic_distill.run.identity import Identity
from socratic_distill.service.failures import failure, is_missing
from socratic_distill.service.interface import RestClient
from socratic_distill.service.paths import spellings


class Ownership:
    """Tells whether a save is a run directory's own: by the run's id that it carries, or by lying in its own store.

    A journal proves nothing: it may be copied, or written by anybody.
    """

    def __init__(self, directory: Path, identity: Identity, rest: RestClient) -> None:
        """Asks nothing yet.

        Args:
            directory: the run directory.
            identity: whose run it holds.
            rest: a Tinker REST client.
        """
        self._directory = directory
        self._identity = identity
        self._rest = rest
        self._listed: dict[str, dict[str, str | None]] = {}  # by server run: the run's id by path

    async def owns(self, path: str) -> bool:
        """Whether the directory made a save itself; False where nothing tells.

        Args:
            path: of a state or of sampler weights, as a journal names it.

        Raises:
            ServiceError: the service failed a call.
        """
        if "://" not in path:
            return self._is_in_store(path)
        server_run = path.partition("://")[2].split("/")[0]
        listed = await self._list(server_run)
        known = [listed[spelling] for spelling in spellings(path) if spelling in listed]
        return any(self._is_own_id(run_id, server_run) for run_id in known)

    def _is_in_store(self, path: str) -> bool:
        """Whether weights lie in the directory's own store, or carry its id where the store is a link to elsewhere."""
        own = own_weights(self._directory / STORE, path)
        if own is None:
            return False
        if own.resolve().is_relative_to(self._directory.resolve()):
            return True
        try:
            metadata = read_facts(own).get("user_metadata")
        except DamagedWeights:
            return False
        return isinstance(metadata, dict) and metadata.get("run_id") in self._identity.owned

    def _is_own_id(self, run_id: str | None, server_run: str) -> bool:
        return (server_run if run_id is None else run_id) in self._identity.owned

    async def _list(self, server_run: str) -> dict[str, str | None]:
        """The saves of a server run, each with the run's id that it carries."""
        if server_run not in self._listed:
            try:
                listed = (await self._rest.list_checkpoints(server_run)).checkpoints
            except Exception as error:
                if not is_missing(error):
                    raise failure(f"listing the saves of {server_run}", error) from error
                listed = []
            ids = {checkpoint.tinker_path: (checkpoint.user_metadata or {}).get("run_id") for checkpoint in listed}
            self._listed[server_run] = {way: run_id for path, run_id in ids.items() for way in spellings(path)}
        return self._listed[server_run]
