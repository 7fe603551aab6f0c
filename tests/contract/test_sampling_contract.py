"""Sampling, scoring and the REST client: one behaviour for every engine behind the client interface."""

import numpy as np
import pytest
import tinker
from contract_data import logprobs_of, prompt_of, train
from tinker import ModelInput, SamplingParams

# Sampling


def test_same_request_gives_the_same_answer(base):
    prompt, params = prompt_of(base), SamplingParams(max_tokens=8, seed=5)
    first = base.sample(prompt, 2, params).result()
    base.sample(prompt, 1, SamplingParams(max_tokens=8, seed=6)).result()
    again = base.sample(prompt, 2, params).result()
    assert [s.tokens for s in first.sequences] == [s.tokens for s in again.sequences]
    assert [s.logprobs for s in first.sequences] == [s.logprobs for s in again.sequences]


def test_concurrent_requests_do_not_change_answers(base):
    prompt = prompt_of(base)
    alone = base.sample(prompt, 1, SamplingParams(max_tokens=8, seed=1)).result().sequences[0].tokens
    futures = [base.sample(prompt, 1, SamplingParams(max_tokens=8, seed=seed)) for seed in (0, 1, 2)]
    assert futures[1].result().sequences[0].tokens == alone


def test_samples_of_one_request_differ(base):
    answer = base.sample(prompt_of(base), 8, SamplingParams(max_tokens=8, seed=1)).result()
    assert len({tuple(sequence.tokens) for sequence in answer.sequences}) > 1


def test_stop_token_is_part_of_the_sequence(base):
    prompt = prompt_of(base)
    free = base.sample(prompt, 1, SamplingParams(max_tokens=4, seed=1, stop=[])).result().sequences[0]
    assert (len(free.tokens), free.stop_reason) == (4, "length")
    stop = free.tokens[2]
    params = SamplingParams(max_tokens=4, seed=1, stop=[stop])
    stopped = base.sample(prompt, 1, params).result().sequences[0]
    assert stopped.stop_reason == "stop"
    assert stopped.tokens == free.tokens[: free.tokens.index(stop) + 1]


def test_sequences_end_at_the_tokenizers_end_by_default(base):
    end = base.get_tokenizer().eos_token_id
    answer = base.sample(prompt_of(base), 16, SamplingParams(max_tokens=40, seed=1)).result()
    for sequence in answer.sequences:
        assert (end in sequence.tokens) == (sequence.stop_reason == "stop")
        assert end not in sequence.tokens[:-1]


def test_temperature_zero_is_greedy(base):
    prompt = prompt_of(base)
    greedy = [
        base.sample(prompt, 1, SamplingParams(max_tokens=5, seed=seed, temperature=0)).result().sequences[0].tokens
        for seed in (1, 2)
    ]
    assert greedy[0] == greedy[1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampled_logprobs_are_the_models_own(base, temperature):
    prompt = prompt_of(base)
    params = SamplingParams(max_tokens=6, seed=2, temperature=temperature)
    sequence = base.sample(prompt, 1, params).result().sequences[0]
    whole = ModelInput.from_ints([*prompt.to_ints(), *sequence.tokens])
    scores = base.compute_logprobs(whole).result()[-len(sequence.tokens) :]
    np.testing.assert_allclose(sequence.logprobs, scores, atol=1e-4)


def test_scores_have_one_entry_a_token_the_first_none(base, tokens):
    scores = base.compute_logprobs(ModelInput.from_ints(tokens)).result()
    assert len(scores) == len(tokens)
    assert scores[0] is None
    assert all(score is not None and score <= 0 for score in scores[1:])


def test_scores_of_the_last_tokens_alone(base, tokens):
    whole = base.compute_logprobs(ModelInput.from_ints(tokens)).result()
    part = base.compute_logprobs(ModelInput.from_ints(tokens), prompt_logprobs_last_n=2).result()
    assert part[:-2] == [None] * (len(tokens) - 2)
    assert part[-2:] == pytest.approx(whole[-2:], abs=1e-4)


def test_prompt_logprobs_come_with_samples(base, tokens):
    prompt = ModelInput.from_ints(tokens)
    answer = base.sample(prompt, 1, SamplingParams(max_tokens=1), include_prompt_logprobs=True).result()
    scores = base.compute_logprobs(prompt).result()
    assert answer.prompt_logprobs[0] is None
    assert answer.prompt_logprobs[1:] == pytest.approx(scores[1:], abs=1e-4)


def test_top_prompt_logprobs_begin_with_the_likeliest(base, tokens):
    prompt = ModelInput.from_ints(tokens)
    answer = base.sample(prompt, 1, SamplingParams(max_tokens=1), topk_prompt_logprobs=3).result()
    assert answer.topk_prompt_logprobs is not None
    first, *others = answer.topk_prompt_logprobs
    assert first is None
    assert len(others) == len(tokens) - 1
    for place, top in enumerate(others):
        assert top is not None
        values = [value for _, value in top]
        assert len(values) == 3 and values == sorted(values, reverse=True)
        asked = ModelInput.from_ints([*tokens[: place + 1], top[0][0]])
        assert base.compute_logprobs(asked).result()[-1] == pytest.approx(values[0], abs=1e-4)


def test_sampler_stays_on_its_weights(engine, training, tokens):
    prompt = ModelInput.from_ints(tokens)
    path = training.save_weights_for_sampler("before").result().path
    saved = engine.service.create_sampling_client(model_path=path).result()
    snapshot = training.save_weights_and_get_sampling_client().result()
    before = snapshot.compute_logprobs(prompt).result()
    train(training, tokens, steps=3)
    assert snapshot.compute_logprobs(prompt).result() == before
    assert saved.compute_logprobs(prompt).result() == before
    after = training.save_weights_and_get_sampling_client().result().compute_logprobs(prompt).result()
    assert sum(after[1:]) > sum(before[1:])


def test_sampler_and_trainer_agree(engine, training, tokens):
    train(training, tokens, steps=2)
    path = training.save_weights_for_sampler("name").result().path
    sampler = engine.service.create_sampling_client(model_path=path).result()
    scores = sampler.compute_logprobs(ModelInput.from_ints(tokens)).result()
    np.testing.assert_allclose(logprobs_of(training, tokens), scores[1:], atol=1e-4)
    assert sampler.get_base_model() == engine.base_model


# The REST client


def test_capabilities_name_models_and_context(engine, base):
    models = engine.rest.get_server_capabilities().result().supported_models
    assert any(model.model_name == engine.base_model and model.max_context_length > 0 for model in models)


def test_weights_info_tells_model_and_rank(engine, training):
    for path in (
        training.save_state("a").result().path,
        training.save_weights_for_sampler("a").result().path,
    ):
        info = engine.rest.get_weights_info_by_tinker_path(path).result()
        assert (info.base_model, info.is_lora, info.lora_rank) == (engine.base_model, True, 4)


def test_checkpoints_are_listed(engine, training):
    training.save_state("a", ttl_seconds=7200, user_metadata={"batch": "3"}).result()
    training.save_weights_for_sampler("b").result()
    listed = engine.rest.list_checkpoints(training.model_id).result().checkpoints
    found = {checkpoint.tinker_path.rsplit("/", 1)[1]: checkpoint for checkpoint in listed}
    assert set(found) == {"a", "b"}
    assert (found["a"].checkpoint_type, found["b"].checkpoint_type) == ("training", "sampler")
    assert found["a"].checkpoint_id == "weights/a"
    assert found["a"].user_metadata == {"batch": "3"}
    assert (found["a"].expires_at - found["a"].time).total_seconds() == pytest.approx(7200, abs=2)
    assert found["b"].expires_at is None
    everything = engine.rest.list_user_checkpoints(limit=100, offset=0).result().checkpoints
    assert {checkpoint.tinker_path for checkpoint in listed} <= {each.tinker_path for each in everything}


def test_ttl_can_be_set_and_cleared(engine, training):
    path = training.save_state("a").result().path
    for ttl, expires in ((3600, True), (None, False)):
        engine.rest.set_checkpoint_ttl_from_tinker_path(path, ttl).result()
        (listed,) = engine.rest.list_checkpoints(training.model_id).result().checkpoints
        assert (listed.expires_at is not None) == expires


def test_deleted_checkpoints_are_gone(engine, training):
    path = training.save_state("a").result().path
    engine.rest.delete_checkpoint_from_tinker_path(path).result()
    assert engine.rest.list_checkpoints(training.model_id).result().checkpoints == []
    with pytest.raises(tinker.NotFoundError):
        engine.service.create_training_client_from_state(path).result()
    with pytest.raises(tinker.NotFoundError):
        engine.rest.get_weights_info_by_tinker_path(path).result()


def test_training_run_is_found_by_path(engine, training):
    path = training.save_state("a").result().path
    run = engine.rest.get_training_run_by_tinker_path(path).result()
    assert (run.training_run_id, run.base_model, run.lora_rank) == (training.model_id, engine.base_model, 4)
