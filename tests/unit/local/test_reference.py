"""The engine against plain transformers, peft and autograd, on two architectures and in three precisions."""

import json
import shutil
import warnings
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, Qwen3Config
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from socratic_distill.local import LocalServiceClient, attention, base_model, draws, sampling
from socratic_distill.local.losses import loss_sum
from socratic_distill.local.machine import Machine
from socratic_distill.local.models import load_base_model
from socratic_distill.local.scoring import ScoreRequest
from socratic_distill.local.tiny import MODEL_DIR
from socratic_distill.local.works import Work

pytestmark = pytest.mark.thinned

# float64 proves the formulas, fp32 is what runs. The bounds: on log-probabilities, absolute; on a loss, as a share of
# the sum of its terms' sizes, since the sum itself may cancel; on a gradient, as a share of the tensor's norm.
PRECISIONS = [("float64", 1e-9, 1e-9), ("float32", 5e-5, 1e-5)]
VOCABULARY = 320
# Rows beyond the packaged tokenizer's tokens are padding: scored, but neither drawn nor named.
KNOWN = 257


@pytest.fixture(autouse=True)
def norms_in_full_precision(monkeypatch):
    """Norms in the precision of their input: transformers rounds them to fp32, whatever the model's precision."""

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def forward_narrow(self, x):
        return forward(self, x) if x.dtype == torch.float64 else plain[type(self)](self, x)

    plain = {norm: norm.forward for norm in (LlamaRMSNorm, Qwen3RMSNorm)}
    for norm in plain:
        monkeypatch.setattr(norm, "forward", forward_narrow)


def save_model(directory, kind):
    """A random model of two layers with grouped heads, and the packaged tokenizer."""
    sizes = {
        "vocab_size": VOCABULARY, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024, "head_dim": 16,
        "tie_word_embeddings": False,
    }  # fmt: skip
    config = {"llama": LlamaConfig, "qwen3": Qwen3Config}[kind](**sizes)
    torch.manual_seed(5)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    AutoTokenizer.from_pretrained(MODEL_DIR).save_pretrained(directory)
    return str(directory)


# By default the one that normalises its queries and keys too; the packaged model, which many tests run, is a Llama.
@pytest.fixture(scope="module", params=[pytest.param("llama", marks=pytest.mark.slow), "qwen3"])
def model_path(request, tmp_path_factory):
    return save_model(tmp_path_factory.mktemp(request.param), request.param)


def tokens_of(seed, size):
    return np.random.default_rng(seed).integers(3, VOCABULARY, size).tolist()


# Beginnings shared by all, by some, and by none; with and without whole blocks of 64.
STEM = tokens_of(0, 150)
PROMPTS = [
    [*STEM, *tokens_of(1, 20)], [*STEM, *tokens_of(2, 95)], [*STEM[:100], *tokens_of(3, 9)], tokens_of(4, 70),
    tokens_of(5, 64), tokens_of(6, 65), tokens_of(7, 3),
]  # fmt: skip


def open_service(path, store, dtype="float32", **options):
    """A service, and a training client of a few random steps, so that its adapter changes something."""
    service = LocalServiceClient(store, dtype=dtype, device="cpu", **options)
    client = service.create_lora_training_client(path, rank=4, seed=1).result()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        for parameter in client._trainer._parameters.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 30)
    return service, client


def open_plain(path, client, dtype, **options):
    """The same weights through peft alone."""
    saved = client.save_weights_for_sampler("for-peft").result().path
    model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(model, saved, autocast_adapter_dtype=False, **options)
    return model.to(getattr(torch, dtype)).eval()


def plain_logprobs(model, tokens):
    """`[N - 1, V]`."""
    logits = model(torch.tensor([tokens])).logits[0, :-1]
    return torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), -1)


def own(logprobs, tokens):
    return logprobs.gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]


def ask(client: Any, prompt, count=1, **options) -> Any:
    params = {"max_tokens": 12, "seed": 0, "stop": []} | options.pop("params", {})
    return client.sample(tinker.ModelInput.from_ints(prompt), count, tinker.SamplingParams(**params), **options)


@pytest.mark.parametrize(("dtype", "bound", "_"), PRECISIONS)
def test_samples_and_scores_are_those_of_a_plain_forward(model_path, tmp_path, monkeypatch, dtype, bound, _):
    monkeypatch.setattr(sampling, "MAX_ROWS", 4)  # fewer than there are replies: rows leave, and others come in
    service, client = open_service(model_path, tmp_path, dtype)
    sampler = client.save_weights_and_get_sampling_client().result()
    plain = open_plain(model_path, client, dtype)
    base = service.models[model_path]
    works = [
        Work(
            tuple(prompt),
            [make_row(8 + 5 * (i % 3), seed=i, index=k) for k in range(1 + i % 3)],
            ScoreRequest(size=len(prompt), logprobs=i % 2 == 0),
        )
        for i, prompt in enumerate(PROMPTS)
    ]
    sampling.carry_out(base, sampler._adapter, works)
    worst = 0.0
    for work in works:
        for row in work.rows:
            whole = [*work.tokens, *row.tokens]
            with torch.no_grad():
                expected = own(plain_logprobs(plain, whole), whole).numpy()
            assert len(row.tokens) == row.max_tokens
            worst = max(worst, np.abs(expected[len(work.tokens) - 1 :] - row.logprobs).max())
            if work.scores is not None:
                worst = max(worst, np.abs(expected[: len(work.tokens) - 1] - work.scores.logprobs[1:]).max())
    assert worst <= bound


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pass_tokens", [1024, 50])
def test_prompts_of_all_lengths_go_together(model_path, tmp_path, seed, pass_tokens):
    service, client = open_service(model_path, tmp_path)
    plain, base = open_plain(model_path, client, "float32"), service.models[model_path]
    base.machine = replace(base.machine, pass_tokens=pass_tokens)
    sampler = client.save_weights_and_get_sampling_client().result()
    random = np.random.default_rng(seed)
    # The first two: the longer has the shorter rest, which padding must not carry beyond its slot.
    prompts = [tokens_of(50, 358), tokens_of(51, 305)]
    prompts += [[*STEM[: random.integers(150)], *tokens_of(i, random.integers(2, 200))] for i in range(22)]
    asked = [40, 40] + [int(random.integers(1, len(prompt))) for prompt in prompts[2:]]
    rows = [[make_row(int(random.integers(1, 6)), seed=i)] if i % 3 == 2 else [] for i in range(24)]
    works = [
        Work(tuple(prompt), row, ScoreRequest(size=len(prompt), logprobs=True, last_n=last_n))
        for prompt, row, last_n in zip(prompts, rows, asked, strict=True)
    ]
    sampling.carry_out(base, sampler._adapter, works)
    for work, last_n in zip(works, asked, strict=True):
        with torch.no_grad():
            whole = [*work.tokens, *(work.rows[0].tokens if work.rows else [])]
            expected = own(plain_logprobs(plain, whole), whole).numpy()
        size = len(work.tokens)
        assert work.scores is not None and np.isnan(work.scores.logprobs[:-last_n]).all()
        np.testing.assert_allclose(work.scores.logprobs[-last_n:], expected[size - 1 - last_n : size - 1], atol=5e-5)
        for row in work.rows:
            np.testing.assert_allclose(row.logprobs, expected[size - 1 :], atol=5e-5)


def make_row(max_tokens, seed, index=0, **options):
    settings = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "stop_tokens": frozenset(), "stop_texts": ()} | options
    return sampling.Row(max_tokens=max_tokens, seed=seed, index=index, **settings)


def datum(tokens, loss_fn, seed):
    """A datum whose loss looks at some positions, and not at others."""
    random = np.random.default_rng(seed)
    size = len(tokens) - 1
    looked = random.random(size) < 0.4
    targets = np.array(tokens[1:])
    if loss_fn == "soft":
        targets = random.integers(0, VOCABULARY, (size, 3))
        inputs = {"weights": random.random((size, 3)) * looked[:, None]}
    elif loss_fn == "cross_entropy":
        inputs = {"weights": random.random(size) * looked}
    else:
        inputs = {"logprobs": random.normal(-5.8, 0.2, size) * looked, "advantages": random.normal(size=size) * looked}
    arrays = {name: tinker.TensorData.from_numpy(value.astype(np.float32)) for name, value in inputs.items()}
    return tinker.Datum(
        model_input=tinker.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={"target_tokens": tinker.TensorData.from_numpy(targets), **arrays},
    )


def plain_terms(plain, one, loss_fn):
    """The loss of each position, `[N]`."""
    inputs = {name: torch.from_numpy(value.to_numpy()) for name, value in one.loss_fn_inputs.items()}
    targets = inputs.pop("target_tokens")
    logprobs = plain_logprobs(plain, [*one.model_input.to_ints(), 0])
    wide = targets if targets.ndim == 2 else targets[:, None]
    logprobs = logprobs.gather(1, wide).reshape(targets.shape)
    if loss_fn == "gspo":  # its tokens depend on each other
        return loss_sum(loss_fn, logprobs, inputs, {})[None]
    return torch.stack([
        loss_sum(loss_fn, logprobs[i], {name: value[i] for name, value in inputs.items()}, {})
        for i in range(len(targets))
    ])  # fmt: skip


@pytest.mark.parametrize("loss_fn", ["cross_entropy", "soft", "importance_sampling", "ppo", "cispo", "gspo", "dro"])
@pytest.mark.parametrize(("dtype", "_", "bound"), PRECISIONS)
def test_losses_and_gradients_are_those_of_autograd(model_path, tmp_path, monkeypatch, dtype, _, bound, loss_fn):
    monkeypatch.setattr(base_model, "LOGITS_BUDGET", 50 * VOCABULARY)  # the output layer in several pieces
    _, client = open_service(model_path, tmp_path, dtype)
    plain = open_plain(model_path, client, dtype, is_trainable=True)
    data = [datum(prompt, loss_fn, seed=i) for i, prompt in enumerate(PROMPTS)]
    name = "cross_entropy" if loss_fn == "soft" else loss_fn
    output = client.forward_backward(data, name).result()
    terms = torch.cat([plain_terms(plain, one, name) for one in data])
    terms.sum().backward()
    size = terms.abs().sum().item()
    assert abs(output.metrics["loss:sum"] - terms.sum().item()) <= bound * size, f"the terms' sizes sum to {size}"
    expected = {n.replace(".default.", "."): p.grad for n, p in plain.named_parameters() if p.requires_grad}
    actual = {f"base_model.model.{n}": p.grad for n, p in client._trainer._parameters.items()}
    assert actual.keys() == expected.keys()
    for tensor, gradient in expected.items():
        found = actual[tensor]
        assert gradient is not None and found is not None
        assert (found - gradient).norm() <= bound * gradient.norm(), tensor


def test_trainers_log_probabilities_are_the_samplers(model_path, tmp_path):
    _, client = open_service(model_path, tmp_path)
    sampler = client.save_weights_and_get_sampling_client().result()
    for i, prompt in enumerate(PROMPTS):
        reply = ask(sampler, prompt, params={"seed": i}).result().sequences[0]
        whole = [*prompt, *reply.tokens]
        output = client.forward([datum(whole, "cross_entropy", 0)], "cross_entropy").result()
        trainers = output.loss_fn_outputs[0]["logprobs"].to_numpy()[-len(reply.tokens) :]
        assert np.abs(trainers - np.array(reply.logprobs)).max() <= 5e-5


def test_bf16_agrees_with_itself_and_keeps_adapters_in_fp32(model_path, tmp_path):
    _, client = open_service(model_path, tmp_path, "bfloat16")
    assert {p.dtype for p in client._trainer._parameters.values()} == {torch.float32}
    sampler = client.save_weights_and_get_sampling_client().result()
    differences = []
    for i, prompt in enumerate(PROMPTS):
        reply = ask(sampler, prompt, params={"seed": i}).result().sequences[0]
        one = datum([*prompt, *reply.tokens], "cross_entropy", 0)
        trainers = client.forward([one], "cross_entropy").result().loss_fn_outputs[0]["logprobs"].to_numpy()
        differences.append(trainers[-len(reply.tokens) :] - np.array(reply.logprobs))
    assert np.abs(np.concatenate(differences)).mean() <= 2e-2
    client.forward_backward([datum(PROMPTS[0], "importance_sampling", 0)], "importance_sampling").result()
    client.optim_step(tinker.AdamParams(learning_rate=1e-3)).result()
    assert {t.dtype for t in client._trainer.optimizer_tensors().values()} == {torch.float32}


@pytest.mark.parametrize("few", [0, 2**17])
def test_both_ways_of_attending_are_torchs_own(few, monkeypatch):
    monkeypatch.setattr(attention, "_FEW_SCORES", few)
    torch.manual_seed(0)
    module = torch.nn.Module()
    module.num_key_value_groups = 3  # pyright: ignore[reportArgumentType]
    mask = torch.full((2, 1, 4, 7), 0.0).masked_fill_(torch.rand(2, 1, 4, 7) < 0.3, float("-inf"))
    mask[..., 0] = 0.0  # every position sees something
    for shared_mask, width in ((mask, 7), (mask[:1], 7), (None, 4)):
        query, key, value = (torch.randn(2, n, m, 8, dtype=torch.float64) for n, m in ((6, 4), (2, width), (2, width)))
        expected = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, shared_mask, is_causal=shared_mask is None, scale=0.3, enable_gqa=True
        )
        found, _ = attention.attend(module, query, key, value, shared_mask, scaling=0.3)
        assert torch.allclose(found, expected.transpose(1, 2), atol=1e-12)


def test_recomputed_activations_give_the_same_gradients(model_path, tmp_path):
    gradients = []
    for recompute in (False, True):
        _, client = open_service(model_path, tmp_path / str(recompute), "float64", gradient_checkpointing=recompute)
        client.forward_backward([datum(p, "ppo", 1) for p in PROMPTS], "ppo").result()
        gradients.append({name: p.grad for name, p in client._trainer._parameters.items()})
        reply = ask(client.save_weights_and_get_sampling_client().result(), PROMPTS[0]).result()
        assert len(reply.sequences[0].tokens) == 12  # sampling keeps its cache
    for name, gradient in gradients[0].items():
        assert (gradients[1][name] - gradient).norm() <= 1e-9 * gradient.norm(), name


SEEDS_A_PROMPT = 8


def replies_of(path, store, groups):
    """Replies to all prompts, several seeds each, asked for in groups of prompts; each group in one batch."""
    _, client = open_service(path, store)
    sampler = client.save_weights_and_get_sampling_client().result()
    found = {}
    for group in groups:
        keys = [(i, seed) for i in group for seed in range(SEEDS_A_PROMPT)]
        futures = {key: ask(sampler, PROMPTS[key[0]], params={"seed": key[1], "max_tokens": 40}) for key in keys}
        found |= {key: future.result().sequences[0] for key, future in futures.items()}
    return client, found


def redraw(plain, prompt, tokens, seed):
    """A reply's draws on a plain forward: the tokens they give, and how far each lies from a boundary, shares of 1."""
    stream = draws.stream(seed, 0, "reply")
    numbers = torch.tensor([[stream.random()] for _ in tokens], dtype=torch.float64)
    with torch.no_grad():
        logits = plain(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
    reached = torch.softmax(logits[:, :KNOWN].double(), -1).cumsum(-1)
    return torch.searchsorted(reached, numbers)[:, 0].tolist(), (reached - numbers).abs().min(-1).values.numpy()


def test_seeded_replies_are_the_same_in_every_batch(model_path, tmp_path):
    everyone = list(range(len(PROMPTS)))
    client, together = replies_of(model_path, tmp_path / "a", [everyone])
    _, alone = replies_of(model_path, tmp_path / "b", [[i] for i in reversed(everyone)])
    plain, parted, close, count = open_plain(model_path, client, "float32"), 0, 0, 0
    for (i, seed), reply in together.items():
        again, gaps = redraw(plain, PROMPTS[i], reply.tokens, seed)
        close, count = close + (gaps <= 1e-4).sum(), count + len(gaps)
        assert all(a == b or gap <= 1e-4 for a, b, gap in zip(reply.tokens, again, gaps, strict=True))
        other = alone[i, seed]
        differing = [at for at, (a, b) in enumerate(zip(reply.tokens, other.tokens, strict=True)) if a != b]
        alike = min(differing, default=len(reply.tokens))
        parted += bool(differing)
        assert not differing or gaps[alike] <= 1e-4, "replies differ at a draw that is not at a boundary of two tokens"
        np.testing.assert_allclose(reply.logprobs[:alike], other.logprobs[:alike], atol=5e-5)
    print(f"{parted} of {len(together)} replies parted; {close} of {count} draws lie within 1e-4 of a boundary")
    # Of evenly spread draws, 2e-4 of the way between 320 tokens is that close; far more would make the bound an excuse.
    assert count == 40 * len(together) and close <= 3 * 2e-4 * VOCABULARY * count


def test_what_is_remembered_changes_no_bit(model_path, tmp_path):
    service, client = open_service(model_path, tmp_path)
    sampler = client.save_weights_and_get_sampling_client().result()

    def answers():
        futures = [ask(sampler, p, params={"seed": i}, include_prompt_logprobs=True, prompt_logprobs_last_n=2)
                   for i, p in enumerate(PROMPTS)]  # fmt: skip
        return [(r.sequences[0].tokens, r.sequences[0].logprobs, r.prompt_logprobs) for r in _results(futures)]

    first = answers()
    prefixes = service.models[model_path].prefixes
    assert len(prefixes._blocks) == 4, "two of the stem, one behind them, and one of a prompt of its own"
    again = answers()
    assert sampler._adapter is not None
    prefixes.forget(sampler._adapter)
    assert not prefixes._blocks and not prefixes._bytes
    assert first == again == answers()


def _results(futures):
    return [future.result() for future in futures]


def test_likeliest_tokens_are_those_of_a_plain_forward(model_path, tmp_path):
    _, client = open_service(model_path, tmp_path)
    sampler, plain = client.save_weights_and_get_sampling_client().result(), open_plain(model_path, client, "float32")
    prompt = PROMPTS[2]
    answer = ask(sampler, prompt, topk_prompt_logprobs=3, topk_sample_logprobs=4).result()
    reply = answer.sequences[0]
    with torch.no_grad():
        every = plain_logprobs(plain, [*prompt, *reply.tokens])
    tops = [answer.topk_prompt_logprobs[1:], reply.topk_logprobs]
    assert answer.topk_prompt_logprobs[0] is None and answer.prompt_logprobs is None
    for top, rows, count in zip(tops, (every[: len(prompt) - 1], every[len(prompt) - 1 :]), (3, 4), strict=True):
        assert len(top) == len(rows)
        for found, row in zip(top, rows, strict=True):
            best = row[:KNOWN].topk(count)
            assert [token for token, _ in found] == best.indices.tolist()
            np.testing.assert_allclose([value for _, value in found], best.values, atol=5e-5)
    last = ask(sampler, prompt, topk_prompt_logprobs=3, include_prompt_logprobs=True, prompt_logprobs_last_n=5).result()
    assert last.topk_prompt_logprobs[:-5] == [None] * (len(prompt) - 5) == last.prompt_logprobs[:-5]
    assert [t[0][0] for t in last.topk_prompt_logprobs[-5:]] == [t[0][0] for t in answer.topk_prompt_logprobs[-5:]]


@pytest.mark.parametrize("sparse", [False, True])
def test_targets_are_scored_where_they_are_named(model_path, tmp_path, sparse):
    _, client = open_service(model_path, tmp_path)
    sampler, plain = client.save_weights_and_get_sampling_client().result(), open_plain(model_path, client, "float32")
    prompt = PROMPTS[0]
    ids = torch.full((len(prompt) - 1, 40), -1, dtype=torch.int64)
    ids[150, 0], ids[160, 3], ids[168, 39] = 7, 300, 12
    targets = (
        tinker.TensorData.from_torch_sparse(ids, pad_value=-1) if sparse else tinker.TensorData.from_numpy(ids.numpy())
    )
    found = ask(sampler, prompt, target_prompt_logprobs=targets, params={"max_tokens": 1}).result()
    scored = found.target_prompt_logprobs
    assert scored is not None and (scored.sparse_crow_indices is not None) == sparse
    with torch.no_grad():
        every = plain_logprobs(plain, prompt)
    expected = np.where(ids >= 0, every.gather(1, ids.clamp(min=0)), 0)
    np.testing.assert_allclose(scored.to_numpy(), expected, atol=5e-5)


def test_alternatives_are_drawn_from_the_models_distribution(model_path, tmp_path):
    _, client = open_service(model_path, tmp_path)
    sampler, plain = client.save_weights_and_get_sampling_client().result(), open_plain(model_path, client, "float32")
    prompt = PROMPTS[3][:5]
    answer = ask(sampler, prompt, prompt_alt_tokens_k=3000, params={"max_tokens": 1, "temperature": 0.5}).result()
    drawn, logprobs = answer.prompt_alt_tokens.tokens.to_numpy(), answer.prompt_alt_tokens.logprobs.to_numpy()
    assert drawn.shape == logprobs.shape == (4, 3000)
    with torch.no_grad():
        every = plain_logprobs(plain, prompt)
    np.testing.assert_allclose(logprobs, every.gather(1, torch.from_numpy(drawn)), atol=5e-5)
    for row, tokens in zip(torch.softmax(every[:, :KNOWN] / 0.5, -1), drawn, strict=True):
        token = int(row.argmax())
        chance = row[token].item()
        assert abs((tokens == token).mean() - chance) <= 4 * np.sqrt(chance * (1 - chance) / 3000)
    again = ask(sampler, prompt, prompt_alt_tokens_k=3000, params={"max_tokens": 1, "temperature": 0.5}).result()
    assert (again.prompt_alt_tokens.tokens.to_numpy() == drawn).all()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"prompt_logprobs_last_n": 2}, "needs include_prompt_logprobs"),
        ({"include_prompt_logprobs": True, "prompt_logprobs_last_n": 170}, "give 1 to 169"),
        ({"target_prompt_logprobs": np.full((169, 2), -1)}, "names no token id"),
        ({"target_prompt_logprobs": np.zeros((5, 2), np.int64)}, r"takes \[169, K\]"),
        ({"target_prompt_logprobs": np.full((169, 1), 10**6)}, "ids outside"),
        ({"params": {"max_tokens": 0}}, "max_tokens is 0"),
        ({"params": {"top_p": 0.0}}, "top_p"),
        ({"count": 0}, "num_samples is 0"),
    ],
)
def test_questions_that_do_not_fit_are_refused(tmp_path, options, problem):
    sampler = LocalServiceClient(tmp_path).create_sampling_client(base_model="tiny").result()
    if "target_prompt_logprobs" in options:
        options = options | {"target_prompt_logprobs": tinker.TensorData.from_numpy(options["target_prompt_logprobs"])}
    with pytest.raises(tinker.BadRequestError, match=problem):
        ask(sampler, [token % 200 for token in PROMPTS[0]], **options).result()


def test_a_reply_ends_with_its_stop_text_however_its_tokens_split_it(tmp_path):
    sampler = LocalServiceClient(tmp_path).create_sampling_client(base_model="tiny").result()
    tokenizer, prompt = sampler.get_tokenizer(), [token % 200 for token in PROMPTS[0]]
    free = ask(sampler, prompt, params={"max_tokens": 40}).result().sequences[0]
    text = tokenizer.decode(free.tokens, skip_special_tokens=False)
    stop = text[10:16]
    reply = ask(sampler, prompt, params={"max_tokens": 40, "stop": [stop]}).result().sequences[0]
    said = tokenizer.decode(reply.tokens, skip_special_tokens=False)
    assert reply.stop_reason == "stop"
    assert stop in said and stop not in tokenizer.decode(reply.tokens[:-1], skip_special_tokens=False)
    assert free.tokens[: len(reply.tokens)] == reply.tokens


def test_forgotten_blocks_make_room(model_path, tmp_path):
    from socratic_distill.local.prefixes import PrefixMemory

    service, client = open_service(model_path, tmp_path)
    base = service.models[model_path]
    one = base.shape.position_bytes * 64
    base.prefixes = PrefixMemory(limit=2 * one)
    sampler = client.save_weights_and_get_sampling_client().result()
    scores = [sampler.compute_logprobs(tinker.ModelInput.from_ints(p)).result() for p in PROMPTS]
    for prompt in PROMPTS:
        ask(sampler, prompt).result()
    assert base.prefixes._bytes <= 2 * one
    assert scores == [sampler.compute_logprobs(tinker.ModelInput.from_ints(p)).result() for p in PROMPTS]


def test_devices_and_precisions_that_are_not_there_are_refused(tmp_path):
    from socratic_distill import LocalEngineError

    wrong: list[dict[str, Any]] = [{"device": "abacus"}, {"dtype": "int3"}]
    for options in wrong:
        with pytest.raises(LocalEngineError, match="is unknown"):
            LocalServiceClient(tmp_path, **options)
    if not torch.cuda.is_available():
        with pytest.raises(LocalEngineError, match="finds no GPU"):
            LocalServiceClient(tmp_path, device="cuda")


def test_bf16_is_chosen_where_it_is_fast_and_the_weights_are_no_finer():
    fast = replace(Machine.choose("cpu"), fast_bf16=True)
    slow = replace(fast, fast_bf16=False)
    for stored in (torch.bfloat16, torch.float16):
        assert (fast.precision(stored), slow.precision(stored)) == (torch.bfloat16, torch.float32)
    for stored in (torch.float32, None):
        assert fast.precision(stored) == torch.float32
    assert replace(fast, dtype=torch.float64).precision(torch.bfloat16) == torch.float64


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_a_models_own_precision_decides(model_path, tmp_path, stored):
    shutil.copytree(model_path, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    (tmp_path / "model/config.json").write_text(json.dumps(config | {"dtype": stored}))
    machine = replace(Machine.choose("cpu"), fast_bf16=True)
    model, _ = load_base_model(str(tmp_path / "model"), False, machine)
    assert model.dtype == getattr(torch, stored)
