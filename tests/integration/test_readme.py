"""Every Python block of the README runs, the fake in the hosted service's place; its seeds files load."""

import re
from pathlib import Path
from typing import Any

import pytest

import socratic_distill
from socratic_distill import load_seeds, service
from socratic_distill.recordings import load_recordings
from socratic_distill.testing import FakeRestClient, FakeServiceClient

README = Path(__file__).parents[2] / "README.md"
# What a block leaves to the defaults and a test cannot wait for; what a block says itself stays.
SIZES = {"max_steps": 1, "max_turns": 1, "groups_per_batch": 2, "num_envs": 2, "display": "off"}


def blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> FakeServiceClient:
    """The fake, opened wherever a config does not say "local"."""
    fake, build, open_real = FakeServiceClient(), socratic_distill.build_socratic_config, service.open_service

    def open_service(config: socratic_distill.SocraticConfig) -> service.Service:
        if config.base_url == "local":
            return open_real(config)
        return service.Service(fake, FakeRestClient(fake))

    def build_small(**fields: Any) -> socratic_distill.SocraticConfig:
        return build(**{**SIZES, **fields})

    monkeypatch.setattr("socratic_distill.service.open_service", open_service)
    monkeypatch.setattr("socratic_distill.build_socratic_config", build_small)
    return fake


def run(block: str, tmp_path: Path) -> dict[str, Any]:
    """Runs a block, and the tests that it defines; gives its names."""
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    for name in [name for name in names if name.startswith("test_")]:
        names[name](tmp_path)
    return names


@pytest.mark.parametrize("number", range(5))
def test_readme_python_block_runs(number, hosted, tmp_path, monkeypatch):
    block = blocks("python")[number]
    if 'base_url="local"' in block:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names = run(block, tmp_path)
    assert "result" not in names or names["result"].status == "completed"


def test_readme_call_of_the_guide_trains_on_the_hosted_service(hosted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in blocks("python") if '"Qwen3-8B"' in block]
    run(block, tmp_path)
    (created,) = [call for call in hosted.calls if call.call == "create_lora_training_client"]
    assert created.arguments["base_model"] == "Qwen/Qwen3-8B"
    assert hosted.count("optim_step") == 1


def test_readme_recordings_file_loads(tmp_path):
    path = tmp_path / "conversations.jsonl"
    path.write_text(blocks("jsonl")[0], encoding="utf-8")
    first, second = load_recordings([path])
    assert first.seed.expected_answer == "42" and second.seed.question == "Why is 3 * 4 not 7?"


@pytest.mark.parametrize("number", range(1, 4))
def test_readme_seeds_file_loads(number, tmp_path):
    block = blocks("jsonl")[number]
    path = tmp_path / "seeds.jsonl"
    path.write_text(block, encoding="utf-8")
    seeds = load_seeds(path)
    assert len(seeds) == block.count("\n")
    assert seeds[0].expected_answer == "42"


def test_readme_holds_no_block_that_is_not_run():
    assert len(blocks("python")) == 5 and len(blocks("jsonl")) == 4
