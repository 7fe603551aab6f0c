"""Runs tinker-cookbook's own checkpoint manager as its training loops do, and records the journals that it writes.

`python -m tests.interop.record` rewrites the samples that the default tests read. It needs the environment of
`make test-interop`.
"""

import asyncio
import importlib
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from socratic_distill.testing import FakeRestClient, FakeServiceClient

SAMPLES = Path(__file__).parents[1] / "data_samples" / "cookbook"


def cookbook() -> Any:
    """tinker-cookbook's module of checkpoints.

    Imported by name and late: the default environment collects these files, and checks their types, without it.
    """
    return importlib.import_module("tinker_cookbook.checkpoint_utils")


class CookbookClients:
    """The fake service with the asynchronous calls that the cookbook makes of a training, service and REST client.

    Args:
        service: the fake service.
        base_model: what the training client trains.
        rank: of its LoRA.
    """

    def __init__(self, service: FakeServiceClient | None = None, base_model: str = "small", rank: int = 32) -> None:
        self.service = service or FakeServiceClient()
        self.rest = FakeRestClient(self.service)
        self.training = self.service.create_lora_training_client(base_model, rank=rank).result()
        self.held: dict[str, asyncio.Event] = {}

    def manager(self, log_path: Path, **arguments: Any) -> Any:
        """The cookbook's `CheckpointManager` of a run directory."""
        return cookbook().CheckpointManager(self, self, str(log_path), **arguments)

    def hold(self, name: str) -> asyncio.Event:
        """Keeps the answers to saves of this name back until the event is set."""
        return self.held.setdefault(name, asyncio.Event())

    async def save_state_async(self, name: str, ttl_seconds: int | None = None) -> Any:
        return _Answer(self.training.save_state(name, ttl_seconds=ttl_seconds), self.held.get(name))

    async def save_weights_for_sampler_async(self, name: str, ttl_seconds: int | None = None) -> Any:
        return _Answer(self.training.save_weights_for_sampler(name, ttl_seconds=ttl_seconds), self.held.get(name))

    def create_rest_client(self) -> "CookbookClients":
        return self

    async def delete_checkpoint_from_tinker_path_async(self, tinker_path: str) -> None:
        await self.rest.delete_checkpoint_from_tinker_path(tinker_path)


class _Answer:
    def __init__(self, future: Any, gate: asyncio.Event | None) -> None:
        self._future = future
        self._gate = gate

    async def result_async(self) -> Any:
        if self._gate is not None:
            await self._gate.wait()
        return await self._future


async def reinforced(clients: CookbookClients, log_path: Path, final: bool = True) -> None:
    """As the cookbook's loop of reinforcement learning: weights to begin with, periodic, rolling and final saves."""
    await cookbook().save_checkpoint_async(clients, "000000", str(log_path), {"batch": 0}, "both", 604800)
    manager = clients.manager(log_path, save_every=4, rolling_save_every=1)
    for step in range(1, 7):
        await manager.maybe_save_async(step, {"batch": step})
    if final:
        await manager.save_final_async({"batch": 6})
    else:
        await manager.maybe_save_rolling_async(0, {})  # lets the save under way end, and starts none


async def cut_off(clients: CookbookClients, log_path: Path) -> None:
    """The same, ended by a crash: a rolling state is the last line."""
    await reinforced(clients, log_path, final=False)


async def supervised(clients: CookbookClients, log_path: Path) -> None:
    """As the cookbook's supervised and preference loops: `batch` counts within an epoch, and is 0 at the end."""
    manager = clients.manager(log_path, save_every=2)
    batches, epochs, tokens = 5, 2, 0
    for step in range(batches * epochs):
        tokens += 100
        loop_state = {"epoch": step // batches, "batch": step % batches, "elapsed_tokens": tokens}
        await manager.maybe_save_async(step, loop_state, elapsed_tokens=tokens)
    await manager.save_final_async({"epoch": epochs, "batch": 0, "elapsed_tokens": tokens})


async def extra_keys(clients: CookbookClients, log_path: Path) -> None:
    """A loop that keeps more with each save, some of it under keys that this package uses too."""
    manager = clients.manager(log_path, save_every=1)
    await manager.maybe_save_async(1, {"batch": 1, "best": {"batch": 9, "kl": [0.25, 1e-9]}, "note": "Prüfung ✓"})
    await manager.maybe_save_async(2, {"batch": 2, "kind": "best", "version": "v2", "created_at": "today"})
    await manager.save_final_async({"batch": 2, "final": True, "seed": None})


async def steps_alone(clients: CookbookClients, log_path: Path) -> None:
    """As the recipes that count `step`: no line says `batch`."""
    await cookbook().save_checkpoint_async(clients, "000005", str(log_path), {"step": 5}, "state")
    await cookbook().save_checkpoint_async(clients, "final", str(log_path), {"step": 8, "final": True}, "both")


async def late(clients: CookbookClients, log_path: Path) -> None:
    """A periodic save in the background that ends after a newer rolling one, and a crash soon after."""
    manager = clients.manager(log_path, save_every=4, rolling_save_every=1, async_periodic_saves=True)
    slow = clients.hold("000004")
    for step in range(1, 6):
        await manager.maybe_save_async(step, {"batch": step})
    await manager.maybe_save_rolling_async(0, {})
    slow.set()
    await manager._resolve_pending_periodic_async()


RUNS: dict[str, Callable[[CookbookClients, Path], Awaitable[None]]] = {
    "reinforced": reinforced,
    "cut_off": cut_off,
    "supervised": supervised,
    "extra_keys": extra_keys,
    "steps_alone": steps_alone,
    "late": late,
}


def journal_of(name: str, log_path: Path, clients: CookbookClients | None = None) -> bytes:
    """The journal that one of the runs leaves in a directory."""

    async def run() -> None:
        await RUNS[name](clients or CookbookClients(), log_path)

    asyncio.run(run())
    return (log_path / "checkpoints.jsonl").read_bytes()


def main() -> None:
    """Rewrites the samples."""
    for name in RUNS:
        with tempfile.TemporaryDirectory() as directory:
            (SAMPLES / f"{name}.jsonl").write_bytes(journal_of(name, Path(directory)))


if __name__ == "__main__":
    main()
