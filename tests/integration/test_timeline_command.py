"""`python -m socratic_distill timeline`, on a run on the virtual service."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from socratic_distill import build_socratic_config, train_async
from socratic_distill.cli import main
from socratic_distill.run.directory import RunDirectory
from socratic_distill.testing import FakeRestClient, Fault
from socratic_distill.testing.clock import run_virtual
from socratic_distill.testing.virtual import VirtualServiceClient

SVG = "{http://www.w3.org/2000/svg}"
MARKUP = '<script>&"'


def trained(directory, **changes):
    """The directory of a run of three steps, one of whose seeds has markup in its id."""
    rows = [
        {"id": name, "question": f"Tom has {i} apples and gets 30 more. How many?", "expected_answer": str(30 + i)}
        for i, name in enumerate(["s0", MARKUP])
    ]
    seeds = directory / "seeds.jsonl"
    seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields: dict[str, Any] = dict(
        tutor_model_name="tutor", student_model_name="student", teacher_model_name="teacher", learning_rate=0.1,
        max_tokens=100, log_path=directory / "run", seeds_file=seeds, groups_per_batch=2, num_envs=2, max_turns=2,
        max_steps=3, save_every=2, display="off",
    )  # fmt: skip
    faults = changes.pop("faults", ())
    config = build_socratic_config(**(fields | changes))

    async def train():
        service = VirtualServiceClient(faults=faults)
        await train_async(config, service_client=service, rest_client=FakeRestClient(service))

    run_virtual(train())
    return directory / "run"


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run(trained_once, tmp_path):
    """The run's directory, to write to."""
    return Path(shutil.copytree(trained_once, tmp_path / "run"))


def printed(capsys):
    """What was printed, which is one path."""
    told = capsys.readouterr()
    assert told.err == "" and told.out.endswith("\n") and told.out.count("\n") == 1
    return Path(told.out[:-1])


def heading(path):
    svg = ElementTree.parse(path).getroot()
    return next(text for one in svg.iter(SVG + "text") if (text := one.text or "").startswith("Step "))


def bars(path):
    """What the bars tell."""
    svg = ElementTree.parse(path).getroot()
    return [one.findtext(SVG + "title", "") for one in svg.iter(SVG + "rect") if "bar" in one.get("class", "")]


def test_timeline_draws_the_last_step_into_the_run_and_prints_where(run, capsys):
    assert main(["timeline", str(run)]) == 0
    path = printed(capsys)
    assert path == run / "timeline-000002.svg"
    assert heading(path).startswith("Step 2: ") and heading(path).endswith(" s, 4 dialogues")
    assert not list(run.glob("*.partial"))


def test_timeline_draws_the_step_that_was_asked_for(run, capsys):
    for step in (0, 1, 2):
        assert main(["timeline", str(run), "--step", str(step)]) == 0
        path = printed(capsys)
        assert path == run / f"timeline-{step:06d}.svg" and heading(path).startswith(f"Step {step}: ")


def test_timeline_writes_the_file_that_was_asked_for_and_no_other(run, tmp_path, capsys, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chart.svg").write_text("an old one")
    assert main(["timeline", str(run), "--step", "1", "--out", "chart.svg"]) == 0
    assert printed(capsys) == Path("chart.svg")
    assert heading(tmp_path / "chart.svg").startswith("Step 1: ")
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_every_request_of_the_step_is_drawn(run, capsys):
    main(["timeline", str(run), "--step", "1"])
    told = bars(printed(capsys))
    rows = [json.loads(line) for line in (run / "dialogues.jsonl").read_text().splitlines()]
    of_step = [row for row in rows if row["step"] == 1]
    for row in of_step:
        mine = [one for one in told if one.startswith(f"{row['seed']} · {row['number']}: ")]
        phases = [re.findall(r": (\w+),", one)[0] for one in mine]
        assert phases == ["opening", "tutor", "student", "tutor", "student", "teacher"], "not its turns and its scores"
    assert len(told) == 6 * len(of_step) + 2
    assert {row["seed"] for row in of_step} == {"s0", MARKUP}


def test_rows_that_another_json_writer_wrote_are_drawn_alike(run, capsys):
    main(["timeline", str(run), "--step", "1"])
    path = printed(capsys)
    before = path.read_bytes()
    for name in ("metrics.jsonl", "dialogues.jsonl"):
        rows = [json.loads(line) for line in (run / name).read_text().splitlines()]
        lines = [json.dumps(dict(reversed(row.items())), separators=(" , ", " : ")) + "\n" for row in rows]
        (run / name).write_text("".join(lines))
    main(["timeline", str(run), "--step", "1"])
    assert printed(capsys).read_bytes() == before


def test_the_bars_that_stand_out_cover_the_step_as_the_metrics_say(run, capsys):
    for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        main(["timeline", str(run), "--step", str(row["step"])])
        seconds = dict.fromkeys(("opening", "student", "tutor", "teacher", "update", "weights"), 0.0)
        for one in bars(printed(capsys)):
            if one.endswith(", critical"):
                phase, start, end = re.findall(r": (\w+), (\S+) to (\S+) s", one)[0]
                seconds[phase] += float(end) - max(float(start), 0.0)
        for phase, value in seconds.items():
            assert value == pytest.approx(row[f"time/critical/{phase}"] * row["time/step"], abs=0.05), phase


def test_timeline_of_a_run_under_way_draws_its_last_whole_step(run, capsys):
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]) + lines[2][:50])
    with RunDirectory(run):
        assert main(["timeline", str(run)]) == 0
    assert heading(printed(capsys)).startswith("Step 1: ")


def test_timeline_of_steps_with_failed_dialogues_draws_the_others(tmp_path, capsys):
    run = trained(tmp_path, faults=[Fault("sample", nth=1), Fault("sample", nth=9)], max_failed_fraction=0.9)
    rows = [json.loads(line) for line in (run / "dialogues.jsonl").read_text().splitlines()]
    assert {len(row["turns"]) > 0 for row in rows if row["ending"] == "failed"} == {True, False}
    for step in range(3):
        assert main(["timeline", str(run), "--step", str(step)]) == 0
        told = bars(printed(capsys))
        spans = [row["time/spans"] for row in rows if row["step"] == step]
        assert len(told) == 2 + sum(map(len, spans))


# Refusals


@pytest.mark.parametrize(
    ("step", "told"),
    [(["--step", "3"], "metrics.jsonl has no step 3"), (["--step", "-1"], "metrics.jsonl has no step -1")],
)
def test_a_step_that_is_not_there_exits_with_one(run, capsys, step, told):
    assert main(["timeline", str(run), *step]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"ConfigError: {run}/{told}\n" and captured.out == ""
    assert not list(run.glob("*.svg"))


def test_a_directory_that_is_no_run_exits_with_one(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "missing"):
        assert main(["timeline", str(path)]) == 1
        assert capsys.readouterr().err == (
            f"ConfigError: {path} holds no metrics.jsonl; expected the log_path of a run that did a step\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_rows_of_another_tool_exit_with_one(run, capsys):
    (run / "metrics.jsonl").write_text('{"step": 4, "loss": 0.5}\n')
    assert main(["timeline", str(run)]) == 1
    assert capsys.readouterr().err == f"ConfigError: step 4 of {run} has no timings; another tool has written it\n"


@pytest.mark.parametrize("out", [".", "/", "a-directory"])
def test_a_directory_as_the_file_to_write_exits_with_one(run, tmp_path, capsys, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-directory").mkdir()
    assert main(["timeline", str(run), "--out", out]) == 1
    assert capsys.readouterr().err.startswith(f"ConfigError: --out {out} is a directory")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "a-directory"}


def test_a_file_that_cannot_be_written_exits_with_one(run, tmp_path, capsys):
    assert main(["timeline", str(run), "--out", str(tmp_path / "missing" / "chart.svg")]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"StorageError: {tmp_path}/missing/chart.svg cannot be written: ")
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [[], ["RUN", "--step", "last"], ["RUN", "--out"], ["RUN", "1"]], ids=str)
def test_wrong_usage_exits_with_two(run, capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["timeline", *(str(run) if one == "RUN" else one for one in arguments)])
    assert stopped.value.code == 2
    assert "usage: socratic-distill" in capsys.readouterr().err


def test_the_command_runs_as_a_module(run):
    """In a process of its own: a slip in `__main__` or in an import shows here alone."""
    done = [
        subprocess.run(
            [sys.executable, "-m", "socratic_distill", "timeline", str(run), "--step", step],
            capture_output=True, text=True, check=False,
        )
        for step in ("1", "9")
    ]  # fmt: skip
    assert [one.returncode for one in done] == [0, 1]
    assert (done[0].stdout, done[0].stderr) == (f"{run}/timeline-000001.svg\n", "")
    assert (done[1].stdout, done[1].stderr) == ("", f"ConfigError: {run}/metrics.jsonl has no step 9\n")
    assert heading(run / "timeline-000001.svg").startswith("Step 1: ")
