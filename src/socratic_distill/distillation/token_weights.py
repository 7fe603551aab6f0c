"""The weights of the tutor's tokens: how much each token's divergence counts. Pure numpy.

A token's weight w_t is the product of what the config's `token_weights` give it. With D_t the divergence at position t,
training minimizes

    sum_t w_t D_t

Weights multiply a token's finished signal: its advantage after clip, discount, baseline and `normalize_length`, or its
soft targets. They are constants, without a gradient, and change no denominator: `normalize_length` divides by the
number of trained tokens, whatever their weights. Rewards and penalties are added afterwards, unweighted. Only dialogues
that the tutor played are weighted.

Each function below takes its setting and what is known of a dialogue's N trained tokens, in order, over all its turns,
and gives their weights `[N]`. Selections are made in each dialogue, not in the batch: so they depend neither on how a
batch is cut into minibatches nor on which dialogues happen to be in it. The trust region is not here: it is known only
after a forward pass (`objective.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.token_weights import (
    DisagreementWeight,
    EntropyGate,
    EntropyWeight,
    FreshnessWeight,
    PositionWeight,
    PrefixWeight,
    RewardGate,
    SignGate,
    WeightClip,
)
from socratic_distill.config.values import value
from socratic_distill.dialogues.rewards import Rewarded
from socratic_distill.distillation.advantages import share_of, trained
from socratic_distill.distillation.datums import Floats, Ids, Mask, TokenWeights
from socratic_distill.distillation.divergences import entropy
from socratic_distill.distillation.outcomes import succeeds
from socratic_distill.distillation.scoring import ScoredDialogue


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of the trained tokens of a dialogue, `[N]` each.

    Attributes:
        gap: log p_teacher - log p_tutor of each token, nats.
        place: number of the token among the trained ones of its turn, from 0.
        age: optimizer steps between the weights that sampled it and those that are trained.
        step: number of the batch.
        tutor_entropy: nats; None if no weight needs it.
        teacher_entropy: likewise.
        rewarded: what the rewards give the dialogue; None without rewards.
    """

    gap: Floats
    place: Ids
    age: Ids
    step: int
    tutor_entropy: Floats | None = None
    teacher_entropy: Floats | None = None
    rewarded: Rewarded | None = None


def prefix(setting: PrefixWeight, facts: Facts) -> Floats:
    """w_t = 1 for the first n tokens of a turn, else 0.

    "Fast and Effective On-policy Distillation from Reasoning Prefixes", 2026, arXiv:2602.15260.
    """
    return (facts.place < int(value(setting.tokens, facts.step))).astype(np.float64)


def disagreement(setting: DisagreementWeight, facts: Facts) -> Floats:
    """w_t = 1 for the share of tokens with the largest |log p(t) - log q(t)|, else 0.

    Xu et al., "TIP: Token Importance in On-Policy Distillation", 2026, arXiv:2604.14084, select by the divergence of
    the two distributions; here it is its estimate from the sampled token, which needs no request.
    """
    return _largest(np.abs(facts.gap), setting.share)


def uncertainty(setting: EntropyWeight, facts: Facts) -> Floats:
    """w_t = 1 for the share of tokens with the largest entropy H(q_t) of the tutor, else 0 (TIP, arXiv:2604.14084)."""
    assert facts.tutor_entropy is not None, "the tutor's entropy was not asked for"
    return _largest(facts.tutor_entropy, setting.share)


def position(setting: PositionWeight, facts: Facts) -> Floats:
    """w_t = 1 + gamma (1 - sum_{s < t} |a_s| / sum_s |a_s|), with a_s = log p(s) - log q(s).

    Xie et al., "On the Position Bias of On-Policy Distillation" (IW-OPD), 2026, arXiv:2606.22600, Algorithm 1. The sums
    run over all trained tokens of the dialogue, since a later turn follows from the earlier ones.
    """
    size = np.abs(facts.gap)
    before, total = np.cumsum(size) - size, size.sum()
    return 1.0 + setting.gamma * (1.0 - (before / total if total > 0.0 else 0.0 * size))


def freshness(setting: FreshnessWeight, facts: Facts) -> Floats:
    """w_t = decay^age.

    Kang et al., "AsyncOPD: How Stale Can On-Policy Distillation Be?", 2026, arXiv:2606.24143, measure what stale tokens
    do; Chen et al., f-OPD, 2026, arXiv:2605.17862, weigh samples by their freshness. The exponential is ours.
    """
    return setting.decay ** facts.age.astype(np.float64)


def reward_gate(setting: RewardGate, facts: Facts) -> Floats:
    """w_t = success or failure, by the dialogue's outcome; 1 where it is not known.

    With 1 and 0 only successes are distilled; SG-OPD, arXiv:2606.09304, takes a verifier as such a signal of trust.
    """
    succeeded = succeeds(setting, facts.rewarded)
    weight = 1.0 if succeeded is None else setting.success if succeeded else setting.failure
    return np.full(len(facts.gap), weight)


def sign_gate(setting: SignGate, facts: Facts) -> Floats:
    """w_t = agrees where sign(log p(t) - log q(t)) is that of the outcome, +1 or -1, else disagrees; 1 if not known.

    Xu et al., "SG-OPD: Sign-Gated On-Policy Distillation", 2026, arXiv:2606.09304: extrapolates where teacher and
    verifier agree, and interpolates where they do not.
    """
    succeeded = succeeds(setting, facts.rewarded)
    if succeeded is None:
        return np.ones(len(facts.gap))
    return np.where(np.sign(facts.gap) == (1 if succeeded else -1), setting.agrees, setting.disagrees)


def entropy_gate(setting: EntropyGate, facts: Facts) -> tuple[Floats, Floats]:
    """w_t = [H(p_t) > threshold] for forward divergences; for reverse ones 1, or [H(p_t) <= threshold].

    Jin et al., "Entropy-Aware On-Policy Distillation of Language Models", 2026, arXiv:2603.07079, equation 9, which
    keeps the reverse divergence everywhere.

    Returns:
        The weights of forward and of reverse divergences.
    """
    assert facts.teacher_entropy is not None, "the teacher's entropy was not asked for"
    is_unsure = facts.teacher_entropy > setting.threshold
    kept = np.ones(len(is_unsure)) if setting.reverse == "everywhere" else (~is_unsure).astype(np.float64)
    return is_unsure.astype(np.float64), kept


def clipped(setting: WeightClip, weights: Floats) -> Floats:
    """The weights within [low, high]; a weight of 0 stays 0, since another setting leaves the token out."""
    return np.where(weights > 0.0, np.clip(weights, setting.low, setting.high), 0.0)


# The factor of each kind that is the same for every divergence, from its setting.
FACTORS: Mapping[str, Callable[[Any, Facts], Floats]] = {
    "prefix": prefix,
    "disagreement": disagreement,
    "entropy": uncertainty,
    "position": position,
    "freshness": freshness,
    "reward_gate": reward_gate,
    "sign_gate": sign_gate,
}


def weigh(
    groups: Sequence[Sequence[ScoredDialogue]], config: SocraticConfig, step: int, version: int
) -> list[list[ScoredDialogue]]:
    """The groups, with the weights of their tokens where the config has weights.

    Args:
        groups: scored dialogues; recorded and failed ones get no weights.
        config: the weights.
        step: number of the batch.
        version: optimizer steps that led to the weights that are trained.
    """
    if not config.token_weights:
        return [list(group) for group in groups]
    return [[replace(entry, weights=_weights(entry, config, step, version)) for entry in group] for group in groups]


def _weights(scored: ScoredDialogue, config: SocraticConfig, step: int, version: int) -> TokenWeights | None:
    turns = scored.dialogue.tutor_turns
    if scored.dialogue.recording is not None or not scored.sequences:
        return None
    masks = [trained(turn, config) for turn in turns]
    if not scored.teacher:  # it was not scored, since each of its weights is 0
        zeros = _by_turn(np.zeros(sum(int(mask.sum()) for mask in masks)), masks)
        gated = zeros if any(weight.needs_direction for weight in config.token_weights) else None
        return TokenWeights(tuple(masks), zeros, gated, gated)
    facts = _facts(scored, masks, config, step, version)
    common, gates, clip = np.ones(len(facts.gap)), (None, None), None
    for setting in config.token_weights:
        if setting.kind in FACTORS:
            common = common * FACTORS[setting.kind](setting, facts)
        elif isinstance(setting, EntropyGate):
            gates = entropy_gate(setting, facts)
        elif isinstance(setting, WeightClip):
            clip = setting

    def finished(weights: Floats) -> tuple[Floats, ...]:
        return _by_turn(weights if clip is None else clipped(clip, weights), masks)

    forward, reverse = (None if gate is None else finished(common * gate) for gate in gates)
    return TokenWeights(tuple(masks), finished(common), forward, reverse)


def _facts(scored: ScoredDialogue, masks: Sequence[Mask], config: SocraticConfig, step: int, version: int) -> Facts:
    def flat(by_turn: Sequence[Floats]) -> Floats:
        return np.concatenate([values[mask] for values, mask in zip(by_turn, masks, strict=True)])

    turns = scored.dialogue.tutor_turns
    # An objective may have asked for more of them.
    top = max(weight.teacher_entropy_top for weight in config.token_weights)
    teachers = [entropy(named.logprobs[:, :top]) for named in scored.top_of_teacher] if top else []
    return Facts(
        gap=flat([p - q for p, q in zip(scored.teacher, scored.tutor, strict=True)]),
        place=np.concatenate([np.arange(mask.sum()) for mask in masks]),
        age=np.concatenate(
            [np.full(mask.sum(), version - turn.version) for mask, turn in zip(masks, turns, strict=True)]
        ),
        step=step,
        tutor_entropy=flat(scored.tutor_entropy) if scored.tutor_entropy else None,
        teacher_entropy=flat(teachers) if teachers else None,
        rewarded=scored.rewarded,
    )


def _by_turn(weights: Floats, masks: Sequence[Mask]) -> tuple[Floats, ...]:
    """Weights of the trained tokens as one array `[T]` a turn; 0 elsewhere."""
    parts, first = [], 0
    for mask in masks:
        part, count = np.zeros(len(mask)), int(mask.sum())
        part[mask] = weights[first : first + count]
        parts.append(part)
        first += count
    return tuple(parts)


def _largest(values: Floats, share: float) -> Floats:
    """1 for the share of the largest values, rounded up; of equal ones the first."""
    kept = np.zeros(len(values))
    kept[np.argsort(-values, kind="stable")[: share_of(share, len(values))]] = 1.0
    return kept
