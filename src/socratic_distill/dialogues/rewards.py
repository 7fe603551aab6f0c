"""Task rewards of a dialogue, and what a dialogue has over its group.

A reward says how good a whole dialogue was. What counts is how it compares with the other dialogues on the same seed:
the group-centred advantage of GRPO (Shao et al., "DeepSeekMath", 2024),

    A_i = r_i - mean(r_1 … r_n)

the same for every token of dialogue i. GRPO goes on to divide by the group's standard deviation; here it is not
divided (Liu et al., "Understanding R1-Zero-Like Training", 2025): that would give the seeds on which nearly all
dialogues fare alike, too easy or too hard ones, the largest say, and it would hide the size of the rewards, which their
weights and `reward_coef` are there to set.
"""

import difflib
import inspect
import math
import reprlib
from collections.abc import Callable
from importlib import import_module
from numbers import Real
from typing import Any

import numpy as np

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.parts import Reward
from socratic_distill.config.trust import check_reward_code
from socratic_distill.dialogues.dialogue import Dialogue
from socratic_distill.errors import ConfigError, RolloutError

RewardFunction = Callable[[Dialogue], float]

# Times `reward_coef`, and squared as optimizers do, it is still a 32-bit number.
_LARGEST = 1e12


def load_rewards(config: SocraticConfig) -> RewardFunction | None:
    """The rewards of a config as one function: of a finished dialogue, their sum by weight. None: it has none.

    The function raises `RolloutError` where a reward function raises or gives no finite number; the message names the
    function, what it gave and the dialogue.

    Raises:
        ConfigError: a reward function cannot be imported or called; says what to write instead.
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
                f"the rewards of {_named(dialogue)} add up to {result:g}; expected at most {_LARGEST:g}, lower their "
                "weights"
            )
        return result

    return total


def _load(reward: Reward, max_turns: int) -> RewardFunction:
    if reward.kind == "function":
        return _checked(reward.function, _import(reward.function))
    outcomes: dict[str, RewardFunction] = {
        "solved": lambda dialogue: float(dialogue.solved),
        "not_telling": lambda dialogue: float(not dialogue.told),
        "few_turns": lambda dialogue: 1.0 - len(dialogue.tutor_turns) / max_turns,
    }
    return outcomes[reward.kind]


def _import(path: str) -> Callable[[Dialogue], Any]:
    """The function at 'module:name'; `__main__` is the running script."""
    module_name, _, name = path.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:  # whatever the module's own code raises while it runs
        raise ConfigError(
            f"reward function {path!r}: module {module_name!r} cannot be imported ({type(error).__name__}: {error}); "
            "write 'module:name' with a module that is installed or on PYTHONPATH, or '__main__:name' for a function "
            "of the running script"
        ) from error
    try:
        found = getattr(module, name)
    except AttributeError:
        close = difflib.get_close_matches(name, [each for each in vars(module) if callable(getattr(module, each))], n=1)
        hint = f"did you mean '{module_name}:{close[0]}'?" if close else "define it at the module's top level"
        late = ", above the call of train()" if module_name == "__main__" and not close else ""
        raise ConfigError(f"reward function {path!r}: {module_name!r} has no {name!r}; {hint}{late}") from None
    if not callable(found) or inspect.iscoroutinefunction(found):
        what = "an async function" if callable(found) else f"of type {type(found).__name__}"
        raise ConfigError(
            f"reward function {path!r} is {what}; expected a plain function that takes a Dialogue and gives a number, "
            f"as in `def {name}(dialogue): return 1.0 if dialogue.solved else 0.0`"
        )
    return found


def _checked(path: str, function: Callable[[Dialogue], Any]) -> RewardFunction:
    def reward(dialogue: Dialogue) -> float:
        try:
            given = function(dialogue)
        except Exception as error:
            raise RolloutError(
                f"reward function {path!r} raised {type(error).__name__}: {error}, on {_named(dialogue)}"
            ) from error
        number = _number(given)
        if number is None or not math.isfinite(number):
            shown = reprlib.repr(given) if number is None else f"{number}"
            raise RolloutError(
                f"reward function {path!r} gave {shown} on {_named(dialogue)}; expected a finite number, as an int, "
                "float or bool"
            )
        return number

    return reward


def _number(given: object) -> float | None:
    """A number as a float, infinite where it is too large for one; None for what is no number."""
    if not isinstance(given, (Real, np.bool_)):
        return None
    try:
        return float(given)
    except OverflowError:
        return math.inf


def _named(dialogue: Dialogue) -> str:
    return f"dialogue {dialogue.number} on seed {dialogue.seed.id!r}"
