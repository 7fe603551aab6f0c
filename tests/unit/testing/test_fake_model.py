import subprocess
import sys

import numpy as np
import pytest
import tinker
from tinker import AdamParams, Datum, ModelInput, SamplingParams, TensorData

from socratic_distill.testing import FakeServiceClient, ToyTokenizer
from socratic_distill.testing.losses import evaluate
from socratic_distill.testing.toy_model import ToyModel, last_of
from socratic_distill.testing.weights import Weights

TOKENIZER = ToyTokenizer()
TUTOR = "You are a math tutor. Help the student with this problem.\n\nProblem: How many are 3 times 4?"
TEACHER = "You are a Socratic math tutor. Never tell the answer.\n\nProblem: How many are 3 times 4?"
SAID = ("I think it is 12.", "So it is 5?", "How can I find it", "My answer is 3.")


def prompt(system, said=SAID[0]):
    talk = [{"role": "system", "content": system}, {"role": "user", "content": said}]
    return TOKENIZER.apply_chat_template(talk, add_generation_prompt=True)


def scores(client, tokens):
    return np.asarray(client.compute_logprobs(ModelInput.from_ints(tokens)).result()[1:])


@pytest.mark.parametrize(("learning_rate", "teacher_name"), [(0.05, "model"), (0.5, "another")])
def test_teacher_kl_falls_by_half_in_thirty_updates(learning_rate, teacher_name):
    service = FakeServiceClient()
    training = service.create_lora_training_client("model").result()
    teacher = service.create_sampling_client(base_model=teacher_name).result()
    kls = []
    for step in range(30):
        sampler = training.save_weights_and_get_sampling_client().result()
        data, gaps = [], []
        for number in range(24):
            said = SAID[number % 4]
            seen, scored = prompt(TUTOR, said), prompt(TEACHER, said)
            params = SamplingParams(max_tokens=24, seed=100 * step + number)
            reply = sampler.sample(ModelInput.from_ints(seen), 1, params).result().sequences[0]
            assert reply.logprobs is not None
            gap = np.asarray(reply.logprobs) - scores(teacher, scored + reply.tokens)[-len(reply.tokens) :]
            gaps.extend(gap)
            unused = [0.0] * (len(seen) - 1)
            inputs = {
                "target_tokens": TensorData(seen[1:] + reply.tokens, "int64"),
                "logprobs": TensorData([*unused, *reply.logprobs], "float32"),
                "advantages": TensorData([*unused, *-gap], "float32"),
            }
            data.append(Datum(ModelInput.from_ints(seen + reply.tokens[:-1]), inputs))
        training.forward_backward(data, "importance_sampling").result()
        training.optim_step(AdamParams(learning_rate=learning_rate)).result()
        kls.append(float(np.mean(gaps)))
    assert np.mean(kls[-5:]) <= 0.5 * np.mean(kls[:2]), f"teacher KL, nats a token: {np.round(kls, 2)}"


def test_replies_are_short_sentences_with_numbers():
    sampler = FakeServiceClient().create_sampling_client(base_model="model").result()
    params = SamplingParams(max_tokens=64, seed=1)
    answer = sampler.sample(ModelInput.from_ints(prompt(TUTOR)), 200, params).result()
    replies = [sequence.tokens for sequence in answer.sequences]
    assert 5 <= np.mean([len(reply) for reply in replies]) <= 15
    assert all(sequence.stop_reason == "stop" for sequence in answer.sequences)
    texts = [TOKENIZER.decode(reply, skip_special_tokens=True) for reply in replies]
    assert all(text.isascii() for text in texts)
    assert 0.2 < np.mean([any(sign.isdigit() for sign in text) for text in texts]) < 0.95
    assert 0.1 < np.mean(["?" in text for text in texts]) < 0.9


def test_every_token_has_a_finite_logprob():
    model = ToyModel("model", TOKENIZER)
    every = model.log_probabilities(model.contexts(range(len(TOKENIZER))), model.base)
    assert np.isfinite(every).all()
    np.testing.assert_allclose(np.exp(every).sum(axis=1), 1.0)


def test_names_are_different_models():
    service = FakeServiceClient()
    first, second = (service.create_sampling_client(base_model=name).result() for name in ("a", "b"))
    assert np.abs(scores(first, prompt(TUTOR)) - scores(second, prompt(TUTOR))).max() > 0.5


def test_system_prompt_changes_what_follows():
    client = FakeServiceClient().create_sampling_client(base_model="a").result()
    reply = TOKENIZER.encode("What is the sum?<|end|>")
    under = [scores(client, prompt(system) + reply)[-len(reply) :] for system in (TUTOR, TEACHER)]
    assert np.abs(under[0] - under[1]).max() > 0.3


def test_every_earlier_token_shows():
    client = FakeServiceClient().create_sampling_client(base_model="a").result()
    tokens = prompt(TUTOR)
    whole = scores(client, tokens)
    for place in range(0, len(tokens) - 1, 7):
        changed = list(tokens)
        changed[place] = TOKENIZER.encode(" left")[0]
        assert scores(client, changed)[-1] != whole[-1], f"token {place} does not matter to the last"


def test_later_tokens_do_not_show():
    client = FakeServiceClient().create_sampling_client(base_model="a").result()
    tokens = prompt(TUTOR)
    for count in (2, 5, 12, 13, 30):
        np.testing.assert_allclose(scores(client, tokens[:count]), scores(client, tokens)[: count - 1], atol=1e-6)


def test_contexts_one_by_one_equal_those_at_once():
    model = ToyModel("model", TOKENIZER)
    tokens = prompt(TUTOR)
    one = last_of(model.contexts(tokens[:1]))
    for count in range(2, len(tokens) + 1):
        one = model.after(one, tokens[count - 1])
        contexts = model.contexts(tokens[:count])
        assert one == last_of(contexts), f"after {count} tokens"
        every = model.log_probabilities(contexts, model.base)[-1]
        np.testing.assert_allclose(model.next_log_probabilities(one, model.base), every, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss_fn", ["cross_entropy", "importance_sampling", "ppo", "cispo", "dro"])
def test_loss_slopes_equal_finite_differences(loss_fn):
    random = np.random.default_rng(0)
    now = -random.random(40) * 3
    inputs = {
        "weights": random.normal(size=40),
        "logprobs": now + random.normal(size=40) * 0.3,
        "advantages": random.normal(size=40),
    }
    loss, slope = evaluate(loss_fn, now, inputs, None)
    for place in range(40):
        moved = now.copy()
        moved[place] += 1e-6
        if loss_fn == "cispo":  # the ratio is held constant
            ratio = np.clip(np.exp(now - inputs["logprobs"]), 0.8, 1.2)
            after = -(ratio * moved * inputs["advantages"]).sum()
        else:
            after, _ = evaluate(loss_fn, moved, inputs, None)
        assert (after - loss) / 1e-6 == pytest.approx(slope[place], abs=1e-4)


@pytest.mark.parametrize("shift", [0.1, 0.5, -0.5])
def test_gspo_slopes_equal_finite_differences(shift):
    random = np.random.default_rng(0)
    now, advantages = -random.random(12) * 3, random.normal(size=12)
    advantages[::4] = 0.0
    sampled = now - random.normal(size=12) * 0.3
    sampled += (now - sampled)[advantages != 0].mean() - shift
    ratio = np.exp(shift)

    def surrogate(moved):  # the datum's ratio is held constant; each token moves by its own
        own = ratio * np.exp(moved - now)
        return -np.minimum(own * advantages, np.clip(own, 0.8, 1.2) * advantages).sum()

    loss, slope = evaluate("gspo", now, {"logprobs": sampled, "advantages": advantages}, None)
    assert loss == pytest.approx(surrogate(now))
    for place in range(12):
        step = np.zeros(12)
        step[place] = 1e-6
        assert (surrogate(now + step) - loss) / 1e-6 == pytest.approx(slope[place], abs=1e-4)
    clipped = {0.1: advantages * 0 != 0, 0.5: advantages > 0, -0.5: advantages < 0}[shift]
    assert (slope[clipped | (advantages == 0)] == 0).all() and (slope[~clipped & (advantages != 0)] != 0).all()


def test_gspo_of_equal_advantages_has_the_gradient_of_the_datums_ratio():
    now, sampled = np.asarray([-1.0, -2.0, -0.5]), np.asarray([-1.1, -1.9, -0.6])
    _, slope = evaluate("gspo", now, {"logprobs": sampled, "advantages": np.full(3, 2.0)}, None)
    for place in range(3):
        moved = now.copy()
        moved[place] += 1e-6
        ratios = [np.exp((logprobs - sampled).mean()) for logprobs in (now, moved)]
        assert -3 * 2.0 * (ratios[1] - ratios[0]) / 1e-6 == pytest.approx(slope[place], abs=1e-4)


def test_dro_takes_its_beta():
    now, inputs = np.asarray([-1.0]), {"logprobs": np.asarray([-3.0]), "advantages": np.asarray([1.0])}
    loss, slope = evaluate("dro", now, inputs, {"beta": 0.5})
    assert (loss, slope[0]) == (pytest.approx(1.0 + 0.25 * 4.0), pytest.approx(-1.0 + 0.5 * 2.0))


def test_ppo_takes_its_thresholds():
    now, inputs = np.asarray([0.0]), {"logprobs": np.asarray([-0.1]), "advantages": np.asarray([1.0])}
    wide, slope = evaluate("ppo", now, inputs, None)
    narrow, cut = evaluate("ppo", now, inputs, {"clip_high_threshold": 1.05})
    assert (wide, narrow) == (pytest.approx(-np.exp(0.1)), pytest.approx(-1.05))
    assert slope[0] < 0 and cut[0] == 0


def test_gradient_equals_finite_differences():
    weights = Weights(ToyModel("model", TOKENIZER))
    tokens = prompt(TUTOR)
    targets = np.asarray([tokens[1:], tokens[:-1]]).T
    given = {"weights": np.random.default_rng(0).normal(size=targets.shape)}

    def loss(backward=False):
        return weights.forward(tokens[:-1], targets, given, "cross_entropy", None, backward)[0]

    before = loss(backward=True)
    gradient = weights._gradient.copy()
    for row, column in zip(*np.nonzero(np.abs(gradient) > 0.5), strict=True):
        weights._table = weights.model.base.copy()
        weights._table[row, column] += 1e-6
        assert (loss() - before) / 1e-6 == pytest.approx(gradient[row, column], rel=1e-3)


def test_adam_follows_its_formula():
    weights = Weights(ToyModel("model", TOKENIZER))
    start = np.full_like(weights._weights, 0.5)
    weights._weights = start.copy()
    gradients = [np.full_like(start, 2.0), np.full_like(start, -1.0)]
    params = AdamParams(learning_rate=0.1, weight_decay=0.01, eps=1e-3)
    first = second = 0.0
    expected = 0.5
    for number, gradient in enumerate(gradients, start=1):
        weights._gradient = gradient
        weights.step(params)
        first = 0.9 * first + 0.1 * gradient[0, 0]
        second = 0.95 * second + 0.05 * gradient[0, 0] ** 2
        move = (first / (1 - 0.9**number)) / (np.sqrt(second / (1 - 0.95**number)) + 1e-3)
        expected = expected * (1 - 0.1 * 0.01) - 0.1 * move
        assert weights._weights == pytest.approx(expected)


def test_gradient_clipping_bounds_the_norm():
    weights = Weights(ToyModel("model", TOKENIZER))
    weights._gradient[0, 0] = 30.0
    weights._gradient[0, 1] = 40.0
    weights.step(AdamParams(beta1=0.0, grad_clip_norm=5.0))
    assert weights._first[0, :2] == pytest.approx([3.0, 4.0])


def test_sampling_follows_the_probabilities():
    model = ToyModel("model", TOKENIZER)
    tokens = prompt(TUTOR)
    chances = np.exp(model.next_log_probabilities(last_of(model.contexts(tokens)), model.base))
    sampler = FakeServiceClient().create_sampling_client(base_model="model").result()
    params = SamplingParams(max_tokens=1, seed=0)
    answer = sampler.sample(ModelInput.from_ints(tokens), 4000, params).result()
    counts = np.bincount([sequence.tokens[0] for sequence in answer.sequences], minlength=len(TOKENIZER))
    assert np.abs(counts / 4000 - chances).max() < 0.03


def test_top_k_and_top_p_leave_out_the_unlikely():
    model = ToyModel("model", TOKENIZER)
    tokens = prompt(TUTOR)
    likely = np.argsort(-model.next_log_probabilities(last_of(model.contexts(tokens)), model.base))
    sampler = FakeServiceClient().create_sampling_client(base_model="model").result()
    for params in (
        SamplingParams(max_tokens=1, seed=0, top_k=3),
        SamplingParams(max_tokens=1, seed=0, top_p=0.05),
    ):
        answer = sampler.sample(ModelInput.from_ints(tokens), 200, params).result()
        drawn = {sequence.tokens[0] for sequence in answer.sequences}
        assert drawn <= set(likely[:3].tolist()), params


def test_stop_strings_end_a_reply():
    sampler = FakeServiceClient().create_sampling_client(base_model="model").result()
    for stop in ([" a"], ["?", "."]):
        params = SamplingParams(max_tokens=60, seed=0, stop=stop)
        answer = sampler.sample(ModelInput.from_ints(prompt(TUTOR)), 20, params).result()
        for sequence in answer.sequences:
            text = TOKENIZER.decode(sequence.tokens)
            assert any(end in text for end in stop) == (sequence.stop_reason == "stop")
            assert not any(end in TOKENIZER.decode(sequence.tokens[:-1]) for end in stop)


def test_replies_end_where_the_context_does():
    service = FakeServiceClient(max_context_length=len(prompt(TUTOR)) + 3)
    sampler = service.create_sampling_client(base_model="model").result()
    answer = sampler.sample(ModelInput.from_ints(prompt(TUTOR)), 1, SamplingParams(stop=[])).result()
    assert (len(answer.sequences[0].tokens), answer.sequences[0].stop_reason) == (3, "length")


def test_prompts_beyond_the_context_are_refused():
    sampler = FakeServiceClient(max_context_length=10).create_sampling_client(base_model="m").result()
    with pytest.raises(tinker.BadRequestError, match="context length is 10"):
        sampler.compute_logprobs(ModelInput.from_ints([1] * 11)).result()


def test_fake_works_where_torch_and_transformers_are_absent():
    code = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
import numpy as np, tinker
from socratic_distill.testing import FakeServiceClient
training = FakeServiceClient().create_lora_training_client("m").result()
datum = tinker.Datum(tinker.ModelInput.from_ints([1, 2]), {
    "target_tokens": np.asarray([2, 3], np.int64), "weights": np.ones(2, np.float32)})
losses = []
for _ in range(2):
    losses.append(training.forward_backward([datum], "cross_entropy").result().metrics["loss:sum"])
    training.optim_step(tinker.AdamParams(learning_rate=0.1)).result()
assert losses[1] < losses[0]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
