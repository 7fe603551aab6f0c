"""A tutor that is served by a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_ADDRESS = re.compile(r"page to try it is (http://127\.0\.0\.1:\d+)/")


@contextmanager
def served(run: Path, *options: str, log: Path, command: Sequence[str] = ("serve",)) -> Iterator[str]:
    """The address of a server on a run's tutor; it is stopped as by Ctrl-C, and must end well.

    Args:
        run: directory of the run.
        *options: of the command.
        log: file for what it prints.
        command: the command, and options of its own.
    """
    words = [sys.executable, "-u", "-m", "socratic_distill", *command, str(run), "--port", "0", *options]
    with log.open("w") as out:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=out, text=True, env=os.environ.copy())
    assert process.stdout is not None
    try:
        address = next((match[1] for line in process.stdout if (match := _ADDRESS.search(line))), None)
        assert address is not None, log.read_text()
        yield address
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.stdout.close()
