"""The kinds of objective, and what each one needs. No other module asks which kind it has.

To add a divergence: a class here that says what it needs; its gradient in `distillation/divergences.py`; and a line in
the table of `distillation/soft_targets.py`.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from socratic_distill.config.values import Factor, Positive, Schedule, Setting, value

# More than this is beyond what services offer, and what a step's memory holds.
Candidates = Annotated[int, Field(ge=1, le=1024, strict=True)]
Feature = Literal["topk_prompt_logprobs", "topk_sample_logprobs", "target_prompt_logprobs", "prompt_alt_tokens_k"]


class ObjectiveKind(Setting):
    """What every kind of objective says of itself; the values here are those of a kind that needs nothing.

    Attributes:
        asks_teacher: whether a teacher scores the dialogue.
        trains_sampled_tokens: whether it is a policy loss on the tokens that the tutor sampled, which needs their
            log-probabilities. The others are cross_entropy on named tokens.
    """

    asks_teacher: ClassVar[bool] = True
    trains_sampled_tokens: ClassVar[bool] = False

    @property
    def tutor_top(self) -> int:
        """Number of the tutor's likeliest tokens at each position, which the teacher scores too."""
        return 0

    @property
    def teacher_top(self) -> int:
        """Number of the teacher's likeliest tokens at each position."""
        return 0

    @property
    def draws(self) -> int:
        """Number of tokens drawn from the tutor at each position, which the teacher scores too."""
        return 0

    @property
    def needs_forward(self) -> bool:
        """Whether its weights depend on the tutor's present log-probabilities: a forward pass comes first."""
        return False

    @property
    def compares_group(self) -> bool:
        """Whether a token's advantage depends on the other dialogues of its group."""
        return False

    @property
    def divergences(self) -> "tuple[Divergence, ...]":
        """The divergences that it adds up."""
        return ()

    def weighted(self, step: int) -> "list[tuple[Divergence, float]]":
        """Its divergences and their factors at a step; those with factor 0 are left out."""
        return [(divergence, 1.0) for divergence in self.divergences]

    def sampled(self, step: int) -> "tuple[SampledReverseKL, float] | None":
        """Its part on sampled tokens, with its factor at a step; None if it has none, or with factor 0."""
        parts = self.weighted(step)
        return next(((part, weight) for part, weight in parts if isinstance(part, SampledReverseKL)), None)

    def features(self, played: bool) -> frozenset[Feature]:
        """The server features that it needs, on dialogues that are played or on recorded ones."""
        needed: dict[Feature, bool] = {
            "topk_prompt_logprobs": bool(self.teacher_top),
            # The tutor's likeliest tokens come with the turns that it samples.
            "topk_sample_logprobs": bool(self.tutor_top) and played,
            "target_prompt_logprobs": bool(self.tutor_top or self.draws),
            "prompt_alt_tokens_k": bool(self.draws),
        }
        return frozenset(feature for feature, is_needed in needed.items() if is_needed)


class DivergenceKind(ObjectiveKind):
    """An objective of one part: itself."""

    @property
    def divergences(self) -> "tuple[Divergence, ...]":
        """Itself."""
        return (cast("Divergence", self),)


class SampledReverseKL(DivergenceKind):
    """KL(tutor || teacher), estimated by the tokens that the tutor sampled. The default.

    One scoring request a dialogue, no feature that a server may lack, no extra training cycle. The factor, the discount
    and the loss are the config's `kl_penalty_coef`, `kl_discount_factor` and `loss_fn`.
    """

    kind: Literal["sampled_reverse_kl"] = "sampled_reverse_kl"
    advantage_clip: Positive | None = Field(
        default=None,
        description="Bound on a token's |log p_teacher - log p_tutor|, nats, before any discount. None: no bound.",
    )
    baseline: Literal["none", "group"] = Field(
        default="none",
        description="'group' subtracts from a token's advantage the mean over the tokens of the group's other "
        "dialogues: less variance, the same expectation. Needs num_envs >= 2.",
    )
    normalize_length: bool = Field(
        default=False,
        description="Divide a dialogue's advantages by its number of trained tokens, so that long dialogues weigh no "
        "more than short ones. Beside rewards, the divergence counts less by about that number.",
    )
    trains_sampled_tokens: ClassVar[bool] = True

    @property
    def compares_group(self) -> bool:
        """With the group as its baseline."""
        return self.baseline == "group"


class ForwardKL(DivergenceKind):
    """KL(teacher || tutor) over the teacher's k likeliest tokens at every position, as soft targets."""

    kind: Literal["forward_kl"] = "forward_kl"
    k: Candidates = Field(default=16, description="Tokens of the teacher at each position.")
    tail: Literal["renormalize", "drop", "bucket"] = Field(
        default="renormalize",
        description="The teacher's mass beyond its k tokens: 'renormalize' gives it to them in proportion, 'drop' "
        "leaves it out, 'bucket' compares it with the tutor's mass there, which costs a training cycle a step.",
    )

    @property
    def teacher_top(self) -> int:
        """Its candidates."""
        return self.k

    @property
    def needs_forward(self) -> bool:
        """For the mass of the bucket."""
        return self.tail == "bucket"


class _OfBoth(DivergenceKind):
    """Compares the likeliest tokens of both models."""

    kind: Any
    k: Candidates = Field(default=16, description="Tokens of the tutor, and of the teacher, at each position.")

    @property
    def tutor_top(self) -> int:
        """Half of its candidates."""
        return self.k

    @property
    def teacher_top(self) -> int:
        """The other half."""
        return self.k

    @property
    def needs_forward(self) -> bool:
        """For the tutor's log-probabilities of all candidates."""
        return True


class ReverseKL(_OfBoth):
    """KL(tutor || teacher) over the k likeliest tokens of both and a bucket for the rest. One more training cycle."""

    kind: Literal["reverse_kl"] = "reverse_kl"


class JensenShannon(_OfBoth):
    """Generalised Jensen-Shannon divergence on the same tokens as `ReverseKL`. One more training cycle."""

    kind: Literal["jensen_shannon"] = "jensen_shannon"
    beta: Annotated[float, Field(gt=0.0, lt=1.0, strict=True)] = Field(
        default=0.5,
        description="Share of the teacher in the mixture; towards 0 the gradient's direction is forward KL's, "
        "towards 1 reverse KL's.",
    )


class MonteCarloKL(DivergenceKind):
    """KL(tutor || teacher) over the whole vocabulary, from k drawn tokens a position. One more training cycle."""

    kind: Literal["monte_carlo_kl"] = "monte_carlo_kl"
    k: Annotated[int, Field(ge=2, le=1024, strict=True)] = Field(
        default=8,
        description="Tokens drawn from the tutor at each position; each one's baseline is the mean of the others.",
    )

    @property
    def draws(self) -> int:
        """Its candidates."""
        return self.k

    @property
    def needs_forward(self) -> bool:
        """For the tutor's log-probabilities of the draws."""
        return True


class Supervised(ObjectiveKind):
    """Cross-entropy on the tutor's turns as they are recorded; the teacher is not asked. For recordings alone."""

    kind: Literal["supervised"] = "supervised"
    asks_teacher: ClassVar[bool] = False


Divergence = Annotated[
    SampledReverseKL | ForwardKL | ReverseKL | JensenShannon | MonteCarloKL, Field(discriminator="kind")
]

EVERY_KIND = (SampledReverseKL(), Supervised(), ForwardKL(), ReverseKL(), JensenShannon(), MonteCarloKL())


class Weighted(Setting):
    """One part of a mixture."""

    objective: Divergence = Field(description="The divergence.")
    weight: Factor | Schedule = Field(default=1.0, description="Factor on it, or its way over the steps.")


class Mixture(ObjectiveKind):
    """Several divergences at once, added up; no two of one kind."""

    kind: Literal["mixture"] = "mixture"
    parts: Annotated[tuple[Weighted, ...], Field(min_length=1)] = Field(description="What is added up.")

    @property
    def tutor_top(self) -> int:
        """The most that a part wants."""
        return max(divergence.tutor_top for divergence in self.divergences)

    @property
    def teacher_top(self) -> int:
        """The most that a part wants."""
        return max(divergence.teacher_top for divergence in self.divergences)

    @property
    def draws(self) -> int:
        """The most that a part wants."""
        return max(divergence.draws for divergence in self.divergences)

    @property
    def divergences(self) -> "tuple[Divergence, ...]":
        """Those of its parts, whatever their weights."""
        return tuple(part.objective for part in self.parts)

    def weighted(self, step: int) -> "list[tuple[Divergence, float]]":
        """Its divergences with their weights at a step; those with weight 0 are left out."""
        weighted = [(part.objective, value(part.weight, step)) for part in self.parts]
        return [(divergence, weight) for divergence, weight in weighted if weight]

    @model_validator(mode="after")
    def _check_kinds(self) -> Self:
        kinds = [part.objective.kind for part in self.parts]
        if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise ValueError(f"the mixture holds {', '.join(twice)} more than once; add their weights up")
        return self


Objective = Annotated[
    SampledReverseKL | ForwardKL | ReverseKL | JensenShannon | MonteCarloKL | Mixture, Field(discriminator="kind")
]
RecordedObjective = Annotated[
    SampledReverseKL | ForwardKL | ReverseKL | JensenShannon | MonteCarloKL | Mixture | Supervised,
    Field(discriminator="kind"),
]


@dataclass(frozen=True)
class Wanted:
    """What is to be known of each of the tutor's tokens.

    Attributes:
        teacher: whether the teacher is asked at all.
        tutor_top: number of the tutor's likeliest tokens at each position, scored by the teacher.
        teacher_top: number of the teacher's likeliest.
        draws: number of tokens drawn from the tutor, scored by the teacher.
    """

    teacher: bool = True
    tutor_top: int = 0
    teacher_top: int = 0
    draws: int = 0

    @classmethod
    def of(cls, objective: ObjectiveKind) -> "Wanted":
        """What an objective needs."""
        return cls(objective.asks_teacher, objective.tutor_top, objective.teacher_top, objective.draws)
