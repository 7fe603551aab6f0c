import json
import logging
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.examples import examples

from socratic_distill.errors import ConfigError, StorageError
from socratic_distill.files import rows as rows_module
from socratic_distill.files.durable import append_durably, end_line, open_regular, truncate_durably, write_atomically
from socratic_distill.files.rows import (
    lines_from_end,
    number,
    parse,
    parse_row,
    read_lines,
    read_object,
    read_rows,
    step_of,
    to_line,
    whole,
)

reproducible = settings(derandomize=True, deadline=None, max_examples=examples(100))
PURPOSE = "expected a test"
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=5), values, max_size=4)


@given(objects)
@reproducible
def test_row_survives_being_written_and_read(row):
    line, unfit = to_line(row)
    assert parse_row(line) == row and unfit == []
    assert line.count(b"\n") == 1 and line.isascii()


@given(st.binary(max_size=60))
@reproducible
def test_any_bytes_are_a_row_or_none(text):
    row = parse_row(text)
    assert row is None or isinstance(row, dict)


def test_numbers_that_are_not_finite_are_written_as_null_and_named():
    line, unfit = to_line({"kl": math.nan, "reward": math.inf, "step": 3, "nest": {"values": [-math.inf, 1.0]}})
    assert json.loads(line, parse_constant=pytest.fail) == {
        "kl": None, "reward": None, "step": 3, "nest": {"values": [None, 1.0]},
    }  # fmt: skip
    assert unfit == ["kl", "reward"]


def test_half_characters_are_written_as_replacement_characters():
    line, unfit = to_line({"text": "a\ud800b\U0001f600", "\udfff": [math.nan, "\ud800"], "kl": math.inf})
    assert json.loads(line) == {"text": "a�b\U0001f600", "�": [None, "�"], "kl": None}
    assert unfit == ["kl"]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (b'{"text": "\\ud800"}', {"text": "\ud800"}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"kl": NaN, "b": [-Infinity]}', {"kl": None, "b": [None]}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": "\xff"}', None),
        (b'{"a": 1}\x00', None),
        (b'{"a": 1', None),
        (b"[1]", None),
        (b"null", None),
        (b'{"a": ' + b"9" * 5000 + b"}", None),
    ],
)
def test_row_as_other_tools_and_older_versions_write_it(text, row):
    assert parse_row(text) == row


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity"])
def test_strict_json_has_no_nan(constant):
    with pytest.raises(ValueError, match=r"not JSON|expected value"):
        parse(b'{"a": ' + constant + b"}")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"a": [', b'["\\ud800",'])
def test_deep_nesting_is_refused_at_its_first_bracket_alone(opening):
    with pytest.raises(ValueError, match=r"EOF|deeply|recursion"):
        parse(opening * (1 << 20))  # parsing anew at each bracket would take minutes


@pytest.mark.parametrize("depth", [199, 900])
def test_nesting_of_half_characters_has_the_same_limit(depth):
    text = b"[" * depth + b'"\\ud800"' + b"]" * depth
    if depth < 200:
        assert str(parse(text)).count("[") == depth
    else:
        with pytest.raises(ValueError, match="deeply"):
            parse(text)


def test_rows_skip_bad_lines_with_one_warning_and_a_torn_end_without(tmp_path, caplog):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n\n[2]\r\n{"a": 3}\r\nnonsense\n{"a": 4}\n{"a": ')
    with caplog.at_level(logging.WARNING):
        assert [row["a"] for row in read_rows(path)] == [1, 3, 4]
    (warning,) = caplog.messages
    assert str(path) in warning and "line 3, 5" in warning


def test_last_row_that_lost_only_its_newline_counts(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}')
    assert [row["a"] for row in read_rows(path)] == [1, 2]


def test_rows_of_no_file_are_none(tmp_path):
    assert list(read_rows(tmp_path / "rows.jsonl")) == []


def test_lines_say_where_they_stand(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\n{"a": 1}\n?\n{"a": "\xc3\xbc"}\n')
    data, skipped = path.read_bytes(), []
    found = list(read_lines(path, skipped))
    assert [json.loads(data[line.offset : line.offset + line.size]) for line in found] == [line.row for line in found]
    assert [line.number for line in found] == [2, 4] and skipped == [3]


def test_line_of_any_length_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "_MOST_LINE_BYTES", 20)
    path, skipped = tmp_path / "rows.jsonl", []
    path.write_bytes(b'{"a": 1}\n{"a": "' + b"x" * 100 + b'"}\n{"a": 2}\n')
    found = list(read_lines(path, skipped))
    assert [(line.number, line.offset, line.row["a"]) for line in found] == [(1, 0, 1), (3, 119, 2)] and skipped == [2]


@given(st.lists(st.binary(max_size=8).map(lambda line: line.replace(b"\n", b"?"))), st.booleans(), st.integers(1, 9))
@reproducible
def test_lines_from_the_end_are_those_of_the_file(tmp_path_factory, lines, ends, block):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n" * ends)
    expected, offset = [], 0
    for line in lines:
        expected.append((offset, line))
        offset += len(line) + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "_BLOCK_BYTES", block)
        assert list(lines_from_end(path)) == [(at, line) for at, line in expected if line][::-1]


# --- what is opened -----------------------------------------------------------------------------------------------


def spoil(path: Path, how: str, outside: Path) -> None:
    if how == "named pipe":
        os.mkfifo(path)
    elif how == "directory":
        path.mkdir()
    elif how == "link in a circle":
        path.symlink_to(path)
    elif how == "link to a device":
        path.symlink_to("/dev/zero")
    else:
        outside.write_text('{"secret": 1}\n')
        path.symlink_to(outside)


@pytest.mark.parametrize(
    "how", ["named pipe", "directory", "link in a circle", "link to a device", "link out of the directory"]
)
def test_what_is_no_file_of_the_directory_is_refused_at_once(tmp_path, how):
    path = tmp_path / "run" / "rows.jsonl"
    path.parent.mkdir()
    spoil(path, how, tmp_path / "secret.jsonl")
    with pytest.raises(OSError):
        open_regular(path)
    with pytest.raises(StorageError, match=r"rows\.jsonl cannot be read"):
        list(read_rows(path))
    with pytest.raises(ConfigError, match=r"rows\.jsonl cannot be read: .*; expected a test"):
        read_object(path, ConfigError, PURPOSE)


@pytest.mark.parametrize(
    "how", ["named pipe", "directory", "link in a circle", "link to a device", "link out of the directory"]
)
@pytest.mark.parametrize(
    "write", [lambda path: append_durably(path, "row\n"), lambda path: truncate_durably(path, 0), end_line]
)
def test_what_is_no_file_of_the_directory_is_not_written(tmp_path, how, write):
    path = tmp_path / "run" / "rows.jsonl"
    path.parent.mkdir()
    spoil(path, how, tmp_path / "secret.jsonl")
    if write is end_line and how in ("link in a circle", "named pipe", "link to a device"):
        write(path)  # an empty file, or none
    else:
        with pytest.raises(StorageError, match=r"rows\.jsonl cannot be written"):
            write(path)
    if how == "link out of the directory":
        assert (tmp_path / "secret.jsonl").read_text() == '{"secret": 1}\n'


@pytest.mark.parametrize("how", ["named pipe", "link in a circle", "link to a device", "link out of the directory"])
@pytest.mark.parametrize("name", ["run.json", "run.json.partial"])
def test_file_is_replaced_whatever_stands_at_its_name(tmp_path, how, name):
    (tmp_path / "run").mkdir()
    spoil(tmp_path / "run" / name, how, tmp_path / "secret.json")
    write_atomically(tmp_path / "run" / "run.json", "{}")
    assert (tmp_path / "run" / "run.json").read_text() == "{}" and os.listdir(tmp_path / "run") == ["run.json"]
    if how == "link out of the directory":
        assert (tmp_path / "secret.json").read_text() == '{"secret": 1}\n'


def test_link_within_the_directory_is_followed(tmp_path):
    (tmp_path / "kept.json").write_text("{}")
    (tmp_path / "run.json").symlink_to("kept.json")
    assert read_object(tmp_path / "run.json", ConfigError, PURPOSE) == {}


def test_directory_may_itself_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "run.json").write_text("{}")
    (tmp_path / "run").symlink_to("disk")
    assert read_object(tmp_path / "run" / "run.json", ConfigError, PURPOSE) == {}


def test_linked_folder_of_a_run_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0.json").write_text("{}")
    run = tmp_path / "run"
    run.mkdir()
    (run / "evaluations").symlink_to("../elsewhere")
    with pytest.raises(ConfigError, match="leads out of the directory"):
        read_object(run / "evaluations" / "0.json", ConfigError, PURPOSE, root=run)


# --- objects and values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"[" * 10**6, b'{"a": NaN}', b'{"a": [1e400]}', b'"\xff"'])
def test_object_that_cannot_be_read_is_an_error_of_the_callers_kind(tmp_path, text):
    (tmp_path / "run.json").write_bytes(text)
    with pytest.raises(ConfigError, match=r"run\.json .*; expected a test"):
        read_object(tmp_path / "run.json", ConfigError, PURPOSE)


def test_object_of_no_file_is_none(tmp_path):
    assert read_object(tmp_path / "run.json", ConfigError, PURPOSE) is None


def test_object_of_an_older_version_may_hold_nan(tmp_path):
    (tmp_path / "run.json").write_bytes(b'{"a": NaN}')
    assert read_object(tmp_path / "run.json", ConfigError, PURPOSE, lenient=True) == {"a": None}


@pytest.mark.parametrize(
    ("value", "as_whole", "as_number"),
    [
        (3, 3, 3.0), (-1, -1, -1.0), (2.5, None, 2.5), (True, None, None), ("3", None, None), ([3], None, None),
        (2**63 - 1, 2**63 - 1, float(2**63)), (2**63, None, float(2**63)), (10**400, None, None),
        (math.inf, None, None), (math.nan, None, None), (None, None, None), ({}, None, None),
    ],
)  # fmt: skip
def test_values_are_of_their_type_or_none(value, as_whole, as_number):
    assert (whole(value), number(value)) == (as_whole, as_number)


@pytest.mark.parametrize("step", [-1, True, 10**30, "1", None, [1], 1.0])
def test_step_is_a_whole_number_from_0(step):
    assert step_of({"step": step}) is None and step_of({"step": 7}) == 7 and step_of({}) is None
