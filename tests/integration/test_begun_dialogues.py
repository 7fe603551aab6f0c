"""Dialogues that begin with the first turns of recordings; the tutor plays on from there."""

import pytest
from tests.support.on_the_fake import strict_run, train_on_fake, train_until_it_dies
from tests.support.rows import read_rows, rows_of_run, write_rows

from socratic_distill import ConfigError
from socratic_distill.testing import FakeServiceClient, FakeTrainingClient

SAID = ["I got 7.", "What is 3?", "It is 3.", "And 4 more?", "Then 8.", "Count again."]
BACKWARDS = {"start": 1.0, "end": 3.0, "steps": 2}


@pytest.fixture
def recordings(tmp_path):
    def make(take_over=1, **more):
        rows = [
            {
                "messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(SAID)],
                "question": f"What is {n} + 4?",
                "expected_answer": str(n + 4),
            }
            for n in range(3, 6)
        ]
        return {"recordings": {"files": [write_rows(tmp_path / "talks.jsonl", *rows)], "take_over": take_over, **more}}

    return make


def rows_of(directory):
    return read_rows(directory / "dialogues.jsonl")


def test_the_tutor_takes_over_further_and_further_from_the_end(make_config, tmp_path, recordings):
    strict_run(make_config(**recordings(BACKWARDS), max_steps=3, max_turns=1))
    for row in rows_of(tmp_path / "run"):
        given = 5 - 2 * row["step"]  # turns that the dialogue began with
        assert [turn["text"] for turn in row["turns"][:given]] == SAID[:given]
        tutors = [turn for turn in row["turns"] if turn["role"] == "tutor"]
        assert [turn.get("by") for turn in tutors] == ["recording"] * (2 - row["step"]) + [None]
        assert row["begun"] and row["recording"] is None and row["number"] in (0, 1) and row["ending"] != "failed"
    metrics = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [row["dialogues/begun"] for row in metrics] == [6, 6, 6]
    assert [row["turns/tutor"] for row in metrics] == [18, 12, 6] and "turns/teacher" not in metrics[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"objective": {"kind": "reverse_kl", "k": 4}},
        {"objective": {"kind": "monte_carlo_kl", "k": 2}},
        {"temperature": 1.3},
        {"rewards": ["few_turns", "solved"]},
        {"token_weights": ["position", "entropy"]},
        {"students": [{"name": "one"}, {"name": "two", "model_name": "big"}]},
    ],
    ids=["sampled", "top", "draws", "tempered", "rewards", "weights", "students"],
)
def test_only_the_tutors_own_turns_are_trained_on(make_config, tmp_path, monkeypatch, recordings, changes):
    trained = []
    right = FakeTrainingClient.forward_backward

    def forward_backward(self, data, loss_fn, *rest):
        for datum in data:
            values = datum.loss_fn_inputs["weights" if loss_fn == "cross_entropy" else "advantages"].to_numpy()
            trained.append(int(values.reshape(len(values), -1).any(axis=1).sum()))
        return right(self, data, loss_fn, *rest)

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", forward_backward)
    strict_run(make_config(**recordings(2), max_steps=1, max_turns=2, **changes))
    turns = [turn for row in rows_of(tmp_path / "run") for turn in row["turns"] if turn["role"] == "tutor"]
    own = sum(len(turn["tokens"]) for turn in turns if "by" not in turn)
    assert 0 < sum(trained) <= own and any("by" in turn for turn in turns)
    assert not {row["ending"] for row in rows_of(tmp_path / "run")} & {"failed", "recorded"}


def test_groups_on_seeds_and_groups_on_recordings_are_mixed(make_config, tmp_path, recordings):
    strict_run(make_config(**recordings(1, on_policy_fraction=0.5), groups_per_batch=2, max_steps=2))
    rows = rows_of(tmp_path / "run")
    assert sum("begun" in row for row in rows) == len(rows) / 2
    assert len({(row["step"], row["seed"], row["number"]) for row in rows}) == len(rows)


def test_a_killed_run_resumes_to_the_same_rows(make_config, tmp_path, recordings):
    small = {"max_steps": 3, "save_every": 1, **recordings(BACKWARDS)}
    train_until_it_dies(tmp_path / "server", make_config(**small), steps=1)
    assert len(read_rows(tmp_path / "run" / "metrics.jsonl")) == 1
    train_on_fake(FakeServiceClient(tmp_path / "server"), make_config(**small))
    train_on_fake(FakeServiceClient(), make_config(log_path=tmp_path / "whole", **small))
    assert rows_of_run(tmp_path / "run") == rows_of_run(tmp_path / "whole")


def test_an_objective_of_its_own_is_refused(make_config, recordings):
    with pytest.raises(ConfigError, match=r"take_over begins dialogues .* recordings\.objective='forward_kl' has no"):
        make_config(**recordings(1, objective={"kind": "forward_kl"}))
