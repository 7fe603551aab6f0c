"""LoRA on models of many architectures: which layers carry it, the proof before it is trained, and its export."""

import logging

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from architectures import ARCHITECTURES, save_architecture
from engine_data import entropy_datum, plain_logprobs
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from socratic_distill import DamagedWeights, UnsupportedModel
from socratic_distill.local import LocalServiceClient, adapters, layers, proof
from socratic_distill.local.adapters import LoraShape
from socratic_distill.local.targets import find_targets
from socratic_distill.outputs.exports.merged import export_merged

pytestmark = pytest.mark.thinned

BY_DEFAULT = ("Falcon", "GPT2", "GPTNeoX", "OPT", "Phi3", "Mixtral", "Qwen3Moe", "Glm4Moe")
NAMES = [name if name in BY_DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES]
PROMPTS = [[7, 8, 9, 20, 21, 30], [40, 41, 42, 43, 44, 45, 46, 47, 48]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Gives the directory of a tiny model, made once."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = save_architecture(tmp_path_factory.mktemp(name), name)
        return made[name]

    return make


@pytest.fixture(autouse=True)
def no_verdicts(monkeypatch):
    """Every test makes the proof itself."""
    monkeypatch.setattr(proof, "_verdicts", {})


def layer_names(paths):
    return {path.rpartition(".")[2] for path in paths}


def scores(client, tokens):
    return np.array(client.compute_logprobs(tinker.ModelInput.from_ints(tokens)).result()[1:])


def train_steps(client, steps=3):
    for _ in range(steps):
        client.forward_backward([entropy_datum(prompt) for prompt in PROMPTS], "cross_entropy").result()
        client.optim_step(tinker.AdamParams(learning_rate=5e-2)).result()


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_trains_merges_and_leaves_all_else_alone(service, directory, tmp_path, name):
    path, kind = directory(name), ARCHITECTURES[name]
    base = service.create_sampling_client(base_model=path).result()
    before = [scores(base, prompt) for prompt in PROMPTS]
    client = service.create_lora_training_client(path, rank=4, seed=1).result()
    found = service.models[path].adapters.targets
    assert layer_names(found.layers(frozenset({"attn"}))) == set(kind.attn.split())
    assert layer_names(found.layers(frozenset({"mlp"}))) == set(kind.mlp.split())
    assert found.layers(frozenset({"unembed"})) == [kind.output]
    adapted = {key.partition(".lora_")[0] for key in client._trainer._parameters}
    assert adapted == set(found.layers(LoraShape(4).parts)), "peft matches these layers and no others"
    train_steps(client)
    saved = client.save_weights_for_sampler("a").result().path
    sampler = service.create_sampling_client(model_path=saved).result()
    first = [scores(sampler, prompt) for prompt in PROMPTS]
    train_steps(client, steps=1)
    for i, prompt in enumerate(PROMPTS):
        assert (scores(base, prompt) == before[i]).all(), "the base model is frozen"
        assert (scores(sampler, prompt) == first[i]).all(), "saved weights do not train on"
        assert np.abs(first[i] - before[i]).max() > 1e-2
    export_merged(saved, tmp_path / "merged", allow_files=True)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    for i, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            np.testing.assert_allclose(first[i], plain_logprobs(merged, prompt), atol=2e-4)


@pytest.mark.parametrize("name", ["Falcon", "GPT2", "Glm4Moe"])
@pytest.mark.parametrize("part", ["attn", "mlp", "unembed"])
def test_each_part_is_trained_alone(service, directory, name, part):
    wanted = {f"train_{other}": other == part for other in ("attn", "mlp", "unembed")}
    client = service.create_lora_training_client(directory(name), rank=2, **wanted).result()
    names = {key.partition(".lora_")[0] for key in client._trainer._parameters}
    found = service.models[directory(name)].adapters.targets
    assert names == set(found.layers(frozenset({part})))


def test_layers_of_one_name_in_two_parts_are_told_apart(service, directory):
    client = service.create_lora_training_client(directory("GPT2"), rank=2, train_mlp=False).result()
    names = {key.partition(".lora_")[0] for key in client._trainer._parameters}
    assert "transformer.h.0.attn.c_proj" in names and "transformer.h.0.mlp.c_proj" not in names


def test_experts_that_are_no_layers_are_left_out_with_one_warning(service, directory, caplog):
    with caplog.at_level(logging.WARNING, logger="socratic_distill"):
        for _ in range(2):
            service.create_lora_training_client(directory("Mixtral"), rank=2).result()
    (record,) = caplog.records
    assert "LoRA reaches 28 % of the linear weights" in record.getMessage()
    assert "model.layers.*.mlp.experts.down_proj, model.layers.*.mlp.experts.gate_up_proj" in record.getMessage()
    model = AutoModelForCausalLM.from_pretrained(directory("Mixtral"))
    numel = {name: p.numel() for name, p in model.named_parameters() if p.ndim > 1 and "embed" not in name}
    linear = {name: n for name, n in numel.items() if "mlp.gate" not in name}
    experts = sum(n for name, n in linear.items() if "experts" in name)
    assert find_targets(model).share(LoraShape(1).parts) == pytest.approx(1 - experts / sum(linear.values()))


def test_all_of_a_model_without_experts_is_reached_without_a_word(service, directory, caplog):
    with caplog.at_level(logging.WARNING, logger="socratic_distill"):
        service.create_lora_training_client(directory("OPT"), rank=2).result()
    assert not caplog.records


class _Router(nn.Linear):
    pass


class _Mixture(nn.Module):
    """Experts as modules, with a router that is a plain linear layer, as in code that models bring along."""

    def __init__(self, gate):
        super().__init__()
        self.gate = gate
        self.experts = nn.ModuleList(nn.ModuleDict({"w1": nn.Linear(8, 16)}) for _ in range(4))
        self.shared_expert_gate = nn.Linear(8, 1)


@pytest.mark.parametrize("gate", [nn.Linear(8, 4), _Router(8, 5), Conv1D(4, 8)])
def test_routers_carry_no_adapter_whatever_their_class(directory, gate):
    model = AutoModelForCausalLM.from_pretrained(directory("OPT"))
    block: nn.Module = model.model.decoder.layers[0]
    block.moe = _Mixture(gate)
    block.gate = nn.Linear(8, 16)  # an MLP's own gate is none
    found = find_targets(model).layers(frozenset({"mlp"}))
    inside = {path.partition("layers.0.")[2] for path in found if "layers.0." in path}
    assert inside == {"fc1", "fc2", "gate", *(f"moe.experts.{i}.w1" for i in range(4))}


@pytest.mark.filterwarnings("ignore:The following:RuntimeWarning:peft.*")
@pytest.mark.parametrize("name", ["Glm4Moe", "Qwen3Moe"])
def test_the_leak_of_pefts_own_way_with_experts_is_refused(service, directory, monkeypatch, name):
    monkeypatch.setattr(adapters, "bare", lambda model: model)
    with pytest.raises(
        UnsupportedModel, match=rf"{name}ForCausalLM\).*with the adapter off.*change by up to.*base_url"
    ):
        service.create_lora_training_client(directory(name), rank=2).result()


def refused(service, path, problem):
    with pytest.raises(UnsupportedModel, match=problem):
        service.create_lora_training_client(path, rank=2).result()


def test_an_adapter_that_is_never_on_is_refused(service, directory, monkeypatch):
    monkeypatch.setattr(layers.AdapterLinear, "forward", lambda self, x: self.base_layer(x))
    refused(service, directory("OPT"), "the log-probabilities stay as they were")


def test_an_adapter_that_another_one_changes_is_refused(service, directory, monkeypatch):
    forward = layers.AdapterLinear.forward

    def newest(self, x):
        self.active = self.active and [*self.lora_A][-1]
        return forward(self, x)

    monkeypatch.setattr(layers.AdapterLinear, "forward", newest)
    refused(service, directory("OPT"), "a second adapter changes the log-probabilities of the first")


def test_training_that_computes_otherwise_than_sampling_is_refused(service, directory, monkeypatch):
    forward = layers.AdapterLinear.forward

    def stronger(self, x):
        grads = torch.is_grad_enabled() and self.active is not None
        return forward(self, x) * (1.3 if grads else 1)

    monkeypatch.setattr(layers.AdapterLinear, "forward", stronger)
    refused(service, directory("OPT"), "training and sampling give log-probabilities that differ")


def test_an_adapter_that_does_not_survive_saving_is_refused(service, directory, monkeypatch):
    tensors = adapters.Adapters.tensors
    monkeypatch.setattr(adapters.Adapters, "tensors", lambda *a: {k: t.half().float() for k, t in tensors(*a).items()})
    refused(service, directory("OPT"), "saved and opened again")


def test_a_layer_that_the_model_never_calls_is_refused(service, directory, monkeypatch):
    path = directory("OPT")
    service.create_sampling_client(base_model=path).result()
    service.models[path].model.model.decoder.layers[1].spare = nn.Linear(32, 32)
    base = service.models[path]
    base.adapters = adapters.Adapters(base.model, path)
    refused(service, path, r"does not call its layer model\.decoder\.layers\.1\.spare")


def test_a_model_that_fails_under_an_adapter_is_refused_by_name(service, directory, monkeypatch):
    forward = layers.AdapterLinear.forward

    def fails(self, x):
        if self.active is not None:
            raise TypeError("takes no adapter\nand more")
        return forward(self, x)

    monkeypatch.setattr(layers.AdapterLinear, "forward", fails)
    refused(
        service, directory("OPT"), r"OPTForCausalLM\): the trial .* failed with TypeError: takes no adapter\. Choose"
    )


def test_the_proof_is_made_once_and_leaves_nothing_behind(service, directory, tmp_path, monkeypatch):
    path, trials = directory("OPT"), []
    trial = proof._try
    monkeypatch.setattr(proof, "_try", lambda *a: trials.append(a) or trial(*a))
    torch.manual_seed(3)
    np.random.seed(3)
    expected = (torch.rand(1).item(), np.random.rand())
    torch.manual_seed(3)
    np.random.seed(3)
    for one in (service, LocalServiceClient(tmp_path / "other", device="cpu")):
        for seed in range(2):
            one.create_lora_training_client(path, rank=2, seed=seed).result()
        base = one.models[path]
        assert not any(".lora_" in n and p.shape.count(2) > 1 for n, p in base.model.named_parameters())
        assert not base.prefixes._blocks and not list(one.store.root.glob("proof*"))
    assert len(trials) == 1, "two services, one content"
    assert (torch.rand(1).item(), np.random.rand()) == expected
    service.create_lora_training_client(path, rank=2, train_mlp=False).result()
    assert len(trials) == 2, "other layers are another matter"


def test_a_refusal_leaves_the_model_for_other_uses(service, directory, monkeypatch):
    path = directory("OPT")
    base = service.create_sampling_client(base_model=path).result()
    before = scores(base, PROMPTS[0])
    with monkeypatch.context() as patch:
        patch.setattr(layers.AdapterLinear, "forward", lambda self, x: self.base_layer(x))
        refused(service, path, "stay as they were")
    refused(service, path, "stay as they were")  # the verdict is remembered
    assert (scores(base, PROMPTS[0]) == before).all() and not len(service.models[path].adapters)


def test_saved_weights_of_fused_experts_are_refused(service, directory):
    path = directory("Glm4Moe")
    client = service.create_lora_training_client(path, rank=2).result()
    base = client._trainer.base
    config = base.adapters.config(client._trainer.adapter)
    config.target_parameters = ["gate_up_proj"]
    with pytest.raises(DamagedWeights, match="changes fused experts"):
        base.adapters.load(config, {})
