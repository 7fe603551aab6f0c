import json
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.adapters import LAYER, adapter_config, lora_weights, safetensors
from tests.support.examples import examples

from socratic_distill import DownloadError
from socratic_distill.outputs.exports.adapter_files import check_adapter, choose_files

reproducible = settings(derandomize=True, deadline=None, max_examples=examples(300))
NEEDED = ["adapter_model.safetensors", "adapter_config.json"]


def test_an_adapters_files_are_taken_and_others_left():
    given = [*NEEDED, "README.md", "run.py", "checkpoint_complete", "deep/er/adapter_config.json"]
    assert choose_files(given) == ["adapter_config.json", "README.md", "adapter_model.safetensors"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "a/../b", "a//b", "/a", "a/", "C:a", "C:\\a", "\\\\host\\a", "a\0", "a\nb", "a\u202eb",
     "a.", "a ", " a", "a/...", "\ud800", "x" * 256, "é" * 200, "a/" * 600 + "a", "a*", "a?", "<a"],
)  # fmt: skip
def test_a_name_that_is_none_within_the_directory_is_refused(name):
    with pytest.raises(ValueError, match="a file is named"):
        choose_files([*NEEDED, name])


@pytest.mark.parametrize("pair", [("A", "a"), ("straße", "STRASSE"), ("\u212bx", "\u00e5x"), ("e\u0301", "é")])
def test_names_that_some_systems_take_for_one_are_refused(pair):
    with pytest.raises(ValueError, match="one file on some systems"):
        choose_files([*NEEDED, *pair])


@reproducible
@given(st.lists(st.text(max_size=12) | st.text(alphabet="./\\:a\0 ", max_size=8), max_size=4))
def test_whatever_is_named_what_is_taken_stays_within(names):
    try:
        taken = choose_files([*NEEDED, *names])
    except ValueError as error:
        assert str(error)
        return
    assert set(taken) <= {*NEEDED, *names} and set(NEEDED) <= set(taken)
    for name in [*NEEDED, *names]:
        for kind in (PurePosixPath, PureWindowsPath):
            path = kind(name)
            assert not path.is_absolute() and not path.drive and ".." not in path.parts and path.name


def adapter(tmp_path: Path, config: bytes, weights: bytes) -> Path:
    (tmp_path / "adapter_config.json").write_bytes(config)
    (tmp_path / "adapter_model.safetensors").write_bytes(weights)
    return tmp_path


@pytest.mark.parametrize("given", [None, "", "my/model"])
def test_the_base_model_is_filled_in_where_it_is_missing(tmp_path, given):
    directory = adapter(tmp_path, adapter_config(base_model_name_or_path=given), lora_weights())
    check_adapter(directory, "Qwen/Qwen3-8B", DownloadError)
    stored = json.loads((directory / "adapter_config.json").read_text())
    assert stored == json.loads(adapter_config(base_model_name_or_path=given or "Qwen/Qwen3-8B"))


def tensor(dtype: str = "F32", size: int = 4) -> tuple[str, list[int], bytes]:
    return dtype, [1, 1], bytes(size)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lm_head.weight": tensor()}, "no tensor's name has lora_ in it"),
        ({f"{LAYER}.lora_A.weight": tensor()}, "has no partner"),
        ({f"{LAYER}.lora_{part}.weight": tensor("I32") for part in "AB"}, "has the dtype I32"),
        ({f"{LAYER}.lora_{part}.weight": tensor() for part in "AB"} | {"x": tensor()}, "'x' has no lora_ in its name"),
    ],
)
def test_tensors_of_something_else_are_refused(tmp_path, tensors, message):
    directory = adapter(tmp_path, adapter_config(), safetensors(tensors))
    with pytest.raises(DownloadError, match=message):
        check_adapter(directory, "base", DownloadError)


def test_modules_that_were_trained_whole_are_taken(tmp_path):
    tensors = {f"{LAYER}.lora_{part}.weight": tensor() for part in "AB"} | {"lm_head.weight": tensor()}
    directory = adapter(tmp_path, adapter_config(modules_to_save=["lm_head"]), safetensors(tensors))
    check_adapter(directory, "base", DownloadError)
