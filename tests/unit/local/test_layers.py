"""The engine's own layers against plain torch: products that siblings share, and norms."""

import copy
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from peft import LoraConfig, PeftModel
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from socratic_distill.local.layers import AdapterLinear, BaseLinear, Siblings, quicken
from socratic_distill.local.norms import QuickNorm, quicken_norms

NAMES = ("q_proj", "k_proj", "v_proj")


class Attention(nn.Module):
    """Three layers that read one input, and one that reads another."""

    def __init__(self, bias: bool):
        super().__init__()
        for name, size in zip(NAMES, (12, 4, 6), strict=True):
            setattr(self, name, nn.Linear(8, size, bias=bias))
        self.o_proj = nn.Linear(22, 8, bias=bias)

    def forward(self, x):
        return self.o_proj(torch.cat([getattr(self, name)(x) for name in NAMES], dim=-1))


def adapted(model, targets) -> list[Any]:
    """The model under peft with our layers, and with peft's own, with the same random factors."""
    models: list[Any] = []
    for is_ours in (True, False):
        torch.manual_seed(5)
        own: Any = copy.deepcopy(model)
        if is_ours:
            quicken(own)
        config = LoraConfig(r=3, lora_alpha=6, target_modules=targets)
        if is_ours:
            config._register_custom_module({nn.Linear: AdapterLinear})
        whole = PeftModel(own, config, adapter_name="a")
        with torch.no_grad():
            for name, parameter in sorted(whole.named_parameters()):
                if "lora_" in name:
                    parameter.copy_(torch.randn(parameter.shape))
        models.append(whole)
        if is_ours:
            for module in own.modules():
                if isinstance(module, AdapterLinear):
                    module.active = "a"
    return models


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], [*NAMES, "o_proj"], ["k_proj"]])
@pytest.mark.parametrize("rows", [(1, 5), (3, 40)], ids=["few", "many"])
def test_a_shared_product_has_the_outputs_and_gradients_of_single_ones(bias, targets, rows):
    torch.manual_seed(0)
    model: Any = Attention(bias).double().requires_grad_(False)
    ours, theirs = adapted(model, targets)
    x = torch.randn(*rows, 8, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
    weights = torch.randn(*rows, 8, dtype=torch.float64)
    gradients = []
    for whole in (ours, theirs):
        trained = {name: p for name, p in sorted(whole.named_parameters()) if "lora_" in name}
        values = torch.autograd.grad((whole(x) * weights).sum(), [x, *trained.values()])
        gradients.append(dict(zip(["x", *trained], values, strict=True)))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_siblings_share_one_product_and_keep_their_own_weights():
    model: Any = Attention(bias=False).requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    quicken(model)
    assert isinstance(model.q_proj, BaseLinear) and model.q_proj.siblings is model.v_proj.siblings
    assert model.o_proj.siblings is not model.q_proj.siblings
    assert {name: value.tolist() for name, value in model.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }
    assert model.q_proj.weight.untyped_storage().data_ptr() == model.v_proj.weight.untyped_storage().data_ptr()


@torch.no_grad()
def test_each_input_has_its_own_outputs_in_any_order_of_layers():
    model: Any = Attention(bias=False).requires_grad_(False)
    expected = copy.deepcopy(model)
    quicken(model)
    first, second = torch.randn(2, 8), torch.randn(2, 8)
    for name, x in [("q_proj", first), ("k_proj", second), ("v_proj", first), ("q_proj", second), ("q_proj", second)]:
        torch.testing.assert_close(getattr(model, name)(x), getattr(expected, name)(x))
    for name in NAMES:
        getattr(model, name)(first)
    assert model.q_proj.siblings._pending == {} and model.q_proj.siblings._key == ()  # nothing is held


@torch.no_grad()
def test_a_switched_adapter_does_not_get_the_outputs_of_the_last_one():
    model: Any = Attention(bias=False).requires_grad_(False)
    ours, theirs = adapted(model, list(NAMES))
    x = torch.randn(2, 8)
    attention = ours.base_model.model
    attention.q_proj(x)
    for name in NAMES:
        getattr(attention, name).active = None
    torch.testing.assert_close(attention.k_proj(x), model.k_proj(x))
    assert not torch.allclose(theirs.base_model.model.k_proj(x), model.k_proj(x))


def test_layers_of_unlike_inputs_are_not_joined():
    model: Any = nn.Module()
    model.gate_proj, model.up_proj = nn.Linear(4, 3), nn.Linear(5, 3)
    quicken(model)
    assert isinstance(model.gate_proj.siblings, Siblings)
    assert model.gate_proj.siblings is not model.up_proj.siblings


@pytest.mark.parametrize("rows", [(2, 3), (3, 2000)], ids=["few", "many"])
def test_a_quick_norm_has_the_outputs_and_gradients_of_transformers(rows):
    norm = LlamaRMSNorm(32, 1e-5).requires_grad_(False)
    norm.weight.copy_(torch.randn(32))
    theirs, model = copy.deepcopy(norm), nn.ModuleList([norm])
    quicken_norms(model)
    assert isinstance(norm, QuickNorm) and isinstance(norm, LlamaRMSNorm)
    x, weights = torch.randn(*rows, 32, requires_grad=True), torch.randn(*rows, 32)
    torch.testing.assert_close(norm(x), theirs(x))
    ours, own = (torch.autograd.grad((module(x) * weights).sum(), x)[0] for module in (norm, theirs))
    torch.testing.assert_close(ours, own)


@pytest.mark.parametrize(
    "module",
    [GemmaRMSNorm(8), nn.LayerNorm(8, elementwise_affine=False), nn.LayerNorm(8), nn.Linear(8, 8), nn.Identity()],
)
def test_modules_that_compute_something_else_stay_as_they_are(module):
    if isinstance(module, GemmaRMSNorm):
        nn.init.normal_(module.weight)
    kind = type(module)
    quicken_norms(nn.ModuleList([module]))
    assert type(module) is kind
