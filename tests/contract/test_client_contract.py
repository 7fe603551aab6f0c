"""Training, saving and loading: one behaviour for every engine behind the client interface."""

import math

import numpy as np
import pytest
import tinker
from contract_data import ADAM, logprobs_of, reinforced, supervised, train
from tinker import AdamParams, Datum, ModelInput, TensorData

# What a client tells


def test_info_tells_model_and_rank(engine, training):
    info = training.get_info()
    assert (info.model_data.model_name, info.lora_rank) == (engine.base_model, 4)
    assert info.model_id == training.model_id


def test_sampling_client_tells_its_base_model(engine, base):
    assert base.get_base_model() == engine.base_model


def test_futures_can_be_read_more_than_once(training, tokens):
    future = training.forward([supervised(tokens)], "cross_entropy")
    assert future.result().metrics == future.result().metrics


async def test_clients_and_answers_can_be_awaited(engine, tokens):
    training = await engine.service.create_lora_training_client(base_model=engine.base_model, rank=4, seed=0)
    output = training.forward_backward([supervised(tokens)], "cross_entropy")
    step = training.optim_step(ADAM)
    assert math.isfinite((await output).metrics["loss:sum"])
    await step
    sampler = await training.save_weights_and_get_sampling_client()
    scores = await sampler.compute_logprobs(ModelInput.from_ints(tokens))
    assert len(scores) == len(tokens)


# Training


def test_fresh_training_client_equals_the_base_model(training, base, tokens):
    scores = base.compute_logprobs(ModelInput.from_ints(tokens)).result()
    np.testing.assert_allclose(logprobs_of(training, tokens), scores[1:], atol=1e-4)


def test_logprob_i_is_of_target_i_after_the_input_up_to_i(training, base, tokens):
    targets = tokens[::-1][1:]
    datum = supervised(tokens)
    datum.loss_fn_inputs["target_tokens"] = TensorData.from_numpy(np.asarray(targets, np.int64))
    output = training.forward([datum], "cross_entropy").result()
    for place, target in enumerate(targets):
        asked = ModelInput.from_ints([*tokens[: place + 1], target])
        score = base.compute_logprobs(asked).result()[-1]
        assert output.loss_fn_outputs[0]["logprobs"].to_numpy()[place] == pytest.approx(score, abs=1e-4)


def test_outputs_are_float32_of_the_targets_shape(training, tokens):
    logprobs = training.forward([supervised(tokens)], "cross_entropy").result().loss_fn_outputs[0]["logprobs"]
    assert (logprobs.dtype, logprobs.to_numpy().shape) == ("float32", (len(tokens) - 1,))


def test_cross_entropy_is_the_weighted_sum(training, tokens):
    output = training.forward([supervised(tokens, 0.5), supervised(tokens[:3], 2.0)], "cross_entropy").result()
    first, second = (out["logprobs"].to_numpy() for out in output.loss_fn_outputs)
    assert output.metrics["loss:sum"] == pytest.approx(-0.5 * first.sum() - 2.0 * second.sum(), rel=1e-4)


def test_cross_entropy_takes_soft_targets(training, tokens):
    targets = np.stack([tokens[1:], tokens[:-1]], axis=1)
    weights = np.stack([np.full(len(targets), 0.75), np.full(len(targets), 0.25)], axis=1)
    datum = Datum(
        model_input=ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": TensorData.from_numpy(targets.astype(np.int64)),
            "weights": TensorData.from_numpy(weights.astype(np.float32)),
        },
    )
    output = training.forward([datum], "cross_entropy").result()
    logprobs = output.loss_fn_outputs[0]["logprobs"].to_numpy().reshape(targets.shape)
    np.testing.assert_allclose(logprobs[:, 0], logprobs_of(training, tokens), atol=1e-4)
    assert output.metrics["loss:sum"] == pytest.approx(-(weights * logprobs).sum(), rel=1e-4)


@pytest.mark.parametrize("loss_fn", ["importance_sampling", "ppo", "cispo", "gspo", "dro"])
def test_policy_losses_follow_their_formulas(training, tokens, loss_fn):
    now = logprobs_of(training, tokens).astype(np.float64)
    shift = np.resize([0.5, -0.5, 0.05], now.shape)
    advantages = np.resize([1.0, -2.0, 0.5, 0.0], now.shape)
    datum = reinforced(tokens, now - shift, advantages)
    ratio = np.exp(shift)
    clipped = np.clip(ratio, 0.8, 1.2)
    mean = np.exp(shift[advantages != 0].mean())
    terms = {
        "importance_sampling": -ratio * advantages,
        "ppo": -np.minimum(ratio * advantages, clipped * advantages),
        "cispo": -clipped * now * advantages,
        "gspo": -np.minimum(mean * advantages, np.clip(mean, 0.8, 1.2) * advantages),
        "dro": -(now * advantages - 0.01 / 2 * shift**2),
    }[loss_fn]
    output = training.forward([datum], loss_fn).result()
    # The terms may cancel: the sum of their sizes is what rounding errors are a share of.
    assert output.metrics["loss:sum"] == pytest.approx(terms.sum(), abs=1e-5 * np.abs(terms).sum())


def test_importance_sampling_raises_what_has_advantage(training, tokens):
    before = logprobs_of(training, tokens)
    training.forward_backward([reinforced(tokens, before, np.ones(len(before)))], "importance_sampling").result()
    training.optim_step(ADAM).result()
    assert logprobs_of(training, tokens).sum() > before.sum()


def test_zero_advantages_change_nothing(training, tokens):
    before = logprobs_of(training, tokens)
    training.forward_backward([reinforced(tokens, before, np.zeros(len(before)))], "importance_sampling").result()
    training.optim_step(ADAM).result()
    np.testing.assert_array_equal(logprobs_of(training, tokens), before)


def test_forward_leaves_no_gradient(training, tokens):
    before = logprobs_of(training, tokens)
    training.optim_step(ADAM).result()
    np.testing.assert_array_equal(logprobs_of(training, tokens), before)


def test_gradients_add_up_until_the_step(engine, training, tokens):
    together = engine.service.create_lora_training_client(base_model=engine.base_model, rank=4, seed=0).result()
    first, second = supervised(tokens), supervised(tokens[::-1])
    before = logprobs_of(training, tokens)
    training.forward_backward([first], "cross_entropy").result()
    training.forward_backward([second], "cross_entropy").result()
    together.forward_backward([first, second], "cross_entropy").result()
    training.optim_step(ADAM).result()
    together.optim_step(ADAM).result()
    after = logprobs_of(training, tokens)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, logprobs_of(together, tokens), atol=1e-3)


def test_a_step_clears_the_gradients(engine, tokens):
    rates = AdamParams(learning_rate=1e-2, beta1=0.0)
    moved = []
    for steps in (1, 2):
        training = engine.service.create_lora_training_client(base_model=engine.base_model, rank=4, seed=0).result()
        training.forward_backward([supervised(tokens)], "cross_entropy").result()
        for _ in range(steps):
            training.optim_step(rates).result()
        moved.append(logprobs_of(training, tokens))
    np.testing.assert_array_equal(moved[0], moved[1])


def test_calls_take_effect_in_submission_order(engine, training, tokens):
    other = engine.service.create_lora_training_client(base_model=engine.base_model, rank=4, seed=0).result()
    futures = [
        training.forward_backward([supervised(tokens)], "cross_entropy"),
        training.optim_step(ADAM),
        training.forward([supervised(tokens)], "cross_entropy"),
        training.forward_backward([supervised(tokens)], "cross_entropy"),
        training.optim_step(ADAM),
        training.forward([supervised(tokens)], "cross_entropy"),
    ]
    answers = [future.result() for future in reversed(futures)][::-1]
    for place in (2, 5):
        train(other, tokens)
        got = answers[place].loss_fn_outputs[0]["logprobs"].to_numpy()
        np.testing.assert_allclose(got, logprobs_of(other, tokens), atol=1e-5)


def test_training_is_reproducible(engine, tokens):
    runs = []
    for _ in range(2):
        training = engine.service.create_lora_training_client(base_model=engine.base_model, rank=4, seed=3).result()
        train(training, tokens, steps=3)
        runs.append(logprobs_of(training, tokens))
    np.testing.assert_array_equal(runs[0], runs[1])


def test_no_data_is_refused_at_once(training):
    with pytest.raises(ValueError):
        training.forward_backward([], "cross_entropy")


@pytest.mark.parametrize("change", ["extra", "missing", "short"])
def test_wrong_loss_inputs_are_refused(training, tokens, change):
    count = len(tokens) - 1
    inputs = {
        "target_tokens": TensorData(tokens[1:], "int64"),
        "logprobs": TensorData([0.0] * count, "float32"),
        "advantages": TensorData([0.0] * count, "float32"),
    }
    if change == "extra":
        inputs["mask"] = TensorData([1.0] * count, "float32")
    elif change == "missing":
        del inputs["logprobs"]
    else:
        inputs["advantages"] = TensorData([0.0] * (count - 1), "float32")
    datum = Datum(model_input=ModelInput.from_ints(tokens[:-1]), loss_fn_inputs=inputs)
    with pytest.raises(tinker.BadRequestError):
        training.forward_backward([datum], "importance_sampling").result()


def test_unknown_loss_is_refused(training, tokens):
    with pytest.raises(tinker.BadRequestError):
        training.forward_backward([supervised(tokens)], "no_such_loss").result()


def test_calls_behind_a_failed_one_are_carried_out(training, tokens):
    before = logprobs_of(training, tokens)
    failing = training.forward_backward([supervised(tokens)], "no_such_loss")
    working = training.forward_backward([supervised(tokens)], "cross_entropy")
    step = training.optim_step(ADAM)
    with pytest.raises(tinker.BadRequestError):
        failing.result()
    working.result()
    step.result()
    assert logprobs_of(training, tokens).sum() > before.sum()


# Saving and loading


def test_save_paths_name_server_run_kind_and_name(training):
    # Tinker's paths begin with tinker://, the local engine's are directories.
    assert training.save_state("one").result().path.endswith(f"{training.model_id}/weights/one")
    sampler = training.save_weights_for_sampler("one").result()
    assert sampler.path.endswith(f"{training.model_id}/sampler_weights/one")


def test_state_with_optimizer_goes_on_bit_equal(engine, training, tokens):
    train(training, tokens, steps=2)
    path = training.save_state("state").result().path
    restored = engine.service.create_training_client_from_state_with_optimizer(path).result()
    np.testing.assert_array_equal(logprobs_of(restored, tokens), logprobs_of(training, tokens))
    train(training, tokens)
    train(restored, tokens)
    np.testing.assert_array_equal(logprobs_of(restored, tokens), logprobs_of(training, tokens))


def test_state_weights_alone_start_with_a_fresh_optimizer(engine, training, tokens):
    train(training, tokens, steps=2)
    path = training.save_state("state").result().path
    restored = engine.service.create_training_client_from_state(path).result()
    same = logprobs_of(restored, tokens)
    np.testing.assert_array_equal(same, logprobs_of(training, tokens))
    # A step without gradients moves by the old moments; without moments it stays.
    restored.optim_step(ADAM).result()
    training.optim_step(ADAM).result()
    np.testing.assert_array_equal(logprobs_of(restored, tokens), same)
    assert np.abs(logprobs_of(training, tokens) - same).max() > 0


def test_restored_client_is_another_server_run_of_the_same_kind(engine, training):
    path = training.save_state("state").result().path
    restored = engine.service.create_training_client_from_state(path).result()
    assert restored.model_id != training.model_id
    info = restored.get_info()
    assert (info.model_data.model_name, info.lora_rank) == (engine.base_model, 4)


def test_state_keeps_what_it_was_saved_with(engine, training, tokens):
    saved = logprobs_of(training, tokens)
    path = training.save_state("state").result().path
    train(training, tokens)
    restored = engine.service.create_training_client_from_state_with_optimizer(path).result()
    np.testing.assert_array_equal(logprobs_of(restored, tokens), saved)


@pytest.mark.parametrize("save", ["save_state", "save_weights_for_sampler"])
def test_taken_names_are_refused(training, save):
    getattr(training, save)("name").result()
    with pytest.raises(tinker.ConflictError):
        getattr(training, save)("name").result()


def test_overwrite_replaces_a_state(engine, training, tokens):
    training.save_state("state").result()
    train(training, tokens)
    path = training.save_state("state", overwrite=True).result().path
    restored = engine.service.create_training_client_from_state(path).result()
    np.testing.assert_array_equal(logprobs_of(restored, tokens), logprobs_of(training, tokens))


@pytest.mark.parametrize(
    "create", ["create_training_client_from_state", "create_training_client_from_state_with_optimizer"]
)
def test_sampler_weights_cannot_be_trained_from(engine, training, create):
    path = training.save_weights_for_sampler("name").result().path
    with pytest.raises(tinker.BadRequestError, match="sampler_weights"):
        getattr(engine.service, create)(path).result()


def test_state_cannot_be_sampled_from(engine, training):
    path = training.save_state("name").result().path
    with pytest.raises(tinker.BadRequestError, match="weights/name"):
        engine.service.create_sampling_client(model_path=path).result()


def test_unknown_paths_are_not_found(engine, training):
    with pytest.raises(tinker.NotFoundError):
        engine.service.create_training_client_from_state(f"tinker://{training.model_id}/weights/no").result()
    with pytest.raises(tinker.NotFoundError):
        path = f"tinker://{training.model_id}/sampler_weights/no"
        engine.service.create_sampling_client(model_path=path).result()
