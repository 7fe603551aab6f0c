"""How long the rest of a run takes. Pure: times are given, in seconds on any one clock."""

from collections import deque

# Enough to even out steps of unlike length, few enough to follow a service that becomes slower.
_RECENT = 10


class Pace:
    """The speed of the newest steps."""

    def __init__(self) -> None:
        """Begins without a step."""
        self._seconds: deque[float] = deque(maxlen=_RECENT)
        self._began: float | None = None
        self._last = 0.0

    def begin(self, now: float) -> None:
        """A step begins, though none ended."""
        self._began = now if self._began is None else self._began
        self._last = now

    def stepped(self, now: float) -> None:
        """A step ended."""
        if self._began is None:
            return self.begin(now)
        self._seconds.append(now - self._last)
        self._last = now

    def elapsed(self, now: float) -> float:
        """Seconds since the first step began."""
        return 0.0 if self._began is None else now - self._began

    def left(self, now: float, steps: int) -> float | None:
        """Seconds that so many steps take, of which one is under way; None before the first has ended."""
        if not self._seconds:
            return None
        mean = sum(self._seconds) / len(self._seconds)
        return max(0.0, mean * steps - (now - self._last)) if steps else 0.0
