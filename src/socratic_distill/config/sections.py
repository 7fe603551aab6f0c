"""The fields of a config, by section.

They are flat for users, `config.save_every`; the sections are for readers, of this file and of the docs page.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from socratic_distill.config.objectives import Objective, SampledReverseKL
from socratic_distill.config.parts import Judge, Price, Recordings, Reward, Teacher
from socratic_distill.config.values import (
    Count,
    Factor,
    Groups,
    ModelName,
    Name,
    NotNegative,
    PathText,
    Positive,
    Schedule,
    Share,
    Steps,
    Tens,
    Tokens,
)

HOUR, DAY = 3600, 24 * 3600
# The service's range of lifetimes.
Lifetime = Annotated[int, Field(ge=HOUR, le=10 * 365 * DAY, strict=True)] | None
Beta = Annotated[float, Field(ge=0.0, lt=1.0, strict=True)]

DEFAULT_PROFILE = "You are in sixth grade and like to understand things."


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), hide_input_in_errors=True
    )


class Models(Section):
    """The models, and the service that has them."""

    tutor_model_name: ModelName = Field(description="Base model of the tutor, the model that is trained.")
    student_model_name: ModelName = Field(description="Model that plays the student. Frozen.")
    teacher_model_name: ModelName = Field(description="Model that scores the tutor's tokens. Frozen.")
    base_url: Name | None = Field(
        None,
        description="Service to train on: None is Tinker's hosted service, 'local' the engine in this "
        "process, an http(s) URL a server of the same API.",
    )
    opening_timeout_seconds: Positive = Field(
        60.0, description="Seconds that a service may take to open, once it answers a health request."
    )
    answer_timeout_seconds: Positive | None = Field(
        1800.0,
        description="Seconds without an answer after which a request counts as lost, and the run reopens its clients. "
        "They count from the request, or from a later answer to others of its kind or a later word of the SDK that the "
        "service pauses, which it gives of a pause for capacity after 15 minutes alone. None: a run waits for ever.",
    )
    trust_remote_code: bool = Field(
        False, description="Let the local engine run Python code that a model's files bring along."
    )
    system_role: Literal["require", "merge"] = Field(
        "require",
        description="A chat template without a system role: refused, or the system prompt put before the first user "
        "message.",
    )


class Seeds(Section):
    """The problems, and recorded dialogues on problems."""

    seeds_file: PathText | None = Field(
        None, description="JSONL file of seeds. None: seeds_files, or the built-in problems."
    )
    seeds_limit: Count | None = Field(None, description="Number of seeds taken from the top of seeds_file. None: all.")
    seeds_files: tuple[tuple[PathText, Count | None], ...] | None = Field(
        None,
        description="Several (path, limit) read in order, limit None taking all. None: seeds_file instead.",
    )
    recordings: Recordings | None = Field(
        None, description="Recorded dialogues to learn from. None: only those that the tutor plays."
    )


class Dialogues(Section):
    """How many dialogues a batch has, how long they are, and who talks."""

    groups_per_batch: Groups = Field(8, description="Seeds in a batch; one group of dialogues each.")
    num_envs: Tens = Field(4, description="Dialogues in a group, all on the same seed.")
    max_turns: Tens = Field(20, description="Most tutor turns in a dialogue.")
    max_turns_schedule: Schedule | None = Field(
        None, description="Most tutor turns by step, rounded down, for short dialogues first. None: max_turns always."
    )
    student_profile: str = Field(
        DEFAULT_PROFILE, description="Who the student is, for seeds without a profile of their own."
    )
    tutor_prompt_file: PathText | None = Field(
        None, description="Text file with the tutor's system prompt. None: the packaged one."
    )
    student_prompt_file: PathText | None = Field(
        None, description="Text file with the student's system prompt. None: the packaged ones."
    )


class Teaching(Section):
    """What the tutor learns from: teachers, the objective, rewards."""

    objective: Objective = Field(
        SampledReverseKL(), description="The divergence between tutor and teacher that training lowers."
    )
    kl_penalty_coef: Factor = Field(1.0, description="Factor on the divergence, beside the rewards.")
    kl_discount_factor: Share = Field(
        0.0,
        description="Weight of the next token's advantage in this token's; 0 looks at each token alone. Of "
        "sampled_reverse_kl alone.",
    )
    loss_fn: Literal["importance_sampling", "ppo", "cispo"] = Field(
        "importance_sampling", description="The service's loss on (log-probabilities, advantages)."
    )
    rewards: tuple[Reward, ...] = Field(
        (), description="Task rewards of a dialogue, added up by weight; its advantage is what it has over its group."
    )
    reward_coef: Factor = Field(
        1.0, description="Factor on the rewards' advantage of every token, beside kl_penalty_coef."
    )
    cut_replies: Literal["keep", "mask", "penalize"] = Field(
        "keep",
        description="Replies cut at max_tokens: trained on as others, not trained on, or with cut_penalty less "
        "advantage.",
    )
    cut_penalty: Annotated[float, Field(gt=0.0, le=1e4, strict=True)] = Field(
        1.0, description="What 'penalize' takes from each token's advantage."
    )
    train_thinking: bool = Field(True, description="Train on the tutor's <think> part too.")
    skip_first_tokens: Annotated[int, Field(ge=0, le=2**24, strict=True)] = Field(
        0, description="Tokens at the beginning of each tutor turn that are not trained on."
    )
    teacher_prompt_file: PathText | None = Field(
        None, description="Text file with the teacher's system prompt. None: the packaged Socratic one."
    )
    teacher_sees_answer: bool = Field(
        False, description="Add the seed's answer and mistake to the teacher's system prompt."
    )
    teacher_enable_thinking: bool = Field(
        False, description="Render the teacher's context as if it were to think first."
    )
    teacher_checkpoint_path: PathText | None = Field(
        None, description="Sampler weights that the teacher scores with. None: teacher_model_name as it is."
    )
    teacher_lag_steps: Steps | None = Field(
        None,
        description="Score with the tutor's own weights, taken over every so many batches. None: frozen weights. Needs "
        "teacher_model_name to be tutor_model_name.",
    )
    teachers: tuple[Teacher, ...] = Field(
        (), description="Several teachers. Empty: one, described by the teacher_… fields."
    )
    teacher_average: Literal["log_mean", "mixture"] | None = Field(
        None,
        description="How the scores of a seed's teachers become one: weighted mean of the log-probabilities, or log of "
        "the weighted mean of probabilities. None: each seed has one teacher.",
    )


class Sampling(Section):
    """How tutor and student are sampled."""

    max_tokens: Tokens = Field(description="Longest tutor reply, in tokens.")
    student_max_tokens: Tokens | None = Field(None, description="Longest student turn, in tokens. None: as max_tokens.")
    max_context_tokens: Tokens | None = Field(
        None,
        description="Longest context of a dialogue, in tokens, prompt and reply together. None: the smallest "
        "of the three models' contexts, as far as the service tells them.",
    )
    temperature: Annotated[float, Field(ge=1e-4, le=100.0, strict=True)] = Field(
        1.0,
        description="Sampling temperature of tutor and student. Away from 1.0 the tutor's log-probabilities "
        "are scored again at 1.0, so that they compare with the teacher's.",
    )
    tutor_enable_thinking: bool = Field(False, description="Let the tutor's template open a <think> part.")
    student_enable_thinking: bool = Field(False, description="Let the student's template open a <think> part.")
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = Field(
        0, description="Seed of sampling, of the seeds' order and of the LoRA initialisation."
    )


class Optimisation(Section):
    """The optimizer, and for how long it runs."""

    learning_rate: Annotated[float, Field(gt=0.0, le=1e3, strict=True)] = Field(
        description="Adam learning rate, at its highest where lr_schedule changes it."
    )
    lora_rank: Tens = Field(32, description="Rank of the tutor's LoRA.")
    epochs: Steps = Field(1, description="Passes over the seeds, where max_steps is None.")
    max_steps: Steps | None = Field(
        None, description="Batches in the run. None: as many as `epochs` passes over the seeds take."
    )
    num_substeps: Groups = Field(
        1,
        description="Optimizer steps on a batch, each on an equal run of its groups; the sampler is saved at the end.",
    )
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="The learning rate's way from learning_rate to 0 at the run's last step."
    )
    lr_warmup_steps: Annotated[int, Field(ge=0, le=10_000_000, strict=True)] = Field(
        0, description="First steps, in which the learning rate rises evenly to learning_rate."
    )
    adam_beta1: Beta = Field(0.9, description="Adam's decay of the first moment.")
    adam_beta2: Beta = Field(0.95, description="Adam's decay of the second moment.")
    adam_eps: Annotated[float, Field(ge=1e-30, le=1.0, strict=True)] = Field(1e-12, description="Adam's epsilon.")
    weight_decay: Factor = Field(0.0, description="AdamW's decoupled weight decay.")
    grad_clip_norm: NotNegative = Field(0.0, description="Largest norm of a step's gradient; 0 clips nothing.")


class Checkpoints(Section):
    """The run directory, and what is saved when and for how long."""

    log_path: PathText = Field(
        description="Directory of the run; the same directory resumes the run. Or a URL of a store, such as "
        "s3://bucket/runs/run-001."
    )
    load_checkpoint_path: PathText | None = Field(
        None, description="Training state whose weights the run starts from. None: a fresh LoRA."
    )
    allow_config_changes: tuple[str, ...] = Field(
        (),
        description="Fields that may differ from what the run in log_path had, though they decide its meaning; "
        "'seeds' stands for the seeds.",
    )
    save_every: Steps | None = Field(
        20, description="Batches between two kept training states. None: save_every_seconds alone decides."
    )
    save_every_seconds: Positive | None = Field(
        None, description="Seconds after which a training state is kept, beside save_every. None: save_every alone."
    )
    rolling_save_every: Steps | None = Field(
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
    max_failed_saves: Steps = Field(
        3, description="Saves in a row, of states or of sampler weights, that may fail before the run stops."
    )


class Limits(Section):
    """How far dialogues run ahead of the training, and how much may fail."""

    max_staleness: Annotated[int, Field(ge=0, le=1000, strict=True)] = Field(
        0,
        description="Batches that the dialogues may run ahead of the training: no token is trained on that weights "
        "more than so many steps older have sampled. 0 is strictly on-policy, and the only setting with which a "
        "resumed run samples the same as one never interrupted.",
    )
    groups_per_minibatch: Groups = Field(
        4, description="Groups that are handed to the service together, as soon as they are scored."
    )
    max_concurrent_dialogues: Steps = Field(1024, description="Dialogues of a batch in flight at once.")
    max_failed_fraction: Share = Field(
        0.2, description="Share of a batch's dialogues that may fail before the run stops."
    )
    max_recoveries: Annotated[int, Field(ge=0, le=10_000_000, strict=True)] = Field(
        3,
        description="How often in a row, without a new batch done, a run reopens its clients after losing them. "
        "0 stops at the first loss.",
    )


class Evaluating(Section):
    """What is measured while training."""

    eval_every: Steps | None = Field(
        None,
        description="Batches between two evaluations on the held-out seeds; the first is before the first step, the "
        "last behind the last. None: no evaluation while training.",
    )
    eval_seeds: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] = Field(
        0, description="Seeds that are held out of training, to evaluate on; which ones, their questions decide."
    )
    eval_dialogues_per_seed: Tens = Field(1, description="Dialogues that an evaluation plays on each of its seeds.")
    eval_solve_samples: Annotated[int, Field(ge=0, le=10_000, strict=True)] = Field(
        0,
        description="Answers that an evaluation samples of the student before and after each dialogue, for its solve "
        "rates. 0: they are not measured.",
    )
    judge: Judge | None = Field(
        None, description="Model that an evaluation asks whether the tutor gave the answer away. None: nobody is asked."
    )


class Outputs(Section):
    """What people see, and what it may cost."""

    display: Literal["auto", "plain", "off"] = Field(
        "auto", description="Progress: 'auto' is live in a terminal and plain lines elsewhere."
    )
    write_report: bool = Field(True, description="Write report.html into log_path at the end of the run.")
    trackers: tuple[Literal["wandb", "trackio", "tensorboard"], ...] = Field(
        (), description="Trackers that get the metrics too, each through its own library."
    )
    tracker_project: Name = Field("socratic-distill", description="Project of the run at its trackers.")
    tracker_name: Name | None = Field(
        None, description="Name of the run at its trackers. None: the last folder of log_path."
    )
    prices: Mapping[str, Price] = Field(
        {}, description="Prices by full model name, in place of the packaged ones, for the estimated cost."
    )
    max_cost_usd: Positive | None = Field(
        None,
        description="Estimated cost, USD, of the run over all its starts, that no step is to take it beyond: the run "
        "stops before with a state saved, and a higher limit resumes it. None: no limit.",
    )


# As they are read.
SECTIONS = (Models, Seeds, Dialogues, Teaching, Sampling, Optimisation, Checkpoints, Limits, Evaluating, Outputs)


# pydantic takes the fields of the last base first.
class Fields(Outputs, Evaluating, Limits, Checkpoints, Optimisation, Sampling, Teaching, Dialogues, Seeds, Models):
    """All fields, without the rules that hold between them."""

    @property
    def plays_dialogues(self) -> bool:
        """Whether the tutor plays dialogues of its own; not where all are recorded."""
        return self.recordings is None or self.recordings.on_policy_fraction > 0
