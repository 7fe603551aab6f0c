"""Seeds drawn by their solved rates: the rows hold the rates, and a killed run draws the same."""

import pytest
from tests.support.on_the_fake import strict_run, train_on_fake
from tests.support.rows import read_rows, rows_of_run, write_rows

from socratic_distill import ConfigDrift, ConfigError, TrainingError
from socratic_distill.testing import FakeServiceClient, Fault

RANGE = {"solved_range": {"low": 0.4, "high": 0.6, "others": 0.2}}


@pytest.fixture
def seeds(monkeypatch, tmp_path):
    """Twelve problems; the toy student answers by chance, so outcomes follow from the problem and the number."""
    solved = property(lambda dialogue: int(dialogue.seed.id.strip("sr:")) % 3 > dialogue.number)
    monkeypatch.setattr("socratic_distill.dialogues.dialogue.Dialogue.solved", solved)
    rows = ({"id": f"s{i}", "question": f"What is {i} + 30?", "expected_answer": str(30 + i)} for i in range(12))
    return {"seeds_file": write_rows(tmp_path / "twelve.jsonl", *rows), "max_turns": 1}


def visited(directory):
    return [row["seed"] for row in read_rows(directory / "dialogues.jsonl")]


def test_seeds_in_the_range_come_more_often(make_config, tmp_path, seeds):
    strict_run(make_config(**RANGE, **seeds, groups_per_batch=4, max_steps=9))
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert sum(len(row["seeds/solved"]) for row in rows[:3]) == 12, "the first epoch visits each seed once"
    later = [name for row in rows[3:] for name in row["seeds/solved"]]
    fits = [name for name in later if int(name[1:]) % 3 == 1]
    assert len(fits) > len(later) / 2 and set(later) > set(fits)
    assert rows[2]["seeds/in_range"] == rows[2]["seeds/easy"] == rows[2]["seeds/hard"] == 4
    assert rows[2]["seeds/unknown"] == 0 and rows[0]["seeds/unknown"] == 8


@pytest.mark.parametrize("changes", [{}, {"recordings": 0.5}], ids=["played", "mixed"])
def test_a_killed_run_resumes_to_the_same_rows(make_config, tmp_path, seeds, changes):
    small = {"max_steps": 9, "save_every": 2, "groups_per_batch": 4, **RANGE, **seeds}
    if changes:
        said = [{"role": "user", "content": "I got 7."}, {"role": "assistant", "content": "Why?"}]
        small["recordings"] = {
            "files": [write_rows(tmp_path / "r.jsonl", {"messages": said})],
            "on_policy_fraction": 0.5,
        }
    with pytest.raises(TrainingError):
        faults = [Fault("optim_step", nth=9)]
        train_on_fake(FakeServiceClient(tmp_path / "server", faults=faults), make_config(max_recoveries=0, **small))
    assert len(read_rows(tmp_path / "run" / "metrics.jsonl")) == 8
    train_on_fake(FakeServiceClient(tmp_path / "server"), make_config(**small))
    train_on_fake(FakeServiceClient(), make_config(log_path=tmp_path / "whole", **small))
    assert rows_of_run(tmp_path / "run") == rows_of_run(tmp_path / "whole")
    plain = {name: value for name, value in small.items() if name != "solved_range"}
    train_on_fake(FakeServiceClient(), make_config(log_path=tmp_path / "plain", **plain))
    assert visited(tmp_path / "plain") != visited(tmp_path / "whole"), "the range changes nothing"


def test_batches_ahead_are_drawn_by_what_is_surely_known(make_config, tmp_path, seeds):
    small = {"max_steps": 6, "groups_per_batch": 4, "max_staleness": 1, **RANGE, **seeds}
    for name in ("one", "two"):
        strict_run(make_config(log_path=tmp_path / name, **small))
    assert visited(tmp_path / "one") == visited(tmp_path / "two")


def test_another_range_is_another_meaning(make_config, seeds):
    train_on_fake(FakeServiceClient(), make_config(**RANGE, **seeds, max_steps=1))
    with pytest.raises(ConfigDrift, match="solved_range"):
        train_on_fake(FakeServiceClient(), make_config(**seeds, max_steps=2))


def test_a_range_that_means_nothing_is_refused(make_config, tmp_path):
    with pytest.raises(ConfigError, match=r"low=0\.9 is above high=0\.1; swap them"):
        make_config(solved_range={"low": 0.9, "high": 0.1})
    (tmp_path / "talk.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="solved_range chooses the seeds of played dialogues"):
        make_config(**RANGE, recordings=[tmp_path / "talk.jsonl"])
