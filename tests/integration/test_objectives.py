"""Every objective on the fake service: that it learns, what it asks for and sends, that a run repeats and resumes."""

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.support.on_the_fake import strict_run, train_on_fake
from tests.support.rows import read_rows, rows_of_run, write_rows

from socratic_distill import TrainingError
from socratic_distill.dialogues.answers.numbers import contains_answer
from socratic_distill.testing import FakeServiceClient, FakeTrainingClient, Fault, ToyTokenizer
from socratic_distill.testing.sampling import Sampler

pytestmark = pytest.mark.thinned

SAMPLED = {"kind": "sampled_reverse_kl"}
MIXTURE = {
    "kind": "mixture",
    "parts": [
        {"objective": {"kind": "reverse_kl", "k": 8}, "weight": {"start": 1.0, "end": 0.0, "steps": 3}},
        {"objective": SAMPLED, "weight": 0.5},
    ],
}
OBJECTIVES = {
    "sampled": SAMPLED,
    "sampled, clipped, with a baseline": SAMPLED | {"advantage_clip": 2.0, "baseline": "group"},
    "sampled, by length": SAMPLED | {"normalize_length": True},
    "forward": {"kind": "forward_kl"},
    "forward, dropped": {"kind": "forward_kl", "tail": "drop"},
    "forward, bucket": {"kind": "forward_kl", "tail": "bucket"},
    "reverse": {"kind": "reverse_kl"},
    "jensen-shannon": {"kind": "jensen_shannon", "beta": 0.3},
    "monte carlo": {"kind": "monte_carlo_kl"},
    "mixture": MIXTURE,
}
every_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())

TOP, REPLY_TOP = "topk_prompt_logprobs", "topk_sample_logprobs"
TARGETS, DRAWS = "target_prompt_logprobs", "prompt_alt_tokens_k"
# By objective, in a batch of 6 dialogues in one minibatch: the training calls, and what is asked of the models.
BOTH_TOPS = {(REPLY_TOP,): "turns", (TOP, TARGETS): "dialogues"}
CALLS = {
    "sampled": (["forward_backward"], {}),
    "forward": (["forward_backward"], {(TOP,): "dialogues"}),
    "forward, dropped": (["forward_backward"], {(TOP,): "dialogues"}),
    "forward, bucket": (["forward", "forward_backward"], {(TOP,): "dialogues"}),
    "reverse": (["forward", "forward_backward"], BOTH_TOPS),
    "jensen-shannon": (["forward", "forward_backward"], BOTH_TOPS),
    "monte carlo": (["forward", "forward_backward"], {(DRAWS,): "dialogues", (TARGETS,): "dialogues"}),
    "mixture": (["forward_backward", "forward", "forward_backward"], BOTH_TOPS),
}


@dataclass(frozen=True)
class Pass:
    """The data of one pass."""

    call: str
    loss_fn: str
    data: list[Any]


@pytest.fixture
def passes(monkeypatch) -> list[Pass]:
    """Every pass that training clients of the fake are given from here on."""
    found: list[Pass] = []

    def watch(call):
        right = getattr(FakeTrainingClient, call)

        def watched(self, data, loss_fn, *rest):
            found.append(Pass(call, loss_fn, list(data)))
            return right(self, data, loss_fn, *rest)

        monkeypatch.setattr(FakeTrainingClient, call, watched)

    watch("forward")
    watch("forward_backward")
    return found


def arrays(datum) -> dict[str, np.ndarray]:
    return {name: value.to_numpy() for name, value in datum.loss_fn_inputs.items()}


def trained_tokens(datum) -> list[int]:
    """The tokens that a datum of `forward_backward` trains on."""
    found = arrays(datum)
    targets = found["target_tokens"]
    if targets.ndim == 1:
        values = found["advantages"] if "advantages" in found else found["weights"]
        return targets[values != 0].tolist()
    assert not found["weights"][:, 0].any(), "the token that stands there is no target of its own"
    # Draws that are all alike have a gradient of 0; slots that name nothing hold token 0.
    is_alike = (targets[:, 1:] == targets[:, 1:2]).all(axis=1) & (targets[:, 1] > 0)
    return targets[found["weights"].any(axis=1) | is_alike, 0].tolist()


def tutor_turns(row) -> list[dict[str, Any]]:
    return [turn for turn in row["turns"] if turn["role"] == "tutor"]


def joined(parts: Sequence[Sequence[int]]) -> list[int]:
    return [token for part in parts for token in part]


# What is learned


@every_objective
def test_training_lowers_the_divergence(make_config, tmp_path, objective):
    strict_run(make_config(objective=objective, max_steps=20, save_every=20))
    kl = [row["teacher_kl"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")]
    assert sum(kl[-5:]) < 0.5 * sum(kl[:5]), f"teacher_kl went from {kl[:5]} to {kl[-5:]}"


@pytest.mark.parametrize("name", CALLS)
def test_a_batch_makes_no_other_calls_than_its_objective_needs(make_config, tmp_path, name):
    training, asked = CALLS[name]
    server = strict_run(make_config(objective=OBJECTIVES[name], max_steps=1))
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    turns, dialogues = row["turns/tutor"], row["dialogues"]
    of_training = [one.call for one in server.calls if one.call in ("forward", "forward_backward", "optim_step")]
    assert of_training == [*training, "optim_step"]
    samples = [one.arguments for one in server.calls if one.call == "sample"]
    found = Counter(one["features"] for one in samples if one["features"])
    assert found == {features: {"turns": turns, "dialogues": dialogues}[each] for features, each in asked.items()}
    scoring = Counter(one["base_model"] for one in samples if one["prompt_logprobs"])
    assert scoring == {"small": dialogues * (2 if name == "monte carlo" else 1)}
    assert server.count("compute_logprobs") == 0


@pytest.mark.parametrize("name", ["forward, bucket", "reverse", "jensen-shannon", "monte carlo"])
def test_all_of_a_batch_is_read_forward_before_anything_is_trained_on(make_config, passes, name):
    strict_run(make_config(objective=OBJECTIVES[name], max_steps=2, groups_per_minibatch=1))
    assert [one.call for one in passes] == 2 * (3 * ["forward"] + 3 * ["forward_backward"])
    for forward, backward in zip(passes[:3] + passes[6:9], passes[3:6] + passes[9:], strict=True):
        assert [one.model_input for one in forward.data] == [one.model_input for one in backward.data]
        assert not any(arrays(one)["weights"].any() for one in forward.data)


@every_objective
def test_the_tutors_own_tokens_and_no_others_are_trained_on(make_config, tmp_path, passes, objective):
    strict_run(make_config(objective=objective, max_steps=1))
    said = [
        joined([turn["tokens"] for turn in tutor_turns(row)]) for row in read_rows(tmp_path / "run" / "dialogues.jsonl")
    ]
    backward = [one for one in passes if one.call == "forward_backward"]
    assert backward
    for one in backward:
        assert [trained_tokens(datum) for datum in one.data] == said


@pytest.mark.parametrize(
    ("objective", "width"),
    [
        ({"kind": "forward_kl", "k": 5}, 6),
        ({"kind": "forward_kl", "k": 5, "tail": "bucket"}, 6),
        ({"kind": "reverse_kl", "k": 5}, 11),
        ({"kind": "jensen_shannon", "k": 5}, 11),
        ({"kind": "monte_carlo_kl", "k": 5}, 6),
    ],
)
def test_a_position_has_its_own_token_and_those_that_k_asks_for(make_config, passes, objective, width):
    strict_run(make_config(objective=objective, max_steps=1))
    assert {arrays(datum)["target_tokens"].shape[1] for one in passes for datum in one.data} == {width}


def test_a_mixtures_part_leaves_the_run_when_its_weight_is_0(make_config):
    server = strict_run(make_config(objective=MIXTURE, max_steps=5))
    assert server.count("forward") == 3, "its weight is 0 from step 3 on"
    assert server.count("forward_backward") == 3 * 2 + 2


def test_a_mixtures_weight_scales_the_data(make_config, tmp_path, passes):
    mixed = {"kind": "mixture", "parts": [{"objective": {"kind": "forward_kl"}, "weight": 0.25}]}
    for name, objective, coef in (
        ("whole", {"kind": "forward_kl"}, 1.0),
        ("quarter", mixed, 1.0),
        ("twice", mixed, 8.0),
    ):
        strict_run(make_config(log_path=tmp_path / name, objective=objective, kl_penalty_coef=coef, max_steps=1))
    whole, quarter, twice = [[arrays(datum)["weights"] for datum in one.data] for one in passes]
    for one, smaller, larger in zip(whole, quarter, twice, strict=True):
        np.testing.assert_allclose(smaller, 0.25 * one, rtol=1e-6)
        np.testing.assert_allclose(larger, 2.0 * one, rtol=1e-6)


# That it repeats


@every_objective
def test_same_config_gives_the_same_run(make_config, tmp_path, objective):
    for name in ("a", "b"):
        strict_run(make_config(log_path=tmp_path / name, objective=objective, max_steps=3))
    assert rows_of_run(tmp_path / "a") == rows_of_run(tmp_path / "b")


@pytest.mark.parametrize("call", ["forward", "forward_backward"])
@pytest.mark.parametrize("name", ["forward, bucket", "reverse", "jensen-shannon", "monte carlo", "mixture"])
def test_resumed_run_equals_one_never_interrupted(make_config, whole_run, tmp_path, name, call):
    objective = OBJECTIVES[name]
    server = FakeServiceClient(tmp_path / "server", faults=[Fault(call, nth=3)])
    with pytest.raises(TrainingError):
        strict_run(make_config(objective=objective, max_recoveries=0), server)
    done = len(read_rows(tmp_path / "run" / "metrics.jsonl"))
    assert 0 < done < 6
    strict_run(make_config(objective=objective), FakeServiceClient(tmp_path / "server"))
    assert rows_of_run(tmp_path / "run") == rows_of_run(whole_run(objective=objective))


@pytest.mark.parametrize("call", ["forward", "forward_backward"])
def test_a_client_lost_in_a_step_is_reopened_and_the_run_is_the_same(make_config, whole_run, tmp_path, call):
    objective = OBJECTIVES["reverse"]
    strict_run(
        make_config(objective=objective), server := FakeServiceClient(faults=[Fault(call, nth=3, error="poisoned")])
    )
    assert server.count("create_training_client_from_state_with_optimizer") == 1
    found, whole = rows_of_run(tmp_path / "run"), rows_of_run(whole_run(objective=objective))
    assert [_without_recoveries(row) for row in found[0]] == [_without_recoveries(row) for row in whole[0]]
    assert found[1] == whole[1]


def _without_recoveries(row):
    return {key: value for key, value in row.items() if not key.startswith("recovery/")}


@every_objective
def test_dialogues_may_run_ahead_at_another_temperature(make_config, tmp_path, objective):
    strict_run(make_config(objective=objective, max_staleness=1, temperature=1.3, max_steps=4))
    metrics = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [row["staleness/max"] for row in metrics] == [0, 1, 1, 1]
    assert metrics[0]["drift/max"] < 1e-5, "the tutor's own scores are those at temperature 1"
    assert all(row["end/failed"] == 0 for row in metrics)


# Rewards

_seen: list[Any] = []


def words(dialogue) -> float:
    """A reward that differs between the dialogues of a group."""
    _seen.append(dialogue)
    return float(sum(len(turn.text.split()) for turn in dialogue.tutor_turns))


def refuses_the_second(dialogue) -> float:
    if (dialogue.step, dialogue.seed.id, dialogue.number) == (0, _refused, 1):
        raise ValueError("no such thing")
    return words(dialogue)


_refused = "s3"
HERE = __name__


@pytest.fixture
def seen():
    _seen.clear()
    return _seen


def group_means(found):
    """The mean reward of each seed's dialogues that did not fail."""
    by_seed: dict[str, list[float]] = {}
    for row in found:
        if row["reward"] is not None:
            by_seed.setdefault(row["seed"], []).append(row["reward"])
    return {seed: sum(values) / len(values) for seed, values in by_seed.items()}


@pytest.mark.parametrize("objective", [SAMPLED, {"kind": "reverse_kl"}])
def test_rewards_count_by_what_a_dialogue_has_over_its_group(make_config, tmp_path, passes, objective):
    rewards = [{"kind": "function", "function": f"{HERE}:words", "weight": 0.5}, {"kind": "few_turns"}]
    config = make_config(objective=objective, rewards=rewards, reward_coef=2.0, kl_penalty_coef=0.0, num_envs=3)
    strict_run(config.model_copy(update={"max_steps": 1}))
    found = read_rows(tmp_path / "run" / "dialogues.jsonl")
    means = group_means(found)
    (policy,) = [one for one in passes if one.loss_fn == "importance_sampling"]
    values = [arrays(datum) for datum in policy.data]
    assert len(found) == len(values) == 9
    differing = 0
    for row, one in zip(found, values, strict=True):
        said = sum(len(turn["text"].split()) for turn in tutor_turns(row))
        assert row["reward"] == pytest.approx(0.5 * said + 1 - len(tutor_turns(row)) / 2)
        tokens = one["logprobs"] != 0
        differing += row["reward"] != means[row["seed"]]
        assert one["advantages"][tokens] == pytest.approx(2.0 * (row["reward"] - means[row["seed"]]), abs=1e-6)
        assert not one["advantages"][~tokens].any()
    assert differing > 3
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert row["reward"] == pytest.approx(np.mean([one["reward"] for one in found]))


def test_rewards_add_to_the_divergence_in_data_of_their_own(make_config, passes):
    rewards = [{"kind": "function", "function": f"{HERE}:words"}]
    strict_run(make_config(objective={"kind": "monte_carlo_kl"}, rewards=rewards, max_steps=1))
    assert [(one.call, one.loss_fn) for one in passes] == [
        ("forward_backward", "importance_sampling"),
        ("forward", "cross_entropy"),
        ("forward_backward", "cross_entropy"),
    ]
    assert any(arrays(datum)["advantages"].any() for datum in passes[0].data)


def test_rewards_and_divergence_add_up_on_the_sampled_tokens(make_config, passes, tmp_path):
    reward = {"kind": "function", "function": f"{HERE}:words"}
    for name, changes in (
        ("kl", {}),
        ("both", {"rewards": [reward]}),
        ("reward", {"rewards": [reward], "kl_penalty_coef": 0.0}),
    ):
        strict_run(make_config(log_path=tmp_path / name, max_steps=1, **changes))
    kl, both, alone = [[arrays(datum)["advantages"] for datum in one.data] for one in passes if one.call != "forward"]
    for one, two, three in zip(kl, both, alone, strict=True):
        np.testing.assert_allclose(one + three, two, atol=1e-5)
    assert any(one.any() for one in alone)


def test_a_reward_sees_the_students_last_answer_before_any_training(make_config, tmp_path, seen, monkeypatch):
    rewards = [{"kind": "function", "function": f"{HERE}:words"}]
    shorter = strict_run(make_config(log_path=tmp_path / "shorter", max_steps=1, rewards=rewards))
    said_by = [one.arguments["base_model"] for one in shorter.calls if one.call == "sample"]
    last_answer = max(i for i, model in enumerate(said_by, start=1) if model == "pupil")
    seen.clear()
    rewarded: list[int] = []
    right = FakeTrainingClient.forward_backward

    def forward_backward(self, data, *rest):
        rewarded.append(len(seen))
        return right(self, data, *rest)

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", forward_backward)
    late = Fault("sample", nth=last_answer, error="slow", seconds=0.2)
    strict_run(make_config(max_steps=2, rewards=rewards), FakeServiceClient(faults=[late]))
    assert rewarded == [6, 12]
    assert all(dialogue.turns[-1].role == "student" for dialogue in seen)
    assert {dialogue.ending for dialogue in seen} <= {"solved", "max_turns"}


def test_a_reward_function_that_raises_fails_its_dialogue_alone(make_config, tmp_path, passes):
    rewards = [{"kind": "function", "function": f"{HERE}:refuses_the_second"}]
    config = make_config(
        rewards=rewards, num_envs=3, groups_per_batch=6, max_steps=2, max_failed_fraction=0.1, kl_penalty_coef=0.0
    )
    strict_run(config)
    found = [row for row in read_rows(tmp_path / "run" / "dialogues.jsonl") if row["step"] == 0]
    failed = [row for row in found if row["ending"] == "failed"]
    assert [(row["seed"], row["number"], row["reward"]) for row in failed] == [(_refused, 1, None)]
    assert f"reward function '{HERE}:refuses_the_second' raised ValueError: no such thing" in failed[0]["error"]
    first, second = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert (first["end/failed"], first["datums"], second["end/failed"]) == (1, 17, 0)
    means, there = group_means(found), [row for row in found if row["reward"] is not None]
    values = [arrays(datum) for one in passes for datum in one.data][:17]
    for row, one in zip(there, values, strict=True):
        advantage = one["advantages"][one["logprobs"] != 0]
        assert advantage == pytest.approx(row["reward"] - means[row["seed"]], abs=1e-6), "the failed one has no part"


def test_a_reward_may_be_a_function_of_the_running_script(make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "marks", lambda dialogue: 3 * dialogue.number, raising=False)
    strict_run(make_config(rewards=[{"kind": "function", "function": "__main__:marks"}], max_steps=1))
    found = read_rows(tmp_path / "run" / "dialogues.jsonl")
    assert [row["reward"] for row in found] == [0.0, 3.0] * 3


def test_outcomes_are_rewarded_by_what_the_rows_say(make_config, tmp_path):
    seeds = tmp_path / "digits.jsonl"
    # A digit, which the toy models say often enough to solve and to tell.
    lines = [{"id": f"d{i}", "question": f"Which digit is {i}?", "expected_answer": str(i)} for i in range(1, 7)]
    write_rows(seeds, *lines)
    common: dict[str, Any] = dict(seeds_file=seeds, num_envs=6, groups_per_batch=6, max_steps=1, max_turns=3)
    strict_run(make_config(log_path=tmp_path / "solved", rewards=[{"kind": "solved"}], **common))
    found = [row for row in read_rows(tmp_path / "solved" / "dialogues.jsonl") if tutor_turns(row)]
    assert {row["reward"] for row in found} == {0.0, 1.0}
    assert all(row["reward"] == (row["ending"] == "solved") for row in found)
    strict_run(make_config(log_path=tmp_path / "telling", rewards=[{"kind": "not_telling", "weight": 2.0}], **common))
    found = [row for row in read_rows(tmp_path / "telling" / "dialogues.jsonl") if tutor_turns(row)]
    assert {row["reward"] for row in found} == {0.0, 2.0}
    for row in found:
        told = any(contains_answer(turn["text"], row["expected_answer"]) for turn in tutor_turns(row))
        assert row["reward"] == 2.0 * (not told)


def test_a_run_with_rewards_resumes_as_if_it_had_not_been_interrupted(make_config, whole_run, tmp_path):
    changes: dict[str, Any] = dict(
        objective={"kind": "monte_carlo_kl"}, rewards=[{"kind": "function", "function": f"{HERE}:words"}]
    )
    with pytest.raises(TrainingError):
        strict_run(
            make_config(max_recoveries=0, **changes), FakeServiceClient(tmp_path / "s", faults=[Fault("forward", 4)])
        )
    strict_run(make_config(**changes), FakeServiceClient(tmp_path / "s"))
    assert rows_of_run(tmp_path / "run") == rows_of_run(whole_run(**changes))


# Masks


@pytest.mark.parametrize("objective", [SAMPLED, {"kind": "forward_kl"}, {"kind": "reverse_kl"}])
def test_cut_replies_can_be_left_out(make_config, tmp_path, passes, objective):
    strict_run(make_config(objective=objective, cut_replies="mask", max_tokens=7, max_steps=2, num_envs=4))
    found = read_rows(tmp_path / "run" / "dialogues.jsonl")
    reasons = Counter(turn["stop_reason"] for row in found for turn in tutor_turns(row))
    assert min(reasons["stop"], reasons["length"]) > 5, "both kinds are needed to see a difference"
    kept = [[turn["tokens"] for turn in tutor_turns(row) if turn["stop_reason"] == "stop"] for row in found]
    data = [datum for one in passes if one.call == "forward_backward" for datum in one.data]
    assert [trained_tokens(datum) for datum in data] == [joined(each) for each in kept if each]


def test_cut_replies_can_be_penalised(make_config, tmp_path, passes):
    found = {}
    for name in ("keep", "penalize"):
        strict_run(make_config(log_path=tmp_path / name, cut_replies=name, cut_penalty=0.75, max_tokens=7, max_steps=1))
        found[name] = [arrays(datum)["advantages"] for datum in passes[-1].data]
    dialogues = read_rows(tmp_path / "keep" / "dialogues.jsonl")
    for row, kept, penalised in zip(dialogues, found["keep"], found["penalize"], strict=True):
        lost = [0.75 * (turn["stop_reason"] == "length") for turn in tutor_turns(row) for _ in turn["tokens"]]
        difference = (kept - penalised)[kept != 0]
        assert difference == pytest.approx(lost, abs=1e-6)
    assert any(turn["stop_reason"] == "length" for row in dialogues for turn in tutor_turns(row))


def test_a_cut_reply_is_penalised_beside_a_divergence_over_named_tokens(make_config, tmp_path, passes):
    config = make_config(objective={"kind": "forward_kl"}, cut_replies="penalize", max_tokens=7, max_steps=1)
    strict_run(config)
    by_loss = {one.loss_fn: one.data for one in passes}
    cut = [
        joined([turn["tokens"] for turn in tutor_turns(row) if turn["stop_reason"] == "length"])
        for row in read_rows(tmp_path / "run" / "dialogues.jsonl")
    ]
    assert [trained_tokens(datum) for datum in by_loss["importance_sampling"]] == [each for each in cut if each]
    assert len(by_loss["cross_entropy"]) == 6


@pytest.mark.parametrize("objective", [SAMPLED, {"kind": "jensen_shannon"}])
def test_first_tokens_of_each_turn_can_be_skipped(make_config, tmp_path, passes, objective):
    strict_run(make_config(objective=objective, skip_first_tokens=3, max_steps=1))
    found = read_rows(tmp_path / "run" / "dialogues.jsonl")
    kept = [joined([turn["tokens"][3:] for turn in tutor_turns(row)]) for row in found]
    (backward,) = [one for one in passes if one.call == "forward_backward"]
    assert [trained_tokens(datum) for datum in backward.data] == [each for each in kept if each]


THOUGHT = ToyTokenizer().encode("<think>Why</think>")


class ThinkingSampler(Sampler):
    """Begins every reply with the same reasoning."""

    def _reply(self, prompt, limit, params, is_end, random):
        if limit <= len(THOUGHT):
            return super()._reply(prompt, limit, params, is_end, random)
        whole = [*prompt, *THOUGHT]
        tokens, logprobs, ended = super()._reply(whole, limit - len(THOUGHT), params, is_end, random)
        scores = self.score(whole, len(THOUGHT))[-len(THOUGHT) :]
        return [*THOUGHT, *tokens], [*scores.tolist(), *logprobs], ended


class ThinkingService(FakeServiceClient):
    """The fake with a tutor that thinks first."""

    def sampler(self, weights):
        kind = ThinkingSampler if weights.model.name == "small" else Sampler
        return kind(weights.model, weights.table, self.tokenizer, self.max_context_length)


@pytest.mark.parametrize("is_trained", [True, False])
def test_reasoning_is_trained_on_as_told(make_config, tmp_path, passes, is_trained):
    config = make_config(train_thinking=is_trained, max_tokens=len(THOUGHT) + 12, max_steps=1, skip_first_tokens=1)
    strict_run(config, ThinkingService())
    first = 1 if is_trained else len(THOUGHT) + 1
    found = read_rows(tmp_path / "run" / "dialogues.jsonl")
    assert all(turn["tokens"][: len(THOUGHT)] == THOUGHT for row in found for turn in tutor_turns(row))
    kept = [joined([turn["tokens"][first:] for turn in tutor_turns(row)]) for row in found]
    assert [trained_tokens(datum) for datum in passes[0].data] == kept


# Schedules


def adam(server):
    return [one.arguments for one in server.calls if one.call == "optim_step"]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 2])
def test_the_learning_rate_follows_its_schedule(make_config, schedule, warmup):
    server = strict_run(make_config(lr_schedule=schedule, lr_warmup_steps=warmup, max_steps=6))
    shares = {
        "constant": lambda left: 1.0,
        "linear": lambda left: left,
        "cosine": lambda left: 0.5 * (1 + math.cos(math.pi * (1 - left))),
    }
    expected = [0.05, 0.1][:warmup] + [0.1 * shares[schedule]((6 - i) / (6 - warmup)) for i in range(warmup, 6)]
    assert [one["learning_rate"] for one in adam(server)] == pytest.approx(expected)


def test_a_resumed_run_goes_on_along_its_schedule(make_config, tmp_path):
    changes: dict[str, Any] = dict(lr_schedule="cosine", lr_warmup_steps=1, objective={"kind": "reverse_kl"})
    whole = strict_run(make_config(log_path=tmp_path / "whole", **changes))
    broken = FakeServiceClient(tmp_path / "server", faults=[Fault("optim_step", 5)])
    with pytest.raises(TrainingError):
        strict_run(make_config(max_recoveries=0, **changes), broken)
    rest = strict_run(make_config(**changes), FakeServiceClient(tmp_path / "server"))
    assert len(adam(rest)) == 2 and adam(rest) == adam(whole)[4:]
    assert rows_of_run(tmp_path / "run") == rows_of_run(tmp_path / "whole")


def test_the_optimizer_has_the_configs_settings(make_config):
    default = adam(strict_run(make_config(max_steps=1)))
    assert default == [dict(learning_rate=0.1, beta1=0.9, beta2=0.95, eps=1e-12, weight_decay=0.0, grad_clip_norm=0.0)]
    changes = dict(adam_beta1=0.8, adam_beta2=0.99, adam_eps=1e-6, weight_decay=0.01, grad_clip_norm=1.5)
    sent = adam(strict_run(make_config(log_path=make_config().log_path + "-other", max_steps=2, **changes)))
    wanted = dict(learning_rate=0.1, beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=0.01, grad_clip_norm=1.5)
    assert sent == [wanted, wanted]


def test_dialogues_grow_with_the_schedule_of_turns(make_config, tmp_path):
    schedule = {"start": 1.0, "end": 3.0, "steps": 4}
    strict_run(make_config(max_turns=3, max_turns_schedule=schedule, max_steps=6, max_staleness=1))
    most = Counter()
    for row in read_rows(tmp_path / "run" / "dialogues.jsonl"):
        most[row["step"]] = max(most[row["step"]], len(tutor_turns(row)))
    assert [most[step] for step in range(6)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("max_staleness", [0, 1, 3])
def test_a_lagged_teacher_has_its_weights_at_every_staleness(make_config, tmp_path, max_staleness):
    """From 3 on a step that a state follows saves no weights to play with, unless such a teacher is to have them."""
    changes: dict[str, Any] = dict(
        teacher_lag_steps=2, save_every=2, max_steps=9, max_staleness=max_staleness, rewards=[{"kind": "not_telling"}]
    )
    service = FakeServiceClient(tmp_path / "server", faults=[Fault("forward_backward", nth=7, error=500)])
    config = make_config(**changes)
    result = train_on_fake(service, config)
    assert result.status == "completed"
    dialogues = read_rows(tmp_path / "run" / "dialogues.jsonl")
    assert not [one["error"] for one in dialogues if one["ending"] == "failed"]
    assert {one["step"] for one in dialogues} == set(range(9))
