import json
import logging
import math
import os
import stat
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.examples import examples

from socratic_distill import CheckpointManager, CheckpointRecord, JournalError, StorageError, load_checkpoints
from socratic_distill.errors import NoUsableCheckpoint
from socratic_distill.run.journal import Journal
from socratic_distill.run.journal_lines import bad_lines, records_from_end
from socratic_distill.run.record import parse_line
from socratic_distill.run.start import FreshStart, History, Resume, decide_start

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
FAR_OFF = datetime(2999, 1, 1, tzinfo=UTC)
PATHS = [*(f"tinker://run/weights/{letter}" for letter in "abcd"), "/home/ü/run/local-0001/weights/a", "a"]
SAMPLER = "tinker://run/sampler_weights/a"

reproducible = settings(derandomize=True, deadline=None, max_examples=examples(100))


def record(batch: int | None, name: str | None = None, state: bool = True, **extra: Any) -> CheckpointRecord:
    name = name or f"{batch:06d}"
    path = {"state_path": f"tinker://run/weights/{name}"} if state else {"sampler_path": f"tinker://run/sampler/{name}"}
    return CheckpointRecord.model_validate({"name": name, "batch": batch, **path, **extra})


def marker(batch: int, state: bool = True) -> CheckpointRecord:
    return record(batch, state=state, resumed_at=NOW)


def deletion(path: str) -> CheckpointRecord:
    return CheckpointRecord(name="gone", batch=0, deleted_path=path)


# --- what the journal means, as plainly as it can be said ---------------------------------------------------


def plain_lineage(records: Sequence[CheckpointRecord]) -> list[tuple[CheckpointRecord, bool]]:
    marked = []
    for place, one in enumerate(records):
        superseded = False
        for later in records[place + 1 :]:
            went_back = later.resumed_at is not None and later.batch is not None
            if went_back and one.batch is not None and one.batch > (later.batch or 0):
                superseded = True
        marked.append((one, superseded))
    return marked


def plain_newest(
    records: Sequence[CheckpointRecord], why_unusable: Callable[[CheckpointRecord], str | None] = lambda _: None
) -> CheckpointRecord | None:
    deleted = [one.deleted_path for one in records]
    newest = None
    for one, superseded in plain_lineage(records):
        if superseded or one.state_path is None or one.batch is None or one.batch < 0:
            continue
        if one.state_path in deleted or why_unusable(one) is not None:
            continue
        if newest is None or one.batch >= (newest.batch or 0):
            newest = one
    return newest


def last_line_with_a_state(path: Path) -> str | None:
    """What tinker-cookbook resumes from."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return next((row["state_path"] for row in reversed(rows) if "state_path" in row), None)


# --- any journal, as pieces of bytes of which we know what records they hold ----------------------------------


@dataclass(frozen=True)
class Part:
    """Some bytes of a line: a whole record, or none."""

    data: bytes
    record: CheckpointRecord | None = None


json_values = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=5))
unknown_keys = st.dictionaries(
    st.sampled_from(["note", "kl", "ünï", "progress", "Batch", "batches", "my_state_path"]),
    st.one_of(st.text(max_size=5), st.lists(json_values, max_size=2), st.dictionaries(st.just("batch"), json_values)),
    max_size=2,
)
times = st.sampled_from([LONG_AGO, FAR_OFF])


@st.composite
def records_of_any_kind(draw: st.DrawFn) -> CheckpointRecord:
    fields: dict[str, Any] = {
        "batch": draw(st.one_of(st.none(), st.integers(-1, 12), st.just(10**20))),
        "state_path": draw(st.one_of(st.none(), st.sampled_from(PATHS))),
        "sampler_path": draw(st.one_of(st.none(), st.just(SAMPLER))),
        "final": draw(st.sampled_from([None, None, True])),
        "expires_at": draw(st.one_of(st.none(), times)),
        "resumed_at": draw(st.one_of(st.none(), st.none(), times)),
        "deleted_path": draw(st.one_of(st.none(), st.none(), st.none(), st.sampled_from(PATHS))),
    }
    set_fields = {key: value for key, value in fields.items() if value is not None}
    return CheckpointRecord.model_validate({"name": draw(st.text(max_size=4)), **set_fields, **draw(unknown_keys)})


@st.composite
def lines_of(draw: st.DrawFn, one: CheckpointRecord) -> bytes:
    """The record as some tool may write it: spaced or not, escaped or not, in another order, with a CR."""
    row = json.loads(one.to_line())
    if draw(st.booleans()):
        row = dict(reversed(row.items()))
    separators = draw(st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")]))
    line = json.dumps(row, ensure_ascii=draw(st.booleans()), separators=separators)
    if draw(st.integers(0, 9)) == 0:
        line = line.replace('"batch"', '"b\\u0061tch"').replace('"state_path"', '"\\u0073tate_path"')
        line = (
            line.replace('"resumed_at"', '"resumed_\\u0061t"').replace('"final"', '"fin\\u0061l"').replace("/", "\\/")
        )
    return line.encode() + draw(st.sampled_from([b"", b"", b"\r", b"  "]))


OTHER_LINES = [b"null", b"[]", b"3", b'"name"', b"{", b"{}", b'{"batch": 30}', b'{"name": 3}', b"\xff\xfe"]


FORMS = [
    "whole",
    "whole",
    "whole",
    "space",
    "torn",
    "garbage",
    "other",
    "torn+whole",
    "bom",
    "whole+whole",
    "whole+torn",
]


@st.composite
def lines(draw: st.DrawFn) -> list[Part]:
    form = draw(st.sampled_from(FORMS))
    if form == "space":
        return [Part(draw(st.sampled_from([b"", b" ", b"\t\r"])))]
    if form == "garbage":
        return [Part(draw(st.binary(min_size=1, max_size=12)).replace(b"\n", b"?"))]
    if form == "other":
        return [Part(draw(st.sampled_from(OTHER_LINES)))]
    parts = [Part(b"\xef\xbb\xbf")] if form == "bom" else []
    for word in form.split("+"):
        one = draw(records_of_any_kind())
        line = draw(lines_of(one))
        record, space = line.rstrip(), line[len(line.rstrip()) :]
        if word == "torn":
            parts.append(Part(record[: draw(st.integers(1, len(record) - 1))]))
        else:
            parts += [Part(record, one), Part(space)]
    return parts


@dataclass(frozen=True)
class Written:
    """A journal's bytes, cut off anywhere, the records in it and the parts that are none."""

    data: bytes
    records: list[CheckpointRecord]
    bad: list[bytes]


@st.composite
def journals(draw: st.DrawFn) -> Written:
    written = draw(st.lists(lines(), max_size=12))
    data = b"".join(b"".join(part.data for part in line) + b"\n" for line in written)
    cut = left = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    records, bad = [], []
    for line in written:
        rest = b""
        for part in line:
            if part.record is not None and len(part.data) <= left:
                records.append(part.record)
            else:
                rest += part.data[:left]
            left = max(left - len(part.data), 0)
        if rest.strip():
            bad.append(rest)
        left = max(left - 1, 0)
    return Written(data[:cut], records, bad)


@given(journals())
@reproducible
def test_any_part_of_any_journal_holds_the_records_that_are_whole(written):
    journal = Journal(written.data)
    assert journal.records() == written.records
    assert [line.bad for line in bad_lines(journal.data) if line.bad] == written.bad
    assert list(records_from_end(journal.data)) == written.records[::-1]


@pytest.mark.parametrize(
    "line",
    [
        b'{"name": "a", "batch": 1.0}', b'{"name": "a", "batch": 1e2}', b'{"name": "a", "batch": 01}',
        b'{"name": "a", "batch": true}', b'{"name": "a", "epoch": "1"}', b'{"name": "a", "final": 1}',
        b'{"name": "a", "state_path": 1}', b'{"name": "a", "name": null}', b'{"name": "a\tb"}', b'{"name": "\xff"}',
        b'{"name": "a", "kl": 0x1}', b'{"name": "a",}', b'{"name": "a"}}', b'{"name": "a", "x": [1]',
        b'{"name": "a"}\x00',
    ],
)  # fmt: skip
def test_lines_that_resemble_records_are_reported_bad_by_number_and_byte(line):
    first = record(20).to_line().encode()
    (bad,) = bad_lines(first + b"\n" + line + b"\n" + first)
    assert (bad.number, bad.offset, bad.torn) == (3, len(first) + 1, False) and bad.reason
    (bad,) = bad_lines(line)
    assert (bad.number, bad.offset, bad.torn) == (1, 0, True)


@given(journals(), st.sets(st.sampled_from(PATHS)))
@settings(reproducible, max_examples=examples(200))
def test_newest_state_and_lineage_are_those_of_the_plain_model(written, gone):
    journal = Journal(written.data)

    def why_unusable(one: CheckpointRecord) -> str | None:
        return "gone" if one.state_path in gone else None

    assert journal.newest_state() == plain_newest(written.records)
    assert journal.newest_state(why_unusable) == plain_newest(written.records, why_unusable)
    again = Journal(written.data)
    assert again.newest_state(why_unusable) == plain_newest(written.records, why_unusable)
    assert again.newest_state() == plain_newest(written.records)
    assert journal.lineage() == plain_lineage(written.records)


@given(journals(), st.integers(0, 12))
@reproducible
def test_finals_paths_and_deletions_are_those_of_the_plain_model(written, batch):
    journal, records = Journal(written.data), written.records
    states = [one.state_path for one in records if one.state_path is not None]
    named = {path for one in records for path in (*one.paths, one.deleted_path)}
    deleted = {one.deleted_path for one in records}
    assert journal.finals(batch) == [
        one for one, superseded in plain_lineage(records) if one.final and one.batch == batch and not superseded
    ]
    assert journal.last_state_path() == (states[-1] if states else None)
    assert journal.known([*PATHS, SAMPLER, "tinker://run/weights/z"]) == named & {*PATHS, SAMPLER}
    for path in PATHS * 2:
        assert journal.is_deleted(path) == (path in deleted) == (path in journal.deleted)


@given(journals(), st.sets(st.sampled_from(PATHS)))
@reproducible
def test_the_start_resumes_from_the_record_of_the_plain_model(written, gone):
    unusable = dict.fromkeys(gone, "is gone")

    def why_unusable(one: CheckpointRecord) -> str | None:
        expired = one.expires_at is not None and one.expires_at < NOW
        return "unusable" if expired or one.state_path in gone else None

    expected = plain_newest(written.records, why_unusable)
    held = [one for one, superseded in plain_lineage(written.records) if one.state_path and not superseded]
    try:
        start = decide_start(History(Journal(written.data)), None, unusable, (), NOW)
    except NoUsableCheckpoint:
        assert expected is None and held
        return
    if expected is None:
        assert start == FreshStart() and not held
    else:
        assert start == Resume(expected.state_path or "", expected.batch or 0, expected)


@given(st.permutations(range(1, 7)), st.integers(0, 6))
@reproducible
def test_newest_state_goes_by_batch_in_any_order_of_the_lines(order, sampler_at):
    written = [record(batch) for batch in order]
    written.insert(sampler_at, record(9, state=False))
    assert Journal.of(written).newest_state() == record(6)


def test_newest_state_of_two_equal_batches_is_the_later_line():
    first, second = record(20, name="first"), record(20, name="second")
    assert Journal.of([first, second]).newest_state() == second
    assert Journal.of([second, first]).newest_state() == first


def test_record_of_an_earlier_batch_supersedes_the_later_batches_above_it():
    went_back = record(20, resumed_at=NOW)
    records = [record(20), record(40), record(41, state=False), went_back, record(21, state=False)]
    assert [superseded for _, superseded in Journal.of(records).lineage()] == [False, True, True, False, False]
    assert Journal.of(records).newest_state() == went_back


@pytest.mark.parametrize("behind", [marker(7, state=False), marker(5)], ids=["without a state", "deleted"])
def test_state_above_a_resume_line_is_newest_if_those_below_are_older(behind):
    gone = [deletion(behind.state_path)] if behind.state_path else []
    kept = record(5, name="kept")
    assert Journal.of([kept, record(8), behind, record(3), *gone]).newest_state() == kept


def test_newest_state_of_all_does_not_depend_on_what_was_asked_before():
    journal = Journal.of([record(20), record(40)])
    assert journal.newest_state(lambda one: "gone" if one.batch == 40 else None) == record(20)
    assert journal.newest_state() == record(40)
    assert journal.newest_state(lambda one: "gone" if one.batch == 40 else None) == record(20)


def test_deleted_states_are_not_the_newest_wherever_the_deletion_stands():
    assert record(40).state_path is not None
    gone = deletion(record(40).state_path or "")
    assert Journal.of([record(20), record(40), gone]).newest_state() == record(20)
    assert Journal.of([gone, record(20), record(40)]).newest_state() == record(20)


def test_deletion_counts_however_its_key_is_spelt():
    gone = deletion(record(40).state_path or "").to_line().replace('"deleted_path"', '"deleted_p\\u0061th"')
    data = record(20).to_line() + record(40).to_line() + gone
    assert Journal(data.encode()).newest_state() == record(20)


def test_states_that_say_no_batch_are_records_and_never_the_newest():
    without, negative = record(None, name="x"), record(-1, name="y")
    journal = Journal.of([without, negative])
    assert journal.records() == [without, negative]
    assert journal.newest_state() is None


# --- one line ---------------------------------------------------------------------------------------------------


@given(records_of_any_kind())
@reproducible
def test_record_survives_a_line(one):
    assert parse_line(one.to_line().encode()) == one


def test_line_holds_only_the_keys_that_are_set():
    line = json.loads(record(20, final=True).to_line())
    assert line == {"name": "000020", "batch": 20, "state_path": "tinker://run/weights/000020", "final": True}


def test_unknown_keys_survive_and_other_tools_may_use_our_names():
    row = {"name": "000020", "batch": 20, "state_path": "s", "kl": 0.5, "loss": math.nan, "nest": {"batch": [1]}}
    one = parse_line(json.dumps({**row, "kind": "best", "version": "v2", "expires_at": "soon"}).encode())
    assert (one.batch, one.state_path, one.kind, one.version, one.expires_at) == (20, "s", None, None, None)
    again = json.loads(one.to_line())
    assert again["kl"] == 0.5 and math.isnan(again["loss"]) and again["nest"] == {"batch": [1]}


def test_times_keep_their_instant():
    one = record(20, expires_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert parse_line(one.to_line().encode()).expires_at == one.expires_at


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"null", "object"), (b"[]", "object"), (b"{", "json"), (b'{"batch": 3}', "'name'"), (b'{"name": 3}', "'name'"),
        (b'{"name": "a", "batch": "3"}', "'batch'"), (b'{"name": "a", "batch": true}', "'batch'"),
        (b'{"name": "a", "batch": 2.5}', "'batch'"), (b'{"name": "a", "state_path": 3}', "'state_path'"),
        (b'{"name": "\xff"}', "json"), (b'{"name": "a"} {"name": "b"', "json"),
    ],
)  # fmt: skip
def test_line_that_is_no_record_says_why(line, reason):
    with pytest.raises(ValueError, match=reason):
        parse_line(line)


A, B = record(20).to_line().rstrip().encode(), record(40).to_line().rstrip().encode()


def other_way_round(line: bytes) -> bytes:
    return json.dumps(dict(reversed(json.loads(line).items()))).encode()


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        (A[:30] + B, [record(40)]),
        (A[:-1] + B, [record(40)]),
        (A + B, [record(20), record(40)]),
        (A[:9] + A + B, [record(20), record(40)]),
        (A + B[:25], [record(20)]),
        (A + b"\x00\x00\x00", [record(20)]),
        (A[:9] + record(40, best={"name": "x"}).to_line().rstrip().encode(), [record(40, best={"name": "x"})]),
        (other_way_round(A) + other_way_round(B), [record(20), record(40)]),
        (A[:22] + other_way_round(B), [record(40)]),
        (A + b"," + A + b"," + B, [record(20), record(20), record(40)]),
        (b"\x00\x00" + A + b"\x00", [record(20)]),
        (A[:9] + A + b"\x00", [record(20)]),
        (b'{"batch": 7}' + A, [record(20)]),
        (b'{"best": {"name": "x"}}' + A, [record(20)]),
        (b'{"best": {"batch": 3, "name": "x"}, "kl": 0.' + A, [record(20)]),
        (b'{"best": [{"name": "x"} , {"name": "y"}], "kl": 0.' + A, [record(20)]),
        (b'{"name": 3, "best": {"name": "x"}}' + A, [record(20)]),
        (b'{"a":' * 2000 + A, [record(20)]),
    ],
    ids=[
        "torn+whole", "brace lost", "newline lost", "torn+two", "whole+torn", "whole+zeros", "torn+nested name",
        "name last", "torn+name last", "commas", "zeros+whole", "torn+whole+zeros", "no name+whole", "nested+whole",
        "torn nested+whole", "torn list+whole", "nested in no record+whole", "deep+whole",
    ],
)  # fmt: skip
def test_no_whole_record_of_a_glued_line_is_lost(line, whole):
    journal = Journal(line + b"\n")
    assert journal.records() == whole
    assert journal.newest_state() == whole[-1]


@pytest.mark.parametrize(
    "opening", ['{"a": [', '{"a":', '{"a":1,"b":{', '{"a":"x","b":[1,{', '{"name":"x","best":{"a":1,"b":[', "{", '{"']
)
def test_records_around_a_line_of_brackets_are_read_in_linear_time(opening):
    line = (opening * ((1 << 19) // len(opening)) + '"}]').encode()
    journal = Journal(A + b"\n" + line + b"\n" + B + b"\n")
    assert journal.records() == [record(20), record(40)]  # reading from each bracket to the end would take minutes
    (bad,) = bad_lines(journal.data)
    assert bad.number == 2 and bad.bad == line


def test_thousands_of_glued_records_are_all_found_in_linear_time():
    journal = Journal(b"\x00" + A * 20_000)
    assert len(journal.records()) == 20_000


def long_journal(count: int) -> bytes:
    common = {"version": 7, "created_at": NOW, "expires_at": FAR_OFF, "config_digest": "0123456789abcdef"}
    samplers = record(0, state=False, kind="sampler", **common).to_line()
    state = record(0, kind="periodic", **common).to_line()
    lines = ((state if batch % 20 == 0 else samplers) for batch in range(count))
    return "".join(line.replace('"batch": 0', f'"batch": {batch}') for batch, line in enumerate(lines)).encode()


def test_long_journal_takes_about_the_time_of_its_json():
    data = long_journal(20_000)

    def cpu_seconds(call: Callable[[], Any]) -> float:
        began = time.process_time()
        call()
        return time.process_time() - began

    json_seconds = min(cpu_seconds(lambda: [json.loads(line) for line in data.splitlines()]) for _ in range(3))
    ours = min(cpu_seconds(Journal(data).newest_state) for _ in range(3))
    assert ours < 3 * json_seconds, (ours, json_seconds)


def test_memory_for_a_long_journal_does_not_grow_with_its_records():
    def peak(count: int) -> int:
        journal = Journal(long_journal(count))
        tracemalloc.start()
        assert (journal.newest_state() or record(1)).batch == count - 20
        assert journal.finals(count) == [] and journal.known(["a"]) == set() and list(bad_lines(journal.data)) == []
        return tracemalloc.get_traced_memory()[1]

    try:
        assert peak(4000) < 1.5 * peak(400)
    finally:
        tracemalloc.stop()


# --- the file ---------------------------------------------------------------------------------------------------


def test_missing_journal_is_an_empty_one(tmp_path):
    assert load_checkpoints(tmp_path / "nowhere") == []
    assert not (tmp_path / "nowhere").exists()


def test_journal_that_cannot_be_read_is_an_error_that_names_it(tmp_path):
    (tmp_path / "checkpoints.jsonl").mkdir()
    with pytest.raises(JournalError, match=r"checkpoints\.jsonl cannot be read"):
        load_checkpoints(tmp_path)


def test_records_are_kept_in_order_with_their_unknown_keys(tmp_path):
    manager = CheckpointManager(tmp_path)
    manager.append(record(20, kl=0.5))
    manager.append(record(40))
    assert load_checkpoints(tmp_path) == [record(20, kl=0.5), record(40)]
    assert load_checkpoints(tmp_path / "checkpoints.jsonl") == list(manager.records)


def test_reading_names_bad_lines_by_number_and_byte_and_changes_nothing(tmp_path, caplog):
    first, third, torn = record(20).to_line(), record(40).to_line(), '{"name": "0'
    data = (first + "\n[1]\n" + third + torn).encode()
    (tmp_path / "checkpoints.jsonl").write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert load_checkpoints(tmp_path) == [record(20), record(40)]
    assert f"line 3 (byte {len(first) + 1}: " in caplog.text
    assert f"line 5 (byte {len(data) - len(torn)}: " in caplog.text
    assert (tmp_path / "checkpoints.jsonl").read_bytes() == data
    assert os.listdir(tmp_path) == ["checkpoints.jsonl"]


@given(journals())
@reproducible
def test_first_append_sets_aside_what_is_damaged_and_loses_nothing_good(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("journal") / "checkpoints.jsonl"
    path.write_bytes(written.data)
    added = record(50, name="added", state=False)
    with mock.patch.object(os, "fsync"):
        CheckpointManager(path).append(added)
    journal, damaged = Journal.read(path), path.with_name("checkpoints.jsonl.damaged")
    *again, last = journal.records()[len(written.records) :]
    assert journal.records()[: len(written.records)] == written.records
    # Behind the record itself the newest state may stand once more, for readers that take the last line.
    newest = plain_newest(written.records)
    assert [*again, last] == [added] or (again == [added] and newest and last.state_path == newest.state_path)
    assert list(bad_lines(journal.data)) == [] and journal.data.endswith(b"\n")
    assert (damaged.read_bytes() if damaged.exists() else b"") == b"".join(part + b"\n" for part in written.bad)


def test_damage_is_told_once_and_a_good_journal_is_left_as_it_is(tmp_path, caplog):
    path = tmp_path / "checkpoints.jsonl"
    path.write_bytes(record(20).to_line().encode() + b'{"name": "0000')
    manager = CheckpointManager(tmp_path)
    manager.append(record(40))
    manager.append(record(60))
    assert caplog.text.count("line 2 (byte ") == 1
    assert (tmp_path / "checkpoints.jsonl.damaged").read_bytes() == b'{"name": "0000\n'
    before = path.read_bytes()
    CheckpointManager(tmp_path).append(record(80))
    assert path.read_bytes() == before + record(80).to_line().encode()


def test_last_line_that_lost_only_its_newline_is_kept(tmp_path, caplog):
    (tmp_path / "checkpoints.jsonl").write_text(record(20).to_line().rstrip("\n"))
    CheckpointManager(tmp_path).append(record(40))
    assert load_checkpoints(tmp_path) == [record(20), record(40)]
    assert not (tmp_path / "checkpoints.jsonl.damaged").exists() and not caplog.records


def test_last_line_without_newline_is_kept_apart_from_a_damaged_one(tmp_path):
    (tmp_path / "checkpoints.jsonl").write_text("[]\n" + record(20).to_line().rstrip("\n"))
    CheckpointManager(tmp_path).append(record(40))
    assert (tmp_path / "checkpoints.jsonl").read_text() == record(20).to_line() + record(40).to_line()
    assert (tmp_path / "checkpoints.jsonl.damaged").read_text() == "[]\n"


def test_append_is_on_disk_before_it_returns_with_its_directory_entry(tmp_path, monkeypatch):
    synced: list[tuple[str, bytes]] = []
    path = tmp_path / "checkpoints.jsonl"

    def fsync(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        synced.append((kind, path.read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    manager = CheckpointManager(tmp_path)
    first, second = record(20).to_line().encode(), record(40).to_line().encode()
    manager.append(record(20))
    assert synced == [("file", first), ("directory", first)]
    synced.clear()
    manager.append(record(40))
    assert synced == [("file", first + second)]


@pytest.mark.parametrize("at", range(6))
def test_mending_that_fails_loses_nothing_and_the_next_append_mends(tmp_path, monkeypatch, at):
    path = tmp_path / "checkpoints.jsonl"
    path.write_bytes(record(20).to_line().encode() + b"torn" + record(40).to_line().encode() + b"[]")
    calls = 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    manager = CheckpointManager(tmp_path)
    try:
        manager.append(record(60))
        failed = False
    except StorageError:
        failed = True
        assert load_checkpoints(tmp_path)[:2] == [record(20), record(40)]
        manager.append(record(60))
    # Syncs of the damaged part and its directory, of the mended journal and its directory, of the new line.
    assert failed == (at < 5)
    assert [one for one in load_checkpoints(tmp_path) if one.batch != 60] == [record(20), record(40)]
    assert load_checkpoints(tmp_path)[-1] == record(60)
    assert set((tmp_path / "checkpoints.jsonl.damaged").read_bytes().split()) == {b"torn", b"[]"}
    assert not any(line.bad for line in bad_lines(Journal.read(path).data))


def test_append_that_failed_half_way_is_mended_by_the_next(tmp_path, monkeypatch):
    manager = CheckpointManager(tmp_path)
    manager.append(record(20))
    path = tmp_path / "checkpoints.jsonl"

    def fsync(descriptor: int) -> None:
        os.ftruncate(descriptor, path.stat().st_size - 10)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(StorageError, match="No space left on device"):
            manager.append(record(40))
    manager.append(record(40))
    assert load_checkpoints(tmp_path) == [record(20), record(40)]
    assert (tmp_path / "checkpoints.jsonl.damaged").read_bytes() == record(40).to_line().encode()[:-10] + b"\n"


# --- the writer, as other readers see it ---------------------------------------------------------------------------


def test_late_record_of_an_older_state_leaves_the_newest_last(tmp_path):
    manager = CheckpointManager(tmp_path)
    for batch in (40, 20):
        manager.append(record(batch))
    assert last_line_with_a_state(manager.path) == record(40).state_path
    CheckpointManager(tmp_path).append(record(30))
    assert last_line_with_a_state(manager.path) == record(40).state_path


def test_deletion_of_the_newest_state_leaves_the_newest_live_one_last(tmp_path):
    manager = CheckpointManager(tmp_path)
    for one in (record(20), record(40), deletion(record(40).state_path or "")):
        manager.append(one)
    assert last_line_with_a_state(manager.path) == record(20).state_path


def test_a_run_rereads_its_journal_only_if_its_newest_state_was_deleted(tmp_path):
    manager = CheckpointManager(tmp_path)
    manager.append(record(20))
    with mock.patch.object(Journal, "read", side_effect=Journal.read) as read:
        for one in (record(21, state=False), record(40), deletion(record(20).state_path or ""), record(60)):
            manager.append(one)
        assert read.call_count == 0
        manager.append(deletion(record(60).state_path or ""))
        assert read.call_count == 1
    assert last_line_with_a_state(manager.path) == record(40).state_path


def test_state_without_batch_leaves_the_newest_resumable_one_last(tmp_path):
    manager = CheckpointManager(tmp_path)
    for one in (record(20), record(None, name="x")):
        manager.append(one)
    assert last_line_with_a_state(manager.path) == record(20).state_path


def test_newest_state_added_again_supersedes_nothing(tmp_path):
    manager = CheckpointManager(tmp_path)
    manager.append(record(40))
    manager.mark_resumed(40, record(40))
    manager.append(record(41, state=False))
    manager.append(record(20))
    assert not any(superseded for _, superseded in Journal.read(manager.path).lineage())


@pytest.mark.parametrize("batch", [0, 20])
def test_mark_of_a_resumed_run_comes_last_and_supersedes_later_batches(tmp_path, batch):
    manager = CheckpointManager(tmp_path)
    for one in (record(batch), record(40), record(41, state=False)):
        manager.append(one)
    manager.mark_resumed(batch, record(batch))
    last = manager.records[-1]
    assert (last.batch, last.state_path) == (batch, record(batch).state_path)
    assert last.resumed_at is not None and last.resumed_at.tzinfo is not None
    assert [superseded for _, superseded in Journal.read(manager.path).lineage()] == [False, True, True, False]


def test_run_that_begins_anew_supersedes_its_earlier_sampler_weights(tmp_path):
    manager = CheckpointManager(tmp_path)
    for batch in (0, 1, 2):
        manager.append(record(batch, state=False))
    manager.mark_resumed(0, None)
    assert [superseded for _, superseded in Journal.read(manager.path).lineage()] == [False, True, True, False]
    assert Journal.read(manager.path).newest_state() is None


steps = st.lists(
    st.tuples(st.sampled_from(["state", "state", "state", "sampler", "resume", "delete", "reopen"]), st.integers(0, 9)),
    max_size=14,
)


@given(steps)
@settings(reproducible, max_examples=examples(150))
def test_the_last_line_with_a_state_is_the_newest_after_any_appends(tmp_path_factory, sequence):
    path = tmp_path_factory.mktemp("journal") / "checkpoints.jsonl"
    manager = CheckpointManager(path)
    with mock.patch.object(os, "fsync"):
        for place, (what, number) in enumerate(sequence):
            states = [
                one
                for one, superseded in Journal.read(path).lineage()
                if one.resumable and not superseded and one.state_path not in Journal.read(path).deleted
            ]
            if what == "state":
                manager.append(record(number, name=f"{number}-{place}"))
            elif what == "sampler":
                manager.append(record(number, name=f"{number}-{place}", state=False))
            elif what == "reopen":
                manager = CheckpointManager(path)
            elif what == "resume":
                # With states there are, a run goes on from one of them; it begins anew only where none is.
                one = states[number % len(states)] if states else None
                manager.mark_resumed((one.batch or 0) if one else 0, one)
            elif states:
                manager.append(deletion(states[number % len(states)].state_path or ""))
            newest = Journal.read(path).newest_state()
            assert newest == plain_newest(load_checkpoints(path))
            if newest is not None:
                assert last_line_with_a_state(path) == newest.state_path
