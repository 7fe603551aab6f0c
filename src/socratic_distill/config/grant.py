"""What a config that was read from a file may do: a run directory is data, not a program.

People share run directories. A config that a script builds belongs to its user and may do anything. A config that was
read from a `config.json` carries a `Grant`, and each function that would act on the config checks the grant first:

| action | needs |
|---|---|
| requests to a server other than Tinker's own, which carry the key | the user named the server, now or earlier |
| reading a file outside the run directory and this package; asking a hub | `allow_files` |
| importing functions of seeds, rewards and losses; running the code of models | `allow_code` |
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict
from urllib.parse import urlsplit

from socratic_distill.config.known_servers import origin, server_root
from socratic_distill.config.paths import TINY, is_no_path, resolved
from socratic_distill.errors import ConfigError, UntrustedConfig

Files = Literal[
    "prompts", "judge", "answer_judge", "rewards", "seeds", "recordings", "load_checkpoint_path", "log_path"
]
_PACKAGE = Path(__file__).resolve().parents[1]


class Allowed(TypedDict, total=False):
    """Keywords of `load_config` and of functions that take a run directory; they are described there."""

    base_url: str | None
    allow_files: bool
    allow_code: bool
    allow_servers: Sequence[str]


@dataclass(frozen=True)
class Grant:
    """What the user allows a config that was read from a file.

    Attributes:
        source: the file, for messages.
        home: directory below which the config may name files.
        base_url: server that the user named.
        allow_files: whether other files may be read, and a model hub asked.
        allow_code: whether code that the config names may run: functions of seeds, rewards and losses, and code among
            a model's files.
        servers: other servers that the user named, for students and judges.
        named: models and weights that the user named in addition to the config; they may be read wherever they are.
    """

    source: str
    home: Path
    base_url: str | None = None
    allow_files: bool = False
    allow_code: bool = False
    servers: tuple[str, ...] = ()
    named: frozenset[str] = frozenset()

    def check_file(self, field: str, path: str) -> None:
        """Returns if a file may be read.

        Args:
            field: config field that names the file.
            path: as the config has it.

        Raises:
            UntrustedConfig: the file is neither below `home` nor part of this package, and files are not allowed.
        """
        if self.allow_files or self._is_named(path):
            return
        if not (is_tree_below(path, self.home) or is_tree_below(path, _PACKAGE)):
            if is_no_path(path):
                raise UntrustedConfig(
                    f"{self.source} names {field}={path!r}, which is on a hub or at a URL. A run directory is data: no "
                    "request is sent for it. If you trust it, give --allow-files (in Python allow_files=True)"
                )
            raise UntrustedConfig(
                f"{self.source} names the file {field}={path!r}, which is outside {str(self.home)!r}. A run directory "
                "is data: files that it names elsewhere are not read. If you trust it, give --allow-files (in Python "
                "allow_files=True)"
            )
        if _is_special(path):
            raise UntrustedConfig(
                f"{self.source} names {field}={path!r}, which is a device or a pipe; expected a file. To read it "
                "anyway, give --allow-files (in Python allow_files=True)"
            )

    def may_load(self, path: str) -> bool:
        """Whether the local engine may load a model, or saved weights.

        Args:
            path: a directory, a file, or a name on the model hub.
        """
        if self.allow_files or self._is_named(path):
            return True
        return os.path.exists(resolved(path)) and (is_tree_below(path, self.home) or is_tree_below(path, _PACKAGE))

    def _is_named(self, path: str) -> bool:
        """Whether the user named the path, or it is the packaged model, and the config does not redirect the name."""
        plain = str(path)
        return plain in (*self.named, TINY) and os.path.abspath(resolved(path)) == os.path.abspath(resolved(plain))

    def check_model(self, name: str) -> None:
        """Returns if the local engine may load a model.

        Args:
            name: a directory, a file, or a name on the model hub.

        Raises:
            UntrustedConfig: the model is on a hub, or has files outside `home`, and files are not allowed.
        """
        # transformers loads the base model that an adapter names, wherever that is; so an adapter is not trusted.
        is_adapter = os.path.exists(os.path.join(name, "adapter_config.json")) and not self.allow_files
        if is_adapter or not self.may_load(name):
            raise UntrustedConfig(
                f"{self.source} names the model {name!r}, which is on a model hub, has files outside "
                f"{str(self.home)!r} or is an adapter. A run directory is data: files that it names elsewhere are not "
                "read. If you trust it, give --allow-files (in Python allow_files=True)"
            )

    def check_code(self, what: str) -> None:
        """Returns if code may run.

        Args:
            what: the code, for the message.

        Raises:
            UntrustedConfig: code is not allowed.
        """
        if not self.allow_code:
            raise UntrustedConfig(
                f"{self.source} asks for {what}. A run directory is data: code that it names does not run. If you "
                "trust it, give --allow-code (in Python allow_code=True)"
            )


def server_for(stored: str | None, grant: Grant) -> str | None:
    """The server to use: the one that the user named, with the config's path if both are on the same host.

    Args:
        stored: the config's `base_url`.
        grant: holds the server that the user named, if any.

    Raises:
        ConfigError: the user's URL is not that of a server, or the run is on the local engine.
    """
    if grant.base_url is None:
        return stored
    named = server_root(grant.base_url)
    if origin(named) is None:
        raise ConfigError(f"base_url={named!r} is not a server's URL; expected one such as http://gpu-box:8000")
    if stored == "local":
        raise ConfigError(
            f"base_url={named!r} is given, but the run of {grant.source} is on the local engine; leave it out"
        )
    is_same = stored is not None and origin(stored) == origin(named) and urlsplit(named).path in ("", "/")
    return stored if is_same else named


def is_below(path: str | os.PathLike[str], home: Path) -> bool:
    """Whether a path, after links and `..` are followed, is a directory or inside it; False for what is no path."""
    if is_no_path(os.fspath(path)) or "\0" in os.fspath(path):
        return False
    try:
        real, top = os.path.realpath(resolved(path)), os.path.realpath(home)
        return os.path.commonpath([real, top]) == top
    except (OSError, ValueError):  # ValueError: a lone surrogate, or another drive
        return False


def is_tree_below(path: str | os.PathLike[str], home: Path) -> bool:
    """Whether a path, and everything in it if it is a directory, is inside `home` after links are followed."""
    if not is_below(path, home):
        return False
    for folder, folders, files in os.walk(resolved(path)):
        for name in (*folders, *files):
            entry = os.path.join(folder, name)
            if os.path.islink(entry) and not is_below(entry, home):
                return False
    return True


def _is_special(path: str) -> bool:
    """Whether a path is neither a file nor a directory; reading a pipe would block forever."""
    try:
        mode = os.stat(resolved(path)).st_mode
    except (OSError, ValueError):
        return False  # the reader of the file reports the problem
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
