"""The structured parts of a config: teachers, seeds files, recordings, judge and prices.

Each is frozen, is checked when it is built, and can be given as a plain dict. If there are several kinds, `kind` says
which: `objective={"kind": "jensen_shannon", "beta": 0.3}`. The name of a kind alone means that kind with its defaults.
The formulas of the objectives are in `divergences.py` and `advantages.py`; rewards are in `rewards.py`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from socratic_distill.config.objectives import RecordedObjective, Supervised
from socratic_distill.config.shorthand import Several
from socratic_distill.config.students import Endpoint
from socratic_distill.config.values import (
    AnswerKind,
    Count,
    FunctionPath,
    ModelName,
    Name,
    NotNegative,
    PathText,
    Reasoning,
    Schedule,
    Setting,
    Share,
    Steps,
    TeacherWeight,
    TemplateOptions,
    Tokens,
)

_TEACHER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Teacher(Setting):
    """One of several teachers."""

    name: Annotated[str, Field(pattern=f"^{_TEACHER_NAME.pattern}$")] = Field(
        description="Name of the teacher, in metrics and messages."
    )
    model_name: ModelName | None = Field(default=None, description="Base model. None: the config's teacher_model_name.")
    checkpoint_path: PathText | None = Field(
        default=None,
        description="Sampler weights to score with. None: the base model's, or the tutor's own if lag_steps is set.",
    )
    lag_steps: Steps | None = Field(
        default=None,
        description="Score with the tutor's own weights, updated every so many batches. None: frozen weights.",
    )
    prompt_file: PathText | None = Field(
        default=None, description="Text file with its system prompt. None: the config's teacher_prompt_file."
    )
    sees_answer: bool | None = Field(
        default=None, description="Add the answer and the mistake to its system prompt. None: as teacher_sees_answer."
    )
    enable_thinking: bool | None = Field(
        default=None, description="Render its context with thinking enabled. None: as teacher_enable_thinking."
    )
    reasoning: Reasoning | None = Field(
        default=None, description="Reasoning in its context, as teacher_reasoning. None: as that."
    )
    template_options: TemplateOptions | None = Field(
        default=None, description="Other variables of its chat template. None: teacher_template_options."
    )
    seeds_files: Several[tuple[PathText, ...]] = Field(
        default=(),
        description="Seeds files whose seeds it teaches, written as in the config. With neither seeds_files nor tags: "
        "all seeds that no other teacher claims, or every seed if scores are averaged.",
    )
    tags: Several[tuple[Name, ...]] = Field(
        default=(), description="Tags of seeds that it teaches. Without tags and seeds_files: as described there."
    )
    weight: TeacherWeight = Field(
        default=1.0,
        description="Its weight if several teachers' scores are averaged. A negative one, only with 'log_mean', moves "
        "the tutor away from what this teacher says more than the others.",
    )

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.lag_steps is not None and self.checkpoint_path is not None:
            raise ValueError(
                f"teacher {self.name!r} has lag_steps={self.lag_steps} and checkpoint_path={self.checkpoint_path!r}; "
                "it scores either with the tutor's own weights or with a checkpoint's; keep one"
            )
        return self


SeedFormat = Literal[
    "own",
    "mathdial",
    "mathtutorbench",
    "bridge",
    "comta",
    "mmlu-pro",
    "arc",
    "svamp",
    "asdiv",
    "math-500",
    "math",
    "gsm8k",
]
SeedColumn = Literal[
    "question", "expected_answer", "initial_error", "id", "student_profile", "fields", "tags", "answer_kind", "choices",
    "accepted_answers", "rubric", "compares_units",
]  # fmt: skip


class SeedsFile(Setting):
    """A file of seeds, and how it is read."""

    path: PathText = Field(
        description="A file (.jsonl, .json, .csv, .tsv or .parquet, also with .gz or .zst), a directory that "
        "`datasets` saved, or a data set on the hub: 'hub:NAME', 'hub:NAME:CONFIG', with '@SPLIT' at its end."
    )
    limit: Count | None = Field(default=None, description="Number of seeds taken from its top. None: all.")
    format: SeedFormat | None = Field(
        default=None, description="The format of its rows. None: recognised by the keys of its first row."
    )
    columns: Mapping[SeedColumn, Name] = Field(
        default={}, description="Its column for each of our keys, such as {'question': 'problem'}."
    )
    map: FunctionPath | None = Field(
        default=None,
        description="'module:name' of a function that takes a row as a dict and returns one with our own keys, or None "
        "to leave the row out.",
    )
    answer_kind: AnswerKind | None = Field(
        default=None, description="The kind of its answers, where a row states none. None: the config's answer_kind."
    )
    split: Name | None = Field(
        default=None, description="The split of a directory or of a data set on the hub. None: the only one."
    )

    @model_validator(mode="after")
    def _check_reading(self) -> Self:
        if self.columns and self.map is not None:
            raise ValueError("columns and map are both given; map takes the row as it is, so rename the keys there")
        if self.format not in (None, "own") and (self.columns or self.map is not None):
            raise ValueError(
                f"format={self.format!r} is given with columns or map, which make rows of our own format; keep one"
            )
        return self


class SolvedRange(Setting):
    """Which seeds are visited, by the share of the dialogues of their last visit that were solved."""

    low: Share = Field(default=0.1, description="Seeds that were solved less often are too hard.")
    high: Share = Field(default=0.9, description="Seeds that were solved more often are too easy.")
    others: Share = Field(
        default=0.1,
        description="Share of the visits to seeds outside the range that are made all the same, so that a change is "
        "noticed. 0: a seed that is outside once never comes again, unless no seed is left.",
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low={self.low:g} is above high={self.high:g}; swap them")
        return self


class Recordings(Setting):
    """Recorded dialogues to learn from, alone or in addition to those that the tutor plays."""

    files: Several[Annotated[tuple[PathText, ...], Field(min_length=1)]] = Field(
        description="Files or data sets of MathDial's conversations, a run's dialogues, OpenAI-style messages, "
        "ShareGPT, prompts and completions, SocraTeach or CoMTA."
    )
    columns: Mapping[Name, Name] = Field(
        default={}, description="The files' column for keys of these formats, such as {'messages': 'dialog'}."
    )
    map: FunctionPath | None = Field(
        default=None,
        description="'module:name' of a function that takes a row as a dict and returns one of these formats, or None "
        "to leave the row out.",
    )
    objective: RecordedObjective = Field(
        default=Supervised(),
        description="Objective on the recorded dialogues; 'sampled_reverse_kl' needs a run's dialogues.",
    )
    on_policy_fraction: Share = Field(
        default=0.0,
        description="Share of a batch's groups that the tutor plays on the config's seeds (lmbda in GKD). The other "
        "groups are recorded dialogues.",
    )

    take_over: Steps | Schedule | None = Field(
        default=None,
        description="Number of tutor turns at a recording's end that the tutor speaks itself: dialogues begin with the "
        "turns before them, as context. Or a schedule of it by step, rounded down, at least 1. None: recordings are "
        "trained on as they are.",
    )
    reuse_scores: bool = Field(
        default=True,
        description="Take the scores that a run's dialogues hold, if they are of the same teachers, prompts and "
        "tokens; the teachers are then not asked.",
    )

    @model_validator(mode="after")
    def _check_reading(self) -> Self:
        if self.columns and self.map is not None:
            raise ValueError("columns and map are both given; map takes the row as it is, so rename the keys there")
        if self.take_over is not None and self.objective != Supervised():
            raise ValueError(
                f"take_over begins dialogues that the tutor plays on, so recordings.objective={self.objective.kind!r} "
                "has no effect; leave it out, and set objective"
            )
        return self


class Judge(Setting):
    """A model that judges: whether the tutor of a dialogue gave the answer away, or whether a turn gives the answer."""

    model_name: ModelName = Field(description="Base model of the judge.")
    endpoint: Endpoint | None = Field(
        default=None, description="Another server that its model is on. None: the config's service."
    )
    prompt_file: PathText | None = Field(
        default=None, description="Text file with its instructions. None: the packaged ones."
    )
    max_tokens: Tokens = Field(default=256, description="Length limit of the judge's reply, in tokens.")
    temperature: Annotated[float, Field(ge=0.0, le=100.0, strict=True)] = Field(
        default=0.0, description="Sampling temperature; 0 always takes the likeliest token."
    )
    enable_thinking: bool = Field(default=False, description="Render the judge's prompts with thinking enabled.")
    reasoning: Reasoning | None = Field(
        default=None, description="Its reasoning: 'off', 'on', or how much. None: as enable_thinking."
    )
    template_options: TemplateOptions = Field(default={}, description="Other variables of its chat template, by name.")


class Price(Setting):
    """Prices of a model, in USD per million tokens."""

    prefill: NotNegative = Field(description="Price of prompt tokens.")
    sample: NotNegative = Field(description="Price of sampled tokens.")
    train: NotNegative = Field(description="Price of trained tokens.")
    cached_prefill: NotNegative | None = Field(
        default=None, description="Price of prompt tokens that the service had cached. None: a fifth of prefill."
    )
