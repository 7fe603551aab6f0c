"""A codec encodes piece by piece what its tokenizer encodes whole."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AddedToken, PreTrainedTokenizerFast

from socratic_distill.rendering import Codec
from socratic_distill.testing import ToyTokenizer
from socratic_distill.testing.tokenizer import SPECIAL_TOKENS

WORDS = ["What is 12 + 5?", "I think", "think", " ", "\n", "\n\n", "  x", "é", "日本", "<", "|", "<|e", "\U0001f600"]
MARKS = ["<|end|>", "<|endoftext|>", "<|left|>", "<|right|>", "<|word|>", "<|plain|>", *SPECIAL_TOKENS]


class Counting:
    """Counts what a tokenizer is asked for."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self.texts = []

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)

    def encode(self, text, add_special_tokens):
        self.texts.append(text)
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)


@cache
def hugging_face(kind):
    """A BPE tokenizer after the habits of GPT-2, Llama 2 or Llama 3, with special tokens that take blanks or not."""
    raw = Tokenizer(models.BPE(byte_fallback=kind != "bytes"))
    if kind == "bytes":
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
    elif kind == "normalizer":
        raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind)
    alphabet = pre_tokenizers.ByteLevel.alphabet() if kind == "bytes" else []
    raw.train_from_iterator(WORDS * 3, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    marks = [
        AddedToken("<|end|>", special=True),
        AddedToken("<|endoftext|>", special=True),
        AddedToken("<|left|>", special=True, lstrip=True),
        AddedToken("<|right|>", special=True, rstrip=True),
        AddedToken("<|word|>", special=True, single_word=True),
    ]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": marks[1:]})
    tokenizer.add_tokens([AddedToken("<|plain|>", special=False, lstrip=True)])
    return tokenizer


@pytest.mark.parametrize("kind", ["toy", "bytes", "always", "first", "never", "normalizer"])
@given(text=st.lists(st.sampled_from([*WORDS, *MARKS]) | st.text(max_size=3), max_size=12).map("".join))
def test_pieces_make_the_tokens_of_the_whole(kind, text):
    tokenizer = ToyTokenizer() if kind == "toy" else hugging_face(kind)
    whole = tokenizer.encode(text, add_special_tokens=False)
    codec = Codec(tokenizer)
    assert codec.encode(text) == codec.encode(text) == whole


def test_what_prompts_share_is_encoded_once():
    tokenizer = Counting(ToyTokenizer())
    codec = Codec(tokenizer)
    codec.encode("<|system|>Be brief.<|end|>\n<|user|>One?<|end|>\n<|assistant|>")
    codec.encode("<|system|>Be brief.<|end|>\n<|user|>Two?<|end|>\n<|assistant|>")
    assert tokenizer.texts == [
        "<|system|>Be brief.", "<|end|>\n", "<|user|>One?", "<|assistant|>", "<|user|>Two?",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["toy", "bytes", "always", "first", "never", "normalizer"])
@given(texts=st.lists(st.sampled_from([*WORDS, *MARKS]), max_size=8))
def test_pieces_are_one_a_token_and_spell_the_text_together(kind, texts):
    tokenizer = ToyTokenizer() if kind == "toy" else hugging_face(kind)
    tokens = tokenizer.encode("".join(texts), add_special_tokens=False)
    pieces = Codec(tokenizer).pieces(tokens)
    assert len(pieces) == len(tokens)
    assert "".join(pieces) == tokenizer.decode(tokens, skip_special_tokens=False)


def test_piece_of_a_character_in_several_tokens_stands_at_its_last():
    tokenizer = ToyTokenizer()
    tokens = tokenizer.encode("\U0001f600!")
    assert Codec(tokenizer).pieces(tokens) == ["", "", "", "\U0001f600", "!"]
    assert Codec(tokenizer).pieces(tokens[:2]) == ["", "\ufffd"], "a text that ends within a character"


def test_pieces_of_bytes_that_are_no_text_do_not_swallow_what_follows():
    tokenizer = ToyTokenizer()
    lone = tokenizer.encode("\U0001f600")[1]  # a byte that begins nothing
    pieces = Codec(tokenizer).pieces([lone] * 5 + tokenizer.encode("ok"))
    assert "".join(pieces).count("\ufffd") == 5 and "".join(pieces).endswith("ok")
