import pytest
from hypothesis import given, strategies as st

from socratic_distill.testing import ToyTokenizer

TOKENIZER = ToyTokenizer()
TALK = [
    {"role": "system", "content": "You are a tutor."},
    {"role": "user", "content": "It is 12."},
    {"role": "assistant", "content": "Why?"},
]


@given(st.text(st.characters(codec=None)))
def test_any_text_survives_encoding(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text


@given(st.lists(st.sampled_from(["<|end|>", "<|user|>", " the", "12", "é", "<|en", "\n"])))
def test_text_with_special_tokens_survives_encoding(parts):
    text = "".join(parts)
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.lists(st.integers(0, len(TOKENIZER) - 1)))
def test_any_ids_decode(ids):
    assert isinstance(TOKENIZER.decode(ids), str)


def test_words_carry_their_leading_space():
    assert len(TOKENIZER.encode("What is the answer?")) == 5


def test_special_text_is_one_token():
    assert TOKENIZER.encode("<|end|>") == [TOKENIZER.eos_token_id]


def test_special_tokens_can_be_left_out():
    ids = TOKENIZER.encode("<|assistant|>Why?<|end|>")
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "Why?"


def test_vocabulary_names_every_id_once():
    assert sorted(TOKENIZER.get_vocab().values()) == list(range(len(TOKENIZER)))
    assert TOKENIZER.eos_token_id in TOKENIZER.all_special_ids


def test_template_renders_roles_in_order():
    text = TOKENIZER.apply_chat_template(TALK, tokenize=False, enable_thinking=False)
    assert text == ("<|system|>You are a tutor.<|end|>\n<|user|>It is 12.<|end|>\n<|assistant|>Why?<|end|>\n")


def test_template_opens_a_reply():
    shut = TOKENIZER.apply_chat_template(TALK[:2], tokenize=False)
    opened = TOKENIZER.apply_chat_template(TALK[:2], tokenize=False, add_generation_prompt=True)
    assert opened == shut + "<|assistant|>"
    assert TOKENIZER.apply_chat_template(TALK[:2], add_generation_prompt=True) == TOKENIZER.encode(opened)


@pytest.mark.parametrize("talk", [[{"role": "tool", "content": ""}], TALK[::-1]])
def test_template_refuses_other_roles_and_a_late_system_message(talk):
    with pytest.raises(ValueError):
        TOKENIZER.apply_chat_template(talk, tokenize=False)
