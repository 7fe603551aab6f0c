import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import tinker

from socratic_distill.testing import FakeRestClient, FakeSamplingClient, FakeServiceClient, FakeTrainingClient

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|> {{ message.content }} <|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)
WORDS = ("What", "is", "the", "answer", "?", "It", "12", "3", ".", "I", "think", "you", "can", "find", "it")
FAKES = {
    tinker.ServiceClient: FakeServiceClient,
    tinker.TrainingClient: FakeTrainingClient,
    tinker.SamplingClient: FakeSamplingClient,
    tinker.RestClient: FakeRestClient,
}


class Engine(NamedTuple):
    service: Any
    rest: Any
    base_model: str


def save_random_llama(directory: Path) -> str:
    """A tiny random Llama with a word-level tokenizer, where no packaged model is at hand."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<unk>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    vocab = {word: number for number, word in enumerate(dict.fromkeys([*special, *WORDS]))}
    raw = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="<unk>",
        eos_token="<|end|>",
        additional_special_tokens=special[1:4],
        chat_template=TEMPLATE,
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=vocab["<|end|>"],
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def import_local() -> ModuleType:
    """The local engine; skips the test where its packages are missing."""
    pytest.importorskip("torch")
    return importlib.import_module("socratic_distill.local")


@pytest.fixture(params=["fake", "local"])
def engine_classes(request: pytest.FixtureRequest) -> dict[type, type]:
    """The engine's class for each of the SDK's."""
    if request.param == "fake":
        return FAKES
    import_local()
    modules = {
        tinker.ServiceClient: "service",
        tinker.TrainingClient: "training_client",
        tinker.SamplingClient: "sampling_client",
        tinker.RestClient: "rest",
    }
    return {
        sdk: getattr(importlib.import_module(f"socratic_distill.local.{module}"), f"Local{sdk.__name__}")
        for sdk, module in modules.items()
    }


@pytest.fixture(scope="session")
def local_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    packaged = importlib.util.find_spec("socratic_distill.local.tiny")
    for folder in (packaged.submodule_search_locations or []) if packaged else []:
        if list(Path(folder).rglob("*.safetensors")):
            return "tiny"
    return save_random_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=["fake", "local"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if request.param == "fake":
        service = FakeServiceClient()
        return Engine(service, FakeRestClient(service), "any/model")
    local = import_local()
    service = local.LocalServiceClient(store=tmp_path / "store")
    return Engine(service, local.LocalRestClient(service), request.getfixturevalue("local_model"))


@pytest.fixture
def training(engine):
    return engine.service.create_lora_training_client(base_model=engine.base_model, rank=4, seed=0).result()


@pytest.fixture
def base(engine):
    return engine.service.create_sampling_client(base_model=engine.base_model).result()


@pytest.fixture
def tokens(base):
    return base.get_tokenizer().encode("What is the answer ? It is 12 .", add_special_tokens=False)
