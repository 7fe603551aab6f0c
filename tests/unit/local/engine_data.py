"""What the tests of the local engine share: prompts, data, and plain transformers and peft to compare with."""

import warnings
from typing import Any

import numpy as np
import tinker
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from socratic_distill.local.tiny import MODEL_DIR

PROMPTS = [[7, 8, 9, 20, 21], [7, 8, 30], [40, 41, 42, 43, 44, 45, 46, 47, 48]]


def reference():
    return AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32).eval()


def open_peft(path, **options):
    with warnings.catch_warnings():  # peft warns of any adapter on a tied output layer
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(reference(), path, **options).eval()


def plain_logprobs(model, tokens):
    """Log-probability of every token but the first, `[N - 1]`."""
    logits = model(torch.tensor([tokens])).logits[0, :-1]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]


def policy_datum(tokens, seed):
    random_numbers = np.random.default_rng(seed)
    size = len(tokens) - 1
    return tinker.Datum(
        model_input=tinker.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": tinker.TensorData.from_numpy(np.array(tokens[1:])),
            "logprobs": tinker.TensorData.from_numpy(-5 + random_numbers.normal(size=size).astype(np.float32) / 4),
            "advantages": tinker.TensorData.from_numpy(random_numbers.normal(size=size).astype(np.float32)),
        },
    )


def entropy_datum(tokens):
    return tinker.Datum(
        model_input=tinker.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": tinker.TensorData.from_numpy(np.array(tokens[1:])),
            "weights": tinker.TensorData.from_numpy(np.linspace(0, 1, len(tokens) - 1).astype(np.float32)),
        },
    )


def ask(client, prompt, seed=0, count=1, **params: Any):
    settings: dict[str, Any] = {"max_tokens": 8} | params
    return client.sample(tinker.ModelInput.from_ints(prompt), count, tinker.SamplingParams(seed=seed, **settings))


def trained(service, steps=2, **options):
    """A training client a few steps away from its start."""
    client = service.create_lora_training_client(**({"base_model": "tiny", "rank": 4, "seed": 1} | options)).result()
    for _ in range(steps):
        client.forward_backward([entropy_datum(prompt) for prompt in PROMPTS], "cross_entropy").result()
        client.optim_step(tinker.AdamParams(learning_rate=1e-2)).result()
    return client
