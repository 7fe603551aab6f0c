import re

import pytest

from socratic_distill.config.catalogue import catalogue
from socratic_distill.config.model_names import full_model_name, resolve_name
from socratic_distill.errors import ModelNotOffered

MODELS = list(catalogue().models.values())
PRICES = [known for model in MODELS for known in (model.price, *(model.contexts or {}).values()) if known is not None]


def test_every_model_has_a_full_name_and_a_size():
    assert all(re.fullmatch(r"[\w-]+/[\w.-]+", model.name) and model.billions > 0 for model in MODELS)
    assert len({model.short_name.casefold() for model in MODELS}) == len(MODELS)


@pytest.mark.parametrize("model", [model for model in MODELS if model.retired], ids=lambda model: model.short_name)
def test_retired_model_has_a_successor_that_is_offered(model):
    assert re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", model.retired)
    assert model.successor is not None and catalogue().models[model.successor].retired is None


def test_every_price_has_a_date_and_a_source():
    assert len(PRICES) > 20
    for known in PRICES:
        assert re.fullmatch(r"\d{4}-\d{2}", known.date) and known.source
        assert 0 < known.price.prefill <= known.price.sample and known.price.train > 0
        assert known.price.cached_prefill == pytest.approx(0.2 * known.price.prefill)


def test_variant_with_a_longer_context_has_its_own_price():
    plain, longer = "moonshotai/Kimi-K2.6", "moonshotai/Kimi-K2.6:peft:131072"
    assert catalogue().find(longer) is catalogue().find(plain) is not None
    assert [known and known.price.sample for known in map(catalogue().price, (longer, plain))] == [12.81, 3.66]
    assert catalogue().price("moonshotai/Kimi-K2.6:peft:7") is None and catalogue().price("own/model") is None


@pytest.mark.parametrize("name", ["gpt-oss-20b", "Kimi-K2.6", "Qwen3.5-9B", "Qwen3-35B-A22B-Instruct"])
def test_short_names_are_written_out(name):
    assert full_model_name(name) in catalogue().models


@pytest.mark.parametrize(
    ("name", "offered", "told"),
    [
        ("Qwen3-32B", ["Qwen/Qwen3.6-27B"], "retired it (2026-08), its successor is 'Qwen/Qwen3.6-27B';"),
        ("qwen/qwen3-32b", ["a/b"], "its successor is 'Qwen/Qwen3.6-27B', which is not offered here;"),
        ("Qwen3-35B-A22B-Instruct", ["Qwen/Qwen3.5-397B-A17B"], "its successor is 'Qwen/Qwen3.5-397B-A17B'"),
    ],
)
def test_retired_name_is_refused_with_its_successor(name, offered, told):
    with pytest.raises(ModelNotOffered, match=re.escape(told)):
        resolve_name(name, offered, "tutor_model_name")
