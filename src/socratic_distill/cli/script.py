"""How a script ends where something goes wrong: with one message and an exit code, not with a traceback."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from socratic_distill.errors import SocraticError
from socratic_distill.text import redacted, show

TRACEBACK = "SOCRATIC_TRACEBACK"
"""Environment variable; set to anything but 0, errors are shown with their traceback."""


def run_script(main: Callable[[], Any], *, with_traceback: bool | None = None) -> int:
    """Calls a script's main function; what it raises on purpose is one message on standard error.

    A line after the message says where to read about the error.

    Args:
        main: takes no arguments; an int that it gives is the exit code.
        with_traceback: whether the traceback is shown too. None: if the environment variable `SOCRATIC_TRACEBACK`
            is set, and not to 0.

    Returns:
        What to exit with: 0 done, 1 an error of this library, 130 or 143 stopped by a signal, and what an error says
        of itself in `exit_code`.

    Examples:
        >>> run_script(lambda: None)
        0
    """
    try:
        code = main()
    except SocraticError as error:
        if os.environ.get(TRACEBACK, "0") != "0" if with_traceback is None else with_traceback:
            text = "".join(traceback.format_exception(error)).rstrip("\n")
        else:
            text = f"{type(error).__name__}: {error}"
        show(redacted(f"{text}\nSee: {error.help_page}"), sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        return 130
    return code if isinstance(code, int) else 0
