"""Progress in a notebook: one output that is updated in place.

IPython is never imported here: where a kernel runs, it is loaded already. Everything is published from the thread that
opened the view, since a kernel assigns an output to its cell by the thread and context that publishes it.
"""

import asyncio
import io
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

from rich.text import Text

from socratic_distill.outputs.display.console import TextConsole
from socratic_distill.outputs.display.protocol import Look
from socratic_distill.outputs.display.scenes import Scenes
from socratic_distill.outputs.display.text import BLOCKS
from socratic_distill.outputs.display.view import View
from socratic_distill.text import shown
from socratic_distill.text.html import SOFT, escaped, folded, soft

_PERIOD = 1.0  # seconds between two updates
_WIDTH = 100
_RECENT = 6  # messages that stay in sight
_CYAN = "#2a8ed2"  # readable on light and on dark ground

# Publishes an output's forms by media type; the flag says whether it replaces the one before.
Publish = Callable[[Mapping[str, str], bool], None]


def kernel_publisher() -> Publish | None:
    """Publishes an output of the running cell; None if this process is no notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if getattr(shell, "kernel", None) is None:
        return None
    display, name = sys.modules["IPython.display"].display, f"socratic-distill-{uuid4().hex}"
    return lambda forms, is_update: display(dict(forms), raw=True, display_id=name, update=is_update)


class NotebookView:
    """The live view and the latest messages, as one output. After a failed update, the next call raises its error."""

    def __init__(self, publish: Publish, clock: Callable[[], float] = time.monotonic) -> None:
        """Publishes the output, still empty.

        Args:
            publish: publishes it.
            clock: gives seconds.

        Raises:
            Exception: whatever `publish` raises; then another display has to be taken.
        """
        self._publish = publish
        self._clock = clock
        self._view = View(BLOCKS, "utf-8")
        self._console = TextConsole(file=io.StringIO(), width=_WIDTH, force_jupyter=False)
        self._messages: list[str] = []
        self._scenes = Scenes(clock)
        self._thread = threading.get_ident()
        self._timer: asyncio.TimerHandle | None = None
        self._drawn = clock()
        self._error: Exception | None = None
        publish({"text/plain": "", "text/html": ""}, False)
        self._tick()

    def say(self, text: str) -> None:
        """Adds a message."""
        self._messages.append(shown(text))
        self._draw_if_due()

    def watch(self, look: Look, history: Iterable[Mapping[str, Any]] = ()) -> None:
        """Shows the view, or goes on with another way to look at the run."""
        self._scenes.watch(look, history)
        self._draw_if_due()

    def step(self, done: int, total: int, metrics: Mapping[str, Any]) -> None:
        """Takes the step's figures; they are drawn with what `look` gives."""
        self._scenes.step(metrics)
        self._draw_if_due()

    def close(self) -> None:
        """Draws the last state, with all messages."""
        if self._timer is not None:
            self._timer.cancel()
        self._raise_error()
        self._draw(has_ended=True)

    def _tick(self) -> None:
        """Draws, and comes back after the period as long as there is a loop."""
        with suppress(RuntimeError):  # without a loop, calls alone draw
            self._timer = asyncio.get_running_loop().call_later(_PERIOD, self._tick)
        if self._error is None and (self._messages or self._scenes.has_begun):
            try:
                self._draw()
            except Exception as error:
                self._error = error

    def _draw_if_due(self) -> None:
        self._raise_error()
        if threading.get_ident() == self._thread and self._clock() - self._drawn >= _PERIOD:
            self._draw()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _draw(self, has_ended: bool = False) -> None:
        self._drawn = self._clock()
        lines = self._lines(has_ended)
        plain = [*self._messages[-_RECENT:], *(line.plain for line in lines)]
        self._publish({"text/plain": "\n".join(plain), "text/html": self._html(lines, has_ended)}, True)

    def _html(self, lines: list[Text], has_ended: bool) -> str:
        earlier, recent = self._messages[:-_RECENT], self._messages[-_RECENT:]
        parts = []
        if earlier and has_ended:  # an update would close what was opened before
            parts.append(folded(soft(f"{len(earlier)} earlier messages"), _block("\n".join(map(escaped, earlier)))))
        parts.append(_block("\n".join(map(escaped, recent))))
        parts.append(_block("\n".join(self._line(line) for line in lines)))
        return "".join(parts)

    def _line(self, line: Text) -> str:
        return "".join(_styled(segment.text, segment.style) for segment in line.render(self._console))

    def _lines(self, has_ended: bool) -> list[Text]:
        scene = self._scenes.scene(has_ended=has_ended)
        return [] if scene is None else self._view.lines(scene, _WIDTH)


def _styled(text: str, style: Any) -> str:
    marks = [
        *([SOFT] if style and style.dim else []),
        *(["font-weight:600"] if style and style.bold else []),
        *([f"color:{_CYAN}"] if style and style.color else []),
    ]
    return f'<span style="{";".join(marks)}">{escaped(text)}</span>' if marks else escaped(text)


def _block(html: str) -> str:
    if not html:
        return ""
    return f'<pre style="margin:0 0 6px;white-space:pre-wrap;background:transparent;color:inherit">{html}</pre>'
