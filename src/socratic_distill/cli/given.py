"""What `train`, `check` and `cost` are given: a config file or a run, `key=value` overrides and options."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from socratic_distill.cli.options import add_options, allowed
from socratic_distill.config.known_servers import remember_server
from socratic_distill.config.log_path import given_path, is_url
from socratic_distill.errors import ConfigError

if TYPE_CHECKING:
    from socratic_distill.service.handover import Handover

CONFIG_HELP = "a config file (.yaml, .toml or .json), or the directory of a run"
SCRIPT_HELP = "; or a Python script, which runs up to its first call of train, evaluate or compare"


def add_given(parser: argparse.ArgumentParser, *options: str, with_script: bool) -> None:
    """Adds CONFIG, the overrides after it, and options of trust.

    Args:
        parser: the command's.
        *options: as for `add_options`.
        with_script: whether CONFIG may be a Python script, whose arguments follow it.
    """
    parser.add_argument(
        "source", type=given_path, metavar="CONFIG", help=CONFIG_HELP + (SCRIPT_HELP if with_script else "")
    )
    # Everything after CONFIG, since argparse takes no positional arguments after an option.
    parser.add_argument(
        "rest",
        nargs=argparse.REMAINDER,
        metavar="key=value",
        help="fields to set, such as max_steps=20 or objective.beta=0.3; values are read as YAML"
        + ("; of a script, its arguments" if with_script else ""),
    )
    add_options(parser, *options)
    parser.set_defaults(parser=parser, options=options, with_script=with_script)


def handed_over(parsed: argparse.Namespace) -> "Handover":
    """The config that a command was given; of a script, also the service.

    Options after CONFIG are put into `parsed`. A server that an override names is remembered, as that of --base-url.
    With --allow-code, reward and loss functions may be in modules next to a config file.

    Raises:
        ConfigError: there is no such file, or it is invalid; all problems are listed, each with its place.
        UntrustedConfig: the file's `log_path` is outside the file's directory, and files are not allowed.
    """
    from socratic_distill.cli.scripted_config import find_config

    if _is_script(parsed.source):
        if not parsed.with_script:
            raise ConfigError(f"{parsed.source} is a Python script; run it with python, or give {CONFIG_HELP}")
        return find_config(parsed.source, parsed.rest, **allowed(parsed))
    overrides = _parse_rest(parsed)
    handover = find_config(parsed.source, overrides, **allowed(parsed))
    url = handover.config.base_url
    if "base_url" in parsed.options and url and any(text.startswith("base_url=") for text in overrides):
        remember_server(url)
    if getattr(parsed, "allow_code", None):
        directory = parsed.source if Path(parsed.source).is_dir() else Path(parsed.source).parent
        sys.path.insert(0, str(Path(directory).resolve()))
    return handover


def _is_script(source: str | Path) -> bool:
    return not is_url(source) and Path(source).suffix == ".py" and not Path(source).is_dir()


def _parse_rest(parsed: argparse.Namespace) -> Sequence[str]:
    """The overrides; options among them are put into `parsed`."""
    if {"-h", "--help"} & set(parsed.rest):
        parsed.parser.print_help()
        raise SystemExit(0)
    parser = type(parsed.parser)(parsed.parser.prog, usage=parsed.parser.usage, add_help=False)
    parser.add_argument("overrides", nargs="*")
    if hasattr(parsed, "past"):
        parser.add_argument("--past", type=given_path)
    if hasattr(parsed, "actual"):
        parser.add_argument("--actual", action="store_true")
    add_options(parser, *parsed.options)
    given = vars(parser.parse_intermixed_args(parsed.rest))
    vars(parsed).update({name: value for name, value in given.items() if value})
    return given["overrides"]
