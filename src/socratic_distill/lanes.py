"""Whose requests may share a batch on an engine in this process.

Floating-point results depend on the shape of a batch. An evaluation plays beside the training, as fast as it comes, so
its requests are carried out in batches of their own: with or without it, the training's bits are the same. A service of
many machines does not look at this.
"""

from contextvars import ContextVar
from typing import Literal

Lane = Literal["training", "evaluation"]

# Of the task that asks; tasks that it starts inherit it.
LANE: ContextVar[Lane] = ContextVar("lane", default="training")
