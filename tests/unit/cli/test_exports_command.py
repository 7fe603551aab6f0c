"""`python -m socratic_distill export`, on a run on the fake."""

import argparse
import json
import shutil
from pathlib import Path

import pytest
from tests.support.on_the_fake import strict_run
from tests.support.rows import write_rows

from socratic_distill import build_socratic_config
from socratic_distill.cli import export, main


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """The directory of a run of three steps of four dialogues."""
    path = tmp_path_factory.mktemp("trained")
    rows = [{"id": f"s{i}", "question": f"What is {i} + 30?", "expected_answer": str(30 + i)} for i in range(6)]
    write_rows(path / "seeds.jsonl", *rows)
    config = build_socratic_config(
        tutor_model_name="small", student_model_name="pupil", teacher_model_name="small", learning_rate=0.1,
        max_tokens=12, log_path=path / "run", seeds_file=path / "seeds.jsonl", groups_per_batch=2,
        num_envs=2, max_turns=2, max_steps=3, save_every=None, rolling_save_every=9, display="off",
    )  # fmt: skip
    strict_run(config)
    return path / "run"


@pytest.fixture
def log_path(trained_once, tmp_path):
    return Path(shutil.copytree(trained_once, tmp_path / "run"))


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_export_writes_messages_a_dataset_and_a_table(log_path, tmp_path, capsys):
    assert main(["export", str(log_path), "--messages", str(tmp_path / "m.jsonl")]) == 0
    assert main(["export", str(log_path), "--dataset", str(tmp_path / "set")]) == 0
    assert main(["export", str(log_path), "--csv", str(tmp_path / "m.csv")]) == 0
    assert capsys.readouterr() == (
        f"12 dialogues are in {tmp_path}/m.jsonl\n12 dialogues are in {tmp_path}/set\n"
        f"3 steps are in {tmp_path}/m.csv\n",
        "",
    )
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 4
    assert (
        steps(tmp_path / "m.jsonl") == steps(next((tmp_path / "set" / "data").iterdir())) == [0] * 4 + [1] * 4 + [2] * 4
    )


@pytest.mark.parametrize(
    ("asked", "expected"), [("1:2", [1] * 4), (":1", [0] * 4), ("1:", [1] * 4 + [2] * 4), (":", [0, 1, 2])]
)
def test_export_takes_a_range_of_steps_and_tells_what_was_not_chosen(log_path, tmp_path, capsys, asked, expected):
    assert main(["export", str(log_path), "--messages", str(tmp_path / "m.jsonl"), "--steps", asked]) == 0
    found = steps(tmp_path / "m.jsonl")
    assert sorted(set(found)) == sorted(set(expected))
    rest = f" (left out: {12 - len(found)} not chosen)" if len(found) < 12 else ""
    assert capsys.readouterr().out == f"{len(found)} dialogues are in {tmp_path}/m.jsonl{rest}\n"


def test_export_takes_what_was_solved_and_not_told(log_path, tmp_path, capsys):
    rows = [json.loads(line) for line in (log_path / "dialogues.jsonl").read_text().splitlines()]
    answer = rows[0]["expected_answer"]
    rows[0]["ending"] = rows[1]["ending"] = "solved"
    rows[1]["expected_answer"] = answer
    rows[1]["turns"][1]["text"] = f"It is {answer}."
    rows[2]["ending"] = "failed"
    write_rows(log_path / "dialogues.jsonl", *rows)
    out = tmp_path / "m.jsonl"
    assert main(["export", str(log_path), "--messages", str(out), "--solved"]) == 0
    assert [json.loads(line)["told"] for line in out.read_text().splitlines()] == [False, True]
    assert main(["export", str(log_path), "--messages", str(out), "--solved", "--not-told"]) == 0
    assert [json.loads(line)["told"] for line in out.read_text().splitlines()] == [False]
    capsys.readouterr()
    assert main(["export", str(log_path), "--messages", str(out), "--not-told"]) == 0
    why = "1 not chosen; 1 failed, are recorded or have a side that says nothing"
    assert capsys.readouterr().out == f"10 dialogues are in {out} (left out: {why})\n"


def test_export_adds_the_prompt_and_the_tokens_where_that_is_wanted(log_path, tmp_path):
    out = ["--dataset", str(tmp_path / "set"), "--system-prompt", "--tokens"]
    assert main(["export", str(log_path), *out]) == 0
    row = json.loads(next((tmp_path / "set" / "data").iterdir()).read_text().splitlines()[0])
    assert row["messages"][0]["role"] == "system" and row["question"] in row["messages"][0]["content"]
    assert len(row["tutor_turns"]) == 2 and row["tutor_turns"][0]["tokens"]


def test_what_cannot_be_exported_exits_with_one(log_path, tmp_path, capsys):
    assert main(["export", str(tmp_path / "none"), "--csv", str(tmp_path / "m.csv")]) == 1
    assert capsys.readouterr().err.startswith(
        f"ConfigError: {tmp_path}/none does not exist; expected the directory of a run"
    )
    assert main(["export", str(log_path), "--messages", str(tmp_path / "m"), "--steps", "7:"]) == 1
    assert "has no dialogue to export: 12 are not chosen" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "one of the arguments --adapter --merge --gguf --messages --dataset --csv --trace is required"),
        (["--csv", "a", "--messages", "b"], "not allowed with argument"),
        (["--csv", "a", "--solved"], "--solved goes with --messages or --dataset, not with --csv"),
        (["--csv", "a", "--steps", ":2"], "--steps goes with --messages or --dataset or --trace, not with --csv"),
        (["--merge", "a", "--not-told"], "--not-told goes with --messages or --dataset, not with --merge"),
        (["--merge", "a", "--system-prompt"], "--system-prompt goes with --messages or --dataset, not with --merge"),
        (["--messages", "a", "--tokens"], "--tokens goes with --dataset, not with --messages"),
        (["--messages", "a", "--dtype", "auto"], "--dtype goes with --merge or --gguf, not with --messages"),
        (["--merge", "a", "--checkpoint", "b"], "--checkpoint goes with --adapter, not with --merge"),
        (["--csv", "a", "--base-url", "http://b"], "--base-url goes with --adapter or --merge or --gguf, not with --csv"),
        (["--merge", "a", "--converter", "b"], "--converter goes with --gguf, not with --merge"),
        (["--dataset", "a", "--allow-code"], "--allow-code goes with --merge or --gguf, not with --dataset"),
        (["--messages", "a", "--steps", "3"], "'3' is no A:B, such as 10:20, 10: or :20"),
        (["--messages", "a", "--steps", "-1:3"], "expected one argument"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_wrong_usage_exits_with_two(log_path, tmp_path, capsys, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(log_path), *arguments])
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_merge_takes_its_options_as_before():
    parser = argparse.ArgumentParser()
    export.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["export", "RUN", "--merge", "OUT", "--dtype", "bfloat16", "--allow-code"])
    assert (parsed.source, parsed.merge) == (Path("RUN"), Path("OUT"))
    assert (parsed.dtype, parsed.allow_code, parsed.command) == ("bfloat16", True, export.run)
