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

    In a row without a new batch done, that may happen `limit` times: what fails whenever it is repeated must
    end, while a service that fails once a day may do so for weeks. A request that the service refuses ends it the
    second time; the first time too where there is no state yet, since new clients would ask for the very same.
    """

    def __init__(self, limit: int, display: Display, has_state: Callable[[], bool]) -> None:
        """Begins at none.

        Args:
            limit: how often in a row.
            display: is told of each.
            has_state: whether the run holds a state to go on from.
        """
        self._limit = limit
        self._display = display
        self._has_state = has_state
        self._was_refused = False
        self._in_a_row = 0
        self._total = 0
        self._furthest = -1

    async def over(self, action: Callable[[], Awaitable[T]]) -> T:
        """Does something, again after each loss.

        Args:
            action: begins it; what it opens must not be needed any more when it raises.

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
            ServiceError: the service refuses a request for good.
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
        how = "reopening from the newest state" if has_state else "beginning anew, with no state saved yet"
        told = f"recovery {self._in_a_row} of {self._limit}: {how}, since {error}"
        _log.warning("%s", told)
        self._display.say(told)

    def passed(self, step: int) -> None:
        """A step was done and its rows written."""
        if step > self._furthest:
            self._furthest, self._in_a_row, self._was_refused = step, 0, False

    def metrics(self) -> dict[str, int]:
        """Recoveries of this process so far, as the rows of metrics.jsonl hold it."""
        return {"recovery/count": self._total}
