"""Reports of runs on the fake: at the end of a run, and by `python -m socratic_distill report`."""

import subprocess
import sys

import pytest
from tests.support.on_the_fake import strict_run
from tests.support.written_runs import data_of

from socratic_distill import SocraticError, load_seeds
from socratic_distill.cli import main
from socratic_distill.testing import FakeServiceClient, Fault


def data(path):
    return data_of(path.read_bytes())


@pytest.fixture
def make_config(make_config):
    """Configs of runs that end with their report, as all do unless they say otherwise."""
    return lambda **changes: make_config(**({"write_report": True} | changes))


@pytest.fixture
def trained(make_config):
    """A run of six steps, with evaluations."""
    config = make_config(eval_every=3, eval_seeds=2)
    strict_run(config)
    return config


def test_a_run_leaves_its_report(trained, tmp_path):
    found = data(tmp_path / "run" / "report.html")
    (one,) = found["runs"]
    assert one["curves"]["to"] == [0, 1, 2, 3, 4, 5] and one["evaluations"]["at"] == [0, 3, 6]
    assert {"teacher_kl", "mathdial/telling@7", "solved", "time/step"} <= one["curves"]["series"].keys()
    held_out = {talk["d"] for talk in found["talks"] if "b" in talk}
    assert len(held_out) == 2 == len(found["pairs"])
    assert held_out.isdisjoint(talk["d"] for talk in found["talks"] if "b" not in talk)
    assert held_out < {seed.id for seed in load_seeds(trained.seeds_file)}
    assert all(
        len(turn["p"]) == len(turn["u"]) == len(turn["c"]) for talk in found["talks"] for turn in talk["t"][1::2]
    )


def test_a_run_without_a_report_leaves_none(make_config, tmp_path):
    strict_run(make_config(write_report=False, max_steps=1))
    assert not (tmp_path / "run" / "report.html").exists()


def test_the_command_prints_the_path_of_the_page(trained, tmp_path, capsys):
    (tmp_path / "run" / "report.html").unlink()
    capsys.readouterr()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/run/report.html\n"
    assert len(data(tmp_path / "run" / "report.html")["runs"]) == 1


def test_runs_are_reported_side_by_side(trained, make_config, tmp_path, capsys):
    strict_run(make_config(log_path=tmp_path / "other", max_steps=2, learning_rate=0.05))
    out = tmp_path / "both.html"
    assert main(["report", str(tmp_path / "run"), str(tmp_path / "other"), "--out", str(out)]) == 0
    assert [one["name"] for one in data(out)["runs"]] == ["run", "other"]
    assert "0.05" in out.read_text()


def test_a_run_that_stopped_and_went_on_is_reported_with_its_lives(make_config, tmp_path):
    server = FakeServiceClient(faults=[Fault("forward_backward", nth=5)])
    with pytest.raises(SocraticError):
        strict_run(make_config(max_recoveries=0), server)
    assert main(["report", str(tmp_path / "run")]) == 0
    before = (tmp_path / "run" / "report.html").read_text()
    assert "not finished" in before or "interrupted" in before
    strict_run(make_config(), server)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<dd><bdi>complete</bdi></dd>" in page and "<bdi>at batch " in page
    assert data(tmp_path / "run" / "report.html")["runs"][0]["curves"]["to"] == [0, 1, 2, 3, 4, 5]


def test_a_report_under_way_leaves_the_torn_end_out(trained, tmp_path):
    path = tmp_path / "run"
    for name in ("metrics.jsonl", "dialogues.jsonl", "checkpoints.jsonl", "server_runs.jsonl"):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[:-20])
    assert main(["report", str(path)]) == 0
    assert data(path / "report.html")["runs"][0]["curves"]["to"] == [0, 1, 2, 3, 4, 5], "its dialogues are whole"


def test_a_directory_that_is_no_run_exits_with_one(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty")]) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith(
        f"ConfigError: {tmp_path}/empty is empty; expected the directory of a run"
    )
    assert list((tmp_path / "empty").iterdir()) == []


def test_wrong_usage_exits_with_two(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["report"])
    assert stopped.value.code == 2 and "usage: socratic-distill report" in capsys.readouterr().err


def test_importing_the_report_imports_no_heavy_library():
    heavy = "('torch', 'transformers', 'tinker', 'jinja2')"
    code = f"import sys, socratic_distill.outputs.report as r; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
