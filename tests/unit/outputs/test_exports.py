import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.examples import examples
from tests.support.on_the_fake import strict_run
from tests.support.opened_trackers import logged_warnings
from tests.support.rows import write_rows

from socratic_distill import ConfigError, StorageError
from socratic_distill.dialogues.recordings import load_recordings
from socratic_distill.outputs.exports import Choice, export_csv, export_dataset, export_messages

reproducible = settings(derandomize=True, deadline=None, max_examples=examples(100))


def dialogue(*texts: str, step: int = 0, **more: Any) -> dict[str, Any]:
    """A row of dialogues.jsonl in which student and tutor say these texts."""
    tutor = {"version": step, "tokens": [5, 6], "pieces": ["a", "b"], "tutor_logprobs": [-0.5, -1.0]}
    turns = [{"role": ("student", "tutor")[i % 2], "text": text, "stop_reason": "stop"} for i, text in enumerate(texts)]
    for turn in turns[1::2]:
        turn |= tutor | {"teacher_logprobs": [-0.25, -2.0]}
    row = {
        "step": step, "seed": "s1", "number": 0, "recording": None, "question": "What is 17 + 25?",
        "expected_answer": "42", "initial_error": "32", "student_profile": None, "teachers": ["teacher"],
        "reward": None, "ending": "max_turns", "error": None, "turns": turns, "time/spans": [],
    }  # fmt: skip
    return row | more


ASKED = dialogue("It is 32.", "What is 7 + 5?", "12. So 42!", ending="solved")
TOLD = dialogue("It is 32.", "It is 42.", "So 42.", step=1, ending="solved_after_tell")
UNSOLVED = dialogue("It is 32.", "Is it?", "Yes.", step=2)


@pytest.fixture
def log_path(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    return path


def write(log_path: Path, *rows: dict[str, Any], steps: int = 10, tail: str = "") -> None:
    (log_path / "dialogues.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    (log_path / "metrics.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in range(steps)))


def messages(log_path: Path, choice: Choice | None = None, **options: Any) -> list[dict[str, Any]]:
    out = log_path.parent / "out.jsonl"
    export_messages(log_path, out, choice, **options)
    return [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n")[:-1]]


# Messages


def test_messages_say_who_said_what_and_what_is_known_of_it(log_path):
    write(log_path, ASKED)
    assert messages(log_path) == [
        {
            "messages": [
                {"role": "user", "content": "It is 32."},
                {"role": "assistant", "content": "What is 7 + 5?"},
                {"role": "user", "content": "12. So 42!"},
            ],
            "question": "What is 17 + 25?", "expected_answer": "42", "initial_error": "32", "seed": "s1", "step": 0,
            "number": 0, "ending": "solved", "solved": True, "told": False, "teachers": ["teacher"],
        }
    ]  # fmt: skip


def test_messages_of_a_run_are_read_back_as_recordings(make_config, tmp_path):
    config = make_config()
    strict_run(config)
    rows = messages(Path(config.log_path))
    played = load_recordings([Path(config.log_path) / "dialogues.jsonl"])
    recorded = load_recordings([tmp_path / "out.jsonl"])
    assert len(rows) == len(recorded) == len(played) == 36
    for before, after in zip(played, recorded, strict=True):
        assert after.kind == "messages"
        assert [(turn.role, turn.text) for turn in after.turns] == [(turn.role, turn.text) for turn in before.turns]
        for name in ("question", "expected_answer", "initial_error", "student_profile"):
            assert getattr(after.seed, name) == getattr(before.seed, name)


def test_messages_begin_with_the_tutors_own_prompt_where_that_is_wanted(make_config, tmp_path):
    (tmp_path / "tutor.txt").write_text("Teach this: {question}")
    config = make_config(tutor_prompt_file=tmp_path / "tutor.txt", max_steps=1)
    strict_run(config)
    for row in messages(Path(config.log_path), system_prompt=True, allow_files=True):
        assert row["messages"][0] == {"role": "system", "content": f"Teach this: {row['question']}"}
        assert row["messages"][1]["role"] == "user"


@pytest.mark.parametrize(
    ("choice", "steps"),
    [
        (Choice(), [0, 1, 2]),
        (Choice(solved=True), [0, 1]),
        (Choice(not_told=True), [0, 2]),
        (Choice(solved=True, not_told=True), [0]),
        (Choice(first=1), [1, 2]),
        (Choice(stop=2), [0, 1]),
        (Choice(first=1, stop=2), [1]),
    ],
    ids=str,
)
def test_only_the_chosen_dialogues_are_exported(log_path, choice, steps):
    write(log_path, ASKED, TOLD, UNSOLVED)
    assert [row["step"] for row in messages(log_path, choice)] == steps
    exported = export_messages(log_path, log_path.parent / "out.jsonl", choice)
    assert (exported.written, exported.not_chosen, exported.left_out) == (len(steps), 3 - len(steps), 0)


@pytest.mark.parametrize(
    "row",
    [
        dialogue("It is 32.", "What is", ending="failed", error="gone"),
        dialogue("So 42.", ending="solved_at_start"),
        dialogue("It is 32.", "What is 7 + 5?", recording="r1", ending="recorded"),
        dialogue("It is 32.", " \n", "Hm?"),
        dialogue("", "What is 7 + 5?", "12"),
        dialogue(ending="failed", error="gone"),
    ],
    ids=["failed", "solved at start", "recorded", "silent tutor", "silent student", "nothing said"],
)
def test_a_dialogue_without_anything_to_learn_is_left_out_and_counted(log_path, row):
    write(log_path, row, ASKED)
    exported = export_messages(log_path, log_path.parent / "out.jsonl")
    assert (exported.written, exported.left_out) == (1, 1)
    assert len(load_recordings([log_path.parent / "out.jsonl"])) == 1


@given(st.lists(st.text(max_size=8), min_size=1, max_size=5), st.text(max_size=8))
@reproducible
def test_whatever_was_said_is_read_back_as_recordings(tmp_path_factory, texts, error):
    path = tmp_path_factory.mktemp("run")
    write(path, dialogue("Hm?", *texts, initial_error=error or None), ASKED)
    exported = export_messages(path, path / "out.jsonl")
    recorded = load_recordings([path / "out.jsonl"])
    assert len(recorded) == exported.written == 2 - exported.left_out
    assert exported.left_out == (not any(text.strip() for text in texts[::2]))


def test_half_a_character_becomes_the_replacement_character(log_path):
    """Whole characters stay, those outside the BMP too."""
    write(log_path, dialogue("Why\ud83d?", "π ≈ 3 😀\u2028", "\udc00"), ASKED)
    first, _ = messages(log_path)
    assert [one["content"] for one in first["messages"]] == ["Why�?", "π ≈ 3 😀\u2028", "�"]
    assert len(load_recordings([log_path.parent / "out.jsonl"])) == 2
    assert "π" in (log_path.parent / "out.jsonl").read_text(encoding="utf-8")


def test_a_run_under_way_is_exported_up_to_its_last_finished_step(log_path, caplog):
    write(log_path, ASKED, TOLD, UNSOLVED, steps=2, tail='{"step": 2, "seed": "s')
    assert [row["step"] for row in messages(log_path)] == [0, 1]
    assert logged_warnings(caplog) == []


def test_lines_that_are_no_dialogues_are_left_out_with_a_warning(log_path, caplog):
    torn = '{"step": 0, "seed": "s\n[1]\n\n{"step": 0, "seed": "s1", "turns": [{}]}\n'
    write(log_path, ASKED, tail=torn + json.dumps(TOLD) + "\n")
    assert [row["step"] for row in messages(log_path)] == [0, 1]
    told = logged_warnings(caplog)
    assert told[0].endswith("skipped lines that hold no JSON object (line 2, 3)") and told[1].endswith(
        "1 rows that are no dialogues as this version writes them"
    )


# Dataset


def test_a_dataset_has_the_dialogues_and_a_card_that_declares_every_column(log_path):
    write(log_path, ASKED, TOLD | {"reward": 0.5})
    roles = dict.fromkeys(("tutor_model_name", "student_model_name", "teacher_model_name"), "Qwen/Qwen3-8B")
    (log_path / "config.json").write_text(json.dumps(roles))
    out = log_path.parent / "data set"
    assert export_dataset(log_path, out).written == 2
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "data"]
    (data,) = (out / "data").iterdir()
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    assert rows[0]["messages"][0] == {"role": "user", "content": "It is 32."}
    assert [row["reward"] for row in rows] == [None, 0.5] and rows[0].keys() == rows[1].keys()
    head, text = (out / "README.md").read_text().removeprefix("---\n").split("---\n", 1)
    card = {key: json.loads(value) for key, value in (line.split(": ", 1) for line in head.splitlines())}
    assert [one["name"] for one in card["dataset_info"]["features"]] == list(rows[0])
    assert card["configs"][0]["data_files"] == [{"split": "train", "path": f"data/{data.name}"}]
    assert card["size_categories"] == ["n<1K"]
    assert "2 dialogues" in text and "- tutor: `Qwen/Qwen3-8B`\n" in text


def test_a_dataset_has_tokens_and_scores_where_they_are_wanted(log_path):
    row = dialogue("It is 32.", "Is it?")
    row["turns"][1]["teacher_logprobs"] = [float("-inf"), -0.5]
    write(log_path, row)
    export_dataset(log_path, log_path.parent / "out", tokens=True)
    (written,) = map(json.loads, next((log_path.parent / "out" / "data").iterdir()).read_text().splitlines())
    assert written["tutor_turns"] == [
        {
            "version": 0, "stop_reason": "stop", "tokens": [5, 6], "pieces": ["a", "b"],
            "tutor_logprobs": [-0.5, -1.0], "teacher_logprobs": [None, -0.5],
        }
    ]  # fmt: skip
    assert '"tutor_turns"' in (log_path.parent / "out" / "README.md").read_text()


def test_a_dataset_takes_the_place_of_an_empty_directory_and_of_no_other(log_path):
    write(log_path, ASKED)
    out = log_path.parent / "out"
    out.mkdir()
    export_dataset(log_path, out)
    for place in (out, out / "README.md"):
        before = (out / "README.md").read_bytes()
        with pytest.raises(ConfigError, match="is there already; give a directory that is empty or not there"):
            export_dataset(log_path, place)
        assert (out / "README.md").read_bytes() == before
    export_dataset(log_path, log_path.parent / "new" / "deeper")
    assert (log_path.parent / "new" / "deeper" / "README.md").exists()


def test_the_data_file_is_named_after_its_content(log_path):
    names = []
    for number, rows in enumerate([(ASKED,), (ASKED,), (TOLD,)]):
        write(log_path, *rows)
        export_dataset(log_path, log_path.parent / str(number))
        names.append(next((log_path.parent / str(number) / "data").iterdir()).name)
    assert names[0] == names[1] != names[2]


# Table


def test_the_table_has_a_row_a_step_and_a_column_a_key(log_path):
    rows = [{"step": 0, "teacher_kl": 0.1, "drift/max": None}, {"step": 1, "loss:sum": 2, "teacher_kl": 1e-17}]
    write_rows(log_path / "metrics.jsonl", *rows)
    assert export_csv(log_path, log_path.parent / "out.csv") == 2
    assert (log_path.parent / "out.csv").read_bytes() == (b"step,teacher_kl,drift/max,loss:sum\n0,0.1,,\n1,1e-17,,2\n")


def test_the_table_has_no_step_twice_and_none_that_is_half_written(log_path, caplog):
    lines = ['{"kl": 1, "step": 1}', '{"kl": 0, "step": 0}', '{"kl": 3, "step": 1}', '{"kl": 9}', '{"kl": 4, "step": 2']
    (log_path / "metrics.jsonl").write_text("\n".join(lines))
    assert export_csv(log_path, log_path.parent / "out.csv") == 2
    assert (log_path.parent / "out.csv").read_text() == "step,kl\n0,0\n1,3\n"
    assert logged_warnings(caplog) == []


# Refusals

FORMULAS = [
    "=1+1",
    "+1",
    "-1+1",
    "@SUM(1)",
    "\t=1",
    "\n=1",
    "\uff1d1",
    '=HYPERLINK("http://x")',
    "=cmd|' /C calc'!A0",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_csv_cells_and_headers_hold_no_formula(log_path, text):
    row = {"step": 0, "note": text, text: -1.5}
    write_rows(log_path / "metrics.jsonl", row)
    export_csv(log_path, out := log_path.parent / "out.csv")
    with out.open(encoding="utf-8", newline="") as file:
        header, cells = csv.reader(file)
    assert header == ["step", "note", f"'{text}"] and cells == ["0", f"'{text}", "-1.5"], "numbers stay numbers"


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_csv_is_written_whatever_a_row_holds(tmp_path_factory, key, text):
    log_path = tmp_path_factory.mktemp("run")
    (log_path / "metrics.jsonl").write_text(json.dumps({"step": 0, f"k{key}": text}) + "\n")
    export_csv(log_path, out := log_path / "out.csv")
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 2 and all(len(row) == 2 for row in rows)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)


EXPORTS = pytest.mark.parametrize("export", [export_messages, export_dataset, export_csv])


@EXPORTS
def test_a_directory_that_is_no_run_is_refused_and_nothing_is_left(tmp_path, export):
    with pytest.raises(ConfigError, match="missing does not exist; expected the directory of a run"):
        export(tmp_path / "missing", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@EXPORTS
def test_a_run_without_a_finished_step_is_refused_and_nothing_is_left(log_path, export):
    write(log_path, steps=0)
    with pytest.raises(ConfigError, match=r"has no (row yet|dialogue to export)"):
        export(log_path, log_path.parent / "out")
    assert list(log_path.parent.glob("*out*")) == []


def test_filters_that_nothing_passes_are_refused_and_the_old_file_stays(log_path):
    write(log_path, UNSOLVED, dialogue("So 42.", ending="solved_at_start"))
    out = log_path.parent / "out.jsonl"
    out.write_text("an old one")
    with pytest.raises(ConfigError, match="1 are not chosen, 1 failed, are recorded or have a side that says nothing"):
        export_messages(log_path, out, Choice(solved=True))
    assert out.read_text() == "an old one"


@pytest.mark.parametrize("export", [export_messages, export_csv])
def test_a_place_that_cannot_be_meant_is_refused(log_path, export):
    write(log_path, ASKED)
    before = {path.name: path.read_bytes() for path in log_path.iterdir()}
    for name in ("dialogues.jsonl", "metrics.jsonl", "../run/config.json"):
        with pytest.raises(ConfigError, match="is a file of the run itself"):
            export(log_path, log_path / name)
    with pytest.raises(ConfigError, match="is a directory; expected the file to write"):
        export(log_path, log_path.parent)
    assert {path.name: path.read_bytes() for path in log_path.iterdir()} == before
    export(log_path, log_path.parent / "dialogues.jsonl")


@EXPORTS
def test_a_place_that_cannot_be_written_is_a_storage_error(log_path, export):
    write(log_path, ASKED)
    (log_path.parent / "file").write_text("")
    with pytest.raises(StorageError, match="file/out cannot be written: Not a directory"):
        export(log_path, log_path.parent / "file" / "out")


@EXPORTS
def test_a_full_disk_is_a_storage_error_and_nothing_half_is_left(log_path, export, monkeypatch):
    write(log_path, ASKED)

    def fsync(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="out cannot be written: No space left on device"):
        export(log_path, log_path.parent / "out")
    assert list(log_path.parent.glob("*out*")) == []
