"""Self-hosted servers for all tests of this folder, and at the end a table of what they covered."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.selfhosted.hosting import KEY, SERVERS, Host
from tests.selfhosted.runs import small_fields
from tests.selfhosted.table import write_table
from tests.selfhosted.tiny_llama import make_tiny_llama
from tests.support.rows import write_rows

from socratic_distill import SocraticConfig, build_socratic_config, train
from socratic_distill.training.server_facts import REMEMBERED

MakeConfig = Callable[..., SocraticConfig]


@pytest.fixture(scope="session", autouse=True)
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINKER_API_KEY", KEY)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Directory of the model that every server has."""
    return make_tiny_llama(tmp_path_factory.mktemp("model") / "tiny-llama")


@pytest.fixture(scope="session", params=SERVERS)
def host(request: pytest.FixtureRequest, model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Each server with its bridge, running."""
    host = Host(SERVERS[request.param], model, tmp_path_factory.mktemp("host"))
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


@pytest.fixture(scope="session")
def whole(fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of six steps that nothing happened to; tests read it, and start none in it."""
    log_path = tmp_path_factory.mktemp("whole") / "run"
    train(build_socratic_config(**fields, log_path=log_path))
    return log_path


@pytest.fixture
def make_config(fields: dict[str, Any], whole: Path, tmp_path: Path) -> MakeConfig:
    """A builder of configs on the server, all of few shapes; keyword arguments override.

    Their runs know what the whole run found out about the server, so that it is tried once.
    """

    def make(**changes: Any) -> SocraticConfig:
        config = build_socratic_config(**({**fields, "log_path": tmp_path / "run"} | changes))
        log_path = Path(config.log_path)
        if not log_path.exists():
            log_path.mkdir(parents=True)
            shutil.copy(whole / REMEMBERED, log_path)
        return config

    return make


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leaves with a test's reports which server it is on, and what of the table it covers."""
    for fixture, bridge in (("host", True), ("released", False)):
        if (server := _server_of(item, fixture)) is not None:
            item.user_properties += [("server", server), ("bridge", bridge)]
    for name in ("scenario", "objective"):
        item.user_properties += [(name, mark.args[0]) for mark in item.iter_markers(name)]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "scenario(name): what of the table's scenarios a test covers")
    config.addinivalue_line("markers", "objective(name): what of the table's objectives a test covers")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One server after the other, so that each starts once. Tests of other folders stay as they are."""
    order = [*SERVERS, None]
    items.sort(key=lambda item: order.index(_server_of(item)) if item.get_closest_marker("selfhosted") else -1)


def _server_of(item: pytest.Item, fixture: str = "host") -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get(fixture) if callspec is not None else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    write_table(terminalreporter)
