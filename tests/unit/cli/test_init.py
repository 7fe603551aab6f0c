import runpy
import subprocess
import sys

import pytest

from socratic_distill import ConfigError, cli
from socratic_distill.cli.init import write_project
from socratic_distill.config.paths import resolved
from socratic_distill.config.sections import Fields
from socratic_distill.dialogues.prompts import load_prompts
from socratic_distill.dialogues.seeds import load_seeds
from socratic_distill.run.given_config import given_config


def test_project_is_written_once(tmp_path, capsys):
    assert cli.main(["init", str(tmp_path / "new")]) == 0
    assert "socratic-distill train config.yaml" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in (tmp_path / "new").rglob("*.*")}
    assert cli.main(["init", str(tmp_path / "new")]) == 1
    assert "nothing is overwritten" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "new").rglob("*.*")} == before


def test_one_existing_file_keeps_everything_from_being_written(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "tutor.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"prompts/tutor\.txt already"):
        write_project(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prompts"]
    with pytest.raises(ConfigError, match="is a file"):
        write_project(tmp_path / "prompts" / "tutor.txt")


def test_config_names_every_field_and_means_what_the_script_means(tmp_path):
    write_project(tmp_path)
    config = given_config(tmp_path / "config.yaml")
    make_config = runpy.run_path(str(tmp_path / "train.py"))["make_config"]
    script = make_config(tmp_path / "runs" / "first")
    different = [name for name in type(config).model_fields if _plain(config, name) != _plain(script, name)]
    assert different == []
    text = (tmp_path / "config.yaml").read_text()
    assert [name for name in Fields.model_fields if f"\n{name}: " not in text and f"\n# {name}: " not in text] == []
    assert len(load_seeds(config.seeds_file)) == 24
    load_prompts(config)  # they may be read: they are in the config's directory
    assert len((tmp_path / "README.md").read_text().splitlines()) <= 16


def _plain(config, name):
    value = getattr(config, name)
    return resolved(value) if isinstance(value, str) and hasattr(value, "resolved") else value


def test_comments_of_the_config_are_fields_that_can_be_set(tmp_path):
    write_project(tmp_path)
    path = tmp_path / "config.yaml"
    head, rest = path.read_text().split("\n# All other fields")
    fields = [line.removeprefix("# ") for line in rest.splitlines() if line.startswith("# ") and ": " in line]
    before = given_config(path)
    path.write_text("\n".join([head, *fields]))
    assert given_config(path) == before


def test_test_of_the_project_passes(tmp_path):
    write_project(tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_train.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
