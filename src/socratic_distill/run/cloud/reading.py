"""A copy to read of a run that may be in a store."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from socratic_distill.config.log_path import is_url, last_folder
from socratic_distill.config.paths import resolved
from socratic_distill.run.cloud.fetching import fetch_newest
from socratic_distill.run.cloud.patience import Patience
from socratic_distill.run.cloud.stores import FsspecStore

# Someone is waiting at a terminal.
_PATIENCE_SECONDS = 10.0


def readable(log_path: str | os.PathLike[str], wanted: Callable[[str], bool] = lambda path: True) -> Path:
    """The directory of a run, to read; of one in a store, a copy of its newest commit, which goes with the process.

    Args:
        log_path: a directory, or a URL.
        wanted: which files are copied, by their paths in the run directory.

    Raises:
        CloudExtraMissing: what the URL needs is not installed.
        StorageError: the store fails, or there is no room for the copy.
    """
    if not is_url(log_path):
        return Path(resolved(log_path))
    url = os.fspath(log_path)
    parent = tempfile.mkdtemp(prefix="socratic-distill-copy-")
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    directory = Path(parent) / last_folder(url)
    fetch_newest(FsspecStore(url), directory, Patience(_PATIENCE_SECONDS), wanted)
    return directory
