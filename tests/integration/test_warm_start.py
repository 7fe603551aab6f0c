"""`examples/warm_start.py`, on the packaged tiny model."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
from tests.support.rows import write_rows

pytest.importorskip("torch")
pytest.importorskip("peft")

from safetensors.torch import load_file
from tests.support.rows import read_rows

from socratic_distill import load_checkpoints
from socratic_distill.local.tiny import TRAIN_SEEDS

EXAMPLE = Path(__file__).parents[2] / "examples" / "warm_start.py"
FILES = ("metrics.jsonl", "dialogues.jsonl")


def run_example(monkeypatch, *arguments):
    spec = importlib.util.spec_from_file_location("warm_start", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *map(str, arguments)])
    spec.loader.exec_module(module)
    module.main()


def figures(text):
    """What it printed of start, warm start and on-policy: tells, asks and solved, percent, and teacher_kl."""
    measures = ("first_reply/tells", "first_reply/asks", "solved", "teacher_kl")
    lines = [next(line for line in text.splitlines() if line.strip().startswith(f"{name} ")) for name in measures]
    rows = [[float(value) for value in re.findall(r"(-?[\d.]+)%? \[", line)] for line in lines]
    return dict(zip(("start", "warm start", "on-policy"), zip(*rows, strict=True), strict=True))


def weights(run, name):
    """The adapter that a run saved for its sampler under a name."""
    found = [one.sampler_path for one in load_checkpoints(run) if one.name == name and one.sampler_path]
    return load_file(Path(found[-1]) / "adapter_model.safetensors")


def assert_begins_where_the_other_ended(run, other):
    origin = json.loads((run / "origin.json").read_text())
    assert origin == {"given": str(other), "resolved": load_checkpoints(other)[-1].state_path}
    first, last = weights(run, "000000"), weights(other, "final")
    assert first.keys() == last.keys()
    assert all((first[key] == last[key]).all() for key in first)
    assert any((first[key] != value).any() for key, value in weights(other, "000000").items()), "it had learned nothing"


@pytest.mark.slow
def test_example_warms_the_tutor_up_and_goes_on_on_policy(tmp_path, monkeypatch, capsys):
    run_example(monkeypatch, "--warm-steps", 3, "--steps", 2, "--log-path", tmp_path)
    start, warm, on_policy = figures(capsys.readouterr().out).values()
    assert on_policy[0] < warm[0] < start[0], "each stage tells less than the one before"
    assert on_policy[1] > warm[1] > start[1], "and asks more"
    assert on_policy[3] < warm[3] < start[3], "and is nearer to the teacher"

    recorded = read_rows(tmp_path / "recorded" / "dialogues.jsonl")
    assert len(recorded) == 64
    replies = [row["turns"][1]["text"] for row in recorded if len(row["turns"]) > 1]
    assert sum("?" in text for text in replies) > 0.9 * len(replies), "the recorded tutor is the prompted one"
    metrics = read_rows(tmp_path / "warm" / "metrics.jsonl")
    assert [row["dialogues/recorded"] for row in metrics] == [8, 8, 8]
    assert all(row["teacher_kl"] is None for row in metrics), "supervised stages ask no teacher"
    assert_begins_where_the_other_ended(tmp_path / "on-policy", tmp_path / "warm")


@pytest.fixture
def own_files(tmp_path):
    """Ten seeds, and recordings on the first eight, which are not held out."""
    seeds = [json.loads(line) for line in Path(TRAIN_SEEDS).read_text().splitlines()[:10]]
    rows = [
        {
            "messages": [
                {"role": "user", "content": row["initial_error"]},
                {"role": "assistant", "content": "Why do you think that you should add?"},
            ],
            "question": row["question"],
            "expected_answer": row["expected_answer"],
        }
        for row in seeds[:8]
    ]
    for name, content in (("seeds", seeds), ("recordings", rows)):
        write_rows(tmp_path / f"{name}.jsonl", *content)
    return tmp_path / "recordings.jsonl", tmp_path / "seeds.jsonl", {row["id"] for row in seeds[:8]}


@pytest.mark.slow
def test_example_takes_the_users_files_and_restarts_without_training(tmp_path, own_files, monkeypatch, capsys):
    recordings, seeds, trained = own_files
    runs = tmp_path / "runs"
    arguments = ("--recordings", recordings, "--seeds", seeds, "--model", "tiny", "--base-url", "local")
    arguments += ("--warm-steps", 2, "--steps", 1, "--log-path", runs)
    run_example(monkeypatch, *arguments)
    printed = capsys.readouterr().out
    assert "on 2 held-out problems" in printed and set(figures(printed)) == {"start", "warm start", "on-policy"}
    assert not (runs / "recorded").exists()
    played = {row["seed"] for row in read_rows(runs / "on-policy" / "dialogues.jsonl")}
    assert played == trained, "held-out seeds are not trained on"
    assert_begins_where_the_other_ended(runs / "on-policy", runs / "warm")

    rows = [(runs / run / file).read_bytes() for run in ("warm", "on-policy") for file in FILES]
    run_example(monkeypatch, *arguments)
    assert figures(again := capsys.readouterr().out) == figures(printed)
    assert again.count("already_complete") == 2
    assert rows == [(runs / run / file).read_bytes() for run in ("warm", "on-policy") for file in FILES]
