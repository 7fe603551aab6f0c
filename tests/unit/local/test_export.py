"""Saved weights in other hands: merged into a plain model, and opened by peft alone."""

import json
import subprocess
import sys
from typing import Any

import pytest
from tests.support.rows import write_rows

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from engine_data import PROMPTS, plain_logprobs, trained
from transformers import AutoModelForCausalLM, AutoTokenizer

from socratic_distill import CheckpointNotFound, ConfigError, DamagedWeights
from socratic_distill.cli import main
from socratic_distill.local import LocalServiceClient
from socratic_distill.local.tiny import MODEL_DIR
from socratic_distill.outputs.exports.merged import export_merged

_ALONE = """
import json, sys, warnings
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
warnings.simplefilter("ignore")
base, adapter, prompts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
for tokens in prompts:
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0, :-1]
    print(torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0].tolist())
assert not any(name.startswith(("socratic", "tinker")) for name in sys.modules)
"""


@pytest.fixture
def service(tmp_path):
    return LocalServiceClient(tmp_path / "run" / "local", device="cpu")


def engine_logprobs(service, path, tokens):
    client = service.create_sampling_client(model_path=path).result()
    return np.array(client.compute_logprobs(tinker.ModelInput.from_ints(tokens)).result()[1:])


@pytest.mark.parametrize("parts", [{}, {"train_mlp": False, "train_attn": False}, {"train_unembed": False}])
def test_a_merged_model_gives_the_engines_log_probabilities(service, tmp_path, parts):
    path = trained(service, **parts).save_weights_for_sampler("a").result().path
    export_merged(path, tmp_path / "out")
    model, plain = (AutoModelForCausalLM.from_pretrained(place).eval() for place in (tmp_path / "out", MODEL_DIR))
    assert model.dtype == plain.dtype
    assert model.config.tie_word_embeddings is (parts == {"train_unembed": False})
    embeddings: list[Any] = [one.get_input_embeddings() for one in (model, plain)]
    assert torch.equal(embeddings[0].weight, embeddings[1].weight)
    for tokens in PROMPTS:
        with torch.no_grad():
            expected, before = plain_logprobs(model, tokens), plain_logprobs(plain, tokens)
        found = engine_logprobs(service, path, tokens)
        np.testing.assert_allclose(found, expected, atol=5e-5)
        assert np.abs(found - before.numpy()).max() > 1e-2  # training changed something
    tokenizers = [AutoTokenizer.from_pretrained(place) for place in (tmp_path / "out", MODEL_DIR)]
    messages = [{"role": "user", "content": "5 + 3 = 9"}]
    assert len({tokenizer.apply_chat_template(messages, tokenize=False) for tokenizer in tokenizers}) == 1


@pytest.mark.slow
def test_peft_alone_gives_the_engines_log_probabilities(service):
    path = trained(service).save_weights_for_sampler("a").result().path
    command = [sys.executable, "-c", _ALONE, str(MODEL_DIR), path, json.dumps(PROMPTS)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    for tokens, line in zip(PROMPTS, answer.stdout.splitlines()[-len(PROMPTS) :], strict=True):
        np.testing.assert_allclose(engine_logprobs(service, path, tokens), json.loads(line), atol=5e-5)


def test_a_runs_newest_weights_are_exported_wherever_it_lies(service, tmp_path, capsys):
    client = trained(service)
    paths = [client.save_weights_for_sampler(name).result().path for name in ("old", "new")]
    lines = [{"name": str(i), "batch": i, "epoch": 0, "sampler_path": path} for i, path in enumerate(paths)]
    write_rows(tmp_path / "run/checkpoints.jsonl", *lines)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert main(["export", str(tmp_path / "moved"), "--merge", str(tmp_path / "out"), "--dtype", "bfloat16"]) == 0
    assert "sampler_weights/new" in capsys.readouterr().out
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16
    assert main(["export", str(tmp_path / "moved"), "--merge", str(tmp_path / "out")]) == 1
    assert "exists already" in capsys.readouterr().err


def test_what_cannot_be_exported_is_refused_and_nothing_is_left(service, tmp_path):
    out, run = tmp_path / "out", tmp_path / "run"
    run.mkdir()
    with pytest.raises(ConfigError, match="does not exist; expected the directory of a run, or of saved weights"):
        export_merged(tmp_path / "nothing", out)
    for path, error, text in (
        (None, CheckpointNotFound, "no sampler weights yet"),
        ("local-0001/sampler_weights/gone", CheckpointNotFound, "are gone"),
    ):
        line = {"name": "1", "batch": 1, "epoch": 0, "state_path": "s"} | ({"sampler_path": path} if path else {})
        write_rows(run / "checkpoints.jsonl", line)
        with pytest.raises(error, match=text):
            export_merged(run, out)
    path = trained(service).save_weights_for_sampler("a").result().path
    adapter = run / path / "adapter_model.safetensors"
    whole = adapter.read_bytes()
    adapter.write_bytes(whole[:1000])
    with pytest.raises(DamagedWeights, match="does not begin with the length of a safetensors header"):
        export_merged(path, out)
    adapter.write_bytes(whole)
    (run / path / "state.json").unlink()
    with pytest.raises(ConfigError, match="names no base model"):
        export_merged(path, out)
    assert not out.exists() and not list(tmp_path.glob(".out*"))
