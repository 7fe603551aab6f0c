"""Whether a server keeps older sampler weights apart from newer ones; tried once, before a run needs it.

A server that keeps one copy of a LoRA, as SkyRL's on JAX does, loads saved weights into it to sample from them. If
training has gone on since that save, it silently continues from the older weights. A server that keeps a single set of
sampler weights answers with newer ones. On-policy dialogues never need older weights. Dialogues ahead of training,
evaluations during training and lagged teachers do.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from socratic_distill.config.teachers import plan_teachers
from socratic_distill.errors import UnsupportedFeature
from socratic_distill.service.connect import is_complete
from socratic_distill.service.failures import failure
from socratic_distill.service.interface import PassCall, ServiceClient
from socratic_distill.text import get_logger
from socratic_distill.training.server_facts import REMEMBERED, recall, remember

if TYPE_CHECKING:
    from socratic_distill.config.config import SocraticConfig

_log = get_logger(__name__)


OLDER_SAMPLERS = "older_samplers"
# Ids that every vocabulary has.
_TOKENS = (1, 2, 3, 4)
_LEARNING_RATE = 0.01
_TTL_SECONDS = 3600


async def check_older_samplers(config: "SocraticConfig", client: ServiceClient, directory: Path) -> bool:
    """Whether evaluations may sample from weights older than the tutor's present ones.

    Sends nothing where the run never samples from such weights or the server is a known one, and else, unless
    `features.json` remembers the answer: a training client of its own, three passes over 3 tokens, a step, two saves
    and one sampling request.

    Args:
        config: what the run does, and the server by its `base_url`.
        client: a Tinker service client.
        directory: the run's.

    Raises:
        UnsupportedFeature: they may not, and neither may dialogues or teachers, which the config asks for.
        ServiceError: the service failed a request.
        StorageError: features.json cannot be written.
    """
    reasons, url = _reasons(config), str(config.base_url)
    if is_complete(config.base_url) or not (reasons or config.eval_every):
        return True
    keeps = recall(directory, url).get(OLDER_SAMPLERS)
    if not isinstance(keeps, bool):
        try:
            keeps = await _stay(client, config)
        except Exception as error:
            raise failure("trying whether older sampler weights stay apart from training", error) from error
        remember(directory, url, {OLDER_SAMPLERS: keeps})
    if reasons and not keeps:
        raise UnsupportedFeature(
            f"{' and '.join(reasons)}: the run samples from older weights than the tutor's present ones, and the "
            f"server at base_url={url!r} does not keep those apart from newer ones. Leave that out, or take another "
            f"server; {directory / REMEMBERED} remembers the answer, delete it to have the server tried again"
        )
    if not keeps:
        _log.warning("the server does not keep older sampler weights apart: each evaluation holds the training up")
    return keeps


def _reasons(config: "SocraticConfig") -> list[str]:
    """The settings by which dialogues or teachers use older weights."""
    lag = max((plan.lag_steps or 0 for plan in plan_teachers(config)), default=0)
    is_ahead = config.plays_dialogues and config.max_staleness > 0
    ahead = [f"max_staleness={config.max_staleness}"] if is_ahead else []
    return ahead + ([f"a teacher that lags {lag} steps"] if lag > 1 else [])


async def _stay(client: ServiceClient, config: "SocraticConfig") -> bool:
    """Whether who samples from what a training client was a step ago gets just that, and leaves the client alone."""
    from tinker import AdamParams, ModelInput, SamplingParams

    training = await client.create_lora_training_client(
        base_model=config.tutor_model_name, rank=config.lora_rank, seed=0, **config.lora_flags
    )
    older = (await training.save_weights_for_sampler("older", ttl_seconds=_TTL_SECONDS)).path
    first = await _pass(training.forward_backward)
    await training.optim_step(AdamParams(learning_rate=_LEARNING_RATE))
    await training.save_weights_for_sampler("newer", ttl_seconds=_TTL_SECONDS)
    stepped = await _pass(training.forward)
    sampler = await client.create_sampling_client(model_path=older)
    prompt, one_token = ModelInput.from_ints(list(_TOKENS)), SamplingParams(max_tokens=1, seed=0)
    answer = await sampler.sample(prompt, 1, one_token, include_prompt_logprobs=True)
    if answer.prompt_logprobs is None:
        raise ValueError("the server answered without the prompt's log-probabilities")
    scores = np.asarray(answer.prompt_logprobs[-len(first) :], np.float64)
    return _is_nearer(scores, first, stepped) and _is_nearer(await _pass(training.forward), stepped, first)


def _is_nearer(answer: Any, expected: Any, other: Any) -> bool:
    """Whether log-probabilities are the expected ones and not the others, whatever a server rounds, `[3]` each."""
    return bool(np.abs(answer - expected).max() <= np.abs(answer - other).max())


async def _pass(call: PassCall) -> Any:
    """The log-probabilities of the tokens after the first, nats, `[3]`."""
    from tinker import Datum, ModelInput, TensorData

    inputs = {
        "target_tokens": TensorData.from_numpy(np.asarray(_TOKENS[1:], np.int64)),
        "weights": TensorData.from_numpy(np.ones(len(_TOKENS) - 1, np.float32)),
    }
    datum = Datum(model_input=ModelInput.from_ints(list(_TOKENS[:-1])), loss_fn_inputs=inputs)
    return (await call([datum], "cross_entropy")).loss_fn_outputs[0]["logprobs"].to_numpy()
