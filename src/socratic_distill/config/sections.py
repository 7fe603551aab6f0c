"""The fields of a config, by section.

Users see flat fields, such as `config.save_every`. The sections order them for readers of this file and of the docs
page, which shows each description.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from socratic_distill.config.dialogue_settings import Dialogues
from socratic_distill.config.objectives import Objective, SampledReverseKL
from socratic_distill.config.optimisation import Optimisation
from socratic_distill.config.parts import Judge, Price, Teacher
from socratic_distill.config.policy_losses import PolicyLoss
from socratic_distill.config.rewards import Reward
from socratic_distill.config.seed_sources import Seeds
from socratic_distill.config.shorthand import ModelAlone, Several
from socratic_distill.config.token_weights import Weighting
from socratic_distill.config.values import (
    Factor,
    Groups,
    ModelName,
    Name,
    PathText,
    Positive,
    Reasoning,
    Section,
    Share,
    Steps,
    TemplateOptions,
    Tens,
    Tokens,
)

HOUR, DAY = 3600, 24 * 3600
# The range that the service allows.
Lifetime = Annotated[int, Field(ge=HOUR, le=10 * 365 * DAY, strict=True)] | None
TrackerName = Literal["wandb", "trackio", "tensorboard"]


class Models(Section):
    """The models, and the service that runs them."""

    tutor_model_name: ModelName = Field(description="Base model of the tutor, the model that is trained.")
    student_model_name: ModelName = Field(description="Model that plays the student. Frozen.")
    teacher_model_name: ModelName = Field(description="Model that scores the tutor's tokens. Frozen.")
    base_url: Name | None = Field(
        None,
        description="Service to train on: None is Tinker's hosted service, 'local' is the engine in this process, an "
        "http(s) URL is a server with the same API.",
    )
    opening_timeout_seconds: Positive = Field(
        60.0, description="Seconds that a service may take to open, after it has answered a health request."
    )
    answer_timeout_seconds: Positive | None = Field(
        1800.0,
        description="Seconds without an answer after which a request counts as lost and the run reopens its clients. "
        "The time starts with the request. It starts again when another request of its kind is answered, and when the "
        "SDK reports that the service is paused; a pause for capacity is reported only after 15 minutes. None: a run "
        "waits without limit.",
    )
    trust_remote_code: bool = Field(
        False, description="Let the local engine run Python code that comes with a model's files."
    )
    system_role: Literal["require", "merge"] = Field(
        "require",
        description="What to do with a chat template that has no system role: 'require' refuses it, 'merge' puts the "
        "system prompt before the first user message.",
    )


class Teaching(Section):
    """What the tutor learns from: teachers, the objective, rewards."""

    objective: Objective = Field(
        SampledReverseKL(),
        description="The divergence between tutor and teacher that training minimizes; the name of its kind alone "
        "means the defaults.",
    )
    kl_penalty_coef: Factor = Field(1.0, description="Factor on the divergence; reward_coef is that on the rewards.")
    kl_discount_factor: Share = Field(
        0.0,
        description="Discount with which a token's advantage includes the advantages of later tokens; 0 uses each "
        "token's own advantage only. Works only with sampled_reverse_kl.",
    )
    rewards: Several[tuple[Reward, ...]] = Field(
        (),
        description="Task rewards of a dialogue, added up by weight; a dialogue's advantage is its reward minus its "
        "group's mean. The name of a kind alone has weight 1.",
    )
    reward_coef: Factor = Field(
        1.0, description="Factor on the rewards' advantage of every token; kl_penalty_coef is that on the divergence."
    )
    reward_normalization: Literal["none", "group"] = Field(
        "none",
        description="'group' gives each reward mean 0 and standard deviation 1 in its group before the weights, so "
        "that no reward outweighs the others by its spread; 'none' adds the rewards as they are.",
    )
    cut_replies: Literal["keep", "mask", "penalize"] = Field(
        "keep",
        description="What to do with replies that were cut at max_tokens: 'keep' trains on them like on others, 'mask' "
        "does not train on them, 'penalize' subtracts cut_penalty from their advantages.",
    )
    cut_penalty: Annotated[float, Field(gt=0.0, le=1e4, strict=True)] = Field(
        1.0, description="Amount that cut_replies='penalize' subtracts from each token's advantage."
    )
    train_thinking: bool = Field(True, description="Train on the tutor's <think> part too.")
    score_untrained: bool = Field(
        False,
        description="Ask the teachers about tokens that train nothing too, so that teacher_kl covers every token. "
        "Without it, such tokens at the end of a dialogue have no score.",
    )
    skip_first_tokens: Annotated[int, Field(ge=0, le=2**24, strict=True)] = Field(
        0, description="Number of tokens at the start of each tutor turn that are not trained on."
    )
    teacher_prompt_file: PathText | None = Field(
        None, description="Text file with the teacher's system prompt. None: the packaged Socratic one."
    )
    teacher_sees_answer: bool = Field(
        False, description="Add the seed's answer and mistake to the teacher's system prompt."
    )
    teacher_enable_thinking: bool = Field(False, description="Render the teacher's context with thinking enabled.")
    teacher_reasoning: Reasoning | None = Field(
        None,
        description="Reasoning in the teacher's context: 'off', 'on', or how much, as its chat template has it. None: "
        "as teacher_enable_thinking.",
    )
    teacher_template_options: TemplateOptions = Field(
        {}, description="Other variables of the teacher's chat template, by name."
    )
    teacher_chat_template_file: PathText | None = Field(
        None, description="Text file with the chat template of the teachers' models, in jinja. None: their own."
    )
    teacher_checkpoint_path: PathText | None = Field(
        None, description="Sampler weights that the teacher scores with. None: those of teacher_model_name."
    )
    teacher_lag_steps: Steps | None = Field(
        None,
        description="Score with the tutor's own weights, updated every so many batches; teacher_model_name must then "
        "be tutor_model_name. None: frozen weights.",
    )
    teachers: Several[tuple[Teacher, ...]] = Field(
        (), description="Several teachers. Empty: one teacher, described by the teacher_… fields."
    )
    teacher_average: Literal["log_mean", "mixture"] | None = Field(
        None,
        description="How the scores of a seed's teachers are combined: 'log_mean' is the weighted mean of the "
        "log-probabilities, 'mixture' the log of the weighted mean of the probabilities. None: each seed has one "
        "teacher.",
    )
    teacher_residual_clip: Positive | None = Field(
        None,
        description="Bound on how far each teacher's log-probability of a token is from the first teacher's, nats, "
        "before 'log_mean' adds them up. None: no bound; a negative weight needs one.",
    )


class Sampling(Section):
    """How tutor and student are sampled."""

    max_tokens: Tokens = Field(description="Length limit of a tutor reply, in tokens.")
    student_max_tokens: Tokens | None = Field(
        None, description="Length limit of a student turn, in tokens. None: as max_tokens."
    )
    max_context_tokens: Tokens | None = Field(
        None,
        description="Limit of a dialogue's context, prompt and reply together, in tokens. None: the smallest of the "
        "models' context lengths that the service reports.",
    )
    temperature: Annotated[float, Field(ge=1e-4, le=100.0, strict=True)] = Field(
        1.0,
        description="Sampling temperature of tutor and student. If it is not 1.0, the tutor's log-probabilities are "
        "scored again at 1.0, to be comparable with the teacher's.",
    )
    tutor_enable_thinking: bool = Field(False, description="Render the tutor's prompts with thinking enabled.")
    student_enable_thinking: bool = Field(False, description="Render the student's prompts with thinking enabled.")
    tutor_reasoning: Reasoning | None = Field(
        None,
        description="The tutor's reasoning: 'off', 'on', or how much, as its chat template has it. None: as "
        "tutor_enable_thinking.",
    )
    student_reasoning: Reasoning | None = Field(
        None, description="The student's reasoning, likewise. None: as student_enable_thinking."
    )
    tutor_template_options: TemplateOptions = Field(
        {}, description="Other variables of the tutor's chat template, by name."
    )
    student_template_options: TemplateOptions = Field(
        {}, description="Other variables of the student's chat template, by name."
    )
    tutor_chat_template_file: PathText | None = Field(
        None,
        description="Text file with the chat template of the tutor's model, in jinja, such as for a base model, which "
        "has none. None: its own.",
    )
    student_chat_template_file: PathText | None = Field(
        None, description="Text file with the chat template of the students' models, likewise. None: their own."
    )
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = Field(
        0, description="Random seed of sampling, of the order of seeds and of the LoRA initialisation."
    )


class Checkpoints(Section):
    """The run directory, what is saved, and for how long it is kept."""

    log_path: PathText = Field(
        description="Directory of the run; the same directory resumes the run. It may be the URL of a store, such as "
        "s3://bucket/runs/run-001."
    )
    load_checkpoint_path: PathText | None = Field(
        None, description="Training state whose weights the run starts from. None: a new LoRA."
    )
    allow_config_changes: Several[tuple[str, ...]] = Field(
        (),
        description="Fields that may differ from the config of the run in log_path, although they normally cannot "
        "change on resume; 'seeds' allows other seeds.",
    )
    save_every: Steps | None = Field(
        20, description="Batches between two kept training states. None: only save_every_seconds decides."
    )
    save_every_seconds: Positive | None = Field(
        None,
        description="Seconds after which a training state is kept, in addition to save_every. None: only save_every "
        "decides.",
    )
    rolling_save_every: Steps | None = Field(
        None,
        description="Batches between two rolling states: cheap points to resume from, each deleted after the next "
        "state is recorded. None: no rolling states.",
    )
    sampler_ttl_seconds: Lifetime = Field(
        7 * DAY,
        description="Seconds that sampler weights are kept, except those at the end of the run. None: permanently.",
    )
    periodic_ttl_seconds: Lifetime = Field(
        7 * DAY, description="Seconds that kept states stay on the service, except the final one. None: permanently."
    )
    rolling_ttl_seconds: Lifetime = Field(
        2 * HOUR, description="Seconds that a rolling state is kept if it is not deleted before. None: permanently."
    )
    max_failed_saves: Steps = Field(
        3,
        description="The run stops after this many failed saves in a row, of training states or of sampler weights.",
    )


class Limits(Section):
    """How far dialogues run ahead of training, and how much may fail."""

    max_staleness: Annotated[int, Field(ge=0, le=1000, strict=True)] = Field(
        0,
        description="Number of batches that the dialogues may run ahead of training: every trained token was sampled "
        "by weights that are at most this many steps old. 0 is strictly on-policy, and the only setting with which a "
        "resumed run samples the same as an uninterrupted one.",
    )
    groups_per_minibatch: Groups = Field(
        4, description="Groups that are sent to the service together, as soon as they are scored."
    )
    max_concurrent_dialogues: Steps = Field(
        1024, description="Maximum number of a batch's dialogues that are played at once."
    )
    max_failed_fraction: Share = Field(
        0.2, description="Share of a batch's dialogues that may fail; the run stops if more do."
    )
    max_recoveries: Annotated[int, Field(ge=0, le=10_000_000, strict=True)] = Field(
        3,
        description="How often in a row a run may reopen lost clients without finishing a batch in between. 0 stops at "
        "the first loss.",
    )


class Evaluating(Section):
    """What is measured while training."""

    eval_every: Steps | None = Field(
        None,
        description="Batches between two evaluations on the held-out seeds. The first is before the first step, the "
        "last is after the last step. None: no evaluation while training.",
    )
    eval_seeds: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] = Field(
        0,
        description="Number of seeds that are held out of training, to evaluate on. The choice depends only on their "
        "questions.",
    )
    eval_dialogues_per_seed: Tens = Field(1, description="Dialogues that an evaluation plays on each of its seeds.")
    eval_solve_samples: Annotated[int, Field(ge=0, le=10_000, strict=True)] = Field(
        0,
        description="Answers that an evaluation samples from the student before and after each dialogue, to measure "
        "its solve rates. 0: they are not measured.",
    )
    judge: ModelAlone[Judge | None] = Field(
        None,
        description="Model that judges in an evaluation whether the tutor gave the answer away; its name alone means "
        "the defaults. None: no judge.",
    )


class Outputs(Section):
    """Progress display, report, trackers, and the cost limit."""

    display: Literal["auto", "plain", "off"] = Field(
        "auto", description="Progress display: 'auto' is live in a terminal and plain lines elsewhere."
    )
    write_report: bool = Field(True, description="Write report.html into log_path at the end of the run.")
    write_teacher_top: bool = Field(
        False,
        description="Write the teacher's likeliest tokens into dialogues.jsonl too, if the objective asks for them. "
        "Recordings of the run can then be trained with the same objective without asking the teacher again.",
    )
    trackers: Several[tuple[TrackerName, ...]] = Field(
        (), description="Trackers that also receive the metrics, each through its own library."
    )
    tracker_project: Name = Field("socratic-distill", description="Name of the project at the trackers.")
    tracker_name: Name | None = Field(
        None, description="Name of the run at its trackers. None: the last folder of log_path."
    )
    prices: Mapping[str, Price] = Field(
        {}, description="Prices by full model name, for the estimated cost; they replace the packaged ones."
    )
    max_cost_usd: Positive | None = Field(
        None,
        description="Limit on the run's estimated cost in USD, over all its starts. Before a step that would exceed "
        "it, the run saves a state and stops; a higher limit resumes it. None: no limit.",
    )


# In the order of the docs page.
SECTIONS = (
    Models,
    Seeds,
    Dialogues,
    Teaching,
    Weighting,
    PolicyLoss,
    Sampling,
    Optimisation,
    Checkpoints,
    Limits,
    Evaluating,
    Outputs,
)


# Reversed, since pydantic orders the fields of the last base class first.
class Fields(
    Outputs,
    Evaluating,
    Limits,
    Checkpoints,
    Optimisation,
    Sampling,
    PolicyLoss,
    Weighting,
    Teaching,
    Dialogues,
    Seeds,
    Models,
):
    """All fields, without the rules between them."""

    @property
    def plays_dialogues(self) -> bool:
        """Whether the tutor plays dialogues; False if all dialogues are recorded."""
        return self.plays_seeds or (self.recordings is not None and self.recordings.take_over is not None)

    @property
    def plays_seeds(self) -> bool:
        """Whether the tutor plays dialogues on the seeds, from their beginning."""
        return self.recordings is None or self.recordings.on_policy_fraction > 0
