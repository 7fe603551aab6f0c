"""What a run takes of this machine's memory: whether it fits, before a model is loaded, and what it took."""

import math
from collections.abc import Awaitable, Iterable
from typing import Protocol, runtime_checkable

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.named_models import named_models
from socratic_distill.config.schedules import LATE_STEP, turns
from socratic_distill.dialogues.dialogue import Dialogue, Message, student_view, teacher_view, tutor_view
from socratic_distill.local.demand import Demand
from socratic_distill.run.plan import Plan
from socratic_distill.service.connect import Service

# Fewer than in English prose, where a token has about four, so that sequences are rather taken for too long.
_CHARACTERS_A_TOKEN = 3


@runtime_checkable
class EstimatesMemory(Protocol):
    """A service, such as the local engine, that can say before the start what a run takes of this machine's memory."""

    def estimate_memory(self, demand: Demand, in_detail: bool = True) -> Awaitable[str]:
        """What a run takes, in words; raises if that is more than there is."""
        ...


@runtime_checkable
class MeasuresMemory(Protocol):
    """A service, such as the local engine, that computes in this process."""

    def peak_memory(self) -> dict[str, float]:
        """The most memory that the process has held so far, by the names that rows of metrics.jsonl have for it."""
        ...


def memory_metrics(client: object) -> dict[str, float]:
    """The most memory that the engine's process has held so far; nothing for services that compute elsewhere.

    Args:
        client: the service client.
    """
    return client.peak_memory() if isinstance(client, MeasuresMemory) else {}


async def check_memory(plan: Plan, service: Service, in_detail: bool) -> str | None:
    """What a run takes of this machine's memory, in words; None if the service computes elsewhere.

    Args:
        plan: the run's, with the service's names of its models.
        service: where it would be done.
        in_detail: whether the parts are wanted also where there is plenty.

    Raises:
        NotEnoughMemory: more than there is; the message has the parts, and what to lower.
        UntrustedConfig: the config was read from a run directory, and names a model that the user did not allow.
    """
    client = service.client
    return await client.estimate_memory(demand_of(plan), in_detail) if isinstance(client, EstimatesMemory) else None


def demand_of(plan: Plan) -> Demand:
    """The sizes of a run. Lengths of prompts are taken from their characters, since no tokenizer is open yet."""
    config = plan.config
    models = dict.fromkeys(str(name) for name in named_models(config).values())  # the tutor's is the first
    prompt, reply = _prompt_tokens(plan), max(config.max_tokens, _student_tokens(config))
    most_turns = max(turns(config, 0), turns(config, LATE_STEP))
    dialogue = prompt + _student_tokens(config) + most_turns * (config.max_tokens + _student_tokens(config))
    at_once = min(config.max_concurrent_dialogues, config.groups_per_batch * config.num_envs)
    return Demand(
        tuple(models),
        config.lora_rank,
        **config.lora_flags,
        other_adapters=_other_adapters(plan),
        prompt=prompt,
        reply=reply,
        dialogue=max(dialogue if plan.played_seeds else 0, _recorded_tokens(plan, prompt)),
        max_context=config.max_context_tokens,
        groups=config.groups_per_batch,
        group_size=config.num_envs,
        at_once=at_once,
        batches=plan.total,
    )


def _student_tokens(config: SocraticConfig) -> int:
    """Tokens of the longest turn that a student may take."""
    default = config.student_max_tokens or config.max_tokens
    return max((student.max_tokens or default for student in config.students), default=default)


def _prompt_tokens(plan: Plan) -> int:
    """Tokens of the longest prompt of tutor, student or teacher."""
    config, prompts, longest = plan.config, plan.briefing.prompts, 0
    for seed in {seed.id: seed for seed in (*plan.all_seeds, *plan.seeds)}.values():
        dialogue = Dialogue(seed, 0, 0)
        views = [tutor_view(dialogue, prompts), student_view(dialogue, prompts, config.student_profile)]
        names = plan.briefing.routes.get(seed.id, ())
        views += [teacher_view(dialogue, prompts, config.student_profile, name) for name in names]
        longest = max(longest, *(_characters(view) for view in views))
    return math.ceil(longest / _CHARACTERS_A_TOKEN)


def _characters(messages: Iterable[Message]) -> int:
    return sum(len(message.text or "") for message in messages)


def _recorded_tokens(plan: Plan, prompt: int) -> int:
    """Tokens of the longest recorded dialogue, its prompt included; 0 without recordings."""
    lengths = [sum(len(turn.text) for turn in recording.turns) for recording in plan.recordings]
    return prompt + math.ceil(max(lengths) / _CHARACTERS_A_TOKEN) if lengths else 0


def _other_adapters(plan: Plan) -> int:
    """Adapters besides the tutor's newest: of teachers, of older tutors that still play, and of an evaluated one."""
    config, teachers = plan.config, plan.briefing.teachers
    saved = len({teacher.checkpoint_path for teacher in teachers} - {None})
    lagged = sum(2 for teacher in teachers if teacher.lag_steps is not None)
    return saved + lagged + config.max_staleness + (1 if config.eval_every is not None else 0)
