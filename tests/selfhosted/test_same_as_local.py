"""A server and the local engine learn the same from the same data: recorded dialogues, so that nothing is sampled."""

from typing import Any

import numpy as np
import pytest
import tinker
from tests.selfhosted.hosting import TUFT, only

pytestmark = pytest.mark.selfhosted

RANK, LEARNING_RATE = 8, 1e-2
RECORDED = [
    [
        {"role": "user", "content": f"Tom has {i} apples and gets 30 more. He has {20 + i}."},
        {"role": "assistant", "content": "What do you get when you add the tens?"},
        {"role": "user", "content": f"{30 + i}?"},
        {"role": "assistant", "content": f"Yes, {30 + i} apples. How did you find it?"},
    ]
    for i in range(4)
]


class Side:
    """One of the two services, with a tutor on the same saved adapter, and what it computes."""

    def __init__(self, service: Any, training: Any, model: str) -> None:
        self.training = training
        self.teacher = service.create_sampling_client(base_model=model).result()
        self.scores: list[np.ndarray] = []
        self.losses: list[float] = []

    def learn(self, texts: list[tuple[list[int], np.ndarray]]) -> None:
        """A step on recorded turns: towards the tokens that the teacher finds likelier than the tutor does."""
        own = self._logprobs(texts)
        taught = [self._teacher_scores(tokens) for tokens, _ in texts]
        self.scores += taught
        data = [
            _datum(tokens, logprobs=before * mask, advantages=(teacher - before) * mask)
            for (tokens, mask), before, teacher in zip(texts, own, taught, strict=True)
        ]
        output = self.training.forward_backward(data, "importance_sampling").result()
        self.losses.append(output.metrics["loss:sum"])
        self.training.optim_step(tinker.AdamParams(learning_rate=LEARNING_RATE)).result()

    def _logprobs(self, texts: list[tuple[list[int], np.ndarray]]) -> list[np.ndarray]:
        """The tutor's log-probabilities of all tokens but the first, `[N - 1]` each."""
        data = [_datum(tokens, weights=np.ones(len(tokens) - 1)) for tokens, _ in texts]
        output = self.training.forward(data, "cross_entropy").result()
        return [np.asarray(each["logprobs"].to_numpy(), float) for each in output.loss_fn_outputs]

    def _teacher_scores(self, tokens: list[int]) -> np.ndarray:
        values = self.teacher.compute_logprobs(tinker.ModelInput.from_ints(tokens)).result()
        return np.array(values[-(len(tokens) - 1) :], float)


def _datum(tokens: list[int], **inputs: np.ndarray) -> tinker.Datum:
    given = {name: tinker.TensorData.from_numpy(values.astype(np.float32)) for name, values in inputs.items()}
    given["target_tokens"] = tinker.TensorData.from_numpy(np.array(tokens[1:]))
    return tinker.Datum(model_input=tinker.ModelInput.from_ints(tokens[:-1]), loss_fn_inputs=given)


def _rendered(tokenizer: Any) -> list[tuple[list[int], np.ndarray]]:
    """Tokens of each recorded dialogue, and 1.0 at the targets that are the tutor's, `[N - 1]`."""
    texts = []
    for dialogue in RECORDED:
        tokens = tokenizer.apply_chat_template(dialogue, return_dict=False)
        mask = np.zeros(len(tokens) - 1)
        for i, message in enumerate(dialogue):
            if message["role"] == "assistant":
                start = len(tokenizer.apply_chat_template(dialogue[:i], add_generation_prompt=True, return_dict=False))
                stop = len(tokenizer.apply_chat_template(dialogue[: i + 1], return_dict=False))
                mask[start - 1 : stop - 1] = 1.0
        texts.append((tokens, mask))
    return texts


@only(TUFT)
@pytest.mark.scenario("the same as the local engine")
def test_two_steps_on_recorded_dialogues_are_those_of_the_local_engine(host, tmp_path):
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    from socratic_distill.local import LocalServiceClient

    texts = _rendered(AutoTokenizer.from_pretrained(host.model))
    server, engine = tinker.ServiceClient(base_url=host.url), LocalServiceClient(tmp_path / "store", dtype="float32")
    # A step on the server alone: from there on B is not zero, and every factor has a gradient.
    first = server.create_lora_training_client(host.model, rank=RANK, seed=3, train_unembed=False).result()
    first.forward_backward([_datum(tokens, weights=mask) for tokens, mask in texts], "cross_entropy").result()
    first.optim_step(tinker.AdamParams(learning_rate=LEARNING_RATE)).result()
    state = first.save_state("start").result().path
    begun = host.adapter(state)
    sides = [
        Side(server, server.create_training_client_from_state(state).result(), host.model),
        Side(engine, engine.create_training_client_from_state(str(begun), base_model=host.model).result(), host.model),
    ]
    for side in sides:
        for _ in range(2):
            side.learn(texts)
    for ours, theirs in zip(sides[1].scores, sides[0].scores, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3, err_msg="scores of the teacher")
    np.testing.assert_allclose(sides[1].losses, sides[0].losses, atol=1e-3, err_msg="losses")
    start = load_file(begun / "adapter_model.safetensors")
    theirs = load_file(host.adapter(sides[0].training.save_state("end").result().path) / "adapter_model.safetensors")
    ours = load_file(f"{sides[1].training.save_state('end').result().path}/adapter_model.safetensors")
    assert ours.keys() == theirs.keys() == start.keys()
    for name, weights in ours.items():
        moved = (theirs[name] - start[name]).norm()
        assert moved > 0, f"{name} was not trained"
        assert (weights - theirs[name]).abs().max() < 1e-3, name
        assert (weights - theirs[name]).norm() < 1e-2 * moved, name
