"""The tutor of a local run as a PEFT directory: copied, and opened by peft alone."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from tests.support.rows import write_rows
from tests.support.tiny_runs import tiny_config
from tests.support.weights_store import KEY, Fault, Store, WeightsApi

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from engine_data import PROMPTS, trained
from safetensors.torch import load_file

from socratic_distill import (
    CheckpointNotFound,
    ConfigError,
    DamagedWeights,
    UntrustedConfig,
    export_adapter,
    export_merged,
)
from socratic_distill.cli import main
from socratic_distill.local import LocalServiceClient
from socratic_distill.local.tiny import MODEL_DIR

ALONE = """
import json, sys, warnings
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM
warnings.simplefilter("ignore")
base, adapter, prompts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
opened = [
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter),
    AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=torch.float32),
]
for model in opened:
    for tokens in prompts:
        with torch.no_grad():
            logits = model.eval()(torch.tensor([tokens])).logits[0, :-1]
        print(torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0].tolist())
assert not any(name.startswith(("socratic", "tinker")) for name in sys.modules)
"""


@pytest.fixture
def service(tmp_path):
    return LocalServiceClient(tmp_path / "run" / "local", device="cpu")


@pytest.fixture
def run(service, tmp_path):
    """A run with sampler weights after each of two steps, and a state after the first."""
    client = trained(service)
    state = client.save_state("000001").result().path
    first, second = (client.save_weights_for_sampler(name).result().path for name in ("000001", "000002"))
    run = tmp_path / "run"
    write_rows(
        run / "checkpoints.jsonl",
        {"name": "000001", "batch": 1, "state_path": state, "sampler_path": first},
        {"name": "000002", "batch": 2, "sampler_path": second},
    )
    return run


def journal(run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "checkpoints.jsonl").read_text().splitlines()]


def assert_peft_agrees(service, weights, directory):
    """In a process without this project, a directory gives the log-probabilities that the engine's weights give."""
    command = [sys.executable, "-c", ALONE, str(MODEL_DIR), str(directory), json.dumps(PROMPTS)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    assert answer.returncode == 0, answer.stderr
    client = service.create_sampling_client(model_path=weights).result()
    lines = answer.stdout.splitlines()[-2 * len(PROMPTS) :]
    for tokens, line in zip(PROMPTS * 2, lines, strict=True):
        own = client.compute_logprobs(tinker.ModelInput.from_ints(tokens)).result()[1:]
        np.testing.assert_allclose(np.array(own), json.loads(line), atol=5e-5)


def test_newest_weights_are_copied_without_optimizer(run, tmp_path):
    exported = export_adapter(run, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    assert (exported.name, exported.batch, exported.base_model) == ("000002", 2, str(MODEL_DIR))
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(MODEL_DIR)
    name = "adapter_model.safetensors"
    copied, original = (load_file(f"{where}/{name}") for where in (tmp_path / "out", exported.weights))
    assert copied.keys() == original.keys() and all(torch.equal(copied[key], original[key]) for key in copied)
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.slow
def test_peft_alone_gives_the_same_log_probabilities(service, run, tmp_path):
    exported = export_adapter(run, tmp_path / "out")
    assert_peft_agrees(service, exported.weights, tmp_path / "out")


@pytest.fixture
def hosted(run, tmp_path, monkeypatch):
    """A run on a service whose state holds the local run's newest weights; a download is cut once."""
    state = "tinker://run:train:0/weights/a"
    directory = tmp_path / "hosted"
    directory.mkdir()
    write_rows(directory / "checkpoints.jsonl", {"name": "a", "batch": 2, "state_path": state})
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    with Store() as store, WeightsApi(store) as api:
        api.states.add(state)
        api.base_model = str(MODEL_DIR)
        weights = run / journal(run)[1]["sampler_path"]
        names = ("adapter_config.json", "adapter_model.safetensors")
        store.files = {name: (weights / name).read_bytes() for name in names}
        store.faults.extend([None, Fault(cut=1000)])
        (directory / "config.json").write_text(tiny_config(directory, base_url=api.url).model_dump_json())
        yield directory, api


@pytest.mark.slow
def test_what_a_service_sends_gives_the_same_log_probabilities(service, run, hosted, tmp_path):
    export_adapter(hosted[0], tmp_path / "out", base_url=hosted[1].url)
    assert_peft_agrees(service, journal(run)[1]["sampler_path"], tmp_path / "out")


def test_the_tutor_of_a_service_is_merged(run, hosted, tmp_path):
    directory, api = hosted
    state = export_merged(directory, tmp_path / "out", base_url=api.url)
    export_merged(run, tmp_path / "local")
    assert state == "tinker://run:train:0/weights/a"
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "local"))
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    assert not list(tmp_path.glob(".out*")) and not api.exports


def test_a_base_model_that_may_not_be_read_is_said_before_a_download(hosted, tmp_path):
    directory, api = hosted
    config = tiny_config(directory, base_url=api.url, tutor_model_name="some/model")
    (directory / "config.json").write_text(config.model_dump_json())
    with pytest.raises(UntrustedConfig, match="some/model"):
        export_merged(directory, tmp_path / "out", base_url=api.url)
    assert not api.exports and not list(tmp_path.glob(".out*"))


def test_command_copies_a_named_checkpoint_of_a_moved_run(run, tmp_path, capsys):
    run.rename(tmp_path / "moved")
    arguments = ["export", str(tmp_path / "moved"), "--adapter", str(tmp_path / "out"), "--checkpoint", "000001"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert said.startswith("the tutor after 1 step (checkpoint '000001'), an adapter of") and "out" in said


def test_a_directory_of_saved_weights_is_copied(run, tmp_path):
    weights = journal(run)[0]["state_path"]
    assert export_adapter(weights, tmp_path / "out").weights == weights
    assert len(list((tmp_path / "out").iterdir())) == 2, "the optimizer is left out"
    with pytest.raises(ConfigError, match="leave it out"):
        export_adapter(weights, tmp_path / "other", name="a")


def test_weights_that_are_gone_or_expired_are_passed_over(run, tmp_path):
    newest = tmp_path / "run/local" / "/".join(journal(run)[1]["sampler_path"].split("/")[-3:])
    facts = json.loads((newest / "state.json").read_text())
    (newest / "state.json").write_text(json.dumps(facts | {"expires_at": time.time() - 1}))
    assert export_adapter(run, tmp_path / "out").name == "000001"
    for directory in (run / "local").glob("*/*/*"):
        (directory / "state.json").unlink()
    with pytest.raises(CheckpointNotFound, match="are gone"):
        export_adapter(run, tmp_path / "other")


def test_weights_of_somewhere_else_are_not_read(run, tmp_path):
    elsewhere = tmp_path / "elsewhere/local-0001/sampler_weights/mine"
    elsewhere.parent.mkdir(parents=True)
    (tmp_path / "run/local" / "/".join(journal(run)[1]["sampler_path"].split("/")[-3:])).rename(elsewhere)
    write_rows(run / "checkpoints.jsonl", {"name": "a", "batch": 1, "sampler_path": str(elsewhere)})
    with pytest.raises(CheckpointNotFound, match="are gone"):
        export_adapter(run, tmp_path / "out", allow_files=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("damage", ["cut", "link", "gone"])
def test_damaged_weights_are_refused_and_nothing_is_left(run, tmp_path, name, damage):
    path = tmp_path / "run/local" / "/".join(journal(run)[1]["sampler_path"].split("/")[-3:]) / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-10])
    elif damage == "link":
        (tmp_path / "secret").write_bytes(content)
        path.symlink_to(tmp_path / "secret")
    write_rows(run / "checkpoints.jsonl", journal(run)[1])
    with pytest.raises((DamagedWeights, CheckpointNotFound)):
        export_adapter(run, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
