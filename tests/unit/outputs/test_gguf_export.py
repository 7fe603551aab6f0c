"""Export to GGUF: which converter runs, how, and what is left where it fails. A script stands in for llama.cpp's."""

import json
import sysconfig
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from tests.support.peft_adapters import peft_adapter

from socratic_distill import ConfigError, ConverterError, StorageError
from socratic_distill.cli import main
from socratic_distill.outputs.exports.gguf import export_gguf

_WRITES = """
import json, os, sys
from pathlib import Path
model, out = Path(sys.argv[1]), Path(sys.argv[sys.argv.index("--outfile") + 1])
names = sorted(file.name for file in model.iterdir())
offline = [os.environ.get(name) for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")]
out.write_text(json.dumps({"given": sys.argv[2:], "files": names, "offline": offline, "input": sys.stdin.read()}))
"""
_FAILS = "import sys\nprint('first')\nsys.exit('Model OPTForCausalLM is not supported')\n"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("adapter")
    peft_adapter(directory, steps=1)
    return directory


def script(directory: Path, text: str) -> Path:
    path = directory / "convert_hf_to_gguf.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("dtype", "kind"), [("auto", "auto"), ("float32", "f32"), ("bfloat16", "bf16")])
def test_the_merged_model_is_converted(adapter, tmp_path, capsys, dtype, kind):
    converter, out = script(tmp_path, _WRITES), tmp_path / "my tutor.gguf"
    command = ["export", str(adapter), "--gguf", str(out), "--converter", str(converter), "--dtype", dtype]
    assert main(command) == 0
    assert str(out) in capsys.readouterr().out
    seen = json.loads(out.read_text())
    assert seen["given"][2:] == ["--outtype", kind, "--model-name", "my tutor"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(seen["files"])
    assert seen["offline"] == ["1", "1"] and seen["input"] == ""
    assert {path.name for path in tmp_path.iterdir()} == {"my tutor.gguf", "convert_hf_to_gguf.py"}


@pytest.mark.parametrize("text", [_FAILS, "", "import sys; sys.exit(3)"])
def test_a_converter_that_fails_leaves_nothing(adapter, tmp_path, text):
    converter = script(tmp_path, text)
    with pytest.raises(ConverterError) as error:
        export_gguf(adapter, tmp_path / "a.gguf", converter=converter)
    assert ("Model OPTForCausalLM is not supported" in str(error.value)) is (text == _FAILS)
    assert [path.name for path in tmp_path.iterdir()] == ["convert_hf_to_gguf.py"]


def test_without_a_converter_the_commands_are_said_before_writing(adapter, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    script(tmp_path, "raise SystemExit('a file of a stranger')\n")  # in the working directory: not run
    out = tmp_path / "it's.gguf"
    assert main(["export", str(adapter), "--gguf", str(out)]) == 1
    said = capsys.readouterr().err
    assert f"python -m socratic_distill export {adapter} --merge MODEL" in said
    assert "python convert_hf_to_gguf.py MODEL --outfile" in said and "--outtype auto" in said
    assert [path.name for path in tmp_path.iterdir()] == ["convert_hf_to_gguf.py"]
    (tmp_path / "purelib").mkdir()
    script(tmp_path / "purelib", _WRITES)
    assert main(["export", str(adapter), "--gguf", str(out)]) == 0 and out.is_file()


def test_what_cannot_be_written_is_refused_at_once(adapter, tmp_path):
    converter = script(tmp_path, "raise SystemExit('not reached')\n")
    with pytest.raises(ConfigError, match=r"ends with \.gguf"):
        export_gguf(adapter, tmp_path / "model.bin", converter=converter)
    (tmp_path / "a.gguf").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        export_gguf(adapter, tmp_path / "a.gguf", converter=converter)
    assert (tmp_path / "a.gguf").read_text() == "mine"
    with pytest.raises(ConverterError, match="is no file"):
        export_gguf(adapter, tmp_path / "b.gguf", converter=tmp_path / "nowhere.py")
    with pytest.raises(StorageError):
        export_gguf(adapter, tmp_path / "a.gguf" / "c.gguf", converter=converter)
