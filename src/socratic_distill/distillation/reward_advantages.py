"""The advantage that rewards give each dialogue of a group. Pure.

By default it is the dialogue's reward minus its group's mean. With `normalization="group"` each term of the sum is
first given mean 0 and standard deviation 1 in the group, and then multiplied by its weight, so that no reward outweighs
the others by its spread: the per-reward normalisation of GDPO (Liu et al., 2026, arXiv:2601.05242), which PEARL (Chang
et al., 2026, arXiv:2605.29582) uses for tutors. Neither the whole batch nor the sum is normalised again.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Literal

from socratic_distill.dialogues.reward_sums import Terms

# Below this share of the largest value, a spread is rounding.
_ROUNDING = 1e-9


def reward_advantages(group: Sequence[Terms | None], normalization: Literal["none", "group"] = "none") -> list[float]:
    """The advantage of each dialogue of a group.

    A value that is not known counts as the group's mean of that reward, so it neither raises nor lowers the dialogue's
    advantage; if no dialogue has one, it counts as 0.

    Args:
        group: the terms of each dialogue's reward; None for a failed dialogue, which gets 0.
        normalization: "group" normalises each reward in the group.
    """
    terms = [member for member in group if member is not None]
    columns = list(zip(*(member.values for member in terms), strict=True))  # one a reward
    if normalization == "none":
        means = [statistics.mean(known) if (known := _known(column)) else 0.0 for column in columns]
        return group_advantages([None if member is None else member.total_with(means) for member in group])
    weights, standardized = terms[0].weights if terms else (), [_standardized(column) for column in columns]
    sums = [
        math.fsum(weight * column[index] for weight, column in zip(weights, standardized, strict=True))
        for index in range(len(terms))
    ]
    of_terms = iter(sums)
    return [0.0 if member is None else next(of_terms) for member in group]


def group_advantages(values: Sequence[float | None]) -> list[float]:
    """Each dialogue's reward minus the mean reward of its group, in the units of the rewards.

    None is a failed dialogue: it is left out of the mean and gets 0. With fewer than two rewards, all get 0.

    >>> group_advantages([1.0, None, 0.0, 0.5]), group_advantages([1.0, None])
    ([0.5, 0.0, -0.5, 0.0], [0.0, 0.0])
    """
    rewards = [value for value in values if value is not None]
    if len(rewards) < 2:
        return [0.0] * len(values)
    # Exact, unlike a sum of floats divided by n: a group of equal rewards gets exactly 0, and so no policy datum.
    mean = statistics.mean(rewards)
    return [0.0 if value is None else value - mean for value in values]


def _standardized(column: Sequence[float | None]) -> list[float]:
    """A reward's values with mean 0 and (population) standard deviation 1; 0 for unknown ones, and if all are equal."""
    known = _known(column)
    if len(known) < 2:
        return [0.0] * len(column)
    mean, deviation = statistics.mean(known), statistics.pstdev(known)
    if deviation <= _ROUNDING * max(map(abs, known)):
        return [0.0] * len(column)
    return [0.0 if value is None else (value - mean) / deviation for value in column]


def _known(column: Sequence[float | None]) -> list[float]:
    return [value for value in column if value is not None]
