"""The whole path against the fake service: the guide's scenarios, resume, and what can go wrong."""

import asyncio
import json
import shutil

import pytest
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import read_rows, write_rows

from socratic_distill import (
    CheckpointConflict,
    CheckpointManager,
    CheckpointNotFound,
    CheckpointRecord,
    ConfigError,
    EventLoopRunning,
    ModelMismatch,
    RenderingError,
    RolloutError,
    RunLocked,
    TrainingError,
    evaluate,
    load_checkpoints,
    train,
    train_async,
)
from socratic_distill.run.directory import RunDirectory, load_config
from socratic_distill.run.journal import Journal
from socratic_distill.testing import FakeSamplingClient, FakeServiceClient, Fault, ToyTokenizer

pytestmark = pytest.mark.thinned


def files(run, *names):
    return {name: read_rows(run / name) for name in names or ("metrics.jsonl", "dialogues.jsonl")}


def count_scored(calls):
    return sum(call.arguments.get("prompt_logprobs", False) for call in calls)


def test_run_lowers_teacher_kl_and_writes_its_directory(make_config, tmp_path):
    config = make_config(max_steps=25, save_every=20, groups_per_batch=4, num_envs=4)
    result = train(config, service_client=FakeServiceClient())
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    early, late = (sum(row["teacher_kl"] for row in part) / 5 for part in (rows[:5], rows[-5:]))
    assert late < 0.75 * early, f"teacher_kl went from {early} to {late}"
    assert [row["step"] for row in rows] == list(range(25))
    assert result.status == "completed" and result.steps == 25
    assert load_config(tmp_path / "run") == config
    states = [one.name for one in load_checkpoints(tmp_path / "run") if one.state_path]
    assert states == ["000020", "final"]
    samplers = [one.batch for one in load_checkpoints(tmp_path / "run") if one.sampler_path]
    assert samplers == [*range(25), 25, 25], "before every batch, and at the end, where the last line names both"
    dialogues = read_rows(tmp_path / "run" / "dialogues.jsonl")
    assert len(dialogues) == 25 * 16
    tutor_turns = [turn for row in dialogues for turn in row["turns"] if turn["role"] == "tutor"]
    assert all(
        len(turn["tokens"]) == len(turn["tutor_logprobs"]) == len(turn["teacher_logprobs"]) for turn in tutor_turns
    )


def test_step_whose_rows_were_not_written_is_run_again(make_config, whole_run, tmp_path, monkeypatch):
    """A crash between the step and its rows: no state may be recorded that a resume would begin behind."""
    server, right = FakeServiceClient(), RunDirectory.log_step

    def crash(self, metrics, dialogues):
        if metrics["step"] == 3:
            raise KeyboardInterrupt
        right(self, metrics, dialogues)

    monkeypatch.setattr(RunDirectory, "log_step", crash)
    with pytest.raises(KeyboardInterrupt):
        train(make_config(), service_client=server)
    monkeypatch.undo()
    train(make_config(), service_client=server)
    assert files(tmp_path / "run") == files(whole_run())


def test_same_config_gives_the_same_run(make_config, tmp_path):
    for name in ("a", "b"):
        train(make_config(log_path=tmp_path / name), service_client=FakeServiceClient())
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_first_step_is_on_policy(make_config, tmp_path):
    train(make_config(max_steps=1), service_client=FakeServiceClient())
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert row["drift/max"] < 1e-5


@pytest.mark.parametrize("crash_at", [1, 3, 4, 5])
def test_resumed_run_equals_one_never_interrupted(make_config, whole_run, tmp_path, crash_at):
    server = tmp_path / "server"
    fault = Fault(call="forward_backward", nth=crash_at + 1, error=500)
    with pytest.raises(TrainingError, match="Start the same script again"):
        train(make_config(max_recoveries=0), service_client=FakeServiceClient(server, faults=[fault]))
    result = train(make_config(), service_client=FakeServiceClient(server))
    assert result.status == "completed"
    assert files(tmp_path / "run") == files(whole_run())


def test_rows_of_repeated_batches_are_moved_aside(make_config, tmp_path):
    server = tmp_path / "server"
    fault = Fault(call="forward_backward", nth=4, error=500)
    with pytest.raises(TrainingError):
        train(make_config(max_recoveries=0), service_client=FakeServiceClient(server, faults=[fault]))
    train(make_config(), service_client=FakeServiceClient(server))
    moved = read_rows(tmp_path / "run" / "metrics.superseded.jsonl")
    assert [row["step"] for row in moved] == [2]
    assert [row["step"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")] == list(range(6))


def test_complete_run_does_nothing_and_goes_on_with_more_steps(make_config, whole_run, tmp_path):
    server = FakeServiceClient()
    train(make_config(), service_client=server)
    calls = len(server.calls)
    again = train(make_config(), service_client=server)
    assert (again.status, again.steps, len(server.calls)) == ("already_complete", 6, calls)
    longer = train(make_config(max_steps=8), service_client=server)
    assert longer.status == "completed"
    assert [row["step"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")] == list(range(8))
    assert files(tmp_path / "run") == files(whole_run(max_steps=8))


def test_nothing_behind_a_failed_training_call_is_recorded(make_config, tmp_path):
    fault = Fault(call="forward_backward", nth=2, error=500)
    with pytest.raises(TrainingError, match="training step of batch 1"):
        train(make_config(max_recoveries=0), service_client=FakeServiceClient(faults=[fault]))
    assert [one.batch for one in load_checkpoints(tmp_path / "run")] == [0, 1]


def test_confirmed_state_is_recorded_though_the_sampler_save_failed(make_config, tmp_path):
    # The first sampler save is the fresh tutor's; the third stands behind step 1, with a state beside it.
    fault = Fault(call="save_weights_for_sampler", nth=3, error=500)
    server = FakeServiceClient(faults=[fault])
    with pytest.raises(TrainingError, match="sampler_path"):
        train(make_config(max_recoveries=0), service_client=server)
    newest = Journal.of(load_checkpoints(tmp_path / "run")).newest_state()
    assert newest is not None and newest.batch == 2
    assert train(make_config(), service_client=server).status == "completed"


def test_training_starts_from_another_runs_weights_with_a_fresh_optimizer(make_config, tmp_path):
    server = FakeServiceClient()
    train(make_config(log_path=tmp_path / "sft"), service_client=server)
    journal = tmp_path / "sft" / "checkpoints.jsonl"
    second = make_config(log_path=tmp_path / "second", load_checkpoint_path=journal)
    train(second, service_client=server)
    created = [call.call for call in server.calls if call.call.startswith("create_training")]
    assert created == ["create_training_client_from_state"], "weights only: no optimizer is loaded"
    origin = json.loads((tmp_path / "second" / "origin.json").read_text())
    final = load_checkpoints(tmp_path / "sft")[-1].state_path
    assert origin == {"given": str(journal), "resolved": final}
    # The same script after a crash or with more steps resumes its own run.
    train(second.model_copy(update={"max_steps": 7}), service_client=server)
    assert read_rows(tmp_path / "second" / "metrics.jsonl")[-1]["step"] == 6
    with pytest.raises(CheckpointConflict):
        train(make_config(log_path=tmp_path / "second", load_checkpoint_path=final), service_client=server)


def test_state_that_is_gone_is_an_error_that_names_a_sampler_of_that_name(make_config, tmp_path):
    server = FakeServiceClient()
    train(make_config(log_path=tmp_path / "sft"), service_client=server)
    run_id = json.loads((tmp_path / "sft" / "server_runs.jsonl").read_text())["server_run"]
    config = make_config(load_checkpoint_path=f"tinker://{run_id}/000003")
    with pytest.raises(CheckpointNotFound, match=f"sampler weights tinker://{run_id}/sampler_weights/000003"):
        train_on_fake(server, config)


@pytest.mark.parametrize("change", [{"tutor_model_name": "large", "teacher_model_name": "large"}, {"lora_rank": 8}])
def test_state_of_another_base_model_or_rank_is_refused(make_config, tmp_path, change):
    server = FakeServiceClient()
    train(make_config(log_path=tmp_path / "first"), service_client=server)
    with pytest.raises(ModelMismatch, match="'small' with LoRA rank 32"):
        train(make_config(load_checkpoint_path=tmp_path / "first", **change), service_client=server)
    assert not (tmp_path / "run" / "config.json").exists(), "a refused start writes nothing"


def test_first_lora_takes_the_runs_seed_and_rank(make_config):
    server = FakeServiceClient()
    train(make_config(seed=5, lora_rank=8, max_steps=1), service_client=server)
    (created,) = [call for call in server.calls if call.call == "create_lora_training_client"]
    assert created.arguments["seed"] == 5 and created.arguments["rank"] == 8


def test_failed_dialogue_is_recorded_and_left_out(make_config, tmp_path):
    fault = Fault(call="sample", nth=5, error=500)
    config = make_config(max_steps=1, max_failed_fraction=0.5)
    train(config, service_client=FakeServiceClient(faults=[fault]))
    rows = read_rows(tmp_path / "run" / "dialogues.jsonl")
    failed = [row for row in rows if row["ending"] == "failed"]
    assert len(failed) == 1 and "InternalServerError" in failed[0]["error"]
    (metrics,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert (metrics["end/failed"], metrics["datums"]) == (1, 5)


def test_run_stops_past_the_failed_share_and_keeps_its_state(make_config, tmp_path):
    server = tmp_path / "server"
    train(make_config(log_path=tmp_path / "shorter", max_steps=3), service_client=(shorter := FakeServiceClient()))
    first = shorter.count("sample") + 3 + 1  # the first tutor turn of step 3, whose three openings come before
    faults = [Fault(call="sample", nth=nth, error=500) for nth in range(first, first + 4)]
    with pytest.raises(RolloutError, match=r"4 of 6 dialogues failed, more than max_failed_fraction=0\.2"):
        train(make_config(), service_client=FakeServiceClient(server, faults=faults))
    newest = Journal.of(load_checkpoints(tmp_path / "run")).newest_state()
    assert newest is not None and newest.batch == 3, "a state of the batches that were done is saved first"
    assert train(make_config(), service_client=FakeServiceClient(server)).status == "completed"


def test_dialogue_without_room_ends_before_the_turn_and_says_so(make_config, tmp_path):
    train(make_config(max_steps=1, max_turns=20), service_client=(server := FakeServiceClient()))
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert row["end/context"] == 0
    longest = max(call.arguments.get("prompt_tokens", 0) for call in server.calls if call.call == "sample")
    config = make_config(log_path=tmp_path / "short", max_steps=1, max_turns=20, max_context_tokens=longest // 2)
    train(config, service_client=FakeServiceClient())
    (row,) = read_rows(tmp_path / "short" / "metrics.jsonl")
    assert row["end/context"] > 0 and row["end/failed"] == 0


def test_context_is_the_services_smallest(make_config, tmp_path):
    server = FakeServiceClient(max_context_length=300)
    train_on_fake(server, make_config(max_steps=1, max_turns=20))
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert row["end/context"] == row["dialogues"] == 6
    assert 0 < row["turns/tutor"] < 6 * 20


def test_a_context_without_room_for_a_turn_is_refused_before_sampling(make_config, tmp_path):
    server = FakeServiceClient(max_context_length=20)
    with pytest.raises(ConfigError, match="the smallest context holds 20"):
        train_on_fake(server, make_config(max_steps=1))
    assert server.count("sample") == 0 and not (tmp_path / "run" / "metrics.jsonl").exists()


def test_empty_batch_is_a_step_without_an_update(make_config, tmp_path):
    server = FakeServiceClient()
    config = make_config(max_steps=2, save_every=1, skip_first_tokens=99)  # more than a reply has
    train_on_fake(server, config)
    assert server.count("optim_step") == 0
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [(row["version"], row["datums"]) for row in rows] == [(0, 0), (0, 0)]
    assert [one.name for one in load_checkpoints(tmp_path / "run") if one.state_path] == ["000001", "final"]


def test_tempered_sampling_is_scored_again_at_temperature_one(make_config, tmp_path):
    train(make_config(max_steps=1, temperature=1.5), service_client=(server := FakeServiceClient()))
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert row["datums"] > 0 and count_scored(server.calls) == 2 * row["datums"]
    assert row["drift/max"] < 1e-5


def test_teacher_of_another_vocabulary_is_refused_before_any_sampling(make_config, monkeypatch):
    class SwappedTokenizer(ToyTokenizer):
        def get_vocab(self):
            vocabulary = dict(super().get_vocab())
            first, second = list(vocabulary)[:2]
            vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
            return vocabulary

    right = FakeSamplingClient.get_tokenizer
    monkeypatch.setattr(
        FakeSamplingClient,
        "get_tokenizer",
        lambda self: SwappedTokenizer() if self.get_base_model() == "foreign" else right(self),
    )
    server = FakeServiceClient()
    with pytest.raises(RenderingError, match="2 tokens of the tutor 'small' mean something else"):
        train(make_config(teacher_model_name="foreign"), service_client=server)
    assert server.count("sample") == server.count("save_weights_for_sampler") == 0


def test_second_process_on_a_log_path_is_refused_with_the_firsts_pid(make_config, tmp_path):
    import os

    with RunDirectory(tmp_path / "run"), pytest.raises(RunLocked, match=f"process {os.getpid()} on"):
        train(make_config(), service_client=FakeServiceClient())


def test_refused_start_leaves_the_directory_as_it_was(make_config, tmp_path):
    server = FakeServiceClient()
    train(make_config(), service_client=server)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with pytest.raises(CheckpointConflict):
        train(make_config(load_checkpoint_path="tinker://x/weights/1"), service_client=server)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before


async def test_train_inside_a_running_loop_names_the_way_out(make_config):
    with pytest.raises(EventLoopRunning, match="await train_async"):
        train(make_config(), service_client=FakeServiceClient())


async def test_train_async_runs_on_the_given_loop(make_config):
    result = await train_async(make_config(max_steps=1), service_client=FakeServiceClient())
    assert result.status == "completed"


async def test_cancelled_run_can_be_resumed(make_config, tmp_path):
    server = tmp_path / "server"
    task = asyncio.create_task(train_async(make_config(), service_client=FakeServiceClient(server)))
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    result = await train_async(make_config(), service_client=FakeServiceClient(server))
    assert result.status == "completed"


def test_journal_of_the_cookbook_resumes(make_config, tmp_path):
    server = FakeServiceClient()
    train(make_config(log_path=tmp_path / "first", max_steps=4), service_client=server)
    state = next(one for one in load_checkpoints(tmp_path / "first") if one.state_path)
    (tmp_path / "run").mkdir()
    line = {"name": "000002", "batch": 2, "epoch": 0, "state_path": state.state_path, "sampler_path": None}
    line = {key: value for key, value in line.items() if value is not None}
    write_rows(tmp_path / "run" / "checkpoints.jsonl", line)
    train(make_config(max_steps=4), service_client=server)
    assert [row["step"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")] == [2, 3]


def test_lost_journal_with_metrics_is_never_a_fresh_start(make_config, tmp_path):
    from socratic_distill import JournalError

    server = FakeServiceClient()
    train(make_config(), service_client=server)
    (tmp_path / "run" / "checkpoints.jsonl").unlink()
    with pytest.raises(JournalError):
        train(make_config(), service_client=server)


def test_moved_run_directory_resumes(make_config, tmp_path):
    server = FakeServiceClient()
    train(make_config(max_steps=2), service_client=server)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    result = train(make_config(log_path=tmp_path / "moved", max_steps=3), service_client=server)
    assert result.steps == 3 and len(read_rows(tmp_path / "moved" / "metrics.jsonl")) == 3


def test_evaluation_repeats_exactly_and_measures_trained_weights(make_config):
    server = FakeServiceClient()
    config = make_config(max_steps=15, groups_per_batch=4, num_envs=4)
    before = evaluate(config, "base", service_client=server)
    assert evaluate(config, "base", service_client=server).measures == before.measures
    train(config, service_client=server)
    after = evaluate(config, service_client=server)
    assert (after.value("teacher_kl") or 0.0) < (before.value("teacher_kl") or 0.0)
    assert len(after.dialogues) == 6


def test_record_without_version_counts_a_step_a_batch(make_config, tmp_path):
    server = FakeServiceClient()
    train(make_config(log_path=tmp_path / "first", max_steps=2), service_client=server)
    state_path = load_checkpoints(tmp_path / "first")[-1].state_path
    CheckpointManager(_made(tmp_path / "run")).append(CheckpointRecord(name="x", batch=2, state_path=state_path))
    train(make_config(max_steps=3), service_client=server)
    assert read_rows(tmp_path / "run" / "metrics.jsonl")[0]["version"] == 2


def _made(path):
    path.mkdir()
    return path


@pytest.mark.parametrize("loss_fn", ["ppo", "cispo", "gspo", "dro"])
def test_every_loss_lowers_teacher_kl(make_config, tmp_path, loss_fn):
    config = make_config(loss_fn=loss_fn, kl_discount_factor=0.3, max_steps=20, groups_per_batch=4)
    train(config, service_client=FakeServiceClient())
    kl = [row["teacher_kl"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")]
    assert sum(kl[-4:]) < 0.8 * sum(kl[:4]), f"teacher_kl went from {kl[:4]} to {kl[-4:]}"
