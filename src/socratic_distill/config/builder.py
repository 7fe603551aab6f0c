"""`build_socratic_config`: builds a config from its usual arguments, and all other fields as typed keywords."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Literal, ParamSpec, TypedDict, Unpack

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.dialogue_settings import DEFAULT_PROFILE, EndingRule, Opening
from socratic_distill.config.messages import refuse_unknown
from socratic_distill.config.objectives import ControlName, DivergenceName, Objective
from socratic_distill.config.parts import Judge, Price, Recordings, SeedsFile, SolvedRange, Teacher
from socratic_distill.config.policy_losses import LossName
from socratic_distill.config.rewards import OutcomeName, Reward
from socratic_distill.config.sections import TrackerName
from socratic_distill.config.students import Student
from socratic_distill.config.token_weights import TokenWeight, TokenWeightName
from socratic_distill.config.values import AnswerKind, LoraTarget, Reasoning, Schedule

P = ParamSpec("P")
Path = str | os.PathLike[str]
WithLimit = tuple[Path, int | None]
OneSeedsFile = SeedsFile | Mapping[str, Any]
SeedsFiles = Path | WithLimit | OneSeedsFile | Sequence[Path | WithLimit | OneSeedsFile]
OneReward = OutcomeName | Literal["solve_rate"] | Reward | Mapping[str, Any]
OneTokenWeight = TokenWeightName | TokenWeight | Mapping[str, Any]
OneEnding = Literal["solved"] | EndingRule | Mapping[str, Any]
OneStudent = Student | Mapping[str, Any]
OneTeacher = Teacher | Mapping[str, Any]


class SocraticOptions(TypedDict, total=False):
    """The optional fields of `SocraticConfig` that `build_socratic_config` takes as keywords."""

    load_checkpoint_path: Path | None
    trust_remote_code: bool
    kl_penalty_coef: float
    kl_discount_factor: float
    loss_fn: LossName
    loss_fn_options: Mapping[str, float]
    max_probability_change: float | None
    objective: DivergenceName | ControlName | Objective | Mapping[str, Any]
    rewards: OneReward | Sequence[OneReward]
    reward_coef: float
    reward_normalization: Literal["none", "group"]
    token_weights: OneTokenWeight | Sequence[OneTokenWeight]
    cut_replies: Literal["keep", "mask", "penalize"]
    cut_penalty: float
    train_thinking: bool
    score_untrained: bool
    skip_first_tokens: int
    answer_kind: AnswerKind | None
    solved_range: SolvedRange | Mapping[str, Any] | None
    recordings: Path | Sequence[Path] | Recordings | Mapping[str, Any] | None
    teacher_checkpoint_path: Path | None
    teacher_lag_steps: int | None
    teachers: OneTeacher | Sequence[OneTeacher]
    teacher_average: Literal["log_mean", "mixture"] | None
    teacher_residual_clip: float | None
    teacher_sees_answer: bool
    lora_rank: int
    lora_targets: LoraTarget | Sequence[LoraTarget]
    temperature: float
    student_max_tokens: int | None
    max_context_tokens: int | None
    tutor_enable_thinking: bool
    student_enable_thinking: bool
    teacher_enable_thinking: bool
    tutor_reasoning: Reasoning | None
    student_reasoning: Reasoning | None
    teacher_reasoning: Reasoning | None
    tutor_template_options: Mapping[str, Any]
    student_template_options: Mapping[str, Any]
    teacher_template_options: Mapping[str, Any]
    tutor_chat_template_file: Path | None
    student_chat_template_file: Path | None
    teacher_chat_template_file: Path | None
    teacher_turns: float | Schedule | Mapping[str, Any]
    subject: str
    students: OneStudent | Sequence[OneStudent]
    opening: Opening
    endings: OneEnding | Sequence[OneEnding]
    answer_function: str | None
    answer_judge: str | Judge | Mapping[str, Any] | None
    tutor_prompt_file: Path | None
    student_prompt_file: Path | None
    teacher_prompt_file: Path | None
    system_role: Literal["require", "merge"]
    lr_schedule: Literal["constant", "linear", "cosine"]
    lr_warmup_steps: int
    adam_beta1: float
    adam_beta2: float
    adam_eps: float
    weight_decay: float
    grad_clip_norm: float
    num_substeps: int
    max_turns_schedule: Schedule | Mapping[str, Any] | None
    epochs: int
    max_steps: int | None
    save_every: int | None
    save_every_seconds: float | None
    rolling_save_every: int | None
    sampler_ttl_seconds: int | None
    periodic_ttl_seconds: int | None
    rolling_ttl_seconds: int | None
    max_failed_saves: int
    max_recoveries: int
    opening_timeout_seconds: float
    answer_timeout_seconds: float | None
    allow_config_changes: str | Sequence[str]
    max_staleness: int
    groups_per_minibatch: int
    seed: int
    max_concurrent_dialogues: int
    max_failed_fraction: float
    eval_every: int | None
    eval_seeds: int
    eval_dialogues_per_seed: int
    eval_solve_samples: int
    judge: str | Judge | Mapping[str, Any] | None
    display: Literal["auto", "plain", "off"]
    write_report: bool
    write_teacher_top: bool
    trackers: TrackerName | Sequence[TrackerName]
    tracker_project: str
    tracker_name: str | None
    prices: Mapping[str, Price | Mapping[str, Any]]
    max_cost_usd: float | None


def _refusing_unknown(build: Callable[P, SocraticConfig]) -> Callable[P, SocraticConfig]:
    """Answers unknown names first: without the right names, Python would complain of missing arguments."""

    @wraps(build)
    def checked(*args: P.args, **kwargs: P.kwargs) -> SocraticConfig:
        refuse_unknown(kwargs, SocraticConfig.model_fields)
        return build(*args, **kwargs)

    return checked


@_refusing_unknown
def build_socratic_config(
    tutor_model_name: str,
    student_model_name: str,
    teacher_model_name: str,
    learning_rate: float,
    max_tokens: int,
    log_path: Path,
    student_profile: str = DEFAULT_PROFILE,
    groups_per_batch: int = 8,
    num_envs: int = 4,
    max_turns: int = 20,
    seeds_file: Path | OneSeedsFile | None = None,
    seeds_limit: int | None = None,
    seeds_files: SeedsFiles | None = None,
    base_url: str | None = None,
    **kwargs: Unpack[SocraticOptions],
) -> SocraticConfig:
    """Builds the config of a run; every argument is a field of `SocraticConfig`, described there.

    Args:
        tutor_model_name: base model of the tutor, the model that is trained.
        student_model_name: model that plays the student.
        teacher_model_name: model that scores the tutor's tokens.
        learning_rate: Adam learning rate, > 0.
        max_tokens: length limit of a tutor reply, in tokens.
        log_path: directory of the run; the same directory resumes the run.
        student_profile: who the student is, for seeds without a profile of their own.
        groups_per_batch: seeds in a batch.
        num_envs: dialogues on each seed of a batch.
        max_turns: maximum number of tutor turns in a dialogue.
        seeds_file: file of seeds, or a `SeedsFile`; None uses seeds_files, or the built-in problems.
        seeds_limit: number of seeds taken from seeds_file; None takes all.
        seeds_files: several (path, limit) pairs or `SeedsFile`s, read in order; a path alone has no limit.
        base_url: None for Tinker, "local", or the http(s) URL of a server of the same API.
        **kwargs: any other field of `SocraticConfig`.

    Raises:
        ConfigError: a field is unknown, or has an invalid value.
    """
    named = {name: value for name, value in locals().items() if name != "kwargs"}
    return SocraticConfig(**named, **kwargs)  # pyright: ignore[reportArgumentType]
