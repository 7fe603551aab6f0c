"""A run directory as an object: what it gives, with and without pandas, and that it only reads."""

import json
import sys

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.examples import examples
from tests.support.markup import MARKUP, check_inert
from tests.support.rows import read_rows, write_rows
from tests.support.written_runs import ASKS, FAILS, TELLS, row_of, write_run
from tests.unit.dialogues.test_dialogue_html import ANYTHING

from socratic_distill import ConfigError, PlotExtraMissing, load_run
from socratic_distill.outputs.loaded.embedded import EmbeddedReport

FIELDS = {"max_tokens": 40, "learning_rate": 0.001, "log_path": "runs/x"}


def files_of(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_run_gives_its_rows_and_nothing_is_written(tmp_path):
    path = write_run(tmp_path / "run", evaluations=[(0, TELLS), (3, ASKS)], config=FIELDS)
    before = files_of(path)
    run = load_run(path)
    assert [row["step"] for row in run.metrics_rows()] == [0, 1, 2]
    rows = list(run.dialogue_rows())
    assert len(rows) == len(read_rows(path / "dialogues.jsonl"))
    assert (rows[0]["told"], rows[0]["first_reply"], rows[0]["first_reply/tells"]) == (True, TELLS[1], 1.0)
    assert (rows[-1]["told"], rows[-1]["solved"], rows[-1]["tutor_turns"]) == (False, True, 1)
    assert [one.batch for one in run.evaluations] == [0, 3]
    assert (run.checkpoints, run.status, run.notes) == ([], "not finished", [])
    assert run.config.tutor_model_name == "tutor"
    assert "<iframe" in run.report()._repr_html_()
    assert files_of(path) == before


def test_data_frames_have_a_row_a_step_and_a_row_a_dialogue(tmp_path):
    pytest.importorskip("pandas")
    run = load_run(write_run(tmp_path / "run", steps=4))
    assert run.metrics.index.tolist() == [0, 1, 2, 3] and run.metrics.index.name == "step"
    assert run.metrics["time/step"].tolist() == [2.0] * 4
    asking = run.dialogues.query("solved and not told")
    place = int(asking.index[0])
    assert run.dialogue(place).row["step"] == asking.loc[place, "step"] == 2


@pytest.mark.parametrize("frame", ["metrics", "dialogues"])
def test_a_run_without_steps_gives_empty_frames(tmp_path, frame):
    pytest.importorskip("pandas")
    assert len(getattr(load_run(write_run(tmp_path / "run", steps=0)), frame)) == 0


def test_without_pandas_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    run = load_run(write_run(tmp_path / "run"))
    with pytest.raises(PlotExtraMissing, match=r"pip install .*plot.*metrics_rows\(\) gives the same rows"):
        _ = run.metrics
    assert len(list(run.metrics_rows())) == 3


def test_a_dialogue_is_found_by_its_number_past_strange_and_torn_lines(tmp_path):
    path = write_run(tmp_path / "run", rows=[row_of(FAILS, seed="a"), {"step": 0, "turns": 3}, row_of(seed="b")])
    with (path / "dialogues.jsonl").open("a") as file:
        file.write(json.dumps(row_of(seed="c"))[:50])
    run = load_run(path)
    assert [row["seed"] for row in run.dialogue_rows()] == ["a", "b"]
    assert [run.dialogue(place).row["seed"] for place in (0, 1, -1, -2)] == ["a", "b", "b", "a"]
    assert run.notes == ["1 rows of dialogues.jsonl are no dialogues and are left out."]
    with pytest.raises(IndexError, match="holds 2 dialogues"):
        run.dialogue(2)


def test_prompts_are_shown_unless_they_are_in_files_of_others(tmp_path):
    private = tmp_path / "private.txt"
    private.write_text("the user's own file")
    run = load_run(write_run(tmp_path / "plain", config=FIELDS))
    assert set(run.dialogue(0).prompts) >= {"the tutor's prompt", "the student's prompt"}
    path = write_run(tmp_path / "asking", config=FIELDS | {"tutor_prompt_file": str(private)})
    assert load_run(path).dialogue(0).prompts == {}
    assert "the user's own file" in load_run(path, allow_files=True).dialogue(0).prompts["the tutor's prompt"]


def test_of_a_step_that_stands_twice_the_later_row_counts(tmp_path):
    path = write_run(tmp_path / "run")
    write_rows(path / "metrics.jsonl", {"step": 1, "x": 1}, {"step": 0, "x": 0}, {"step": 1, "x": 2}, {"step": -1})
    assert [(row["step"], row["x"]) for row in load_run(path).metrics_rows()] == [(0, 0), (1, 2)]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is empty"):
        load_run(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        load_run(tmp_path / "nowhere")


def test_a_run_shows_status_last_step_and_evaluations(tmp_path):
    run = load_run(write_run(tmp_path / "run", evaluations=[(0, TELLS), (3, ASKS)]))
    text = check_inert(run._repr_html_())
    assert all(part in text for part in ("not finished", "3 of 3", "batch 0", "batch 3", "solved ↑50% [25%, 75%]"))
    assert repr(run).endswith("run', status='not finished', steps=3)")


@settings(deadline=None, max_examples=examples(30))
@given(st.dictionaries(st.sampled_from(["tutor_model_name", "max_steps"]), ANYTHING), ANYTHING)
def test_hostile_files_show_as_text(tmp_path_factory, fields, value):
    path = write_run(tmp_path_factory.mktemp("hostile") / "run", steps=1, seeds=1)
    (path / "config.json").write_text(json.dumps({"tutor_model_name": "tutor"} | fields))
    write_rows(path / "metrics.jsonl", {"step": 0, "solved": value, MARKUP: value})
    check_inert(load_run(path)._repr_html_())


def test_the_report_is_one_frame_that_reaches_nothing_outside():
    page = "<title>\"&'</title><script>parent.document</script>"
    html = EmbeddedReport(page, 300)._repr_html_()
    assert html.count("<") == 2, "a frame and its end"
    assert 'sandbox="allow-scripts"' in html and "allow-same-origin" not in html and "height:300px" in html
