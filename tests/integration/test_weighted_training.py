"""Token weights on the fake service: what they ask for, what rows and metrics say, that killed runs resume exactly."""

from collections import Counter

import numpy as np
import pytest
from tests.support.on_the_fake import strict_run, train_on_fake
from tests.support.rows import read_rows, rows_of_run, write_rows

from socratic_distill import (
    ConfigDrift,
    Teacher,
    TrainingError,
    UnsupportedFeature,
    anchored_residual,
    contrast,
    extrapolated,
)
from socratic_distill.testing import FakeServiceClient, Fault

SAMPLED = {"kind": "sampled_reverse_kl"}
FORWARD = {"kind": "forward_kl", "k": 4}
BOTH = {"kind": "mixture", "parts": [{"objective": SAMPLED}, {"objective": FORWARD}]}
GATED = {"rewards": ["not_telling", "few_turns"], "reward_coef": 0.0}
MOVING = {"num_substeps": 3, "learning_rate": 0.3}
# What a config needs to have each weight on, and to have it do something.
WEIGHTS = {
    "prefix": {"token_weights": [{"kind": "prefix", "tokens": {"start": 2.0, "end": 6.0, "steps": 4}}]},
    "disagreement": {"token_weights": "disagreement"},
    "entropy": {"token_weights": "entropy"},
    "position": {"token_weights": "position"},
    "entropy_gate": {"token_weights": {"kind": "entropy_gate", "threshold": 1.0}, "objective": BOTH},
    "trust_region": {"token_weights": {"kind": "trust_region", "bound": 0.02}, **MOVING},
    "freshness": {"token_weights": "freshness", **MOVING},
    "reward_gate": {"token_weights": {"kind": "reward_gate", "reward": "few_turns", "least": 0.1, "failure": 0.5},
                    **GATED},
    "sign_gate": {"token_weights": "sign_gate", **GATED},
    "clip": {"token_weights": ["position", {"kind": "clip", "low": 1.1, "high": 1.3}]},
    "several": {
        "token_weights": ["position", "entropy", {"kind": "prefix", "tokens": 8}, "trust_region", "freshness",
                          {"kind": "entropy_gate", "threshold": 1.0}],
        "objective": BOTH, **MOVING,
    },
}  # fmt: skip
TOP, REPLY_TOP = "topk_prompt_logprobs", "topk_sample_logprobs"


def tutor_turns(row):
    return [turn for turn in row["turns"] if turn["role"] == "tutor"]


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_killed_run_resumes_to_the_same_rows(make_config, whole_run, tmp_path, name):
    small = {"max_steps": 3, "max_tokens": 8, "save_every": 1, **WEIGHTS[name]}
    fault = Fault("optim_step", nth=small.get("num_substeps", 1) + 1)
    with pytest.raises(TrainingError):
        train_on_fake(FakeServiceClient(tmp_path / "server", faults=[fault]), make_config(max_recoveries=0, **small))
    assert len(read_rows(tmp_path / "run" / "metrics.jsonl")) == 1
    train_on_fake(FakeServiceClient(tmp_path / "server"), make_config(**small))
    whole = whole_run(**small)
    assert rows_of_run(tmp_path / "run") == rows_of_run(whole)
    plain = whole_run(**{**small, "token_weights": []})
    ours, theirs = (rows_of_run(one, without=("time/", "token_weights/", "trust_region/")) for one in (whole, plain))
    assert ours[0][-1] != theirs[0][-1], "the weights change nothing"


def test_every_token_has_its_weight_in_the_rows_and_the_metrics(make_config, tmp_path):
    weights = [{"kind": "prefix", "tokens": 3}, "position"]
    strict_run(make_config(token_weights=weights, max_steps=1))
    turns = [turn for row in read_rows(tmp_path / "run" / "dialogues.jsonl") for turn in tutor_turns(row)]
    assert turns and all(len(turn["weights"]) == len(turn["tokens"]) for turn in turns)
    assert all((np.asarray(turn["weights"][:3]) >= 1.0).all() and not any(turn["weights"][3:]) for turn in turns)
    assert all(set(turn).isdisjoint({"forward_weights"}) for turn in turns)
    flat = np.concatenate([turn["weights"] for turn in turns])
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert row["token_weights/mean"] == pytest.approx(flat.mean()) and "forward_token_weights/mean" not in row
    assert row["token_weights/zero"] == pytest.approx((flat == 0).mean()) and (flat == 0).any()


def test_an_entropy_gate_writes_the_weights_of_both_directions(make_config, tmp_path):
    strict_run(make_config(**WEIGHTS["entropy_gate"], max_steps=1))
    turns = [turn for row in read_rows(tmp_path / "run" / "dialogues.jsonl") for turn in tutor_turns(row)]
    forward = np.concatenate([turn["forward_weights"] for turn in turns])
    assert set(forward) == {0.0, 1.0} and {weight for turn in turns for weight in turn["weights"]} == {1.0}
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert (row["token_weights/mean"], row["forward_token_weights/mean"]) == (1.0, pytest.approx(forward.mean()))


def test_recorded_dialogues_have_no_weights(make_config, tmp_path):
    said = [{"role": "user", "content": "I got 7."}, {"role": "assistant", "content": "Why?"}]
    recordings = {"files": [write_rows(tmp_path / "recorded.jsonl", {"messages": said})], "on_policy_fraction": 0.5}
    strict_run(make_config(token_weights="position", recordings=recordings, groups_per_batch=2, max_steps=1))
    rows = read_rows(tmp_path / "run" / "dialogues.jsonl")
    has_weights = {row["recording"] is not None: "weights" in tutor_turns(row)[0] for row in rows}
    assert has_weights == {True: False, False: True}


def test_without_weights_nothing_is_written(make_config, tmp_path):
    strict_run(make_config(max_steps=1))
    (row,), rows = (read_rows(tmp_path / "run" / f"{name}.jsonl") for name in ("metrics", "dialogues"))
    assert not [key for key in row if "weights" in key]
    assert not [key for talk in rows for turn in talk["turns"] for key in turn if "weights" in key]


@pytest.mark.parametrize(
    ("name", "objective", "temperature", "asked"),
    [
        ("prefix", SAMPLED, 1.0, {}),
        ("position", SAMPLED, 1.0, {}),
        ("entropy", SAMPLED, 1.0, {(REPLY_TOP,): "turns"}),
        ("entropy", SAMPLED, 1.3, {(TOP,): "dialogues"}),
        ("entropy", FORWARD, 1.0, {(REPLY_TOP,): "turns", (TOP,): "dialogues"}),
        ("entropy_gate", BOTH, 1.0, {(TOP,): "dialogues"}),
    ],
)
def test_a_weight_asks_for_no_more_than_it_needs(make_config, tmp_path, name, objective, temperature, asked):
    changes = WEIGHTS[name] | {"objective": objective, "temperature": temperature}
    server = strict_run(make_config(max_steps=1, **changes))
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    found = Counter(one.arguments["features"] for one in server.calls if one.call == "sample")
    found.pop((), None)
    # A tempered tutor's tokens are scored again, and its likeliest tokens with them.
    sizes = {"turns": row["turns/tutor"], "dialogues": row["dialogues"]}
    assert found == {features: sizes[each] for features, each in asked.items()}


def test_a_server_that_lacks_what_a_weight_needs_is_refused(make_config):
    config = make_config(base_url="http://localhost:8000", **WEIGHTS["entropy"])
    with pytest.raises(UnsupportedFeature, match="the token weight 'entropy' needs topk_sample_logprobs, which"):
        strict_run(config, FakeServiceClient(lacks=[REPLY_TOP]))


def test_other_weights_are_another_meaning(make_config):
    train_on_fake(FakeServiceClient(), make_config(token_weights="position", max_steps=1))
    with pytest.raises(ConfigDrift, match="token_weights"):
        train_on_fake(FakeServiceClient(), make_config(token_weights="entropy", max_steps=2))


def test_what_moved_is_left_out_of_every_loss(make_config, tmp_path):
    for name, objective in (("sampled", SAMPLED), ("forward", FORWARD)):
        config = make_config(log_path=tmp_path / name, objective=objective, **WEIGHTS["trust_region"])
        train_on_fake(FakeServiceClient(), config)
        rows = read_rows(tmp_path / name / "metrics.jsonl")
        assert 0 < max(row["trust_region/masked"] for row in rows) < 1
        assert all(row["tokens/forward"] > 0 for row in rows)


@pytest.mark.parametrize("control", ["control_shuffled_teacher", "control_constant_advantage"])
def test_a_control_resumes_to_the_same_rows(make_config, whole_run, tmp_path, control):
    small = {"max_steps": 3, "max_tokens": 8, "save_every": 1, "objective": control}
    for steps in (1, 3):
        train_on_fake(FakeServiceClient(tmp_path / "server"), make_config(**small | {"max_steps": steps}))
    assert rows_of_run(tmp_path / "run") == rows_of_run(whole_run(**small))


@pytest.mark.parametrize("name", ["residual", "contrast", "extrapolation"])
def test_teachers_with_a_sign_resume_to_the_same_rows(make_config, whole_run, tmp_path_factory, tmp_path, name):
    telling = tmp_path_factory.mktemp("prompts") / "telling.txt"
    telling.write_text("Tell the answer to {question}.")
    presets = {
        "residual": anchored_residual(0.8, clip=2.0),
        "contrast": contrast(telling, 0.5, clip=2.0),
        "extrapolation": extrapolated(Teacher(name="reference", prompt_file=telling), 1.25, clip=2.0),
    }
    small = {"max_steps": 3, "max_tokens": 8, "save_every": 1, **presets[name]}
    server = FakeServiceClient(tmp_path / "server")
    for steps in (1, 3):
        train_on_fake(server, make_config(**small | {"max_steps": steps}))
    assert rows_of_run(tmp_path / "run") == rows_of_run(whole_run(**small))
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert all("teacher_kl/answer" in row for row in rows) and rows[-1]["teacher_kl"] != 0.0
