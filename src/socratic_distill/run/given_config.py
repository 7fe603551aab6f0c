"""The config that a command is given: a config file or a run, with changes from the command line."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.documents import Document, read_document
from socratic_distill.config.given import build, named_paths
from socratic_distill.config.grant import Allowed, Grant, server_for
from socratic_distill.config.log_path import is_url
from socratic_distill.config.overrides import Override, parse_override
from socratic_distill.config.paths import STORED_AS, paths_of
from socratic_distill.config.trust import check_files
from socratic_distill.errors import ConfigError
from socratic_distill.run.directory import config_of
from socratic_distill.run.layout import BESIDE_ANOTHER, CONFIG, RUN


def given_config(
    source: str | os.PathLike[str], overrides: Sequence[str] = (), **allowed: Unpack[Allowed]
) -> SocraticConfig:
    """The config of a run, or that of a config file, with changes.

    A file is data, as a run directory is: what it asks for needs the user's word. An override is the user's word for
    its own value: it may name a server and files anywhere. Code needs `allow_code` all the same.

    Args:
        source: directory of a run, its URL, or a .yaml, .toml or .json file. Relative paths in a file are relative to
            its directory. The config.json of a run directory means that run, also after it was moved.
        overrides: `key=value` texts; relative paths in them are relative to the working directory.
        **allowed: as for `load_config`.

    Raises:
        ConfigError: it cannot be read, or has invalid values. All problems are listed, each with its place.
        UntrustedConfig: the file's `log_path` is outside the file's directory, and files are not allowed.
        StorageError: the store that the run is in fails.
    """
    changes = [parse_override(text) for text in overrides]
    path = Path(source)
    if is_url(source) or path.is_dir():
        return _of_run(source, changes, allowed)
    is_of_run = path.name in (CONFIG, BESIDE_ANOTHER) and (path.parent / RUN).is_file()
    return _of_run(path.parent, changes, allowed) if is_of_run else _of_file(path, changes, allowed)


def _of_file(path: Path, changes: Sequence[Override], allowed: Allowed) -> SocraticConfig:
    document, here, home = read_document(path), os.getcwd(), path.parent.resolve()
    config = build(document, changes, str(home), here)
    named = _named_server(config, changes, allowed)
    trusted = {"allow_files": False, "allow_code": False, **allowed, "base_url": named}
    servers = tuple(trusted.pop("allow_servers", ()))
    grant = Grant(os.fspath(path), home, **trusted, servers=servers, named=named_paths(changes, here))
    if (url := server_for(config.base_url, grant)) != config.base_url:
        config = build(document, [*changes, Override(f"base_url={url}", ("base_url",), url)], str(home), here)
    config = config.granted(grant)
    check_files(config, "log_path")
    return config


def _of_run(source: str | os.PathLike[str], changes: Sequence[Override], allowed: Allowed) -> SocraticConfig:
    config = config_of(source, **allowed)
    if not changes:
        return config
    assert config.grant is not None, "a stored config carries a grant"
    here = os.getcwd()
    stored = json.loads(config.model_dump_json()) | {STORED_AS: paths_of(config)}
    found_at = Override("log_path", ("log_path",), os.fspath(source))  # not where the stored path leads
    changed = build(Document(config.grant.source, stored), [found_at, *changes], None, here)
    named = _named_server(changed, changes, allowed)
    return changed.granted(replace(config.grant, base_url=named, named=named_paths([found_at, *changes], here)))


def _named_server(config: SocraticConfig, changes: Sequence[Override], allowed: Allowed) -> str | None:
    """The server that the user named: by --base-url, or by an override."""
    option = allowed.get("base_url")
    if not any(change.keys == ("base_url",) for change in changes):
        return option
    if option is not None:
        raise ConfigError(f"--base-url {option} and the override base_url={config.base_url} are both given; keep one")
    return None if config.base_url == "local" else config.base_url
