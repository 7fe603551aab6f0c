"""The kinds of objective, and what each needs. No other module checks which kind an objective is.

To add a divergence, write a class here that says what it needs, put its gradient into `distillation/divergences.py`,
and add a line to the table of `distillation/soft_targets.py`.
"""

from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from socratic_distill.config.shorthand import Kind
from socratic_distill.config.values import Factor, FunctionPath, Positive, Schedule, Setting, value

# Services offer no more than this, and a step's memory holds no more.
Candidates = Annotated[int, Field(ge=1, le=1024, strict=True)]
Feature = Literal["topk_prompt_logprobs", "topk_sample_logprobs", "target_prompt_logprobs", "prompt_alt_tokens_k"]
# Which of two distributions a divergence takes its expectation over: the teacher's is forward, the tutor's reverse.
Direction = Literal["forward", "reverse"]


class ObjectiveKind(Setting):
    """Properties of a kind of objective; the defaults here are for a kind that needs nothing.

    Attributes:
        asks_teacher: whether a teacher scores the dialogue.
        trains_sampled_tokens: whether the loss is a policy loss on the tokens that the tutor sampled, which needs
            their log-probabilities. Other kinds use cross_entropy on target tokens.
        direction: of its divergence; None if it is neither, or not known.
    """

    asks_teacher: ClassVar[bool] = True
    trains_sampled_tokens: ClassVar[bool] = False
    direction: ClassVar[Direction | None] = None

    @property
    def tutor_top(self) -> int:
        """Number of the tutor's likeliest tokens at each position that the teacher scores too."""
        return 0

    @property
    def teacher_top(self) -> int:
        """Number of the teacher's likeliest tokens at each position."""
        return 0

    @property
    def draws(self) -> int:
        """Number of tokens drawn from the tutor at each position that the teacher scores too."""
        return 0

    @property
    def needs_forward(self) -> bool:
        """Whether its target weights depend on the tutor's current log-probabilities, which takes a forward pass."""
        return False

    @property
    def compares_group(self) -> bool:
        """Whether a token's advantage depends on the other dialogues of its group."""
        return False

    @property
    def custom(self) -> "tuple[CustomObjective, ...]":
        """Its parts that call a function of the user."""
        return ()

    @property
    def divergences(self) -> "tuple[Divergence, ...]":
        """The divergences that are added up."""
        return ()

    def weighted(self, step: int) -> "list[tuple[Divergence, float]]":
        """Its divergences and their factors at a step; those with factor 0 are left out."""
        return [(divergence, 1.0) for divergence in self.divergences]

    def sampled(self, step: int) -> "tuple[OfSampled, float] | None":
        """Its part on sampled tokens and that part's factor at a step; None if there is none or the factor is 0."""
        parts = self.weighted(step)
        return next(((part, weight) for part, weight in parts if isinstance(part, OfSampled)), None)

    def features(self, played: bool) -> frozenset[Feature]:
        """The server features that it needs; `played` is False for recorded dialogues."""
        needed: dict[Feature, bool] = {
            "topk_prompt_logprobs": bool(self.teacher_top),
            # For played dialogues the tutor's likeliest tokens come with its sampled turns.
            "topk_sample_logprobs": bool(self.tutor_top) and played,
            "target_prompt_logprobs": bool(self.tutor_top or self.draws),
            "prompt_alt_tokens_k": bool(self.draws),
        }
        return frozenset(feature for feature, is_needed in needed.items() if is_needed)


class DivergenceKind(ObjectiveKind):
    """An objective with a single divergence: itself."""

    @property
    def divergences(self) -> "tuple[Divergence, ...]":
        """Itself."""
        return (cast("Divergence", self),)


class OfSampled(DivergenceKind):
    """Gives the tokens that the tutor sampled an advantage."""

    kind: Any
    advantage_clip: Positive | None = Field(
        default=None,
        description="Bound on a token's |log p_teacher - log p_tutor|, nats, before any discount. None: no bound.",
    )
    baseline: Literal["none", "group"] = Field(
        default="none",
        description="'group' subtracts the mean advantage over the tokens of the group's other dialogues. This lowers "
        "the variance and keeps the expectation. Needs num_envs >= 2.",
    )
    normalize_length: bool = Field(
        default=False,
        description="Divide a dialogue's advantages by its number of trained tokens, so that long dialogues weigh no "
        "more than short ones. If there are rewards too, the divergence then weighs less by about that number.",
    )
    trains_sampled_tokens: ClassVar[bool] = True
    direction: ClassVar[Direction | None] = "reverse"

    @property
    def compares_group(self) -> bool:
        """True with baseline='group'."""
        return self.baseline == "group"


class SampledReverseKL(OfSampled):
    """KL(tutor || teacher), estimated on the tokens that the tutor sampled. The default.

    It takes one scoring request per dialogue, no optional server feature and no extra training cycle. Its factor,
    discount and loss are the config's `kl_penalty_coef`, `kl_discount_factor` and `loss_fn`.
    """

    kind: Literal["sampled_reverse_kl"] = "sampled_reverse_kl"


class ShuffledControl(OfSampled):
    """Control for benchmarks: as `SampledReverseKL`, with the teacher's scores shuffled among a dialogue's tokens."""

    kind: Literal["control_shuffled_teacher"] = "control_shuffled_teacher"


class ConstantControl(OfSampled):
    """Control for benchmarks: every token gets the same negative advantage, whatever the teacher says."""

    kind: Literal["control_constant_advantage"] = "control_constant_advantage"
    advantage: Annotated[float, Field(ge=-1e4, lt=0.0, strict=True)] = Field(
        default=-1.0, description="The advantage, times kl_penalty_coef."
    )
    share: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] = Field(
        default=1.0, description="Share of a dialogue's trained tokens that get it: those least likely to the tutor."
    )

    @model_validator(mode="after")
    def _check_constant(self) -> Self:
        if self.advantage_clip is not None or self.baseline != "none":
            raise ValueError("advantage_clip and baseline make no sense for a constant; leave them out")
        return self


class ForwardKL(DivergenceKind):
    """KL(teacher || tutor) over the teacher's k likeliest tokens at every position, as soft targets."""

    kind: Literal["forward_kl"] = "forward_kl"
    k: Candidates = Field(default=16, description="Number of the teacher's likeliest tokens at each position.")
    tail: Literal["renormalize", "drop", "bucket"] = Field(
        default="renormalize",
        description="The teacher's probability mass outside its k tokens. 'renormalize' distributes it over them in "
        "proportion, 'drop' ignores it, 'bucket' compares it with the tutor's mass outside them, which costs one more "
        "training cycle a step.",
    )
    direction: ClassVar[Direction | None] = "forward"

    @property
    def teacher_top(self) -> int:
        """The `k` tokens."""
        return self.k

    @property
    def needs_forward(self) -> bool:
        """True with tail='bucket': the tutor's mass in the bucket is needed."""
        return self.tail == "bucket"


class _OfBoth(DivergenceKind):
    """Compares both models on the union of their likeliest tokens."""

    kind: Any
    k: Candidates = Field(
        default=16, description="Number of the likeliest tokens of the tutor, and of the teacher, at each position."
    )

    @property
    def tutor_top(self) -> int:
        """`k` tokens of the tutor."""
        return self.k

    @property
    def teacher_top(self) -> int:
        """And `k` tokens of the teacher."""
        return self.k

    @property
    def needs_forward(self) -> bool:
        """True: the tutor's current log-probabilities of all these tokens are needed."""
        return True


class ReverseKL(_OfBoth):
    """KL(tutor || teacher) over both models' k likeliest tokens and a bucket for the rest. One more training cycle."""

    kind: Literal["reverse_kl"] = "reverse_kl"
    direction: ClassVar[Direction | None] = "reverse"


class JensenShannon(_OfBoth):
    """Generalised Jensen-Shannon divergence on the same tokens as `ReverseKL`. One more training cycle."""

    kind: Literal["jensen_shannon"] = "jensen_shannon"
    beta: Annotated[float, Field(gt=0.0, lt=1.0, strict=True)] = Field(
        default=0.5,
        description="Share of the teacher in the mixture. Near 0 the gradient points as that of forward KL, near 1 as "
        "that of reverse KL.",
    )


class MonteCarloKL(DivergenceKind):
    """KL(tutor || teacher) over the whole vocabulary, from k drawn tokens a position. One more training cycle."""

    kind: Literal["monte_carlo_kl"] = "monte_carlo_kl"
    k: Annotated[int, Field(ge=2, le=1024, strict=True)] = Field(
        default=8,
        description="Number of tokens drawn from the tutor at each position. The baseline of each is the mean of the "
        "others.",
    )
    direction: ClassVar[Direction | None] = "reverse"

    @property
    def draws(self) -> int:
        """The `k` tokens."""
        return self.k

    @property
    def needs_forward(self) -> bool:
        """True: the tutor's current log-probabilities of the drawn tokens are needed."""
        return True


class CustomObjective(DivergenceKind):
    """A loss over named tokens that a function of the user computes, in torch. One more training cycle."""

    kind: Literal["custom"] = "custom"
    function: FunctionPath = Field(
        description="'module:name' of a function that takes `logprobs`, `teacher` and `mask`, torch tensors of shape "
        "[T, K], and returns the loss as a scalar tensor; '__main__:name' is a function of the running script."
    )
    tokens: Literal["both", "teacher", "drawn"] = Field(
        default="both",
        description="The named tokens at each position. 'both': the k likeliest of the tutor and of the teacher. "
        "'teacher': the k likeliest of the teacher. 'drawn': k tokens drawn from the tutor; the function then takes a "
        "fourth argument, the tutor's log-probabilities when they were drawn.",
    )
    k: Candidates = Field(default=16, description="Number of tokens at each position, of each model that names some.")

    @property
    def tutor_top(self) -> int:
        """`k` tokens of the tutor with tokens='both'."""
        return self.k if self.tokens == "both" else 0

    @property
    def teacher_top(self) -> int:
        """`k` tokens of the teacher, except with tokens='drawn'."""
        return 0 if self.tokens == "drawn" else self.k

    @property
    def draws(self) -> int:
        """`k` tokens with tokens='drawn'."""
        return self.k if self.tokens == "drawn" else 0

    @property
    def needs_forward(self) -> bool:
        """True: the function is called with the tutor's current log-probabilities."""
        return True

    @property
    def custom(self) -> "tuple[CustomObjective, ...]":
        """Itself."""
        return (self,)


class Supervised(ObjectiveKind):
    """Cross-entropy on the recorded tutor turns, without a teacher. Only for recordings."""

    kind: Literal["supervised"] = "supervised"
    asks_teacher: ClassVar[bool] = False


Divergence = Kind[
    Annotated[
        SampledReverseKL | ForwardKL | ReverseKL | JensenShannon | MonteCarloKL | CustomObjective,
        Field(discriminator="kind"),
    ]
]
# The kinds that their name alone selects, with their defaults.
DivergenceName = Literal["sampled_reverse_kl", "forward_kl", "reverse_kl", "jensen_shannon", "monte_carlo_kl"]
ControlName = Literal["control_shuffled_teacher", "control_constant_advantage"]

# The kinds that a message can recommend. A custom objective needs a function first.
EVERY_KIND = (SampledReverseKL(), Supervised(), ForwardKL(), ReverseKL(), JensenShannon(), MonteCarloKL())


class Weighted(Setting):
    """One part of a mixture."""

    objective: Divergence = Field(description="The divergence.")
    weight: Factor | Schedule = Field(default=1.0, description="Its factor, or a schedule of the factor by step.")


class Mixture(ObjectiveKind):
    """A weighted sum of several divergences, each of a different kind."""

    kind: Literal["mixture"] = "mixture"
    parts: Annotated[tuple[Weighted, ...], Field(min_length=1)] = Field(description="The parts that are added up.")

    @property
    def tutor_top(self) -> int:
        """The largest number that a part needs."""
        return max(divergence.tutor_top for divergence in self.divergences)

    @property
    def teacher_top(self) -> int:
        """The largest number that a part needs."""
        return max(divergence.teacher_top for divergence in self.divergences)

    @property
    def draws(self) -> int:
        """The largest number that a part needs."""
        return max(divergence.draws for divergence in self.divergences)

    @property
    def custom(self) -> "tuple[CustomObjective, ...]":
        """Those of all parts, also those whose weight is 0."""
        return tuple(custom for divergence in self.divergences for custom in divergence.custom)

    @property
    def divergences(self) -> "tuple[Divergence, ...]":
        """The divergences of all parts, also those whose weight is 0."""
        return tuple(part.objective for part in self.parts)

    def weighted(self, step: int) -> "list[tuple[Divergence, float]]":
        """Its divergences with their weights at a step; those with weight 0 are left out."""
        weighted = [(part.objective, value(part.weight, step)) for part in self.parts]
        return [(divergence, weight) for divergence, weight in weighted if weight]

    @model_validator(mode="after")
    def _check_kinds(self) -> Self:
        kinds = [part.objective.kind for part in self.parts]
        if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise ValueError(f"the mixture holds {', '.join(twice)} more than once; keep one and add up the weights")
        return self


Objective = Kind[
    Annotated[
        SampledReverseKL
        | ForwardKL
        | ReverseKL
        | JensenShannon
        | MonteCarloKL
        | CustomObjective
        | Mixture
        | ShuffledControl
        | ConstantControl,
        Field(discriminator="kind"),
    ]
]
RecordedObjective = Kind[
    Annotated[
        SampledReverseKL
        | ForwardKL
        | ReverseKL
        | JensenShannon
        | MonteCarloKL
        | CustomObjective
        | Mixture
        | Supervised,
        Field(discriminator="kind"),
    ]
]
