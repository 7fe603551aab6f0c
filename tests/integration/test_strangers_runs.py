"""Commands on a run directory from a stranger: no request, no key, no code and no file until the user allows it."""

import json
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import tinker
from tests.support.on_the_fake import train_on_fake

from socratic_distill import ServiceError, open_service
from socratic_distill.cli import main
from socratic_distill.config.known_servers import known_servers
from socratic_distill.run.directory import load_config
from socratic_distill.testing import FakeServiceClient

KEY = "tml-planted-key-0123456789"
COMMANDS: dict[str, list[str]] = {
    "list": ["checkpoints", "RUN"],
    "report": ["report", "RUN"],
    "csv": ["export", "RUN", "--csv", "OUT"],
    "messages": ["export", "RUN", "--messages", "OUT"],
    "prompts": ["export", "RUN", "--messages", "OUT", "--system-prompt"],
    "adapter": ["export", "RUN", "--adapter", "OUT"],
    "merge": ["export", "RUN", "--merge", "OUT"],
    "trace": ["export", "RUN", "--trace", "OUT"],
    "cost": ["cost", "RUN"],
    "cost of a file": ["cost", "RUN/config.json"],
    "chat": ["chat", "RUN"],
    "chat on a question": ["chat", "RUN", "--question", "What is 1 + 1?"],
    "check": ["check", "RUN"],
    "check of a file": ["check", "RUN/config.json"],
    "evaluate": ["evaluate", "RUN"],
    "prune": ["checkpoints", "RUN", "prune", "--yes"],
    "rebuild": ["checkpoints", "RUN", "rebuild"],
}
ASK_A_SERVER = {"adapter", "chat", "chat on a question", "check", "check of a file", "evaluate", "prune", "rebuild"}
READ_PROMPTS = {
    "prompts",
    "cost",
    "cost of a file",
    "chat",
    "chat on a question",
    "check",
    "check of a file",
    "evaluate",
}
READ_SEEDS = READ_PROMPTS - {"prompts", "chat on a question"}


@pytest.fixture(autouse=True)
def user(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    monkeypatch.delenv("TINKER_BASE_URL", raising=False)
    monkeypatch.setattr("builtins.input", lambda *_: "")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run on the fake, with its seeds inside."""
    from socratic_distill import build_socratic_config

    run = tmp_path_factory.mktemp("finished") / "run"
    service = FakeServiceClient()
    config = build_socratic_config(
        tutor_model_name="small", student_model_name="pupil", teacher_model_name="small", learning_rate=0.1,
        max_tokens=12, log_path=run, groups_per_batch=2, num_envs=2, max_turns=2, max_steps=2, save_every=1,
        display="off", write_report=False,
    )  # fmt: skip
    train_on_fake(service, config)
    return run


@pytest.fixture
def stranger(finished, tmp_path):
    """Gives a copy of the run with changes in its config.json."""

    def make(**changes: Any) -> Path:
        run = tmp_path / "run"
        shutil.copytree(finished, run)
        fields = json.loads((run / "config.json").read_text()) | {"log_path": str(run)} | changes
        (run / "config.json").write_text(json.dumps(fields))
        return run

    return make


def call(name: str, run: Path, *options: str) -> int:
    places = {"RUN": str(run), "OUT": str(run.parent / "out")}
    return main([*(part.replace("RUN", str(run)) if "/" in part else places.get(part, part) for part in COMMANDS[name]),
                 *options])  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_strangers_server_gets_nothing(stranger, no_network, capsys, name):
    code = call(name, stranger(base_url="http://127.0.0.1:8123"))
    told = capsys.readouterr()
    assert no_network == [] and KEY not in told.out + told.err and "Traceback" not in told.err
    if name in ASK_A_SERVER:
        assert code == 1 and "--base-url http://127.0.0.1:8123" in told.err
    else:
        assert "--base-url" not in told.err


@pytest.mark.parametrize("name", COMMANDS)
def test_no_file_elsewhere_is_read(stranger, tmp_path, no_network, opened_files, capsys, name):
    secret = tmp_path / "id_rsa"
    secret.write_text("-----BEGIN PRIVATE KEY-----\n")
    run = stranger(base_url="http://127.0.0.1:8123", tutor_prompt_file=str(secret), teacher_prompt_file=str(secret))
    opened_files.clear()
    code = call(name, run)
    told = capsys.readouterr()
    assert secret.resolve() not in opened_files and no_network == [] and "Traceback" not in told.err
    if name in READ_PROMPTS:
        assert code == 1 and "tutor_prompt_file=" in told.err and "--allow-files" in told.err


@pytest.mark.parametrize("name", sorted(READ_SEEDS))
def test_seeds_elsewhere_are_not_read(stranger, tmp_path, no_network, opened_files, capsys, name):
    secret = tmp_path / "seeds.jsonl"
    secret.write_text('{"id": "a", "question": "secret?", "expected_answer": "1"}\n')
    run = stranger(base_url="http://127.0.0.1:8123", seeds_file=str(secret))
    opened_files.clear()
    assert call(name, run) == 1 and "seeds_file=" in capsys.readouterr().err
    assert secret.resolve() not in opened_files and no_network == []


PLANTED: dict[str, dict[str, Any]] = {
    "reward": {"rewards": [{"kind": "function", "function": "run.planted:f"}]},
    "loss": {"objective": {"kind": "custom", "function": "run.planted:f"}},
}


@pytest.mark.parametrize("which", PLANTED)
@pytest.mark.parametrize("name", COMMANDS)
def test_no_code_beside_the_run_is_imported(stranger, tmp_path, monkeypatch, no_network, capsys, name, which):
    run = stranger(base_url="http://127.0.0.1:8123", **PLANTED[which])
    (run / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').close()\ndef f(dialogue): return 1.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # as `python -m` has it
    call(name, run)
    told = capsys.readouterr()
    assert not (tmp_path / "ran").exists() and "run.planted" not in sys.modules and "Traceback" not in told.err
    assert ("--allow-code" in told.err) == name.startswith("check ") or name == "check"


def test_options_may_stand_before_or_after_a_directory(stranger, tmp_path, no_network, capsys):
    secret = tmp_path / "prompt.txt"
    secret.write_text("Ask.")
    run = stranger(base_url="http://127.0.0.1:8123", tutor_prompt_file=str(secret))
    for arguments in (["--allow-files", str(run)], [str(run), "--allow-files"]):
        assert main(["check", *arguments]) == 1
        told = capsys.readouterr().err
        assert "--base-url" in told and "--allow-files" not in told, "what was allowed is not asked for again"
    with pytest.raises(SystemExit) as ended:
        main(["check", str(run), "--alow-files"])
    assert ended.value.code == 2 and no_network == []


def test_hosted_service_gets_its_key_only_from_commands_that_need_it(stranger, no_network, capsys):
    run = stranger(base_url=None)
    for name in COMMANDS:
        no_network.clear()
        call(name, run)
        hosts = {host for host, _ in no_network}
        assert hosts == ({"tinker.thinkingmachines.dev"} if name in ASK_A_SERVER else set()), name
        shutil.rmtree(run.parent / "out", ignore_errors=True)
        (run.parent / "out").unlink(missing_ok=True)


# With the real SDK, on servers on loopback


class Handler(BaseHTTPRequestHandler):
    """Answers a start, or sends all requests but the health check elsewhere."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        server.seen.append((self.path, dict(self.headers), body))
        is_moved = server.elsewhere and (server.moves_all or "healthz" not in self.path)
        content = json.dumps(next((one for part, one in server.answers.items() if part in self.path), {})).encode()
        self.send_response(307 if is_moved else 200)
        if is_moved:
            self.send_header("location", f"{server.elsewhere}{self.path}")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


class Server(ThreadingHTTPServer):
    elsewhere: str | None = None
    moves_all = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: dict[str, Any] = {
            "create_session": {"session_id": "s1", "type": "create_session"},
            "capabilities": {"supported_models": []},
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def has_key(self) -> bool:
        return any(KEY in json.dumps(headers) or KEY.encode() in body for _, headers, body in self.seen)


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    both = Server(), Server()
    for server in both:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield both
    for server in both:
        server.shutdown()
        server.server_close()


def test_key_goes_to_the_server_that_was_named_and_is_remembered(stranger, servers, capsys):
    named, other = servers
    run = stranger(base_url=named.url)
    assert main(["checkpoints", str(run), "rebuild"]) == 1 and not named.seen
    main(["checkpoints", str(run), "rebuild", "--base-url", named.url])
    assert named.has_key and known_servers() == {named.url} and not other.seen
    named.seen.clear()
    main(["checkpoints", str(run), "rebuild"])
    assert named.has_key, "it is remembered"
    (run / "config.json").write_text((run / "config.json").read_text().replace(named.url, other.url))
    assert main(["checkpoints", str(run), "rebuild"]) == 1 and not other.seen, "by its port too"
    assert "--base-url" in capsys.readouterr().err


@pytest.mark.parametrize("moves_all", [True, False])
def test_redirect_carries_neither_key_nor_texts_elsewhere(stranger, servers, moves_all):
    named, other = servers
    named.elsewhere, named.moves_all = other.url, moves_all
    config = load_config(stranger(base_url=named.url), base_url=named.url)
    with pytest.raises(ServiceError) as refused:
        client = open_service(config).client
        assert isinstance(client, tinker.ServiceClient)
        _ = client.holder
    assert named.has_key != moves_all and not other.seen
    assert "redirects to" in str(refused.value) if moves_all else "307" in str(refused.value)


def test_socket_is_trapped_here(no_network):
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("127.0.0.1", 1))
    assert no_network == [("127.0.0.1", 1)]
