"""Adapters of other programs and of services, merged into base models file by file."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import torch
import transformers
from architectures import save_architecture
from safetensors.torch import load_file, save_file
from tests.support.peft_adapters import TOKENS, change_settings, peft_adapter, peft_logprobs
from transformers import AutoModelForCausalLM, AutoTokenizer

from socratic_distill import (
    CheckpointNotFound,
    ConfigError,
    DamagedWeights,
    LocalEngineError,
    StorageError,
    UnsupportedAdapter,
)
from socratic_distill.local import merging, merging_loaded, tensor_files
from socratic_distill.local.tiny import MODEL_DIR
from socratic_distill.outputs.exports.merged import export_merged
from socratic_distill.outputs.exports.unfinished import unfinished


def copy_base(directory: Path, dtype: torch.dtype = torch.float32, **saving: Any) -> Path:
    """The packaged model in one dtype throughout."""
    model: Any = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=dtype)
    model.save_pretrained(directory, **saving)
    AutoTokenizer.from_pretrained(MODEL_DIR).save_pretrained(directory)
    return directory


def write_lora(directory: Path, base: Path, layers: dict[str, tuple[list[int], list[int]]], rank: int = 2) -> Any:
    """Writes an adapter with random factors of given shapes; returns them, fp32."""
    directory.mkdir()
    generator, tensors = torch.Generator().manual_seed(5), {}
    for layer, shapes in layers.items():
        for factor, shape in zip("AB", shapes, strict=True):
            tensors[f"base_model.model.{layer}.lora_{factor}.weight"] = torch.randn(shape, generator=generator) / 4
    save_file(tensors, directory / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 4, "target_modules": "all-linear",
              "base_model_name_or_path": str(base)}  # fmt: skip
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return {
        layer: tuple(tensors[f"base_model.model.{layer}.lora_{factor}.weight"] for factor in "AB") for layer in layers
    }


def opened(directory: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([TOKENS])).logits[0]


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"target_modules": ["q_proj", "down_proj"]}], ids=str)
def test_merged_equals_what_peft_computes(tmp_path, settings):
    model = peft_adapter(tmp_path / "adapter", **settings)
    export_merged(tmp_path / "adapter", tmp_path / "out")
    np.testing.assert_allclose(peft_logprobs(opened(tmp_path / "out")), peft_logprobs(model), atol=5e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shard", [None, "40KB"])
def test_each_tensor_equals_that_of_peft(tmp_path, dtype, shard):
    base = copy_base(tmp_path / "base", dtype, **({"max_shard_size": shard} if shard else {}))
    peft_adapter(tmp_path / "adapter")
    change_settings(tmp_path / "adapter", base_model_name_or_path=str(base))
    export_merged(tmp_path / "adapter", tmp_path / "out", allow_files=True)
    reference: Any = peft_adapter(tmp_path / "again")  # in fp32; peft's sum in half precision is less exact
    merged, plain = reference.merge_and_unload().state_dict(), opened(MODEL_DIR).state_dict()
    files = sorted(path.name for path in base.glob("*.safetensors"))
    assert (len(files) > 1) is (shard is not None)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.safetensors")) == files
    unchanged = 0
    for file in files:
        written, before = load_file(tmp_path / "out" / file), load_file(base / file)
        assert list(written) == list(before)
        for name, tensor in written.items():
            assert tensor.dtype == dtype
            unchanged += torch.equal(tensor, before[name])
            expected = before[name].float() + (merged[name] - plain[name])
            torch.testing.assert_close(tensor.float(), expected, rtol=torch.finfo(dtype).eps, atol=1e-6)
    assert unchanged > 1, "embedding and norms"
    if shard is not None:
        index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
        size = sum(path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors"))
        assert 0 < size - index["metadata"]["total_size"] < 100_000, "the files are the tensors and short headers"


def test_small_blocks_give_the_same_file(tmp_path, monkeypatch):
    peft_adapter(tmp_path / "adapter")
    export_merged(tmp_path / "adapter", tmp_path / "whole")
    monkeypatch.setattr(tensor_files, "_BLOCK_BYTES", 100)
    export_merged(tmp_path / "adapter", tmp_path / "blocks")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "blocks"))
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-6, atol=1e-7)


def test_a_given_dtype_is_that_of_all_tensors_and_of_the_config(tmp_path):
    peft_adapter(tmp_path / "adapter")
    export_merged(tmp_path / "adapter", tmp_path / "out", "bfloat16")
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("shared", [False, True])
def test_a_services_factors_for_experts_go_into_each_expert(tmp_path, shared):
    base = Path(save_architecture(tmp_path / "base", "Qwen3Moe"))
    count, path = 4, "model.layers.1.mlp.experts"
    first = 1 if shared else count
    layers = {
        f"{path}.w1": ([first, 2, 32], [count, 16, 2]),
        f"{path}.w3": ([first, 2, 32], [count, 16, 2]),
        f"{path}.w2": ([count, 2, 16], [first, 32, 2]),
        "model.layers.0.self_attn.q_proj": ([2, 32], [32, 2]),
    }
    factors = write_lora(tmp_path / "adapter", base, layers)
    export_merged(tmp_path / "adapter", tmp_path / "out", allow_files=True)
    model, expected = opened(tmp_path / "out"), opened(base)
    before = logits(expected)
    deltas = {name: 2 * (b @ a) for name, (a, b) in factors.items()}  # alpha / rank = 2; A and B are broadcast
    experts = expected.model.layers[1].mlp.experts
    with torch.no_grad():  # transformers computes gate and up at once
        experts.gate_up_proj += torch.cat([deltas[f"{path}.w1"], deltas[f"{path}.w3"]], dim=1)
        experts.down_proj += deltas[f"{path}.w2"]
        expected.model.layers[0].self_attn.q_proj.weight += deltas["model.layers.0.self_attn.q_proj"]
    torch.testing.assert_close(logits(model), logits(expected), rtol=0, atol=1e-4)
    assert (logits(model) - before).abs().max() > 0.1


def test_a_services_parts_of_a_fused_layer_and_its_output_layer(tmp_path):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "head_dim": 8, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
             "linear_num_key_heads": 2, "linear_num_value_heads": 4, "vocab_size": 64,
             "layer_types": ["linear_attention", "full_attention"], "tie_word_embeddings": False}  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(transformers.Qwen3_5TextConfig(**sizes)).save_pretrained(tmp_path / "base")
    stem = "model.layers.0.linear_attn.in_proj_"
    layers = {f"{stem}{part}": ([2, 32], [rows, 2]) for part, rows in (("q", 16), ("k", 16), ("v", 32))}
    layers["model.unembed_tokens"] = ([2, 32], [64, 2])
    factors = write_lora(tmp_path / "adapter", tmp_path / "base", layers)
    export_merged(tmp_path / "adapter", tmp_path / "out", allow_files=True)
    model, expected = opened(tmp_path / "out"), opened(tmp_path / "base")
    before = logits(expected)
    rows = torch.cat([2 * (b @ a) for a, b in (factors[f"{stem}{part}"] for part in "qkv")])
    a, b = factors["model.unembed_tokens"]
    with torch.no_grad():
        expected.model.layers[0].linear_attn.in_proj_qkv.weight += rows
        expected.lm_head.weight += 2 * (b @ a)
    torch.testing.assert_close(logits(model), logits(expected), rtol=0, atol=1e-4)
    assert (logits(model) - before).abs().max() > 0.1
    del layers[f"{stem}k"]
    write_lora(tmp_path / "partial", tmp_path / "base", layers)
    with pytest.raises(DamagedWeights, match=r"but not on .*in_proj_k"):
        export_merged(tmp_path / "partial", tmp_path / "none", allow_files=True)


@pytest.mark.parametrize("way", ["pickle", "output stored although tied"])
def test_files_that_cannot_be_merged_are_merged_in_memory(tmp_path, monkeypatch, way):
    base = copy_base(tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    if way == "pickle":
        torch.save(tensors, base / "pytorch_model.bin")
        (base / "model.safetensors").unlink()
    else:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    rows, width = tensors["model.embed_tokens.weight"].shape
    write_lora(tmp_path / "adapter", base, {"lm_head": ([2, width], [rows, 2])})
    times = []
    monkeypatch.setattr(merging, "merge_loaded", lambda *given: times.append(merging_loaded.merge_loaded(*given)))
    export_merged(tmp_path / "adapter", tmp_path / "out", allow_files=True)
    assert len(times) == 1
    model = opened(tmp_path / "out")
    assert torch.equal(model.model.embed_tokens.weight, tensors["model.embed_tokens.weight"])
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    a, b = (adapter[f"base_model.model.lm_head.lora_{factor}.weight"] for factor in "AB")
    torch.testing.assert_close(model.lm_head.weight.data, tensors["model.embed_tokens.weight"] + 2 * (b @ a))


def test_padded_rows_of_a_tied_model_stay(tmp_path):
    base = Path(save_architecture(tmp_path / "base", "Gemma", rows=400))
    write_lora(tmp_path / "adapter", base, {"lm_head": ([2, 32], [400, 2])})
    export_merged(tmp_path / "adapter", tmp_path / "out", allow_files=True)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["vocab_size"] == 400 and config["tie_word_embeddings"] is False
    written, before = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "base"))
    assert torch.equal(written["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    assert written["lm_head.weight"].shape == (400, 32)
    model = opened(tmp_path / "out")
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


REFUSED = {
    "weights that are decomposed": ({"use_dora": True}, UnsupportedAdapter, "use_dora"),
    "ranks of their own": ({"rank_pattern": {"q_proj": 8}}, UnsupportedAdapter, "rank_pattern"),
    "layers trained whole": ({"modules_to_save": ["lm_head"]}, UnsupportedAdapter, "modules_to_save"),
    "biases": ({"bias": "all"}, UnsupportedAdapter, "bias"),
    "another method": ({"peft_type": "IA3"}, UnsupportedAdapter, "IA3"),
    "no base model": ({"base_model_name_or_path": None}, ConfigError, "names no base model"),
    "another rank": ({"r": 3}, DamagedWeights, "r=3"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_adapter_that_is_more_than_a_lora_is_refused(tmp_path, what):
    changes, error, text = REFUSED[what]
    write_lora(tmp_path / "adapter", MODEL_DIR, {"model.layers.0.self_attn.q_proj": ([2, 128], [128, 2])})
    change_settings(tmp_path / "adapter", **changes)
    with pytest.raises(error, match=text):
        export_merged(tmp_path / "adapter", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize(
    ("layer", "shapes", "text"),
    [
        ("model.layers.9.self_attn.q_proj", ([2, 128], [128, 2]), "which the base model does not have"),
        ("model.layers.0.self_attn.q_proj", ([2, 7], [128, 2]), "128 outputs and 7 inputs"),
        ("model.layers.0.self_attn.q_proj", ([2, 128], [127, 2]), "127 outputs and 128 inputs"),
        ("model.layers.0.input_layernorm", ([2, 128], [128, 2]), "128 outputs and 128 inputs"),
    ],
)
def test_an_adapter_for_another_model_is_refused(tmp_path, layer, shapes, text):
    write_lora(tmp_path / "adapter", MODEL_DIR, {layer: shapes})
    with pytest.raises(DamagedWeights, match=f"cannot be put on .*{text}"):
        export_merged(tmp_path / "adapter", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_experts_that_the_files_do_not_hold_are_refused(tmp_path):
    layer = "model.layers.0.mlp.experts.w1"
    write_lora(tmp_path / "adapter", MODEL_DIR, {layer: ([4, 2, 64], [4, 16, 2])})
    with pytest.raises(UnsupportedAdapter, match="do not hold one by one"):
        export_merged(tmp_path / "adapter", tmp_path / "out")
    base = Path(save_architecture(tmp_path / "moe", "Qwen3Moe"))
    for number, shapes in enumerate((([3, 2, 32], [3, 16, 2]), ([4, 2, 32], [4, 17, 2]), ([4, 2, 31], [4, 16, 2]))):
        adapter = tmp_path / f"adapter{number}"
        write_lora(adapter, base, {"model.layers.1.mlp.experts.w1": shapes})
        with pytest.raises(DamagedWeights, match="experts with"):
            export_merged(adapter, tmp_path / "out", allow_files=True)


def test_a_pickled_adapter_is_left_unread(tmp_path, opened_files):
    write_lora(tmp_path / "adapter", MODEL_DIR, {"lm_head": ([2, 64], [300, 2])})
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "adapter_model.bin")
    with pytest.raises(CheckpointNotFound, match="a pickle"):
        export_merged(tmp_path / "adapter", tmp_path / "out")
    assert tmp_path / "adapter" / "adapter_model.bin" not in opened_files


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_factors_that_are_not_finite_are_refused(tmp_path, value):
    write_lora(tmp_path / "adapter", MODEL_DIR, {"model.layers.0.self_attn.q_proj": ([2, 128], [128, 2])})
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values()))[0, 0] = value
    save_file(tensors, path)
    with pytest.raises(DamagedWeights, match="finite"):
        export_merged(tmp_path / "adapter", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sum_that_the_dtype_cannot_hold_is_refused(tmp_path):
    base = copy_base(tmp_path / "base", torch.float16)
    write_lora(tmp_path / "adapter", base, {"model.layers.0.self_attn.q_proj": ([2, 128], [128, 2])})
    change_settings(tmp_path / "adapter", lora_alpha=60000)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: 10 * tensor for name, tensor in load_file(path).items()}, path)
    with pytest.raises(LocalEngineError, match=r"too large for torch\.float16; give --dtype float32"):
        export_merged(tmp_path / "adapter", tmp_path / "out", allow_files=True)
    export_merged(tmp_path / "adapter", tmp_path / "out", "float32", allow_files=True)


def test_a_quantised_base_is_refused(tmp_path):
    base = copy_base(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "fp8"}}))
    write_lora(tmp_path / "adapter", base, {"model.layers.0.self_attn.q_proj": ([2, 128], [128, 2])})
    with pytest.raises(LocalEngineError, match="are quantised"):
        export_merged(tmp_path / "adapter", tmp_path / "out", allow_files=True)


def break_index(base: Path, **changes: Any) -> None:
    path = base / "model.safetensors.index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("fault", ["outside", "pickle", "missing file", "missing tensor", "cut", "no map", "stranger"])
def test_a_damaged_base_is_refused(tmp_path, fault):
    base = copy_base(tmp_path / "base", max_shard_size="300KB")
    shards = sorted(base.glob("model-*.safetensors"))
    places = json.loads((base / "model.safetensors.index.json").read_text())["weight_map"]
    if fault == "outside":
        shutil.copy(shards[0], tmp_path / "outside.safetensors")
        break_index(base, weight_map=places | {"lm_head.weight": "../outside.safetensors"})
    elif fault == "pickle":
        break_index(base, weight_map=places | {"lm_head.weight": "pytorch_model.bin"})
    elif fault == "missing file":
        shards[0].unlink()
    elif fault == "missing tensor":
        break_index(base, weight_map=places | {"lm_head.weight": shards[0].name})
    elif fault == "cut":
        shards[0].write_bytes(shards[0].read_bytes()[:-10])
    elif fault == "no map":
        break_index(base, weight_map=None)
    else:
        shared = next(name for name in places if list(places.values()).count(places[name]) > 1)
        break_index(base, weight_map={name: place for name, place in places.items() if name != shared})
    write_lora(tmp_path / "adapter", base, {"model.layers.0.self_attn.q_proj": ([2, 128], [128, 2])})
    with pytest.raises(LocalEngineError):
        export_merged(tmp_path / "adapter", tmp_path / "out", allow_files=True)
    assert not (tmp_path / "out").exists() and not (tmp_path / ".out.partial").exists()


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    write_lora(tmp_path / "adapter", MODEL_DIR, {"model.layers.0.self_attn.q_proj": ([2, 128], [128, 2])})

    def full(source: Any, file: Any, entry: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_files, "_write_tensor", full)
    with pytest.raises(StorageError, match="No space left on device"):
        export_merged(tmp_path / "adapter", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_what_a_killed_merge_left_is_replaced_and_nothing_else(tmp_path):
    adapter, out = tmp_path / "adapter", tmp_path / "out"
    write_lora(adapter, MODEL_DIR, {"model.layers.0.self_attn.q_proj": ([2, 128], [128, 2])})
    with pytest.raises(KeyError), unfinished(out, str(adapter)) as left:
        (left.files / "model.safetensors").write_bytes(b"half")
        raise KeyError
    assert left.path.is_dir()
    export_merged(adapter, out)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter", "out"} and opened(out)
    mine = tmp_path / ".again.partial"
    mine.mkdir()
    (mine / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is not what an interrupted export leaves"):
        export_merged(adapter, tmp_path / "again")
    assert (mine / "file").read_text() == "mine"


@pytest.mark.parametrize("allow_code", [False, True])
def test_code_of_the_base_goes_along_only_where_it_is_allowed(tmp_path, allow_code):
    base = copy_base(tmp_path / "base")
    (base / "tokenization_own.py").write_text("raise SystemExit\n")
    (base / "LICENSE").write_text("free\n")
    (base / "README.md").write_text("of the base\n")
    path = base / "tokenizer_config.json"
    planted = {"auto_map": {"AutoTokenizer": ["stranger/repo--own.Own", None]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | planted))
    config = base / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_name_or_path": "/home/me/base"}))
    write_lora(tmp_path / "adapter", base, {"model.layers.0.self_attn.q_proj": ([2, 128], [128, 2])})
    export_merged(tmp_path / "adapter", tmp_path / "out", allow_files=True, allow_code=allow_code)
    out = tmp_path / "out"
    assert (out / "tokenization_own.py").exists() is allow_code
    assert ("stranger/repo" in (out / "tokenizer_config.json").read_text()) is allow_code
    assert (out / "LICENSE").read_text() == "free\n"
    assert "/home/me" not in (out / "config.json").read_text()
    assert "of the base" not in "".join(file.read_text() for file in out.glob("*.md"))
