"""Runs on the fake, each call held to the SDK's signatures, and what they leave behind."""

from pathlib import Path
from typing import Any

from tests.conftest import read_rows
from tests.contract.strict import StrictServiceClient

from socratic_distill import SocraticConfig, train
from socratic_distill.testing import FakeServiceClient


def run(config: SocraticConfig, server: FakeServiceClient | None = None) -> FakeServiceClient:
    """Trains; gives the service."""
    server = FakeServiceClient() if server is None else server
    train(config, service_client=StrictServiceClient(server))
    return server


def rows(log_path: Path) -> list[list[dict[str, Any]]]:
    """Metrics and dialogues of a run, timings left out."""
    return [read_rows(log_path / f"{name}.jsonl") for name in ("metrics", "dialogues")]
