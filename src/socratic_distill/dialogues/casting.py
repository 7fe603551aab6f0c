"""Opens the frozen models of a run, student and teachers, and builds the cast of a batch with the current tutor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.named_models import is_judge, named_models
from socratic_distill.config.objectives import Supervised
from socratic_distill.config.parts import Judge
from socratic_distill.config.paths import resolved
from socratic_distill.config.reasoning import TemplateChoice
from socratic_distill.config.rewards import judge_rewards
from socratic_distill.config.schedules import turns
from socratic_distill.config.teachers import ResolvedTeacher, tutor_template
from socratic_distill.config.trust import check_files
from socratic_distill.config.values import value
from socratic_distill.config.wanted import Wanted
from socratic_distill.dialogues.briefing import Briefing
from socratic_distill.dialogues.cast import Cast, Member, Teachers
from socratic_distill.dialogues.codec import Codec
from socratic_distill.dialogues.compatibility import check_same_replies, check_same_tokens
from socratic_distill.dialogues.dialogue import NO_STEP, Ends
from socratic_distill.dialogues.endings import load_endings
from socratic_distill.dialogues.prompts import Prompts
from socratic_distill.dialogues.remote_speaker import RemoteSpeaker
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.rewards import Rewards, load_rewards
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.dialogues.student_casting import open_students
from socratic_distill.dialogues.students import Students
from socratic_distill.dialogues.teacher_keys import teacher_key
from socratic_distill.dialogues.verdicts import Verdicts, load_answer_function, load_answer_prompt
from socratic_distill.service.connect import Service, get_tokenizer, open_sampling_client, smallest_context
from socratic_distill.service.endpoints import open_endpoint
from socratic_distill.service.interface import SamplingClient, TrainingClient


@dataclass(frozen=True)
class FrozenModels:
    """Everyone but the tutor.

    Attributes:
        config: the run's config.
        teachers: the teachers.
        client: a sampling client of a base model on the run's service.
    """

    config: SocraticConfig
    teachers: Teachers
    client: SamplingClient
    _students: Students
    _tutor_renderer: Renderer
    _prompts: Prompts
    _max_context: int | None
    _ends: Ends
    _verdicts: Verdicts

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of the tutor's tokens, without special ones."""
        return self._tutor_renderer.codec.decode(tuple(tokens))

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """The text of each of the tutor's tokens."""
        return self._tutor_renderer.codec.pieces(tokens)

    def cast(self, tutor_client: SamplingClient | None, version: int, wanted: Wanted | None = None) -> Cast:
        """The cast of a batch, with the tutor of this sampling client.

        Args:
            tutor_client: the tutor's sampling client; None if the tutor is not asked to speak.
            version: optimizer steps that led to its weights.
            wanted: what to find out about the tokens that it samples. None: what the objective needs.
        """
        config = self.config
        played = Wanted.of(config.objective, config.token_weights) if wanted is None else wanted
        recorded = Wanted.of(config.recordings.objective if config.recordings else Supervised())
        return Cast(
            tutor=Speaker(
                "tutor",
                tutor_client,
                self._tutor_renderer,
                config.max_tokens,
                config.temperature,
                version,
                top=played.reply_top(config.temperature),
            ),
            students=self._students,
            teachers=self.teachers,
            prompts=self._prompts,
            profile=config.student_profile,
            # An evaluation plays with max_turns, whatever the schedule says.
            max_turns=lambda step: config.max_turns if step == NO_STEP else turns(config, step),
            max_context=self._max_context,
            seed=config.seed,
            of_played=played,
            of_recorded=recorded,
            first="tutor" if config.opening == "tutor" else "student",
            ends=self._ends,
            verdicts=self._verdicts,
            teacher_turns=lambda step: 0.0 if step == NO_STEP else value(config.teacher_turns, step),
            reuses_scores=config.recordings is not None and config.recordings.reuse_scores,
        )


async def open_frozen_models(
    config: SocraticConfig, briefing: Briefing, service: Service, tutor_client: TrainingClient | SamplingClient
) -> FrozenModels:
    """Opens student and teachers, and refuses models that cannot work together.

    Args:
        config: the run's config, with full model names.
        briefing: teachers, their seeds, and prompts.
        service: service that runs the models.
        tutor_client: a training or sampling client of the tutor, for its tokenizer.

    Raises:
        ConfigError: a tokenizer cannot be used, or a function that ends dialogues.
        UntrustedConfig: the config was read from a run directory, and its code is not allowed.
        RenderingError: the models' tokens or templates do not fit.
        ServiceError: the service failed a call.
    """
    codecs, tutor_name = _Codecs(config), config.tutor_model_name
    tutor_renderer = await codecs.renderer(tutor_client, tutor_name, tutor_template(config))
    students = await open_students(config, briefing.prompts, service, codecs.renderer)
    members = {
        plan.name: replace(
            await _open_teacher(plan, service, codecs, tutor_client),
            key=teacher_key(plan, briefing.prompts.teachers[plan.name], config),
        )
        for plan in briefing.teachers
    }
    for member in members.values():
        check_same_tokens(tutor_renderer, member.renderer)
        check_same_replies(tutor_renderer, member.renderer)
    max_context = await _max_context(config, service)
    verdicts = await _open_verdicts(config, service)
    teachers = Teachers(
        members, briefing.routes, config.teacher_average, config.teacher_residual_clip, config.max_staleness
    )
    client = students.client or await open_sampling_client(
        service.client, f"the tutor's base model {tutor_name!r}", base_model=tutor_name
    )
    return FrozenModels(
        config,
        teachers,
        client,
        students,
        tutor_renderer,
        briefing.prompts,
        max_context,
        load_endings(config),
        verdicts,
    )


async def _max_context(config: SocraticConfig, service: Service) -> int | None:
    """The limit of a dialogue's contexts, in tokens: the config's, or that of its models; None if none is known."""
    if config.max_context_tokens is not None:
        return config.max_context_tokens
    on_service = {name for field, name in named_models(config).items() if not is_judge(field)}
    return await smallest_context(service.rest, on_service)


async def _open_verdicts(config: SocraticConfig, service: Service) -> Verdicts:
    """What gives turns their verdicts, if anything does."""
    judge, prompt = None, ""
    if config.answer_judge is not None:
        check_files(config, "answer_judge")
        prompt = load_answer_prompt(config.answer_judge.prompt_file)
        judge = await open_judge(config.answer_judge, config, service)
    return Verdicts(load_answer_function(config), judge, prompt, config.seed)


async def open_rewards(config: SocraticConfig, service: Service) -> Rewards | None:
    """The rewards of a config, with the models of their judges; None: no rewards.

    Raises:
        ConfigError, UntrustedConfig: as `load_rewards` and `open_judge`.
        OpenAIExtraMissing, ServiceError: as `open_judge`.
    """
    rewards = load_rewards(config)
    if rewards is None:
        return None
    judges = {judge.name: await open_judge(judge, config, service) for _, judge in judge_rewards(config.rewards)}
    return replace(rewards, judges=judges)


async def tutor_renderer(config: SocraticConfig, client: SamplingClient) -> Renderer:
    """Messages to tokens for a tutor that talks without the rest of its run.

    Raises:
        ConfigError: the tokenizer or the file of a chat template cannot be used.
        RenderingError: the chat template cannot be used.
    """
    codec = Codec(await get_tokenizer(client))
    return Renderer(codec, config.tutor_model_name, tutor_template(config), config.system_role)


async def open_judge(judge: Judge, config: SocraticConfig, service: Service) -> Speaker | RemoteSpeaker:
    """Opens a judge's model.

    Raises:
        UntrustedConfig: the config was read from a file, and names an endpoint that the user did not.
        OpenAIExtraMissing: its endpoint needs a package that is not installed.
        ConfigError: its tokenizer cannot be used.
        ServiceError: the service failed a call.
    """
    name = judge.model_name
    if judge.endpoint is not None:
        client = open_endpoint(config, judge.endpoint, name)
        return RemoteSpeaker("tutor", client, judge.max_tokens, judge.temperature)
    client = await open_sampling_client(service.client, f"the judge's model {name!r}", base_model=name)
    template = TemplateChoice(judge.enable_thinking, judge.reasoning, judge.template_options)
    renderer = Renderer(Codec(await get_tokenizer(client)), name, template, config.system_role)
    # As a tutor: its log-probabilities show weights that are not finite.
    return Speaker("tutor", client, renderer, judge.max_tokens, judge.temperature)


async def open_teacher_client(plan: ResolvedTeacher, service: Service) -> SamplingClient:
    """A sampling client on a teacher's frozen weights; for a lagged teacher, on the base model that it starts with.

    Raises:
        ServiceError: the service failed the call.
    """
    weights = weights_of(plan)
    kind = "base_model" if plan.checkpoint_path is None else "model_path"
    return await open_sampling_client(service.client, f"the teacher {plan.name!r}, {weights!r}", **{kind: weights})


def weights_of(plan: ResolvedTeacher) -> str:
    """A teacher's frozen weights: the path of its checkpoint, or the name of its base model."""
    return plan.model_name if plan.checkpoint_path is None else resolved(plan.checkpoint_path)


async def _open_teacher(
    plan: ResolvedTeacher, service: Service, codecs: "_Codecs", tutor_client: TrainingClient | SamplingClient
) -> Member:
    """Opens a teacher, with a client of its own unless it scores with the tutor's weights."""
    client = await open_teacher_client(plan, service) if plan.lag_steps is None else None
    renderer = await codecs.renderer(client or tutor_client, plan.model_name, plan.template)
    return Member(plan.name, renderer, client, plan.lag_steps, plan.weight)


class _Codecs:
    """One codec for each tokenizer; its cache holds the messages and prompts of all dialogues that run at once."""

    def __init__(self, config: SocraticConfig) -> None:
        self._config = config
        self._memory = 3 * config.max_concurrent_dialogues * (config.max_turns + 1)
        self._codecs: dict[int, Codec] = {}

    async def renderer(
        self, client: TrainingClient | SamplingClient, model_name: str, template: TemplateChoice
    ) -> Renderer:
        tokenizer = await get_tokenizer(client)
        codec = self._codecs.setdefault(id(tokenizer), Codec(tokenizer, self._memory))
        return Renderer(codec, model_name, template, self._config.system_role)
