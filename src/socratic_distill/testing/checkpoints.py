"""Saved weights by path: names, kinds and expiry, over a store."""

from collections.abc import Callable

from tinker.types import ParsedCheckpointTinkerPath

from socratic_distill.in_process import expiry, status_error
from socratic_distill.testing.store import Arrays, Header, Kind, RunInfo, Store, expiring

_KINDS: dict[str, Kind] = {"training": "weights", "sampler": "sampler_weights"}
_USES: dict[Kind, str] = {"weights": "trained from", "sampler_weights": "sampled from"}


class Checkpoints:
    """The checkpoints of all server runs that a store keeps."""

    def __init__(self, store: Store, now: Callable[[], float], keeps_expiry: bool = True) -> None:
        """Reads through the store; keeps nothing of its own.

        Args:
            store: keeps them.
            now: gives the time in seconds since the epoch.
            keeps_expiry: whether it keeps TTLs and metadata, rather than weights for ever and nothing said of them.
        """
        self._store = store
        self._now = now
        self._keeps_expiry = keeps_expiry

    def save(
        self,
        info: RunInfo,
        kind: Kind,
        name: str,
        arrays: Arrays,
        ttl_seconds: int | None,
        user_metadata: dict[str, str] | None,
        overwrite: bool = False,
    ) -> Header:
        """Keeps arrays under a name of the server run.

        Raises:
            tinker.ConflictError: the name is taken and `overwrite` is not set.
            tinker.BadRequestError: a name that cannot stand in a path, a TTL outside one hour to ten
                years, or metadata that are no strings.
        """
        if not name or "/" in name:
            raise status_error(400, f"checkpoint name {name!r} must not be empty and holds no '/'")
        if any(not isinstance(value, str) for value in (user_metadata or {}).values()):
            raise status_error(400, f"user_metadata values must be strings, given was {user_metadata!r}")
        size = sum(array.nbytes for array in arrays.values())
        now = self._now()
        expires = expiry(now, ttl_seconds)
        facts = (expires, user_metadata) if self._keeps_expiry else (None, None)
        header = Header(info, kind, name, now, size, *facts)
        if not overwrite and self._kept(header.path) is not None:
            raise status_error(409, f"{header.path} exists already")
        self._store.put(header, arrays)
        return header

    def load(self, path: str, kind: Kind) -> tuple[Header, Arrays]:
        """A checkpoint of one kind by its path.

        Raises:
            tinker.NotFoundError: there is none, or it has expired.
            tinker.BadRequestError: the path is of another kind, or malformed.
        """
        wanted = parse(path)
        if wanted != kind:
            raise status_error(400, f"{path} is of kind {wanted!r} and cannot be {_USES[kind]}")
        header = self.find(path)
        return header, self._store.arrays(header)

    def find(self, path: str) -> Header:
        """A checkpoint's header by its path; raises as `load`."""
        parse(path)
        header = self._kept(path)
        if header is None:
            raise status_error(404, f"there is no checkpoint {path}")
        return header

    def delete(self, path: str) -> None:
        """Forgets a checkpoint; raises as `find`."""
        self._store.remove(self.find(path))

    def set_ttl(self, path: str, ttl_seconds: int | None) -> None:
        """Lets a checkpoint expire `ttl_seconds` from now, None never; raises as `find`."""
        header = self.find(path)
        if not self._keeps_expiry:
            return
        self._store.put(expiring(header, expiry(self._now(), ttl_seconds)), self._store.arrays(header))

    def all(self, run: str | None = None) -> list[Header]:
        """Every checkpoint, or those of one server run, that has not expired, the oldest first."""
        return [header for header in self._store.headers(run) if not self._is_expired(header)]

    def run(self, run: str) -> RunInfo:
        """A server run by its id.

        Raises:
            tinker.NotFoundError: there is none.
        """
        info = self._store.run(run)
        if info is None:
            raise status_error(404, f"there is no training run {run!r}")
        return info

    def _kept(self, path: str) -> Header | None:
        header = self._store.header(path)
        return None if header is None or self._is_expired(header) else header

    def _is_expired(self, header: Header) -> bool:
        return header.expires is not None and header.expires <= self._now()


def parse(path: str) -> Kind:
    """The kind of checkpoint that a path names.

    Raises:
        tinker.BadRequestError: it is not `tinker://<server run>/weights|sampler_weights/<name>`.
    """
    try:
        kind = _KINDS.get(ParsedCheckpointTinkerPath.from_tinker_path(path).checkpoint_type)
    except ValueError:
        kind = None
    if kind is None:
        raise status_error(400, f"{path!r} is not of the form tinker://<server run>/weights|sampler_weights/<name>")
    return kind
