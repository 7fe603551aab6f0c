"""`runs` and `compare` on runs that the fake trained: whole, narrow, for programs, and beside damaged ones."""

import json

import pytest
from rich.cells import cell_len

from socratic_distill import load_evaluations, train
from socratic_distill.cli import main
from socratic_distill.outputs.display.console import TextConsole
from socratic_distill.testing import FakeServiceClient


@pytest.fixture
def two(make_config, tmp_path, monkeypatch):
    """The working directory, with two runs."""
    for name, changes in {"a": {}, "b": {"learning_rate": 0.05, "max_steps": 1}}.items():
        sizes = {"max_steps": 2, "eval_every": 1, "eval_seeds": 2, "display": "off", "log_path": f"runs/{name}"}
        monkeypatch.chdir(tmp_path)
        train(make_config(**(sizes | changes)), service_client=FakeServiceClient())
    return tmp_path


@pytest.fixture
def terminal(monkeypatch):
    """Standard output is a terminal of 80 columns without colours."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(TextConsole, "is_terminal", True)
    monkeypatch.setenv("TERM", "dumb")


def printed(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_runs_lists_each_run_with_its_status_steps_and_measures(two, capsys):
    lines = printed(capsys, "runs").splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line.strip().startswith("runs/")}
    assert rows["runs/a"][1:3] == ["complete", "2/2"] and rows["runs/b"][1:3] == ["complete", "1/1"]
    assert all("%/" in rows[name][3] and "%/" in rows[name][4] for name in rows)


def test_runs_for_programs_have_every_measure(two, capsys):
    first, second = json.loads(printed(capsys, "runs", "runs", "--json"))
    assert (first["path"], second["path"]) == ("runs/a", "runs/b")
    assert first["step"]["teacher_kl"] is not None and first["evaluation"]["batch"] == 2


def test_one_run_directory_is_listed_alone(two, capsys):
    assert [row["path"] for row in json.loads(printed(capsys, "runs", "runs/b", "--json"))] == ["runs/b"]


def test_damaged_runs_are_a_row_each_and_hide_no_other(two, capsys):
    for name, text in {"torn": "{", "steering": '"\x1b[2J'}.items():
        (two / "runs" / name).mkdir()
        (two / "runs" / name / "run.json").write_text("{}")
        (two / "runs" / name / "config.json").write_text(text)
    out = printed(capsys, "runs")
    assert out.count("damaged") == 2 and out.count("complete") == 2
    assert "runs/torn: config.json cannot be read: " in out and "\x1b" not in out


def test_tables_fit_eighty_columns_and_cut_no_name(two, capsys, terminal):
    for arguments in (["runs"], ["compare", "runs/a", "runs/b"], ["compare", "runs/a", "runs/b", "--all"]):
        out = printed(capsys, *arguments)
        assert max(map(cell_len, out.splitlines())) <= 80
        assert "runs/a" in out and "…" not in out
    assert "mathdial/telling@1-7 ↓" in out and "first_reply/tells ↓" in out


def test_a_long_name_is_whole_in_a_terminal_and_in_a_pipe(two, capsys, terminal, monkeypatch):
    name = "a-run-with-a-rather-long-name-of-its-own"
    (two / "runs" / "a").rename(two / "runs" / name)
    lines = printed(capsys, "runs").splitlines()
    assert name in "".join(line.split()[0] for line in lines if line.strip()), "it is folded"
    monkeypatch.setattr(TextConsole, "is_terminal", False)
    assert f"runs/{name} " in printed(capsys, "runs")


def test_compare_shows_the_fields_that_differ_alone(two, capsys):
    out = printed(capsys, "compare", "runs/a", "runs/b")
    config = out.partition("config")[2].partition("status")[0]
    assert "learning_rate" in config and "max_steps" in config
    assert not any(field in config for field in ("max_tokens", "log_path", "resolved_paths"))
    assert "weights before" in out and "batch 2" in out and "batch 1" in out and "teacher_kl ↓" in out


def test_compare_for_programs_has_all_metrics_and_evaluations(two, capsys):
    found = json.loads(printed(capsys, "compare", "runs/a", "runs/b", "--json"))
    assert found["differences"]["max_steps"] == ["2", "1"]
    assert [row["step"] for row in found["metrics"]] == [1, 0]
    assert [list(evaluations) for evaluations in found["evaluations"]] == [["0", "1", "2"], ["0", "1"]]


def test_compare_shows_the_difference_on_the_same_seeds(two, capsys):
    out = printed(capsys, "compare", "runs/a", "runs/b")
    below = out.partition("minus the first run, on the same seeds")[2]
    assert "teacher_kl ↓" in below and "wins" in below and "rough" in below, "there are two seeds"
    found = json.loads(printed(capsys, "compare", "runs/a", "runs/b", "--json"))["differences_from_first"]
    assert found[0]["teacher_kl"]["value"] == 0.0 and found[1]["teacher_kl"]["seeds"] == 2
    last = [load_evaluations(f"runs/{name}")[-1].measures["teacher_kl"].value or 0.0 for name in ("a", "b")]
    assert found[1]["teacher_kl"]["value"] == pytest.approx(last[1] - last[0])


def test_evaluations_of_older_versions_have_no_difference(two, capsys):
    for path in two.rglob("evaluations/*.json"):
        path.write_text(json.dumps({key: of for key, of in json.loads(path.read_text()).items() if key != "by_seed"}))
    assert "minus the first run" not in printed(capsys, "compare", "runs/a", "runs/b")


def test_runs_that_do_not_differ_say_so(two, capsys):
    assert "(no field differs)" in printed(capsys, "compare", "runs/a", "runs/a")


def test_compare_names_what_it_could_not_read(two, capsys):
    (two / "runs" / "b" / "config.json").write_text("{")
    out = printed(capsys, "compare", "runs/a", "runs/b")
    assert "damaged" in out and "runs/b: config.json holds no JSON object and is left out." in out
    assert "(no field differs)" in out, "one config alone differs from none"


def test_compare_needs_two_runs(two, capsys):
    assert main(["compare", "runs/a"]) == 1
    assert "only runs/a is given; expected two or more runs" in capsys.readouterr().err


def test_neither_asks_a_service_nor_changes_a_file(two, capsys, no_network):
    before = {path: path.stat().st_mtime_ns for path in two.rglob("*")}
    printed(capsys, "runs")
    printed(capsys, "compare", "runs/a", "runs/b")
    assert {path: path.stat().st_mtime_ns for path in two.rglob("*")} == before and not no_network
