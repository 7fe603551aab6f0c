"""What makes two teachers the same: model, weights, prompt template and chat template, as a short digest.

With the tokens that a teacher reads, a digest says whether a score that a run's rows hold is the one that the teacher
would give again.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.teachers import Average, ResolvedTeacher
from socratic_distill.dialogues.template_variables import read_template
from socratic_distill.local.model_files import describe_model, describe_weights


def teacher_key(plan: ResolvedTeacher, prompt: str, config: SocraticConfig) -> str | None:
    """A digest of one teacher; None if its weights change, or if nothing says what they are.

    Args:
        plan: the teacher.
        prompt: its prompt template.
        config: names the service.

    Raises:
        ConfigError: the file of a chat template cannot be read.
    """
    weights = _weights(plan, config)
    if weights is None:
        return None
    template = plan.template
    file = None if template.file is None else read_template(template.file)
    switch = [template.enable_thinking, template.reasoning, dict(template.options), file, config.system_role]
    return digest([config.base_url, *weights, prompt, switch])


def joint_key(
    keys: Sequence[str | None], weights: Sequence[float], how: Average | None, clip: float | None
) -> str | None:
    """A digest of the teachers whose scores are joined; None if one of them has none.

    Args:
        keys: of the teachers.
        weights: their weights in the average.
        how: how they are averaged; not used with one teacher.
        clip: bound of the average.
    """
    if not keys or any(key is None for key in keys):
        return None
    return digest([list(keys)] if len(keys) == 1 else [list(keys), list(weights), how, clip])


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def _weights(plan: ResolvedTeacher, config: SocraticConfig) -> list[str] | None:
    """What the weights are called, of local ones what they hold; None if that is not known, or changes."""
    path, name = plan.checkpoint_path, plan.model_name
    if plan.lag_steps is not None:
        return None
    if config.base_url != "local":
        return [name, path or ""]
    if config.grant is not None and not all(config.grant.may_load(source) for source in (name, path) if source):
        return None
    held = describe_weights(path) if path is not None else describe_model(name) or name
    return None if held is None else [name if path else "", held]
