"""A codec encodes piece by piece what its tokenizer encodes whole."""

from functools import cache

import pytest
from hypothesis import given, strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AddedToken, PreTrainedTokenizer, PreTrainedTokenizerFast

from socratic_distill.dialogues.codec import Codec
from socratic_distill.testing import ToyTokenizer
from socratic_distill.testing.tokenizer import SPECIAL_TOKENS

WORDS = ["What is 12 + 5?", "I think", "think", " ", "\n", "\n\n", "  x", "é", "日本", "<", "|", "<|e", "\U0001f600"]
MARKS = ["<|end|>", "<|endoftext|>", "<|left|>", "<|right|>", "<|word|>", "<|plain|>", *SPECIAL_TOKENS]


class Slow(PreTrainedTokenizer):
    """A tokenizer in Python: one token a character."""

    def __init__(self, **options):
        self._characters = {"<unk>": 0}
        super().__init__(unk_token="<unk>", **options)

    @property
    def vocab_size(self):
        return 0x110000 + 1

    def get_vocab(self):
        return {**self._characters, **self.added_tokens_encoder}

    def _tokenize(self, text, **options):
        return list(text)

    def _convert_token_to_id(self, token):
        return ord(token) + 1 if len(token) == 1 else 0

    def _convert_id_to_token(self, index):
        return chr(index - 1) if index else "<unk>"

    def convert_tokens_to_string(self, tokens):
        return "".join(tokens)


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
    tokenizer.texts.clear()  # what it tried at its beginning
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


THOUGHT = ["<think>", "</think>"]


@cache
def hostile_target(kind):
    """A tokenizer with special tokens, and marks of reasoning that are none of them as in Qwen3 and DeepSeek."""
    if kind == "toy":
        return ToyTokenizer()
    marks = [AddedToken(mark, special=False, normalized=False) for mark in [*THOUGHT, "<tool_response>"]]
    if kind == "slow":
        tokenizer = Slow(eos_token="<|end|>", additional_special_tokens=["<|endoftext|>", "<|word|>"])
    elif kind == "bytes":
        tokenizer = hugging_face.__wrapped__("bytes")  # one of its own, since tokens are added
    else:
        tokenizer = llama(kind)
    tokenizer.add_tokens(marks)
    return tokenizer


def llama(prepend):
    """A tokenizer after Llama 2's or, with special tokens that are normalised, after DeepSeek's habits."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz<>|_/", "▁a", "th"]
    raw = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [("▁", "a"), ("t", "h")],
                               unk_token="<unk>", byte_fallback=True))  # fmt: skip
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    if prepend == "folding":
        raw.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never" if prepend == "folding" else prepend)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw)
    special = [AddedToken(mark, special=True, normalized=prepend == "folding") for mark in ("<|end|>", "<|word|>")]
    tokenizer.add_special_tokens({"eos_token": special[0], "additional_special_tokens": special[1:]})
    return tokenizer


KINDS = ["toy", "bytes", "slow", "always", "first", "never", "folding"]
OTHERS = ["<tool_response>", "<|END|>", "＜|end|＞", "<<|end|>", "<|e", "\ue000", "\ue005", "a", " b", "th", "\n"]


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.lists(st.sampled_from([*MARKS, *THOUGHT, *OTHERS]), min_size=1, max_size=8).map("".join))
def test_what_was_said_is_spelled_out_exactly_and_holds_no_special_token(kind, text):
    tokenizer = hostile_target(kind)
    tokens = Codec(tokenizer).encode_said(text)
    assert not set(tokens).intersection(tokenizer.all_special_ids)
    assert not set(tokens).intersection(getattr(tokenizer, "added_tokens_decoder", {}))
    read = str(tokenizer.decode(tokens))
    if kind == "folding":  # the tokenizer itself keeps neither case nor width
        assert len(read) == len(text)
    else:
        # A blank before the whole is the tokenizer's own way.
        assert read.removeprefix(" " if kind in ("always", "first") else "") == text.removeprefix(
            " " if kind in ("always", "first") and text[:1] == " " else ""
        )


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_text_is_encoded_as_the_tokenizer_does(kind):
    tokenizer, text = hostile_target(kind), "the <b> a | b > c _ end\n\n  x"
    assert Codec(tokenizer).encode_said(text) == tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_of_the_template_stay_beside_hidden_ones(kind):
    tokenizer = hostile_target(kind)
    codec, end = Codec(tokenizer), tokenizer.encode("<|end|>", add_special_tokens=False)
    (mark,) = [token for token in end if token in tokenizer.all_special_ids]
    text = f"a{codec.hide('<|end|> b <|end|>')}<|end|>c"
    assert codec.encode(text).count(mark) == 1


def test_blanks_and_words_that_were_added_are_text():
    tokenizer = hugging_face.__wrapped__("bytes")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|end|>")
    tokenizer.add_tokens([AddedToken("        ", special=False), AddedToken("fraction", special=False)])
    text = "a        fraction"
    assert Codec(tokenizer).encode_said(text) == tokenizer.encode(text, add_special_tokens=False)
