"""How long a start spends on a journal of a million records, against reading every line, and in how much memory.

python tests/benchmarks/journal.py [records]
"""

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from socratic_distill import CheckpointManager, CheckpointRecord, Resume, resolve_start
from socratic_distill.run.journal import Journal

STATES = "tinker://run:train:0/weights/"


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "checkpoints.jsonl"
        write(path, count)
        print(f"{count} records, {path.stat().st_size / 1e6:.0f} MB; each in a process of its own")
        for measure in (every_line, first_start, next_start):
            # A fork would begin with this process's memory.
            process = multiprocessing.get_context("spawn").Process(target=measure, args=(path,))
            process.start()
            process.join()
            assert process.exitcode == 0


def every_line(path: Path) -> None:
    seconds, rows = timed(lambda: [json.loads(line) for line in path.read_text().splitlines()])
    print(f"every line read as JSON                {seconds:6.2f} s, {peak()}; {len(rows)} rows")


def first_start(path: Path) -> None:
    """What a resume does with the journal of a run that never stopped before."""
    start("start of a run that never stopped", path)


def next_start(path: Path) -> None:
    """And with one that it has gone on in."""
    start("start of a run that resumed before", path)


def start(what: str, path: Path) -> None:
    manager = CheckpointManager(path)
    found, begun = timed(lambda: resolve_start(path.parent))
    assert isinstance(begun, Resume)
    first, _ = timed(lambda: manager.mark_resumed(begun.batch, begun.record))
    finals, _ = timed(lambda: Journal.read(path).finals(begun.batch))
    # A hundred states that the service lists, of which the journal lacks one.
    listed = [f"{STATES}{begun.batch - 20 * place:06d}" for place in range(99)]
    asked, known = timed(lambda: Journal.read(path).known([*listed, STATES + "orphan"]))
    assert known == set(listed)
    later = {"batch": begun.batch + 20, "state_path": f"{STATES}{begun.batch + 20:06d}"}
    second, _ = timed(lambda: manager.append(begun.record.model_copy(update=later)))
    print(f"{what:38} {found + first + finals + asked:6.2f} s, {peak()}")
    print(f"  resolve_start                        {found:6.2f} s")
    print(f"  first record, the whole file checked {first:6.2f} s")
    print(f"  what is final                        {finals:6.2f} s")
    print(f"  what of 100 listed states is known   {asked:6.2f} s")
    print(f"  next record                          {second:6.2f} s")


def write(path: Path, count: int) -> None:
    """Sampler weights of each step and a state of every twentieth, as a run writes them."""
    common = {"version": 0, "created_at": "2026-01-01T00:00:00Z", "expires_at": "2999-01-01T00:00:00Z"}
    common |= {"name": "NAME", "batch": 0, "config_digest": "0123456789abcdef"}
    state = template({**common, "state_path": STATES + "NAME", "kind": "periodic"})
    sampler = template({**common, "sampler_path": "tinker://run:train:0/sampler_weights/NAME", "kind": "sampler"})
    with path.open("w") as file:
        file.writelines((sampler if number % 20 else state) % ((number,) * 4) for number in range(count))


def template(row: dict[str, Any]) -> str:
    line = CheckpointRecord.model_validate(row).to_line().replace("NAME", "%06d")
    return line.replace('"batch": 0', '"batch": %d').replace('"version": 0', '"version": %d')


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def peak() -> str:
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
