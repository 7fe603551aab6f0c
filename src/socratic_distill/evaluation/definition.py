"""What a definition of a measure says. Pure."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["share", "mean"]
Direction = Literal["up", "down", "none"]


@dataclass(frozen=True)
class Definition:
    """Definition of a measure.

    Attributes:
        name: its key.
        description: its meaning, in one sentence.
        source: who defined it; "socratic-distill" for our own measures.
        unit: unit of its value.
        direction: which way is better: "up", "down", or "none" if neither is.
        kind: "share" for a share from 0 to 1, or "mean" for a mean of numbers.
    """

    name: str
    description: str
    source: str
    unit: str
    direction: Direction
    kind: Kind
