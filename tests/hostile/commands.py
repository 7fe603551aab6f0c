"""Every command, on a run directory, as a person would call it."""

from importlib.util import find_spec
from pathlib import Path

FAKE: dict[str, list[str]] = {
    "checkpoints": ["checkpoints", "RUN"],
    "checkpoints --json": ["checkpoints", "RUN", "--json"],
    "prune": ["checkpoints", "RUN", "prune"],
    "prune --yes": ["checkpoints", "RUN", "prune", "--yes"],
    "rebuild": ["checkpoints", "RUN", "rebuild"],
    "claim": ["checkpoints", "RUN", "claim"],
    "claim --yes": ["checkpoints", "RUN", "claim", "--yes"],
    "report": ["report", "RUN"],
    "runs": ["runs", "RUN"],
    "runs --json": ["runs", "RUN", "--json"],
    "compare": ["compare", "RUN", "RUN"],
    "compare --json": ["compare", "RUN", "RUN", "--json"],
    "report of two": ["report", "RUN", "RUN", "--out", "OUT/report.html"],
    "export --messages": ["export", "RUN", "--messages", "OUT/messages.jsonl"],
    "export --system-prompt": ["export", "RUN", "--messages", "OUT/messages.jsonl", "--system-prompt"],
    "export --dataset": ["export", "RUN", "--dataset", "OUT/dataset", "--tokens"],
    "export --csv": ["export", "RUN", "--csv", "OUT/metrics.csv"],
    "export --adapter": ["export", "RUN", "--adapter", "OUT/adapter"],
    "export --merge": ["export", "RUN", "--merge", "OUT/model"],
    "export --trace": ["export", "RUN", "--trace", "OUT/trace.json"],
    "cost": ["cost", "RUN"],
    "cost of a config": ["cost", "RUN/config.json"],
    "cost --past": ["cost", "RUN", "--past", "RUN"],
    "check": ["check", "RUN"],
    "check of a config": ["check", "RUN/config.json"],
    "evaluate": ["evaluate", "RUN", "--out", "OUT/evaluation.json"],
    "chat": ["chat", "RUN"],
}
if find_spec("starlette") is not None:
    FAKE["serve"] = ["serve", "RUN", "--port", "0"]


def arguments(name: str, run: Path, out: Path) -> list[str]:
    """A command's arguments for a run, and a directory for what it writes."""
    return [part.replace("RUN", str(run)).replace("OUT", str(out)) for part in FAKE[name]]
