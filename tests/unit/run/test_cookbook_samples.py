"""What is read from journals that tinker-cookbook wrote; `make test-interop` holds the samples against the package."""

import logging
import shutil
from pathlib import Path

import pytest

from socratic_distill import CheckpointManager, NoUsableCheckpoint, Resume, load_checkpoints, resolve_start
from socratic_distill.run.journal import Journal
from socratic_distill.run.journal_lines import bad_lines
from socratic_distill.run.state_paths import resolve_state_path

SAMPLES = Path(__file__).parents[2] / "data_samples" / "cookbook"
STATES = "tinker://fake-0001:train:0/weights/"
SAMPLERS = "tinker://fake-0001:train:0/sampler_weights/"


@pytest.fixture
def run_of(tmp_path: Path):
    """A run directory that holds one of the samples."""

    def make(name: str) -> Path:
        shutil.copy(SAMPLES / f"{name}.jsonl", tmp_path / "checkpoints.jsonl")
        return tmp_path

    return make


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_every_line_is_a_record_and_keeps_what_it_said(path, caplog):
    with caplog.at_level(logging.WARNING):
        records = load_checkpoints(path)
    assert not caplog.records
    assert len(records) == len(path.read_text().splitlines()) > 0
    # None of the keys that say what a run of ours does with a record was made up.
    for one in records:
        assert (one.kind, one.version, one.created_at, one.expires_at, one.config_digest) == (None,) * 5
        assert (one.adopted, one.resumed_at, one.deleted_path) == (None,) * 3
    assert not any(superseded for _, superseded in Journal.read(path).lineage())


def test_periodic_rolling_and_final_records(run_of):
    records = load_checkpoints(run_of("reinforced"))
    assert [(one.name, one.batch) for one in records] == [
        ("000000", 0), ("000001", 1), ("000002", 2), ("000003", 3), ("000004", 4), ("000005", 5), ("000006", 6),
        ("final", 6),
    ]  # fmt: skip
    assert [one.state_path for one in records] == [STATES + one.name for one in records]
    has_sampler = {"000000", "000004", "final"}
    assert [one.sampler_path for one in records] == [
        SAMPLERS + one.name if one.name in has_sampler else None for one in records
    ]
    rolling = [one.name for one in records if (one.model_extra or {}).get("rolling") is True]
    assert rolling == ["000001", "000002", "000003", "000005", "000006"]
    assert all(one.final is None and one.epoch is None for one in records)


def test_the_loops_keys_are_kept_and_not_mistaken_for_ours(run_of):
    first, second, last = load_checkpoints(run_of("extra_keys"))
    assert first.model_extra == {"best": {"batch": 9, "kl": [0.25, 1e-9]}, "note": "Prüfung ✓"}
    assert (first.batch, second.batch, last.batch) == (1, 2, 2)
    assert (second.kind, second.version, second.created_at) == (None, None, None)
    assert last.final is True


def test_epochs_and_the_counts_beside_them(run_of):
    records = load_checkpoints(run_of("supervised"))
    assert [(one.name, one.epoch, one.batch) for one in records] == [
        ("000002", 0, 2), ("000004", 0, 4), ("000006", 1, 1), ("000008", 1, 3), ("final", 2, 0)
    ]  # fmt: skip
    assert [(one.model_extra or {})["elapsed_tokens"] for one in records] == [300, 500, 700, 900, 1000]


@pytest.mark.parametrize(
    ("name", "state", "batch"),
    [
        ("reinforced", "final", 6),  # of the two states of batch 6 the later one, not the rolling one, which is gone
        ("cut_off", "000006", 6),
        ("extra_keys", "final", 2),
        ("late", "000005", 5),  # by batch; the cookbook takes the last line and repeats a batch
    ],
)
def test_run_goes_on_from_the_newest_state(run_of, name, state, batch):
    start = resolve_start(run_of(name))
    assert isinstance(start, Resume)
    assert (start.state_path, start.batch, start.record.name) == (STATES + state, batch, state)


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ("reinforced", "final"),
        ("reinforced#000004", "000004"),
        ("cut_off", "000006"),
        ("extra_keys", "final"),
        ("steps_alone", "final"),
        ("steps_alone#000005", "000005"),
        ("supervised", "final"),  # of batch 0, but of epoch 2: `batch` alone would lead into the middle of epoch 0
        ("supervised#000006", "000006"),
    ],
)
def test_another_run_begins_from_a_state_of_the_cookbooks(run_of, given, state):
    name, _, wanted = given.partition("#")
    path = f"{run_of(name)}#{wanted}" if wanted else str(run_of(name))
    assert resolve_state_path(path) == STATES + state


def test_newest_state_of_several_epochs_is_the_last_one(run_of):
    newest = Journal.read(run_of("supervised") / "checkpoints.jsonl").newest_state()
    assert newest is not None and newest.state_path == STATES + "final"


def test_states_without_a_batch_are_named_rather_than_passed_over(run_of):
    with pytest.raises(NoUsableCheckpoint, match=r"weights/000005: does not say which batch comes next") as refused:
        resolve_start(run_of("steps_alone"))
    assert STATES + "final" in str(refused.value)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_its_lines_are_all_records(path):
    assert list(bad_lines(Journal.read(path).data)) == []


def test_a_finished_run_of_the_cookbook_has_a_final_record(run_of):
    (final,) = Journal.read(run_of("extra_keys") / "checkpoints.jsonl").finals(2)
    assert (final.state_path, final.sampler_path) == (STATES + "final", SAMPLERS + "final")


@pytest.mark.parametrize("name", ["reinforced", "cut_off", "late", "extra_keys"])
def test_going_on_leaves_the_cookbooks_lines_as_they_are(run_of, name):
    directory = run_of(name)
    journal = directory / "checkpoints.jsonl"
    before = journal.read_bytes()
    start = resolve_start(directory)
    assert isinstance(start, Resume)
    CheckpointManager(directory).mark_resumed(start.batch, start.record)
    assert journal.read_bytes().startswith(before)
    again = resolve_start(directory)
    assert isinstance(again, Resume) and (again.state_path, again.batch) == (start.state_path, start.batch)
    assert not journal.with_name("checkpoints.jsonl.damaged").exists()
