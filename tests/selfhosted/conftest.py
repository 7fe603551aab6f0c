"""A self-hosted server for all tests of this folder, and at the end the list of what they covered."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.selfhosted.hosting import Host
from tests.selfhosted.runs import small_fields
from tests.selfhosted.tiny_llama import make_tiny_llama
from tests.support.rows import write_rows

from socratic_distill import SocraticConfig, build_socratic_config, train

PYTHON = "SOCRATIC_SELFHOSTED_PYTHON"
KEY = "tml-only-a-test"

MakeConfig = Callable[..., SocraticConfig]


@pytest.fixture(scope="session", autouse=True)
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINKER_API_KEY", KEY)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The server, running."""
    python = os.environ.get(PYTHON, "")
    assert Path(python).is_file(), f"{PYTHON}={python!r} must name the server's python; `make test-selfhosted` sets it"
    directory = tmp_path_factory.mktemp("host")
    host = Host(python, make_tiny_llama(directory / "tiny-llama"), directory)
    host.start()
    yield host
    host.kill()


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight problems."""
    rows = [
        {"id": f"s{i}", "question": f"Tom has {i} apples and gets 30 more. How many?", "expected_answer": str(30 + i)}
        for i in range(8)
    ]
    path = tmp_path_factory.mktemp("seeds") / "seeds.jsonl"
    write_rows(path, *rows)
    return path


@pytest.fixture(scope="session")
def fields(host: Host, seeds: Path) -> dict[str, Any]:
    return small_fields(host, seeds)


@pytest.fixture
def make_config(fields: dict[str, Any], tmp_path: Path) -> MakeConfig:
    """A builder of configs on the server, all of few shapes; keyword arguments override."""
    return lambda **changes: build_socratic_config(**({**fields, "log_path": tmp_path / "run"} | changes))


@pytest.fixture(scope="session")
def whole(fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of six steps that nothing happened to; tests read it, and start none in it."""
    log_path = tmp_path_factory.mktemp("whole") / "run"
    train(build_socratic_config(**fields, log_path=log_path))
    return log_path


def pytest_terminal_summary(terminalreporter: Any) -> None:
    covered = [one.nodeid for one in terminalreporter.stats.get("passed", ()) if "tests/selfhosted/" in one.nodeid]
    if covered:
        terminalreporter.section("covered, with the real SDK on a real server")
        for nodeid in dict.fromkeys(covered):
            terminalreporter.write_line("  " + nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " "))
