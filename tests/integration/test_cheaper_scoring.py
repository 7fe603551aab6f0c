"""Teachers are asked for no more than is trained on, and not again for what a run's rows hold; training is the same."""

import json

import numpy as np
import pytest
from tests.support.on_the_fake import strict_run, train_on_fake, train_until_it_dies
from tests.support.rows import read_rows, rows_of_run, write_rows

from socratic_distill import train
from socratic_distill.testing import FakeServiceClient, FakeTrainingClient

SAMPLED = {"kind": "sampled_reverse_kl"}
FORWARD = {"kind": "forward_kl", "k": 4}
PREFIX = {"token_weights": [{"kind": "prefix", "tokens": 3}]}
GATED = {
    "token_weights": ["reward_gate"],
    "rewards": {"kind": "function", "function": f"{__name__}:is_first"},
    "reward_coef": 0.0,
}
# What says what was asked, and not what was trained.
OF_SCORING = ("time/", "teacher_kl", "prompt_tokens/teacher", "sampled_tokens/", "prompt_tokens/tutor")


def is_first(dialogue):
    """A reward: whether the dialogue is the first of its group."""
    return float(dialogue.number == 0)


@pytest.fixture
def passes(monkeypatch):
    """What the passes of a run train on, from here on; `take` gives it and begins anew."""
    found = []
    right = FakeTrainingClient.forward_backward

    def forward_backward(self, data, loss_fn, *rest):
        for datum in data:
            arrays = {name: one.to_numpy() for name, one in datum.loss_fn_inputs.items()}
            found.append((loss_fn, datum.model_input.to_ints(), arrays))
        return right(self, data, loss_fn, *rest)

    def take():
        taken = list(found)
        found.clear()
        return taken

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", forward_backward)
    return take


def trained(data):
    """The targets and values of what has a weight or an advantage; tokens without are no part of it."""
    kept = []
    for loss_fn, tokens, arrays in data:
        name = "weights" if loss_fn == "cross_entropy" else "advantages"
        where = np.flatnonzero(arrays[name].reshape(len(tokens), -1).any(axis=1))
        kept.append((loss_fn, tokens, {key: one[where] for key, one in arrays.items()}))
    return kept


def assert_same(first, second):
    assert len(first) == len(second) > 0
    for (loss_fn, tokens, arrays), (other_fn, other_tokens, others) in zip(first, second, strict=True):
        assert loss_fn == other_fn and tokens == other_tokens and arrays.keys() == others.keys()
        assert all(np.array_equal(arrays[name], others[name]) for name in arrays)


def scorings(server):
    return [one for one in server.calls if one.call == "sample" and one.arguments["prompt_logprobs"]]


def without_scores(rows):
    for row in rows:
        for turn in row["turns"]:
            for name in ("teacher_logprobs", "scored_as"):
                turn.pop(name, None)
        row.pop("teachers")
    return rows


@pytest.mark.parametrize(
    "changes",
    [
        PREFIX,
        {**PREFIX, "objective": FORWARD},
        {**PREFIX, "objective": {"kind": "jensen_shannon", "k": 4}},
        {**PREFIX, "objective": {"kind": "monte_carlo_kl", "k": 3}},
        {**PREFIX, "teacher_average": "log_mean", "teachers": [{"name": "one"}, {"name": "two", "model_name": "big"}]},
        {**PREFIX, "rewards": ["not_telling"]},
        GATED,
        {**GATED, "temperature": 1.3},
        {**GATED, "reward_coef": 1.0},
        {**GATED, "objective": FORWARD},
        {"cut_replies": "mask", "max_tokens": 8},
    ],
    ids=["prefix", "forward", "both", "draws", "teachers", "rewards", "gate", "tempered", "added", "gated", "cut"],
)
def test_fewer_scores_train_the_same(make_config, tmp_path, passes, changes):
    fields = {"max_steps": 2, "max_turns": 2, **changes}
    few = strict_run(make_config(**fields))
    cheap = passes()
    every = strict_run(make_config(**fields, score_untrained=True, log_path=tmp_path / "every"))
    assert_same(trained(cheap), trained(passes()))
    ours, theirs = (rows_of_run(tmp_path / name, OF_SCORING) for name in ("run", "every"))
    assert ours[0] == theirs[0] and without_scores(ours[1]) == without_scores(theirs[1])
    sent = [
        sum(row["prompt_tokens/teacher"] for row in read_rows(tmp_path / name / "metrics.jsonl"))
        for name in ("run", "every")
    ]
    assert sent[0] < sent[1] and len(scorings(few)) <= len(scorings(every))


def test_a_dialogue_behind_a_closed_gate_is_not_scored(make_config, tmp_path):
    server = strict_run(make_config(**GATED, max_steps=2))
    rows = read_rows(tmp_path / "run" / "dialogues.jsonl")
    open_gates = [row["reward"] == 1.0 for row in rows]
    assert set(open_gates) == {True, False}
    assert len(scorings(server)) == sum(open_gates)
    for row, is_open in zip(rows, open_gates, strict=True):
        tutors = [turn for turn in row["turns"] if turn["role"] == "tutor"]
        assert bool(row["teachers"]) == is_open == all("teacher_logprobs" in turn for turn in tutors)
        assert all(set(turn["weights"]) == {float(is_open)} for turn in tutors), "the weights are written all the same"


def test_what_has_no_trained_token_is_not_scored(make_config, tmp_path):
    server = strict_run(make_config(skip_first_tokens=100, max_steps=2))
    assert scorings(server) == []
    (first, second) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert first["datums"] == second["datums"] == 0 and first["teacher_kl"] is None


def test_tokens_without_a_score_are_null_in_their_row(make_config, tmp_path):
    strict_run(make_config(**PREFIX, max_steps=1, max_turns=1))
    turns = [turn for row in read_rows(tmp_path / "run" / "dialogues.jsonl") for turn in row["turns"]]
    tutors = [turn for turn in turns if turn["role"] == "tutor" and len(turn["tokens"]) > 3]
    assert tutors and all("scored_as" not in turn for turn in tutors)
    for turn in tutors:
        scores = turn["teacher_logprobs"]
        assert len(scores) == len(turn["tokens"]) and None not in scores[:3] and set(scores[3:]) == {None}


@pytest.mark.parametrize("changes", [PREFIX, GATED], ids=["prefix", "gate"])
def test_a_killed_run_resumes_to_the_same_rows(make_config, whole_run, tmp_path, changes):
    small = {"max_steps": 3, "save_every": 1, **changes}
    train_until_it_dies(tmp_path / "server", make_config(**small), steps=1)
    assert len(read_rows(tmp_path / "run" / "metrics.jsonl")) == 1
    train_on_fake(FakeServiceClient(tmp_path / "server"), make_config(**small))
    assert rows_of_run(tmp_path / "run") == rows_of_run(whole_run(**small))


# Scores that rows hold


@pytest.fixture
def play(make_config, tmp_path):
    """Plays a run on the tutor's base weights, and gives its rows' path."""

    def played(**changes):
        config = make_config(log_path=tmp_path / "played", max_steps=2, max_staleness=1, **changes)
        train(config, service_client=FakeServiceClient())
        return tmp_path / "played" / "dialogues.jsonl"

    return played


def replay(make_config, rows, objective, reuse=True, name="run", **changes):
    recordings = {"files": [rows], "objective": objective, "reuse_scores": reuse}
    log_path = rows.parent.parent / name
    return strict_run(make_config(recordings=recordings, max_steps=2, max_staleness=3, log_path=log_path, **changes))


AVERAGED = {"teacher_average": "log_mean", "teachers": [{"name": "one"}, {"name": "two", "model_name": "big"}]}


@pytest.mark.parametrize(
    ("objective", "fields"),
    [
        (SAMPLED, {}),
        (SAMPLED, {"teacher_sees_answer": True}),
        (SAMPLED, AVERAGED),
        (FORWARD, {"objective": FORWARD, "write_teacher_top": True}),
    ],
    ids=["sampled", "private", "averaged", "forward"],
)
def test_stored_scores_train_the_same_without_a_request(make_config, tmp_path, passes, play, objective, fields):
    rows = play(**fields)
    passes()
    teachers = {name: value for name, value in fields.items() if name not in ("objective", "write_teacher_top")}
    server = replay(make_config, rows, objective, **teachers)
    assert scorings(server) == []
    reused = passes()
    asked = replay(make_config, rows, objective, reuse=False, name="asked", **teachers)
    assert len(scorings(asked)) >= 6
    assert_same(reused, passes())
    keys = ("time/", "prompt_tokens/", "sampled_tokens/", "dialogues/scores_reused")
    assert rows_of_run(tmp_path / "run", keys) == rows_of_run(tmp_path / "asked", keys)
    (metrics, _) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert metrics["dialogues/scores_reused"] == 3 and metrics["prompt_tokens/teacher"] == 0


def shifted(row):
    """A row in which one token of the tutor is another, and the scores are as they were."""
    turn = next(turn for turn in row["turns"] if turn["role"] == "tutor")
    turn["tokens"][0] = (turn["tokens"][0] + 1) % 400
    return row


def other_prompt(tmp_path):
    (tmp_path / "other.txt").write_text("Teach {question}")
    return {"teacher_prompt_file": tmp_path / "other.txt"}


@pytest.mark.parametrize(
    "differs",
    [
        "model",
        "prompt",
        "answer",
        "thinking",
        "lag",
        "tokens",
        "no digest",
        "no scores",
        "average",
        "top",
    ],
)
def test_scores_of_anything_else_are_asked_for_again(make_config, tmp_path, play, differs):
    played = {"objective": FORWARD, "write_teacher_top": True} if differs == "top" else {}
    rows = play(**played)
    fields = {
        "model": {"teacher_model_name": "big"},
        "prompt": other_prompt(tmp_path),
        "answer": {"teacher_sees_answer": True},
        "thinking": {"teacher_enable_thinking": True},
        "lag": {"teacher_lag_steps": 1},
        "average": AVERAGED,
    }.get(differs, {})
    objective = {**FORWARD, "k": 3} if differs == "top" else SAMPLED
    texts = [json.loads(line) for line in rows.read_text().splitlines()]
    for row in texts:
        for turn in row["turns"]:
            if differs == "no digest":
                turn.pop("scored_as", None)
            if differs == "no scores" and "teacher_logprobs" in turn:
                turn["teacher_logprobs"][-1] = None
        if differs == "tokens":
            shifted(row)
    write_rows(rows, *texts)
    server = replay(make_config, rows, objective, **fields)
    assert len(scorings(server)) >= 6, "stored scores of something else were used"
