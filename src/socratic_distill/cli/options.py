"""Options that several commands take: what the user allows a run directory to ask for."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from socratic_distill.errors import ConfigError

if TYPE_CHECKING:
    from socratic_distill.config.grant import Allowed, Grant

    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


# Tutors of the run itself; the number of a batch is one too.
_OWN_TUTORS = ("base", "teacher", "final")


def add_options(parser: Any, *options: str) -> None:
    """Adds the options that a command on a run directory takes.

    Args:
        parser: the command's.
        *options: of "base_url", "files" and "code".
    """
    group = parser.add_argument_group(
        "trust", "A run directory is data: what its config.json asks for beyond itself needs your word."
    )
    if "base_url" in options:
        group.add_argument(
            "--base-url",
            metavar="URL",
            help="server that requests and the key may go to; remembered for later commands, on any directory",
        )
        group.add_argument(
            "--allow-server",
            metavar="URL",
            action="append",
            help="another server that requests and their key may go to, of a student or a judge; remembered likewise",
        )
    if "files" in options:
        group.add_argument(
            "--allow-files",
            action="store_true",
            default=None,
            help="read files that it names outside the directory; ask a hub",
        )
    if "code" in options:
        group.add_argument(
            "--allow-code",
            action="store_true",
            default=None,
            help="run code that it names: functions of seeds, rewards and losses, models' own code",
        )


def allowed(parsed: argparse.Namespace) -> "Allowed":
    """What the user allows, as the library takes it; a server that is named is remembered.

    Raises:
        ConfigError: --base-url or --allow-server is not the URL of a server.
    """
    from socratic_distill.config.known_servers import origin, remember_server

    url, others = getattr(parsed, "base_url", None), getattr(parsed, "allow_server", None) or []
    for option, server in [("--base-url", url), *(("--allow-server", other) for other in others)]:
        if server is None:
            continue
        if origin(server) is None:
            raise ConfigError(
                f"{option} {server!r} is not the URL of a server; expected one such as http://gpu-box:8000"
            )
        remember_server(server)
    return {
        "base_url": url,
        "allow_files": bool(getattr(parsed, "allow_files", None)),
        "allow_code": bool(getattr(parsed, "allow_code", None)),
        "allow_servers": tuple(others),
    }


def with_named(grant: "Grant | None", parsed: argparse.Namespace) -> "Grant | None":
    """The grant, extended by the models that --tutor and --judge name: the user's word is in the command itself."""
    if grant is None:
        return None
    named = {name for name in parsed.tutor or () if name not in _OWN_TUTORS and not name.isdecimal()}
    return replace(grant, named=frozenset(named | ({parsed.judge} - {None})))
