"""Progress as one live view in a terminal, below what is said.

One thread does all writing. A terminal that is slow, or halted with Ctrl-S, so holds up nobody but that thread.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from rich.console import Console
from rich.text import Text

from socratic_distill.outputs.display.alerts import alerts
from socratic_distill.outputs.display.pace import Pace
from socratic_distill.outputs.display.protocol import Look, Moment
from socratic_distill.outputs.display.region import Region
from socratic_distill.outputs.display.streams import redirected
from socratic_distill.outputs.display.tally import Tally
from socratic_distill.outputs.display.text import glyphs_of
from socratic_distill.outputs.display.view import Scene, View
from socratic_distill.text import get_logger, printable

_log = get_logger(__name__)
_PERIOD = 0.25  # seconds between two drawings


class Live:
    """The view, from the first thing said until it is closed; its last state stays on the screen."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """Draws on a console, which nobody else may print on; `clock` gives seconds."""
        self._console = console
        self._clock = clock
        self._view = View(glyphs_of(console), console.encoding)
        self._region = Region(console, self._lines)
        self._look: Look | None = None
        self._moment: Moment | None = None
        self._tally = Tally()
        self._pace = Pace()
        self._waiting: deque[Text] = deque()
        self._last_alert: str | None = None
        self._wake = threading.Event()
        self._is_closing = False
        self._writer: threading.Thread | None = None

    def say(self, text: str) -> None:
        """Prints it above the view, unless a warning has just said the same."""
        if self._last_alert is None or not self._last_alert.endswith(text):
            self._print(Text(printable(text, self._console.encoding)))
        self._last_alert = None

    def watch(self, look: Look, history: Iterable[Mapping[str, Any]] = ()) -> None:
        """Shows the view, or goes on with another way to look at the run."""
        self._pace.begin(self._clock())
        if not self._tally.counted:
            for row in history:
                self._tally = self._tally.after(row)
        self._look = look
        self._begin()
        self._wake.set()

    def step(self, done: int, total: int, metrics: Mapping[str, Any]) -> None:
        """Takes the step's figures; they are drawn with what `look` gives."""
        self._pace.stepped(self._clock())
        self._tally = self._tally.after(metrics)
        self._wake.set()

    def close(self) -> None:
        """Prints what is left to say and the last state of the view, and gives the terminal back."""
        self._is_closing = True
        self._wake.set()
        if self._writer is not None:
            self._writer.join()

    def _print(self, text: Text) -> None:
        self._waiting.append(text)
        self._begin()
        self._wake.set()

    def _begin(self) -> None:
        if self._writer is None:
            taken = ExitStack()
            taken.enter_context(redirected(self._quote))
            taken.enter_context(alerts(self._quote, self._warn))
            self._writer = threading.Thread(target=self._write, args=(taken,), name="display", daemon=True)
            self._writer.start()

    def _quote(self, line: str) -> None:
        """Prints a line of somebody else's, with its colours."""
        decoded = Text.from_ansi(line)
        self._print(Text(printable(decoded.plain, self._console.encoding), spans=decoded.spans))

    def _warn(self, level: str, message: str) -> None:
        self._last_alert = message
        self._print(Text(printable(f"{level}: {message}", self._console.encoding), style="yellow"))

    def _write(self, taken: ExitStack) -> None:
        """Writes until the display is closed, or the terminal cannot be written to."""
        try:
            with taken, self._region:
                is_last = False
                while not is_last:
                    self._wake.wait(_PERIOD)
                    self._wake.clear()
                    is_last = self._is_closing
                    self._write_waiting()
                    self._region.draw()
            self._write_waiting()  # what was said while the terminal was given back
        except Exception as error:
            self._waiting = deque(maxlen=0)  # nobody reads it any more
            _log.warning("the display failed and is off from here on: %s: %s", type(error).__name__, error)

    def _write_waiting(self) -> None:
        while self._waiting:
            # Never broken: a terminal breaks long lines itself, so that paths can be copied from it.
            self._console.print(self._waiting.popleft(), soft_wrap=True)

    def _lines(self, width: int) -> list[Text]:
        moment = self._take_look()
        if moment is None:
            return []
        now = self._clock()
        left = self._pace.left(now, moment.total - moment.batch)
        scene = Scene(moment, self._tally, self._pace.elapsed(now), left, has_ended=self._is_closing)
        return self._view.lines(scene, width)

    def _take_look(self) -> Moment | None:
        """The run as it stands, or as it last stood where it cannot be looked at."""
        if self._look is not None:
            with suppress(Exception):
                self._moment = self._look()
        return self._moment
