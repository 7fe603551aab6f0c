"""When to save training states: pure objects that are asked after every batch."""

from dataclasses import dataclass
from typing import Literal, Protocol

from socratic_distill.config.config import SocraticConfig
from socratic_distill.service.connect import COMPLETE


class SavePolicy(Protocol):
    """Decides whether a save is due; one method, since every policy needs the same two facts."""

    def is_due(self, batch: int, seconds: float) -> bool:
        """Whether to save before `batch`, `seconds` after the last save of this kind or the start."""
        ...


@dataclass(frozen=True)
class EveryBatches:
    """Due before every `count`-th batch."""

    count: int

    def is_due(self, batch: int, seconds: float) -> bool:  # noqa: D102
        return batch % self.count == 0


@dataclass(frozen=True)
class EverySeconds:
    """Due once `interval` seconds have gone by."""

    interval: float

    def is_due(self, batch: int, seconds: float) -> bool:  # noqa: D102
        return seconds >= self.interval


@dataclass(frozen=True)
class AnyOf:
    """Due where one of several is; never, where there are none."""

    policies: tuple[SavePolicy, ...] = ()

    def is_due(self, batch: int, seconds: float) -> bool:  # noqa: D102
        return any(policy.is_due(batch, seconds) for policy in self.policies)


@dataclass(frozen=True)
class SavePlan:
    """Which state to save when, and for how long.

    Attributes:
        periodic: when states are kept.
        rolling: when a cheap resume point replaces the one before it.
        ttl_seconds: by kind of save, how long the service is asked to keep it; None is for ever.
        is_kept_to: whether it is known to do so. Where it is not, a record says nothing of an end, and the service
            is asked whether it still has a state.
    """

    periodic: SavePolicy
    rolling: SavePolicy
    ttl_seconds: dict[str, int | None]
    is_kept_to: bool = True

    def due(self, batch: int, seconds: float) -> Literal["periodic", "rolling"] | None:
        """The kind of state to save before a batch; a periodic one serves as the rolling one too.

        Args:
            batch: the next batch to run.
            seconds: since the last periodic state, or the start.
        """
        if self.periodic.is_due(batch, seconds):
            return "periodic"
        return "rolling" if self.rolling.is_due(batch, seconds) else None


def save_plan(config: SocraticConfig) -> SavePlan:
    """The plan that a config asks for."""
    periodic: list[SavePolicy] = []
    if config.save_every is not None:
        periodic.append(EveryBatches(config.save_every))
    if config.save_every_seconds is not None:
        periodic.append(EverySeconds(config.save_every_seconds))
    rolling = (EveryBatches(config.rolling_save_every),) if config.rolling_save_every is not None else ()
    lifetimes = {
        "sampler": config.sampler_ttl_seconds,
        "periodic": config.periodic_ttl_seconds,
        "interrupted": config.periodic_ttl_seconds,
        "rolling": config.rolling_ttl_seconds,
        "final": None,
    }
    return SavePlan(AnyOf(tuple(periodic)), AnyOf(rolling), lifetimes, is_kept_to=config.base_url in COMPLETE)
