"""The local engine against plain transformers, peft and autograd, on the packaged tiny model."""

import asyncio
import copy
import json
import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from engine_data import PROMPTS, ask, entropy_datum, open_peft, plain_logprobs, policy_datum, reference, trained
from safetensors.torch import load_file

from socratic_distill import LocalEngineError
from socratic_distill.in_process import LANE
from socratic_distill.local import LocalServiceClient, base_model, batches
from socratic_distill.local.adapters import Adapters, LoraShape
from socratic_distill.local.base_model import BaseModel
from socratic_distill.local.losses import loss_sum
from socratic_distill.local.machine import Machine
from socratic_distill.local.prefixes import BLOCK
from socratic_distill.local.sampling import carry_out
from socratic_distill.local.slots import Pass, Slots


def test_batched_sampling_gives_the_log_probabilities_of_a_plain_forward(service):
    training = trained(service)
    client = training.save_weights_and_get_sampling_client().result()
    model = open_peft(training.save_weights_for_sampler("a").result().path)
    futures = [ask(client, prompt, seed=i, stop=[]) for i, prompt in enumerate(PROMPTS)]
    for prompt, future in zip(PROMPTS, futures, strict=True):
        (sequence,) = future.result().sequences
        assert len(sequence.tokens) == 8
        with torch.no_grad():
            expected = plain_logprobs(model, prompt + sequence.tokens)[len(prompt) - 1 :]
        np.testing.assert_allclose(sequence.logprobs, expected, atol=1e-4)


def test_scores_are_those_of_a_plain_forward_and_the_trainer(service):
    client = trained(service)
    sampling = client.save_weights_and_get_sampling_client().result()
    futures = [sampling.compute_logprobs(tinker.ModelInput.from_ints(prompt)) for prompt in PROMPTS]
    output = client.forward([entropy_datum(prompt) for prompt in PROMPTS], "cross_entropy").result()
    for prompt, future, trainer in zip(PROMPTS, futures, output.loss_fn_outputs, strict=True):
        values = future.result()
        assert values[0] is None and len(values) == len(prompt)
        np.testing.assert_allclose(values[1:], trainer["logprobs"].to_numpy(), atol=1e-4)


@pytest.mark.parametrize("loss_fn", ["cross_entropy", "importance_sampling", "ppo", "cispo", "gspo", "dro"])
def test_loss_and_gradients_equal_plain_autograd(service, loss_fn):
    client = trained(service, steps=1)
    path = client.save_weights_for_sampler("a").result().path
    model = open_peft(path, is_trainable=True)
    make = entropy_datum if loss_fn == "cross_entropy" else lambda tokens: policy_datum(tokens, seed=3)
    data = [make(prompt) for prompt in PROMPTS]
    output = client.forward_backward(data, loss_fn).result()
    terms = []
    for datum, prompt in zip(data, PROMPTS, strict=True):
        inputs = {name: torch.from_numpy(value.to_numpy()) for name, value in datum.loss_fn_inputs.items()}
        now = plain_logprobs(model, prompt)
        if loss_fn == "cross_entropy":
            terms.append(-inputs["weights"] * now)
        else:
            change, advantage = now - inputs["logprobs"], inputs["advantages"]
            ratio = torch.exp(change)
            if loss_fn == "gspo":
                ratio = change.mean().exp().detach() * torch.exp(now - now.detach())
            bounded = torch.clip(ratio, 0.8, 1.2)
            terms.append(
                {
                    "importance_sampling": -ratio * advantage,
                    "ppo": -torch.min(ratio * advantage, bounded * advantage),
                    "cispo": -bounded.detach() * now * advantage,
                    "gspo": -torch.min(ratio * advantage, bounded * advantage),
                    "dro": -(now * advantage - 0.01 / 2 * change**2),
                }[loss_fn]
            )
    total, size = torch.cat(terms).sum(), torch.cat(terms).abs().sum().item()
    total.backward()
    # The terms may cancel: the sum of their sizes is what rounding errors are a share of.
    assert output.metrics["loss:sum"] == pytest.approx(total.item(), abs=1e-5 * size)
    expected = {n.replace(".default.", "."): p.grad for n, p in model.named_parameters() if p.requires_grad}
    actual = {f"base_model.model.{name}": p.grad for name, p in client._trainer._parameters.items()}
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient is not None and actual[name] is not None
        assert (actual[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


def test_soft_targets_weigh_each_of_k_tokens(service):
    client = trained(service)
    tokens = PROMPTS[2]
    targets = np.array([[token, 3] for token in tokens[1:]])
    weights = np.full(targets.shape, 0.5, np.float32)
    datum = tinker.Datum(
        model_input=tinker.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": tinker.TensorData.from_numpy(targets),
            "weights": tinker.TensorData.from_numpy(weights),
        },
    )
    output = client.forward([datum], "cross_entropy").result()
    logprobs = output.loss_fn_outputs[0]["logprobs"].to_numpy()
    assert logprobs.shape == targets.shape
    assert output.metrics["loss:sum"] == pytest.approx(-0.5 * logprobs.sum(), rel=1e-5)


def test_fresh_adapter_equals_the_base(service):
    base = service.create_sampling_client(base_model="tiny").result()
    fresh = service.create_lora_training_client("tiny", rank=4).result()
    sampler = fresh.save_weights_and_get_sampling_client().result()
    for prompt in PROMPTS:
        one, other = (c.compute_logprobs(tinker.ModelInput.from_ints(prompt)).result() for c in (base, sampler))
        assert one == other


def test_training_leaves_base_and_earlier_samplers_as_they_were(service):
    prompt = tinker.ModelInput.from_ints(PROMPTS[0])
    base = service.create_sampling_client(base_model="tiny").result()
    before = base.compute_logprobs(prompt).result()
    client = trained(service)
    sampler = client.save_weights_and_get_sampling_client().result()
    snapshot = sampler.compute_logprobs(prompt).result()
    client.forward_backward([entropy_datum(PROMPTS[0])], "cross_entropy").result()
    client.optim_step(tinker.AdamParams(learning_rate=1e-2)).result()
    assert base.compute_logprobs(prompt).result() == before
    assert sampler.compute_logprobs(prompt).result() == snapshot
    later = client.save_weights_and_get_sampling_client().result()
    assert later.compute_logprobs(prompt).result() != snapshot


def test_seed_decides_the_adapter_and_leaves_global_randomness_alone(service):
    torch.manual_seed(7)
    expected = torch.rand(1).item()
    torch.manual_seed(7)
    first, same, other = (service.create_lora_training_client("tiny", rank=4, seed=seed).result() for seed in (1, 1, 2))
    assert torch.rand(1).item() == expected
    a, b, c = (x._trainer.base.adapters.tensors(x._trainer.adapter) for x in (first, same, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_restored_state_takes_the_next_step_bit_for_bit(service, tmp_path):
    client = trained(service)
    path = client.save_state("s").result().path
    other = LocalServiceClient(tmp_path / "elsewhere")
    restored = other.create_training_client_from_state_with_optimizer(path).result()
    fresh = other.create_training_client_from_state(path).result()
    for one in (client, restored, fresh):
        one.forward_backward([policy_datum(PROMPTS[0], seed=5)], "importance_sampling").result()
        one.optim_step(tinker.AdamParams(learning_rate=1e-2)).result()
    weights = [one._trainer.base.adapters.tensors(one._trainer.adapter) for one in (client, restored, fresh)]
    moments = [one._trainer.optimizer_tensors() for one in (client, restored)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert moments[0].keys() == moments[1].keys()
    assert all(torch.equal(moments[0][name], moments[1][name]) for name in moments[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0]), "moments were kept"


def test_saved_weights_are_a_peft_directory_without_pickle(service, tmp_path):
    client = trained(service)
    client.save_state("s").result()
    path = client.save_weights_for_sampler("a").result().path
    names = {file.name for file in (tmp_path / "store").rglob("*") if file.is_file()}
    assert names == {
        "adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors", "state.json",
    }  # fmt: skip
    model = open_peft(path)
    sampler = service.create_sampling_client(model_path=path).result()
    with torch.no_grad():
        expected = plain_logprobs(model, PROMPTS[2])
    values = sampler.compute_logprobs(tinker.ModelInput.from_ints(PROMPTS[2])).result()
    np.testing.assert_allclose(values[1:], expected, atol=1e-5)


def test_answers_do_not_depend_on_who_asked_first(service):
    client = trained(service).save_weights_and_get_sampling_client().result()
    prompts = [[7 + i % 5, *range(20, 22 + i % 7)] for i in range(24)]

    async def run(order):
        answers = {}

        async def one(i):
            for _ in range(order.index(i) % 3):
                await asyncio.sleep(0)
            reply = (await ask(client, prompts[i], seed=i)).sequences[0]
            score = await client.compute_logprobs(tinker.ModelInput.from_ints(prompts[i] + reply.tokens))
            answers[i] = (reply.tokens, reply.logprobs, score)

        await asyncio.gather(*(one(i) for i in order))
        return answers

    shuffled = list(range(24))
    random.Random(0).shuffle(shuffled)
    first, second = asyncio.run(run(list(range(24)))), asyncio.run(run(shuffled))
    assert first == second


def test_evaluation_and_training_requests_share_no_batch(service, monkeypatch):
    client = service.create_sampling_client(base_model="tiny").result()
    carried_out = []

    def record(base, adapter, works):
        carried_out.append(sorted(work.tokens for work in works))
        return carry_out(base, adapter, works)

    monkeypatch.setattr(batches, "carry_out", record)

    async def asker(lane, prompts):
        LANE.set(lane)
        await asyncio.gather(*(ask(client, prompt) for prompt in prompts))

    async def both():
        await asyncio.gather(asker("training", [[7, 20], [8, 21]]), asker("evaluation", [[9, 22], [7, 20]]))

    asyncio.run(both())
    assert sorted(carried_out) == [[(7, 20), (8, 21)], [(7, 20), (9, 22)]]


def test_replies_of_one_request_differ_and_repeat(service):
    client = service.create_sampling_client(base_model="tiny").result()
    first, second = (ask(client, PROMPTS[0], seed=3, count=6, stop=[]).result() for _ in range(2))
    replies = [tuple(sequence.tokens) for sequence in first.sequences]
    assert replies == [tuple(sequence.tokens) for sequence in second.sequences]
    assert len(set(replies)) > 1


def test_draws_follow_the_models_distribution(service):
    client = service.create_sampling_client(base_model="tiny").result()
    response = ask(client, PROMPTS[0], seed=1, count=600, max_tokens=1).result()
    drawn = np.array([sequence.tokens[0] for sequence in response.sequences])
    with torch.no_grad():
        expected = torch.softmax(reference()(torch.tensor([PROMPTS[0]])).logits[0, -1], -1).numpy()
    top = expected.argsort()[-3:]
    for token in top:
        deviation = 4 * np.sqrt(expected[token] * (1 - expected[token]) / 600)
        assert abs((drawn == token).mean() - expected[token]) <= deviation + 1e-9


def test_greedy_and_filtered_sampling_keep_to_the_likeliest_tokens(service):
    client = service.create_sampling_client(base_model="tiny").result()
    with torch.no_grad():
        logits = reference()(torch.tensor([PROMPTS[0]])).logits[0, -1]
    ranked = logits.argsort(descending=True).tolist()
    greedy = ask(client, PROMPTS[0], temperature=0.0, max_tokens=1).result().sequences[0]
    assert greedy.tokens == ranked[:1]
    kept = ask(client, PROMPTS[0], count=50, top_k=2, temperature=3.0, max_tokens=1).result()
    assert {sequence.tokens[0] for sequence in kept.sequences} == set(ranked[:2])
    nucleus = ask(client, PROMPTS[0], count=20, top_p=1e-6, max_tokens=1).result()
    assert {sequence.tokens[0] for sequence in nucleus.sequences} == set(ranked[:1])


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "-x", "a b", "x\0"])
def test_names_that_are_no_plain_file_names_are_refused(service, name):
    client = service.create_lora_training_client("tiny", rank=2).result()
    with pytest.raises(tinker.BadRequestError):
        client.save_state(name).result()


def test_half_written_directory_is_not_there(service, tmp_path):
    client = trained(service, steps=0)
    path = client.save_state("s").result().path
    partial = tmp_path / "store" / "local-0001" / "weights" / ".t.partial"
    partial.mkdir()
    (partial / "state.json").write_text("{")
    assert [d.name for d in service.store.directories()] == ["s"]
    assert client.save_state("t").result().path.endswith("/t")
    assert json.loads((tmp_path / "store" / "local-0001" / "weights" / "t" / "state.json").read_text())["rank"] == 4
    assert load_file(f"{path}/adapter_model.safetensors")


def test_model_that_is_not_there_is_our_error(service):
    for name in ("no/such/model.gguf", "./no-such-directory"):
        with pytest.raises(LocalEngineError, match=r"no such file|cannot be loaded"):
            service.create_sampling_client(base_model=name).result()


def test_adapters_of_dropped_clients_are_freed(service):
    import gc

    client = trained(service)
    for _ in range(4):
        client.save_weights_and_get_sampling_client().result()
    gc.collect()
    service.run(lambda: None).result()
    base = service.models["tiny"]
    assert len(base.adapters) <= 3  # the trained one, the newest snapshot, and one for the next


def test_loaded_weights_take_the_adapter_of_dropped_ones(service, monkeypatch):
    import gc

    training, other = trained(service), trained(service, steps=1)
    paths = [client.save_weights_for_sampler("a").result().path for client in (training, other)]
    prompt, scores = tinker.ModelInput.from_ints(PROMPTS[0]), []
    for path in paths:
        client = service.create_sampling_client(path).result()
        scores.append(client.compute_logprobs(prompt).result())
        del client
        gc.collect()
        service.run(lambda: None).result()
        monkeypatch.setattr(Adapters, "_add", None)  # from now on none is made
    assert scores[0] != scores[1]
    monkeypatch.undo()
    for path, values in zip(paths, scores, strict=True):
        alone = LocalServiceClient(service.store.root).create_sampling_client(path).result()
        assert alone.compute_logprobs(prompt).result() == values


def test_adapter_on_a_tied_output_layer_leaves_the_embedding_alone(service):
    client = trained(service, steps=1, train_mlp=False, train_attn=False, train_unembed=True)
    base, plain = service.models["tiny"], reference()
    assert base.model.config.tie_word_embeddings
    own, other = dict(base.model.named_parameters()), dict(plain.named_parameters())
    assert torch.equal(own["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
    assert list(base.adapters.parameters(client._trainer.adapter)) == ["lm_head.lora_A.weight", "lm_head.lora_B.weight"]
    tensors = base.adapters.tensors(client._trainer.adapter)
    (down,), (up,) = ([t for n, t in tensors.items() if f"lora_{part}" in n] for part in "AB")
    with torch.no_grad():
        hidden = plain.model(torch.tensor([PROMPTS[0]])).last_hidden_state[0, :-1]
        logits = hidden @ (plain.lm_head.weight + (up @ down) * 32 / 4).T
        expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(PROMPTS[0][1:])[:, None])[:, 0]
    sampler = client.save_weights_and_get_sampling_client().result()
    values = sampler.compute_logprobs(tinker.ModelInput.from_ints(PROMPTS[0])).result()
    np.testing.assert_allclose(values[1:], expected, atol=1e-5)


def test_loss_of_an_equal_policy_is_minus_the_summed_advantages():
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    inputs = {"logprobs": logprobs.detach(), "advantages": torch.tensor([0.5, -1.0])}
    for loss_fn in ("importance_sampling", "ppo", "gspo"):
        assert loss_sum(loss_fn, logprobs, copy.copy(inputs), {}).item() == pytest.approx(0.5)


def trained_base(steps: int, rank: int = 4):
    """A model, and weights on it with one adapter: fresh, or moved from where its products are 0."""
    base = BaseModel("tiny", False, Machine.choose("cpu"))
    adapter = base.adapters.add(LoraShape(rank), seed=0)
    with torch.no_grad():
        for parameter in base.adapters.parameters(adapter).values():
            parameter.add_(0.01 * steps)
    return base.using(adapter)


def test_blocks_are_tried_with_an_adapter_that_changes_something(monkeypatch):
    """A fresh adapter adds exact zeros: what was tried with it would not hold for the trained one of a resumed run."""
    tokens = torch.arange(BLOCK)[None]
    tried = []

    def spy(read, shape, words):
        slots = Slots(shape, 1, BLOCK)
        tried.append(read(tokens, Pass(slots, range(1), [0], BLOCK)).clone())
        return 1

    monkeypatch.setattr(base_model, "alike_rows", spy)
    for steps in (0, 3):
        weights = trained_base(steps)
        assert weights.adapter is not None
        before = {name: value.clone() for name, value in weights.base.adapters.parameters(weights.adapter).items()}
        with torch.inference_mode():
            assert weights.block_rows == 1
            plain = weights.base.using(None)
            assert plain.block_rows == 1
            weights.base.using(weights.adapter)
        after = weights.base.adapters.parameters(weights.adapter)
        assert all(torch.equal(after[name], value) for name, value in before.items())
    fresh, without, moved, _ = tried
    assert not torch.equal(fresh, without), "the adapter took no part"
    assert torch.equal(fresh, moved), "what was tried depends on what the adapter holds now"


def test_adapters_of_another_rank_are_tried_on_their_own(monkeypatch):
    counts = iter((4, 8))
    monkeypatch.setattr(base_model, "alike_rows", lambda read, shape, words: next(counts))
    weights = trained_base(0, rank=4)
    other = weights.base.using(weights.base.adapters.add(LoraShape(8), seed=0))
    assert [other.block_rows, weights.base.using(weights.adapter).block_rows, other.block_rows] == [4, 8, 4]


def test_a_resume_that_computes_otherwise_than_its_state_warns(service, caplog):
    path = trained(service).save_state("s").result().path
    (model,) = service.models.values()
    assert json.loads((service.store.find(path) / "state.json").read_text())["computed"] == {
        "path": "fast", "dtype": "float32", "torch": torch.__version__, "device": "cpu", "quantized": False,
        "threads": 1, "processor": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip
    service.create_training_client_from_state_with_optimizer(path).result()
    assert "computed otherwise" not in caplog.text
    service.run(lambda: torch.set_num_threads(2)).result()
    service.create_training_client_from_state_with_optimizer(path).result()
    assert "computed otherwise: threads was 1 and is 2" in caplog.text
    model.warn_if_changed({"torch": "0.1\n", "unknown": 3})
    assert "torch was '0.1\\n' and is" in caplog.text and "unknown" not in caplog.text
