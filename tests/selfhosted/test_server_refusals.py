"""What keeps a run from starting on a real server: one message each, an exit code, no traceback, no key anywhere."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.selfhosted.hosting import KEY, SKYRL, Host, free_port, only
from tests.selfhosted.runs import finished_rows
from tests.support.run_directories import states_by_batch

from socratic_distill import ServiceUnreachable, SocraticError, train
from socratic_distill.cli import main
from socratic_distill.training.server_facts import REMEMBERED

pytestmark = [pytest.mark.selfhosted, only(SKYRL)]
WRONG = "not-a-key-but-secret"


@pytest.fixture
def changes(host: Host, whole: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """By what is wrong: what the config has instead, and what the message must say."""
    state = states_by_batch(whole)[2]
    return {
        "an unknown model": ({"student_model_name": "Nobody-7B"}, f"Nobody-7B.*{host.model}"),
        "no server": ({"base_url": f"http://127.0.0.1:{free_port()}"}, "base_url=.*127.0.0.1"),
        "a vanished checkpoint": ({"load_checkpoint_path": f"{state}9"}, f"{state}9.*load_checkpoint_path"),
        "a sampler path": ({"load_checkpoint_path": state.replace("/weights/", "/sampler_weights/")}, state),
        "another rank": ({"load_checkpoint_path": state, "lora_rank": 4}, "LoRA rank 8.*rank 4"),
        "an objective": ({"objective": {"kind": "forward_kl"}}, "forward_kl.*topk_prompt_logprobs"),
    }


@pytest.fixture
def check(make_config, tmp_path: Path, capfd) -> Callable[..., tuple[int, str]]:
    """Runs the check command on a config; gives its exit code and what it wrote on standard error, in one line."""

    def run(**changes: Any) -> tuple[int, str]:
        config, made = tmp_path / "config.json", make_config(**changes)
        config.write_text(made.model_dump_json())
        code = main(["check", str(config), "--base-url", str(made.base_url), "--allow-files"])
        told = capfd.readouterr().err
        assert "Traceback" not in told
        return code, " ".join(told.split())

    return run


def test_a_config_that_nothing_is_wrong_with_passes(check, tmp_path):
    assert check()[0] == 0
    assert [path.name for path in (tmp_path / "run").iterdir()] == [REMEMBERED]


@pytest.mark.parametrize(
    "wrong",
    ["an unknown model", "no server", "a vanished checkpoint", "a sampler path", "another rank", "an objective"],
)
def test_one_message_and_exit_code_1_for(check, make_config, changes, tmp_path, wrong):
    given, told = changes[wrong]
    code, message = check(**given)
    assert code == 1
    assert_says(message, told)
    with pytest.raises(SocraticError) as caught:
        train(make_config(**given))
    assert_says(" ".join(str(caught.value).split()), told)
    assert not finished_rows(tmp_path / "run")


def assert_says(message: str, told: str) -> None:
    """All parts, in any order."""
    missing = [part for part in told.split(".*") if part not in message]
    assert not missing, f"{missing} not in: {message}"


@pytest.mark.parametrize("key", [None, WRONG])
def test_a_key_that_is_missing_or_wrong_is_told_and_not_shown(check, monkeypatch, key):
    monkeypatch.delenv("TINKER_API_KEY")
    if key is not None:
        monkeypatch.setenv("TINKER_API_KEY", key)
    code, message = check()
    assert code == 1
    assert "TINKER_API_KEY" in message and WRONG not in message


def test_several_problems_are_told_at_once(check, changes):
    given = changes["an unknown model"][0] | changes["a vanished checkpoint"][0]
    code, message = check(**given)
    assert code != 0
    for wrong in ("an unknown model", "a vanished checkpoint"):
        assert_says(message, changes[wrong][1])


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_says_nothing_is_given_up_after_ten_seconds(make_config, silent):
    began = time.monotonic()
    with pytest.raises(ServiceUnreachable):
        train(make_config(base_url=silent))
    assert time.monotonic() - began < 15


def test_no_file_of_a_run_holds_the_key(whole):
    files = [file for file in whole.rglob("*") if file.is_file()]
    assert len(files) > 5
    assert json.loads((whole / "config.json").read_text())["base_url"]
    assert not [file for file in files if KEY.encode() in file.read_bytes()]
