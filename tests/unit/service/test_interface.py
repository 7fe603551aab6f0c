"""The protocols of `service/interface.py`: the SDK's clients, the fake's and the local engine's satisfy them."""

import importlib
import inspect
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tinker

from socratic_distill import testing
from socratic_distill.service import interface

if TYPE_CHECKING:
    # Read by pyright alone: each return is an error as soon as a client's parameters or answers no longer fit.
    from socratic_distill.local.rest import LocalRestClient
    from socratic_distill.local.sampling_client import LocalSamplingClient
    from socratic_distill.local.service import LocalServiceClient
    from socratic_distill.local.training_client import LocalTrainingClient

    def services(
        sdk: tinker.ServiceClient, fake: testing.FakeServiceClient, local: LocalServiceClient
    ) -> tuple[interface.ServiceClient, ...]:
        return sdk, fake, local

    def trainers(
        sdk: tinker.TrainingClient, fake: testing.FakeTrainingClient, local: LocalTrainingClient
    ) -> tuple[interface.TrainingClient, ...]:
        return sdk, fake, local

    def samplers(
        sdk: tinker.SamplingClient, fake: testing.FakeSamplingClient, local: LocalSamplingClient
    ) -> tuple[interface.SamplingClient, ...]:
        return sdk, fake, local

    def rests(
        sdk: tinker.RestClient, fake: testing.FakeRestClient, local: LocalRestClient
    ) -> tuple[interface.RestClient, ...]:
        return sdk, fake, local


LOCAL = {"Service": "service", "Training": "training_client", "Sampling": "sampling_client", "Rest": "rest"}
METHODS = [
    (kind, name)
    for kind in LOCAL
    for name, member in vars(getattr(interface, f"{kind}Client")).items()
    if inspect.isfunction(member) and not name.startswith("_")
]


def client_class(source: str, kind: str) -> type:
    """The class that a source of clients has for a protocol."""
    if source == "local":
        return getattr(importlib.import_module(f"socratic_distill.local.{LOCAL[kind]}"), f"Local{kind}Client")
    return getattr(tinker, f"{kind}Client") if source == "sdk" else getattr(testing, f"Fake{kind}Client")


def missing(protocol: type, client: type, name: str) -> set[str]:
    """What a client lacks of a protocol's method: its name, or parameters, which must keep their places too."""
    method = getattr(client, name, None)
    if method is None:
        return {name}
    asked = inspect.signature(getattr(protocol, name)).parameters
    given = inspect.signature(method).parameters
    positional = [key for key, parameter in asked.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    moved = {key for key, other in zip(positional, given, strict=False) if key != other}
    required = {
        key
        for key, parameter in given.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }
    return (asked.keys() - given.keys()) | moved | (required - asked.keys())


@pytest.mark.parametrize("source", ["sdk", "fake", "local"])
@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_clients_take_the_parameters_that_are_passed(source, kind, name):
    if source == "local" and find_spec("torch") is None:
        pytest.skip("the local engine needs torch")
    lacking = missing(getattr(interface, f"{kind}Client"), client_class(source, kind), name)
    assert lacking == set(), f"{source}: {kind}Client.{name} does not fit its protocol"


def test_model_id_is_an_attribute_of_training_clients():
    training = testing.FakeServiceClient().create_lora_training_client("any").result()
    assert isinstance(training.model_id, str)
    assert "model_id" in inspect.signature(tinker.TrainingClient.__init__).parameters


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_protocols_hold_no_method_that_nobody_calls(kind, name):
    package = Path(interface.__file__).parents[1]
    callers = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in ("local", "testing")]
    assert any(f".{name}" in path.read_text(encoding="utf-8") for path in callers), f"{kind}Client.{name} can go"


class Lacking:
    """Clients that do not fit, each in its own way."""

    def list_checkpoints(self, run: str) -> Any: ...

    def list_user_checkpoints(self, offset: int, limit: int) -> Any: ...

    def delete_checkpoint_from_tinker_path(self, tinker_path: str, really: bool) -> Any: ...


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("get_server_capabilities", {"get_server_capabilities"}),
        ("list_checkpoints", {"training_run_id", "run"}),
        ("list_user_checkpoints", {"limit", "offset"}),
        ("delete_checkpoint_from_tinker_path", {"really"}),
    ],
)
def test_a_client_that_does_not_fit_is_noticed(name, lacking):
    assert missing(interface.RestClient, Lacking, name) == lacking


def test_import_of_the_interface_loads_neither_tinker_nor_torch():
    names = "[name for name in ('tinker', 'torch') if name in sys.modules]"
    script = f"import sys, socratic_distill.service.interface; print({names})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
