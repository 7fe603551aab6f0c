"""The guide's code blocks, run as they are written: only the sizes that a test needs are added."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.guide import guides_call
from tests.support.on_the_fake import train_strictly
from tests.support.rows import read_rows

from socratic_distill import (
    FreshStart,
    LoadCheckpoint,
    Resume,
    build_socratic_config,
    load_checkpoints,
    resolve_start,
    train,
)
from socratic_distill.testing import FakeRestClient, FakeServiceClient

SMALL: dict[str, Any] = dict(groups_per_batch=2, num_envs=2, max_turns=2, max_steps=4, save_every=2, display="off")


@pytest.fixture
def repo_root(tmp_path: Path) -> Path:
    return tmp_path


def build(log_path, **more):
    """The guide's build call; `# ... other args` are the test's sizes."""
    return guides_call(log_path, **(SMALL | more))


def train_as_guided(config, server):
    return train_strictly(server, config, FakeRestClient(server))


def test_same_path_resumes_from_the_most_recent_checkpoint(repo_root):
    log_path = str(repo_root / "experiments" / "distillation" / "run-001")
    server = FakeServiceClient()
    train_as_guided(build(log_path), server)
    start = resolve_start(log_path)
    assert isinstance(start, Resume) and start.batch == 4
    assert train_as_guided(build(log_path, max_steps=6), server).steps == 6
    assert [row["step"] for row in read_rows(Path(log_path) / "metrics.jsonl")] == list(range(6))
    assert server.count("create_training_client_from_state_with_optimizer") == 1


def test_new_path_starts_from_scratch(repo_root):
    server = FakeServiceClient()
    train_as_guided(build(str(repo_root / "experiments" / "distillation" / "run-001")), server)
    log_path = str(repo_root / "experiments" / "distillation" / "run-002")
    assert resolve_start(log_path) == FreshStart()
    train_as_guided(build(log_path), server)
    assert server.count("create_lora_training_client") == 2


@pytest.mark.parametrize("form", ["full", "short", "journal", "named in journal", "directory"])
def test_checkpoint_of_another_run_is_built_on_in_every_path_form(repo_root, form):
    sft = repo_root / "experiments" / "distillation" / "sft"
    server = FakeServiceClient()
    train_as_guided(build(sft), server)
    model_id = json.loads((sft / "server_runs.jsonl").read_text().splitlines()[0])["server_run"]
    load_checkpoint_path, name = {
        "full": (f"tinker://{model_id}/weights/000002", "000002"),
        "short": (f"tinker://{model_id}/000002", "000002"),
        "journal": (str(sft / "checkpoints.jsonl"), "final"),
        "named in journal": (f"{sft / 'checkpoints.jsonl'}#000002", "000002"),
        "directory": (str(sft), "final"),
    }[form]
    log_path = str(repo_root / "experiments" / "distillation" / "run-from-sft")
    expected = LoadCheckpoint(f"tinker://{model_id}/weights/{name}")
    assert resolve_start(log_path, load_checkpoint_path) == expected

    config = build(log_path, load_checkpoint_path=load_checkpoint_path)
    assert config.load_checkpoint_path == load_checkpoint_path
    train_as_guided(config, server)
    loaded = [call for call in server.calls if call.call == "create_training_client_from_state"]
    assert [call.arguments["path"] for call in loaded] == [expected.state_path]
    assert isinstance(resolve_start(log_path, load_checkpoint_path), Resume), "the same script run again resumes"


def test_local_weights_directory_is_built_on(repo_root):
    pytest.importorskip("torch")
    pytest.importorskip("peft")
    from socratic_distill.local.tiny import TRAIN_SEEDS

    tiny = dict.fromkeys(("tutor_model_name", "student_model_name", "teacher_model_name"), "tiny")
    common: dict[str, Any] = (
        SMALL | tiny | dict(learning_rate=1e-3, max_tokens=20, base_url="local", seeds_file=TRAIN_SEEDS, max_steps=1)
    )
    train(build_socratic_config(log_path=repo_root / "first", **common))
    state = load_checkpoints(repo_root / "first")[-1].state_path
    second = build_socratic_config(log_path=repo_root / "second", load_checkpoint_path=state, **common)
    assert resolve_start(second.log_path, state) == LoadCheckpoint(state or "")
    assert train(second).status == "completed"


def test_by_default_sampler_weights_are_saved_every_step_states_every_20(repo_root):
    config = build(repo_root / "run", max_steps=41, save_every=20, groups_per_batch=1, num_envs=1)
    assert build_socratic_config(**{k: v for k, v in config.model_dump().items() if k != "save_every"}).save_every == 20
    server = FakeServiceClient()
    train_as_guided(config, server)
    records = load_checkpoints(repo_root / "run")
    assert [one.batch for one in records if one.state_path] == [20, 40, 41]
    assert {one.batch for one in records if one.sampler_path} == set(range(42))
