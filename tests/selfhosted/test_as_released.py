"""Servers without a bridge speak another revision of the API: one error says so, and soon."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import tinker
from tests.selfhosted.hosting import SERVERS, Host
from tests.selfhosted.runs import finished_rows, small_fields

pytestmark = pytest.mark.selfhosted

PATIENCE = 15.0
COMMANDS = [
    pytest.param(command, marks=pytest.mark.scenario(f"{command} ends in UnsupportedServer"))
    for command in ("check", "train")
]


@pytest.fixture(scope="module", params=SERVERS)
def released(request: pytest.FixtureRequest, model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Each server as it was released, running."""
    host = Host(SERVERS[request.param], model, tmp_path_factory.mktemp("released"), bridge=False)
    host.start()
    # SkyRL answers health requests at once, but answers nothing else while it loads and compiles its model, which
    # takes a minute.
    service = tinker.ServiceClient(base_url=host.url)
    with suppress(tinker.APIStatusError):
        service.create_lora_training_client(model, rank=8, seed=0).result()
    with suppress(tinker.APIStatusError, AssertionError):
        prompt, params = tinker.ModelInput.from_ints([1, 2, 3]), tinker.SamplingParams(max_tokens=1)
        service.create_sampling_client(base_model=model).result().sample(prompt, 1, params).result()
    yield host
    host.kill()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_in_one_error(released, seeds, tmp_path, command):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**small_fields(released, seeds), "log_path": str(tmp_path / "run")}))
    line = [sys.executable, "-m", "socratic_distill", command, str(config), "--base-url", released.url, "--allow-files"]
    began = time.monotonic()
    ended = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    seconds = time.monotonic() - began
    output = ended.stdout + ended.stderr
    assert ended.returncode == 1, output
    assert "UnsupportedServer" in output and "Traceback" not in output
    assert "non-retryable" not in output, "a line of the SDK's own"
    assert seconds < PATIENCE, f"{seconds:.1f} s\n{output}"
    assert not finished_rows(tmp_path / "run")
