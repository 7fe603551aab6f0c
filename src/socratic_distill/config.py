"""The typed config of a run, validated when it is built.

Building a config reads nothing but whether the seeds files exist; no network, no models.
"""

import difflib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypedDict, Unpack

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from socratic_distill.errors import ConfigError

PathText = Annotated[str, BeforeValidator(lambda path: os.fspath(path)), Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
HOUR, DAY = 3600, 24 * 3600
# The service's range of lifetimes.
Lifetime = Annotated[int, Field(ge=HOUR, le=10 * 365 * DAY, strict=True)] | None
Share = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]

SeedsFiles = Sequence[tuple[str | os.PathLike[str], int | None]]

DEFAULT_PROFILE = "You are in sixth grade and like to understand things."


class SocraticConfig(BaseModel):
    """Everything that decides what a run does. Frozen; unknown fields are refused.

    Raises:
        ConfigError: a field is unknown, or its value cannot be meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    tutor_model_name: Name = Field(description="Base model of the tutor, the model that is trained.")
    student_model_name: Name = Field(description="Model that plays the student. Frozen.")
    teacher_model_name: Name = Field(description="Model that scores the tutor's tokens. Frozen.")
    learning_rate: Annotated[float, Field(gt=0.0, strict=True)] = Field(
        description="Adam learning rate, constant over the run."
    )
    max_tokens: Count = Field(description="Longest tutor reply, in tokens.")
    log_path: PathText = Field(description="Directory of the run; the same directory resumes the run.")

    student_profile: str = Field(
        DEFAULT_PROFILE, description="Who the student is, for seeds without a profile of their own."
    )
    groups_per_batch: Count = Field(8, description="Seeds in a batch; one group of dialogues each.")
    num_envs: Count = Field(4, description="Dialogues in a group, all on the same seed.")
    max_turns: Count = Field(20, description="Most tutor turns in a dialogue.")

    seeds_file: PathText | None = Field(
        None, description="JSONL file of seeds. None: seeds_files, or the built-in problems."
    )
    seeds_limit: Count | None = Field(None, description="Number of seeds taken from the top of seeds_file. None: all.")
    seeds_files: tuple[tuple[PathText, Count | None], ...] | None = Field(
        None,
        description="Several (path, limit) read in order, limit None taking all. None: seeds_file instead.",
    )

    base_url: Name | None = Field(
        None,
        description="Service to train on: None is Tinker's hosted service, 'local' the engine in this "
        "process, an http(s) URL a server of the same API.",
    )
    load_checkpoint_path: PathText | None = Field(
        None, description="Training state whose weights the run starts from. None: a fresh LoRA."
    )
    trust_remote_code: bool = Field(
        False, description="Let the local engine run Python code that a model's files bring along."
    )

    kl_penalty_coef: Annotated[float, Field(ge=0.0, strict=True)] = Field(
        1.0, description="Factor on the per-token advantage, teacher less tutor log-probability."
    )
    kl_discount_factor: Share = Field(
        0.0, description="Weight of the next token's advantage in this token's; 0 looks at each token alone."
    )
    loss_fn: Literal["importance_sampling", "ppo", "cispo"] = Field(
        "importance_sampling", description="The service's loss on (log-probabilities, advantages)."
    )
    teacher_sees_answer: bool = Field(
        False, description="Add the seed's answer and mistake to the teacher's system prompt."
    )

    lora_rank: Count = Field(32, description="Rank of the tutor's LoRA.")
    temperature: Annotated[float, Field(gt=0.0, strict=True)] = Field(
        1.0,
        description="Sampling temperature of tutor and student. Away from 1.0 the tutor's log-probabilities "
        "are scored again at 1.0, so that they compare with the teacher's.",
    )
    student_max_tokens: Count | None = Field(None, description="Longest student turn, in tokens. None: as max_tokens.")
    max_context_tokens: Count | None = Field(
        None,
        description="Longest context of a dialogue, in tokens, prompt and reply together. None: the smallest "
        "of the three models' contexts, as far as the service tells them.",
    )
    tutor_enable_thinking: bool = Field(False, description="Let the tutor's template open a <think> part.")
    student_enable_thinking: bool = Field(False, description="Let the student's template open a <think> part.")
    teacher_enable_thinking: bool = Field(
        False, description="Render the teacher's context as if it were to think first."
    )
    tutor_prompt_file: PathText | None = Field(
        None, description="Text file with the tutor's system prompt. None: the packaged one."
    )
    student_prompt_file: PathText | None = Field(
        None, description="Text file with the student's system prompt. None: the packaged ones."
    )
    teacher_prompt_file: PathText | None = Field(
        None, description="Text file with the teacher's system prompt. None: the packaged Socratic one."
    )

    epochs: Count = Field(1, description="Passes over the seeds, where max_steps is None.")
    max_steps: Count | None = Field(
        None, description="Batches in the run. None: as many as `epochs` passes over the seeds take."
    )
    save_every: Count | None = Field(
        20, description="Batches between two kept training states. None: save_every_seconds alone decides."
    )
    save_every_seconds: Annotated[float, Field(gt=0.0, strict=True)] | None = Field(
        None, description="Seconds after which a training state is kept, beside save_every. None: save_every alone."
    )
    rolling_save_every: Count | None = Field(
        None,
        description="Batches between two rolling states: cheap points to resume from, each deleted once the next "
        "state is recorded. None: no rolling states.",
    )
    sampler_ttl_seconds: Lifetime = Field(
        7 * DAY, description="Seconds that sampler weights are kept, those at the end of the run apart. None: for ever."
    )
    periodic_ttl_seconds: Lifetime = Field(
        7 * DAY, description="Seconds that kept states are kept, the final one apart. None: for ever."
    )
    rolling_ttl_seconds: Lifetime = Field(
        2 * HOUR, description="Seconds that a rolling state is kept if nobody deletes it. None: for ever."
    )
    max_failed_saves: Count = Field(
        3, description="Saves in a row, of states or of sampler weights, that may fail before the run stops."
    )
    max_recoveries: Annotated[int, Field(ge=0, strict=True)] = Field(
        3,
        description="How often in a row, without a new batch done, a run reopens its clients after losing them. "
        "0 stops at the first loss.",
    )
    allow_config_changes: tuple[str, ...] = Field(
        (),
        description="Fields that may differ from what the run in log_path had, though they decide its meaning; "
        "'seeds' stands for the seeds.",
    )
    max_staleness: Annotated[int, Field(ge=0, strict=True)] = Field(
        0,
        description="Batches that the dialogues may run ahead of the training: no token is trained on that weights "
        "more than so many steps older have sampled. 0 is strictly on-policy.",
    )
    groups_per_minibatch: Count = Field(
        4, description="Groups that are handed to the service together, as soon as they are scored."
    )
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = Field(
        0, description="Seed of sampling, of the seeds' order and of the LoRA initialisation."
    )
    max_concurrent_dialogues: Count = Field(1024, description="Dialogues of a batch in flight at once.")
    max_failed_fraction: Share = Field(
        0.2, description="Share of a batch's dialogues that may fail before the run stops."
    )
    display: Literal["auto", "plain", "off"] = Field(
        "auto", description="Progress: 'auto' is live in a terminal and plain lines elsewhere."
    )

    if not TYPE_CHECKING:  # type checkers keep pydantic's own signature, with every field

        def __init__(self, **data: Any) -> None:
            _refuse_unknown(data, known=type(self).model_fields)
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise ConfigError(_explain(error)) from None

    @model_validator(mode="after")
    def _check_fields_together(self) -> Self:
        if self.seeds_file is not None and self.seeds_files is not None:
            raise ValueError("seeds_file and seeds_files are both set; keep one of them")
        if self.seeds_limit is not None and self.seeds_file is None:
            raise ValueError(
                f"seeds_limit={self.seeds_limit} has no seeds_file to apply to; set seeds_file, or give each "
                "of seeds_files its own limit"
            )
        if self.seeds_files is not None and not self.seeds_files:
            raise ValueError("seeds_files is empty; give at least one (path, limit), or None")
        if self.base_url not in (None, "local") and not str(self.base_url).startswith(("http://", "https://")):
            raise ValueError(
                f"base_url={self.base_url!r}; expected None (Tinker), 'local', or an http:// or https:// URL"
            )
        known = {*type(self).model_fields, "seeds"}
        if unknown := [name for name in self.allow_config_changes if name not in known]:
            raise ValueError(f"allow_config_changes names {unknown}; expected names of config fields, or 'seeds'")
        paths = [self.seeds_file, *(path for path, _ in self.seeds_files or ())]
        for path in filter(None, paths):
            if not os.path.isfile(path):
                raise ValueError(f"seeds file {path!r} does not exist (looked in {os.getcwd()})")
        return self


class SocraticOptions(TypedDict, total=False):
    """The optional fields of `SocraticConfig` that `build_socratic_config` takes as keywords."""

    load_checkpoint_path: str | os.PathLike[str] | None
    trust_remote_code: bool
    kl_penalty_coef: float
    kl_discount_factor: float
    loss_fn: Literal["importance_sampling", "ppo", "cispo"]
    teacher_sees_answer: bool
    lora_rank: int
    temperature: float
    student_max_tokens: int | None
    max_context_tokens: int | None
    tutor_enable_thinking: bool
    student_enable_thinking: bool
    teacher_enable_thinking: bool
    tutor_prompt_file: str | os.PathLike[str] | None
    student_prompt_file: str | os.PathLike[str] | None
    teacher_prompt_file: str | os.PathLike[str] | None
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
    allow_config_changes: Sequence[str]
    max_staleness: int
    groups_per_minibatch: int
    seed: int
    max_concurrent_dialogues: int
    max_failed_fraction: float
    display: Literal["auto", "plain", "off"]


def build_socratic_config(
    tutor_model_name: str,
    student_model_name: str,
    teacher_model_name: str,
    learning_rate: float,
    max_tokens: int,
    log_path: str | os.PathLike[str],
    student_profile: str = DEFAULT_PROFILE,
    groups_per_batch: int = 8,
    num_envs: int = 4,
    max_turns: int = 20,
    seeds_file: str | os.PathLike[str] | None = None,
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
        max_tokens: longest tutor reply, in tokens.
        log_path: directory of the run; the same directory resumes the run.
        student_profile: who the student is, for seeds without a profile of their own.
        groups_per_batch: seeds in a batch.
        num_envs: dialogues on each seed of a batch.
        max_turns: most tutor turns in a dialogue.
        seeds_file: JSONL file of seeds; None takes seeds_files, or the built-in problems.
        seeds_limit: number of seeds taken from seeds_file; None takes all.
        seeds_files: several (path, limit), read in order.
        base_url: None for Tinker, "local", or the http(s) URL of a server of the same API.
        **kwargs: any other field of `SocraticConfig`.

    Raises:
        ConfigError: a field is unknown, or its value cannot be meant.
    """
    named = {name: value for name, value in locals().items() if name != "kwargs"}
    return SocraticConfig(**named, **kwargs)  # pyright: ignore[reportArgumentType]


def _refuse_unknown(data: dict[str, Any], known: Any) -> None:
    for name in data:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the fields are: {', '.join(sorted(known))}"
            raise ConfigError(f"unknown config field {name!r}; {hint}")


def _explain(error: ValidationError) -> str:
    """One line a problem: the field, what was given, what was expected."""
    lines = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"])
        reason = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            lines.append(f"{field} is missing: {SocraticConfig.model_fields[field].description}")
        elif field:
            lines.append(f"{field}={problem['input']!r}: {reason[0].lower() + reason[1:]}")
        else:
            lines.append(reason)
    return "; ".join(lines)
