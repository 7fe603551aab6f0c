"""What is read of a run directory, whole or damaged."""

import json

import pytest
from hypothesis import given, strategies as st
from tests.support.written_runs import write_evaluation, write_run

from socratic_distill import ConfigError
from socratic_distill.files.rows import parse_row
from socratic_distill.outputs.report.reading import read_lines, read_run

lines = st.lists(st.one_of(st.binary(max_size=30), st.dictionaries(st.text(max_size=3), st.integers()).map(json.dumps)))


def test_a_run_is_read_with_its_rows_in_order(tmp_path):
    run = read_run(write_run(tmp_path / "run", steps=3, evaluations=[(3, ("a", "b")), (0, ("a", "b"))]))
    assert (run.name, list(run.metrics), run.notes) == ("run", [0, 1, 2], [])
    assert [(one.batch, one.tutor) for one in run.evaluations] == [(0, "tinker://x/0"), (3, "tinker://x/3")]
    assert [row["seed"] for row in run.evaluations[0].dialogues()] == ["held0", "held1", "held2"]


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "dialogues.jsonl", "checkpoints.jsonl"])
def test_a_directory_with_any_file_of_a_run_is_one(tmp_path, name):
    (tmp_path / name).touch()
    assert read_run(tmp_path).metrics == {}


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is empty; expected the directory of a run"):
        read_run(tmp_path)
    with pytest.raises(ConfigError, match="missing does not exist; expected the directory of a run"):
        read_run(tmp_path / "missing")


def test_of_a_step_that_stands_twice_the_later_row_counts(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "a": 1}\n{"step": 0}\n{"step": 1, "a": 2}\n{"step": true}\n')
    assert read_run(tmp_path).metrics == {0: {"step": 0}, 1: {"step": 1, "a": 2}}


def test_lines_that_are_no_objects_are_counted_and_a_torn_end_is_left_out(tmp_path):
    path, notes = tmp_path / "rows.jsonl", []
    path.write_bytes(b'{"a": 1}\n[2]\n\xff\xfe\n\n{"b": NaN}\n{"c": "\\ud800"}\n{"torn": ')
    found = list(read_lines(path, notes))
    assert [list(line.row) for line in found] == [["a"], ["b"], ["c"]]
    assert notes == ["2 lines of rows.jsonl cannot be read and are left out."]
    for line in found:
        part = path.read_bytes()[line.offset : line.offset + line.size]
        assert list(json.loads(part)) == list(line.row)


@given(lines)
def test_any_bytes_are_read_and_offsets_lead_back_to_the_rows(tmp_path_factory, parts):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(b"\n".join(part if isinstance(part, bytes) else part.encode() for part in parts) + b"\n")
    content = path.read_bytes()
    for line in read_lines(path, []):
        assert parse_row(content[line.offset : line.offset + line.size]) == line.row


def test_missing_files_are_empty_ones(tmp_path):
    assert list(read_lines(tmp_path / "missing.jsonl", notes := [])) == [] and notes == []


def test_failed_and_odd_evaluations_are_noted_superseded_ones_skipped(tmp_path):
    write_run(tmp_path, evaluations=[(0, ("a", "b"))])
    write_evaluation(tmp_path, 1, [], error="the service said no", measures=None)
    write_evaluation(tmp_path, 2, [], measures="none")
    write_evaluation(tmp_path, 3, [])
    (tmp_path / "evaluations" / "000003.json").rename(tmp_path / "evaluations" / "000003.superseded.json")
    (tmp_path / "evaluations" / "000004.json").write_text("{")
    run = read_run(tmp_path)
    assert [one.batch for one in run.evaluations] == [0]
    assert run.notes == [
        "Evaluation 000001 failed: the service said no",
        "evaluations/000002.json is no evaluation and is left out.",
        "000004.json holds no JSON object and is left out.",
    ]


def test_small_files_that_hold_no_object_are_noted(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "config.json").write_text("[]")
    (tmp_path / "origin.json").write_text("")
    run = read_run(tmp_path)
    assert (run.config, run.origin) == ({}, None)
    assert run.notes == [
        "config.json holds no JSON object and is left out.",
        "origin.json holds no JSON object and is left out.",
    ]
