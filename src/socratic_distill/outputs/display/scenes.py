"""What a view is drawn from: the newest look at a run, the sums over its steps, and its pace."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from socratic_distill.outputs.display.pace import Pace
from socratic_distill.outputs.display.protocol import Look, Moment
from socratic_distill.outputs.display.tally import Tally
from socratic_distill.outputs.display.view import Scene


class Scenes:
    """Gives the scene of any moment."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begins without a run.

        Args:
            clock: gives seconds.
        """
        self._clock = clock
        self._look: Look | None = None
        self._moment: Moment | None = None
        self._tally = Tally()
        self._pace = Pace()

    @property
    def has_begun(self) -> bool:
        """Whether there is a run to look at."""
        return self._look is not None

    def watch(self, look: Look, history: Iterable[Mapping[str, Any]]) -> None:
        """Begins with a run, or goes on with another way to look at it.

        Args:
            look: looks at it.
            history: rows of the steps before; read at the first call alone.
        """
        self._pace.begin(self._clock())
        if not self._tally.counted:
            for row in history:
                self._tally = self._tally.after(row)
        self._look = look

    def step(self, metrics: Mapping[str, Any]) -> None:
        """Takes a step's row."""
        self._pace.stepped(self._clock())
        self._tally = self._tally.after(metrics)

    def scene(self, *, has_ended: bool) -> Scene | None:
        """The run as it stands, or as it last stood where it cannot be looked at; None before there is one."""
        if self._look is not None:
            with suppress(Exception):
                self._moment = self._look()
        if (moment := self._moment) is None:
            return None
        now = self._clock()
        left = self._pace.left(now, moment.total - moment.batch)
        return Scene(moment, self._tally, self._pace.elapsed(now), left, has_ended)
