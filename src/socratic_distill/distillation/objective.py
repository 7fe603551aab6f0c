"""Scores to training data: which datum, with which loss and values.

What the tutor sampled is trained by a policy loss on advantages (`advantages.py`). Divergences over named tokens
(`divergences.py`) are trained by cross_entropy on `[N, K]` targets: column 0 is the token that stands there, of weight
0, and the others are the named ones. Where their weights depend on what the tutor says now, the example comes without
them, and `reweighed` puts them in once a pass forward has told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.objectives import Objective, Supervised
from socratic_distill.distillation.advantages import group_advantages, penalty, reverse_kl_advantages, signals, trained
from socratic_distill.distillation.datums import (
    Floats,
    Mask,
    TokenSequence,
    make_datum,
    shift_targets,
    spread,
    with_weights,
)
from socratic_distill.distillation.scoring import ScoredDialogue
from socratic_distill.distillation.soft_targets import Soft, soften, weights

if TYPE_CHECKING:
    import tinker
    from tinker.types import LossFnType


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """One datum and what belongs to it.

    Attributes:
        datum: for the service, N - 1 positions.
        loss_fn: the service's loss on it.
        mask: True where the target is a tutor's token that is trained on, `[N - 1]`.
        sampled: the sampler's log-probability of each target, nats, 0 outside the mask, `[N - 1]`; None for text that
            nobody sampled.
        soft: what the weights follow from, once a pass forward has told what the tutor says now; empty where the datum
            has its weights.
    """

    datum: "tinker.Datum"
    loss_fn: "LossFnType"
    mask: Mask
    sampled: npt.NDArray[np.float32] | None
    soft: tuple[Soft, ...] = field(default=())

    @property
    def needed(self) -> Mask:
        """True where the tutor's log-probability is looked at, of the shape of the targets: `[N - 1]` or `[N - 1, K]`.

        A service need not tell what is true elsewhere.
        """
        if self.soft:
            named = np.concatenate([one.ids >= 0 for one in self.soft], axis=1)
            return np.pad(named & self.mask[:, None], ((0, 0), (1, 0)))
        weights = self.datum.loss_fn_inputs.get("weights")
        values = None if weights is None else weights.to_numpy()
        return self.mask if values is None or values.ndim == 1 else values != 0

    def reweighed(self, now: npt.NDArray[np.floating]) -> "TrainingExample":
        """The example with its weights.

        Args:
            now: the tutor's log-probabilities of the targets, nats, `[N - 1, 1 + K]`.
        """
        found = weights(self.soft, self.mask, now.astype(np.float64)[:, 1:])
        # A service need not tell of a place where no weight is what the tutor says there.
        looked_at = found.astype(np.float32).any(axis=1)
        return replace(self, datum=with_weights(self.datum, found), mask=self.mask & looked_at, soft=())


def make_examples(
    groups: Sequence[Sequence[ScoredDialogue]], config: SocraticConfig, step: int
) -> list[TrainingExample]:
    """The training examples of whole groups, in their order.

    Args:
        groups: scored dialogues; those that failed, or have no tutor turn, give none.
        config: objective, rewards and masks.
        step: the batch, for what changes over the run.
    """
    return [example for group in groups for example in _of_group(group, config, step)]


def _of_group(group: Sequence[ScoredDialogue], config: SocraticConfig, step: int) -> list[TrainingExample]:
    masks = [[trained(turn, config) for turn in one.dialogue.tutor_turns] if one.sequences else [] for one in group]
    policy = _policy_advantages(group, masks, config, step)
    found = []
    for one, mask, advantages in zip(group, masks, policy, strict=True):
        objective = _objective(one, config)
        for sequence in one.sequences:
            whole = spread(sequence, mask).astype(bool)
            if not whole.any():
                continue
            if not objective.asks_teacher:
                found.append(_supervised(sequence, whole))
                continue
            if advantages is not None:
                found.append(_policy(sequence, whole, one.tutor, advantages, config.loss_fn))
            factors = [(each, weight * config.kl_penalty_coef) for each, weight in objective.weighted(step)]
            soft = [soften(each, sequence, one, coef) for each, coef in factors]
            if any(soft):
                found.append(_softened(sequence, whole, one.tutor, tuple(each for each in soft if each is not None)))
    return found


def _objective(scored: ScoredDialogue, config: SocraticConfig) -> Objective | Supervised:
    if scored.dialogue.recording is None:
        return config.objective
    assert config.recordings is not None, "a recorded dialogue in a run without recordings"
    return config.recordings.objective


# The tokens that were sampled


def _policy_advantages(
    group: Sequence[ScoredDialogue], masks: Sequence[list[Mask]], config: SocraticConfig, step: int
) -> list[list[Floats] | None]:
    """The advantages of each dialogue's tokens, one array `[T]` a turn; None where no loss looks at them."""
    of_divergence = _divergence_advantages(group, masks, config, step)
    rewards = group_advantages([one.reward for one in group])
    found: list[list[Floats] | None] = []
    for one, mask, advantages, reward in zip(group, masks, of_divergence, rewards, strict=True):
        penalties = [penalty(turn, config) for turn in one.dialogue.tutor_turns]
        is_played = one.dialogue.recording is None and bool(one.tutor)
        if advantages is None and not (is_played and (reward or any(penalties))):
            found.append(None)
            continue
        before = [np.zeros(len(each)) for each in mask] if advantages is None else advantages
        extra = [config.reward_coef * reward - loss if is_played else 0.0 for loss in penalties]
        found.append([np.where(m, a + more, 0.0) for m, a, more in zip(mask, before, extra, strict=True)])
    return found


def _divergence_advantages(
    group: Sequence[ScoredDialogue], masks: Sequence[list[Mask]], config: SocraticConfig, step: int
) -> list[list[Floats] | None]:
    """Those of the sampled-token divergence, which compares the dialogues of a group."""
    sampled = _objective(group[0], config).sampled(step)
    if sampled is None:
        return [None] * len(group)
    settings, weight = sampled
    coef, clip = weight * config.kl_penalty_coef, settings.advantage_clip
    there = [i for i, one in enumerate(group) if one.tutor]
    flat = [signals(group[i].tutor, group[i].teacher, masks[i], coef, clip) for i in there]
    joined = [np.concatenate(masks[i]) for i in there]
    found: list[list[Floats] | None] = [None] * len(group)
    for i, advantages in zip(
        there, reverse_kl_advantages(settings, flat, joined, config.kl_discount_factor), strict=True
    ):
        found[i] = np.split(advantages, np.cumsum([len(mask) for mask in masks[i]])[:-1])
    return found


def _policy(
    sequence: TokenSequence, mask: Mask, logprobs: Sequence[Floats], advantages: Sequence[Floats], loss_fn: "LossFnType"
) -> TrainingExample:
    sampled = np.where(mask, spread(sequence, logprobs), 0.0)
    inputs, targets, (kept, before, values) = shift_targets(
        sequence.tokens, np.stack([mask, sampled, spread(sequence, advantages)])
    )
    floats = {"logprobs": before.astype(np.float32), "advantages": values.astype(np.float32)}
    return TrainingExample(
        make_datum(inputs, np.asarray(targets, np.int64), **floats), loss_fn, kept.astype(bool), floats["logprobs"]
    )


def _supervised(sequence: TokenSequence, mask: Mask) -> TrainingExample:
    inputs, targets, (kept,) = shift_targets(sequence.tokens, mask[None].astype(np.float64))
    datum = make_datum(inputs, np.asarray(targets, np.int64), weights=kept.astype(np.float32))
    return TrainingExample(datum, "cross_entropy", kept.astype(bool), None)


def _softened(
    sequence: TokenSequence, mask: Mask, logprobs: Sequence[Floats], soft: tuple[Soft, ...]
) -> TrainingExample:
    """An example of cross_entropy on named tokens, with its weights if they are known by now."""
    sampled = np.where(mask, spread(sequence, logprobs), 0.0) if logprobs else np.zeros(len(mask))
    inputs, own, (kept, before) = shift_targets(sequence.tokens, np.stack([mask, sampled]))
    # A token must stand in every slot; those that name none have weight 0.
    targets = np.concatenate([np.asarray(own)[:, None], *(np.maximum(one.ids, 0) for one in soft)], axis=1)
    datum = make_datum(inputs, targets, weights=np.zeros(targets.shape, np.float32))
    drift = before.astype(np.float32) if logprobs else None
    example = TrainingExample(datum, "cross_entropy", kept.astype(bool), drift, soft)
    return example if any(one.needs_tutor for one in soft) else example.reweighed(np.zeros(targets.shape))
