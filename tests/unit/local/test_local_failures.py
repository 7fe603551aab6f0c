"""The local engine where something goes wrong: loops that die, data that do not fit, damaged files."""

import asyncio
import dataclasses
import shutil

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from engine_data import PROMPTS, ask, entropy_datum, trained
from tests.support.patience import PATIENCE

from socratic_distill import LocalEngineError
from socratic_distill.local import LocalRestClient, LocalServiceClient, base_model, batches, training


def test_service_serves_a_new_loop_after_one_that_died(service):
    client = service.create_sampling_client(base_model="tiny").result()

    async def dies(seconds):
        requests = [ask(client, [7, 8, 9 + i], seed=i, max_tokens=60, stop=[]) for i in range(16)]
        tasks = [asyncio.ensure_future(request.result_async()) for request in requests]
        await asyncio.sleep(seconds)
        raise ConnectionError(f"{len(tasks)} requests open")

    async def lives():
        return (await asyncio.wait_for(ask(client, PROMPTS[0]).result_async(), PATIENCE)).sequences[0].tokens

    expected = ask(client, PROMPTS[0]).result().sequences[0].tokens
    for seconds in (0, 0.02):  # with its requests still waiting, and in flight
        with pytest.raises(ConnectionError):
            asyncio.run(dies(seconds))
        assert asyncio.run(lives()) == expected


def test_every_loop_is_served_however_the_last_one_ended(service):
    client = service.create_sampling_client(base_model="tiny").result()

    async def one():
        return (await asyncio.wait_for(ask(client, [7, 8], max_tokens=1).result_async(), PATIENCE)).sequences

    # The loop closes as soon as its answer is there, before or after the worker has ended the batch.
    assert all(len(asyncio.run(one())) == 1 for _ in range(30))


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": [7, 10**6]},
        {"tokens": [7, 8], "targets": [8, -1]},
        {"tokens": [7] * 1025},
        {"tokens": []},
    ],
)
def test_data_that_the_model_does_not_take_are_refused(service, change):
    client = service.create_lora_training_client("tiny", rank=2).result()
    tokens, targets = change["tokens"], change.get("targets", change["tokens"])
    datum = tinker.Datum(
        model_input=tinker.ModelInput.from_ints(tokens),
        loss_fn_inputs={
            "target_tokens": tinker.TensorData.from_numpy(np.array(targets, np.int64)),
            "weights": tinker.TensorData.from_numpy(np.ones(len(targets), np.float32)),
        },
    )
    with pytest.raises(tinker.BadRequestError):
        client.forward_backward([datum], "cross_entropy").result()


def test_failed_pass_leaves_the_gradients_as_they_were(service, monkeypatch):
    client = service.create_lora_training_client("tiny", rank=2).result()
    client.forward_backward([entropy_datum(PROMPTS[0])], "cross_entropy").result()
    before = {name: p.grad.clone() for name, p in client._trainer._parameters.items()}
    passes, calls = training._pass, []

    def second_fails(*args):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")
        return passes(*args)

    monkeypatch.setattr(training, "_pass", second_fails)
    one_a_pass(service)
    with pytest.raises(LocalEngineError, match="out of memory on 2 data"):
        client.forward_backward([entropy_datum(p) for p in PROMPTS[1:]], "cross_entropy").result()
    assert len(calls) == 2
    assert all(torch.equal(p.grad, before[name]) for name, p in client._trainer._parameters.items())


def one_a_pass(service):
    base = service.models["tiny"]
    base.machine = dataclasses.replace(base.machine, pass_tokens=1, pass_cost=0)


def test_parts_of_a_batch_add_up_to_the_whole(service):
    data = [entropy_datum(prompt) for prompt in PROMPTS]
    gradients = []
    for apart in (False, True):
        client = trained(service, steps=0)
        if apart:
            one_a_pass(service)
        client.forward_backward(data, "cross_entropy").result()
        gradients.append({name: p.grad for name, p in client._trainer._parameters.items()})
    for name, whole in gradients[0].items():
        assert (gradients[1][name] - whole).norm() <= 1e-5 * whole.norm(), name


def test_failure_on_some_weights_leaves_the_others_requests_alone(service, monkeypatch):
    base = service.create_sampling_client(base_model="tiny").result()
    tuned = trained(service).save_weights_and_get_sampling_client().result()
    sample = batches.carry_out

    def fails_on_base(model, adapter, works):
        if adapter is None:
            raise MemoryError
        sample(model, adapter, works)

    monkeypatch.setattr(batches, "carry_out", fails_on_base)
    first, second = ask(base, PROMPTS[0]), ask(tuned, PROMPTS[0])
    with pytest.raises(LocalEngineError, match="out of memory on 1 requests"):
        first.result()
    assert second.result().sequences


def test_any_integer_is_a_seed(service):
    client = service.create_sampling_client(base_model="tiny").result()
    replies = {s: tuple(ask(client, PROMPTS[0], seed=s, stop=[]).result().sequences[0].tokens) for s in (-1, 2**70, 5)}
    assert all(len(reply) == 8 for reply in replies.values())


def test_scores_do_not_depend_on_the_budget(service, monkeypatch):
    client = service.create_sampling_client(base_model="tiny").result()

    async def scores():
        prompts = [tinker.ModelInput.from_ints(prompt) for prompt in PROMPTS]
        return await asyncio.gather(*(client.compute_logprobs(prompt).result_async() for prompt in prompts))

    together = asyncio.run(scores())
    monkeypatch.setattr(base_model, "LOGITS_BUDGET", 257)
    for one, other in zip(together, asyncio.run(scores()), strict=True):
        np.testing.assert_allclose(one[1:], other[1:], atol=1e-4)


def test_copied_weights_load_from_anywhere_and_keep_their_kind(service, tmp_path):
    client = trained(service)
    state, weights = client.save_state("s").result().path, client.save_weights_for_sampler("a").result().path
    shutil.copytree(state, tmp_path / "state-copy")
    shutil.copytree(weights, tmp_path / "sampler-copy")
    restored = service.create_training_client_from_state(str(tmp_path / "state-copy")).result()
    assert restored.get_info().lora_rank == 4
    assert service.create_sampling_client(model_path=str(tmp_path / "sampler-copy")).result()
    with pytest.raises(tinker.BadRequestError, match="cannot be trained from"):
        service.create_training_client_from_state(str(tmp_path / "sampler-copy")).result()


def test_moved_store_is_found_by_the_last_three_parts_of_a_path(service, tmp_path):
    path = trained(service).save_state("s").result().path
    (tmp_path / "store").rename(tmp_path / "moved")
    moved = LocalServiceClient(tmp_path / "moved")
    assert moved.create_training_client_from_state_with_optimizer(path).result().get_info().lora_rank == 4


def test_damaged_weights_are_our_error(service):
    path = trained(service).save_weights_for_sampler("a").result().path
    with open(f"{path}/adapter_model.safetensors", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(LocalEngineError, match="damaged"):
        service.create_sampling_client(model_path=path).result()


def test_overwritten_and_deleted_states_leave_nothing_behind(service, tmp_path):
    client = trained(service)
    client.save_state("s").result()
    client.save_state("t").result()
    path = client.save_state("s", overwrite=True).result().path
    LocalRestClient(service).delete_checkpoint_from_tinker_path(path).result()
    assert [entry.name for entry in (tmp_path / "store" / "local-0001" / "weights").iterdir()] == ["t"]


def test_delete_takes_no_directory_but_saved_weights(service, tmp_path):
    (tmp_path / "state.json").write_text('{"expires_at": null}')
    with pytest.raises(tinker.NotFoundError):
        LocalRestClient(service).delete_checkpoint_from_tinker_path(str(tmp_path)).result()
    assert tmp_path.is_dir()
