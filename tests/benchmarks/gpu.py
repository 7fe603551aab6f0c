"""The local engine on a GPU: tokens a second of sampling, scoring and training, with random weights like Qwen3-0.6B's.

    python tests/benchmarks/gpu.py [--repeats 3]
    python tests/benchmarks/gpu.py --tiny

Random weights take the same time as trained ones, and need no download. Without a GPU nothing is measured. `--tiny`
runs all of it on a CPU with a model of a hundred thousand parameters: it shows that the benchmark works, and its
figures mean nothing. If TRL and vLLM can be imported, TRL's DistillationTrainer with vLLM does the same step; that part
has never run.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tinker
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from socratic_distill.local import LocalServiceClient
from socratic_distill.local.tiny import MODEL_DIR

HERE = Path(__file__).parent
RANK, LEARNING_RATE = 32, 1e-4
# Of Qwen3-0.6B's config.
QWEN: dict[str, Any] = dict(
    vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
    num_key_value_heads=8, head_dim=128, max_position_embeddings=40960, rope_theta=1e6, tie_word_embeddings=True,
)  # fmt: skip
TINY: dict[str, Any] = QWEN | dict(
    vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=32, max_position_embeddings=512,
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much is done: `rows` sequences of `prompt` tokens, and `reply` new ones each."""

    rows: int
    prompt: int
    reply: int


@dataclass(frozen=True)
class Figures:
    """Tokens a second: new ones of sampling, those of whole sequences in scoring and in training."""

    sampling: float
    scoring: float
    training: float


def main() -> int:
    """Prints a line of JSON; 1 without a GPU."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        print(
            "torch finds no GPU here, so nothing was measured. `--tiny` runs the benchmark on a CPU, only to show that "
            "it works"
        )
        return 1
    size = Size(4, 24, 8) if options.tiny else Size(128, 512, 128)
    with tempfile.TemporaryDirectory() as scratch:
        model = make_model(Path(scratch) / "model", TINY if options.tiny else QWEN)
        device = "cpu" if options.tiny else "cuda"
        engine = LocalServiceClient(Path(scratch) / "store", device=device)
        found = {"ours": asdict(measure(engine, model, size, options.repeats)), **engine.peak_memory()}
        if not options.tiny and find_spec("trl") and find_spec("vllm"):
            del engine
            torch.cuda.empty_cache()
            found["trl"] = peer(model, size, options.repeats)
    name = "CPU" if options.tiny else torch.cuda.get_device_name()
    print(json.dumps({"device": name, "size": asdict(size), **found}))
    return 0


def make_model(directory: Path, shape: dict[str, Any]) -> str:
    """Writes a model of random bf16 weights with the packaged tokenizer; gives its path."""
    directory.mkdir(parents=True)
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODEL_DIR / name, directory)
    torch.manual_seed(0)
    model: Any = Qwen3ForCausalLM(Qwen3Config(**shape))
    model.to(torch.bfloat16).save_pretrained(directory)
    return str(directory)


def measure(engine: LocalServiceClient, model: str, size: Size, repeats: int) -> Figures:
    """Medians over some steps; one more, before them, is not counted."""
    trainer = engine.create_lora_training_client(model, RANK, seed=0, train_unembed=False).result()
    teacher = engine.create_sampling_client(base_model=model).result()
    seconds = [_step(trainer, teacher, prompts_of(size, step), size) for step in range(repeats + 1)][1:]
    sampled, whole = size.rows * size.reply, size.rows * (size.prompt + size.reply)
    sampling, scoring, training = (median(column) for column in zip(*seconds, strict=True))
    return Figures(sampled / sampling, whole / scoring, whole / training)


def prompts_of(size: Size, step: int) -> list[list[int]]:
    """Prompts without a common beginning, of ids that the packaged tokenizer knows."""
    return np.random.default_rng(step).integers(10, 250, (size.rows, size.prompt)).tolist()


def _step(trainer: Any, teacher: Any, prompts: list[list[int]], size: Size) -> tuple[float, float, float]:
    """Seconds of sampling, of scoring and of training."""
    tutor = trainer.save_weights_and_get_sampling_client().result()
    params = tinker.SamplingParams(max_tokens=size.reply, seed=0, stop=[])
    replies, sampling = _timed(lambda: asyncio.run(_ask(tutor, prompts, params)))
    whole = [[*prompt, *reply.tokens] for prompt, reply in zip(prompts, replies, strict=True)]
    one = tinker.SamplingParams(max_tokens=1, seed=0)
    _, scoring = _timed(lambda: asyncio.run(_ask(teacher, whole, one, include_prompt_logprobs=True)))
    data = [_datum(tokens, reply.logprobs) for tokens, reply in zip(whole, replies, strict=True)]

    def train() -> None:
        trainer.forward_backward(data, "importance_sampling").result()
        trainer.optim_step(tinker.AdamParams(learning_rate=LEARNING_RATE)).result()

    return sampling, scoring, _timed(train)[1]


async def _ask(client: Any, texts: list[list[int]], params: tinker.SamplingParams, **options: Any) -> list[Any]:
    answers = [client.sample(tinker.ModelInput.from_ints(text), 1, params, **options) for text in texts]
    return [answer.sequences[0] for answer in await asyncio.gather(*answers)]


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its seconds. Answers are numbers on the CPU, so the GPU is done by then."""
    began = time.perf_counter()
    answer = call()
    return answer, time.perf_counter() - began


def _datum(tokens: list[int], logprobs: list[float]) -> tinker.Datum:
    zeros = np.zeros(len(tokens) - 1 - len(logprobs))
    values = {"logprobs": np.array(logprobs), "advantages": np.ones(len(logprobs))}
    inputs = {k: tinker.TensorData.from_numpy(np.concatenate([zeros, v]).astype(np.float32)) for k, v in values.items()}
    inputs["target_tokens"] = tinker.TensorData.from_numpy(np.array(tokens[1:]))
    return tinker.Datum(model_input=tinker.ModelInput.from_ints(tokens[:-1]), loss_fn_inputs=inputs)


def peer(model: str, size: Size, repeats: int) -> dict[str, float]:
    """Seconds of TRL's steps, with vLLM on the same GPU: whole ones, and their sampling."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    steps = [[tokenizer.decode(prompt) for prompt in prompts_of(size, step)] for step in range(repeats + 1)]
    job = {
        "model": model, "prompts": steps, "dtype": "bfloat16", "autocast": True, "batch": 16, "rank": RANK,
        "new_tokens": size.reply, "rate": LEARNING_RATE, "vllm": True,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, str(HERE / "local_peer.py"), str(path)]
        done = subprocess.run(
            command, input="step\n" * len(steps), capture_output=True, text=True,
            env=os.environ | {"TQDM_DISABLE": "1"},
        )  # fmt: skip
    lines = [line.removeprefix("FIGURES ") for line in done.stdout.splitlines() if line.startswith("FIGURES ")]
    rows = [json.loads(line) for line in lines][1:]
    if not rows:
        raise RuntimeError(f"TRL ended: {done.stderr[-3000:]}")
    return {key: median(row[key] for row in rows) for key in ("seconds", "sampling")}


if __name__ == "__main__":
    sys.exit(main())
