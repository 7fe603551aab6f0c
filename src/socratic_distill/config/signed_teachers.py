"""Presets of teachers whose scores are combined with weights that may be negative. Pure.

Each gives fields of a config, to pass on: `build_socratic_config(..., **anchored_residual(0.8))`. With shares w_i that
add up to 1, and the first teacher as anchor, a token's combined score is

    log p = log p_1 + sum_{i > 1} w_i clip(log p_i - log p_1, -c, c)

The teacher's other fields, such as its model, are the config's.
"""

import os
from typing import Any, TypedDict

from socratic_distill.config.parts import Teacher
from socratic_distill.config.teachers import Average
from socratic_distill.errors import ConfigError

# As in the published code of the anchored residual.
CLIP = 5.0


class TeacherFields(TypedDict):
    """The fields of a config that a preset sets."""

    teachers: tuple[Teacher, ...]
    teacher_average: Average
    teacher_residual_clip: float


def anchored_residual(alpha: float = 0.8, clip: float = CLIP) -> TeacherFields:
    """A teacher without the answer, moved by what the answer changes: p_0 (p_1 / p_0)^alpha.

    Zhang, "Anchored Residual Guidance for Privileged On-Policy Distillation" (AR-OPD), 2026, arXiv:2606.10385. What the
    teacher that sees the answer says only because of it counts for less than in copying it, and no more than `clip`.

    Args:
        alpha: factor of the residual. Below 1 it is damped, above 1 extrapolated.
        clip: bound on a token's residual, nats.

    Raises:
        ConfigError: alpha is not above 0, or is 1, which is the second teacher alone.
    """
    if not alpha > 0.0 or alpha == 1.0:
        raise ConfigError(
            f"alpha={alpha:g}; expected a number above 0, other than 1: for 1 set teacher_sees_answer=True instead"
        )
    anchor = Teacher(name="without_answer", sees_answer=False, weight=1.0 - alpha)
    return _fields(clip, anchor, Teacher(name="with_answer", sees_answer=True, weight=alpha))


def contrast(telling_prompt_file: str | os.PathLike[str], alpha: float = 0.5, clip: float = CLIP) -> TeacherFields:
    """A Socratic teacher, moved away from one that tells: p_0 (p_0 / p_telling)^alpha.

    Pan et al., "Reinforcement Learning with Contrastive On-Policy Self-Distillation" (RLCSD), 2026, arXiv:2606.11709,
    contrast a right hint with a wrong one, so that what any hint changes cancels out. Here the pair is a Socratic
    prompt and one that tells.

    Args:
        telling_prompt_file: text file with the system prompt of the teacher that tells.
        alpha: factor of the contrast.
        clip: bound on a token's contrast, nats.

    Raises:
        ConfigError: alpha is not above 0.
    """
    if not alpha > 0.0:
        raise ConfigError(f"alpha={alpha:g}; expected a number above 0")
    telling: Any = os.fspath(telling_prompt_file)
    return _fields(
        clip,
        Teacher(name="socratic", weight=1.0 + alpha),
        Teacher(name="telling", prompt_file=telling, weight=-alpha),
    )


def extrapolated(reference: Teacher, scale: float = 1.25, clip: float = CLIP) -> TeacherFields:
    """A teacher, moved on from a reference: p_ref (p / p_ref)^scale, the reward extrapolation of G-OPD.

    Yang et al., "Learning beyond Teacher: Generalized On-Policy Distillation with Reward Extrapolation", 2026,
    arXiv:2602.12125, maximize E[scale log(p / p_ref)] - KL(q || p_ref), whose advantage is
    scale log p + (1 - scale) log p_ref - log q.

    Args:
        reference: what the teacher is compared with, such as its model before it was trained.
        scale: factor of log(p / p_ref). Above 1 the tutor is to go beyond the teacher, below 1 not as far.
        clip: bound on a token's |log(p / p_ref)|, nats.

    Raises:
        ConfigError: scale is not above 0, or is 1, which needs no reference.
    """
    if not scale > 0.0 or scale == 1.0:
        raise ConfigError(f"scale={scale:g}; expected a number above 0, other than 1, which needs no reference")
    weighted = reference.model_copy(update={"weight": 1.0 - scale})
    return _fields(clip, weighted, Teacher(name="teacher", weight=scale))


def _fields(clip: float, *teachers: Teacher) -> TeacherFields:
    return {"teachers": teachers, "teacher_average": "log_mean", "teacher_residual_clip": clip}
