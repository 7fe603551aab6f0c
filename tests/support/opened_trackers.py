"""Trackers as a run opens them, and the warnings that it logged."""

import logging
from pathlib import Path

import pytest

from socratic_distill import SocraticConfig
from socratic_distill.outputs.trackers import Trackers


def open_trackers(config: SocraticConfig, run_id: str, batch: int, log_path: Path) -> Trackers:
    """The config's trackers, with this run begun."""
    opened = Trackers(config)
    opened.begin(run_id, batch, log_path)
    return opened


def logged_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The messages of all warnings and errors that were logged."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
