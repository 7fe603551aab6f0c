"""Exports read by the libraries that they are for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.on_the_fake import strict_run
from tests.support.rows import write_rows

from socratic_distill.outputs.exports import export_csv, export_dataset, export_messages

pytestmark = pytest.mark.trackers


@pytest.fixture
def log_path(make_config):
    config = make_config()
    strict_run(config)
    return Path(config.log_path)


def load(directory: Path, **options: Any) -> Any:
    import datasets  # pyright: ignore[reportMissingImports]

    datasets.disable_progress_bars()
    (split,) = datasets.load_dataset(str(directory), **options).items()
    assert split[0] == "train"
    return split[1]


def test_pandas_reads_the_table_as_the_metrics_are(log_path, tmp_path):
    import pandas  # pyright: ignore[reportMissingImports]

    export_csv(log_path, tmp_path / "metrics.csv")
    table = pandas.read_csv(tmp_path / "metrics.csv")
    rows = [json.loads(line) for line in (log_path / "metrics.jsonl").read_text().splitlines()]
    assert len(table) == len(rows) == 6 and table["step"].is_unique
    assert set(table.columns) == {key for row in rows for key in row}
    for number, row in enumerate(rows):
        for key, value in row.items():
            found: Any = table[key][number]
            assert pandas.isna(found) if value is None else found == pytest.approx(value, rel=1e-15), key


@pytest.mark.parametrize("tokens", [False, True])
def test_datasets_loads_the_folder_without_code(log_path, tmp_path, tokens):
    export_dataset(log_path, tmp_path / "set", tokens=tokens)
    data = load(tmp_path / "set")
    rows = [json.loads(line) for line in next((tmp_path / "set" / "data").iterdir()).read_text().splitlines()]
    assert data.column_names == list(rows[0])
    assert data.to_list() == rows and len(rows) == 36
    assert ("tutor_turns" in data.column_names) == tokens


def test_datasets_reloads_a_folder_of_the_same_name_after_more_steps(log_path, tmp_path):
    lines = (log_path / "dialogues.jsonl").read_text().splitlines(keepends=True)
    for count in (6, 12):
        (log_path / "dialogues.jsonl").write_text("".join(lines[:count]))
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        export_dataset(log_path, tmp_path / "set")
        assert len(load(tmp_path / "set")) == count


def test_datasets_takes_a_reward_that_is_there_in_later_rows_alone(log_path, tmp_path):
    """Read in small parts, each part of which would have a guessed type of its own."""
    lines = (log_path / "dialogues.jsonl").read_text().splitlines()
    rows = [json.loads(line) | {"reward": 0.5 if number > 30 else None} for number, line in enumerate(lines)]
    write_rows(log_path / "dialogues.jsonl", *rows)
    export_dataset(log_path, tmp_path / "set")
    data = load(tmp_path / "set", chunksize=2000)
    assert data["reward"][:] == [row["reward"] for row in rows]


def test_datasets_takes_texts_with_anything_in_them(log_path, tmp_path):
    lines = (log_path / "dialogues.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    row["turns"][1]["text"] = "half \ud83d, whole 😀, \x00\u2028\r\n---\n<b>"
    (log_path / "dialogues.jsonl").write_text("\n".join([json.dumps(row), *lines[1:]]) + "\n")
    export_dataset(log_path, tmp_path / "set")
    said = load(tmp_path / "set")[0]["messages"][1]["content"]
    assert said == "half �, whole 😀, \x00\u2028\r\n---\n<b>"
    (tmp_path / "talks").mkdir()
    export_messages(log_path, tmp_path / "talks" / "messages.jsonl")
    assert load(tmp_path / "talks")[0]["messages"][1]["content"] == said
