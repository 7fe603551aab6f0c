"""How often a run may lose its clients and go on."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from socratic_distill.errors import ServiceError, TrainingError
from socratic_distill.outputs.display import Display
from socratic_distill.service.failures import is_refusal
from socratic_distill.text import get_logger

T = TypeVar("T")
_log = get_logger(__name__)


class Recoveries:
    """Counts the times that a process reopened its clients from the newest state.

    Without a new batch in between, that may happen `limit` times: what fails at each repetition must end, while a
    service that fails once a day may do so for weeks. A request that the service refuses ends the run the second time,
    and the first time if there is no state yet, since new clients would send the very same request.
    """

    def __init__(self, limit: int, display: Display, has_state: Callable[[], bool]) -> None:
        """Starts counting at 0.

        Args:
            limit: how often in a row.
            display: shows each recovery.
            has_state: whether the run holds a state to go on from.
        """
        self._limit = limit
        self._display = display
        self._has_state = has_state
        self._was_refused = False
        self._in_a_row = 0
        self._total = 0
        self._furthest = -1  # the last step whose rows were written

    async def over(self, action: Callable[[], Awaitable[T]]) -> T:
        """Runs an action, and again after each loss of the clients.

        Args:
            action: opens whatever it needs anew each time.

        Raises:
            ServiceError: as `count`.
        """
        while True:
            try:
                return await action()
            except TrainingError as error:
                self.count(error)

    def count(self, error: TrainingError) -> None:
        """Counts a loss.

        Raises:
            ServiceError: the service refuses a request permanently.
            TrainingError: it was one too many in a row.
        """
        has_state, is_refused = self._has_state(), is_refusal(error)
        self._in_a_row += 1
        if self._in_a_row > self._limit:
            raise error
        if is_refused and (self._was_refused or not has_state):
            raise ServiceError(str(error)) from error.__cause__
        self._was_refused = is_refused
        self._total += 1
        how = "reopening from the newest state" if has_state else "starting again, with no state saved yet"
        message = f"recovery {self._in_a_row} of {self._limit}: {how}, since {error}"
        _log.warning("%s", message)
        self._display.say(message)

    def passed(self, step: int) -> None:
        """A step was done and its rows written."""
        # A step that is done a second time is no progress: the service may lose the next one again and again.
        if step > self._furthest:
            self._furthest, self._in_a_row, self._was_refused = step, 0, False

    def metrics(self) -> dict[str, int]:
        """Recoveries of this process so far, as the rows of metrics.jsonl hold it."""
        return {"recovery/count": self._total}
