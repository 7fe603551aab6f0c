"""The servers as the tests start, stop and kill them."""

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

KEY = "tml-only-a-test"
PATIENCE = 600.0


@dataclass(frozen=True)
class Server:
    """A released server, and what the tests add to it.

    Attributes:
        name: its name; its script is `host_<name in lower case>/server.py`.
        version: the version that the Makefile installs.
        bridge: what its bridge adds, each a few words.
        leeway: how far two equal computations of it may be apart.
        arguments: what its script is given besides a model, a store and a port.
    """

    name: str
    version: str
    bridge: tuple[str, ...]
    leeway: float
    arguments: tuple[str, ...] = ()

    @property
    def script(self) -> Path:
        return Path(__file__).parent / f"host_{self.name.lower()}" / "server.py"

    @property
    def python(self) -> str:
        """The python of its environment, which the Makefile names."""
        variable = f"SOCRATIC_{self.name.upper()}_PYTHON"
        python = os.environ.get(variable, "")
        assert Path(python).is_file(), f"{variable}={python!r} must name a python; `make test-selfhosted` sets it"
        return python


SKYRL = Server("SkyRL", "0.4.0", ("ids of samples", "create by loading", "run ids with colons"), leeway=1e-3)
TUFT = Server(
    "TuFT",
    "0.2.2",
    ("unknown fields ignored", "ids of samples", "create by loading", "LoRA seeds"),
    leeway=0.0,
    arguments=("--key", KEY),
)
SERVERS = {server.name: server for server in (SKYRL, TUFT)}


def only(server: Server) -> pytest.MarkDecorator:
    """For tests of one server alone; the others run on each."""
    return pytest.mark.parametrize("host", [server.name], indirect=True)


class Host:
    """A server on a loopback port of its own; what it stores outlives it.

    Attributes:
        server: which one it is.
        model: directory of its model, which is also the model's name there.
        url: its base_url.
    """

    def __init__(self, server: Server, model: str, directory: Path, *, bridge: bool = True) -> None:
        self.server, self.model = server, model
        self._directory, self._bridge = directory, bridge
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> Path:
        return self._directory / "server.log"

    def adapter(self, state: str) -> Path:
        """The PEFT directory of a saved state, of a server that keeps one on this machine."""
        run, _, name = state.removeprefix("tinker://").partition("/")
        directories = [path.parent for path in self._directory.rglob("adapter_config.json")]
        (found,) = [d for d in directories if run in str(d) and name.rpartition("/")[2] in d.parts]
        return found

    def start(self) -> None:
        """Returns once it answers; its model may take some seconds more."""
        self._directory.mkdir(parents=True, exist_ok=True)
        # What JAX compiles once is there again after a restart, and the next time that the tests run.
        cache = {"JAX_COMPILATION_CACHE_DIR": str(Path(self.server.python).parents[1] / "jax")}
        environment = os.environ | cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        command = [self.server.python, str(self.server.script), self.model, str(self._directory / "store")]
        command += ["--port", str(self._port), *self.server.arguments]
        if not self._bridge:
            command.append("--as-released")
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
