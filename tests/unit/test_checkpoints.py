import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socratic_distill import CheckpointManager, CheckpointRecord, load_checkpoints
from socratic_distill.checkpoints import newest_state, parse_line, read_journal


def record(batch, name=None, state=True, **extra):
    name = name or f"{batch:06d}"
    path = f"tinker://run/weights/{name}" if state else None
    return CheckpointRecord(name=name, batch=batch, state_path=path, **extra)


def test_journal_keeps_records_in_order_and_unknown_keys(tmp_path):
    manager = CheckpointManager(tmp_path)
    manager.append(record(20, kl=0.5))
    manager.append(record(40))
    (first, second) = load_checkpoints(tmp_path)
    assert first.model_dump()["kl"] == 0.5
    assert (first.batch, second.batch) == (20, 40)
    assert load_checkpoints(tmp_path / "checkpoints.jsonl") == [first, second]


def test_journal_line_holds_only_keys_that_are_set():
    line = json.loads(record(20, final=True).to_line())
    assert line == {"name": "000020", "batch": 20, "state_path": "tinker://run/weights/000020", "final": True}


def test_torn_last_line_is_set_aside_and_the_next_append_stands_alone(tmp_path, caplog):
    journal = tmp_path / "checkpoints.jsonl"
    journal.write_bytes(record(20).to_line().encode() + b'{"name": "0000')
    manager = CheckpointManager(tmp_path)
    manager.append(record(40))
    assert [one.batch for one in load_checkpoints(tmp_path)] == [20, 40]
    assert (tmp_path / "checkpoints.jsonl.damaged").read_bytes() == b'{"name": "0000\n'
    assert len(journal.read_text().splitlines()) == 2
    assert "torn last line" in caplog.text


def test_last_line_that_lost_only_its_newline_is_kept(tmp_path):
    (tmp_path / "checkpoints.jsonl").write_text(record(20).to_line().rstrip("\n"))
    manager = CheckpointManager(tmp_path)
    manager.append(record(40))
    assert [one.batch for one in load_checkpoints(tmp_path)] == [20, 40]
    assert not (tmp_path / "checkpoints.jsonl.damaged").exists()


@pytest.mark.parametrize("line", ["null", "[]", "{", '{"batch": 3}', '{"name": 3}', '{"name": "a", "batch": "3"}'])
def test_bad_line_is_skipped_with_a_warning_that_names_it(tmp_path, caplog, line):
    (tmp_path / "checkpoints.jsonl").write_text(record(20).to_line() + "\n" + line + "\n" + record(40).to_line())
    with caplog.at_level(logging.WARNING):
        assert [one.batch for one in load_checkpoints(tmp_path)] == [20, 40]
    assert "line 3" in caplog.text


def test_newest_state_goes_by_batch_not_by_line():
    late_save_of_an_older_batch = [record(40), record(20), record(60, state=False)]
    newest = newest_state(late_save_of_an_older_batch)
    assert newest is not None and newest.batch == 40


def test_newest_state_ignores_records_without_batch():
    without = CheckpointRecord(name="x", state_path="tinker://run/weights/x")
    assert newest_state([without]) is None
    assert not without.resumable


records = st.builds(
    record,
    st.integers(0, 50),
    name=st.text(min_size=1, max_size=8),
    state=st.booleans(),
    note=st.text(max_size=8),
)
junk = st.sampled_from([b"", b"null", b"{", b"\xff\xfe", b'{"batch": 1}', b"[1]"])


@given(st.lists(st.one_of(records, junk), max_size=12), st.integers(0, 400))
def test_any_prefix_of_any_journal_gives_the_whole_records_before_the_cut(tmp_path_factory, lines, cut):
    encoded = [line if isinstance(line, bytes) else line.to_line().rstrip("\n").encode() for line in lines]
    data = b"".join(line + b"\n" for line in encoded)[:cut]
    path = tmp_path_factory.mktemp("journal") / "checkpoints.jsonl"
    path.write_bytes(data)
    expected, position = [], 0
    for line, raw in zip(lines, encoded, strict=True):
        position += len(raw)
        if position <= cut and isinstance(line, CheckpointRecord):
            expected.append(line)
        position += 1
    assert list(read_journal(path).records) == expected
    CheckpointManager(path).append(record(99))
    assert list(read_journal(path).records) == [*expected, record(99)]


@given(records)
def test_record_survives_a_line(one):
    assert parse_line(one.to_line().encode()) == one
