"""Calls of an async function from code that has no event loop."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from socratic_distill.errors import EventLoopRunning

T = TypeVar("T")


def run_blocking(call: Callable[[], Coroutine[Any, Any, T]], name: str) -> T:
    """Runs `call()` to its end in a loop of its own.

    Args:
        call: makes the coroutine.
        name: name of the blocking function, whose async twin is `<name>_async`.

    Raises:
        EventLoopRunning: a loop already runs in this thread, as in a notebook.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise EventLoopRunning(
            f"{name}() cannot run inside a running asyncio loop, as a notebook has one; "
            f"write `await {name}_async(…)` instead"
        )
    return asyncio.run(call())
