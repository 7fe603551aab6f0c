"""The config that a script would train with, or that a file holds."""

import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

from socratic_distill.config.grant import Allowed
from socratic_distill.errors import ConfigError
from socratic_distill.run.directory import config_in
from socratic_distill.run.finding import check_run
from socratic_distill.service.handover import Handover, looking


def find_config(source: Path, arguments: Sequence[str] = (), **allowed: Unpack[Allowed]) -> Handover:
    """The config of a script, a config.json, or a run directory.

    A script is run as Python runs it, up to its first call of `train`, `evaluate` or `compare` (or their async twins),
    which is not carried out.

    Args:
        source: the script, the file or the directory.
        arguments: the script's arguments.
        **allowed: as for `load_config`; a script has its own say.

    Raises:
        UntrustedConfig: the log_path in a config.json is outside its directory, and files are not allowed.
        ConfigError: there is no such file, it cannot be read, or the script calls none of these.
    """
    if not source.is_file():
        check_run(source, expected="the directory of a run, a config.json or a Python script")
    return _of_script(source, arguments) if source.suffix == ".py" else Handover(config_in(source, **allowed))


def _of_script(path: Path, arguments: Sequence[str]) -> Handover:
    ending = "ended"
    with looking() as handovers, _as_script(path, arguments):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            ending = f"ended with exit code {end.code}"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or not handovers:
                raise
    if handovers:
        return handovers[0]
    raise ConfigError(
        f"{path} {ending} and called none of train, evaluate, compare and their async twins; expected a script that "
        "trains, or the arguments with which it does"
    )


@contextmanager
def _as_script(path: Path, arguments: Sequence[str]) -> Iterator[None]:
    """What a script finds in `sys`."""
    argv, paths = sys.argv, sys.path
    sys.argv, sys.path = [str(path), *arguments], [str(path.resolve().parent), *paths]
    try:
        yield
    finally:
        sys.argv, sys.path = argv, paths
