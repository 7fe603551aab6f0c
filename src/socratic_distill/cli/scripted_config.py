"""The config that a script would train with, or that a file holds."""

import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Unpack

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.grant import Allowed
from socratic_distill.errors import ConfigError
from socratic_distill.run.directory import config_in
from socratic_distill.run.layout import config_file
from socratic_distill.service.interface import RestClient, ServiceClient

# What a script may do with a config that costs something.
_STOPS = ("train", "train_async", "evaluate", "evaluate_async", "compare", "compare_async")


@dataclass(frozen=True)
class Found:
    """A config, and the clients that it is used with.

    Attributes:
        config: the config.
        service_client: as given to `train`; None: the config names the service.
        rest_client: likewise.
    """

    config: SocraticConfig
    service_client: ServiceClient | None = None
    rest_client: RestClient | None = None


class _Stop(BaseException):
    """Ends a script where it would train; no handler of the script's own is meant to catch it."""

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.found = found


def find_config(source: Path, arguments: Sequence[str] = (), **allowed: Unpack[Allowed]) -> Found:
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
    path = config_file(source) if source.is_dir() else source
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; expected a Python script, a config.json or the directory of a run")
    return _of_script(path, arguments) if path.suffix == ".py" else Found(config_in(source, **allowed))


def _of_script(path: Path, arguments: Sequence[str]) -> Found:
    with _stopping(), _as_script(path, arguments):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except _Stop as stop:
            return stop.found
        except SystemExit as end:
            told = f"ended with exit code {end.code}"
        else:
            told = "ended"
    raise ConfigError(
        f"{path} {told} and called none of {', '.join(_STOPS)}; expected a script that trains, or the arguments "
        "with which it does"
    )


@contextmanager
def _stopping() -> Iterator[None]:
    """Has the package's public functions stop the script instead of doing something, wherever it imports them from."""
    import socratic_distill

    functions = {name: getattr(socratic_distill, name) for name in _STOPS}
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == socratic_distill.__name__]
    places = [(one, name) for one in modules for name in _STOPS if vars(one).get(name) is functions[name]]
    try:
        for module, name in places:
            setattr(module, name, _stop_in(name))
        yield
    finally:
        for module, name in places:
            setattr(module, name, functions[name])


def _stop_in(name: str) -> Callable[..., NoReturn]:
    def stop(config: SocraticConfig, *_: Any, **options: Any) -> NoReturn:
        raise _Stop(Found(config, options.get("service_client"), options.get("rest_client")))

    stop.__name__ = name
    return stop


@contextmanager
def _as_script(path: Path, arguments: Sequence[str]) -> Iterator[None]:
    """What a script finds in `sys`."""
    argv, paths = sys.argv, sys.path
    sys.argv, sys.path = [str(path), *arguments], [str(path.resolve().parent), *paths]
    try:
        yield
    finally:
        sys.argv, sys.path = argv, paths
