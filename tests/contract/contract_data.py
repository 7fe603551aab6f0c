"""Small data and steps that the contract tests share."""

from tinker import AdamParams, Datum, ModelInput, TensorData

ADAM = AdamParams(learning_rate=1e-2)


def prompt_of(client):
    tokenizer = client.get_tokenizer()
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the answer ?"}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
    )
    return ModelInput.from_ints(tokenizer.encode(text, add_special_tokens=False))


def supervised(tokens, weight=1.0):
    weights = [weight] * (len(tokens) - 1)
    return Datum(
        model_input=ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": TensorData(tokens[1:], "int64"),
            "weights": TensorData(weights, "float32"),
        },
    )


def reinforced(tokens, logprobs, advantages):
    return Datum(
        model_input=ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": TensorData(tokens[1:], "int64"),
            "logprobs": TensorData(list(logprobs), "float32"),
            "advantages": TensorData(list(advantages), "float32"),
        },
    )


def logprobs_of(training, tokens):
    output = training.forward([supervised(tokens)], "cross_entropy").result()
    return output.loss_fn_outputs[0]["logprobs"].to_numpy()


def train(training, tokens, steps=1, params=ADAM):
    for _ in range(steps):
        training.forward_backward([supervised(tokens)], "cross_entropy").result()
        training.optim_step(params).result()
