"""`forward_backward_custom`: the SDK's way to a loss of one's own, on the engine."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from engine_data import PROMPTS, policy_datum, trained

from socratic_distill.local import LocalServiceClient


@pytest.fixture
def service(tmp_path):
    return LocalServiceClient(tmp_path / "store", device="cpu")


def gradients(client):
    return {name: p.grad.clone() for name, p in client._trainer._parameters.items()}


def policy_loss(data, logprobs):
    total = torch.tensor(0.0)
    for datum, found in zip(data, logprobs, strict=True):
        sampled, advantages = (datum.loss_fn_inputs[k].to_torch() for k in ("logprobs", "advantages"))
        total = total - (torch.exp(found - sampled) * advantages).sum()
    return total, {"seen": float(len(data))}


def test_its_gradient_is_that_of_the_same_loss_built_in(service):
    data = [policy_datum(prompt, seed) for seed, prompt in enumerate(PROMPTS)]
    client = trained(service)
    built_in = client.forward_backward(data, "importance_sampling").result()
    expected = gradients(client)
    for parameter in client._trainer._parameters.values():
        parameter.grad = None
    own = client.forward_backward_custom(data, policy_loss).result()
    for name, gradient in gradients(client).items():
        assert (gradient - expected[name]).norm() <= 1e-5 * expected[name].norm(), name
    size = 0.0  # the terms may cancel: their sizes add up to what rounding errors are a share of
    for datum, outputs in zip(data, built_in.loss_fn_outputs, strict=True):
        sampled, advantages = (datum.loss_fn_inputs[name].to_numpy() for name in ("logprobs", "advantages"))
        size += np.abs(np.exp(outputs["logprobs"].to_numpy() - sampled) * advantages).sum()
    assert own.metrics["loss:sum"] == pytest.approx(built_in.metrics["loss:sum"], abs=1e-5 * float(size))
    assert own.metrics["seen"] == 3
    for mine, theirs in zip(own.loss_fn_outputs, built_in.loss_fn_outputs, strict=True):
        np.testing.assert_allclose(mine["logprobs"].to_numpy(), theirs["logprobs"].to_numpy(), atol=5e-5)


def test_it_sees_several_targets_a_position_and_inputs_of_its_own(service):
    prompt, targets = PROMPTS[2], np.random.default_rng(0).integers(0, 90, (8, 3))
    chances = np.random.default_rng(1).dirichlet([1, 1, 1], 8).astype(np.float32)
    whole = {"target_tokens": targets, "target_distribution": chances}
    datum, plain = (
        tinker.Datum(
            model_input=tinker.ModelInput.from_ints(prompt[:-1]),
            loss_fn_inputs={name: tinker.TensorData.from_numpy(value) for name, value in inputs.items()},
        )
        for inputs in (whole, {"target_tokens": targets, "weights": chances})
    )

    def soft(data, logprobs):
        assert logprobs[0].shape == (8, 3)
        return -(data[0].loss_fn_inputs["target_distribution"].to_torch() * logprobs[0]).sum(), {}

    client = trained(service)
    client.forward_backward([plain], "cross_entropy").result()
    expected = gradients(client)
    client.optim_step(tinker.AdamParams(learning_rate=0.0)).result()
    client.forward_backward_custom([datum], soft).result()
    for name, gradient in gradients(client).items():
        assert (gradient - expected[name]).norm() <= 1e-5 * expected[name].norm(), name


def test_calls_behind_it_wait_and_a_failure_ends_the_client(service):
    data = [policy_datum(PROMPTS[0], 0)]
    client = trained(service)
    done = client.forward_backward_custom(data, policy_loss)
    stepped = client.optim_step(tinker.AdamParams(learning_rate=1e-3))
    assert done.result().metrics["seen"] == 1
    stepped.result()
    assert client._trainer.steps == 3

    def bad(data, logprobs):
        raise ZeroDivisionError("mine")

    failed, behind = client.forward_backward_custom(data, bad), client.optim_step(tinker.AdamParams())
    with pytest.raises(ZeroDivisionError, match="mine"):
        failed.result()
    for future in (behind, client.forward(data, "importance_sampling"), client.save_state("a")):
        with pytest.raises(RuntimeError, match="takes no further calls"):
            future.result()
    assert client._trainer.steps == 3


def test_what_cannot_be_passed_on_is_refused(service):
    client = trained(service)
    with pytest.raises(ValueError, match="data is empty"):
        client.forward_backward_custom([], policy_loss)
    bare = tinker.Datum(model_input=tinker.ModelInput.from_ints([1, 2]), loss_fn_inputs={})
    with pytest.raises(ValueError, match="target_tokens"):
        client.forward_backward_custom([bare], policy_loss)
    client.optim_step(tinker.AdamParams()).result()  # nothing was sent, and nothing is lost
    both = [policy_datum(PROMPTS[0], 0), policy_datum(PROMPTS[1], 1)]
    with pytest.raises(ValueError, match="datum 1"):
        client.forward_backward_custom(both, lambda data, logprobs: (logprobs[0].sum(), {})).result()
