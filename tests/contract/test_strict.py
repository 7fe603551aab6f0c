import pytest
from tests.support.strict import StrictRestClient, StrictServiceClient
from tinker import ModelInput, SamplingParams

from socratic_distill.testing import FakeRestClient, FakeServiceClient


async def test_strict_clients_pass_calls_on_that_the_sdk_takes():
    service = FakeServiceClient()
    strict = StrictServiceClient(service)
    training = await strict.create_lora_training_client(base_model="m", rank=4)
    sampler = training.save_weights_and_get_sampling_client().future().result()
    answer = await sampler.sample(ModelInput.from_ints([1]), 1, SamplingParams(max_tokens=2))
    assert len(answer.sequences) == 1
    assert training.model_id == "fake-0001:train:0"
    assert StrictRestClient(FakeRestClient(service)).list_checkpoints(training.model_id).result().checkpoints == []


def test_strict_clients_refuse_methods_that_the_sdk_lacks():
    with pytest.raises(AssertionError, match="has no count"):
        StrictServiceClient(FakeServiceClient()).count("sample")


def test_strict_clients_refuse_arguments_that_the_sdk_does_not_take():
    training = StrictServiceClient(FakeServiceClient()).create_lora_training_client("m").result()
    with pytest.raises(AssertionError, match="ttl"):
        training.save_state("a", ttl=3)


def test_strict_clients_refuse_deprecated_methods():
    class Old(FakeServiceClient):
        def get_server_capabilities(self):
            return None

    with pytest.raises(AssertionError, match="deprecated"):
        StrictServiceClient(Old()).get_server_capabilities()
