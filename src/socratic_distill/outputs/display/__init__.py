"""Progress of a run: a live view in a terminal or a notebook, plain lines elsewhere, or nothing.

`protocol.py` says what a display is given; `plain.py`, `live.py` and `notebook.py` show something. `view.py` says what
the live ones look like, and `scenes.py` what they are drawn from: the sums in `tally.py` and the times in `pace.py`.
The glyphs are in `text.py`. `streams.py` keeps its place in the terminal whole when other code writes there.
"""

import sys
from contextlib import suppress
from typing import Literal

from rich.console import Console

from socratic_distill.outputs.display.console import TextConsole
from socratic_distill.outputs.display.live import LiveView
from socratic_distill.outputs.display.notebook import NotebookView, kernel_publisher
from socratic_distill.outputs.display.plain import Plain
from socratic_distill.outputs.display.protocol import Display, Look, Moment
from socratic_distill.outputs.display.streams import is_terminal

__all__ = ["Display", "Look", "Moment", "open_display"]


def open_display(mode: Literal["auto", "plain"], console: Console | None = None) -> Display:
    """The display for a mode.

    Args:
        mode: "auto" is live in a terminal that can move its cursor, and in a notebook's kernel, where one output is
            updated. It is plain lines elsewhere: in pipes and files whatever the environment says of colours, with
            `TERM=dumb`, and above the view of another run in this process. "plain" is plain lines everywhere.
        console: where to print. None: standard output.

    Returns:
        A display; its methods raise where it cannot be written to.
    """
    publish = kernel_publisher() if mode == "auto" and console is None else None
    if publish is not None:
        with suppress(Exception):  # a notebook that cannot update outputs gets lines
            return NotebookView(publish)
    console = console or TextConsole(file=sys.stdout)
    is_alone = is_terminal(console.file) and not getattr(console.file, "has_view", False)
    if mode == "auto" and is_alone and console.is_interactive and not console.is_jupyter:
        return LiveView(console)
    # In a notebook rich would print HTML; the notebook's own output stream takes text.
    return Plain(TextConsole(file=console.file, force_jupyter=False) if console.is_jupyter else console)
