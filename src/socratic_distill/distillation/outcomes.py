"""Whether a dialogue counts as a success, by what its rewards give it. Pure."""

from socratic_distill.config.token_weights import RewardGate, SignGate
from socratic_distill.dialogues.rewards import Rewarded


def succeeds(gate: RewardGate | SignGate, rewarded: Rewarded | None) -> bool | None:
    """Whether a dialogue succeeds, as a gate asks; None where its reward is not known."""
    if rewarded is None:
        return None
    reward = rewarded.total if gate.reward is None else rewarded.values[gate.reward]
    return None if reward is None else reward >= gate.least
