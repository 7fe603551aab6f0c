"""Large files are read in seconds: against plain JSON, so that a slow machine changes nothing."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from socratic_distill import load_seeds

COUNT = 100_000
# `json.loads` of 100,000 such lines takes 0.35 s on two idle cores, and `load_seeds` 3 s: 8 to 9 times as long.
MOST = 20


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "question": f"Tom has {n} apples and buys {n % 7} more. How many apples does he have now, in all baskets?",
            "expected_answer": str(n + n % 7),
            "initial_error": f"{n} - {n % 7} = {n - n % 7}, so that many.",
            "tags": ["apples"],
        }
        for n in range(count)
    ]


def seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()  # not the wall's: others may use the cores
    work()
    return time.process_time() - start


def plain(count: int) -> float:
    lines = [json.dumps(row) for row in rows(count)]
    return min(seconds(lambda: [json.loads(line) for line in lines]) for _ in range(3))


def best_of_three(path: Path) -> float:
    return min(seconds(lambda: load_seeds(path)) for _ in range(3))


def write_jsonl(path: Path, count: int) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count)))


@pytest.mark.slow
def test_a_hundred_thousand_lines_take_few_times_as_long_as_their_json(tmp_path):
    write_jsonl(tmp_path / "large.jsonl", COUNT)
    assert len(load_seeds(tmp_path / "large.jsonl")) == COUNT
    taken = min(seconds(lambda: load_seeds(tmp_path / "large.jsonl")) for _ in range(2))
    assert taken < MOST * plain(COUNT), f"{taken:.1f} s"


@pytest.mark.slow
def test_a_hundred_thousand_rows_of_parquet_take_no_longer_than_lines(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs the `data` extra")
    pytest.importorskip("pyarrow.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows(COUNT)), tmp_path / "large.parquet")
    taken = min(seconds(lambda: load_seeds(tmp_path / "large.parquet")) for _ in range(2))
    assert taken < MOST * plain(COUNT), f"{taken:.1f} s"


def test_reading_grows_with_the_number_of_rows_alone(tmp_path):
    for count in (1000, 8000):
        write_jsonl(tmp_path / f"{count}.jsonl", count)
        (tmp_path / f"{count}.json").write_text(json.dumps(rows(count)))
    for kind in ("jsonl", "json"):
        few, many = (best_of_three(tmp_path / f"{count}.{kind}") for count in (1000, 8000))
        assert many < 8 * 3 * few, f"{kind}: {few:.3f} s and {many:.3f} s"


def test_a_limit_reads_no_further(tmp_path):
    write_jsonl(tmp_path / "large.jsonl", 20_000)
    whole = seconds(lambda: load_seeds(tmp_path / "large.jsonl"))
    assert min(seconds(lambda: load_seeds(tmp_path / "large.jsonl", 10)) for _ in range(3)) < whole / 20
