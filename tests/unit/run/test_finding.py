"""Which directories hold a run, what is said of the others, and the runs that are named beside them."""

import json
import os
from pathlib import Path

import pytest

from socratic_distill import ConfigError
from socratic_distill.run.finding import check_run, find_runs, shown_path

OURS = json.dumps({"tutor_model_name": "a", "student_model_name": "a", "teacher_model_name": "a"})


def make_run(path: Path, name: str = "run.json", text: str = "{}") -> Path:
    path.mkdir(parents=True)
    (path / name).write_text(text)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("name", "text"),
    [("run.json", "{}"), ("checkpoints.jsonl", ""), ("socratic_config.json", "{"), ("config.json", OURS)],
)
def test_a_directory_with_a_file_of_a_run_is_found_and_accepted(here, name, text):
    run = make_run(here / "runs" / "a", name, text)
    assert list(find_runs(here)) == [run]
    check_run(run)


@pytest.mark.parametrize("text", ["{}", '{"model_type": "llama"}', "[" * 5000, "\x00", ""])
def test_another_programs_config_is_no_run(here, text):
    other = make_run(here / "model", "config.json", text)
    assert list(find_runs(here)) == []
    with pytest.raises(ConfigError, match=r"model holds no run; expected the directory of a run$"):
        check_run(other)


def test_nearer_runs_come_first_and_the_inside_of_a_run_is_not_searched(here):
    deep = make_run(here / "a" / "b" / "c")
    near = [make_run(here / "z"), make_run(here / "y")]
    make_run(near[0] / "inside")
    assert list(find_runs(here)) == [near[1], near[0], deep]
    assert list(find_runs(here, depth=2)) == [near[1], near[0]]
    assert list(find_runs(near[0])) == [near[0]], "the directory itself is looked at too"


def test_links_hidden_directories_and_environments_are_not_searched(here, tmp_path):
    make_run(tmp_path / "elsewhere" / "run")
    (here / "link").symlink_to(tmp_path / "elsewhere")
    (here / "loop").symlink_to(here)
    for name in (".cache", "node_modules", "site-packages"):
        make_run(here / name / "run")
    assert list(find_runs(here)) == []


def test_a_search_ends_after_so_many_entries(here):
    for place in range(30):
        (here / f"{place:02}").mkdir()
    run = make_run(here / "00" / "run")
    assert list(find_runs(here, most=20)) == [], "the first directory alone has more entries"
    assert list(find_runs(here, most=100)) == [run]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_may_not_be_read_hides_no_other(here):
    (here / "a").mkdir(mode=0)
    run = make_run(here / "b")
    assert list(find_runs(here)) == [run]


def test_the_message_says_what_is_wrong_and_names_likely_runs_first(here):
    for name in ("apples-1", "apples-2", "pears"):
        make_run(here / "runs" / name)
    (here / "empty").mkdir()
    (here / "file").write_text("text")
    (here / "nothing").symlink_to(here / "gone")
    found = "Runs found here: runs/pears, runs/apples-1, runs/apples-2"
    faults = {
        "runs/pear": "does not exist",
        "empty": "is empty",
        "file": "is a file",
        "nothing": "is a link to nothing",
    }
    for name, fault in faults.items():
        with pytest.raises(ConfigError) as raised:
            check_run(name)
        assert str(raised.value).startswith(f"{name} {fault}; expected the directory of a run. Runs found here: ")
    with pytest.raises(ConfigError, match=found):
        check_run("runs/pear")


def test_many_runs_nearby_are_counted(here):
    for place in range(8):
        make_run(here / f"run{place}")
    with pytest.raises(ConfigError, match=r"Runs found here: (run\d, ){4}run\d and 3 more$"):
        check_run("missing")


def test_without_runs_here_those_beside_the_given_path_are_named(here, tmp_path):
    run = make_run(tmp_path / "other" / "a")
    with pytest.raises(ConfigError, match=f"Runs found here: {run}$"):
        check_run(tmp_path / "other" / "missing" / "deeper")


def test_what_else_is_expected_is_said(here):
    with pytest.raises(ConfigError, match=r"x does not exist; expected the directory of a run, or a script$"):
        check_run("x", expected="the directory of a run, or a script")


def test_a_path_with_a_null_character_is_an_error_of_ours(here):
    with pytest.raises(ConfigError, match="expected the directory of a run"):
        check_run("a\x00b")


def test_paths_are_shown_as_typed_from_the_working_directory(here, tmp_path):
    assert shown_path(here / "runs" / "a") == shown_path(Path("runs/a")) == "runs/a"
    assert shown_path(tmp_path / "a") == str(tmp_path / "a")
    assert shown_path(here) == "."
