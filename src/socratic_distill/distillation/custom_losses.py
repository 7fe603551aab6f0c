"""Losses that the user writes in torch, and their slopes by autograd.

The function gets the log-probabilities of the named tokens of one sequence and returns a scalar, the sum over its
positions. Autograd gives dL/dlog q, which is trained like the slope of any other divergence (`divergences`). torch is
imported when a custom loss is used.
"""

import reprlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.functions import import_function
from socratic_distill.config.objectives import CustomObjective
from socratic_distill.config.trust import check_code, custom_objectives
from socratic_distill.distillation.datums import Floats
from socratic_distill.errors import ConfigError, LocalExtraMissing
from socratic_distill.files.extras import how_to_install
from socratic_distill.service.numbers import LOWEST

LossFunction = Callable[..., Any]

# Multiplied by a coefficient, it still fits the 32-bit floats that services take.
_LARGEST = 1e12
_TRIED = "on a made-up input"
_TRAINED = "in training"


def try_losses(config: SocraticConfig) -> None:
    """Calls each loss function of a config once on a small made-up input.

    Raises:
        ConfigError: a function cannot be imported or called, or gives no finite gradient.
        LocalExtraMissing: torch is not installed.
        UntrustedConfig: the config was read from a run directory, and its code is not allowed.
    """
    check_code(config, "losses")
    for objective in custom_objectives(config):
        _slope(objective, _load(objective), _made_up(objective), _TRIED)


def custom_slope(objective: CustomObjective) -> Callable[[Floats, Floats, Floats], Floats]:
    """The slope of a custom loss over named tokens, from its settings.

    Raises:
        ConfigError: the function cannot be imported. The slope raises it if the function fails.
        LocalExtraMissing: torch is not installed.
    """
    function = _load(objective)
    return lambda tutor, teacher, drawn: _slope(objective, function, (tutor, teacher, drawn), _TRAINED)


def _load(objective: CustomObjective) -> LossFunction:
    if find_spec("torch") is None:
        raise LocalExtraMissing(
            f"loss function {objective.function!r} needs torch, not installed here. {how_to_install('local')}"
        )
    return import_function(objective.function, "loss function", _expected(objective))


def _expected(objective: CustomObjective) -> str:
    names = _names(objective)
    return (
        f"takes {', '.join(names)} and returns a scalar tensor, as in "
        f"`def {{name}}({', '.join(names)}): return (teacher.exp() * (teacher - logprobs)).sum()`"
    )


def _names(objective: CustomObjective) -> list[str]:
    return ["logprobs", "teacher", "mask", *(["drawn"] if objective.draws else [])]


def _made_up(objective: CustomObjective) -> tuple[Floats, Floats, Floats]:
    """Log-probabilities as training gives them: three positions, and an empty slot where there can be one."""
    width = objective.tutor_top + objective.teacher_top + objective.draws
    falling: Floats = np.log(np.linspace(0.6, 0.3, width) / width)  # [K], probabilities with a sum below 1
    tutor: Floats = falling - np.arange(3.0)[:, None]  # [3, K]
    teacher = tutor[:, ::-1].copy()
    if objective.tutor_top:
        tutor[0, -1] = teacher[0, -1] = -np.inf  # a token that both models name takes one slot
    return tutor, teacher, tutor


def _slope(
    objective: CustomObjective, function: LossFunction, given: tuple[Floats, Floats, Floats], when: str
) -> Floats:
    """The gradient of the function's result, `[M, K]`; 0 in empty slots."""
    import torch

    tutor, teacher, drawn = given
    mask = ~(np.isneginf(tutor) & np.isneginf(teacher))  # [M, K], slots that name a token
    # Finite in empty slots: in torch, -inf - -inf is nan, whose gradient stays nan even after torch.where.
    # np.maximum copies, so the function cannot change our arrays.
    logprobs, *others = [torch.from_numpy(np.maximum(values, LOWEST)) for values in (tutor, teacher, drawn)]
    logprobs.requires_grad_()
    arguments = [logprobs, others[0], torch.from_numpy(mask.copy()), *(others[1:] if objective.draws else [])]
    shape = f"[{', '.join(map(str, mask.shape))}]"
    with torch.enable_grad():
        try:
            loss = function(*arguments)
        except Exception as error:
            raise _invalid(objective, f"raised {type(error).__name__}: {error}", shape, when) from error
        if not isinstance(loss, torch.Tensor):
            raise _invalid(objective, f"returned {reprlib.repr(loss)}, no tensor", shape, when)
        if loss.shape != () or not loss.is_floating_point():
            raise _invalid(objective, f"returned a tensor of shape {list(loss.shape)}, {loss.dtype}", shape, when)
        if not torch.isfinite(loss):
            raise _invalid(objective, f"returned {loss.item()}", shape, when)
        try:
            # Not backward(): that would add to the gradients of the user's own parameters.
            (slope,) = torch.autograd.grad(loss, logprobs, allow_unused=True) if loss.requires_grad else (None,)
        except Exception as error:  # autograd runs the user's backward functions
            raise _invalid(
                objective, f"has a gradient that raised {type(error).__name__}: {error}", shape, when
            ) from error
    if slope is None:
        raise _invalid(objective, "returned a tensor that does not depend on logprobs", shape, when)
    gradient = np.where(mask, slope.numpy(), 0.0)  # [M, K]
    if not (np.abs(gradient) <= _LARGEST).all():  # nan is not below it either
        bad = gradient[~(np.abs(gradient) <= _LARGEST)][0]
        raise _invalid(objective, f"has the gradient {bad:g}; expected numbers up to {_LARGEST:g}", shape, when)
    return gradient


def _invalid(objective: CustomObjective, problem: str, shape: str, when: str) -> ConfigError:
    names = ", ".join(_names(objective))
    resume = "" if when == _TRIED else ". Mend it and start the same script again to resume from the last state"
    return ConfigError(
        f"loss function {objective.function!r} {problem}, {when} with logprobs of shape {shape}; expected a function "
        f"of ({names}) that returns a finite scalar tensor computed from logprobs{resume}"
    )
