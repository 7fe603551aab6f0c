"""Runs on the local engine that begin from an adapter which peft trained and saved by itself."""

import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import tinker
from tests.support.peft_adapters import TOKENS, change_settings, peft_adapter, peft_logprobs
from tests.support.tiny_runs import tiny_config

from socratic_distill import CheckpointNotFound, ModelMismatch, UntrustedConfig, load_checkpoints, open_service, train
from socratic_distill.run.directory import load_config
from socratic_distill.testing import FakeServiceClient

SHAPE = {"lora_rank": 4, "max_steps": 2, "save_every": 1}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    directory = tmp_path_factory.mktemp("peft") / "adapter"
    model = peft_adapter(directory)
    return directory, peft_logprobs(model)


def logprobs(config, path) -> list[float]:
    service: Any = open_service(config).client
    client = service.create_sampling_client(model_path=path).result()
    return client.compute_logprobs(tinker.ModelInput.from_ints(TOKENS)).result()[1:]


def test_a_run_begins_with_the_adapters_own_log_probabilities_and_resumes(adapter, tmp_path):
    directory, expected = adapter
    # Nothing moves at this rate, so the first state shows what the run began with.
    config = tiny_config(tmp_path / "still", load_checkpoint_path=directory, **SHAPE | {"learning_rate": 1e-30})
    train(config)
    first = next(one.sampler_path for one in load_checkpoints(config.log_path) if one.sampler_path)
    np.testing.assert_allclose(logprobs(config, first), expected, atol=5e-5)

    config = tiny_config(tmp_path / "run", load_checkpoint_path=directory, **SHAPE)
    whole = train(config)
    train(config.model_copy(update={"log_path": str(tmp_path / "parts"), "max_steps": 1}))
    parts = train(config.model_copy(update={"log_path": str(tmp_path / "parts")}))
    assert whole.steps == parts.steps == 2
    finals = [load_checkpoints(path)[-1].sampler_path for path in (config.log_path, str(tmp_path / "parts"))]
    assert logprobs(config, finals[0]) == logprobs(config, finals[1]) != logprobs(config, first)
    assert json.loads((tmp_path / "run" / "origin.json").read_text())["resolved"] == str(directory.resolve())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lora_rank": 8}, "rank 4"),
        ({"lora_targets": ["attention"]}, r"on \['attention', 'mlp'\]"),
    ],
)
def test_another_shape_than_the_configs_is_refused_before_playing(adapter, tmp_path, changes, told):
    config = tiny_config(tmp_path / "run", load_checkpoint_path=adapter[0], **SHAPE | changes)
    with pytest.raises(ModelMismatch, match=told):
        train(config)
    assert not load_checkpoints(config.log_path)


def test_a_service_gets_no_weights_of_this_machine(adapter, tmp_path):
    server = FakeServiceClient()
    config = tiny_config(tmp_path / "run", load_checkpoint_path=adapter[0], base_url=None)
    with pytest.raises(CheckpointNotFound, match="no call that uploads weights"):
        train(config, service_client=server)
    assert not any("training_client" in one.call for one in server.calls)


def test_a_strangers_run_reads_no_adapter_elsewhere(adapter, tmp_path):
    config = tiny_config(tmp_path / "run", load_checkpoint_path=adapter[0], **SHAPE | {"max_steps": 1})
    train(config)
    for path in (tmp_path / "run").glob("checkpoints.jsonl"):
        path.unlink()
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(UntrustedConfig, match="load_checkpoint_path"):
        train(load_config(tmp_path / "run"))


def test_an_adapter_of_another_model_is_refused(adapter, tmp_path):
    directory = tmp_path / "adapter"
    peft_adapter(directory, steps=0)
    change_settings(directory, base_model_name_or_path="Qwen/Qwen3-8B")
    with pytest.raises(ModelMismatch, match="Qwen/Qwen3-8B"):
        train(tiny_config(tmp_path / "run", load_checkpoint_path=directory, **SHAPE))
