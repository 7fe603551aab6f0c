"""Sampling, scoring and the REST client: one behaviour for every engine behind the client interface."""

from typing import Any

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


# Scoring features


ONE = SamplingParams(max_tokens=1, seed=3)


def ask(client, tokens, params=ONE, **question):
    return client.sample(ModelInput.from_ints(tokens), 1, params, **question).result()


def score(client, before, token):
    """Log-probability of a token after others."""
    return client.compute_logprobs(ModelInput.from_ints([*before, token])).result()[-1]


def distributions(client, tokens):
    """Log-probabilities of the whole vocabulary at each token but the first, `[P - 1, V]`."""
    rows = ask(client, tokens, topk_prompt_logprobs=2000).topk_prompt_logprobs
    assert rows is not None and rows[0] is None
    every = np.full((len(tokens) - 1, len(rows[1] or ())), np.nan)
    for found, row in zip(every, rows[1:], strict=True):
        assert row is not None
        found[[token for token, _ in row]] = [value for _, value in row]
    np.testing.assert_allclose(np.exp(every).sum(axis=1), 1.0, atol=1e-4)
    return every


def targets_of(tokens, sparse):
    """Ids to score, three at the most at a token, as an array and as they are sent."""
    ids = np.full((len(tokens) - 1, 3), -1, np.int64)
    ids[2], ids[4, 1], ids[-1, 0] = tokens[:3], tokens[4], tokens[-1]
    if not sparse:
        return ids, tinker.TensorData.from_numpy(ids)
    crow = np.concatenate([[0], (ids >= 0).sum(axis=1).cumsum()]).tolist()
    columns = np.nonzero(ids >= 0)[1].tolist()
    return ids, tinker.TensorData(ids[ids >= 0], "int64", list(ids.shape), crow, columns)


@pytest.mark.parametrize("sparse", [False, True])
def test_targets_are_scored_where_they_are_named(base, tokens, sparse):
    ids, targets = targets_of(tokens, sparse)
    found = ask(base, tokens, target_prompt_logprobs=targets).target_prompt_logprobs
    assert found is not None
    assert (found.dtype, found.shape) == ("float32", list(ids.shape))
    assert found.sparse_crow_indices == targets.sparse_crow_indices
    assert found.sparse_col_indices == targets.sparse_col_indices
    values = np.zeros(ids.shape)
    values[ids >= 0] = found.data if sparse else found.to_numpy()[ids >= 0]
    expected = np.zeros(ids.shape)
    for row, column in np.argwhere(ids >= 0):
        expected[row, column] = score(base, tokens[: row + 1], int(ids[row, column]))
    np.testing.assert_allclose(values, expected, atol=1e-4)
    if not sparse:
        np.testing.assert_array_equal(found.to_numpy()[ids < 0], 0.0)


def test_padding_is_answered_with_zero_in_a_sparse_tensor_too(base, tokens):
    size = len(tokens)
    crow = [0] * (size - 1) + [2]
    targets = tinker.TensorData([tokens[-1], -1], "int64", [size - 1, 2], crow, [0, 1])
    found = ask(base, tokens, target_prompt_logprobs=targets).target_prompt_logprobs
    assert found is not None
    assert found.data == pytest.approx([score(base, tokens[:-1], tokens[-1]), 0.0], abs=1e-4)


@pytest.mark.parametrize("temperature", [0, 0.5, 1.0])
def test_top_sample_logprobs_are_those_at_each_sampled_token(base, temperature):
    prompt = prompt_of(base).to_ints()
    params = SamplingParams(max_tokens=6, seed=2, temperature=temperature, stop=[])
    plain = ask(base, prompt, params).sequences[0]
    reply = ask(base, prompt, params, topk_sample_logprobs=3).sequences[0]
    assert plain.topk_logprobs is None
    assert (plain.tokens, plain.logprobs) == (reply.tokens, reply.logprobs)
    assert reply.topk_logprobs is not None and reply.logprobs is not None
    whole = [*prompt, *reply.tokens]
    expected = ask(base, whole, topk_prompt_logprobs=3).topk_prompt_logprobs[-len(reply.tokens) :]
    for top, same, token, value in zip(reply.topk_logprobs, expected, reply.tokens, reply.logprobs, strict=True):
        assert [one for one, _ in top] == [one for one, _ in same]
        assert [one for _, one in top] == pytest.approx([one for _, one in same], abs=1e-4)
        assert dict(top).get(token, value) == pytest.approx(value, abs=1e-6)
        if temperature == 0:
            assert top[0][0] == token


def test_likeliest_tokens_are_no_more_than_the_vocabulary(base, tokens):
    answer = ask(base, tokens, topk_prompt_logprobs=2000, topk_sample_logprobs=2000)
    rows = [*answer.topk_prompt_logprobs[1:], *answer.sequences[0].topk_logprobs]
    (width,) = {len(row) for row in rows}
    assert max(tokens) < width < 2000
    assert all(sorted(token for token, _ in row) == list(range(width)) for row in rows)


def test_top_prompt_logprobs_of_the_last_tokens_alone(base, tokens):
    whole = ask(base, tokens, topk_prompt_logprobs=2).topk_prompt_logprobs
    part = ask(base, tokens, include_prompt_logprobs=True, topk_prompt_logprobs=2, prompt_logprobs_last_n=3)
    assert part.topk_prompt_logprobs[:-3] == part.prompt_logprobs[:-3] == [None] * (len(tokens) - 3)
    for row, same in zip(part.topk_prompt_logprobs[-3:], whole[-3:], strict=True):
        assert [token for token, _ in row] == [token for token, _ in same]
        assert [value for _, value in row] == pytest.approx([value for _, value in same], abs=1e-4)


def alternatives(client, tokens, count, **params):
    """Tokens drawn at each token but the first and their log-probabilities, `[P - 1, count]`."""
    answer = ask(client, tokens, SamplingParams(max_tokens=1, **params), prompt_alt_tokens_k=count)
    found = answer.prompt_alt_tokens
    assert found is not None
    assert (found.tokens.dtype, found.logprobs.dtype) == ("int64", "float32")
    assert found.tokens.shape == found.logprobs.shape == [len(tokens) - 1, count]
    return found.tokens.to_numpy(), found.logprobs.to_numpy()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_alternatives_follow_the_tempered_distribution(base, tokens, temperature):
    every = distributions(base, tokens)
    count = 2000
    drawn, logprobs = alternatives(base, tokens, count, temperature=temperature, seed=1)
    np.testing.assert_allclose(logprobs, np.take_along_axis(every, drawn, axis=1), atol=1e-4)
    chances = np.exp(every / temperature)
    chances /= chances.sum(axis=1, keepdims=True)
    shares = np.stack([np.bincount(row, minlength=every.shape[1]) for row in drawn]) / count
    # Several thousand shares: five standard errors, and one draw for the rarest.
    assert (np.abs(shares - chances) <= 5 * np.sqrt(chances * (1 - chances) / count) + 1.5 / count).all()


def test_alternatives_are_drawn_by_the_seed(base, tokens):
    first, _ = alternatives(base, tokens, 20, seed=1)
    other, _ = alternatives(base, tokens, 20, seed=2)
    again, _ = alternatives(base, tokens, 20, seed=1)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert any(len(set(row)) > 1 for row in first.tolist()), "one draw for all"
    assert len({tuple(row) for row in first.tolist()}) > 1, "the same draws at every token"


def test_alternatives_without_a_seed_differ_from_request_to_request(base, tokens):
    first, second = (alternatives(base, tokens, 20)[0] for _ in range(2))
    assert (first != second).any()


def test_alternatives_at_temperature_zero_are_the_likeliest(base, tokens):
    drawn, _ = alternatives(base, tokens, 3, temperature=0, seed=1)
    np.testing.assert_array_equal(drawn, distributions(base, tokens).argmax(axis=1)[:, None].repeat(3, axis=1))


def test_questions_asked_at_once_are_answered_as_one_by_one(base, tokens):
    _, targets = targets_of(tokens, sparse=False)
    # Neither targets nor alternatives are cut by last_n.
    scored: dict[str, Any] = dict(include_prompt_logprobs=True, prompt_logprobs_last_n=2)
    together = ask(
        base, tokens, **scored, topk_prompt_logprobs=3, topk_sample_logprobs=2, target_prompt_logprobs=targets,
        prompt_alt_tokens_k=4,
    )  # fmt: skip
    alone = ask(base, tokens, **scored)
    assert together.sequences[0].tokens == alone.sequences[0].tokens == ask(base, tokens).sequences[0].tokens
    assert together.prompt_logprobs[-2:] == pytest.approx(alone.prompt_logprobs[-2:], abs=1e-4)
    assert together.prompt_logprobs[:-2] == [None] * (len(tokens) - 2)
    found = together.target_prompt_logprobs.to_numpy()
    expected = ask(base, tokens, target_prompt_logprobs=targets).target_prompt_logprobs.to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(
        together.prompt_alt_tokens.tokens.to_numpy(), alternatives(base, tokens, 4, seed=ONE.seed)[0]
    )


def test_what_is_not_asked_for_is_not_answered(base, tokens):
    answer = ask(base, tokens)
    assert answer.prompt_logprobs is None and answer.topk_prompt_logprobs is None
    assert answer.target_prompt_logprobs is None and answer.prompt_alt_tokens is None


@pytest.mark.parametrize(
    "question",
    [
        {"prompt_logprobs_last_n": 2},
        {"prompt_logprobs_last_n": 2, "topk_prompt_logprobs": 3},
        {"include_prompt_logprobs": True, "prompt_logprobs_last_n": 0},
        {"include_prompt_logprobs": True, "prompt_logprobs_last_n": 6},
        {"target_prompt_logprobs": np.full((5, 2), -1)},
        {"target_prompt_logprobs": np.ones((6, 2), np.int64)},
        {"target_prompt_logprobs": np.ones(5, np.int64)},
        {"target_prompt_logprobs": np.full((5, 1), 10**6)},
        {"target_prompt_logprobs": np.asarray([[1]] * 4 + [[-2]])},
    ],
)
def test_questions_that_do_not_fit_the_prompt_are_refused(base, tokens, question):
    if "target_prompt_logprobs" in question:
        question = {"target_prompt_logprobs": tinker.TensorData.from_numpy(question["target_prompt_logprobs"])}
    future = base.sample(ModelInput.from_ints(tokens[:6]), 1, ONE, **question)
    with pytest.raises(tinker.BadRequestError, match=list(question)[-1] if len(question) == 1 else "last_n"):
        future.result()


@pytest.mark.parametrize("last_n", [0, 6])
def test_scores_of_more_tokens_than_there_are_are_refused(base, tokens, last_n):
    future = base.compute_logprobs(ModelInput.from_ints(tokens[:6]), prompt_logprobs_last_n=last_n)
    with pytest.raises(tinker.BadRequestError, match="give 1 to 5"):
        future.result()


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
    assert (found["a"].expires_at - found["a"].time).total_seconds() == pytest.approx(7200)
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
