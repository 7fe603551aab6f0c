"""A sequence classifier as a reward model: on random weights, with the tokenizer of the packaged model."""

import pytest

pytest.importorskip("torch")

import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForSequenceClassification

from socratic_distill import LocalEngineError
from socratic_distill.local.reward_model import RewardModel
from socratic_distill.local.tiny import MODEL_DIR

TALK = [
    {"role": "system", "content": "Judge."},
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "What do you think?"},
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("reward")
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    config.num_labels = 1
    Qwen2ForSequenceClassification(config).save_pretrained(path)
    return path


def test_score_is_the_logit_after_the_last_token(directory):
    model = Qwen2ForSequenceClassification.from_pretrained(directory, dtype=torch.bfloat16).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokens = tokenizer.apply_chat_template(TALK, tokenize=True, return_tensors="pt", return_dict=True)["input_ids"]
    with torch.no_grad():
        hidden = model.model(tokens).last_hidden_state[0, -1]
        wanted = float(model.score(hidden)[0])
    assert RewardModel(directory).score(TALK) == pytest.approx(wanted, abs=1e-2)


def test_scores_tell_replies_apart_and_repeat(directory):
    model, other = RewardModel(directory), [*TALK[:-1], {"role": "assistant", "content": "It is 5."}]
    assert model.score(TALK) == model.score(TALK) != model.score(other)


def test_directory_without_a_model_is_refused(tmp_path):
    with pytest.raises(LocalEngineError, match="expected the directory of a reward model"):
        RewardModel(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(LocalEngineError, match="cannot be loaded"):
        RewardModel(tmp_path)
