"""Task rewards of a dialogue.

A reward says how good a whole dialogue was. Training compares it with the other dialogues on the same seed, by the
group-centred advantage of GRPO (Shao et al., "DeepSeekMath", 2024):

    A_i = r_i - mean(r_1 … r_n)

It is the same for every token of dialogue i. GRPO also divides by the group's standard deviation. This library does not
(Liu et al., "Understanding R1-Zero-Like Training", 2025): seeds on which nearly all dialogues get the same reward, too
easy or too hard ones, would then have the largest influence. It would also cancel the size of the rewards, which their
weights and `reward_coef` set.
"""

import math
import reprlib
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.functions import import_function
from socratic_distill.config.parts import Reward
from socratic_distill.config.trust import check_reward_code
from socratic_distill.dialogues.dialogue import Dialogue
from socratic_distill.errors import RolloutError

RewardFunction = Callable[[Dialogue], float]

# Multiplied by `reward_coef` and squared, as optimizers do, it still fits a 32-bit float.
_LARGEST = 1e12
_EXPECTED = (
    "takes a Dialogue and returns a number, as in `def {name}(dialogue): return 1.0 if dialogue.solved else 0.0`"
)


def load_rewards(config: SocraticConfig) -> RewardFunction | None:
    """One function that gives the weighted sum of a config's rewards for a finished dialogue. None: no rewards.

    The function raises `RolloutError` if a reward function raises an error or returns no finite number; the message
    names the function, its result and the dialogue.

    Raises:
        ConfigError: a reward function cannot be imported or called; the message says what to write instead.
        UntrustedConfig: the config was read from a run directory, and its code is not allowed.
    """
    if not config.rewards:
        return None
    check_reward_code(config)
    parts = [(reward.weight, _load(reward, config.max_turns)) for reward in config.rewards]

    def total(dialogue: Dialogue) -> float:
        result = sum(weight * function(dialogue) for weight, function in parts)
        if not abs(result) <= _LARGEST:
            raise RolloutError(
                f"the rewards of {_named(dialogue)} add up to {result:g}; expected at most {_LARGEST:g}; lower their "
                "weights"
            )
        return result

    return total


def _load(reward: Reward, max_turns: int) -> RewardFunction:
    if reward.kind == "function":
        return _checked(reward.function, import_function(reward.function, "reward function", _EXPECTED))
    outcomes: dict[str, RewardFunction] = {
        "solved": lambda dialogue: float(dialogue.solved),
        "not_telling": lambda dialogue: float(not dialogue.told),
        "few_turns": lambda dialogue: 1.0 - len(dialogue.tutor_turns) / max_turns,
    }
    return outcomes[reward.kind]


def _checked(path: str, function: Callable[[Dialogue], Any]) -> RewardFunction:
    def reward(dialogue: Dialogue) -> float:
        try:
            result = function(dialogue)
        except Exception as error:
            raise RolloutError(
                f"reward function {path!r} raised {type(error).__name__}: {error}, on {_named(dialogue)}"
            ) from error
        number = _number(result)
        if number is None or not math.isfinite(number):
            shown = reprlib.repr(result) if number is None else f"{number}"
            raise RolloutError(
                f"reward function {path!r} returned {shown} on {_named(dialogue)}; expected a finite number, as an "
                "int, float or bool"
            )
        return number

    return reward


def _number(value: object) -> float | None:
    """A number as a float, infinite if it is too large for one; None if the value is not a number."""
    if not isinstance(value, (Real, np.bool_)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _named(dialogue: Dialogue) -> str:
    return f"dialogue {dialogue.number} on seed {dialogue.seed.id!r}"
