"""The rewards of a config: what each gives a dialogue, and what its veto does. Pure.

A reward gives a number, which counts in the sum by its weight. With `veto` it gives no number: it only rejects
dialogues, those that it would give 0 or less, and a rejected dialogue pays `penalty`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from socratic_distill.config.parts import Judge
from socratic_distill.config.shorthand import Kind
from socratic_distill.config.values import FunctionPath, NotNegative, PathText, RewardWeight, Setting

OutcomeName = Literal["solved", "not_telling", "few_turns"]
Veto = Literal["soft", "hard"]
NO_PENALTY = 1.0
_WEIGHT = "Factor on this reward in the sum of rewards."
_VETO = (
    "None: the reward is added. Otherwise it only rejects dialogues, those that it gives 0 or less: 'soft' subtracts "
    "penalty from the other rewards of a rejected dialogue, 'hard' gives it -penalty in their place. Of several that "
    "reject a dialogue, the largest penalty counts, once."
)
_PENALTY = "What a rejected dialogue pays, if veto is set."


class _Vetoing(Setting):
    """A reward that may reject dialogues instead of being added."""

    weight: RewardWeight = Field(default=1.0, description=_WEIGHT)
    veto: Veto | None = Field(default=None, description=_VETO)
    penalty: NotNegative = Field(default=NO_PENALTY, description=_PENALTY)

    @model_validator(mode="after")
    def _check_veto(self) -> Self:
        if self.veto is None and self.penalty != NO_PENALTY:
            raise ValueError(f"penalty={self.penalty:g} has no effect without veto; set veto to 'soft' or 'hard'")
        if self.veto is not None and self.weight != 1.0:
            raise ValueError(f"weight={self.weight:g} has no effect with veto={self.veto!r}; set penalty instead")
        return self


class OutcomeReward(_Vetoing):
    """A reward computed from the dialogue's outcome, from 0 to 1."""

    kind: OutcomeName = Field(
        description="'solved': 1 if the student reached the answer. 'not_telling': 1 if no tutor turn held the answer. "
        "'few_turns': from 1 for no tutor turn down to 0 for max_turns of them."
    )


class FunctionReward(_Vetoing):
    """A reward computed by a function of the user."""

    kind: Literal["function"] = "function"
    function: FunctionPath = Field(
        description="'module:name' of a function that takes a `socratic_distill.dialogues.dialogue.Dialogue` and "
        "returns a finite number; it may be async. '__main__:name' is a function of the running script."
    )


class SolveRateReward(Setting):
    """The share of right answers when the student tries the problem again after the dialogue, from 0 to 1."""

    kind: Literal["solve_rate"] = "solve_rate"
    samples: Annotated[int, Field(ge=1, le=1000, strict=True)] = Field(
        default=8, description="Answers that are sampled from the student, in one request."
    )
    less_before: bool = Field(
        default=False,
        description="Subtract the share of right answers before the dialogue, sampled once for each group.",
    )
    weight: RewardWeight = Field(default=1.0, description=_WEIGHT)


class JudgeReward(Judge, _Vetoing):
    """A model that reads the dialogue and accepts or rejects it by a rubric: 1 or 0, and no value without a verdict."""

    kind: Literal["judge"] = "judge"
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = Field(
        default="judge", description="Name of the judge, in metrics and rows."
    )
    rubric: Annotated[str, Field(min_length=1, max_length=100_000, pattern=r"\S")] | None = Field(
        default=None, description="What it accepts. None: rubric_file, or the packaged rubric: no answer given away."
    )
    rubric_file: PathText | None = Field(default=None, description="Text file with the rubric. None: rubric.")

    @model_validator(mode="after")
    def _check_rubric(self) -> Self:
        if self.rubric is not None and self.rubric_file is not None:
            raise ValueError(f"judge {self.name!r} has rubric and rubric_file; keep one")
        return self


Reward = Kind[Annotated[OutcomeReward | FunctionReward | SolveRateReward | JudgeReward, Field(discriminator="kind")]]


def reward_names(rewards: Sequence[Reward]) -> tuple[str, ...]:
    """A name for each reward, for metrics and rows: a judge's own, a function's, or the kind.

    >>> reward_names([SolveRateReward(), OutcomeReward(kind="solved"), OutcomeReward(kind="solved", weight=2.0)])
    ('solve_rate', 'solved', 'solved_2')
    """
    seen: Counter[str] = Counter()
    names = []
    for reward in rewards:
        name = _name(reward)
        seen[name] += 1
        names.append(name if seen[name] == 1 or reward.kind == "judge" else f"{name}_{seen[name]}")
    return tuple(names)


def judge_rewards(rewards: Sequence[Reward]) -> list[tuple[int, JudgeReward]]:
    """The judges among some rewards, each with its place."""
    return [(index, reward) for index, reward in enumerate(rewards) if reward.kind == "judge"]


def penalty_of(reward: Reward) -> tuple[Veto | None, float]:
    """What a reward's veto does, and its penalty."""
    return (None, 0.0) if reward.kind == "solve_rate" else (reward.veto, reward.penalty)


def _name(reward: Reward) -> str:
    if reward.kind == "judge":
        return reward.name
    return reward.function.partition(":")[2] if reward.kind == "function" else reward.kind
