import itertools
import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from socratic_distill import (
    CheckpointConflict,
    CheckpointManager,
    CheckpointRecord,
    ConfigDrift,
    FreshStart,
    JournalError,
    LoadCheckpoint,
    NoUsableCheckpoint,
    Resume,
    StartError,
    resolve_start,
)
from socratic_distill.run.drift import Change
from socratic_distill.run.journal import Journal
from socratic_distill.run.layout import Origin
from socratic_distill.run.spoilt_rows import first_spoilt_step
from socratic_distill.run.start import History, Start, decide_start, read_history, resolve

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SOON, PAST = NOW + timedelta(hours=1), NOW - timedelta(hours=1)
SFT, SFT_STATE, OTHER = "runs/sft", "tinker://sft/weights/000100", "tinker://other/weights/1"
DRIFT = (Change("lora_rank", "32", "8"),)


def state(batch: int | None, expires_at: datetime | None = None, name: str | None = None) -> CheckpointRecord:
    name = name or f"{batch:06d}"
    return CheckpointRecord(name=name, batch=batch, state_path=f"tinker://run/weights/{name}", expires_at=expires_at)


def sampler(batch: int) -> CheckpointRecord:
    return CheckpointRecord(name="s", batch=batch, sampler_path=f"tinker://run/sampler_weights/{batch:06d}")


def deletion(path: str) -> CheckpointRecord:
    return CheckpointRecord(name="gone", deleted_path=path)


PATH_20, PATH_40, PATH_X = (f"tinker://run/weights/{name}" for name in ("000020", "000040", "x"))
OLD, NEW, BATCHLESS = state(20), state(40), state(None, name="x")
WENT_BACK = OLD.model_copy(update={"resumed_at": NOW})


# --- the table of the design, row by row ------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One named row: what the directory says, what is asked for, and what comes of it."""

    name: str
    expected: Start | type[StartError]
    records: tuple[CheckpointRecord, ...] = ()
    origin: Origin | None = field(default_factory=Origin)
    wanted: str | None = None
    unusable: tuple[str, ...] = ()
    drift: tuple[Change, ...] = ()
    has_metrics: bool = True
    warned: str = ""
    behind: bytes = b""


FROM_SFT = Origin(SFT, SFT_STATE)
ROWS = [
    Row("a resumable checkpoint", Resume(PATH_40, 40, NEW), (OLD, NEW, sampler(41))),
    Row("a resumable checkpoint recorded late", Resume(PATH_40, 40, NEW), (NEW, OLD)),
    Row("a resumable checkpoint of unknown origin", Resume(PATH_40, 40, NEW), (NEW,), None),
    Row("a run of a checkpoint, not named again", Resume(PATH_40, 40, NEW), (NEW,), FROM_SFT),
    Row("no directory", FreshStart(), origin=None, has_metrics=False),
    Row("sampler weights only", FreshStart(), (sampler(0), sampler(1))),
    Row("no directory, to load", LoadCheckpoint(SFT), origin=None, wanted=SFT, has_metrics=False),
    Row("sampler weights only, to load another", LoadCheckpoint(OTHER), (sampler(0),), FROM_SFT, OTHER),
    Row("sampler weights only, to load the same", LoadCheckpoint(SFT_STATE), (sampler(0),), FROM_SFT, SFT),
    Row("the same script again after a crash", Resume(PATH_40, 40, NEW), (OLD, NEW), FROM_SFT, SFT),
    Row("another checkpoint", CheckpointConflict, (NEW,), FROM_SFT, OTHER),
    Row("the same checkpoint, spelt as it was resolved", CheckpointConflict, (NEW,), FROM_SFT, SFT_STATE),
    Row("a checkpoint for a run that began fresh", CheckpointConflict, (NEW,), Origin(), SFT),
    Row("another checkpoint and another meaning", CheckpointConflict, (NEW,), FROM_SFT, OTHER, drift=DRIFT),
    Row("states that are gone", NoUsableCheckpoint, (OLD, NEW), unusable=(PATH_20, PATH_40)),
    Row("states that have expired", NoUsableCheckpoint, (state(20, PAST), state(40, PAST))),
    Row("states that have expired, to load", NoUsableCheckpoint, (state(40, PAST),), FROM_SFT, SFT),
    Row("states that have expired, to load another", NoUsableCheckpoint, (state(40, PAST),), FROM_SFT, OTHER),
    Row("a state that expires this instant", NoUsableCheckpoint, (state(40, NOW),)),
    Row("a state that expires later", Resume(PATH_40, 40, state(40, SOON)), (state(40, SOON),)),
    Row("states that were deleted", NoUsableCheckpoint, (NEW, deletion(PATH_40))),
    Row("a state that does not say its batch", NoUsableCheckpoint, (BATCHLESS,), None),
    Row("the newest gone", Resume(PATH_20, 20, OLD), (OLD, NEW), unusable=(PATH_40,), warned="20 batches"),
    Row("the newest expired", Resume(PATH_20, 20, OLD), (OLD, state(40, PAST)), warned="20 batches"),
    Row("the newest deleted", Resume(PATH_20, 20, OLD), (OLD, NEW, deletion(PATH_40))),
    Row("the newest superseded", Resume(PATH_20, 20, WENT_BACK), (OLD, NEW, WENT_BACK)),
    Row("unknown origin, to load", Resume(PATH_40, 40, NEW), (NEW,), None, SFT, warned=SFT),
    Row("metrics without a journal", JournalError),
    Row("metrics without a journal, to load", JournalError, origin=FROM_SFT, wanted=SFT),
    Row("metrics and an unreadable line", JournalError, (sampler(0),), behind=b"[]\n"),
    Row("metrics and an unreadable line behind a state", Resume(PATH_40, 40, NEW), (NEW,), behind=b"[]\n"),
    Row("a save that a crash tore", FreshStart(), (sampler(0),), behind=b'{"name": "0000'),
    Row("an unreadable line before the first metrics", FreshStart(), behind=b"[]\n", has_metrics=False),
    Row("another meaning", ConfigDrift, (NEW,), drift=DRIFT),
    Row("another meaning of a run of the same checkpoint", ConfigDrift, (NEW,), FROM_SFT, SFT, drift=DRIFT),
    Row("another meaning before the first state", FreshStart(), (sampler(0),), drift=DRIFT),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_start_follows_the_table(row, caplog):
    journal = Journal(Journal.of(row.records).data + row.behind)
    history = History(journal, row.has_metrics, row.origin, "run-001")
    unusable = dict.fromkeys(row.unusable, "is gone")
    if isinstance(row.expected, type):
        with pytest.raises(row.expected, match="run-001"):
            decide_start(history, row.wanted, unusable, row.drift, NOW)
    else:
        assert decide_start(history, row.wanted, unusable, row.drift, NOW) == row.expected
    assert bool(caplog.records) == bool(row.warned) and row.warned in caplog.text


# --- every combination, against a rule of its own ------------------------------------------------------------------


@dataclass(frozen=True)
class Holding:
    """What a journal holds: its lines, what of it could be resumed from and what is held in vain."""

    lines: tuple[CheckpointRecord, ...]
    resumable: tuple[CheckpointRecord, ...] = ()
    in_vain: bool = False


HOLDINGS = {
    "nothing": Holding(()),
    "samplers": Holding((sampler(0), sampler(1))),
    "one": Holding((sampler(19), OLD, sampler(21)), (OLD,)),
    "two": Holding((OLD, NEW, sampler(41)), (OLD, NEW)),
    "two, the older late": Holding((NEW, OLD), (OLD, NEW)),
    "two, went back": Holding((OLD, NEW, WENT_BACK), (OLD, WENT_BACK)),
    "two, newest deleted": Holding((OLD, NEW, deletion(PATH_40)), (OLD,), in_vain=True),
    "deleted": Holding((NEW, deletion(PATH_40)), in_vain=True),
    "without a batch": Holding((BATCHLESS,), in_vain=True),
    "one without a batch": Holding((OLD, BATCHLESS), (OLD,), in_vain=True),
    "begun again": Holding((sampler(0), NEW, CheckpointRecord(name="begin", batch=0, resumed_at=NOW))),
}
ORIGINS = {"unknown": None, "fresh": Origin(), "sft": FROM_SFT, "other": Origin(OTHER, OTHER)}
EXPIRED: dict[str, tuple[str, ...]] = {"none": (), "newest": (PATH_40,), "all": (PATH_20, PATH_40, PATH_X)}
GONE = {"none": (), "oldest": (PATH_20,), "newest": (PATH_40,), "all": (PATH_20, PATH_40, PATH_X)}
DAMAGE = {"none": b"", "torn": b'{"name": "0000', "bad": b"null\n"}


def expire(record: CheckpointRecord, expired: tuple[str, ...]) -> CheckpointRecord:
    if record.state_path is None:
        return record
    return record.model_copy(update={"expires_at": PAST if record.state_path in expired else SOON})


def rule(
    holding: Holding, origin: Origin | None, wanted: str | None, lost: set[str], drifted: bool, lost_journal: bool
) -> tuple[str, object]:
    """The kind of start, or of refusal, and what it is of."""
    left = [one for one in holding.resumable if one.state_path not in lost]
    if left:
        if wanted is not None and origin is not None and wanted != origin.given:
            return "CheckpointConflict", None
        if drifted:
            return "ConfigDrift", None
        newest = max(enumerate(left), key=lambda numbered: (numbered[1].batch or 0, numbered[0]))[1]
        return "Resume", (newest.state_path, newest.batch)
    if holding.resumable or holding.in_vain:
        return "NoUsableCheckpoint", None
    if lost_journal:
        return "JournalError", None
    if wanted is None:
        return "FreshStart", None
    again = origin is not None and wanted == origin.given
    return "LoadCheckpoint", origin.resolved if origin is not None and again else wanted


def outcome(
    history: History, wanted: str | None, gone: tuple[str, ...], drift: tuple[Change, ...]
) -> tuple[str, object]:
    try:
        start = decide_start(history, wanted, dict.fromkeys(gone, "is gone"), drift, NOW)
    except StartError as error:
        return type(error).__name__, None
    if isinstance(start, Resume):
        assert (start.state_path, start.batch) == (start.record.state_path, start.record.batch)
        return "Resume", (start.state_path, start.batch)
    return type(start).__name__, start.state_path if isinstance(start, LoadCheckpoint) else None


@pytest.mark.parametrize("wanted", [None, SFT, OTHER])
@pytest.mark.parametrize("held", HOLDINGS)
def test_every_combination_starts_as_the_rule_says(held, wanted):
    holding = HOLDINGS[held]
    for expired, damage in itertools.product(EXPIRED, DAMAGE):
        lines = [expire(one, EXPIRED[expired]) for one in holding.lines]
        journal = Journal(Journal.of(lines).data + DAMAGE[damage])
        for origin, gone, drift, metrics in itertools.product(ORIGINS, GONE, ((), DRIFT), (False, True)):
            history = History(journal, metrics, ORIGINS[origin], "run")
            lost_journal = metrics and (damage == "bad" or not holding.lines)
            lost = {*EXPIRED[expired], *GONE[gone]}
            expected = rule(holding, ORIGINS[origin], wanted, lost, bool(drift), lost_journal)
            found = outcome(history, wanted, GONE[gone], drift)
            assert found == expected, (expired, damage, origin, gone, drift, metrics)


# --- what people are told -------------------------------------------------------------------------------------------


def decide(
    *records: CheckpointRecord, wanted: str | None = None, origin: Origin | None = None, **unusable: str
) -> Start:
    history = History(Journal.of(records), True, origin or Origin(), "run-001")
    reasons = {f"tinker://run/weights/{name.removeprefix('at_')}": why for name, why in unusable.items()}
    return decide_start(history, wanted, reasons, (), NOW)


@pytest.mark.parametrize(
    ("records", "unusable", "told"),
    [
        (
            (OLD, NEW),
            {"at_000040": "is gone from the service"},
            ["batch 40, tinker://run/weights/000040", "is gone", "at batch 20: 20 batches"],
        ),
        ((OLD, state(33, PAST)), {}, ["000033", "expired at 2026-06-01 11:00 UTC", "at batch 20: 13 batches"]),
        ((state(7), OLD, NEW), {"at_000040": "is gone", "at_000020": "is gone"}, ["at batch 7: 33 batches"]),
    ],
)
def test_fallback_to_an_older_state_says_why_and_counts_repeated_batches(caplog, records, unusable, told):
    assert isinstance(decide(*records, **unusable), Resume)
    (warning,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    message = warning.getMessage()
    assert message.startswith("run-001: ") and message.endswith(" will be repeated")
    assert [part for part in told if part not in message] == []


def test_resuming_from_the_newest_state_warns_of_nothing(caplog):
    assert decide(OLD, NEW) == Resume(PATH_40, 40, NEW)
    again = state(40, name="again")
    assert decide(OLD, NEW, deletion(PATH_40), again) == Resume("tinker://run/weights/again", 40, again)
    assert not caplog.records


def test_no_usable_checkpoint_names_each_candidate_and_why():
    superseded, went_back = state(60, name="superseded"), NEW.model_copy(update={"resumed_at": NOW})
    dropped = state(41, name="dropped")
    records = (state(10, PAST), OLD, superseded, went_back, dropped, deletion(dropped.state_path or ""), BATCHLESS)
    with pytest.raises(NoUsableCheckpoint) as caught:
        decide(*records, at_000020="is gone from the service", at_000040="cannot be read: no room")
    head, *reasons, ways_out = str(caught.value).splitlines()
    assert "run-001" in head
    assert reasons == [
        "  tinker://run/weights/000010: expired at 2026-06-01 11:00 UTC",
        "  tinker://run/weights/000020: is gone from the service",
        "  tinker://run/weights/000040: cannot be read: no room",
        "  tinker://run/weights/dropped: was deleted",
        "  tinker://run/weights/x: does not say which batch comes next; add `batch` to its line",
    ]
    assert "another log_path" in ways_out and "load_checkpoint_path" in ways_out


@pytest.mark.parametrize(("origin", "began"), [(Origin(), "from a fresh LoRA"), (FROM_SFT, f"from {SFT}")])
def test_conflict_names_both_checkpoints_and_the_two_ways_out(origin, began):
    with pytest.raises(CheckpointConflict) as caught:
        decide(NEW, wanted=OTHER, origin=origin)
    message = str(caught.value)
    told = ("run-001", began, OTHER, "to resume that run", "another log_path")
    assert [part for part in told if part not in message] == []


def test_lost_journal_names_how_to_restore_it():
    with pytest.raises(JournalError, match=r"(?s)holds no records.*rebuild.*another log_path"):
        decide_start(History(has_metrics=True, log_path="run-001"), None, {}, (), NOW)
    with pytest.raises(JournalError, match="2 unreadable lines"):
        decide_start(History(Journal(b"[]\n\nnull\n"), True), None, {}, (), NOW)


def test_drift_is_refused_with_its_fields():
    with pytest.raises(ConfigDrift, match=r"(?s)run-001.*lora_rank +32 +8.*allow_config_changes=\['lora_rank'\]"):
        decide_start(History(Journal.of([NEW]), True, Origin(), "run-001"), None, {}, DRIFT, NOW)


# --- the run directory ------------------------------------------------------------------------------------------------


def test_resolve_start_reads_the_run_directory_and_changes_nothing(tmp_path):
    run = tmp_path / "run"
    assert resolve_start(run) == FreshStart()
    assert not run.exists()
    run.mkdir()
    CheckpointManager(run).append(NEW)
    with (run / "checkpoints.jsonl").open("a") as file:
        file.write('{"name": "torn')
    (run / "origin.json").write_text(json.dumps({"given": SFT, "resolved": SFT_STATE}))
    before = {path: path.read_bytes() for path in run.iterdir()}
    assert resolve_start(run) == Resume(PATH_40, 40, NEW)
    assert resolve_start(str(run), SFT) == Resume(PATH_40, 40, NEW)
    with pytest.raises(CheckpointConflict):
        resolve_start(run, OTHER)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_resolve_start_passes_over_what_has_expired_by_this_clock(tmp_path):
    manager = CheckpointManager(tmp_path)
    manager.append(state(20, datetime(2999, 1, 1, tzinfo=UTC)))
    manager.append(state(40, datetime(2000, 1, 1, tzinfo=UTC)))
    start = resolve_start(tmp_path)
    assert isinstance(start, Resume) and start.batch == 20


def test_history_has_metrics_where_a_row_was_written(tmp_path):
    assert read_history(tmp_path).has_metrics is False
    (tmp_path / "metrics.jsonl").write_text("")
    assert read_history(tmp_path).has_metrics is False
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n')
    assert read_history(tmp_path).has_metrics is True
    with pytest.raises(JournalError, match=str(tmp_path)):
        resolve_start(tmp_path)


def test_run_that_died_before_its_first_state_starts_from_the_same_one(tmp_path):
    sft, run = tmp_path / "sft" / "checkpoints.jsonl", tmp_path / "run"
    sft.parent.mkdir()
    run.mkdir()
    CheckpointManager(sft).append(OLD)
    assert resolve_start(run, sft) == LoadCheckpoint(PATH_20)
    (run / "origin.json").write_text(json.dumps({"given": str(sft), "resolved": PATH_20}))
    CheckpointManager(sft).append(NEW)
    assert resolve_start(run, sft) == LoadCheckpoint(PATH_20)
    assert resolve_start(tmp_path / "other", sft) == LoadCheckpoint(PATH_40)


def test_resolve_hands_on_what_the_service_lacks_and_what_has_drifted():
    history = History(Journal.of([OLD, NEW]), True, Origin(), "run")
    assert resolve(history, None) == Resume(PATH_40, 40, NEW)
    assert resolve(history, None, {PATH_40: "is gone"}) == Resume(PATH_20, 20, OLD)
    with pytest.raises(ConfigDrift):
        resolve(history, None, {}, DRIFT)


@pytest.mark.parametrize("text", ["", "null", "[]", '{"given": null}', "\xff"])
def test_origin_that_cannot_be_read_is_an_error_that_says_what_it_is_for(tmp_path, text):
    (tmp_path / "origin.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(StartError, match=r"origin\.json cannot be read: .*what the run began from"):
        resolve_start(tmp_path)


# --- states after a step whose figures were not finite


def test_states_after_a_spoilt_step_are_passed_over_and_named(caplog):
    history = History(Journal.of([OLD, NEW]), True, Origin(), "run", spoilt_step=20)
    assert decide_start(history, None, {}, (), NOW) == Resume(PATH_20, 20, OLD)
    assert "the state of batch 40" in caplog.text and "figures of step 20" in caplog.text
    with pytest.raises(NoUsableCheckpoint, match=f"{PATH_20}: its weights may be damaged"):
        decide_start(History(Journal.of([OLD, NEW]), True, Origin(), "run", spoilt_step=19), None, {}, (), NOW)


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ('"teacher_kl": NaN', 1),
        ('"teacher_kl":-Infinity', 1),
        ('"drift/max": Infinity', 1),
        ('"service/loss:sum": 1e+39', 1),
        ('"service/loss:sum": -2.5E300', 1),
        ('"service/loss:sum": 1e+38', None),
        ('"teacher_kl": 1e-300', None),
        ('"teacher_kl": null', None),
        ('"service/fastest": NaN', None),
        ('"teacher_kl": "NaN"', None),
    ],
)
def test_the_first_spoilt_step_is_told_by_its_decisive_figures(tmp_path, figure, expected):
    rows = ['{"step": 0, "teacher_kl": 0.5}', *('{"step": ' + step + figure + "}" for step in ("1, ", "2, "))]
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    assert first_spoilt_step(tmp_path) == expected
    assert read_history(tmp_path).spoilt_step == expected


def test_a_missing_or_torn_metrics_file_spoils_nothing(tmp_path):
    assert first_spoilt_step(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text('{"teacher_kl": NaN}\n{"step": 7, "teacher_kl": Na')
    assert first_spoilt_step(tmp_path) is None
