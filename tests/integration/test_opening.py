"""Opening a service that answers its health check and nothing else: told, limited, stopped by Ctrl-C at any time."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import tinker

from socratic_distill import ConfigError, ServiceUnreachable, open_service, preflight, train
from socratic_distill.evaluation import evaluate
from socratic_distill.service.waiting import in_thread, run_blocking
from socratic_distill.testing import FakeServiceClient

pytestmark = pytest.mark.thinned

WATCHDOG_SECONDS = 300  # only a process that hangs takes as long


class Handler(BaseHTTPRequestHandler):
    """Answers the health check. Other requests get no answer, or 503."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, HealthOnly)
        if self.path.endswith("/api/v1/healthz"):
            self._answer(200)
            return
        server.asked.set()
        if server.is_silent:
            server.closing.wait()
        self._answer(503)

    do_POST = do_GET

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def handle_one_request(self) -> None:
        """A client that went away is no error."""
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True


class HealthOnly(ThreadingHTTPServer):
    """A server that is reached and does not serve."""

    daemon_threads = True

    def __init__(self, is_silent: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.is_silent, self.asked, self.closing = is_silent, threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture(params=["silent", "unavailable"])
def server(request, monkeypatch) -> Iterator[HealthOnly]:
    monkeypatch.setenv("TINKER_API_KEY", "tml-planted")
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    server = HealthOnly(request.param == "silent")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    end_what_the_sdk_goes_on_with()
    server.closing.set()
    server.shutdown()
    server.server_close()


def end_what_the_sdk_goes_on_with() -> None:
    """It would try for five minutes, beside other tests, and draw its pauses from the global random state."""
    from tinker.lib.internal_client_holder import _internal_client_holder_thread_singleton as thread

    loop, ended = thread.get_loop(), threading.Event()

    def cancel() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_soon(ended.set)

    while any(one.name == "blocking call" for one in threading.enumerate()):  # each may have more to ask
        loop.call_soon_threadsafe(cancel)
        assert ended.wait(WATCHDOG_SECONDS)
        ended.clear()
        time.sleep(0.01)


def test_every_way_in_gives_up_after_the_limit(server, make_config, tmp_path):
    train(make_config(), service_client=FakeServiceClient())
    config = make_config(base_url=server.url, opening_timeout_seconds=0.1)
    (tmp_path / "run" / "config.json").write_text(config.model_dump_json())
    told = "did not open within 0.1 s, though it answers health requests"
    for call in (
        lambda: train(config.model_copy(update={"log_path": str(tmp_path / "other")})),
        lambda: evaluate(config, "base"),
        lambda: open_service(config),
        lambda: preflight(config).raise_problems(),
        lambda: run_blocking(lambda: given_client(config), "connect"),
    ):
        with pytest.raises(ServiceUnreachable, match=told):
            call()
    assert server.asked.wait(WATCHDOG_SECONDS), "the SDK was never called"


async def given_client(config: Any) -> Any:
    from socratic_distill.service.connect import connect

    return await connect(config, tinker.ServiceClient(base_url=config.base_url), None)


def test_what_is_waited_for_is_told_meanwhile(server, make_config, monkeypatch, caplog):
    monkeypatch.setattr("socratic_distill.service.connect._NOTICE_SECONDS", 0.05)
    with pytest.raises(ServiceUnreachable):
        open_service(make_config(base_url=server.url, opening_timeout_seconds=0.2))
    (told,) = [one.getMessage() for one in caplog.records if "waiting for" in one.getMessage()]
    assert f"waiting for base_url='{server.url}' to open" in told and "giving up after 0 s" in told


@pytest.mark.parametrize("key", ["tml-plan\nted", "tml-plan\rted", "tml-plan ted", "tml-planté"])
def test_key_that_cannot_be_sent_is_refused_before_any_request(server, make_config, monkeypatch, capsys, key):
    monkeypatch.setenv("TINKER_API_KEY", key)
    config = make_config(base_url=server.url)
    with pytest.raises(ConfigError, match="TINKER_API_KEY holds a key whose character"):
        train(config)
    assert not server.asked.is_set() and "plan" not in "".join(capsys.readouterr())


SCRIPT = """
    import sys
    from pathlib import Path
    from socratic_distill import build_socratic_config, open_service, train
    from socratic_distill import run_script

    config = build_socratic_config(
        "small", "pupil", "small", 0.1, 12, Path(__file__).parent / "run", base_url="{url}",
        opening_timeout_seconds=100_000.0, display="plain",
    )

    def main():
        print("begins", flush=True)
        open_service(config) if "open" in sys.argv else train(config)

    if __name__ == "__main__":
        sys.exit(run_script(main))
"""


@pytest.mark.parametrize("server", ["silent", pytest.param("unavailable", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.parametrize(
    "command",
    [
        ["{script}"],
        ["{script}", "open"],
        pytest.param(["-m", "socratic_distill", "check", "{script}"], marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_ends_a_process_that_waits_for_a_service(server, tmp_path, command):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT.format(url=server.url)))
    arguments = [sys.executable, *(one.format(script=script) for one in command)]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert server.asked.wait(WATCHDOG_SECONDS), "the process never came to ask"
        child.send_signal(signal.SIGINT)
        told, _ = child.communicate(timeout=WATCHDOG_SECONDS)
    finally:
        child.kill()
    assert child.returncode == 130, told
    assert "Traceback" not in told, told
    assert ("stopped before anything was done" in told) == (command == ["{script}"])


async def test_a_blocking_call_is_left_behind_by_a_cancellation():
    started, release = threading.Event(), threading.Event()

    def block() -> None:
        started.set()
        release.wait()

    task = asyncio.create_task(in_thread(block))
    while not started.is_set():
        await asyncio.sleep(0)
    left = [one for one in threading.enumerate() if one.name == "blocking call"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left and all(one.daemon for one in left)
    release.set()


async def test_a_blocking_calls_answer_and_error_are_its_callers():
    def fail() -> None:
        raise ValueError("mine")

    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ValueError, match="mine"):
        await in_thread(fail)
