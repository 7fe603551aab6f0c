import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

# As in the quickstart: threads do not pay on models this small. Before the package's import, which is torch's where
# the SDK finds it; children of the tests inherit it, and compute as the tests do.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from socratic_distill import SocraticConfig, build_socratic_config, train

# Asserts of the shared helpers say as much as those of the tests, if this comes before the helpers' import.
pytest.register_assert_rewrite("tests.support")

# What a sync to disk protects from, a power cut, no test can bring about; but a run makes dozens, at milliseconds each.
# Tests that count syncs, or make them fail, put their own in this one's place.
os.fsync = lambda descriptor: None


# Before the profile that the command line names is loaded. Some environments have no tests of properties.
if find_spec("hypothesis") is not None:
    from tests.support.examples import register as register_profiles

    register_profiles()


def pytest_configure(config: pytest.Config) -> None:
    """A long run says how far it is; tests and their children can be sent SIGINT."""
    from tests.support.progress import register

    register(config)
    # What a shell starts in the background inherits SIGINT as one that is ignored.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a `thinned` test with more than three cases every third stays; `make test-slow` runs the others."""
    families: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("thinned") is not None:
            families.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for family in families.values():
        for place, item in enumerate(family):
            if len(family) > 3 and place % 3:
                item.add_marker(pytest.mark.slow)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Modules and tests stay to the end: no collection of garbage has to look through them again and again."""
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """An async test with the mark `virtual_time` runs on a loop whose time jumps to the next timer."""
    if item.get_closest_marker("virtual_time") is None:
        return {"real": asyncio.new_event_loop}
    from socratic_distill.testing.clock import VirtualLoop

    return {"virtual": VirtualLoop}


@pytest.fixture(autouse=True)
def no_named_servers(monkeypatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither finds the servers that the person at the keyboard named, nor adds to them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "settings-of-nobody" / uuid4().hex))


@pytest.fixture
def seeds_file(tmp_path: Path) -> Path:
    """Six problems in our own format, one without a mistake."""
    from tests.support.rows import write_rows

    rows = [
        {
            "id": f"s{i}",
            "question": f"Tom has {i} apples and gets 30 more. How many?",
            "expected_answer": str(30 + i),
        }
        | ({"initial_error": f"30 - {i} = {30 - i}."} if i else {})
        for i in range(6)
    ]
    return write_rows(tmp_path / "seeds.jsonl", *rows)


@pytest.fixture
def make_config(tmp_path: Path, seeds_file: Path):
    """A builder of small configs; keyword arguments override."""

    def make(**changes: Any) -> SocraticConfig:
        fields: dict[str, Any] = dict(
            tutor_model_name="small", student_model_name="pupil", teacher_model_name="small", learning_rate=0.1,
            max_tokens=12, log_path=tmp_path / "run", seeds_file=seeds_file, groups_per_batch=3, num_envs=2,
            max_turns=2, max_steps=6, save_every=2, display="off", write_report=False,
        )  # fmt: skip
        return build_socratic_config(**(fields | changes))

    return make


_whole_runs: dict[tuple[str, bytes], Path] = {}


@pytest.fixture
def whole_run(make_config, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the directory of a run on the fake that nothing happens to, for a config with changes.

    Each config runs once a process, so that a test may only read it, and asks for it while nothing is patched.
    """
    from socratic_distill.testing import FakeServiceClient

    def run(**changes: Any) -> Path:
        directory = tmp_path_factory.mktemp("whole") / "run"
        config = make_config(**changes, log_path=directory)
        meaning = config.model_dump_json(exclude={"log_path", "seeds_file"})
        key = meaning, Path(config.seeds_file).read_bytes()
        if key not in _whole_runs:
            train(config, service_client=FakeServiceClient())
            _whole_runs[key] = directory
        return _whole_runs[key]

    return run


@pytest.fixture
def no_network(monkeypatch) -> list[tuple[str, int]]:
    """No request leaves: gives the hosts and ports that were to be connected to."""
    asked: list[tuple[str, int]] = []

    def refuse(host: Any, port: Any, *_: Any, **__: Any) -> Any:
        asked.append((host.decode() if isinstance(host, bytes) else host, int(port)))
        raise OSError("no network in this test")

    def refuse_address(self: Any, address: Any) -> Any:
        return refuse(*address[:2]) if isinstance(address, tuple) else refuse(address, 0)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse_address)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse_address)
    return asked


_watching: list[set[Path]] = []


@cache
def _install_watch() -> None:
    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and _watching and isinstance(arguments[0], str | bytes | os.PathLike):
            with suppress(ValueError):  # a path with a null byte
                _watching[-1].add(Path(os.path.realpath(os.fsdecode(arguments[0]))))

    sys.addaudithook(watch)  # for good; without a set to fill it does nothing


@pytest.fixture
def opened_files() -> Iterator[set[Path]]:
    """Where each file really is that the process opens; clear it to begin anew."""
    _install_watch()
    _watching.append(set())
    yield _watching[-1]
    _watching.pop()
