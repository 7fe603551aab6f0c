"""How long a resume takes to find its state in a journal of a million records, against reading every line.

python tests/benchmarks/journal.py [records]
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from socratic_distill.journal import Journal
from socratic_distill.records import CheckpointRecord


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "checkpoints.jsonl"
        write(path, count)
        print(f"{count} records, {path.stat().st_size / 1e6:.0f} MB; best of 3")
        plain, last = timed(lambda: [json.loads(line) for line in path.read_text().splitlines()])
        ours, newest = timed(lambda: Journal.read(path).newest_state())
    assert newest is not None and newest.batch == last[-1]["batch"]
    print(f"every line read as JSON   {plain:6.2f} s")
    print(f"Journal.newest_state      {ours:6.2f} s   {plain / ours:.1f} times faster")


def write(path: Path, count: int) -> None:
    record = CheckpointRecord.model_validate(
        {"name": "NAME", "batch": 0, "state_path": "tinker://run:train:0/weights/NAME", "version": 0}
        | {"kind": "periodic", "created_at": "2026-01-01T00:00:00Z", "config_digest": "0123456789abcdef"}
    )
    template = record.to_line().replace("NAME", "%06d").replace('"batch": 0', '"batch": %d')
    with path.open("w") as file:
        file.writelines(template % (number, number, number) for number in range(count))


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    best, result = float("inf"), None
    for _ in range(3):
        began = time.perf_counter()
        result = call()
        best = min(best, time.perf_counter() - began)
    return best, result


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
