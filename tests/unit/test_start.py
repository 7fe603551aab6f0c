import json
import logging

import pytest

from socratic_distill import (
    CheckpointConflict,
    CheckpointManager,
    CheckpointNotFound,
    CheckpointRecord,
    FreshStart,
    JournalError,
    LoadCheckpoint,
    Resume,
    StartError,
    resolve_start,
)
from socratic_distill.checkpoints import Journal
from socratic_distill.start import Origin, decide_start, resolve_state_path

STATE = CheckpointRecord(name="000020", batch=20, state_path="tinker://run/weights/000020")
NEWER = CheckpointRecord(name="000040", batch=40, state_path="tinker://run/weights/000040")
SAMPLER = CheckpointRecord(name="000041", batch=41, sampler_path="tinker://run/sampler_weights/000041")
SFT = "tinker://sft/weights/000100"
RESUME = Resume("tinker://run/weights/000040", 40, NEWER)


@pytest.mark.parametrize(
    ("records", "history", "origin", "wanted", "expected"),
    [
        ([STATE, NEWER, SAMPLER], True, Origin(), None, RESUME),
        ([NEWER, STATE], True, Origin(), None, RESUME),
        ([], False, None, None, FreshStart()),
        ([SAMPLER], True, Origin(), None, FreshStart()),
        ([], False, None, SFT, LoadCheckpoint(SFT)),
        ([SAMPLER], True, Origin(SFT, SFT), SFT, LoadCheckpoint(SFT)),
        ([NEWER], True, Origin(SFT, SFT), SFT, RESUME),
        ([NEWER], True, Origin(SFT, SFT), None, RESUME),
        ([NEWER], True, None, SFT, RESUME),
        ([NEWER], True, None, None, RESUME),
    ],
)
def test_start_follows_the_table(records, history, origin, wanted, expected):
    assert decide_start(Journal(tuple(records)), history, origin, wanted, "run") == expected


@pytest.mark.parametrize("origin", [Origin(), Origin("tinker://other/weights/1", "tinker://other/weights/1")])
def test_start_refuses_another_checkpoint_and_names_both_and_the_ways_out(origin):
    with pytest.raises(CheckpointConflict) as caught:
        decide_start(Journal((NEWER,)), True, origin, SFT, "run-001")
    message = str(caught.value)
    assert SFT in message and (origin.given or "fresh LoRA") in message
    assert "to resume that run" in message and "another log_path" in message


@pytest.mark.parametrize("wanted", [None, SFT])
@pytest.mark.parametrize("journal", [Journal(()), Journal((), bad_lines=3), Journal((SAMPLER,), bad_lines=1)], ids=str)
def test_start_never_begins_fresh_over_a_lost_journal(journal, wanted):
    with pytest.raises(JournalError, match="the run has metrics"):
        decide_start(journal, True, Origin(), wanted, "run")


def test_start_of_unknown_origin_resumes_with_a_warning(caplog):
    decide_start(Journal((NEWER,)), True, None, SFT, "run")
    assert SFT in caplog.text


@pytest.mark.parametrize("wanted", [None, SFT])
def test_state_without_batch_is_not_resumed_from_and_never_passed_over(wanted):
    odd = CheckpointRecord(name="x", state_path="tinker://run/weights/x")
    with pytest.raises(StartError, match="tinker://run/weights/x"):
        decide_start(Journal((odd,)), True, None, wanted, "run")


def test_run_that_died_before_its_first_state_begins_from_the_same_state_again(tmp_path):
    sft = tmp_path / "sft" / "checkpoints.jsonl"
    sft.parent.mkdir()
    CheckpointManager(sft).append(STATE)
    run = tmp_path / "run"
    run.mkdir()
    assert resolve_start(run, sft) == LoadCheckpoint(STATE.state_path or "")
    (run / "origin.json").write_text(json.dumps({"given": str(sft), "resolved": STATE.state_path}))
    CheckpointManager(sft).append(NEWER)
    assert resolve_start(run, sft) == LoadCheckpoint(STATE.state_path or "")
    assert resolve_start(tmp_path / "other", sft) == LoadCheckpoint(NEWER.state_path or "")


def test_resolve_start_reads_the_run_directory_and_changes_nothing(tmp_path):
    run = tmp_path / "run"
    assert resolve_start(run) == FreshStart()
    assert not run.exists()
    run.mkdir()
    CheckpointManager(run).append(NEWER)
    (run / "origin.json").write_text(json.dumps({"given": SFT, "resolved": SFT}))
    before = {path: path.read_bytes() for path in run.iterdir()}
    assert resolve_start(run) == RESUME
    assert resolve_start(str(run), SFT) == RESUME
    with pytest.raises(CheckpointConflict):
        resolve_start(run, "tinker://x/weights/1")
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_state_path_takes_every_documented_form(tmp_path, caplog):
    journal = tmp_path / "sft" / "checkpoints.jsonl"
    journal.parent.mkdir()
    for one in (NEWER, STATE):
        CheckpointManager(journal).append(one)
    weights = tmp_path / "store" / "local-0001" / "weights" / "000020"
    weights.mkdir(parents=True)
    (weights / "state.json").write_text("{}")
    assert resolve_state_path("tinker://a:train:0/weights/000100") == "tinker://a:train:0/weights/000100"
    with caplog.at_level(logging.INFO):
        assert resolve_state_path("tinker://a:train:0/000100") == "tinker://a:train:0/weights/000100"
    assert "tinker://a:train:0/weights/000100" in caplog.text
    assert resolve_state_path(str(journal)) == NEWER.state_path
    assert resolve_state_path(str(journal.parent)) == NEWER.state_path
    assert resolve_state_path(f"{journal}#000020") == STATE.state_path
    assert resolve_state_path(str(weights)) == str(weights)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tinker://run/sampler_weights/000020", "tinker://run/weights/000020"),
        ("tinker://run/external_weights/000020", "external_weights"),
        ("tinker://run", "expected tinker://<server run>/weights/<name>"),
        ("tinker://a/b/c/d", "expected tinker://<server run>/weights/<name>"),
        ("no/such/place", "is none of"),
        ("no/such/checkpoints.jsonl", "there is no file"),
    ],
)
def test_state_path_that_leads_nowhere_is_refused(given, said):
    with pytest.raises(CheckpointNotFound, match=said):
        resolve_state_path(given)


def test_state_path_of_a_journal_without_that_name_is_refused(tmp_path):
    CheckpointManager(tmp_path).append(SAMPLER)
    with pytest.raises(CheckpointNotFound, match="no record with a state"):
        resolve_state_path(str(tmp_path))
    with pytest.raises(CheckpointNotFound, match="no state named '7'"):
        resolve_state_path(f"{tmp_path}/checkpoints.jsonl#7")


def test_local_sampler_weights_are_refused_with_the_state_of_the_same_name(tmp_path):
    sampler, state = tmp_path / "r" / "sampler_weights" / "7", tmp_path / "r" / "weights" / "7"
    sampler.mkdir(parents=True)
    with pytest.raises(CheckpointNotFound, match="No state of that name"):
        resolve_state_path(str(sampler))
    state.mkdir(parents=True)
    with pytest.raises(CheckpointNotFound, match=str(state)):
        resolve_state_path(str(sampler))
