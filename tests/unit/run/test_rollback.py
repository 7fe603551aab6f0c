import itertools
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.examples import examples

from socratic_distill import StorageError
from socratic_distill.files import durable as files_module, rows as rows_module
from socratic_distill.run import rollback as rollback_module
from socratic_distill.run.rollback import next_step, roll_back

reproducible = settings(derandomize=True, deadline=None, max_examples=examples(150))


class Killed(BaseException):
    """The process ends here."""


def row(step: int, **more: Any) -> str:
    return json.dumps({"step": step, **more}) + "\n"


def written(path: Path, *rows: str) -> Path:
    path.write_text("".join(rows))
    return path


def superseded_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}.superseded.jsonl")


def test_rows_from_the_batch_on_move_to_the_superseded_file(tmp_path):
    path = written(tmp_path / "metrics.jsonl", *(row(step, loss=0.5) for step in range(6)))
    roll_back(path, 4)
    assert path.read_text() == "".join(row(step, loss=0.5) for step in range(4))
    assert (tmp_path / "metrics.superseded.jsonl").read_text() == row(4, loss=0.5) + row(5, loss=0.5)
    roll_back(written(path, *(row(step) for step in range(5))), 3)
    assert superseded_of(path).read_text() == row(4, loss=0.5) + row(5, loss=0.5) + row(3) + row(4)


def test_all_rows_of_a_step_move_together(tmp_path):
    rows = [row(step, dialogue=number) for step in range(3) for number in range(2)]
    path = written(tmp_path / "dialogues.jsonl", *rows)
    roll_back(path, 1)
    assert path.read_text() == "".join(rows[:2])
    assert superseded_of(path).read_text() == "".join(rows[2:])


@pytest.mark.parametrize("rows", [[], [row(0), row(1)]])
def test_nothing_moves_where_no_row_is_of_the_batch(tmp_path, rows):
    path = written(tmp_path / "metrics.jsonl", *rows)
    roll_back(path, 2)
    roll_back(tmp_path / "dialogues.jsonl", 2)
    assert path.read_text() == "".join(rows)
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_batch_zero_moves_everything(tmp_path):
    path = written(tmp_path / "metrics.jsonl", row(0), row(1))
    roll_back(path, 0)
    assert path.read_text() == "" and superseded_of(path).read_text() == row(0) + row(1)


@pytest.mark.parametrize("tail", ['{"st', '{"step": 1', "\x00\x00", "[]", "null", '{"step": "x"}', "7", '{"loss": 1}'])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_what_is_no_row_goes_with_the_rows_behind_it(tmp_path, tail, batch):
    path = written(tmp_path / "metrics.jsonl", row(0), row(1), tail)
    roll_back(path, batch)
    kept = [row(step) for step in range(2) if step < batch]
    assert path.read_text() == "".join(kept)
    moved = [row(step) for step in range(2) if step >= batch]
    assert superseded_of(path).read_text() == "".join(moved) + tail + "\n"


def test_what_is_no_row_stays_between_rows_that_stay(tmp_path):
    path = written(tmp_path / "metrics.jsonl", row(0), "torn\n", "\n", row(1), row(2))
    roll_back(path, 2)
    assert path.read_text() == row(0) + "torn\n" + "\n" + row(1)


def test_row_that_lost_only_its_newline_stays_and_the_next_is_separate(tmp_path):
    path = written(tmp_path / "metrics.jsonl", row(0), row(1).rstrip("\n"))
    roll_back(path, 2)
    with path.open("a") as file:
        file.write(row(2))
    assert path.read_text() == row(0) + row(1) + row(2)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.text(max_size=30)), max_size=8),
    st.integers(0, 10),
    st.integers(0, 12),
    st.sampled_from([1, 3, 16, 100, 1 << 20]),
)
@reproducible
def test_any_file_is_cut_where_its_rows_are(tmp_path_factory, steps, batch, torn, block):
    path = tmp_path_factory.mktemp("run") / "dialogues.jsonl"
    rows = [(step, row(step, text=text)) for step, (count, text) in enumerate(steps) for _ in range(count)]
    tail = row(len(steps), text="torn")[:torn]
    written(path, *(line for _, line in rows), tail)
    with mock.patch.object(rows_module, "_BLOCK_BYTES", block), mock.patch.object(os, "fsync"):
        assert next_step(path) == len(steps)
        roll_back(path, batch)
        assert next_step(path) == min(batch, len(steps))
    kept = "".join(line for step, line in rows if step < batch)
    moved = "".join(line for step, line in rows if step >= batch) + (tail and tail + "\n")
    assert path.read_text() == kept
    assert (superseded_of(path).read_text() if superseded_of(path).exists() else "") == moved


def test_next_step_of_no_file_and_of_no_rows(tmp_path):
    assert next_step(tmp_path / "metrics.jsonl") is None
    assert next_step(written(tmp_path / "metrics.jsonl")) == 0
    assert next_step(written(tmp_path / "metrics.jsonl", "torn\n", "\n")) == 0
    assert next_step(written(tmp_path / "metrics.jsonl", row(6), '{"st')) == 7


# --- a process that dies on the way -----------------------------------------------------------------------------------

ROWS = [row(step, text="x" * 20) for step in range(6)]


def moved_whole(path: Path) -> set[str]:
    return {line + "\n" for line in superseded_of(path).read_text().splitlines()}


def runs_until_killed(path: Path, patch: Callable[[int], Any]) -> int:
    """Rolls back, killed at the first, second, … place, each time on a fresh copy; gives the number of places."""
    for at in itertools.count():
        superseded_of(path).unlink(missing_ok=True)
        written(path, *ROWS, '{"st')
        try:
            with patch(at):
                roll_back(path, 3)
            return at
        except Killed:
            # Until the rows stand in the other file they are in this one.
            left = path.read_text()
            assert left.startswith("".join(ROWS[:3]))
            assert left.startswith("".join(ROWS)) or {*ROWS[3:]} <= moved_whole(path)
        roll_back(path, 3)
        assert path.read_text() == "".join(ROWS[:3])
        assert {*ROWS[3:]} <= moved_whole(path)
        after = superseded_of(path).read_bytes()
        roll_back(path, 3)
        assert superseded_of(path).read_bytes() == after and path.read_text() == "".join(ROWS[:3])
    raise AssertionError


@pytest.mark.parametrize("name", ["fsync", "open", "close"])
@pytest.mark.parametrize("done", [False, True])
def test_death_around_any_system_call_loses_no_row(tmp_path, name, done):
    """Death before or after the call; the next rollback moves the rows once more."""
    real = getattr(os, name)

    def patch(at: int) -> Any:
        calls = itertools.count()

        def call(*arguments: Any) -> Any:
            if (dies := next(calls) == at) and not done:
                raise Killed
            result = real(*arguments)
            if dies:
                raise Killed
            return result

        return mock.patch.object(os, name, call)

    # Syncs: the moved rows, their file's directory, the newline behind the torn one, the cut.
    assert runs_until_killed(tmp_path / "metrics.jsonl", patch) == {"fsync": 4, "open": 7, "close": 1}[name]


@pytest.mark.parametrize("block", [1 << 20, 64, 10])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 1.0])
def test_death_within_any_write_loses_no_row(tmp_path, block, share):
    real_append, real_truncate = rollback_module.append_durably, rollback_module.truncate_durably

    def patch(at: int) -> Any:
        calls = itertools.count()

        def append(path: Path, text: str | bytes) -> None:
            if next(calls) == at:
                if part := text[: int(len(text) * share)]:
                    real_append(path, part)
                raise Killed
            real_append(path, text)

        def truncate(path: Path, size: int) -> None:
            if (dies := next(calls) == at) and share < 1.0:
                raise Killed
            real_truncate(path, size)
            if dies:
                raise Killed

        patches = ExitStack()
        patches.enter_context(mock.patch.multiple(rollback_module, append_durably=append, truncate_durably=truncate))
        patches.enter_context(mock.patch.object(files_module, "append_durably", append))  # for the ends of lines
        return patches

    with mock.patch.object(rows_module, "_BLOCK_BYTES", block), mock.patch.object(os, "fsync"):
        assert runs_until_killed(tmp_path / "metrics.jsonl", patch) >= 3


@pytest.mark.parametrize("at", range(3))
def test_full_disk_is_a_storage_error_that_leaves_every_row_in_place(tmp_path, monkeypatch, at):
    path = written(tmp_path / "metrics.jsonl", *ROWS)
    calls = itertools.count()

    def fsync(descriptor: int) -> None:
        if next(calls) == at:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="No space left on device"):
        roll_back(path, 3)
    assert path.read_text() == "".join(ROWS) if at < 2 else path.read_text() == "".join(ROWS[:3])
    roll_back(path, 3)
    assert path.read_text() == "".join(ROWS[:3])
    assert moved_whole(path) == {*ROWS[3:]}
