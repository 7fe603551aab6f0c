"""What the engine finds out about a model before it runs it."""

import inspect
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

from socratic_distill.local.base_model import BaseModel
from socratic_distill.local.machine import Machine
from socratic_distill.local.probe import cache_argument, context_length, state_argument


class Decoder:
    """A model whose decoder has some forward method."""

    def __init__(self, forward):
        self.forward = forward

    def get_decoder(self):
        return self


def test_the_cache_goes_by_the_name_that_the_decoder_knows():
    assert cache_argument(Decoder(lambda input_ids, cache=None, use_cache=None: None)) == "cache"
    assert cache_argument(Decoder(lambda input_ids, past_key_values=None, use_cache=None: None)) == "past_key_values"


def test_the_tiny_models_decoder_has_the_argument():
    # Warnings are errors here, such as that of an argument which transformers is about to drop.
    base = BaseModel("tiny", False, Machine.choose("cpu"))
    assert base.cache_argument in inspect.signature(base.model.get_decoder().forward).parameters


@pytest.mark.parametrize(
    ("config", "limit", "expected"),
    [
        ({"max_position_embeddings": 512, "n_ctx": 7}, 100, 512),
        ({"max_position_embeddings": None, "max_seq_len": 300}, 100, 300),
        ({"seq_length": 40}, 100, 40),
        ({}, 100, 100),
        ({}, 10**30, 2048),
        ({"seq_length": 0}, None, 2048),
    ],
)
def test_the_context_is_what_config_or_tokenizer_states(config, limit, expected, caplog):
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: SimpleNamespace(**config)))
    assert context_length(model, SimpleNamespace(model_max_length=limit), "model") == expected
    warned = "model 'model' states no context length; prompt and reply may have 2048 tokens together"
    assert ([record.getMessage() for record in caplog.records] == [warned]) == (expected == 2048)


def test_what_a_decoder_keeps_goes_by_its_own_name():
    for name in ("cache", "past_key_values", "cache_params", "state"):
        parameters = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY) for key in ("input_ids", name, "use_cache")
        ]
        decoder = Decoder(lambda **_: None)
        decoder.forward.__signature__ = inspect.Signature(parameters)
        assert state_argument(decoder) == name
    assert state_argument(Decoder(lambda input_ids, past_key_values=None: None)) is None
    assert state_argument(Decoder(lambda input_ids, use_cache=None: None)) is None
