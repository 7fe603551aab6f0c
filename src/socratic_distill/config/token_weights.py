"""The kinds of token weight, and what each needs. Their formulas are in `distillation/token_weights.py`.

To add one, write a class here that says what it needs, and a function of its formula there.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from socratic_distill.config.objectives import Candidates
from socratic_distill.config.shorthand import Kind, Several
from socratic_distill.config.values import Factor, Name, NotNegative, Positive, Schedule, Section, Setting, Tokens

PositiveShare = Annotated[float, Field(gt=0.0, le=1.0, strict=True)]
Reached = Annotated[float, Field(ge=-1e12, le=1e12, strict=True)]
_SHARE = "Share of a dialogue's trained tokens that keep their signal; the others get weight 0."
_REWARD = "Name of the reward that decides. None: the dialogue's whole reward."
_LEAST = "The dialogue succeeds with this much of the reward or more."


class WeightKind(Setting):
    """Properties of a kind of weight; the defaults here are for a kind that needs nothing.

    Attributes:
        needs_rewards: whether it depends on what the rewards give a dialogue.
        needs_direction: whether it weighs forward and reverse divergences differently.
    """

    needs_rewards: ClassVar[bool] = False
    needs_direction: ClassVar[bool] = False

    @property
    def tutor_entropy_top(self) -> int:
        """Number of the tutor's likeliest tokens that its entropy is computed from; 0: not needed."""
        return 0

    @property
    def teacher_entropy_top(self) -> int:
        """Number of the teacher's likeliest tokens that its entropy is computed from; 0: not needed."""
        return 0


class PrefixWeight(WeightKind):
    """Trains on the first tokens of each reply alone (arXiv 2602.15260)."""

    kind: Literal["prefix"] = "prefix"
    tokens: Tokens | Schedule = Field(
        description="Number of trained tokens at the start of each tutor turn that keep their signal, or a schedule of "
        "it by step, rounded down."
    )

    @model_validator(mode="after")
    def _check_tokens(self) -> Self:
        if isinstance(self.tokens, Schedule) and min(self.tokens.start, self.tokens.end) < 1:
            raise ValueError(
                f"tokens goes from {self.tokens.start:g} to {self.tokens.end:g}; expected 1 or more at both ends"
            )
        return self


class DisagreementWeight(WeightKind):
    """Trains where teacher and tutor differ most about the sampled token (TIP, arXiv 2604.14084)."""

    kind: Literal["disagreement"] = "disagreement"
    share: PositiveShare = Field(default=0.5, description=_SHARE)


class EntropyWeight(WeightKind):
    """Trains where the tutor is least sure (TIP, arXiv 2604.14084)."""

    kind: Literal["entropy"] = "entropy"
    share: PositiveShare = Field(default=0.5, description=_SHARE)
    k: Candidates = Field(
        default=16, description="Number of the tutor's likeliest tokens that the entropy is computed from."
    )

    @property
    def tutor_entropy_top(self) -> int:
        """The `k` tokens."""
        return self.k


class PositionWeight(WeightKind):
    """Weighs early tokens more, by the discrepancy before a token (IW-OPD, arXiv 2606.22600)."""

    kind: Literal["position"] = "position"
    gamma: Factor = Field(default=0.5, description="The first token has the weight 1 + gamma, the last at least 1.")


class EntropyGate(WeightKind):
    """Trains forward divergences only where the teacher is unsure (arXiv 2603.07079)."""

    kind: Literal["entropy_gate"] = "entropy_gate"
    threshold: NotNegative = Field(description="Entropy of the teacher above which it is unsure, nats.")
    k: Candidates = Field(
        default=16, description="Number of the teacher's likeliest tokens that the entropy is computed from."
    )
    reverse: Literal["everywhere", "elsewhere"] = Field(
        default="everywhere",
        description="Where reverse divergences are trained: 'everywhere' as in the paper, or 'elsewhere', where the "
        "teacher is sure.",
    )
    needs_direction: ClassVar[bool] = True

    @property
    def teacher_entropy_top(self) -> int:
        """The `k` tokens."""
        return self.k


class TrustRegion(WeightKind):
    """Leaves out tokens that moved too far since they were sampled (DPPO, arXiv 2602.04879).

    It is known only after a forward pass, so it costs one more training cycle.
    """

    kind: Literal["trust_region"] = "trust_region"
    measure: Literal["probability", "log_ratio"] = Field(
        default="probability",
        description="What moved: the token's probability, or its log-probability in nats, from the sampler's value to "
        "the trainer's.",
    )
    bound: Positive = Field(
        default=0.2,
        description="A token that moved by more than this is left out. With advantages, only if it moved in the "
        "direction of its advantage.",
    )


class FreshnessWeight(WeightKind):
    """Weighs tokens less the older the weights that sampled them."""

    kind: Literal["freshness"] = "freshness"
    decay: PositiveShare = Field(
        default=0.5, description="Factor for each optimizer step between the weights that sampled and those trained."
    )


class RewardGate(WeightKind):
    """Weighs a whole dialogue by its outcome."""

    kind: Literal["reward_gate"] = "reward_gate"
    reward: Name | None = Field(default=None, description=_REWARD)
    least: Reached = Field(default=1.0, description=_LEAST)
    success: Factor = Field(default=1.0, description="Weight of a dialogue that succeeds.")
    failure: Factor = Field(default=0.0, description="Weight of a dialogue that does not.")
    needs_rewards: ClassVar[bool] = True


class SignGate(WeightKind):
    """Weighs a token by whether the teacher agrees with the dialogue's outcome (SG-OPD, arXiv 2606.09304)."""

    kind: Literal["sign_gate"] = "sign_gate"
    reward: Name | None = Field(default=None, description=_REWARD)
    least: Reached = Field(default=1.0, description=_LEAST)
    agrees: Factor = Field(
        default=1.8,
        description="Weight where the teacher likes a token of a success more than the tutor does, or one of a failure "
        "less.",
    )
    disagrees: Factor = Field(default=1.0, description="Weight of the other tokens.")
    needs_rewards: ClassVar[bool] = True


class WeightClip(WeightKind):
    """Bounds the product of the other weights; a weight of 0 stays 0."""

    kind: Literal["clip"] = "clip"
    low: Factor = Field(default=0.0, description="Least weight of a token that no other weight leaves out.")
    high: Factor = Field(description="Largest weight.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low={self.low:g} is above high={self.high:g}; swap them")
        return self


TokenWeight = Kind[
    Annotated[
        PrefixWeight
        | DisagreementWeight
        | EntropyWeight
        | PositionWeight
        | EntropyGate
        | TrustRegion
        | FreshnessWeight
        | RewardGate
        | SignGate
        | WeightClip,
        Field(discriminator="kind"),
    ]
]
# The kinds that their name alone selects, with their defaults.
TokenWeightName = Literal[
    "disagreement", "entropy", "position", "trust_region", "freshness", "reward_gate", "sign_gate"
]


class Weighting(Section):
    """How much each token counts."""

    token_weights: Several[tuple[TokenWeight, ...]] = Field(
        (),
        description="Weights of the tokens of played dialogues, multiplied with each other: how much a token's "
        "divergence counts. They do not touch rewards. The name of a kind alone means its defaults. Empty: each token "
        "counts the same.",
    )

    @property
    def trust_region(self) -> TrustRegion | None:
        """The trust region among the token weights; None if there is none."""
        return next((weight for weight in self.token_weights if isinstance(weight, TrustRegion)), None)
