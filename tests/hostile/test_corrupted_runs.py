"""Every command on any content of a run directory: a result or one message, soon, and nothing beyond the directory."""

import contextlib
import hashlib
import inspect
import io
import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx
import pytest
from tests.hostile.commands import FAKE, arguments
from tests.hostile.conftest import EVIL, Scene, checkpoints, set_scene
from tests.hostile.corruptions import corrupt
from tests.hostile.traps import REAL_SECONDS, Traps, armed, bytecode, of_the_machine, scratch, watchdog

from socratic_distill import errors
from socratic_distill.run.identity import read_identity
from socratic_distill.run.layout import RUN
from socratic_distill.testing import FakeRestClient, FakeServiceClient

# The seeds of the default suite, each with every other command; `make test-slow` runs all seeds and commands.
FIRST, ALL = 12, 300
EVERY = list(FAKE)
NAMES = "|".join(name for name, kind in vars(errors).items() if inspect.isclass(kind))
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass
class Outcome:
    """What became of a command."""

    code: object
    out: str
    err: str
    faults: list[str] = field(default_factory=list)


def call(command: list[str]) -> Outcome:
    """Runs a command in this process, standard input closed."""
    from socratic_distill.cli import main

    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    handler = logging.StreamHandler(streams[1])  # what an unconfigured process shows
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    code: object
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]), watchdog():
            code = main(command)
    except SystemExit as error:
        code = error.code
    except BaseException as error:
        code = f"{type(error).__name__}: {error}"[:300]
    finally:
        logging.getLogger().removeHandler(handler)
    out, err = (stream.buffer.getvalue().decode("utf-8") for stream in streams)  # type: ignore[attr-defined]
    return Outcome(code, out, err)


def judge(outcome: Outcome) -> None:
    """Notes what a person should not see."""
    if outcome.code not in (0, 1, 2):
        outcome.faults.append(f"ended with {outcome.code}")
    if "Traceback (most recent call last)" in outcome.err + outcome.out:
        outcome.faults.append(f"traceback: {outcome.err[-1500:]}")
    elif outcome.code == 1 and len(re.findall(rf"^(?:{NAMES}): ", outcome.err, re.MULTILINE)) != 1:
        outcome.faults.append(f"not one message: {outcome.err[-600:]!r}")
    if found := STEERING.search(outcome.out + outcome.err):
        outcome.faults.append(f"control character {found[0]!r} is shown")


def digest(directory: Path) -> str:
    """Of all that stands in a directory."""
    total = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        total.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return total.hexdigest()


@contextlib.contextmanager
def served(scene: Scene) -> Iterator[list[str]]:
    """The hosted service is the fake; a client of any other server is noted instead of made."""
    import tinker

    asked: list[str] = []

    class Service:
        def __new__(cls, *, base_url: Any = None, **others: Any) -> Any:
            if base_url is not None:
                asked.append(str(base_url))
                raise RuntimeError("a client was made of a server that nobody named")
            return FakeServiceClient(scene.server)

    class Rest:
        def __new__(cls, *, base_url: Any = None, **others: Any) -> Any:
            return FakeRestClient(Service(base_url=base_url))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tinker, "ServiceClient", Service)
        patch.setattr(tinker, "RestClient", Rest)
        patch.setattr("socratic_distill.service.connect.check_health", _only_the_hosted_service(asked))
        patch.setenv("TINKER_API_KEY", "tml-test-key")
        patch.delenv("TINKER_BASE_URL", raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("XDG_CONFIG_HOME", str(scene.out / "settings"))
        patch.setattr(sys, "stdin", io.StringIO(""))
        if "serve" in FAKE:
            patch.setattr("uvicorn.Server.serve", _visit)
        patch.syspath_prepend(str(scene.root))
        patch.syspath_prepend(str(scene.run.parent))
        patch.chdir(scene.run.parent)
        yield asked


async def _visit(server: Any, sockets: list[socket.socket]) -> None:
    """Instead of serving until Ctrl-C: all addresses are asked once, without the network."""
    address = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(server.config.app), base_url=address) as client:
        (model,) = (await client.get("/v1/models")).raise_for_status().json()["data"]
        messages = [{"role": "user", "content": "It is 12."}]
        for stream in (True, False):
            body = {"model": model["id"], "messages": messages, "stream": stream}
            reply = await client.post("/v1/chat/completions", json=body)
        for answer in (
            await client.get("/"),
            await client.get("/about"),
            reply,
            await client.post("/scores", json={"id": reply.json().get("id", "")}),
        ):
            print(answer.request.url.path, answer.status_code)
            if answer.is_error:
                print(STEERING.sub(".", answer.json()["error"]["message"]))


def _only_the_hosted_service(asked: list[str]) -> Any:
    def check_health(base_url: str | None, *others: Any) -> None:
        if base_url is not None:
            asked.append(base_url)
            raise errors.ServiceUnreachable("a server was asked that nobody named")

    return check_health


def _is_path(text: str) -> bool:
    """Whether a text can be the path of anything on this machine."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half a character
        return False


def copied_from(run: Path) -> list[Path]:
    """The one kind of file elsewhere that is read: `run.json` of the directories that the run's own one names."""
    try:
        identity = read_identity(run)
    except errors.StartError:
        return []
    if identity is None:
        return []
    directories = [identity.path, *(source.path for source in identity.copied_from)]
    return [Path(os.path.realpath(directory)) / RUN for directory in directories if directory and _is_path(directory)]


def play(scene: Scene, name: str) -> Outcome:
    """Runs a command on a damaged run, traps armed, and judges it."""
    before = digest(scene.outside)
    traps_at = of_the_machine()
    with served(scene) as asked, scratch() as temporary:
        own = [Path(os.path.realpath(place)) for place in (scene.run, scene.out, temporary, scene.server)]
        traps = Traps([*traps_at, *own, *copied_from(scene.run)], [*own, *bytecode()], [EVIL, "runs"])
        with armed(traps):
            outcome = call(arguments(name, scene.run, scene.out))
        sys.modules.pop(EVIL, None)
    judge(outcome)
    outcome.faults += [f"trap: {one}" for one in dict.fromkeys(traps.sprung)][:5]
    outcome.faults += [f"asked {url}" for url in asked]
    if digest(scene.outside) != before:
        outcome.faults.append("files outside were changed")
    if scene.mark.exists():
        outcome.faults.append("a stranger's code ran")
    return outcome


@pytest.mark.parametrize(
    ("seed", "names"),
    [
        *((seed, EVERY[seed % 2 :: 2]) for seed in range(FIRST)),
        *(pytest.param(seed, EVERY, marks=pytest.mark.slow) for seed in range(ALL)),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "all" if value is EVERY else "half",
)
def test_any_directory_gets_a_result_or_one_message(base, tmp_path, seed, names):
    found, done = [], []
    for name in names:
        scene = set_scene(base, tmp_path / "scene")
        done = corrupt(scene.run, scene.outside, seed)
        outcome = play(scene, name)
        if lost := base.others - set(checkpoints(scene.server)):
            outcome.faults.append(f"another run's checkpoints were deleted: {lost}")
        found += [f"{name}: {fault}" for fault in outcome.faults]
    assert not found, f"after {done}:\n" + "\n".join(found)


def test_every_command_succeeds_on_the_run_itself(base, tmp_path):
    """Else the test above would pass for commands that do nothing."""
    outcomes = {name: play(set_scene(base, tmp_path / "scene"), name) for name in FAKE}
    assert {name: outcome.faults for name, outcome in outcomes.items() if outcome.faults} == {}
    failed = {name: outcome.err for name, outcome in outcomes.items() if outcome.code}
    assert failed == {"export --adapter": ANY, "export --merge": ANY}
    assert "UnsupportedServer: " in failed["export --adapter"], "the fake gives no weights out"


QUICK_AS_PROCESSES = ("prune --yes", "check")


@pytest.mark.parametrize(
    "name", [name if name in QUICK_AS_PROCESSES else pytest.param(name, marks=pytest.mark.slow) for name in FAKE]
)
def test_command_as_a_process_asks_no_strangers_server_and_runs_no_code(base, tmp_path, name):
    scene = set_scene(base, tmp_path / "scene")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        config = json.loads((scene.run / "config.json").read_text())
        hostile = {"base_url": f"http://127.0.0.1:{server.getsockname()[1]}", "trust_remote_code": True}
        hostile["rewards"] = [{"kind": "function", "function": f"{EVIL}:reward"}]
        hostile["tutor_prompt_file"] = str(scene.outside / "secret.txt")
        (scene.run / "config.json").write_text(json.dumps(config | hostile))
        with (scene.run / "checkpoints.jsonl").open("ab") as file:
            file.write(b'{"a": [' * 10_000 + b"\n\xff\x00\n")
        before = digest(scene.outside)
        environment = os.environ | {"TINKER_API_KEY": "tml-test-key", "XDG_CONFIG_HOME": str(scene.out)}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(errors.__file__).parents[1]), str(scene.run.parent)])
        done = subprocess.run(
            [sys.executable, "-m", "socratic_distill", *arguments(name, scene.run, scene.out)],
            cwd=scene.run.parent, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=REAL_SECONDS,
        )  # fmt: skip
        with pytest.raises(BlockingIOError):
            server.accept()
    outcome = Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
    judge(outcome)
    assert outcome.faults == [] and digest(scene.outside) == before and not scene.mark.exists()
