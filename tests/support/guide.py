"""The guide's build call."""

import os
from typing import Any

from socratic_distill import SocraticConfig, build_socratic_config


def guides_call(log_path: str | os.PathLike[str], **more: Any) -> SocraticConfig:
    """The config of the guide's call as it is written, with more fields."""
    return build_socratic_config(
        tutor_model_name="Qwen3-8B",
        student_model_name="Kimi-K2-Thinking",
        teacher_model_name="Qwen3-35B-A22B-Instruct",
        learning_rate=1e-5,
        max_tokens=2048,
        log_path=log_path,
        **more,
    )
