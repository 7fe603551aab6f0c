"""The parts of a config that have a shape of their own: objectives, rewards, teachers, recordings, judge, prices.

Each is frozen and checked when it is built, and can be given as a plain dict; where there are several kinds, `kind`
tells which: `objective={"kind": "jensen_shannon", "beta": 0.3}`. What an objective computes is in `divergences.py` and
`advantages.py`, beside its formula.
"""

import os
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WrapValidator,
    model_validator,
)

from socratic_distill.errors import ConfigError
from socratic_distill.paths import GivenPath, given_model, given_path
from socratic_distill.redaction import refuse_secrets
from socratic_distill.validation import explain, plain


def _path(value: object) -> object:
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError("expected a path, as a str or os.PathLike")
    return os.fspath(value)


def _resolved_path(value: object, check: Callable[[object], str]) -> str:
    text = check(value)
    return value if isinstance(value, GivenPath) else given_path(text)


def _resolved_model(value: object, check: Callable[[object], str]) -> str:
    text = check(value)
    return value if isinstance(value, GivenPath) else given_model(text)


PathText = Annotated[
    str,
    BeforeValidator(_path),
    Field(min_length=1),
    AfterValidator(refuse_secrets),
    WrapValidator(_resolved_path),
]
Name = Annotated[str, Field(min_length=1, strict=True), AfterValidator(refuse_secrets)]
# A model's name may be a path.
ModelName = Annotated[Name, WrapValidator(_resolved_model)]
# Upper bounds are far above what anybody does. They keep slips such as 10**30 from services, memory and 32-bit numbers.
Count = Annotated[int, Field(ge=1, le=10**9, strict=True)]
Tens = Annotated[int, Field(ge=1, le=10_000, strict=True)]  # of what a batch has tens of
Groups = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Steps = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]
Tokens = Annotated[int, Field(ge=1, le=2**24, strict=True)]
Positive = Annotated[float, Field(gt=0.0, le=1e12, strict=True)]
NotNegative = Annotated[float, Field(ge=0.0, le=1e12, strict=True)]
Factor = Annotated[float, Field(ge=0.0, le=1e4, strict=True)]
RewardWeight = Annotated[float, Field(ge=-1e6, le=1e6, strict=True)]
Share = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]
# More than this is beyond what services offer, and what a step's memory holds.
Candidates = Annotated[int, Field(ge=1, le=1024, strict=True)]


class _Checked(type(BaseModel)):
    """Gives our error where a user builds a part; parts within a config are told of by the config's."""

    def __call__(cls, *arguments: Any, **fields: Any) -> Any:
        try:
            return super().__call__(*arguments, **plain(fields))
        except ValidationError as error:
            problems = explain(error, cast(type[BaseModel], cls))
        raise ConfigError(problems)  # outside the handler: pydantic's error, with all that was given, is no context


class Setting(BaseModel, metaclass=_Checked):
    """What all parts have in common.

    Raises:
        ConfigError: a field is unknown, or its value cannot be meant.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), hide_input_in_errors=True
    )


class Schedule(Setting):
    """A number that goes from `start` at step 0 to `end` at step `steps`, and stays there."""

    start: Factor = Field(description="Value at step 0.")
    end: Factor = Field(description="Value from step `steps` on.")
    steps: Steps = Field(description="Steps that the way takes.")
    shape: Literal["linear", "cosine"] = Field(default="linear", description="'cosine' begins and ends slowly.")


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


class OutcomeReward(Setting):
    """A reward that the dialogue's outcome gives, from 0 to 1."""

    kind: Literal["solved", "not_telling", "few_turns"] = Field(
        description="'solved': 1 where the student reached the answer. 'not_telling': 1 where no tutor turn held it. "
        "'few_turns': 1 for no tutor turn, 0 for max_turns of them."
    )
    weight: RewardWeight = Field(default=1.0, description="Factor on it among the rewards.")


class FunctionReward(Setting):
    """A reward of one's own."""

    kind: Literal["function"] = "function"
    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] = Field(
        description="'module:name' of a function that takes a `socratic_distill.dialogue.Dialogue` and gives a finite "
        "number; '__main__:name' is one of the running script."
    )
    weight: RewardWeight = Field(default=1.0, description="Factor on it among the rewards.")


Reward = Annotated[OutcomeReward | FunctionReward, Field(discriminator="kind")]

_TEACHER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Teacher(Setting):
    """One of several teachers."""

    name: Annotated[str, Field(pattern=f"^{_TEACHER_NAME.pattern}$")] = Field(
        description="Its name, in metrics and messages."
    )
    model_name: ModelName | None = Field(default=None, description="Base model. None: the config's teacher_model_name.")
    checkpoint_path: PathText | None = Field(
        default=None,
        description="Sampler weights to score with. None: the base model's, or the tutor's own where lag_steps.",
    )
    lag_steps: Steps | None = Field(
        default=None,
        description="Score with the tutor's own weights, taken over every so many batches. None: frozen weights.",
    )
    prompt_file: PathText | None = Field(
        default=None, description="Text file with its system prompt. None: the config's teacher_prompt_file."
    )
    sees_answer: bool | None = Field(
        default=None, description="Add answer and mistake to its system prompt. None: as teacher_sees_answer."
    )
    enable_thinking: bool | None = Field(
        default=None, description="Render its context as if it were to think first. None: as teacher_enable_thinking."
    )
    seeds_files: tuple[PathText, ...] = Field(
        default=(),
        description="Seeds files whose seeds it teaches, written as in the config. Empty: all, if no tags either.",
    )
    tags: tuple[Name, ...] = Field(
        default=(), description="Tags of seeds that it teaches. Empty: all, if no seeds_files."
    )
    weight: Positive = Field(default=1.0, description="Its weight where several teachers' scores are averaged.")

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.lag_steps is not None and self.checkpoint_path is not None:
            raise ValueError(
                f"teacher {self.name!r} has lag_steps={self.lag_steps} and checkpoint_path={self.checkpoint_path!r}; "
                "it scores with the tutor's own weights or with a checkpoint's: keep one"
            )
        return self


class Recordings(Setting):
    """Recorded dialogues to learn from, alone or beside those that the tutor plays."""

    files: Annotated[tuple[PathText, ...], Field(min_length=1)] = Field(
        description="JSONL files of MathDial conversations, of a run's dialogues, or of OpenAI-style messages."
    )
    objective: RecordedObjective = Field(
        default=Supervised(),
        description="What is learned from them; 'sampled_reverse_kl' takes a run's dialogues alone.",
    )
    on_policy_fraction: Share = Field(
        default=0.0,
        description="Share of a batch's groups that the tutor plays on the config's seeds (lmbda of GKD); the others "
        "are recorded.",
    )


class Judge(Setting):
    """A model that reads a dialogue and says whether the tutor gave the answer away."""

    model_name: ModelName = Field(description="Base model of the judge.")
    prompt_file: PathText | None = Field(
        default=None, description="Text file with its instructions. None: the packaged ones."
    )
    max_tokens: Tokens = Field(default=256, description="Longest reply of the judge, in tokens.")
    temperature: Annotated[float, Field(ge=0.0, le=100.0, strict=True)] = Field(
        default=0.0, description="Sampling temperature; 0 takes the likeliest token."
    )
    enable_thinking: bool = Field(default=False, description="Let the judge's template open a <think> part.")


class Price(Setting):
    """What a model costs, in USD per million tokens."""

    prefill: NotNegative = Field(description="Of prompt tokens.")
    sample: NotNegative = Field(description="Of sampled tokens.")
    train: NotNegative = Field(description="Of trained tokens.")
    cached_prefill: NotNegative | None = Field(
        default=None, description="Of prompt tokens that the service had cached. None: a fifth of prefill."
    )
