"""How a tutor does on seeds: whether it tells or asks, and how far it is from the teacher."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from socratic_distill.blocking import run_blocking
from socratic_distill.config import SocraticConfig
from socratic_distill.errors import ConfigError
from socratic_distill.guards import check_room
from socratic_distill.metrics import dialogue_metrics
from socratic_distill.models import full_model_name
from socratic_distill.panel import Wanted
from socratic_distill.rollout import check_failures, play_batch
from socratic_distill.seeds import Seed, load_seeds
from socratic_distill.service import connect, open_sampling_client
from socratic_distill.stage import open_stage
from socratic_distill.teacher import ScoredDialogue, score_batch

# Training steps count from 0; dialogues of an evaluation draw from a step of their own.
_EVALUATION_STEP = -1


@dataclass(frozen=True)
class Evaluation:
    """What a tutor did on the seeds, one sampled dialogue each.

    Attributes:
        dialogues: the dialogues, with the scores of the tutor's tokens.
        tells: share of first tutor replies that hold the expected answer; None without any reply.
        asks: share of first tutor replies that hold a question mark; None without any reply.
        solved: share of dialogues in which the student reached the answer.
        teacher_kl: mean of log p_tutor - log p_teacher over the tutor's tokens, nats a token.
        metrics: all figures, under the keys of metrics.jsonl.
    """

    dialogues: tuple[ScoredDialogue, ...]
    tells: float | None
    asks: float | None
    solved: float | None
    teacher_kl: float | None
    metrics: dict[str, float | int | None]


def evaluate(
    config: SocraticConfig,
    *,
    sampler_path: str | None = None,
    model: str | None = None,
    seeds: Sequence[Seed] | None = None,
    service_client: Any = None,
    rest_client: Any = None,
) -> Evaluation:
    """Plays one dialogue on each seed with a tutor that is not trained, and measures it.

    The same config, seeds and weights give the same dialogues.

    Args:
        config: models, prompts and limits, as for `train`.
        sampler_path: sampler weights of the tutor to measure.
        model: base model to measure instead; None with no sampler_path takes config.tutor_model_name.
        seeds: what to play on. None takes the config's seeds.
        service_client: as for `train`.
        rest_client: as for `train`.

    Raises:
        ConfigError: both sampler_path and model are given.
        RolloutError: more than `config.max_failed_fraction` of the dialogues failed.
        ServiceError: the service failed a call.
        EventLoopRunning: an asyncio loop already runs in this thread; await `evaluate_async`.
    """
    return run_blocking(
        lambda: evaluate_async(
            config,
            sampler_path=sampler_path,
            model=model,
            seeds=seeds,
            service_client=service_client,
            rest_client=rest_client,
        ),
        "evaluate",
    )


async def evaluate_async(
    config: SocraticConfig,
    *,
    sampler_path: str | None = None,
    model: str | None = None,
    seeds: Sequence[Seed] | None = None,
    service_client: Any = None,
    rest_client: Any = None,
) -> Evaluation:
    """The same as `evaluate`, on the asyncio loop that it is awaited on."""
    if sampler_path is not None and model is not None:
        raise ConfigError(f"sampler_path={sampler_path!r} and model={model!r} are both given; keep one")
    if seeds is None:
        seeds = load_seeds(config.seeds_file, config.seeds_limit, config.seeds_files)
    service = await connect(config, service_client, rest_client)
    if sampler_path is not None:
        tutor = await open_sampling_client(
            service.client, f"the sampler weights {sampler_path}", model_path=sampler_path
        )
    else:
        name = full_model_name(model or config.tutor_model_name)
        tutor = await open_sampling_client(service.client, f"the model {name!r}", base_model=name)
    stage = await open_stage(config, service, tutor, seeds)
    if any(one.lag_steps for one in stage.panel.members.values()):  # measured against the base, which stands still
        name = full_model_name(config.tutor_model_name)
        base = await open_sampling_client(service.client, f"the model {name!r}", base_model=name)
        stage.panel.keep_tutor(0, base, oldest=0)
    cast = stage.cast(tutor, version=0, wanted=Wanted())
    check_room(cast, seeds)
    concurrency = config.max_concurrent_dialogues
    dialogues = await play_batch(seeds, _EVALUATION_STEP, 1, cast, concurrency)
    scored = await score_batch(dialogues, cast, stage.scorer, concurrency)
    check_failures([one.dialogue for one in scored], config.max_failed_fraction)
    metrics = dialogue_metrics(scored, stage.decode)
    return Evaluation(
        dialogues=tuple(scored),
        tells=metrics["first_reply/tells"],
        asks=metrics["first_reply/asks"],
        solved=metrics["solved"],
        teacher_kl=metrics["teacher_kl"],
        metrics=metrics,
    )
