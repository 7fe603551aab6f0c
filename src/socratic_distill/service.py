"""Opens the service that a config names: Tinker, another server of its API, or the local engine."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from socratic_distill.config import SocraticConfig
from socratic_distill.errors import ConfigError, SocraticError
from socratic_distill.escaping import get_logger
from socratic_distill.failures import describe, failure, is_missing
from socratic_distill.reachability import HOW_TO_GIVE_A_KEY, check_health, check_key

GONE = "is gone from the service"
_log = get_logger(__name__)


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
        ConfigError: there is no key for the service.
        ServiceUnreachable: no server answers within 10 seconds.
        ServiceError: the service does not accept the key, or failed a call.
        LocalExtraMissing: base_url is "local" and the `local` extra is not installed.
    """
    if config.base_url == "local":
        return _open_local(config)
    check_key()
    check_health(config.base_url)
    import tinker

    try:
        url = config.base_url
        return Service(tinker.ServiceClient(base_url=url), tinker.RestClient(base_url=url))
    except Exception as error:
        raise _refusal("opening the service", error) from error


async def connect(config: SocraticConfig, service_client: Any | None, rest_client: Any | None) -> Service:
    """The given clients, or, without a service client, those of the service that the config names.

    Raises:
        ServiceError: the service failed a call; and as `open_service`.
    """
    if service_client is None:
        service = await asyncio.to_thread(open_service, config)
    else:
        if rest_client is None:
            _log.info("no rest_client: context lengths are unknown, and a lost checkpoint is not looked into")
        service = Service(service_client, rest_client)
    await _begin_session(service.client)
    return service


async def _begin_session(client: Any) -> None:
    """Off the event loop: the SDK opens its session in the first call that needs one, and blocks in it."""
    import tinker

    if not isinstance(client, tinker.ServiceClient):
        return
    try:
        await asyncio.to_thread(lambda: client.holder)
    except Exception as error:
        raise _refusal("opening a session", error) from error


def _refusal(what: str, error: Exception) -> SocraticError:
    """What keeps the SDK's clients from being made."""
    import tinker

    if isinstance(error, AttributeError) and isinstance(error.__context__, tinker.APIStatusError):
        error = error.__context__  # billing: the SDK stumbles where it would begin to pause
    if isinstance(error, tinker.TinkerError) and not isinstance(error, tinker.APIError):
        return ConfigError(f"{what} failed: {describe(error)}. {HOW_TO_GIVE_A_KEY}")
    return failure(what, error)


def _open_local(config: SocraticConfig) -> Service:
    from socratic_distill.local import LocalRestClient, LocalServiceClient

    client = LocalServiceClient(store=Path(config.log_path) / "local", trust_remote_code=config.trust_remote_code)
    return Service(client, LocalRestClient(client))


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
        if is_missing(error):
            return None
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
