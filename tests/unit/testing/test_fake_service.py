import json
import subprocess
import sys

import pytest
import tinker
from tinker import AdamParams, Datum, ModelInput, SamplingParams, TensorData

from socratic_distill.errors import ConfigError
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault

DATUM = Datum(
    ModelInput.from_ints([5, 6, 7]),
    {"target_tokens": TensorData([6, 7, 8], "int64"), "weights": TensorData([1.0] * 3, "float32")},
)
STEP = AdamParams(learning_rate=0.1)


def loss(training):
    return training.forward([DATUM], "cross_entropy").result().metrics["loss:sum"]


def train(training, steps=1):
    for _ in range(steps):
        training.forward_backward([DATUM], "cross_entropy").result()
        training.optim_step(STEP).result()


# Faults


def test_planned_fault_fails_the_nth_call_through_its_future():
    service = FakeServiceClient(faults=[Fault("save_state", nth=3, error=500)])
    training = service.create_lora_training_client("m").result()
    futures = [training.save_state(f"s{number}") for number in range(4)]
    with pytest.raises(tinker.InternalServerError):
        futures[2].result()
    assert [futures[place].result().path[-2:] for place in (0, 1, 3)] == ["s0", "s1", "s3"]
    names = [item.checkpoint_id for item in listed(service, training)]
    assert names == ["weights/s0", "weights/s1", "weights/s3"]


def test_calls_are_counted_over_all_clients_of_the_service():
    service = FakeServiceClient(faults=[Fault("optim_step", nth=2)])
    first, second = (service.create_lora_training_client("m").result() for _ in range(2))
    first.optim_step(STEP).result()
    with pytest.raises(tinker.InternalServerError):
        second.optim_step(STEP).result()


def test_lost_answer_is_carried_out():
    service = FakeServiceClient(faults=[Fault("optim_step", nth=2, error="lost_answer")])
    plain = FakeServiceClient().create_lora_training_client("m").result()
    training = service.create_lora_training_client("m").result()
    train(training)
    training.forward_backward([DATUM], "cross_entropy").result()
    with pytest.raises(tinker.APIConnectionError, match="answer was lost"):
        training.optim_step(STEP).result()
    train(plain, 2)
    assert loss(training) == loss(plain)


def test_failed_step_is_not_carried_out_and_keeps_the_gradients():
    service = FakeServiceClient(faults=[Fault("optim_step")])
    plain = FakeServiceClient().create_lora_training_client("m").result()
    training = service.create_lora_training_client("m").result()
    before = loss(training)
    training.forward_backward([DATUM], "cross_entropy").result()
    with pytest.raises(tinker.InternalServerError):
        training.optim_step(STEP).result()
    assert loss(training) == before
    training.optim_step(STEP).result()
    train(plain)
    assert loss(training) == loss(plain)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (400, tinker.BadRequestError),
        (401, tinker.AuthenticationError),
        (402, tinker.BillingError),
        (403, tinker.PermissionDeniedError),
        (404, tinker.NotFoundError),
        (409, tinker.ConflictError),
        (422, tinker.UnprocessableEntityError),
        (429, tinker.RateLimitError),
        (500, tinker.InternalServerError),
        (503, tinker.InternalServerError),
        ("connection", tinker.APIConnectionError),
        ("timeout", tinker.APITimeoutError),
        (RuntimeError("own"), RuntimeError),
    ],
)
def test_faults_raise_the_sdks_errors(error, kind):
    service = FakeServiceClient(faults=[Fault("create_sampling_client", error=error)])
    future = service.create_sampling_client(base_model="m")
    with pytest.raises(kind) as caught:
        future.result()
    if isinstance(error, int):
        assert caught.value.status_code == caught.value.response.status_code == error
    service.create_sampling_client(base_model="m").result()


def test_fault_can_strike_several_times():
    service = FakeServiceClient(faults=[Fault("sample", nth=2, error=429, times=2)])
    sampler = service.create_sampling_client(base_model="m").result()
    failed = []
    for _ in range(5):
        future = sampler.sample(ModelInput.from_ints([1]), 1, SamplingParams(max_tokens=1)).future()
        failed.append(future.exception() is not None)
    assert failed == [False, True, True, False, False]


def test_rest_calls_can_fail():
    service = FakeServiceClient(faults=[Fault("list_user_checkpoints", error=403)])
    with pytest.raises(tinker.PermissionDeniedError):
        FakeRestClient(service).list_user_checkpoints().result()


@pytest.mark.parametrize("given", [{"call": "save"}, {"call": "sample", "nth": 0}, {"call": "sample", "error": "gone"}])
def test_faults_that_cannot_be_meant_are_refused(given):
    with pytest.raises(ConfigError):
        Fault(**given)


# The record


def test_calls_are_recorded_with_outcome_and_server_run():
    service = FakeServiceClient(faults=[Fault("save_state", nth=1), Fault("optim_step", error="lost_answer")])
    training = service.create_lora_training_client("m", rank=8).result()
    training.forward_backward([DATUM], "cross_entropy")
    training.optim_step(STEP)
    training.save_state("a")
    outcomes = [(record.call, record.outcome) for record in service.calls]
    assert outcomes == [
        ("create_lora_training_client", "done"),
        ("forward_backward", "done"),
        ("optim_step", "lost"),
        ("save_state", "failed"),
    ]
    assert service.calls[0].arguments == {"base_model": "m", "rank": 8, "seed": None}
    assert service.calls[1].arguments == {"loss_fn": "cross_entropy", "datums": 1, "tokens": 3}
    assert {record.server_run for record in service.calls[1:]} == {"fake-0001:train:0"}
    assert service.count("save_state") == 1


# What is kept


def listed(service, training):
    return FakeRestClient(service).list_checkpoints(training.model_id).result().checkpoints


def test_directory_keeps_states_for_another_instance(tmp_path):
    training = FakeServiceClient(tmp_path).create_lora_training_client("m", rank=8).result()
    train(training, 2)
    state = training.save_state("ü %", user_metadata={"batch": "2"}).result().path
    sampler = training.save_weights_for_sampler("s").result().path

    later = FakeServiceClient(tmp_path)
    restored = later.create_training_client_from_state_with_optimizer(state).result()
    assert restored.model_id != training.model_id
    assert restored.get_info().lora_rank == 8
    train(training)
    train(restored)
    assert loss(restored) == loss(training)
    later.create_sampling_client(model_path=sampler).result()
    assert [item.user_metadata for item in listed(later, training)] == [{"batch": "2"}, None]


def test_directory_serves_another_process(tmp_path):
    training = FakeServiceClient(tmp_path).create_lora_training_client("m").result()
    train(training, 3)
    path = training.save_state("a").result().path
    code = """
import json, sys
import numpy as np
from tinker import AdamParams, Datum, ModelInput
from socratic_distill.testing import FakeServiceClient
service = FakeServiceClient(sys.argv[1])
training = service.create_training_client_from_state_with_optimizer(sys.argv[2]).result()
datum = Datum(ModelInput.from_ints([5, 6, 7]), {
    "target_tokens": np.asarray([6, 7, 8], np.int64), "weights": np.ones(3, np.float32)})
training.forward_backward([datum], "cross_entropy").result()
training.optim_step(AdamParams(learning_rate=0.1)).result()
loss = training.forward([datum], "cross_entropy").result().metrics["loss:sum"]
print(json.dumps([training.model_id, loss]))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run, there = json.loads(done.stdout)
    train(training)
    assert run == "fake-0002:train:0"
    assert there == loss(training)


def test_directory_holds_no_unfinished_file(tmp_path):
    training = FakeServiceClient(tmp_path).create_lora_training_client("m").result()
    training.save_state("a").result()
    with pytest.raises(tinker.ConflictError):
        training.save_state("a").result()
    files = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file())
    assert files == ["fake-0001/train-0.json", "fake-0001/train-0/weights/a.npz"]


@pytest.mark.parametrize("on_disk", [False, True])
def test_expired_states_are_gone(tmp_path, on_disk):
    clock = [1_000_000.0]
    service = FakeServiceClient(tmp_path if on_disk else None, now=lambda: clock[0])
    training = service.create_lora_training_client("m").result()
    path = training.save_state("a", ttl_seconds=3600).result().path
    (found,) = listed(service, training)
    assert found.expires_at is not None and found.expires_at.timestamp() == 1_003_600.0
    clock[0] += 3599
    service.create_training_client_from_state(path).result()
    clock[0] += 1
    assert listed(service, training) == []
    with pytest.raises(tinker.NotFoundError):
        service.create_training_client_from_state(path).result()
    training.save_state("a").result()


def test_new_ttl_counts_from_now(tmp_path):
    clock = [0.0]
    service = FakeServiceClient(tmp_path, now=lambda: clock[0])
    training = service.create_lora_training_client("m").result()
    path = training.save_state("a", ttl_seconds=3600).result().path
    clock[0] = 3000.0
    FakeRestClient(service).set_checkpoint_ttl_from_tinker_path(path, 3600).result()
    clock[0] = 6000.0
    (found,) = listed(service, training)
    assert found.expires_at is not None and found.expires_at.timestamp() == 6600.0
    service.create_training_client_from_state(path).result()
    FakeRestClient(service).set_checkpoint_ttl_from_tinker_path(path, None).result()
    clock[0] = 1e9
    (found,) = listed(service, training)
    assert found.expires_at is None


@pytest.mark.parametrize(
    "given",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": "a", "ttl_seconds": 60},
        {"name": "a", "user_metadata": {"n": 1}},
    ],
)
def test_saves_that_the_service_refuses_fail(given):
    training = FakeServiceClient().create_lora_training_client("m").result()
    with pytest.raises(tinker.BadRequestError):
        training.save_state(**given).result()


@pytest.mark.parametrize("path", ["tinker://run/name", "a", "tinker://run/other/name", "tinker://a/b/c/d"])
def test_malformed_paths_are_refused(path):
    with pytest.raises(tinker.BadRequestError, match="form"):
        FakeServiceClient().create_training_client_from_state(path).result()


def test_user_checkpoints_come_in_pages_the_newest_first():
    clock = iter(range(1000))
    service = FakeServiceClient(now=lambda: float(next(clock)))
    training = service.create_lora_training_client("m").result()
    for number in range(5):
        training.save_state(f"s{number}").result()
    page = FakeRestClient(service).list_user_checkpoints(limit=2, offset=1).result()
    assert [item.checkpoint_id for item in page.checkpoints] == ["weights/s3", "weights/s2"]
    assert page.cursor is not None and page.cursor.total_count == 5


def test_training_run_tells_its_newest_checkpoints():
    service = FakeServiceClient()
    training = service.create_lora_training_client("m", user_metadata={"who": "me"}).result()
    path = training.save_state("a").result().path
    run = FakeRestClient(service).get_training_run_by_tinker_path(path).result()
    assert run.last_checkpoint is not None and run.last_checkpoint.tinker_path == path
    assert (run.last_sampler_checkpoint, run.user_metadata) == (None, {"who": "me"})


# Scoring features

QUESTIONS = {
    "topk_prompt_logprobs": 2,
    "topk_sample_logprobs": 2,
    "target_prompt_logprobs": TensorData([6, 7], "int64", [2, 2], [0, 1, 2], [0, 1]),
    "prompt_alt_tokens_k": 2,
}


def ask(service, **question):
    sampler = service.create_sampling_client(base_model="m").result()
    return sampler.sample(ModelInput.from_ints([5, 6, 7]), 1, SamplingParams(max_tokens=2, seed=1), **question).result()


@pytest.mark.parametrize("feature", QUESTIONS)
def test_a_lacking_feature_is_refused_by_name_and_the_others_are_not(feature):
    service = FakeServiceClient(lacks=[feature])
    for name, value in QUESTIONS.items():
        if name != feature:
            ask(service, **{name: value})
    with pytest.raises(tinker.BadRequestError, match=feature) as caught:
        ask(service, **QUESTIONS)
    assert not any(name in str(caught.value) for name in QUESTIONS if name != feature)
    ask(service, include_prompt_logprobs=True)


def test_a_refused_question_uses_up_no_seed():
    plain, lacking = FakeServiceClient(), FakeServiceClient(lacks=["prompt_alt_tokens_k"])
    with pytest.raises(tinker.BadRequestError):
        ask(lacking, prompt_alt_tokens_k=1)
    replies = []
    for service in (plain, lacking):
        sampler = service.create_sampling_client(base_model="m").result()
        answer = sampler.sample(ModelInput.from_ints([1]), 1, SamplingParams(max_tokens=9)).result()
        replies.append(answer.sequences[0].tokens)
    assert replies[0] == replies[1]


def test_a_feature_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"prompt_logprobs_last_n.*topk_prompt_logprobs") as caught:
        FakeServiceClient(lacks=["prompt_logprobs_last_n"])  # pyright: ignore[reportArgumentType]
    assert isinstance(caught.value, ValueError)


def test_the_record_tells_what_a_sample_asked_for():
    service = FakeServiceClient()
    ask(service, **QUESTIONS)
    ask(service, include_prompt_logprobs=True)
    everything, nothing = (record.arguments for record in service.calls if record.call == "sample")
    assert everything["features"] == tuple(QUESTIONS) and nothing["features"] == ()
    assert (everything["prompt_tokens"], everything["max_tokens"]) == (3, 2)


def test_sparse_targets_are_scored_where_torch_is_absent():
    code = """
import sys
sys.modules["torch"] = None
from tinker import ModelInput, SamplingParams, TensorData
from socratic_distill.testing import FakeServiceClient
sampler = FakeServiceClient().create_sampling_client(base_model="m").result()
targets = TensorData([7], "int64", [2, 3], [0, 0, 1], [2])
answer = sampler.sample(
    ModelInput.from_ints([5, 6, 7]), 1, SamplingParams(max_tokens=1), True, target_prompt_logprobs=targets
).result()
assert answer.target_prompt_logprobs.data == [answer.prompt_logprobs[2]]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Models


def test_any_model_is_served_and_listed_once_used():
    service = FakeServiceClient()
    service.create_sampling_client(base_model="some/model").result()
    (model,) = FakeRestClient(service).get_server_capabilities().result().supported_models
    assert (model.model_name, model.max_context_length) == ("some/model", 32768)


def test_given_models_alone_are_offered():
    service = FakeServiceClient(models=["a", "b"], max_context_length=100)
    models = FakeRestClient(service).get_server_capabilities().result().supported_models
    assert [(model.model_name, model.max_context_length) for model in models] == [("a", 100), ("b", 100)]
    with pytest.raises(tinker.BadRequestError, match="a, b"):
        service.create_lora_training_client("c").result()


def test_state_of_another_base_model_is_refused():
    service = FakeServiceClient()
    path = service.create_lora_training_client("a").result().save_state("s").result().path
    with pytest.raises(tinker.BadRequestError, match="'a'"):
        service.create_training_client_from_state(path, base_model="b").result()


def test_services_answer_alike_without_seeds():
    answers = []
    for _ in range(2):
        sampler = FakeServiceClient().create_sampling_client(base_model="m").result()
        requests = [sampler.sample(ModelInput.from_ints([1]), 1, SamplingParams(max_tokens=9)) for _ in range(3)]
        answers.append([request.result().sequences[0].tokens for request in requests])
    assert answers[0] == answers[1]
    assert len({tuple(tokens) for tokens in answers[0]}) > 1


def test_inflight_samplers_move_on_and_snapshots_stay():
    training = FakeServiceClient().create_lora_training_client("m").result()
    prompt = ModelInput.from_ints([5, 6, 7, 8])
    moving = training.save_weights_and_get_sampling_client(kind="inflight").result()
    fixed = training.save_weights_and_get_sampling_client().result()
    before = moving.compute_logprobs(prompt).result()
    train(training)
    latest = training.save_weights_and_get_sampling_client(kind="inflight").result()
    assert moving.compute_logprobs(prompt).result() == latest.compute_logprobs(prompt).result() != before
    assert fixed.compute_logprobs(prompt).result() == before


def test_sparse_targets_are_read_without_torch():
    training = FakeServiceClient().create_lora_training_client("m").result()
    rows, columns = [0, 1, 2, 2], [0, 1]
    given = {
        "target_tokens": TensorData([6, 7], "int64", [3, 2], rows, columns),
        "weights": TensorData([1.0, 2.0], "float32", [3, 2], rows, columns),
    }
    output = training.forward([Datum(ModelInput.from_ints([5, 6, 7]), given)], "cross_entropy").result()
    logprobs = output.loss_fn_outputs[0]["logprobs"].to_numpy()
    assert logprobs.shape == (3, 2)
    assert output.metrics["loss:sum"] == pytest.approx(-logprobs[0, 0] - 2 * logprobs[1, 1])


@pytest.mark.parametrize("params", [None, 3])
def test_steps_need_adam_params(params):
    training = FakeServiceClient().create_lora_training_client("m").result()
    with pytest.raises(TypeError):
        training.optim_step(params)
