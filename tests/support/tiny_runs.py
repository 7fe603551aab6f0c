"""Runs of the packaged tiny model on the local engine."""

from pathlib import Path
from typing import Any

from socratic_distill import SocraticConfig, build_socratic_config
from socratic_distill.local.tiny import TRAIN_SEEDS


def tiny_fields(**changes: Any) -> dict[str, Any]:
    """The fields of a small config, but for its log_path, that a process of its own can be given."""
    fields: dict[str, Any] = dict(
        tutor_model_name="tiny", student_model_name="tiny", teacher_model_name="tiny", learning_rate=3e-3,
        max_tokens=30, base_url="local", seeds_file=str(TRAIN_SEEDS), groups_per_batch=3, num_envs=2, max_turns=2,
        max_steps=4, save_every=2, display="off",
    )  # fmt: skip
    return fields | changes


def tiny_config(log_path: Path, **changes: Any) -> SocraticConfig:
    """A small config; keyword arguments override."""
    return build_socratic_config(log_path=log_path, **tiny_fields(**changes))
