"""How a run ended."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        status: "completed"; "stopped" if a callback ended it before its last step; or "already_complete" if there was
            nothing left to do.
        steps: batches done, over the run's whole life.
        state_path: the final training state.
        sampler_path: the final sampler weights; None where the run was complete and holds none.
        metrics: the last step's row of metrics.jsonl; empty where this call ran no step.
        reason: why a callback stopped it; None unless the status is "stopped".
    """

    status: Literal["completed", "stopped", "already_complete"]
    steps: int
    state_path: str
    sampler_path: str | None
    metrics: dict[str, Any]
    reason: str | None = None
