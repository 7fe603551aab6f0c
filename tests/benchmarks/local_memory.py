"""Memory of the local engine with student, tutor and teacher on one base model, in MiB, against its parts.

    python tests/benchmarks/local_memory.py MODEL [--checkpointing]

Prints JSON: what the process held before (imports), the parts by their own sizes, and its peaks, after sampling and
scoring and after training.
"""

import argparse
import asyncio
import json
import resource
import tempfile
from typing import Any

import numpy as np
import tinker
import torch
import transformers  # noqa: F401  (its import is part of what was there before)
from local_workload import NEW_TOKENS, RANK

from socratic_distill.local import LocalServiceClient, sampling

_ROWS, _PROMPT = 16, 200


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def size(tensors: Any) -> float:
    return sum(tensor.nbytes for tensor in tensors) / 2**20


def prompts(seed: int) -> list[list[int]]:
    return np.random.default_rng(seed).integers(1000, 20000, (_ROWS, _PROMPT)).tolist()


async def sample(client: Any, texts: list[list[int]], **options: Any) -> list[Any]:
    params = tinker.SamplingParams(max_tokens=options.pop("max_tokens"), seed=0, stop=[])
    return await asyncio.gather(*(client.sample(tinker.ModelInput.from_ints(p), 1, params, **options) for p in texts))


def datum(tokens: list[int], logprobs: list[float]) -> tinker.Datum:
    at = {"logprobs": np.array(logprobs), "advantages": np.ones(len(logprobs))}
    zeros = np.zeros(len(tokens) - 1 - len(logprobs))
    inputs = {k: tinker.TensorData.from_numpy(np.concatenate([zeros, v]).astype(np.float32)) for k, v in at.items()}
    inputs["target_tokens"] = tinker.TensorData.from_numpy(np.array(tokens[1:]))
    return tinker.Datum(model_input=tinker.ModelInput.from_ints(tokens[:-1]), loss_fn_inputs=inputs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--checkpointing", action="store_true")
    options = parser.parse_args()
    widest = 0.0

    class MeteredSlots(sampling.Slots):
        def __init__(self, *args: Any) -> None:
            nonlocal widest
            super().__init__(*args)
            widest = max(widest, size([self.keys, self.values]))

    sampling.Slots = MeteredSlots
    torch.mm(torch.ones(512, 512), torch.ones(512, 512))  # the libraries' own buffers
    before = peak()
    with tempfile.TemporaryDirectory() as store:
        service = LocalServiceClient(store, device="cpu", gradient_checkpointing=options.checkpointing)
        trainer = service.create_lora_training_client(options.model, RANK, seed=0, train_unembed=False).result()
        others = service.create_sampling_client(base_model=options.model).result()  # student and teacher
        (base,) = service.models.values()
        loaded, sampled = peak(), 0.0
        for step in range(2):
            tutor = trainer.save_weights_and_get_sampling_client().result()
            asyncio.run(sample(others, prompts(2 * step), max_tokens=NEW_TOKENS))
            asked = prompts(2 * step + 1)
            replies = [one.sequences[0] for one in asyncio.run(sample(tutor, asked, max_tokens=NEW_TOKENS))]
            whole = [prompt + reply.tokens for prompt, reply in zip(asked, replies, strict=True)]
            scored = {"include_prompt_logprobs": True, "prompt_logprobs_last_n": NEW_TOKENS}
            asyncio.run(sample(others, whole, max_tokens=1, **scored))
            if step == 0:
                sampled = peak()
            data = [datum(tokens, reply.logprobs) for tokens, reply in zip(whole, replies, strict=True)]
            passed = trainer.forward_backward(data, "importance_sampling")
            stepped = trainer.optim_step(tinker.AdamParams(learning_rate=1e-4))
            passed.result()
            stepped.result()
    adapters = {name: p for name, p in base.model.named_parameters() if "lora_" in name}
    blocks = [t for b in base.prefixes._blocks.values() for t in (b.stretch.keys, b.stretch.values)]
    parts = {
        "base": size({p.data_ptr(): p for n, p in base.model.named_parameters() if n not in adapters}.values()),
        "adapters": size(adapters.values()),
        "gradients": size(trainer._trainer._parameters.values()),
        "moments": size(trainer._trainer.optimizer_tensors().values()),
        "caches": widest + size(blocks),
    }
    peaks = {"imports": before, "loaded": loaded, "sampled": sampled, "trained": peak()}
    print(json.dumps({"parts": parts, "peaks": peaks, "dtype": str(base.model.dtype)}))


if __name__ == "__main__":
    main()
