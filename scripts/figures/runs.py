"""The runs that the figures show: short ones of the packaged tiny model, most of their config the quickstart's."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from quickstart import make_config  # pyright: ignore[reportMissingImports]
from socratic_distill import SocraticConfig, train


@dataclass(frozen=True)
class Run:
    """A run of a figure.

    Attributes:
        name: its directory.
        label: what the figure calls it.
        steps: its length.
        changes: fields of the quickstart's config that differ.
    """

    name: str
    label: str
    steps: int
    changes: Mapping[str, Any] = field(default_factory=dict)


# A quarter of the quickstart's dialogues a step, and half as many held-out problems.
_SMALL = {"groups_per_batch": 2, "eval_seeds": 32}
QUICKSTART = Run("quickstart", "sampled_reverse_kl, 32 dialogues a step", 8)
COMPARED = (
    QUICKSTART,
    Run("sampled-reverse-kl", "sampled_reverse_kl, 8 dialogues a step", 12, _SMALL),
    Run("forward-kl", "forward_kl, 8 dialogues a step", 12, {**_SMALL, "objective": {"kind": "forward_kl"}}),
    Run(
        "jensen-shannon", "jensen_shannon, 8 dialogues a step", 12, {**_SMALL, "objective": {"kind": "jensen_shannon"}}
    ),
)


def make(run: Run, directory: Path) -> Path:
    """Trains a run, or resumes it; one that is complete stays as it is. Gives its directory."""
    path = directory / run.name
    fields = make_config(run.steps, str(path)).model_dump() | {"display": "plain", **run.changes}
    train(SocraticConfig(**fields))
    return path
