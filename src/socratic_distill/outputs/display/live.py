"""Progress as one live view in a terminal, below what is said.

One thread does all writing. A terminal that is slow, or halted with Ctrl-S, so delays that thread alone.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from socratic_distill.outputs.display.protocol import Look
from socratic_distill.outputs.display.scenes import Scenes
from socratic_distill.outputs.display.streams import redirected
from socratic_distill.outputs.display.text import glyphs_of
from socratic_distill.outputs.display.view import View
from socratic_distill.text import printable

_PERIOD = 0.25  # seconds between two drawings


class LiveView:
    """The view, from the first thing said until it is closed; its last state stays on the screen.

    Where its thread cannot write, it gives the terminal back, and the next call raises the error.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """Draws on a console that nothing else may print on; `clock` gives seconds."""
        self._console = console
        self._view = View(glyphs_of(console), console.encoding)
        self._live = Live(self, console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._drawn: list[int] = []  # cells of each line on the screen
        self._scenes = Scenes(clock)
        self._waiting: deque[Text] = deque()
        self._last_alert: str | None = None
        self._wake = threading.Event()
        self._is_closing = False
        self._writer: threading.Thread | None = None
        self._error: Exception | None = None

    def say(self, text: str) -> None:
        """Prints it above the view, unless a warning has just said the same."""
        if self._last_alert is None or not self._last_alert.endswith(text):
            self._print(Text(printable(text, self._console.encoding)))
        self._last_alert = None
        self._raise_error()

    def watch(self, look: Look, history: Iterable[Mapping[str, Any]] = ()) -> None:
        """Shows the view, or goes on with another way to look at the run."""
        self._scenes.watch(look, history)
        self._begin()
        self._wake.set()
        self._raise_error()

    def step(self, done: int, total: int, metrics: Mapping[str, Any]) -> None:
        """Takes the step's figures; they are drawn with what `look` gives."""
        self._scenes.step(metrics)
        self._wake.set()
        self._raise_error()

    def close(self) -> None:
        """Prints what is left to say and the last state of the view, and gives the terminal back."""
        self._is_closing = True
        self._wake.set()
        if self._writer is not None:
            self._writer.join()
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _print(self, text: Text) -> None:
        self._waiting.append(text)
        self._begin()
        self._wake.set()

    def _begin(self) -> None:
        if self._writer is None:
            streams = ExitStack()
            streams.enter_context(redirected(self._quote, self._warn))
            self._writer = threading.Thread(target=self._write, args=(streams,), name="display", daemon=True)
            self._writer.start()

    def _quote(self, line: str) -> None:
        """Prints a line of somebody else's, with its colours."""
        decoded = Text.from_ansi(line)
        self._print(Text(printable(decoded.plain, self._console.encoding), spans=decoded.spans))

    def _warn(self, level: str, message: str) -> None:
        self._last_alert = message
        self._print(Text(printable(f"{level}: {message}", self._console.encoding), style="yellow"))

    def _write(self, streams: ExitStack) -> None:
        """Writes until the display is closed, or the terminal cannot be written to."""
        try:
            with streams, self._live:
                is_last = False
                while not is_last:
                    self._wake.wait(_PERIOD)
                    self._wake.clear()
                    is_last = self._is_closing
                    self._draw()
            self._write_waiting()  # what was said while the terminal was given back
        except Exception as error:
            self._waiting = deque(maxlen=0)  # it is not read any more
            self._error = error

    def _draw(self) -> None:
        with self._console:  # written at once
            self._console.control(self._up_broken_rows())
            self._write_waiting()
            self._live.refresh()

    def _up_broken_rows(self) -> Control:
        """Goes up the rows that a terminal made of our lines since it became narrower, which rich does not count."""
        width = self._console.width
        rows = sum(max(0, (cells - 1) // width) for cells in self._drawn)
        return Control(*((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)) * rows)

    def _write_waiting(self) -> None:
        while self._waiting:
            # Never broken: a terminal breaks long lines itself, so that paths can be copied from it.
            self._console.print(self._waiting.popleft(), soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich draws below what is printed."""
        lines = self._lines(options.max_width)[: max(1, options.size.height - 1)]
        self._drawn = [line.cell_len for line in lines]
        if lines:
            yield Text("\n", no_wrap=True, overflow="ignore").join(lines)
        if lines and not self._is_closing:
            yield ""  # the cursor rests here: what the terminal echoes, such as ^C, would break one of our lines

    def _lines(self, width: int) -> list[Text]:
        scene = self._scenes.scene(has_ended=self._is_closing)
        return [] if scene is None else self._view.lines(scene, width)
