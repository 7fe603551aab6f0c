"""Local models and runs that lie elsewhere by now: another working directory, another clone, changed files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.rows import rows_of_run

pytest.importorskip("torch")
pytest.importorskip("peft")


from socratic_distill import ConfigDrift, build_socratic_config, preflight, train
from socratic_distill.cli import main
from socratic_distill.cli.conversation import chat
from socratic_distill.local.tiny import MODEL_DIR, TRAIN_SEEDS
from socratic_distill.outputs.exports.merged import export_merged

pytestmark = pytest.mark.thinned


def clone_at(directory: Path) -> Path:
    """A project's files: a model, seeds and a prompt."""
    shutil.copytree(MODEL_DIR, directory / "model", ignore=shutil.ignore_patterns("__pycache__", "*.py", "*.jsonl"))
    (directory / "data").mkdir()
    shutil.copy(TRAIN_SEEDS, directory / "data" / "seeds.jsonl")
    (directory / "prompt.txt").write_text("Ask about {question}.")
    return directory


def config_of(**changes: Any):
    fields: dict[str, Any] = dict(
        tutor_model_name="./model", student_model_name="model", teacher_model_name="model", learning_rate=3e-3,
        max_tokens=6, log_path="run", base_url="local", seeds_file="data/seeds.jsonl", groups_per_batch=1,
        num_envs=1, max_turns=1, max_steps=2, save_every=1, lora_rank=4, display="off", write_report=False,
        tutor_prompt_file="prompt.txt",
    )  # fmt: skip
    return build_socratic_config(**(fields | changes))


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """A project with a run of two steps, which was moved since: none of the paths that the run notes exists."""
    directory = tmp_path_factory.mktemp("trained") / "project"
    directory.mkdir()
    clone_at(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        train(config_of())
    return directory.rename(directory.with_name("moved"))


@pytest.fixture
def project(trained_once, tmp_path, monkeypatch):
    """The project at a place of this test's own, which its config notes, and the working directory."""
    directory = tmp_path / "project"
    shutil.copytree(trained_once, directory)
    config = directory / "run" / "config.json"
    config.write_text(config.read_text().replace(str(trained_once.with_name("project")), str(directory)))
    (directory / "run" / "run.json").write_text(json.dumps({"run_id": "a"}))
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture(scope="module")
def whole_rows(tmp_path_factory):
    """The rows of three steps that nothing interrupted."""
    directory = clone_at(tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        train(config_of(max_steps=3))
    return rows_of_run(directory / "run")


def goes_on(run: Path, whole_rows: list[Any], **changes: Any) -> None:
    assert train(config_of(max_steps=3, **changes)).steps == 3
    assert rows_of_run(run) == whole_rows


def test_run_resumes_under_another_spelling_of_its_paths(project, whole_rows):
    changes = dict(tutor_model_name=str(project / "model"), teacher_model_name="../project/model")
    goes_on(project / "run", whole_rows, **changes)


def test_run_resumes_in_another_clone(project, whole_rows, tmp_path, monkeypatch):
    other = clone_at(tmp_path / "other")
    (project / "run").rename(other / "run")
    shutil.rmtree(project)
    monkeypatch.chdir(other)
    goes_on(other / "run", whole_rows)


def test_project_that_was_moved_as_a_whole_goes_on(project, whole_rows, tmp_path, monkeypatch):
    moved = project.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    goes_on(moved / "run", whole_rows)


def test_run_below_the_home_directory_resumes_and_exports_from_anywhere(project, whole_rows, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(project))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    changes = {name: f"~/{path}" for name, path in dict(
        tutor_model_name="model", student_model_name="model", teacher_model_name="model", log_path="run",
        seeds_file="data/seeds.jsonl", tutor_prompt_file="prompt.txt").items()}  # fmt: skip
    goes_on(project / "run", whole_rows, **changes)
    assert Path(export_merged("~/run", "~/merged", allow_files=True)).is_relative_to(project / "run")
    assert (project / "merged" / "config.json").is_file() and not list(elsewhere.iterdir())


def test_run_is_talked_to_and_exported_from_another_directory(project, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    lines, answers = [], iter(["I think 5.", ""])
    chat(project / "run", read=lambda prompt: next(answers), write=lines.append, allow_files=True)
    assert lines[-1].startswith("tutor> ")
    assert main(["export", str(project / "run"), "--messages", "out.jsonl", "--system-prompt", "--allow-files"]) == 0
    assert "Ask about" in (elsewhere / "out.jsonl").read_text()
    assert main(["export", str(project / "run"), "--merge", "merged", "--allow-files"]) == 0


CHANGES = {
    "weights": lambda path: _flip(path / "model.safetensors"),
    "template": lambda path: _append(path / "chat_template.jinja"),
    "tokenizer": lambda path: _add_key(path / "tokenizer_config.json"),
    "config": lambda path: _add_key(path / "config.json"),
}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _append(path: Path) -> None:
    path.write_text(path.read_text() + "{# changed #}")


def _add_key(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added": 1}))


@pytest.mark.parametrize("part", CHANGES)
def test_model_that_changed_since_the_start_is_drift(project, part):
    CHANGES[part](project / "model")
    before = {path: path.read_bytes() for path in (project / "run").rglob("*") if path.is_file()}
    with pytest.raises(ConfigDrift, match=rf"(?s)tutor_model_name.*{part} [0-9a-f]{{16}}"):
        train(config_of(max_steps=3))
    assert {path: path.read_bytes() for path in before} == before
    assert [type(one) for one in preflight(config_of(max_steps=3)).problems] == [ConfigDrift]
    allowed = ("tutor_model_name", "student_model_name", "teacher_model_name")
    assert train(config_of(max_steps=3, allow_config_changes=allowed)).steps == 3


def test_fingerprint_of_an_older_version_is_no_drift_and_is_upgraded(project, whole_rows):
    """It named models by path; now it names their content."""
    path = project / "run" / "fingerprint.json"
    held = json.loads(path.read_text())
    assert held["tutor_model_name"].startswith("local files: ") and str(project) not in path.read_text()
    older = held | {"tutor_model_name": "./model", "student_model_name": "model", "teacher_model_name": "model"}
    path.write_text(json.dumps(older))
    for state in project.glob("run/local/*/*/*/state.json"):
        facts = json.loads(state.read_text())
        state.write_text(json.dumps({key: facts[key] for key in facts if key not in ("base_path", "base_content")}))
    goes_on(project / "run", whole_rows)
    assert json.loads(path.read_text()) == held
    path.write_text(json.dumps(older | {"tutor_model_name": "another"}))
    with pytest.raises(ConfigDrift, match=r"tutor_model_name +another"):
        train(config_of(max_steps=4))


def test_state_of_a_run_that_was_moved_is_loaded_by_another(project, tmp_path):
    moved = (project / "run").rename(project / "first")
    result = train(config_of(log_path="second", load_checkpoint_path="first"))
    assert result.status == "completed"
    origin = json.loads((project / "second" / "origin.json").read_text())
    assert origin["given"] == "first" and origin["resolved"].startswith(f"{moved}/local/")
