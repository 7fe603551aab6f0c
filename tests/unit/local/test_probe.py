"""What the engine finds out about a model before it runs it."""

import inspect

import pytest

pytest.importorskip("torch")

from socratic_distill.local.base_model import BaseModel
from socratic_distill.local.machine import Machine
from socratic_distill.local.probe import cache_argument


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
