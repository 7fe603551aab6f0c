"""Paths of a config: as they were given, and what they meant when it was built."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from socratic_distill import ConfigError, SocraticConfig, build_socratic_config
from socratic_distill.config.parts import Recordings, Teacher
from socratic_distill.config.paths import STORED_AS, GivenPath, paths_of, resolved
from socratic_distill.run.directory import RunDirectory, load_config


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory with files, and a working directory in it."""
    home = tmp_path / "home"
    (home / "work" / "data").mkdir(parents=True)
    (home / "work" / "data" / "seeds.jsonl").write_text('{"question": "1 + 1?", "expected_answer": "2"}\n')
    (home / "prompt.txt").write_text("Ask.")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "work")
    return home


def config_with(**changes: Any) -> SocraticConfig:
    fields: dict[str, Any] = dict(
        tutor_model_name="small", student_model_name="pupil", teacher_model_name="small", learning_rate=0.1,
        max_tokens=4, log_path="~/run", seeds_file="data/seeds.jsonl",
    )  # fmt: skip
    return build_socratic_config(**(fields | changes))


def built(fields: dict[str, Any], stored: object) -> SocraticConfig:
    """A config as it is built of what a config.json holds."""
    everything: dict[str, Any] = fields | {STORED_AS: stored}
    return SocraticConfig(**everything)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("~/a", "{home}/a"), ("~", "{home}"), ("a/b", "{home}/work/a/b"), ("/a/~/b", "/a/~/b"), ("a~", "{home}/work/a~"),
     ("s3://b/~/r", "s3://b/~/r"), ("tinker://a/weights/b", "tinker://a/weights/b"),
     ("~nobody-at-all/x", "{home}/work/~nobody-at-all/x")],
)  # fmt: skip
def test_path_is_resolved_when_it_is_given(home, text, expected, monkeypatch):
    path = GivenPath(text)
    monkeypatch.chdir("/")
    assert path == text and str(path) == text and resolved(path) == expected.format(home=home)


def test_other_paths_have_their_home_expanded_and_stay_relative(home):
    assert [resolved(path) for path in ("~/a", "a/b", Path("~/a"), "s3://~/a")] == [
        f"{home}/a", "a/b", f"{home}/a", "s3://~/a"
    ]  # fmt: skip


def test_every_path_of_a_config_reads_as_given_and_keeps_its_meaning(home, monkeypatch):
    config = config_with(
        load_checkpoint_path="~/other#x",
        tutor_prompt_file=Path("~/prompt.txt"),
        seeds_file=None,
        seeds_files=[("data/seeds.jsonl", 1)],
        recordings=Recordings(files=("data/seeds.jsonl",)),  # pyright: ignore[reportArgumentType]
        teachers=[
            Teacher(name="a", prompt_file="~/prompt.txt"),
            {"name": "b", "tags": ["x"], "checkpoint_path": "~/w"},
        ],
        judge={"model_name": "j", "prompt_file": "../prompt.txt"},
    )
    assert config.log_path == "~/run" and json.loads(config.model_dump_json())["log_path"] == "~/run"
    assert paths_of(config) == {
        "~/run": f"{home}/run",
        "~/other#x": f"{home}/other#x",
        "~/prompt.txt": f"{home}/prompt.txt",
        "data/seeds.jsonl": f"{home}/work/data/seeds.jsonl",
        "~/w": f"{home}/w",
        "../prompt.txt": f"{home}/work/../prompt.txt",
    }
    monkeypatch.chdir("/")
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), SocraticConfig(**dict(config))):
        assert other == config and paths_of(other) == paths_of(config)


def test_stored_config_means_the_same_from_anywhere(home, tmp_path, monkeypatch):
    config = config_with()
    run = RunDirectory(config.log_path)
    run.path.mkdir()
    run.begin(config, {}, None)
    assert run.path == home / "run"
    monkeypatch.chdir("/")
    loaded = load_config("~/run")
    assert loaded == config and paths_of(loaded) == paths_of(config)
    stored = json.loads((home / "run" / "config.json").read_text())
    assert SocraticConfig(**stored) == config, "a script may build the config from the file"
    assert stored[STORED_AS] == paths_of(config)


def test_stored_meaning_that_is_gone_gives_way_to_that_of_here(home, tmp_path, monkeypatch):
    fields: dict[str, Any] = json.loads(config_with().model_dump_json())
    clone = tmp_path / "clone"
    (home / "work").rename(clone)
    monkeypatch.chdir(clone)
    config = built(fields, {"data/seeds.jsonl": f"{home}/work/data/seeds.jsonl"})
    assert isinstance(config.seeds_file, str) and resolved(config.seeds_file) == str(clone / "data" / "seeds.jsonl")


@pytest.mark.parametrize("stored", [None, 1, [], {"data/seeds.jsonl": 1}, {"data/seeds.jsonl": "a\0b"}, {"x": "/y"}])
def test_stored_meaning_of_any_kind_is_no_error(home, stored):
    fields: dict[str, Any] = json.loads(config_with().model_dump_json())
    assert paths_of(built(fields, stored)) == paths_of(config_with())


def test_file_that_is_not_there_is_an_error_that_names_it_as_given(home):
    with pytest.raises(ConfigError, match=r"seeds file '~/none\.jsonl' does not exist"):
        config_with(seeds_file="~/none.jsonl")


def test_model_name_is_a_path_where_there_is_such_a_file(home):
    (home / "model").mkdir()
    config = config_with(tutor_model_name="~/model", student_model_name="../model", teacher_model_name="Qwen/Qwen3-8B")
    assert (config.tutor_model_name, config.student_model_name) == ("~/model", "../model")
    names = [config.tutor_model_name, config.student_model_name, config.teacher_model_name]
    assert [isinstance(name, GivenPath) for name in names] == [True, True, False]
    assert resolved(names[0]) == f"{home}/model"
