"""What a local model's files hold, as digests."""

import os
import shutil
from pathlib import Path

import pytest

from socratic_distill.local import model_files
from socratic_distill.local.model_files import base_of, describe_model, describe_weights
from socratic_distill.local.tiny import MODEL_DIR

PARTS = ("weights", "tokenizer", "template", "config")


@pytest.fixture
def model(tmp_path):
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text('{"model_type": "llama", "transformers_version": "5.0"}')
    (directory / "model.safetensors").write_bytes(bytes(range(256)) * 8)
    (directory / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}')
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    (directory / "README.md").write_text("Read me.")
    return directory


def parts_of(path: Path) -> dict[str, str]:
    described = describe_model(str(path))
    assert described is not None
    return dict(part.split(" ") for part in described.split(", "))


CHANGES = {
    "weights": lambda path: (path / "model.safetensors").write_bytes(bytes(range(256)) * 7 + bytes(256)),
    "another weights file": lambda path: (path / "model-2.safetensors").write_bytes(b"x"),
    "tokenizer": lambda path: (path / "tokenizer.json").write_text('{"model": {"vocab": {"b": 0}}}'),
    "template": lambda path: (path / "chat_template.jinja").write_text("{{ messages[1:] }}"),
    "named template": lambda path: _template(path / "additional_chat_templates"),
    "config": lambda path: (path / "config.json").write_text('{"model_type": "llama", "rope_theta": 1}'),
    "generation config": lambda path: (path / "generation_config.json").write_text('{"eos_token_id": 1}'),
}
PART_OF = {"another weights file": "weights", "named template": "template", "generation config": "config"}


def _template(folder: Path) -> None:
    folder.mkdir()
    (folder / "tool.jinja").write_text("x")


@pytest.mark.parametrize("name", CHANGES)
def test_change_of_a_part_changes_its_digest_alone(model, name):
    before = parts_of(model)
    assert tuple(before) == PARTS
    CHANGES[name](model)
    now = parts_of(model)
    assert {part for part in PARTS if now[part] != before[part]} == {PART_OF.get(name, name)}


def test_place_times_and_files_of_no_meaning_do_not_count(model, tmp_path):
    copy = Path(shutil.copytree(model, tmp_path / "copy", copy_function=shutil.copyfile))
    (copy / "README.md").write_text("Other.")
    (copy / "config.json").write_text('{"_name_or_path": "x", "transformers_version": "6", "model_type": "llama"}')
    os.utime(copy / "model.safetensors", (0, 0))
    (tmp_path / "link").symlink_to(copy)
    assert describe_model(str(copy)) == describe_model(str(model)) == describe_model(str(tmp_path / "link"))


def test_code_counts_where_the_config_names_it(model):
    before = describe_model(str(model))
    (model / "modeling.py").write_text("a = 1")
    assert describe_model(str(model)) == before
    (model / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoModel": "modeling.M"}}')
    named = parts_of(model)
    (model / "modeling.py").write_text("a = 2")
    assert {part for part, digest in parts_of(model).items() if digest != named[part]} == {"config"}


@pytest.mark.parametrize("place", [0, 9, 5000, 399_999])
def test_large_file_counts_by_header_size_and_blocks(model, monkeypatch, place):
    monkeypatch.setattr(model_files, "_WHOLE_BYTES", 1000)
    monkeypatch.setattr(model_files, "_BLOCK_BYTES", 8000)
    weights = model / "model.safetensors"
    data = bytearray((400).to_bytes(8, "little") + bytes(400_000 - 8))
    weights.write_bytes(data)
    before = parts_of(model)["weights"]
    data[place] ^= 1
    weights.write_bytes(data)
    assert parts_of(model)["weights"] != before
    data[place] ^= 1
    weights.write_bytes(data)
    assert parts_of(model)["weights"] == before
    weights.write_bytes(data + b"\0")
    assert parts_of(model)["weights"] != before


def test_gguf_file_counts_by_content_not_by_name(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF" * 100)
    (tmp_path / "b.gguf").write_bytes(b"GGUF" * 100)
    described = describe_model(str(tmp_path / "a.gguf"))
    assert described is not None and described.startswith("GGUF ")
    assert describe_model(str(tmp_path / "b.gguf")) == described
    (tmp_path / "b.gguf").write_bytes(b"GGUF" * 99 + b"GGUE")
    assert describe_model(str(tmp_path / "b.gguf")) != described


def test_packaged_model_is_the_same_by_name_and_in_a_copy(tmp_path):
    copy = shutil.copytree(MODEL_DIR, tmp_path / "copy")
    assert describe_model("tiny") == describe_model(str(MODEL_DIR)) == describe_model(str(copy)) is not None


def test_what_cannot_be_read_has_no_description(tmp_path, model):
    os.mkfifo(tmp_path / "pipe.gguf")
    (model / "tokenizer.json").unlink()
    os.mkfifo(model / "tokenizer.json")
    for name in ("Qwen/Qwen3-8B", str(tmp_path / "pipe.gguf"), "a\0b", "https://x/y"):
        assert describe_model(name) is None
    assert describe_model(str(model)) is not None, "a pipe among the files is none of the model's"


def test_saved_weights_count_by_content(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
        (tmp_path / name / "adapter_model.safetensors").write_bytes(b"weights")
    assert describe_weights(str(tmp_path / "a")) == describe_weights(str(tmp_path / "b")) is not None
    (tmp_path / "b" / "adapter_model.safetensors").write_bytes(b"heights")
    assert describe_weights(str(tmp_path / "a")) != describe_weights(str(tmp_path / "b"))
    assert describe_weights(str(tmp_path / "none")) is None


def anything(path: str) -> bool:
    return True


def test_base_of_saved_weights_is_found_by_what_it_holds(model, tmp_path):
    facts = {"base_model": "models/x", "base_path": str(model), "base_content": describe_model(str(model))}
    assert base_of(facts, {}, anything) == str(model)
    moved = model.rename(tmp_path / "moved")
    assert base_of(facts, {}, anything) == "models/x", "it is nowhere: the name of then says what is missing"
    assert base_of(facts, {"other": "tiny", "here": str(moved)}, anything) == "here"
    assert base_of({"base_model": "old"}, {"here": str(moved)}, anything) == "old"
    assert base_of(facts, {"here": str(moved)}, lambda path: False) == "models/x", "it may not be looked at"
