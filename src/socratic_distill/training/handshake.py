"""What a run must know of a server that is not the hosted service, asked once before anything is played.

What the server says of itself is believed. The rest is tried: whether it answers a request for a reply with what the
SDK reads, whether replies are drawn at random, whether its losses exist and are sums, whether targets may have two
dimensions, and whether a training client can be opened from a state. The answers are kept in `features.json`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import numpy as np

from socratic_distill.config.objectives import EVERY_KIND, Feature, ObjectiveKind
from socratic_distill.config.policy_losses import LossName
from socratic_distill.errors import SocraticError, TrainingError, UnsupportedFeature, UnsupportedServer
from socratic_distill.service.claims import Claims, read_claims
from socratic_distill.service.connect import Service, is_complete
from socratic_distill.service.failures import failure
from socratic_distill.service.interface import SamplingClient, ServiceClient, TrainingClient
from socratic_distill.text import get_logger
from socratic_distill.training.dialect import MOST_COLUMNS, Dialect, Division as Undone
from socratic_distill.training.server_facts import REMEMBERED, VERSION, Facts, recall, remember
from socratic_distill.training.server_features import TWO_DIMENSIONS, check_features, columns_of, losses_of, works
from socratic_distill.training.server_losses import LACKING, LossTrial, is_refused, loss_fact, problem_of

if TYPE_CHECKING:
    from tinker.types import LossFnType

    from socratic_distill.config.config import SocraticConfig

_log = get_logger(__name__)
T = TypeVar("T")

_REPLIES, _DRAWS, _REOPENS = "replies", "random_replies", "opens_states"
_PROMPT, _REPLY_TOKENS, _TRIES = (1, 2, 3), 5, 4
# Replies that were drawn would be equal less often than this.
_CHANCE = 1e-3
_TTL_SECONDS = 3600
# A trial sends some thirty requests to one client; of a server that loses a twentieth of its answers, one trial in five
# gets through.
_TRIALS = 8
_COMMON_LOSSES: "tuple[LossFnType, ...]" = ("importance_sampling", "cross_entropy")
# Divisions that the data of a step can be multiplied against.
_UNDONE = ("request", "step", "datum")


@dataclass(frozen=True)
class Needs:
    """What a config asks of a server's training.

    Attributes:
        losses: names of the losses, in order.
        columns: the most target columns of a datum; 0: targets have one dimension.
        replies: whether models are sampled from, or score.
        draws: whether replies must be drawn at random.
    """

    losses: "tuple[LossFnType, ...]"
    columns: int
    replies: bool
    draws: bool

    @classmethod
    def of(cls, config: "SocraticConfig") -> "Needs":
        """What a config asks for."""
        objectives: list[ObjectiveKind] = [config.objective] if config.plays_dialogues else []
        if config.recordings is not None:
            objectives.append(config.recordings.objective)
        losses = dict.fromkeys(losses_of(objectives, config.loss_fn))
        if config.plays_dialogues and (config.rewards or config.cut_replies == "penalize"):
            losses[config.loss_fn] = None
        columns = max((columns_of(objective) for objective in objectives), default=0)
        replies = any(objective.asks_teacher for objective in objectives)
        draws = config.plays_dialogues and config.temperature == 1
        return cls(cast("tuple[LossFnType, ...]", tuple(losses)), columns, replies, draws)


async def shake_hands(
    config: "SocraticConfig", service: Service, client: SamplingClient, directory: Path, *, is_quick: bool = False
) -> Dialect:
    """How the server takes training data, once it is known to have what the run needs.

    Sends nothing to the hosted service and to the engine in this process, and only what `features.json` does not
    remember to others.

    Args:
        config: the run's, with the server's `base_url`.
        service: its clients.
        client: a sampling client of a base model there.
        directory: the run's; made where it does not exist.
        is_quick: asks only for scoring features, of a run that will not start for other reasons.

    Raises:
        UnsupportedServer: the server speaks another revision of the API.
        UnsupportedFeature: it lacks what the objective needs; the message says what works there.
        ServiceError: the service failed a request for another reason.
        StorageError: features.json cannot be written.
    """
    if is_complete(config.base_url):
        return Dialect()
    url = str(config.base_url)
    claims = await read_claims(config.base_url, service.rest)
    facts = recall(directory, url, claims.version) | _facts_of(claims)

    def learn(new: Facts) -> None:
        """Remembers facts at once: a start that fails later does not ask for them again."""
        facts.update(new)
        remember(directory, url, new | _version_of(claims))

    if is_quick:
        await check_features(config, client, directory, _said(claims))
        return Dialect()
    needs = Needs.of(config)
    if needs.replies:
        if answers := await _try_replies(client, needs, facts):
            learn(answers)
        _check_replies(config, needs, facts, directory)
    try:
        await check_features(config, client, directory, _said(claims))
    except UnsupportedFeature:  # the error is to say what does work there
        await _try_training(config, service, replace(needs, losses=_COMMON_LOSSES), facts, learn)
        await check_features(config, client, directory, _said(claims))
    facts |= recall(directory, url, claims.version) | facts
    await _try_training(config, service, needs, facts, learn)
    return _dialect(config, needs, facts, directory)


def _facts_of(claims: Claims) -> Facts:
    facts: Facts = {}
    if claims.losses is not None:
        every = ("cross_entropy", *get_args(LossName))
        facts |= {loss_fact(name): LACKING for name in every if name not in claims.losses}
    if claims.takes_columns is not None:
        facts[TWO_DIMENSIONS] = claims.takes_columns
    return facts


def _said(claims: Claims) -> dict[Feature, bool]:
    return {} if claims.tells_likeliest is None else {"topk_prompt_logprobs": claims.tells_likeliest}


def _version_of(claims: Claims) -> Facts:
    return {} if claims.version is None else {VERSION: claims.version}


async def _try_replies(client: SamplingClient, needs: Needs, facts: Facts) -> Facts:
    """Whether replies come with what the SDK reads, and, where it matters, whether they are drawn at random."""
    from tinker import ModelInput, SamplingParams

    tries = _TRIES if needs.draws else 1
    if facts.get(_REPLIES) and (not needs.draws or _DRAWS in facts):
        return {}
    answers = []
    try:
        for seed in range(tries):
            params = SamplingParams(max_tokens=_REPLY_TOKENS, seed=seed, temperature=1.0)
            prompt = ModelInput.from_ints(list(_PROMPT))
            answers.append(await client.sample(prompt, 1, params, include_prompt_logprobs=True))
    except Exception as error:
        raise failure("asking the server for a reply", error) from error
    replies = [answer.sequences[0] for answer in answers]
    shown: Facts = {_REPLIES: answers[0].prompt_logprobs is not None and replies[0].logprobs is not None}
    if needs.draws and shown[_REPLIES]:
        shown[_DRAWS] = not _is_greedy(replies)
    return shown


def _is_greedy(replies: list[Any]) -> bool:
    """Whether replies to one prompt are equal, though that would hardly happen to drawn ones."""
    first = [list(reply.tokens) for reply in replies]
    chance = float(np.exp(np.sum(replies[0].logprobs) * (len(replies) - 1)))
    return all(tokens == first[0] for tokens in first) and chance < _CHANCE


def _check_replies(config: "SocraticConfig", needs: Needs, facts: Facts, directory: Path) -> None:
    if not facts[_REPLIES]:
        raise _unsupported(
            config, directory, "does not give the log-probabilities of prompts and replies", "Take another server"
        )
    if needs.draws and not facts[_DRAWS]:
        raise _unsupported(
            config,
            directory,
            "answers a request for one reply at temperature 1 with the likeliest one, so that dialogues would not be "
            "the tutor's own",
            "Set temperature=0.99, or take another server",
        )


async def _try_training(
    config: "SocraticConfig", service: Service, needs: Needs, facts: Facts, learn: Callable[[Facts], None]
) -> None:
    """Tries what is not among the facts yet, on training clients that are used for nothing else."""
    losses: list[LossFnType] = [loss for loss in needs.losses if loss_fact(loss) not in facts]
    tries_columns = needs.columns > 0 and TWO_DIMENSIONS not in facts
    client = service.client

    async def fresh() -> TrainingClient:
        # Each trial moves the weights, and after a refusal a client may not be answered.
        return await client.create_lora_training_client(
            base_model=config.tutor_model_name, rank=config.lora_rank, seed=0, **config.lora_flags
        )

    async def reopens() -> bool:
        state = (await (await fresh()).save_state("handshake", ttl_seconds=_TTL_SECONDS)).path
        opens = await _opens(client, state)
        await _forget(service, state)
        return opens

    async def divided(loss: "LossFnType") -> str:
        return await LossTrial(await fresh()).division(loss)

    if _REOPENS not in facts:
        learn({_REOPENS: await _tried(reopens)})
    for loss in losses:
        learn({loss_fact(loss): await _tried(partial(divided, loss))})
    policy = _COMMON_LOSSES[0]
    if any(problem_of(loss, facts) for loss in needs.losses) and loss_fact(policy) not in facts:
        # For the error to say what works there.
        learn({loss_fact(policy): await _tried(partial(divided, policy))})
    if tries_columns:

        async def takes_columns() -> bool:
            return await LossTrial(await fresh()).takes_columns()

        learn({TWO_DIMENSIONS: await _tried(takes_columns)})


async def _tried(trial: Callable[[], Awaitable[T]]) -> T:
    """The outcome of a trial; it is made again on other clients where an answer was lost, as clients do not survive it.

    Raises:
        ServiceError: the service refuses it, or failed it too often.
    """
    for left in reversed(range(_TRIALS)):
        try:
            return await trial()
        except Exception as error:
            problem = failure("trying the server's training", error)
            if not left or not isinstance(problem, TrainingError):
                raise problem from error
            _log.info("tried again: %s", problem)
    raise AssertionError("the last trial returns or raises")


async def _opens(client: ServiceClient, state: str) -> bool:
    """Whether a training client can be opened from a state."""
    try:
        await client.create_training_client_from_state_with_optimizer(state)
    except Exception as error:
        if not is_refused(error) or isinstance(failure("opening a state", error), UnsupportedServer):
            raise
        _log.info("the server opens no training client from a state: %s", error)
        return False
    return True


async def _forget(service: Service, state: str) -> None:
    """Deletes the trial's state, where that can be done; it expires by itself."""
    if service.rest is None:
        return
    try:
        await service.rest.delete_checkpoint_from_tinker_path(state)
    except Exception as error:
        _log.info("the trial's state %s stays until it expires: %s", state, error)


def _dialect(config: "SocraticConfig", needs: Needs, facts: Facts, directory: Path) -> Dialect:
    """How the server takes training data.

    Raises:
        UnsupportedFeature: the run cannot be trained there.
    """
    if not facts[_REOPENS]:
        raise _unsupported(
            config, directory, "opens no training client from a state, so that no run could go on", "Take another one"
        )
    problems = [problem for loss in needs.losses if (problem := problem_of(loss, facts)) is not None]
    if needs.columns > MOST_COLUMNS and not facts[TWO_DIMENSIONS]:
        problems.append(
            f"takes targets in one dimension, where {needs.columns} target tokens a position would have to be sent one "
            f"by one; up to {MOST_COLUMNS} are (objective.k)"
        )
    if problems:
        able = [repr(kind.kind) for kind in EVERY_KIND if works(kind, config, facts)]
        policy = _COMMON_LOSSES[0]
        if problem_of(config.loss_fn, facts) and loss_fact(policy) in facts and not problem_of(policy, facts):
            able.insert(0, f"'sampled_reverse_kl' with loss_fn={policy!r}")
        raise _unsupported(
            config, directory, " and ".join(problems), f"What is known to work there: {', '.join(able) or 'nothing'}"
        )
    divisions = {loss: cast(Undone, facts[loss_fact(loss)]) for loss in needs.losses}
    for loss in needs.losses:
        if facts[loss_fact(loss)] == "unclear":
            _log.warning("whether the server's %s is a sum or a mean could not be seen; it is taken for a sum", loss)
    return Dialect(
        {loss: division for loss, division in divisions.items() if division in _UNDONE},
        takes_columns=needs.columns == 0 or bool(facts[TWO_DIMENSIONS]),
    )


def _unsupported(config: "SocraticConfig", directory: Path, lack: str, advice: str) -> SocraticError:
    return UnsupportedFeature(
        f"the server at base_url={config.base_url!r} {lack}. {advice}. {directory / REMEMBERED} remembers the answer; "
        "delete it to have the server asked again"
    )
