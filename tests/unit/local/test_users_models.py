"""Models as users bring them: what is missing or odd about their tokenizers is handled, or refused plainly."""

from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from tests.support.rows import read_rows
from tinker import ModelInput, SamplingParams
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig

from socratic_distill import LocalEngineError, RenderingError, build_socratic_config, train
from socratic_distill.dialogues.codec import Codec
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.local import LocalServiceClient
from socratic_distill.local.tiny import MODEL_DIR, TRAIN_SEEDS

pytestmark = pytest.mark.thinned


def save_model(directory, rows=None, **changes):
    """A random Llama with `rows` embeddings and the packaged tokenizer, some of its attributes changed."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(directory)
    sizes: dict[str, Any] = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 1024,
    }  # fmt: skip
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=rows or len(tokenizer), **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    return str(directory)


BETA: dict[str, Any] = {"jensen_shannon": {"beta": 0.5}}


def config_of(model, log_path, teacher, **changes: Any):
    return build_socratic_config(
        tutor_model_name=model,
        student_model_name=model,
        teacher_model_name=teacher or model,
        learning_rate=1e-3,
        max_tokens=10,
        log_path=log_path,
        base_url="local",
        seeds_file=TRAIN_SEEDS,
        groups_per_batch=2,
        num_envs=2,
        max_turns=2,
        max_steps=1,
        display="off",
        **changes,
    )


def train_one_step(model, log_path, teacher=None, **changes: Any):
    """One step; the rows of its dialogues."""
    config = config_of(model, log_path, teacher, **changes)
    assert train(config).status == "completed"
    return read_rows(log_path / "dialogues.jsonl")


def test_a_model_without_a_chat_template_is_refused(tmp_path):
    model = save_model(tmp_path / "model", chat_template=None)
    with pytest.raises(
        RenderingError, match=r"has no chat template.*instruct variant, or give a template \(tutor_chat_template_file"
    ):
        train_one_step(model, tmp_path / "run")


def test_a_tokenizer_without_a_pad_token_serves(tmp_path):
    dialogues = train_one_step(save_model(tmp_path / "model", pad_token=None), tmp_path / "run")
    assert [one["error"] for one in dialogues] == [None] * 4


# Embeddings padded beyond the tokenizer, as 151,936 and 152,064 rows of models of one family.
@pytest.mark.parametrize(
    ("rows", "objective"),
    [
        ((300, 600), "sampled_reverse_kl"),
        ((600, 300), "sampled_reverse_kl"),
        ((None, 600), "forward_kl"),
        ((600, None), "jensen_shannon"),
    ],
)
def test_models_padded_to_different_widths_train_together(tmp_path, rows, objective):
    known = len(AutoTokenizer.from_pretrained(MODEL_DIR))
    tutor, teacher = (save_model(tmp_path / name, rows=n) for name, n in zip(("a", "b"), rows, strict=True))
    options: dict[str, Any] = {"kind": objective} if objective == "sampled_reverse_kl" else {"kind": objective, "k": 8}
    dialogues = train_one_step(tutor, tmp_path / "run", teacher, objective=options | BETA.get(objective, {}))
    assert [one["error"] for one in dialogues] == [None] * 4
    replies = [turn for one in dialogues for turn in one["turns"] if turn["role"] == "tutor"]
    assert replies and all(token < known for turn in replies for token in turn["tokens"])


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_padding_is_never_drawn_or_named_and_still_scored(tmp_path, service, temperature):
    path = save_model(tmp_path / "model", rows=2000)
    known = len(AutoTokenizer.from_pretrained(MODEL_DIR))
    client = service.create_sampling_client(base_model=path).result()
    model = service.models[path].model
    with torch.no_grad():  # padding is likelier than all tokens together
        model.lm_head.weight[known:] = model.lm_head.weight[:known].mean(0) * 30
    params = tinker.SamplingParams(max_tokens=20, temperature=temperature, seed=1, stop=[])
    prompt = tinker.ModelInput.from_ints([7, 8, 9])
    answer = client.sample(
        prompt, 4, params, topk_prompt_logprobs=known + 5, topk_sample_logprobs=3, prompt_alt_tokens_k=50
    ).result()
    assert all(token < known for one in answer.sequences for token in one.tokens)
    assert all(token < known for one in answer.sequences for row in one.topk_logprobs for token, _ in row)
    assert (answer.prompt_alt_tokens.tokens.to_numpy() < known).all()
    assert {token for token, _ in answer.topk_prompt_logprobs[1]} == set(range(known)), "every token, and no padding"
    reply = answer.sequences[0]
    with torch.no_grad():
        logits = model(torch.tensor([[7, 8, 9, *reply.tokens]])).logits[0, 2:-1]
    expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(reply.tokens)[:, None])[:, 0]
    np.testing.assert_allclose(reply.logprobs, expected, atol=5e-5)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    model = save_model(tmp_path / "model", rows=100)
    with pytest.raises(LocalEngineError, match=r"does not belong to its weights: 157 of its tokens.*knows 100"):
        train_one_step(model, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_template_that_writes_a_token_beyond_the_weights_is_refused(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"eos_token": "<|turn ends|>"})
    tokenizer.chat_template = tokenizer.chat_template.replace("<|end|>", "<|turn ends|>")
    assert "<|turn ends|>" in tokenizer.chat_template
    model = save_model(tmp_path / "model", rows=rows)
    tokenizer.save_pretrained(model)
    with pytest.raises(
        LocalEngineError, match=rf"chat template of model .* writes '<\|turn ends\|>', token {rows}, but"
    ):
        train_one_step(model, tmp_path / "run")


def test_every_end_token_of_generation_config_ends_a_reply(tmp_path):
    model = save_model(tmp_path / "model")

    def sample(stop=None):
        client = LocalServiceClient(tmp_path / "store").create_sampling_client(base_model=model).result()
        params = SamplingParams(max_tokens=12, temperature=1.0, seed=3, stop=stop)
        return client.sample(ModelInput.from_ints([5, 6, 7]), 1, params).result().sequences[0], client.get_tokenizer()

    free, tokenizer = sample(stop=[])
    end, other = tokenizer.eos_token_id, free.tokens[5]
    assert end not in free.tokens and other not in free.tokens[:5] and tokenizer.end_token_ids == (end,)
    config = GenerationConfig(eos_token_id=[end, other])
    config.save_pretrained(model)
    stopped, tokenizer = sample()
    assert (stopped.tokens, stopped.stop_reason) == (free.tokens[:6], "stop")
    renderer = Renderer(Codec(tokenizer), "model")
    assert renderer.end_tokens == (end, other) and renderer.own_length(stopped.tokens) == 5


def test_marks_beyond_the_weights_do_no_harm_while_no_text_holds_them(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<|a mark of its own|>"})
    model = save_model(tmp_path / "model", rows=rows)
    tokenizer.save_pretrained(model)
    assert [one["error"] for one in train_one_step(model, tmp_path / "run")] == [None] * 4


def test_check_says_what_of_the_tutor_is_trained(tmp_path):
    from architectures import save_architecture

    from socratic_distill.training.preflight import preflight

    model = save_architecture(tmp_path / "model", "Mixtral")
    config = config_of(model, tmp_path / "run", None)
    assert preflight(config).lora == (
        f"LoRA reaches 28 % of the linear weights of model {model!r}; not reached: "
        "model.layers.*.mlp.experts.down_proj, model.layers.*.mlp.experts.gate_up_proj; the fast path reads it"
    )
