"""The guide's call on a server of today's models: refused, and the call that the refusal proposes runs as written.

The models are tiny: each name of today's catalogue stands for the packaged one on the server, and for its tokenizer in
a hub cache on this machine.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.selfhosted.hosting import TUFT, Host
from tests.selfhosted.runs import finished_rows
from tests.support.hub_cache import lay_tokenizers

from socratic_distill.config.catalogue import catalogue
from socratic_distill.local.tiny import MODEL_DIR

pytestmark = pytest.mark.selfhosted

TODAY = [model.name for model in catalogue().models.values() if model.retired is None]
REFUSED = """
from socratic_distill import ModelNotOffered, PreflightError, train
from tests.support.guide import guides_call

config = guides_call(
    {log_path!r}, base_url={url!r}, groups_per_batch=2, num_envs=2, max_turns=2, max_steps=2, display="off"
)
try:
    train(config)
except PreflightError as error:
    assert all(isinstance(problem, ModelNotOffered) for problem in error.problems), error
    print(error.problems[-1])
"""
PROPOSED = """
from socratic_distill import build_socratic_config, train

train({call})
"""


@pytest.fixture(scope="module")
def todays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """TuFT with every model of today's catalogue by name, and a context that the guide's call fits into."""
    server = replace(TUFT, arguments=(*TUFT.arguments, "--context", "8192", "--also", *TODAY))
    host = Host(server, str(MODEL_DIR), tmp_path_factory.mktemp("todays"))
    host.start()
    yield host
    host.kill()


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """The home of a hub cache that holds a tokenizer for every model of today's catalogue."""
    lay_tokenizers(tmp_path / "home", TODAY)
    return tmp_path / "home"


def run_script(text: str, hub: Path) -> str:
    """What a script prints, run in a process of its own on a hub cache."""
    environment = os.environ | {"HF_HOME": str(hub), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ended = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_call_that_a_refusal_proposes_runs_as_it_is_written(todays, hub, tmp_path):
    log_path = tmp_path / "run"
    refusal = run_script(REFUSED.format(log_path=str(log_path), url=todays.url), hub)
    assert "by the packaged table and their tokenizers on this machine" in refusal
    assert not finished_rows(log_path)
    run_script(PROPOSED.format(call=refusal[refusal.index("build_socratic_config(") :]), hub)
    assert len(finished_rows(log_path)) == 2
