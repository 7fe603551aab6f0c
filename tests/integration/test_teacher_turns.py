"""Turns that a teacher speaks in the tutor's place: drawn by the seed, marked, and never trained on."""

import numpy as np
import pytest
from tests.support.on_the_fake import strict_run, train_on_fake, train_until_it_dies
from tests.support.rows import read_rows, rows_of_run

from socratic_distill import ConfigError, evaluate
from socratic_distill.testing import FakeServiceClient, FakeTrainingClient

SHARE = {"teacher_turns": 0.5, "max_turns": 3, "teacher_model_name": "big"}
LATER = {"start": 1.0, "end": 0.0, "steps": 2}


def tutor_turns(directory):
    rows = read_rows(directory / "dialogues.jsonl")
    return [turn for row in rows for turn in row["turns"] if turn["role"] == "tutor"]


@pytest.fixture
def passes(monkeypatch):
    """The data of each pass, as tokens and where they are trained."""
    found = []
    right = FakeTrainingClient.forward_backward

    def forward_backward(self, data, loss_fn, *rest):
        for datum in data:
            values = {name: one.to_numpy() for name, one in datum.loss_fn_inputs.items()}
            name = "weights" if loss_fn == "cross_entropy" else "advantages"
            found.append((values["target_tokens"], values[name]))
        return right(self, data, loss_fn, *rest)

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", forward_backward)
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"objective": {"kind": "reverse_kl", "k": 4}},
        {"temperature": 1.3},
        {"token_weights": ["position", "entropy"]},
        {"rewards": ["few_turns"]},
        {"teacher_lag_steps": 1, "teacher_model_name": "small"},
    ],
    ids=["sampled", "top", "tempered", "weights", "rewards", "lagged"],
)
def test_a_teachers_turns_are_context(make_config, tmp_path, passes, changes):
    strict_run(make_config(**(SHARE | changes), max_steps=2))
    turns = tutor_turns(tmp_path / "run")
    by_teacher = [turn for turn in turns if turn.get("by")]
    assert {turn["by"] for turn in by_teacher} == {"teacher"} and 0 < len(by_teacher) < len(turns)
    assert passes, "nothing was trained"
    own = sum(len(turn["tokens"]) for turn in turns if not turn.get("by"))
    trained = sum(int(values.reshape(len(values), -1).any(axis=1).sum()) for _, values in passes)
    assert 0 < trained <= own
    # What is trained, in order, are the tutor's own tokens.
    if not changes:
        first = [tokens[values != 0].tolist() for tokens, values in passes]
        said = {tuple(turn["tokens"]) for turn in turns if not turn.get("by")}
        heard = {tuple(turn["tokens"]) for turn in by_teacher}
        for tokens in first:
            assert any(tuple(tokens[: len(one)]) == one for one in said) and tuple(tokens) not in heard


def test_a_teacher_speaks_as_itself_under_its_own_prompt(make_config, tmp_path):
    server = strict_run(make_config(**SHARE, max_steps=1))
    speaking = [one.arguments for one in server.calls if one.call == "sample" and not one.arguments["prompt_logprobs"]]
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert sum(one["base_model"] == "big" for one in speaking) == row["turns/teacher"] > 0
    scored = sum(one.arguments["prompt_tokens"] for one in server.calls if one.arguments.get("prompt_logprobs"))
    spoken = sum(one["prompt_tokens"] for one in speaking if one["base_model"] == "big")
    assert row["prompt_tokens/teacher"] == scored + spoken
    own = [turn for turn in tutor_turns(tmp_path / "run") if not turn.get("by")]
    assert row["reply_tokens/mean"] == pytest.approx(np.mean([len(turn["tokens"]) for turn in own]))


def test_a_schedule_hands_the_turns_over(make_config, tmp_path):
    strict_run(make_config(**{**SHARE, "teacher_turns": LATER}, max_steps=3))
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert rows[0]["turns/teacher"] == rows[0]["turns/tutor"] and rows[0]["datums"] == 0
    assert rows[0]["teacher_kl"] is None and rows[0]["staleness/max"] is None
    assert 0 < rows[1]["turns/teacher"] < rows[1]["turns/tutor"] and "turns/teacher" not in rows[2]


def test_a_negative_teacher_never_speaks(make_config, tmp_path):
    teachers = [{"name": "away", "weight": -0.5, "model_name": "big"}, {"name": "near"}]
    signed = {"teachers": teachers, "teacher_average": "log_mean", "teacher_residual_clip": 5.0}
    strict_run(make_config(**SHARE, **signed, max_steps=1))
    assert {turn["by"] for turn in tutor_turns(tmp_path / "run") if turn.get("by")} == {"near"}


def test_an_evaluation_is_of_the_tutor_alone(make_config):
    config = make_config(**{**SHARE, "teacher_turns": 1.0}, log_path="nowhere")
    found = evaluate(config, "base", service_client=FakeServiceClient())
    assert not any(turn.by for scored in found.dialogues for turn in scored.dialogue.turns)


def test_a_killed_run_resumes_to_the_same_rows(make_config, whole_run, tmp_path):
    small = {"max_steps": 3, "save_every": 1, **SHARE}
    train_until_it_dies(tmp_path / "server", make_config(**small), steps=1)
    assert len(read_rows(tmp_path / "run" / "metrics.jsonl")) == 1
    train_on_fake(FakeServiceClient(tmp_path / "server"), make_config(**small))
    assert rows_of_run(tmp_path / "run") == rows_of_run(whole_run(**small))


def test_recordings_keep_a_teachers_turns_as_context(make_config, tmp_path, passes):
    strict_run(make_config(**SHARE, max_steps=1, log_path=tmp_path / "played"))
    passes.clear()
    rows = tmp_path / "played" / "dialogues.jsonl"
    strict_run(make_config(recordings=[rows], max_steps=2))
    own = [turn for turn in tutor_turns(tmp_path / "played") if not turn.get("by")]
    trained = sum(int((values != 0).sum()) for _, values in passes)
    assert trained == sum(len(turn["tokens"]) for turn in own)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teacher_turns": {"start": 2.0, "end": 0.0, "steps": 3}}, "teacher_turns goes from 2 to 0; expected shares"),
        ({"teacher_turns": 1.5}, "teacher_turns"),
    ],
)
def test_shares_are_between_0_and_1(make_config, changes, said):
    with pytest.raises(ConfigError, match=said):
        make_config(**changes)


def test_a_prompt_that_quotes_what_follows_cannot_speak(make_config, tmp_path):
    (tmp_path / "late.txt").write_text("{question} {next_student_turn}")
    config = make_config(**SHARE, teacher_prompt_file=tmp_path / "late.txt")
    with pytest.raises(ConfigError, match="a teacher speaks before it is known how the dialogue goes on"):
        train_on_fake(FakeServiceClient(), config)
