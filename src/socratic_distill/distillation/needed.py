"""Which of the tutor's tokens need a teacher's score: those that train something. Pure.

A score is not needed where a token's weight is known to be 0 before the teacher is asked, and where no other token's
advantage or weight depends on it. The teacher reads a dialogue from its beginning, so only scores at its end are saved:
the request ends with the last token that needs one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.objectives import ObjectiveKind
from socratic_distill.config.token_weights import PrefixWeight, RewardGate, TokenWeight
from socratic_distill.config.values import value
from socratic_distill.dialogues.dialogue import Dialogue
from socratic_distill.dialogues.rewards import Rewarded
from socratic_distill.distillation.advantages import trained
from socratic_distill.distillation.datums import Mask, TokenSequence
from socratic_distill.distillation.outcomes import succeeds

# Weights that compare a token with all trained tokens of its dialogue, by the teacher's scores of them.
_OF_WHOLE_DIALOGUE = ("disagreement", "position")


@dataclass(frozen=True)
class Needed:
    """What must be known of a dialogue's tutor turns.

    Attributes:
        lengths: number of tokens at the start of each turn that need a teacher's score; 0: none.
        tutor: whether anything of the dialogue is trained, so that the tutor's own log-probabilities are used.
    """

    lengths: tuple[int, ...]
    tutor: bool = True

    @classmethod
    def all_of(cls, dialogue: Dialogue) -> "Needed":
        """Every token."""
        return cls(tuple(len(turn.tokens) for turn in dialogue.tutor_turns))


def needed_scores(dialogue: Dialogue, config: SocraticConfig, rewarded: Rewarded | None = None) -> Needed:
    """What must be known of a dialogue, to train on it as if everything were known.

    Args:
        dialogue: as played or recorded.
        config: says what is trained.
        rewarded: what the rewards give it; None if that is not known, or there are none.
    """
    if config.score_untrained:
        return Needed.all_of(dialogue)
    is_played = dialogue.recording is None
    masks = [trained(turn, config) for turn in dialogue.tutor_turns]
    if not any(mask.any() for mask in masks):
        return Needed(tuple(0 for _ in masks), tutor=False)
    weights = config.token_weights if is_played else ()
    if is_played and is_gated_out(config, weights, rewarded):
        has_signal = bool(config.rewards and config.reward_coef) or config.cut_replies == "penalize"
        return Needed(tuple(0 for _ in masks), tutor=has_signal)
    objective = config.objective if is_played or config.recordings is None else config.recordings.objective
    prefix = next((weight for weight in weights if isinstance(weight, PrefixWeight)), None)
    if prefix is not None and is_local(objective, config, weights):
        masks = [_first(mask, int(value(prefix.tokens, dialogue.step))) for mask in masks]
    return Needed(tuple(int(np.flatnonzero(mask)[-1]) + 1 if mask.any() else 0 for mask in masks))


def waits_for_rewards(config: SocraticConfig) -> bool:
    """Whether the rewards may show that a dialogue needs no score, so that they are given before the teachers score."""
    gates = [weight for weight in config.token_weights if isinstance(weight, RewardGate)]
    may_close = any(0.0 in (gate.success, gate.failure) for gate in gates)
    return may_close and not config.score_untrained and not _compares_group(config.objective)


def is_gated_out(config: SocraticConfig, weights: Sequence[TokenWeight], rewarded: Rewarded | None) -> bool:
    """Whether a gate gives every token of a dialogue the weight 0, and no other dialogue looks at its scores."""
    if rewarded is None or _compares_group(config.objective):
        return False
    is_closed = False
    for gate in weights:
        succeeded = succeeds(gate, rewarded) if isinstance(gate, RewardGate) else None
        if isinstance(gate, RewardGate) and succeeded is not None:
            is_closed = is_closed or (gate.success if succeeded else gate.failure) == 0.0
    return is_closed


def is_local(objective: ObjectiveKind, config: SocraticConfig, weights: Sequence[TokenWeight]) -> bool:
    """Whether what a token trains depends on its own scores alone, not on those of other tokens."""
    parts = objective.divergences
    if _compares_group(objective) or any(weight.kind in _OF_WHOLE_DIALOGUE for weight in weights):
        return False
    if any(part.kind == "control_shuffled_teacher" for part in parts) or objective.custom:
        return False
    return not (config.kl_discount_factor and any(part.trains_sampled_tokens for part in parts))


def _compares_group(objective: ObjectiveKind) -> bool:
    return any(part.compares_group for part in objective.divergences)


def _first(mask: Mask, count: int) -> Mask:
    """The first `count` tokens of those that a mask leaves."""
    return mask & (np.cumsum(mask) <= count)


def cut(sequences: Sequence[TokenSequence], lengths: Sequence[int]) -> list[TokenSequence]:
    """The sequences up to their last token that needs a score; those without one are left out.

    Args:
        sequences: of a dialogue.
        lengths: number of tokens at the start of each turn that need a score.

    Returns:
        Sequences whose spans begin with the first turn that needs a score and end with the last. Turns in between are
        whole, since their scores come with the same request.
    """
    kept = []
    for sequence in sequences:
        places = [index for index, span in enumerate(sequence.spans) if lengths[span.turn]]
        if places:
            spans = sequence.spans[places[0] : places[-1] + 1]
            last = replace(spans[-1], stop=spans[-1].start + lengths[spans[-1].turn])
            kept.append(TokenSequence(sequence.tokens[: last.stop], (*spans[:-1], last)))
    return kept
