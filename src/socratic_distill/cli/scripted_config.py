"""The config that a script would train with, or that a file or a run holds."""

import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

from socratic_distill.config.grant import Allowed
from socratic_distill.config.log_path import is_url
from socratic_distill.errors import ConfigError
from socratic_distill.run.finding import check_run
from socratic_distill.run.given_config import given_config
from socratic_distill.service.handover import Handover, looking


def find_config(source: str | Path, arguments: Sequence[str] = (), **allowed: Unpack[Allowed]) -> Handover:
    """The config of a script, a config file, or a run.

    A script is run as Python runs it, up to its first call of `train`, `evaluate` or `compare` (or their async twins),
    which is not carried out.

    Args:
        source: the script, the file, or the run's directory or URL.
        arguments: the script's arguments; of a file or a run, `key=value` overrides.
        **allowed: as for `load_config`; a script has its own say.

    Raises:
        UntrustedConfig: the log_path in a config file is outside its directory, and files are not allowed.
        ConfigError: there is no such file, it cannot be read, or the script calls none of these.
    """
    path = Path(source)
    if not is_url(source) and not path.is_file():
        check_run(path, expected="a config file, the directory of a run or a Python script")
    if is_url(source) or path.is_dir() or path.suffix != ".py":
        return Handover(given_config(source, arguments, **allowed))
    return _of_script(path, arguments)


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
