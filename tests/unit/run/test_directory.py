"""The files of a run directory that are not its journal, also after a crash or another tool's hand."""

import json
import logging
import math

import pytest

from socratic_distill import ConfigError
from socratic_distill.cli import main
from socratic_distill.files.durable import end_line
from socratic_distill.run.directory import RunDirectory, load_config
from socratic_distill.run.layout import CONFIG, SERVER_RUNS
from socratic_distill.run.orphans import ServerRun, server_runs_of


def test_server_run_noted_behind_a_torn_line_stands_on_its_own(tmp_path):
    run = RunDirectory(tmp_path)
    run.note_server_run("first", 0)
    with (tmp_path / SERVER_RUNS).open("ab") as file:
        file.write(b'{"server_run": "sec')
    run.note_server_run("third", 4)
    assert server_runs_of(tmp_path) == [ServerRun("first", 0, 4), ServerRun("third", 4)]


def test_server_run_whose_newline_alone_was_lost_is_kept(tmp_path):
    (tmp_path / SERVER_RUNS).write_text('{"server_run": "first", "batch": 0}')
    RunDirectory(tmp_path).note_server_run("second", 4)
    assert [run.id for run in server_runs_of(tmp_path)] == ["first", "second"]


def test_dialogue_with_half_a_character_is_kept_with_the_others(tmp_path):
    rows = [{"text": "whole \u2028 é"}, {"text": "half \ud83d", "logprob": -1.5e-7}, {"text": "whole"}]
    RunDirectory(tmp_path).log_step({"step": 0}, rows)
    lines = (tmp_path / "dialogues.jsonl").read_text(encoding="ascii").splitlines()
    assert [json.loads(line) for line in lines] == [rows[0], {"text": "half �", "logprob": -1.5e-7}, rows[2]]


def test_metrics_that_are_not_finite_are_null_with_a_warning(tmp_path, caplog):
    row = {"step": 3, "teacher_kl": math.nan, "reward": -math.inf, "drift/max": math.inf, "solved": 0.5}
    with caplog.at_level(logging.WARNING):
        RunDirectory(tmp_path).log_step(row, [{"logprobs": [-1.0, -math.inf]}])
    stored = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(stored, parse_constant=pytest.fail) == dict.fromkeys(row) | {"step": 3, "solved": 0.5}
    assert (tmp_path / "dialogues.jsonl").read_text() == '{"logprobs":[-1.0,null]}\n'
    (warning,) = caplog.messages
    assert warning == "step 3: not finite, written as null to metrics.jsonl: teacher_kl, reward, drift/max"


def test_ending_a_line_changes_nothing_where_none_is_open(tmp_path):
    end_line(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    for text, ended in ((b"", b""), (b"a\n", b"a\n"), (b"a\nb", b"a\nb\n")):
        (tmp_path / "file").write_bytes(text)
        end_line(tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == ended


@pytest.mark.parametrize("line", [b'{"server_run": "\xff", "batch": 2}', b"\xff\xfe\x00", b"[]", b'{"batch": 1}', b"{"])
def test_line_that_names_no_server_run_is_told_and_passed_over(tmp_path, caplog, line):
    good = b'{"server_run": "%s", "batch": %d}\n'
    (tmp_path / SERVER_RUNS).write_bytes(good % (b"first", 0) + line + b"\n" + good % (b"second", 4))
    with caplog.at_level(logging.WARNING):
        assert [run.id for run in server_runs_of(tmp_path)] == ["first", "second"]
    assert len(caplog.messages) == 1 and str(tmp_path / SERVER_RUNS) in caplog.text


@pytest.mark.parametrize("stored", ["[]", "3", "null", '"text"', "{", "", '{"unknown": 1}', "{}", b"\xff"], ids=str)
def test_config_that_is_none_is_a_config_error(tmp_path, capsys, stored):
    (tmp_path / CONFIG).write_bytes(stored if isinstance(stored, bytes) else stored.encode())
    with pytest.raises(ConfigError):
        load_config(tmp_path)
    assert main(["checkpoints", str(tmp_path), "prune"]) == 1
    assert "ConfigError: " in capsys.readouterr().err


@pytest.mark.parametrize("stored", ["[]", "null", "{"])
def test_run_begins_where_another_tool_left_something_else_as_its_config(tmp_path, make_config, stored):
    (tmp_path / CONFIG).write_text(stored)
    config = make_config()
    RunDirectory(tmp_path).begin(config, {}, None)
    assert load_config(tmp_path) == config and (tmp_path / CONFIG).read_text() == stored
