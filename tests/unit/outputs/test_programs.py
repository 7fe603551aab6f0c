"""What an adapter must be for vLLM, SGLang and peft, and the config that is written for them."""

import json
from pathlib import Path
from typing import Any

import pytest

from socratic_distill.config.grant import Grant
from socratic_distill.errors import DamagedWeights, UnsupportedAdapter
from socratic_distill.outputs.exports import programs
from socratic_distill.outputs.exports.programs import _base_config, fit_adapter

QWEN = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 151936}
ATTENTION = tuple(f"self_attn.{name}_proj" for name in "qkvo")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def write_header(path: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file of zeros, written without the library."""
    header: dict[str, Any] = {}
    end = 0
    for name, (rows, columns) in shapes.items():
        begin, end = end, end + 4 * rows * columns
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))


@pytest.fixture
def fit(monkeypatch):
    """`fit_adapter` for a base model with this config.json."""

    def fit_for(directory: Path, program: Any, base: Any) -> str:
        monkeypatch.setattr(programs, "_base_config", lambda name, grant: base)
        return fit_adapter(directory, program)

    return fit_for


@pytest.fixture
def save(tmp_path):
    def write(*layers: str, rank: int = 4, **settings: Any) -> Path:
        directory = tmp_path / "adapter"
        directory.mkdir(exist_ok=True)
        paths = [layer if layer == "lm_head" else f"model.layers.0.{layer}" for layer in layers]
        shapes = {f"base_model.model.{path}.lora_{f}.weight": size for path in paths for f, size in _sizes(rank)}
        write_header(directory / "adapter_model.safetensors", shapes)
        fields = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "base_model_name_or_path": "Qwen/Qwen3-8B"}
        (directory / "adapter_config.json").write_text(json.dumps(fields | settings))
        return directory

    return write


def _sizes(rank: int) -> list[tuple[str, list[int]]]:
    return [("A", [rank, 3]), ("B", [5, rank])]


@pytest.mark.parametrize("program", ["vllm", "sglang", "transformers"])
def test_attention_and_mlp_are_loaded_by_all(fit, save, program):
    directory = save(*ATTENTION, *MLP, rank=32)
    told = fit(directory, program, QWEN)
    assert str(directory) in told and "Qwen/Qwen3-8B" in told and "checked" not in told


def test_the_command_has_a_rank_that_vllm_offers(fit, save):
    assert "--max-lora-rank 32 " in fit(save(*ATTENTION, rank=20), "vllm", QWEN)
    assert "--max-lora-rank 512 " in fit(save(*ATTENTION, rank=321), "vllm", QWEN)
    assert "--max-lora-rank 20 " in fit(save(*ATTENTION, rank=20), "sglang", QWEN)
    with pytest.raises(UnsupportedAdapter, match=r"rank is 513 and vLLM .* up to 512; train with a smaller lora_rank"):
        fit(save(*ATTENTION, rank=513), "vllm", QWEN)


@pytest.mark.parametrize(
    ("base", "told"),
    [
        (QWEN, None),
        ({"architectures": ["Qwen2ForCausalLM"], "vocab_size": 151936}, "does not adapt for Qwen2ForCausalLM"),
        (QWEN | {"vocab_size": 262144}, "262144 tokens, and vLLM"),
        (QWEN | {"vocab_size": 1, "text_config": {"vocab_size": 262144}}, "262144 tokens"),
        (None, "most architectures"),
    ],
)
def test_the_output_layer_depends_on_the_architecture(fit, save, base, told):
    directory = save(*ATTENTION, "lm_head")
    if told is None:
        fit(directory, "vllm", base)
        return
    with pytest.raises(UnsupportedAdapter, match=told) as error:
        fit(directory, "vllm", base)
    assert "lora_targets=['attention', 'mlp']" in str(error.value) and "--merge OUT" in str(error.value)


@pytest.mark.parametrize(
    ("program", "layers", "base", "told"),
    [
        ("vllm", ATTENTION, {"architectures": ["GPT2LMHeadModel"]}, "takes no adapters for GPT2LMHeadModel"),
        ("vllm", ("mlp.experts.3.up_proj",), QWEN, "on experts"),
        ("sglang", ("mlp.experts.3.up_proj",), QWEN, "on experts"),
        ("sglang", ("attn.c_attn",), QWEN, "no room for an adapter on c_attn"),
        ("transformers", MLP, {"model_type": "qwen3_moe"}, "dense MLP layers of qwen3_moe for experts"),
    ],
)
def test_what_a_program_lacks_is_named_and_merging_offered(fit, save, program, layers, base, told):
    directory = save(*layers)
    before = (directory / "adapter_config.json").read_bytes()
    with pytest.raises(UnsupportedAdapter, match=told) as error:
        fit(directory, program, base)
    assert "--merge OUT" in str(error.value)
    assert (directory / "adapter_config.json").read_bytes() == before


def test_peft_reads_the_attention_of_such_models(fit, save):
    fit(save(*ATTENTION), "transformers", {"model_type": "qwen3_moe"})


def test_a_missing_base_is_said(fit, save):
    assert "its architecture was not checked" in fit(save(*ATTENTION), "vllm", None)


def test_the_config_is_made_plain(fit, save):
    directory = save(*ATTENTION, rank=16, use_rslora=True, target_modules=r".*_proj", lora_dropout=0.1)
    fit(directory, "sglang", QWEN)
    written = json.loads((directory / "adapter_config.json").read_text())
    # SGLang divides by the rank whatever use_rslora says, and reads no patterns.
    assert written["lora_alpha"] == 32 and "use_rslora" not in written
    assert written["target_modules"] == [f"model.layers.0.{layer}" for layer in ATTENTION]
    names = [layer.rpartition(".")[2] for layer in ATTENTION]
    directory = save(*ATTENTION, target_modules=names)
    fit(directory, "sglang", QWEN)
    assert json.loads((directory / "adapter_config.json").read_text())["target_modules"] == names


def test_fused_experts_and_damage_are_refused(fit, save):
    directory = save(*ATTENTION)
    name = "base_model.model.model.layers.0.mlp.experts.base_layer.lora_A.weight"
    write_header(directory / "adapter_model.safetensors", {name: [16, 3]})
    with pytest.raises(UnsupportedAdapter, match="fused experts"):
        fit(directory, "vllm", QWEN)
    (directory / "adapter_model.safetensors").write_bytes(b"\0" * 9)
    with pytest.raises(DamagedWeights):
        fit(directory, "vllm", QWEN)


def test_the_base_is_looked_up_where_it_may_be(tmp_path, monkeypatch):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(QWEN))
    stranger, friend = (Grant("run", tmp_path / "run", allow_files=allowed) for allowed in (False, True))
    assert _base_config(str(model), friend) == QWEN
    assert _base_config(str(model), stranger) is None
    assert (_base_config("tiny", stranger) or {})["model_type"] == "llama"
    for text in ("[]", "{", "\0"):
        (model / "config.json").write_text(text)
        assert _base_config(str(model), friend) is None
    assert _base_config("nobody/nothing", stranger) is None
    hub = pytest.importorskip("huggingface_hub")
    (model / "config.json").write_text(json.dumps(QWEN))
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda name, file: str(model / file))
    assert _base_config("Qwen/Qwen3-8B", stranger) == QWEN
