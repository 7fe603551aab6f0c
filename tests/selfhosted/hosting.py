"""The server as the tests start, stop and kill it."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx

SERVER = Path(__file__).parent / "host" / "server.py"
PATIENCE = 120.0


class Host:
    """A server on a loopback port of its own; what it stores outlives it.

    Attributes:
        model: directory of its model, which is also the model's name there.
        url: its base_url.
    """

    def __init__(self, python: str, model: str, directory: Path) -> None:
        self.model = model
        self._python, self._directory = python, directory
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> Path:
        return self._directory / "server.log"

    def start(self) -> None:
        """Returns once it answers; its model may take some seconds more."""
        self._directory.mkdir(parents=True, exist_ok=True)
        # What is compiled once is there again after a restart.
        cache = {"JAX_COMPILATION_CACHE_DIR": str(self._directory / "jax")}
        environment = os.environ | cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        command = [self._python, str(SERVER), self.model, str(self._directory / "store"), "--port", str(self._port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True, cwd=self._directory
            )
        until = time.monotonic() + PATIENCE
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the server does not answer; the end of its log:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/v1/healthz", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """Ends it with everything that it started, as a machine that goes down does."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
