"""How a self-hosted server differs from the hosted service: held against a real one, and against the fake of one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import tinker
from tinker import AdamParams, Datum, ModelInput, SamplingParams, TensorData

TOKENS = [10, 11, 12, 13, 14, 15, 16, 17]
PROMPT = ModelInput.from_ints(TOKENS)
Difference = Callable[[Any, Any, str], Awaitable[None]]
DIFFERENCES: list[Difference] = []


def difference(check: Difference) -> Difference:
    """Puts a check on the list; it is given a service client, a REST client and the model's name."""
    DIFFERENCES.append(check)
    return check


def datum() -> Datum:
    inputs = {
        "target_tokens": TensorData.from_numpy(np.asarray(TOKENS[1:], np.int64)),
        "weights": TensorData.from_numpy(np.ones(len(TOKENS) - 1, np.float32)),
    }
    return Datum(model_input=ModelInput.from_ints(TOKENS[:-1]), loss_fn_inputs=inputs)


async def score(client: Any, **asked: Any) -> Any:
    return await client.sample(PROMPT, 1, SamplingParams(max_tokens=1, seed=0), **asked)


async def step(training: Any) -> Any:
    answer = await training.forward_backward([datum()], "cross_entropy")
    await training.optim_step(AdamParams(learning_rate=0.05))
    return answer


@difference
async def one_model_is_offered_without_a_context_length(service: Any, rest: Any, model: str) -> None:
    await service.create_sampling_client(base_model=model)
    (offered,) = (await rest.get_server_capabilities()).supported_models
    assert (offered.model_name, offered.max_context_length) == (model, None)


@difference
async def a_training_client_does_not_tell_its_rank_but_a_state_does(service: Any, rest: Any, model: str) -> None:
    training = await service.create_lora_training_client(model, rank=8, seed=0)
    info = training.get_info()
    assert (info.model_data.model_name, info.lora_rank) == (model, None)
    path = (await training.save_state("ranked")).path
    told = await rest.get_weights_info_by_tinker_path(path)
    assert (told.base_model, told.lora_rank) == (model, 8)


@difference
async def prompt_logprobs_lack_the_leading_none(service: Any, rest: Any, model: str) -> None:
    client = await service.create_sampling_client(base_model=model)
    for scores in (
        (await score(client, include_prompt_logprobs=True)).prompt_logprobs,
        await client.compute_logprobs(PROMPT),
    ):
        assert len(scores) == len(TOKENS) - 1
        assert all(np.isfinite(scores))


@difference
async def the_last_n_is_ignored_and_the_sdk_says_so(service: Any, rest: Any, model: str) -> None:
    client = await service.create_sampling_client(base_model=model)
    with pytest.raises(RuntimeError, match="prompt_logprobs_last_n"):
        await score(client, include_prompt_logprobs=True, prompt_logprobs_last_n=2)


@difference
async def likeliest_prompt_tokens_are_refused_with_400(service: Any, rest: Any, model: str) -> None:
    client = await service.create_sampling_client(base_model=model)
    with pytest.raises(Exception, match="topk_prompt_logprobs") as caught:
        await score(client, include_prompt_logprobs=True, topk_prompt_logprobs=2)
    assert getattr(caught.value, "status_code", 400) == 400


@difference
async def other_scoring_features_are_ignored(service: Any, rest: Any, model: str) -> None:
    client = await service.create_sampling_client(base_model=model)
    assert (await score(client, topk_sample_logprobs=2)).sequences[0].topk_logprobs is None
    targets = TensorData([3] * (len(TOKENS) - 1), "int64", [len(TOKENS) - 1, 1])
    assert (
        await score(client, include_prompt_logprobs=True, target_prompt_logprobs=targets)
    ).target_prompt_logprobs is None
    with pytest.raises(RuntimeError, match="prompt_alt_tokens"):
        await score(client, include_prompt_logprobs=True, prompt_alt_tokens_k=2)


@difference
async def a_pass_comes_without_metrics(service: Any, rest: Any, model: str) -> None:
    training = await service.create_lora_training_client(model, rank=8, seed=0)
    answer = await step(training)
    assert answer.metrics == {}
    assert answer.loss_fn_outputs[0]["logprobs"].to_numpy().shape == (len(TOKENS) - 1,)


@difference
async def sampler_paths_have_two_parts_and_are_taken_in_three(service: Any, rest: Any, model: str) -> None:
    training = await service.create_lora_training_client(model, rank=8, seed=0)
    await step(training)
    path = (await training.save_weights_for_sampler("short")).path
    assert path == f"tinker://{training.model_id}/short"
    listed = [one.tinker_path for one in (await rest.list_checkpoints(training.model_id)).checkpoints]
    full = f"tinker://{training.model_id}/sampler_weights/short"
    assert listed == [full]
    scores = [
        (
            await score(await service.create_sampling_client(model_path=one), include_prompt_logprobs=True)
        ).prompt_logprobs
        for one in (path, full)
    ]
    assert scores[0] == scores[1]
    with pytest.raises(tinker.BadRequestError):
        await rest.get_weights_info_by_tinker_path(full)


@difference
async def expiry_and_metadata_are_not_kept(service: Any, rest: Any, model: str) -> None:
    training = await service.create_lora_training_client(model, rank=8, seed=0)
    await training.save_state("kept", ttl_seconds=3600, user_metadata={"batch": "1"})
    (kept,) = (await rest.list_checkpoints(training.model_id)).checkpoints
    assert (kept.expires_at, kept.user_metadata) == (None, None)


@difference
async def a_save_under_a_taken_name_is_never_answered(service: Any, rest: Any, model: str) -> None:
    training = await service.create_lora_training_client(model, rank=8, seed=0)
    await training.save_state("twice")
    again = asyncio.ensure_future(training.save_state("twice"))
    done, _ = await asyncio.wait([again], timeout=2)
    assert not done
    again.cancel()


@difference
async def sampling_from_older_weights_puts_them_back_into_training(service: Any, rest: Any, model: str) -> None:
    training = await service.create_lora_training_client(model, rank=8, seed=0)
    older = (await training.save_weights_for_sampler("older")).path
    first = (await step(training)).loss_fn_outputs[0]["logprobs"].to_numpy()

    async def now() -> Any:
        return (await training.forward([datum()], "cross_entropy")).loss_fn_outputs[0]["logprobs"].to_numpy()

    assert np.abs(await now() - first).max() > 0.01
    await score(await service.create_sampling_client(model_path=older))
    np.testing.assert_allclose(await now(), first, atol=1e-4)


@difference
async def a_deleted_state_is_404(service: Any, rest: Any, model: str) -> None:
    training = await service.create_lora_training_client(model, rank=8, seed=0)
    path = (await training.save_state("gone")).path
    await rest.delete_checkpoint_from_tinker_path(path)
    with pytest.raises(tinker.NotFoundError):
        await rest.get_weights_info_by_tinker_path(path)
    with pytest.raises(tinker.NotFoundError):
        await service.create_training_client_from_state(path)
