"""Random damage to a run directory, by chance or by malice; the same seed does the same."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBERS = ["10**30", "10**4000", "1e400", "-1e400", "NaN", "Infinity", "-1", "-0.0", "1e308", "5e-324", "0", "10**12"]
TEXTS = [
    "", " ", "\x00", "a\x00b", "\x1b]52;c;aGk=\x07", "\x1b[2J\x9b31m", "\u202egpj", "\ud800", "\udfff\ud800", "\r\n",
    "x" * 100_000, "=cmd()", "../../../etc/hostname", "/etc/hostname", "/dev/zero", "~/.ssh/id_rsa", "**", "file:///x",
    "tinker://", "tinker://x/weights/", "s3://bucket/x", "true", "1", "null", "\u2028", "%s%n{0}", "NaN",
]  # fmt: skip
OTHER_TYPES: list[Any] = [None, True, False, [], {}, [[]], {"a": 1}, [1, "a", None], {"name": {"name": []}}]
_FILES = (
    "config.json", "run.json", "origin.json", "fingerprint.json", "checkpoints.jsonl", "metrics.jsonl",
    "dialogues.jsonl", "server_runs.jsonl",
)  # fmt: skip
_FEATURES = "features.json"
# Files and folders that commands may write.
_OTHERS = (
    "evaluations", "local", ".lock", ".lock.json", ".lock.json.partial", "report.html", "report.html.partial",
    "run.json.partial", "checkpoints.jsonl.partial", "checkpoints.jsonl.damaged", "features.json.partial",
    "metrics.superseded.jsonl",
)  # fmt: skip
# Text in place of a value that the standard library does not write.
_RAW = "\ue000raw:{}\ue001"


def corrupt(run: Path, outside: Path, seed: int) -> list[str]:
    """Damages a run directory; gives what was done, as sentences.

    Args:
        run: the directory.
        outside: a directory beside it, whose files must not be read.
        seed: of the choice.
    """
    rng = random.Random(seed)
    return [rng.choice(CORRUPTIONS)(rng, run, outside) for _ in range(rng.choice((1, 1, 2, 3)))]


def _file(rng: random.Random, run: Path) -> Path:
    """One of the run's files; configs and journals, which steer most, more often."""
    if rng.random() < 0.2:
        (run / _FEATURES).write_text('{"http://127.0.0.1:9": {"topk_prompt_logprobs": true}}')
    evaluations = sorted(path.relative_to(run).as_posix() for path in (run / "evaluations").glob("*.json"))
    states = sorted(path.relative_to(run).as_posix() for path in run.glob("local/*/*/*/*.json"))
    names = [*_FILES, "config.json", "checkpoints.jsonl", *evaluations[:1], *states[:2], *states[-2:], _FEATURES]
    there = [name for name in names if (run / name).is_file()]
    return run / rng.choice(there or ["config.json"])


def _bytes(rng: random.Random, run: Path, change: Callable[[bytes], bytes]) -> Path:
    path = _file(rng, run)
    if path.is_file():
        path.write_bytes(change(path.read_bytes()))
    return path


def _truncate(rng: random.Random, run: Path, outside: Path) -> str:
    return f"cut {_bytes(rng, run, lambda data: data[: rng.randrange(len(data) + 1)])}"


def _flip(rng: random.Random, run: Path, outside: Path) -> str:
    def flip(data: bytes) -> bytes:
        flipped = bytearray(data)
        for _ in range(rng.choice((1, 3, 50)) if data else 0):
            flipped[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(flipped)

    return f"flipped bytes of {_bytes(rng, run, flip)}"


def _insert(rng: random.Random, run: Path, outside: Path) -> str:
    what = rng.choice((b"\x00" * 4096, b"\xef\xbb\xbf", b"\xff\xfe", b"\n\n", b"\x1b]0;x\x07", b"}" * 9, b'{"name": '))

    def insert(data: bytes) -> bytes:
        at = rng.choice((0, rng.randrange(len(data) + 1), len(data)))
        return data[:at] + what + data[at:]

    return f"inserted {what[:9]!r} in {_bytes(rng, run, insert)}"


def _append(rng: random.Random, run: Path, outside: Path) -> str:
    line = rng.choice(
        (
            b"[" * 300_000, b'{"a": [' * 40_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"9" * 200_000, b"NaN", b"[]",
            b'{"name": "' + b"x" * 2_000_000 + b'"}', b'{"step": 1, "step": 2, "name": "a", "name": "b"}',
            b'{"step": ' + b"9" * 4000 + b', "name": "a", "batch": ' + b"9" * 4000 + b"}", b"\xff" * 100, b"{}",
            b'{"step": 3}', b'{"name": "x", "batch": 3, "state_path": "\\ud800"}',
        )
    )  # fmt: skip
    first = rng.random() < 0.3
    path = _bytes(rng, run, lambda data: line + b"\n" + data if first else data + line + rng.choice((b"", b"\n")))
    return f"{'first' if first else 'last'} line {line[:30]!r} in {path}"


def _line_ends(rng: random.Random, run: Path, outside: Path) -> str:
    ends = rng.choice((b"\r\n", b"\r", b"\x00"))
    return f"line ends {ends!r} in {_bytes(rng, run, lambda data: data.replace(chr(10).encode(), ends))}"


def _value(rng: random.Random, run: Path, outside: Path) -> str:
    """Another value, or key, at a random place in the JSON of a file."""
    path = _file(rng, run)
    try:
        rows = [json.loads(line) for line in _documents(path)]
    except (OSError, ValueError):
        return f"nothing to change in {path}"
    if not rows:
        return f"nothing to change in {path}"
    done = []
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(rows))
        rows[at], where = _changed(rng, rows[at])
        done.append(where)
    _write(path, rows)
    return f"{path}: {'; '.join(done)}"


def _documents(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def _write(path: Path, rows: list[Any]) -> None:
    text = "\n".join(json.dumps(row) for row in rows) + "\n"
    for name in NUMBERS:
        raw = str(eval(name)) if "**" in name else name
        text = text.replace(json.dumps(_RAW.format(name)), raw)
    text = text.replace(json.dumps(_RAW.format("deep")), "[" * 150 + "]" * 150)
    path.write_text(text.replace(json.dumps(_RAW.format("deeper")), "[" * 3000 + "]" * 3000))


def _changed(rng: random.Random, value: Any, where: str = "$") -> tuple[Any, str]:
    # Seldom the whole, mostly a part.
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.1:
            return {name: part for name, part in value.items() if name != key}, f"{where}.{key} left out"
        part, told = _changed(rng, value[key], f"{where}.{key}")
        return {**value, key: part}, told
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        part, told = _changed(rng, value[at], f"{where}[{at}]")
        return [*value[:at], part, *value[at + 1 :]], told
    kind = rng.randrange(4)
    if kind == 0:
        found: Any = _RAW.format(rng.choice([*NUMBERS, "deep", "deeper"]))
    elif kind == 1:
        found = rng.choice(TEXTS)
    elif kind == 2 and isinstance(value, str):
        found = value + rng.choice(TEXTS)[:1000]
    else:
        found = rng.choice(OTHER_TYPES)
    return found, f"{where} = {ascii(found)[:40]}"


def _special_file(rng: random.Random, run: Path, outside: Path) -> str:
    path = _file(rng, run)
    if rng.random() < 0.25:
        path = run / rng.choice(_OTHERS)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    how = rng.choice(("pipe", "directory", "circle", "outside", "outside folder", "device", "dangling", "gone"))
    if how == "pipe":
        os.mkfifo(path)
    elif how == "directory":
        path.mkdir()
        (path / "inner").write_text("{}")
    elif how != "gone":
        targets = {"circle": path, "outside": outside / f"secret{path.suffix or '.json'}", "outside folder": outside,
                   "device": Path("/dev/zero"), "dangling": outside / "nothing"}  # fmt: skip
        path.symlink_to(targets[how])
    return f"{path} is now: {how}"


def _swap(rng: random.Random, run: Path, outside: Path) -> str:
    one, other = _file(rng, run), _file(rng, run)
    if one != other and one.is_file() and other.is_file():
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)
    return f"swapped {one} and {other}"


def _config(rng: random.Random, run: Path, outside: Path) -> str:
    """What a stranger would write into a config to be obeyed."""
    path = run / "config.json"
    try:
        fields = json.loads(path.read_bytes())
        assert isinstance(fields, dict)
    except (OSError, ValueError, AssertionError, RecursionError):
        return "no config to change"
    secret = str(outside / "secret")
    hostile: list[dict[str, Any]] = [
        {"base_url": "http://127.0.0.1:9"},
        {"base_url": "http://stranger.example:8000"},
        {"base_url": "https://KEY:SECRET@stranger.example"},
        {"base_url": "local"},
        {"rewards": [{"kind": "function", "function": "evil_rewards:reward"}]},
        {"objective": {"kind": "custom", "function": "evil_rewards:reward"}},
        {"trust_remote_code": True},
        {"trust_remote_code": True, "base_url": "local", "tutor_model_name": str(outside / "model")},
        {"base_url": "local", "student_model_name": "../outside/model"},
        {"seeds_file": f"{secret}.jsonl"},
        {"seeds_files": [f"{secret}.jsonl"]},
        {"tutor_prompt_file": f"{secret}.txt", "teacher_prompt_file": f"{secret}.txt"},
        {"student_prompt_file": "../outside/secret.txt"},
        {"student_prompt_file": "/etc/hostname"},
        {"seeds_file": "/dev/zero"},
        {"tutor_prompt_file": str(run / "pipe")},
        {"recordings": {"files": [f"{secret}.jsonl"]}},
        {"load_checkpoint_path": str(outside)},
        {"load_checkpoint_path": f"{secret}.jsonl"},
        {"log_path": str(outside)},
        {"max_steps": 10**9, "eval_every": 1},
        {"max_steps": 10**30},
        {"max_turns": 10**9, "max_turns_schedule": {"start": 1, "end": 10**9, "steps": 10**9}},
        {"epochs": 10**9, "max_steps": None},
        {"groups_per_batch": 10**12},
        {"num_envs": 10**9, "max_steps": 10**9},
        {"eval_dialogues_per_seed": 10**9, "eval_solve_samples": 10**9},
        {"prices": {"small": {"prefill": 1e308, "sample": 1e308, "train": 1e308}}},
        {"trackers": ["wandb", "tensorboard"], "tracker_project": "../../x"},
        {"judge": {"model_name": str(outside / "model")}},
        {"teachers": [{"name": "\x1b[2J", "prompt_file": f"{secret}.txt"}]},
        {"tutor_model_name": "evil/\x1b]0;x\x07", "student_profile": "\ud800"},
        {"temperature": 1e308, "max_tokens": 2**31},
    ]
    if rng.random() < 0.2 and not (run / "pipe").exists():
        os.mkfifo(run / "pipe")
    changes = rng.choice(hostile)
    path.write_text(json.dumps({**fields, **changes}))
    return f"config.json: {changes!a}"


def _journal(rng: random.Random, run: Path, outside: Path) -> str:
    """Records that name what is not the run's, or mean what cannot be."""
    states = ["tinker://fake-0002:train:0/weights/final", str(outside / "weights" / "final"), "/", "", "\x00", "../.."]
    states += [
        str(run / "local" / ".." / ".." / "outside" / "weights" / "final"),
        "tinker://x",
        "file:///",
        str(outside),
    ]
    row: dict[str, Any] = {"name": "000001", "batch": rng.choice((0, 1, 2, 3, 10**30, -1, None))}
    row[rng.choice(("state_path", "sampler_path", "deleted_path"))] = rng.choice(states)
    row |= rng.choice(({}, {"resumed_at": "2026-01-01T00:00:00Z"}, {"kind": "rolling", "version": 1}, {"final": True}))
    row |= rng.choice(({}, {"expires_at": "9999-12-31T23:59:59Z"}, {"created_at": "0001-01-01T00:00:00+14:00"}))
    row |= rng.choice(({}, {"epoch": 10**30}, {"run_id": {}}, {"epoch": -1}))
    path = run / "checkpoints.jsonl"
    if path.is_file():
        lines = path.read_bytes().splitlines(keepends=True)
        lines.insert(rng.choice((0, len(lines))), json.dumps(row).encode() + b"\n")
        path.write_bytes(b"".join(lines))
    return f"checkpoints.jsonl: {row!a}"


CORRUPTIONS: list[Callable[[random.Random, Path, Path], str]] = [
    _truncate, _flip, _insert, _append, _append, _line_ends, _value, _value, _value, _value, _special_file,
    _special_file, _swap, _config, _config, _config, _journal, _journal,
]  # fmt: skip
