"""Opens the service that a config names: Tinker, another server of its API, or the local engine."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from socratic_distill.config import SocraticConfig
from socratic_distill.errors import ConfigError, SocraticError
from socratic_distill.failures import failure, is_missing

GONE = "is gone from the service"
_HEALTH_SECONDS = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """Two clients of one service.

    Attributes:
        client: a Tinker service client, or an object with its interface.
        rest: a Tinker REST client, or an object with its interface; None where checks that need one are
            left out.
    """

    client: Any
    rest: Any | None


def open_service(config: SocraticConfig) -> Service:
    """Opens the service of a config. Blocks while it connects; `train_async` calls it off the event loop.

    Args:
        config: its `base_url` says which service, its `log_path` where the local engine keeps weights.

    Raises:
        ConfigError: no server answers at base_url.
        LocalExtraMissing: base_url is "local" and the `local` extra is not installed.
    """
    if config.base_url == "local":
        return _open_local(config)
    if config.base_url is not None:
        _check_health(config.base_url)
    import tinker

    try:
        url = config.base_url
        return Service(tinker.ServiceClient(base_url=url), tinker.RestClient(base_url=url))
    except tinker.TinkerError as error:
        raise ConfigError(
            f"the Tinker service cannot be opened: {error}. Set TINKER_API_KEY, or base_url='local' to train on "
            "this machine"
        ) from error


async def connect(config: SocraticConfig, service_client: Any | None, rest_client: Any | None) -> Service:
    """The given clients, or, without a service client, those of the service that the config names."""
    if service_client is None:
        return await asyncio.to_thread(open_service, config)
    if rest_client is None:
        _log.info("no rest_client: context lengths are unknown, and a lost checkpoint is not looked into")
    return Service(service_client, rest_client)


def _open_local(config: SocraticConfig) -> Service:
    from socratic_distill.local import LocalRestClient, LocalServiceClient

    client = LocalServiceClient(store=Path(config.log_path) / "local", trust_remote_code=config.trust_remote_code)
    return Service(client, LocalRestClient(client))


def _check_health(base_url: str) -> None:
    """A plain request with a short limit: the SDK's own retries would block for minutes."""
    import httpx

    url = base_url.rstrip("/") + "/api/v1/healthz"
    try:
        httpx.get(url, timeout=_HEALTH_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        raise ConfigError(f"no Tinker server answers at base_url={base_url!r} ({url}: {error})") from error


async def open_sampling_client(client: Any, what: str, **model: str) -> Any:
    """A sampling client on `model_path` or `base_model`.

    Args:
        client: a Tinker service client.
        what: what is opened, for the error.
        **model: one of the two.

    Raises:
        ServiceError: the service failed the call.
    """
    try:
        return await client.create_sampling_client(**model)
    except Exception as error:
        raise failure(f"opening {what}", error) from error


async def open_tutor(service: Service, sampler_path: str) -> Any:
    """A sampling client on some of the tutor's weights.

    Raises:
        ServiceError: the service failed the call.
    """
    return await open_sampling_client(service.client, f"the tutor's weights {sampler_path}", model_path=sampler_path)


async def is_gone(rest: Any | None, path: str) -> bool:
    """Whether the service says that it lacks a checkpoint, in one cheap call; False where nobody can be asked.

    Raises:
        ServiceError: the service failed the call.
    """
    if rest is None:
        return False
    try:
        await rest.get_weights_info_by_tinker_path(path)
    except Exception as error:
        if is_missing(error):
            return True
        raise failure(f"asking for {path}", error) from error
    return False


async def smallest_context(rest: Any | None, names: set[str]) -> int | None:
    """The smallest context of the named models, in tokens, as far as the service tells; None if it doesn't.

    Raises:
        ServiceError: the service failed the call.
    """
    if rest is None:
        return None
    try:
        capabilities = await rest.get_server_capabilities()
    except Exception as error:
        raise failure("asking for the models' contexts", error) from error
    known = [
        model.max_context_length
        for model in capabilities.supported_models
        if model.model_name in names and model.max_context_length
    ]
    return min(known, default=None)


async def get_tokenizer(client: Any) -> Any:
    """A client's tokenizer; off the event loop, since the SDK may load it from a hub."""
    try:
        return await asyncio.to_thread(client.get_tokenizer)
    except SocraticError:
        raise
    except Exception as error:
        raise ConfigError(f"the tokenizer of a model cannot be loaded: {error}") from error
