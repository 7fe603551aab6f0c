"""Models and weights of a run directory from a stranger, on the local engine."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from socratic_distill import DamagedWeights, LocalEngineError, UntrustedConfig
from socratic_distill.config.grant import Grant
from socratic_distill.local import LocalServiceClient
from socratic_distill.local.saved_adapters import read_adapter_config
from socratic_distill.local.tiny import MODEL_DIR
from socratic_distill.outputs.exports.merged import export_merged


@pytest.fixture
def run(tmp_path) -> Path:
    """A directory with a model and saved sampler weights on it."""
    run = tmp_path / "run"
    copy_model(run / "model")
    client = LocalServiceClient(run / "local", device="cpu")
    training = client.create_lora_training_client(str(run / "model"), rank=2).result()
    training.save_weights_for_sampler("w").result()
    return run


def copy_model(target: Path) -> None:
    shutil.copytree(MODEL_DIR, target, ignore=shutil.ignore_patterns("*.py", "__pycache__", "*.jsonl"))


def weights(run: Path) -> Path:
    return next((run / "local").glob("*/sampler_weights/w"))


def engine(run: Path, **allowed: bool) -> LocalServiceClient:
    grant = Grant(str(run / "config.json"), run, **allowed)  # pyright: ignore[reportArgumentType]
    return LocalServiceClient(run / "local", device="cpu", grant=grant)


def open_weights(client: LocalServiceClient, path: Path) -> None:
    client.create_sampling_client(model_path=str(path)).result()


def test_model_and_weights_of_the_directory_are_loaded(run):
    open_weights(engine(run), weights(run))
    engine(run).create_sampling_client(base_model="tiny").result()


@pytest.mark.parametrize("way", ["elsewhere", "link", "linked file", "hub", "adapter"])
def test_model_elsewhere_is_not_loaded(run, tmp_path, no_network, way):
    copy_model(tmp_path / "elsewhere")
    name = str(run / "model")
    if way == "elsewhere":
        name = str(tmp_path / "elsewhere")
    elif way == "link":
        name = str(run / "link")
        Path(name).symlink_to(tmp_path / "elsewhere")
    elif way == "linked file":
        (run / "model" / "tokenizer.json").unlink()
        (run / "model" / "tokenizer.json").symlink_to(tmp_path / "elsewhere" / "tokenizer.json")
    elif way == "hub":
        name = "stranger/model"
    else:  # transformers goes on to the base model that it names
        (run / "model" / "adapter_config.json").write_text(
            json.dumps({"base_model_name_or_path": str(tmp_path / "elsewhere"), "peft_type": "LORA"})
        )
    with pytest.raises(UntrustedConfig, match="--allow-files"):
        engine(run).create_sampling_client(base_model=name).result()
    assert no_network == []


@pytest.mark.parametrize("is_linked", [False, True])
def test_base_model_that_saved_weights_name_is_under_the_same_rule(run, tmp_path, is_linked):
    copy_model(tmp_path / "elsewhere")
    name = tmp_path / "elsewhere"
    if is_linked:
        (run / "link").symlink_to(name)
        name = run / "link"
    facts = weights(run) / "state.json"
    planted = {"base_model": str(name), "base_path": str(name), "base_content": None}
    facts.write_text(json.dumps(json.loads(facts.read_text()) | planted))
    with pytest.raises(UntrustedConfig, match="--allow-files"):
        open_weights(engine(run), weights(run))
    with pytest.raises(UntrustedConfig, match="--allow-files"):
        export_merged(weights(run), tmp_path / "out")
    open_weights(engine(run, allow_files=True), weights(run))


def test_weights_of_another_directory_are_not_loaded(run, tmp_path, opened_files):
    shutil.copytree(run, tmp_path / "other")
    theirs = weights(tmp_path / "other").rename(weights(tmp_path / "other").with_name("x"))
    opened_files.clear()
    with pytest.raises(Exception, match="no saved weights"):
        open_weights(engine(run), theirs)
    assert not any(one.is_relative_to(tmp_path / "other") for one in opened_files)


@pytest.mark.parametrize("allow_code", [False, True])
def test_code_of_a_model_runs_only_where_it_is_allowed(run, tmp_path, allow_code):
    model, mark = run / "model", tmp_path / "ran"
    (model / "planted_model.py").write_text(
        f"open({str(mark)!r}, 'a').close()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class C(LlamaConfig):\n    model_type = 'planted'\n"
        "class M(LlamaForCausalLM):\n    config_class = C\n"
    )
    config = json.loads((model / "config.json").read_text())
    config |= {
        "model_type": "planted",
        "auto_map": {"AutoConfig": "planted_model.C", "AutoModelForCausalLM": "planted_model.M"},
    }
    (model / "config.json").write_text(json.dumps(config))
    grant = Grant("config.json", run, allow_code=allow_code)
    client = LocalServiceClient(run / "local", trust_remote_code=allow_code, device="cpu", grant=grant)
    if allow_code:
        client.create_sampling_client(base_model=str(model)).result()
    else:
        with pytest.raises(LocalEngineError):
            client.create_sampling_client(base_model=str(model)).result()
    assert mark.exists() == allow_code


def test_pickled_weights_run_no_code(run, tmp_path):
    mark = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (open, (str(mark), "a"))

    (run / "model" / "model.safetensors").unlink()
    (run / "model" / "pytorch_model.bin").write_bytes(pickle.dumps({"lm_head.weight": Payload()}))
    with pytest.raises(LocalEngineError):
        engine(run, allow_files=True).create_sampling_client(base_model=str(run / "model")).result()
    (weights(run) / "adapter_model.safetensors").unlink()
    (weights(run) / "adapter_model.bin").write_bytes(pickle.dumps({"a": Payload()}))
    with pytest.raises(DamagedWeights):
        open_weights(engine(run), weights(run))
    with pytest.raises((DamagedWeights, LocalEngineError)):
        export_merged(weights(run), tmp_path / "out", allow_files=True)
    assert not mark.exists()


def test_of_a_saved_adapter_size_and_place_are_read_alone(run):
    path = weights(run) / "adapter_config.json"
    planted = {
        "megatron_config": {"a": 1},
        "megatron_core": "planted_module",
        "use_dora": True,
        "layer_replication": [[0, 1]],
        "init_lora_weights": "pissa",
        "base_model_name_or_path": "/elsewhere",
        "auto_mapping": {"parent_library": "planted_module"},
    }
    before = read_adapter_config(weights(run)).to_dict()
    path.write_text(json.dumps(json.loads(path.read_text()) | planted))
    assert read_adapter_config(weights(run)).to_dict() == before
    open_weights(engine(run), weights(run))


@pytest.mark.parametrize(
    "change",
    [{"r": 0}, {"r": "2"}, {"r": 10**9}, {"lora_alpha": None}, {"target_modules": ".*"}, {"target_modules": []},
     {"target_modules": [1]}, {"target_parameters": "a"}],
    ids=str,
)  # fmt: skip
def test_adapter_that_the_engine_would_not_save_is_damaged(run, change):
    path = weights(run) / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DamagedWeights, match="does not describe a LoRA"):
        open_weights(engine(run), weights(run))
