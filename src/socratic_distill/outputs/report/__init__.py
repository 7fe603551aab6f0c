"""A run directory as a page to read: `report.html`."""

import os
from collections.abc import Sequence
from pathlib import Path

from socratic_distill.config.log_path import is_url
from socratic_distill.config.paths import resolved
from socratic_distill.errors import ConfigError
from socratic_distill.files.durable import write_atomically
from socratic_distill.run.cloud.reading import readable

__all__ = ["write_report"]

REPORT = "report.html"
# Of the whole page; what dialogues may take is what the rest leaves.
_MOST_BYTES = 1_900_000


def write_report(
    log_paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], out: str | os.PathLike[str] | None = None
) -> Path:
    """Writes one self-contained page on one run or several side by side, under 2 MB, and gives its path.

    The page begins with a verdict in one sentence and a dialogue before and after. Then it holds the measures
    before and after with their 95 % intervals, curves with confidence bands, configs and checkpoints, and dialogues
    to read, their tokens coloured by what the teacher thinks of them. Of more dialogues than fit it shows a fixed
    draw, spread over steps and outcomes. It asks the network for nothing. A run under way can be reported; missing
    and torn files leave their parts out.

    Args:
        log_paths: directories of the runs, which may be in a store; read, not changed.
        out: file to write. None: `report.html` in the first directory.

    Raises:
        CloudExtraMissing: packages are not installed that the store needs.
        ConfigError: there is no directory, one holds no run, or `out` is a directory, or None for a run in a store.
        StorageError: the page cannot be written, or the store fails.
    """
    from socratic_distill.outputs.report.building import build

    given = [log_paths] if isinstance(log_paths, str | os.PathLike) else list(log_paths)
    names = list(dict.fromkeys(os.fspath(path) for path in given))
    if not names:
        raise ConfigError("log_paths is empty; expected the log_path of at least one run")
    if out is None and is_url(names[0]):
        raise ConfigError(f"{names[0]} is in a store, where only its run writes; give out, the file to write")
    target = Path(resolved(out)) if out is not None else Path(resolved(names[0])) / REPORT
    if target.is_dir():
        raise ConfigError(f"out={str(target)!r} is a directory; expected the file to write")
    write_atomically(target, build([readable(name) for name in names], _MOST_BYTES))
    return target
