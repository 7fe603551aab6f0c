"""Runs on the fake service, and what they leave behind."""

from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.support.strict import StrictRestClient, StrictServiceClient

from socratic_distill import (
    ServiceError,
    SocraticConfig,
    TrainResult,
    build_socratic_config,
    train,
    train_async,
)
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault, run_virtual

Service = TypeVar("Service", bound=FakeServiceClient)


def train_on_fake(
    service: FakeServiceClient, config: SocraticConfig, rest: type[FakeRestClient] | None = FakeRestClient
) -> TrainResult:
    """Trains on this service, with a REST client of this kind, if any."""
    return train(config, service_client=service, rest_client=rest and rest(service))


async def train_on_fake_async(service: FakeServiceClient, config: SocraticConfig) -> TrainResult:
    """Trains on this service, on the running loop."""
    return await train_async(config, service_client=service, rest_client=FakeRestClient(service))


def train_until_it_dies(
    server: Path, config: SocraticConfig, steps: int, rest: type[FakeRestClient] | None = FakeRestClient
) -> None:
    """Trains until, after some steps, the service in this directory fails a training call permanently."""
    service = FakeServiceClient(server, faults=[Fault("optim_step", nth=steps + 1)])
    with pytest.raises(ServiceError, match="the training step of batch"):
        train_on_fake(service, config.model_copy(update={"max_recoveries": 0}), rest)


def train_virtually(service: Service, config: SocraticConfig) -> Service:
    """Trains on this service in virtual time; gives the service."""
    run_virtual(train_on_fake_async(service, config))
    return service


def train_strictly(
    service: FakeServiceClient, config: SocraticConfig, rest: FakeRestClient | None = None
) -> TrainResult:
    """Trains on this service and with this REST client, if any, each call held to the SDK's signatures."""
    strict_rest = None if rest is None else StrictRestClient(rest)
    return train(config, service_client=StrictServiceClient(service), rest_client=strict_rest)


def strict_run(config: SocraticConfig, server: FakeServiceClient | None = None) -> FakeServiceClient:
    """Trains without a REST client, each call held to the SDK's signatures; gives the service."""
    server = FakeServiceClient() if server is None else server
    train_strictly(server, config)
    return server


def small_config(directory: Path, name: str = "run", **changes: Any) -> SocraticConfig:
    """The config of a run in a directory, on the fake, that takes a tenth of a second."""
    fields: dict[str, Any] = dict(
        tutor_model_name="small", student_model_name="pupil", teacher_model_name="small", learning_rate=0.1,
        max_tokens=4, log_path=directory / name, groups_per_batch=1, num_envs=2, max_turns=1, max_steps=6, save_every=2,
        display="off",
    )  # fmt: skip
    return build_socratic_config(**(fields | changes))


def checkpoints_kept_by(service: FakeServiceClient) -> set[str]:
    """Paths of all checkpoints that the service holds."""
    return {one.tinker_path for one in FakeRestClient(service).list_user_checkpoints().result().checkpoints}
