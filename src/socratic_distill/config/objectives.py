"""The kinds of objective, and what each needs to know of the tutor's tokens."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from socratic_distill.config.values import Factor, Positive, Schedule, Setting

# More than this is beyond what services offer, and what a step's memory holds.
Candidates = Annotated[int, Field(ge=1, le=1024, strict=True)]


class SampledReverseKL(Setting):
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


class ForwardKL(Setting):
    """KL(teacher || tutor) over the teacher's k likeliest tokens at every position, as soft targets."""

    kind: Literal["forward_kl"] = "forward_kl"
    k: Candidates = Field(default=16, description="Tokens of the teacher at each position.")
    tail: Literal["renormalize", "drop", "bucket"] = Field(
        default="renormalize",
        description="The teacher's mass beyond its k tokens: 'renormalize' gives it to them in proportion, 'drop' "
        "leaves it out, 'bucket' compares it with the tutor's mass there, which costs a training cycle a step.",
    )


class ReverseKL(Setting):
    """KL(tutor || teacher) over the k likeliest tokens of both and a bucket for the rest. One more training cycle."""

    kind: Literal["reverse_kl"] = "reverse_kl"
    k: Candidates = Field(default=16, description="Tokens of the tutor, and of the teacher, at each position.")


class JensenShannon(Setting):
    """Generalised Jensen-Shannon divergence on the same tokens as `ReverseKL`. One more training cycle."""

    kind: Literal["jensen_shannon"] = "jensen_shannon"
    k: Candidates = Field(default=16, description="Tokens of the tutor, and of the teacher, at each position.")
    beta: Annotated[float, Field(gt=0.0, lt=1.0, strict=True)] = Field(
        default=0.5,
        description="Share of the teacher in the mixture; towards 0 the gradient's direction is forward KL's, "
        "towards 1 reverse KL's.",
    )


class MonteCarloKL(Setting):
    """KL(tutor || teacher) over the whole vocabulary, from k drawn tokens a position. One more training cycle."""

    kind: Literal["monte_carlo_kl"] = "monte_carlo_kl"
    k: Annotated[int, Field(ge=2, le=1024, strict=True)] = Field(
        default=8,
        description="Tokens drawn from the tutor at each position; each one's baseline is the mean of the others.",
    )


class Supervised(Setting):
    """Cross-entropy on the tutor's turns as they are recorded; the teacher is not asked. For recordings alone."""

    kind: Literal["supervised"] = "supervised"


Divergence = Annotated[
    SampledReverseKL | ForwardKL | ReverseKL | JensenShannon | MonteCarloKL, Field(discriminator="kind")
]


class Weighted(Setting):
    """One part of a mixture."""

    objective: Divergence = Field(description="The divergence.")
    weight: Factor | Schedule = Field(default=1.0, description="Factor on it, or its way over the steps.")


class Mixture(Setting):
    """Several divergences at once, added up; no two of one kind."""

    kind: Literal["mixture"] = "mixture"
    parts: Annotated[tuple[Weighted, ...], Field(min_length=1)] = Field(description="What is added up.")

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


def divergences(objective: Objective | Supervised) -> tuple[Divergence, ...]:
    """The divergences that an objective adds up."""
    if isinstance(objective, Mixture):
        return tuple(part.objective for part in objective.parts)
    return () if isinstance(objective, Supervised) else (objective,)


@dataclass(frozen=True)
class Wanted:
    """What an objective wants to know of each of the tutor's tokens.

    Attributes:
        teacher: whether the teacher is asked at all.
        tutor_top: number of the tutor's likeliest tokens at its place, scored by the teacher.
        teacher_top: number of the teacher's likeliest.
        draws: number of tokens drawn from the tutor, scored by the teacher.
    """

    teacher: bool = True
    tutor_top: int = 0
    teacher_top: int = 0
    draws: int = 0

    @classmethod
    def of(cls, objective: Objective | Supervised) -> "Wanted":
        """What an objective wants."""
        of_both, of_teacher, draws = 0, 0, 0
        for one in divergences(objective):
            if isinstance(one, ReverseKL | JensenShannon):
                of_both = max(of_both, one.k)
            elif isinstance(one, ForwardKL):
                of_teacher = one.k
            elif isinstance(one, MonteCarloKL):
                draws = one.k
        is_asking = not isinstance(objective, Supervised)
        return cls(is_asking, tutor_top=of_both, teacher_top=max(of_both, of_teacher), draws=draws)


Feature = Literal["topk_prompt_logprobs", "topk_sample_logprobs", "target_prompt_logprobs", "prompt_alt_tokens_k"]
