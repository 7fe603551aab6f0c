"""Opens the service that a config names: Tinker, another server of its API, or the local engine."""

import threading
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.paths import resolved
from socratic_distill.config.trust import check_remote_code, check_server, runs_remote_code
from socratic_distill.errors import ConfigError, ServiceUnreachable, SocraticError
from socratic_distill.local.model_files import model_paths
from socratic_distill.local.saved_paths import STORE
from socratic_distill.service.failures import describe, failure, is_missing
from socratic_distill.service.interface import AdminClient, RestClient, SamplingClient, ServiceClient, TrainingClient
from socratic_distill.service.keys import HOW_TO_GIVE_A_KEY, check_key, check_key_of
from socratic_distill.service.quiet import drop_handled_errors
from socratic_distill.service.redirects import refuse_redirects
from socratic_distill.service.waiting import DAEMON_THREADS, in_thread
from socratic_distill.service.watched import Watch
from socratic_distill.text import clean_logs_of, get_logger, redacted, without_secrets

T = TypeVar("T")
_log = get_logger(__name__)
_NOTICE_SECONDS = 10.0
_HEALTH_SECONDS = 10.0
_WANTS_A_KEY = (401, 403)  # a server that asks for a key answers
GONE = "is gone from the service"


@dataclass(frozen=True)
class Service:
    """Two clients of one service.

    Attributes:
        client: a Tinker service client, or an object with its interface.
        rest: a Tinker REST client, or an object with its interface; None where checks that need one are
            skipped.
    """

    client: ServiceClient
    rest: RestClient | None


def is_complete(base_url: str | None) -> bool:
    """Whether a service lacks nothing of the API: the hosted one, or the engine in this process.

    A package that stands in for the SDK, as that of Baseten's Loops, reaches another service without a base_url.

    Args:
        base_url: the config's.
    """
    import tinker

    return base_url == "local" or (base_url is None and tinker.__title__ == "tinker")


def open_service(config: SocraticConfig) -> Service:
    """Opens the service of a config. Blocks while it connects; `train_async` calls it off the event loop.

    Args:
        config: its `base_url` says which service, its `log_path` where the local engine keeps weights.

    Raises:
        ConfigError: there is no key for the service, or one that cannot be sent.
        UntrustedConfig: the config was read from a run directory, and names a server that the user did not.
        ServiceUnreachable: no server answers within 10 seconds, or it does not open within
            `config.opening_timeout_seconds`.
        ServiceError: the service does not accept the key, or failed a call.
        LocalExtraMissing: base_url is "local" and the `local` extra is not installed.
    """
    if config.base_url == "local":
        return _open_local(config)
    _check_before_opening(config)
    import tinker

    def make() -> Service:
        return Service(tinker.ServiceClient(base_url=config.base_url), tinker.RestClient(base_url=config.base_url))

    return _within_limit(make, config)


def open_admin(config: SocraticConfig) -> AdminClient:
    """The client that says what was billed, of the server that a config names; not the engine in this process.

    Raises:
        SocraticError: as `open_service`.
    """
    _check_before_opening(config)
    import tinker

    return _within_limit(lambda: tinker.AdminClient(base_url=config.base_url), config)


def _check_before_opening(config: SocraticConfig) -> None:
    """Returns if a key may be sent to a config's server, and the server answers."""
    check_server(config)
    check_key()
    check_health(config.base_url)
    refuse_redirects()
    clean_logs_of("tinker")
    drop_handled_errors()


async def connect(
    config: SocraticConfig,
    service_client: ServiceClient | None,
    rest_client: RestClient | None,
    watch: Watch | None = None,
) -> Service:
    """The given clients, or, without a service client, those of the service that the config names; all watched.

    Args:
        config: which service, and how long it may leave a request without an answer.
        service_client: as for `train`.
        rest_client: as for `train`.
        watch: watches the requests. None: one that logs what it tells. The engine in this process is not watched: it
            loses nothing, however long it takes.

    Raises:
        ServiceError: the service failed a call; and as `open_service`.
    """
    if service_client is None:
        check_remote_code(config)
        service = await in_thread(open_service, config)
    else:
        if config.base_url is None and (server := getattr(service_client, "plays", None)) is not None:
            raise ConfigError(
                f"the service_client plays the server {server!r}, but base_url=None means the hosted service; "
                "set base_url to any URL, such as 'http://server.invalid': nothing is sent there"
            )
        if rest_client is None:
            _log.info("no rest_client: context lengths are unknown, and a lost checkpoint is not looked into")
        service = Service(service_client, rest_client)
    await in_thread(begin_session, service.client, config)
    if getattr(service.client, "is_in_process", False):
        return service
    watch = watch or Watch(config.answer_timeout_seconds)
    return Service(watch.watched(service.client), None if service.rest is None else watch.watched(service.rest))


def begin_session(client: ServiceClient, config: SocraticConfig) -> None:
    """Has a client of the SDK open its session now; it would in the first call that needs one, and block in it.

    Raises:
        ConfigError: its key cannot be sent.
        ServiceUnreachable: the service does not open one within `config.opening_timeout_seconds`.
        ServiceError: the service failed a call.
    """
    import tinker

    clean_logs_of("tinker")
    drop_handled_errors()
    if isinstance(client, tinker.ServiceClient):
        check_key_of(client)
        _within_limit(lambda: client.holder, config)


def _within_limit(call: Callable[[], T], config: SocraticConfig) -> T:
    """Runs a call that opens a service on a daemon thread, and gives up waiting for it after the config's limit.

    The SDK itself would try again for five minutes, and say nothing meanwhile.
    """
    limit = config.opening_timeout_seconds
    where = "Tinker's hosted service" if config.base_url is None else f"base_url={config.base_url!r}"
    opening = DAEMON_THREADS.submit(call)
    wait([opening], timeout=min(limit, _NOTICE_SECONDS))
    if not opening.done() and limit > _NOTICE_SECONDS:
        _log.warning("waiting for %s to open, for %.0f s now; giving up after %.0f s", where, _NOTICE_SECONDS, limit)
        wait([opening], timeout=limit - _NOTICE_SECONDS)
    if not opening.done():
        raise ServiceUnreachable(
            f"{where} did not open within {limit:g} s, though it answers health requests. Check whether it is a "
            "Tinker server in order, raise opening_timeout_seconds if it needs longer, and start again"
        )
    try:
        return opening.result()
    except Exception as error:
        raise _refusal("opening the service", error) from without_secrets(error)


def _refusal(what: str, error: Exception) -> SocraticError:
    """The error that says why the SDK's clients could not be made."""
    import tinker

    if isinstance(error, AttributeError) and isinstance(error.__context__, tinker.APIStatusError):
        error = error.__context__  # billing: the SDK itself fails where it would start to pause
    if isinstance(error, tinker.TinkerError) and not isinstance(error, tinker.APIError):
        return ConfigError(f"{what} failed: {describe(error)}. {HOW_TO_GIVE_A_KEY}")
    return failure(what, error)


def _open_local(config: SocraticConfig) -> Service:
    from socratic_distill.local import LocalRestClient, LocalServiceClient

    client = LocalServiceClient(
        Path(resolved(config.log_path)) / STORE,
        trust_remote_code=runs_remote_code(config),
        grant=config.grant,
        paths=model_paths(config),
    )
    return Service(client, LocalRestClient(client))


async def open_sampling_client(client: ServiceClient, what: str, **model: str) -> SamplingClient:
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


async def open_tutor(service: Service, sampler_path: str) -> SamplingClient:
    """A sampling client on some of the tutor's weights.

    Raises:
        ServiceError: the service failed the call.
    """
    return await open_sampling_client(service.client, f"the tutor's weights {sampler_path}", model_path=sampler_path)


async def is_gone(rest: RestClient | None, path: str) -> bool:
    """Whether the service says that it lacks a checkpoint, in one cheap call; False without a REST client.

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


async def smallest_context(rest: RestClient | None, names: set[str]) -> int | None:
    """The smallest context of the named models, in tokens; None if the service does not say.

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


async def get_tokenizer(client: TrainingClient | SamplingClient) -> Any:
    """A client's tokenizer; off the event loop, since the SDK may load it from a hub."""
    try:
        return await in_thread(client.get_tokenizer)
    except SocraticError:
        raise
    except Exception as error:
        message = redacted(f"the tokenizer of a model cannot be loaded: {error}")
        raise ConfigError(message) from without_secrets(error)


def check_health(base_url: str | None) -> None:
    """Returns if a server answers within 10 seconds.

    Args:
        base_url: the server; None: Tinker's hosted service.

    Raises:
        ServiceUnreachable: none does.
    """
    from tinker.lib.base_url import resolve_base_url

    url = resolve_base_url(base_url) + "/api/v1/healthz"
    trouble = ["no answer"]
    # httpx has no limit on looking up a host name, so the request runs in a thread that can be abandoned.
    asking = threading.Thread(target=_ask, args=(url, trouble), name="health request", daemon=True)
    asking.start()
    asking.join(_HEALTH_SECONDS)
    if trouble:
        given = "Tinker's hosted service" if base_url is None else f"base_url={base_url!r}"
        raise ServiceUnreachable(
            f"no Tinker server answers at {given} within {_HEALTH_SECONDS:.0f} s ({url}: {redacted(trouble[0])}). "
            "Check the network, the address and whether the server runs, then start the same script again"
        )


def _ask(url: str, trouble: list[str]) -> None:
    """Empties `trouble` if the server answers; else replaces it by what went wrong."""
    import httpx

    try:
        answer = httpx.get(url, timeout=_HEALTH_SECONDS, follow_redirects=False)
        if answer.is_redirect:  # following it would send the key and all texts to a server that the user did not name
            trouble[0] = f"it redirects to {answer.headers.get('location', '?')!r}, which is not followed; if that is "
            trouble[0] += "the server, name it instead"
            return
        if answer.status_code not in _WANTS_A_KEY:
            answer.raise_for_status()
        trouble.clear()
    except Exception as error:  # for an invalid URL, httpx raises errors that are not its own
        trouble[0] = f"{type(error).__name__}: {error}"
