"""Progress of a run: live in a terminal, plain lines elsewhere."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Display(Protocol):
    """What the trainer tells; three methods, since a run starts, steps and ends."""

    def say(self, text: str) -> None:
        """One line for the reader."""
        ...

    def step(self, done: int, total: int, metrics: Mapping[str, Any]) -> None:
        """A step ended: `done` of `total` batches, with the step's metrics."""
        ...

    def close(self) -> None:
        """The run ended or failed; the terminal is given back."""
        ...


def open_display(mode: Literal["auto", "plain", "off"], console: Console | None = None) -> Display:
    """The display for a mode: "auto" is live in a terminal and plain lines elsewhere."""
    console = console or Console()
    if mode == "off":
        return _Silent()
    return _Live(console) if mode == "auto" and console.is_terminal else _Plain(console)


class _Silent:
    def say(self, text: str) -> None: ...

    def step(self, done: int, total: int, metrics: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class _Plain:
    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def step(self, done: int, total: int, metrics: Mapping[str, Any]) -> None:
        self.say(f"step {done}/{total}  {summary(metrics)}")

    def close(self) -> None: ...


class _Live:
    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._progress = Progress(*columns, console=console)
        self._task = None

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def step(self, done: int, total: int, metrics: Mapping[str, Any]) -> None:
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task("", total=total)
        self._progress.update(self._task, completed=done, description=summary(metrics))

    def close(self) -> None:
        self._progress.stop()


def summary(metrics: Mapping[str, Any]) -> str:
    """A step's metrics in one line."""
    parts = [
        ("teacher_kl", metrics.get("teacher_kl"), "{:.3f}"),
        ("tells", metrics.get("first_reply/tells"), "{:.0%}"),
        ("asks", metrics.get("first_reply/asks"), "{:.0%}"),
        ("solved", metrics.get("solved"), "{:.0%}"),
        ("seconds", metrics.get("time/step"), "{:.1f}"),
    ]
    return "  ".join(f"{name} {shape.format(value)}" for name, value, shape in parts if value is not None)
