"""Learning from recorded dialogues on the fake service, alone and beside those that the tutor plays."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from tests.support.on_the_fake import strict_run, train_strictly
from tests.support.rows import read_rows, rows_of_run, write_rows

from socratic_distill import ConfigDrift, RecordingError, TrainingError, load_checkpoints, train
from socratic_distill.dialogues.recordings import load_recordings
from socratic_distill.run.directory import RunDirectory
from socratic_distill.testing import FakeServiceClient, FakeTrainingClient, Fault, ToyTokenizer

pytestmark = pytest.mark.thinned

TOKENIZER = ToyTokenizer()


def write(path, found):
    write_rows(path, *found)
    return str(path)


@pytest.fixture
def mathdial(tmp_path):
    """Seven conversations in MathDial's format, no two alike."""
    return write(
        tmp_path / "mathdial.jsonl",
        [
            {
                "qid": 100 + i,
                "question": f"A tray holds {i} cups. How many cups do 4 trays hold?",
                "ground_truth": f"4 * {i} = {4 * i}\n {4 * i}",
                "student_incorrect_solution": f"4 + {i} = {4 + i}",
                "conversation": f"Teacher: (probing)What is the first step?|EOM|Sam: {i} cups.|EOM|"
                f"Teacher: (focus)So what is the next step with {i}?",
            }
            for i in range(1, 8)
        ],
    )


@pytest.fixture
def messages(tmp_path):
    """Two conversations as messages, one reply each."""
    return write(
        tmp_path / "messages.jsonl",
        [
            {
                "question": f"What is {i} times 3?",
                "expected_answer": str(3 * i),
                "messages": [
                    {"role": "system", "content": "You help."},
                    {"role": "user", "content": f"I think {i}."},
                    {"role": "assistant", "content": "Why? What is times?"},
                ],
            }
            for i in (2, 3)
        ],
    )


@pytest.fixture
def played(make_config, tmp_path):
    """The rows of a run of two batches on the tutor's base weights, 12 dialogues."""
    train(make_config(log_path=tmp_path / "played", max_steps=2, max_staleness=1), service_client=FakeServiceClient())
    return str(tmp_path / "played" / "dialogues.jsonl")


@pytest.fixture
def passes(monkeypatch) -> list[tuple[str, list[Any]]]:
    """Loss and data of every pass that `forward_backward` is given from here on."""
    found: list[tuple[str, list[Any]]] = []
    right = FakeTrainingClient.forward_backward

    def forward_backward(self, data, loss_fn, *rest):
        found.append((loss_fn, list(data)))
        return right(self, data, loss_fn, *rest)

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", forward_backward)
    return found


def recorded(*files, **more):
    return {"recordings": {"files": files} | more}


def trained_text(datum) -> str:
    """What a datum of cross_entropy with one target a token trains on."""
    arrays = {name: value.to_numpy() for name, value in datum.loss_fn_inputs.items()}
    assert set(np.unique(arrays["weights"])) <= {0.0, 1.0}
    return TOKENIZER.decode(arrays["target_tokens"][arrays["weights"] == 1.0].tolist())


# Alone


def test_a_warm_start_samples_nothing_and_trains_on_the_tutors_words(make_config, tmp_path, passes, mathdial, messages):
    server = strict_run(make_config(**recorded(mathdial, messages), max_steps=3))
    assert server.count("sample") == server.count("forward") == server.count("compute_logprobs") == 0
    assert [loss_fn for loss_fn, _ in passes] == 3 * ["cross_entropy"]
    wanted = Counter("Why? What is times?<|end|>" for _ in range(2))
    wanted.update(f"What is the first step?<|end|>So what is the next step with {i}?<|end|>" for i in range(1, 8))
    assert Counter(trained_text(datum) for _, data in passes for datum in data) == wanted, "9 recordings, each once"
    found = read_rows(tmp_path / "run" / "dialogues.jsonl")
    assert len(found) == 9 and {row["ending"] for row in found} == {"recorded"}
    assert {row["recording"] for row in found} == {one.id for one in load_recordings([mathdial, messages])}
    metrics = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [(row["dialogues/recorded"], row["datums"], row["teacher_kl"]) for row in metrics] == 3 * [(3, 3, None)]


def test_a_warm_start_reads_the_prompt_that_the_tutor_plays_with(make_config, passes, messages):
    strict_run(make_config(**recorded(messages), groups_per_batch=2, max_steps=1))
    read = [TOKENIZER.decode(datum.model_input.to_ints()) for _, data in passes for datum in data]
    strict_run(make_config(log_path=make_config().log_path + "-played", max_steps=1))
    played = TOKENIZER.decode(passes[-1][1][0].model_input.to_ints())
    for text in read:
        assert text[:60] == played[:60] and text.startswith("<|system|>")
        assert "You help." not in text and "<|user|>I think" in text


def test_a_warm_start_lowers_its_loss(make_config, tmp_path, mathdial):
    strict_run(make_config(**recorded(mathdial), max_steps=21, learning_rate=0.2, save_every=20))
    loss = [row["service/loss:sum"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")]
    assert sum(loss[-7:]) < 0.6 * sum(loss[:7]), f"the loss went from {loss[:7]} to {loss[-7:]}"


def test_epochs_of_recordings_decide_the_number_of_batches(make_config, passes, mathdial):
    strict_run(make_config(**recorded(mathdial), max_steps=None, epochs=3))
    assert [len(data) for _, data in passes] == 7 * [3], "7 recordings thrice, in batches of 3"
    times = Counter(trained_text(datum) for _, data in passes for datum in data)
    assert sorted(times.values()) == 7 * [3]


@pytest.mark.parametrize(
    ("objective", "forwards", "features"),
    [
        ({"kind": "forward_kl"}, 0, [("topk_prompt_logprobs",)]),
        ({"kind": "forward_kl", "tail": "bucket"}, 1, [("topk_prompt_logprobs",)]),
        (
            {"kind": "jensen_shannon"},
            1,
            [("topk_prompt_logprobs",), ("topk_prompt_logprobs", "target_prompt_logprobs")],
        ),
        ({"kind": "reverse_kl"}, 1, [("topk_prompt_logprobs",), ("topk_prompt_logprobs", "target_prompt_logprobs")]),
        ({"kind": "monte_carlo_kl"}, 1, [("prompt_alt_tokens_k",), ("target_prompt_logprobs",)]),
    ],
)
def test_a_teacher_is_learned_from_on_recorded_text(
    make_config, tmp_path, passes, mathdial, objective, forwards, features
):
    server = strict_run(make_config(**recorded(mathdial, objective=objective), max_steps=2))
    assert server.count("forward") == 2 * forwards and server.count("forward_backward") == 2
    asked = [one.arguments for one in server.calls if one.call == "sample"]
    assert all(one["max_tokens"] == 1 and one["prompt_logprobs"] for one in asked), "nothing is played"
    assert Counter(one["features"] for one in asked) == dict.fromkeys(features, 6)
    said = [
        [token for turn in row["turns"] if turn["role"] == "tutor" for token in turn["tokens"]]
        for row in read_rows(tmp_path / "run" / "dialogues.jsonl")
    ]
    data = [datum for _, each in passes for datum in each]
    for datum, tokens in zip(data, said, strict=True):
        arrays = {name: value.to_numpy() for name, value in datum.loss_fn_inputs.items()}
        used = arrays["weights"].any(axis=1)
        assert Counter(arrays["target_tokens"][used, 0].tolist()) <= Counter(tokens)
        assert used.sum() > 0.7 * len(tokens) and tokens[-1] == TOKENIZER.eos_token_id


@pytest.mark.parametrize("kind", ["forward_kl", "jensen_shannon", "reverse_kl", "monte_carlo_kl"])
def test_a_teacher_is_neared_on_recorded_text(make_config, tmp_path, mathdial, kind):
    """Measured by dialogues that the tutor then plays: teacher_kl of their first batch, before any step of theirs."""
    server = FakeServiceClient()
    warm = make_config(log_path=tmp_path / "warm", **recorded(mathdial, objective={"kind": kind}), max_steps=21)
    strict_run(warm, server)
    assert all(row["drift/max"] is None for row in read_rows(tmp_path / "warm" / "metrics.jsonl")), "nobody sampled it"
    common: dict[str, Any] = dict(max_steps=1, num_envs=6, groups_per_batch=6)
    strict_run(make_config(log_path=tmp_path / "after", load_checkpoint_path=tmp_path / "warm", **common), server)
    strict_run(make_config(log_path=tmp_path / "before", **common), server)
    before, after = (read_rows(tmp_path / name / "metrics.jsonl")[0]["teacher_kl"] for name in ("before", "after"))
    assert after < 0.8 * before, f"teacher_kl went from {before} to {after}"


# What the tutor sampled


@pytest.mark.parametrize("kind", ["mathdial", "messages"])
def test_sampled_tokens_cannot_be_learned_from_text(make_config, tmp_path, request, kind):
    file = request.getfixturevalue(kind)
    server = FakeServiceClient()
    first = load_recordings([file])[0].id
    with pytest.raises(RecordingError) as refused:
        strict_run(make_config(**recorded(file, objective={"kind": "sampled_reverse_kl"})), server)
    assert str(refused.value) == (
        f"recording {first!r} is text that the tutor did not sample (a {kind} file), so it has no log-probabilities "
        "for 'sampled_reverse_kl'; set recordings.objective to 'supervised', 'forward_kl' or 'jensen_shannon'"
    )
    assert server.calls == [] and not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_runs_own_dialogues_are_trained_on_with_their_sampling_logprobs(make_config, tmp_path, passes, played):
    passes.clear()
    sampled = {"kind": "sampled_reverse_kl"}
    settings = recorded(played, objective=sampled, reuse_scores=False)
    server = strict_run(make_config(**settings, max_steps=4, max_staleness=3))
    assert {one.arguments["base_model"] for one in server.calls if one.call == "sample"} == {"small"}
    assert all(one.arguments["max_tokens"] == 1 for one in server.calls if one.call == "sample")
    assert [loss_fn for loss_fn, _ in passes] == 4 * ["importance_sampling"]
    (before, after) = (read_rows(tmp_path / name / "dialogues.jsonl") for name in ("played", "run"))
    by_id = {f"{row['seed']}:{row['step']}:{row['number']}": row for row in before}
    assert {row["recording"] for row in after} == set(by_id)
    for row in after:
        for turn, old in zip(row["turns"], by_id[row["recording"]]["turns"], strict=True):
            for key in ("role", "text", "tokens", "tutor_logprobs", "teacher_logprobs", "version"):
                assert turn.get(key) == old.get(key), f"{key} of {row['recording']}"
    metrics = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [row["staleness/max"] for row in metrics] == [0, 1, 2, 3]
    assert metrics[0]["drift/max"] < 1e-5


@pytest.mark.parametrize(("max_staleness", "batch"), [(0, 1), (1, 2)])
def test_dialogues_older_than_allowed_are_refused(make_config, played, max_staleness, batch):
    objective = {"kind": "sampled_reverse_kl"}
    config = make_config(**recorded(played, objective=objective), max_steps=4, max_staleness=max_staleness)
    server = FakeServiceClient()
    with pytest.raises(RecordingError) as refused:
        strict_run(config, server)
    told = str(refused.value).partition("recording '")[2].partition("'")[2]
    assert told == (
        f" was sampled by weights of version 0, and batch {batch} trains version {batch}; 'sampled_reverse_kl' needs "
        f"tokens at most max_staleness={max_staleness} batches old. Raise max_staleness, or set recordings.objective "
        "to 'forward_kl', 'jensen_shannon' or 'supervised'"
    )
    assert server.calls == []


def test_dialogues_of_later_weights_are_refused(make_config, tmp_path):
    train(make_config(log_path=tmp_path / "long", max_steps=3), service_client=FakeServiceClient())
    found = [row for row in read_rows(tmp_path / "long" / "dialogues.jsonl") if row["step"] == 2]
    file = write(tmp_path / "late.jsonl", found)
    with pytest.raises(RecordingError, match="was sampled by weights of version 2, and batch 0 trains version 0"):
        strict_run(
            make_config(**recorded(file, objective={"kind": "sampled_reverse_kl"}), max_steps=1, max_staleness=5)
        )


def test_old_dialogues_are_learned_from_by_other_objectives(make_config, tmp_path):
    train(make_config(log_path=tmp_path / "long", max_steps=3), service_client=FakeServiceClient())
    file = str(tmp_path / "long" / "dialogues.jsonl")
    server = strict_run(make_config(**recorded(file), max_steps=6))
    assert server.count("sample") == 0 and server.count("optim_step") == 6


# Beside what the tutor plays


def test_half_of_the_groups_are_recorded(make_config, tmp_path, passes, mathdial):
    config = make_config(**recorded(mathdial, on_policy_fraction=0.5), groups_per_batch=3, max_steps=6)
    strict_run(config)
    metrics = read_rows(tmp_path / "run" / "metrics.jsonl")
    groups = [(row["dialogues"] - row["dialogues/recorded"]) // 2 for row in metrics]
    assert all(played + row["dialogues/recorded"] == 3 for played, row in zip(groups, metrics, strict=True))
    assert sum(groups) == 9 and set(groups) == {1, 2}
    assert Counter(loss_fn for loss_fn, _ in passes) == {"importance_sampling": 6, "cross_entropy": 6}
    found = read_rows(tmp_path / "run" / "dialogues.jsonl")
    times = Counter(row["recording"] for row in found if row["recording"])
    assert sum(times.values()) == 9 and set(times.values()) == {1, 2}, "7 recordings, two of them twice"
    seeds = Counter(row["seed"] for row in found if not row["recording"])
    assert sum(seeds.values()) == 18 and set(seeds.values()) == {2, 4}, "6 seeds, three of them twice"
    assert all(row["teacher_kl"] is not None for row in metrics), "of what was played"


def test_played_and_recorded_groups_have_objectives_of_their_own(make_config, passes, mathdial):
    changes = recorded(mathdial, on_policy_fraction=0.5, objective={"kind": "forward_kl", "k": 4})
    server = strict_run(
        make_config(objective={"kind": "reverse_kl", "k": 6}, groups_per_batch=2, max_steps=2, **changes)
    )
    widths = Counter(datum.loss_fn_inputs["target_tokens"].to_numpy().shape[1] for _, data in passes for datum in data)
    assert widths == {5: 2, 13: 4}, "one recording and two dialogues of a group a batch"
    assert server.count("forward") == 2


# Interrupted


def every_datum(passes):
    """What was trained on, in order."""
    return [
        (tuple(datum.model_input.to_ints()), loss_fn, datum.loss_fn_inputs["target_tokens"].to_numpy().tobytes())
        for loss_fn, data in passes
        for datum in data
    ]


KINDS = {
    "recorded": {},
    "mixed": {"on_policy_fraction": 0.5},
    "taught": {"objective": {"kind": "jensen_shannon"}},
    "mixed and taught": {"objective": {"kind": "forward_kl"}, "on_policy_fraction": 0.3},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("call", "nth"), [("forward_backward", 4), ("optim_step", 4), ("optim_step", 5)])
def test_a_resumed_run_trains_on_no_batch_twice(make_config, tmp_path, passes, mathdial, kind, call, nth):
    """What the weights at the end have seen is each datum of the uninterrupted run, as often as there."""
    changes = recorded(mathdial, **KINDS[kind])
    strict_run(make_config(log_path=tmp_path / "whole", **changes))
    whole = every_datum(passes)
    passes.clear()
    if call == "forward_backward" and kind.startswith("mixed"):
        nth = 7  # two a batch, so batch 3 too
    config = make_config(max_recoveries=0, **changes)
    with pytest.raises(TrainingError):
        strict_run(config, FakeServiceClient(tmp_path / "server", faults=[Fault(call, nth)]))
    done = max(one.batch or 0 for one in load_checkpoints(tmp_path / "run") if one.state_path)
    assert 0 < done < nth
    kept = sum(row["step"] < done for row in read_rows(tmp_path / "run" / "dialogues.jsonl"))
    before = every_datum(passes)[:kept]
    passes.clear()
    strict_run(config, FakeServiceClient(tmp_path / "server"))
    assert before + every_datum(passes) == whole
    assert rows_of_run(tmp_path / "run") == rows_of_run(tmp_path / "whole")


def test_a_run_killed_between_a_step_and_its_rows_runs_that_batch_again(
    make_config, tmp_path, passes, mathdial, monkeypatch
):
    changes = recorded(mathdial, on_policy_fraction=0.5)
    strict_run(make_config(log_path=tmp_path / "whole", **changes))
    whole = every_datum(passes)
    passes.clear()
    server, right = FakeServiceClient(), RunDirectory.log_step

    def crash(self, metrics, dialogues):
        if metrics["step"] == 3:
            raise KeyboardInterrupt
        right(self, metrics, dialogues)

    monkeypatch.setattr(RunDirectory, "log_step", crash)
    with pytest.raises(KeyboardInterrupt):
        strict_run(make_config(**changes), server)
    monkeypatch.setattr(RunDirectory, "log_step", right)
    kept = sum(row["step"] < 2 for row in read_rows(tmp_path / "run" / "dialogues.jsonl"))
    before = every_datum(passes)[:kept]
    passes.clear()
    strict_run(make_config(**changes), server)
    assert before + every_datum(passes) == whole
    assert rows_of_run(tmp_path / "run") == rows_of_run(tmp_path / "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_more_steps_goes_on_with_recordings_that_are_not_used_yet(
    make_config, tmp_path, passes, mathdial, kind
):
    changes = recorded(mathdial, **KINDS[kind])
    strict_run(make_config(log_path=tmp_path / "whole", max_steps=7, **changes))
    whole = every_datum(passes)
    passes.clear()
    server = FakeServiceClient()
    for steps in (2, 3, 7):
        strict_run(make_config(max_steps=steps, **changes), server)
    assert every_datum(passes) == whole
    assert rows_of_run(tmp_path / "run") == rows_of_run(tmp_path / "whole")


def test_evaluations_route_held_out_seeds_by_their_own_tags(make_config, tmp_path):
    """A recording of an earlier run holds a seed's id, but not its tags: the held-out seed decides by its own."""
    seeds = [
        {"id": f"s{i}", "question": f"What is {i} + 2?", "expected_answer": i + 2, "tags": ["a"] if i % 2 else []}
        for i in range(8)
    ]
    tagged = write(tmp_path / "tagged.jsonl", seeds)
    earlier = make_config(log_path=tmp_path / "earlier", seeds_file=tagged, groups_per_batch=8, max_steps=1)
    train(earlier, service_client=FakeServiceClient())
    teachers = [{"name": "tagged", "tags": ["a"]}, {"name": "rest"}]
    # Half of a batch is played, so that the tagged teacher has seeds to train on too.
    earlier_rows = recorded(
        str(tmp_path / "earlier" / "dialogues.jsonl"), objective={"kind": "forward_kl"}, on_policy_fraction=0.5
    )
    config = make_config(
        seeds_file=tagged,
        teachers=teachers,
        eval_seeds=4,
        eval_every=1,
        max_steps=1,
        groups_per_batch=2,
        **earlier_rows,
    )
    strict_run(config)
    evaluation = json.loads(next((tmp_path / "run" / "evaluations").glob("*.json")).read_text())
    teachers_of = {row["seed"]: tuple(row["teachers"]) for row in evaluation["dialogues"]}
    assert teachers_of == {name: ("tagged",) if int(name[1:]) % 2 else ("rest",) for name in teachers_of}
    assert set(teachers_of.values()) == {("tagged",), ("rest",)}, "the check needs held-out seeds of both teachers"


def test_changed_recordings_are_another_run(make_config, tmp_path, mathdial, messages):
    server = FakeServiceClient()
    strict_run(make_config(**recorded(mathdial), max_steps=2), server)
    calls = len(server.calls)
    with pytest.raises(ConfigDrift):
        strict_run(make_config(**recorded(mathdial, messages), max_steps=3), server)
    assert len(server.calls) == calls


# What a run leaves


def test_states_and_final_weights_are_kept_as_of_any_run(make_config, tmp_path, mathdial):
    server = FakeServiceClient()
    config = make_config(**recorded(mathdial), max_steps=5, save_every=2)
    result = train_strictly(server, config)
    records = load_checkpoints(tmp_path / "run")
    assert [one.name for one in records if one.state_path] == ["000002", "000004", "final"]
    assert (result.status, result.steps, result.state_path) == ("completed", 5, records[-1].state_path)
    assert result.sampler_path is not None
    calls = len(server.calls)
    assert train_strictly(server, config).status == "already_complete"
    assert len(server.calls) == calls


def test_an_on_policy_run_takes_up_a_warm_started_tutor(make_config, tmp_path, mathdial):
    server = FakeServiceClient()
    strict_run(make_config(log_path=tmp_path / "warm", **recorded(mathdial), max_steps=4, learning_rate=0.05), server)
    state = load_checkpoints(tmp_path / "warm")[-1].state_path
    second = make_config(load_checkpoint_path=tmp_path / "warm", max_steps=3)
    strict_run(second, server)
    (created,) = [one for one in server.calls if one.call == "create_training_client_from_state"]
    assert created.arguments["path"] == state
    strict_run(make_config(log_path=tmp_path / "cold", max_steps=3), cold := FakeServiceClient())
    assert cold.count("create_training_client_from_state") == 0
    warm, fresh = (read_rows(tmp_path / name / "metrics.jsonl") for name in ("run", "cold"))
    assert warm[0]["drift/max"] < 1e-5 and warm[0]["version"] == 0
    assert warm[0]["teacher_kl"] != fresh[0]["teacher_kl"], "the weights of the warm start played"
