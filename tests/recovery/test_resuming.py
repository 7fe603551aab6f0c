"""Which state a run goes on from, and when it refuses to: expiry, deletion, drift, what a refusal leaves behind."""

import json
import shutil
from pathlib import Path

import pytest
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import read_rows, rows_of_run, write_rows
from tests.support.run_directories import states_by_batch

from socratic_distill import ConfigDrift, ConfigError, NoUsableCheckpoint, load_checkpoints, train
from socratic_distill.testing import FakeRestClient, FakeServiceClient

pytestmark = pytest.mark.thinned

DAY = 24 * 3600.0


class Clock:
    """The service's time, and by how much this machine's is ahead of it."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        import time

        return time.time() + self.seconds


def contents(directory: Path):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


@pytest.fixture
def whole_rows(whole_run):
    return rows_of_run(whole_run(max_steps=8))


def test_deleted_state_is_passed_over_for_an_older_one_with_a_warning(make_config, tmp_path, whole_rows, caplog):
    service = FakeServiceClient()
    train_on_fake(service, make_config(max_steps=6))
    for batch in (6, 4):
        FakeRestClient(service).delete_checkpoint_from_tinker_path(states_by_batch(tmp_path / "run")[batch]).result()
    train_on_fake(service, make_config(max_steps=8))
    assert "Resuming at batch 2: 4 batches will be repeated" in caplog.text
    assert "is gone from the service" in caplog.text
    assert rows_of_run(tmp_path / "run") == whole_rows
    asked = [call.arguments["path"] for call in service.calls if call.call == "get_weights_info_by_tinker_path"]
    assert len(asked) == 3, "one cheap call a candidate"


def test_expired_state_is_passed_over_without_asking(make_config, tmp_path, whole_rows, caplog):
    service = FakeServiceClient()
    train_on_fake(service, make_config(max_steps=6))
    journal = tmp_path / "run" / "checkpoints.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        if line.get("state_path") and line["batch"] > 2:
            line["expires_at"] = "2020-01-01T00:00:00+00:00"
    write_rows(journal, *lines)
    train_on_fake(service, make_config(max_steps=8))
    assert "expired at 2020-01-01 00:00 UTC. Resuming at batch 2: 4 batches will be repeated" in caplog.text
    assert service.count("get_weights_info_by_tinker_path") == 1
    assert rows_of_run(tmp_path / "run") == whole_rows


def test_run_whose_states_are_all_gone_names_each_and_why(make_config, tmp_path):
    service = FakeServiceClient()
    train_on_fake(service, make_config(max_steps=6))
    for path in states_by_batch(tmp_path / "run").values():
        FakeRestClient(service).delete_checkpoint_from_tinker_path(path).result()
    before = contents(tmp_path / "run")
    with pytest.raises(NoUsableCheckpoint) as refused:
        train_on_fake(service, make_config(max_steps=8))
    for path in states_by_batch(tmp_path / "run").values():
        assert f"{path}: is gone from the service" in str(refused.value)
    assert contents(tmp_path / "run") == before


def test_state_that_cannot_be_asked_for_is_found_gone_when_it_is_loaded(make_config, tmp_path, whole_rows):
    """Without a REST client nobody can be asked; loading tells."""
    service = FakeServiceClient()
    train_on_fake(service, make_config(max_steps=6))
    FakeRestClient(service).delete_checkpoint_from_tinker_path(states_by_batch(tmp_path / "run")[6]).result()
    train(make_config(max_steps=8), service_client=service)
    assert rows_of_run(tmp_path / "run") == whole_rows


def test_states_expire_as_configured_and_the_last_ones_never(make_config, tmp_path):
    clock = Clock()
    service = FakeServiceClient(now=clock)
    train_on_fake(service, make_config(rolling_save_every=1))
    records = load_checkpoints(tmp_path / "run")
    kept = {record.kind: record for record in records if record.paths}
    for kind, seconds in (("sampler", 7 * DAY), ("periodic", 7 * DAY), ("rolling", DAY / 12)):
        created, expires = kept[kind].created_at, kept[kind].expires_at
        assert created is not None and expires is not None and (expires - created).total_seconds() == seconds
    assert kept["final"].expires_at is None
    clock.seconds = 3650 * DAY
    listed = FakeRestClient(service).list_user_checkpoints().result().checkpoints
    final = records[-1] if records[-1].paths else next(one for one in reversed(records) if one.final)
    assert {one.tinker_path for one in listed} == set(final.paths)


@pytest.mark.parametrize("field", ["sampler_ttl_seconds", "periodic_ttl_seconds", "rolling_ttl_seconds"])
@pytest.mark.parametrize("seconds", [3599, 10 * 365 * 24 * 3600 + 1, 0, -1])
def test_lifetime_outside_the_services_range_is_refused(make_config, field, seconds):
    with pytest.raises(ConfigError, match=f"{field}={seconds}"):
        make_config(**{field: seconds})


DRIFT = [
    ({"student_model_name": "other"}, "student_model_name"),
    ({"groups_per_batch": 2}, "groups_per_batch"),
    ({"seed": 7}, "seed"),
    ({"lora_rank": 8}, "lora_rank"),
    ({"kl_penalty_coef": 0.5}, "kl_penalty_coef"),
    ({"seeds_limit": 4}, "seeds"),
]


@pytest.mark.parametrize(("change", "field"), DRIFT)
def test_config_of_another_meaning_is_refused_and_nothing_is_written(make_config, tmp_path, change, field):
    service = FakeServiceClient()
    train_on_fake(service, make_config())
    before, calls = contents(tmp_path / "run"), len(service.calls)
    with pytest.raises(ConfigDrift, match=rf"(?m)^\s+{field}\s") as refused:
        train_on_fake(service, make_config(max_steps=8, **change))
    assert "take another log_path" in str(refused.value) and f"allow_config_changes=['{field}']" in str(refused.value)
    assert contents(tmp_path / "run") == before and len(service.calls) == calls


def test_named_change_is_let_through_and_becomes_the_runs_meaning(make_config, tmp_path):
    service = FakeServiceClient()
    train_on_fake(service, make_config())
    train_on_fake(service, make_config(max_steps=7, num_envs=1, allow_config_changes=["num_envs"]))
    assert read_rows(tmp_path / "run" / "metrics.jsonl")[-1]["dialogues"] == 3
    train_on_fake(service, make_config(max_steps=8, num_envs=1))
    with pytest.raises(ConfigDrift):
        train_on_fake(service, make_config(max_steps=9, num_envs=2))


def test_seeds_are_compared_by_content(make_config, tmp_path, seeds_file):
    service = FakeServiceClient()
    train_on_fake(service, make_config())
    moved = Path(shutil.copy(seeds_file, tmp_path / "moved.jsonl"))
    train_on_fake(service, make_config(max_steps=7, seeds_file=moved))
    moved.write_text(moved.read_text().replace("apples", "pears"))
    with pytest.raises(ConfigDrift, match="seeds"):
        train_on_fake(service, make_config(max_steps=8, seeds_file=moved))


def test_alias_of_the_same_model_is_no_drift(make_config):
    service = FakeServiceClient()
    train_on_fake(service, make_config(student_model_name="Qwen3-8B"))
    again = train_on_fake(service, make_config(student_model_name="Qwen/Qwen3-8B", max_steps=7))
    assert again.status == "completed"


def test_fields_that_may_change_pass_and_are_logged(make_config, tmp_path, caplog):
    caplog.set_level("INFO")
    service = FakeServiceClient()
    train_on_fake(service, make_config())
    changes = dict(learning_rate=0.2, save_every=3, max_concurrent_dialogues=2, display="plain", max_steps=7)
    train_on_fake(service, make_config(**changes))
    for field, now in changes.items():
        assert any(f"{field} was" in line and str(now) in line for line in caplog.messages), field


def test_config_digest_stands_in_every_record_and_on_the_service(make_config, tmp_path):
    service = FakeServiceClient()
    train_on_fake(service, make_config())
    (digest,) = {record.config_digest for record in load_checkpoints(tmp_path / "run")}
    listed = FakeRestClient(service).list_user_checkpoints().result().checkpoints
    facts = [one.user_metadata or {} for one in listed]
    run_id = json.loads((tmp_path / "run" / "run.json").read_text())["run_id"]
    assert {(one["run_id"], one["config_digest"]) for one in facts} == {(run_id, digest)}


def test_journal_with_a_torn_line_and_others_that_are_no_records_resumes(make_config, tmp_path, whole_rows, caplog):
    service = FakeServiceClient()
    train_on_fake(service, make_config(max_steps=4))
    journal = tmp_path / "run" / "checkpoints.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:2], "", "null", '{"batch": 3}', *lines[2:], lines[-1][:40]]))
    train_on_fake(service, make_config(max_steps=8))
    assert rows_of_run(tmp_path / "run") == whole_rows
    damaged = (tmp_path / "run" / "checkpoints.jsonl.damaged").read_text().splitlines()
    assert damaged == ["null", '{"batch": 3}', lines[-1][:40]]
    assert "line 4 (byte " in caplog.text
    assert all(json.loads(line)["name"] for line in journal.read_text().splitlines())


def test_no_name_is_used_twice_in_a_server_run(make_config, tmp_path):
    service = FakeServiceClient()
    train_on_fake(service, make_config(max_steps=6))
    FakeRestClient(service).delete_checkpoint_from_tinker_path(states_by_batch(tmp_path / "run")[6]).result()
    train_on_fake(service, make_config(max_steps=8))
    saves = [
        (call.server_run, call.call, call.arguments["name"]) for call in service.calls if call.call.startswith("save")
    ]
    assert len(saves) == len(set(saves))
