"""When to save training states. Pure; asked after every batch."""

from dataclasses import dataclass
from typing import Literal

from socratic_distill.config.config import SocraticConfig
from socratic_distill.service.connect import is_complete


@dataclass(frozen=True)
class SaveSchedule:
    """Which state to save when, and for how long.

    Attributes:
        every: batches between periodic states, which are kept; None for none by number.
        every_seconds: seconds between periodic states; None for none by time.
        rolling_every: batches between rolling states, each of which replaces the one before; None for none.
        ttl_seconds: by kind of save, how long the service is asked to keep it; None is for ever.
        is_kept_to: whether it is known to do so. If not, records name no end, and the service is asked whether it
            still has a state.
    """

    every: int | None
    every_seconds: float | None
    rolling_every: int | None
    ttl_seconds: dict[str, int | None]
    is_kept_to: bool = True

    @classmethod
    def of(cls, config: SocraticConfig) -> "SaveSchedule":
        """The schedule of a config."""
        lifetimes = {
            "sampler": config.sampler_ttl_seconds,
            "periodic": config.periodic_ttl_seconds,
            "interrupted": config.periodic_ttl_seconds,
            "rolling": config.rolling_ttl_seconds,
            "final": None,  # what the run is for
        }
        every = (config.save_every, config.save_every_seconds, config.rolling_save_every)
        return cls(*every, lifetimes, is_kept_to=is_complete(config.base_url))

    def due(self, batch: int, seconds: float) -> Literal["periodic", "rolling"] | None:
        """The kind of state to save before a batch; a periodic one serves as the rolling one too.

        Args:
            batch: the next batch to run. Its number alone counts, so that a resumed run keeps the rhythm.
            seconds: since the last periodic state, or the start.
        """
        # Time does not repeat in a resumed run; only `every` and `rolling_every` keep their rhythm.
        is_late = self.every_seconds is not None and seconds >= self.every_seconds
        if is_late or (self.every is not None and batch % self.every == 0):
            return "periodic"
        return "rolling" if self.rolling_every is not None and batch % self.rolling_every == 0 else None
