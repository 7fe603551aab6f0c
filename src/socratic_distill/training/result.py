"""How a run ended."""

from dataclasses import dataclass
from typing import Any, Literal

from socratic_distill.outputs.loaded.summary import last_step
from socratic_distill.text.html import escaped, table, titled, without_secrets


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        """Status, steps and paths, in one line."""
        return f"TrainResult({self.status!r}, steps={self.steps}, state_path={self.state_path!r})"

    def _repr_html_(self) -> str:
        """Status, paths and the last step's main measures, for notebooks."""
        paths = {"state_path": self.state_path, "sampler_path": self.sampler_path or "none"}
        rows = [["steps", str(self.steps)], *([name, without_secrets(path)] for name, path in paths.items())]
        if self.metrics:
            rows.append(["last step", last_step(self.metrics)])
        return titled(f"TrainResult: {escaped(self.status.replace('_', ' '))}", table(rows))
