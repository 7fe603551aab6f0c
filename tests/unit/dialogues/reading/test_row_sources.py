"""Every container of rows gives the same rows, and what is wrong with a file is said with its place."""

import csv
import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from socratic_distill import DataExtraMissing, SeedError
from socratic_distill.dialogues.reading.json_rows import Row
from socratic_distill.dialogues.reading.packed import Source
from socratic_distill.dialogues.reading.sources import rows_of

ROWS: list[dict[str, Any]] = [
    {"question": "Tom has 7 apples\nand buys 5. How many?", "expected_answer": "12"},
    {"question": 'She said "3, or 4"; which is it?', "expected_answer": "4"},
    {"question": "Wie viele Äpfel, 🍎?", "expected_answer": "9"},
]
ONE_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path | str, split: str | None = None) -> list[Row]:
    return list(rows_of(Source(path, "seed", SeedError, split)))


def values(path: Path | str) -> list[dict[str, Any]]:
    rows = read(path)
    assert all(row.problem is None for row in rows), rows
    return [row.values for row in rows]


def refusal(path: Path | str, split: str | None = None) -> str:
    with pytest.raises(SeedError) as caught:
        read(path, split)
    return str(caught.value)


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_table(delimiter: str) -> Callable[[list[dict[str, Any]]], bytes]:
    def write(rows: list[dict[str, Any]]) -> bytes:
        import io

        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()

    return write


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the `data` extra")
    pytest.importorskip("pyarrow.parquet")
    stream = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
    return stream.getvalue().to_pybytes()


def packed(data: bytes, packing: str) -> bytes:
    if packing == ".gz":
        return gzip.compress(data)
    if packing == ".zst":
        return pytest.importorskip("zstandard", reason="needs the `data` extra").compress(data)
    return data


WRITERS = {
    "jsonl": as_jsonl,
    "ndjson": as_jsonl,
    "txt": as_jsonl,
    "json": lambda rows: json.dumps(rows, indent=2).encode(),
    "csv": as_table(","),
    "tsv": as_table("\t"),
    "parquet": as_parquet,
}


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_container_gives_the_same_rows(tmp_path, kind, packing):
    path = tmp_path / f"problems.{kind}{packing}"
    path.write_bytes(packed(WRITERS[kind](ROWS), packing))
    assert values(path) == ROWS
    assert Source(path, "seed", SeedError).stem == "problems"


@pytest.mark.parametrize("kind", ["JSONL.GZ", "Json", "CSV"])
def test_suffixes_are_read_in_any_case(tmp_path, kind):
    lower = kind.lower()
    path = tmp_path / f"problems.{kind}"
    path.write_bytes(packed(WRITERS[lower.partition(".")[0]](ROWS), ".gz" if ".gz" in lower else ""))
    assert values(path) == ROWS


def test_json_files_may_be_lines_and_may_name_their_objects(tmp_path):
    path = tmp_path / "problems.json"
    path.write_bytes(as_jsonl(ROWS))
    assert values(path) == ROWS
    path.write_text(json.dumps({"a": ROWS[0], "b": ROWS[1] | {"id": "own"}}, indent=1))
    assert values(path) == [{"id": "a"} | ROWS[0], ROWS[1] | {"id": "own"}]
    path.write_text(json.dumps(ROWS[0], indent=1))
    assert values(path) == ROWS[:1]
    path.write_text("[]")
    assert values(path) == []


def test_rows_of_a_json_list_have_their_lines(tmp_path):
    path = tmp_path / "problems.json"
    path.write_text('\n[{"a":\n 1}, {"a": 2},\n\n {"a": 3}, 4]\n')
    rows = read(path)
    places = ["line 2, entry 1", "line 3, entry 2", "line 5, entry 3", "line 5, entry 4"]
    assert [row.place for row in rows] == places and [row.number for row in rows] == [1, 2, 3, 4]
    assert "expected a JSON object, found a int" in str(rows[3].problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[{"a": 1},\n {"a": }]', "line 2: not JSON (Expecting value at column 8); a .json file of seeds is one list"),
        ('[{"a": 1}\n {"a": 2}]', "line 2: not JSON (Expecting ',' delimiter at column 2)"),
        ('[{"a": 1},]', "line 1: not JSON (Expecting value at column 11)"),
        ('[{"a": 1}]\n\nx', "line 3: not JSON (Extra data at column 1)"),
        ('[{"a": 1}', "line 1: not JSON (Expecting ',' delimiter at column 10)"),
        ("[", "line 1: not JSON (Expecting value at column 2)"),
        ('[\n{"a": NaN}]', "line 2: NaN is not JSON"),
        ('[\n{"a": 1, "a": 2}]', "line 2: a key occurs twice in one object"),
        ('{"a": 1,\n}', "line 2: not JSON"),
        ("[" * 100_000, "line 1: not a seed (nested too deeply)"),
        ("4", "expected a list of objects or an object a line, found a int"),
    ],
)
def test_a_json_document_that_is_none_is_refused_with_its_line(tmp_path, text, problem):
    path = tmp_path / "problems.json"
    path.write_text(text)
    message = refusal(path)
    assert message.startswith(str(path)) and problem in message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@ONE_FILE
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=5),
    indent=st.sampled_from([None, 0, 2]),
)
def test_a_json_list_gives_back_what_was_written(tmp_path, rows, indent):
    path = tmp_path / "problems.json"
    path.write_text(json.dumps(rows, indent=indent), encoding="utf-8")
    assert values(path) == rows


@ONE_FILE
@given(
    st.lists(st.sampled_from(["[", "]", "{", "}", ",", ":", '"a"', "1", "\n", " ", "NaN", "\\", '"', "\0", "é"])).map(
        "".join
    )
)
def test_hostile_json_is_read_or_refused(tmp_path, text):
    path = tmp_path / "problems.json"
    path.write_text(text, encoding="utf-8")
    try:
        rows = read(path)
    except SeedError as error:
        assert str(error).startswith(str(path))
    else:
        assert all(isinstance(row.values, dict) for row in rows)


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@ONE_FILE
@given(
    table=st.lists(st.tuples(cells, cells), max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    ends=st.sampled_from(["\n", "\r\n"]),
)
def test_a_table_gives_back_what_was_written(tmp_path, table, delimiter, ends):
    path = tmp_path / "problems.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=ends, quoting=csv.QUOTE_ALL)
        writer.writerows([("question", "expected_answer"), *table])
    expected = [
        {key: cell if cell.strip() else None for key, cell in zip(("question", "expected_answer"), row, strict=True)}
        for row in table
    ]
    assert values(path) == expected


@ONE_FILE
@given(st.lists(st.sampled_from(['"', ",", "\n", "\r", "a", "\0", "\ufeff", '""', "é"])).map("".join))
def test_a_hostile_table_is_read_or_refused(tmp_path, text):
    path = tmp_path / "problems.csv"
    path.write_bytes(b"a,b\n" + text.encode())
    try:
        rows = read(path)
    except SeedError as error:
        assert str(error).startswith(str(path))
    else:
        assert all(row.problem is not None or set(row.values) == {"a", "b"} for row in rows)


def test_a_table_may_hold_long_cells_and_leave_its_index_unnamed(tmp_path):
    long = "x" * 2**20
    path = tmp_path / "problems.csv"
    path.write_text(f',question,expected_answer\n0,{long},\n1,"a\n\nb",2\n\n', encoding="utf-8")
    rows = read(path)
    assert [row.values for row in rows] == [
        {"question": long, "expected_answer": None},
        {"question": "a\n\nb", "expected_answer": "2"},
    ]
    assert [row.place for row in rows] == ["line 2", "line 3"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'a,b\n1,2\n"open,3\n', "line 3: not a table (unexpected end of data)"),
        (b"a,b\n1,2\n1,\0\n", "line 3: holds a NUL character; save the file as UTF-8 text"),
        (b"a,b,a\n1,2,3\n", "line 1: the header names the column 'a' twice; rename one"),
        (b"a,b\n1,caf\xe9\n", "line 2: not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "line 1: not UTF-8"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_line(tmp_path, data, problem):
    path = tmp_path / "problems.csv"
    path.write_bytes(data)
    assert refusal(path).startswith(f"{path}, {problem}")


def test_a_row_of_other_length_is_a_problem_of_its_own(tmp_path):
    path = tmp_path / "problems.csv"
    path.write_text("a,b\n1,2\n1,2,3\n1\n1,2\n")
    rows = read(path)
    assert [row.problem is None for row in rows] == [True, False, False, True]
    assert str(rows[1].problem) == "it has 3 cells, the header has 2; a cell that holds ',' needs double quotes"
    assert rows[1].place == "line 3"


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["other", "cut", "flipped"])
def test_a_damaged_packed_file_is_refused(tmp_path, packing, damage):
    data = packed(as_jsonl(ROWS * 1000), packing)
    spoiled = {"other": b"no such file", "cut": data[: len(data) // 2], "flipped": data[:30] + b"\xff" * 9 + data[39:]}
    path = tmp_path / f"problems.jsonl{packing}"
    path.write_bytes(spoiled[damage])
    message = refusal(path)
    assert message.startswith(f"{path}") and ("unpacked" in message or "cut short" in message or "not UTF-8" in message)


def test_several_zstandard_frames_are_one_file(tmp_path):
    parts = [packed(as_jsonl([row]), ".zst") for row in ROWS]
    (tmp_path / "problems.jsonl.zst").write_bytes(b"".join(parts))
    assert values(tmp_path / "problems.jsonl.zst") == ROWS


def test_a_file_that_is_not_there_is_refused_whatever_its_kind(tmp_path):
    for name, kind in (("a.csv", "CSV"), ("a.json", "JSON"), ("a.jsonl.gz", "JSONL"), ("a.tsv", "TSV")):
        path = tmp_path / name
        expected = f"{path}: cannot be read (No such file or directory); expected a {kind} file of seeds"
        assert refusal(path) == expected


@pytest.mark.parametrize(
    ("name", "package"), [("a.parquet", "pyarrow"), ("a.jsonl.zst", "zstandard"), ("hub:a/b", "datasets")]
)
def test_a_missing_package_is_named_with_the_command_to_install_it(tmp_path, monkeypatch, name, package):
    for module in ("pyarrow", "pyarrow.parquet", "zstandard", "datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    given = name if name.startswith("hub:") else tmp_path / name
    if not name.startswith("hub:"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataExtraMissing, match=rf"needs {package}, not installed here\. .*pip install .*\[data\]"):
        read(given)


def test_a_split_is_only_for_what_has_splits(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_bytes(as_jsonl(ROWS))
    assert "split='train' is given, but only data sets on the hub" in refusal(path, "train")


class FakeData:
    """What is asked of a `datasets.Dataset`."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows, self.column_names = rows, list(rows[0])

    def with_format(self, kind: None) -> "FakeData":
        return self

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> dict[str, list[Any]]:
        return {name: [row[name] for row in self.rows[part]] for name in self.column_names}


class FakeDatasets:
    """A hub with one data set."""

    DatasetDict = dict

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def get_dataset_split_names(self, name: str, config: str | None) -> list[str]:
        if name != "openai/gsm8k":
            raise FileNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")
        return ["train", "test"]

    def load_dataset(self, name: str, config: str | None, split: str) -> FakeData:
        self.asked.append((name, config, split))
        return FakeData(ROWS * 1000)


@pytest.fixture
def hub(monkeypatch) -> FakeDatasets:
    fake = FakeDatasets()
    monkeypatch.setitem(sys.modules, "datasets", fake)  # pyright: ignore[reportArgumentType]
    return fake


def test_a_data_set_is_asked_for_by_name_configuration_and_split(hub):
    assert values("hub:openai/gsm8k:main@train") == ROWS * 1000
    assert read("hub:openai/gsm8k", "test")[-1].place == "row 3000"
    read("hf://datasets/openai/gsm8k@train")
    asked = [("openai/gsm8k", "main", "train"), ("openai/gsm8k", None, "test"), ("openai/gsm8k", None, "train")]
    assert hub.asked == asked
    assert Source("hub:openai/gsm8k:main@train", "seed", SeedError).stem == "gsm8k:main"


@pytest.mark.parametrize(
    ("name", "split", "problem"),
    [
        ("hub:openai/gsm8k", None, "has several splits, of 'train', 'test'; write 'hub:openai/gsm8k@train', or"),
        ("hub:openai/gsm8k@dev", None, "has no split 'dev', of 'train', 'test'"),
        ("hub:openai/gsm8k@dev", "train", "split='train' is given as well; keep one split"),
        ("hub:a b", None, "is no name of a data set; expected 'hub:NAME'"),
        ("hf://models/a/b", None, "is no name of a data set"),
        ("hub:openai/gsm9k@train", None, "cannot be read (FileNotFoundError: Dataset 'openai/gsm9k' doesn't exist"),
    ],
)
def test_a_data_set_that_cannot_be_found_is_refused(hub, name, split, problem):
    assert problem in refusal(name, split)


def test_saved_directories_are_read_by_datasets_itself(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the `data` extra")
    datasets.disable_progress_bars()
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "two")
    assert values(tmp_path / "one") == ROWS
    assert [row.values for row in read(tmp_path / "two", "test")] == ROWS
    assert "has several splits, of 'train', 'test'; name one: split='train'" in refusal(tmp_path / "two")
    (tmp_path / "one" / "state.json").write_text("{")
    assert "expected a directory that datasets saved with save_to_disk" in refusal(tmp_path / "one")


def test_a_damaged_parquet_file_is_refused(tmp_path):
    path = tmp_path / "problems.parquet"
    path.write_bytes(as_parquet(ROWS)[:-9])
    assert refusal(path).startswith(f"{path}: cannot be read (")
    path.write_bytes(b"no such file")
    assert refusal(path).endswith("expected a Parquet file")


def test_the_only_list_of_an_object_is_read_and_of_several_none(tmp_path):
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"data": ROWS}))
    assert values(path) == ROWS
    path.write_text(json.dumps({"train": ROWS, "test": ROWS}))
    assert refusal(path) == (
        f"{path}: it holds the lists 'train', 'test'; write the one that you mean to a file of its own"
    )
    messages = {"messages": [{"role": "user", "content": "7 and 5?"}]}
    path.write_text(json.dumps(messages))
    assert values(path) == [messages], "one dialogue is one row"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("quiz.xlsx", ".xlsx files are not read; save the sheet as CSV"),
        ("quiz.jsonl.bz2", ".bz2 files are not read; unpack it, or pack it with gzip or zstandard"),
        ("quiz.pkl.gz", ".pkl files are not read; write it as Parquet or JSONL"),
    ],
)
def test_a_file_of_a_kind_that_is_not_read_says_what_to_make_of_it(tmp_path, name, advice):
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    assert refusal(tmp_path / name) == f"{tmp_path / name}: {advice}"
