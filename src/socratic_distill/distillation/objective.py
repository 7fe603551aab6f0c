"""Turns scored dialogues into training data: which datum, with which loss and values.

Tokens that the tutor sampled are trained by a policy loss on advantages (`advantages.py`). Divergences over named
tokens (`divergences.py`) are trained by cross_entropy on `[N, 1 + K]` targets. Column 0 is the sequence's own token,
with weight 0; the other columns are the named tokens. If the weights depend on the tutor's current log-probabilities,
the example comes without them, and `reweighed` adds them after a forward pass. Every loss may need that pass to leave
out tokens that moved too far, and a policy loss to take the context out of losses that count it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.objectives import Direction, Objective, Supervised
from socratic_distill.config.policy_losses import loss_options
from socratic_distill.config.trust import check_code
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.distillation.advantages import SIGNALS, SampledTokens, penalty, reverse_kl_advantages, trained
from socratic_distill.distillation.datums import (
    Floats,
    Mask,
    TokenSequence,
    TokenWeights,
    make_datum,
    shift_targets,
    spread,
    with_weights,
)
from socratic_distill.distillation.reward_advantages import reward_advantages
from socratic_distill.distillation.scoring import ScoredDialogue
from socratic_distill.distillation.soft_targets import Soft, soften, weights

if TYPE_CHECKING:
    import tinker
    from tinker.types import LossFnType


@dataclass(frozen=True)
class Revision:
    """What the tutor's current log-probabilities change in a datum, in addition to weights that depend on them.

    Attributes:
        max_change: tokens that moved by more than this are left out; None: every token is kept.
        counts_context: whether a policy loss counts tokens without an advantage. Their sampled log-probability is then
            replaced by the current one, which makes their ratio 1 and their change 0.
        measure: what moved: the probability, or the log-probability in nats.
        with_advantage: whether only tokens are left out that moved in the direction of their advantage.
    """

    max_change: float | None
    counts_context: bool
    measure: Literal["probability", "log_ratio"] = "probability"
    with_advantage: bool = False

    def moved(self, now: Floats, sampled: Floats, advantages: Floats | None = None) -> Mask:
        """True for the tokens that moved too far, of the arrays' shape.

        Args:
            now: the trainer's log-probabilities, nats.
            sampled: the sampler's.
            advantages: the tokens' advantages; None if they have none.
        """
        assert self.max_change is not None, "without a bound no token moves too far"
        change = now - sampled if self.measure == "log_ratio" else np.exp(now) - np.exp(sampled)
        if self.with_advantage and advantages is not None:
            return change * np.sign(advantages) > self.max_change
        return np.abs(change) > self.max_change


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """One datum, its loss, and what is needed to weigh it and to measure drift on it.

    Attributes:
        datum: for the service, N - 1 positions.
        loss_fn: name of the service's loss for this datum.
        mask: True where the target is a tutor token that is trained on, `[N - 1]`.
        sampled: the sampler's log-probability of each target, nats, 0 outside the mask, `[N - 1]`; None for text that
            was not sampled, such as a recording.
        soft: the divergences from which `reweighed` computes the weights after a forward pass; empty if the datum
            already has its weights.
        options: options of the loss, all of them; empty if it takes none.
        revision: what else `reweighed` changes in the datum after a forward pass; None for nothing.
        left_out: number of tokens that moved too far to be trained on; None if there is no bound.
    """

    datum: "tinker.Datum"
    loss_fn: "LossFnType"
    mask: Mask
    sampled: npt.NDArray[np.float32] | None
    soft: tuple[Soft, ...] = field(default=())
    options: Mapping[str, float] = field(default_factory=dict)
    revision: Revision | None = None
    left_out: int | None = None

    @property
    def needs_forward(self) -> bool:
        """Whether `reweighed` must be called with the answer to a forward pass before it is trained on."""
        return bool(self.soft) or self.revision is not None

    @property
    def needed(self) -> Mask:
        """True where the tutor's log-probability is used, of the shape of the targets: `[N - 1]` or `[N - 1, 1 + K]`.

        Elsewhere the service may answer with any number.
        """
        if self.soft:
            named = np.concatenate([divergence.ids >= 0 for divergence in self.soft], axis=1)  # [N - 1, K]
            # Column 0, the sequence's own token, has weight 0; only a revision looks at it.
            own = self.mask if self.revision is not None else np.zeros_like(self.mask)
            return np.concatenate([own[:, None], named & self.mask[:, None]], axis=1)
        if self.revision is not None and self.revision.counts_context:
            return np.ones_like(self.mask)
        weights = self.datum.loss_fn_inputs.get("weights")
        values = None if weights is None else weights.to_numpy()
        return self.mask if values is None or values.ndim == 1 else values != 0

    def reweighed(self, now: npt.NDArray[np.floating]) -> "TrainingExample":
        """A copy of the example with its weights, or with a policy loss's datum revised.

        Args:
            now: the tutor's current log-probabilities of the targets, nats, `[N - 1, 1 + K]`; `[N - 1]` for a policy
                loss.
        """
        if not self.soft and self.revision is not None:
            return self._revised(self.revision, now)
        new_weights = weights(self.soft, self.mask, now.astype(np.float64)[:, 1:])  # [N - 1, 1 + K]
        left_out = None
        if self.revision is not None:
            left_out = self._moved(self.revision, now[:, 0], np.any(new_weights, axis=1))
            new_weights[left_out] = 0.0
        # A service may give no log-probability for a position whose weights are all 0, so drift is not measured there.
        # Tested in float32, as the service sees them: tiny float64 weights round to 0.
        is_weighted = new_weights.astype(np.float32).any(axis=1)  # [N - 1]
        return replace(
            self,
            datum=with_weights(self.datum, new_weights),
            mask=self.mask & is_weighted,
            soft=(),
            revision=None,
            left_out=None if left_out is None else int(left_out.sum()),
        )

    def _moved(
        self, revision: Revision, now: npt.NDArray[np.floating], among: Mask, advantages: Floats | None = None
    ) -> Mask:
        """True for the tokens among some that moved too far, `[N - 1]`."""
        assert self.sampled is not None, "text that nobody sampled cannot have moved"
        moved = np.zeros(len(among), np.bool_)
        # Only there: elsewhere the service may answer with any number.
        given = None if advantages is None else advantages[among]
        moved[among] = revision.moved(now[among].astype(np.float64), self.sampled[among].astype(np.float64), given)
        return moved

    def _revised(self, revision: Revision, now: npt.NDArray[np.floating]) -> "TrainingExample":
        inputs = {name: value.to_numpy() for name, value in self.datum.loss_fn_inputs.items()}  # [N - 1] each
        kept, left_out = self.mask, None
        if revision.max_change is not None:
            moved = self._moved(revision, now, kept, inputs["advantages"].astype(np.float64))
            kept, left_out = kept & ~moved, int(moved.sum())
        advantages = np.where(kept, inputs["advantages"], np.float32(0.0))
        logprobs = inputs["logprobs"]
        if revision.counts_context:
            logprobs = np.where(kept, logprobs, now.astype(np.float32))
        tokens, targets = self.datum.model_input.to_ints(), inputs["target_tokens"]
        datum = make_datum(tokens, targets, logprobs=logprobs, advantages=advantages)
        return replace(self, datum=datum, mask=kept, revision=None, left_out=left_out)


def make_examples(
    groups: Sequence[Sequence[ScoredDialogue]], config: SocraticConfig, step: int
) -> list[TrainingExample]:
    """The training examples of whole groups, in the order of the groups.

    Args:
        groups: scored dialogues; failed ones and those without a tutor turn give no example.
        config: objective, rewards and masks.
        step: number of the batch, for settings that change over the run.

    Raises:
        ConfigError: a loss function of the user cannot be imported.
        UntrustedConfig: the config was read from a run directory, and its code is not allowed.
    """
    check_code(config, "losses")
    return [example for group in groups for example in _of_group(group, config, step)]


def _of_group(group: Sequence[ScoredDialogue], config: SocraticConfig, step: int) -> list[TrainingExample]:
    masks = [
        [trained(turn, config) for turn in scored.dialogue.tutor_turns] if scored.sequences else [] for scored in group
    ]
    policy = _policy_advantages(group, masks, config, step)
    examples = []
    for scored, mask, advantages in zip(group, masks, policy, strict=True):
        objective = _objective(scored, config)
        for sequence in scored.sequences:
            whole = spread(sequence, mask).astype(bool)  # [N]
            if not whole.any():
                continue
            if not objective.asks_teacher:
                examples.append(_supervised(sequence, whole))
                continue
            # With weights of 0 alone there is nothing to train, as in a dialogue that a gate leaves out.
            if advantages is not None and (scored.weights is None or spread(sequence, advantages).any()):
                revision = _revision(scored, config, config.counts_context)
                example = _policy(sequence, whole, scored.tutor, advantages, config, revision)
                # A loss that counts the context counts what would be cut.
                is_cut = scored.weights is not None and not config.counts_context
                examples.append(_cut(example, spread(sequence, advantages)) if is_cut else example)
            factors = [(part, weight * config.kl_penalty_coef) for part, weight in objective.weighted(step)]
            parts = [soften(part, sequence, scored, coef) for part, coef in factors]
            # A policy loss takes `[N]` targets and soft targets are `[N, K]`, so a mixed objective makes two data.
            if soft := tuple(part for part in parts if part is not None):
                # `max_probability_change` is of the policy loss alone.
                region = None if config.trust_region is None else _revision(scored, config, False)
                example = _softened(sequence, whole, scored.tutor, soft, region)
                rows = [part.rows for part in soft if part.rows is not None]
                examples.append(_cut(example, np.append(0.0, np.sum(rows, axis=0))) if rows else example)
    return examples


def _cut(example: TrainingExample, at_token: Floats) -> TrainingExample:
    """The example without the positions after the last one that trains, which nothing that trains looks at.

    Args:
        example: of N - 1 positions.
        at_token: other than 0 at tokens that train, `[N]`.
    """
    stop = int(np.flatnonzero(at_token)[-1])  # the last of these tokens is the target of position stop - 1
    if stop == len(example.mask):
        return example
    inputs = {name: value.to_numpy()[:stop] for name, value in example.datum.loss_fn_inputs.items()}
    targets = inputs.pop("target_tokens")
    return replace(
        example,
        datum=make_datum(example.datum.model_input.to_ints()[:stop], targets, **inputs),
        mask=example.mask[:stop],
        sampled=None if example.sampled is None else example.sampled[:stop],
        soft=tuple(part.until(stop) for part in example.soft),
    )


def _objective(scored: ScoredDialogue, config: SocraticConfig) -> Objective | Supervised:
    if scored.dialogue.recording is None:
        return config.objective
    assert config.recordings is not None, "a recorded dialogue in a run without recordings"
    return config.recordings.objective


def _policy_advantages(
    group: Sequence[ScoredDialogue], masks: Sequence[list[Mask]], config: SocraticConfig, step: int
) -> list[list[Floats] | None]:
    """The advantages of each dialogue's sampled tokens, one array `[T]` a turn; None if no policy loss uses them."""
    of_divergence = _divergence_advantages(group, masks, config, step)
    terms = [None if scored.rewarded is None else scored.rewarded.terms for scored in group]
    rewards = reward_advantages(terms, config.reward_normalization)
    by_dialogue: list[list[Floats] | None] = []
    for scored, mask, advantages, reward in zip(group, masks, of_divergence, rewards, strict=True):
        penalties = [penalty(turn, config) for turn in scored.dialogue.tutor_turns]
        # Recorded text was not sampled by the tutor: a reward or penalty on it has no policy gradient.
        is_played = scored.dialogue.recording is None and bool(scored.tutor)
        if advantages is None and not (is_played and (config.reward_coef * reward or any(penalties))):
            by_dialogue.append(None)
            continue
        before = [np.zeros(len(turn)) for turn in mask] if advantages is None else advantages
        extra = [config.reward_coef * reward - loss if is_played else 0.0 for loss in penalties]  # one a turn
        by_dialogue.append([np.where(m, a + more, 0.0) for m, a, more in zip(mask, before, extra, strict=True)])
    return by_dialogue


def _divergence_advantages(
    group: Sequence[ScoredDialogue], masks: Sequence[list[Mask]], config: SocraticConfig, step: int
) -> list[list[Floats] | None]:
    """The advantages of the sampled-token divergence alone; its baseline may compare the dialogues of a group."""
    # All dialogues of a group are of one kind, played or recorded, so the first one decides the objective.
    sampled = _objective(group[0], config).sampled(step)
    if sampled is None:
        return [None] * len(group)
    settings, weight = sampled
    coef, make = weight * config.kl_penalty_coef, SIGNALS[settings.kind]
    indices = [i for i, scored in enumerate(group) if scored.tutor and scored.teacher]
    flat = [make(settings, _sampled_tokens(group[i], masks[i], coef, config)) for i in indices]  # [sum of T] each
    joined = [np.concatenate(masks[i]) for i in indices]
    by_dialogue: list[list[Floats] | None] = [None] * len(group)
    for i, advantages in zip(
        indices, reverse_kl_advantages(settings, flat, joined, config.kl_discount_factor), strict=True
    ):
        by_turn = np.split(advantages, np.cumsum([len(mask) for mask in masks[i]])[:-1])  # back to turns
        by_dialogue[i] = _weighted(by_turn, group[i].weights, settings.direction)
    return by_dialogue


def _sampled_tokens(
    scored: ScoredDialogue, masks: Sequence[Mask], coef: float, config: SocraticConfig
) -> SampledTokens:
    dialogue = scored.dialogue
    seed = stable_seed(config.seed, dialogue.step, dialogue.seed.id, dialogue.number, "control")
    return SampledTokens(scored.tutor, scored.teacher, masks, coef, seed)


def _weighted(by_turn: list[Floats], weights: TokenWeights | None, direction: Direction | None) -> list[Floats]:
    if weights is None:
        return by_turn
    return [values * factor for values, factor in zip(by_turn, weights.of(direction), strict=True)]


def _revision(scored: ScoredDialogue, config: SocraticConfig, counts_context: bool) -> Revision | None:
    """What a forward pass changes in the data of a dialogue; None for nothing."""
    region = config.trust_region
    if region is not None and scored.weights is not None:
        return Revision(region.bound, counts_context, region.measure, with_advantage=True)
    bound = config.max_probability_change
    return Revision(bound, counts_context) if counts_context or bound is not None else None


def _policy(
    sequence: TokenSequence,
    mask: Mask,
    logprobs: Sequence[Floats],
    advantages: Sequence[Floats],
    config: SocraticConfig,
    revision: Revision | None,
) -> TrainingExample:
    sampled = np.where(mask, spread(sequence, logprobs), 0.0)
    # The mask is stacked with the values so that all three shift together; each comes back as [N - 1].
    inputs, targets, (kept, before, values) = shift_targets(
        sequence.tokens, np.stack([mask, sampled, spread(sequence, advantages)])
    )
    floats = {"logprobs": before.astype(np.float32), "advantages": values.astype(np.float32)}
    return TrainingExample(
        make_datum(inputs, np.asarray(targets, np.int64), **floats),
        config.loss_fn,
        kept.astype(bool),
        floats["logprobs"],
        options=loss_options(config.loss_fn, config.loss_fn_options),
        revision=revision,
    )


def _supervised(sequence: TokenSequence, mask: Mask) -> TrainingExample:
    inputs, targets, (kept,) = shift_targets(sequence.tokens, mask[None].astype(np.float64))
    datum = make_datum(inputs, np.asarray(targets, np.int64), weights=kept.astype(np.float32))
    return TrainingExample(datum, "cross_entropy", kept.astype(bool), None)


def _softened(
    sequence: TokenSequence,
    mask: Mask,
    logprobs: Sequence[Floats],
    soft: tuple[Soft, ...],
    region: Revision | None,
) -> TrainingExample:
    """An example of cross_entropy on named tokens; with its weights unless they need a forward pass."""
    sampled = np.where(mask, spread(sequence, logprobs), 0.0) if logprobs else np.zeros(len(mask))
    inputs, own, (kept, before) = shift_targets(sequence.tokens, np.stack([mask, sampled]))
    # The service accepts only valid ids: empty slots (-1) become token 0, with weight 0.
    named = [np.maximum(divergence.ids, 0) for divergence in soft]
    targets = np.concatenate([np.asarray(own)[:, None], *named], axis=1)  # [N - 1, 1 + K]
    datum = make_datum(inputs, targets, weights=np.zeros(targets.shape, np.float32))
    drift = before.astype(np.float32) if logprobs else None
    example = TrainingExample(datum, "cross_entropy", kept.astype(bool), drift, soft, revision=region)
    if region is not None or any(divergence.needs_tutor for divergence in soft):
        return example
    return example.reweighed(np.zeros(targets.shape))  # these slopes ignore the tutor's log-probabilities
