"""Opens a run's tutor and serves it on loopback until it is stopped."""

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.grant import Allowed
from socratic_distill.config.named_models import with_known_names
from socratic_distill.dialogues.seed import Seed, asked_seed
from socratic_distill.dialogues.seeds import seeds_of
from socratic_distill.errors import ConfigError, EventLoopRunning, ServeExtraMissing
from socratic_distill.files.extras import how_to_install
from socratic_distill.local.model_files import describe_weights
from socratic_distill.run.checkpoints import newest_sampler
from socratic_distill.run.directory import config_of
from socratic_distill.service.connect import connect
from socratic_distill.service.interface import RestClient, ServiceClient
from socratic_distill.text import clean_logs_of, show, shown

if TYPE_CHECKING:
    import uvicorn

LOOPBACK = "127.0.0.1"
_PACKAGES = ("starlette", "uvicorn")
_CLOSING_SECONDS = 1


def serve(
    log_path: str | os.PathLike[str],
    question: str | None = None,
    *,
    first_seed: bool = False,
    port: int = 8000,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
    on_ready: Callable[[str], None] | None = None,
    write: Callable[[str], None] = show,
    **allowed: Unpack[Allowed],
) -> None:
    """Serves the tutor of a run's newest sampler weights as a chat model of OpenAI's API, until it is stopped.

    It listens on loopback alone and asks for no key: every program of this machine may use it. The same request with
    the same seed gets the same reply, whatever else is asked meanwhile: requests are answered one after another. On the
    local engine a reply is streamed as it is sampled; from a service it comes in one piece.

    Args:
        log_path: directory of the run.
        question: the problem to talk about. None: each talk's first message is its problem.
        first_seed: without a question, the run's first seed is the problem, as in the command `chat`.
        port: to listen on; 0 takes a free one.
        service_client: as for `train`; None opens the run's own service.
        rest_client: as for `train`.
        on_ready: is called with the address once the server listens.
        write: shows lines, whose control characters are escaped already.
        **allowed: `base_url`, `allow_files` and `allow_code`, as for `load_config`.

    Raises:
        CheckpointNotFound: the run has no sampler weights.
        ConfigError: there is no run in log_path, the port cannot be used, or the question holds no text.
        EventLoopRunning: an asyncio loop already runs in this thread, as in a notebook.
        RenderingError: the model's chat template cannot be used.
        ServeExtraMissing: the `serve` extra is not installed.
        ServiceError: the service failed to open the tutor.
        UntrustedConfig: the run's config asks for a server, files or code that were not allowed.
    """
    _check_before_opening()
    config = with_known_names(config_of(log_path, **allowed))
    sampler_path, _ = newest_sampler(log_path)
    name = Path(os.fspath(log_path)).absolute().name or "tutor"
    seed = _problem(config, question, first_seed)

    log = logging.getLogger("uvicorn.error")

    async def run() -> None:
        from socratic_distill.outputs.serving.app import App
        from socratic_distill.outputs.serving.scores import ReplyScores
        from socratic_distill.outputs.serving.tutor import open_served_tutor

        with _listening(port) as listener:
            service = await connect(config, service_client, rest_client)
            tutor = await open_served_tutor(config, service, sampler_path, name, seed)
            app = App(tutor, ReplyScores(tutor, service), _fingerprint(sampler_path)).asgi()
            server = _server(app, tutor.stop, log)
            address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
            for line in _greeting(address, name):
                write(shown(line))
            if on_ready is not None:
                on_ready(address)
            await server.serve(sockets=[listener])

    try:
        with suppress(KeyboardInterrupt):  # the server has closed by then
            asyncio.run(run())
    finally:
        log.disabled = False


def _check_before_opening() -> None:
    """Returns if a server can run here.

    Raises:
        EventLoopRunning, ServeExtraMissing: as `serve`.
    """
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ServeExtraMissing(f"serving needs {', '.join(missing)}, not installed here. {how_to_install('serve')}")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise EventLoopRunning(
        "serve() cannot run inside a running asyncio loop, as a notebook has one; "
        "run `python -m socratic_distill serve LOG_PATH` in a terminal"
    )


def _problem(config: SocraticConfig, question: str | None, first_seed: bool) -> Seed | None:
    """The problem of every talk; None: a talk's first message."""
    if question is not None:
        return asked_seed(question)
    return seeds_of(config)[0] if first_seed else None


def _listening(port: int) -> socket.socket:
    """A socket on loopback.

    Raises:
        ConfigError: the port is taken, or is none.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(64)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(
            f"port {port} of {LOOPBACK} cannot be used: {getattr(error, 'strerror', None) or error}. Give another one "
            "(--port, in Python port=…); 0 takes a free one"
        ) from error
    return listener


def _server(app: Any, stop: Callable[[], None], log: logging.Logger) -> "uvicorn.Server":
    """A server of an application; when it shuts down it first calls `stop`, and then logs nothing more."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            stop()
            log.disabled = True  # each request that is cut off now would be a traceback
            await super().shutdown(sockets)

    settings = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", timeout_graceful_shutdown=_CLOSING_SECONDS,
        log_config=None, log_level="error", access_log=False, server_header=False, proxy_headers=False,
    )  # fmt: skip
    clean_logs_of("uvicorn")
    return Server(settings)


def _fingerprint(sampler_path: str) -> str:
    """Another one for other weights: of their content on the local engine, of their path on a service."""
    if "://" in sampler_path:
        return hashlib.sha256(sampler_path.encode(errors="surrogatepass")).hexdigest()[:16]
    return describe_weights(sampler_path) or "unknown"


def _greeting(address: str, name: str) -> list[str]:
    return [
        f"The tutor {name!r} answers at {address}/v1, as a chat model of OpenAI's API; a page to try it is {address}/",
        f"  OpenAI(base_url='{address}/v1', api_key='none').chat.completions.create(model={name!r}, messages=[…])",
        "There is no key: every program of this machine may use it, and no other machine. Ctrl-C stops it.",
    ]
