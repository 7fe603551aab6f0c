import logging
from pathlib import Path

import pytest

from socratic_distill import CheckpointManager, CheckpointNotFound, CheckpointRecord
from socratic_distill.run.state_paths import resolve_state_path


def state(batch: int | None, name: str | None = None, **more) -> CheckpointRecord:
    name = name or f"{batch:06d}"
    return CheckpointRecord(name=name, batch=batch, state_path=f"tinker://sft/weights/{name}", **more)


def journal_of(directory: Path, *records: CheckpointRecord) -> Path:
    """A journal as another tool leaves it: line by line, nothing added."""
    directory.mkdir(exist_ok=True)
    path = directory / "checkpoints.jsonl"
    path.write_text("".join(record.to_line() for record in records))
    return path


SAMPLER = CheckpointRecord(name="000050", batch=50, sampler_path="tinker://sft/sampler_weights/000050")


@pytest.mark.parametrize(
    "given", ["tinker://a:train:0/weights/000100", "tinker://a/weights/final", "tinker://a/weights/x.y-2"]
)
def test_full_path_is_taken_as_it_is(given, caplog):
    with caplog.at_level(logging.INFO):
        assert resolve_state_path(given) == given
    assert not caplog.records


def test_short_path_is_read_as_weights_and_the_full_one_is_logged(caplog):
    with caplog.at_level(logging.INFO):
        assert resolve_state_path("tinker://a:train:0/000100") == "tinker://a:train:0/weights/000100"
    assert "tinker://a:train:0/weights/000100" in caplog.text


def test_sampler_weights_are_refused_with_the_state_of_the_same_name():
    with pytest.raises(CheckpointNotFound, match=r"sampler weights.*tinker://run/weights/000020"):
        resolve_state_path("tinker://run/sampler_weights/000020")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tinker://run/external_weights/000020", "external_weights"),
        ("tinker://run", "expected tinker://<server run>/weights/<name>"),
        ("tinker://", "expected tinker://<server run>/weights/<name>"),
        ("tinker:///weights/000020", "expected tinker://<server run>/weights/<name>"),
        ("tinker://run/weights/", "expected tinker://<server run>/weights/<name>"),
        ("tinker://run/weights/000020/", "expected tinker://<server run>/weights/<name>"),
        ("tinker://run/weights/000020#x", "expected tinker://<server run>/weights/<name>"),
        ("tinker://a/b/c/d", "expected tinker://<server run>/weights/<name>"),
        ("https://run/weights/000020", "is none of"),
        ("no/such/place", "is none of"),
        ("no/such/place#000020", "is none of"),
        ("no/such/checkpoints.jsonl", "there is no file"),
        ("no/such/checkpoints.jsonl#000020", "there is no file"),
    ],
)
def test_path_that_leads_nowhere_is_refused_with_what_was_given(given, said):
    with pytest.raises(CheckpointNotFound) as caught:
        resolve_state_path(given)
    assert said in str(caught.value) and given.partition("#")[0] in str(caught.value)


def test_journal_or_its_directory_means_its_newest_state(tmp_path):
    path = journal_of(tmp_path / "sft", state(20), state(40), state(30), SAMPLER)
    for given in (str(path), str(path.parent), f"{path.parent}/"):
        assert resolve_state_path(given) == state(40).state_path


def test_journal_that_our_own_run_wrote_is_read_as_well(tmp_path):
    manager = CheckpointManager(tmp_path)
    for record in (state(20), state(40)):
        manager.append(record)
    manager.mark_resumed(20, state(20))
    assert resolve_state_path(str(tmp_path)) == state(20).state_path


def test_name_behind_the_journal_takes_that_state_and_of_two_the_later(tmp_path):
    path = journal_of(tmp_path / "sft", state(20), state(40), state(20, name="final"))
    assert resolve_state_path(f"{path}#000020") == state(20).state_path
    assert resolve_state_path(f"{path.parent}#final") == state(20, name="final").state_path
    again = state(40, name="x").model_copy(update={"name": "000020"})
    path = journal_of(tmp_path / "sft", state(20), again)
    assert resolve_state_path(f"{path}#000020") == again.state_path


def test_journal_of_states_without_a_batch_means_its_last_line(tmp_path):
    path = journal_of(tmp_path, state(None, name="a"), state(None, name="b"), SAMPLER)
    assert resolve_state_path(str(path)) == "tinker://sft/weights/b"
    assert resolve_state_path(f"{path}#a") == "tinker://sft/weights/a"


def test_superseded_state_is_taken_where_it_is_named_alone(tmp_path):
    went_back = state(20, resumed_at="2026-01-01T00:00:00Z")
    path = journal_of(tmp_path, state(20), state(40), went_back)
    assert resolve_state_path(str(path)) == state(20).state_path
    assert resolve_state_path(f"{path}#000040") == state(40).state_path


@pytest.mark.parametrize("name", ["", "#000040"])
def test_deleted_state_is_not_taken(tmp_path, name):
    gone = CheckpointRecord(name="000040", deleted_path=state(40).state_path)
    path = journal_of(tmp_path, state(40), gone)
    with pytest.raises(CheckpointNotFound, match=r"checkpoints\.jsonl"):
        resolve_state_path(f"{path}{name}")


def test_journal_without_such_a_state_is_refused(tmp_path):
    path = journal_of(tmp_path, SAMPLER)
    with pytest.raises(CheckpointNotFound, match="no record with a state"):
        resolve_state_path(str(tmp_path))
    with pytest.raises(CheckpointNotFound, match="no state named '000050'"):
        resolve_state_path(f"{path}#000050")


def local_store(directory: Path) -> tuple[Path, Path]:
    """A state and sampler weights of one name, as the local engine lays them out."""
    state_directory, sampler_directory = (directory / "r" / kind / "7" for kind in ("weights", "sampler_weights"))
    sampler_directory.mkdir(parents=True)
    state_directory.mkdir(parents=True)
    (state_directory / "state.json").write_text("{}")
    return state_directory, sampler_directory


def test_local_weights_directory_is_taken_by_its_full_path(tmp_path, monkeypatch):
    weights, _ = local_store(tmp_path)
    assert resolve_state_path(str(weights)) == str(weights.resolve())
    monkeypatch.chdir(tmp_path)
    assert resolve_state_path("r/weights/7") == str(weights.resolve())


def test_local_sampler_weights_are_refused_with_the_state_of_the_same_name(tmp_path):
    weights, sampler = local_store(tmp_path)
    with pytest.raises(CheckpointNotFound, match=str(weights.resolve())):
        resolve_state_path(str(sampler))
    (weights / "state.json").unlink()
    weights.rmdir()
    with pytest.raises(CheckpointNotFound, match="No state of that name"):
        resolve_state_path(str(sampler))


def test_directory_that_is_neither_a_run_nor_weights_is_refused(tmp_path):
    with pytest.raises(CheckpointNotFound, match=r"without checkpoints\.jsonl, state\.json or adapter_config\.json"):
        resolve_state_path(str(tmp_path))
    with pytest.raises(CheckpointNotFound, match="is none of"):
        resolve_state_path(f"{tmp_path}#000020")


def test_directory_with_a_hash_in_its_name_is_still_a_directory(tmp_path):
    path = journal_of(tmp_path / "run#2", state(20), state(40))
    assert resolve_state_path(str(path)) == state(40).state_path
    assert resolve_state_path(str(path.parent)) == state(40).state_path
    assert resolve_state_path(f"{path}#000020") == state(20).state_path
