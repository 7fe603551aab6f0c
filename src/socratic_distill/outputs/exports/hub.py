"""Pushes an exported directory to a model hub: what goes where is said first, and checked before anything is sent.

The token is the hub's own: of `hf auth login`, or HF_TOKEN. HF_ENDPOINT names another hub.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from socratic_distill.errors import HubError, HubExtraMissing
from socratic_distill.files.extras import how_to_install

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?:{_PART}/)?{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")
_STEP = 1000
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Destination:
    """Where an export goes.

    Attributes:
        repository: "owner/name"; of a dry run the name alone if no owner was given.
        is_private: whether a new repository is seen by its owner alone.
        revision: branch; it is made if it is not there.
        endpoint: URL of the hub.
        is_new: whether the repository is to be made; None if the hub was not asked.
    """

    repository: str
    is_private: bool
    revision: str
    endpoint: str
    is_new: bool | None = None

    def __str__(self) -> str:
        """What is meant, for people."""
        kind = "private" if self.is_private else "public"
        news = {True: f"a new {kind} repository", False: "a repository that exists", None: kind}[self.is_new]
        return f"{self.endpoint}/{self.repository} ({news}, branch {self.revision})"


def choose_destination(repository: str, *, private: bool = True, revision: str | None = None) -> Destination:
    """The destination of a dry run: its name is checked, and nothing is asked of the hub.

    Args:
        repository: "owner/name", or "name" for the owner of the token.
        private: whether a new repository is seen by its owner alone.
        revision: branch. None: main.

    Raises:
        HubError: the name is none that a hub takes.
        HubExtraMissing: the `hub` extra is not installed.
    """
    if find_spec("huggingface_hub") is None:
        raise HubExtraMissing(f"pushing needs huggingface_hub, not installed here. {how_to_install('hub')}")
    from huggingface_hub import constants

    is_plain = "--" not in repository and ".." not in repository and not repository.endswith(".git")
    if not _NAME.fullmatch(repository) or not is_plain:
        raise HubError(
            f"{repository!r} is no name of a repository on a model hub; expected owner/name, such as "
            "ada/socratic-tutor, of letters, digits, '-', '_' and '.'"
        )
    branch = "main" if revision is None else revision
    if not _REVISION.fullmatch(branch) or ".." in branch or branch.endswith("/"):
        raise HubError(f"{branch!r} is no name of a branch; expected one such as main or v2")
    return Destination(repository, private, branch, constants.ENDPOINT.rstrip("/"))


def check_destination(destination: Destination) -> Destination:
    """Asks the hub who the token's owner is and what is at the destination; nothing is changed there.

    Args:
        destination: as `choose_destination` gave it.

    Returns:
        The same with the owner's name, and whether the repository is new.

    Raises:
        HubError: nobody is logged in, the token may not write there, a repository of that name is public though a
            private one was asked for, or the hub cannot be reached.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    hub = _hub(destination)
    user = _asking(destination, hub.whoami)
    owner, _, name = destination.repository.rpartition("/")
    owner = owner or user["name"]
    role = ((user.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise HubError(
            f"the token of {user['name']} may only read; log in with one that may write (hf auth login, or HF_TOKEN)"
        )
    owners = [user["name"], *(organisation["name"] for organisation in user.get("orgs") or ())]
    if owner not in owners:
        raise HubError(
            f"the token of {user['name']} may not write to {owner!r}; expected {' or '.join(owners)} before the slash"
        )
    repository, is_private, is_new = f"{owner}/{name}", destination.is_private, False
    try:
        is_private = bool(_asking(destination, lambda: hub.model_info(repository)).private)
    except RepositoryNotFoundError:
        is_new = True
    if destination.is_private and not is_private:
        raise HubError(
            f"{destination.endpoint}/{repository} exists and is public: everyone would see the tutor. Give --public if "
            "that is meant, or another name"
        )
    return Destination(repository, is_private, destination.revision, destination.endpoint, is_new)


def described(directory: Path, destination: Destination) -> str:
    """What a push sends and where, a line for each file.

    Args:
        directory: an export.
        destination: where it goes.

    Raises:
        HubError: there are no files, or an entry is neither a file nor a directory.
    """
    files = _files(directory)
    lines = [f"  {path.relative_to(directory).as_posix()}  {_size(path.stat().st_size)}" for path in files]
    total = _size(sum(path.stat().st_size for path in files))
    return "\n".join([f"{len(files)} files of {total} from {directory} to {destination}:", *lines])


def push(directory: Path, destination: Destination, say: Callable[[str], None] = lambda text: None) -> str:
    """Uploads an exported directory, in one commit.

    Args:
        directory: an export.
        destination: as `check_destination` gave it.
        say: is called with a line on what is sent, before it is.

    Returns:
        URL of the commit.

    Raises:
        HubError: the hub refused a request, or cannot be reached. The same call sends what is missing.
    """
    say(described(directory, destination))
    hub, repository, revision = _hub(destination), destination.repository, destination.revision
    kind: dict[str, Any] = {"private": destination.is_private}
    _asking(destination, lambda: hub.create_repo(repository, exist_ok=True, **kind))
    if revision != "main":
        _asking(destination, lambda: hub.create_branch(repository, branch=revision, exist_ok=True))
    message = "A tutor of socratic-distill"
    names = [path.relative_to(directory).as_posix() for path in _files(directory)]
    commit = _asking(
        destination,
        lambda: hub.upload_folder(
            repo_id=repository,
            folder_path=directory,
            revision=revision,
            commit_message=message,
            allow_patterns=[re.sub(r"([*?[])", r"[\1]", name) for name in names],
        ),
    )
    return str(commit.commit_url)


def _files(directory: Path) -> list[Path]:
    entries = sorted(directory.rglob("*"))
    # A link would send what it leads to.
    if strange := [entry for entry in entries if entry.is_symlink() or not (entry.is_file() or entry.is_dir())]:
        raise HubError(f"{strange[0]} is a link or no file, and is not sent; push a directory that was just exported")
    files = [entry for entry in entries if entry.is_file()]
    if not files:
        raise HubError(f"{directory} holds no files; push a directory that was just exported")
    return files


def _hub(destination: Destination) -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=destination.endpoint, library_name="socratic-distill")


def _asking(destination: Destination, request: Callable[[], Any]) -> Any:
    """The answer to a request.

    Raises:
        HubError: there is none, or a refusal.
        RepositoryNotFoundError: the hub has no such repository.
    """
    from huggingface_hub import errors

    try:
        return request()
    except errors.LocalTokenNotFoundError:
        raise HubError(
            "nobody is logged in to the model hub; log in with: hf auth login, or set HF_TOKEN to a token that may "
            "write"
        ) from None
    except errors.RepositoryNotFoundError as error:
        if error.response.status_code == 401:
            raise HubError(_REFUSED[401].format(destination.endpoint)) from None
        raise
    except (_client_errors(), OSError, RuntimeError) as error:
        if isinstance(error, errors.OfflineModeIsEnabled):
            raise HubError("HF_HUB_OFFLINE is set, so nothing is sent; unset it to push") from None
        # An upload of a large file that fails is a RuntimeError; the reason is its cause.
        reason = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(reason, errors.HfHubHTTPError):
            raise HubError(_refusal(destination, reason)) from error
        raise HubError(
            f"{destination.endpoint} cannot be reached: {reason}. The export is kept; push it again later"
        ) from error


def _refusal(destination: Destination, error: Any) -> str:
    status = error.response.status_code
    said = _REFUSED.get(status, f"{{}} answered with status {status}; try again later").format(destination.endpoint)
    return f"{said}. The hub says: {error.server_message or 'nothing'}"


def _client_errors() -> type[Exception]:
    """The errors of the HTTP client that huggingface_hub has; which client that is depends on its version."""
    from huggingface_hub import errors

    return errors.HTTPError  # pyright: ignore[reportPrivateImportUsage]


def _size(count: int) -> str:
    size = float(count)
    for unit in _UNITS[:-1]:
        if size < _STEP:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.1f} {_UNITS[-1]}"


_REFUSED = {
    401: "{} does not know the token; log in again with: hf auth login, or mend HF_TOKEN",
    403: "{} does not let this token write there; take one that may write, or another owner",
    409: "{} has changed meanwhile; push again",
    413: "{} has no room for these files",
    429: "{} takes no more requests for now; try again later",
}
