"""The guide's call on a server of today's models, by the real SDK over HTTP: refused, and what is proposed runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.fake_api import FakeApi
from tests.support.hub_cache import lay_tokenizers, save_toy_tokenizer
from tests.support.rows import read_rows

from socratic_distill.config.catalogue import catalogue
from socratic_distill.testing import FakeServiceClient

TODAY = [model.name for model in catalogue().models.values() if model.retired is None]
# The refusal's last lines are the call, which is run as it is written.
SCRIPT = """
from socratic_distill import ModelNotOffered, PreflightError, build_socratic_config, train
from tests.support.guide import guides_call

config = guides_call(
    {log_path!r}, base_url={url!r}, groups_per_batch=2, num_envs=2, max_turns=2, max_steps=2, display="off"
)
try:
    train(config)
except PreflightError as error:
    assert all(isinstance(problem, ModelNotOffered) for problem in error.problems), error
    refusal = str(error.problems[-1])
print(refusal, flush=True)
call = refusal[refusal.index("build_socratic_config(") :]
exec(f"train({{call}})")
"""


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """An HF_HOME that holds a tokenizer for every model of today's catalogue."""
    save_toy_tokenizer(tmp_path / "toy")
    lay_tokenizers(tmp_path / "home", TODAY, tmp_path / "toy")
    return tmp_path / "home"


def test_the_proposed_call_runs_as_written_over_http(hub, tmp_path):
    log_path = tmp_path / "run"
    environment = os.environ | {
        "HF_HOME": str(hub),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "TINKER_API_KEY": "tml-only-a-test",
        "TINKER_TELEMETRY": "0",
    }
    service = FakeServiceClient(models=TODAY)
    with FakeApi(service) as api:
        script = SCRIPT.format(log_path=str(log_path), url=api.url)
        ended = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
        )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "by the packaged table and their tokenizers on this machine" in ended.stdout
    rows = read_rows(log_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [0, 1] and all(row["datums"] for row in rows)
    assert service.count("save_state") >= 1 and "asample" in api.paths
