"""The parts of a config that have a shape of their own: objectives, rewards, teachers, recordings, judge, prices.

Each is frozen and checked when it is built, and can be given as a plain dict; where there are several kinds, `kind`
tells which: `objective={"kind": "jensen_shannon", "beta": 0.3}`. What an objective computes is in `divergences.py` and
`advantages.py`, beside its formula.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from socratic_distill.config.objectives import RecordedObjective, Supervised
from socratic_distill.config.values import (
    ModelName,
    Name,
    NotNegative,
    PathText,
    Positive,
    RewardWeight,
    Setting,
    Share,
    Steps,
    Tokens,
)


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
        description="'module:name' of a function that takes a `socratic_distill.dialogues.dialogue.Dialogue` and "
        "gives a finite number; '__main__:name' is one of the running script."
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
