"""Adds up what a dialogue's rewards give, and what their vetoes take. Pure.

With weights w_k and the penalty lambda of a rejected dialogue (the largest one of the rewards that reject it):

    r = sum_k w_k r_k - lambda [rejected]    veto="soft"
    r = -lambda if rejected, else sum_k w_k r_k    veto="hard"

These are the two objectives of PedagogicalRL (Dinucu-Jianu et al., EMNLP 2025), r = r_sol + (r_ped - 1) lambda and its
hard variant, where r_sol is the student's solve rate and r_ped is 0 if a judge rejects the dialogue, else 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from socratic_distill.config.rewards import Reward, Veto, penalty_of


@dataclass(frozen=True)
class Terms:
    """The terms of a dialogue's sum.

    Attributes:
        values: what each reward gives that is added, in the config's order, and then -1 to 0 for the soft vetoes
            together if there are any; None for a value that is not known.
        weights: their factors.
        instead: what a hard veto puts in the place of the sum; None: it does not.
    """

    values: tuple[float | None, ...]
    weights: tuple[float, ...]
    instead: float | None = None

    @property
    def total(self) -> float:
        """The sum; values that are not known are left out."""
        return self.total_with([0.0] * len(self.values))

    def total_with(self, unknown: Sequence[float]) -> float:
        """The sum, with these values in the place of those that are not known.

        Args:
            unknown: a value for each term.
        """
        if self.instead is not None:
            return self.instead
        filled = (other if value is None else value for value, other in zip(self.values, unknown, strict=True))
        return float(sum(weight * value for weight, value in zip(self.weights, filled, strict=True)))

    @property
    def size(self) -> float:
        """The sum of the terms' absolute values."""
        return sum(abs(weight * (value or 0.0)) for weight, value in zip(self.weights, self.values, strict=True))


def terms_of(rewards: Sequence[Reward], values: Sequence[float | None]) -> Terms:
    """The terms of one dialogue's sum.

    Args:
        rewards: those of the config.
        values: what each gives the dialogue; None: no value. A veto without a value rejects nothing.
    """
    added = [(reward.weight, value) for reward, value in zip(rewards, values, strict=True) if _veto(reward) is None]
    soft = [value for reward, value in zip(rewards, values, strict=True) if _veto(reward) == "soft"]
    if largest := max((penalty for veto, penalty in map(penalty_of, rewards) if veto == "soft"), default=0.0):
        paid = _penalties(rewards, values, "soft")
        # Where another veto gave no value, it is not known that nothing is to be paid.
        added.append((largest, -max(paid) / largest if paid else None if None in soft else 0.0))
    paid = _penalties(rewards, values, "hard")
    weights, terms = [weight for weight, _ in added], [value for _, value in added]
    return Terms(tuple(terms), tuple(weights), -max(paid) if paid else None)


def is_rejected(rewards: Sequence[Reward], values: Sequence[float | None]) -> bool | None:
    """Whether a veto rejects a dialogue with these values; None if no reward has a veto."""
    if all(_veto(reward) is None for reward in rewards):
        return None
    return bool(_penalties(rewards, values, "soft") or _penalties(rewards, values, "hard"))


def _penalties(rewards: Sequence[Reward], values: Sequence[float | None], kind: Veto) -> list[float]:
    """The penalties of the vetoes of a kind that reject a dialogue."""
    return [
        penalty_of(reward)[1]
        for reward, value in zip(rewards, values, strict=True)
        if _veto(reward) == kind and value is not None and value <= 0.0
    ]


def _veto(reward: Reward) -> Veto | None:
    return penalty_of(reward)[0]
