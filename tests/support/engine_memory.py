"""Runs as a process of its own: prints what the engine was estimated to take, and what it took, as JSON.

python engine_memory.py MODEL [--checkpointing]
"""

import argparse
import asyncio
import json
import tempfile

import numpy as np
import peft  # noqa: F401  (its import is part of what was there before)
import tinker
import torch
import transformers  # noqa: F401  (likewise)

from socratic_distill.local import LocalServiceClient
from socratic_distill.local.demand import Demand
from socratic_distill.local.limits import process_peak
from socratic_distill.local.memory import estimate

ROWS, PROMPT, REPLY, RANK = 16, 200, 40, 16


def peak() -> int:
    held = process_peak()
    assert held is not None
    return held


def prompts(seed: int) -> list[list[int]]:
    return np.random.default_rng(seed).integers(10, 250, (ROWS, PROMPT)).tolist()


def sample(client, texts, max_tokens, **options):
    params = tinker.SamplingParams(max_tokens=max_tokens, seed=0, stop=[])

    async def all_of_them():
        asked = (client.sample(tinker.ModelInput.from_ints(text), 1, params, **options) for text in texts)
        return [answer.sequences[0] for answer in await asyncio.gather(*asked)]

    return asyncio.run(all_of_them())


def datum(tokens, logprobs) -> tinker.Datum:
    values = {"logprobs": np.array(logprobs), "advantages": np.ones(len(logprobs))}
    zeros = np.zeros(len(tokens) - 1 - len(logprobs))
    inputs = {k: tinker.TensorData.from_numpy(np.concatenate([zeros, v]).astype(np.float32)) for k, v in values.items()}
    inputs["target_tokens"] = tinker.TensorData.from_numpy(np.array(tokens[1:]))
    return tinker.Datum(model_input=tinker.ModelInput.from_ints(tokens[:-1]), loss_fn_inputs=inputs)


def work(service: LocalServiceClient, model: str) -> None:
    """Two steps of student, teacher and tutor on one base model, and a saved state."""
    trainer = service.create_lora_training_client(model, RANK, seed=0, train_unembed=False).result()
    others = service.create_sampling_client(base_model=model).result()
    for step in range(2):
        tutor = service.create_sampling_client(trainer.save_weights_for_sampler(f"{step}").result().path).result()
        sample(others, prompts(2 * step), REPLY)
        asked = prompts(2 * step + 1)
        replies = sample(tutor, asked, REPLY)
        whole = [prompt + list(reply.tokens) for prompt, reply in zip(asked, replies, strict=True)]
        sample(others, whole, 1, include_prompt_logprobs=True, prompt_logprobs_last_n=REPLY)
        data = [datum(tokens, reply.logprobs) for tokens, reply in zip(whole, replies, strict=True)]
        trainer.forward_backward(data, "importance_sampling").result()
        trainer.optim_step(tinker.AdamParams(learning_rate=1e-4)).result()
        trainer.save_state(f"{step}").result()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--checkpointing", action="store_true")
    options = parser.parse_args()
    torch.mm(torch.ones(512, 512), torch.ones(512, 512))  # the libraries' own buffers
    with tempfile.TemporaryDirectory() as store:
        service = LocalServiceClient(store, device="cpu", gradient_checkpointing=options.checkpointing)
        demand = Demand(
            (options.model,), RANK, True, True, False, other_adapters=0, prompt=PROMPT, reply=REPLY,
            dialogue=PROMPT + REPLY, max_context=None, groups=ROWS, group_size=1, at_once=ROWS, batches=2,
        )  # fmt: skip
        before = peak()
        work(service, options.model)
        taken = peak() - before
        estimated = estimate(demand, service.machine, service.shapes, frozenset())
    figures = {"taken": taken, "estimated": estimated.total, "parts": {**estimated.held, **estimated.phases}}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
